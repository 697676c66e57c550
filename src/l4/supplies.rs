//! What carries bytes from one socket to the other: buffers, and pipes that the kernel moves pages
//! through without copying them. Both are held only while they hold something, so that a session that
//! is silent costs neither.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::pipe::{PipeFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with};

/// The size of a buffer: what a record of TLS holds.
pub(super) const BUFFER_BYTES: usize = 16 << 10;

/// What a pipe is asked to hold.
const PIPE_BYTES: usize = 256 << 10;

/// One that holds less moves no more than a buffer does. The pipes of a user share 64 MiB
/// (`pipe-user-pages-soft`), beyond which the kernel gives small ones.
const PIPE_BYTES_MIN: usize = 64 << 10;

/// The most pipes of one worker at a time; sessions beyond it copy. Two descriptors each.
const PIPES_MAX: usize = 64;

/// The most pipes kept for the next session.
const PIPES_KEPT: usize = 16;

/// The most buffers kept for the next session.
const BUFFERS_KEPT: usize = 64;

/// The buffers and pipes of one worker.
#[derive(Debug, Default)]
pub struct Supplies(Mutex<Store>);

#[derive(Debug, Default)]
struct Store {
    buffers: Vec<Box<[u8]>>,
    pipes: Vec<Pipe>,
    /// Pipes that exist, lent ones included.
    made: usize,
    /// How many the system gives, where that has shown.
    given: Option<usize>,
}

/// Both ends of a pipe.
#[derive(Debug)]
struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
}

impl Pipe {
    fn open() -> Option<Self> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).ok()?;
        let size = fcntl_setpipe_size(&write, PIPE_BYTES);
        let size = size.or_else(|_| fcntl_getpipe_size(&write)).ok()?;
        (size >= PIPE_BYTES_MIN).then_some(Self { read, write })
    }
}

impl Supplies {
    pub(super) fn buffer(&self) -> Box<[u8]> {
        let kept = self.store().buffers.pop();
        kept.unwrap_or_else(|| vec![0; BUFFER_BYTES].into())
    }

    pub(super) fn put_buffer(&self, buffer: Box<[u8]>) {
        let mut store = self.store();
        if store.buffers.len() < BUFFERS_KEPT {
            store.buffers.push(buffer);
        }
    }

    /// An empty pipe; `None` where all are in use, or the process has no descriptors left.
    pub(super) fn pipe(self: &Arc<Self>) -> Option<Loan> {
        let pipe = self.kept_or_made()?;
        Some(Loan {
            supplies: Arc::clone(self),
            pipe: Some(pipe),
            count: 0,
        })
    }

    #[cfg(test)]
    pub(super) fn has_pipes(&self) -> bool {
        !self.store().pipes.is_empty()
    }

    fn kept_or_made(&self) -> Option<Pipe> {
        let mut store = self.store();
        if let Some(kept) = store.pipes.pop() {
            return Some(kept);
        }
        if store.made >= store.given.unwrap_or(PIPES_MAX) {
            return None;
        }
        let made = Pipe::open();
        match made {
            Some(_) => store.made += 1,
            // Not asked again with each piece of each session.
            None => store.given = Some(store.made),
        }
        made
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        // No code panics while holding it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A pipe, and how much is in it. Dropped empty, it serves the next; with something in it, it is
/// closed.
#[derive(Debug)]
pub(super) struct Loan {
    supplies: Arc<Supplies>,
    /// There until it is dropped.
    pipe: Option<Pipe>,
    pub(super) count: usize,
}

impl Loan {
    /// The end that bytes come out of.
    pub(super) fn output(&self) -> Option<&OwnedFd> {
        self.pipe.as_ref().map(|pipe| &pipe.read)
    }

    /// The end that bytes go into.
    pub(super) fn input(&self) -> Option<&OwnedFd> {
        self.pipe.as_ref().map(|pipe| &pipe.write)
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        let mut store = self.supplies.store();
        match self.pipe.take() {
            Some(pipe) if self.count == 0 && store.pipes.len() < PIPES_KEPT => {
                store.pipes.push(pipe);
            }
            Some(_) | None => store.made -= 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pipes_are_bounded_and_only_empty_ones_are_lent_again() {
        let supplies = Arc::new(Supplies::default());
        let mut all: Vec<_> = (0..PIPES_MAX).map(|_| supplies.pipe().unwrap()).collect();
        assert!(supplies.pipe().is_none(), "all are lent");
        all[0].count = 1;
        drop(all.remove(0));
        assert_eq!(supplies.store().pipes.len(), 0);
        drop(all);
        assert_eq!(supplies.store().made, PIPES_KEPT);
        assert_eq!(supplies.store().pipes.len(), PIPES_KEPT);
        assert!(supplies.pipe().is_some());
    }

    #[test]
    fn buffers_come_back_up_to_a_bound() {
        let supplies = Supplies::default();
        let all: Vec<_> = (0..BUFFERS_KEPT + 9).map(|_| supplies.buffer()).collect();
        all.into_iter().for_each(|one| supplies.put_buffer(one));
        assert_eq!(supplies.store().buffers.len(), BUFFERS_KEPT);
        assert_eq!(supplies.buffer().len(), BUFFER_BYTES);
    }
}
