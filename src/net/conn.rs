//! The transport under pingora's sessions: it owns the bytes of a connection and their limits.
//!
//! pingora gets a request's bytes and no more (see [`framing`](crate::net::framing)): it never
//! sees a head that is incomplete, late or too large, nor the beginning of the next request. So
//! the requests of a connection are served one after the other in order of arrival however the
//! client packs them, and pingora's own pipelining stays off.
//!
//! An idle connection owns no buffers. Small writes are gathered; a large one goes out together
//! with what was gathered before it, in one system call.

mod carrier;

use std::io::{Error, ErrorKind, IoSlice, Result};
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pingora::protocols::SocketDigest;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::net::buffer::Inbound;
use crate::net::frames::{CALM, Frames};
use crate::net::framing::{Body, Framed, Head, Scanner, Violation};
use crate::net::limits::Limits;
use crate::net::reaper::{Phase, Watched, now};
use crate::net::transport::Transport;
use crate::proxy::connection::Connection;
use crate::proxy::head::Checked;

/// RFC 9113 section 3.4.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Writes up to this size are gathered.
const GATHER: usize = 4 << 10;

/// What the client's next bytes turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// A complete HTTP/1 head, ready to be read.
    Request,
    /// The beginning of HTTP/2.
    Http2,
    /// Nothing more will be served here.
    End,
    /// A request that is refused; the answer is still to be written.
    Refused(Violation),
}

/// A client's connection as pingora sees it.
pub struct Conn {
    transport: Transport,
    connection: Arc<Connection>,
    watched: Arc<Watched>,
    limits: Arc<Limits>,
    inbound: Inbound,
    /// How many bytes at the front of `inbound` belong to the current message.
    cleared: usize,
    /// What those bytes are, where they are a head of which nothing was taken.
    head: Option<Checked>,
    scanner: Scanner,
    outbound: Vec<u8>,
    upgrade: Upgrade,
    /// The client waits for an interim response and owes no body yet.
    expects: bool,
    /// Present once this is HTTP/2.
    frames: Option<Frames>,
    ended: bool,
    digest: Arc<SocketDigest>,
}

/// Whether the connection may leave HTTP/1 with the response under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Upgrade {
    No,
    /// The request asks for it and the response has not begun.
    Asked,
}

impl Conn {
    pub fn new(
        transport: Transport,
        connection: Arc<Connection>,
        watched: Arc<Watched>,
        limits: Arc<Limits>,
    ) -> Self {
        let digest = SocketDigest::from_raw_fd(transport.tcp().stream().as_raw_fd());
        // A fresh cell takes its first value.
        let _ = digest.peer_addr.set(Some(connection.client.into()));
        let _ = digest.local_addr.set(Some(connection.local.into()));
        Self {
            transport,
            connection,
            watched,
            limits,
            inbound: Inbound::default(),
            cleared: 0,
            head: None,
            scanner: Scanner::new(Body::Length(0)),
            outbound: Vec::new(),
            upgrade: Upgrade::No,
            expects: false,
            frames: None,
            ended: false,
            digest: Arc::new(digest),
        }
    }

    pub const fn transport(&self) -> &Transport {
        &self.transport
    }

    pub const fn is_http2(&self) -> bool {
        self.frames.is_some()
    }

    pub const fn digest(&self) -> &Arc<SocketDigest> {
        &self.digest
    }

    pub const fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// The request was answered without being read to its end.
    pub fn refused(&self) {
        self.watched.leave_unread();
    }

    /// Nothing more is sent. In clear, closing the socket says so.
    pub async fn finish(&mut self) -> Result<()> {
        match self.transport.bare() {
            Some(_) => self.flush().await,
            None => self.shutdown().await,
        }
    }

    /// A second request may follow the one just served.
    pub fn is_reusable(&self) -> bool {
        self.scanner.is_done() && self.frames.is_none() && !self.ended
    }

    /// Everything from here on is HTTP/2.
    pub fn become_http2(&mut self) {
        self.frames = Some(Frames::default());
        self.become_opaque();
    }

    /// Waits for the next request. While none has begun, `drain` ends the wait.
    pub async fn arrival(&mut self, drain: &mut watch::Receiver<bool>) -> Arrival {
        tokio::select! {
            biased;
            arrival = self.next(Preface::Unexpected) => arrival,
            () = drained(drain) => self.last_arrival().await,
        }
    }

    /// As [`Conn::arrival`] for the first request: it may be HTTP/2, and the client of a draining
    /// listener is still served once.
    pub async fn first_arrival(&mut self) -> Arrival {
        self.next(Preface::Possible).await
    }

    /// One request more: it may be on its way, and whoever keeps a connection busy shall learn from an
    /// answer that it ends.
    async fn last_arrival(&mut self) -> Arrival {
        if self.inbound.is_empty() && !timeout(LAST_CALL, self.more()).await.unwrap_or(false) {
            return Arrival::End;
        }
        self.next(Preface::Unexpected).await
    }

    async fn next(&mut self, preface: Preface) -> Arrival {
        let mut head = Head::default();
        let idle = self.inbound.is_empty();
        self.watched
            .enter(if idle { Phase::Idle } else { Phase::Head });
        loop {
            match self.decide(&mut head, preface) {
                Ok(Some(arrival)) => return arrival,
                Ok(None) => {}
                Err(violation) => return Arrival::Refused(violation),
            }
            if !self.more().await {
                return self
                    .watched
                    .violation()
                    .map_or(Arrival::End, Arrival::Refused);
            }
        }
    }

    fn decide(
        &mut self,
        head: &mut Head,
        preface: Preface,
    ) -> std::result::Result<Option<Arrival>, Violation> {
        let arrived = self.inbound.pending();
        let common = arrived.len().min(PREFACE.len());
        if preface == Preface::Possible && arrived.get(..common) == PREFACE.get(..common) {
            return Ok((common == PREFACE.len()).then_some(Arrival::Http2));
        }
        let Some(mut framed) = head.scan(arrived, &self.limits)? else {
            return Ok(None);
        };
        if framed.checked.unescaped {
            framed.head += self.inbound.escape_target();
        }
        self.begin(framed);
        Ok(Some(Arrival::Request))
    }

    fn begin(&mut self, framed: Framed) {
        self.cleared = framed.head;
        self.head = Some(framed.checked);
        self.scanner = Scanner::new(framed.body());
        self.upgrade = if framed.checked.upgrade {
            Upgrade::Asked
        } else {
            Upgrade::No
        };
        let ours = !self.scanner.is_done() && self.scanner.body() != Body::Opaque;
        self.expects = framed.checked.expects && ours;
        let due = ours && !framed.checked.expects;
        self.watched
            .enter(if due { Phase::Body } else { Phase::Answer });
    }

    /// Reads once more into the buffer; false at the end of input.
    async fn more(&mut self) -> bool {
        std::future::poll_fn(|cx| {
            let waiting = self.inbound.is_empty();
            let filled = self.poll_fill(cx);
            match filled {
                Poll::Ready(Ok(count)) => {
                    if waiting && count > 0 {
                        self.watched.enter(Phase::Head);
                    }
                    Poll::Ready(count > 0)
                }
                Poll::Ready(Err(_)) => Poll::Ready(false),
                Poll::Pending => {
                    self.inbound.release();
                    self.outbound = Vec::new();
                    Poll::Pending
                }
            }
        })
        .await
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize>> {
        // Whoever waits owns no buffer.
        ready!(self.transport.poll_readable(cx))?;
        let filled = self.inbound.poll_fill(&mut self.transport, cx);
        if let Poll::Ready(Ok(count)) = filled {
            self.received(count);
        }
        filled
    }

    fn received(&mut self, count: usize) {
        self.ended |= count == 0;
        if self.expects && count > 0 {
            self.expects = false;
            self.watched.enter(Phase::Body);
        }
        self.watched.reading.moved(count);
        self.connection.traffic.add_received(count);
    }

    /// The end of input, or why it ended.
    fn end(&self) -> Result<()> {
        match self.watched.violation() {
            Some(violation) => Err(Error::new(ErrorKind::TimedOut, violation)),
            None => Ok(()),
        }
    }

    /// Nothing of this request is left. Waits for the client to go away; what it sends meanwhile
    /// is its next request and stays here, at most one buffer of it.
    ///
    /// A client that ends its sending side is taken to be gone, as nginx and Envoy do: pingora
    /// then abandons the exchange and an upstream does not work for nobody.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        while self.inbound.is_empty() && !self.ended {
            if ready!(self.poll_fill(cx))? == 0 {
                return Poll::Ready(Ok(()));
            }
        }
        if self.ended {
            Poll::Ready(Ok(()))
        } else {
            Poll::Pending
        }
    }

    fn poll_message(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        loop {
            if self.cleared == 0 && !self.inbound.is_empty() {
                self.clear()?;
            }
            if self.cleared > 0 {
                self.head = None;
                self.cleared -= self.inbound.give(buf, self.cleared);
                return Poll::Ready(Ok(()));
            }
            if self.scanner.is_done() {
                return self.poll_gone(cx);
            }
            let certain = self.scanner.certain().min(buf.remaining());
            if certain > 0 {
                return self.poll_direct(cx, buf, certain);
            }
            if ready!(self.poll_fill(cx))? == 0 {
                return Poll::Ready(self.end());
            }
        }
    }

    fn clear(&mut self) -> Result<()> {
        if self.scanner.is_done() {
            return Ok(());
        }
        let scanned = self.scanner.scan(self.inbound.pending(), &self.limits);
        self.cleared = scanned.map_err(|why| Error::new(ErrorKind::InvalidData, why))?;
        self.note_done();
        Ok(())
    }

    /// Reads past our buffer what belongs to the message whatever it is.
    fn poll_direct(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
        most: usize,
    ) -> Poll<Result<()>> {
        let before = buf.filled().len();
        if most == buf.remaining() {
            ready!(Pin::new(&mut self.transport).poll_read(cx, buf))?;
        } else {
            let mut part = ReadBuf::new(buf.initialize_unfilled_to(most));
            ready!(Pin::new(&mut self.transport).poll_read(cx, &mut part))?;
            let count = part.filled().len();
            buf.advance(count);
        }
        let count = buf.filled().len() - before;
        self.advance(count);
        if count == 0 {
            Poll::Ready(self.end())
        } else {
            Poll::Ready(Ok(()))
        }
    }

    /// So much of the message has come past our buffer.
    fn advance(&mut self, count: usize) {
        self.received(count);
        self.scanner.advance(count);
        self.note_done();
    }

    /// Looks at the frames that have just arrived, once this is HTTP/2.
    fn check_frames(&mut self, cx: &mut Context<'_>, fresh: &[u8]) -> Result<()> {
        let Some(frames) = &mut self.frames else {
            return Ok(());
        };
        let sent = self.connection.traffic.sent();
        if frames.allow(fresh, now(), sent, &self.limits) {
            return Ok(());
        }
        // Best effort: `h2` may be in the middle of a frame, and the connection ends either way.
        self.outbound.extend_from_slice(&CALM);
        let _ = self.poll_drain(cx);
        Err(Error::new(
            ErrorKind::InvalidData,
            "too many HTTP/2 control frames",
        ))
    }

    fn note_done(&self) {
        if self.scanner.is_done() {
            self.watched.enter(Phase::Answer);
        }
    }

    fn become_opaque(&mut self) {
        self.scanner = Scanner::new(Body::Opaque);
        self.watched.enter(Phase::Streams);
    }

    /// A response begins. After 101 the connection is no longer HTTP.
    fn note_response(&mut self, start: &[u8]) {
        if start.starts_with(b"HTTP/1.1 101") {
            self.become_opaque();
        }
        if !start.starts_with(b"HTTP/1.1 1") || start.starts_with(b"HTTP/1.1 101") {
            self.upgrade = Upgrade::No;
        }
    }

    /// Sends what was gathered.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        while !self.outbound.is_empty() {
            let sent = ready!(self.poll_send(cx, &[]))?;
            debug_assert_eq!(sent, 0);
        }
        Poll::Ready(Ok(()))
    }

    fn sent(&self, count: usize) {
        self.watched.writing.moved(count);
        self.connection.traffic.add_sent(count);
    }

    /// Sends what was gathered and then `more`, in one call; says how much of `more` went.
    fn poll_send(&mut self, cx: &mut Context<'_>, more: &[IoSlice<'_>]) -> Poll<Result<usize>> {
        let mut slices = smallvec::SmallVec::<[IoSlice<'_>; 8]>::new();
        slices.push(IoSlice::new(&self.outbound));
        slices.extend(more.iter().copied());
        let written = Pin::new(&mut self.transport).poll_write_vectored(cx, &slices);
        drop(slices);
        let Poll::Ready(written) = written else {
            self.watched.writing.wait();
            return Poll::Pending;
        };
        let written = written?;
        if written == 0 {
            return Poll::Ready(Err(ErrorKind::WriteZero.into()));
        }
        self.sent(written);
        let gathered = written.min(self.outbound.len());
        self.outbound.drain(..gathered);
        Poll::Ready(Ok(written - gathered))
    }
}

/// How long a connection of a draining listener waits for one more request.
const LAST_CALL: Duration = Duration::from_millis(250);

/// Resolves when the listener drains, or is gone.
async fn drained(drain: &mut watch::Receiver<bool>) {
    let _ = drain.wait_for(|drain| *drain).await;
}

/// Whether the next bytes may be the HTTP/2 preface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Preface {
    Possible,
    Unexpected,
}

impl AsyncRead for Conn {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let read = this.poll_message(cx, buf);
        if read.is_ready() {
            this.check_frames(cx, buf.filled().get(before..).unwrap_or_default())?;
        } else {
            if !this.scanner.is_done() {
                this.watched.reading.wait();
            }
            // Whoever waits for the client has nothing to add for now: let the client see it.
            if let Poll::Ready(Err(error)) = this.poll_drain(cx) {
                return Poll::Ready(Err(error));
            }
        }
        read
    }
}

impl AsyncWrite for Conn {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        let this = self.get_mut();
        if this.upgrade == Upgrade::Asked {
            this.note_response(bufs.first().map_or(&[], |first| first));
        }
        let size = bufs.iter().map(|slice| slice.len()).sum::<usize>();
        if this.outbound.len() + size <= GATHER {
            this.outbound.reserve(size);
            bufs.iter()
                .for_each(|slice| this.outbound.extend_from_slice(slice));
            return Poll::Ready(Ok(size));
        }
        loop {
            match ready!(this.poll_send(cx, bufs))? {
                0 => {}
                sent => return Poll::Ready(Ok(sent)),
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_drain(cx))?;
        let flushed = Pin::new(&mut this.transport).poll_flush(cx);
        match flushed {
            Poll::Ready(_) => this.watched.writing.moved(0),
            Poll::Pending => this.watched.writing.wait(),
        }
        flushed
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_drain(cx))?;
        Pin::new(&mut this.transport).poll_shutdown(cx)
    }
}

impl Drop for Conn {
    fn drop(&mut self) {
        let rest = !self.scanner.is_done() || !self.inbound.is_empty();
        if rest && !self.ended {
            self.watched.leave_unread();
        }
    }
}

impl std::fmt::Debug for Conn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Conn")
            .field("connection", &self.connection)
            .finish_non_exhaustive()
    }
}
