//! Kong without a database: the whole configuration comes as one document at `/config`, and nothing
//! else writes.

use axum::body::{Bytes, to_bytes};
use axum::extract::Request;
use axum::response::Response;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Method, StatusCode};
use serde_json::{Map, Value, json};

use super::body::{self, Input};
use super::collection::Collection;
use super::declarative::{self, DOCUMENT_BYTES_MAX, Declared, Flaws, Others};
use super::failure::Failure;
use super::place::{Node, Place};
use super::view::View;
use super::{Kong, answer};
use crate::model::{EntityRef, Snapshot};
use crate::registry;

/// How a document is to be read, and its faults told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Wish {
    /// 304 where nothing would change.
    check_hash: bool,
    /// Faults as a list, by entity.
    flatten_errors: bool,
}

impl Wish {
    fn of(query: &str) -> Self {
        let pairs = body::pairs(query.as_bytes());
        let asked = |wanted: &str| {
            let said = |(name, value): &(String, String)| name == wanted && value == "1";
            pairs.iter().any(said)
        };
        Self {
            check_hash: asked("check_hash"),
            flatten_errors: asked("flatten_errors"),
        }
    }

    fn refuse(self, flaws: &Flaws) -> Failure {
        Failure::declarative(flaws, self.flatten_errors)
    }
}

/// Why a document did not become the configuration.
struct Unloaded(Failure);

impl From<registry::Error> for Unloaded {
    fn from(error: registry::Error) -> Self {
        Self(match &error {
            registry::Error::Refused(_)
            | registry::Error::Problems(_)
            | registry::Error::Bind { .. } => {
                Failure::declarative(&Flaws::of_whole(&error.to_string()), false)
            }
            registry::Error::ReadOnly(_)
            | registry::Error::Full(_)
            | registry::Error::Unavailable(_) => error.into(),
        })
    }
}

impl Kong {
    /// `POST /config`: everything that this dialect shows is replaced, in one step.
    pub(super) async fn replace(&self, request: Request) -> Result<Response, Failure> {
        if self.database {
            return Err(Failure::with_a_database());
        }
        let (head, body) = request.into_parts();
        let wish = Wish::of(head.uri.query().unwrap_or_default());
        let Ok(bytes) = to_bytes(body, DOCUMENT_BYTES_MAX).await else {
            return Err(Failure::too_large());
        };
        let document = document(&head.headers, bytes).await?;
        let declared = document.and_then(declarative::read);
        let declared = declared.map_err(|flaws| wish.refuse(&flaws))?;
        self.load(declared, wish).await
    }

    async fn load(&self, declared: Declared, wish: Wish) -> Result<Response, Failure> {
        let normal_path = self.normal_path;
        let run = move |now: &Snapshot| {
            let plan = declarative::plan(&declared, now, Others::Go, normal_path);
            let plan = plan.map_err(|flaws| Unloaded(wish.refuse(&flaws)))?;
            if wish.check_hash && plan.changes.is_empty() {
                return Err(Unloaded(Failure::not_modified()));
            }
            Ok((plan.changes, plan.declared))
        };
        let edited = self.registry.edit(run).await;
        let (applied, declared) = edited.map_err(|Unloaded(failure)| failure)?;
        let body = entities(View::new(&applied.snapshot), &declared);
        Ok(answer::json(StatusCode::CREATED, &body))
    }

    /// `GET /config`
    pub(super) fn configuration(&self) -> Result<Value, Failure> {
        let text = declarative::text(&self.registry.snapshot());
        let text = text.map_err(|_| Failure::unexpected())?;
        Ok(json!({ "config": text }))
    }

    /// Refuses what a database would be needed for.
    pub(super) fn refuse_write(&self, place: &Place, method: &Method) -> Result<(), Failure> {
        if self.database {
            return Ok(());
        }
        let (collection, whole) = match place {
            Place::List(collection) => (collection, true),
            Place::Children(family) => (&family.child, true),
            Place::One(collection, _) => (collection, false),
            Place::Parent { parent, .. } => (parent, false),
            Place::Child(family, _) => (&family.child, false),
            Place::AllTargets(_)
            | Place::Health(_)
            | Place::Mark { .. }
            | Place::Node(_)
            | Place::Nowhere => return Ok(()),
        };
        let verb = match (method, whole) {
            (&Method::POST, true) => "create",
            (&Method::PUT, false) => "create or update",
            (&Method::PATCH, false) => "update",
            (&Method::DELETE, false) => "remove",
            _ => return Ok(()),
        };
        Err(Failure::without_database(verb, collection.table))
    }

    /// Whether a request is for [`Kong::replace`]. YAML is for nothing else, database or not.
    pub(super) fn is_load(&self, request: &Request) -> bool {
        let place = || Place::of(request.uri().path());
        let posts = *request.method() == Method::POST && place() == Place::Node(Node::Config);
        posts && (!self.database || is_yaml(&media_type(request.headers())))
    }
}

fn media_type(headers: &HeaderMap) -> String {
    let media = headers.get(CONTENT_TYPE).map(|media| media.to_str());
    let media = media.and_then(Result::ok).unwrap_or_default();
    media.to_ascii_lowercase()
}

fn is_yaml(media: &str) -> bool {
    media.starts_with("application/yaml") || media.starts_with("text/yaml")
}

/// The document of a body: the body itself, or the text of its field `config`.
async fn document(headers: &HeaderMap, bytes: Bytes) -> Result<Result<Value, Flaws>, Failure> {
    let media = media_type(headers);
    let is = |wanted: &str| media.starts_with(wanted);
    if bytes.is_empty() {
        return Err(Failure::no_document());
    }
    if is_yaml(&media) {
        let text = std::str::from_utf8(&bytes);
        return Ok(declarative::parse(
            text.map_err(|_| Failure::no_document())?,
        ));
    }
    let input = if is("application/json") {
        return of_json(&bytes);
    } else if is("application/x-www-form-urlencoded") {
        Input::Form(body::pairs(&bytes))
    } else if is("multipart/form-data") {
        let written = headers
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok());
        body::multipart(written.unwrap_or_default(), bytes).await?
    } else {
        return Err(Failure::media_type());
    };
    let Input::Form(form) = input else {
        return Err(Failure::no_document());
    };
    let config = form.into_iter().find(|(name, _)| name == "config");
    let (_, text) = config.ok_or_else(Failure::no_document)?;
    Ok(declarative::parse(&text))
}

fn of_json(bytes: &[u8]) -> Result<Result<Value, Flaws>, Failure> {
    let body: Value = serde_json::from_slice(bytes)
        .map_err(|_| Failure::bad_request("Cannot parse JSON body"))?;
    Ok(match body.get("config").and_then(Value::as_str) {
        Some(text) => declarative::parse(text),
        None => Ok(body),
    })
}

/// Entities by table and id.
fn entities(view: View<'_>, declared: &[EntityRef]) -> Value {
    let mut tables = Map::new();
    for at in declared {
        let entity = view.snapshot.entity(at.kind, at.id);
        if let (Some(entity), Some(collection)) = (entity, Collection::of_kind(at.kind)) {
            let table = tables.entry(collection.table);
            let table = table.or_insert_with(|| Value::Object(Map::new()));
            let shown = view.render(collection, entity).into();
            if let Value::Object(table) = table {
                table.insert(at.id.to_string(), shown);
            }
        }
    }
    tables.into()
}
