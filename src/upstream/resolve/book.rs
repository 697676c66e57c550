//! What is known of the wanted names, and when to ask again. Pure: time is passed in.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The shortest and the longest time an answer is used; in between, its TTL decides.
const TTL_MIN: Duration = Duration::from_secs(1);
const TTL_MAX: Duration = Duration::from_secs(3600);

/// The first wait after a failure; it doubles with each further one, up to the longest.
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(30);

/// How long a name that was asked for stays though no table names it yet.
const GRACE: Duration = Duration::from_secs(60);

/// What a lookup came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// At least one address, sorted.
    Found {
        addresses: Arc<[IpAddr]>,
        ttl: Duration,
    },
    Failed(String),
}

impl Answer {
    /// No addresses are a failure: what resolved before stays in use.
    pub(super) fn found(addresses: Vec<IpAddr>, ttl: Duration) -> Self {
        if addresses.is_empty() {
            return Self::Failed("name has no address".into());
        }
        Self::Found {
            addresses: addresses.into(),
            ttl,
        }
    }
}

/// One name.
#[derive(Debug)]
struct Entry {
    /// The last good answer.
    addresses: Option<Arc<[IpAddr]>>,
    /// Failures since then.
    failures: u32,
    /// When to ask again; `None` while a lookup waits or is under way.
    due: Option<Instant>,
    /// Until when it stays though nothing wants it.
    kept_until: Instant,
}

/// All names that are wanted, with what they last resolved to.
#[derive(Debug, Default)]
pub(super) struct Book {
    entries: HashMap<Arc<str>, Entry>,
    due: BTreeSet<(Instant, Arc<str>)>,
}

impl Book {
    /// Wants these names and no others; answers those that are dropped.
    pub(super) fn want(&mut self, names: Vec<Arc<str>>, now: Instant) -> Vec<Arc<str>> {
        let wanted: HashSet<Arc<str>> = names.into_iter().collect();
        let unwanted = |(name, entry): (&Arc<str>, &Entry)| {
            let drop = !wanted.contains(name) && entry.kept_until <= now;
            drop.then(|| Arc::clone(name))
        };
        let dropped: Vec<Arc<str>> = self.entries.iter().filter_map(unwanted).collect();
        for name in &dropped {
            if let Some(at) = self.entries.remove(name).and_then(|entry| entry.due) {
                self.due.remove(&(at, Arc::clone(name)));
            }
        }
        for name in wanted {
            self.add(name, now);
        }
        dropped
    }

    /// Wants these names too, for a while; answers those without addresses, which are due now.
    pub(super) fn ask(&mut self, names: Vec<Arc<str>>, now: Instant) -> HashSet<Arc<str>> {
        let mut missing = HashSet::new();
        for name in names {
            let entry = self.add(Arc::clone(&name), now);
            entry.kept_until = now + GRACE;
            if entry.addresses.is_none() {
                self.hasten(&name, now);
                missing.insert(name);
            }
        }
        missing
    }

    /// The name's entry; a new one is due at once.
    fn add(&mut self, name: Arc<str>, now: Instant) -> &mut Entry {
        let due = &mut self.due;
        self.entries.entry(name).or_insert_with_key(|name| {
            due.insert((now, Arc::clone(name)));
            Entry {
                addresses: None,
                failures: 0,
                due: Some(now),
                kept_until: now,
            }
        })
    }

    /// Makes a name due now, unless it is being asked for.
    fn hasten(&mut self, name: &Arc<str>, now: Instant) {
        let Some(entry) = self.entries.get_mut(name) else {
            return;
        };
        if let Some(at) = &mut entry.due {
            self.due.remove(&(*at, Arc::clone(name)));
            *at = now;
            self.due.insert((now, Arc::clone(name)));
        }
    }

    /// When the next name is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Takes the names that are due; each must be [heard](Self::hear) of before it is due again.
    pub(super) fn take_due(&mut self, now: Instant) -> Vec<Arc<str>> {
        let mut taken = Vec::new();
        while let Some((at, name)) = self.due.pop_first() {
            if at > now {
                self.due.insert((at, name));
                break;
            }
            if let Some(entry) = self.entries.get_mut(&name) {
                entry.due = None;
                taken.push(name);
            }
        }
        taken
    }

    /// Takes an answer in; returns the addresses where they are news.
    pub(super) fn hear(
        &mut self,
        name: &Arc<str>,
        answer: Answer,
        now: Instant,
    ) -> Option<Arc<[IpAddr]>> {
        let entry = self.entries.get_mut(name)?;
        let (wait, news) = match answer {
            Answer::Found { addresses, ttl } => {
                entry.succeed(name);
                let changed = entry.addresses.as_ref() != Some(&addresses);
                entry.addresses = Some(Arc::clone(&addresses));
                (ttl.clamp(TTL_MIN, TTL_MAX), changed.then_some(addresses))
            }
            Answer::Failed(why) => (entry.fail(name, &why), None),
        };
        if let Some(at) = entry.due.replace(now + wait) {
            self.due.remove(&(at, Arc::clone(name)));
        }
        self.due.insert((now + wait, Arc::clone(name)));
        news
    }
}

impl Entry {
    fn succeed(&mut self, name: &str) {
        if std::mem::take(&mut self.failures) > 0 {
            tracing::info!(name, "name resolves again");
        }
    }

    /// Counts a failure; answers how long to wait.
    fn fail(&mut self, name: &str, why: &str) -> Duration {
        if self.failures == 0 {
            let kept = self.addresses.is_some();
            tracing::warn!(name, why, kept, "name does not resolve");
        }
        let wait = RETRY_MIN.saturating_mul(1 << self.failures.min(8));
        self.failures = self.failures.saturating_add(1);
        wait.min(RETRY_MAX)
    }
}
