//! The line about a connection of bytes.

use std::net::IpAddr;
use std::time::Duration;

use super::line::{Entry, Format, address, json_key, json_number, json_text, seconds, text, time};
use crate::model::Timestamp;

/// The facts about one connection of bytes.
#[derive(Clone, Copy, Debug)]
pub struct Session<'a> {
    /// When it ended.
    pub time: Timestamp,
    pub client: IpAddr,
    /// `tcp`, `tls` or `tls_passthrough`.
    pub protocol: &'static str,
    /// What the client asked for in TLS.
    pub server_name: Option<&'a str>,
    /// The listener's name.
    pub listener: &'a str,
    /// From the client to the endpoint.
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub duration: Duration,
    /// From the first attempt to the connection.
    pub connect_duration: Option<Duration>,
    pub route: Option<&'a str>,
    pub service: Option<&'a str>,
    /// The address of the endpoint that was tried last.
    pub endpoint: Option<&'a str>,
    pub attempts: u32,
    /// Why it ended.
    pub cause: &'static str,
    /// As it was shown while it was open. Only in JSON, as is the next.
    pub session: Option<u64>,
    /// Who the client said it is.
    pub user: Option<&'a str>,
}

impl Format {
    /// Appends one line with its line feed.
    pub(super) fn render_session(self, session: &Session<'_>, out: &mut Vec<u8>) {
        match self {
            Self::Json => json(session, out),
            Self::Text => text(&in_columns(session), out),
        }
        out.push(b'\n');
    }
}

/// In the columns of requests, empty where only they have something.
fn in_columns<'a>(session: &Session<'a>) -> Entry<'a> {
    Entry {
        time: session.time,
        client: session.client,
        method: "",
        host: session.server_name.unwrap_or_default().as_bytes(),
        path: b"",
        protocol: session.protocol,
        tls: None,
        listener: session.listener,
        status: 0,
        bytes_in: session.bytes_in,
        bytes_out: session.bytes_out,
        duration: session.duration,
        upstream_duration: session.connect_duration,
        route: session.route,
        service: session.service,
        endpoint: session.endpoint,
        attempts: session.attempts,
        cause: Some(session.cause),
        request_id: "",
    }
}

fn json(session: &Session<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"time\":\"");
    time(session.time, out);
    out.extend_from_slice(b"\",\"client\":\"");
    address(session.client, out);
    out.push(b'"');
    json_text("protocol", Some(session.protocol.as_bytes()), out);
    json_text("server_name", session.server_name.map(str::as_bytes), out);
    json_text("listener", Some(session.listener.as_bytes()), out);
    json_number("bytes_in", session.bytes_in, out);
    json_number("bytes_out", session.bytes_out, out);
    json_key("duration_seconds", out);
    seconds(session.duration, out);
    if let Some(duration) = session.connect_duration {
        json_key("connect_duration_seconds", out);
        seconds(duration, out);
    }
    json_text("route", session.route.map(str::as_bytes), out);
    json_text("service", session.service.map(str::as_bytes), out);
    json_text("endpoint", session.endpoint.map(str::as_bytes), out);
    json_number("attempts", u64::from(session.attempts), out);
    json_text("cause", Some(session.cause.as_bytes()), out);
    if let Some(id) = session.session {
        json_number("session", id, out);
    }
    json_text("user", session.user.map(str::as_bytes), out);
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session() -> Session<'static> {
        Session {
            time: Timestamp(1_795_528_826_007),
            client: IpAddr::from([192, 0, 2, 1]),
            protocol: "tls_passthrough",
            server_name: Some("db.test"),
            listener: "stream_tls",
            bytes_in: 3,
            bytes_out: 5,
            duration: Duration::from_millis(1500),
            connect_duration: Some(Duration::from_millis(2)),
            route: Some("r"),
            service: Some("s"),
            endpoint: Some("10.0.0.1:3306"),
            attempts: 2,
            cause: "closed",
            session: Some(7),
            user: Some("maxuser"),
        }
    }

    fn render(format: Format) -> String {
        let mut out = Vec::new();
        format.render_session(&session(), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn json_names_every_fact() {
        let line: serde_json::Value = serde_json::from_str(&render(Format::Json)).unwrap();
        let expected = serde_json::json!({
            "time": line["time"], "client": "192.0.2.1", "protocol": "tls_passthrough",
            "server_name": "db.test", "listener": "stream_tls", "bytes_in": 3, "bytes_out": 5,
            "duration_seconds": 1.5, "connect_duration_seconds": 0.002, "route": "r",
            "service": "s", "endpoint": "10.0.0.1:3306", "attempts": 2, "cause": "closed",
            "session": 7, "user": "maxuser",
        });
        assert_eq!(line, expected);
    }

    #[test]
    fn text_has_the_columns_of_requests() {
        let line = render(Format::Text);
        let expected = "192.0.2.1 \"\" \"db.test\" \"\" tls_passthrough 0 3 5 2 1.500000 0.002000 \
                        \"r\" \"s\" \"10.0.0.1:3306\" \"closed\" - \"stream_tls\" \"\"\n";
        assert_eq!(line.split_once(' ').unwrap().1, expected);
    }
}
