//! Moments as headers and documents write them.

use std::time::{Duration, UNIX_EPOCH};

use crate::model::Timestamp;

/// `Mon, 22 May 2017 12:54:05 GMT` (RFC 9110 §5.6.7).
pub(super) fn http_date(at: Timestamp) -> String {
    // Four digits of a year are what the form holds.
    let seconds = at.seconds().min(253_402_300_799);
    httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds))
}

/// `Mon May 22 12:54:05 2017`: C's `asctime`, here in UTC.
pub(super) fn asctime(at: Timestamp) -> String {
    let date = http_date(at);
    let mut words = date.split([' ', ',']).filter(|word| !word.is_empty());
    let mut next = || words.next().unwrap_or_default();
    let (weekday, day, month, year, time) = (next(), next(), next(), next(), next());
    let day = day.trim_start_matches('0');
    format!("{weekday} {month} {day:>2} {time} {year}")
}

/// A date of a header, in whole seconds.
pub(super) fn parse_http_date(text: &str) -> Option<u64> {
    let at = httpdate::parse_http_date(text).ok()?;
    Some(at.duration_since(UNIX_EPOCH).ok()?.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_as_headers_and_as_c_does() {
        let at = Timestamp(1_495_457_645_999);
        assert_eq!(http_date(at), "Mon, 22 May 2017 12:54:05 GMT");
        assert_eq!(asctime(at), "Mon May 22 12:54:05 2017");
        assert_eq!(asctime(Timestamp(0)), "Thu Jan  1 00:00:00 1970");
        assert_eq!(parse_http_date(&http_date(at)), Some(at.seconds()));
        assert_eq!(parse_http_date("yesterday"), None);
        assert!(http_date(Timestamp(u64::MAX)).ends_with("9999 23:59:59 GMT"));
    }
}
