//! Joins connections of bytes to what they share with requests: metrics and the access log.

use std::sync::Arc;

use super::{Fault, Site};
use crate::l4;
use crate::l4::{Ended, Record, SessionLog, Tls};
use crate::metrics::register_sessions;
use crate::model::{Entity, Timestamp};
use crate::proxy::access_log::{AccessLog, Session};

impl Site<'_> {
    /// What all workers share for connections of bytes.
    pub(super) fn sessions(&self, log: Option<AccessLog>) -> Result<l4::Shared, Fault> {
        let current = Arc::clone(&self.current);
        let busy = move || current.load().busy_streams();
        register_sessions(&self.metrics, busy).map_err(Fault::machine)?;
        let stats = l4::Stats::register(&self.metrics).map_err(Fault::machine)?;
        let written = SessionLog::start(self.settings.data.join(LOGS), &stats);
        Ok(l4::Shared {
            current: Arc::clone(&self.current),
            stats,
            board: self.board.clone(),
            log: Some(written.map_err(Fault::machine)?),
            retries_max: self.settings.proxy.retries_max,
            record: log.map(|log| Arc::new(Lines(log)) as Arc<dyn Record>),
        })
    }
}

/// The folder of the data directory that filters write below.
const LOGS: &str = "logs";

/// One line in the access log for each session.
struct Lines(AccessLog);

impl Record for Lines {
    fn ended(&self, session: &Ended<'_>) {
        let arrival = session.arrival;
        let label = |entity: Option<&Entity>| entity.map(Entity::label);
        let (route, service) = (label(session.route), label(session.service));
        let endpoint = session.endpoint.map(|endpoint| endpoint.to_string());
        self.0.write_session(&Session {
            time: Timestamp::now(),
            client: arrival.client.ip(),
            protocol: match session.tls {
                Tls::None => "tcp",
                Tls::Opened => "tls",
                Tls::Passed => "tls_passthrough",
            },
            server_name: arrival.server_name.as_deref(),
            listener: &arrival.entrance,
            bytes_in: session.bytes_in,
            bytes_out: session.bytes_out,
            duration: session.duration,
            connect_duration: session.connect_duration,
            route: route.as_deref(),
            service: service.as_deref(),
            endpoint: endpoint.as_deref(),
            attempts: session.attempts,
            cause: session.cause.label(),
            session: session.id,
            user: session.user,
        });
    }
}
