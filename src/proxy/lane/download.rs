//! The response on its way to the client: heads are judged and rewritten, the body passes piece by
//! piece. Nothing is read from the endpoint before the client has taken what there is.

use std::io::IoSlice;
use std::ops::Range;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use super::client::{Client, Reception};
use super::request::Request;
use super::response::{Framing, Response, Scan};
use super::wire::{END_OF_CHUNKS, Outgoing, write_chunk_size, write_head};
use crate::proxy::Gateway;
use crate::proxy::chunked::{ChunkLimits, Chunks};
use crate::proxy::endpoint::Answer;
use crate::proxy::exchange::Exchange;
use crate::proxy::failure::Kind;

/// What a first read from the endpoint may bring.
const ROOM_FIRST: usize = 8 << 10;
/// What later ones may, once a read has filled what there was.
const ROOM_MOST: usize = 64 << 10;

/// Nearly every head fits.
const HEAD_BYTES_USUAL: usize = 512;

/// A response on its way.
#[derive(Debug)]
pub(super) struct Download {
    /// What came from the endpoint; bytes before `start` have been dealt with.
    buffer: Vec<u8>,
    start: usize,
    stage: Stage,
    /// For the client: `ahead`, then the piece of `buffer`, then `behind`; `written` bytes of all
    /// three have gone.
    ahead: Vec<u8>,
    piece: Range<usize>,
    behind: &'static [u8],
    written: usize,
    /// The endpoint keeps its connection open.
    kept: bool,
    /// Bytes read and written so far.
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
            ahead: Vec::with_capacity(HEAD_BYTES_USUAL),
            piece: 0..0,
            behind: b"",
            written: 0,
            kept: false,
            moved: 0,
        }
    }

    /// The endpoint's connection is at the beginning of another response, if any.
    pub(super) fn leaves_reusable(&self) -> bool {
        self.kept && self.rest().is_empty() && matches!(self.stage, Stage::Over)
    }

    /// Bytes read and written so far: as long as it grows, something happens.
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
            if flushed(parties.client, cx)?.is_pending() {
                return Ok(Halt::Client);
            }
            if matches!(self.stage, Stage::Over) {
                return Ok(Halt::Over);
            }
            if self.poll_fill(parties.endpoint, cx)?.is_pending() {
                return Ok(Halt::Endpoint);
            }
        }
    }

    fn rest(&self) -> &[u8] {
        self.buffer.get(self.start..).unwrap_or_default()
    }

    /// Gives the client everything that is prepared.
    fn poll_push<C: Client>(
        &mut self,
        parties: &mut Parties<'_, C>,
        cx: &mut Context<'_>,
    ) -> Result<Poll<()>, Kind> {
        let whole = self.ahead.len() + self.piece.len() + self.behind.len();
        while self.written < whole {
            let piece = self.buffer.get(self.piece.clone()).unwrap_or_default();
            let slices = unwritten([&self.ahead, piece, self.behind], self.written);
            match Pin::new(&mut *parties.client).poll_write_vectored(cx, &slices) {
                Poll::Ready(Ok(count)) if count > 0 => {
                    self.written += count;
                    self.moved += count as u64;
                }
                Poll::Ready(_) => return Err(Kind::ClientGone),
                Poll::Pending => return Ok(Poll::Pending),
            }
        }
        parties.reception.sent += self.piece.len() as u64;
        self.start = self.start.max(self.piece.end);
        self.ahead.clear();
        (self.piece, self.behind, self.written) = (0..0, b"", 0);
        Ok(Poll::Ready(()))
    }

    /// Makes the next thing for the client out of what has arrived; false where more must arrive.
    fn prepare<C>(&mut self, parties: &mut Parties<'_, C>) -> Result<bool, Kind> {
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
                self.chunk(available);
                Ok(available > 0)
            }
            Stage::Chunked(_) => self.prepare_chunk(),
            Stage::Over => Ok(false),
        }
    }

    /// The next `size` bytes are a chunk of their own.
    fn chunk(&mut self, size: usize) {
        if size > 0 {
            write_chunk_size(size, &mut self.ahead);
            self.piece = self.start..self.start + size;
            self.behind = b"\r\n";
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
        self.chunk(piece.content);
        if over {
            self.ahead.extend_from_slice(END_OF_CHUNKS);
            self.stage = Stage::Over;
        }
        Ok(over || piece.content > 0)
    }

    /// Judges the next head, once it is complete, and writes it anew.
    fn prepare_head<C>(&mut self, parties: &mut Parties<'_, C>) -> Result<bool, Kind> {
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
        let mut head = Outgoing {
            status: response.status,
            reason: Some(response.reason),
            fields: &response.fields,
            edits,
        };
        self.stage = match answer {
            Answer::Interim => {
                parties.reception.interim = true;
                Stage::Head(Scan::default())
            }
            Answer::Switch => return Err(Kind::InvalidResponse),
            Answer::Final => {
                parties.reception.answered = true;
                self.kept = response.is_kept() && framing != Framing::UntilClose;
                head.finish(
                    framing == Framing::UntilClose,
                    parties.reception.keep(parties.x),
                );
                Stage::of(framing)
            }
        };
        write_head(&head, &mut self.ahead);
        self.start += length;
        Ok(true)
    }

    /// Reads once from the endpoint.
    fn poll_fill(
        &mut self,
        endpoint: &mut TcpStream,
        cx: &mut Context<'_>,
    ) -> Result<Poll<()>, Kind> {
        self.make_room();
        let read = match pin!(endpoint.read_buf(&mut self.buffer)).poll(cx) {
            Poll::Ready(read) => read,
            Poll::Pending => return Ok(Poll::Pending),
        };
        match read.map_err(|error| Kind::of_upstream(error.kind(), Kind::Closed))? {
            0 => self.end().map(Poll::Ready),
            count => {
                self.moved += count as u64;
                Ok(Poll::Ready(()))
            }
        }
    }

    /// The endpoint has closed.
    fn end(&mut self) -> Result<(), Kind> {
        if !matches!(self.stage, Stage::UntilClose) {
            return Err(Kind::Closed);
        }
        self.ahead.extend_from_slice(END_OF_CHUNKS);
        self.stage = Stage::Over;
        Ok(())
    }

    /// Room behind what has not been dealt with; more than before where all of it was needed.
    fn make_room(&mut self) {
        let full = self.buffer.len() == self.buffer.capacity();
        self.buffer.drain(..self.start);
        (self.start, self.piece) = (0, 0..0);
        if full {
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

fn flushed(client: &mut impl Client, cx: &mut Context<'_>) -> Result<Poll<()>, Kind> {
    match Pin::new(client).poll_flush(cx) {
        Poll::Ready(Ok(())) => Ok(Poll::Ready(())),
        Poll::Ready(Err(_)) => Err(Kind::ClientGone),
        Poll::Pending => Ok(Poll::Pending),
    }
}

/// The slices without their first `written` bytes.
fn unwritten(slices: [&[u8]; 3], mut written: usize) -> [IoSlice<'_>; 3] {
    slices.map(|slice| {
        let gone = written.min(slice.len());
        written -= gone;
        IoSlice::new(slice.get(gone..).unwrap_or_default())
    })
}
