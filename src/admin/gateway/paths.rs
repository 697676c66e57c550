//! From an operation's path to the pattern that takes its requests and the path that is sent on.
//!
//! Patterns are written in the normal form in which the table sees a request's path: see
//! [`percent::decode`].

use super::openapi::Operation;
use super::percent::encode;
use crate::model::percent;
use crate::model::{Invalid, PathPattern};

/// Where an operation's requests come in, and what replaces the matched path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Way {
    pub(super) pattern: PathPattern,
    /// The path without the service's segment: itself, or `/$1` behind a regex.
    pub(super) rewrite: Box<str>,
    /// Bytes of the pattern that are no parameter: more is more specific.
    pub(super) literal: usize,
}

impl Way {
    /// The way into `operation` of the service called `name`: exactly `/{name}{path}`, a parameter
    /// standing for one non-empty segment or a part of one.
    pub(super) fn to(operation: &Operation, name: &str) -> Result<Self, Invalid> {
        let segment = normal_segment(name);
        let parts = parts(&operation.path);
        let literal = segment.len() + parts.iter().map(Part::literal).sum::<usize>();
        let has_parameter = parts.contains(&Part::Parameter);
        let (pattern, rewrite) = if has_parameter {
            let regex: String = parts.iter().map(Part::regex).collect();
            let behind = regex.strip_prefix('/').unwrap_or(&regex);
            let pattern = format!("~/{}/({behind})$", regex::escape(&segment));
            (pattern, "/$1".into())
        } else {
            let path: String = parts.iter().map(Part::text).collect();
            (
                format!("=/{segment}{path}"),
                encode(&path, is_sendable).into(),
            )
        };
        Ok(Self {
            pattern: pattern.parse()?,
            rewrite,
            literal,
        })
    }
}

/// A piece of a path template.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    /// In normal form.
    Literal(String),
    Parameter,
}

impl Part {
    const fn literal(&self) -> usize {
        match self {
            Self::Literal(text) => text.len(),
            Self::Parameter => 0,
        }
    }

    fn text(&self) -> &str {
        match self {
            Self::Literal(text) => text,
            Self::Parameter => "",
        }
    }

    fn regex(&self) -> String {
        match self {
            Self::Literal(text) => regex::escape(text),
            Self::Parameter => "[^/]+".to_owned(),
        }
    }
}

/// Splits a template at its `{parameters}`; a brace that opens none is a character like others.
fn parts(path: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut literal = String::new();
    let mut rest = path;
    while let Some(at) = rest.find('{') {
        let (before, from) = rest.split_at(at);
        literal.push_str(before);
        let inside = from.get(1..).unwrap_or_default();
        match inside.split_once('}') {
            Some((name, behind)) if !name.is_empty() && !name.contains(['/', '{']) => {
                if !literal.is_empty() {
                    parts.push(Part::Literal(normalise(&literal)));
                    literal.clear();
                }
                parts.push(Part::Parameter);
                rest = behind;
            }
            _ => {
                literal.push('{');
                rest = inside;
            }
        }
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        parts.push(Part::Literal(normalise(&literal)));
    }
    parts
}

/// A literal of a template in normal form. `?` and `#` would end a path, so that they mean themselves.
fn normalise(text: &str) -> String {
    let path = encode(text, |byte| !matches!(byte, b'?' | b'#'));
    String::from_utf8(percent::decode(path.as_bytes())).unwrap_or(path)
}

/// A service's name as a segment of a path in normal form.
fn normal_segment(name: &str) -> String {
    encode(name, |byte| {
        !matches!(byte, b'%' | b'?' | b'#' | b'[' | b']' | b'/')
    })
}

/// A service's name as a segment of a path in a URI.
pub(super) fn segment(name: &str) -> String {
    encode(name, |byte| {
        byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@".contains(&byte)
    })
}

/// What may be sent in a path as it is; `%` begins an escape that the normal form kept.
fn is_sendable(byte: u8) -> bool {
    byte.is_ascii_graphic() && !b"?#\"<>\\^`{|}".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way(name: &str, path: &str) -> (String, String) {
        let operation = Operation {
            method: "GET",
            path: path.into(),
            guarded: false,
        };
        let way = Way::to(&operation, name).unwrap();
        (way.pattern.to_string(), way.rewrite.into())
    }

    #[test]
    fn a_path_without_parameters_is_taken_exactly() {
        let pairs = [
            (("svc", "/users/"), ("=/svc/users/", "/users/")),
            (("svc", "/"), ("=/svc/", "/")),
            (("a b", "/é x"), ("=/a b/é x", "/%C3%A9%20x")),
            (("50%", "/q?a#b"), ("=/50%25/q%3Fa%23b", "/q%3Fa%23b")),
            (("s", "/%61%2f%2F"), ("=/s/a%2F%2F", "/a%2F%2F")),
            (("s", "/$metadata"), ("=/s/$metadata", "/$metadata")),
            (("s", "/a{b"), ("=/s/a{b", "/a%7Bb")),
            (("s", "/{}"), ("=/s/{}", "/%7B%7D")),
            (("s", "/%%34%31"), ("=/s/%%341", "/%%341")),
            (("s", "/%2%65"), ("=/s/%2%65", "/%2%65")),
        ];
        for ((name, path), (pattern, rewrite)) in pairs {
            assert_eq!(way(name, path), (pattern.to_owned(), rewrite.to_owned()));
        }
    }

    #[test]
    fn a_parameter_is_one_segment_or_a_part_of_one() {
        let pairs = [
            (("svc", "/users/{id}"), r"~/svc/(users/[^/]+)$"),
            (("svc", "/{id}/x/"), r"~/svc/([^/]+/x/)$"),
            (("a.b", "/f.{ext}"), r"~/a\.b/(f\.[^/]+)$"),
            (("s", "/{a}{b"), r"~/s/([^/]+\{b)$"),
            (("s", "/{a/b}/{c}"), r"~/s/(\{a/b\}/[^/]+)$"),
        ];
        for ((name, path), pattern) in pairs {
            assert_eq!(way(name, path), (pattern.to_owned(), "/$1".to_owned()));
        }
    }

    #[test]
    fn names_are_written_into_uris_so_that_they_read_back() {
        assert_eq!(segment("a b/é%"), "a%20b%2F%C3%A9%25");
        assert_eq!(segment("Hello-1.x~"), "Hello-1.x~");
    }
}
