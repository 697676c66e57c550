//! Where the process writes what it has to say.

use std::io::{IsTerminal as _, Write};
use std::path::Path;

use tracing_subscriber::EnvFilter;

use super::Fault;
use super::access_file::AccessFile;
use crate::config::{Format, Log};

/// Starts the log, to standard error. pingora's own messages come along, but only from `warn` up.
/// The first call in a process counts.
pub(super) fn start(settings: &Log) {
    let level = settings.level.word();
    let quiet = "pingora=error,pingora_core=error,pingora_proxy=error,h2=warn,hickory=warn";
    let filter = EnvFilter::new(format!("{level},{quiet}"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let log = log.with_ansi(std::io::stderr().is_terminal());
    // An embedder that has a log of its own keeps it.
    let _ = match settings.format {
        Format::Text => log.with_target(false).try_init(),
        Format::Json => log.json().try_init(),
    };
}

/// Standard output, or a file that is appended to.
pub(super) fn access_sink(path: Option<&Path>) -> Result<Box<dyn Write + Send>, Fault> {
    let Some(path) = path else {
        return Ok(Box::new(std::io::stdout()));
    };
    let file = AccessFile::open(path).map_err(|error| {
        let why = format!("log.access_path {}: {error}", path.display());
        Fault::machine(format!("{why}; name a file that can be written"))
    })?;
    Ok(Box::new(file))
}
