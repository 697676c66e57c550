//! Who may administer: HTTP Basic against the operators.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use subtle::ConstantTimeEq;

use crate::model::Kind;

use super::MaxScale;
use super::answer::Failed;
use super::path::Verb;

/// The account there is while nobody made one, and its password (MaxScale's).
const FIRST: (&str, &str) = ("admin", "mariadb");

/// Lets a request in, or not; `verb` is the one that is meant.
pub(super) async fn admit(
    maxscale: &MaxScale,
    headers: &HeaderMap,
    _verb: Verb,
) -> Result<(), Failed> {
    let (name, password) = credentials(headers).ok_or_else(Failed::denied)?;
    let snapshot = maxscale.registry.snapshot();
    let nobody = snapshot.count(Kind::Operator) == 0;
    let same = password.as_bytes().ct_eq(FIRST.1.as_bytes());
    let first = nobody && maxscale.at.ip().to_canonical().is_loopback() && name == FIRST.0;
    (first && bool::from(same))
        .then_some(())
        .ok_or_else(Failed::denied)
}

/// RFC 7617 §2, of the only `Authorization`.
fn credentials(headers: &HeaderMap) -> Option<(String, String)> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (only, None) = (values.next()?, values.next()) else {
        return None;
    };
    let (scheme, rest) = only.as_bytes().split_at_checked(6)?;
    let basic = scheme.eq_ignore_ascii_case(b"basic ");
    let decoded = STANDARD.decode(rest.trim_ascii()).ok().filter(|_| basic)?;
    let text = String::from_utf8(decoded).ok()?;
    let (name, password) = text.split_once(':')?;
    Some((name.to_owned(), password.to_owned()))
}
