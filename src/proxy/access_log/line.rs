//! The line itself: JSON or text, with everything a client can choose escaped.

use std::io::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use crate::model::Timestamp;

/// The most of one text that a line shows, in bytes; the rest is cut off and marked by `…`.
pub const FIELD_BYTES_MAX: usize = 4096;

/// How lines look. Chosen once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line.
    #[default]
    Json,
    /// Space-separated, texts in quotes, `-` for what is not there.
    Text,
}

/// The facts about one request. Texts are bytes as the client sent them.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// When the request's head had arrived.
    pub time: Timestamp,
    pub client: IpAddr,
    pub method: &'a str,
    pub host: &'a [u8],
    /// With the query.
    pub path: &'a [u8],
    /// `HTTP/1.1`.
    pub protocol: &'static str,
    /// `TLSv1.3`; `None` in clear.
    pub tls: Option<&'a str>,
    /// The listener's name.
    pub listener: &'a str,
    /// 499 where the client left before an answer.
    pub status: u16,
    /// Of the request's body.
    pub bytes_in: u64,
    /// Of the response's body.
    pub bytes_out: u64,
    /// From the request's head to the response's last byte.
    pub duration: Duration,
    /// From the first attempt to the endpoint's response head.
    pub upstream_duration: Option<Duration>,
    pub route: Option<&'a str>,
    pub service: Option<&'a str>,
    /// The address of the endpoint that was tried last.
    pub endpoint: Option<&'a str>,
    pub attempts: u32,
    /// The label of a reply or of a failure.
    pub cause: Option<&'static str>,
    pub request_id: &'a str,
}

impl Format {
    /// Appends one line with its line feed.
    pub fn render(self, entry: &Entry<'_>, out: &mut Vec<u8>) {
        match self {
            Self::Json => json(entry, out),
            Self::Text => text(entry, out),
        }
        out.push(b'\n');
    }
}

fn json(entry: &Entry<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"time\":\"");
    time(entry.time, out);
    out.extend_from_slice(b"\",\"client\":\"");
    address(entry.client, out);
    out.push(b'"');
    json_text("method", Some(entry.method.as_bytes()), out);
    json_text("host", Some(entry.host), out);
    json_text("path", Some(entry.path), out);
    json_text("protocol", Some(entry.protocol.as_bytes()), out);
    json_text("tls", entry.tls.map(str::as_bytes), out);
    json_text("listener", Some(entry.listener.as_bytes()), out);
    json_number("status", u64::from(entry.status), out);
    json_number("bytes_in", entry.bytes_in, out);
    json_number("bytes_out", entry.bytes_out, out);
    json_key("duration_seconds", out);
    seconds(entry.duration, out);
    if let Some(duration) = entry.upstream_duration {
        json_key("upstream_duration_seconds", out);
        seconds(duration, out);
    }
    json_text("route", entry.route.map(str::as_bytes), out);
    json_text("service", entry.service.map(str::as_bytes), out);
    json_text("endpoint", entry.endpoint.map(str::as_bytes), out);
    json_number("attempts", u64::from(entry.attempts), out);
    json_text("cause", entry.cause.map(str::as_bytes), out);
    json_text("request_id", Some(entry.request_id.as_bytes()), out);
    out.push(b'}');
}

pub(super) fn json_key(key: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(b"\":");
}

pub(super) fn json_text(key: &str, value: Option<&[u8]>, out: &mut Vec<u8>) {
    if let Some(value) = value {
        json_key(key, out);
        quoted(value, Escape::Json, out);
    }
}

pub(super) fn json_number(key: &str, value: u64, out: &mut Vec<u8>) {
    json_key(key, out);
    number(value, out);
}

pub(super) fn text(entry: &Entry<'_>, out: &mut Vec<u8>) {
    time(entry.time, out);
    out.push(b' ');
    address(entry.client, out);
    for value in [entry.method.as_bytes(), entry.host, entry.path] {
        out.push(b' ');
        quoted(value, Escape::Text, out);
    }
    out.push(b' ');
    out.extend_from_slice(entry.protocol.as_bytes());
    for value in [
        u64::from(entry.status),
        entry.bytes_in,
        entry.bytes_out,
        u64::from(entry.attempts),
    ] {
        out.push(b' ');
        number(value, out);
    }
    out.push(b' ');
    seconds(entry.duration, out);
    out.push(b' ');
    match entry.upstream_duration {
        Some(duration) => seconds(duration, out),
        None => out.push(b'-'),
    }
    for value in [
        entry.route,
        entry.service,
        entry.endpoint,
        entry.cause,
        entry.tls,
        Some(entry.listener),
        Some(entry.request_id),
    ] {
        out.push(b' ');
        match value {
            Some(value) => quoted(value.as_bytes(), Escape::Text, out),
            None => out.push(b'-'),
        }
    }
}

/// How a character that may not stand for itself is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Escape {
    /// `\u001b`; bytes that are no UTF-8 become U+FFFD.
    Json,
    /// `\x1b`, also for each byte that is no UTF-8.
    Text,
}

fn quoted(bytes: &[u8], escape: Escape, out: &mut Vec<u8>) {
    let (shown, cut) = match bytes.get(..FIELD_BYTES_MAX) {
        Some(shown) if bytes.len() > FIELD_BYTES_MAX => (shown, "…"),
        Some(_) | None => (bytes, ""),
    };
    out.push(b'"');
    if shown.iter().all(|byte| is_plain(*byte)) {
        out.extend_from_slice(shown);
    } else {
        for chunk in shown.utf8_chunks() {
            chunk.valid().chars().for_each(|c| escaped(c, escape, out));
            invalid(chunk.invalid(), escape, out);
        }
    }
    out.extend_from_slice(cut.as_bytes());
    out.push(b'"');
}

const fn is_plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\'
}

fn escaped(c: char, escape: Escape, out: &mut Vec<u8>) {
    match c {
        '"' | '\\' => {
            out.push(b'\\');
            out.push(u8::try_from(c).unwrap_or_default());
        }
        ' '..='~' => out.push(u8::try_from(c).unwrap_or_default()),
        c if is_harmful(c) => code(u32::from(c), escape, out),
        c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
    }
}

/// What a terminal, a log shipper or a reader could take for something else: controls, line and
/// paragraph separators, and marks that turn the direction of text.
fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// Harmful characters all lie in the basic plane.
fn code(code: u32, escape: Escape, out: &mut Vec<u8>) {
    let written = match (escape, code) {
        (Escape::Text, 0..=0xff) => write!(out, "\\x{code:02x}"),
        (Escape::Text, _) => write!(out, "\\u{{{code:x}}}"),
        (Escape::Json, _) => write!(out, "\\u{code:04x}"),
    };
    written.expect("a Vec takes every byte");
}

fn invalid(bytes: &[u8], escape: Escape, out: &mut Vec<u8>) {
    match escape {
        Escape::Json if bytes.is_empty() => {}
        Escape::Json => out.extend_from_slice("\u{fffd}".as_bytes()),
        Escape::Text => bytes
            .iter()
            .for_each(|byte| code(u32::from(*byte), escape, out)),
    }
}

fn number(value: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

pub(super) fn address(address: IpAddr, out: &mut Vec<u8>) {
    write!(out, "{address}").expect("a Vec takes every byte");
}

/// Seconds with six decimals.
pub(super) fn seconds(duration: Duration, out: &mut Vec<u8>) {
    number(duration.as_secs(), out);
    out.push(b'.');
    padded(u64::from(duration.subsec_micros()), 6, out);
}

/// At least `width` digits.
fn padded(value: u64, width: usize, out: &mut Vec<u8>) {
    let mut buffer = itoa::Buffer::new();
    let digits = buffer.format(value);
    out.extend(std::iter::repeat_n(
        b'0',
        width.saturating_sub(digits.len()),
    ));
    out.extend_from_slice(digits.as_bytes());
}

/// RFC 3339 in UTC with milliseconds.
pub(super) fn time(time: Timestamp, out: &mut Vec<u8>) {
    let seconds = time.seconds();
    let (year, month, day) = time.date();
    let of_day = seconds % 86_400;
    padded(year, 4, out);
    for (before, value) in [
        (b'-', month),
        (b'-', day),
        (b'T', of_day / 3600),
        (b':', of_day / 60 % 60),
        (b':', of_day % 60),
    ] {
        out.push(before);
        padded(value, 2, out);
    }
    out.push(b'.');
    padded(time.0 % 1000, 3, out);
    out.push(b'Z');
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(in super::super) fn entry() -> Entry<'static> {
        Entry {
            time: Timestamp(1_795_528_826_007),
            client: IpAddr::from([192, 0, 2, 1]),
            method: "GET",
            host: b"a.example",
            path: b"/x?y=1",
            protocol: "HTTP/1.1",
            tls: None,
            listener: "http",
            status: 200,
            bytes_in: 0,
            bytes_out: 12,
            duration: Duration::from_micros(1_002_003),
            upstream_duration: Some(Duration::from_micros(900)),
            route: Some("r"),
            service: Some("s"),
            endpoint: Some("10.0.0.1:80"),
            attempts: 1,
            cause: None,
            request_id: "00ff",
        }
    }

    fn render(format: Format, entry: &Entry<'_>) -> String {
        let mut out = Vec::new();
        format.render(entry, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_json_line_has_every_fact_that_there_is() {
        assert_eq!(
            render(Format::Json, &entry()),
            concat!(
                r#"{"time":"2026-11-24T14:00:26.007Z","client":"192.0.2.1","method":"GET","#,
                r#""host":"a.example","path":"/x?y=1","protocol":"HTTP/1.1","listener":"http","#,
                r#""status":200,"bytes_in":0,"bytes_out":12,"duration_seconds":1.002003,"#,
                r#""upstream_duration_seconds":0.000900,"route":"r","service":"s","#,
                r#""endpoint":"10.0.0.1:80","attempts":1,"request_id":"00ff"}"#,
                "\n"
            )
        );
    }

    #[test]
    fn a_text_line_has_a_place_for_every_fact() {
        assert_eq!(
            render(Format::Text, &entry()),
            concat!(
                r#"2026-11-24T14:00:26.007Z 192.0.2.1 "GET" "a.example" "/x?y=1" HTTP/1.1 "#,
                r#"200 0 12 1 1.002003 0.000900 "r" "s" "10.0.0.1:80" - - "http" "00ff""#,
                "\n"
            )
        );
    }

    #[test]
    fn what_a_client_sends_cannot_forge_a_line() {
        let path = b"/\r\n{\"x\":1}\x1b[31m\xff\\\xe2\x80\xae";
        let entry = Entry { path, ..entry() };
        let json = render(Format::Json, &entry);
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(value["path"], "/\r\n{\"x\":1}\u{1b}[31m\u{fffd}\\\u{202e}");
        assert!(json.contains(r"\u000d\u000a"), "{json}");
        let text = render(Format::Text, &entry);
        assert!(
            text.contains(r#""/\x0d\x0a{\"x\":1}\x1b[31m\xff\\\u{202e}""#),
            "{text}"
        );
    }

    #[test]
    fn a_long_text_is_cut_and_marked() {
        let path = vec![b'a'; FIELD_BYTES_MAX + 1];
        let line = render(
            Format::Json,
            &Entry {
                path: &path,
                ..entry()
            },
        );
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        let shown = value["path"].as_str().unwrap();
        assert_eq!(shown.len(), FIELD_BYTES_MAX + "…".len());
        assert!(shown.ends_with('…'));
        let path = vec![b'a'; FIELD_BYTES_MAX];
        let line = render(
            Format::Json,
            &Entry {
                path: &path,
                ..entry()
            },
        );
        assert!(!line.contains('…'));
    }

    #[test]
    fn days_are_dates() {
        for (days, date) in [
            (0, (1970, 1, 1)),
            (59, (1970, 3, 1)),
            (11_016, (2000, 2, 29)),
            (11_017, (2000, 3, 1)),
            (20_781, (2026, 11, 24)),
            (47_540, (2100, 2, 28)),
            (47_541, (2100, 3, 1)),
        ] {
            assert_eq!(Timestamp(days * 86_400_000).date(), date, "{days}");
        }
    }

    proptest! {
        #[test]
        fn a_line_is_one_line_of_json_without_raw_control_characters(
            path in proptest::collection::vec(any::<u8>(), 0..200),
            host in proptest::collection::vec(any::<u8>(), 0..50),
            text in any::<String>(),
            status in any::<u16>(),
            micros in any::<u64>(),
        ) {
            let entry = Entry {
                path: &path, host: &host, method: &text, request_id: &text, route: Some(&text),
                status, duration: Duration::from_micros(micros), ..entry()
            };
            for format in [Format::Json, Format::Text] {
                let line = render(format, &entry);
                let body = line.strip_suffix('\n').unwrap();
                prop_assert!(!body.chars().any(char::is_control), "{body:?}");
            }
            let line = render(Format::Json, &entry);
            let value: serde_json::Value = serde_json::from_str(&line).unwrap();
            prop_assert_eq!(value["method"].as_str(), Some(&*text));
            prop_assert_eq!(value["path"].as_str(), Some(&*String::from_utf8_lossy(&path)));
        }

        #[test]
        fn dates_rise_with_days(days in 0u64..1_000_000) {
            let date = |days| Timestamp(days * 86_400_000).date();
            prop_assert!(date(days) < date(days + 1));
        }
    }
}
