//! What is known of the wanted names, and when to ask again. Pure: time is passed in.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Address;

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
        addresses: Arc<[Address]>,
        ttl: Duration,
    },
    Failed(String),
}

impl Answer {
    /// No addresses are a failure: what resolved before stays in use.
    pub(super) fn found(addresses: Vec<Address>, ttl: Duration) -> Self {
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
    addresses: Option<Arc<[Address]>>,
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

    /// Wants these names too, for a while; answers those not heard of yet. One that failed is not
    /// among them, and is asked for when its wait is over: else each write would wait for it, and
    /// ask a server that is in trouble again.
    pub(super) fn ask(&mut self, names: Vec<Arc<str>>, now: Instant) -> HashSet<Arc<str>> {
        let mut unheard = HashSet::new();
        for name in names {
            let entry = self.add(Arc::clone(&name), now);
            entry.kept_until = now + GRACE;
            if entry.addresses.is_none() && entry.failures == 0 {
                unheard.insert(name);
            }
        }
        unheard
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
    ) -> Option<Arc<[Address]>> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn names<const N: usize>(names: [&str; N]) -> Vec<Arc<str>> {
        names.into_iter().map(Arc::from).collect()
    }

    fn found(last: u8, ttl: Duration) -> Answer {
        let ip = std::net::IpAddr::from([192, 0, 2, last]);
        Answer::found(vec![ip.into()], ttl)
    }

    fn failed() -> Answer {
        Answer::Failed("no such name".into())
    }

    /// A book with one name that is due, and the moment.
    fn book() -> (Book, Arc<str>, Instant) {
        let (mut book, now) = (Book::default(), Instant::now());
        book.want(names(["a"]), now);
        let taken = book.take_due(now);
        assert_eq!(taken, names(["a"]));
        (book, "a".into(), now)
    }

    #[test]
    fn a_wanted_name_is_due_at_once_and_once() {
        let (mut book, _, now) = book();
        assert_eq!(book.next(), None);
        book.want(names(["a"]), now);
        assert!(book.take_due(now + TTL_MAX).is_empty(), "under way");
    }

    #[test]
    fn the_ttl_decides_within_its_bounds() {
        for (ttl, wait) in [
            (Duration::ZERO, TTL_MIN),
            (Duration::from_secs(30), Duration::from_secs(30)),
            (Duration::from_secs(1 << 40), TTL_MAX),
        ] {
            let (mut book, name, now) = book();
            book.hear(&name, found(1, ttl), now);
            assert_eq!(book.next(), Some(now + wait));
            assert!(
                book.take_due(now + wait - Duration::from_millis(1))
                    .is_empty()
            );
            assert_eq!(book.take_due(now + wait).len(), 1);
        }
    }

    #[test]
    fn only_a_changed_answer_is_news() {
        let (mut book, name, now) = book();
        assert!(book.hear(&name, found(1, TTL_MIN), now).is_some());
        assert!(book.hear(&name, found(1, TTL_MIN), now).is_none());
        assert!(book.hear(&name, found(2, TTL_MIN), now).is_some());
    }

    #[test]
    fn a_failure_keeps_the_last_good_answer_and_waits_longer_each_time() {
        let (mut book, name, mut now) = book();
        book.hear(&name, found(1, TTL_MIN), now);
        for seconds in [1, 2, 4, 8, 16, 30, 30, 30, 30, 30, 30, 30] {
            assert!(book.hear(&name, failed(), now).is_none());
            let next = book.next().unwrap();
            assert_eq!(next - now, Duration::from_secs(seconds));
            now = next;
            book.take_due(now);
        }
        assert!(
            book.hear(&name, found(1, TTL_MIN), now).is_none(),
            "never withdrawn"
        );
        book.hear(&name, failed(), now);
        assert_eq!(book.next(), Some(now + RETRY_MIN));
    }

    #[test]
    fn no_addresses_are_a_failure() {
        assert!(matches!(
            Answer::found(Vec::new(), TTL_MIN),
            Answer::Failed(_)
        ));
    }

    #[test]
    fn only_a_name_never_heard_of_is_waited_for() {
        let (mut book, name, now) = book();
        assert_eq!(
            book.ask(names(["a", "b"]), now).len(),
            2,
            "one is under way"
        );
        book.hear(&name, failed(), now);
        assert_eq!(book.ask(names(["a", "b"]), now).len(), 1);
        assert_eq!(book.take_due(now), names(["b"]), "a failure keeps its wait");
        book.hear(&name, found(1, TTL_MAX), now);
        assert!(book.ask(names(["a"]), now).is_empty());
    }

    #[test]
    fn what_is_asked_for_stays_until_a_table_had_time_to_name_it() {
        let (mut book, _, now) = book();
        book.ask(names(["b"]), now);
        assert_eq!(book.want(Vec::new(), now), names(["a"]));
        assert!(book.want(Vec::new(), now + GRACE - TTL_MIN).is_empty());
        assert_eq!(book.want(Vec::new(), now + GRACE), names(["b"]));
        assert!(book.entries.is_empty() && book.due.is_empty());
    }

    #[test]
    fn an_answer_for_a_dropped_name_is_no_news() {
        let (mut book, name, now) = book();
        book.want(Vec::new(), now);
        assert!(book.hear(&name, found(1, TTL_MIN), now).is_none());
        assert!(book.due.is_empty());
    }
}
