//! Entries by host: exact names, wildcards by their literal part, and the routes that name no host.

use std::sync::Arc;

use imbl::GenericHashMap;
use imbl::shared_ptr::DefaultSharedPtr;

use smallvec::SmallVec;

use super::paths::Node;
use super::route::Entry;
use crate::model::{HostPattern, HostShape, Id};

/// A fixed seed: keys come from the operator only, and every node builds the same table.
type ByName = GenericHashMap<Literal, Arc<Node>, foldhash::fast::FixedState, DefaultSharedPtr>;

/// The literal part of a host. Most are short, and then stand in the map.
type Literal = SmallVec<[u8; 24]>;

/// The paths of every host.
#[derive(Clone, Debug, Default)]
pub(super) struct Hosts {
    any: Node,
    exact: ByName,
    /// By `.suffix`.
    leading: ByName,
    /// By `prefix.`.
    trailing: ByName,
}

impl Hosts {
    /// Shows the paths of every pattern that `host` fits: itself, its wildcards, and any host.
    #[inline]
    pub(super) fn each<'t>(&'t self, host: &str, mut visit: impl FnMut(&'t Node)) {
        if let Some(paths) = self.exact.get(host.as_bytes()) {
            visit(paths);
        }
        if !self.leading.is_empty() || !self.trailing.is_empty() {
            self.each_wildcard(host, &mut visit);
        }
        visit(&self.any);
    }

    fn each_wildcard<'t>(&'t self, host: &str, visit: &mut impl FnMut(&'t Node)) {
        for (dot, _) in host.match_indices('.') {
            let (before, behind) = (host.get(..=dot), host.get(dot..));
            if let Some(paths) = behind
                .filter(|_| dot > 0)
                .and_then(|part| self.leading.get(part.as_bytes()))
            {
                visit(paths);
            }
            let open = dot + 1 < host.len();
            if let Some(paths) = before
                .filter(|_| open)
                .and_then(|part| self.trailing.get(part.as_bytes()))
            {
                visit(paths);
            }
        }
    }

    pub(super) fn insert(&mut self, host: Option<&HostPattern>, key: &[u8], entry: Entry) {
        match host {
            None => self.any.insert(key, entry),
            Some(host) => {
                let names = self.names(host.shape());
                let literal = host.literal().as_bytes();
                if let Some(paths) = names.get_mut(literal) {
                    Arc::make_mut(paths).insert(key, entry);
                } else {
                    let mut paths = Node::default();
                    paths.insert(key, entry);
                    names.insert(literal.into(), Arc::new(paths));
                }
            }
        }
    }

    pub(super) fn remove(&mut self, host: Option<&HostPattern>, key: &[u8], route: Id) {
        let Some(host) = host else {
            return self.any.remove(key, route);
        };
        let names = self.names(host.shape());
        let literal = host.literal().as_bytes();
        let Some(paths) = names.get_mut(literal) else {
            return;
        };
        Arc::make_mut(paths).remove(key, route);
        if paths.is_empty() {
            names.remove(literal);
        }
    }

    const fn names(&mut self, shape: HostShape) -> &mut ByName {
        match shape {
            HostShape::Exact => &mut self.exact,
            HostShape::Leading => &mut self.leading,
            HostShape::Trailing => &mut self.trailing,
        }
    }
}
