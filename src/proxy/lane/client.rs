//! The client's side of the lane: how a request's body comes and its response goes, whatever
//! protocol frames them, and how far the response has come.

use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use super::response::Framing;
use super::wire::Outgoing;
use crate::pipe::Pipe;
use crate::proxy::edits::Fields;
use crate::proxy::exchange::Exchange;
use crate::proxy::failure::Answered;

/// How long a client may keep one exchange waiting.
#[derive(Clone, Copy, Debug)]
pub struct Stalls {
    /// For a piece of the request's body. Beyond: 408.
    pub body: Duration,
    /// To take a piece of the response. Beyond: reset.
    pub response: Duration,
}

/// Whoever asked. One request of theirs is served at a time.
pub(super) trait Client {
    /// How long to wait for it. Default: for ever, since its transport watches.
    fn stalls(&self) -> Option<Stalls> {
        None
    }

    /// Bytes of the response that it has taken, where it is waited for.
    fn taken(&self) -> u64 {
        0
    }

    /// Whether the rest of a request may be left unread once the request is answered.
    fn may_leave_rest(&self) -> bool {
        false
    }

    /// Reads of the request's body what there is, behind what `into` has. Ready with 0: no more comes.
    fn poll_body(&mut self, into: &mut Vec<u8>, cx: &mut Context<'_>) -> Poll<io::Result<usize>>;

    /// How many of the body's next bytes the kernel may move into a pipe. Default: none, here and below.
    fn drawable(&self) -> usize {
        0
    }

    /// Moves at most as many into an empty pipe, as [`Pipe::poll_fill`].
    fn poll_draw(
        &mut self,
        _pipe: &mut Pipe,
        _: &mut Context<'_>,
    ) -> Poll<io::Result<Option<usize>>> {
        Poll::Ready(Err(io::ErrorKind::Unsupported.into()))
    }

    /// Whether the client has gone; to be asked once its request has come whole.
    fn is_gone(&mut self, cx: &mut Context<'_>) -> bool;

    /// Sends an interim response, if the protocol and those who implement it know how.
    fn inform(&mut self, head: &Outgoing<'_, impl Fields>);

    /// Begins the response. `framing` is how its body comes; `keep`: another request may follow.
    ///
    /// # Errors
    /// The client has gone.
    fn begin(
        &mut self,
        head: Outgoing<'_, impl Fields>,
        framing: Framing,
        keep: bool,
    ) -> io::Result<()>;

    /// Sends a piece of the body; to be called with the same until it is ready. `last`: nothing is
    /// to follow, which may still be said later.
    fn poll_piece(
        &mut self,
        piece: &[u8],
        last: bool,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>>;

    /// Whether pieces of a body that is not framed may come by a pipe.
    fn is_pourable(&self) -> bool {
        false
    }

    /// Sends what is in a pipe, as a piece of the body; to be called with the same until it is ready.
    fn poll_pour(&mut self, _pipe: &mut Pipe, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Err(io::ErrorKind::Unsupported.into()))
    }

    /// Lets the client see what it has been sent.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Ends the response, and lets the client see all of it.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Breaks the response off, so that nobody takes it for whole.
    fn abort(&mut self);
}

/// How far the client's response has come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reception {
    /// The client wants to send another request, and may.
    pub(super) keeps: bool,
    /// The whole request has been read.
    pub(super) whole: bool,
    /// A 1xx head has begun.
    pub(super) interim: bool,
    /// The final head has begun.
    pub(super) answered: bool,
    /// Bytes of the body that have gone.
    pub(super) sent: u64,
}

impl Reception {
    pub(super) const fn new(keeps: bool, whole: bool) -> Self {
        Self {
            keeps,
            whole,
            interim: false,
            answered: false,
            sent: 0,
        }
    }

    /// Whether the connection goes on behind the response that begins now. Where the request has not
    /// come to its end it may never do, so it does not.
    pub(super) fn keep(&mut self, x: &Exchange) -> bool {
        self.keeps &= self.whole && !x.is_draining();
        self.keeps
    }

    /// What the client has seen, as far as another attempt cares.
    pub(super) const fn shown(&self) -> Answered {
        if self.interim || self.answered {
            Answered::Something
        } else {
            Answered::Nothing
        }
    }
}
