//! Preconditions, judged before a request is executed, whatever its verb (MaxScale 2.3). Of several only
//! the first counts.

use http::header::{IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_UNMODIFIED_SINCE};
use http::{HeaderMap, HeaderName, StatusCode};

use super::moment::parse_http_date;
use super::stamps::Stamp;

/// In the order in which they are looked for.
static ALL: [HeaderName; 4] = [
    IF_MODIFIED_SINCE,
    IF_UNMODIFIED_SINCE,
    IF_MATCH,
    IF_NONE_MATCH,
];

/// Whether a request has any.
pub(super) fn is_conditional(headers: &HeaderMap) -> bool {
    ALL.iter().any(|name| headers.contains_key(name))
}

/// The status that keeps a request from being executed. A date that is none counts as no condition
/// (RFC 9110 §13.1.3).
pub(super) fn verdict(headers: &HeaderMap, stamp: Stamp) -> Option<StatusCode> {
    let name = ALL.iter().find(|name| headers.contains_key(*name))?;
    let values = headers.get_all(name).iter();
    let texts: Vec<_> = values.map(|value| value.to_str().unwrap_or("")).collect();
    let text = texts.join(",");
    let modified = stamp.modified.seconds();
    let since = || parse_http_date(text.trim());
    let not_modified = |yes: bool| yes.then_some(StatusCode::NOT_MODIFIED);
    let failed = |yes: bool| yes.then_some(StatusCode::PRECONDITION_FAILED);
    if *name == IF_MODIFIED_SINCE {
        not_modified(modified <= since()?)
    } else if *name == IF_UNMODIFIED_SINCE {
        failed(modified > since()?)
    } else if *name == IF_MATCH {
        failed(!is_named(&text, stamp.count))
    } else {
        not_modified(is_named(&text, stamp.count))
    }
}

/// Whether a list of entity tags holds this one, or is `*`.
fn is_named(list: &str, count: u64) -> bool {
    let own = count.to_string();
    let one = |tag: &str| {
        let tag = tag.trim().trim_start_matches("W/");
        tag == "*" || tag.trim_matches('"') == own
    };
    list.split(',').any(one)
}

#[cfg(test)]
mod tests {
    use super::super::moment::http_date;
    use super::*;
    use crate::model::Timestamp;

    const STAMP: Stamp = Stamp {
        count: 7,
        modified: Timestamp(1_000_000_999),
    };

    fn judged(headers: &[(&HeaderName, &str)]) -> Option<u16> {
        let pair = |(name, value): &(&HeaderName, &str)| ((*name).clone(), value.parse().unwrap());
        let headers: HeaderMap = headers.iter().map(pair).collect();
        verdict(&headers, STAMP).map(|status| status.as_u16())
    }

    #[test]
    fn each_condition_has_its_answer() {
        let at = |seconds: u64| http_date(Timestamp(seconds * 1000));
        let (before, same) = (at(999_999), at(1_000_000));
        assert_eq!(judged(&[]), None);
        assert_eq!(judged(&[(&IF_MODIFIED_SINCE, &same)]), Some(304));
        assert_eq!(judged(&[(&IF_MODIFIED_SINCE, &before)]), None);
        assert_eq!(judged(&[(&IF_UNMODIFIED_SINCE, &same)]), None);
        assert_eq!(judged(&[(&IF_UNMODIFIED_SINCE, &before)]), Some(412));
        assert_eq!(judged(&[(&IF_MATCH, "\"7\"")]), None);
        assert_eq!(judged(&[(&IF_MATCH, "\"6\", \"7\"")]), None);
        assert_eq!(judged(&[(&IF_MATCH, "\"70\"")]), Some(412));
        assert_eq!(judged(&[(&IF_NONE_MATCH, "*")]), Some(304));
        assert_eq!(judged(&[(&IF_NONE_MATCH, "\"8\"")]), None);
        assert_eq!(judged(&[(&IF_MODIFIED_SINCE, "never")]), None);
    }

    #[test]
    fn only_the_first_counts() {
        let never = (&IF_MODIFIED_SINCE, "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(judged(&[(&IF_MATCH, "\"1\""), never]), None);
        assert_eq!(
            judged(&[(&IF_NONE_MATCH, "\"7\""), (&IF_MATCH, "\"7\"")]),
            None
        );
    }
}
