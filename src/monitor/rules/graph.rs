//! Who replicates from whom.

use std::net::IpAddr;

use super::{Hosts, Node, SlaveConnection};
use crate::model::MonitorRules;
use crate::monitor::found::IoThread;

/// A connection from one server of the cluster to another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Edge<'a> {
    /// Whom it fetches from.
    pub(super) parent: usize,
    pub(super) connection: &'a SlaveConnection,
}

/// The servers of a monitor by replication. Nodes are named by their places.
#[derive(Debug)]
pub(super) struct Graph<'a> {
    /// Of each node, those connections that run or try to, and end inside the cluster.
    pub(super) parents: Vec<Vec<Edge<'a>>>,
    pub(super) children: Vec<Vec<usize>>,
    /// Whether a node replicates from outside.
    pub(super) external: Vec<bool>,
    /// To which ring a node belongs; nodes that are in none each have their own number.
    ring: Vec<usize>,
    /// How many nodes a ring has.
    sizes: Vec<usize>,
    /// Whether somebody stands above a ring.
    below: Vec<bool>,
}

impl<'a> Graph<'a> {
    pub(super) fn of(nodes: &'a [Node<'a>], hosts: &Hosts, rules: &MonitorRules) -> Self {
        let mut parents = vec![Vec::new(); nodes.len()];
        let mut children = vec![Vec::new(); nodes.len()];
        let mut external = vec![false; nodes.len()];
        for (at, ((node, edges), external)) in nodes
            .iter()
            .zip(&mut parents)
            .zip(&mut external)
            .enumerate()
        {
            for connection in node.connections().iter().filter(|one| is_live(one)) {
                match target(connection, nodes, hosts, rules) {
                    Target::Node(parent) if parent == at => {}
                    Target::Node(parent) => {
                        edges.push(Edge { parent, connection });
                        children
                            .get_mut(parent)
                            .into_iter()
                            .for_each(|all: &mut Vec<usize>| {
                                all.push(at);
                            });
                    }
                    Target::Outside => *external = true,
                    Target::Unknown => {}
                }
            }
        }
        let (ring, sizes) = rings(&parents, &children);
        let below = below(&ring, &parents);
        Self {
            parents,
            children,
            external,
            ring,
            sizes,
            below,
        }
    }

    pub(super) fn edges(&self, at: usize) -> &[Edge<'a>] {
        self.parents.get(at).map_or(&[], Vec::as_slice)
    }

    pub(super) fn children(&self, at: usize) -> &[usize] {
        self.children.get(at).map_or(&[], Vec::as_slice)
    }

    fn ring(&self, at: usize) -> Option<usize> {
        self.ring.get(at).copied()
    }

    /// Whether a node replicates, over however many others, from itself.
    pub(super) fn in_ring(&self, at: usize) -> bool {
        let size = self.ring(at).and_then(|ring| self.sizes.get(ring));
        size.is_some_and(|size| *size > 1)
    }

    /// Whether nobody of the cluster stands above a node but those of its own ring; and nobody above
    /// those.
    pub(super) fn is_root(&self, at: usize) -> bool {
        let below = self.ring(at).and_then(|ring| self.below.get(ring));
        below.is_some_and(|below| !below)
    }

    /// The nodes below `root`, by way of those that `passes`; without itself.
    pub(super) fn below(&self, root: usize, passes: impl Fn(usize) -> bool) -> Vec<usize> {
        let mut seen = vec![false; self.ring.len()];
        seen.get_mut(root).into_iter().for_each(|seen| *seen = true);
        let (mut found, mut next) = (Vec::new(), vec![root]);
        while let Some(at) = next.pop() {
            for child in self.children(at) {
                let Some(seen @ &mut false) = seen.get_mut(*child) else {
                    continue;
                };
                *seen = true;
                if passes(*child) {
                    found.push(*child);
                    next.push(*child);
                }
            }
        }
        found
    }
}

const fn is_live(connection: &SlaveConnection) -> bool {
    match connection.slave_io_running {
        IoThread::Yes | IoThread::Connecting => true,
        IoThread::No => false,
    }
}

enum Target {
    Node(usize),
    Outside,
    /// It never was connected, so that it does not know its master's id.
    Unknown,
}

fn target(
    connection: &SlaveConnection,
    nodes: &[Node<'_>],
    hosts: &Hosts,
    rules: &MonitorRules,
) -> Target {
    let found = if rules.assume_unique_hostnames {
        by_address(connection, nodes, hosts)
    } else if connection.master_server_id > 0 {
        by_id(connection.master_server_id, nodes)
    } else {
        return Target::Unknown;
    };
    found.map_or(Target::Outside, Target::Node)
}

/// As written, else by what the hosts stand for.
fn by_address(connection: &SlaveConnection, nodes: &[Node<'_>], hosts: &Hosts) -> Option<usize> {
    let host = &*connection.master_host;
    let with_port = |node: &Node<'_>| node.port == connection.master_port;
    let written = |node: &Node<'_>| with_port(node) && node.host.eq_ignore_ascii_case(host);
    let addresses = hosts.get(host).map_or(&[][..], Vec::as_slice);
    let same = |ip: &IpAddr| {
        addresses
            .iter()
            .any(|own| own.to_canonical() == ip.to_canonical())
    };
    let meant = |node: &Node<'_>| with_port(node) && node.addresses.iter().any(same);
    nodes
        .iter()
        .position(written)
        .or_else(|| nodes.iter().position(meant))
}

fn by_id(id: i64, nodes: &[Node<'_>]) -> Option<usize> {
    let is = |node: &Node<'_>| {
        node.replication()
            .is_some_and(|facts| facts.server_id == id)
    };
    nodes.iter().position(is)
}

/// The strongly connected components, as Kosaraju finds them: the nodes in the order in which a walk
/// along one direction leaves them, collected along the other from the last.
fn rings(parents: &[Vec<Edge<'_>>], children: &[Vec<usize>]) -> (Vec<usize>, Vec<usize>) {
    let mut ring = vec![usize::MAX; children.len()];
    let mut sizes = Vec::new();
    for root in left(children).into_iter().rev() {
        let mut next = vec![root];
        let mut size = 0;
        while let Some(at) = next.pop() {
            let Some(free @ &mut usize::MAX) = ring.get_mut(at) else {
                continue;
            };
            *free = sizes.len();
            size += 1;
            let edges = parents.get(at).into_iter().flatten();
            next.extend(edges.map(|edge| edge.parent));
        }
        if size > 0 {
            sizes.push(size);
        }
    }
    (ring, sizes)
}

/// Of each ring, whether one of its members replicates from outside of it.
fn below(ring: &[usize], parents: &[Vec<Edge<'_>>]) -> Vec<bool> {
    let mut below = vec![false; ring.len()];
    for (own, edges) in ring.iter().zip(parents) {
        let is_below = edges.iter().any(|edge| ring.get(edge.parent) != Some(own));
        if let Some(below) = below.get_mut(*own) {
            *below |= is_below;
        }
    }
    below
}

/// The nodes in the order in which a walk in depth leaves them.
fn left(children: &[Vec<usize>]) -> Vec<usize> {
    let (mut seen, mut order) = (vec![false; children.len()], Vec::new());
    for root in 0..children.len() {
        // A node, and how many of its children have been walked to.
        let mut path = vec![(root, 0)];
        while let Some((at, walked)) = path.pop() {
            if walked == 0 {
                let Some(seen @ &mut false) = seen.get_mut(at) else {
                    continue;
                };
                *seen = true;
            }
            match children.get(at).and_then(|all| all.get(walked)) {
                Some(child) => path.extend([(at, walked + 1), (*child, 0)]),
                None => order.push(at),
            }
        }
    }
    order
}
