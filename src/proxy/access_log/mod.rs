//! One line for each request and each connection of bytes. Workers render into buffers of their own; one thread carries the
//! buffers to the sink. Nobody who serves traffic waits for the sink: where a buffer is full, the
//! line is dropped and counted.

mod line;
mod session;

use std::cell::Cell;
use std::fmt;
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use prometheus::IntCounter;

use crate::metrics::Error;
use crate::metrics::Metrics;

pub use line::{Entry, FIELD_BYTES_MAX, Format};
pub use session::Session;

/// The longest time a line waits before it is written.
pub const FLUSH_EVERY: Duration = Duration::from_millis(500);
/// How many buffers there are; workers beyond that share.
const SHARDS: usize = 64;
/// What one buffer holds before lines are dropped, in bytes.
const SHARD_BYTES_MAX: usize = 1 << 20;
/// A buffer this full wakes the writer.
const SHARD_BYTES_WAKE: usize = 64 << 10;

/// Where workers put their lines. Cheap to clone.
#[derive(Clone)]
pub struct AccessLog(Arc<Shared>);

struct Shared {
    format: Format,
    shards: Box<[Mutex<Vec<u8>>]>,
    state: Mutex<State>,
    wake: Condvar,
    counts: Counts,
}

#[derive(Clone)]
struct Counts {
    written: IntCounter,
    dropped: IntCounter,
    failed: IntCounter,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    /// A buffer wants to be carried away.
    Called,
    /// The last round: everything is written, then the thread ends.
    Closing,
}

/// The writing thread. Closed by [`Writer::close`], or when dropped.
#[derive(Debug)]
pub struct Writer {
    log: AccessLog,
    thread: Option<JoinHandle<()>>,
}

impl fmt::Debug for AccessLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessLog")
            .field("format", &self.0.format)
            .finish_non_exhaustive()
    }
}

impl Counts {
    fn register(metrics: &Metrics) -> Result<Self, Error> {
        Ok(Self {
            written: metrics.counter(
                "gateway_access_log_written_bytes_total",
                "Bytes of access log that reached the sink.",
            )?,
            dropped: metrics.counter(
                "gateway_access_log_dropped_total",
                "Access log lines that were dropped because the sink was too slow.",
            )?,
            failed: metrics.counter(
                "gateway_access_log_errors_total",
                "Writes of access log that the sink refused; their lines are lost.",
            )?,
        })
    }
}

impl AccessLog {
    /// Starts the thread that writes to `sink`.
    ///
    /// # Errors
    /// Where the metrics are taken.
    pub fn start(
        format: Format,
        sink: impl Write + Send + 'static,
        metrics: &Metrics,
    ) -> Result<(Self, Writer), Error> {
        let log = Self(Arc::new(Shared {
            format,
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            state: Mutex::new(State::Waiting),
            wake: Condvar::new(),
            counts: Counts::register(metrics)?,
        }));
        let shared = Arc::clone(&log.0);
        let thread = std::thread::Builder::new()
            .name("access-log".into())
            .spawn(move || shared.run(sink))
            .expect("the system starts one more thread");
        let writer = Writer {
            log: log.clone(),
            thread: Some(thread),
        };
        Ok((log, writer))
    }

    /// Adds a line, or drops it where the buffer is full. Never waits for the sink.
    pub fn write(&self, entry: &Entry<'_>) {
        self.append(|format, out| format.render(entry, out));
    }

    /// The same for a connection of bytes.
    pub fn write_session(&self, session: &Session<'_>) {
        self.append(|format, out| format.render_session(session, out));
    }

    fn append(&self, render: impl FnOnce(Format, &mut Vec<u8>)) {
        let Some(shard) = self.0.shards.get(shard_of_this_thread()) else {
            return;
        };
        let mut buffer = lock(shard);
        let before = buffer.len();
        if before >= SHARD_BYTES_MAX {
            self.0.counts.dropped.inc();
            return;
        }
        render(self.0.format, &mut buffer);
        let after = buffer.len();
        drop(buffer);
        if before < SHARD_BYTES_WAKE && after >= SHARD_BYTES_WAKE {
            self.0.call();
        }
    }
}

/// The buffer that the calling thread uses.
fn shard_of_this_thread() -> usize {
    static THREADS: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static OWN: Cell<usize> = Cell::new(THREADS.fetch_add(1, Ordering::Relaxed) % SHARDS);
    }
    OWN.get()
}

/// A panic elsewhere leaves at worst a torn line.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn call(&self) {
        let mut state = lock(&self.state);
        if *state == State::Waiting {
            *state = State::Called;
            self.wake.notify_one();
        }
    }

    fn close(&self) {
        *lock(&self.state) = State::Closing;
        self.wake.notify_one();
    }

    fn run(&self, mut sink: impl Write) {
        let mut spare = Vec::new();
        loop {
            let last = self.wait();
            for shard in &self.shards {
                self.carry(shard, &mut spare, &mut sink);
            }
            if sink.flush().is_err() {
                self.counts.failed.inc();
            }
            if last == State::Closing {
                return;
            }
        }
    }

    /// Until it is time for another round.
    fn wait(&self) -> State {
        let state = lock(&self.state);
        let idle = |state: &mut State| *state == State::Waiting;
        let (mut state, _) = self
            .wake
            .wait_timeout_while(state, FLUSH_EVERY, idle)
            .unwrap_or_else(PoisonError::into_inner);
        let now = *state;
        if now == State::Called {
            *state = State::Waiting;
        }
        now
    }

    /// The lock is held for a swap only.
    fn carry(&self, shard: &Mutex<Vec<u8>>, spare: &mut Vec<u8>, sink: &mut impl Write) {
        std::mem::swap(&mut *lock(shard), spare);
        if !spare.is_empty() {
            match sink.write_all(spare) {
                Ok(()) => self.counts.written.inc_by(spare.len() as u64),
                Err(_) => self.counts.failed.inc(),
            }
            spare.clear();
        }
    }
}

impl Writer {
    /// Writes what there is and ends the thread.
    pub fn close(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.log.0.close();
        if let Some(thread) = self.thread.take() {
            // A sink that panicked has nothing more to say.
            let _ = thread.join();
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use std::sync::mpsc;
    use std::time::Instant;

    /// A sink that hands over what it gets, and can be held shut.
    #[derive(Clone, Default)]
    struct Sink {
        got: Arc<Mutex<Vec<u8>>>,
        shut: Arc<Mutex<()>>,
    }

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _open = self.shut.lock().unwrap();
            self.got.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Sink {
        fn lines(&self) -> usize {
            self.got.lock().unwrap().split(|b| *b == b'\n').count() - 1
        }
    }

    #[test]
    fn closing_writes_every_line_of_every_thread() {
        let (sink, metrics) = (Sink::default(), Metrics::new());
        let (log, writer) = AccessLog::start(Format::Json, sink.clone(), &metrics).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| (0..100).for_each(|_| log.write(&line::tests::entry())));
            }
        });
        writer.close();
        assert_eq!(sink.lines(), 800);
    }

    #[test]
    fn a_line_is_written_without_being_asked_for() {
        let (sink, metrics) = (Sink::default(), Metrics::new());
        let (log, _writer) = AccessLog::start(Format::Text, sink.clone(), &metrics).unwrap();
        log.write(&line::tests::entry());
        let deadline = Instant::now() + Duration::from_secs(10);
        while sink.lines() == 0 {
            assert!(Instant::now() < deadline, "nothing was written");
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_stuck_sink_drops_lines_and_holds_nobody_up() {
        let (sink, metrics) = (Sink::default(), Metrics::new());
        let (log, writer) = AccessLog::start(Format::Json, sink.clone(), &metrics).unwrap();
        let shut = sink.shut.lock().unwrap();
        let (done, finished) = mpsc::channel();
        let worker = {
            let log = log.clone();
            std::thread::spawn(move || {
                let bytes: usize = SHARD_BYTES_MAX * 4;
                let line = 100;
                (0..bytes / line).for_each(|_| log.write(&line::tests::entry()));
                done.send(()).unwrap();
            })
        };
        finished
            .recv_timeout(Duration::from_secs(60))
            .expect("the worker was held up");
        worker.join().unwrap();
        assert!(log.0.counts.dropped.get() > 0);
        let largest = log.0.shards.iter().map(|shard| lock(shard).len()).max();
        assert!(largest < Some(SHARD_BYTES_MAX + (64 << 10)));
        drop(shut);
        writer.close();
    }

    #[test]
    fn a_sink_that_fails_is_counted() {
        struct Broken;
        impl Write for Broken {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let metrics = Metrics::new();
        let (log, writer) = AccessLog::start(Format::Json, Broken, &metrics).unwrap();
        log.write(&line::tests::entry());
        writer.close();
        assert_eq!(log.0.counts.failed.get(), 1);
    }
}
