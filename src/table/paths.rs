//! Entries by the literal beginning of their path: a radix trie whose nodes are shared between
//! tables, so that one change copies one way from the root and nothing else.
//!
//! A prefix path stands at its own text, an exact path likewise, a regex at the literal that every
//! match of it begins with. Looking a path up visits the nodes along it: as many as the path is
//! deep, however many routes there are.

use std::sync::Arc;

use smallvec::SmallVec;

use super::route::Entry;
use crate::model::Id;

/// One node: what stands behind the bytes that lead to it.
#[derive(Clone, Debug, Default)]
pub(super) struct Node {
    /// The bytes from the parent to here; never empty but at the root.
    label: Label,
    entries: Entries,
    branch: Branch,
}

/// Most labels are short, and then stand in their node: with many routes each allocation on the way
/// is memory that no cache holds.
type Label = SmallVec<[u8; 16]>;

/// The ways on from a node: the first byte of each child's label, sorted, and the child.
#[derive(Clone, Debug, Default)]
struct Branch(Box<[(u8, Arc<Node>)]>);

/// What stands at a node, best first.
#[derive(Clone, Debug, Default)]
enum Entries {
    #[default]
    None,
    /// In place, as most are.
    One(Entry),
    Several(Arc<[Entry]>),
}

impl Entries {
    #[inline]
    fn as_slice(&self) -> &[Entry] {
        match self {
            Self::None => &[],
            Self::One(entry) => std::slice::from_ref(entry),
            Self::Several(entries) => entries,
        }
    }
}

impl FromIterator<Entry> for Entries {
    fn from_iter<I: IntoIterator<Item = Entry>>(entries: I) -> Self {
        let mut entries = entries.into_iter();
        match (entries.next(), entries.next()) {
            (None, _) => Self::None,
            (Some(one), None) => Self::One(one),
            (Some(first), Some(second)) => {
                Self::Several([first, second].into_iter().chain(entries).collect())
            }
        }
    }
}

impl Branch {
    fn insert(&mut self, at: usize, first: u8, child: Arc<Node>) {
        let mut children = std::mem::take(&mut self.0).into_vec();
        children.insert(at, (first, child));
        self.0 = children.into();
    }

    fn remove(&mut self, at: usize) {
        let mut children = std::mem::take(&mut self.0).into_vec();
        children.remove(at);
        self.0 = children.into();
    }

    /// The place of the child whose label begins with `first`, else the place where it belongs.
    #[inline]
    fn place(&self, first: u8) -> Result<usize, usize> {
        self.0.binary_search_by_key(&first, |(byte, _)| *byte)
    }

    fn child_mut(&mut self, at: usize) -> Option<&mut Arc<Node>> {
        self.0.get_mut(at).map(|(_, child)| child)
    }
}

impl Node {
    pub(super) fn is_empty(&self) -> bool {
        self.branch.0.is_empty() && matches!(self.entries, Entries::None)
    }

    /// Shows the entries of every node along `path`, from the root on.
    #[inline]
    pub(super) fn walk<'t>(&'t self, path: &[u8], mut visit: impl FnMut(&'t [Entry])) {
        let (mut node, mut rest) = (self, path);
        loop {
            let entries = node.entries.as_slice();
            if !entries.is_empty() {
                visit(entries);
            }
            let Some(child) = rest.first().and_then(|first| node.child(*first)) else {
                return;
            };
            let Some(behind) = rest.strip_prefix(&*child.label) else {
                return;
            };
            (node, rest) = (child, behind);
        }
    }

    #[inline]
    fn child(&self, first: u8) -> Option<&Self> {
        let at = self.branch.place(first).ok()?;
        self.branch.0.get(at).map(|(_, child)| &**child)
    }

    /// Adds an entry at `key`. Nodes that another table shares are copied, the others changed.
    pub(super) fn insert(self: &mut Arc<Self>, key: &[u8], entry: Entry) {
        let node = Arc::make_mut(self);
        let Some(first) = key.first() else {
            return node.add(entry);
        };
        let branch = &mut node.branch;
        match branch.place(*first) {
            Err(at) => {
                let leaf = Self {
                    label: key.into(),
                    entries: Entries::One(entry),
                    branch: Branch::default(),
                };
                branch.insert(at, *first, Arc::new(leaf));
            }
            Ok(at) => {
                let Some(child) = branch.child_mut(at) else {
                    return;
                };
                let shared = common_prefix(&child.label, key);
                if shared < child.label.len() {
                    split(child, shared);
                }
                child.insert(key.get(shared..).unwrap_or_default(), entry);
            }
        }
    }

    fn add(&mut self, entry: Entry) {
        let old = self.entries.as_slice();
        let at = old.partition_point(|other| other.order(&entry).is_lt());
        let (better, worse) = old.split_at(at);
        let all = better.iter().cloned().chain([entry]);
        self.entries = all.chain(worse.iter().cloned()).collect();
    }

    /// Takes out the entries of `route` at `key`, and the nodes that this leaves without use.
    pub(super) fn remove(self: &mut Arc<Self>, key: &[u8], route: Id) {
        let node = Arc::make_mut(self);
        let Some(first) = key.first() else {
            return node.take(route);
        };
        let Ok(at) = node.branch.place(*first) else {
            return;
        };
        let Some(child) = node.branch.child_mut(at) else {
            return;
        };
        let Some(behind) = key.strip_prefix(&*child.label) else {
            return;
        };
        child.remove(behind, route);
        if !child.is_empty() {
            return merge(child);
        }
        node.branch.remove(at);
    }

    fn take(&mut self, route: Id) {
        let others = self.entries.as_slice().iter();
        let rest = others.filter(|entry| entry.route.id() != route);
        self.entries = rest.cloned().collect();
    }
}

/// Puts a node between a child's parent and the child, after `at` bytes of its label.
fn split(child: &mut Arc<Node>, at: usize) {
    let mut lower = Node::clone(child);
    let (upper_label, lower_label) = child.label.split_at(at);
    let upper_label = upper_label.into();
    lower.label = lower_label.into();
    let first = lower.label.first().copied().unwrap_or_default();
    *child = Arc::new(Node {
        label: upper_label,
        entries: Entries::None,
        branch: Branch([(first, Arc::new(lower))].into()),
    });
}

/// Joins a node that holds nothing with its only child.
fn merge(node: &mut Arc<Node>) {
    let (Entries::None, [(_, only)]) = (&node.entries, &*node.branch.0) else {
        return;
    };
    let label = [&*node.label, &*only.label].concat();
    *node = Arc::new(Node {
        label: label.into(),
        ..Node::clone(only)
    });
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
mod tests {
    use super::*;

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
