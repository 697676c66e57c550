//! Active checks: one service that follows the published pools and asks their endpoints.
//!
//! One task keeps the [`Schedule`]; each check is a short task of its own. A check belongs to an
//! endpoint's live state, so publishing an equal pool again neither restarts it nor forgets when it
//! ran.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::{self, AbortHandle, JoinSet};

use crate::client::{Client, Error, Get, Tls, To, Verify};
use crate::model::{ActiveCheck, CheckProtocol, Name};

use super::checks::{Active, Outcome};
use super::endpoint::Endpoint;
use super::health::Report;
use super::pool::Pool;
use schedule::{Schedule, Turn};

mod schedule;

/// The prober's handle; dropping it ends all checks.
#[derive(Debug)]
pub struct Prober {
    followed: watch::Sender<Vec<Arc<Pool>>>,
    task: AbortHandle,
}

impl Prober {
    /// Starts the service on the current runtime.
    pub fn spawn(client: Client) -> Self {
        let (followed, pools) = watch::channel(Vec::new());
        let service = Service {
            client,
            schedule: Schedule::default(),
            running: JoinSet::new(),
            turns: HashMap::new(),
        };
        Self {
            followed,
            task: tokio::spawn(service.run(pools)).abort_handle(),
        }
    }

    /// Checks the endpoints of these pools from now on, and of no others. Pools without an active
    /// check may be among them.
    pub fn follow(&self, mut pools: Vec<Arc<Pool>>) {
        pools.retain(|pool| pool.active().is_some());
        self.followed.send_replace(pools);
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Service {
    client: Client,
    schedule: Schedule,
    running: JoinSet<()>,
    turns: HashMap<task::Id, Turn>,
}

impl Service {
    async fn run(mut self, mut pools: watch::Receiver<Vec<Arc<Pool>>>) {
        loop {
            tokio::select! {
                changed = pools.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let followed = pools.borrow_and_update().clone();
                    self.schedule.adopt(&followed, Instant::now());
                }
                Some(ended) = self.running.join_next_with_id() => {
                    self.finish(ended.map_or_else(|error| error.id(), |(id, ())| id));
                }
                () = sleep_until(self.schedule.next()) => {}
            }
            self.launch();
        }
    }

    fn launch(&mut self) {
        let now = Instant::now();
        self.schedule.look(now);
        while let Some((turn, endpoint)) = self.schedule.begin(now) {
            let check = check(self.client.clone(), endpoint);
            let id = self.running.spawn(check).id();
            self.turns.insert(id, turn);
        }
    }

    /// A check ended, be it by a panic.
    fn finish(&mut self, id: task::Id) {
        if let Some(turn) = self.turns.remove(&id) {
            self.schedule.finish(turn, Instant::now());
        }
    }
}

async fn sleep_until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment.into()).await,
        None => std::future::pending().await,
    }
}

/// Checks an endpoint once and tells its live state.
async fn check(client: Client, endpoint: Arc<Endpoint>) {
    let Some(active) = &endpoint.checks.active else {
        return;
    };
    let report = match active.check.protocol {
        CheckProtocol::Tcp => ask_tcp(endpoint.addr, active.check.timeout).await,
        CheckProtocol::Http | CheckProtocol::Https => ask_http(&client, &endpoint, active).await,
    };
    if let Some(report) = report {
        endpoint.report(report, &active.judge, Instant::now());
    }
}

/// A connection is enough.
async fn ask_tcp(addr: SocketAddr, timeout: Duration) -> Option<Report> {
    let connected = tokio::time::timeout(timeout, TcpStream::connect(addr)).await;
    Some(match connected {
        Ok(Ok(_)) => Report::Success,
        Ok(Err(_)) => Report::TcpFailure,
        Err(_) => Report::Timeout,
    })
}

async fn ask_http(client: &Client, endpoint: &Endpoint, active: &Active) -> Option<Report> {
    let host = host_header(endpoint, &active.check);
    let answer = client.status(&get(endpoint, &active.check, &host)).await;
    let outcome = match answer {
        Ok(status) => Outcome::Status(status.as_u16()),
        Err(Error::TimedOut(_)) => Outcome::TimedOut,
        Err(Error::Connect(_) | Error::Tls(_)) => Outcome::ConnectFailed,
        Err(
            Error::Broken(_) | Error::HeadTooLarge | Error::BodyTooLarge { .. } | Error::Request(_),
        ) => Outcome::Broken,
    };
    active.judge.report(outcome)
}

/// The Host sent: the check's, else the endpoint's, with its port where the scheme's is another.
fn host_header(endpoint: &Endpoint, check: &ActiveCheck) -> String {
    if let Some(host) = &check.host {
        return host.to_string();
    }
    let host = endpoint.host();
    let host = if host.contains(':') && !host.starts_with('[') {
        format!("[{host}]")
    } else {
        host.to_owned()
    };
    let expected = match check.protocol {
        CheckProtocol::Https => 443,
        CheckProtocol::Http | CheckProtocol::Tcp => 80,
    };
    match endpoint.addr.port() {
        port if port == expected => host,
        port => format!("{host}:{port}"),
    }
}

/// A check asks whether an endpoint works. Whether it may be trusted is the service's to say, which
/// verifies certificates or does not: so checks believe any.
fn get<'a>(endpoint: &'a Endpoint, check: &'a ActiveCheck, host: &'a str) -> Get<'a> {
    let server_name = check.host.as_ref().map_or_else(|| endpoint.host(), Name::as_str);
    Get {
        to: To::Addr(endpoint.addr),
        tls: (check.protocol == CheckProtocol::Https).then_some(Tls {
            server_name,
            verify: Verify::Nothing,
        }),
        host,
        target: &check.path,
        timeout: check.timeout,
        body_bytes_max: 0,
    }
}
