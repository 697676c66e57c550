//! Connections to endpoints that wait for their next request. Nobody watches a single one: it is
//! looked at when it is taken, and all of them now and then.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::RecvFlags;
use tokio::net::TcpStream;

/// What makes two connections the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) address: SocketAddr,
    /// [`Service::connection_key`](crate::table::Service::connection_key).
    pub(super) settings: u64,
}

/// How sure a taker must be that the endpoint has not closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Care {
    /// What the event queue has told so far is enough: the request may be sent again.
    Usual,
    /// The kernel is asked.
    Extra,
}

/// The idle connections of one worker.
#[derive(Debug)]
pub(super) struct Pool {
    shelves: Mutex<Shelves>,
    max: usize,
    idle: Duration,
}

#[derive(Debug, Default)]
struct Shelves {
    /// The newest at the back of each.
    by_key: HashMap<Key, VecDeque<Idle>, foldhash::fast::RandomState>,
    count: usize,
}

#[derive(Debug)]
struct Idle {
    stream: TcpStream,
    since: Instant,
}

impl Idle {
    /// Whether the endpoint has said nothing since, neither bytes nor that it closes.
    fn is_quiet(&self, care: Care) -> bool {
        match care {
            Care::Usual => {
                let read = self.stream.try_read(&mut [0]);
                read.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
            }
            Care::Extra => {
                let look = RecvFlags::PEEK | RecvFlags::DONTWAIT;
                let read = rustix::net::recv(&self.stream, &mut [0_u8; 1], look);
                read.is_err_and(|error| error == Errno::AGAIN)
            }
        }
    }
}

impl Pool {
    /// Keeps at most `max` connections, each for `idle`.
    pub(super) fn new(max: usize, idle: Duration) -> Self {
        Self {
            shelves: Mutex::default(),
            max,
            idle,
        }
    }

    /// The connection used last that is still good.
    pub(super) fn take(&self, key: Key, care: Care, now: Instant) -> Option<TcpStream> {
        let mut shelves = self.shelves();
        while let Some(idle) = shelves.pop(key) {
            let young = now.duration_since(idle.since) < self.idle;
            if young && idle.is_quiet(care) {
                return Some(idle.stream);
            }
        }
        None
    }

    /// Keeps a connection on which nothing is under way.
    pub(super) fn put(&self, key: Key, stream: TcpStream, now: Instant) {
        if self.max == 0 {
            return;
        }
        let mut shelves = self.shelves();
        if shelves.count >= self.max {
            shelves.drop_oldest();
        }
        let idle = Idle { stream, since: now };
        shelves.by_key.entry(key).or_default().push_back(idle);
        shelves.count += 1;
    }

    /// Drops what has been idle for too long, and what its endpoint has closed.
    pub(super) fn sweep(&self, now: Instant) {
        let mut shelves = self.shelves();
        let keep =
            |idle: &Idle| now.duration_since(idle.since) < self.idle && idle.is_quiet(Care::Usual);
        shelves.by_key.retain(|_, shelf| {
            shelf.retain(keep);
            !shelf.is_empty()
        });
        shelves.count = shelves.by_key.values().map(VecDeque::len).sum();
    }

    /// Nobody panics while it is held.
    fn shelves(&self) -> MutexGuard<'_, Shelves> {
        self.shelves.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shelves {
    fn pop(&mut self, key: Key) -> Option<Idle> {
        let idle = self.by_key.get_mut(&key)?.pop_back()?;
        self.count -= 1;
        Some(idle)
    }

    /// Looks at one connection of each endpoint; only a pool that is too small for them gets here.
    fn drop_oldest(&mut self) {
        let fronts = self.by_key.iter();
        let fronts = fronts.filter_map(|(key, shelf)| Some((shelf.front()?.since, *key)));
        let oldest = fronts.min_by_key(|(since, _)| *since);
        let shelf = oldest.and_then(|(_, key)| self.by_key.get_mut(&key));
        if shelf.is_some_and(|shelf| shelf.pop_front().is_some()) {
            self.count -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    struct Site {
        listener: TcpListener,
        key: Key,
    }

    impl Site {
        async fn new() -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let key = Key {
                address,
                settings: 0,
            };
            Self { listener, key }
        }

        /// The gateway's end, and the endpoint's.
        async fn connect(&self) -> (TcpStream, TcpStream) {
            let ours = TcpStream::connect(self.key.address).await.unwrap();
            (ours, self.listener.accept().await.unwrap().0)
        }
    }

    fn port(stream: &TcpStream) -> u16 {
        stream.local_addr().unwrap().port()
    }

    const IDLE: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn the_last_in_is_the_first_out_and_each_endpoint_has_its_own() {
        let (site, other) = (Site::new().await, Site::new().await);
        let (pool, now) = (Pool::new(8, IDLE), Instant::now());
        let ((first, _a), (second, _b)) = (site.connect().await, site.connect().await);
        let ports = [port(&second), port(&first)];
        pool.put(site.key, first, now);
        pool.put(site.key, second, now);
        assert!(pool.take(other.key, Care::Usual, now).is_none());
        for expected in ports {
            let taken = pool.take(site.key, Care::Extra, now).unwrap();
            assert_eq!(port(&taken), expected);
        }
        assert!(pool.take(site.key, Care::Usual, now).is_none());
    }

    #[tokio::test]
    async fn what_closed_or_spoke_or_waited_too_long_is_not_given_out() {
        let site = Site::new().await;
        let (pool, now) = (Pool::new(8, IDLE), Instant::now());
        let (closed, end) = site.connect().await;
        let (loud, mut speaker) = site.connect().await;
        let (old, _quiet) = site.connect().await;
        drop(end);
        speaker.write_all(b"HTTP/1.1 408").await.unwrap();
        closed.readable().await.unwrap();
        loud.readable().await.unwrap();
        for stream in [closed, loud, old] {
            pool.put(site.key, stream, now);
        }
        assert!(pool.take(site.key, Care::Extra, now + IDLE).is_none());
        let ((closed, end), (loud, mut speaker)) = (site.connect().await, site.connect().await);
        drop(end);
        speaker.write_all(b"x").await.unwrap();
        closed.readable().await.unwrap();
        loud.readable().await.unwrap();
        pool.put(site.key, closed, now);
        pool.put(site.key, loud, now);
        assert!(pool.take(site.key, Care::Usual, now).is_none());
    }

    #[tokio::test]
    async fn a_full_pool_drops_its_oldest_and_a_sweep_the_dead() {
        let (site, other) = (Site::new().await, Site::new().await);
        let (pool, now) = (Pool::new(2, IDLE), Instant::now());
        let ((a, _a), (b, b_end), (c, _c)) = (
            site.connect().await,
            other.connect().await,
            site.connect().await,
        );
        pool.put(site.key, a, now);
        pool.put(other.key, b, now + Duration::from_secs(1));
        pool.put(site.key, c, now + Duration::from_secs(2));
        assert_eq!(pool.shelves().count, 2);
        assert_eq!(pool.shelves().by_key[&site.key].len(), 1);
        drop(b_end);
        let readable = async {
            loop {
                let ready = pool.shelves().by_key[&other.key][0].is_quiet(Care::Extra);
                if !ready {
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        readable.await;
        // Lets the runtime hear of it too.
        while pool
            .shelves()
            .by_key
            .get(&other.key)
            .is_some_and(|shelf| shelf[0].is_quiet(Care::Usual))
        {
            tokio::task::yield_now().await;
        }
        pool.sweep(now + Duration::from_secs(3));
        assert_eq!(pool.shelves().count, 1);
        pool.sweep(now + Duration::from_secs(90));
        assert!(pool.shelves().by_key.is_empty());
    }
}
