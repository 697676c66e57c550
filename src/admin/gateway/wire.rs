//! What clients send and receive: the original's fields, envelopes and texts, and nothing else's.

use serde::Serialize;

use super::address::{Domain, port, service_name};
use super::coerce::{fields, integer, text};
use super::fault::{Fault, Why};
use super::json::{self, Malformed, Value};
use super::percent::{Unit, units};
use crate::model::Name;

/// The largest request body, in bytes.
pub(super) const BODY_BYTES_MAX: usize = 64 * 1024;

/// The port of a service that names none, whatever its scheme.
const PORT_DEFAULT: u16 = 80;

/// What `POST /service` asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NewService {
    pub(super) domain: Domain,
    pub(super) name: Name,
    pub(super) port: u16,
}

/// Why a request says nothing.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Unfit {
    /// 422, all reasons together.
    Faults(Vec<Fault>),
    /// 400: a body that no decoder can place an error in.
    Body,
}

impl From<Fault> for Unfit {
    fn from(fault: Fault) -> Self {
        Self::Faults(vec![fault])
    }
}

impl NewService {
    /// From a JSON body, the documented call.
    pub(super) fn from_body(content_type: Option<&str>, body: &[u8]) -> Result<Self, Unfit> {
        if body.is_empty() {
            return Err(Fault::of("body", &Why::Missing).into());
        }
        if !is_json(content_type.unwrap_or_default()) {
            return Err(Fault::of("body", &Why::NotObject).into());
        }
        let value = json::read(body).map_err(|malformed| match malformed {
            Malformed::Altogether => Unfit::Body,
            Malformed::At(place) => {
                let document = String::from_utf8_lossy(body);
                let document = document.strip_prefix('\u{feff}').unwrap_or(&document);
                Fault::not_json(&place, document.to_owned()).into()
            }
        })?;
        let fields = fields(value).map_err(|why| Fault::of("body", &why))?;
        let find = |name: &str| last(&fields, name);
        let mut form = Form::new("body");
        let domain = form.required("domain", find("domain"), |v| {
            Domain::parse(text(v, Why::BadDomain)?)
        });
        form.finish(domain, find("name_service"), find("port"))
    }

    /// From a query string, the documentation's Python example.
    pub(super) fn from_query(query: &[(String, String)]) -> Result<Self, Unfit> {
        let fields: Vec<(String, Value)> = query
            .iter()
            .map(|(name, value)| (name.clone(), Value::Text(value.clone())))
            .collect();
        let find = |name: &str| last(&fields, name);
        let mut form = Form::new("query");
        let domain = form.required("ip", find("ip"), |value| {
            let ip = text(value, Why::BadDomain)?;
            match ip.contains("://") {
                true => Domain::parse(ip),
                false => Domain::parse(&format!("http://{ip}")),
            }
        });
        form.finish(domain, find("name_service"), find("port"))
    }
}

/// Of fields alike, the later.
fn last<'f, T>(fields: &'f [(String, T)], name: &str) -> Option<&'f T> {
    let found = fields.iter().rev().find(|(field, _)| field == name);
    found.map(|(_, value)| value)
}

/// FastAPI's test for a JSON body; a body without a type is one.
fn is_json(content_type: &str) -> bool {
    let media = content_type.split(';').next().unwrap_or_default();
    let media = media.trim().to_ascii_lowercase();
    match media.split_once('/') {
        Some(("application", subtype)) => subtype == "json" || subtype.ends_with("+json"),
        _ => media.is_empty(),
    }
}

/// Reads fields one by one and remembers what was wrong with each.
struct Form {
    part: &'static str,
    faults: Vec<Fault>,
}

impl Form {
    const fn new(part: &'static str) -> Self {
        let faults = Vec::new();
        Self { part, faults }
    }

    fn required<T>(
        &mut self,
        field: &'static str,
        value: Option<&Value>,
        parse: impl FnOnce(&Value) -> Result<T, Why>,
    ) -> Option<T> {
        let parsed = value.ok_or(Why::Missing).and_then(parse);
        parsed
            .map_err(|why| self.faults.push(Fault::in_field(self.part, field, &why)))
            .ok()
    }

    fn finish(
        mut self,
        domain: Option<Domain>,
        name: Option<&Value>,
        number: Option<&Value>,
    ) -> Result<NewService, Unfit> {
        let name = self.required("name_service", name, |v| {
            service_name(text(v, Why::NotText)?)
        });
        let port = match number {
            None => Some(PORT_DEFAULT),
            given => self.required("port", given, |v| port(integer(v)?)),
        };
        match (domain, name, port) {
            (Some(domain), Some(name), Some(port)) => Ok(NewService { domain, name, port }),
            _ => Err(Unfit::Faults(self.faults)),
        }
    }
}

/// An integer of the query: `id_service`, `page`.
pub(super) fn query_integer(
    query: &[(String, String)],
    name: &'static str,
    default: Option<i128>,
) -> Result<i128, Unfit> {
    let number = match (last(query, name), default) {
        (Some(text), _) => super::coerce::integer_text(text),
        (None, Some(default)) => Ok(default),
        (None, None) => Err(Why::Missing),
    };
    number.map_err(|why| Fault::in_field("query", name, &why).into())
}

/// A query string's fields, decoded as HTML forms are.
pub(super) fn query_fields(query: &str) -> Vec<(String, String)> {
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (form_text(name), form_text(value))
    };
    query
        .split('&')
        .filter(|p| !p.is_empty())
        .map(pair)
        .collect()
}

fn form_text(text: &str) -> String {
    let byte = |unit| match unit {
        Unit::Plain(b'+') => b' ',
        Unit::Plain(byte) | Unit::Escaped(byte) => byte,
    };
    let bytes: Vec<u8> = units(text).map(byte).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// `{"details":{"code":0,"msg":…}}`: with an s, where it went well.
#[derive(Debug, Serialize)]
pub(super) struct Done {
    details: Note,
}

/// `{"detail":…}`: without, where it did not.
#[derive(Debug, Serialize)]
pub(super) struct Detail<T> {
    pub(super) detail: T,
}

#[derive(Debug, Serialize)]
pub(super) struct Note {
    pub(super) code: i8,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) msg: Option<String>,
    /// What `GET /services` calls `msg`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) err_msg: Option<String>,
}

impl Done {
    pub(super) fn saying(text: &str) -> Self {
        let details = Note {
            code: 0,
            msg: Some(text.to_owned()),
            err_msg: None,
        };
        Self { details }
    }
}

/// The answer of `GET /services`.
#[derive(Debug, Serialize)]
pub(super) struct Listing<'s> {
    pub(super) services: Vec<Row<'s>>,
    pub(super) metadata: Metadata,
}

/// One service of a listing.
#[derive(Debug, Serialize)]
pub(super) struct Row<'s> {
    pub(super) id: i64,
    pub(super) domain: String,
    pub(super) port: u16,
    pub(super) name: String,
    pub(super) urls: Vec<&'s str>,
    /// The status of the last fetch of its document; 0 before the first, -1 without an answer,
    /// -2 without JSON in it.
    #[serde(rename = "status-code")]
    pub(super) status_code: i64,
    pub(super) delete: bool,
}

#[derive(Debug, Serialize)]
pub(super) struct Metadata {
    /// As asked for.
    pub(super) page: i128,
    pub(super) count_page: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_decoded_like_a_form() {
        let fields = query_fields("a=1+2&b=%2B1&&c&a=%zz");
        let texts: Vec<_> = fields.iter().map(|(n, v)| (&**n, &**v)).collect();
        assert_eq!(texts, [("a", "1 2"), ("b", "+1"), ("c", ""), ("a", "%zz")]);
        assert_eq!(
            query_integer(&query_fields("page=1&page=+2"), "page", None),
            Ok(2)
        );
    }

    #[test]
    fn json_is_what_fastapi_takes_for_it() {
        for json in [
            "",
            "application/json",
            "APPLICATION/JSON; charset=x",
            "application/a+json",
        ] {
            assert!(is_json(json), "{json}");
        }
        for other in ["text/plain", "application/x-www-form-urlencoded", "json"] {
            assert!(!is_json(other), "{other}");
        }
    }
}
