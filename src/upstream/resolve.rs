//! Names to addresses: a service that knows the wanted names and asks again as answers expire.
//!
//! An answer is an input of `table::compile`: [`Resolved`] is immutable, and a changed answer is a
//! new one. A name that fails to resolve keeps its last good answer; one that never resolved has no
//! addresses, which is not fatal to anything but the requests that need it.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig,
};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::rdata::SRV;
use hickory_resolver::proto::rr::{RData, Record, RecordType};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{self, JoinSet};

use crate::model::is_service_name;

use book::{Answer, Book};

mod book;

/// Lookups under way at the same time.
const LOOKUPS_MAX: usize = 64;

/// Requests to the service that may wait.
const COMMANDS_MAX: usize = 64;

/// The most addresses of one name that are used.
const ADDRESSES_MAX: usize = 256;

/// How long an answer holds in which a host is missing.
const INCOMPLETE_FOR: Duration = Duration::from_secs(5);

/// The most SRV records of one name that are used.
const RECORDS_MAX: usize = 64;

/// One address that a host stands for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    pub ip: IpAddr,
    /// What its record says, where the host is the name of a service.
    pub served: Option<Served>,
}

/// An SRV record (RFC 2782), but for its priority: only the records of the first are used.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Served {
    /// The name that the record gives.
    pub host: Arc<str>,
    pub port: u16,
    /// At least 1.
    pub weight: u16,
}

impl From<IpAddr> for Address {
    fn from(ip: IpAddr) -> Self {
        Self { ip, served: None }
    }
}

/// The addresses of names at one moment. Immutable, and cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolved {
    names: imbl::HashMap<Arc<str>, Arc<[Address]>>,
}

impl Resolved {
    /// The addresses of a host, sorted: its own where it is an IP literal (in brackets or not),
    /// 127.0.0.1 for `localhost` (RFC 6761 §6.3), else what the name last resolved to; none where it
    /// never did.
    pub fn addresses(&self, host: &str) -> impl Iterator<Item = Address> + use<'_> {
        let literal = literal(host);
        let named = match literal {
            Some(_) => None,
            None => self.names.get(host),
        };
        let named = named.into_iter().flat_map(|addresses| addresses.iter());
        let literal = literal.map(Address::from);
        literal.into_iter().chain(named.cloned())
    }

    /// The same with another answer for one name.
    #[must_use]
    pub fn with(mut self, name: Arc<str>, addresses: Arc<[Address]>) -> Self {
        self.names.insert(name, addresses);
        self
    }
}

/// Whether a host has to be asked for.
pub fn is_name(host: &str) -> bool {
    literal(host).is_none()
}

/// The address of a host that needs no resolving.
fn literal(host: &str) -> Option<IpAddr> {
    if host.eq_ignore_ascii_case("localhost") {
        return Some(Ipv4Addr::LOCALHOST.into());
    }
    let inner = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    inner.unwrap_or(host).parse().ok()
}

/// Which servers answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Servers {
    /// Those of `/etc/resolv.conf`, with its search list; `/etc/hosts` before them.
    #[default]
    System,
    /// These, over UDP and TCP; `/etc/hosts` before them, no search list.
    These(Vec<SocketAddr>),
}

impl Servers {
    /// These, or where there are none the system's.
    pub fn of(addresses: &[SocketAddr]) -> Self {
        match addresses {
            [] => Self::System,
            these => Self::These(these.to_vec()),
        }
    }
}

/// Why the service cannot start.
#[derive(Debug, thiserror::Error)]
#[error("resolver: {0}; check /etc/resolv.conf, or name the servers in proxy.name_servers")]
pub struct NoResolver(#[source] NetError);

/// A handle on the service; it ends when the last handle is dropped.
///
/// Asks for A records, and for AAAA where there are none; of a service's name for SRV records, and
/// then for the addresses of the hosts they name. `/etc/hosts` is read once, at start.
#[derive(Clone, Debug)]
pub struct Resolver {
    commands: mpsc::Sender<Command>,
    resolved: watch::Receiver<Resolved>,
}

#[derive(Debug)]
enum Command {
    /// Follow these names, and no others.
    Want(Vec<Arc<str>>),
    /// Follow these too, and tell when each has been asked for.
    Ask(Vec<Arc<str>>, oneshot::Sender<()>),
}

impl Resolver {
    /// Starts the service on the current runtime.
    ///
    /// # Errors
    /// Where the system's configuration cannot be read.
    pub fn spawn(servers: &Servers) -> Result<Self, NoResolver> {
        let dns = dns(servers).map_err(NoResolver)?;
        let (commands, received) = mpsc::channel(COMMANDS_MAX);
        let (publish, resolved) = watch::channel(Resolved::default());
        tokio::spawn(Service::new(dns, publish).run(received));
        Ok(Self { commands, resolved })
    }

    /// One that knows what `resolved` tells, and asks nobody.
    #[cfg(test)]
    pub(crate) fn told(resolved: watch::Receiver<Resolved>) -> Self {
        let (commands, _) = mpsc::channel(COMMANDS_MAX);
        Self { commands, resolved }
    }

    /// The answers, now and as they change.
    pub fn watch(&self) -> watch::Receiver<Resolved> {
        self.resolved.clone()
    }

    /// Follows these hosts from now on, and no others. Literals may be among them.
    pub async fn follow(&self, hosts: impl IntoIterator<Item = Arc<str>>) {
        // The service ends only with the last handle, and this is one.
        _ = self.commands.send(Command::Want(names(hosts))).await;
    }

    /// Follows these hosts too, and answers when each new one has been asked for, at `deadline` at
    /// the latest: so that a write that names a host is live when it is acknowledged. A host that
    /// has no answer by then has no addresses in what is returned; the service asks on. A host that
    /// failed before is not waited for again.
    pub async fn resolve_now(
        &self,
        hosts: impl IntoIterator<Item = Arc<str>>,
        deadline: Instant,
    ) -> Resolved {
        let names = names(hosts);
        if !names.is_empty() {
            let (done, answered) = oneshot::channel();
            let asked = async {
                _ = self.commands.send(Command::Ask(names, done)).await;
                answered.await
            };
            _ = tokio::time::timeout_at(deadline.into(), asked).await;
        }
        self.resolved.borrow().clone()
    }
}

fn names(hosts: impl IntoIterator<Item = Arc<str>>) -> Vec<Arc<str>> {
    let named = |host: &Arc<str>| literal(host).is_none();
    hosts.into_iter().filter(named).collect()
}

fn dns(servers: &Servers) -> Result<TokioResolver, NetError> {
    let mut builder = match servers {
        Servers::System => TokioResolver::builder_tokio()?,
        Servers::These(addrs) => {
            let servers = addrs.iter().copied().map(name_server).collect();
            let config = ResolverConfig::from_parts(None, Vec::new(), servers);
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        }
    };
    let options = builder.options_mut();
    options.ip_strategy = LookupIpStrategy::Ipv4thenIpv6;
    options.use_hosts_file = ResolveHosts::Always;
    // The book is the cache.
    options.cache_size = 0;
    builder.build()
}

fn name_server(addr: SocketAddr) -> NameServerConfig {
    let at = |mut connection: ConnectionConfig| {
        connection.port = addr.port();
        connection
    };
    let connections = vec![at(ConnectionConfig::udp()), at(ConnectionConfig::tcp())];
    NameServerConfig::new(addr.ip(), true, connections)
}

/// Someone who waits until names have been asked for.
struct Waiter {
    names: HashSet<Arc<str>>,
    done: oneshot::Sender<()>,
}

struct Service {
    dns: TokioResolver,
    publish: watch::Sender<Resolved>,
    book: Book,
    ready: VecDeque<Arc<str>>,
    lookups: JoinSet<Answer>,
    names: HashMap<task::Id, Arc<str>>,
    waiters: Vec<Waiter>,
}

impl Service {
    fn new(dns: TokioResolver, publish: watch::Sender<Resolved>) -> Self {
        Self {
            dns,
            publish,
            book: Book::default(),
            ready: VecDeque::new(),
            lookups: JoinSet::new(),
            names: HashMap::new(),
            waiters: Vec::new(),
        }
    }

    async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        loop {
            tokio::select! {
                command = commands.recv() => match command {
                    Some(command) => self.obey(command, Instant::now()),
                    None => return,
                },
                Some(ended) = self.lookups.join_next_with_id() => match ended {
                    Ok((id, answer)) => self.hear(id, answer),
                    Err(error) => self.hear(error.id(), Answer::Failed("lookup panicked".into())),
                },
                () = sleep_until(self.book.next()) => {}
            }
            self.ready.extend(self.book.take_due(Instant::now()));
            self.launch();
        }
    }

    fn obey(&mut self, command: Command, now: Instant) {
        match command {
            Command::Want(names) => {
                let dropped = self.book.want(names, now);
                self.publish_without(&dropped);
            }
            Command::Ask(names, done) => {
                let names = self.book.ask(names, now);
                if names.is_empty() {
                    _ = done.send(());
                } else {
                    self.waiters.push(Waiter { names, done });
                }
            }
        }
        self.waiters.retain(|waiter| !waiter.done.is_closed());
    }

    fn publish_without(&self, dropped: &[Arc<str>]) {
        self.publish.send_if_modified(|resolved| {
            let removed = dropped
                .iter()
                .filter_map(|name| resolved.names.remove(name));
            removed.count() > 0
        });
    }

    fn launch(&mut self) {
        while self.lookups.len() < LOOKUPS_MAX {
            let Some(name) = self.ready.pop_front() else {
                return;
            };
            let id = self
                .lookups
                .spawn(look_up(self.dns.clone(), Arc::clone(&name)))
                .id();
            self.names.insert(id, name);
        }
    }

    /// Takes an answer in: publishes it where it is news, then lets go who waited for it.
    fn hear(&mut self, id: task::Id, answer: Answer) {
        let Some(name) = self.names.remove(&id) else {
            return;
        };
        if let Some(addresses) = self.book.hear(&name, answer, Instant::now()) {
            let name = Arc::clone(&name);
            self.publish.send_modify(|resolved| {
                resolved.names.insert(name, addresses);
            });
        }
        for waiter in self.waiters.extract_if(.., |waiter| {
            waiter.names.remove(&name);
            waiter.names.is_empty()
        }) {
            _ = waiter.done.send(());
        }
    }
}

async fn sleep_until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment.into()).await,
        None => std::future::pending().await,
    }
}

async fn look_up(dns: TokioResolver, name: Arc<str>) -> Answer {
    let found = match is_service_name(&name) {
        true => service(&dns, &name).await,
        false => host(&dns, &name).await,
    };
    match found {
        Ok((mut addresses, until)) => {
            addresses.sort_unstable();
            addresses.dedup();
            addresses.truncate(ADDRESSES_MAX);
            let ttl = until.saturating_duration_since(Instant::now());
            Answer::found(addresses, ttl)
        }
        Err(error) => Answer::Failed(error.to_string()),
    }
}

/// Addresses, and until when they hold.
type Found = (Vec<Address>, Instant);

async fn host(dns: &TokioResolver, name: &str) -> Result<Found, NetError> {
    let found = dns.lookup_ip(name).await?;
    let addresses = found.iter().map(Address::from).collect();
    Ok((addresses, found.valid_until()))
}

/// The addresses of the hosts that a service's records name, asked for all at once. The answer holds
/// only as long as each part of it; a host without address is left out, and asked for again soon.
async fn service(dns: &TokioResolver, name: &str) -> Result<Found, NetError> {
    let found = dns.lookup(name, RecordType::SRV).await?;
    let mut until = found.valid_until();
    let mut asked = JoinSet::new();
    for record in first_choice(found.answers()) {
        asked.spawn(served(dns.clone(), record.clone()));
    }
    let mut addresses = Vec::new();
    for part in asked.join_all().await {
        let (found, holds) = part.unwrap_or_else(|_| (Vec::new(), Instant::now() + INCOMPLETE_FOR));
        until = until.min(holds);
        addresses.extend(found);
    }
    Ok((addresses, until))
}

/// The addresses of one record's host.
async fn served(dns: TokioResolver, record: SRV) -> Result<Found, NetError> {
    let target = record.target.to_utf8();
    let (hosts, until) = host(&dns, &target).await?;
    let served = Served {
        host: target.trim_end_matches('.').into(),
        port: record.port,
        weight: record.weight.max(1),
    };
    let with_record = |found: Address| Address {
        served: Some(served.clone()),
        ..found
    };
    Ok((hosts.into_iter().map(with_record).collect(), until))
}

/// The records of the lowest priority; `.` names nobody (RFC 2782).
fn first_choice(records: &[Record]) -> impl Iterator<Item = &SRV> {
    let all = || {
        records.iter().filter_map(|record| match &record.data {
            RData::SRV(found) => Some(found).filter(|found| !found.target.is_root()),
            _ => None,
        })
    };
    let first = all().map(|found| found.priority).min();
    all()
        .filter(move |found| Some(found.priority) == first)
        .take(RECORDS_MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use hickory_resolver::proto::op::{Message, MessageType, ResponseCode};
    use hickory_resolver::proto::rr::rdata::{A, AAAA};
    use tokio::net::UdpSocket;

    use super::*;

    /// A name server on loopback: name → addresses and TTL; silent about `silent.test`.
    #[derive(Default)]
    struct Zone {
        records: Mutex<HashMap<String, (Vec<IpAddr>, u32)>>,
        services: Mutex<HashMap<String, Vec<SRV>>>,
        asked: Mutex<Vec<String>>,
    }

    impl Zone {
        async fn start() -> (Arc<Self>, Servers) {
            let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            let addr = socket.local_addr().unwrap();
            let zone = Arc::new(Self::default());
            tokio::spawn(Arc::clone(&zone).serve(socket));
            (zone, Servers::These(vec![addr]))
        }

        fn set(&self, name: &str, addresses: &[&str], ttl: u32) {
            let addresses = addresses.iter().map(|text| text.parse().unwrap()).collect();
            let mut records = self.records.lock().unwrap();
            records.insert(name.to_owned(), (addresses, ttl));
        }

        fn serves(&self, name: &str, records: Vec<SRV>) {
            self.services.lock().unwrap().insert(name.into(), records);
        }

        async fn serve(self: Arc<Self>, socket: UdpSocket) {
            let mut bytes = [0; 1500];
            while let Ok((read, from)) = socket.recv_from(&mut bytes).await {
                let query = Message::from_vec(&bytes[..read]).unwrap();
                if let Some(answer) = self.answer(&query) {
                    socket
                        .send_to(&answer.to_vec().unwrap(), from)
                        .await
                        .unwrap();
                }
            }
        }

        fn answer(&self, query: &Message) -> Option<Message> {
            let question = query.queries[0].clone();
            let name = question.name().to_utf8().trim_end_matches('.').to_owned();
            self.asked.lock().unwrap().push(name.clone());
            let mut answer = Message::response(query.metadata.id, query.metadata.op_code);
            answer.metadata.message_type = MessageType::Response;
            answer.add_query(question.clone());
            if name == "silent.test" {
                return None;
            }
            if question.query_type() == RecordType::SRV {
                for record in &self.services.lock().unwrap()[&name] {
                    let data = RData::SRV(record.clone());
                    answer.add_answer(Record::from_rdata(question.name().clone(), 300, data));
                }
                return Some(answer);
            }
            match self.records.lock().unwrap().get(&name) {
                None => answer.metadata.response_code = ResponseCode::NXDomain,
                Some((addresses, ttl)) => {
                    for address in addresses {
                        let (kind, data) = match *address {
                            IpAddr::V4(v4) => (RecordType::A, RData::A(A(v4))),
                            IpAddr::V6(v6) => (RecordType::AAAA, RData::AAAA(AAAA(v6))),
                        };
                        if kind == question.query_type() {
                            let record = Record::from_rdata(question.name().clone(), *ttl, data);
                            answer.add_answer(record);
                        }
                    }
                }
            }
            Some(answer)
        }
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(20)
    }

    fn hosts<const N: usize>(hosts: [&str; N]) -> impl Iterator<Item = Arc<str>> {
        hosts.map(Arc::from).into_iter()
    }

    fn texts(resolved: &Resolved, host: &str) -> Vec<String> {
        resolved
            .addresses(host)
            .map(|address| address.ip.to_string())
            .collect()
    }

    /// Waits until a host's addresses are these.
    async fn until(resolver: &Resolver, host: &str, addresses: &[&str]) {
        let mut watch = resolver.watch();
        let waiting = watch.wait_for(|resolved| texts(resolved, host) == addresses);
        let done = tokio::time::timeout(Duration::from_secs(20), waiting).await;
        done.expect("in time").expect("the service runs");
    }

    #[test]
    fn literals_and_localhost_need_no_server() {
        let resolved = Resolved::default();
        for (host, address) in [
            ("192.0.2.1", "192.0.2.1"),
            ("2001:db8::1", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("localhost", "127.0.0.1"),
            ("LocalHost", "127.0.0.1"),
        ] {
            assert_eq!(texts(&resolved, host), [address]);
        }
        assert!(texts(&resolved, "unknown.test").is_empty());
        assert!(names(hosts(["127.0.0.1", "[::1]", "localhost"])).is_empty());
    }

    #[tokio::test]
    async fn a_new_name_is_resolved_before_the_answer() {
        let (zone, servers) = Zone::start().await;
        zone.set("a.test", &["192.0.2.2", "192.0.2.1", "192.0.2.2"], 300);
        zone.set("six.test", &["2001:db8::1"], 300);
        zone.set("both.test", &["2001:db8::1", "192.0.2.9"], 300);
        let resolver = Resolver::spawn(&servers).unwrap();
        let asked = hosts(["a.test", "six.test", "both.test", "none.test", "192.0.2.7"]);
        let resolved = resolver.resolve_now(asked, soon()).await;
        assert_eq!(texts(&resolved, "a.test"), ["192.0.2.1", "192.0.2.2"]);
        assert_eq!(texts(&resolved, "six.test"), ["2001:db8::1"]);
        assert_eq!(texts(&resolved, "both.test"), ["192.0.2.9"]);
        assert!(texts(&resolved, "none.test").is_empty());
    }

    #[tokio::test]
    async fn a_service_is_what_its_first_records_name() {
        let (zone, servers) = Zone::start().await;
        zone.set("a.test", &["192.0.2.1"], 300);
        zone.set("b.test", &["192.0.2.3", "192.0.2.2"], 300);
        zone.set("c.test", &["192.0.2.4"], 300);
        let record = |priority, weight, port, target: &str| {
            SRV::new(priority, weight, port, target.parse().unwrap())
        };
        let records = vec![
            record(1, 5, 8001, "a.test."),
            record(1, 0, 8002, "b.test."),
            record(1, 9, 8003, "none.test."),
            record(2, 9, 8004, "c.test."),
        ];
        zone.serves("_http._tcp.shop.test", records);
        zone.serves("_no._tcp.shop.test", vec![record(0, 0, 0, ".")]);
        let resolver = Resolver::spawn(&servers).unwrap();
        let asked = hosts(["_http._tcp.shop.test", "_no._tcp.shop.test"]);
        let resolved = resolver.resolve_now(asked, soon()).await;
        let found: Vec<_> = resolved
            .addresses("_http._tcp.shop.test")
            .map(|Address { ip, served }| {
                let served = served.unwrap();
                format!("{ip} {} {} {}", served.host, served.port, served.weight)
            })
            .collect();
        let expected = [
            "192.0.2.1 a.test 8001 5",
            "192.0.2.2 b.test 8002 1",
            "192.0.2.3 b.test 8002 1",
        ];
        assert_eq!(found, expected);
        assert!(texts(&resolved, "_no._tcp.shop.test").is_empty());
    }

    #[tokio::test]
    async fn a_known_name_is_not_asked_for_again_before_its_time() {
        let (zone, servers) = Zone::start().await;
        zone.set("a.test", &["192.0.2.1"], 300);
        let resolver = Resolver::spawn(&servers).unwrap();
        for _ in 0..3 {
            resolver.resolve_now(hosts(["a.test"]), soon()).await;
            resolver.follow(hosts(["a.test", "localhost"])).await;
        }
        assert_eq!(*zone.asked.lock().unwrap(), ["a.test"]);
    }

    #[tokio::test]
    async fn the_deadline_holds_against_a_silent_server() {
        let (zone, servers) = Zone::start().await;
        zone.set("a.test", &["192.0.2.1"], 300);
        let resolver = Resolver::spawn(&servers).unwrap();
        let deadline = Instant::now() + Duration::from_millis(50);
        let silent = resolver.resolve_now(hosts(["silent.test"]), deadline).await;
        assert!(texts(&silent, "silent.test").is_empty());
        let resolved = resolver.resolve_now(hosts(["a.test"]), soon()).await;
        assert_eq!(
            texts(&resolved, "a.test"),
            ["192.0.2.1"],
            "others are not held up"
        );
    }

    #[tokio::test]
    async fn answers_follow_the_zone_and_a_failure_keeps_the_last() {
        let (zone, servers) = Zone::start().await;
        zone.set("a.test", &["192.0.2.1"], 0);
        let resolver = Resolver::spawn(&servers).unwrap();
        resolver.follow(hosts(["a.test"])).await;
        until(&resolver, "a.test", &["192.0.2.1"]).await;
        zone.set("a.test", &["192.0.2.2", "192.0.2.3"], 0);
        until(&resolver, "a.test", &["192.0.2.2", "192.0.2.3"]).await;
        zone.records.lock().unwrap().clear();
        zone.asked.lock().unwrap().clear();
        let asked = async {
            let mut pulse = tokio::time::interval(Duration::from_millis(5));
            while zone.asked.lock().unwrap().len() < 2 {
                pulse.tick().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), asked)
            .await
            .expect("asked again");
        until(&resolver, "a.test", &["192.0.2.2", "192.0.2.3"]).await;
        zone.set("a.test", &["192.0.2.4"], 0);
        until(&resolver, "a.test", &["192.0.2.4"]).await;
    }

    #[tokio::test]
    async fn names_no_longer_followed_are_forgotten() {
        let (zone, servers) = Zone::start().await;
        zone.set("a.test", &["192.0.2.1"], 300);
        zone.set("b.test", &["192.0.2.2"], 300);
        let resolver = Resolver::spawn(&servers).unwrap();
        resolver.follow(hosts(["a.test", "b.test"])).await;
        until(&resolver, "a.test", &["192.0.2.1"]).await;
        until(&resolver, "b.test", &["192.0.2.2"]).await;
        resolver.follow(hosts(["b.test"])).await;
        until(&resolver, "a.test", &[]).await;
        assert_eq!(texts(&resolver.watch().borrow(), "b.test"), ["192.0.2.2"]);
    }

    #[tokio::test]
    async fn text_that_is_no_name_has_no_address() {
        let (_zone, servers) = Zone::start().await;
        let resolver = Resolver::spawn(&servers).unwrap();
        let long = "x".repeat(300);
        let odd = ["a..b", "-", ".", long.as_str(), "é.test"];
        let resolved = resolver.resolve_now(hosts(odd), soon()).await;
        for host in odd {
            assert!(texts(&resolved, host).is_empty());
        }
    }
}
