//! A primary and its replicas: MaxScale's *mariadbmon*, of its documented rules.

use std::collections::VecDeque;

use super::graph::{Edge, Graph};
use super::{Health, Hosts, Memory, Node, Verdict};
use crate::model::MonitorRules;
use crate::monitor::found::IoThread;
use crate::upstream::Status;

pub(super) fn judge(
    nodes: &[Node<'_>],
    hosts: &Hosts,
    rules: &MonitorRules,
    memory: &mut Memory,
) -> Vec<Verdict> {
    let cluster = Cluster {
        nodes,
        rules,
        graph: Graph::of(nodes, hosts, rules),
    };
    let master = cluster.choose(memory);
    memory.master = master.and_then(|at| nodes.get(at)).map(|node| node.id);
    cluster.label(master)
}

/// Whether a master has to take writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    Writable,
    Any,
}

struct Cluster<'a> {
    nodes: &'a [Node<'a>],
    rules: &'a MonitorRules,
    graph: Graph<'a>,
}

/// Who is in whose chain: see [`Cluster::chain`].
struct Chain<'a> {
    /// In the chain of the master, the master included.
    linked: Vec<bool>,
    /// The connections by which each is.
    edges: Vec<Vec<Edge<'a>>>,
}

impl<'a> Cluster<'a> {
    fn node(&self, at: usize) -> Option<&'a Node<'a>> {
        self.nodes.get(at)
    }

    fn is_read_only(&self, at: usize) -> bool {
        let facts = self.node(at).and_then(Node::replication);
        facts.is_none_or(|facts| facts.read_only)
    }

    fn is_alive(&self, at: usize) -> bool {
        self.node(at).is_some_and(Node::is_alive)
    }

    /// The master: the one there was, for as long as it is fit, else the best there is. One that is
    /// not fit stays where there is no other.
    fn choose(&self, memory: &mut Memory) -> Option<usize> {
        let before = memory.master(self.nodes);
        let fit = |access| before.filter(|at| self.is_fit(*at, access, memory));
        if let Some(at) = fit(Access::Writable) {
            return Some(at);
        }
        let chosen = self
            .best(Access::Writable)
            .or_else(|| fit(Access::Any))
            .or_else(|| self.best(Access::Any));
        if let Some(at) = chosen {
            memory.in_ring = self.graph.in_ring(at);
        }
        chosen.or(before)
    }

    /// Whether the master may stay, whoever else there is.
    fn is_fit(&self, at: usize, access: Access, memory: &Memory) -> bool {
        let is_kept = match access {
            Access::Writable => !self.is_read_only(at) && !self.is_taken_out(at),
            Access::Any => true,
        };
        is_kept && !self.is_lost(at, memory) && !self.has_moved(at, memory.in_ring)
    }

    fn is_taken_out(&self, at: usize) -> bool {
        self.node(at)
            .is_some_and(|node| node.health == Health::Maintenance)
    }

    /// Down for longer than it is waited for, and nobody who runs replicates from it, not even by way
    /// of servers that are down.
    fn is_lost(&self, at: usize, memory: &Memory) -> bool {
        let rounds = self.node(at).and_then(|node| memory.down.get(&node.id));
        let is_long = rounds.is_some_and(|rounds| *rounds > self.rules.failcount);
        let mut below = self.graph.below(at, |_| true).into_iter();
        is_long && !below.any(|child| self.is_alive(child))
    }

    /// Whether its place is not what it was when it became the master: it replicates from within the
    /// cluster, has left its ring, or somebody stands above its ring.
    fn has_moved(&self, at: usize, was_in_ring: bool) -> bool {
        self.graph.in_ring(at) != was_in_ring || !self.graph.is_root(at)
    }

    /// The fittest: most running replicas, and the first of those that have as many.
    fn best(&self, access: Access) -> Option<usize> {
        let able = (0..self.nodes.len()).filter(|at| self.can_lead(*at, access));
        let counted = able.map(|at| (at, self.reach(at)));
        let best = counted.reduce(|best, next| if next.1 > best.1 { next } else { best });
        let (at, reach) = best?;
        (reach > 0 || self.may_stand(at)).then_some(at)
    }

    fn can_lead(&self, at: usize, access: Access) -> bool {
        let is_known = self
            .node(at)
            .is_some_and(|node| node.is_up() && node.facts.is_some());
        let takes_writes = access == Access::Any || !self.is_read_only(at);
        is_known && takes_writes && self.graph.is_root(at)
    }

    /// How many run and replicate from it, by way of others that run.
    fn reach(&self, at: usize) -> usize {
        self.graph.below(at, |child| self.is_alive(child)).len()
    }

    /// Whether one without running replicas may be the master.
    fn may_stand(&self, at: usize) -> bool {
        match self.graph.children(at) {
            [] => self.rules.detect_standalone_master,
            [_, ..] => self.rules.detect_stale_master,
        }
    }

    /// Whether a connection makes a slave: both threads run. One that has lost its master counts as
    /// long as slaves may outlive it.
    fn counts(&self, child: &Node<'_>, edge: &Edge<'_>) -> bool {
        let connection = edge.connection;
        let was_connected = connection.master_server_id > 0 || child.was.has(Status::SLAVE);
        let fetches = match connection.slave_io_running {
            IoThread::Yes => true,
            IoThread::Connecting => self.rules.detect_stale_slave && was_connected,
            IoThread::No => false,
        };
        fetches && connection.slave_sql_running
    }

    /// From the master down. What is down ends the chain, unless slaves may outlive their masters.
    fn chain(&self, master: Option<usize>) -> Chain<'a> {
        let mut chain = Chain {
            linked: vec![false; self.nodes.len()],
            edges: vec![Vec::new(); self.nodes.len()],
        };
        let mut next: VecDeque<usize> = master.into_iter().collect();
        chain.link(master);
        while let Some(at) = next.pop_front() {
            let goes_on = self.is_alive(at) || self.rules.detect_stale_slave;
            for child in self.graph.children(at).iter().filter(|_| goes_on) {
                if self.extend(&mut chain, at, *child) {
                    next.push_back(*child);
                }
            }
        }
        chain
    }

    /// Adds what links `child` to `parent`; whether `child` is in the chain by that only now.
    fn extend(&self, chain: &mut Chain<'a>, parent: usize, child: usize) -> bool {
        let Some(node) = self.node(child) else {
            return false;
        };
        let edges = self.graph.edges(child).iter();
        let edge = edges
            .filter(|edge| edge.parent == parent)
            .find(|edge| self.counts(node, edge));
        let (Some(edge), Some(known)) = (edge, chain.edges.get_mut(child)) else {
            return false;
        };
        if known.iter().all(|one| one.parent != parent) {
            known.push(*edge);
        }
        chain.link(Some(child))
    }

    fn label(&self, master: Option<usize>) -> Vec<Verdict> {
        let chain = self.chain(master);
        let all = self.nodes.iter().enumerate();
        all.map(|(at, node)| match node.health {
            Health::Up => self.label_running(at, node, master, &chain),
            Health::Down | Health::Denied | Health::Maintenance => Verdict {
                status: self.label_absent(node, master == Some(at)),
                ..Verdict::default()
            },
        })
        .collect()
    }

    /// One that was not asked, or did not answer.
    fn label_absent(&self, node: &Node<'_>, is_master: bool) -> Status {
        match (node.health, is_master) {
            (Health::Maintenance, true) => node.was,
            (Health::Maintenance, false) | (Health::Up, _) => node.bare(),
            (Health::Down | Health::Denied, true) => node.bare() | Status::WAS_MASTER,
            (Health::Down | Health::Denied, false) => node.bare(),
        }
    }

    fn label_running(
        &self,
        at: usize,
        node: &Node<'_>,
        master: Option<usize>,
        chain: &Chain<'_>,
    ) -> Verdict {
        let role = match master == Some(at) {
            true => self.label_master(at, chain),
            false => self.label_slave(at, chain),
        };
        let external = match self.graph.external.get(at) {
            Some(true) => Status::SLAVE_OF_EXTERNAL,
            Some(false) | None => Status::NONE,
        };
        let status = node.bare() | role | external;
        let lag = match status.has(Status::MASTER) {
            true => Some(0),
            false => chain.lag(at),
        };
        Verdict {
            status,
            master_id: master_id(node),
            lag: lag.filter(|_| status.has_any(Status::MASTER | Status::SLAVE)),
        }
    }

    /// One that takes no writes is a slave by what it can be used for.
    fn label_master(&self, at: usize, chain: &Chain<'_>) -> Status {
        let has_slaves = self.has_slaves(at, chain);
        if self.is_read_only(at) {
            Status::SLAVE
        } else if has_slaves || self.may_stand(at) {
            Status::MASTER
        } else {
            Status::NONE
        }
    }

    fn label_slave(&self, at: usize, chain: &Chain<'_>) -> Status {
        if !chain.has(at) {
            return Status::NONE;
        }
        match self.has_slaves(at, chain) {
            true => Status::SLAVE | Status::RELAY,
            false => Status::SLAVE,
        }
    }

    /// Whether somebody who runs replicates from it.
    fn has_slaves(&self, at: usize, chain: &Chain<'_>) -> bool {
        let mut children = self.graph.children(at).iter();
        children.any(|child| self.is_alive(*child) && chain.links(*child, at))
    }
}

impl Chain<'_> {
    /// Whether it was not in the chain before.
    fn link(&mut self, at: Option<usize>) -> bool {
        let linked = at.and_then(|at| self.linked.get_mut(at));
        linked.is_some_and(|linked| !std::mem::replace(linked, true))
    }

    fn has(&self, at: usize) -> bool {
        self.linked.get(at).copied().unwrap_or(false)
    }

    fn links(&self, child: usize, parent: usize) -> bool {
        let mut edges = self.edges.get(child).into_iter().flatten();
        edges.any(|edge| edge.parent == parent)
    }

    /// The least that any of its connections is behind.
    fn lag(&self, at: usize) -> Option<u64> {
        let edges = self.edges.get(at).into_iter().flatten();
        edges
            .filter_map(|edge| edge.connection.seconds_behind_master)
            .min()
    }
}

/// Whom it replicates from, as it says itself.
fn master_id(node: &Node<'_>) -> Option<i64> {
    let live = node
        .connections()
        .iter()
        .filter(|one| one.slave_io_running != IoThread::No);
    let mut ids = live.map(|one| one.master_server_id);
    ids.find(|id| *id > 0)
}

#[cfg(test)]
mod lab;
#[cfg(test)]
mod tests;
