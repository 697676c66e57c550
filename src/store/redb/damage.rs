//! Files as nobody wishes to find them: refused in one line that says what to do.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::store::conformance::{entity, put};

/// A registry of three batches, closed; written once and copied.
fn written() -> (TempDir, PathBuf) {
    static BYTES: LazyLock<Vec<u8>> = LazyLock::new(three_batches);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("registry.redb");
    fs::write(&file, &*BYTES).unwrap();
    (directory, file)
}

fn three_batches() -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    let mut store = Redb::open(directory.path()).unwrap();
    for n in 0..3 {
        let entities: Vec<_> = (0..40).map(|i| entity(i, &format!("at {n}"))).collect();
        store.commit(Revision(n), &put(n + 1, &entities)).unwrap();
    }
    drop(store);
    fs::read(directory.path().join("registry.redb")).unwrap()
}

fn refused(directory: &TempDir) -> StoreError {
    Redb::open(directory.path()).unwrap_err()
}

/// What a store there says, or all it holds; never a panic.
fn outcome(directory: &Path) -> Result<Loaded, StoreError> {
    Redb::open(directory)?.load()
}

#[test]
fn a_missing_directory_is_made_for_this_user_alone() {
    use std::os::unix::fs::PermissionsExt;
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("a/b");
    drop(Redb::open(&directory).unwrap());
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&directory), 0o700);
    assert_eq!(mode(&directory.join("registry.redb")), 0o600);
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 1);
}

#[test]
fn a_second_opener_is_refused_until_the_first_is_gone() {
    let (directory, _) = written();
    let first = Redb::open(directory.path()).unwrap();
    let path = directory.path().to_owned();
    assert_eq!(refused(&directory), StoreError::Locked { path });
    drop(first);
    Redb::open(directory.path()).unwrap();
}

#[test]
fn a_half_made_registry_is_made_again() {
    let directory = tempfile::tempdir().unwrap();
    let unfinished = directory.path().join("registry.redb.new");
    fs::write(&unfinished, "half").unwrap();
    let loaded = outcome(directory.path()).unwrap();
    assert_eq!(loaded.revision, Revision(0));
    assert!(!unfinished.exists());
}

#[test]
fn an_empty_file_is_damaged() {
    let (directory, file) = written();
    fs::write(&file, "").unwrap();
    let error = refused(&directory).to_string();
    assert!(error.ends_with("registry.redb is damaged: it is empty; put a backup in its place, or move it away to start with an empty registry"), "{error}");
}

#[test]
fn a_foreign_file_is_left_alone() {
    let (directory, file) = written();
    let foreign = StoreError::Foreign { path: file.clone() };
    fs::write(&file, "SQLite format 3\0".repeat(1000)).unwrap();
    assert_eq!(refused(&directory), foreign);
    fs::remove_file(&file).unwrap();
    let database = Database::create(&file).unwrap();
    let txn = database.begin_write().unwrap();
    let table: TableDefinition<'_, u64, u64> = TableDefinition::new("theirs");
    txn.open_table(table).unwrap();
    txn.commit().unwrap();
    drop(database);
    assert_eq!(refused(&directory), foreign);
}

#[test]
fn a_directory_that_is_a_file_is_named() {
    let (_directory, file) = written();
    let error = Redb::open(&file).unwrap_err().to_string();
    assert!(error.contains("is not a directory; set `data`"), "{error}");
}

fn rewrite(file: &Path, change: impl FnOnce(&WriteTransaction)) {
    let database = Database::create(file).unwrap();
    let txn = database.begin_write().unwrap();
    change(&txn);
    txn.commit().unwrap();
}

#[test]
fn what_a_newer_version_wrote_is_refused() {
    let (directory, file) = written();
    let future = |what, found, known| StoreError::Future { what, found, known };
    let set = |key: [u8; record::KEY_BYTES], record: &[u8]| {
        rewrite(&file, |txn| {
            let mut entities = txn.open_table(ENTITIES).unwrap();
            entities.insert(&key, record).unwrap();
        });
    };
    let key = record::key(entity(1, "").at());
    set(key, b"\x09{}");
    assert_eq!(
        outcome(directory.path()).unwrap_err(),
        future("records of format", 9, 1)
    );
    set(key, b"\x01{}");
    let error = outcome(directory.path()).unwrap_err().to_string();
    assert!(
        error.contains("namespace 00000000-0000-0000-0000-000000000001: "),
        "{error}"
    );
    set(key, &record::encode(&entity(1, "")));
    set([99; record::KEY_BYTES], b"\x01{}");
    assert_eq!(
        outcome(directory.path()).unwrap_err(),
        future("entities of kind", 99, u64::from(record::KIND_MAX))
    );
    rewrite(&file, |txn| {
        txn.open_table(META).unwrap().insert("format", 2).unwrap();
    });
    assert_eq!(refused(&directory), future("format", 2, 1));
}

#[test]
fn a_shorter_file_is_refused_or_holds_a_whole_state() {
    let (directory, file) = written();
    let bytes = fs::read(&file).unwrap();
    for part in 1..100 {
        fs::write(&file, &bytes[..bytes.len() * part / 100]).unwrap();
        check_whole(outcome(directory.path()));
    }
}

/// Either refused as damaged or foreign, or one of the states that were committed.
fn check_whole(outcome: Result<Loaded, StoreError>) {
    match outcome {
        Ok(loaded) => {
            let n = loaded.revision.0;
            let text = format!("at {}", n.saturating_sub(1));
            let wanted: Vec<_> = (0..40).map(|i| entity(i, &text)).collect();
            assert!(n <= 3 && loaded.entities == wanted[..if n == 0 { 0 } else { 40 }]);
        }
        Err(StoreError::Corrupt { .. } | StoreError::Foreign { .. }) => {}
        Err(other) => panic!("{other}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_damaged_file_is_refused_or_holds_a_whole_state(
        at: prop::sample::Index,
        length in prop::sample::select(vec![1_usize, 8, 512, 4096]),
        byte: u8,
    ) {
        let (directory, file) = written();
        let mut bytes = fs::read(&file).unwrap();
        let at = at.index(bytes.len());
        bytes.iter_mut().skip(at).take(length).for_each(|it| *it = byte);
        fs::write(&file, bytes).unwrap();
        check_whole(outcome(directory.path()));
    }
}
