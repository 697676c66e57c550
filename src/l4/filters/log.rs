//! Lines about sessions in files that filters name (MaxScale's `qlafilter`, of which this is what is
//! known without reading statements).
//!
//! The data plane hands lines over and never waits; a thread of its own writes them. Files are opened
//! for each batch, so that they may be moved away at any time.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use prometheus::IntCounter;
use rustix::fs::OFlags;

use super::super::stats::Stats;
use crate::model::Timestamp;
use crate::table::{Act, Log, SessionRules};

/// Lines that wait at most; more are lost, and counted.
const WAITING_MAX: usize = 4096;

/// Lines that are written at once at most.
const BATCH_MAX: usize = 1024;

/// Who may read what is written: the gateway's user and group.
const FILE_MODE: u32 = 0o640;
const FOLDER_MODE: u32 = 0o750;

/// Which moment of a session a line is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::l4) enum Moment {
    Begin,
    /// With how long it was, what it carried and why it ended.
    End {
        duration: Duration,
        bytes: (u64, u64),
        cause: &'static str,
    },
}

/// What is written of a session.
#[derive(Clone, Copy, Debug)]
pub(in crate::l4) struct Note<'a> {
    pub(in crate::l4) id: u64,
    pub(in crate::l4) service: &'a str,
    pub(in crate::l4) client: std::net::SocketAddr,
    pub(in crate::l4) server: &'a str,
    pub(in crate::l4) user: &'a str,
    pub(in crate::l4) moment: Moment,
}

/// Where lines are handed over. Cheap to clone; the thread behind it ends with the last one.
#[derive(Clone, Debug)]
pub struct SessionLog {
    lines: SyncSender<Line>,
    lost: IntCounter,
}

#[derive(Debug)]
struct Line {
    /// Below the folder of logs.
    file: PathBuf,
    text: String,
}

impl SessionLog {
    /// Starts the thread that writes below `folder`, which is made when it is needed.
    ///
    /// # Errors
    /// The operating system gives no thread.
    pub fn start(folder: PathBuf, stats: &Stats) -> std::io::Result<Self> {
        let (lines, written) = sync_channel(WAITING_MAX);
        let lost = stats.unwritten.clone();
        let writer = Writer {
            folder,
            lost: lost.clone(),
        };
        std::thread::Builder::new()
            .name("session-log".to_owned())
            .spawn(move || writer.run(&written))?;
        Ok(Self { lines, lost })
    }

    /// Writes a line for each of the session's filters that wants one.
    pub(in crate::l4) fn note(&self, rules: &SessionRules, note: &Note<'_>) {
        let logs = rules.filters.iter().filter_map(|filter| match &filter.act {
            Act::Log(log) => Some(log),
            Act::Throttle(_) | Act::Nothing => None,
        });
        for log in logs {
            // The same moment in each file.
            let text = line(Timestamp::now(), note);
            let each = log.each.then(|| named(log, &note.id.to_string()));
            let unified = log.unified.then(|| named(log, "unified"));
            for file in each.into_iter().chain(unified) {
                let text = text.clone();
                if self.lines.try_send(Line { file, text }).is_err() {
                    self.lost.inc();
                }
            }
        }
    }
}

fn named(log: &Log, end: &str) -> PathBuf {
    let mut name = log.base.as_os_str().to_owned();
    name.push(".");
    name.push(end);
    name.into()
}

/// `time,begin,id,service,client,server,user`, and for the end the duration in seconds, bytes from and
/// to the client, and why.
fn line(time: Timestamp, note: &Note<'_>) -> String {
    let moment = match note.moment {
        Moment::Begin => "begin",
        Moment::End { .. } => "end",
    };
    let (service, server, user) = (field(note.service), field(note.server), field(note.user));
    let (id, client) = (note.id, note.client);
    let time = clock(time);
    let mut text = format!("{time},{moment},{id},{service},{client},{server},{user}");
    if let Moment::End {
        duration,
        bytes: (up, down),
        cause,
    } = note.moment
    {
        let seconds = duration.as_secs_f64();
        text.push_str(&format!(",{seconds:.3},{up},{down},{cause}"));
    }
    text.push('\n');
    text
}

/// RFC 3339 in UTC with milliseconds.
fn clock(time: Timestamp) -> String {
    let (year, month, day) = time.date();
    let (seconds, millis) = (time.seconds() % 86_400, time.0 % 1000);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

/// A field as RFC 4180 writes it; what is no text to print is left out, since clients choose names.
fn field(text: &str) -> String {
    let printed: String = text.chars().filter(|c| !c.is_control()).collect();
    match printed.contains([',', '"']) {
        true => format!("\"{}\"", printed.replace('"', "\"\"")),
        false => printed,
    }
}

struct Writer {
    folder: PathBuf,
    lost: IntCounter,
}

impl Writer {
    fn run(self, lines: &Receiver<Line>) {
        while let Ok(first) = lines.recv() {
            let more = std::iter::from_fn(|| lines.try_recv().ok());
            let batch = std::iter::once(first).chain(more).take(BATCH_MAX);
            self.write(batch);
        }
    }

    /// One write for each file, so that lines stay whole.
    fn write(&self, batch: impl Iterator<Item = Line>) {
        let mut files: BTreeMap<PathBuf, (u64, String)> = BTreeMap::new();
        for line in batch {
            let (count, text) = files.entry(line.file).or_default();
            *count += 1;
            text.push_str(&line.text);
        }
        for (file, (count, text)) in files {
            let path = self.folder.join(&file);
            let written = open(&path).and_then(|mut file| file.write_all(text.as_bytes()));
            if let Err(error) = written {
                self.lost.inc_by(count);
                tracing::warn!(%error, path = %path.display(), "a filter's lines are lost");
            }
        }
    }
}

fn open(path: &Path) -> std::io::Result<File> {
    if let Some(folder) = path.parent() {
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(FOLDER_MODE).create(folder)?;
    }
    let flags = OFlags::NOFOLLOW.bits();
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(FILE_MODE)
        .custom_flags(i32::try_from(flags).unwrap_or_default())
        .open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_line_whatever_a_client_calls_itself() {
        let note = Note {
            id: 7,
            service: "read",
            client: "192.0.2.7:4711".parse().unwrap(),
            server: "db,1",
            user: "a\n\"b\"\0",
            moment: Moment::End {
                duration: Duration::from_millis(1500),
                bytes: (3, 5),
                cause: "closed",
            },
        };
        let text = line(Timestamp::now(), &note);
        let (_, text) = text.split_once(',').unwrap();
        let rest = "end,7,read,192.0.2.7:4711,\"db,1\",\"a\"\"b\"\"\",1.500,3,5,closed\n";
        assert_eq!(text, rest);
    }

    #[test]
    fn a_line_s_time_is_one_that_people_read() {
        assert_eq!(
            clock(Timestamp(1_795_528_826_007)),
            "2026-11-24T14:00:26.007Z"
        );
    }

    #[test]
    fn lines_go_to_their_files_and_no_link_is_followed() {
        let folder = tempfile::tempdir().unwrap();
        let stats = Stats::register(&crate::metrics::Metrics::new()).unwrap();
        let writer = Writer {
            folder: folder.path().join("logs"),
            lost: stats.unwritten.clone(),
        };
        let line = |file: &str, text: &str| Line {
            file: file.into(),
            text: text.to_owned(),
        };
        let lines = [
            line("a/b.1", "one\n"),
            line("c.unified", "x\n"),
            line("a/b.1", "two\n"),
        ];
        writer.write(lines.into_iter());
        let read = |name: &str| std::fs::read_to_string(folder.path().join("logs").join(name));
        assert_eq!(read("a/b.1").unwrap(), "one\ntwo\n");
        assert_eq!(read("c.unified").unwrap(), "x\n");
        let outside = folder.path().join("outside");
        std::os::unix::fs::symlink(&outside, folder.path().join("logs/link")).unwrap();
        writer.write([line("link", "x\n")].into_iter());
        assert!(!outside.exists());
        assert_eq!(stats.unwritten.get(), 1);
    }
}
