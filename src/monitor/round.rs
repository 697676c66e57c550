//! One monitor at work: round after round it asks its servers, judges, and tells.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use super::Shared;
use super::ask::{Answer, Link};
use super::event::Event;
use super::found::{Facts, SlaveConnection};
use super::info::{MonitoredServer, ServerInfo, node_id};
use super::plan::{Plan, Planned};
use super::rules::{self, Health, Hosts, Memory, Node, Verdict};
use crate::model::{Id, Timestamp};
use crate::upstream::{Resolved, Resolver};

/// The most hosts that servers name as their masters and that are asked for in one round.
const MASTER_HOSTS_MAX: usize = 256;

/// Works as `plans` says until it ends, beginning after `delay`. A new plan ends the round of the old
/// one, and begins with a round of its own.
pub(super) async fn work(
    shared: Arc<Shared>,
    mut plans: watch::Receiver<Arc<Plan>>,
    delay: Duration,
) {
    tokio::time::sleep(delay).await;
    let mut watch = Watch::new(shared);
    loop {
        let plan = Arc::clone(&plans.borrow_and_update());
        let mut every = interval(plan.interval);
        every.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let rounds = async {
            loop {
                every.tick().await;
                watch.round(&plan).await;
            }
        };
        tokio::select! {
            changed = plans.changed() => if changed.is_err() {
                return;
            },
            () = rounds => {}
        }
    }
}

/// What is known of a server.
#[derive(Debug, Default)]
struct Known {
    health: Option<Health>,
    version: Option<Arc<str>>,
    /// As it last told.
    facts: Option<Facts>,
    /// Why it was not reached in the last round, or what it would not say.
    why: Option<Arc<str>>,
}

impl Known {
    /// Takes an answer in; whether there is something new to complain of.
    fn take(&mut self, answer: Answer) -> bool {
        let why = match answer {
            Answer::Up { version, facts } => {
                self.health = Some(Health::Up);
                self.version = Some(version);
                // Who may not say any more what it said before, is taken at its last word.
                facts.map(|facts| self.facts = Some(facts)).err()
            }
            Answer::Down { why, denied } => {
                self.health = Some(match denied {
                    true => Health::Denied,
                    false => Health::Down,
                });
                Some(why)
            }
        };
        let is_new = why.is_some() && why != self.why;
        self.why = why;
        is_new
    }
}

struct Watch {
    shared: Arc<Shared>,
    resolver: Option<Resolver>,
    links: HashMap<Id, Link>,
    known: HashMap<Id, Known>,
    memory: Memory,
}

impl Watch {
    fn new(shared: Arc<Shared>) -> Self {
        let resolver = Resolver::spawn(&shared.names);
        let unnamed = |error| tracing::error!(%error, "monitors reach servers by IP address only");
        Self {
            shared,
            resolver: resolver.map_err(unnamed).ok(),
            links: HashMap::new(),
            known: HashMap::new(),
            memory: Memory::default(),
        }
    }

    async fn round(&mut self, plan: &Plan) {
        self.forget_others(plan);
        let resolved = self.resolve_servers(plan).await;
        let answers = self.ask(plan, &resolved).await;
        let failures = self.take(plan, answers);
        let hosts = self.resolve_masters(plan).await;
        self.conclude(plan, &resolved, &hosts, failures);
    }

    /// What belongs to servers that are not asked any more goes. Who is in maintenance may be stopped
    /// and changed, and gets a new connection afterwards.
    fn forget_others(&mut self, plan: &Plan) {
        let asked = plan.servers.iter().filter(|server| server.is_asked());
        let asked: HashSet<Id> = asked.map(|server| server.id).collect();
        let listed: HashSet<Id> = plan.servers.iter().map(|server| server.id).collect();
        self.links.retain(|id, _| asked.contains(id));
        self.known.retain(|id, _| listed.contains(id));
    }

    /// The addresses of the servers' own hosts. The resolver goes on with those and with the masters'
    /// of the last round, and with no others.
    async fn resolve_servers(&self, plan: &Plan) -> Resolved {
        let hosts: HashSet<Arc<str>> = plan.servers.iter().map(|one| one.host.clone()).collect();
        let Some(resolver) = &self.resolver else {
            return Resolved::default();
        };
        let masters = self.master_hosts(plan).into_iter();
        resolver.follow(hosts.iter().cloned().chain(masters)).await;
        let deadline = Instant::now() + plan.patience;
        resolver.resolve_now(hosts, deadline).await
    }

    /// The hosts that servers name as their masters and that no server is called in the registry.
    fn master_hosts(&self, plan: &Plan) -> HashSet<Arc<str>> {
        let own: HashSet<&str> = plan.servers.iter().map(|server| &*server.host).collect();
        let connections = plan
            .servers
            .iter()
            .flat_map(|server| self.connections(server));
        let hosts = connections.map(|one| &*one.master_host);
        let others = hosts.filter(|host| !host.is_empty() && !own.contains(host));
        others.map(Arc::from).take(MASTER_HOSTS_MAX).collect()
    }

    fn connections(&self, server: &Planned) -> &[SlaveConnection] {
        let facts = self
            .known
            .get(&server.id)
            .and_then(|known| known.facts.as_ref());
        match facts {
            Some(Facts::Replication(facts)) => &facts.connections,
            Some(Facts::Galera(_)) | None => &[],
        }
    }

    async fn resolve_masters(&self, plan: &Plan) -> Hosts {
        let hosts = self.master_hosts(plan);
        let resolved = match &self.resolver {
            Some(resolver) => {
                let deadline = Instant::now() + plan.patience;
                resolver.resolve_now(hosts.iter().cloned(), deadline).await
            }
            None => Resolved::default(),
        };
        // A server's own host as well: it may be called by that in another one's connection.
        let own = plan.servers.iter().map(|server| &server.host);
        let all = hosts.iter().chain(own);
        all.map(|host| (Box::from(&**host), addresses(&resolved, host)))
            .collect()
    }

    /// Asks all who are to be asked, at the same time.
    async fn ask(&mut self, plan: &Plan, resolved: &Resolved) -> Vec<(Id, Answer)> {
        let mut asked = JoinSet::new();
        for server in plan.servers.iter().filter(|server| server.is_asked()) {
            let mut link = self.links.remove(&server.id).unwrap_or_default();
            let (id, manner) = (server.id, server.manner.clone());
            let with_port = |ip| SocketAddr::new(ip, server.port);
            let at: Vec<_> = addresses(resolved, &server.host)
                .into_iter()
                .map(with_port)
                .collect();
            asked.spawn(async move {
                let answer = match at.is_empty() {
                    true => unresolved(),
                    false => link.ask(&at, &manner).await,
                };
                (id, link, answer)
            });
        }
        let mut answers = Vec::new();
        while let Some(ended) = asked.join_next().await {
            match ended {
                Ok((id, link, answer)) => {
                    self.links.insert(id, link);
                    answers.push((id, answer));
                }
                Err(error) => tracing::error!(%error, "asking a server ended without an answer"),
            }
        }
        answers
    }

    /// Takes the answers in; how many of them are failures.
    fn take(&mut self, plan: &Plan, answers: Vec<(Id, Answer)>) -> usize {
        let mut answers: HashMap<Id, Answer> = answers.into_iter().collect();
        let mut failures = 0;
        for server in &plan.servers {
            let known = self.known.entry(server.id).or_default();
            if !server.is_asked() {
                known.health = Some(Health::Maintenance);
                continue;
            }
            let answer = answers.remove(&server.id).unwrap_or_else(unanswered);
            let complains = known.take(answer);
            failures += usize::from(known.why.is_some());
            if let Some(why) = known.why.as_deref().filter(|_| complains) {
                let (monitor, server) = (&*plan.label, &*server.name);
                tracing::warn!(monitor, server, why, "a server does not answer its monitor");
            }
        }
        failures
    }

    /// Judges, and tells what came of it.
    fn conclude(&mut self, plan: &Plan, resolved: &Resolved, hosts: &Hosts, failures: usize) {
        let at: Vec<Vec<IpAddr>> = plan
            .servers
            .iter()
            .map(|server| addresses(resolved, &server.host))
            .collect();
        let pairs = plan.servers.iter().zip(&at);
        let nodes: Vec<_> = pairs.map(|(server, at)| self.node(server, at)).collect();
        let mut memory = self.memory.clone();
        let verdicts = rules::judge(plan.module, &nodes, hosts, &plan.rules, &mut memory);
        self.memory = memory;
        let owned = self.shared.owned(plan.monitor);
        let mut found = Vec::with_capacity(verdicts.len());
        for (server, verdict) in plan.servers.iter().zip(verdicts) {
            if owned.contains(&server.id) {
                self.tell(plan, server, verdict);
            }
            found.push(self.shared.states.of(server.id).status());
        }
        let told = plan.servers.iter().map(|server| {
            let known = self.known.get(&server.id);
            let facts = known.and_then(|known| known.facts.as_ref());
            MonitoredServer::of(server.id, &server.name, facts)
        });
        self.shared.ticked(plan, told.collect(), failures, &found);
    }

    fn node<'a>(&'a self, server: &'a Planned, addresses: &'a [IpAddr]) -> Node<'a> {
        let known = self.known.get(&server.id);
        Node {
            id: server.id,
            host: &server.host,
            port: server.port,
            addresses,
            priority: server.priority,
            health: known.and_then(|known| known.health).unwrap_or(Health::Down),
            facts: known.and_then(|known| known.facts.as_ref()),
            was: self.shared.states.of(server.id).status(),
        }
    }

    /// Sets what a server is, and what is known of it: whoever sees that it changed finds why.
    fn tell(&self, plan: &Plan, server: &Planned, verdict: Verdict) {
        let state = self.shared.states.of(server.id);
        let mut event = None;
        self.shared.inform(server.id, |info| {
            let before = state.set(verdict.status);
            if let Some(known) = self.known.get(&server.id) {
                known.tell(info);
            }
            if server.is_asked() {
                info.master_id = verdict.master_id;
                info.replication_lag = verdict.lag;
                event = Event::between(before, verdict.status);
            }
            if event.is_some() {
                info.last_event = event;
                info.triggered_at = Some(Timestamp::now());
            }
        });
        if let Some(event) = event {
            announce(&plan.label, &server.name, event);
        }
    }
}

impl Known {
    /// What the server has said of itself.
    fn tell(&self, info: &mut ServerInfo) {
        if let Some(version) = &self.version {
            info.version = Some(Arc::clone(version));
        }
        if let Some(facts) = &self.facts {
            info.node_id = node_id(facts);
            if let Facts::Replication(facts) = facts {
                info.gtid_current_pos = facts.gtid_current_pos.clone();
            }
        }
    }
}

fn announce(monitor: &str, server: &str, event: Event) {
    match event.is_loss() {
        true => tracing::warn!(monitor, server, %event, "a server is not what it was"),
        false => tracing::info!(monitor, server, %event, "a server is not what it was"),
    }
}

fn addresses(resolved: &Resolved, host: &str) -> Vec<IpAddr> {
    resolved.addresses(host).map(|address| address.ip).collect()
}

fn unresolved() -> Answer {
    Answer::Down {
        why: "its host has no address".into(),
        denied: false,
    }
}

fn unanswered() -> Answer {
    Answer::Down {
        why: "asking it ended without an answer".into(),
        denied: false,
    }
}
