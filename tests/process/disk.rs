//! A disk that is full, or may not be written. Needs a file system of its own, so the right to mount.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::origin::Origin;
use crate::support::process::{FREE_PORTS, Process, run};
use crate::support::wait::{self, PATIENCE};

/// A small file system in memory; unmounted when dropped.
struct Mounted {
    folder: tempfile::TempDir,
}

impl Mounted {
    /// `None`, and a line that says so, where this user may not mount.
    fn with(options: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(folder.path());
        let status = mount.stderr(Stdio::null()).status();
        if status.is_ok_and(|status| status.success()) {
            return Some(Self { folder });
        }
        let _ = writeln!(
            std::io::stderr(),
            "skipped: this user may not mount a tmpfs"
        );
        None
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Takes all space that is left; what it returns gives it back.
    fn fill(&self) -> PathBuf {
        let path = self.path().join("filler");
        let mut file = File::create(&path).unwrap();
        for size in [1 << 16, 1 << 12, 1] {
            while file.write(&vec![0; size]).is_ok_and(|written| written > 0) {}
        }
        path
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // What is left is the system's to clean.
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

#[test]
fn a_full_disk_refuses_writes_and_nothing_else() {
    let Some(disk) = Mounted::with("size=8m") else {
        return;
    };
    let origin = Origin::saying("ok");
    let process = Process::start(disk.path());
    process.serve("a", origin.address());
    let filler = disk.fill();
    let write = |n: usize| {
        let route = json!({"name": format!("r{n}"), "service": "a", "paths": [format!("/r{n}")],
            "tags": [format!("{n}-{}", "x".repeat(100))]});
        process.api("POST", "/api/routes", &route)
    };
    let mut stored = 0;
    let refused = wait::found(PATIENCE, "the disk is full", || {
        let answer = write(stored);
        if answer.status == 201 {
            stored += 1;
            return None;
        }
        Some(answer)
    });
    assert_eq!(refused.status, 507, "{}", refused.text());
    assert_eq!(
        refused.json()["type"],
        "urn:sluicegate:problem:storage-full"
    );
    assert_eq!(process.get("/a").text(), "ok", "traffic goes on");
    assert_eq!(
        process.get(&format!("/r{stored}")).status,
        404,
        "and does not see it"
    );
    let count =
        process.api("GET", "/api/status", &Value::Null).json()["entities"]["routes"].clone();
    assert_eq!(count, json!(stored + 1));
    std::fs::remove_file(filler).unwrap();
    let answer = write(stored);
    assert_eq!(
        answer.status,
        201,
        "there is space again: {}",
        answer.text()
    );
    assert_eq!(process.get(&format!("/r{stored}")).text(), "ok");
    process.stop();
    let process = Process::start(disk.path());
    for n in 0..=stored {
        assert_eq!(process.get(&format!("/r{n}")).text(), "ok", "{n}");
    }
}

#[test]
fn a_disk_that_may_not_be_written_is_told() {
    let Some(disk) = Mounted::with("size=1m,ro") else {
        return;
    };
    let ended = run(disk.path(), &["--data", "data", "run"], FREE_PORTS);
    assert_eq!((ended.code, ended.errors.len()), (Some(74), 1), "{ended:?}");
    assert!(
        ended.errors[0].contains("data cannot be written"),
        "{ended:?}"
    );
}
