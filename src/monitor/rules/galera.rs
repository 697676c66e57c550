//! The nodes of a Galera cluster: MaxScale's *galeramon*, of its documented rules.

use super::{Health, Memory, Node, Verdict};
use crate::model::MonitorRules;
use crate::upstream::Status;

pub(super) fn judge(nodes: &[Node<'_>], rules: &MonitorRules, memory: &mut Memory) -> Vec<Verdict> {
    let joined = |at: &usize| nodes.get(*at).is_some_and(|node| is_joined(node, rules));
    let best = (0..nodes.len())
        .filter(joined)
        .filter_map(|at| Some((rank(nodes.get(at)?, rules)?, at)))
        .min()
        .map(|(_, at)| at);
    let before = memory.master(nodes).filter(joined);
    let kept = before.filter(|_| rules.disable_master_failback);
    let master = kept.or(best);
    // Nobody else is the master's equal while nobody is in order.
    if let Some(node) = master.and_then(|at| nodes.get(at)) {
        memory.master = Some(node.id);
    }
    let role = |at: usize| match master == Some(at) {
        true if best == master => Status::MASTER,
        true => Status::MASTER | Status::STICKINESS,
        false => Status::SLAVE,
    };
    let verdict = |(at, node): (usize, &Node<'_>)| Verdict {
        status: match joined(&at) {
            true => node.bare() | Status::SYNCED | role(at),
            false => node.bare(),
        },
        ..Verdict::default()
    };
    nodes.iter().enumerate().map(verdict).collect()
}

/// `wsrep_local_state` of a node that is in step, and of one that gives its state to another.
const SYNCED: u8 = 4;
const DONOR: u8 = 2;

fn is_joined(node: &Node<'_>, rules: &MonitorRules) -> bool {
    let Some(facts) = node.galera().filter(|_| node.health == Health::Up) else {
        return false;
    };
    let is_in_step = match facts.local_state {
        Some(SYNCED) => true,
        Some(DONOR) => rules.available_when_donor && facts.donates_online,
        Some(_) | None => false,
    };
    is_in_step && facts.ready && !facts.desynced && !facts.rejects_queries
}

/// The lowest is the master: by priority, where that counts and one has it, else by the cluster's
/// index. `None` for nodes that may not be.
fn rank(node: &Node<'_>, rules: &MonitorRules) -> Option<(u8, i64)> {
    let index = node.galera()?.local_index?;
    match node.priority.filter(|_| rules.use_priority) {
        Some(priority @ 1..) => Some((0, priority)),
        Some(_) => None,
        None => Some((1, index)),
    }
}

#[cfg(test)]
mod tests;
