//! Listeners: the ports of services. Their names are unique over all services, so that each is there
//! twice: below its service, and below `/listeners`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::answer::{Answer, Failed};
use super::call::Call;
use super::document::{Document, Object};
use super::draft::Draft;
use super::listener_tls::{self, Files};
use super::parameters::{self, Held, Occasion};
use super::path::{Operation, Outcome, Path, Running, delete, get, patch, post, put};
use super::view::View;
use super::{MaxScale, names, relations, services};
use crate::model::{
    Entity, Id, Kind, Listener, ListenerProtocol, Name, NamespaceRef, Service, Snapshot,
};

pub(super) const TYPE: &str = "listeners";

pub(super) static PATHS: &[Path] = &[
    Path {
        segments: &["services", ":", "listeners"],
        actions: &[
            get(Operation::Show(of_one_service)),
            post(Operation::Run(create_below_service)),
        ],
    },
    Path {
        segments: &["services", ":", "listeners", ":"],
        actions: &[get(Operation::Show(one)), delete(Operation::Plan(remove))],
    },
    Path {
        segments: &["listeners"],
        actions: &[get(Operation::Show(list)), post(Operation::Run(create))],
    },
    Path {
        segments: &["listeners", ":"],
        actions: &[
            get(Operation::Show(one)),
            patch(Operation::Run(update)),
            delete(Operation::Plan(remove)),
        ],
    },
    Path {
        segments: &["listeners", ":", "relationships", ":"],
        actions: &[get(Operation::Show(relations::show))],
    },
    Path {
        segments: &["listeners", ":", "start"],
        actions: &[put(Operation::Plan(start))],
    },
    Path {
        segments: &["listeners", ":", "stop"],
        actions: &[put(Operation::Plan(stop))],
    },
];

/// The listeners that lead to a service, the newest first.
pub(super) fn leading_to(snapshot: &Snapshot, service: Id) -> Vec<Arc<Entity>> {
    let all = snapshot.mentioning(service, Kind::Listener);
    let seen = |entity: &&Arc<Entity>| {
        let namespace = entity.spec.namespace();
        namespace.is_some_and(NamespaceRef::is_default)
    };
    let mut all: Vec<_> = all.filter(seen).cloned().collect();
    all.sort_by_cached_key(|entity| (entity.created_at, entity.label()));
    all.reverse();
    all
}

/// A service's listeners as its own document lists them.
pub(super) fn of_service(view: &View<'_>, service: &Entity) -> Value {
    let all = leading_to(&view.snapshot, service.id);
    let brief = |entity: &Arc<Entity>| {
        let object = object(view, entity)?;
        Some(json!({"id": object.id, "type": TYPE, "attributes": object.attributes}))
    };
    all.iter().filter_map(brief).collect()
}

fn object(view: &View<'_>, entity: &Entity) -> Option<Object> {
    let held = Held::<Listener>::of(entity)?;
    let service = held.spec.service;
    let service = service.and_then(|id| view.snapshot.entity(Kind::Service, id));
    let mut object = Object::new(TYPE, entity.label());
    let has_port = view.live.process().listens(entity.id);
    object.set("state", state(&held.spec, service, has_port));
    object.set("parameters", shown(&held));
    let service = service.map(|service| service.label());
    object.relate_any(view.links, services::TYPE, service);
    Some(object)
}

/// A listener of the store whose port somebody else had at the start is `Failed`, whether or not it is
/// to run.
fn state(listener: &Listener, service: Option<&Arc<Entity>>, has_port: bool) -> &'static str {
    let service = service.and_then(|entity| entity.as_kind::<Service>());
    let runs = listener.enabled && service.is_none_or(|service| service.enabled);
    match (has_port, runs) {
        (false, _) => "Failed",
        (true, true) => "Running",
        (true, false) => "Stopped",
    }
}

/// Parameters as MaxScale 2.3 nests them: those of TLS together, and only where there is TLS.
fn shown(held: &Held<Listener>) -> Value {
    let mut all = parameters::listener().show(held);
    let tls = |name: &String| name.starts_with("ssl_");
    let (tls, mut plain): (Map<_, _>, Map<_, _>) = all.into_iter().partition(|(name, _)| tls(name));
    plain.remove("ssl");
    all = plain;
    if held.spec.certificate.is_some() {
        all.insert("ssl".to_owned(), tls.into());
    }
    let options = all.entry("auth_options").or_insert(Value::Null);
    if options.is_null() {
        *options = "".into();
    }
    all.into()
}

/// The listener that the path names, below its service or alone.
fn named<'a>(snapshot: &'a Snapshot, call: &Call) -> Result<&'a Arc<Entity>, Failed> {
    let [first, second] = call.filled.as_slice() else {
        return names::existing(snapshot, Kind::Listener, call.name(0));
    };
    let service = names::existing(snapshot, Kind::Service, first)?;
    let entity = names::existing(snapshot, Kind::Listener, second)?;
    let leads = entity
        .as_kind::<Listener>()
        .is_some_and(|listener| listener.service == Some(service.id));
    let elsewhere = || {
        let service = service.label();
        Failed::not_found(format!("Service {service:?} has no listener {second:?}"))
    };
    leads.then_some(entity).ok_or_else(elsewhere)
}

/// A listener's document at the place where it was asked for.
fn one(view: &View<'_>, call: &Call) -> Outcome {
    let entity = named(&view.snapshot, call)?;
    let below = match call.filled.as_slice() {
        [service, _] => {
            let service = names::existing(&view.snapshot, Kind::Service, service)?;
            Some(service.label())
        }
        _ => None,
    };
    let value = value(view, entity, below.as_deref()).unwrap_or_default();
    Ok(Answer::Document(Document::one(value)))
}

fn value(view: &View<'_>, entity: &Entity, service: Option<&str>) -> Option<Value> {
    let object = object(view, entity)?;
    let Some(service) = service else {
        return Some(object.into_value(view.links));
    };
    let name = object.id.clone();
    Some(object.at(view.links, [services::TYPE, service, TYPE, &name]))
}

fn of_one_service(view: &View<'_>, call: &Call) -> Outcome {
    let service = names::existing(&view.snapshot, Kind::Service, call.name(0))?;
    let label = service.label();
    let all = leading_to(&view.snapshot, service.id);
    let all = all
        .iter()
        .filter_map(|entity| value(view, entity, Some(&label)));
    let url = view.links.url([services::TYPE, &label, TYPE]);
    Ok(Answer::Document(Document::many(&url, all.collect())))
}

fn list(view: &View<'_>, _: &Call) -> Outcome {
    view.list(Kind::Listener, TYPE, |entity| value(view, entity, None))
}

/// A new listener as a request describes it.
struct New {
    name: Name,
    /// The name of the service that it leads to.
    service: String,
    parameters: Map<String, Value>,
    files: Files,
}

fn create_below_service<'a>(maxscale: &'a MaxScale, call: &'a Call) -> Running<'a> {
    Box::pin(async move {
        let service = call.name(0).to_owned();
        let snapshot = maxscale.registry.snapshot();
        names::existing(&snapshot, Kind::Service, &service)?;
        add(maxscale, call, service).await
    })
}

fn create<'a>(maxscale: &'a MaxScale, call: &'a Call) -> Running<'a> {
    Box::pin(async move {
        let wanted = relations::wanted(call.data()?, services::TYPE)?;
        let [service] = wanted.as_deref().unwrap_or_default() else {
            let why = "A listener has one relationship to `services`";
            return Err(Failed::refused(why));
        };
        add(maxscale, call, service.clone()).await
    })
}

async fn add(maxscale: &MaxScale, call: &Call, service: String) -> Outcome {
    let described = call.described(TYPE)?;
    relations::nothing_but(described.data, &[services::TYPE])?;
    if !described.attributes.contains_key("parameters") {
        let why = "The request has no `data.attributes.parameters` object";
        return Err(Failed::refused(why));
    }
    check_port(&described.parameters)?;
    let parameters = listener_tls::flattened(described.parameters);
    let files = Files::read(listener_tls::named_in(&parameters)).await;
    let new = New {
        name: described.name,
        service,
        parameters,
        files,
    };
    maxscale.edit(move |draft| plan(draft, &new)).await?;
    Ok(Answer::Done)
}

/// A port that clients can be told must be given as a number.
fn check_port(parameters: &Map<String, Value>) -> Result<(), Failed> {
    let why = match parameters.get("port") {
        Some(port) if port.is_u64() => return Ok(()),
        Some(port) => format!("The `port` parameter is {port}, not a whole number"),
        None => "Mandatory parameter 'port' is not defined".to_owned(),
    };
    Err(Failed::refused(why))
}

fn plan(draft: &mut Draft, new: &New) -> Result<(), Failed> {
    let service = relations::resolve(
        &draft.snapshot,
        Kind::Service,
        std::slice::from_ref(&new.service),
    )?;
    names::check_free(&draft.snapshot, Kind::Listener, &new.name)?;
    let everywhere = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 3306));
    let listener = Listener {
        protocol: ListenerProtocol::Mysql,
        service: service.first().copied(),
        ..Listener::at(new.name.clone(), everywhere)
    };
    let mut held = Held::new(listener);
    let table = parameters::listener();
    let assigned = table.assign(&new.parameters, &mut held, Occasion::Creation);
    assigned.map_err(Failed::refused_for)?;
    let says_where = new.parameters.contains_key("address");
    if held.spec.protocol == ListenerProtocol::Tcp && !says_where {
        held.spec.address = Ipv4Addr::UNSPECIFIED.into();
    }
    check_address(&draft.snapshot, &held.spec)?;
    listener_tls::settle(draft, &mut held, &new.files)?;
    let mut entity = Entity::new(Id::random(), held.spec.clone());
    held.put(&mut entity);
    draft.create(entity)
}

/// Refuses what another listener has, in words; what else has the port is found when it is bound.
fn check_address(snapshot: &Snapshot, listener: &Listener) -> Result<(), Failed> {
    let own = listener.socket();
    let meets = |entity: &&Arc<Entity>| {
        let other = entity.as_kind::<Listener>();
        other.is_some_and(|other| {
            other.port == own.port()
                && (other.address == own.ip() || takes_all(other) || takes_all(listener))
        })
    };
    match snapshot.list(Kind::Listener, None).find(meets) {
        Some(other) => {
            let label = other.label();
            let why = format!("Listener {label:?} already listens at {own}");
            Err(Failed::refused(why))
        }
        None => Ok(()),
    }
}

/// Whether a listener has its port at every address of the machine.
fn takes_all(listener: &Listener) -> bool {
    match listener.address {
        IpAddr::V6(address) => {
            address.is_unspecified() && listener.protocol == ListenerProtocol::Mysql
        }
        IpAddr::V4(_) => false,
    }
}

fn update<'a>(maxscale: &'a MaxScale, call: &'a Call) -> Running<'a> {
    Box::pin(async move {
        let (data, given) = call.changes(TYPE)?;
        relations::nothing_but(data, &[services::TYPE])?;
        let service = relations::wanted(data, services::TYPE)?;
        let given = listener_tls::flattened(given);
        let snapshot = maxscale.registry.snapshot();
        let entity = names::existing(&snapshot, Kind::Listener, call.name(0))?;
        let kept = Held::<Listener>::of(entity).map(|held| held.beside);
        let mut files = listener_tls::named_in(&given);
        files.extend(kept.iter().flat_map(listener_tls::named_in));
        let files = Files::read(files).await;
        let id = entity.id;
        let plan = move |draft: &mut Draft| alter(draft, id, &given, service, &files);
        maxscale.edit(plan).await?;
        Ok(Answer::Done)
    })
}

fn alter(
    draft: &mut Draft,
    id: Id,
    given: &Map<String, Value>,
    service: Option<Vec<String>>,
    files: &Files,
) -> Result<(), Failed> {
    let entity = draft.snapshot.entity(Kind::Listener, id).cloned();
    let gone = || Failed::not_found("The listener was destroyed meanwhile");
    let mut entity = entity.as_deref().cloned().ok_or_else(gone)?;
    let mut held = Held::<Listener>::of(&entity).ok_or_else(gone)?;
    let assigned = parameters::listener().assign(given, &mut held, Occasion::Alteration);
    assigned.map_err(Failed::refused_for)?;
    if let Some(names) = service {
        let ids = relations::resolve(&draft.snapshot, Kind::Service, &names)?;
        if ids.len() > 1 {
            let why = "A listener has one relationship to `services`";
            return Err(Failed::refused(why));
        }
        held.spec.service = ids.first().copied();
    }
    let before = listener_tls::entities(&held.spec);
    if !given.is_empty() {
        listener_tls::settle(draft, &mut held, files)?;
    }
    held.put(&mut entity);
    draft.replace(entity)?;
    listener_tls::clear(draft, &before)
}

fn remove(draft: &mut Draft, call: &Call) -> Result<(), Failed> {
    let entity = named(&draft.snapshot, call)?.clone();
    destroy(draft, &entity)
}

/// Destroys a listener, and the certificates that were made for it.
pub(super) fn destroy(draft: &mut Draft, entity: &Entity) -> Result<(), Failed> {
    let listener = entity.as_kind::<Listener>();
    let certificates = listener.map(listener_tls::entities).unwrap_or_default();
    draft.delete([entity.at()])?;
    listener_tls::clear(draft, &certificates)
}

fn start(draft: &mut Draft, call: &Call) -> Result<(), Failed> {
    switch(draft, call, true)
}

fn stop(draft: &mut Draft, call: &Call) -> Result<(), Failed> {
    switch(draft, call, false)
}

fn switch(draft: &mut Draft, call: &Call, enabled: bool) -> Result<(), Failed> {
    let mut entity = Entity::clone(named(&draft.snapshot, call)?);
    if let Some(listener) = entity.as_kind::<Listener>().cloned() {
        entity.spec = Listener {
            enabled,
            ..listener
        }
        .into();
    }
    draft.replace(entity)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener(address: &str, protocol: ListenerProtocol) -> Listener {
        let name = "l".parse().unwrap();
        let at = SocketAddr::new(address.parse().unwrap(), 4000);
        Listener {
            protocol,
            ..Listener::at(name, at)
        }
    }

    #[test]
    fn only_everywhere_in_mysql_takes_all_addresses() {
        assert!(takes_all(&listener("::", ListenerProtocol::Mysql)));
        assert!(!takes_all(&listener("::1", ListenerProtocol::Mysql)));
        assert!(!takes_all(&listener("::", ListenerProtocol::Tcp)));
        assert!(!takes_all(&listener("0.0.0.0", ListenerProtocol::Mysql)));
    }

    #[test]
    fn a_port_is_a_whole_number() {
        let verdict = |parameters: Value| check_port(parameters.as_object().unwrap()).is_ok();
        assert!(verdict(json!({"port": 4006})));
        for wrong in [
            json!({}),
            json!({"port": "4006"}),
            json!({"port": -1}),
            json!({"port": 1.5}),
        ] {
            assert!(!verdict(wrong.clone()), "{wrong}");
        }
    }
}
