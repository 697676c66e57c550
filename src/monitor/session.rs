//! A connection to a database server, as a monitor needs it: log in, ask in text, read rows.
//!
//! The protocol is `mysql_async`'s. Its caller bounds every call in time; what is kept of an answer is
//! bounded here.

use std::net::SocketAddr;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, OptsBuilder, Value};

use crate::model::Secret;

/// The longest packet that is read.
const PACKET_MAX: usize = 1 << 20;

/// The most columns of an answer.
const COLUMNS_MAX: usize = 512;

/// The most rows of an answer.
const ROWS_MAX: usize = 1024;

/// The longest version that is kept, in characters.
const VERSION_MAX: usize = 256;

/// `ER_DBACCESS_DENIED_ERROR`, `ER_ACCESS_DENIED_ERROR`, `ER_ACCESS_DENIED_NO_PASSWORD_ERROR`.
const DENIED: [u16; 3] = [1044, 1045, 1698];

/// Why a server does not say what it was asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The connection is of no use any more.
    #[error("{0}")]
    Lost(String),
    /// Its own refusal; the connection goes on where it was a question's.
    #[error("error {code}: {message}")]
    Server { code: u16, message: String },
}

impl Error {
    /// Whether the server refuses the user's name or password.
    pub(super) fn is_denied(&self) -> bool {
        match self {
            Self::Server { code, .. } => DENIED.contains(code),
            Self::Lost(_) => false,
        }
    }

    /// Whether the server has answered, in its own way, and can be asked on.
    pub(super) const fn is_answer(&self) -> bool {
        matches!(self, Self::Server { .. })
    }
}

impl From<mysql_async::Error> for Error {
    fn from(error: mysql_async::Error) -> Self {
        match error {
            mysql_async::Error::Server(error) => Self::Server {
                code: error.code,
                message: error.message,
            },
            error => Self::Lost(error.to_string()),
        }
    }
}

/// A connection that is logged in. A call that is dropped half way leaves it unusable.
#[derive(Debug)]
pub(super) struct Session {
    conn: Conn,
    peer: SocketAddr,
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
        let mut last = Error::Lost("its name has no address".to_owned());
        for address in addresses {
            match Self::log_in(*address, user, password).await {
                Err(error) if !error.is_answer() => last = error,
                answered => return answered,
            }
        }
        Err(last)
    }

    async fn log_in(peer: SocketAddr, user: &str, password: &Secret) -> Result<Self, Error> {
        let options = OptsBuilder::default()
            .ip_or_hostname(peer.ip().to_string())
            .tcp_port(peer.port())
            .prefer_socket(false)
            .user(Some(user))
            .pass(Some(password.reveal()))
            .stmt_cache_size(0)
            // What is told here is not asked for.
            .max_allowed_packet(Some(PACKET_MAX))
            .wait_timeout(Some(0));
        let mut session = Self {
            conn: Conn::new(options).await?,
            peer,
            version: String::new(),
        };
        let version = session.ask("SELECT @@version").await?;
        let version = version.first().and_then(|row| row.at(0)).unwrap_or("");
        session.version = version.chars().take(VERSION_MAX).collect();
        Ok(session)
    }

    pub(super) const fn peer(&self) -> SocketAddr {
        self.peer
    }

    pub(super) fn version(&self) -> &str {
        &self.version
    }

    /// Asks in text.
    ///
    /// # Errors
    /// [`Error`]; after any but [`Error::Server`] the connection is of no use.
    pub(super) async fn ask(&mut self, question: &str) -> Result<Rows, Error> {
        let mut answer = self.conn.query_iter(question).await?;
        let columns = answer.columns();
        let columns = columns.iter().flat_map(|columns| columns.iter());
        let mut rows = Rows {
            columns: columns
                .map(|column| column.name_str().into_owned())
                .collect(),
            rows: Vec::new(),
        };
        while let Some(row) = answer.next().await? {
            if rows.rows.len() == ROWS_MAX || rows.columns.len() > COLUMNS_MAX {
                let why = "it answers more than a monitor asks for";
                return Err(Error::Lost(why.to_owned()));
            }
            rows.rows.push(row.unwrap().into_iter().map(text).collect());
        }
        Ok(rows)
    }
}

/// What the text protocol gives: text, or nothing.
fn text(value: Value) -> Option<String> {
    match value {
        Value::Bytes(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
        Value::NULL => None,
        Value::Int(number) => Some(number.to_string()),
        Value::UInt(number) => Some(number.to_string()),
        Value::Float(_) | Value::Double(_) | Value::Date(..) | Value::Time(..) => None,
    }
}

/// An answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Rows {
    columns: Vec<String>,
    rows: Vec<Vec<Option<String>>>,
}

impl Rows {
    pub(super) fn iter(&self) -> impl Iterator<Item = Row<'_>> {
        let columns = &self.columns;
        self.rows.iter().map(move |values| Row { columns, values })
    }

    pub(super) fn first(&self) -> Option<Row<'_>> {
        self.iter().next()
    }

    #[cfg(test)]
    pub(super) fn of(columns: &[&str], rows: &[&[Option<&str>]]) -> Self {
        let row =
            |row: &&[Option<&str>]| row.iter().map(|value| value.map(str::to_owned)).collect();
        Self {
            columns: columns.iter().map(|&name| name.to_owned()).collect(),
            rows: rows.iter().map(row).collect(),
        }
    }
}

/// One row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row<'a> {
    columns: &'a [String],
    values: &'a [Option<String>],
}

impl<'a> Row<'a> {
    /// The value in the column of that name, in any case; `None` where there is none.
    pub(super) fn text(self, name: &str) -> Option<&'a str> {
        let named = |column: &String| column.eq_ignore_ascii_case(name);
        self.at(self.columns.iter().position(named)?)
    }

    pub(super) fn at(self, column: usize) -> Option<&'a str> {
        self.values.get(column)?.as_deref()
    }
}
