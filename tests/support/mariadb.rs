//! MariaDB servers of the machine's own: made, started, asked, ended. Each has its data in a
//! directory of its own, and its port on loopback.
//!
//! They come with Debian's `mariadb-server-core` and `mariadb-client`, which `.ci/setup` installs.

use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use rustix::process::{Pid, Signal, geteuid, kill_process};
use tempfile::TempDir;

use super::gateway::free_port;
use super::wait;

/// How long a server may take to start, or to do what it was told.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Whom monitors log in as; there on each server, with all that they need.
pub const MONITOR: (&str, &str) = ("monitor", "monitor-password");

/// Whom replicas log in as.
const REPLICA: (&str, &str) = ("replica", "replica-password");

/// Where the programs are, besides `PATH`.
const SBIN: &str = "/usr/sbin";

/// Whether servers can be started; says so where not, and the test that asked is skipped.
pub fn is_installed() -> bool {
    let needed = ["mariadbd", "mariadb-install-db", "mariadb"];
    let missing = needed.into_iter().find(|name| program(name).is_none());
    if let Some(missing) = missing {
        // Not by a macro: the test harness would swallow it.
        let said =
            format!("SKIPPED: no {missing}; apt-get install mariadb-server-core mariadb-client\n");
        let _ = std::io::stderr().write_all(said.as_bytes());
    }
    missing.is_none()
}

fn program(name: &str) -> Option<PathBuf> {
    #[expect(clippy::disallowed_methods, reason = "where programs are")]
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([SBIN.into()]);
    folders
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

fn command(name: &str) -> Command {
    Command::new(program(name).unwrap_or_else(|| panic!("no {name}")))
}

/// A server whose data are made once, as all others begin.
fn template() -> &'static Path {
    static TEMPLATE: OnceLock<TempDir> = OnceLock::new();
    let made = TEMPLATE.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let mut install = command("mariadb-install-db");
        install
            .arg("--no-defaults")
            .arg(format!(
                "--datadir={}",
                folder.path().join("data").display()
            ))
            .args([
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
                "--innodb-log-file-size=4M",
                "--innodb-buffer-pool-size=8M",
                "--aria-log-file-size=8M",
            ])
            .args(as_root());
        let output = install.output().expect("mariadb-install-db runs");
        assert!(output.status.success(), "{}", said(&output));
        folder
    });
    made.path()
}

/// Root has to say that it means it.
fn as_root() -> Option<&'static str> {
    geteuid().is_root().then_some("--user=root")
}

fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

/// What a client printed, or why it did not.
fn printed(output: &Output) -> Result<String, String> {
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout)
            .trim_end()
            .to_owned()),
        false => Err(said(output)),
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).expect("a new directory");
    for entry in fs::read_dir(from).expect("a readable directory") {
        let entry = entry.expect("a readable entry");
        let target = to.join(entry.file_name());
        match entry.file_type().expect("a type").is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).expect("a copy")),
        }
    }
}

/// A server. Dropping it kills it.
#[derive(Debug)]
pub struct MariaDb {
    id: u32,
    port: u16,
    folder: TempDir,
    child: Option<Child>,
}

impl MariaDb {
    /// A fresh server that answers, with that `server_id`.
    #[track_caller]
    pub fn start(id: u32) -> Self {
        let folder = tempfile::tempdir().expect("a temporary directory");
        copy(&template().join("data"), &folder.path().join("data"));
        let mut server = Self {
            id,
            port: free_port(),
            folder,
            child: None,
        };
        server.run();
        // Each server has them by itself; that is nothing to replicate.
        let everything = "SET sql_log_bin = 0; ".to_owned();
        let (monitor, replica) = (user(MONITOR), user(REPLICA));
        server.sql(&(everything + &monitor + &replica + "RESET MASTER"));
        server
    }

    /// Starts it again where it was.
    #[track_caller]
    pub fn run(&mut self) {
        let folder = self.folder.path();
        let log = fs::File::create(folder.join("log")).expect("a log");
        let child = command("mariadbd")
            .arg("--no-defaults")
            .arg(format!("--datadir={}", folder.join("data").display()))
            .arg(format!("--socket={}", self.socket().display()))
            .arg(format!("--pid-file={}", folder.join("pid").display()))
            .arg(format!("--port={}", self.port))
            .arg(format!("--server-id={}", self.id))
            .args([
                "--bind-address=127.0.0.1",
                "--log-bin=binlog",
                "--log-slave-updates",
                "--skip-slave-start",
                "--skip-name-resolve",
                "--slave-net-timeout=2",
                "--innodb-log-file-size=4M",
                "--innodb-buffer-pool-size=8M",
                "--aria-log-file-size=8M",
                "--innodb-flush-log-at-trx-commit=2",
                "--performance-schema=OFF",
            ])
            .args(as_root())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn()
            .expect("mariadbd starts");
        self.child = Some(child);
        wait::until(PATIENCE, "MariaDB answers", || {
            let ended = self
                .child
                .as_mut()
                .and_then(|child| child.try_wait().expect("a child"));
            assert!(ended.is_none(), "{ended:?}\n{}", self.log());
            self.try_sql("SELECT 1").is_ok()
        });
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    pub const fn port(&self) -> u16 {
        self.port
    }

    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    fn try_sql(&self, statements: &str) -> Result<String, String> {
        let output = command("mariadb")
            .arg("--no-defaults")
            .arg(format!("--socket={}", self.socket().display()))
            .args(["--user=root", "--batch", "--skip-column-names", "--execute"])
            .arg(statements)
            .output()
            .expect("mariadb runs");
        printed(&output)
    }

    /// Runs statements as root; answers what they print, without names of columns.
    #[track_caller]
    pub fn sql(&self, statements: &str) -> String {
        let answer = self.try_sql(statements);
        answer.unwrap_or_else(|error| panic!("{statements}: {error}\n{}", self.log()))
    }

    /// Makes it replicate from `master` by GTID, and take no writes of its own.
    #[track_caller]
    pub fn follow(&self, master: &Self) {
        let (user, password) = REPLICA;
        let port = master.port;
        self.sql(&format!(
            "STOP SLAVE; SET GLOBAL read_only = 1; CHANGE MASTER TO MASTER_HOST = '127.0.0.1', \
             MASTER_PORT = {port}, MASTER_USER = '{user}', MASTER_PASSWORD = '{password}', \
             MASTER_CONNECT_RETRY = 1, MASTER_USE_GTID = slave_pos; START SLAVE"
        ));
    }

    /// Makes it replicate from nobody, and take writes.
    #[track_caller]
    pub fn promote(&self) {
        self.sql("STOP SLAVE; RESET SLAVE ALL; SET GLOBAL read_only = 0");
    }

    /// Ends it as a power cut does, for the process.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Ends it in order.
    #[track_caller]
    pub fn stop(&mut self) {
        let mut child = self.child.take().expect("it runs");
        let id = i32::try_from(child.id()).expect("a process id");
        kill_process(Pid::from_raw(id).expect("not zero"), Signal::TERM).expect("our own child");
        let status = wait::found(PATIENCE, "MariaDB ends", || {
            child.try_wait().expect("a child")
        });
        assert!(status.success(), "{status:?}\n{}", self.log());
    }
}

impl Drop for MariaDb {
    fn drop(&mut self) {
        self.kill();
    }
}

/// An account for applications, on a server and on who replicates from it.
pub const CLIENT: (&str, &str) = ("client", "client-password");

/// What the `mariadb` client prints that connects to `port` of this machine as [`CLIENT`].
pub fn ask(port: u16, statement: &str) -> Result<String, String> {
    let output = through("mariadb", port)
        .args(["--batch", "--skip-column-names", "--execute", statement])
        .output()
        .expect("mariadb runs");
    printed(&output)
}

/// `mysqlslap` with so many clients at a time, and so many statements in all; `None` where it is not
/// installed.
pub fn load(port: u16, clients: usize, statements: usize) -> Option<Result<(), String>> {
    program("mariadb-slap")?;
    let output = through("mariadb-slap", port)
        .arg(format!("--concurrency={clients}"))
        .arg(format!("--number-of-queries={statements}"))
        .args(["--query=SELECT 1", "--silent"])
        .output()
        .expect("mariadb-slap runs");
    let is_well = output.status.success() && output.stderr.is_empty();
    Some(if is_well { Ok(()) } else { Err(said(&output)) })
}

fn through(name: &str, port: u16) -> Command {
    let (user, password) = CLIENT;
    let mut client = command(name);
    client
        .args(["--no-defaults", "--host=127.0.0.1", "--protocol=tcp"])
        .arg(format!("--port={port}"))
        .arg(format!("--user={user}"))
        .arg(format!("--password={password}"));
    client
}

fn user((name, password): (&str, &str)) -> String {
    let rights = "REPLICATION SLAVE, REPLICATION SLAVE ADMIN, SLAVE MONITOR, BINLOG MONITOR";
    format!(
        "CREATE USER '{name}'@'127.0.0.1' IDENTIFIED BY '{password}'; \
         GRANT {rights} ON *.* TO '{name}'@'127.0.0.1'; "
    )
}
