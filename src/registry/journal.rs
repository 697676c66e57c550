//! What the last batches touched, for views that follow the registry.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use crate::model::{EntityRef, Revision};

/// Entities remembered in all; a view that is further behind reads everything anew.
const TOUCHED_MAX: usize = 1 << 16;

/// The last groups of writes. One that alone touches more than [`TOUCHED_MAX`] is not remembered.
#[derive(Debug, Default)]
pub(super) struct Journal(Mutex<Pages>);

#[derive(Debug, Default)]
struct Pages {
    /// The revision before the first page.
    from: Revision,
    /// The revision after each page, and what it touched.
    pages: VecDeque<(Revision, Box<[EntityRef]>)>,
    touched: usize,
}

impl Journal {
    /// Begins anew: nothing before `revision` is known.
    pub(super) fn begin(&self, revision: Revision) {
        let mut pages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *pages = Pages {
            from: revision,
            ..Pages::default()
        };
    }

    /// Remembers what led to `revision`; before the snapshot is published, so that whoever sees that
    /// finds this.
    pub(super) fn add(&self, revision: Revision, touched: &[EntityRef]) {
        let mut pages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pages.touched += touched.len();
        pages.pages.push_back((revision, touched.into()));
        while pages.touched > TOUCHED_MAX {
            let Some((revision, touched)) = pages.pages.pop_front() else {
                break;
            };
            pages.from = revision;
            pages.touched -= touched.len();
        }
    }

    /// What was touched since `revision`, later batches included; `None` where that is not known any
    /// more.
    pub(super) fn since(&self, revision: Revision) -> Option<Vec<EntityRef>> {
        let pages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if revision < pages.from {
            return None;
        }
        let newer = pages
            .pages
            .iter()
            .rev()
            .take_while(|(after, _)| *after > revision);
        Some(
            newer
                .flat_map(|(_, touched)| touched.iter().copied())
                .collect(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Id, Kind};

    fn touched(count: usize) -> Vec<EntityRef> {
        let one = |n: usize| EntityRef {
            kind: Kind::Service,
            id: Id::derived(&n.to_string()),
        };
        (0..count).map(one).collect()
    }

    #[test]
    fn a_reader_gets_what_it_has_not_seen() {
        let journal = Journal::default();
        journal.begin(Revision(5));
        assert_eq!(journal.since(Revision(5)), Some(Vec::new()));
        journal.add(Revision(7), &touched(2));
        journal.add(Revision(8), &touched(1));
        assert_eq!(journal.since(Revision(5)).map(|all| all.len()), Some(3));
        assert_eq!(journal.since(Revision(7)).map(|all| all.len()), Some(1));
        assert_eq!(journal.since(Revision(8)), Some(Vec::new()));
        assert_eq!(journal.since(Revision(4)), None);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let journal = Journal::default();
        journal.add(Revision(1), &touched(TOUCHED_MAX));
        assert!(journal.since(Revision(0)).is_some());
        journal.add(Revision(2), &touched(1));
        assert_eq!(journal.since(Revision(0)), None);
        assert_eq!(journal.since(Revision(1)).map(|all| all.len()), Some(1));
        journal.add(Revision(3), &touched(TOUCHED_MAX + 1));
        assert_eq!(journal.since(Revision(2)), None);
        assert_eq!(journal.since(Revision(3)), Some(Vec::new()));
    }
}
