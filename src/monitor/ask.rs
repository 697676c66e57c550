//! Asking one server, over a connection that is kept from round to round.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::found::{Dialect, Facts, Galera, Replication, connections};
use super::mysql::{Error, Rows, Session};
use crate::model::{MonitorModule, Secret};

/// How a server is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Manner {
    pub(super) module: MonitorModule,
    pub(super) user: Box<str>,
    pub(super) password: Secret,
    /// For one attempt to connect and log in.
    pub(super) connect_timeout: Duration,
    pub(super) connect_attempts: u8,
    /// For one answer.
    pub(super) read_timeout: Duration,
}

/// What came of asking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Up {
        version: Arc<str>,
        /// What was found, or why it would not say.
        facts: Result<Facts, Arc<str>>,
    },
    Down {
        why: Arc<str>,
        /// It refuses the monitor's user or password.
        denied: bool,
    },
}

/// One server's connection.
#[derive(Debug, Default)]
pub(super) struct Link {
    session: Option<Session>,
    made_for: Option<Manner>,
}

impl Link {
    /// Asks once. Where the kept connection turns out to be of no use, or belongs to another address
    /// or user, there is a new one.
    pub(super) async fn ask(&mut self, addresses: &[SocketAddr], manner: &Manner) -> Answer {
        if let Some(answer) = self.ask_kept(addresses, manner).await {
            return answer;
        }
        match self.ask_anew(addresses, manner).await {
            Ok(answer) => answer,
            Err(error) => Answer::Down {
                denied: error.is_denied(),
                why: error.to_string().into(),
            },
        }
    }

    async fn ask_kept(&mut self, addresses: &[SocketAddr], manner: &Manner) -> Option<Answer> {
        let mut session = self.session.take()?;
        let is_same = self.made_for.as_ref() == Some(manner);
        let peer = session.peer()?;
        if !is_same || !addresses.contains(&peer) {
            return None;
        }
        let answer = question(&mut session, manner).await.ok()?;
        self.session = Some(session);
        Some(answer)
    }

    async fn ask_anew(
        &mut self,
        addresses: &[SocketAddr],
        manner: &Manner,
    ) -> Result<Answer, Error> {
        let mut session = connect(addresses, manner).await?;
        let answer = question(&mut session, manner).await?;
        self.session = Some(session);
        self.made_for = Some(manner.clone());
        Ok(answer)
    }
}

async fn connect(addresses: &[SocketAddr], manner: &Manner) -> Result<Session, Error> {
    let mut attempt = 1;
    loop {
        let session = Session::connect(addresses, &manner.user, &manner.password);
        match within(manner.connect_timeout, session).await {
            Ok(session) => return Ok(session),
            // A password that is wrong is not tried again.
            Err(error) if error.is_denied() || attempt >= manner.connect_attempts => {
                return Err(error);
            }
            Err(_) => attempt += 1,
        }
    }
}

async fn within<T>(
    time: Duration,
    asked: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    match timeout(time, asked).await {
        Ok(answer) => answer,
        Err(_) => {
            let why = format!("no answer within {} ms", time.as_millis());
            Err(Error::Io(std::io::Error::new(
                std::io::ErrorKind::TimedOut,
                why,
            )))
        }
    }
}

/// Asks all that the module wants to know. An error is one of the connection.
async fn question(session: &mut Session, manner: &Manner) -> Result<Answer, Error> {
    let version: Arc<str> = session.version().into();
    let found = match manner.module {
        MonitorModule::MariadbMon => replication(session, manner).await,
        MonitorModule::GaleraMon => galera(session, manner).await,
    };
    let facts = match found {
        Ok(facts) => Ok(facts),
        Err(error) if error.is_answer() => Err(error.to_string().into()),
        Err(error) => return Err(error),
    };
    Ok(Answer::Up { version, facts })
}

async fn ask(session: &mut Session, manner: &Manner, question: &str) -> Result<Rows, Error> {
    within(manner.read_timeout, session.ask(question)).await
}

async fn replication(session: &mut Session, manner: &Manner) -> Result<Facts, Error> {
    let dialect = Dialect::of(session.version());
    let variables = ask(session, manner, dialect.variables()).await?;
    let slaves = ask(session, manner, dialect.connections()).await?;
    let row = variables.first();
    let found = row.and_then(|row| Replication::read(row, connections(&slaves)));
    let found = found.ok_or(Error::Protocol("its variables make no sense"))?;
    Ok(Facts::Replication(found))
}

async fn galera(session: &mut Session, manner: &Manner) -> Result<Facts, Error> {
    let variables = "SHOW GLOBAL VARIABLES WHERE Variable_name IN \
        ('wsrep_desync', 'wsrep_reject_queries', 'wsrep_sst_method')";
    let variables = ask(session, manner, variables).await?;
    let status = ask(session, manner, "SHOW GLOBAL STATUS LIKE 'wsrep%'").await?;
    Ok(Facts::Galera(Galera::read(&[variables, status])))
}
