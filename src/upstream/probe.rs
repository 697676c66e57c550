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

use crate::client::{Client, Error, Get, GrpcHealth, Tls, To, Verify};
use crate::model::{ActiveCheck, CheckProtocol};

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
        pools.retain(|pool| pool.is_probed());
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
        CheckProtocol::Grpc | CheckProtocol::Grpcs => ask_grpc(&client, &endpoint, active).await,
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
    let answer = client.status(&get(endpoint, active, &host)).await;
    let outcome = answer.map_or_else(
        |error| outcome(&error),
        |status| Outcome::Status(status.as_u16()),
    );
    active.judge.report(outcome)
}

/// A server that does not say how it is has at least answered.
async fn ask_grpc(client: &Client, endpoint: &Endpoint, active: &Active) -> Option<Report> {
    let host = host_header(endpoint, &active.check);
    let answer = client.grpc_health(&get(endpoint, active, &host)).await;
    match answer {
        Ok(GrpcHealth::Serving | GrpcHealth::Untold) => Some(Report::Success),
        Ok(GrpcHealth::NotServing) => Some(Report::HttpFailure),
        Err(error) => active.judge.report(outcome(&error)),
    }
}

const fn outcome(error: &Error) -> Outcome {
    match error {
        Error::TimedOut(_) => Outcome::TimedOut,
        Error::Connect(_) | Error::Tls(_) => Outcome::ConnectFailed,
        Error::Broken(_) | Error::HeadTooLarge | Error::BodyTooLarge { .. } | Error::Request(_) => {
            Outcome::Broken
        }
    }
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
        CheckProtocol::Https | CheckProtocol::Grpcs => 443,
        CheckProtocol::Http | CheckProtocol::Tcp | CheckProtocol::Grpc => 80,
    };
    match endpoint.addr.port() {
        port if port == expected => host,
        port => format!("{host}:{port}"),
    }
}

fn get<'a>(endpoint: &'a Endpoint, active: &'a Active, host: &'a str) -> Get<'a> {
    let check = &active.check;
    let server_name = check.tls_server_name.as_ref().or(check.host.as_ref());
    let server_name = server_name.map_or_else(|| endpoint.host(), |name| bare(name.as_str()));
    let verify = match check.tls_verify {
        true => Verify::Chain,
        false => Verify::Nothing,
    };
    Get {
        to: To::Addr(endpoint.addr),
        tls: check.protocol.is_tls().then_some(Tls {
            server_name,
            verify,
        }),
        host,
        headers: Some(&active.headers),
        target: &check.path,
        timeout: check.timeout,
        body_bytes_max: GRPC_BYTES_MAX,
    }
}

/// A host without its port.
fn bare(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if !name.contains(':') && port.bytes().all(|b| b.is_ascii_digit()) => {
            name
        }
        Some(_) | None => host,
    }
}

/// The most bytes of an answer that says how a gRPC server is.
const GRPC_BYTES_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use crate::model::{CheckHeaders, Id, Thresholds};

    use super::super::endpoint::Endpoints;
    use super::super::health::Health;
    use super::super::policy::{Member, Policy};
    use super::super::pool::{NoEndpoint, Tried};
    use super::*;

    /// Answers every request with a status that the test sets; 0 hangs up without an answer.
    struct Origin {
        addr: SocketAddr,
        status: AtomicU16,
        asked: AtomicUsize,
        last: std::sync::Mutex<String>,
    }

    impl Origin {
        async fn start(status: u16) -> Arc<Self> {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let origin = Arc::new(Self {
                addr: listener.local_addr().unwrap(),
                status: AtomicU16::new(status),
                asked: AtomicUsize::new(0),
                last: std::sync::Mutex::default(),
            });
            tokio::spawn(Arc::clone(&origin).serve(listener));
            origin
        }

        async fn serve(self: Arc<Self>, listener: TcpListener) {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = [0; 1024];
                let read = stream.read(&mut head).await.unwrap_or(0);
                *self.last.lock().unwrap() = String::from_utf8_lossy(&head[..read]).into_owned();
                self.asked.fetch_add(1, Ordering::SeqCst);
                let status = self.status.load(Ordering::SeqCst);
                if status > 0 {
                    let answer = format!("HTTP/1.1 {status} x\r\nContent-Length: 99999\r\n\r\n");
                    _ = stream.write_all(answer.as_bytes()).await;
                }
            }
        }
    }

    async fn until(what: &str, condition: impl Fn() -> bool) {
        let mut pulse = tokio::time::interval(Duration::from_millis(2));
        let waiting = async {
            while !condition() {
                pulse.tick().await;
            }
        };
        let done = tokio::time::timeout(Duration::from_secs(20), waiting).await;
        assert!(done.is_ok(), "never: {what}");
    }

    fn check(protocol: CheckProtocol) -> ActiveCheck {
        ActiveCheck {
            protocol,
            path: "/status?deep=1".into(),
            healthy_interval: Duration::from_millis(20),
            unhealthy_interval: Duration::from_millis(20),
            timeout: Duration::from_secs(10),
            thresholds: Thresholds {
                successes: 2,
                http_failures: 2,
                tcp_failures: 2,
                timeouts: 1,
                ..Thresholds::off()
            },
            ..ActiveCheck::default()
        }
    }

    fn pool(live: &Endpoints, check: &ActiveCheck, addr: SocketAddr) -> Arc<Pool> {
        let policy = Policy {
            active: Some(check),
            ..Policy::direct(Id::derived("pool"))
        };
        Arc::new(Pool::build(&policy, vec![member(addr)], live))
    }

    fn member(addr: SocketAddr) -> Member {
        Member {
            id: None,
            host: "origin.test".into(),
            addr,
            weight: 1,
            server: None,
        }
    }

    fn health(pool: &Pool) -> Health {
        pool.endpoints().next().unwrap().health().health
    }

    #[tokio::test]
    async fn a_check_ejects_and_restores() {
        let origin = Origin::start(200).await;
        let live = Endpoints::new();
        let pool = pool(&live, &check(CheckProtocol::Http), origin.addr);
        let prober = Prober::spawn(Client::new(None));
        prober.follow(vec![Arc::clone(&pool)]);
        until("asked", || origin.asked.load(Ordering::SeqCst) > 2).await;
        assert_eq!(health(&pool), Health::Healthy);
        let head = origin.last.lock().unwrap().to_lowercase();
        assert!(
            head.starts_with("get /status?deep=1 http/1.1\r\n"),
            "{head}"
        );
        assert!(head.contains(&format!("host: origin.test:{}\r\n", origin.addr.port())));

        for status in [503, 0] {
            origin.status.store(status, Ordering::SeqCst);
            until("ejected", || health(&pool) == Health::Unhealthy).await;
            let refused = pool.pick(0, &Tried::default(), Instant::now());
            assert_eq!(refused.unwrap_err(), NoEndpoint::AllUnhealthy);
            origin.status.store(204, Ordering::SeqCst);
            until("restored", || health(&pool) == Health::Healthy).await;
        }
    }

    #[tokio::test]
    async fn a_status_in_neither_list_changes_nothing() {
        let origin = Origin::start(404).await;
        let live = Endpoints::new();
        let pool = pool(&live, &check(CheckProtocol::Http), origin.addr);
        pool.endpoints().next().unwrap().mark(Health::Unhealthy);
        let prober = Prober::spawn(Client::new(None));
        prober.follow(vec![Arc::clone(&pool)]);
        until("asked", || origin.asked.load(Ordering::SeqCst) > 3).await;
        assert_eq!(health(&pool), Health::Unhealthy);
    }

    #[tokio::test]
    async fn an_endpoint_that_does_not_answer_in_time_is_ejected() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let live = Endpoints::new();
        let check = ActiveCheck {
            timeout: Duration::from_millis(50),
            ..check(CheckProtocol::Http)
        };
        let pool = pool(&live, &check, listener.local_addr().unwrap());
        let prober = Prober::spawn(Client::new(None));
        prober.follow(vec![Arc::clone(&pool)]);
        until("ejected", || health(&pool) == Health::Unhealthy).await;
    }

    #[tokio::test]
    async fn a_tcp_check_asks_for_a_connection_only() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let live = Endpoints::new();
        let pool = pool(&live, &check(CheckProtocol::Tcp), addr);
        let prober = Prober::spawn(Client::new(None));
        prober.follow(vec![Arc::clone(&pool)]);
        pool.endpoints().next().unwrap().mark(Health::Unhealthy);
        until("restored", || health(&pool) == Health::Healthy).await;
        drop(listener);
        until("ejected", || health(&pool) == Health::Unhealthy).await;
    }

    /// Answers 200 to everybody who accepts its certificate; and a file of that certificate.
    async fn tls_origin() -> (SocketAddr, tempfile::NamedTempFile) {
        let made = rcgen::generate_simple_self_signed(["origin.test".to_owned()]).unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), made.cert.pem()).unwrap();
        let key = rustls_pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key.into())
            .unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let mut stream = acceptor.accept(stream).await?;
                    let _ = stream.read(&mut [0; 1024]).await?;
                    stream
                        .write_all(b"HTTP/1.1 200 x\r\nContent-Length: 0\r\n\r\n")
                        .await
                });
            }
        });
        (addr, file)
    }

    /// Every certificate was believed, so that a check said nothing of who answers.
    #[tokio::test]
    async fn an_https_check_verifies_certificates_unless_told_otherwise() {
        let (addr, ca) = tls_origin().await;
        let of = |tls_verify| ActiveCheck {
            tls_verify,
            ..check(CheckProtocol::Https)
        };
        for (tls_verify, ca, then) in [
            (true, None, Health::Unhealthy),
            (true, Some(ca.path()), Health::Healthy),
            (false, None, Health::Healthy),
        ] {
            let live = Endpoints::new();
            let pool = pool(&live, &of(tls_verify), addr);
            if then == Health::Healthy {
                pool.endpoints().next().unwrap().mark(Health::Unhealthy);
            }
            let prober = Prober::spawn(Client::new(ca));
            prober.follow(vec![Arc::clone(&pool)]);
            until("judged", || health(&pool) == then).await;
        }
    }

    /// The Host of the pool, fields of the operator's, and one of them instead of the Host.
    #[tokio::test]
    async fn a_check_sends_what_it_is_told_to() {
        let headers = |json| serde_json::from_value::<CheckHeaders>(json).unwrap();
        let own = headers(serde_json::json!({"X-Probe": ["1", "2"], "user-agent": ["me"]}));
        let host = headers(serde_json::json!({"host": ["third.test"]}));
        for (headers, sent) in [
            (
                own,
                &[
                    "host: pool.test\r\n",
                    "x-probe: 1\r\n",
                    "x-probe: 2\r\n",
                    "user-agent: me\r\n",
                ][..],
            ),
            (host, &["host: third.test\r\n"]),
        ] {
            let origin = Origin::start(200).await;
            let check = ActiveCheck {
                headers,
                ..check(CheckProtocol::Http)
            };
            let name = "pool.test".parse().unwrap();
            let policy = Policy {
                active: Some(&check),
                check_host: Some(&name),
                ..Policy::direct(Id::derived("pool"))
            };
            let live = Endpoints::new();
            let pool = Arc::new(Pool::build(&policy, vec![member(origin.addr)], &live));
            let prober = Prober::spawn(Client::new(None));
            prober.follow(vec![pool]);
            until("asked", || origin.asked.load(Ordering::SeqCst) > 0).await;
            let head = origin.last.lock().unwrap().to_lowercase();
            for line in sent {
                assert_eq!(head.matches(line).count(), 1, "{line} in {head}");
            }
            assert_eq!(head.matches("host:").count(), 1, "{head}");
        }
    }

    #[tokio::test]
    async fn the_name_asked_for_in_tls_is_the_check_s_own() {
        let (addr, ca) = tls_origin().await;
        for (name, then) in [
            ("origin.test", Health::Healthy),
            ("other.test", Health::Unhealthy),
        ] {
            let check = ActiveCheck {
                host: Some("shop.test".parse().unwrap()),
                tls_server_name: Some(name.parse().unwrap()),
                ..check(CheckProtocol::Https)
            };
            let live = Endpoints::new();
            let pool = pool(&live, &check, addr);
            if then == Health::Healthy {
                pool.endpoints().next().unwrap().mark(Health::Unhealthy);
            }
            let prober = Prober::spawn(Client::new(Some(ca.path())));
            prober.follow(vec![Arc::clone(&pool)]);
            until("judged", || health(&pool) == then).await;
        }
    }

    #[test]
    fn a_host_loses_its_port_and_nothing_else() {
        for (host, name) in [
            ("a.test:8443", "a.test"),
            ("a.test", "a.test"),
            ("::1", "::1"),
            ("[::1]", "[::1]"),
        ] {
            assert_eq!(bare(host), name);
        }
    }

    #[tokio::test]
    async fn checks_end_with_the_last_pool_and_with_the_prober() {
        let origin = Origin::start(200).await;
        let live = Endpoints::new();
        let pool = pool(&live, &check(CheckProtocol::Http), origin.addr);
        let prober = Prober::spawn(Client::new(None));
        prober.follow(vec![Arc::clone(&pool)]);
        until("asked", || origin.asked.load(Ordering::SeqCst) > 0).await;
        let state = Arc::downgrade(&pool.endpoints().next().unwrap().state);
        drop(pool);
        prober.follow(Vec::new());
        until("forgotten", || state.strong_count() == 0).await;
        drop(prober);
    }

    #[test]
    fn the_host_sent_is_one_that_http_allows() {
        let live = Endpoints::new();
        let host = |host: &str, port, protocol, own: Option<&str>| {
            let check = ActiveCheck {
                host: own.map(|name| name.parse().unwrap()),
                ..check(protocol)
            };
            let member = Member {
                id: None,
                host: host.into(),
                addr: SocketAddr::from(([127, 0, 0, 1], port)),
                weight: 1,
                server: None,
            };
            let policy = Policy::direct(Id::derived("host"));
            let pool = Pool::build(&policy, vec![member], &live);
            host_header(pool.endpoints().next().unwrap(), &check)
        };
        use CheckProtocol::{Http, Https};
        assert_eq!(host("a.test", 80, Http, None), "a.test");
        assert_eq!(host("a.test", 443, Http, None), "a.test:443");
        assert_eq!(host("a.test", 443, Https, None), "a.test");
        assert_eq!(host("::1", 8080, Http, None), "[::1]:8080");
        assert_eq!(host("[::1]", 80, Http, None), "[::1]");
        assert_eq!(host("a.test", 8080, Http, Some("b.test")), "b.test");
    }
}
