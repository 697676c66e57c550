//! The *kong* dialect: Kong's Admin API, as of Kong 3.9, over the one registry.
//!
//! A request is read into a [`Place`] and an [`Input`]; a read renders entities of the newest snapshot,
//! a write is planned in the registry's writer and answered when it is live. One table of schemas says
//! what documents hold ([`schema`]), one table of collections what paths there are ([`collection`]),
//! and one lens turns entities into Kong's documents and back ([`lens`]).
//!
//! Where Kong's documentation and Kong differ, this does what Kong does: `PUT` answers 200, and
//! `DELETE /routes/{route}/service` is refused. Plugins are stored and shown with their whole
//! configuration; `GET /` names those that act on traffic.

mod answer;
mod body;
mod collection;
mod config;
pub mod declarative;
mod failure;
mod health;
mod lens;
mod node;
mod page;
mod place;
pub mod schema;
mod unit;
mod view;
mod write;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::header::ORIGIN;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::admin::problem::Details;
use crate::admin::status::Observe;
use crate::model::{Change, Entity, EntityRef, Id};
use crate::registry::Registry;

pub use answer::VERSION;
use body::Input;
use collection::Collection;
use failure::Failure;
use page::Query;
use place::{Family, Place};
use schema::Surroundings;
use view::View;
use write::{Write, Writer};

/// Marks a target healthy or not, by hand, until its next report: the endpoint, and one of its addresses
/// (`ip:port`) or all. Says whether there was one.
pub type Mark = Arc<dyn Fn(Id, Option<&str>, bool) -> bool + Send + Sync>;

/// What traffic there was since the process began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Connections of clients.
    pub accepted: u64,
    /// Connections that are open.
    pub active: u64,
    pub requests: u64,
    /// Memory of the whole process.
    pub resident_bytes: u64,
}

/// What the dialect is made of. Cheap to clone.
#[derive(Clone)]
pub struct Kong {
    pub registry: Registry,
    pub observe: Observe,
    pub mark: Mark,
    pub traffic: Arc<dyn Fn() -> Traffic + Send + Sync>,
    /// False: as Kong without a database. One document at `/config` holds everything, and nothing else
    /// writes.
    pub database: bool,
    /// A path's normal form: what the table matches requests with.
    pub normal_path: fn(&[u8]) -> Cow<'_, [u8]>,
    /// What `GET /` calls this node; stable over restarts.
    pub node: Id,
}

impl fmt::Debug for Kong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kong")
            .field("node", &self.node)
            .finish_non_exhaustive()
    }
}

/// The dialect as a router that answers every path.
pub fn router(kong: Kong) -> Router {
    Router::new().fallback(attend).with_state(kong)
}

/// How the door's refusals look to Kong's clients.
pub fn refusal(details: &Details) -> Response {
    let mut response =
        Failure::at_the_door(details.reason.status(), &details.detail).into_response();
    response.headers_mut().extend(details.headers());
    response
}

async fn attend(State(kong): State<Kong>, request: Request) -> Response {
    let started = Instant::now();
    let origin = request.headers().get(ORIGIN).cloned();
    let is_head = request.method() == Method::HEAD;
    let mut response = kong
        .answer(request)
        .await
        .unwrap_or_else(Failure::into_response);
    let took = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    answer::stamp(response.headers_mut(), origin, took);
    if is_head {
        answer::empty(&mut response);
    }
    response
}

/// A request, read.
struct Call {
    method: Method,
    path: String,
    query: Vec<(String, String)>,
    input: Input,
}

impl Call {
    async fn read(request: Request) -> Result<Self, Failure> {
        let (head, body) = request.into_parts();
        let writes = matches!(head.method, Method::POST | Method::PUT | Method::PATCH);
        let input = match writes {
            true => body::read(&head.headers, body).await?,
            false => Input::Document(schema::Document::new()),
        };
        let method = match head.method {
            Method::HEAD => Method::GET,
            other => other,
        };
        Ok(Self {
            method,
            path: head.uri.path().to_owned(),
            query: body::pairs(head.uri.query().unwrap_or_default().as_bytes()),
            input,
        })
    }
}

impl Kong {
    async fn answer(&self, request: Request) -> Result<Response, Failure> {
        if self.is_load(&request) {
            return self.replace(request).await;
        }
        let call = Call::read(request).await?;
        let place = Place::of(&call.path);
        if call.method == Method::OPTIONS && place != Place::Nowhere {
            return Ok(answer::options(methods(&place)));
        }
        self.refuse_write(&place, &call.method)?;
        match place {
            Place::Nowhere => Err(Failure::not_found()),
            Place::Node(node) => self.node(&node, call),
            Place::List(collection) => self.list(collection, call).await,
            Place::One(collection, key) => self.one(collection, &key, call).await,
            Place::Parent {
                child,
                key,
                parent,
                field,
            } => self.parent(child, &key, parent, field, call).await,
            Place::Children(family) => self.children(family, call).await,
            Place::Child(family, key) => self.child(family, &key, call).await,
            Place::AllTargets(upstream) => self.all_targets(&upstream, &call),
            Place::Health(upstream) => self.health(&upstream, &call),
            Place::Mark {
                upstream,
                target,
                address,
                healthy,
            } => self.mark(
                &upstream,
                &target,
                address.as_deref(),
                healthy,
                &call.method,
            ),
        }
    }

    /// `/services`
    async fn list(&self, collection: &'static Collection, call: Call) -> Result<Response, Failure> {
        match call.method {
            Method::GET => self.show_list(collection, &call),
            Method::POST => {
                let input = call.input.document(collection.schema(), None)?;
                let plan = move |writer: &Writer<'_>| writer.insert(input);
                self.write(StatusCode::CREATED, collection, plan).await
            }
            _ => Err(Failure::method_not_allowed()),
        }
    }

    fn show_list(&self, collection: &'static Collection, call: &Call) -> Result<Response, Failure> {
        let snapshot = self.registry.snapshot();
        let view = View::new(&snapshot);
        let custom_id = call.query.iter().find(|(name, _)| name == "custom_id");
        if let Some((_, id)) = custom_id.filter(|_| collection.table == "consumers") {
            if id.is_empty() {
                return Err(Failure::bad_request("custom_id must be an unempty string"));
            }
            let found = view.holder(collection, "custom_id", id).into_iter();
            let data: Vec<_> = found.map(|one| view.render(collection, one)).collect();
            return Ok(answer::json(
                StatusCode::OK,
                &json!({"data": data, "next": null}),
            ));
        }
        let query = Query::read(&call.query)?;
        let path = format!("/{}", collection.schema().collection());
        let render = |entity: &Entity| Value::Object(view.render(collection, entity));
        let page = query.page(&path, false, view.list(collection, query.after()), render);
        Ok(answer::json(StatusCode::OK, &page))
    }

    /// `/services/{service}`
    async fn one(
        &self,
        collection: &'static Collection,
        key: &str,
        call: Call,
    ) -> Result<Response, Failure> {
        let key = key.to_owned();
        match call.method {
            Method::GET => {
                let snapshot = self.registry.snapshot();
                let view = View::new(&snapshot);
                let found = view.find(collection, &key)?;
                let found = found.ok_or_else(|| absent(collection, &key))?;
                Ok(answer::json(
                    StatusCode::OK,
                    &view.render(collection, found),
                ))
            }
            Method::PUT => {
                let input = call.input.document(collection.schema(), None)?;
                let plan = move |writer: &Writer<'_>| writer.upsert(&key, input);
                self.write(StatusCode::OK, collection, plan).await
            }
            Method::PATCH => {
                let plan = move |writer: &Writer<'_>| {
                    let found = writer.view.find(collection, &key)?;
                    let found = found.ok_or_else(|| missing(collection, &key))?;
                    patch(writer, found, call.input)
                };
                self.write(StatusCode::OK, collection, plan).await
            }
            Method::DELETE => {
                let plan = move |writer: &Writer<'_>| match writer.view.find(collection, &key) {
                    Ok(Some(found)) => writer.delete(found),
                    Ok(None) => Ok(Vec::new()),
                    Err(failure) => Err(failure),
                };
                self.remove(collection, plan).await
            }
            _ => Err(Failure::method_not_allowed()),
        }
    }

    /// `/routes/{route}/service`
    async fn parent(
        &self,
        child: &'static Collection,
        key: &str,
        parent: &'static Collection,
        field: &'static str,
        call: Call,
    ) -> Result<Response, Failure> {
        let key = key.to_owned();
        let Call { method, input, .. } = call;
        match method {
            Method::GET | Method::DELETE => {
                let snapshot = self.registry.snapshot();
                let view = View::new(&snapshot);
                let (_, found) = related(view, child, &key, parent, field)?;
                let found = found.ok_or_else(Failure::not_found)?;
                match method {
                    Method::GET => Ok(answer::json(StatusCode::OK, &view.render(parent, found))),
                    _ => Err(Failure::method_not_allowed()),
                }
            }
            Method::PATCH => {
                let plan = move |writer: &Writer<'_>| {
                    let (_, found) = related(writer.view, child, &key, parent, field)?;
                    patch(writer, found.ok_or_else(Failure::not_found)?, input)
                };
                self.write(StatusCode::OK, parent, plan).await
            }
            Method::PUT => {
                let input = input.document(parent.schema(), None)?;
                let plan = move |writer: &Writer<'_>| {
                    let (one, found) = related(writer.view, child, &key, parent, field)?;
                    match found {
                        Some(found) => writer.upsert(&found.id.to_string(), input),
                        None => adopt(writer, child, one, field, input),
                    }
                };
                self.write(StatusCode::OK, parent, plan).await
            }
            _ => Err(Failure::method_not_allowed()),
        }
    }

    /// `/services/{service}/routes`
    async fn children(&self, family: Family, call: Call) -> Result<Response, Failure> {
        match call.method {
            Method::GET => self.show_children(&family, &call),
            Method::POST => {
                let collection = family.child;
                let mut input = call.input.document(collection.schema(), None)?;
                let plan = move |writer: &Writer<'_>| {
                    let parent = family.parent_in(writer.view)?;
                    input.insert(family.field.to_owned(), json!({"id": parent.id}));
                    writer.insert(input)
                };
                self.write(StatusCode::CREATED, collection, plan).await
            }
            _ => Err(Failure::method_not_allowed()),
        }
    }

    fn show_children(&self, family: &Family, call: &Call) -> Result<Response, Failure> {
        let snapshot = self.registry.snapshot();
        let view = View::new(&snapshot);
        let parent = family.parent_in(view)?;
        let query = Query::read_untagged(&call.query)?;
        let mut found: Vec<_> = view.children(parent, family.child, family.field).collect();
        if family.child.table == "targets" {
            found.sort_by_key(|target| std::cmp::Reverse(target.created_at));
        }
        let after = query
            .after()
            .and_then(|after| found.iter().position(|one| one.id == after));
        let found = found.into_iter().skip(after.map_or(0, |at| at + 1));
        let render = |entity: &Entity| Value::Object(view.render(family.child, entity));
        let path = call.path.trim_end_matches('/');
        Ok(answer::json(
            StatusCode::OK,
            &query.page(path, true, found, render),
        ))
    }

    /// `/services/{service}/routes/{route}`
    async fn child(&self, family: Family, key: &str, call: Call) -> Result<Response, Failure> {
        let key = key.to_owned();
        let collection = family.child;
        match call.method {
            Method::GET => {
                let snapshot = self.registry.snapshot();
                let view = View::new(&snapshot);
                let found = family.child_in(view, &key)?;
                Ok(answer::json(
                    StatusCode::OK,
                    &view.render(collection, found),
                ))
            }
            // Kong takes a target's PUT for a PATCH.
            Method::PUT if collection.table != "targets" => {
                let mut input = call.input.document(collection.schema(), None)?;
                let plan = move |writer: &Writer<'_>| {
                    let parent = family.parent_in(writer.view)?;
                    input.insert(family.field.to_owned(), json!({"id": parent.id}));
                    writer.upsert_below(&family, parent, &key, input)
                };
                self.write(StatusCode::OK, collection, plan).await
            }
            Method::PATCH | Method::PUT => {
                let plan = move |writer: &Writer<'_>| {
                    patch(writer, family.child_in(writer.view, &key)?, call.input)
                };
                self.write(StatusCode::OK, collection, plan).await
            }
            Method::DELETE => {
                let plan =
                    move |writer: &Writer<'_>| writer.delete(family.child_in(writer.view, &key)?);
                self.remove(collection, plan).await
            }
            _ => Err(Failure::method_not_allowed()),
        }
    }

    /// `/upstreams/{upstream}/targets/all`: by id.
    fn all_targets(&self, upstream: &str, call: &Call) -> Result<Response, Failure> {
        if call.method != Method::GET {
            return Err(Failure::method_not_allowed());
        }
        let snapshot = self.registry.snapshot();
        let view = View::new(&snapshot);
        let (pool, targets) = health::upstream(view, upstream)?;
        let query = Query::read_untagged(&call.query)?;
        let found = view.children(pool, targets, "upstream");
        let found = found.filter(|one| query.after().is_none_or(|after| one.id > after));
        let render = |entity: &Entity| Value::Object(view.render(targets, entity));
        let path = call.path.trim_end_matches('/');
        Ok(answer::json(
            StatusCode::OK,
            &query.page(path, true, found, render),
        ))
    }

    /// Plans a write in the registry's writer; answers with the entity when it is live.
    async fn write<P>(
        &self,
        status: StatusCode,
        collection: &'static Collection,
        plan: P,
    ) -> Result<Response, Failure>
    where
        P: FnOnce(&Writer<'_>) -> Result<Write, Failure> + Send + 'static,
    {
        let normal_path = self.normal_path;
        let run = move |snapshot: &crate::model::Snapshot| {
            let write = planned(View::new(snapshot), collection, normal_path, plan)?;
            Ok::<_, Failure>((write.changes, write.shown))
        };
        let (applied, shown) = self.registry.edit(run).await?;
        let view = View::new(&applied.snapshot);
        let entity = view.snapshot.entity(shown.kind, shown.id);
        let entity = entity.ok_or_else(Failure::unexpected)?;
        Ok(answer::json(status, &view.render(collection, entity)))
    }

    async fn remove<P>(&self, collection: &'static Collection, plan: P) -> Result<Response, Failure>
    where
        P: FnOnce(&Writer<'_>) -> Result<Vec<Change>, Failure> + Send + 'static,
    {
        let normal_path = self.normal_path;
        let run = move |snapshot: &crate::model::Snapshot| {
            let changes = planned(View::new(snapshot), collection, normal_path, plan)?;
            Ok::<_, Failure>((changes, ()))
        };
        self.registry.edit(run).await?;
        Ok(answer::nothing())
    }
}

fn planned<T>(
    view: View<'_>,
    collection: &'static Collection,
    normal_path: fn(&[u8]) -> Cow<'_, [u8]>,
    plan: impl FnOnce(&Writer<'_>) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let around = Surroundings::new(view.now, normal_path);
    plan(&Writer {
        view,
        around: &around,
        collection,
    })
}

/// Merges a body into an entity.
fn patch(writer: &Writer<'_>, entity: &Arc<Entity>, input: Input) -> Result<Write, Failure> {
    let stored = lens::document(writer.collection, entity);
    let input = input.document(writer.collection.schema(), Some(&stored))?;
    writer.update(entity, &stored, input)
}

/// Makes the parent that a child has none of, and has the child name it as a `PATCH` would.
fn adopt(
    writer: &Writer<'_>,
    child: &'static Collection,
    one: &Arc<Entity>,
    field: &'static str,
    input: schema::Document,
) -> Result<Write, Failure> {
    let mut write = writer.insert(input)?;
    let with_parent = writer.view.snapshot.with(&write.changes, writer.view.now);
    let (snapshot, _) = with_parent.map_err(|refusal| Failure::of_refusal(&refusal))?;
    let child = Writer {
        view: View {
            snapshot: &snapshot,
            ..writer.view
        },
        collection: child,
        ..*writer
    };
    let named = json!({"id": write.shown.id});
    let named = schema::Document::from_iter([(field.to_owned(), named)]);
    let stored = lens::document(child.collection, one);
    write
        .changes
        .extend(child.update(one, &stored, named)?.changes);
    Ok(write)
}

/// The entity of a URL, and the one that it names in `field`.
fn related<'a>(
    view: View<'a>,
    child: &'static Collection,
    key: &str,
    parent: &'static Collection,
    field: &str,
) -> Result<(&'a Arc<Entity>, Option<&'a Arc<Entity>>), Failure> {
    let one = view.find(child, key)?.ok_or_else(Failure::not_found)?;
    let mut mentions = one.spec.references().into_iter();
    let to: Option<EntityRef> = mentions
        .find(|mention| mention.field == field)
        .map(|to| to.to);
    Ok((one, to.and_then(|to| view.get(parent, to.id))))
}

impl Family {
    fn parent_in<'a>(&self, view: View<'a>) -> Result<&'a Arc<Entity>, Failure> {
        view.find(self.parent, &self.key)?
            .ok_or_else(Failure::not_found)
    }

    fn child_in<'a>(&self, view: View<'a>, key: &str) -> Result<&'a Arc<Entity>, Failure> {
        let parent = self.parent_in(view)?;
        let found = view.find_child(parent, self.child, self.field, key)?;
        found.ok_or_else(Failure::not_found)
    }
}

/// 404 for a read: certificates tell which key was not found.
fn absent(collection: &Collection, key: &str) -> Failure {
    if collection.table == "certificates" {
        return Failure::missing("id", key);
    }
    Failure::not_found()
}

/// 404 for an update.
fn missing(collection: &Collection, key: &str) -> Failure {
    let field = match view::as_id(key) {
        Some(_) => "id",
        None => collection.endpoint_key().unwrap_or("id"),
    };
    Failure::missing(field, key)
}

/// The methods of a place, without those that every place has.
const fn methods(place: &Place) -> &'static [&'static str] {
    match place {
        Place::List(_) | Place::Children(_) => &["GET", "POST"],
        Place::One(..) | Place::Child(..) => &["GET", "PUT", "PATCH", "DELETE"],
        Place::Parent { .. } => &["GET", "PUT", "PATCH", "DELETE"],
        Place::AllTargets(_) | Place::Health(_) => &["GET"],
        Place::Mark { .. } => &["PUT"],
        Place::Node(node) => node.methods(),
        Place::Nowhere => &[],
    }
}
