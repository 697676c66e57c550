//! The order of [`super::rank`] and the meaning of each attribute, read literally: a scan over all
//! routes, sorted. Slow and plain; property tests and fuzzing compare the index with it.

use std::cmp::Reverse;

use super::route::{Question, compile_regex};
use crate::model::{Entity, HeaderTest, HostShape, Id, PathPattern, Route};

/// The id of the route that wins, and how much of the path it took.
pub fn find<'a>(
    routes: impl IntoIterator<Item = &'a Entity>,
    question: &Question<'_>,
) -> Option<(Id, Option<usize>)> {
    let mut entries = Vec::new();
    for entity in routes {
        let Some(route) = entity.as_kind::<Route>() else {
            continue;
        };
        if route.paths.is_empty() {
            entries.push((entity, route, None));
        }
        entries.extend(route.paths.iter().map(|path| (entity, route, Some(path))));
    }
    entries.sort_by_key(|(entity, route, path)| {
        let kinds = [
            route.methods.is_empty(),
            route.hosts.is_empty(),
            route.headers.is_empty(),
            route.paths.is_empty(),
            route.snis.is_empty(),
        ];
        let named = kinds.iter().filter(|is_empty| !**is_empty).count();
        let plain = route
            .hosts
            .iter()
            .all(|host| host.shape() == HostShape::Exact);
        let (shape, regex_priority, length) = match path {
            Some(PathPattern::Exact(text)) => (2, 0, text.len()),
            Some(PathPattern::Regex(_)) => (1, route.regex_priority, 0),
            Some(PathPattern::Prefix(text)) => (0, 0, text.len()),
            None => (0, 0, 0),
        };
        let plain = plain && !route.hosts.is_empty();
        let headers = route.headers.len().min(255);
        let best = (
            route.priority,
            named,
            plain,
            headers,
            shape,
            regex_priority,
            length,
        );
        (Reverse(best), entity.created_at, Reverse(entity.id))
    });
    let won = |(entity, route, path): &(&Entity, &Route, Option<&PathPattern>)| {
        let matched = takes(route, *path, question)?;
        Some((entity.id, matched))
    };
    entries.iter().find_map(won)
}

#[expect(
    clippy::option_option,
    reason = "no match, a match without a path, a match with one"
)]
fn takes(
    route: &Route,
    path: Option<&PathPattern>,
    question: &Question<'_>,
) -> Option<Option<usize>> {
    let matched = match path {
        None => None,
        Some(PathPattern::Prefix(text)) => Some(
            question
                .path
                .starts_with(text.as_bytes())
                .then_some(text.len())?,
        ),
        Some(PathPattern::Exact(text)) => {
            Some((question.path == text.as_bytes()).then_some(text.len())?)
        }
        Some(PathPattern::Regex(text)) => {
            let regex = compile_regex("paths", text, "^(?:", ")").ok()?;
            Some(regex.find(question.path)?.end())
        }
    };
    let method = route.methods.is_empty() || route.methods.contains(question.method);
    let host = route.hosts.is_empty()
        || route.hosts.iter().any(|host| {
            host.matches(question.host) && host.port().is_none_or(|port| port == question.port)
        });
    let headers = route.headers.iter().all(|header| {
        question.headers.get_all(&header.name).iter().any(|value| {
            let value = String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase();
            match &header.test {
                HeaderTest::AnyOf(wanted) => wanted.iter().any(|want| **want == *value),
                HeaderTest::Regex(text) => compile_regex("headers", text, "(?i)", "")
                    .is_ok_and(|regex| regex.is_match(value.as_bytes())),
            }
        })
    });
    let name = question.server_name.unwrap_or_default();
    let sni =
        !question.secure || route.snis.is_empty() || route.snis.iter().any(|s| s.matches(name));
    (method && host && headers && sni).then_some(matched)
}
