//! A client's HTTP/2 stream, as pingora has accepted it.

use std::io;
use std::io::ErrorKind;
use std::pin::pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, SendStream};
use http::{HeaderName, HeaderValue};
use pingora::http::ResponseHeader;
use pingora::protocols::http::v2::server::HttpSession;

use super::client::{Client, Stalls};
use super::response::Framing;
use super::wire::Outgoing;
use crate::proxy::edits::Fields;

/// One stream, whose request's head has been taken.
pub(super) struct Http2 {
    session: HttpSession,
    /// Streams wait for themselves: the connection under them may be as busy as can be.
    stalls: Stalls,
    /// Where the body goes, once the head has.
    body: Option<SendStream<Bytes>>,
    /// Bytes of the piece under way that have gone.
    taken: usize,
    /// Bytes of the body that have gone.
    total: u64,
    ended: bool,
}

impl Http2 {
    pub(super) const fn new(session: HttpSession, stalls: Stalls) -> Self {
        Self {
            session,
            stalls,
            body: None,
            taken: 0,
            total: 0,
            ended: false,
        }
    }

    /// Sends as much of `left` as the client takes now.
    fn poll_send(
        body: &mut SendStream<Bytes>,
        left: &[u8],
        last: bool,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        body.reserve_capacity(left.len());
        let capacity = match ready!(body.poll_capacity(cx)) {
            Some(capacity) => capacity.map_err(gone)?,
            None => return Poll::Ready(Err(ErrorKind::BrokenPipe.into())),
        };
        let count = capacity.min(left.len());
        let piece = Bytes::copy_from_slice(left.get(..count).unwrap_or_default());
        body.send_data(piece, last && count == left.len())
            .map_err(gone)?;
        Poll::Ready(Ok(count))
    }
}

impl Client for Http2 {
    fn stalls(&self) -> Option<Stalls> {
        Some(self.stalls)
    }

    fn taken(&self) -> u64 {
        self.total
    }

    /// The stream is reset with NO_ERROR then (RFC 9113 §8.1).
    fn may_leave_rest(&self) -> bool {
        true
    }

    fn poll_body(&mut self, into: &mut Vec<u8>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        loop {
            match ready!(self.session.poll_read_body_bytes(cx)) {
                None => return Poll::Ready(Ok(0)),
                Some(Err(error)) => return Poll::Ready(Err(gone(error))),
                Some(Ok(data)) if data.is_empty() => {}
                Some(Ok(data)) => {
                    into.extend_from_slice(&data);
                    return Poll::Ready(Ok(data.len()));
                }
            }
        }
    }

    fn is_gone(&mut self, cx: &mut Context<'_>) -> bool {
        match &mut self.body {
            Some(body) => body.poll_reset(cx).is_ready(),
            None => pin!(self.session.idle()).poll(cx).is_ready(),
        }
    }

    /// The `h2` crate sends one head.
    fn inform(&mut self, _: &Outgoing<'_, impl Fields>) {}

    fn begin(
        &mut self,
        head: Outgoing<'_, impl Fields>,
        framing: Framing,
        _keep: bool,
    ) -> io::Result<()> {
        let end = framing == Framing::Length(0);
        let header = header(head).map_err(|_| io::Error::from(ErrorKind::InvalidData))?;
        self.session
            .write_response_header(header, end)
            .map_err(|_| io::Error::from(ErrorKind::BrokenPipe))?;
        self.body = self.session.take_response_body_writer();
        self.ended = end;
        Ok(())
    }

    fn poll_piece(
        &mut self,
        piece: &[u8],
        last: bool,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(body) = &mut self.body else {
            return Poll::Ready(Err(ErrorKind::NotConnected.into()));
        };
        while let Some(left) = piece.get(self.taken..).filter(|left| !left.is_empty()) {
            let count = ready!(Self::poll_send(body, left, last, cx))?;
            self.taken += count;
            self.total += count as u64;
        }
        self.taken = 0;
        self.ended = last;
        Poll::Ready(Ok(()))
    }

    /// The connection's own task sends.
    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_end(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let (Some(body), false) = (&mut self.body, self.ended) {
            body.send_data(Bytes::new(), true).map_err(gone)?;
        }
        self.ended = true;
        Poll::Ready(Ok(()))
    }

    fn abort(&mut self) {
        match &mut self.body {
            Some(body) if !self.ended => body.send_reset(Reason::INTERNAL_ERROR),
            Some(_) => {}
            None => self.session.shutdown(),
        }
    }
}

fn header(head: Outgoing<'_, impl Fields>) -> pingora::Result<Box<ResponseHeader>> {
    let mut header = ResponseHeader::build_no_case(head.status, Some(16))?;
    for (name, value) in head.edits.kept(head.fields) {
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name), HeaderValue::from_bytes(value))
        {
            header.append_header(name, value)?;
        }
    }
    head.edits.apply(&mut header)?;
    Ok(Box::new(header))
}

fn gone(error: h2::Error) -> io::Error {
    error
        .into_io()
        .unwrap_or_else(|| ErrorKind::ConnectionReset.into())
}

impl std::fmt::Debug for Http2 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Http2")
            .field("request", self.session.req_header())
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}
