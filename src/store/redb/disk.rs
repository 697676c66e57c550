//! A disk that fails when told to, and forgets what was not synced when the power is cut.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use redb::StorageBackend;

/// When calls begin to fail, and for how long.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    Never,
    /// The call after so many, and only that one.
    OnceAfter(usize),
    /// Every call after so many.
    After(usize),
}

#[derive(Debug)]
struct State {
    fault: Fault,
    kind: io::ErrorKind,
    failed: bool,
    /// What reads see.
    seen: Vec<u8>,
    /// What a power cut leaves for sure.
    synced: Vec<u8>,
    /// Written since: any of it may be on the disk as well.
    unsynced: Vec<Write>,
}

#[derive(Clone, Debug)]
enum Write {
    Bytes(usize, Vec<u8>),
    Length(usize),
}

/// One disk, however often it is opened.
#[derive(Clone, Debug)]
pub(super) struct Disk(Arc<Mutex<State>>);

impl Disk {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(State {
            fault: Fault::Never,
            kind: io::ErrorKind::Other,
            failed: false,
            seen: Vec::new(),
            synced: Vec::new(),
            unsynced: Vec::new(),
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub(super) fn set(&self, fault: Fault, kind: io::ErrorKind) {
        let mut state = self.state();
        (state.fault, state.kind) = (fault, kind);
    }

    /// Whether any call ever failed.
    pub(super) fn has_failed(&self) -> bool {
        self.state().failed
    }

    /// Cuts the power and gives it back: of what was not synced, `kept` decides write by write.
    pub(super) fn cut_power(&self, mut kept: impl FnMut() -> bool) {
        let mut state = self.state();
        let mut bytes = std::mem::take(&mut state.synced);
        for write in std::mem::take(&mut state.unsynced) {
            if kept() {
                write.apply(&mut bytes);
            }
        }
        state.seen.clone_from(&bytes);
        state.synced = bytes;
        state.fault = Fault::Never;
    }
}

impl Write {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Length(length) => bytes.resize(*length, 0),
            Self::Bytes(at, data) => {
                // Where a lost length would have made room.
                let end = at + data.len();
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                bytes[*at..end].copy_from_slice(data);
            }
        }
    }
}

impl State {
    /// Every call passes here first.
    fn call(&mut self) -> io::Result<()> {
        let fails = match &mut self.fault {
            Fault::Never => false,
            Fault::OnceAfter(left) | Fault::After(left) if *left > 0 => {
                *left -= 1;
                false
            }
            Fault::OnceAfter(_) => {
                self.fault = Fault::Never;
                true
            }
            Fault::After(_) => true,
        };
        if fails {
            self.failed = true;
            return Err(self.kind.into());
        }
        Ok(())
    }

    fn write(&mut self, write: Write) {
        write.apply(&mut self.seen);
        self.unsynced.push(write);
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        let mut state = self.state();
        state.call()?;
        Ok(state.seen.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut state = self.state();
        state.call()?;
        let at = usize::try_from(offset).unwrap();
        let bytes = state.seen.get(at..at + out.len());
        out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.state();
        state.call()?;
        state.write(Write::Length(usize::try_from(len).unwrap()));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.state();
        state.call()?;
        state.synced = state.seen.clone();
        state.unsynced.clear();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        state.call()?;
        let at = usize::try_from(offset).unwrap();
        state.write(Write::Bytes(at, data.to_vec()));
        Ok(())
    }
}
