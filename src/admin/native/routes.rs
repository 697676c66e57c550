//! Every native route, in one table: the router, the decision who may call it, and the OpenAPI
//! document are made from it.

use std::future::Future;
use std::pin::Pin;

use http::Method;
use schemars::{Schema, SchemaGenerator};
use serde_json::{Value, json};

use crate::admin::auth::{Exception, Need, need_of_method};
use crate::admin::page::{LIMIT_DEFAULT, LIMIT_MAX};
use crate::admin::problem::{Details, Reason};
use crate::admin::status::Status;
use crate::model::Kind;

use super::convert::traits;
use super::explain::{Answer, Asked};
use super::reports::{Liveness, Readiness};
use super::transaction::{Outcome, Transaction};
use super::{Call, Reply, crud, reports, transaction};

type Answered = Pin<Box<dyn Future<Output = Result<Reply, Details>> + Send>>;

/// What answers a route: once for every kind, or once.
#[derive(Clone, Copy, Debug)]
pub(super) enum Run {
    Each(fn(Call, Kind) -> Answered),
    Once(fn(Call) -> Answered),
}

/// A schema in the document.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shape {
    /// An entity as it is shown.
    Entity,
    /// A page of them.
    List,
    /// An entity as it is written.
    Document,
    /// A merge patch of it.
    Patch,
    /// A type of ours.
    Type(fn(&mut SchemaGenerator) -> Schema),
}

/// What a body is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Content {
    Nothing,
    Json(Shape),
    /// The OpenAPI document itself, a page, text: by media type.
    Other(&'static str),
}

/// Where a parameter is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Query,
    Header,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Parameter {
    pub(super) name: &'static str,
    pub(super) place: Place,
    pub(super) about: &'static str,
    pub(super) schema: fn() -> Value,
}

/// One method of one path.
#[derive(Clone, Debug)]
pub(super) struct Route {
    pub(super) method: Method,
    /// `{plural}` stands for every kind's plural word; `{entity}` is an id or a name.
    pub(super) path: &'static str,
    /// The operation's id; for a route of every kind, the verb before the kind's word.
    pub(super) operation: &'static str,
    /// `{kind}` and `{plural}` stand for a kind's words.
    pub(super) summary: &'static str,
    pub(super) need: Need,
    pub(super) parameters: &'static [Parameter],
    pub(super) body: Content,
    /// Statuses without an error.
    pub(super) answers: &'static [(u16, &'static str, Content)],
    /// Why it may be refused, beside [`ALWAYS`].
    pub(super) refusals: &'static [Reason],
    pub(super) run: Run,
}

/// Reasons for which any route may refuse.
pub(super) const ALWAYS: &[Reason] = &[
    Reason::Parameter,
    Reason::Origin,
    Reason::TooMany,
    Reason::Internal,
];

/// Reasons of routes that need a token.
pub(super) const GUARDED: &[Reason] = &[Reason::Unauthorized, Reason::Forbidden];

/// Reasons of routes that read a body.
pub(super) const BODIED: &[Reason] = &[
    Reason::Malformed,
    Reason::SlowBody,
    Reason::TooLarge,
    Reason::MediaType,
    Reason::Invalid,
];

/// Reasons of every write.
const WRITE: &[Reason] = &[
    Reason::NotFound,
    Reason::AlreadyExists,
    Reason::InUse,
    Reason::Address,
    Reason::Precondition,
    Reason::Invalid,
    Reason::ReadOnly,
    Reason::Unavailable,
    Reason::Full,
];

/// `*`, or tags in quotes (RFC 9110 §13.1.1).
fn entity_tags() -> Value {
    let tag = r#"(W/)?"[^" ,]*""#;
    json!({"type": "string", "pattern": format!(r"^(\*|{tag}(, ?{tag})*)$")})
}

const LIMIT: Parameter = Parameter {
    name: "limit",
    place: Place::Query,
    about: "The most entities on a page.",
    schema: || json!({"type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": LIMIT_DEFAULT}),
};
const CURSOR: Parameter = Parameter {
    name: "cursor",
    place: Place::Query,
    about: "`next` of the page before.",
    schema: || json!({"type": "string", "pattern": "^[0-9a-f]+$"}),
};
const TAGS: Parameter = Parameter {
    name: "tags",
    place: Place::Query,
    about: "Only entities that carry all of these tags, separated by commas.",
    schema: || json!({"type": "string", "pattern": "^[^,/]+(,[^,/]+)*$"}),
};
const ONLY_NAMESPACE: Parameter = Parameter {
    name: "namespace",
    place: Place::Query,
    about: "Only entities of this namespace; kinds without namespaces are not narrowed.",
    schema: || json!({"type": "string", "minLength": 1}),
};
/// Stands for the kind's own fields that mention other entities.
const REFERENCE: Parameter = Parameter {
    name: "{reference}",
    place: Place::Query,
    about: "Only entities that mention this one, by id or name; names are looked up in the \
            namespace, or in `default`.",
    schema: || json!({"type": "string", "minLength": 1}),
};
const NAMESPACE: Parameter = Parameter {
    name: "namespace",
    place: Place::Query,
    about: "Where names are looked up, and where a document without a namespace belongs. \
            Default `default`.",
    schema: || json!({"type": "string", "minLength": 1}),
};
const IF_MATCH: Parameter = Parameter {
    name: "If-Match",
    place: Place::Header,
    about: "`*`, or the revisions, in quotes, of which the entity must be at one; else 412.",
    schema: entity_tags,
};
const IF_NONE_MATCH: Parameter = Parameter {
    name: "If-None-Match",
    place: Place::Header,
    about: "`*`: the entity must not exist; else 412.",
    schema: entity_tags,
};
const IF_CHANGED: Parameter = Parameter {
    name: "If-None-Match",
    place: Place::Header,
    about: "Revisions in quotes; 304 when the entity is still at one of them.",
    schema: entity_tags,
};

/// The native API.
pub(super) const ROUTES: &[Route] = &[
    Route {
        method: Method::GET,
        path: "/api/{plural}",
        operation: "list",
        summary: "List {plural}, ordered by id",
        need: Need::Read,
        parameters: &[LIMIT, CURSOR, TAGS, ONLY_NAMESPACE, REFERENCE],
        body: Content::Nothing,
        answers: &[(200, "One page.", Content::Json(Shape::List))],
        refusals: &[],
        run: Run::Each(|call, kind| Box::pin(crud::list(call, kind))),
    },
    Route {
        method: Method::POST,
        path: "/api/{plural}",
        operation: "create",
        summary: "Create a {kind}; it is durable and live when this answers",
        need: Need::Write,
        parameters: &[NAMESPACE],
        body: Content::Json(Shape::Document),
        answers: &[(201, "Created.", Content::Json(Shape::Entity))],
        refusals: WRITE,
        run: Run::Each(|call, kind| Box::pin(crud::create(call, kind))),
    },
    Route {
        method: Method::GET,
        path: "/api/{plural}/{entity}",
        operation: "read",
        summary: "Read a {kind}",
        need: Need::Read,
        parameters: &[NAMESPACE, IF_CHANGED],
        body: Content::Nothing,
        answers: &[
            (
                200,
                "The entity; its entity tag is its revision.",
                Content::Json(Shape::Entity),
            ),
            (304, "Still the same.", Content::Nothing),
        ],
        refusals: &[Reason::NotFound],
        run: Run::Each(|call, kind| Box::pin(crud::read(call, kind))),
    },
    Route {
        method: Method::PUT,
        path: "/api/{plural}/{entity}",
        operation: "put",
        summary: "Create or replace a {kind}; other dialects' attributes stay unless they are given",
        need: Need::Write,
        parameters: &[NAMESPACE, IF_MATCH, IF_NONE_MATCH],
        body: Content::Json(Shape::Document),
        answers: &[
            (200, "Replaced.", Content::Json(Shape::Entity)),
            (201, "Created.", Content::Json(Shape::Entity)),
        ],
        refusals: WRITE,
        run: Run::Each(|call, kind| Box::pin(crud::put(call, kind))),
    },
    Route {
        method: Method::PATCH,
        path: "/api/{plural}/{entity}",
        operation: "patch",
        summary: "Change a {kind} by a JSON merge patch (RFC 7396)",
        need: Need::Write,
        parameters: &[NAMESPACE, IF_MATCH],
        body: Content::Json(Shape::Patch),
        answers: &[(200, "Changed.", Content::Json(Shape::Entity))],
        refusals: WRITE,
        run: Run::Each(|call, kind| Box::pin(crud::patch(call, kind))),
    },
    Route {
        method: Method::DELETE,
        path: "/api/{plural}/{entity}",
        operation: "delete",
        summary: "Delete a {kind}, with what it owns",
        need: Need::Write,
        parameters: &[NAMESPACE, IF_MATCH],
        body: Content::Nothing,
        answers: &[(204, "Deleted.", Content::Nothing)],
        refusals: WRITE,
        run: Run::Each(|call, kind| Box::pin(crud::delete(call, kind))),
    },
    Route {
        method: Method::POST,
        path: "/api/transactions",
        operation: "applyTransaction",
        summary: "Apply several operations as one revision, all or nothing",
        need: Need::Write,
        parameters: &[],
        body: Content::Json(Shape::Type(SchemaGenerator::subschema_for::<Transaction>)),
        answers: &[(
            200,
            "Applied.",
            Content::Json(Shape::Type(SchemaGenerator::subschema_for::<Outcome>)),
        )],
        refusals: WRITE,
        run: Run::Once(|call| Box::pin(transaction::run(call))),
    },
    Route {
        method: Method::POST,
        path: "/api/explain",
        operation: "explainRequest",
        summary: "Say what would happen to a request, and why",
        need: Need::Read,
        parameters: &[],
        body: Content::Json(Shape::Type(SchemaGenerator::subschema_for::<Asked>)),
        answers: &[(
            200,
            "Explained.",
            Content::Json(Shape::Type(SchemaGenerator::subschema_for::<Answer>)),
        )],
        refusals: &[],
        run: Run::Once(|call| Box::pin(reports::explain(call))),
    },
    Route {
        method: Method::GET,
        path: "/api/status",
        operation: "readStatus",
        summary: "How the gateway and its endpoints are",
        need: Need::Read,
        parameters: &[],
        body: Content::Nothing,
        answers: &[(
            200,
            "The status.",
            Content::Json(Shape::Type(SchemaGenerator::subschema_for::<Status>)),
        )],
        refusals: &[],
        run: Run::Once(|call| Box::pin(reports::status(call))),
    },
    Route {
        method: Method::GET,
        path: "/api/ready",
        operation: "readReadiness",
        summary: "Whether traffic is accepted",
        need: Need::Nothing,
        parameters: &[],
        body: Content::Nothing,
        answers: &[
            (
                200,
                "It is.",
                Content::Json(Shape::Type(SchemaGenerator::subschema_for::<Readiness>)),
            ),
            (
                503,
                "It is not: starting or draining.",
                Content::Json(Shape::Type(SchemaGenerator::subschema_for::<Readiness>)),
            ),
        ],
        refusals: &[],
        run: Run::Once(|call| Box::pin(reports::ready(call))),
    },
    Route {
        method: Method::GET,
        path: "/api/live",
        operation: "readLiveness",
        summary: "Whether the gateway answers at all",
        need: Need::Nothing,
        parameters: &[],
        body: Content::Nothing,
        answers: &[(
            200,
            "It does.",
            Content::Json(Shape::Type(SchemaGenerator::subschema_for::<Liveness>)),
        )],
        refusals: &[],
        run: Run::Once(|call| Box::pin(reports::live(call))),
    },
    Route {
        method: Method::GET,
        path: "/api/openapi.json",
        operation: "readDocument",
        summary: "This document",
        need: Need::Nothing,
        parameters: &[],
        body: Content::Nothing,
        answers: &[(200, "OpenAPI 3.1.", Content::Other("application/json"))],
        refusals: &[],
        run: Run::Once(|call| Box::pin(reports::document(call))),
    },
    Route {
        method: Method::GET,
        path: "/api/docs",
        operation: "readDocs",
        summary: "This document as a page",
        need: Need::Nothing,
        parameters: &[],
        body: Content::Nothing,
        answers: &[(200, "A page.", Content::Other("text/html"))],
        refusals: &[],
        run: Run::Once(|call| Box::pin(reports::docs_page(call))),
    },
    Route {
        method: Method::GET,
        path: "/metrics",
        operation: "readMetrics",
        summary: "Metrics in the Prometheus text format",
        need: Need::Read,
        parameters: &[],
        body: Content::Nothing,
        answers: &[(200, "Metrics.", Content::Other("text/plain"))],
        refusals: &[],
        run: Run::Once(|call| Box::pin(reports::metrics(call))),
    },
];

impl Route {
    pub(super) const fn takes_body(&self) -> bool {
        !matches!(self.body, Content::Nothing)
    }

    /// Every reason for which it may refuse.
    pub(super) fn reasons(&self) -> impl Iterator<Item = Reason> {
        let guarded = if self.need == Need::Nothing {
            &[][..]
        } else {
            GUARDED
        };
        let bodied = if self.takes_body() { BODIED } else { &[][..] };
        [ALWAYS, guarded, bodied, self.refusals]
            .into_iter()
            .flatten()
            .copied()
    }
}

/// A route as it is served: one path, one kind where it has one.
#[derive(Clone, Debug)]
pub(super) struct Served {
    pub(super) path: String,
    pub(super) route: &'static Route,
    pub(super) kind: Option<Kind>,
    run: Bound,
}

/// What answers, with the kind it answers for.
#[derive(Clone, Copy, Debug)]
enum Bound {
    Each(fn(Call, Kind) -> Answered, Kind),
    Once(fn(Call) -> Answered),
}

impl Served {
    fn once(route: &'static Route, run: fn(Call) -> Answered) -> Self {
        Self {
            path: route.path.to_owned(),
            route,
            kind: None,
            run: Bound::Once(run),
        }
    }

    fn each(route: &'static Route, run: fn(Call, Kind) -> Answered, kind: Kind) -> Self {
        Self {
            path: route.path.replace("{plural}", kind.plural()),
            route,
            kind: Some(kind),
            run: Bound::Each(run, kind),
        }
    }

    /// The route's parameters, [`REFERENCE`] once for every reference that the kind has.
    pub(super) fn parameters(&self) -> impl Iterator<Item = Parameter> {
        let references = self.kind.map_or(&[][..], |kind| traits(kind).references);
        let named = |(name, _): &(&'static str, Kind)| Parameter { name, ..REFERENCE };
        let all = self.route.parameters.iter();
        all.flat_map(move |parameter| -> Vec<Parameter> {
            match parameter.name {
                name if name == REFERENCE.name => references.iter().map(named).collect(),
                _ => vec![*parameter],
            }
        })
    }

    pub(super) fn query_names(&self) -> Vec<&'static str> {
        self.parameters()
            .filter(|parameter| parameter.place == Place::Query)
            .map(|parameter| parameter.name)
            .collect()
    }

    pub(super) fn run(&self, call: Call) -> Answered {
        match self.run {
            Bound::Each(run, kind) => run(call, kind),
            Bound::Once(run) => run(call),
        }
    }
}

/// Every route, once for each kind it is served for.
pub(super) fn served() -> impl Iterator<Item = Served> {
    ROUTES.iter().flat_map(|route| -> Vec<Served> {
        match route.run {
            Run::Once(run) => vec![Served::once(route, run)],
            Run::Each(run) => {
                let of_kind = |kind: &Kind| Served::each(route, run, *kind);
                Kind::ALL.iter().map(of_kind).collect()
            }
        }
    })
}

/// The routes whose need is not their method's. Their paths have no parameters, so that one spelling
/// of each is all there is.
pub(super) fn exceptions() -> Vec<Exception> {
    let exceptional = |route: &&Route| route.need != need_of_method(&route.method);
    let exception = |route: &Route| Exception {
        method: route.method.clone(),
        path: route.path,
        need: route.need,
    };
    ROUTES.iter().filter(exceptional).map(exception).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::admin::auth::need;

    #[test]
    fn who_may_call_a_route_is_what_the_table_says() {
        let exceptions = exceptions();
        assert!(
            exceptions
                .iter()
                .all(|exception| !exception.path.contains('{'))
        );
        for served in served() {
            let route = served.route;
            assert_eq!(
                need(&exceptions, &route.method, &served.path),
                route.need,
                "{}",
                served.path
            );
        }
    }

    #[test]
    fn methods_of_a_path_and_operations_are_unique() {
        let all: Vec<_> = served().collect();
        let paths: BTreeSet<_> = all
            .iter()
            .map(|served| (served.route.method.as_str(), &served.path))
            .collect();
        assert_eq!(paths.len(), all.len());
        let operations: BTreeSet<_> = ROUTES.iter().map(|route| route.operation).collect();
        assert_eq!(operations.len(), ROUTES.len());
    }

    #[test]
    fn a_kind_s_path_hides_no_other_route() {
        let words: BTreeSet<_> = Kind::ALL.iter().map(|kind| kind.plural()).collect();
        let single = |route: &&Route| matches!(route.run, Run::Once(_));
        for route in ROUTES.iter().filter(single) {
            let word = route.path.rsplit('/').next().unwrap();
            assert!(!words.contains(word), "{word}");
        }
    }
}
