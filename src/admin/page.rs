//! Pages of a list: an opaque cursor, a bounded limit.
//!
//! Lists are ordered by id and a cursor names the last one shown, so that an entity that exists
//! throughout is listed exactly once, whatever is written between two pages.

use crate::model::{Id, Kind};

use super::problem::{Details, Reason};

/// The most entities on one page.
pub const LIMIT_MAX: usize = 1000;

/// The entities on a page when nothing is asked for.
pub const LIMIT_DEFAULT: usize = 100;

/// Which page of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    pub limit: usize,
    /// The last entity of the page before.
    pub after: Option<Id>,
}

impl Page {
    /// From the parameters `limit` and `cursor`.
    ///
    /// # Errors
    /// 400 for a limit that is not 1 to [`LIMIT_MAX`], and for a cursor that this list did not give.
    pub fn parse(kind: Kind, limit: Option<&str>, cursor: Option<&str>) -> Result<Self, Details> {
        let limit = limit.map_or(Ok(LIMIT_DEFAULT), parse_limit)?;
        let after = cursor.map(|text| parse_cursor(kind, text)).transpose()?;
        Ok(Self { limit, after })
    }
}

fn parse_limit(text: &str) -> Result<usize, Details> {
    let limit = text.parse().ok();
    limit
        .filter(|limit| (1..=LIMIT_MAX).contains(limit))
        .ok_or_else(|| {
            let detail = format!("limit {text:?} must be 1 to {LIMIT_MAX}");
            Details::new(Reason::Parameter, detail)
        })
}

/// The cursor of the page behind `id`: the kind's word and the id in hexadecimal, no promise.
pub fn cursor(kind: Kind, id: Id) -> String {
    prefix(kind) + &hex(id.as_bytes())
}

fn prefix(kind: Kind) -> String {
    hex(kind.singular().as_bytes()) + "00"
}

/// Bytes in lower hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn parse_cursor(kind: Kind, text: &str) -> Result<Id, Details> {
    let read = || {
        let digits = text.strip_prefix(&prefix(kind))?;
        let number = u128::from_str_radix(digits, 16).ok()?;
        let id = Id::from_bytes(number.to_be_bytes());
        (cursor(kind, id) == text).then_some(id)
    };
    read().ok_or_else(|| {
        let detail = format!(
            "cursor {text:?} is not one that the list of {} gave",
            kind.plural()
        );
        Details::new(Reason::Parameter, detail)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn foreign_cursors_are_refused(text in "\\PC{0,60}") {
            prop_assert!(Page::parse(Kind::Route, None, Some(&text)).is_err());
        }
    }

    #[test]
    fn a_cursor_of_another_list_is_refused() {
        let other = cursor(Kind::Service, Id::random());
        assert!(Page::parse(Kind::Service, None, Some(&other)).is_ok());
        assert!(Page::parse(Kind::Route, None, Some(&other)).is_err());
        assert!(Page::parse(Kind::Route, None, Some(&other.to_uppercase())).is_err());
    }

    #[test]
    fn limits_are_bounded() {
        for bad in ["0", "1001", "-1", "x", "", "99999999999999999999"] {
            assert!(
                Page::parse(Kind::Route, Some(bad), None).is_err(),
                "{bad:?}"
            );
        }
        assert_eq!(
            Page::parse(Kind::Route, Some("1000"), None).unwrap().limit,
            1000
        );
        assert_eq!(
            Page::parse(Kind::Route, None, None).unwrap().limit,
            LIMIT_DEFAULT
        );
    }
}
