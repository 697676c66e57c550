//! Pipes, through which the kernel moves bytes from socket to socket without copying them.
//!
//! A pipe is held only while something is in it, so that whoever is silent costs none.

use std::io::{ErrorKind, Result};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use rustix::pipe::{
    PipeFlags, SpliceFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with, splice,
};
use tokio::io::Interest;
use tokio::net::TcpStream;

/// Of bodies with less to come a pipe moves no more than two reads do, for more system calls.
pub const WORTHWHILE_BYTES: usize = 64 << 10;

/// What a pipe is asked to hold.
const PIPE_BYTES: usize = 256 << 10;

/// One that holds less moves no more than a buffer does. The pipes of a user share 64 MiB
/// (`pipe-user-pages-soft`), beyond which the kernel gives small ones.
const PIPE_BYTES_MIN: usize = 64 << 10;

/// The most pipes of one worker at a time; what goes beyond them is copied. Two descriptors each.
const PIPES_MAX: usize = 64;

/// The most pipes kept for the next who needs one.
const PIPES_KEPT: usize = 16;

const FLAGS: SpliceFlags = SpliceFlags::MOVE.union(SpliceFlags::NONBLOCK);

/// The pipes of one worker.
#[derive(Debug, Default)]
pub struct Pipes(Mutex<Store>);

#[derive(Debug, Default)]
struct Store {
    kept: Vec<Ends>,
    /// Pipes that exist, lent ones included.
    made: usize,
    /// How many the system gives, where that has shown.
    given: Option<usize>,
}

/// Both ends of a pipe.
#[derive(Debug)]
struct Ends {
    read: OwnedFd,
    write: OwnedFd,
}

impl Ends {
    fn open() -> Option<Self> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).ok()?;
        let size = fcntl_setpipe_size(&write, PIPE_BYTES);
        let size = size.or_else(|_| fcntl_getpipe_size(&write)).ok()?;
        (size >= PIPE_BYTES_MIN).then_some(Self { read, write })
    }
}

impl Pipes {
    /// An empty pipe; `None` where all are in use, or the process has no descriptors left.
    pub fn lend(self: &Arc<Self>) -> Option<Pipe> {
        let ends = self.kept_or_made()?;
        Some(Pipe {
            owner: Arc::clone(self),
            ends: Some(ends),
            held: 0,
        })
    }

    /// Whether one was made and given back.
    #[cfg(test)]
    pub fn is_used(&self) -> bool {
        !self.store().kept.is_empty()
    }

    /// None is lent any more: the kernel moves nothing out of sockets.
    fn close(&self) {
        self.store().given = Some(0);
    }

    fn kept_or_made(&self) -> Option<Ends> {
        let mut store = self.store();
        let given = store.given.unwrap_or(PIPES_MAX);
        let kept = store.kept.pop().filter(|_| given > 0);
        if kept.is_some() || store.made >= given {
            return kept;
        }
        let made = Ends::open();
        match made {
            Some(_) => store.made += 1,
            // Not asked again with each piece of each body.
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
pub struct Pipe {
    owner: Arc<Pipes>,
    /// There until it is dropped.
    ends: Option<Ends>,
    held: usize,
}

impl Pipe {
    /// The bytes that are in it.
    pub const fn held(&self) -> usize {
        self.held
    }

    /// Moves into it, while it is empty, at most `most` bytes of what has arrived. Ready with 0: no
    /// more comes; with `None`: this kernel moves nothing, and no pipe will be lent again.
    ///
    /// # Errors
    /// The socket's.
    pub fn poll_fill(
        &mut self,
        from: &TcpStream,
        most: usize,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<usize>>> {
        debug_assert_eq!(
            self.held, 0,
            "a full pipe could not be told from a silent socket"
        );
        loop {
            ready!(from.poll_read_ready(cx))?;
            let moved = from.try_io(Interest::READABLE, || {
                let ends = self.ends()?;
                Ok(splice(from, None, &ends.write, None, most, FLAGS)?)
            });
            match moved {
                Ok(count) => {
                    self.held = count;
                    return Poll::Ready(Ok(Some(count)));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == ErrorKind::InvalidInput => {
                    self.owner.close();
                    return Poll::Ready(Ok(None));
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Moves some of what is in it to a socket.
    ///
    /// # Errors
    /// The socket's; `WriteZero` where it takes nothing any more.
    pub fn poll_pour(&mut self, to: &TcpStream, cx: &mut Context<'_>) -> Poll<Result<usize>> {
        loop {
            ready!(to.poll_write_ready(cx))?;
            let moved = to.try_io(Interest::WRITABLE, || {
                let ends = self.ends()?;
                Ok(splice(&ends.read, None, to, None, self.held, FLAGS)?)
            });
            match moved {
                Ok(0) => return Poll::Ready(Err(ErrorKind::WriteZero.into())),
                Ok(count) => {
                    self.held = self.held.saturating_sub(count);
                    return Poll::Ready(Ok(count));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    fn ends(&self) -> Result<&Ends> {
        self.ends
            .as_ref()
            .ok_or_else(|| ErrorKind::BrokenPipe.into())
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        let mut store = self.owner.store();
        match self.ends.take() {
            Some(ends) if self.held == 0 && store.kept.len() < PIPES_KEPT => store.kept.push(ends),
            Some(_) | None => store.made -= 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pipes_are_bounded_and_only_empty_ones_are_lent_again() {
        let pipes = Arc::new(Pipes::default());
        let mut all: Vec<_> = (0..PIPES_MAX).map(|_| pipes.lend().unwrap()).collect();
        assert!(pipes.lend().is_none(), "all are lent");
        all[0].held = 1;
        drop(all.remove(0));
        assert_eq!(pipes.store().kept.len(), 0);
        drop(all);
        assert_eq!(pipes.store().made, PIPES_KEPT);
        assert_eq!(pipes.store().kept.len(), PIPES_KEPT);
        assert!(pipes.lend().is_some());
    }
}
