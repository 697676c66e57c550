//! A client that speaks HTTP/1.1.

use std::io;
use std::io::{ErrorKind, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use super::client::Client;
use super::response::Framing;
use super::wire::{Outgoing, write_chunk, write_chunk_size, write_head};
use crate::pipe::Pipe;
use crate::proxy::edits::Fields;
use crate::proxy::head::Checked;

/// Nearly every head fits.
const HEAD_BYTES_USUAL: usize = 512;

/// A connection whose next request has arrived with its whole head.
///
/// Behind the head a read gives the request's body as the client framed it, and no byte more. Behind
/// the body it waits, and gives no bytes once the client is gone. What is written may be gathered
/// until it is flushed.
pub trait Carrier: AsyncRead + AsyncWrite + Unpin {
    /// The head, and what checking it has told; `None` where there is none to be taken.
    fn head(&self) -> Option<(&[u8], Checked)>;

    /// Takes the head off.
    fn take_head(&mut self);

    /// How many bytes, all of them the request's, the kernel may move into a pipe next.
    fn drawable(&self) -> usize;

    /// Moves at most as many into an empty pipe, as [`Pipe::poll_fill`].
    fn poll_draw(
        &mut self,
        pipe: &mut Pipe,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Option<usize>>>;

    /// Whether the kernel may move what is written.
    fn is_pourable(&self) -> bool;

    /// Writes all that is in a pipe, behind what was written before.
    fn poll_pour(&mut self, pipe: &mut Pipe, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
}

/// One request on such a connection, whose head has been taken.
#[derive(Debug)]
pub(super) struct Http1<'c, T> {
    carrier: &'c mut T,
    /// To be written before the piece under way, of both of which `written` bytes have gone.
    ahead: Vec<u8>,
    written: usize,
    /// The piece under way has its frame.
    framed: bool,
    /// The body is sent in chunks.
    chunked: bool,
    ended: bool,
}

impl<'c, T: Carrier> Http1<'c, T> {
    pub(super) fn new(carrier: &'c mut T) -> Self {
        Self {
            carrier,
            ahead: Vec::with_capacity(HEAD_BYTES_USUAL),
            written: 0,
            framed: false,
            chunked: false,
            ended: false,
        }
    }

    /// Writes `ahead`, then these.
    fn poll_push(
        &mut self,
        piece: &[u8],
        behind: &[u8],
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let whole = self.ahead.len() + piece.len() + behind.len();
        while self.written < whole {
            let slices = unwritten([&self.ahead, piece, behind], self.written);
            let write = Pin::new(&mut *self.carrier).poll_write_vectored(cx, &slices);
            match ready!(write)? {
                0 => return Poll::Ready(Err(ErrorKind::WriteZero.into())),
                count => self.written += count,
            }
        }
        self.ahead.clear();
        self.written = 0;
        Poll::Ready(Ok(()))
    }
}

impl<T: Carrier> Client for Http1<'_, T> {
    fn poll_body(&mut self, into: &mut Vec<u8>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        pin!(self.carrier.read_buf(into)).poll(cx)
    }

    fn drawable(&self) -> usize {
        self.carrier.drawable()
    }

    fn poll_draw(
        &mut self,
        pipe: &mut Pipe,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Option<usize>>> {
        self.carrier.poll_draw(pipe, cx)
    }

    /// The request is complete, so a read that ends is the client's end.
    fn is_gone(&mut self, cx: &mut Context<'_>) -> bool {
        let mut space = [0; 1];
        let mut space = ReadBuf::new(&mut space);
        let read = Pin::new(&mut *self.carrier).poll_read(cx, &mut space);
        read.is_ready() && space.filled().is_empty()
    }

    fn inform(&mut self, head: &Outgoing<'_, impl Fields>) {
        write_head(head, &mut self.ahead);
    }

    fn begin(
        &mut self,
        mut head: Outgoing<'_, impl Fields>,
        framing: Framing,
        keep: bool,
    ) -> io::Result<()> {
        head.finish(framing == Framing::UntilClose, keep);
        write_head(&head, &mut self.ahead);
        self.chunked = !matches!(framing, Framing::Length(_));
        Ok(())
    }

    fn poll_piece(
        &mut self,
        piece: &[u8],
        _last: bool,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        if self.chunked && !self.framed {
            write_chunk_size(piece.len(), &mut self.ahead);
            self.framed = true;
        }
        let behind: &[u8] = if self.chunked { b"\r\n" } else { b"" };
        ready!(self.poll_push(piece, behind, cx))?;
        self.framed = false;
        Poll::Ready(Ok(()))
    }

    fn is_pourable(&self) -> bool {
        self.carrier.is_pourable() && !self.chunked
    }

    fn poll_pour(&mut self, pipe: &mut Pipe, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_push(b"", b"", cx))?;
        self.carrier.poll_pour(pipe, cx)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_push(b"", b"", cx))?;
        Pin::new(&mut *self.carrier).poll_flush(cx)
    }

    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.chunked && !self.ended {
            write_chunk(b"", &mut self.ahead);
        }
        self.ended = true;
        self.poll_flush(cx)
    }

    /// The connection ends behind what has been written.
    fn abort(&mut self) {}
}

/// The slices without their first `written` bytes.
fn unwritten(slices: [&[u8]; 3], mut written: usize) -> [IoSlice<'_>; 3] {
    slices.map(|slice| {
        let gone = written.min(slice.len());
        written -= gone;
        IoSlice::new(slice.get(gone..).unwrap_or_default())
    })
}
