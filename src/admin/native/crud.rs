//! Create, read, update and delete, one body for every kind.

use std::sync::Arc;

use http::header::{ETAG, LOCATION};
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use serde_json::Value;

use crate::admin::page::{self, Page};
use crate::admin::problem::{Details, Flaw, Reason};
use crate::model::{Entity, EntityRef, Kind, Name, NamespaceRef, Revision, Snapshot, Tag};
use crate::registry::{self, Filter};

use super::apply::{Batch, Done, Framing, Mode, apply};
use super::operation::{Address, Effect, Operation, Verb, View, missing};
use super::query::Query;
use super::{Call, Reply, convert};

/// One page of a list.
#[derive(Debug, Serialize)]
struct List {
    items: Vec<Value>,
    /// The next page's cursor; none on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    revision: Revision,
}

pub(super) async fn list(call: Call, kind: Kind) -> Result<Reply, Details> {
    let query = &call.query;
    let page = Page::parse(kind, query.value("limit"), query.value("cursor"))?;
    let snapshot = call.native.registry.snapshot();
    let filter = filter(kind, query, &snapshot)?;
    let found = registry::page(&snapshot, kind, &filter, page.after, page.limit);
    let list = List {
        items: found
            .entities
            .iter()
            .map(|entity| convert::render(entity))
            .collect(),
        next: found.next.map(|id| page::cursor(kind, id)),
        revision: snapshot.revision(),
    };
    Ok(Reply::json(StatusCode::OK, &list).at_revision(snapshot.revision()))
}

fn filter(kind: Kind, query: &Query, snapshot: &Snapshot) -> Result<Filter, Details> {
    let wrong = |error: crate::model::Invalid| Details::new(Reason::Parameter, error.why);
    let tags = query.value("tags").map_or(Ok(Vec::new()), |tags| {
        tags.split(',').map(str::parse::<Tag>).collect()
    });
    let namespace = namespace(query)?.map(NamespaceRef::from);
    Ok(Filter {
        mentions: mentioned(kind, query, namespace.as_ref(), snapshot)?,
        namespace,
        tags: tags.map_err(wrong)?,
    })
}

/// The entities that a list is narrowed by, in parameters that are called like the kind's references.
fn mentioned(
    kind: Kind,
    query: &Query,
    namespace: Option<&NamespaceRef>,
    snapshot: &Snapshot,
) -> Result<Vec<EntityRef>, Details> {
    let namespace = namespace.map_or(NamespaceRef::DEFAULT, NamespaceRef::as_str);
    let view = View::new(snapshot);
    let find = |(field, to, text): (&str, Kind, &str)| {
        let address = Address::from(text);
        let entity = view.find(to, namespace, &address);
        entity.map(|entity| entity.at()).ok_or_else(|| {
            let detail = format!("{field}: {}", missing(to, namespace, &address).detail);
            Details::new(Reason::Parameter, detail)
        })
    };
    let references = convert::traits(kind).references.iter();
    let asked = references.filter_map(|(field, to)| Some((*field, *to, query.value(field)?)));
    asked.map(find).collect()
}

/// The namespace that a URL names.
fn namespace(query: &Query) -> Result<Option<Name>, Details> {
    let named = query.value("namespace").map(str::parse::<Name>).transpose();
    named.map_err(|error| Details::new(Reason::Parameter, error.why))
}

pub(super) async fn read(call: Call, kind: Kind) -> Result<Reply, Details> {
    let snapshot = call.native.registry.snapshot();
    let namespace = namespace(&call.query)?.map_or_else(NamespaceRef::default, NamespaceRef::from);
    let namespace = namespace.as_str();
    let address = call.address.as_ref().expect("the route has an address");
    let view = View::new(&snapshot);
    let entity = view.find(kind, namespace, address);
    let entity = entity.ok_or_else(|| missing(kind, namespace, address))?;
    let known = call.guard.none_matching.as_ref();
    let reply = if known.is_some_and(|tags| tags.hold(Some(entity))) {
        Reply::empty(StatusCode::NOT_MODIFIED)
    } else {
        Reply::json(StatusCode::OK, &convert::render(entity))
    };
    Ok(tagged(reply, entity).at_revision(snapshot.revision()))
}

pub(super) async fn create(call: Call, kind: Kind) -> Result<Reply, Details> {
    write(call, kind, Verb::Create).await
}

pub(super) async fn put(call: Call, kind: Kind) -> Result<Reply, Details> {
    write(call, kind, Verb::Put).await
}

pub(super) async fn patch(call: Call, kind: Kind) -> Result<Reply, Details> {
    write(call, kind, Verb::Patch).await
}

pub(super) async fn delete(call: Call, kind: Kind) -> Result<Reply, Details> {
    write(call, kind, Verb::Delete).await
}

async fn write(call: Call, kind: Kind, verb: Verb) -> Result<Reply, Details> {
    let document = match call.body {
        Value::Object(document) => document,
        // Only a deletion has no body, and its document is not looked at.
        Value::Null if verb == Verb::Delete => serde_json::Map::new(),
        _ => return Err(Flaw::at_field("", format!("a {kind} is a JSON object")).into()),
    };
    let operation = Operation {
        verb,
        kind,
        address: call.address,
        namespace: namespace(&call.query)?.map(String::from),
        document,
        guard: call.guard,
    };
    let batch = Batch {
        operations: vec![operation],
        framing: Framing::Single,
        expected: None,
        mode: Mode::Apply,
    };
    Ok(written(&apply(&call.native.registry, batch).await?))
}

/// The answer to a write: what is stored now.
fn written(done: &Done) -> Reply {
    let (at, effect) = done.effects.first().expect("one operation, one effect");
    let stored = done.applied.snapshot.entity(at.kind, at.id);
    let reply = match (effect, stored) {
        (Effect::Created, Some(entity)) => {
            let location = format!("/api/{}/{}", at.kind.plural(), at.id);
            let reply = shown(StatusCode::CREATED, entity);
            reply.with_header(LOCATION, location.parse().expect("words and an id"))
        }
        (Effect::Replaced, Some(entity)) => shown(StatusCode::OK, entity),
        (Effect::Deleted, _) | (Effect::Created | Effect::Replaced, None) => {
            Reply::empty(StatusCode::NO_CONTENT)
        }
    };
    reply.at_revision(done.applied.revision)
}

fn shown(status: StatusCode, entity: &Arc<Entity>) -> Reply {
    tagged(Reply::json(status, &convert::render(entity)), entity)
}

/// The entity tag is the revision that wrote the entity last.
fn tagged(reply: Reply, entity: &Entity) -> Reply {
    let tag = format!("\"{}\"", entity.revision);
    reply.with_header(ETAG, HeaderValue::from_str(&tag).expect("digits in quotes"))
}
