//! Entries by the literal beginning of their path: a radix trie whose nodes are shared between
//! tables, so that one change copies one way from the root and nothing else.
//!
//! A prefix path stands at its own text, an exact path likewise, a regex at the literal that every
//! match of it begins with. Looking a path up visits the nodes along it: as many as the path is
//! deep, however many routes there are.

use std::sync::Arc;

use super::route::Entry;
use crate::model::Id;

/// One node: what stands behind the bytes that lead to it.
#[derive(Clone, Debug, Default)]
pub(super) struct Node {
    /// The bytes from the parent to here; never empty but at the root.
    label: Box<[u8]>,
    entries: Entries,
    /// None at a leaf, as most nodes are.
    branch: Option<Box<Branch>>,
}

/// The ways on from a node.
#[derive(Clone, Debug, Default)]
struct Branch {
    /// First bytes of the children's labels, sorted; beside it, the children.
    firsts: Box<[u8]>,
    children: Box<[Arc<Node>]>,
}

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
        let mut firsts = std::mem::take(&mut self.firsts).into_vec();
        let mut children = std::mem::take(&mut self.children).into_vec();
        firsts.insert(at, first);
        children.insert(at, child);
        (self.firsts, self.children) = (firsts.into(), children.into());
    }

    fn remove(&mut self, at: usize) {
        let mut firsts = std::mem::take(&mut self.firsts).into_vec();
        let mut children = std::mem::take(&mut self.children).into_vec();
        firsts.remove(at);
        children.remove(at);
        (self.firsts, self.children) = (firsts.into(), children.into());
    }

    /// The place of the child whose label begins with `first`, else the place where it belongs.
    #[inline]
    fn place(&self, first: u8) -> Result<usize, usize> {
        self.firsts.binary_search(&first)
    }
}

impl Node {
    pub(super) const fn is_empty(&self) -> bool {
        self.branch.is_none() && matches!(self.entries, Entries::None)
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
        let branch = self.branch.as_ref()?;
        let at = branch.place(first).ok()?;
        branch.children.get(at).map(|child| &**child)
    }

    /// Adds an entry at `key`. Nodes that another table shares are copied, the others changed.
    pub(super) fn insert(self: &mut Arc<Self>, key: &[u8], entry: Entry) {
        let node = Arc::make_mut(self);
        let Some(first) = key.first() else {
            return node.add(entry);
        };
        let branch = node.branch.get_or_insert_default();
        match branch.place(*first) {
            Err(at) => {
                let leaf = Self {
                    label: key.into(),
                    entries: Entries::One(entry),
                    branch: None,
                };
                branch.insert(at, *first, Arc::new(leaf));
            }
            Ok(at) => {
                let Some(child) = branch.children.get_mut(at) else {
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
        let Some(branch) = &mut node.branch else {
            return;
        };
        let Ok(at) = branch.place(*first) else {
            return;
        };
        let Some(child) = branch.children.get_mut(at) else {
            return;
        };
        let Some(behind) = key.strip_prefix(&*child.label) else {
            return;
        };
        child.remove(behind, route);
        if !child.is_empty() {
            return merge(child);
        }
        branch.remove(at);
        if branch.children.is_empty() {
            node.branch = None;
        }
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
    let upper_label: Box<[u8]> = upper_label.into();
    lower.label = lower_label.into();
    let branch = Branch {
        firsts: lower.label.first().copied().into_iter().collect(),
        children: [Arc::new(lower)].into(),
    };
    *child = Arc::new(Node {
        label: upper_label,
        entries: Entries::None,
        branch: Some(Box::new(branch)),
    });
}

/// Joins a node that holds nothing with its only child.
fn merge(node: &mut Arc<Node>) {
    let (Entries::None, Some(branch)) = (&node.entries, &node.branch) else {
        return;
    };
    let [only] = &*branch.children else {
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
