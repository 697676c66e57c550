//! A store over a failing disk: whatever call fails, the store is as before or as after, never between.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;

use proptest::prelude::*;

use super::disk::{Disk, Fault};
use super::*;
use crate::model::Id;
use crate::store::conformance::{at, entity, put};

/// A revision and all entities, by id.
type Known = (Revision, BTreeMap<Id, Arc<Entity>>);

fn open(disk: &Disk) -> Result<Redb, StoreError> {
    let disk = disk.clone();
    let open = move || Ok(builder().create_with_backend(disk.clone())?);
    Redb::with(PathBuf::from("test"), Box::new(open))
}

/// A disk with an empty registry on it.
fn formatted() -> Disk {
    let disk = Disk::new();
    let database = builder().create_with_backend(disk.clone()).unwrap();
    initialize(&database).unwrap();
    drop(database);
    disk
}

fn known(store: &mut Redb) -> Known {
    let loaded = store.load().unwrap();
    let by_id = loaded
        .entities
        .into_iter()
        .map(|entity| (entity.id, entity));
    (loaded.revision, by_id.collect())
}

/// Puts some entities anew and deletes one; different at every revision.
fn batch(revision: u64) -> Batch {
    let n = u128::from(revision);
    let text = format!("at {revision}, {}", "x".repeat(3000));
    let puts = [
        entity(n % 3, &text),
        entity(n, &text),
        entity(100 + n % 5, ""),
    ];
    Batch {
        deletes: vec![at(n.saturating_sub(2)), at(100 + (n + 1) % 5)],
        ..put(revision, &puts)
    }
}

fn after((_, entities): &Known, batch: &Batch) -> Known {
    let mut entities = entities.clone();
    for at in &batch.deletes {
        entities.remove(&at.id);
    }
    let puts = batch
        .puts
        .iter()
        .map(|entity| (entity.id, Arc::clone(entity)));
    entities.extend(puts);
    (batch.revision, entities)
}

const COMMITS: u64 = 5;

/// Commits until `COMMITS` have succeeded or one fails; says what was acknowledged, and what failed.
fn history(store: &mut Redb, mut model: Known) -> (Known, Result<(), (Batch, StoreError)>) {
    while model.0 < Revision(COMMITS) {
        let batch = batch(model.0.0 + 1);
        match store.commit(model.0, &batch) {
            Ok(()) => model = after(&model, &batch),
            Err(error) => return (model, Err((batch, error))),
        }
    }
    (model, Ok(()))
}

/// Runs `check` with a fault at every call that a whole history makes.
fn at_every_call(fault: fn(usize) -> Fault, kind: ErrorKind, check: impl Fn(&Disk, Redb)) {
    for call in 0.. {
        let disk = formatted();
        let store = open(&disk).unwrap();
        disk.set(fault(call), kind);
        check(&disk, store);
        if !disk.has_failed() {
            assert!(call > 20, "a history makes more than {call} calls");
            return;
        }
    }
}

#[test]
fn after_one_failed_call_the_next_commit_goes_on_from_what_was_acknowledged() {
    at_every_call(Fault::OnceAfter, ErrorKind::Other, |disk, mut store| {
        let (model, outcome) = history(&mut store, Known::default());
        if outcome.is_err() {
            assert_eq!(known(&mut store), model);
        }
        let (model, outcome) = history(&mut store, model);
        outcome.unwrap();
        // Closing may be what fails: what was acknowledged stays.
        drop(store);
        disk.set(Fault::Never, ErrorKind::Other);
        assert_eq!(known(&mut open(disk).unwrap()), model);
    });
}

#[test]
fn a_batch_that_failed_is_never_told_and_never_stored() {
    at_every_call(Fault::OnceAfter, ErrorKind::Other, |_, mut store| {
        let first = store.watch(Revision(0));
        let mut watch = first.unwrap_or_else(|_| store.watch(Revision(0)).unwrap());
        let (model, outcome) = history(&mut store, Known::default());
        let told = std::iter::from_fn(|| watch.try_recv().ok()).count() as u64;
        assert_eq!(Revision(told), model.0);
        let Err((failed, _)) = outcome else { return };
        // Another batch under the same revision takes its place.
        let other = put(failed.revision.0, &[entity(77, "other")]);
        store.commit(model.0, &other).unwrap();
        assert_eq!(known(&mut store), after(&model, &other));
    });
}

#[test]
fn a_full_disk_refuses_until_there_is_space() {
    at_every_call(Fault::After, ErrorKind::StorageFull, |disk, mut store| {
        let (model, outcome) = history(&mut store, Known::default());
        let Err((_, error)) = outcome else { return };
        let path = PathBuf::from("test");
        assert_eq!(error, StoreError::Full { path });
        assert!(error.is_retryable());
        let (model, outcome) = history(&mut store, model);
        assert!(outcome.is_err(), "still full");
        disk.set(Fault::Never, ErrorKind::Other);
        let (model, outcome) = history(&mut store, model);
        outcome.unwrap();
        assert_eq!(known(&mut store), model);
    });
}

#[test]
fn opening_fails_cleanly_at_every_call() {
    let disk = formatted();
    let mut store = open(&disk).unwrap();
    let (model, outcome) = history(&mut store, Known::default());
    outcome.unwrap();
    drop(store);
    let mut refused = 0;
    while {
        disk.set(Fault::After(refused), ErrorKind::Other);
        let opened = open(&disk).map(drop);
        disk.set(Fault::Never, ErrorKind::Other);
        assert_eq!(known(&mut open(&disk).unwrap()), model);
        opened.is_err()
    } {
        refused += 1;
    }
    assert!(refused > 5, "opening makes more than {refused} calls");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_power_cut_leaves_what_was_acknowledged_or_the_batch_on_its_way(
        call in 0_usize..120,
        mut kept: Vec<bool>,
    ) {
        let disk = formatted();
        let mut store = open(&disk).unwrap();
        disk.set(Fault::After(call), ErrorKind::Other);
        let (model, outcome) = history(&mut store, Known::default());
        drop(store);
        disk.cut_power(|| kept.pop().unwrap_or_default());
        let found = known(&mut open(&disk).unwrap());
        let on_its_way = outcome.err().map(|(batch, _)| after(&model, &batch));
        prop_assert!(found == model || Some(found) == on_its_way);
    }
}
