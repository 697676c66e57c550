//! The response on its way to the client: heads are judged and rewritten, the body passes piece by
//! piece. Nothing is read from the endpoint before the client has taken what there is.

use std::io;
use std::ops::Range;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use super::client::{Client, Reception};
use super::request::Request;
use super::response::{Framing, Response, Scan};
use super::wire::Outgoing;
use crate::pipe::{Pipe, Pipes, WORTHWHILE_BYTES};
use crate::proxy::Gateway;
use crate::proxy::chunked::{ChunkLimits, Chunks};
use crate::proxy::endpoint::Answer;
use crate::proxy::exchange::Exchange;
use crate::proxy::failure::Kind;

/// What a first read from the endpoint may bring.
const ROOM_FIRST: usize = 8 << 10;
/// What later ones may, once a read has filled what there was: of bodies that no pipe carries. Clients that
/// do not read cost as much each.
const ROOM_MOST: usize = 64 << 10;

/// A response on its way.
#[derive(Debug)]
pub(super) struct Download {
    /// What came from the endpoint; bytes before `start` have been dealt with.
    buffer: Vec<u8>,
    start: usize,
    stage: Stage,
    /// Of `buffer`, for the client.
    piece: Range<usize>,
    /// What is in it is for the client, and nothing else is.
    pipe: Option<Pipe>,
    /// The endpoint has much to say.
    bulk: bool,
    /// The endpoint keeps its connection open.
    kept: bool,
    /// Bytes read so far.
    moved: u64,
}

#[derive(Debug)]
enum Stage {
    Head(Scan),
    Length(u64),
    Chunked(Chunks),
    UntilClose,
    Over,
}

/// What a download waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Halt {
    Client,
    Endpoint,
    /// The client has it all.
    Over,
}

/// Who takes part in a download.
pub(super) struct Parties<'p, C> {
    pub(super) gateway: &'p Gateway,
    pub(super) pipes: &'p Arc<Pipes>,
    pub(super) request: &'p Request,
    pub(super) client: &'p mut C,
    pub(super) endpoint: &'p mut TcpStream,
    pub(super) reception: &'p mut Reception,
    pub(super) x: &'p mut Exchange,
}

impl Download {
    pub(super) fn new() -> Self {
        Self {
            buffer: Vec::with_capacity(ROOM_FIRST),
            start: 0,
            stage: Stage::Head(Scan::default()),
            piece: 0..0,
            pipe: None,
            bulk: false,
            kept: false,
            moved: 0,
        }
    }

    /// The endpoint's connection is at the beginning of another response, if any.
    pub(super) fn leaves_reusable(&self) -> bool {
        self.kept && self.rest().is_empty() && matches!(self.stage, Stage::Over)
    }

    /// Bytes read so far: as long as it grows, the endpoint has not fallen silent.
    pub(super) const fn moved(&self) -> u64 {
        self.moved
    }

    /// Moves what can be moved now.
    ///
    /// # Errors
    /// Whoever failed.
    pub(super) fn advance<C: Client>(
        &mut self,
        parties: &mut Parties<'_, C>,
        cx: &mut Context<'_>,
    ) -> Result<Halt, Kind> {
        loop {
            if self.poll_push(parties, cx)?.is_pending() {
                return Ok(Halt::Client);
            }
            if self.prepare(parties)? {
                continue;
            }
            let over = matches!(self.stage, Stage::Over);
            let seen = match over {
                true => parties.client.poll_end(cx),
                false => parties.client.poll_flush(cx),
            };
            if seen.map_err(lost)?.is_pending() {
                return Ok(Halt::Client);
            }
            if over {
                return Ok(Halt::Over);
            }
            if self.poll_fill(parties, cx)?.is_pending() {
                return Ok(Halt::Endpoint);
            }
        }
    }

    fn rest(&self) -> &[u8] {
        self.buffer.get(self.start..).unwrap_or_default()
    }

    /// Gives the client what is in the pipe.
    fn poll_pour<C: Client>(
        &mut self,
        parties: &mut Parties<'_, C>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(pipe) = &mut self.pipe else {
            return Poll::Ready(Ok(()));
        };
        let before = pipe.held();
        let poured = parties.client.poll_pour(pipe, cx);
        parties.reception.sent += (before - pipe.held()) as u64;
        ready!(poured)?;
        self.pipe = None;
        Poll::Ready(Ok(()))
    }

    /// Gives the client what is in the pipe, or the piece that is prepared.
    fn poll_push<C: Client>(
        &mut self,
        parties: &mut Parties<'_, C>,
        cx: &mut Context<'_>,
    ) -> Result<Poll<()>, Kind> {
        if self.poll_pour(parties, cx).map_err(lost)?.is_pending() {
            return Ok(Poll::Pending);
        }
        let piece = self.buffer.get(self.piece.clone()).unwrap_or_default();
        if piece.is_empty() {
            return Ok(Poll::Ready(()));
        }
        let last = matches!(self.stage, Stage::Length(0));
        let taken = parties.client.poll_piece(piece, last, cx);
        if taken.map_err(lost)?.is_pending() {
            return Ok(Poll::Pending);
        }
        parties.reception.sent += piece.len() as u64;
        self.start = self.piece.end;
        self.piece = 0..0;
        Ok(Poll::Ready(()))
    }

    /// Makes the next thing for the client out of what has arrived; false where more must arrive.
    fn prepare<C: Client>(&mut self, parties: &mut Parties<'_, C>) -> Result<bool, Kind> {
        let available = self.rest().len();
        match &mut self.stage {
            Stage::Head(_) => self.prepare_head(parties),
            Stage::Length(0) => {
                self.stage = Stage::Over;
                Ok(true)
            }
            Stage::Length(left) => {
                let size = usize::try_from(*left).unwrap_or(usize::MAX).min(available);
                *left -= size as u64;
                self.piece = self.start..self.start + size;
                Ok(size > 0)
            }
            Stage::UntilClose => {
                self.piece = self.start..self.start + available;
                Ok(available > 0)
            }
            Stage::Chunked(_) => self.prepare_chunk(),
            Stage::Over => Ok(false),
        }
    }

    fn prepare_chunk(&mut self) -> Result<bool, Kind> {
        let bytes = self.buffer.get(self.start..).unwrap_or_default();
        let Stage::Chunked(chunks) = &mut self.stage else {
            return Ok(false);
        };
        let piece = chunks.next(bytes, &ChunkLimits::DEFAULT);
        let piece = piece.map_err(|_| Kind::InvalidResponse)?;
        let over = chunks.is_done();
        self.start += piece.framing;
        self.piece = self.start..self.start + piece.content;
        if over {
            self.stage = Stage::Over;
        }
        Ok(over || piece.content > 0)
    }

    /// Judges the next head, once it is complete, and writes it anew.
    fn prepare_head<C: Client>(&mut self, parties: &mut Parties<'_, C>) -> Result<bool, Kind> {
        let Stage::Head(scan) = &mut self.stage else {
            return Ok(false);
        };
        let bytes = self.buffer.get(self.start..).unwrap_or_default();
        let limit = parties.gateway.shared.upstream.header_bytes_max;
        let Some(length) = scan.end(bytes, limit).map_err(|_| Kind::InvalidResponse)? else {
            return Ok(false);
        };
        let raw = bytes.get(..length).unwrap_or_default();
        let response = Response::parse(raw).map_err(|_| Kind::InvalidResponse)?;
        let received = parties
            .gateway
            .receive(response.status, &response.fields, parties.x);
        let (answer, edits) = received?;
        let framing = response.framing(parties.request.head().method);
        let head = Outgoing {
            status: response.status,
            reason: Some(response.reason),
            fields: &response.fields,
            edits,
            offers: false,
        };
        self.stage = match answer {
            Answer::Interim => {
                parties.reception.interim = true;
                parties.client.inform(&head);
                Stage::Head(Scan::default())
            }
            Answer::Switch => return Err(Kind::InvalidResponse),
            Answer::Final => {
                parties.reception.answered = true;
                self.kept = response.is_kept() && framing != Framing::UntilClose;
                let keep = parties.reception.keep(parties.x);
                let begun = parties.client.begin(head, framing, keep);
                begun.map_err(lost)?;
                Stage::of(framing)
            }
        };
        self.start += length;
        Ok(true)
    }

    /// Takes once what the endpoint has to say.
    fn poll_fill<C: Client>(
        &mut self,
        parties: &mut Parties<'_, C>,
        cx: &mut Context<'_>,
    ) -> Result<Poll<()>, Kind> {
        let taken = match self.pipe_for(parties) {
            Some((pipe, most)) => self.poll_draw(pipe, most, parties.endpoint, cx),
            None => self.poll_read(parties.endpoint, cx).map_ok(Some),
        };
        let Poll::Ready(taken) = taken else {
            return Ok(Poll::Pending);
        };
        match taken.map_err(|error| Kind::of_upstream(error.kind(), Kind::Closed))? {
            Some(0) => self.end()?,
            Some(count) => self.moved += count as u64,
            None => {}
        }
        Ok(Poll::Ready(()))
    }

    fn poll_read(
        &mut self,
        endpoint: &mut TcpStream,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        self.make_room();
        let read = pin!(endpoint.read_buf(&mut self.buffer)).poll(cx);
        self.bulk = self.buffer.len() == self.buffer.capacity();
        read
    }

    /// Where much of a body is to come and its bytes may go as they are; and how many are its.
    fn pipe_for(&self, parties: &Parties<'_, impl Client>) -> Option<(Pipe, usize)> {
        let Stage::Length(left) = self.stage else {
            return None;
        };
        let left = usize::try_from(left).unwrap_or(usize::MAX);
        let worthwhile = self.bulk && left >= WORTHWHILE_BYTES;
        let possible = self.rest().is_empty() && parties.client.is_pourable();
        let pipe = (worthwhile && possible).then(|| parties.pipes.lend())?;
        Some((pipe?, left))
    }

    fn poll_draw(
        &mut self,
        mut pipe: Pipe,
        most: usize,
        endpoint: &TcpStream,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Option<usize>>> {
        let drawn = ready!(pipe.poll_fill(endpoint, most, cx))?;
        if let (Stage::Length(left), Some(count)) = (&mut self.stage, drawn) {
            *left -= count as u64;
            self.pipe = Some(pipe);
        }
        Poll::Ready(Ok(drawn))
    }

    /// The endpoint has closed.
    fn end(&mut self) -> Result<(), Kind> {
        if !matches!(self.stage, Stage::UntilClose) {
            return Err(Kind::Closed);
        }
        self.stage = Stage::Over;
        Ok(())
    }

    /// Room behind what has not been dealt with; more than before where all of it was needed.
    fn make_room(&mut self) {
        self.buffer.drain(..self.start);
        (self.start, self.piece) = (0, 0..0);
        if self.bulk {
            let room = (self.buffer.capacity() * 2).min(ROOM_MOST);
            let more = room.saturating_sub(self.buffer.len()).max(ROOM_FIRST);
            self.buffer.reserve(more);
        }
    }
}

impl Stage {
    fn of(framing: Framing) -> Self {
        match framing {
            Framing::Length(length) => Self::Length(length),
            Framing::Chunked => Self::Chunked(Chunks::new()),
            Framing::UntilClose => Self::UntilClose,
        }
    }
}

/// Nobody but the client fails while something is sent to it.
fn lost(_: io::Error) -> Kind {
    Kind::ClientGone
}
