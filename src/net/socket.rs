//! The client's socket, shared so that deadlines can shut it down from outside its task.

use std::io::{ErrorKind, IoSlice, Result};
use std::net::{Shutdown, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

/// A TCP connection behind an `Arc`: whoever holds a weak reference can shut it down as long as it
/// lives, and never touches a file descriptor that has been reused.
#[derive(Debug)]
pub struct Tcp {
    stream: Arc<TcpStream>,
    /// The address that the client reached, where it is known without asking the kernel.
    local: Option<SocketAddr>,
    /// Bytes that were read while looking for a PROXY header and belong to what follows it.
    prefix: Bytes,
}

/// IPv4 addresses as such, also where a socket of both families shows them within IPv6.
pub fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

impl Tcp {
    /// `local`: the address that the client reached, where it is known.
    pub fn new(stream: TcpStream, local: Option<SocketAddr>) -> Self {
        Self {
            stream: Arc::new(stream),
            local,
            prefix: Bytes::new(),
        }
    }

    pub const fn stream(&self) -> &Arc<TcpStream> {
        &self.stream
    }

    /// The address that the client reached.
    ///
    /// # Errors
    /// The connection is gone already.
    pub fn local(&self) -> Result<SocketAddr> {
        let local = self.local.map_or_else(|| self.stream.local_addr(), Ok);
        local.map(canonical)
    }

    /// Puts bytes back in front of the stream.
    pub fn unread(&mut self, bytes: Bytes) {
        self.prefix = bytes;
    }

    /// Whether all that was put back has been read again.
    pub fn has_nothing_unread(&self) -> bool {
        self.prefix.is_empty()
    }

    /// Ready where there is something to read, or the end.
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if self.prefix.has_remaining() {
            return Poll::Ready(Ok(()));
        }
        self.stream.poll_read_ready(cx)
    }

    /// Reads once. As tokio's own `TcpStream` does, a short read counts as "no more for now": it
    /// saves the system call that would only say so.
    fn try_read(&self, into: &mut ReadBuf<'_>) -> Result<()> {
        let mut done = false;
        let tried = self.stream.try_io(Interest::READABLE, || {
            let read = self.stream.try_read_buf(into)?;
            done = true;
            let drained = read > 0 && into.remaining() > 0;
            if drained {
                Err(ErrorKind::WouldBlock.into())
            } else {
                Ok(())
            }
        });
        if done { Ok(()) } else { tried }
    }
}

impl AsyncRead for Tcp {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        if self.prefix.has_remaining() {
            let count = self.prefix.len().min(buf.remaining());
            let part = self.prefix.split_to(count);
            buf.put_slice(&part);
            return Poll::Ready(Ok(()));
        }
        loop {
            ready!(self.stream.poll_read_ready(cx))?;
            match self.try_read(buf) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                read => return Poll::Ready(read),
            }
        }
    }
}

impl AsyncWrite for Tcp {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        loop {
            ready!(self.stream.poll_write_ready(cx))?;
            match self.stream.try_write_vectored(bufs) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(SockRef::from(&*self.stream).shutdown(Shutdown::Write))
    }
}
