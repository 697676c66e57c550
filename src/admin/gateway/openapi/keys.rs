//! The names that things of one service get in a document of many.

use crate::admin::gateway::percent::{Unit, units};
use crate::model::Id;

/// What stands before the names of one service's components: `{service}__`.
///
/// Component keys allow only letters, digits, `.`, `_` and `-` (OpenAPI 3.1 §4.8.7). A service name
/// that cannot be written so, or that could be read as another one's (`a__b`), is spelt with a hash.
#[derive(Clone, Debug)]
pub(super) struct Prefix(String);

impl Prefix {
    pub(super) fn new(service: &str) -> Self {
        let plain = !service.contains("__")
            && !service.ends_with('_')
            && !service.is_empty()
            && service.bytes().all(is_key_byte);
        if plain {
            return Self(format!("{service}__"));
        }
        let hash = Id::derived(service).to_string();
        let hash = hash.split('-').next().unwrap_or_default();
        Self(format!("{}.{hash}__", spell(service)))
    }

    /// The key of a component or an operation of this service.
    pub(super) fn key(&self, name: &str) -> String {
        let Self(prefix) = self;
        if name.bytes().all(is_key_byte) {
            return format!("{prefix}{name}");
        }
        let hash = Id::derived(name).to_string();
        let hash = hash.split('-').next().unwrap_or_default();
        format!("{prefix}{}.{hash}", spell(name))
    }
}

const fn is_key_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')
}

/// `text` with every run of `_` and of what no key may hold as one `_`.
fn spell(text: &str) -> String {
    let mut spelt = String::with_capacity(text.len());
    for c in text.chars() {
        let allowed = c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
        match allowed {
            true => spelt.push(c),
            false if spelt.ends_with('_') => {}
            false => spelt.push('_'),
        }
    }
    spelt
}

/// A component's place: `#/components/{kind}/{name}`, and what a pointer names within it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Place {
    pub(super) kind: &'static str,
    pub(super) name: String,
}

/// The kinds of component there are (OpenAPI 3.1 §4.8.7).
pub(super) const COMPONENT_KINDS: [&str; 10] = [
    "schemas",
    "responses",
    "parameters",
    "examples",
    "requestBodies",
    "headers",
    "securitySchemes",
    "links",
    "callbacks",
    "pathItems",
];

impl Place {
    /// From a reference; the second value is the rest of the pointer, empty or beginning with `/`.
    pub(super) fn parse(reference: &str) -> Option<(Self, &str)> {
        let rest = reference.strip_prefix("#/components/")?;
        let (kind, rest) = rest.split_once('/')?;
        let kind = *COMPONENT_KINDS.iter().find(|known| **known == kind)?;
        let (token, deeper) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let name = unescape(token);
        (!name.is_empty()).then_some((Self { kind, name }, deeper))
    }

    pub(super) fn reference(&self, deeper: &str) -> String {
        format!("#/components/{}/{}{deeper}", self.kind, escape(&self.name))
    }
}

/// A token of a JSON pointer in a URI fragment (RFC 6901 §6) as the name it stands for.
pub(super) fn unescape(token: &str) -> String {
    let bytes: Vec<u8> = units(token).map(Unit::byte).collect();
    let text = String::from_utf8_lossy(&bytes);
    text.replace("~1", "/").replace("~0", "~")
}

fn escape(name: &str) -> String {
    name.replace('%', "%25")
        .replace('~', "~0")
        .replace('/', "~1")
}
