//! Deadlines without timers: a connection writes down what it waits for and since when, and once
//! every [`Limits::sweep`] its worker looks at all of them.

use std::collections::HashMap;
use std::net::Shutdown;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::task::Waker;
use std::time::{Duration, Instant};

use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::net::framing::Violation;
use crate::net::limits::Limits;
use crate::proxy::connection::Entrance;

/// How long a connection that is new when its listener drains may take to begin a request.
const DRAIN_BEGIN: Duration = Duration::from_secs(2);

/// Milliseconds of the monotonic clock since the process first asked; never zero.
pub fn now() -> u64 {
    static EPOCH: OnceLock<Instant> = OnceLock::new();
    let elapsed = EPOCH.get_or_init(Instant::now).elapsed();
    millis(elapsed) + 1
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// What a connection is doing, as far as deadlines care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// PROXY header and TLS.
    Handshake,
    /// No byte of the next request has arrived.
    Idle,
    /// A request has begun.
    Head,
    /// The request's body is on its way.
    Body,
    /// The request is complete; the answer is not.
    Answer,
    /// HTTP/2, or upgraded: the proxy and pingora have their own deadlines for what is inside.
    Streams,
}

impl Phase {
    const ALL: [Self; 6] = [
        Self::Handshake,
        Self::Idle,
        Self::Head,
        Self::Body,
        Self::Answer,
        Self::Streams,
    ];
}

/// Bytes in one direction and the time spent waiting for the client to move them.
#[derive(Debug, Default)]
pub struct Meter {
    /// When the current wait began; zero when there is none.
    waiting: AtomicU64,
    waited: AtomicU64,
    bytes: AtomicU64,
}

impl Meter {
    /// The client must act before anything moves.
    pub fn wait(&self) {
        if self.waiting.load(Ordering::Relaxed) == 0 {
            self.waiting.store(now(), Ordering::Relaxed);
        }
    }

    pub fn moved(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.stop();
    }

    fn stop(&self) {
        let since = self.waiting.swap(0, Ordering::Relaxed);
        if since != 0 {
            self.waited
                .fetch_add(now().saturating_sub(since), Ordering::Relaxed);
        }
    }

    fn reset(&self) {
        self.waiting.store(0, Ordering::Relaxed);
        self.waited.store(0, Ordering::Relaxed);
        self.bytes.store(0, Ordering::Relaxed);
    }

    /// The client has been waited for beyond `stall` at once, or beyond `grace` and what its
    /// bytes are worth at `rate`.
    fn is_slow(&self, now: u64, stall: Duration, limits: &Limits) -> bool {
        let since = self.waiting.load(Ordering::Relaxed);
        if since == 0 {
            return false;
        }
        let current = now.saturating_sub(since);
        let total = current + self.waited.load(Ordering::Relaxed);
        let worth = self.bytes.load(Ordering::Relaxed).saturating_mul(1000) / limits.rate.max(1);
        current > millis(stall) || total > worth.saturating_add(millis(limits.grace))
    }
}

/// What the sweep does to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sentence {
    /// Its task sees the end of input and may still answer.
    StopReading,
    /// Both directions end.
    Close,
    /// The client gets RST and the kernel drops what was not sent.
    Reset,
}

const UNJUDGED: u8 = 0;
const HEAD_TIME: u8 = 1;
const BODY_TIME: u8 = 2;
const OVER: u8 = 3;

/// One connection as the sweep sees it. Its task writes, the sweep reads.
#[derive(Debug)]
pub struct Watched {
    entrance: Arc<Entrance>,
    socket: Weak<TcpStream>,
    phase: AtomicU8,
    since: AtomicU64,
    verdict: AtomicU8,
    unread: AtomicBool,
    /// Whom to wake when the connection is closed by force, where its socket alone does not tell.
    task: OnceLock<Waker>,
    pub reading: Meter,
    pub writing: Meter,
}

impl Watched {
    pub fn new(entrance: Arc<Entrance>, socket: &Arc<TcpStream>) -> Self {
        Self {
            entrance,
            socket: Arc::downgrade(socket),
            phase: AtomicU8::new(Phase::Handshake as u8),
            since: AtomicU64::new(now()),
            verdict: AtomicU8::new(UNJUDGED),
            unread: AtomicBool::new(false),
            task: OnceLock::new(),
            reading: Meter::default(),
            writing: Meter::default(),
        }
    }

    pub fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
        match phase {
            Phase::Answer | Phase::Streams => {}
            Phase::Handshake | Phase::Idle | Phase::Head => {
                self.since.store(now(), Ordering::Relaxed)
            }
            Phase::Body => self.reading.reset(),
        }
        if phase == Phase::Head {
            self.writing.reset();
        }
    }

    pub fn phase(&self) -> Phase {
        let phase = usize::from(self.phase.load(Ordering::Relaxed));
        Phase::ALL.get(phase).copied().unwrap_or(Phase::Streams)
    }

    /// Why the sweep ended the input, when the client deserves an answer.
    pub fn violation(&self) -> Option<Violation> {
        match self.verdict.load(Ordering::Acquire) {
            HEAD_TIME => Some(Violation::HeadTime),
            BODY_TIME => Some(Violation::BodyTime),
            _ => None,
        }
    }

    /// Whether the connection was closed by force; the task behind `waker`, always the same, is woken
    /// when it is.
    pub fn is_over(&self, waker: &Waker) -> bool {
        self.task.get_or_init(|| waker.clone());
        self.verdict.load(Ordering::Acquire) == OVER
    }

    /// The client may still be sending what nobody will read.
    pub fn leave_unread(&self) {
        self.unread.store(true, Ordering::Relaxed);
    }

    pub fn is_unread(&self) -> bool {
        self.unread.load(Ordering::Relaxed)
    }

    fn judge(&self, now: u64, limits: &Limits) -> Option<(u8, Sentence)> {
        if self.writing.is_slow(now, limits.write_stall, limits) {
            return Some((OVER, Sentence::Reset));
        }
        if self.verdict.load(Ordering::Relaxed) != UNJUDGED {
            return None;
        }
        let late = |limit| now.saturating_sub(self.since.load(Ordering::Relaxed)) > millis(limit);
        match self.phase() {
            Phase::Handshake if late(limits.handshake) => Some((OVER, Sentence::Close)),
            Phase::Idle if late(self.idle_limit(limits)) => Some((OVER, Sentence::StopReading)),
            Phase::Head if late(limits.head_time) => Some((HEAD_TIME, Sentence::StopReading)),
            Phase::Body if self.reading.is_slow(now, limits.body_stall, limits) => {
                Some((BODY_TIME, Sentence::StopReading))
            }
            Phase::Handshake
            | Phase::Idle
            | Phase::Head
            | Phase::Body
            | Phase::Answer
            | Phase::Streams => None,
        }
    }

    /// Bytes that wait in the kernel, or room there, show that it is we who are slow and not the
    /// client: the wait is over then, and only its task has not been back to see it.
    fn is_ours_to_move(&self, sentence: Sentence, socket: &TcpStream) -> bool {
        let (meter, ours) = match (sentence, self.phase()) {
            (Sentence::StopReading, Phase::Body) => {
                let waiting = rustix::io::ioctl_fionread(socket).unwrap_or(0);
                (&self.reading, waiting > 0)
            }
            (Sentence::Reset, _) => {
                let room = socket.try_io(Interest::WRITABLE, || Ok(()));
                (&self.writing, room.is_ok())
            }
            (Sentence::StopReading | Sentence::Close, _) => return false,
        };
        if ours {
            meter.stop();
        }
        ours
    }

    fn idle_limit(&self, limits: &Limits) -> Duration {
        if self.entrance.is_draining() {
            DRAIN_BEGIN.min(limits.idle)
        } else {
            limits.idle
        }
    }

    fn sweep(&self, now: u64, limits: &Limits) {
        let Some(socket) = self.socket.upgrade() else {
            return;
        };
        let Some((verdict, sentence)) = self.judge(now, limits) else {
            return;
        };
        if self.is_ours_to_move(sentence, &socket) {
            return;
        }
        self.verdict.store(verdict, Ordering::Release);
        execute(sentence, &socket);
    }
}

/// Errors mean that the connection is gone already.
fn execute(sentence: Sentence, socket: &TcpStream) {
    let socket = SockRef::from(socket);
    let _ = match sentence {
        Sentence::StopReading => socket.shutdown(Shutdown::Read),
        Sentence::Close => socket.shutdown(Shutdown::Both),
        Sentence::Reset => socket
            .set_linger(Some(Duration::ZERO))
            .and_then(|()| socket.shutdown(Shutdown::Both)),
    };
}

/// The connections of one worker.
#[derive(Debug, Default)]
pub struct Reaper {
    watched: Mutex<Roll>,
    occupied: Notify,
}

#[derive(Debug, Default)]
struct Roll {
    next: u64,
    connections: HashMap<u64, Arc<Watched>, foldhash::fast::RandomState>,
}

/// Ends the watch when dropped.
#[derive(Debug)]
pub struct Watch {
    reaper: Arc<Reaper>,
    key: u64,
}

impl Reaper {
    pub fn watch(self: &Arc<Self>, watched: Arc<Watched>) -> Watch {
        let mut roll = self.roll();
        let key = roll.next;
        roll.next += 1;
        roll.connections.insert(key, watched);
        if roll.connections.len() == 1 {
            self.occupied.notify_one();
        }
        Watch {
            reaper: self.clone(),
            key,
        }
    }

    /// Closes every connection of `entrance` now, whatever it is doing.
    pub fn close_all(&self, entrance: &Arc<Entrance>) {
        for watched in self.roll().connections.values() {
            if Arc::ptr_eq(&watched.entrance, entrance) {
                watched.verdict.store(OVER, Ordering::Release);
                if let Some(socket) = watched.socket.upgrade() {
                    execute(Sentence::Close, &socket);
                }
                if let Some(task) = watched.task.get() {
                    task.wake_by_ref();
                }
            }
        }
    }

    /// Sweeps for ever; asleep while there are no connections.
    pub async fn run(self: Arc<Self>, limits: Arc<Limits>) {
        loop {
            if self.roll().connections.is_empty() {
                self.occupied.notified().await;
            }
            tokio::time::sleep(limits.sweep).await;
            self.sweep(now(), &limits);
        }
    }

    fn sweep(&self, now: u64, limits: &Limits) {
        for watched in self.roll().connections.values() {
            watched.sweep(now, limits);
        }
    }

    fn roll(&self) -> std::sync::MutexGuard<'_, Roll> {
        // No code panics while holding it, and a map half changed is still a map.
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.reaper.roll().connections.remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::connection::Scheme;

    async fn watched() -> (Arc<TcpStream>, Watched) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let stream = Arc::new(stream);
        let entrance = Arc::new(Entrance::new("test", Scheme::Http));
        let watched = Watched::new(entrance, &stream);
        (stream, watched)
    }

    fn seconds(count: u64) -> u64 {
        now() + count * 1000
    }

    #[tokio::test]
    async fn each_phase_has_its_own_limit() {
        let (_stream, watched) = watched().await;
        let limits = Limits::default();
        let cases = [
            (Phase::Handshake, 10, Some((OVER, Sentence::Close))),
            (Phase::Idle, 60, Some((OVER, Sentence::StopReading))),
            (Phase::Head, 10, Some((HEAD_TIME, Sentence::StopReading))),
            (Phase::Answer, 3600, None),
            (Phase::Streams, 3600, None),
        ];
        for (phase, limit, expected) in cases {
            watched.enter(phase);
            assert_eq!(
                watched.judge(seconds(limit - 1), &limits),
                None,
                "{phase:?}"
            );
            assert_eq!(
                watched.judge(seconds(limit + 1), &limits),
                expected,
                "{phase:?}"
            );
        }
    }

    #[tokio::test]
    async fn a_body_is_judged_by_the_time_its_client_took() {
        let (_stream, watched) = watched().await;
        let limits = Limits::default();
        let slow = Some((BODY_TIME, Sentence::StopReading));
        watched.enter(Phase::Body);
        assert_eq!(
            watched.judge(seconds(3600), &limits),
            None,
            "nobody waits for the client"
        );
        watched.reading.wait();
        assert_eq!(watched.judge(seconds(9), &limits), None);
        assert_eq!(watched.judge(seconds(11), &limits), slow);
        watched.reading.moved(2400);
        watched.reading.wait();
        assert_eq!(
            watched.judge(seconds(19), &limits),
            None,
            "2400 bytes are worth ten seconds"
        );
        assert_eq!(watched.judge(seconds(21), &limits), slow);
        watched.reading.moved(1 << 20);
        watched.reading.wait();
        assert_eq!(watched.judge(seconds(29), &limits), None);
        assert_eq!(
            watched.judge(seconds(31), &limits),
            slow,
            "one wait of more than 30 s"
        );
    }

    #[tokio::test]
    async fn a_response_that_is_not_taken_is_reset() {
        let (_stream, watched) = watched().await;
        let limits = Limits::default();
        watched.enter(Phase::Answer);
        watched.writing.moved(1 << 20);
        watched.writing.wait();
        assert_eq!(watched.judge(seconds(59), &limits), None);
        assert_eq!(
            watched.judge(seconds(61), &limits),
            Some((OVER, Sentence::Reset))
        );
    }

    #[tokio::test]
    async fn bytes_waiting_in_the_kernel_are_our_delay() {
        use tokio::io::AsyncWriteExt;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let stream = Arc::new(listener.accept().await.unwrap().0);
        let watched = Watched::new(Arc::new(Entrance::new("test", Scheme::Http)), &stream);
        watched.enter(Phase::Body);
        watched.reading.wait();
        client.write_all(b"x").await.unwrap();
        stream.readable().await.unwrap();
        watched.sweep(seconds(60), &Limits::default());
        assert_eq!(watched.violation(), None);
        assert_eq!(stream.try_read(&mut [0; 1]).unwrap(), 1);
        watched.reading.wait();
        watched.sweep(seconds(60), &Limits::default());
        assert_eq!(watched.violation(), Some(Violation::BodyTime));
    }

    #[tokio::test]
    async fn the_watch_ends_with_its_guard() {
        let (_stream, watched) = watched().await;
        let reaper = Arc::new(Reaper::default());
        let watch = reaper.watch(Arc::new(watched));
        assert_eq!(reaper.roll().connections.len(), 1);
        drop(watch);
        assert!(reaper.roll().connections.is_empty());
    }
}
