//! The registry's view of listening sockets: reserve before the commit, activate after it.

use crate::model::{Id, Listener};

/// Binds and closes listeners' addresses. `net` does it; the registry only says when.
pub trait Sockets: Send {
    /// Binds the address without accepting from it. Dropping the reservation gives it back.
    /// `leaving`: listeners that give up their addresses in the same step.
    ///
    /// # Errors
    /// One line: the address, what is wrong with it, and what to do.
    fn reserve(
        &mut self,
        id: Id,
        listener: &Listener,
        leaving: &[Id],
    ) -> Result<Box<dyn Reservation>, String>;

    /// Whether this listener accepts. One that is stored and does not had no port at the start.
    fn is_open(&self, id: Id) -> bool;

    /// Stops accepting for this listener at once; open connections finish within their deadline.
    fn close(&mut self, id: Id);
}

/// A bound address that does not accept yet.
pub trait Reservation: Send {
    /// Accepts from now on, in the place of what the same listener had before.
    fn activate(self: Box<Self>);
}

/// For a registry without a data plane: offline import, tests.
#[derive(Debug)]
pub struct NoSockets;

impl Sockets for NoSockets {
    fn reserve(&mut self, _: Id, _: &Listener, _: &[Id]) -> Result<Box<dyn Reservation>, String> {
        Ok(Box::new(Self))
    }

    fn is_open(&self, _: Id) -> bool {
        true
    }

    fn close(&mut self, _: Id) {}
}

impl Reservation for NoSockets {
    fn activate(self: Box<Self>) {}
}
