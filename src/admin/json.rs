//! Strict JSON: what two readers could understand differently is refused.
//!
//! Duplicate names (RFC 8259 §4), deep nesting, `NaN`, invalid UTF-8 and trailing text are errors
//! with their line and column, never a guess.

use std::fmt;
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use http::HeaderMap;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use serde::de::{
    Deserialize, DeserializeOwned, Deserializer, Error as _, MapAccess, SeqAccess, Visitor,
};
use serde_json::{Map, Value};
use serde_path_to_error::Segment;

use super::problem::{Details, Flaw, Reason};

/// The largest body an admin request may have.
pub const BODY_BYTES_MAX: usize = 8 * 1024 * 1024;

/// How long a body may take to arrive.
pub const BODY_TIME: Duration = Duration::from_secs(30);

/// Reads a request's body as strict JSON.
///
/// # Errors
/// 415 for another content type, 413 beyond [`BODY_BYTES_MAX`], 408 for a body that does not come,
/// 400 for what is not strict JSON.
pub async fn read(headers: &HeaderMap, body: Body) -> Result<Value, Details> {
    check_content_type(headers)?;
    let bytes = collect(headers, body).await?;
    parse(&bytes)
}

/// JSON, by whatever name ends in it. A browser asks before it sends these to another origin, which
/// is what keeps a hostile page from writing here.
fn check_content_type(headers: &HeaderMap) -> Result<(), Details> {
    let written = headers.get(CONTENT_TYPE).map(|value| value.to_str());
    let Some(Ok(text)) = written else {
        return Err(media_type("the request has no content-type"));
    };
    let essence = text.split(';').next().unwrap_or_default().trim();
    let essence = essence.to_ascii_lowercase();
    let json = essence.strip_prefix("application/");
    match json {
        Some(subtype) if subtype == "json" || subtype.ends_with("+json") => Ok(()),
        _ => Err(media_type(&format!("content-type {text:?} is not JSON"))),
    }
}

fn media_type(why: &str) -> Details {
    Details::new(
        Reason::MediaType,
        format!("{why}; send content-type: application/json"),
    )
}

/// Takes a request's body in, whatever it holds.
///
/// # Errors
/// 413 beyond [`BODY_BYTES_MAX`], 408 for a body that does not come, 400 for one that breaks off.
pub async fn collect(headers: &HeaderMap, body: Body) -> Result<Bytes, Details> {
    let announced = headers.get(CONTENT_LENGTH).and_then(|v| v.to_str().ok());
    let announced = announced.and_then(|text| text.parse::<usize>().ok());
    if announced.is_some_and(|length| length > BODY_BYTES_MAX) {
        return Err(too_large());
    }
    match tokio::time::timeout(BODY_TIME, to_bytes(body, BODY_BYTES_MAX)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) if is_limit(&error) => Err(too_large()),
        Ok(Err(_)) => Err(Details::new(
            Reason::Malformed,
            "the body ended before it was complete",
        )),
        Err(_) => Err(Details::new(
            Reason::SlowBody,
            format!("the body was not there after {} s", BODY_TIME.as_secs()),
        )),
    }
}

fn is_limit(error: &axum::Error) -> bool {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = cause {
        if error.is::<http_body_util::LengthLimitError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

fn too_large() -> Details {
    let detail = format!("a body has at most {BODY_BYTES_MAX} bytes");
    Details::new(Reason::TooLarge, detail)
}

/// Parses strict JSON.
///
/// # Errors
/// 400 that names line and column.
pub fn parse(bytes: &[u8]) -> Result<Value, Details> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let detail = format!("the body is not UTF-8 at byte {}", error.valid_up_to());
        Details::new(Reason::Malformed, detail)
    })?;
    serde_json::from_str::<Strict>(text)
        .map(|Strict(value)| value)
        .map_err(|error| Details::new(Reason::Malformed, error.to_string()))
}

/// Reads a value as a type.
///
/// # Errors
/// What is wrong, and where.
pub fn read_as<T: DeserializeOwned>(value: Value) -> Result<T, Flaw> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let segments = error.path().iter().filter_map(|segment| match segment {
            Segment::Seq { index } => Some(index.to_string()),
            Segment::Map { key } => Some(key.clone()),
            Segment::Enum { .. } | Segment::Unknown => None,
        });
        let segments: Vec<_> = segments.collect();
        Flaw::at(segments, error.inner().to_string())
    })
}

/// A value none of whose objects names a member twice.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Self)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(Strict(value)) = items.next_element()? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            if map.contains_key(&name) {
                return Err(A::Error::custom(format!("{name:?} is named twice")));
            }
            let Strict(value) = members.next_value()?;
            map.insert(name, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn why(text: &str) -> String {
        parse(text.as_bytes()).unwrap_err().detail
    }

    #[test]
    fn what_two_readers_read_differently_is_refused_with_its_place() {
        assert_eq!(
            why("{\"a\":1,\n \"a\":2}"),
            "\"a\" is named twice at line 2 column 4"
        );
        assert!(why("{\"a\":NaN}").contains("line 1 column 6"));
        assert!(why("[1,]").contains("line 1"));
        assert!(why("{} x").contains("trailing characters"));
        assert!(why("1e999").contains("out of range"));
        assert!(why("").contains("EOF"));
        assert!(why("\"\\ud800\"").contains("line 1"));
        assert_eq!(
            parse(b"{\"a\":\"\xff\"}").unwrap_err().detail,
            "the body is not UTF-8 at byte 6"
        );
    }

    #[test]
    fn nesting_is_bounded() {
        let deep = "[".repeat(10_000) + &"]".repeat(10_000);
        assert!(why(&deep).contains("recursion limit"));
        let fine = "[".repeat(100) + &"]".repeat(100);
        assert!(parse(fine.as_bytes()).is_ok());
    }

    #[test]
    fn only_json_content_types_pass() {
        let verdict = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, text.parse().unwrap());
            check_content_type(&headers).is_ok()
        };
        assert!(verdict("application/json"));
        assert!(verdict("Application/JSON; charset=utf-8"));
        assert!(verdict("application/merge-patch+json"));
        assert!(!verdict("text/plain"));
        assert!(!verdict("application/x-www-form-urlencoded"));
        assert!(!verdict("application/jsonx"));
        assert!(check_content_type(&HeaderMap::new()).is_err());
    }

    proptest! {
        #[test]
        fn bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn agrees_with_serde_where_both_accept(text in "[\\[\\]{}\":,a0-9.eE ntrue-]{0,40}") {
            if let Ok(value) = parse(text.as_bytes()) {
                prop_assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
            }
        }
    }
}
