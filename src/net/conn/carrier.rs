//! What the lane takes from a connection and gives to it beyond reads and writes: the head as it arrived,
//! and bodies through pipes.

use std::io::Result;
use std::task::{Context, Poll, ready};

use super::Conn;
use crate::pipe::Pipe;
use crate::proxy::head::Checked;
use crate::proxy::lane::Carrier;

impl Carrier for Conn {
    fn head(&self) -> Option<(&[u8], Checked)> {
        Some((self.inbound.pending().get(..self.cleared)?, self.head?))
    }

    fn take_head(&mut self) {
        if self.head.take().is_some() {
            self.inbound.take(self.cleared);
            self.cleared = 0;
        }
    }

    fn drawable(&self) -> usize {
        match self.transport.bare() {
            Some(tcp) if self.inbound.is_empty() && tcp.has_nothing_unread() => {
                self.scanner.certain()
            }
            Some(_) | None => 0,
        }
    }

    fn poll_draw(&mut self, pipe: &mut Pipe, cx: &mut Context<'_>) -> Poll<Result<Option<usize>>> {
        let most = self.drawable();
        let Poll::Ready(drawn) = pipe.poll_fill(self.transport.tcp().stream(), most, cx) else {
            self.watched.reading.wait();
            ready!(self.poll_drain(cx))?;
            return Poll::Pending;
        };
        let drawn = drawn?;
        if let Some(count) = drawn {
            self.advance(count);
        }
        if drawn == Some(0) {
            self.end()?;
        }
        Poll::Ready(Ok(drawn))
    }

    fn is_pourable(&self) -> bool {
        self.transport.bare().is_some()
    }

    fn poll_pour(&mut self, pipe: &mut Pipe, cx: &mut Context<'_>) -> Poll<Result<()>> {
        ready!(self.poll_drain(cx))?;
        while pipe.held() > 0 {
            let Poll::Ready(poured) = pipe.poll_pour(self.transport.tcp().stream(), cx) else {
                self.watched.writing.wait();
                return Poll::Pending;
            };
            self.sent(poured?);
        }
        Poll::Ready(Ok(()))
    }
}
