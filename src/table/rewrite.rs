//! From the request's path to the path that is sent to the service.

use std::borrow::Cow;

use crate::model::PathHandling;

/// How a route's service joins its base path with what is left of the request's (Kong's `v0` and
/// `v1` rules; the table of cases under `tests/vectors` decides every corner).
#[derive(Clone, Copy, Debug)]
pub(super) struct Join<'a> {
    /// The service's base path; `/` where it has none.
    pub(super) base: &'a str,
    pub(super) strip: bool,
    pub(super) handling: PathHandling,
}

impl Join<'_> {
    /// The path to send for a normalised `path` of which the route matched `matched` bytes;
    /// `None` where the route names no path.
    pub(super) fn path<'p>(&self, path: &'p [u8], matched: Option<usize>) -> Cow<'p, [u8]> {
        if self.base == "/" && !self.strip {
            return Cow::Borrowed(path);
        }
        // Without a matched part, what is cut is the first slash.
        let cut = if self.strip { matched.unwrap_or(1) } else { 1 };
        let rest = harmless(path.get(cut..).unwrap_or_default());
        Cow::Owned(match self.handling {
            PathHandling::V0 => self.v0(path, rest),
            PathHandling::V1 => self.v1(rest),
        })
    }

    fn v0(&self, path: &[u8], rest: &[u8]) -> Vec<u8> {
        let base = self.base.as_bytes();
        let (bare, has_slash) = base
            .strip_suffix(b"/")
            .map_or((base, false), |bare| (bare, true));
        let request_ends_open = path.ends_with(b"/");
        if !self.strip {
            return match (has_slash, path) {
                (false, b"/") => base.to_vec(),
                _ => [bare, path].concat(),
            };
        }
        match rest {
            b"" if base == b"/" => b"/".to_vec(),
            b"" if has_slash => if request_ends_open { base } else { bare }.to_vec(),
            b"" if request_ends_open && path.len() > 1 => [base, b"/"].concat(),
            b"" => base.to_vec(),
            [b'/', ..] => [bare, rest].concat(),
            _ => [bare, b"/", rest].concat(),
        }
    }

    fn v1(&self, rest: &[u8]) -> Vec<u8> {
        let base = self.base.as_bytes();
        match (base.ends_with(b"/"), rest) {
            (true, [b'/', behind @ ..]) => [base, behind].concat(),
            _ => [base, rest].concat(),
        }
    }
}

/// What stripping leaves must not begin with a dot segment that the normal form had no cause to see.
fn harmless(rest: &[u8]) -> &[u8] {
    match rest {
        b"." | b".." => b"",
        [b'.', b'/', behind @ ..] | [b'.', b'.', b'/', behind @ ..] => behind,
        rest => rest,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_recorded_joining_holds() {
        let vectors: serde_json::Value =
            serde_json::from_str(include_str!("../../tests/vectors/kong-router.json")).unwrap();
        let rows = vectors["path_handling_table"].as_array().unwrap();
        assert!(rows.len() > 100);
        for row in rows {
            let text = |key: &str| row[key].as_str().unwrap_or_default();
            let handling = match text("path_handling") {
                "v1" => PathHandling::V1,
                _ => PathHandling::V0,
            };
            let base = if text("service_path").is_empty() {
                "/"
            } else {
                text("service_path")
            };
            let join = Join {
                base,
                strip: row["strip_path"] == true,
                handling,
            };
            let path = crate::table::normalize(text("request_path").as_bytes());
            let matched = row["route_path"].as_str().map(str::len);
            let sent = join.path(&path, matched);
            assert_eq!(
                String::from_utf8_lossy(&sent),
                text("upstream_path"),
                "{row}"
            );
        }
    }

    #[test]
    fn every_recorded_remainder_is_made_harmless() {
        let vectors: serde_json::Value =
            serde_json::from_str(include_str!("../../tests/vectors/kong-router.json")).unwrap();
        for case in vectors["uri"]["sanitize_postfix"].as_array().unwrap() {
            let (input, output) = (
                case["input"].as_str().unwrap(),
                case["output"].as_str().unwrap(),
            );
            assert_eq!(harmless(input.as_bytes()), output.as_bytes(), "{case}");
        }
    }
}
