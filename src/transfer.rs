//! The registry as one document: out, in, and checked, while no gateway runs on it.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::admin::kong::declarative;
use crate::admin::kong::declarative::{Flaws, Others};
use crate::boot::{Concern, Fault, Missing, offline};
use crate::config::Settings;
use crate::model::{Change, Entity, EntityRef, Kind, Snapshot, Tie};
use crate::registry::{Error, Registry};
use crate::table::normalize;

/// The version of the document; raised when an older reader could misread a newer one.
const FORMAT: u32 = 1;

/// Documents larger than this are refused.
const DOCUMENT_BYTES_MAX: u64 = 1 << 30;

/// How a document is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    #[default]
    Yaml,
    Json,
}

#[derive(Debug, Serialize)]
struct Written<'a> {
    sluicegate: u32,
    entities: Vec<Entry<'a>>,
}

#[derive(Debug, Serialize)]
struct Entry<'a> {
    kind: Kind,
    #[serde(flatten)]
    entity: &'a Entity,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Read {
    sluicegate: u32,
    entities: Vec<Entity>,
}

/// Writes every entity to `file`, else to standard output.
///
/// # Errors
/// [`Fault`] where the store cannot be read or the file not be written.
pub fn export(settings: &Settings, file: Option<&Path>, format: Format) -> Result<(), Fault> {
    let snapshot = stored(settings)?;
    deliver(file, &document(&snapshot, format)?)
}

/// Writes what the Kong dialect shows, as Kong's declarative configuration.
///
/// # Errors
/// As [`export`].
pub fn export_kong(settings: &Settings, file: Option<&Path>) -> Result<(), Fault> {
    let snapshot = stored(settings)?;
    deliver(file, &declarative::text(&snapshot).map_err(unwritable)?)
}

fn stored(settings: &Settings) -> Result<Arc<Snapshot>, Fault> {
    let look = |registry: Registry| async move { Ok(registry.snapshot()) };
    Ok(offline(settings, Missing::Refuse, look)?.0)
}

fn deliver(file: Option<&Path>, text: &str) -> Result<(), Fault> {
    match file {
        Some(file) => write_private(file, text).map_err(|error| about(file, &error)),
        None => Ok(io::stdout().write_all(text.as_bytes())?),
    }
}

/// A new file is for this user alone: keys are in it.
fn write_private(file: &Path, text: &str) -> io::Result<()> {
    let mut options = std::fs::File::options();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(file)?.write_all(text.as_bytes())
}

fn document(snapshot: &Snapshot, format: Format) -> Result<String, Fault> {
    let entry = |entity| Entry {
        kind: Entity::kind(entity),
        entity,
    };
    let entities = snapshot.iter().map(|entity| entry(&**entity)).collect();
    let written = Written {
        sluicegate: FORMAT,
        entities,
    };
    match format {
        Format::Json => serde_json::to_string_pretty(&written).map_err(unwritable),
        Format::Yaml => serde_saphyr::to_string(&written).map_err(unwritable),
    }
}

fn unwritable(error: impl fmt::Display) -> Fault {
    Fault::new(Concern::Document, error)
}

fn about(file: &Path, error: &dyn fmt::Display) -> Fault {
    Fault::new(Concern::Document, format!("{}: {error}", file.display()))
}

/// Puts every entity of a document into the registry, with one revision; with `replace`, deletes
/// the others in the same step.
///
/// # Errors
/// [`Fault`] where the document cannot be read or what it says cannot run; nothing changed.
pub fn import(settings: &Settings, file: &Path, replace: bool) -> Result<(), Fault> {
    let entities = read(file)?;
    let count = entities.len();
    let plan = move |now: &Snapshot| Ok::<_, Error>((changes(entities, now, replace), count));
    apply(settings, plan)
}

/// As [`import`], of Kong's declarative configuration or of decK's; with `replace`, deletes the
/// others that the Kong dialect shows.
///
/// # Errors
/// As [`import`]; every mistake of the document has a line.
pub fn import_kong(settings: &Settings, file: &Path, replace: bool) -> Result<(), Fault> {
    let wrong = |flaws: &Flaws| about(file, &flaws.lines().join("\n"));
    let document = declarative::parse(&text(file)?);
    let declared = document.and_then(declarative::read);
    let declared = declared.map_err(|flaws| wrong(&flaws))?;
    let others = if replace { Others::Go } else { Others::Stay };
    let name = file.to_owned();
    let plan = move |now: &Snapshot| {
        let planned = declarative::plan(&declared, now, others, normalize);
        let planned = planned.map_err(|flaws| Unplanned::Flaws(name, flaws))?;
        Ok::<_, Unplanned>((planned.changes, planned.declared.len()))
    };
    apply(settings, plan)
}

/// Why a document of Kong's does not become changes.
#[derive(Debug)]
enum Unplanned {
    Flaws(PathBuf, Flaws),
    Registry(Error),
}

impl From<Error> for Unplanned {
    fn from(error: Error) -> Self {
        Self::Registry(error)
    }
}

impl fmt::Display for Unplanned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flaws(file, flaws) => {
                write!(f, "{}: {}", file.display(), flaws.lines().join("\n"))
            }
            Self::Registry(error) => error.fmt(f),
        }
    }
}

/// Applies a plan, which also tells how many entities it is about, and says so.
fn apply<E, P>(settings: &Settings, plan: P) -> Result<(), Fault>
where
    E: From<Error> + fmt::Display + Send + 'static,
    P: FnOnce(&Snapshot) -> Result<(Vec<Change>, usize), E> + Send + 'static,
{
    let ((revision, count), _) = offline(settings, Missing::Make, |registry| async move {
        let (applied, count) = registry.edit(plan).await.map_err(unwritable)?;
        Ok((applied.revision, count))
    })?;
    let line = format!("{count} entities are in the registry, at revision {revision}\n");
    Ok(io::stdout().write_all(line.as_bytes())?)
}

fn text(file: &Path) -> Result<String, Fault> {
    let wrong = |error: &dyn fmt::Display| about(file, error);
    let size = std::fs::metadata(file)
        .map_err(|error| wrong(&error))?
        .len();
    if size > DOCUMENT_BYTES_MAX {
        return Err(wrong(&format!(
            "{size} bytes, at most {DOCUMENT_BYTES_MAX}"
        )));
    }
    std::fs::read_to_string(file).map_err(|error| wrong(&error))
}

fn read(file: &Path) -> Result<Vec<Entity>, Fault> {
    let wrong = |error: &dyn fmt::Display| about(file, error);
    let text = text(file)?;
    // JSON by its own reader: YAML's bounds on a document's size are for people's files.
    let read: Read = match text.trim_start().starts_with('{') {
        true => serde_json::from_str(&text).map_err(|error| wrong(&error))?,
        false => serde_saphyr::from_str(&text).map_err(|error| wrong(&one_line(&error)))?,
    };
    match read.sluicegate {
        FORMAT => Ok(read.entities),
        other => Err(wrong(&format!(
            "format {other}, this version reads {FORMAT}"
        ))),
    }
}

/// What is wrong with a YAML text and where, without the piece of it that the reader would show.
fn one_line(error: &serde_saphyr::Error) -> String {
    let text = error.without_snippet().to_string();
    text.lines().map(str::trim).collect::<Vec<_>>().join(" ")
}

fn changes(entities: Vec<Entity>, now: &Snapshot, replace: bool) -> Vec<Change> {
    let named: BTreeSet<EntityRef> = entities.iter().map(Entity::at).collect();
    let others = now
        .iter()
        .filter(|entity| replace && !named.contains(&entity.at()));
    // What another owns goes with it; the default namespace stays.
    let gone = |entity: &&Arc<Entity>| {
        let mut mentions = entity.spec.references().into_iter();
        let with_owner = mentions.any(|to| to.tie == Tie::Owned && !named.contains(&to.to));
        let is_default =
            entity.at().kind == Kind::Namespace && entity.spec.name() == Some("default");
        !with_owner && !is_default
    };
    let gone = others.filter(gone).map(|entity| entity.at());
    // A namespace goes when nothing is left in it.
    let (namespaces, gone): (Vec<_>, Vec<_>) = gone.partition(|at| at.kind == Kind::Namespace);
    let puts = entities
        .into_iter()
        .map(|entity| Change::Put(Arc::new(entity)));
    let deletes = gone.into_iter().map(Change::Delete);
    let deserted = namespaces.into_iter().map(Change::Delete);
    deletes.chain(puts).chain(deserted).collect()
}

/// Says what is in the settings and in the store, and everything that is wrong with it. Makes nothing.
///
/// # Errors
/// [`Fault`] for the first file that cannot be read, or for entities that cannot run.
pub fn check(settings: &Settings, out: &mut dyn Write) -> Result<(), Fault> {
    let look = |registry: Registry| async move { Ok(registry.snapshot()) };
    let (snapshot, problems) = offline(settings, Missing::Imagine, look)?;
    for kind in Kind::ALL {
        writeln!(out, "{:>8} {}", snapshot.count(*kind), kind.plural())?;
    }
    for problem in &problems {
        writeln!(out, "problem: {problem}")?;
    }
    match problems.len() {
        0 => Ok(writeln!(
            out,
            "settings and registry are fine, at revision {}",
            snapshot.revision()
        )?),
        n => Err(Fault::new(
            Concern::Document,
            format!("{n} entities would be left out"),
        )),
    }
}
