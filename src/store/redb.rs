//! The registry's file: `registry.redb`, one per data directory, owned by one process.
//!
//! ```text
//! sluicegate.meta      "format" → FORMAT · "revision" → the last committed
//! sluicegate.entities  record::key → record::encode
//! ```
//!
//! A commit is one redb transaction, synced before it returns. The whole file is checked whenever it
//! is opened, so that a damaged one is refused and never served in part.

#[cfg(test)]
mod damage;
mod directory;
#[cfg(test)]
mod disk;
mod failure;
#[cfg(test)]
mod faults;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::{
    AccessGuard, Builder, Database, Durability, ReadTransaction, ReadableDatabase, ReadableTable,
    TableDefinition, WriteTransaction,
};

use self::directory::Directory;
use self::failure::Failure;
use super::record;
use super::watch::{Watch, Watchers};
use super::{Batch, Loaded, Store, StoreError};
use crate::model::{Entity, Revision};

/// What the tables hold and mean. Raise it when an older version could not read what is written.
const FORMAT: u64 = 1;

/// Its name is how our files are told from others.
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("sluicegate.meta");
const ENTITIES: TableDefinition<'_, &[u8; record::KEY_BYTES], &[u8]> =
    TableDefinition::new("sluicegate.entities");

/// Page cache. Small: the file is read once, at start, and then only written.
const CACHE_BYTES: usize = 4 << 20;

type Open = Box<dyn Fn() -> Result<Database, Failure> + Send>;

/// A store in a redb file.
pub struct Redb {
    /// For messages.
    path: PathBuf,
    open: Open,
    /// None after a failure, until the next call opens the file again.
    database: Option<Database>,
    /// The batch that failed last, which may be in the file all the same.
    doubt: Option<Undo>,
    watchers: Watchers,
}

/// How to take back a batch of which nobody knows whether it was stored.
#[derive(Default)]
struct Undo {
    before: Revision,
    after: Revision,
    /// What stood under each key before it was first touched.
    records: Vec<([u8; record::KEY_BYTES], Option<Vec<u8>>)>,
}

impl fmt::Debug for Redb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redb")
            .field("path", &self.path)
            .field("open", &self.database.is_some())
            .finish_non_exhaustive()
    }
}

impl Redb {
    /// Opens the registry in `directory`; makes both where they are missing, readable by this user
    /// alone. The directory stays locked until the store is dropped.
    ///
    /// # Errors
    /// Any [`StoreError`] but `Conflict`. A file that is damaged, foreign or from a newer version is
    /// left as it was found.
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        Self::inside(Directory::open(directory)?)
    }

    /// Opens the registry in `directory` where there is one, and makes nothing where there is none.
    ///
    /// # Errors
    /// As [`Redb::open`].
    pub fn existing(directory: &Path) -> Result<Option<Self>, StoreError> {
        let directory = Directory::existing(directory)?;
        directory.map(Self::inside).transpose()
    }

    fn inside(directory: Directory) -> Result<Self, StoreError> {
        let path = directory.file();
        let open = move || {
            directory.create_missing(|path| initialize(&builder().create(path)?))?;
            directory.check_file()?;
            Ok(builder().open(directory.file())?)
        };
        Self::with(path, Box::new(open))
    }

    fn with(path: PathBuf, open: Open) -> Result<Self, StoreError> {
        let mut store = Self {
            path,
            open,
            database: None,
            doubt: None,
            watchers: Watchers::default(),
        };
        store.run(check_format)?;
        Ok(store)
    }

    /// Runs `step` on the open file. Whatever fails or panics closes it: after an I/O error redb
    /// answers nothing until it is opened anew.
    fn run<T>(
        &mut self,
        step: impl FnOnce(&Database) -> Result<T, Failure>,
    ) -> Result<T, StoreError> {
        let ran = catch_unwind(AssertUnwindSafe(|| step(self.opened()?)));
        ran.unwrap_or_else(|panic| Err(Failure::panicked(&*panic)))
            .map_err(|failure| {
                if failure.closes() {
                    self.close();
                }
                failure.at(&self.path)
            })
    }

    /// Closing writes, too, and may fail like any other step.
    fn close(&mut self) {
        let database = self.database.take();
        drop(catch_unwind(AssertUnwindSafe(|| drop(database))));
    }

    fn opened(&mut self) -> Result<&Database, Failure> {
        if self.database.is_none() {
            let database = (self.open)()?;
            if let Some(undo) = &self.doubt {
                undo.take_back(&database)?;
            }
            self.doubt = None;
            self.database = Some(database);
        }
        Ok(self.database.as_ref().expect("opened above"))
    }
}

impl Store for Redb {
    fn load(&mut self) -> Result<Loaded, StoreError> {
        self.run(|database| {
            let read = database.begin_read()?;
            Ok(Loaded {
                revision: revision(&read)?,
                entities: entities(&read)?,
            })
        })
    }

    fn commit(&mut self, expected: Revision, batch: &Batch) -> Result<(), StoreError> {
        let mut undo = Undo::default();
        let committed = self.run(|database| write(database, expected, batch, &mut undo));
        match committed {
            Ok(()) => self.watchers.tell(batch),
            Err(_) if self.database.is_none() && undo.after != undo.before => {
                self.doubt = Some(undo)
            }
            Err(_) => {}
        }
        committed
    }

    fn watch(&mut self, after: Revision) -> Result<Watch, StoreError> {
        let found = self.run(|database| revision(&database.begin_read()?))?;
        if found != after {
            return Err(StoreError::Conflict {
                expected: after,
                found,
            });
        }
        Ok(self.watchers.add())
    }
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder
        .set_cache_size(CACHE_BYTES)
        .set_check_integrity_on_open(true);
    builder
}

/// Makes an empty database ours, at revision 0.
fn initialize(database: &Database) -> Result<(), Failure> {
    let txn = begin(database)?;
    {
        let mut meta = txn.open_table(META)?;
        meta.insert("format", FORMAT)?;
        meta.insert("revision", 0)?;
        txn.open_table(ENTITIES)?;
    }
    Ok(txn.commit()?)
}

fn begin(database: &Database) -> Result<WriteTransaction, Failure> {
    let mut txn = database.begin_write()?;
    txn.set_durability(Durability::Immediate)?;
    Ok(txn)
}

fn check_format(database: &Database) -> Result<(), Failure> {
    let meta = database.begin_read()?.open_table(META)?;
    match meta.get("format")?.map(|format| format.value()) {
        Some(FORMAT) => Ok(()),
        Some(found) => Err(Failure::Format {
            found,
            known: FORMAT,
        }),
        None => Err(Failure::corrupt("its format is missing")),
    }
}

fn revision(read: &ReadTransaction) -> Result<Revision, Failure> {
    stored_revision(&read.open_table(META)?)
}

fn stored_revision(meta: &impl ReadableTable<&'static str, u64>) -> Result<Revision, Failure> {
    let revision = meta.get("revision")?;
    let missing = || Failure::corrupt("its revision is missing");
    Ok(Revision(revision.ok_or_else(missing)?.value()))
}

/// Decodes record by record, so that the file's bytes are never all in memory beside the entities.
fn entities(read: &ReadTransaction) -> Result<Vec<Arc<Entity>>, Failure> {
    let table = read.open_table(ENTITIES)?;
    table.iter()?.map(|item| entity(item?)).collect()
}

type Item<'a> = (
    AccessGuard<'a, &'static [u8; record::KEY_BYTES]>,
    AccessGuard<'a, &'static [u8]>,
);

fn entity((key, record): Item<'_>) -> Result<Arc<Entity>, Failure> {
    let at = record::read_key(key.value())?;
    let entity = record::decode(at, record.value()).map_err(|why| Failure::record(at, why))?;
    Ok(Arc::new(entity))
}

fn write(
    database: &Database,
    expected: Revision,
    batch: &Batch,
    undo: &mut Undo,
) -> Result<(), Failure> {
    let txn = begin(database)?;
    {
        let mut meta = txn.open_table(META)?;
        let found = stored_revision(&meta)?;
        if found != expected {
            return Err(Failure::Conflict { expected, found });
        }
        (undo.before, undo.after) = (expected, batch.revision);
        meta.insert("revision", batch.revision.0)?;
        let mut entities = txn.open_table(ENTITIES)?;
        for at in &batch.deletes {
            let key = record::key(*at);
            undo.note(key, entities.remove(&key)?);
        }
        for entity in &batch.puts {
            let key = record::key(entity.at());
            undo.note(key, entities.insert(&key, &*record::encode(entity))?);
        }
    }
    Ok(txn.commit()?)
}

impl Undo {
    fn note(&mut self, key: [u8; record::KEY_BYTES], old: Option<AccessGuard<'_, &'static [u8]>>) {
        self.records
            .push((key, old.map(|old| old.value().to_vec())));
    }

    /// Where the batch is in the file, puts everything back. Nobody was told of its revision.
    fn take_back(&self, database: &Database) -> Result<(), Failure> {
        let txn = begin(database)?;
        {
            let mut meta = txn.open_table(META)?;
            if stored_revision(&meta)? != self.after {
                return Ok(());
            }
            meta.insert("revision", self.before.0)?;
            let mut entities = txn.open_table(ENTITIES)?;
            for (key, old) in self.records.iter().rev() {
                match old {
                    Some(old) => drop(entities.insert(key, &**old)?),
                    None => drop(entities.remove(key)?),
                }
            }
        }
        Ok(txn.commit()?)
    }
}
