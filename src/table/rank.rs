//! The total order among routes that match one request. Written down once, here.
//!
//! Of all routes that match, the greatest [`Rank`] wins. Its parts, compared in sequence:
//!
//! 1. `priority`, as the operator set it.
//! 2. How many kinds of attribute the route names: methods, hosts, headers, paths, server names.
//! 3. Only plain hosts, before wildcards or none.
//! 4. The number of headers.
//! 5. The shape of the path that matched: exact, then regex, then prefix.
//! 6. `regex_priority`, among regex paths.
//! 7. The length of the prefix or exact path.
//! 8. The older route (`created_at`), then the greater id.
//! 9. Among one route's own paths the one that is named first: what makes the order total.
//!
//! Without 1 and the exact shape this is the order that Kong documents. A route with several paths
//! takes part once for each.

use crate::model;
use crate::model::PathPattern;

/// Parts 1 to 7, greater is better; derived comparison follows the order of the fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    priority: i32,
    kinds: u8,
    plain_hosts: bool,
    headers: u8,
    shape: Shape,
    /// Part 6 of a regex, part 7 of any other path: none has both.
    within: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Shape {
    Prefix,
    Regex,
    Exact,
}

impl Rank {
    /// The rank of a route when `path`, one of its paths or none, is what matched.
    pub(super) fn new(route: &model::Route, path: Option<&PathPattern>) -> Self {
        let length = |text: &str| i32::try_from(text.len()).unwrap_or(i32::MAX);
        let (shape, within) = match path {
            None => (Shape::Prefix, 0),
            Some(PathPattern::Prefix(text)) => (Shape::Prefix, length(text)),
            Some(PathPattern::Exact(text)) => (Shape::Exact, length(text)),
            Some(PathPattern::Regex(_)) => (Shape::Regex, route.regex_priority),
        };
        Self {
            priority: route.priority,
            kinds: kinds(route),
            plain_hosts: route.has_only_plain_hosts(),
            headers: u8::try_from(route.headers.len()).unwrap_or(u8::MAX),
            shape,
            within,
        }
    }
}

fn kinds(route: &model::Route) -> u8 {
    let named = [
        !route.methods.is_empty(),
        !route.hosts.is_empty(),
        !route.headers.is_empty(),
        !route.paths.is_empty(),
        !route.snis.is_empty(),
    ];
    named.into_iter().map(u8::from).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rank(document: &serde_json::Value) -> Rank {
        let route: model::Route = serde_json::from_value(document.clone()).unwrap();
        Rank::new(&route, route.paths.first())
    }

    /// Each line beats the next.
    #[test]
    fn every_rule_of_precedence_holds() {
        let lines = [
            serde_json::json!({"priority": 1}),
            serde_json::json!({"methods": ["GET"], "hosts": ["*.a.b"], "paths": ["/"]}),
            serde_json::json!({"hosts": ["a.b"], "paths": ["/"]}),
            serde_json::json!({"headers": {"a": ["1"], "b": ["1"]}, "paths": ["/"]}),
            serde_json::json!({"headers": {"a": ["1"]}, "paths": ["=/"]}),
            serde_json::json!({"headers": {"a": ["1"]}, "paths": ["~/a"], "regex_priority": 2}),
            serde_json::json!({"headers": {"a": ["1"]}, "paths": ["~/abcdef"], "regex_priority": 1}),
            serde_json::json!({"headers": {"a": ["1"]}, "paths": ["/longer"]}),
            serde_json::json!({"headers": {"a": ["1"]}, "paths": ["/long"]}),
            serde_json::json!({"paths": ["/long"]}),
            serde_json::json!({}),
            serde_json::json!({"priority": -1, "hosts": ["a.b"]}),
        ];
        for pair in lines.windows(2) {
            assert!(
                rank(&pair[0]) > rank(&pair[1]),
                "{} over {}",
                pair[0],
                pair[1]
            );
        }
    }
}
