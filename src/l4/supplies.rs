//! What carries bytes from one side to the other: buffers, and pipes where the kernel may do it. Both
//! are held only while they hold something, so that a session that is silent costs neither.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::pipe::Pipes;

/// The size of a buffer: what a record of TLS holds.
pub(super) const BUFFER_BYTES: usize = 16 << 10;

/// The most buffers kept for the next session.
const BUFFERS_KEPT: usize = 64;

/// The buffers and pipes of one worker.
#[derive(Debug, Default)]
pub(super) struct Supplies {
    buffers: Mutex<Vec<Box<[u8]>>>,
    pub(super) pipes: Arc<Pipes>,
}

impl Supplies {
    pub(super) const fn new(pipes: Arc<Pipes>) -> Self {
        Self {
            buffers: Mutex::new(Vec::new()),
            pipes,
        }
    }

    pub(super) fn buffer(&self) -> Box<[u8]> {
        let kept = self.buffers().pop();
        kept.unwrap_or_else(|| vec![0; BUFFER_BYTES].into())
    }

    pub(super) fn put_buffer(&self, buffer: Box<[u8]>) {
        let mut buffers = self.buffers();
        if buffers.len() < BUFFERS_KEPT {
            buffers.push(buffer);
        }
    }

    fn buffers(&self) -> MutexGuard<'_, Vec<Box<[u8]>>> {
        // No code panics while holding it.
        self.buffers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_come_back_up_to_a_bound() {
        let supplies = Supplies::default();
        let all: Vec<_> = (0..BUFFERS_KEPT + 9).map(|_| supplies.buffer()).collect();
        all.into_iter().for_each(|one| supplies.put_buffer(one));
        assert_eq!(supplies.buffers().len(), BUFFERS_KEPT);
        assert_eq!(supplies.buffer().len(), BUFFER_BYTES);
    }
}
