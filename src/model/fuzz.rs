//! Fuzzing: decisions taken from arbitrary bytes, and batches of changes against a plain map.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::{Change, Entity, EntityRef, Id, Kind, NamespaceRef, Snapshot, Tie, Timestamp};

/// Decisions, one after the other, from bytes; all zeros once they have run out.
#[derive(Debug)]
pub struct Choices<'a>(&'a [u8]);

impl<'a> Choices<'a> {
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *first
    }

    /// Whether nothing is left to decide with.
    pub const fn is_over(&self) -> bool {
        self.0.is_empty()
    }

    /// A number below `bound`, which is between 1 and 256.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::from(self.byte()) % bound.max(1)
    }

    /// One of `values`.
    pub fn one<T: Copy>(&mut self, values: &[T]) -> T {
        let at = self.below(values.len());
        *values.get(at).expect("a position below the length")
    }

    /// Up to `most` of `values`, in any order, repeats included.
    pub fn some<T: Copy>(&mut self, values: &[T], most: usize) -> Vec<T> {
        (0..self.below(most + 1))
            .map(|_| self.one(values))
            .collect()
    }

    /// Text of up to `most` characters of `alphabet`.
    pub fn text(&mut self, alphabet: &[char], most: usize) -> String {
        self.some(alphabet, most).into_iter().collect()
    }
}

/// The kinds that mention one another in every way there is.
const KINDS: [Kind; 5] = [
    Kind::Namespace,
    Kind::Pool,
    Kind::Endpoint,
    Kind::Service,
    Kind::Route,
];

/// Few ids and few names, so that batches meet.
fn some_id(choices: &mut Choices<'_>) -> Id {
    Id::derived(choices.one(&["a", "b", "c"]))
}

fn document(kind: Kind, choices: &mut Choices<'_>) -> Value {
    let id = some_id(choices);
    let name = choices.one(&["x", "y", "z"]);
    let namespace = choices.one(&["default", "x", "y"]);
    match kind {
        Kind::Pool => json!({"id": id, "name": name, "namespace": namespace}),
        Kind::Endpoint => {
            json!({"id": id, "pool": some_id(choices), "host": "10.0.0.1", "port": 1})
        }
        Kind::Service => {
            json!({"id": id, "name": name, "namespace": namespace, "host": "10.0.0.1", "port": 1})
        }
        Kind::Route => json!({"id": id, "service": some_id(choices), "namespace": namespace}),
        _ => json!({"id": id, "name": name}),
    }
}

fn some_change(choices: &mut Choices<'_>) -> Change {
    let kind = choices.one(&KINDS);
    let verb = choices.below(5);
    if verb == 0 {
        let id = some_id(choices);
        return Change::Delete(EntityRef { kind, id });
    }
    let Value::Object(document) = document(kind, choices) else {
        unreachable!("every document is an object")
    };
    let entity = Arc::new(Entity::read(kind, document).expect("a document of its kind"));
    match verb {
        1 => Change::Create(entity),
        2 => Change::Replace(entity),
        3 => Change::PutDated(entity),
        _ => Change::Put(entity),
    }
}

type Plain = BTreeMap<EntityRef, Arc<Entity>>;

/// What [`Snapshot::with`] promises, read literally: each change in turn, then every reference.
fn plainly(before: &Plain, changes: &[Change]) -> Option<Plain> {
    let mut next = before.clone();
    for change in changes {
        match change {
            Change::Delete(at) => delete(&mut next, *at)?,
            Change::Create(entity) if next.contains_key(&entity.at()) => return None,
            Change::Replace(entity) if !next.contains_key(&entity.at()) => return None,
            Change::Create(entity)
            | Change::Replace(entity)
            | Change::Put(entity)
            | Change::PutDated(entity) => {
                put(&mut next, entity)?;
            }
        }
    }
    let whole = next.values().all(|entity| is_whole(&next, entity));
    whole.then_some(next)
}

fn put(plain: &mut Plain, entity: &Arc<Entity>) -> Option<()> {
    let clash = |other: &Arc<Entity>| {
        other.kind() == entity.kind()
            && other.id != entity.id
            && other
                .spec
                .unique()
                .iter()
                .any(|one| entity.spec.unique().contains(one))
    };
    if plain.values().any(clash) {
        return None;
    }
    let before = plain.get(&entity.at());
    if before.is_some_and(|before| before.spec.name() != entity.spec.name()) {
        is_deserted(plain, before?).then_some(())?;
    }
    plain.insert(entity.at(), Arc::clone(entity));
    Some(())
}

fn delete(plain: &mut Plain, at: EntityRef) -> Option<()> {
    let gone = Arc::clone(plain.get(&at)?);
    is_deserted(plain, &gone).then_some(())?;
    plain.remove(&at);
    plain.retain(|_, entity| {
        let mut ties = entity.spec.references().into_iter();
        ties.all(|tie| tie.to != at || tie.tie == Tie::Free)
    });
    Some(())
}

/// A namespace that is not `default` and has nothing in it; all that is no namespace.
fn is_deserted(plain: &Plain, entity: &Entity) -> bool {
    let lives_there = |other: &Arc<Entity>| {
        other.spec.namespace().map(NamespaceRef::as_str) == entity.spec.name()
    };
    let is_default = entity.spec.name() == Some(NamespaceRef::DEFAULT);
    entity.kind() != Kind::Namespace || !(is_default || plain.values().any(lives_there))
}

fn is_whole(plain: &Plain, entity: &Entity) -> bool {
    let named = |namespace: &NamespaceRef| {
        let name = Some(namespace.as_str());
        plain
            .values()
            .any(|other| other.kind() == Kind::Namespace && other.spec.name() == name)
    };
    let there = entity
        .spec
        .references()
        .iter()
        .all(|to| plain.contains_key(&to.to));
    entity.spec.namespace().is_none_or(named) && there
}

/// Everything a snapshot can be asked agrees with the map.
fn compare(snapshot: &Snapshot, plain: &Plain) {
    let seen: Vec<_> = snapshot.iter().map(|entity| entity.at()).collect();
    let wanted: Vec<_> = plain.keys().copied().collect();
    assert_eq!(seen, wanted);
    for entity in plain.values() {
        if let Some(name) = entity.spec.name() {
            let namespace = entity.spec.namespace().map_or("", NamespaceRef::as_str);
            let found = snapshot.named(entity.kind(), namespace, name);
            assert_eq!(found.map(|found| found.id), Some(entity.id), "{name}");
        }
        for kind in KINDS {
            let found: Vec<_> = snapshot
                .mentioning(entity.id, kind)
                .map(|one| one.at())
                .collect();
            let mentions = |one: &&Arc<Entity>| {
                one.kind() == kind && one.spec.references().iter().any(|to| to.to.id == entity.id)
            };
            let wanted: Vec<_> = plain
                .values()
                .filter(mentions)
                .map(|one| one.at())
                .collect();
            assert_eq!(found, wanted, "who mentions {}", entity.at());
        }
    }
}

/// Batches of changes; panics where a snapshot differs from the map, or judges a batch otherwise.
pub fn apply(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    let mut snapshot = Snapshot::empty();
    let mut plain: Plain = snapshot
        .iter()
        .map(|entity| (entity.at(), Arc::clone(entity)))
        .collect();
    while !choices.is_over() {
        let count = 1 + choices.below(4);
        let changes: Vec<_> = (0..count).map(|_| some_change(&mut choices)).collect();
        match (
            snapshot.with(&changes, Timestamp::default()),
            plainly(&plain, &changes),
        ) {
            (Ok((next, _)), Some(map)) => {
                assert_eq!(next.revision(), snapshot.revision().next());
                (snapshot, plain) = (next, map);
            }
            (Err(_), None) => {}
            (Ok(_), None) => panic!("applied, but should not be: {changes:?}"),
            (Err(refusal), Some(_)) => panic!("{refusal}, but should be applied: {changes:?}"),
        }
        compare(&snapshot, &plain);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_batches_do_what_they_do_to_a_map(
            bytes in proptest::collection::vec(any::<u8>(), 0..400),
        ) {
            super::apply(&bytes);
        }
    }
}
