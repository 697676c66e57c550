//! One direction of a session: what one side says, on its way to the other.
//!
//! No more than one buffer or one pipe is ever between them: nothing is read while the other side
//! has not taken what was read before, so that a slow reader slows its writer.

use std::io::{ErrorKind, Result};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use tokio::io::ReadBuf;

use super::inspector::Verdict;
use super::side::Side;
use super::stats::Cause;
use super::supplies::{BUFFER_BYTES, Supplies};
use crate::pipe::Pipe;

/// How often a flow reads or writes before others get their turn: a mebibyte at most.
const ROUNDS: usize = 8;

/// The most bytes that one system call moves through a pipe.
const SPLICE_BYTES: usize = 1 << 20;

/// Below this a pipe moves no more than a buffer would.
const BULK_BYTES: usize = 8 << 10;

/// Why a flow ends before its speaker is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    /// The side that speaks broke.
    From,
    /// The side that listens did.
    To,
    /// What was said may not be handed on.
    Barred(Cause),
}

/// What was read and not yet written.
#[derive(Debug, Default)]
enum Held {
    #[default]
    Nothing,
    Copied {
        buffer: Box<[u8]>,
        begin: usize,
        end: usize,
    },
    Piped(Pipe),
}

/// Who looks at what a speaker says.
pub(super) trait Gate {
    /// Whether it must see bytes, so that the kernel may not move them.
    fn reads(&self) -> bool;

    /// A piece of so many bytes was said; where they can be seen, they may be changed.
    fn judge(&mut self, count: usize, bytes: Option<&mut [u8]>) -> Verdict;
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Open,
    /// The speaker is done; what it said is still to be handed on.
    Ending,
    Ended,
}

#[derive(Debug, Default)]
pub(super) struct Flow {
    held: Held,
    stage: Stage,
    /// Bytes handed on.
    bytes: u64,
    /// Rises whenever anything moves.
    steps: u64,
    /// The speaker has much to say: the kernel may move it, where it can.
    bulk: bool,
    /// The listener may keep something back.
    unflushed: bool,
    /// Until when what is held stays.
    delayed: Option<Instant>,
}

impl Flow {
    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) const fn steps(&self) -> u64 {
        self.steps
    }

    /// Whether something waits for the listener.
    pub(super) const fn is_held(&self) -> bool {
        !matches!(self.held, Held::Nothing)
    }

    /// Until when what is held is kept, whoever waits for it.
    pub(super) const fn delayed(&self) -> Option<Instant> {
        self.delayed
    }

    /// Has something to hand on before anything is read; no more than a buffer holds.
    pub(super) fn begin_with(&mut self, bytes: &[u8], supplies: &Supplies) {
        let mut buffer = supplies.buffer();
        if let (false, Some(space)) = (bytes.is_empty(), buffer.get_mut(..bytes.len())) {
            space.copy_from_slice(bytes);
            let (begin, end) = (0, bytes.len());
            self.held = Held::Copied { buffer, begin, end };
        }
    }

    /// Nothing more is carried.
    pub(super) fn give_up(&mut self) {
        self.held = Held::Nothing;
        self.stage = Stage::Ended;
    }

    /// Moves what can be moved. Ready once the speaker is done and the listener knows.
    pub(super) fn poll<F: Side, T: Side>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut F,
        to: &mut T,
        supplies: &Arc<Supplies>,
        gate: &mut impl Gate,
    ) -> Poll<std::result::Result<(), Broken>> {
        if self.is_delayed() {
            return Poll::Pending;
        }
        for _ in 0..ROUNDS {
            if self.is_held() {
                ready!(self.drain(cx, to, supplies)).map_err(|_| Broken::To)?;
                continue;
            }
            match self.stage {
                Stage::Ended => return Poll::Ready(Ok(())),
                Stage::Ending => {
                    // A listener that is gone need not be told.
                    let _ = ready!(Pin::new(&mut *to).poll_shutdown(cx));
                    self.stage = Stage::Ended;
                }
                Stage::Open => match self.fill(cx, from, to, supplies, gate.reads()) {
                    Poll::Ready(filled) => {
                        filled.map_err(|_| Broken::From)?;
                        if !self.passes(gate)? {
                            return Poll::Pending;
                        }
                    }
                    Poll::Pending => return self.flush(cx, to),
                },
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn is_delayed(&mut self) -> bool {
        let until = self.delayed.take_if(|until| *until <= Instant::now());
        until.is_none() && self.delayed.is_some()
    }

    /// Asks about what was just read. False: it stays for a while.
    fn passes(&mut self, gate: &mut impl Gate) -> std::result::Result<bool, Broken> {
        let verdict = match &mut self.held {
            Held::Nothing => return Ok(true),
            Held::Copied { buffer, begin, end } => {
                gate.judge(*end - *begin, buffer.get_mut(*begin..*end))
            }
            Held::Piped(pipe) => gate.judge(pipe.held(), None),
        };
        match verdict {
            Verdict::Pass => Ok(true),
            Verdict::Hold(until) => {
                self.delayed = Some(until);
                Ok(false)
            }
            Verdict::End(cause) => Err(Broken::Barred(cause)),
        }
    }

    /// Nothing more to read for now, so what the listener keeps back has to go.
    fn flush<T: Side>(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut T,
    ) -> Poll<std::result::Result<(), Broken>> {
        if self.unflushed {
            ready!(Pin::new(to).poll_flush(cx)).map_err(|_| Broken::To)?;
            self.unflushed = false;
        }
        Poll::Pending
    }

    fn fill<F: Side, T: Side>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut F,
        to: &T,
        supplies: &Arc<Supplies>,
        seen: bool,
    ) -> Poll<Result<()>> {
        let bare = from.is_bare() && to.is_bare();
        let by_kernel = self.bulk && bare && !seen;
        if by_kernel {
            ready!(from.socket().poll_read_ready(cx))?;
            if let Some(pipe) = supplies.pipes.lend() {
                return self.fill_pipe(cx, from, pipe);
            }
        }
        self.fill_buffer(cx, from, supplies)
    }

    fn fill_pipe<F: Side>(
        &mut self,
        cx: &mut Context<'_>,
        from: &F,
        mut pipe: Pipe,
    ) -> Poll<Result<()>> {
        if let Some(count) = ready!(pipe.poll_fill(from.socket(), SPLICE_BYTES, cx))? {
            self.bulk = count >= BULK_BYTES;
            self.take(count, Held::Piped(pipe));
        }
        Poll::Ready(Ok(()))
    }

    fn fill_buffer<F: Side>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut F,
        supplies: &Supplies,
    ) -> Poll<Result<()>> {
        let mut buffer = supplies.buffer();
        let mut space = ReadBuf::new(&mut buffer);
        let read = Pin::new(from).poll_read(cx, &mut space);
        let end = space.filled().len();
        match read {
            Poll::Ready(Ok(())) if end > 0 => {
                self.bulk = end == BUFFER_BYTES;
                let begin = 0;
                self.take(end, Held::Copied { buffer, begin, end });
                return Poll::Ready(Ok(()));
            }
            Poll::Ready(Ok(())) => self.take(0, Held::Nothing),
            // TLS that ends without a word, as many do.
            Poll::Ready(Err(error)) if error.kind() == ErrorKind::UnexpectedEof => {
                self.take(0, Held::Nothing);
            }
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending => {
                supplies.put_buffer(buffer);
                return Poll::Pending;
            }
        }
        supplies.put_buffer(buffer);
        Poll::Ready(Ok(()))
    }

    /// Notes what was read; nothing is the end.
    fn take(&mut self, count: usize, held: Held) {
        self.steps += 1;
        if count == 0 {
            self.stage = Stage::Ending;
        } else {
            self.held = held;
        }
    }

    /// Hands on some of what is held.
    fn drain<T: Side>(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut T,
        supplies: &Supplies,
    ) -> Poll<Result<()>> {
        let (count, left) = match &mut self.held {
            Held::Nothing => return Poll::Ready(Ok(())),
            Held::Copied { buffer, begin, end } => {
                let part = buffer.get(*begin..*end).unwrap_or_default();
                let count = ready!(Pin::new(to).poll_write(cx, part))?;
                *begin += count;
                self.unflushed = true;
                (count, *end - *begin)
            }
            Held::Piped(pipe) => {
                let count = ready!(pipe.poll_pour(to.socket(), cx))?;
                (count, pipe.held())
            }
        };
        if count == 0 {
            return Poll::Ready(Err(ErrorKind::WriteZero.into()));
        }
        self.steps += 1;
        self.bytes += count as u64;
        if left == 0
            && let Held::Copied { buffer, .. } = std::mem::take(&mut self.held)
        {
            supplies.put_buffer(buffer);
        }
        Poll::Ready(Ok(()))
    }
}
