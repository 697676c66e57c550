//! Whether a session may stay where it is: its server is still what its service asked for.

use std::sync::Arc;

use super::roles::root;
use crate::table::{SessionRules, Wanted};

/// A session's place at a server. It goes by the rules that the session began with: what was unlinked
/// since is still where it went.
#[derive(Debug)]
pub(super) struct Tenure {
    rules: Arc<SessionRules>,
    /// Which of the candidates.
    at: usize,
    wanted: Wanted,
    /// The number of changes of servers up to which it is known to hold.
    seen: Option<u64>,
}

impl Tenure {
    pub(super) const fn new(rules: Arc<SessionRules>, at: usize, wanted: Wanted) -> Self {
        Self {
            rules,
            at,
            wanted,
            seen: None,
        }
    }

    /// One load where no server has changed since it was asked last.
    pub(super) fn holds(&mut self) -> bool {
        let candidate = self.rules.candidates.get(self.at);
        let Some(server) = candidate.and_then(|one| one.server.as_ref()) else {
            return true;
        };
        let changes = Some(server.changes());
        if changes == self.seen {
            return true;
        }
        self.seen = changes;
        let status = server.status();
        status.is_usable() && self.wanted.is(status) && self.is_root_where_asked()
    }

    fn is_root_where_asked(&self) -> bool {
        if !self.wanted.only_master() {
            return true;
        }
        let all = self.rules.candidates.iter().map(|candidate| {
            let status = candidate.status();
            (status.is_usable(), status, candidate.weight)
        });
        root(all) == Some(self.at)
    }
}
