//! Entries by the literal beginning of their path: a burst trie (Heinz, Zobel and Williams, 2002)
//! whose nodes are shared between tables, so that one change copies one way from the root and
//! nothing else.
//!
//! A prefix path stands at its own text, an exact path likewise, a regex at the literal that every
//! match of it begins with. Looking a path up visits the nodes along it: as many as the path is
//! deep, however many routes there are. The last levels are buckets. Of a fork and the ways on from it one
//! piece of memory is made, and a node is no more than a pointer, so that little has to be waited for.

use std::ops::ControlFlow;

use memchr::memchr;
use smallvec::SmallVec;
use triomphe::{Arc, ThinArc};

use super::list::{Found, Item, Label, List, common_prefix};
use super::route::Entry;
use crate::model::Id;

/// The most entries of a bucket.
const BUCKET_MAX: usize = 16;

/// Paths that begin alike, from where they begin to differ.
#[derive(Clone, Debug)]
pub(super) enum Node {
    /// Few entries.
    Bucket(List),
    Fork(Fork),
}

/// Many entries, told apart by their next byte. Beside the trunk stands what is behind each of its bytes.
#[derive(Clone, Debug)]
pub(super) struct Fork(ThinArc<Trunk, Node>);

#[derive(Clone, Debug, Default)]
struct Trunk {
    /// What all of them have before it.
    label: Label,
    /// Those that end behind the label, each with an empty key.
    ends: Option<List>,
    /// The next byte of each way on, sorted.
    bytes: SmallVec<[u8; 16]>,
}

impl Default for Node {
    fn default() -> Self {
        Self::Bucket(List::default())
    }
}

impl Node {
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Bucket(bucket) => bucket.is_empty(),
            Self::Fork(fork) => fork.ways().is_empty() && fork.trunk().ends.is_none(),
        }
    }

    /// Its items, where they are at most `max`.
    pub(super) fn few(&self, max: usize) -> Option<&[Item]> {
        match self {
            Self::Bucket(bucket) if bucket.items().len() <= max => Some(bucket.items()),
            Self::Bucket(_) | Self::Fork(_) => None,
        }
    }

    /// Shows the entries of every key that `path` begins with. They come in lists, best first;
    /// `visit` may break a list off.
    #[inline]
    pub(super) fn walk<'t>(
        &'t self,
        path: &[u8],
        mut visit: impl FnMut(Found<'t>) -> ControlFlow<()>,
    ) {
        let (mut node, mut rest) = (self, path);
        loop {
            let fork = match node {
                Self::Bucket(bucket) => return bucket.walk(rest, visit),
                Self::Fork(fork) => fork,
            };
            let trunk = fork.trunk();
            let Some(behind) = rest.strip_prefix(&*trunk.label) else {
                return;
            };
            if let Some(ends) = &trunk.ends {
                ends.walk(behind, &mut visit);
            }
            let Some((next, behind)) = behind.split_first() else {
                return;
            };
            let Some(child) = fork.way(*next) else {
                return;
            };
            (node, rest) = (child, behind);
        }
    }

    /// Adds an entry at `key`. What another table shares is copied, the rest changed.
    pub(super) fn insert(&mut self, key: &[u8], entry: Entry) {
        match self {
            Self::Bucket(bucket) if bucket.items().len() < BUCKET_MAX => {
                *bucket = bucket.with(key, entry).into();
            }
            Self::Bucket(bucket) => {
                let mut fork = burst(bucket);
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
                *bucket = bucket.without(key, route).into();
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
            Self::Bucket(bucket) => bucket_behind(bucket.items(), before),
            Self::Fork(fork) => {
                let label = [before, &fork.trunk().label].concat().into();
                let trunk = fork.trunk().clone();
                Self::Fork(Fork::new(Trunk { label, ..trunk }, fork.ways().to_vec()))
            }
        }
    }
}

impl From<Vec<Item>> for Node {
    /// Of at most as many items as a bucket has.
    fn from(items: Vec<Item>) -> Self {
        Self::Bucket(items.into())
    }
}

fn burst(bucket: &List) -> Fork {
    let label = bucket.shared().into();
    let trunk = Trunk {
        label,
        ..Trunk::default()
    };
    let mut fork = Fork::new(trunk, Vec::new());
    for item in bucket.items() {
        fork.insert(&item.key, item.entry.clone());
    }
    fork
}

fn bucket_behind(items: &[Item], before: &[u8]) -> Node {
    let behind = |item: &Item| Item {
        key: [before, &item.key].concat().into(),
        entry: item.entry.clone(),
    };
    items.iter().map(behind).collect::<Vec<_>>().into()
}

impl Fork {
    fn new(trunk: Trunk, ways: Vec<Node>) -> Self {
        Self(ThinArc::from_header_and_iter(trunk, ways.into_iter()))
    }

    fn trunk(&self) -> &Trunk {
        &self.0.header.header
    }

    fn ways(&self) -> &[Node] {
        &self.0.slice
    }

    #[inline]
    fn way(&self, next: u8) -> Option<&Node> {
        self.ways().get(memchr(next, &self.trunk().bytes)?)
    }

    /// Changes it where it stands, or a copy where others have it, too.
    fn change(&mut self, act: impl FnOnce(&mut Trunk, &mut [Node])) {
        if ThinArc::strong_count(&self.0) > 1 {
            *self = Self::new(self.trunk().clone(), self.ways().to_vec());
        }
        self.0.with_arc_mut(|own| {
            let own = Arc::get_mut(own).expect("nobody else has it");
            let mut trunk = std::mem::take(own.header_mut());
            act(&mut trunk, own.slice_mut());
            *own.header_mut() = trunk;
        });
    }

    fn insert(&mut self, key: &[u8], entry: Entry) {
        let shared = common_prefix(&self.trunk().label, key);
        if shared < self.trunk().label.len() {
            *self = self.split(shared);
        }
        match key.get(shared..).and_then(<[u8]>::split_first) {
            None => self.change(|trunk, _| trunk.add(entry)),
            Some((next, behind)) => match self.trunk().bytes.binary_search(next) {
                Ok(at) => self.change_way(at, |way| way.insert(behind, entry)),
                Err(at) => {
                    let key = behind.into();
                    *self = self.with(at, *next, vec![Item { key, entry }].into());
                }
            },
        }
    }

    fn change_way(&mut self, at: usize, act: impl FnOnce(&mut Node)) {
        self.change(|_, ways| {
            if let Some(way) = ways.get_mut(at) {
                act(way);
            }
        });
    }

    /// One with a shorter label, of `at` bytes; the rest of the label leads to this one.
    fn split(&self, at: usize) -> Self {
        let lower = self.trunk();
        let (label, rest) = lower.label.split_at(at);
        let upper = Trunk {
            label: label.into(),
            ..Trunk::default()
        };
        let Some((next, rest)) = rest.split_first() else {
            return self.clone();
        };
        let lower = Trunk {
            label: rest.into(),
            ..lower.clone()
        };
        let lower = Node::Fork(Self::new(lower, self.ways().to_vec()));
        Self::new(upper, Vec::new()).with(0, *next, lower)
    }

    /// One with a way more, as the one `at` that place.
    fn with(&self, at: usize, next: u8, way: Node) -> Self {
        let (mut trunk, mut ways) = (self.trunk().clone(), self.ways().to_vec());
        trunk.bytes.insert(at, next);
        ways.insert(at, way);
        Self::new(trunk, ways)
    }

    fn without(&self, at: usize) -> Self {
        let (mut trunk, mut ways) = (self.trunk().clone(), self.ways().to_vec());
        trunk.bytes.remove(at);
        ways.remove(at);
        Self::new(trunk, ways)
    }

    fn remove(&mut self, key: &[u8], route: Id) {
        let behind = key.strip_prefix(&*self.trunk().label);
        match behind.map(<[u8]>::split_first) {
            None => {}
            Some(None) => self.change(|trunk, _| trunk.remove(route)),
            Some(Some((next, behind))) => {
                let Ok(at) = self.trunk().bytes.binary_search(next) else {
                    return;
                };
                self.change_way(at, |way| way.remove(behind, route));
                if self.ways().get(at).is_some_and(Node::is_empty) {
                    *self = self.without(at);
                }
            }
        }
    }

    /// What can stand here instead: a bucket for entries that all end here, or the only way on.
    fn simplified(&self) -> Option<Node> {
        let Trunk { label, ends, bytes } = self.trunk();
        let ends = ends.as_ref().map(List::items).unwrap_or_default();
        match (ends, self.ways()) {
            (ends, []) if ends.len() <= BUCKET_MAX => Some(bucket_behind(ends, label)),
            ([], [only]) => Some(only.behind(&[&**label, &**bytes].concat())),
            _ => None,
        }
    }
}

impl Trunk {
    fn ends(&self) -> List {
        self.ends.clone().unwrap_or_default()
    }

    fn add(&mut self, entry: Entry) {
        self.ends = Some(self.ends().with(&[], entry).into());
    }

    fn remove(&mut self, route: Id) {
        let rest = self.ends().without(&[], route);
        self.ends = (!rest.is_empty()).then(|| rest.into());
    }
}

/// The bytes that every match of an anchored regex begins with; empty where there are none to tell.
pub(super) fn literal_prefix(regex: &str) -> Vec<u8> {
    // As `model::compile_regex` reads it.
    let parsed = |unicode| {
        let mut builder = regex_syntax::ParserBuilder::new();
        builder
            .utf8(false)
            .unicode(unicode)
            .build()
            .parse(regex)
            .ok()
    };
    let mut prefix = Vec::new();
    if let Some(hir) = parsed(false).or_else(|| parsed(true)) {
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
    use std::sync::Arc;

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
        let route = Arc::new(Route::compile(&entity, spec, None, None).unwrap());
        Entry::new(Rank::new(spec, None), position, PathTest::Any, None, &route)
    }

    fn found(node: &Node, path: &str) -> Vec<u16> {
        let mut found = Vec::new();
        node.walk(path.as_bytes(), |shown| {
            found.push(shown.entry.position);
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
    fn a_node_is_a_pointer() {
        assert!(size_of::<Node>() <= 16);
        assert!(size_of::<Item>() <= 96, "{}", size_of::<Item>());
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
            ("/caf\u{e9}", "/caf\u{e9}"),
        ] {
            assert_eq!(
                String::from_utf8_lossy(&literal_prefix(regex)),
                prefix,
                "{regex}"
            );
        }
        // A byte, as in the regex that is tested then.
        assert_eq!(literal_prefix(r"/\xff"), b"/\xff");
    }
}
