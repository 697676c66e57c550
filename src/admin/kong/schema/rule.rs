//! Rules that have a name in the schemas and a function here.

use std::fmt::Display;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::violation::Fault;
use super::{Surroundings, host, pem, transformer};
use crate::model::compile_regex;

/// A rule for one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Rule {
    Utf8Name,
    Tag,
    Path,
    RoutePath,
    HeaderName,
    CookieName,
    Url,
    RedirectUri,
    AsteriskOrRegex,
    Host,
    HostWithPort,
    WildcardHost,
    Sni,
    WildcardSni,
    IpOrCidr,
    UpstreamName,
    Target,
    Certificate,
    PrivateKey,
    PublicKey,
    KeyPair,
    NoRepeats,
    UniqueNames,
    SomeGrant,
    OneAuthorization,
    OrderedLimits,
    OneAnswer,
    PlainHeader,
    RenamedHeader,
    TemplateHeader,
    Template,
}

impl Rule {
    /// Judges a value of the right shape; a target is rewritten into its one form.
    pub(super) fn judge(self, value: &mut Value, around: &Surroundings<'_>) -> Result<(), Fault> {
        if self == Self::Target {
            let target = host::target(value.as_str().unwrap_or_default())?;
            *value = target.into();
            return Ok(());
        }
        match value {
            Value::String(text) => self.judge_text(text, around).map_err(Fault::Text),
            Value::Array(items) => self.judge_items(items).map_err(Fault::Text),
            Value::Object(fields) => self.judge_fields(fields),
            Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
        }
    }

    fn judge_text(self, text: &str, around: &Surroundings<'_>) -> Result<(), String> {
        match self {
            Self::Utf8Name => utf8_name(text),
            Self::Tag => tag(text),
            Self::Path => path(text),
            Self::RoutePath => route_path(text, around),
            Self::HeaderName => header_name(text),
            Self::CookieName => token(text, "cookie"),
            Self::Url => url(text),
            Self::RedirectUri => redirect_uri(text),
            Self::AsteriskOrRegex => asterisk_or_regex(text),
            Self::Host => host::host(text),
            Self::HostWithPort => host::host_with_port(text),
            Self::WildcardHost => host::wildcard_host(text),
            Self::Sni => host::sni(text),
            Self::WildcardSni => host::wildcard_sni(text),
            Self::IpOrCidr => host::ip_or_cidr(text),
            Self::UpstreamName => host::upstream_name(text),
            Self::Certificate => pem::judge_certificate(text),
            Self::PrivateKey => pem::judge_private_key(text),
            Self::PublicKey => pem::judge_public_key(text),
            Self::PlainHeader => transformer::plain_header(text),
            Self::RenamedHeader => transformer::renamed_header(text),
            Self::TemplateHeader => transformer::template_header(text),
            Self::Template => transformer::template(text),
            // These are for lists and records, and one rewrites.
            Self::Target
            | Self::KeyPair
            | Self::NoRepeats
            | Self::UniqueNames
            | Self::SomeGrant
            | Self::OneAuthorization
            | Self::OrderedLimits
            | Self::OneAnswer => Ok(()),
        }
    }

    fn judge_items(self, items: &[Value]) -> Result<(), String> {
        let said = |name: Option<&str>, how: &dyn Fn(&str) -> String| {
            name.map_or(Ok(()), |it| Err(how(it)))
        };
        if self == Self::NoRepeats {
            return said(repeated(items.iter()), &|name| {
                format!("{name} is duplicated")
            });
        }
        if self == Self::UniqueNames {
            let names = items.iter().filter_map(|item| item.get("name"));
            return said(repeated(names), &|name| {
                format!("repeated tags are not allowed: {name}")
            });
        }
        Ok(())
    }

    fn judge_fields(self, fields: &Map<String, Value>) -> Result<(), Fault> {
        if self == Self::KeyPair {
            return pem::judge_key_pair(fields);
        }
        if self == Self::SomeGrant {
            return some_grant(fields).map_err(Fault::Text);
        }
        if self == Self::OneAuthorization {
            return one_authorization(fields).map_err(Fault::Text);
        }
        if self == Self::OrderedLimits {
            return ordered_limits(fields).map_err(Fault::Text);
        }
        if self == Self::OneAnswer {
            return one_answer(fields).map_err(Fault::Text);
        }
        Ok(())
    }
}

/// The first text that stands twice.
fn repeated<'v>(values: impl Iterator<Item = &'v Value>) -> Option<&'v str> {
    let mut seen = std::collections::BTreeSet::new();
    values
        .filter_map(Value::as_str)
        .find(|text| !seen.insert(*text))
}

/// Whether text has the form of a UUID: 36 characters, in either case.
pub(super) fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && (0..).zip(text.bytes()).all(|(n, byte)| match n {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

fn utf8_name(text: &str) -> Result<(), String> {
    let good =
        |c: char| !c.is_ascii() || c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '~');
    if text.chars().all(good) {
        return Ok(());
    }
    let allowed = "the only accepted ascii characters are alphanumerics or ., -, _, and ~";
    Err(format!("invalid value '{text}': {allowed}"))
}

fn tag(text: &str) -> Result<(), String> {
    let good = |c: char| !c.is_ascii() || (matches!(c, ' '..='~') && !matches!(c, ',' | '/'));
    if text.chars().all(good) {
        return Ok(());
    }
    let allowed = "expected printable ascii (except `,` and `/`) or valid utf-8 sequences";
    Err(format!("invalid tag '{text}': {allowed}"))
}

/// A path of RFC 3986: its characters, and whole percent-encodings.
fn path(text: &str) -> Result<(), String> {
    const SPECIAL: &str = "-._~:/?#[]@!$&'()*+,;=%";
    let good = |c: char| c.is_ascii_alphanumeric() || SPECIAL.contains(c);
    if !text.chars().all(good) {
        let why = "(characters outside of the reserved list of RFC 3986 found)";
        return Err(format!("invalid path: '{text}' {why}"));
    }
    match text.split('%').skip(1).find(|rest| !starts_with_hex(rest)) {
        Some(rest) => {
            let shown: String = rest.chars().take(2).collect();
            Err(format!("invalid url-encoded value: '%{shown}'"))
        }
        None => Ok(()),
    }
}

fn starts_with_hex(text: &str) -> bool {
    let digits = text.as_bytes().first_chunk::<2>();
    digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
}

/// A prefix in normal form, or `~` and a regular expression.
fn route_path(text: &str, around: &Surroundings<'_>) -> Result<(), String> {
    if let Some(regex) = text.strip_prefix('~') {
        return match compile_regex(&format!("^{regex}")) {
            Ok(_) => Ok(()),
            Err(why) => Err(format!("invalid regex: '{regex}' (PCRE returned: {why})")),
        };
    }
    let normal = (around.normal_path)(text.as_bytes());
    if *normal == *text.as_bytes() {
        return Ok(());
    }
    let normal = String::from_utf8_lossy(&normal);
    Err(format!(
        "non-normalized path, consider use '{normal}' instead"
    ))
}

pub(super) fn is_token(text: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    !text.is_empty() && text.bytes().all(good)
}

fn header_name(text: &str) -> Result<(), String> {
    token(text, "header")
}

fn token(text: &str, what: &str) -> Result<(), String> {
    if is_token(text) {
        return Ok(());
    }
    let allowed = "allowed characters are A-Z, a-z, 0-9, '_', and '-'";
    Err(format!("bad {what} name '{text}', {allowed}"))
}

/// Scheme and host of a URL, its fragment cut off.
fn scheme_and_host(text: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = text.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    Some((scheme, authority.rsplit('@').next().unwrap_or_default()))
}

fn url(text: &str) -> Result<(), String> {
    match scheme_and_host(text) {
        None => Err("missing host in url".into()),
        Some((_, host)) if host.is_empty() || host.starts_with(':') => {
            Err("missing host in url".into())
        }
        Some(("", _)) => Err("missing scheme in url".into()),
        Some(_) => Ok(()),
    }
}

fn redirect_uri(text: &str) -> Result<(), String> {
    if scheme_and_host(text).is_none_or(|(scheme, host)| scheme.is_empty() || host.is_empty()) {
        return Err(format!("cannot parse '{text}'"));
    }
    if text.contains('#') {
        return Err(format!("fragment not allowed in '{text}'"));
    }
    Ok(())
}

fn asterisk_or_regex(text: &str) -> Result<(), String> {
    if text == "*" || compile_regex(text).is_ok() {
        return Ok(());
    }
    Err(format!("'{text}' is not a valid regex"))
}

/// Windows of a rate limit, shorter ones first.
const WINDOWS: [&str; 6] = ["second", "minute", "hour", "day", "month", "year"];

/// A longer window lets at least as many requests through as a shorter one.
fn ordered_limits(fields: &Map<String, Value>) -> Result<(), String> {
    let limit = |name| Some((name, fields.get(name)?.as_f64()?));
    let limits: Vec<_> = WINDOWS.into_iter().filter_map(limit).collect();
    for (n, (short, few)) in (1..).zip(&limits) {
        if let Some((long, fewer)) = limits.iter().skip(n).find(|(_, limit)| limit < few) {
            let lower = format!("The limit for {long}({fewer:.1}) cannot be lower");
            return Err(format!("{lower} than the limit for {short}({few:.1})"));
        }
    }
    Ok(())
}

fn is_set(fields: &Map<String, Value>, name: &str) -> bool {
    fields.get(name).is_some_and(|value| !value.is_null())
}

/// request-termination answers with a message or with a body, not both.
fn one_answer(fields: &Map<String, Value>) -> Result<(), String> {
    let set = |name| is_set(fields, name);
    if set("message") && (set("content_type") || set("body")) {
        return Err("message cannot be used with content_type or body".into());
    }
    if set("content_type") && !set("body") {
        return Err("content_type requires a body".into());
    }
    Ok(())
}

/// oauth2 without any grant would let nobody in.
fn some_grant(fields: &Map<String, Value>) -> Result<(), String> {
    const GRANTS: [&str; 4] = [
        "enable_authorization_code",
        "enable_implicit_grant",
        "enable_client_credentials",
        "enable_password_grant",
    ];
    if GRANTS
        .iter()
        .any(|grant| fields.get(*grant) == Some(&Value::Bool(true)))
    {
        return Ok(());
    }
    Err(format!(
        "at least one of these fields must be true: {}",
        GRANTS.join(", ")
    ))
}

/// http-log: the credentials stand in the URL or in a header, not in both.
fn one_authorization(fields: &Map<String, Value>) -> Result<(), String> {
    let endpoint = fields
        .get("http_endpoint")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let authority = endpoint.split('/').nth(2).unwrap_or_default();
    let headers = fields.get("headers").and_then(Value::as_object);
    let named = |name: &String| name.eq_ignore_ascii_case("authorization");
    if authority.contains('@') && headers.is_some_and(|headers| headers.keys().any(named)) {
        let both = "an 'Authorization' header and user info in 'http_endpoint'";
        return Err(format!("specifying both {both} is not allowed"));
    }
    Ok(())
}

/// A key's `kid` is the one in its JWK.
pub(super) fn judge_key_names(jwk: Option<&str>, kid: Option<&str>) -> Result<(), String> {
    let Some(jwk) = jwk.filter(|jwk| !jwk.starts_with("{vault://")) else {
        return Ok(());
    };
    let wrong = |why: &dyn Display| format!("could not load JWK: {why}");
    let jwk: Value = serde_json::from_str(jwk).map_err(|why| wrong(&why))?;
    if jwk.get("kty").and_then(Value::as_str).is_none() {
        return Err(wrong(&"it has no 'kty'"));
    }
    if jwk.get("kid").and_then(Value::as_str) == kid {
        return Ok(());
    }
    Err("kid in jwk.kid must be equal to keys.kid".into())
}

/// aws-lambda reaches its proxy without TLS.
pub(super) fn judge_plain_proxy(document: &Map<String, Value>) -> Result<(), String> {
    let config = document.get("config");
    let proxy = config.and_then(|config| config.get("proxy_url")?.as_str());
    match proxy.and_then(scheme_and_host) {
        Some((scheme, _)) if scheme != "http" => Err("proxy_url scheme must be \"http\"".into()),
        Some(_) | None => Ok(()),
    }
}
