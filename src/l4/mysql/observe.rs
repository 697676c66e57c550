//! What a session of MySQL's protocol shows by itself: what the server calls the connection, and who
//! the client says it is. Nothing is held up for it, and whatever else is spoken passes unread.

use super::packet::{BEGINNING_BYTES_MAX, Beginning, Greeting, Response, greeting, response};
use crate::l4::board::Entry;

/// The beginnings of both sides, until they have shown what they can.
#[derive(Debug)]
pub(in crate::l4) struct Observer {
    /// Of the server; `None`: nothing more is to be learned from it.
    origin: Option<Vec<u8>>,
    client: Option<Vec<u8>>,
    /// The sequence of the client's answer: 2 within TLS.
    sequence: u8,
}

impl Observer {
    pub(in crate::l4) const fn new() -> Self {
        Self {
            origin: Some(Vec::new()),
            client: Some(Vec::new()),
            sequence: 1,
        }
    }

    /// The server is known; the client answers within TLS.
    pub(super) const fn within_tls() -> Self {
        Self {
            origin: None,
            client: Some(Vec::new()),
            sequence: 2,
        }
    }

    /// Whether both have shown what they can.
    pub(in crate::l4) const fn is_done(&self) -> bool {
        self.origin.is_none() && self.client.is_none()
    }

    pub(in crate::l4) fn origin_said(&mut self, bytes: &[u8], entry: &Entry) {
        let Some(gathered) = &mut self.origin else {
            return;
        };
        gather(gathered, bytes);
        match greeting(gathered) {
            Beginning::Incomplete if gathered.len() < BEGINNING_BYTES_MAX => return,
            Beginning::Known(Greeting::Hello { connection_id, .. }) => {
                entry.learn_connection_id(connection_id);
            }
            // Who does not greet so speaks something else, and its client does.
            Beginning::Incomplete | Beginning::Other | Beginning::Known(Greeting::Refusal) => {
                self.client = None;
            }
        }
        self.origin = None;
    }

    /// Who speaks before the greeting is through speaks something else, and so will its server, which
    /// may say nothing until the end.
    fn client_speaks(&mut self) {
        if self.origin.take().is_some() {
            self.client = None;
        }
    }

    pub(in crate::l4) fn client_said(&mut self, bytes: &[u8], entry: &Entry) {
        self.client_speaks();
        let Some(gathered) = &mut self.client else {
            return;
        };
        gather(gathered, bytes);
        match response(gathered, self.sequence) {
            Beginning::Incomplete if gathered.len() < BEGINNING_BYTES_MAX => return,
            Beginning::Known(Response::User(user)) => {
                entry.learn_user(String::from_utf8_lossy(user).into());
            }
            Beginning::Incomplete | Beginning::Other | Beginning::Known(Response::Tls) => {}
        }
        self.client = None;
    }
}

fn gather(gathered: &mut Vec<u8>, bytes: &[u8]) {
    let room = BEGINNING_BYTES_MAX.saturating_sub(gathered.len());
    gathered.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_waited_for_once_a_client_speaks_first() {
        let mut observer = Observer::new();
        assert!(!observer.is_done());
        observer.client_speaks();
        assert!(observer.is_done());
        let mut inside = Observer::within_tls();
        inside.client_speaks();
        assert!(!inside.is_done(), "its answer is still to come");
    }
}
