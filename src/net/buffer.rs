//! Received bytes that nobody has taken yet.

use std::pin::pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};

use crate::proxy::head::escape_target;

/// What a fresh buffer holds; pingora's own head buffer is as large.
const ROOM: usize = 4 << 10;

/// A byte queue that owns no memory while it is empty and released.
#[derive(Debug, Default)]
pub struct Inbound {
    bytes: Vec<u8>,
    /// Bytes before this have been taken.
    start: usize,
}

impl Inbound {
    pub fn pending(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }

    pub fn is_empty(&self) -> bool {
        self.start == self.bytes.len()
    }

    /// Has the target of the request that is pending written as a URI; says by how many bytes it grew.
    pub fn escape_target(&mut self) -> usize {
        let escaped = escape_target(self.pending());
        let grown = escaped.len() - self.pending().len();
        (self.bytes, self.start) = (escaped, 0);
        grown
    }

    pub fn take(&mut self, count: usize) {
        self.start = (self.start + count).min(self.bytes.len());
        if self.is_empty() {
            self.bytes.clear();
            self.start = 0;
        }
    }

    /// Moves up to `most` bytes into `to`; says how many.
    pub fn give(&mut self, to: &mut ReadBuf<'_>, most: usize) -> usize {
        let count = most.min(to.remaining()).min(self.pending().len());
        to.put_slice(self.pending().get(..count).unwrap_or_default());
        self.take(count);
        count
    }

    /// Reads once from `source` to the end of the queue.
    pub fn poll_fill(
        &mut self,
        source: &mut (impl AsyncRead + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<std::io::Result<usize>> {
        self.make_room();
        // The future holds no state between polls, so it may be dropped when pending.
        pin!(source.read_buf(&mut self.bytes)).poll(cx)
    }

    /// Gives the memory back; only an empty queue has none to keep.
    pub fn release(&mut self) {
        if self.is_empty() {
            *self = Self::default();
        }
    }

    fn make_room(&mut self) {
        if self.start > 0 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        if self.bytes.len() == self.bytes.capacity() {
            self.bytes.reserve_exact(self.bytes.capacity().max(ROOM));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    fn fill(queue: &mut Inbound, mut source: &[u8]) -> usize {
        let mut cx = Context::from_waker(Waker::noop());
        match queue.poll_fill(&mut source, &mut cx) {
            Poll::Ready(Ok(count)) => count,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn bytes_come_out_in_order_and_an_empty_queue_owns_nothing() {
        let mut queue = Inbound::default();
        assert_eq!(fill(&mut queue, b"abc"), 3);
        queue.take(1);
        assert_eq!(fill(&mut queue, b"de"), 2);
        let mut space = [0; 3];
        assert_eq!(queue.give(&mut ReadBuf::new(&mut space), 9), 3);
        assert_eq!((&space, queue.pending()), (b"bcd", &b"e"[..]));
        queue.release();
        assert_eq!(queue.pending(), b"e");
        queue.take(7);
        queue.release();
        assert_eq!(queue.bytes.capacity(), 0);
    }
}
