//! Services: what listeners lead to, which servers and filters are behind it, and by which rules.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::answer::{Answer, Failed};
use super::call::{Call, Described};
use super::document::Object;
use super::draft::Draft;
use super::parameters::{self, Held, Occasion, Table};
use super::path::{
    Operation, Outcome, Path, Running, delete, get, patch, post, post_without_body, put,
};
use super::view::View;
use super::{MaxScale, listeners, live, modules, moment, names, pools, relations};
use crate::model::{
    Change, Entity, Filter, Id, Kind, Name, Protocol, Service, SessionPolicy, SessionRouter,
    Snapshot,
};

pub(super) const TYPE: &str = "services";

/// The relationships that a service has.
const RELATED: [&str; 2] = ["servers", "filters"];

pub(super) static PATHS: &[Path] = &[
    Path {
        segments: &["services"],
        actions: &[get(Operation::Show(list)), post(Operation::Plan(create))],
    },
    Path {
        segments: &["services", ":"],
        actions: &[
            get(Operation::Show(one)),
            patch(Operation::Plan(update)),
            delete(Operation::Plan(destroy)),
        ],
    },
    Path {
        segments: &["services", ":", "relationships", ":"],
        actions: &[
            get(Operation::Show(relations::show)),
            patch(Operation::Plan(relate)),
        ],
    },
    Path {
        segments: &["services", ":", "start"],
        actions: &[put(Operation::Plan(start))],
    },
    Path {
        segments: &["services", ":", "stop"],
        actions: &[put(Operation::Run(stop))],
    },
    Path {
        segments: &["services", ":", "reload"],
        actions: &[post_without_body(Operation::Plan(reload))],
    },
];

/// MaxScale's router modules that services can be made with.
pub(super) const ROUTERS: [(&str, SessionRouter); 2] = [
    ("readconnroute", SessionRouter::ReadConnRoute),
    ("readwritesplit", SessionRouter::ReadWriteSplit),
];

/// The name of a service's router.
pub(super) fn router(service: &Service) -> &'static str {
    let own = service.sessions.as_ref().map(|sessions| sessions.router);
    let named = ROUTERS.iter().find(|(_, router)| Some(*router) == own);
    named.map_or(modules::OTHER_ROUTER, |(name, _)| name)
}

fn table(service: &Service) -> Table<Service> {
    parameters::service(service.sessions.as_ref().map(|sessions| sessions.router))
}

fn list(view: &View<'_>, _: &Call) -> Outcome {
    view.list(Kind::Service, TYPE, |entity| document(view, entity))
}

fn one(view: &View<'_>, call: &Call) -> Outcome {
    view.one(Kind::Service, call, |entity| document(view, entity))
}

fn document(view: &View<'_>, entity: &Entity) -> Option<Value> {
    let held = Held::<Service>::of(entity)?;
    let service = &held.spec;
    let mut object = Object::new(TYPE, entity.label());
    object.set("router", router(service));
    object.set(
        "state",
        if service.enabled {
            "Started"
        } else {
            "Stopped"
        },
    );
    let started = entity.created_at.max(view.maxscale.started);
    object.set("started", moment::asctime(started));
    count(view, entity, service, &mut object);
    object.set("parameters", table(service).show(&held));
    object.set("listeners", listeners::of_service(view, entity));
    let servers = pools::servers(&view.snapshot, service);
    let named = labels(&view.snapshot, Kind::Server, servers);
    object.relate_any(view.links, "servers", named);
    let named = labels(&view.snapshot, Kind::Filter, filters(service));
    object.relate_any(view.links, "filters", named);
    Some(object.into_value(view.links))
}

/// What connections were counted, in each place where a version of MaxScale's client looks.
fn count(view: &View<'_>, entity: &Entity, service: &Service, object: &mut Object) {
    let counts = view.live.counts(entity.id);
    object.set("connections", counts.current);
    object.set("total_connections", counts.total);
    object.set(
        "statistics",
        json!({
            "connections": counts.current,
            "total_connections": counts.total,
            "max_connections": counts.max,
            "active_operations": 0,
            "routed_packets": counts.queries,
        }),
    );
    let Some(sessions) = &service.sessions else {
        return;
    };
    let mut told = Map::from_iter([
        ("connections".to_owned(), counts.total.into()),
        ("current_connections".to_owned(), counts.current.into()),
        ("queries".to_owned(), counts.queries.into()),
        ("filters".to_owned(), filters_told(view, sessions)),
    ]);
    if sessions.router == SessionRouter::ReadWriteSplit {
        told.insert("route_master".to_owned(), counts.queries.into());
        told.insert("route_slave".to_owned(), 0.into());
        told.insert("route_all".to_owned(), 0.into());
        told.insert("routing".to_owned(), NOT_SPLIT.into());
    }
    object.set("router_diagnostics", told);
}

/// What readwritesplit does here.
const NOT_SPLIT: &str =
    "statements are not told apart: every session goes to the master as a whole";

/// Which filters are in a service's way, and whether each does anything there.
fn filters_told(view: &View<'_>, sessions: &SessionPolicy) -> Value {
    let told = |id: &Id| {
        let entity = view.snapshot.entity(Kind::Filter, *id)?;
        let filter = entity.as_kind::<Filter>()?;
        let module = filter.module.as_str();
        let acts = live::acts(module);
        Some(json!({"filter": entity.label(), "module": module, "active": acts}))
    };
    sessions.filters.iter().filter_map(told).collect()
}

fn filters(service: &Service) -> &[Id] {
    let sessions = service.sessions.as_ref();
    sessions.map_or(&[], |sessions| &sessions.filters)
}

/// What entities are called, in their order.
pub(super) fn labels(snapshot: &Snapshot, kind: Kind, ids: &[Id]) -> Vec<String> {
    let label = |id: &Id| Some(snapshot.entity(kind, *id)?.label());
    ids.iter().filter_map(label).collect()
}

fn create(draft: &mut Draft, call: &Call) -> Result<(), Failed> {
    let described = call.described(TYPE)?;
    names::check_free(&draft.snapshot, Kind::Service, &described.name)?;
    let router = chosen_router(&described)?;
    let id = Id::random();
    check_login(&described.parameters)?;
    let mut held = Held::new(new(&described.name, id, router)?);
    let assigned = parameters::service(Some(router));
    let assigned = assigned.assign(&described.parameters, &mut held, Occasion::Creation);
    assigned.map_err(Failed::refused_for)?;
    relations::nothing_but(described.data, &RELATED)?;
    let servers = wanted(draft, described.data, "servers", Kind::Server)?.unwrap_or_default();
    let filters = wanted(draft, described.data, "filters", Kind::Filter)?.unwrap_or_default();
    put_filters(&mut held.spec, filters)?;
    let mut entity = Entity::new(id, held.spec.clone());
    held.put(&mut entity);
    let pool = pools::new(id, servers)?;
    let both = [entity, pool];
    draft.add(both.map(|entity| Change::Create(Arc::new(entity))).into())
}

fn chosen_router(described: &Described<'_>) -> Result<SessionRouter, Failed> {
    let name = described.attributes.get("router").and_then(Value::as_str);
    let name =
        name.ok_or_else(|| Failed::refused("The request has no `data.attributes.router` string"))?;
    let known = ROUTERS.iter().find(|(known, _)| *known == name);
    let unknown = || Failed::refused(format!("There is no router module {name:?}"));
    known.map(|(_, router)| *router).ok_or_else(unknown)
}

/// A service must be told whom to log in as, though its sessions log in as their clients do.
fn check_login(given: &Map<String, Value>) -> Result<(), Failed> {
    let is_given = |names: &[&str]| {
        let mut values = names.iter().filter_map(|name| given.get(*name));
        values.any(|value| !value.is_null())
    };
    let needed: [&[&str]; 2] = [&["user"], &["password", "passwd"]];
    let missing = needed.into_iter().filter(|names| !is_given(names));
    let missing: Vec<_> = missing
        .filter_map(<[&str]>::first)
        .map(|name| format!("Mandatory parameter '{name}' is not defined"))
        .collect();
    match missing.is_empty() {
        true => Ok(()),
        false => Err(Failed::refused_for(missing)),
    }
}

/// A service of that name, whose pool is named by its id.
fn new(name: &Name, id: Id, router: SessionRouter) -> Result<Service, Failed> {
    let policy = SessionPolicy {
        router,
        ..SessionPolicy::default()
    };
    Ok(Service {
        name: Some(name.clone()),
        sessions: Some(Box::new(policy)),
        ..Service::at(Protocol::Tcp, pools::name(id)?, 3306)
    })
}

/// Whom a request wants a service to be related to.
fn wanted(
    draft: &Draft,
    data: &Map<String, Value>,
    relation: &str,
    kind: Kind,
) -> Result<Option<Vec<Id>>, Failed> {
    let wanted = relations::wanted(data, relation)?;
    let resolved = wanted.map(|names| relations::resolve(&draft.snapshot, kind, &names));
    resolved.transpose()
}

fn put_filters(service: &mut Service, filters: Vec<Id>) -> Result<(), Failed> {
    match service.sessions.as_deref_mut() {
        Some(sessions) => {
            sessions.filters = filters.into();
            Ok(())
        }
        None if filters.is_empty() => Ok(()),
        None => Err(Failed::refused(
            "The service has no filters: another interface made it",
        )),
    }
}

/// The service that the path names.
fn named(draft: &Draft, call: &Call) -> Result<Entity, Failed> {
    let entity = names::existing(&draft.snapshot, Kind::Service, call.name(0))?;
    Ok(Entity::clone(entity))
}

fn update(draft: &mut Draft, call: &Call) -> Result<(), Failed> {
    let mut entity = named(draft, call)?;
    let (data, given) = call.changes(TYPE)?;
    relations::nothing_but(data, &RELATED)?;
    let servers = wanted(draft, data, "servers", Kind::Server)?;
    let filters = wanted(draft, data, "filters", Kind::Filter)?;
    let Some(mut held) = Held::<Service>::of(&entity) else {
        return Ok(());
    };
    let table = table(&held.spec);
    let assigned = table.assign(&given, &mut held, Occasion::Alteration);
    assigned.map_err(Failed::refused_for)?;
    if let Some(filters) = filters {
        put_filters(&mut held.spec, filters)?;
    }
    held.put(&mut entity);
    draft.replace(entity.clone())?;
    match servers {
        Some(servers) => pools::set_servers(draft, &entity, servers),
        None => Ok(()),
    }
}

fn relate(draft: &mut Draft, call: &Call) -> Result<(), Failed> {
    let mut entity = named(draft, call)?;
    let relation = call.name(1);
    let listed = || relations::listed(call, relation);
    match relation {
        "servers" => {
            let servers = relations::resolve(&draft.snapshot, Kind::Server, &listed()?)?;
            pools::set_servers(draft, &entity, servers)
        }
        "filters" => {
            let filters = relations::resolve(&draft.snapshot, Kind::Filter, &listed()?)?;
            let Some(mut service) = entity.as_kind::<Service>().cloned() else {
                return Ok(());
            };
            put_filters(&mut service, filters)?;
            entity.spec = service.into();
            draft.replace(entity)
        }
        "services" | "monitors" if listed()?.is_empty() => Ok(()),
        "services" | "monitors" => Err(Failed::refused(format!(
            "A service has no relationship `{relation}`"
        ))),
        _ => Err(Failed::not_found(format!(
            "services have no relationship {relation:?}"
        ))),
    }
}

fn destroy(draft: &mut Draft, call: &Call) -> Result<(), Failed> {
    let entity = named(draft, call)?;
    if call.query.is_set("force") {
        unlink(draft, &entity)?;
    }
    let entity = draft.snapshot.entity(Kind::Service, entity.id).cloned();
    let Some(entity) = entity else {
        return Ok(());
    };
    let uses = uses(&draft.snapshot, &entity);
    if !uses.is_empty() {
        let (name, uses) = (entity.label(), uses.join("; "));
        let why = format!("Service {name:?} cannot be destroyed: it {uses}");
        return Err(Failed::refused(why));
    }
    draft.delete([entity.at()])
}

/// Destroys the listeners of a service, and lets its servers and filters go.
fn unlink(draft: &mut Draft, entity: &Entity) -> Result<(), Failed> {
    for listener in listeners::leading_to(&draft.snapshot, entity.id) {
        listeners::destroy(draft, &listener)?;
    }
    let Some(mut service) = entity.as_kind::<Service>().cloned() else {
        return Ok(());
    };
    if service.sessions.is_none() {
        return Ok(());
    }
    pools::set_servers(draft, entity, Vec::new())?;
    put_filters(&mut service, Vec::new())?;
    let spec = service.into();
    draft.replace(Entity {
        spec,
        ..entity.clone()
    })
}

/// Takes a filter out of every service's way.
pub(super) fn without_filter(draft: &mut Draft, filter: Id) -> Result<(), Failed> {
    let users: Vec<_> = draft
        .snapshot
        .mentioning(filter, Kind::Service)
        .cloned()
        .collect();
    for entity in users {
        let Some(mut service) = entity.as_kind::<Service>().cloned() else {
            continue;
        };
        let left = filters(&service).iter().copied().filter(|id| *id != filter);
        let left = left.collect();
        put_filters(&mut service, left)?;
        let spec = service.into();
        draft.replace(Entity {
            spec,
            ..Entity::clone(&entity)
        })?;
    }
    Ok(())
}

/// Why a service stays, each the end of a sentence.
fn uses(snapshot: &Snapshot, entity: &Entity) -> Vec<String> {
    let mut uses = Vec::new();
    let mut tell = |what: &str, named: Vec<String>| {
        if !named.is_empty() {
            uses.push(format!("{what} {}", named.join(", ")));
        }
    };
    let listeners = listeners::leading_to(snapshot, entity.id);
    let listeners = listeners.iter().map(|entity| entity.label());
    tell("has the listeners", listeners.collect());
    if let Some(service) = entity.as_kind::<Service>() {
        let servers = labels(snapshot, Kind::Server, pools::servers(snapshot, service));
        tell("uses the servers", servers);
        tell(
            "uses the filters",
            labels(snapshot, Kind::Filter, filters(service)),
        );
    }
    uses
}

fn start(draft: &mut Draft, call: &Call) -> Result<(), Failed> {
    let entity = named(draft, call)?;
    switch(draft, entity, true)
}

fn switch(draft: &mut Draft, mut entity: Entity, enabled: bool) -> Result<(), Failed> {
    if let Some(service) = entity.as_kind::<Service>().cloned() {
        entity.spec = Service { enabled, ..service }.into();
    }
    draft.replace(entity)
}

fn stop<'a>(maxscale: &'a MaxScale, call: &'a Call) -> Running<'a> {
    Box::pin(async move {
        let name = call.name(0).to_owned();
        let stopped = maxscale.edit(move |draft| {
            let entity = names::existing(&draft.snapshot, Kind::Service, &name)?;
            let entity = Entity::clone(entity);
            let id = entity.id;
            switch(draft, entity, false).map(|()| id)
        });
        let id = stopped.await?;
        if call.query.is_set("force") {
            maxscale.live.close_service(id);
        }
        Ok(Answer::Done)
    })
}

/// Users are the servers' own here, so that there is nothing to load again.
fn reload(draft: &mut Draft, call: &Call) -> Result<(), Failed> {
    named(draft, call).map(|_| ())
}
