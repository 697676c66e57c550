//! Entries by the literal beginning of their path: a burst trie (Heinz, Zobel and Williams, 2002)
//! whose nodes are shared between tables, so that one change copies one way from the root and
//! nothing else.
//!
//! A prefix path stands at its own text, an exact path likewise, a regex at the literal that every
//! match of it begins with. Looking a path up visits the nodes along it: as many as the path is
//! deep, however many routes there are. With many routes each node on the way is memory that no cache
//! holds, so a node stands in its parent's array, and the last levels are buckets: keys and entries side
//! by side, compared one by one.

use std::ops::ControlFlow;
use std::sync::Arc;

use memchr::memchr;
use smallvec::SmallVec;

use super::route::Entry;
use crate::model::Id;

/// The most entries of a bucket.
const BUCKET_MAX: usize = 32;

/// Paths that begin alike, from where they begin to differ.
#[derive(Clone, Debug)]
pub(super) enum Node {
    Bucket(Bucket),
    Fork(Fork),
}

/// Few entries, best first.
#[derive(Clone, Debug, Default)]
pub(super) struct Bucket(Arc<[Item]>);

/// An entry and its key, from where the list that it is in stands.
#[derive(Clone, Debug)]
pub(super) struct Item {
    key: Label,
    entry: Entry,
}

/// Many entries, told apart by their next byte.
#[derive(Clone, Debug, Default)]
pub(super) struct Fork {
    /// What all of them have before it.
    label: Label,
    /// Those that end behind the label, best first.
    entries: Arc<[Entry]>,
    branch: Branch,
}

/// Most labels and keys are short, and then stand where they are used.
type Label = SmallVec<[u8; 16]>;

/// The ways on from a fork.
#[derive(Clone, Debug, Default)]
struct Branch {
    /// The next byte of each, sorted.
    bytes: SmallVec<[u8; 16]>,
    /// What stands behind it.
    nodes: Arc<[Node]>,
}

impl Default for Node {
    fn default() -> Self {
        Self::Bucket(Bucket::default())
    }
}

impl Node {
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Bucket(bucket) => bucket.0.is_empty(),
            Self::Fork(fork) => fork.branch.nodes.is_empty() && fork.entries.is_empty(),
        }
    }

    /// Its items, where they are at most `max`.
    pub(super) fn few(&self, max: usize) -> Option<&[Item]> {
        match self {
            Self::Bucket(bucket) if bucket.0.len() <= max => Some(&bucket.0),
            Self::Bucket(_) | Self::Fork(_) => None,
        }
    }

    /// Shows the entries of every key that `path` begins with. They come in lists, best first;
    /// `visit` may break a list off.
    #[inline]
    pub(super) fn walk<'t>(
        &'t self,
        path: &[u8],
        mut visit: impl FnMut(&'t Entry) -> ControlFlow<()>,
    ) {
        let (mut node, mut rest) = (self, path);
        loop {
            let fork = match node {
                Self::Bucket(bucket) => return each(&bucket.0, rest, visit),
                Self::Fork(fork) => fork,
            };
            let Some(behind) = rest.strip_prefix(&*fork.label) else {
                return;
            };
            let _all_or_enough = fork.entries.iter().try_for_each(&mut visit);
            let Some((next, behind)) = behind.split_first() else {
                return;
            };
            let Some(child) = fork.branch.child(*next) else {
                return;
            };
            (node, rest) = (child, behind);
        }
    }

    /// Adds an entry at `key`. What another table shares is copied, the rest changed.
    pub(super) fn insert(&mut self, key: &[u8], entry: Entry) {
        match self {
            Self::Bucket(bucket) if bucket.0.len() < BUCKET_MAX => {
                bucket.0 = with(&bucket.0, key, entry).into();
            }
            Self::Bucket(bucket) => {
                let mut fork = bucket.burst();
                fork.insert(key, entry);
                *self = Self::Fork(fork);
            }
            Self::Fork(fork) => fork.insert(key, entry),
        }
    }

    /// Takes out the entries of `route` at `key`, and the nodes that this leaves without use.
    pub(super) fn remove(&mut self, key: &[u8], route: Id) {
        match self {
            Self::Bucket(bucket) => {
                bucket.0 = without(&bucket.0, key, route).into();
            }
            Self::Fork(fork) => {
                fork.remove(key, route);
                if let Some(simpler) = fork.simplified() {
                    *self = simpler;
                }
            }
        }
    }

    /// This node, found behind `before` instead.
    fn behind(&self, before: &[u8]) -> Self {
        match self {
            Self::Bucket(bucket) => Self::Bucket(bucket.behind(before)),
            Self::Fork(fork) => Self::Fork(Fork {
                label: [before, &fork.label].concat().into(),
                ..fork.clone()
            }),
        }
    }
}

impl From<Vec<Item>> for Node {
    /// Of at most as many items as a bucket has.
    fn from(items: Vec<Item>) -> Self {
        Self::Bucket(Bucket(items.into()))
    }
}

/// Shows the entries of every key that `path` begins with, until `visit` breaks off.
#[inline]
pub(super) fn each<'t>(
    items: &'t [Item],
    path: &[u8],
    visit: impl FnMut(&'t Entry) -> ControlFlow<()>,
) {
    let fitting = items.iter().filter(|item| item.fits(path));
    let _all_or_enough = fitting.map(|item| &item.entry).try_for_each(visit);
}

/// The items and one more, at its place in the order.
pub(super) fn with(items: &[Item], key: &[u8], entry: Entry) -> Vec<Item> {
    let at = items.partition_point(|other| other.entry.order(&entry).is_lt());
    let mut items = items.to_vec();
    let key = key.into();
    items.insert(at, Item { key, entry });
    items
}

/// The items but those of `route` at `key`.
pub(super) fn without(items: &[Item], key: &[u8], route: Id) -> Vec<Item> {
    let stays = |item: &&Item| *item.key != *key || item.entry.route.id() != route;
    items.iter().filter(stays).cloned().collect()
}

impl Item {
    #[inline]
    fn fits(&self, path: &[u8]) -> bool {
        let first = self.key.first();
        first.is_none_or(|first| path.first() == Some(first)) && path.starts_with(&self.key)
    }
}

impl Bucket {
    fn burst(&self) -> Fork {
        let mut keys = self.0.iter().map(|item| &*item.key);
        let first = keys.next().unwrap_or_default();
        let shared = keys.map(|key| common_prefix(first, key)).min();
        let label = first.get(..shared.unwrap_or(first.len()));
        let mut fork = Fork {
            label: label.unwrap_or_default().into(),
            ..Fork::default()
        };
        for item in &*self.0 {
            fork.insert(&item.key, item.entry.clone());
        }
        fork
    }

    fn behind(&self, before: &[u8]) -> Self {
        let behind = |item: &Item| Item {
            key: [before, &item.key].concat().into(),
            entry: item.entry.clone(),
        };
        Self(self.0.iter().map(behind).collect())
    }
}

impl Fork {
    fn insert(&mut self, key: &[u8], entry: Entry) {
        let shared = common_prefix(&self.label, key);
        if shared < self.label.len() {
            self.split(shared);
        }
        match key.get(shared..).and_then(<[u8]>::split_first) {
            None => self.add(entry),
            Some((next, behind)) => self.branch.child_mut(*next).insert(behind, entry),
        }
    }

    /// Shortens the label to `at` bytes; the rest of it leads to what stood here.
    fn split(&mut self, at: usize) {
        let mut lower = std::mem::take(self);
        let (upper, next) = lower.label.split_at(at);
        self.label = upper.into();
        if let Some((next, behind)) = next.split_first() {
            let (next, behind) = (*next, behind.into());
            lower.label = behind;
            *self.branch.child_mut(next) = Node::Fork(lower);
        }
    }

    fn add(&mut self, entry: Entry) {
        let at = self
            .entries
            .partition_point(|other| other.order(&entry).is_lt());
        let (better, worse) = self.entries.split_at(at);
        let all = better.iter().cloned().chain([entry]);
        self.entries = all.chain(worse.iter().cloned()).collect();
    }

    fn remove(&mut self, key: &[u8], route: Id) {
        match key.strip_prefix(&*self.label).map(<[u8]>::split_first) {
            None => {}
            Some(None) => {
                let rest = self
                    .entries
                    .iter()
                    .filter(|entry| entry.route.id() != route);
                self.entries = rest.cloned().collect();
            }
            Some(Some((next, behind))) => self.branch.remove(*next, behind, route),
        }
    }

    /// What can stand here instead: a bucket for entries that all end here, or the only child.
    fn simplified(&self) -> Option<Node> {
        match (&*self.entries, &*self.branch.nodes) {
            (entries, []) if entries.len() <= BUCKET_MAX => {
                let here = |entry: &Entry| Item {
                    key: self.label.clone(),
                    entry: entry.clone(),
                };
                Some(Node::Bucket(Bucket(entries.iter().map(here).collect())))
            }
            ([], [only]) => Some(only.behind(&[&*self.label, &*self.branch.bytes].concat())),
            _ => None,
        }
    }
}

impl Branch {
    #[inline]
    fn child(&self, next: u8) -> Option<&Node> {
        self.nodes.get(memchr(next, &self.bytes)?)
    }

    /// The child behind `next`, made if there is none.
    fn child_mut(&mut self, next: u8) -> &mut Node {
        let at = self.bytes.binary_search(&next).unwrap_or_else(|at| {
            self.bytes.insert(at, next);
            let mut nodes = self.nodes.to_vec();
            nodes.insert(at, Node::default());
            self.nodes = nodes.into();
            at
        });
        let child = Arc::make_mut(&mut self.nodes).get_mut(at);
        child.expect("found or made there")
    }

    fn remove(&mut self, next: u8, behind: &[u8], route: Id) {
        let Ok(at) = self.bytes.binary_search(&next) else {
            return;
        };
        let Some(child) = Arc::make_mut(&mut self.nodes).get_mut(at) else {
            return;
        };
        child.remove(behind, route);
        if child.is_empty() {
            self.bytes.remove(at);
            let mut nodes = self.nodes.to_vec();
            nodes.remove(at);
            self.nodes = nodes.into();
        }
    }
}

fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(x, y)| x == y).count()
}

/// The bytes that every match of an anchored regex begins with; empty where there are none to tell.
pub(super) fn literal_prefix(regex: &str) -> Vec<u8> {
    let parsed = regex_syntax::ParserBuilder::new()
        .utf8(false)
        .build()
        .parse(regex);
    let mut prefix = Vec::new();
    if let Ok(hir) = parsed {
        extend_literal(&hir, &mut prefix);
    }
    prefix
}

/// Appends the literal beginning of `hir`; whether that was all of it.
fn extend_literal(hir: &regex_syntax::hir::Hir, prefix: &mut Vec<u8>) -> bool {
    use regex_syntax::hir::{HirKind, Look};
    match hir.kind() {
        HirKind::Empty | HirKind::Look(Look::Start) => true,
        HirKind::Literal(literal) => {
            prefix.extend_from_slice(&literal.0);
            true
        }
        HirKind::Capture(group) => extend_literal(&group.sub, prefix),
        HirKind::Concat(parts) => parts.iter().all(|part| extend_literal(part, prefix)),
        HirKind::Class(_) | HirKind::Look(_) | HirKind::Repetition(_) | HirKind::Alternation(_) => {
            false
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{Entity, Kind};
    use crate::table::rank::Rank;
    use crate::table::route::{PathTest, Route};

    /// An entry of a route of its own.
    pub(in crate::table) fn entry(position: u16) -> Entry {
        let document = serde_json::json!({"name": format!("r{position}")});
        let serde_json::Value::Object(document) = document else {
            panic!("{document}")
        };
        let entity = Arc::new(Entity::read(Kind::Route, document).unwrap());
        let spec = entity.as_kind().unwrap();
        Entry {
            rank: Rank::new(spec, None),
            position,
            test: PathTest::Any,
            port: None,
            route: Arc::new(Route::compile(&entity, spec, None, None).unwrap()),
        }
    }

    fn found(node: &Node, path: &str) -> Vec<u16> {
        let mut found = Vec::new();
        node.walk(path.as_bytes(), |entry| {
            found.push(entry.position);
            ControlFlow::Continue(())
        });
        found.sort_unstable();
        found
    }

    /// Few letters, so that many keys begin alike; some keys many times.
    fn keys() -> impl Strategy<Value = Vec<String>> {
        let key = prop_oneof!["[ab]{0,7}", "a{0,3}", Just("abba".to_owned())];
        prop::collection::vec(key, 0..200)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_walk_shows_what_a_scan_shows_also_after_removals_and_in_copies(
            keys in keys(),
            gone in prop::collection::vec(any::<bool>(), 200),
            paths in prop::collection::vec("[ab]{0,9}", 20),
        ) {
            let entries: Vec<Entry> = (0..).zip(&keys).map(|(at, _)| entry(at)).collect();
            let mut full = Node::default();
            for (key, entry) in keys.iter().zip(&entries) {
                full.insert(key.as_bytes(), entry.clone());
            }
            let mut less = full.clone();
            for ((key, entry), _) in keys.iter().zip(&entries).zip(&gone).filter(|(_, gone)| **gone) {
                less.remove(key.as_bytes(), entry.route.id());
            }
            for path in &paths {
                let scan = |left: &dyn Fn(usize) -> bool| -> Vec<u16> {
                    let fits = |(_, (at, key)): &(u16, (usize, &String))| left(*at) && path.starts_with(&**key);
                    (0..).zip(keys.iter().enumerate()).filter(fits).map(|(position, _)| position).collect()
                };
                prop_assert_eq!(found(&full, path), scan(&|_| true));
                prop_assert_eq!(found(&less, path), scan(&|at| !gone[at]));
            }
            prop_assert_eq!(less.is_empty(), keys.iter().zip(&gone).all(|(_, gone)| *gone));
        }
    }

    #[test]
    fn nodes_that_lose_their_use_are_given_up() {
        let keys: Vec<String> = (0..100).map(|n| format!("/svc{n}/api")).collect();
        let entries: Vec<Entry> = (0..100).map(entry).collect();
        let mut node = Node::default();
        for (key, entry) in keys.iter().zip(&entries) {
            node.insert(key.as_bytes(), entry.clone());
        }
        assert!(matches!(node, Node::Fork(_)));
        for (key, entry) in keys.iter().zip(&entries).skip(1) {
            node.remove(key.as_bytes(), entry.route.id());
        }
        assert!(matches!(node, Node::Bucket(_)), "{node:?}");
        assert_eq!(found(&node, "/svc0/api/x"), [0]);
    }

    #[test]
    fn an_item_is_no_longer_than_a_line_of_the_cache() {
        assert!(size_of::<Item>() <= 64, "{}", size_of::<Item>());
    }

    #[test]
    fn a_regex_stands_where_all_its_matches_begin() {
        for (regex, prefix) in [
            (r"/users/\d+$", "/users/"),
            (r"/a(b|c)", "/a"),
            (r"/(?<x>abc)d*", "/abc"),
            (r"/(abc)?d", "/"),
            (r"(?i)/abc", "/"),
            (r"^/abc$", "/abc"),
            (r".*", ""),
            (r"/a|/b", ""),
        ] {
            assert_eq!(
                String::from_utf8_lossy(&literal_prefix(regex)),
                prefix,
                "{regex}"
            );
        }
    }
}
