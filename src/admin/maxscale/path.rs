//! The paths of the dialect: which there are, and what each verb does there.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use super::MaxScale;
use super::answer::{Answer, Failed};
use super::call::Call;
use super::draft::Draft;
use super::view::View;

/// What a request wants, once `X-HTTP-Method-Override` is read. `HEAD` is a [`Verb::Get`] whose body is
/// left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Verb {
    Get,
    Post,
    Put,
    Patch,
    Delete,
}

impl Verb {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }

    pub(super) const fn is_write(self) -> bool {
        !matches!(self, Self::Get)
    }
}

/// What an operation answers.
pub(super) type Outcome = Result<Answer, Failed>;

/// An operation that waits.
pub(super) type Running<'a> = Pin<Box<dyn Future<Output = Outcome> + Send + 'a>>;

/// What a verb does to a path.
#[derive(Clone, Copy)]
pub(super) enum Operation {
    /// Shows something of one snapshot and of live state.
    Show(fn(&View<'_>, &Call) -> Outcome),
    /// Plans changes, in the registry's writer: all of them happen or none. Answers 204.
    Plan(fn(&mut Draft, &Call) -> Result<(), Failed>),
    /// Anything else: what waits, reads files, or changes live state.
    Run(for<'a> fn(&'a MaxScale, &'a Call) -> Running<'a>),
}

impl fmt::Debug for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Show(_) => "Show",
            Self::Plan(_) => "Plan",
            Self::Run(_) => "Run",
        })
    }
}

/// Whether a request must bring a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    Required,
    /// One that is there is read nevertheless.
    Optional,
}

/// A verb of a path.
#[derive(Clone, Copy, Debug)]
pub(super) struct Action {
    pub(super) verb: Verb,
    pub(super) body: Body,
    pub(super) operation: Operation,
}

/// Declares how a verb's action is written in a table.
macro_rules! actions {
    ($($name:ident, $verb:ident, $body:ident;)*) => {
        $(pub(super) const fn $name(operation: Operation) -> Action {
            Action { verb: Verb::$verb, body: Body::$body, operation }
        })*
    };
}

actions! {
    get, Get, Optional;
    post, Post, Required;
    post_without_body, Post, Optional;
    put, Put, Optional;
    patch, Patch, Required;
    delete, Delete, Optional;
}

/// A path below `/v1`: its segments, `:` for one that a request fills in, and its verbs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Path {
    pub(super) segments: &'static [&'static str],
    pub(super) actions: &'static [Action],
}

impl Path {
    /// What the request's segments fill in, where this is their path.
    pub(super) fn fill(&self, segments: &[String]) -> Option<Vec<String>> {
        let pairs = || self.segments.iter().zip(segments);
        let fits = |(ours, theirs): (&&str, &String)| *ours == ":" || *ours == theirs;
        (self.segments.len() == segments.len() && pairs().all(fits)).then(|| {
            let open = pairs().filter(|(ours, _)| **ours == ":");
            open.map(|(_, theirs)| theirs.clone()).collect()
        })
    }

    pub(super) fn action(&self, verb: Verb) -> Option<&'static Action> {
        self.actions.iter().find(|action| action.verb == verb)
    }
}

/// The path of these segments; the first that fits.
pub(super) fn find(segments: &[String]) -> Option<(Path, Vec<String>)> {
    let tables = super::TABLES.iter().copied().flatten();
    let mut filled = tables.filter_map(|path| Some((*path, path.fill(segments)?)));
    filled.next()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segments(path: &str) -> Vec<String> {
        path.split('/').map(str::to_owned).collect()
    }

    #[test]
    fn a_path_takes_as_many_segments_as_it_has_and_tells_what_fills_it() {
        let path = Path {
            segments: &["services", ":", "listeners", ":"],
            actions: &[],
        };
        let filled = path.fill(&segments("services/a/listeners/b"));
        assert_eq!(filled, Some(segments("a/b")));
        for other in ["services/a/listeners", "services/a/b/c", "a/a/listeners/b"] {
            assert_eq!(path.fill(&segments(other)), None, "{other}");
        }
    }

    #[test]
    fn no_path_is_hidden_by_one_before_it() {
        let all: Vec<_> = super::super::TABLES.iter().copied().flatten().collect();
        for path in &all {
            let own: Vec<_> = path.segments.iter().map(|s| (*s).to_owned()).collect();
            let (found, _) = find(&own).unwrap();
            assert_eq!(found.segments, path.segments);
        }
    }
}
