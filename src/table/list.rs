//! Entries side by side: few, best first, each with the key that it stands at. What the indexes by host
//! and by path consist of in the end.
//!
//! Among a hundred thousand routes each piece of memory that a request goes through is in no cache, nor is
//! the way to its page, and has to be waited for. So an item has all that most requests ask of a route,
//! and a request in flight holds the list that it was found in ([`Taken`]) and leaves the route alone.

use std::ops::ControlFlow;
use std::sync::Arc;

use smallvec::SmallVec;
use triomphe::ThinArc;

use super::paths::Node;
use super::route::{Entry, Facts};
use crate::model::{Entity, Id};

/// A list, and what it belongs to. Lists are shared and never changed.
#[derive(Clone, Debug)]
pub(super) struct List(ThinArc<Head, Item>);

/// What a walk asks first stands first, in one line of the cache with the count before it.
#[derive(Debug)]
#[repr(C)]
struct Head {
    /// How many bytes all keys have in common.
    shared: usize,
    /// The byte of each key that follows these; [`ENDS`] where there is none.
    marks: Marks,
    owner: Owner,
}

type Marks = SmallVec<[u8; 16]>;

/// In the place of a byte: no path has it, and an item that shows it is compared with every path.
const ENDS: u8 = 0;

/// What a list belongs to.
#[derive(Clone, Debug, Default)]
pub(super) struct Owner {
    /// The literal part of a host; of a bucket of paths it is empty.
    pub(super) name: Literal,
    /// The host's entries, where they are too many for a list.
    pub(super) paths: Option<Arc<Node>>,
}

/// Most names are short, and then stand in their list.
type Literal = SmallVec<[u8; 24]>;

/// An entry and its key, from where the list that it is in stands.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) key: Label,
    pub(super) entry: Entry,
}

/// Most labels and keys are short, and then stand where they are used.
pub(super) type Label = SmallVec<[u8; 16]>;

/// An entry, and where it was found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found<'t> {
    pub(super) entry: &'t Entry,
    list: &'t List,
    at: usize,
}

/// The same, kept for as long as a request takes, whatever becomes of the table. Keeps the entries
/// alive that stand beside it.
#[derive(Clone, Debug)]
pub struct Taken {
    list: List,
    at: usize,
}

impl Default for List {
    fn default() -> Self {
        Self::new(Owner::default(), Vec::new())
    }
}

impl From<Vec<Item>> for List {
    fn from(items: Vec<Item>) -> Self {
        Self::new(Owner::default(), items)
    }
}

impl List {
    pub(super) fn new(owner: Owner, items: Vec<Item>) -> Self {
        let shared = shared(&items);
        let mark = |item: &Item| item.key.get(shared).copied().unwrap_or(ENDS);
        let head = Head {
            owner,
            shared,
            marks: items.iter().map(mark).collect(),
        };
        Self(ThinArc::from_header_and_iter(head, items.into_iter()))
    }

    pub(super) fn owner(&self) -> &Owner {
        &self.0.header.header.owner
    }

    pub(super) fn items(&self) -> &[Item] {
        &self.0.slice
    }

    /// What all keys begin with.
    pub(super) fn shared(&self) -> &[u8] {
        let first = self.items().first();
        let shared = first.and_then(|first| first.key.get(..self.0.header.header.shared));
        shared.unwrap_or_default()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items().is_empty()
    }

    /// Shows the entries of every key that `path` begins with, until `visit` breaks off.
    #[inline]
    pub(super) fn walk<'t>(
        &'t self,
        path: &[u8],
        mut visit: impl FnMut(Found<'t>) -> ControlFlow<()>,
    ) {
        let Head { shared, marks, .. } = &self.0.header.header;
        let next = path.get(*shared).copied().unwrap_or(ENDS);
        for (at, item) in self.items().iter().enumerate() {
            let may_fit = marks
                .get(at)
                .is_none_or(|mark| *mark == next || *mark == ENDS);
            if !(may_fit && path.starts_with(&item.key)) {
                continue;
            }
            let entry = &item.entry;
            let list = self;
            if visit(Found { entry, list, at }).is_break() {
                return;
            }
        }
    }

    /// The items and one more, at its place in the order.
    pub(super) fn with(&self, key: &[u8], entry: Entry) -> Vec<Item> {
        let items = self.items();
        let at = items.partition_point(|other| other.entry.order(&entry).is_lt());
        let mut items = items.to_vec();
        let key = key.into();
        items.insert(at, Item { key, entry });
        items
    }

    /// The items but those of `route` at `key`.
    pub(super) fn without(&self, key: &[u8], route: Id) -> Vec<Item> {
        let stays = |item: &&Item| *item.key != *key || item.entry.route.id() != route;
        self.items().iter().filter(stays).cloned().collect()
    }
}

/// How many bytes the keys begin with alike.
fn shared(items: &[Item]) -> usize {
    let mut keys = items.iter().map(|item| &*item.key);
    let first = keys.next().unwrap_or_default();
    let shared = keys.map(|key| common_prefix(first, key)).min();
    shared.unwrap_or(first.len())
}

pub(super) fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(x, y)| x == y).count()
}

impl Found<'_> {
    pub(super) fn take(&self) -> Taken {
        Taken {
            list: self.list.clone(),
            at: self.at,
        }
    }
}

impl Taken {
    fn entry(&self) -> &Entry {
        let item = self.list.items().get(self.at);
        &item.expect("it was found there").entry
    }

    /// What the operator wrote.
    pub fn entity(&self) -> &Arc<Entity> {
        self.entry().route.entity()
    }

    /// What every request asks of its route.
    pub fn facts(&self) -> Facts {
        self.entry().facts
    }
}
