//! The built binary as a process: started, asked, signalled, watched to its end.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::client::{Answer, Client};
use super::gateway::api;
use super::wait::{self, PATIENCE};

/// Ports of its own for every address of the settings.
pub const FREE_PORTS: &[(&str, &str)] = &[
    ("SLUICEGATE_PROXY_HTTP", "127.0.0.1:0"),
    ("SLUICEGATE_PROXY_HTTPS", "127.0.0.1:0"),
    ("SLUICEGATE_ADMIN_LISTEN", "127.0.0.1:0"),
    ("SLUICEGATE_GATEWAY_LISTEN", "127.0.0.1:0"),
    ("SLUICEGATE_POLARIS_ENABLED", "false"),
    ("SLUICEGATE_MAXSCALE_ENABLED", "false"),
    ("SLUICEGATE_PROXY_WORKERS", "2"),
];

/// What a command that ended has to say.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub out: String,
    /// Lines of standard error.
    pub errors: Vec<String>,
}

/// Runs a command to its end, in `directory`.
pub fn run(directory: &Path, args: &[&str], vars: &[(&str, &str)]) -> Ended {
    let mut process = Process::spawn(directory, args, vars);
    let status = process.ended();
    Ended {
        code: status.code(),
        out: process.out(),
        errors: process.log(),
    }
}

/// What a stream has said so far.
type Said = Arc<Mutex<String>>;

/// A process that runs. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    child: Child,
    out: Said,
    errors: Said,
    readers: Vec<thread::JoinHandle<()>>,
}

impl Process {
    /// Starts it with these arguments and no variables but these, in `directory`.
    pub fn spawn(directory: &Path, args: &[&str], vars: &[(&str, &str)]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_sluicegate"))
            .args(args)
            .current_dir(directory)
            .env_clear()
            .envs(vars.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let (out, errors) = (Said::default(), Said::default());
        let stdout = child.stdout.take().expect("piped");
        let stderr = child.stderr.take().expect("piped");
        let readers = vec![read(stdout, &out), read(stderr, &errors)];
        Self {
            child,
            out,
            errors,
            readers,
        }
    }

    /// A gateway on free ports, with its registry in `directory`; returns when it serves.
    pub fn start(directory: &Path) -> Self {
        Self::start_with(directory, &["--data", "data"], FREE_PORTS)
    }

    pub fn start_with(directory: &Path, args: &[&str], vars: &[(&str, &str)]) -> Self {
        let mut process = Self::spawn(directory, args, vars);
        process.serves();
        process
    }

    /// Waits until it serves.
    #[track_caller]
    pub fn serves(&mut self) {
        wait::until(PATIENCE, "the gateway serves", || {
            let status = self.child.try_wait().expect("a child");
            assert!(status.is_none(), "it ended: {status:?}\n{:?}", self.log());
            self.find("the admin API").is_some()
        });
    }

    /// The address of the listener called `name` in its log.
    fn find(&self, name: &str) -> Option<SocketAddr> {
        let said = format!(" {name} listens");
        let log = self.log();
        let line = log.iter().find(|line| line.contains(&said))?;
        let address = line.split("address=").nth(1)?;
        address.split(' ').next()?.parse().ok()
    }

    #[track_caller]
    fn address(&self, name: &str) -> SocketAddr {
        self.find(name)
            .unwrap_or_else(|| panic!("no {name}: {:?}", self.log()))
    }

    pub fn http(&self) -> SocketAddr {
        self.address("http")
    }

    pub fn admin(&self) -> SocketAddr {
        self.address("the admin API")
    }

    pub fn dialect(&self) -> SocketAddr {
        self.address("gateway")
    }

    pub fn maxscale(&self) -> SocketAddr {
        self.address("maxscale")
    }

    /// A call of the native API.
    #[track_caller]
    pub fn api(&self, method: &str, path: &str, document: &Value) -> Answer {
        api(&mut Client::connect(self.admin()), method, path, document)
    }

    /// A service at `origin` and a route to it, both called `name`.
    #[track_caller]
    pub fn serve(&self, name: &str, origin: SocketAddr) {
        let service = json!({"name": name, "url": format!("http://{origin}")});
        let route = json!({"name": name, "service": name, "paths": [format!("/{name}")]});
        for (plural, document) in [("services", service), ("routes", route)] {
            let answer = self.api("POST", &format!("/api/{plural}"), &document);
            assert_eq!(answer.status, 201, "{}", answer.text());
        }
    }

    #[track_caller]
    pub fn get(&self, target: &str) -> Answer {
        super::client::get(self.http(), "h", target)
    }

    /// Lines of standard error so far.
    pub fn log(&self) -> Vec<String> {
        said(&self.errors).lines().map(str::to_owned).collect()
    }

    /// Standard output so far.
    pub fn out(&self) -> String {
        said(&self.out)
    }

    pub fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id()).expect("a process id");
        let id = Pid::from_raw(id).expect("not zero");
        kill_process(id, signal).expect("our own child");
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child").is_none()
    }

    /// Waits for its end, and for its last word.
    #[track_caller]
    pub fn ended(&mut self) -> ExitStatus {
        let status = wait::found(PATIENCE, "the process ends", || {
            self.child.try_wait().expect("a child")
        });
        for reader in self.readers.drain(..) {
            reader.join().expect("a reader does not panic");
        }
        status
    }

    /// As by a power cut, for the process.
    pub fn kill(mut self) {
        self.signal(Signal::KILL);
        self.ended();
    }

    /// As a service manager ends it.
    #[track_caller]
    pub fn stop(mut self) {
        self.signal(Signal::TERM);
        let status = self.ended();
        assert_eq!(status.code(), Some(0), "{:?}", self.log());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn said(said: &Said) -> String {
    said.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

fn read(stream: impl Read + Send + 'static, said: &Said) -> thread::JoinHandle<()> {
    let said = Arc::clone(said);
    thread::spawn(move || {
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        while stream.read_line(&mut line).is_ok_and(|read| read > 0) {
            let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
            said.push_str(&line);
            line.clear();
        }
    })
}
