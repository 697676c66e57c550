//! The client's side of the lane: the connection as the transport gives it, and how far its response
//! has come.

use tokio::io::{AsyncRead, AsyncWrite};

use crate::proxy::exchange::Exchange;
use crate::proxy::failure::Answered;
use crate::proxy::head::Checked;

/// A connection whose next request has arrived with its whole head.
///
/// Behind the head a read gives the request's body as the client framed it, and no byte more. Behind
/// the body it waits, and gives no bytes once the client is gone. What is written may be gathered
/// until it is flushed.
pub trait Client: AsyncRead + AsyncWrite + Unpin {
    /// The head, and what checking it has told; `None` where there is none to be taken.
    fn head(&self) -> Option<(&[u8], Checked)>;

    /// Takes the head off.
    fn take_head(&mut self);
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
