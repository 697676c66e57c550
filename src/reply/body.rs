//! A reply's body in each format, every text escaped for where it stands.

use bytes::Bytes;
use http::StatusCode;

use super::Format;

/// What a body says.
pub(super) struct Page<'a> {
    pub(super) status: StatusCode,
    pub(super) message: &'a str,
    pub(super) request_id: Option<&'a str>,
}

/// The page before its title. It follows the reader's light or dark preference.
const HTML_HEAD: &str = "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
    <meta name=\"viewport\" content=\"width=device-width\">\n\
    <meta name=\"color-scheme\" content=\"light dark\">\n\
    <style>body{font:1rem/1.5 system-ui,sans-serif;max-width:40rem;margin:4rem auto;padding:0 1rem}\
    small{opacity:.7}</style>\n<title>";

impl Page<'_> {
    pub(super) fn render(&self, format: Format) -> Bytes {
        let mut out = String::with_capacity(self.size(format));
        match format {
            Format::Json => self.json(&mut out),
            Format::Detail => self.detail(&mut out),
            Format::Text => self.text(&mut out),
            Format::Html => self.html(&mut out),
            Format::Xml => self.xml(&mut out),
            Format::Grpc | Format::GrpcWeb => {}
        }
        out.into()
    }

    /// Enough for one allocation where nothing needs escaping.
    fn size(&self, format: Format) -> usize {
        let frame = if format == Format::Html {
            HTML_HEAD.len() + 256
        } else {
            128
        };
        frame + self.message.len() + self.request_id.map_or(0, str::len)
    }

    fn json(&self, out: &mut String) {
        out.push_str("{\"message\":");
        json_string(self.message, out);
        if let Some(id) = self.request_id {
            out.push_str(",\"request_id\":");
            json_string(id, out);
        }
        out.push('}');
    }

    fn detail(&self, out: &mut String) {
        out.push_str("{\"detail\":");
        json_string(self.message, out);
        out.push('}');
    }

    fn text(&self, out: &mut String) {
        plain(self.message, out);
        out.push('\n');
        if let Some(id) = self.request_id {
            out.push_str("request_id: ");
            plain(id, out);
            out.push('\n');
        }
    }

    fn html(&self, out: &mut String) {
        out.push_str(HTML_HEAD);
        self.title(out);
        out.push_str("</title>\n<h1>");
        self.title(out);
        out.push_str("</h1>\n<p>");
        markup(self.message, out);
        out.push_str("</p>\n");
        if let Some(id) = self.request_id {
            out.push_str("<p><small>request id ");
            markup(id, out);
            out.push_str("</small></p>\n");
        }
    }

    fn title(&self, out: &mut String) {
        out.push_str(self.status.as_str());
        out.push(' ');
        out.push_str(self.status.canonical_reason().unwrap_or_default());
    }

    fn xml(&self, out: &mut String) {
        out.push_str("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<error><message>");
        markup(self.message, out);
        out.push_str("</message>");
        if let Some(id) = self.request_id {
            out.push_str("<requestid>");
            markup(id, out);
            out.push_str("</requestid>");
        }
        out.push_str("</error>\n");
    }
}

const HEX: [char; 16] = [
    '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F',
];

/// The two hexadecimal digits of a byte.
fn hex(byte: u8) -> [char; 2] {
    let digit = |nibble: u8| HEX.get(usize::from(nibble)).copied().unwrap_or_default();
    [digit(byte >> 4), digit(byte & 15)]
}

fn json_string(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\0'..='\u{1f}' => {
                out.push_str("\\u00");
                out.extend(hex(u8::try_from(c).unwrap_or_default()));
            }
            _ => out.push(c),
        }
    }
    out.push('"');
}

/// Control characters become spaces.
fn plain(text: &str, out: &mut String) {
    out.extend(text.chars().map(|c| if c.is_control() { ' ' } else { c }));
}

/// For element content of HTML and XML; control characters, which XML 1.0 has not, become spaces.
fn markup(text: &str, out: &mut String) {
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
}

/// `grpc-message`: everything but visible ASCII and space, and `%` itself, percent-encoded
/// (gRPC over HTTP/2, "Responses").
pub(super) fn percent_encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' '..=b'$' | b'&'..=b'~' => out.push(char::from(byte)),
            _ => {
                out.push('%');
                out.extend(hex(byte));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn page<'a>(message: &'a str, request_id: Option<&'a str>) -> Page<'a> {
        Page {
            status: StatusCode::BAD_REQUEST,
            message,
            request_id,
        }
    }

    #[test]
    fn every_format_says_the_message_and_the_id() {
        for format in [Format::Json, Format::Text, Format::Html, Format::Xml] {
            let body = page("it broke", Some("r-1")).render(format);
            let body = std::str::from_utf8(&body).unwrap();
            assert!(body.contains("it broke") && body.contains("r-1"), "{body}");
            let body = page("it broke", None).render(format);
            let body = std::str::from_utf8(&body).unwrap();
            assert!(!body.contains("request"), "{body}");
        }
    }

    #[test]
    fn the_gateway_shape_is_byte_for_byte_fastapis() {
        let body = page("Not Found", Some("r-1")).render(Format::Detail);
        assert_eq!(&body[..], br#"{"detail":"Not Found"}"#);
    }

    #[test]
    fn grpc_messages_are_percent_encoded() {
        assert_eq!(percent_encoded("a b%ü\n"), "a b%25%C3%BC%0A");
    }

    proptest! {
        #[test]
        fn json_reads_back_what_was_written(message in any::<String>(), id in any::<String>()) {
            let body = page(&message, Some(&id)).render(Format::Json);
            let value: serde_json::Value = serde_json::from_slice(&body).unwrap();
            prop_assert_eq!(value["message"].as_str(), Some(&*message));
            prop_assert_eq!(value["request_id"].as_str(), Some(&*id));
        }

        #[test]
        fn markup_has_no_angle_bracket_of_the_text(message in any::<String>()) {
            let mut out = String::new();
            markup(&message, &mut out);
            prop_assert!(!out.contains(['<', '>', '"']));
            prop_assert!(!out.chars().any(char::is_control));
        }
    }
}
