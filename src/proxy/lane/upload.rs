//! The request on its way to the endpoint: head and body, piece by piece, never more of it in memory
//! than one piece and what another attempt would need.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;
use tokio::net::TcpStream;

use super::client::Client;
use super::request::{Body as Framed, Request};
use super::wire::write_chunk;
use crate::pipe::{Pipe, Pipes, WORTHWHILE_BYTES};
use crate::proxy::chunked::{ChunkLimits, Chunks};
use crate::proxy::exchange::Exchange;
use crate::proxy::failure::{Body, Kind};

/// What a first read from the client may bring.
const PIECE_FIRST: usize = 16 << 10;
/// What later ones may, once a read has filled what there was.
const PIECE_MOST: usize = 64 << 10;

/// Nearly every head fits.
const HEAD_BYTES_USUAL: usize = 1 << 10;

/// The longest body that is kept for another attempt; pingora keeps as much.
const REPLAY_BYTES_MAX: usize = 64 << 10;

/// The transport has checked bodies against the limits of the settings.
const CHECKED: ChunkLimits = ChunkLimits {
    extensions: usize::MAX,
    trailers: usize::MAX,
};

/// A request on its way.
#[derive(Debug)]
pub(super) struct Upload {
    rest: Rest,
    /// Bytes for the endpoint, of which `written` have gone.
    pending: Vec<u8>,
    written: usize,
    /// What is in it is for the endpoint, behind what is pending.
    pipe: Option<Pipe>,
    /// The body as the client sent it, where it is to be framed anew.
    raw: Vec<u8>,
    /// Room for the next read.
    room: usize,
    /// Whether the request may be sent again after any of it was.
    repeatable: bool,
    /// The body so far, as it was sent; `None` once it is lost.
    replay: Option<Vec<u8>>,
    /// The endpoint takes no more.
    broken: Option<Kind>,
    /// Bytes read and written so far.
    moved: u64,
}

/// What the client still owes.
#[derive(Debug)]
enum Rest {
    Length(u64),
    Chunked(Chunks),
    Open,
    Nothing,
}

impl Rest {
    const fn of(body: Framed) -> Self {
        match body {
            Framed::None => Self::Nothing,
            Framed::Length(length) => Self::Length(length),
            Framed::Chunked => Self::Chunked(Chunks::new()),
            Framed::Open => Self::Open,
        }
    }
}

/// Who takes part in an upload.
pub(super) struct Ends<'e, C> {
    pub(super) client: &'e mut C,
    pub(super) endpoint: &'e mut TcpStream,
    pub(super) pipes: &'e Arc<Pipes>,
    pub(super) x: &'e mut Exchange,
}

/// Where an upload stands when it cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Halt {
    /// Waits for the client.
    Client,
    /// Waits for the endpoint.
    Endpoint,
    /// The endpoint has it all, or takes no more.
    Over,
}

impl Upload {
    pub(super) fn new(request: &Request) -> Self {
        Self {
            rest: Rest::of(request.body()),
            pending: Vec::new(),
            written: 0,
            pipe: None,
            raw: Vec::new(),
            room: PIECE_FIRST,
            repeatable: request.head().method.is_idempotent(),
            replay: Some(Vec::new()),
            broken: None,
            moved: 0,
        }
    }

    /// Begins an attempt: `write` writes the head, and what of the body was sent before follows.
    pub(super) fn begin(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        self.pending.clear();
        self.pending.reserve(HEAD_BYTES_USUAL);
        self.written = 0;
        self.pipe = None;
        self.broken = None;
        write(&mut self.pending);
        if let Some(replay) = &self.replay {
            self.pending.extend_from_slice(replay);
        }
    }

    /// Whether another attempt could begin.
    pub(super) const fn body(&self) -> Body {
        match self.replay {
            Some(_) => Body::Replayable,
            None => Body::Spent,
        }
    }

    /// All of the request has gone to the endpoint.
    pub(super) const fn is_complete(&self) -> bool {
        matches!(self.rest, Rest::Nothing) && self.pending.is_empty() && self.broken.is_none()
    }

    /// The client has sent all of it.
    pub(super) const fn is_read(&self) -> bool {
        matches!(self.rest, Rest::Nothing)
    }

    /// Bytes read and written so far: as long as it grows, something happens.
    pub(super) const fn moved(&self) -> u64 {
        self.moved
    }

    /// Why the endpoint takes no more.
    pub(super) const fn broken(&self) -> Option<Kind> {
        self.broken
    }

    /// Moves what can be moved now.
    ///
    /// # Errors
    /// The client's: it is gone, or wrong, or says too much.
    pub(super) fn advance<C: Client>(
        &mut self,
        ends: &mut Ends<'_, C>,
        cx: &mut Context<'_>,
    ) -> Result<Halt, Kind> {
        loop {
            if self.broken.is_some() {
                return Ok(Halt::Over);
            }
            if self.poll_write(ends.endpoint, cx).is_pending() {
                return Ok(Halt::Endpoint);
            }
            if self.broken.is_none() && matches!(self.rest, Rest::Nothing) {
                return Ok(Halt::Over);
            }
            if self.broken.is_none() {
                match self.poll_read(ends, cx) {
                    Poll::Ready(read) => read?,
                    Poll::Pending => return Ok(Halt::Client),
                }
            }
        }
    }

    /// Sends everything that is pending, or finds that the endpoint takes no more.
    fn poll_write(&mut self, endpoint: &mut TcpStream, cx: &mut Context<'_>) -> Poll<()> {
        while self.is_owed() {
            match ready!(self.poll_send(endpoint, cx)) {
                Ok(0) => self.broken = Some(Kind::WriteFailed),
                Ok(count) => self.moved += count as u64,
                Err(error) => {
                    self.broken = Some(Kind::of_upstream(error.kind(), Kind::WriteFailed));
                }
            }
            if self.broken.is_some() {
                return Poll::Ready(());
            }
        }
        self.pending.clear();
        self.written = 0;
        self.pipe = None;
        Poll::Ready(())
    }

    fn is_owed(&self) -> bool {
        let piped = self.pipe.as_ref().is_some_and(|pipe| pipe.held() > 0);
        piped || self.written < self.pending.len()
    }

    fn poll_send(
        &mut self,
        endpoint: &mut TcpStream,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        match (self.pending.get(self.written..), &mut self.pipe) {
            (None | Some([]), Some(pipe)) => pipe.poll_pour(endpoint, cx),
            (left, _) => {
                let left = left.unwrap_or_default();
                let count = ready!(Pin::new(endpoint).poll_write(cx, left))?;
                self.written += count;
                Poll::Ready(Ok(count))
            }
        }
    }

    /// Takes one piece of the body from the client, framed for the endpoint. Nothing is pending.
    fn poll_read<C: Client>(
        &mut self,
        ends: &mut Ends<'_, C>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Kind>> {
        let count = match self.pipe_for(ends) {
            Some(pipe) => ready!(self.poll_draw(pipe, ends.client, cx)),
            None => ready!(self.poll_piece(ends.client, cx)).map(Some),
        };
        let count = match count {
            Ok(None) => return Poll::Ready(Ok(())),
            Ok(Some(0)) if !matches!(self.rest, Rest::Open) => {
                return Poll::Ready(Err(Kind::ClientGone));
            }
            Ok(Some(count)) => count,
            Err(error) => return Poll::Ready(Err(Kind::of_client_read(error.kind()))),
        };
        self.moved += count as u64;
        Poll::Ready(self.take(count, ends.x))
    }

    /// Where much of a body is to come, and goes as it is and only once.
    fn pipe_for(&self, ends: &Ends<'_, impl Client>) -> Option<Pipe> {
        let once = self.replay.is_none() && matches!(self.rest, Rest::Length(_));
        let worthwhile = self.room == PIECE_MOST && ends.client.drawable() >= WORTHWHILE_BYTES;
        (once && worthwhile).then(|| ends.pipes.lend())?
    }

    fn poll_draw(
        &mut self,
        mut pipe: Pipe,
        client: &mut impl Client,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Option<usize>>> {
        let drawn = ready!(client.poll_draw(&mut pipe, cx))?;
        self.pipe = Some(pipe);
        Poll::Ready(Ok(drawn))
    }

    fn poll_piece(
        &mut self,
        client: &mut impl Client,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let into = match &self.rest {
            Rest::Chunked(_) | Rest::Open => &mut self.raw,
            Rest::Length(_) | Rest::Nothing => &mut self.pending,
        };
        into.clear();
        into.reserve(self.room);
        let count = ready!(client.poll_body(into, cx))?;
        if count >= self.room {
            self.room = PIECE_MOST;
        }
        Poll::Ready(Ok(count))
    }

    fn take(&mut self, count: usize, x: &mut Exchange) -> Result<(), Kind> {
        let ends = match &mut self.rest {
            Rest::Nothing => true,
            Rest::Length(left) => {
                x.count_received(count)?;
                *left = left.saturating_sub(count as u64);
                *left == 0
            }
            Rest::Chunked(chunks) => rechunk(chunks, &self.raw, &mut self.pending, x)?,
            Rest::Open => {
                x.count_received(count)?;
                write_chunk(&self.raw, &mut self.pending);
                count == 0
            }
        };
        if ends {
            self.rest = Rest::Nothing;
        }
        self.keep();
        Ok(())
    }

    fn keep(&mut self) {
        let Some(replay) = &mut self.replay else {
            return;
        };
        let fits = replay.len() + self.pending.len() <= REPLAY_BYTES_MAX;
        if !(self.repeatable && fits) {
            self.replay = None;
        } else {
            replay.extend_from_slice(&self.pending);
        }
    }
}

/// Frames the content of `raw` anew, without extensions and trailers; true at the end.
fn rechunk(
    chunks: &mut Chunks,
    mut raw: &[u8],
    out: &mut Vec<u8>,
    x: &mut Exchange,
) -> Result<bool, Kind> {
    while !raw.is_empty() && !chunks.is_done() {
        let piece = chunks
            .next(raw, &CHECKED)
            .map_err(|_| Kind::ClientMalformed)?;
        let (_, behind) = raw.split_at_checked(piece.framing).unwrap_or_default();
        let (content, behind) = behind.split_at_checked(piece.content).unwrap_or_default();
        raw = behind;
        x.count_received(content.len())?;
        if !content.is_empty() {
            write_chunk(content, out);
        }
    }
    if chunks.is_done() {
        write_chunk(b"", out);
    }
    Ok(chunks.is_done())
}
