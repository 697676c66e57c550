//! What every store must do, written once and run over each of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::{Batch, Loaded, Memory, Redb, Store, StoreError, WATCH_BATCHES_MAX};
use crate::model::{Entity, EntityRef, Id, Kind, Namespace, Revision};

/// A namespace entity, told apart by `n` and by what is said of it.
pub(super) fn entity(n: u128, comment: &str) -> Arc<Entity> {
    let name = format!("n{n}").parse().unwrap();
    let comment = comment.into();
    Arc::new(Entity::new(id(n), Namespace { name, comment }))
}

fn id(n: u128) -> Id {
    Id::from_bytes(n.to_be_bytes())
}

pub(super) fn at(n: u128) -> EntityRef {
    let kind = Kind::Namespace;
    EntityRef { kind, id: id(n) }
}

pub(super) fn put(revision: u64, entities: &[Arc<Entity>]) -> Batch {
    Batch {
        revision: Revision(revision),
        puts: entities.to_vec(),
        deletes: Vec::new(),
    }
}

/// A store and what must live as long as it does.
struct Made {
    store: Box<dyn Store>,
    directory: Option<tempfile::TempDir>,
}

fn memory() -> Made {
    Made {
        store: Box::new(Memory::default()),
        directory: None,
    }
}

fn redb() -> Made {
    let directory = tempfile::tempdir().unwrap();
    Made {
        store: Box::new(Redb::open(directory.path()).unwrap()),
        directory: Some(directory),
    }
}

fn state(loaded: Loaded) -> (Revision, Vec<Arc<Entity>>) {
    (loaded.revision, loaded.entities)
}

fn a_new_store_is_empty(made: &mut Made) {
    let (revision, entities) = state(made.store.load().unwrap());
    assert_eq!((revision, entities.len()), (Revision(0), 0));
}

fn what_is_committed_is_loaded_in_key_order(made: &mut Made) {
    let (a, b) = (entity(1, "a"), entity(2, "b"));
    let batch = put(1, &[b.clone(), a.clone()]);
    made.store.commit(Revision(0), &batch).unwrap();
    assert_eq!(state(made.store.load().unwrap()), (Revision(1), vec![a, b]));
}

fn a_batch_replaces_and_deletes(made: &mut Made) {
    let first = put(1, &[entity(1, "old"), entity(2, "")]);
    made.store.commit(Revision(0), &first).unwrap();
    let new = entity(1, "new");
    let second = Batch {
        deletes: vec![at(2), at(7)],
        ..put(2, std::slice::from_ref(&new))
    };
    made.store.commit(Revision(1), &second).unwrap();
    assert_eq!(state(made.store.load().unwrap()), (Revision(2), vec![new]));
}

fn several_revisions_may_be_committed_together(made: &mut Made) {
    made.store.commit(Revision(0), &put(5, &[])).unwrap();
    assert_eq!(made.store.load().unwrap().revision, Revision(5));
}

fn a_stale_writer_is_refused_and_nothing_happens(made: &mut Made) {
    made.store.commit(Revision(0), &put(3, &[])).unwrap();
    let refused = made.store.commit(Revision(0), &put(1, &[entity(1, "")]));
    let (expected, found) = (Revision(0), Revision(3));
    assert_eq!(refused, Err(StoreError::Conflict { expected, found }));
    assert_eq!(state(made.store.load().unwrap()), (Revision(3), vec![]));
    made.store.commit(Revision(3), &put(4, &[])).unwrap();
}

fn followers_get_every_batch_in_order(made: &mut Made) {
    let mut watch = made.store.watch(Revision(0)).unwrap();
    let one = entity(1, "");
    made.store
        .commit(Revision(0), &put(1, std::slice::from_ref(&one)))
        .unwrap();
    made.store.commit(Revision(1), &put(2, &[])).unwrap();
    let refused = made.store.commit(Revision(1), &put(2, &[]));
    assert!(refused.is_err());
    let first = watch.try_recv().unwrap();
    assert_eq!((first.revision, first.puts), (Revision(1), vec![one]));
    assert_eq!(watch.try_recv().unwrap().revision, Revision(2));
    assert!(watch.try_recv().is_err(), "a refused batch was told");
}

fn a_follower_that_is_behind_must_load_first(made: &mut Made) {
    made.store.commit(Revision(0), &put(1, &[])).unwrap();
    let refused = made.store.watch(Revision(0)).unwrap_err();
    assert!(matches!(refused, StoreError::Conflict { .. }));
    made.store.watch(Revision(1)).unwrap();
}

/// The generic suite; each check gets a store of its own.
const CHECKS: [fn(&mut Made); 7] = [
    a_new_store_is_empty,
    what_is_committed_is_loaded_in_key_order,
    a_batch_replaces_and_deletes,
    several_revisions_may_be_committed_together,
    a_stale_writer_is_refused_and_nothing_happens,
    followers_get_every_batch_in_order,
    a_follower_that_is_behind_must_load_first,
];

#[test]
fn memory_conforms() {
    for check in CHECKS {
        check(&mut memory());
    }
}

#[test]
fn redb_conforms() {
    for check in CHECKS {
        check(&mut redb());
    }
}

#[test]
fn a_slow_follower_is_cut_off_instead_of_waited_for() {
    let mut store = Memory::default();
    let mut watch = store.watch(Revision(0)).unwrap();
    for n in 0..WATCH_BATCHES_MAX as u64 + 1 {
        store.commit(Revision(n), &put(n + 1, &[])).unwrap();
    }
    let told = std::iter::from_fn(|| watch.try_recv().ok()).count();
    assert_eq!(told, WATCH_BATCHES_MAX);
    assert!(watch.is_closed());
}

/// Which entities a batch puts, with which text, and which it deletes.
type Described = (Vec<(u128, String)>, Vec<u128>);

fn batches() -> impl Strategy<Value = Vec<Described>> {
    let puts = prop::collection::vec((0_u128..20, "[a-z]{0,8}"), 0..6);
    let deletes = prop::collection::vec(0_u128..20, 0..4);
    prop::collection::vec((puts, deletes), 0..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn stores_agree_with_a_map(batches in batches()) {
        let mut model = BTreeMap::new();
        let mut stores = [memory(), redb()];
        for (n, (puts, deletes)) in (0..).zip(&batches) {
            let entities: Vec<_> = puts.iter().map(|(n, text)| entity(*n, text)).collect();
            let deletes: Vec<_> = deletes.iter().map(|n| at(*n)).collect();
            for at in &deletes {
                model.remove(&at.id);
            }
            model.extend(entities.iter().map(|entity| (entity.id, entity.clone())));
            let batch = Batch { deletes, ..put(n + 1, &entities) };
            for made in &mut stores {
                made.store.commit(Revision(n), &batch).unwrap();
            }
        }
        let entities: Vec<_> = model.into_values().collect();
        let wanted = (Revision(batches.len() as u64), entities);
        for made in &mut stores {
            prop_assert_eq!(&state(made.store.load().unwrap()), &wanted);
        }
        let [_, Made { store, directory }] = stores;
        drop(store);
        let directory = directory.unwrap();
        let again = Redb::open(directory.path()).unwrap().load().unwrap();
        prop_assert_eq!(state(again), wanted);
    }
}
