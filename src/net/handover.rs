//! Listening sockets handed to the next process, so that an upgrade refuses no connection.
//!
//! The running process offers its sockets at a path. Its successor takes them before it binds,
//! serves on them, and says so; only then does the old one drain. If the successor fails before,
//! the old one simply goes on. Both processes share the sockets meanwhile, so no connection is
//! ever without someone to accept it.
//!
//! On the wire: [`MAGIC`] and a count, then one byte with one descriptor (`SCM_RIGHTS`) for each
//! socket; the answer is one byte, [`READY`]. A socket's address is asked of the socket. One
//! descriptor a message knows no limit on their number.

use std::io::{Error, ErrorKind, IoSlice, IoSliceMut, Read, Result, Write};
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};
use tokio::net::UnixListener;

use crate::net::listener::{Inheritable, Listeners};

/// The protocol and its version.
const MAGIC: [u8; 8] = *b"sluice/1";
const READY: u8 = b'!';

/// More sockets than any configuration has, fewer than exhaust a process.
const SOCKETS_MAX: u32 = 16 << 10;

/// One message between two processes of one machine.
const STEP: Duration = Duration::from_secs(5);

/// The place where a successor finds this process.
#[derive(Debug)]
pub struct Offer {
    listener: UnixListener,
    path: PathBuf,
}

impl Offer {
    /// Offers at `path`, in place of whoever did before. Only this user may connect.
    ///
    /// # Errors
    /// The directory is missing or not writable, or the path is longer than a socket's may be
    /// (107 bytes). Must be called within a runtime.
    pub fn open(path: &Path) -> Result<Self> {
        let fresh = path.with_extension("new");
        if let Err(error) = std::fs::remove_file(&fresh)
            && error.kind() != ErrorKind::NotFound
        {
            return Err(error);
        }
        let listener = UnixListener::bind(&fresh)?;
        std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o600))?;
        std::fs::rename(&fresh, path)?;
        Ok(Self {
            listener,
            path: path.to_owned(),
        })
    }

    /// Waits until a successor serves on the sockets of `listeners`. Before one gets them, `release`
    /// lets go of what only one process can have; a successor that is not ready within `patience`
    /// leaves everything as it was: `reclaim` takes that back, and the next is waited for.
    ///
    /// # Errors
    /// The offer itself has failed.
    pub async fn taken(
        &self,
        listeners: &Listeners,
        patience: Duration,
        release: impl AsyncFn(),
        reclaim: impl AsyncFn(),
    ) -> Result<()> {
        loop {
            let stream = self.listener.accept().await?.0.into_std()?;
            release().await;
            let sockets = listeners.inheritable();
            let given = tokio::task::spawn_blocking(move || give(stream, &sockets, patience)).await;
            match given.unwrap_or_else(|panic| Err(Error::other(panic))) {
                Ok(()) => return Ok(()),
                Err(error) => tracing::warn!(path = %self.path.display(), %error, "no handover"),
            }
            reclaim().await;
        }
    }
}

/// What a predecessor left: its sockets, and the line on which it waits to hear that they are
/// served.
#[derive(Debug)]
pub struct Legacy {
    stream: UnixStream,
    sockets: Vec<TcpListener>,
}

impl Legacy {
    /// Takes the sockets of the process that offers at `path`; `None` when there is none.
    ///
    /// # Errors
    /// There is one and it does not speak this protocol, belongs to another user, or is stuck.
    pub fn take(path: &Path) -> Result<Option<Self>> {
        let stream = match UnixStream::connect(path) {
            Ok(stream) => stream,
            Err(error) if is_absence(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        stream.set_read_timeout(Some(STEP))?;
        stream.set_write_timeout(Some(STEP))?;
        check_user(&stream)?;
        let sockets = receive_all(&stream)?;
        Ok(Some(Self { stream, sockets }))
    }

    pub const fn sockets(&self) -> usize {
        self.sockets.len()
    }

    /// Gives the sockets to `listeners`, for those that bind their addresses.
    ///
    /// # Errors
    /// What came is not a listening socket.
    pub fn pass_to(self, listeners: &Listeners) -> Result<Successor> {
        let sockets = self.sockets.into_iter();
        let sockets = sockets.map(|socket| Ok((socket.local_addr()?, socket)));
        listeners.inherit(sockets.collect::<Result<Vec<_>>>()?);
        Ok(Successor {
            stream: self.stream,
            listeners: listeners.clone(),
        })
    }
}

/// A process that is taking over.
#[derive(Debug)]
pub struct Successor {
    stream: UnixStream,
    listeners: Listeners,
}

impl Successor {
    /// Every listener of this process accepts: the predecessor may drain. Sockets that nobody
    /// bound are closed.
    ///
    /// # Errors
    /// The predecessor is gone.
    pub fn ready(mut self) -> Result<()> {
        for address in self.listeners.disown() {
            tracing::info!(%address, "no listener for an inherited socket: closed");
        }
        self.stream.write_all(&[READY])
    }
}

/// Nobody listens there.
fn is_absence(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::NotFound | ErrorKind::ConnectionRefused
    )
}

/// Sockets go to, and come from, this user and root only.
fn check_user(stream: &UnixStream) -> Result<()> {
    let other = rustix::net::sockopt::socket_peercred(stream)?.uid;
    if other.is_root() || other == rustix::process::geteuid() {
        return Ok(());
    }
    let why = format!(
        "the other side of the handover runs as user {}",
        other.as_raw()
    );
    Err(Error::new(ErrorKind::PermissionDenied, why))
}

fn give(mut stream: UnixStream, listeners: &[Inheritable], patience: Duration) -> Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_write_timeout(Some(STEP))?;
    stream.set_read_timeout(Some(patience))?;
    check_user(&stream)?;
    let sockets: Vec<_> = listeners
        .iter()
        .flat_map(|listener| &listener.sockets)
        .collect();
    let count = u32::try_from(sockets.len()).map_err(Error::other)?;
    stream.write_all(&MAGIC)?;
    stream.write_all(&count.to_be_bytes())?;
    for socket in sockets {
        send(&stream, socket.as_fd())?;
    }
    let mut answer = [0];
    stream.read_exact(&mut answer)?;
    if answer == [READY] {
        Ok(())
    } else {
        Err(ErrorKind::InvalidData.into())
    }
}

fn send(stream: &UnixStream, socket: BorrowedFd<'_>) -> Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut rights = SendAncillaryBuffer::new(&mut space);
    let sockets = [socket];
    rights.push(SendAncillaryMessage::ScmRights(&sockets));
    rustix::net::sendmsg(
        stream,
        &[IoSlice::new(&[1])],
        &mut rights,
        SendFlags::NOSIGNAL,
    )?;
    Ok(())
}

fn receive_all(mut stream: &UnixStream) -> Result<Vec<TcpListener>> {
    let (mut magic, mut count) = ([0; MAGIC.len()], [0; 4]);
    stream.read_exact(&mut magic)?;
    stream.read_exact(&mut count)?;
    let count = u32::from_be_bytes(count);
    if magic != MAGIC || count > SOCKETS_MAX {
        return Err(Error::new(
            ErrorKind::InvalidData,
            "not a handover of this version",
        ));
    }
    (0..count).map(|_| receive(stream)).collect()
}

fn receive(stream: &UnixStream) -> Result<TcpListener> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut rights = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let flags = RecvFlags::CMSG_CLOEXEC;
    rustix::net::recvmsg(
        stream,
        &mut [IoSliceMut::new(&mut byte)],
        &mut rights,
        flags,
    )?;
    let socket = rights.drain().find_map(first_right);
    let socket = socket.ok_or_else(|| Error::new(ErrorKind::InvalidData, "a socket is missing"))?;
    Ok(TcpListener::from(socket))
}

fn first_right(message: RecvAncillaryMessage<'_>) -> Option<OwnedFd> {
    match message {
        RecvAncillaryMessage::ScmRights(mut sockets) => sockets.next(),
        _ => None,
    }
}
