//! The command line: what may be asked of the binary, and handing it on.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::boot;
use crate::boot::Fault;
use crate::config;
use crate::config::Settings;
use crate::transfer;
use crate::transfer::Format;

/// A reverse proxy and service gateway whose configuration changes live.
#[derive(Debug, Parser)]
#[command(name = "sluicegate", version, about)]
struct Cli {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    command: Option<Command>,
}

/// Where settings and the registry are.
#[derive(Args, Clone, Debug, Default)]
struct Place {
    /// The settings file (TOML); without one, the defaults and SLUICEGATE_* variables.
    #[arg(long, short, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The directory of the registry; goes before the file and the variables.
    #[arg(long, short, global = true, value_name = "DIR")]
    data: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve until SIGTERM (the default).
    Run {
        /// Take over the listening sockets of the process that runs now.
        #[arg(long)]
        upgrade: bool,
    },
    /// Check the settings and what is stored, and change nothing.
    Check,
    /// Write everything in the registry, private keys included, as one document.
    Export {
        /// Default: standard output.
        file: Option<PathBuf>,
        #[arg(long, value_enum, default_value_t)]
        format: Format,
        /// As Kong's declarative configuration, in YAML: what the Kong dialect shows.
        #[arg(long, conflicts_with = "format")]
        kong: bool,
    },
    /// Put everything in a document into the registry, all or nothing.
    Import {
        /// YAML or JSON, as `export` writes it.
        file: PathBuf,
        /// Delete what the document does not name.
        #[arg(long)]
        replace: bool,
        /// The document is Kong's declarative configuration, or decK's; `--replace` deletes what the
        /// Kong dialect shows and the document does not name.
        #[arg(long)]
        kong: bool,
    },
    /// Try it: a gateway with two services of its own and nothing kept.
    Demo,
    /// Print the version.
    Version,
}

/// Does what the arguments ask for.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(told) => return untold(&told),
    };
    match obey(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            // Where standard error is gone, the exit code still tells.
            let _ = writeln!(std::io::stderr(), "sluicegate: {fault}");
            fault.exit_code()
        }
    }
}

/// `EX_USAGE` of `sysexits.h`.
const USAGE: u8 = 64;

/// Says what is wrong with the arguments, or the help that they asked for.
fn untold(told: &clap::Error) -> ExitCode {
    // Where nobody reads it, the exit code still tells.
    let _ = told.print();
    match told.use_stderr() {
        true => ExitCode::from(USAGE),
        false => ExitCode::SUCCESS,
    }
}

fn obey(cli: Cli) -> Result<(), Fault> {
    let settings = || settings(&cli.place);
    match cli.command.unwrap_or(Command::Run { upgrade: false }) {
        Command::Run { upgrade } => boot::run(&settings()?, upgrade),
        Command::Check => transfer::check(&settings()?, &mut std::io::stdout()),
        Command::Export { file, kong, .. } if kong => {
            transfer::export_kong(&settings()?, file.as_deref())
        }
        Command::Export { file, format, .. } => {
            transfer::export(&settings()?, file.as_deref(), format)
        }
        Command::Import {
            file,
            replace,
            kong,
        } => match kong {
            true => transfer::import_kong(&settings()?, &file, replace),
            false => transfer::import(&settings()?, &file, replace),
        },
        Command::Demo => boot::demo(settings()?),
        Command::Version => say(&format!("sluicegate {}", env!("CARGO_PKG_VERSION"))),
    }
}

fn settings(place: &Place) -> Result<Settings, Fault> {
    Ok(config::load(
        place.config.as_deref(),
        place.data.as_deref(),
    )?)
}

/// Prints a line on standard output.
fn say(line: &str) -> Result<(), Fault> {
    Ok(writeln!(std::io::stdout(), "{line}")?)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed_and_runs_by_default() {
        Cli::command().debug_assert();
        assert!(
            Cli::parse_from(["sluicegate", "--data", "d"])
                .command
                .is_none()
        );
    }
}
