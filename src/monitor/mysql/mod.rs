//! *How is a database server asked?* The few words of MySQL's client protocol that a monitor needs:
//! log in, ask in text, read rows.
//!
//! Whatever a server sends is bounded in size, and every call in time by its caller. Nothing here
//! panics on what comes in, which the client libraries of the field do not promise.

mod login;
mod packet;
mod password;
mod rows;

use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncWrite, BufReader};
use tokio::net::TcpStream;

pub(super) use rows::{Row, Rows};

use crate::model::Secret;
use login::log_in;
use packet::{Packets, Reply};

/// Why a server does not say what it was asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// Nothing more is to be read from such a connection.
    #[error("it does not speak MySQL's protocol: {0}")]
    Protocol(&'static str),
    #[error("its login is not supported: {0}")]
    Login(String),
    /// Its own refusal; the connection goes on where it was a question's.
    #[error("error {code}: {message}")]
    Server { code: u16, message: String },
}

/// `ER_DBACCESS_DENIED_ERROR`, `ER_ACCESS_DENIED_ERROR`, `ER_ACCESS_DENIED_NO_PASSWORD_ERROR`.
const DENIED: [u16; 3] = [1044, 1045, 1698];

impl Error {
    /// Whether the server refuses the user's name or password.
    pub(super) fn is_denied(&self) -> bool {
        match self {
            Self::Server { code, .. } => DENIED.contains(code),
            Self::Io(_) | Self::Protocol(_) | Self::Login(_) => false,
        }
    }

    /// Whether the server has answered, in its own way, and can be asked on.
    pub(super) const fn is_answer(&self) -> bool {
        match self {
            Self::Server { .. } => true,
            Self::Io(_) | Self::Protocol(_) | Self::Login(_) => false,
        }
    }
}

/// A connection that is logged in. A call that is dropped half way leaves it unusable.
#[derive(Debug)]
pub(super) struct Session<S = TcpStream> {
    packets: Packets<BufReader<S>>,
    version: String,
}

impl Session {
    /// Connects to the first address that answers, and logs in.
    ///
    /// # Errors
    /// [`Error`]; the last one where no address answers.
    pub(super) async fn connect(
        addresses: &[SocketAddr],
        user: &str,
        password: &Secret,
    ) -> Result<Self, Error> {
        let stream = TcpStream::connect(addresses).await?;
        stream.set_nodelay(true)?;
        Self::begin(stream, user, password).await
    }

    pub(super) fn peer(&self) -> Option<SocketAddr> {
        self.packets.stream().get_ref().peer_addr().ok()
    }
}

/// Of a read from the socket.
const BUFFER: usize = 4096;

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    /// Logs in.
    pub(super) async fn begin(stream: S, user: &str, password: &Secret) -> Result<Self, Error> {
        let mut packets = Packets::new(BufReader::with_capacity(BUFFER, stream));
        let version = log_in(&mut packets, user, password).await?;
        Ok(Self { packets, version })
    }

    /// As the server's greeting has it, without the prefix that MariaDB hides its own behind.
    pub(super) fn version(&self) -> &str {
        self.version.strip_prefix("5.5.5-").unwrap_or(&self.version)
    }

    /// Asks in text (`COM_QUERY`).
    ///
    /// # Errors
    /// [`Error`]; after any but [`Error::Server`] the connection is of no use.
    pub(super) async fn ask(&mut self, question: &str) -> Result<Rows, Error> {
        const COM_QUERY: u8 = 3;
        self.packets.begin();
        let question = [&[COM_QUERY], question.as_bytes()].concat();
        self.packets.write(&question).await?;
        let first = self.packets.read().await?;
        match packet::reply(&first)? {
            Reply::Ok => Ok(Rows::default()),
            Reply::Other => rows::read(&mut self.packets, &first).await,
        }
    }
}

#[cfg(test)]
mod tests;
