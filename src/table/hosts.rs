//! Entries by host: exact names, wildcards by their literal part, and the routes that name no host.

use std::borrow::Borrow;
use std::hash::{Hash, Hasher};
use std::ops::ControlFlow;
use std::sync::Arc;

use imbl::GenericHashMap;
use imbl::shared_ptr::DefaultSharedPtr;

use super::list::{Found, Item, List, Owner};
use super::paths::Node;
use super::route::Entry;
use crate::model::{HostPattern, HostShape, Id};

/// The most entries that stand beside their host's name.
const BESIDE_MAX: usize = 8;

/// The paths of every host.
#[derive(Clone, Debug, Default)]
pub(super) struct Hosts {
    any: Node,
    exact: Sites,
    /// By `.suffix`.
    leading: Sites,
    /// By `prefix.`.
    trailing: Sites,
}

/// Sites by name. The seed is fixed: names come from the operator only, and every node builds the same
/// table.
#[derive(Clone, Debug, Default)]
struct Sites(GenericHashMap<Site, (), foldhash::fast::FixedState, DefaultSharedPtr>);

/// A host and its entries: the name and few entries in one piece.
#[derive(Clone, Debug)]
struct Site(List);

impl Hosts {
    /// Shows the entries of every pattern that `host` fits (itself, its wildcards, and any host) and
    /// of every key that `path` begins with. As [`Node::walk`].
    #[inline]
    pub(super) fn walk<'t>(
        &'t self,
        host: &str,
        path: &[u8],
        mut visit: impl FnMut(Found<'t>) -> ControlFlow<()>,
    ) {
        self.exact.walk(host.as_bytes(), path, &mut visit);
        if !self.leading.0.is_empty() || !self.trailing.0.is_empty() {
            self.walk_wildcards(host, path, &mut visit);
        }
        self.any.walk(path, visit);
    }

    fn walk_wildcards<'t>(
        &'t self,
        host: &str,
        path: &[u8],
        visit: &mut impl FnMut(Found<'t>) -> ControlFlow<()>,
    ) {
        let host = host.as_bytes();
        for dot in memchr::memchr_iter(b'.', host) {
            let (before, behind) = (host.get(..=dot), host.get(dot..));
            if let Some(suffix) = behind.filter(|_| dot > 0) {
                self.leading.walk(suffix, path, visit);
            }
            if let Some(prefix) = before.filter(|_| dot + 1 < host.len()) {
                self.trailing.walk(prefix, path, visit);
            }
        }
    }

    pub(super) fn insert(&mut self, host: Option<&HostPattern>, key: &[u8], entry: Entry) {
        match host {
            None => self.any.insert(key, entry),
            Some(host) => {
                let name = host.literal().as_bytes();
                self.sites(host.shape()).insert(name, key, entry);
            }
        }
    }

    pub(super) fn remove(&mut self, host: Option<&HostPattern>, key: &[u8], route: Id) {
        match host {
            None => self.any.remove(key, route),
            Some(host) => {
                let name = host.literal().as_bytes();
                self.sites(host.shape()).remove(name, key, route);
            }
        }
    }

    const fn sites(&mut self, shape: HostShape) -> &mut Sites {
        match shape {
            HostShape::Exact => &mut self.exact,
            HostShape::Leading => &mut self.leading,
            HostShape::Trailing => &mut self.trailing,
        }
    }
}

impl Sites {
    #[inline]
    fn walk<'t>(
        &'t self,
        name: &[u8],
        path: &[u8],
        visit: &mut impl FnMut(Found<'t>) -> ControlFlow<()>,
    ) {
        if let Some((site, ())) = self.0.get_key_value(name) {
            site.walk(path, visit);
        }
    }

    fn insert(&mut self, name: &[u8], key: &[u8], entry: Entry) {
        let site = match self.0.remove_with_key(name) {
            Some((site, ())) => site.with(key, entry),
            None => Site::few(name, List::default().with(key, entry)),
        };
        self.0.insert(site, ());
    }

    fn remove(&mut self, name: &[u8], key: &[u8], route: Id) {
        let site = self.0.remove_with_key(name);
        if let Some(site) = site.and_then(|(site, ())| site.without(key, route)) {
            self.0.insert(site, ());
        }
    }
}

impl Site {
    fn few(name: &[u8], items: Vec<Item>) -> Self {
        let (name, paths) = (name.into(), None);
        Self(List::new(Owner { name, paths }, items))
    }

    fn many(name: &[u8], paths: Arc<Node>) -> Self {
        let (name, paths) = (name.into(), Some(paths));
        Self(List::new(Owner { name, paths }, Vec::new()))
    }

    #[inline]
    fn walk<'t>(&'t self, path: &[u8], visit: &mut impl FnMut(Found<'t>) -> ControlFlow<()>) {
        match &self.0.owner().paths {
            None => self.0.walk(path, visit),
            Some(paths) => paths.walk(path, visit),
        }
    }

    fn with(self, key: &[u8], entry: Entry) -> Self {
        let Owner { name, paths } = self.0.owner().clone();
        let mut paths = match paths {
            Some(paths) => paths,
            None if self.0.items().len() < BESIDE_MAX => {
                return Self::few(&name, self.0.with(key, entry));
            }
            None => Arc::new(Node::from(self.0.items().to_vec())),
        };
        // Lest a site that no other table has keeps its paths from being changed where they stand.
        drop(self);
        Arc::make_mut(&mut paths).insert(key, entry);
        Self::many(&name, paths)
    }

    /// `None` where no entry is left.
    fn without(self, key: &[u8], route: Id) -> Option<Self> {
        let Owner { name, paths } = self.0.owner().clone();
        let items = match paths {
            None => self.0.without(key, route),
            Some(mut paths) => {
                drop(self);
                Arc::make_mut(&mut paths).remove(key, route);
                match paths.few(BESIDE_MAX / 2) {
                    Some(items) => items.to_vec(),
                    None => return Some(Self::many(&name, paths)),
                }
            }
        };
        (!items.is_empty()).then(|| Self::few(&name, items))
    }
}

impl Borrow<[u8]> for Site {
    fn borrow(&self) -> &[u8] {
        &self.0.owner().name
    }
}

impl Hash for Site {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let name: &[u8] = self.borrow();
        name.hash(state);
    }
}

impl PartialEq for Site {
    fn eq(&self, other: &Self) -> bool {
        self.0.owner().name == other.0.owner().name
    }
}

impl Eq for Site {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::paths::tests::entry;

    fn found(hosts: &Hosts, host: &str, path: &str) -> Vec<u16> {
        let mut found = Vec::new();
        hosts.walk(host, path.as_bytes(), |shown| {
            found.push(shown.entry.position);
            ControlFlow::Continue(())
        });
        found
    }

    #[test]
    fn a_host_grows_and_shrinks_through_every_form_and_copies_stay_as_they_were() {
        let pattern: HostPattern = "a.b".parse().unwrap();
        let key = |n: u16| format!("/{n}/");
        let entries: Vec<Entry> = (0..40).map(entry).collect();
        let (mut hosts, mut copies) = (Hosts::default(), vec![Hosts::default()]);
        for entry in &entries {
            hosts.insert(
                Some(&pattern),
                key(entry.position).as_bytes(),
                entry.clone(),
            );
            copies.push(hosts.clone());
        }
        for entry in entries.iter().rev() {
            let shown = copies.pop().unwrap();
            for n in 0..40 {
                let there: &[u16] = if n <= entry.position { &[n] } else { &[] };
                assert_eq!(found(&hosts, "a.b", &key(n)), there);
                assert_eq!(found(&shown, "a.b", &key(n)), there);
            }
            let (key, route) = (key(entry.position), entry.route.id());
            hosts.remove(Some(&pattern), key.as_bytes(), route);
        }
        assert!(hosts.exact.0.is_empty());
    }

    #[test]
    fn few_entries_stand_beside_the_name_again_when_many_have_gone() {
        let mut site = Site::few(b"", Vec::new());
        let entries: Vec<Entry> = (0..40).map(entry).collect();
        for entry in &entries {
            site = site.with(b"/", entry.clone());
        }
        assert!(site.0.owner().paths.is_some());
        for entry in &entries[1..] {
            site = site.without(b"/", entry.route.id()).unwrap();
        }
        assert!(site.0.owner().paths.is_none() && site.0.items().len() == 1);
        assert!(site.without(b"/", entries[0].route.id()).is_none());
    }
}
