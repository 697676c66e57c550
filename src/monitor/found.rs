//! What a server said, and what follows from the words it said it in.

use std::fmt;
use std::sync::Arc;

use super::mysql::{Row, Rows};

/// The state of the thread that fetches from a master.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IoThread {
    Yes,
    Connecting,
    #[default]
    No,
}

impl IoThread {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Yes => "Yes",
            Self::Connecting => "Connecting",
            Self::No => "No",
        }
    }

    fn read(text: &str) -> Self {
        match text {
            "Yes" => Self::Yes,
            // MariaDB has "Preparing" while it registers with its master.
            "Connecting" | "Preparing" => Self::Connecting,
            _ => Self::No,
        }
    }
}

impl fmt::Display for IoThread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where a server replicates from: a row of `SHOW ALL SLAVES STATUS`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SlaveConnection {
    pub connection_name: Box<str>,
    pub master_host: Box<str>,
    pub master_port: u16,
    /// 0 where it never was connected since the server started.
    pub master_server_id: i64,
    pub slave_io_running: IoThread,
    pub slave_sql_running: bool,
    pub seconds_behind_master: Option<u64>,
    pub last_io_error: Box<str>,
    pub last_sql_error: Box<str>,
    pub gtid_io_pos: Option<Arc<str>>,
}

/// The most of a text that is kept, in characters.
const TEXT_MAX: usize = 1024;

impl SlaveConnection {
    /// A row, in the words of MariaDB or in those of MySQL since 8.0.22.
    fn read(row: Row<'_>) -> Self {
        let either = |old: &str, new: &str| row.text(old).or_else(|| row.text(new));
        let kept = |text: Option<&str>| -> Box<str> {
            text.unwrap_or_default().chars().take(TEXT_MAX).collect()
        };
        let parsed = |text: Option<&str>| text?.parse().ok();
        let io = either("Slave_IO_Running", "Replica_IO_Running");
        Self {
            connection_name: kept(either("Connection_name", "Channel_Name")),
            master_host: kept(either("Master_Host", "Source_Host")),
            master_port: parsed(either("Master_Port", "Source_Port"))
                .and_then(|port: u64| u16::try_from(port).ok())
                .unwrap_or(0),
            master_server_id: parsed(either("Master_Server_Id", "Source_Server_Id"))
                .and_then(|id: u64| i64::try_from(id).ok())
                .unwrap_or(0),
            slave_io_running: io.map(IoThread::read).unwrap_or_default(),
            slave_sql_running: either("Slave_SQL_Running", "Replica_SQL_Running") == Some("Yes"),
            seconds_behind_master: parsed(either("Seconds_Behind_Master", "Seconds_Behind_Source")),
            last_io_error: kept(row.text("Last_IO_Error")),
            last_sql_error: kept(row.text("Last_SQL_Error")),
            gtid_io_pos: gtid(row.text("Gtid_IO_Pos")),
        }
    }
}

/// The most connections of one server that are looked at.
pub(super) const CONNECTIONS_MAX: usize = 64;

pub(super) fn connections(rows: &Rows) -> Vec<SlaveConnection> {
    let rows = rows.iter().take(CONNECTIONS_MAX);
    rows.map(SlaveConnection::read).collect()
}

fn gtid(text: Option<&str>) -> Option<Arc<str>> {
    text.filter(|text| !text.is_empty()).map(Arc::from)
}

/// What a server of a primary and its replicas says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Replication {
    pub(super) server_id: i64,
    pub(super) read_only: bool,
    pub(super) gtid_current_pos: Option<Arc<str>>,
    pub(super) gtid_binlog_pos: Option<Arc<str>>,
    pub(super) connections: Vec<SlaveConnection>,
}

impl Replication {
    /// `variables` is the one row that [`Dialect::variables`] asks for.
    pub(super) fn read(variables: Row<'_>, connections: Vec<SlaveConnection>) -> Option<Self> {
        Some(Self {
            server_id: variables.at(0)?.parse().ok()?,
            // MariaDB since 12.0 has words for it, of which only these mean no.
            read_only: !matches!(variables.at(1)?, "0" | "OFF"),
            gtid_current_pos: gtid(variables.at(2)),
            gtid_binlog_pos: gtid(variables.at(3)),
            connections,
        })
    }
}

/// What a node of a Galera cluster says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Galera {
    /// `wsrep_local_state`: 4 is synced, 2 is a donor.
    pub(super) local_state: Option<u8>,
    pub(super) local_index: Option<i64>,
    pub(super) ready: bool,
    pub(super) desynced: bool,
    pub(super) rejects_queries: bool,
    /// Whether a donor goes on serving while it gives its state away.
    pub(super) donates_online: bool,
}

impl Galera {
    /// From rows of names and values: `wsrep` variables, and status.
    pub(super) fn read(answers: &[Rows]) -> Self {
        let mut found = Self {
            ready: true,
            ..Self::default()
        };
        for row in answers.iter().flat_map(Rows::iter) {
            if let (Some(name), Some(value)) = (row.at(0), row.at(1)) {
                found.take(&name.to_ascii_lowercase(), value);
            }
        }
        found
    }

    fn take(&mut self, name: &str, value: &str) {
        let is_on = value.eq_ignore_ascii_case("ON") || value == "1";
        match name {
            "wsrep_local_state" => self.local_state = value.parse().ok(),
            "wsrep_local_index" => self.local_index = index(value),
            "wsrep_ready" => self.ready = is_on,
            "wsrep_desync" => self.desynced = is_on,
            "wsrep_reject_queries" => self.rejects_queries = !value.eq_ignore_ascii_case("NONE"),
            "wsrep_sst_method" => {
                let online = ["mariabackup", "xtrabackup", "clone"];
                self.donates_online = online.iter().any(|method| value.starts_with(method));
            }
            _ => {}
        }
    }
}

/// A node outside of its cluster has the largest number there is.
fn index(value: &str) -> Option<i64> {
    let number: u64 = value.parse().ok()?;
    i64::try_from(number).ok()
}

/// What a server said in answer to its monitor's questions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Facts {
    Replication(Replication),
    Galera(Galera),
}

/// In which words a server has to be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// MariaDB since 10.0.
    MariaDb,
    /// MySQL before 8.0.22, and MariaDB before 10.0.
    Old,
    /// MySQL since 8.0.22.
    MySql,
}

impl Dialect {
    /// By the version that the greeting has.
    pub(super) fn of(version: &str) -> Self {
        let mut numbers = version
            .split(|c: char| !c.is_ascii_digit())
            .map(|digits| digits.parse::<u32>().unwrap_or(0));
        let mut number = || numbers.next().unwrap_or(0);
        let version_of = (number(), number(), number());
        let is_mariadb = version.to_ascii_lowercase().contains("mariadb");
        match (is_mariadb, version_of) {
            (true, (10.., ..)) => Self::MariaDb,
            (false, (8, 0, 22..) | (8, 1.., _) | (9.., ..)) => Self::MySql,
            (true | false, _) => Self::Old,
        }
    }

    /// One row: id, whether it takes writes, and positions.
    pub(super) const fn variables(self) -> &'static str {
        match self {
            Self::MariaDb => {
                "SELECT @@server_id, @@read_only, @@gtid_current_pos, @@gtid_binlog_pos"
            }
            Self::Old | Self::MySql => "SELECT @@server_id, @@read_only",
        }
    }

    pub(super) const fn connections(self) -> &'static str {
        match self {
            Self::MariaDb => "SHOW ALL SLAVES STATUS",
            Self::Old => "SHOW SLAVE STATUS",
            Self::MySql => "SHOW REPLICA STATUS",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_asked_in_the_words_of_its_version() {
        for (version, dialect) in [
            ("10.11.19-MariaDB-0+deb12u1", Dialect::MariaDb),
            ("11.4.2-MariaDB-log", Dialect::MariaDb),
            ("5.5.68-MariaDB", Dialect::Old),
            ("5.7.44-log", Dialect::Old),
            ("8.0.21", Dialect::Old),
            ("8.0.22-0ubuntu0.20.04.2", Dialect::MySql),
            ("8.4.0", Dialect::MySql),
            ("9.1.0", Dialect::MySql),
            ("", Dialect::Old),
            ("99999999999999999999", Dialect::Old),
        ] {
            assert_eq!(Dialect::of(version), dialect, "{version}");
        }
    }

    #[test]
    fn a_connection_is_read_in_the_words_of_either_product() {
        let values = [
            Some("db1"),
            Some("3306"),
            Some("Yes"),
            Some("Yes"),
            Some("7"),
            Some("3000"),
        ];
        let mariadb = [
            "Master_Host",
            "Master_Port",
            "Slave_IO_Running",
            "Slave_SQL_Running",
            "Seconds_Behind_Master",
            "Master_Server_Id",
        ];
        let mysql = [
            "Source_Host",
            "Source_Port",
            "Replica_IO_Running",
            "Replica_SQL_Running",
            "Seconds_Behind_Source",
            "Source_Server_Id",
        ];
        let expected = SlaveConnection {
            master_host: "db1".into(),
            master_port: 3306,
            master_server_id: 3000,
            slave_io_running: IoThread::Yes,
            slave_sql_running: true,
            seconds_behind_master: Some(7),
            ..SlaveConnection::default()
        };
        for columns in [mariadb, mysql] {
            let rows = Rows::of(&columns, &[&values]);
            assert_eq!(connections(&rows), std::slice::from_ref(&expected));
        }
    }

    #[test]
    fn what_makes_no_sense_is_not_taken_for_something() {
        let columns = [
            "Master_Host",
            "Master_Port",
            "Slave_IO_Running",
            "Seconds_Behind_Master",
        ];
        let values = [None, Some("70000"), Some("Perhaps"), None];
        let rows = Rows::of(&columns, &[&values]);
        assert_eq!(connections(&rows), [SlaveConnection::default()]);
    }

    #[test]
    fn the_connections_of_one_server_are_bounded() {
        let one: &[Option<&str>] = &[Some("a")];
        let rows = Rows::of(&["Master_Host"], &[one; CONNECTIONS_MAX + 1]);
        assert_eq!(connections(&rows).len(), CONNECTIONS_MAX);
    }

    #[test]
    fn read_only_has_more_words_than_two() {
        for (word, read_only) in [
            ("0", false),
            ("OFF", false),
            ("1", true),
            ("ON", true),
            ("NO_LOCK_NO_ADMIN", true),
        ] {
            let values = [Some("1"), Some(word)];
            let rows = Rows::of(&["@@server_id", "@@read_only"], &[&values]);
            let found = Replication::read(rows.first().unwrap(), Vec::new()).unwrap();
            assert_eq!(found.read_only, read_only, "{word}");
        }
    }

    #[test]
    fn a_node_is_read_from_its_variables() {
        let rows = [
            ("wsrep_local_state", "4"),
            ("WSREP_LOCAL_INDEX", "18446744073709551615"),
            ("wsrep_ready", "OFF"),
            ("wsrep_desync", "ON"),
            ("wsrep_reject_queries", "ALL"),
            ("wsrep_sst_method", "mariabackup"),
        ]
        .map(|(name, value)| Rows::of(&["Variable_name", "Value"], &[&[Some(name), Some(value)]]));
        let expected = Galera {
            local_state: Some(4),
            local_index: None,
            ready: false,
            desynced: true,
            rejects_queries: true,
            donates_online: true,
        };
        assert_eq!(Galera::read(&rows), expected);
    }
}
