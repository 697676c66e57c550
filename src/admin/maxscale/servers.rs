//! Servers: addresses that services share, and what is known of each.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::answer::{Answer, Failed};
use super::call::Call;
use super::document::Object;
use super::draft::Draft;
use super::live::{self, Fact};
use super::parameters::{self, Held, Occasion};
use super::path::{Operation, Outcome, Path, Running, delete, get, patch, post, put};
use super::view::View;
use super::{MaxScale, moment, names, pools, relations, services};
use crate::model::{
    Entity, Id, Kind, Monitor, NamespaceRef, Pool, ProxyHeader, Server, Service, Snapshot, Standing,
};

pub(super) const TYPE: &str = "servers";

/// The relationships that a server has.
const RELATED: [&str; 2] = ["services", "monitors"];

pub(super) static PATHS: &[Path] = &[
    Path {
        segments: &["servers"],
        actions: &[get(Operation::Show(list)), post(Operation::Plan(create))],
    },
    Path {
        segments: &["servers", ":"],
        actions: &[
            get(Operation::Show(one)),
            patch(Operation::Plan(update)),
            delete(Operation::Plan(remove)),
        ],
    },
    Path {
        segments: &["servers", ":", "relationships", ":"],
        actions: &[
            get(Operation::Show(relations::show)),
            patch(Operation::Plan(relate)),
        ],
    },
    Path {
        segments: &["servers", ":", "set"],
        actions: &[put(Operation::Run(set))],
    },
    Path {
        segments: &["servers", ":", "clear"],
        actions: &[put(Operation::Run(clear))],
    },
];

fn list(view: &View<'_>, _: &Call) -> Outcome {
    view.list(Kind::Server, TYPE, |entity| document(view, entity))
}

fn one(view: &View<'_>, call: &Call) -> Outcome {
    view.one(Kind::Server, call, |entity| document(view, entity))
}

fn document(view: &View<'_>, entity: &Entity) -> Option<Value> {
    let held = Held::<Server>::of(entity)?;
    let mut object = Object::new(TYPE, entity.label());
    object.set("parameters", parameters::server().show(&held));
    observe(view, entity.id, &mut object);
    let services = pools::services_of(&view.snapshot, entity.id).into_iter();
    let services = services.map(|service| service.label());
    object.relate_any(view.links, services::TYPE, services);
    let monitors = view.snapshot.mentioning(entity.id, Kind::Monitor);
    let monitors = monitors.map(|monitor| monitor.label());
    object.relate_any(view.links, "monitors", monitors);
    Some(object.into_value(view.links))
}

/// What is known of a server besides what it was told.
fn observe(view: &View<'_>, id: Id, object: &mut Object) {
    let state = view.live.server(id);
    let found = view.live.found(id);
    let connections = state.connections();
    object.set("state", live::describe(state.status(), connections));
    object.set("version_string", found.version.as_deref());
    object.set("node_id", found.node_id.unwrap_or(-1));
    object.set("master_id", found.master_id.unwrap_or(-1));
    let event = found.last_event.map(|event| event.as_str());
    object.set("last_event", event);
    object.set("triggered_at", found.triggered_at.map(moment::http_date));
    if let Some(lag) = found.replication_lag {
        object.set("replication_lag", lag);
    }
    if let Some(position) = found.gtid_current_pos.as_deref() {
        object.set("gtid_current_pos", position);
    }
    object.set(
        "statistics",
        json!({
            "connections": connections,
            "total_connections": state.connections_total(),
            // No idle connection is kept, and statements are not told apart.
            "persistent_connections": 0,
            "active_operations": 0,
            "routed_packets": 0,
            "adaptive_avg_select_time": "0ns",
        }),
    );
}

fn create(draft: &mut Draft, call: &Call) -> Result<(), Failed> {
    let described = call.described(TYPE)?;
    names::check_free(&draft.snapshot, Kind::Server, &described.name)?;
    check_given(&described.parameters)?;
    let server = Server {
        namespace: NamespaceRef::default(),
        host: described.name.clone(),
        name: described.name,
        port: 3306,
        standing: Standing::default(),
        proxy_protocol: ProxyHeader::default(),
        parameters: std::collections::BTreeMap::default(),
    };
    let mut held = Held::new(server);
    let assigned = parameters::server();
    let assigned = assigned.assign(&described.parameters, &mut held, Occasion::Creation);
    assigned.map_err(Failed::refused_for)?;
    check_tls(&held)?;
    let mut entity = Entity::new(Id::random(), held.spec.clone());
    let id = entity.id;
    held.put(&mut entity);
    draft.create(entity)?;
    settle(draft, id, described.data)
}

/// Address and port must be given, as text and as a number.
fn check_given(parameters: &Map<String, Value>) -> Result<(), Failed> {
    let given = |name: &str| parameters.get(name).filter(|value| !value.is_null());
    let why = match (given("address"), given("port")) {
        (Some(Value::String(_)), Some(port)) if port.is_u64() => return Ok(()),
        (None, _) => "Mandatory parameter 'address' is not defined".to_owned(),
        (_, None) => "Mandatory parameter 'port' is not defined".to_owned(),
        (Some(Value::String(_)), Some(port)) => {
            format!("The `port` parameter is {port}, not a whole number")
        }
        (Some(address), _) => format!("The `address` parameter is {address}, not a string"),
    };
    Err(Failed::refused(why))
}

/// TLS towards a server needs to know whom to trust; a certificate and its key come together.
fn check_tls(held: &Held<Server>) -> Result<(), Failed> {
    let is_given = |name: &str| held.beside.contains_key(name);
    let (ca, cert, key) = (
        is_given("ssl_ca_cert"),
        is_given("ssl_cert"),
        is_given("ssl_key"),
    );
    match (cert == key, ca || !cert) {
        (false, _) => Err(Failed::refused(
            "'ssl_cert' and 'ssl_key' must be given together",
        )),
        (true, false) => Err(Failed::refused("TLS needs 'ssl_ca_cert'")),
        (true, true) => Ok(()),
    }
}

/// Relates a server to the services and the monitor that a request names, where it does.
fn settle(draft: &mut Draft, id: Id, data: &Map<String, Value>) -> Result<(), Failed> {
    relations::nothing_but(data, &RELATED)?;
    if let Some(names) = relations::wanted(data, "services")? {
        into_services(draft, id, &names)?;
    }
    if let Some(names) = relations::wanted(data, "monitors")? {
        into_monitors(draft, id, &names)?;
    }
    Ok(())
}

fn update(draft: &mut Draft, call: &Call) -> Result<(), Failed> {
    let entity = names::existing(&draft.snapshot, Kind::Server, call.name(0))?;
    let mut entity = Entity::clone(entity);
    let (data, given) = call.changes(TYPE)?;
    let Some(mut held) = Held::<Server>::of(&entity) else {
        return Ok(());
    };
    let assigned = parameters::server().assign(&given, &mut held, Occasion::Alteration);
    assigned.map_err(Failed::refused_for)?;
    check_tls(&held)?;
    let id = entity.id;
    held.put(&mut entity);
    draft.replace(entity)?;
    settle(draft, id, data)
}

fn relate(draft: &mut Draft, call: &Call) -> Result<(), Failed> {
    let id = names::existing(&draft.snapshot, Kind::Server, call.name(0))?.id;
    let relation = call.name(1);
    let listed = relations::listed(call, relation);
    match relation {
        "services" => into_services(draft, id, &listed?),
        "monitors" => into_monitors(draft, id, &listed?),
        _ => Err(Failed::not_found(format!(
            "servers have no relationship {relation:?}"
        ))),
    }
}

/// Makes these the services that have the server, and no others; where it is new it comes last.
fn into_services(draft: &mut Draft, id: Id, names: &[String]) -> Result<(), Failed> {
    let wanted = relations::resolve(&draft.snapshot, Kind::Service, names)?;
    let had = pools::services_of(&draft.snapshot, id);
    let had: Vec<_> = had.into_iter().map(|service| service.id).collect();
    for service in had.iter().filter(|service| !wanted.contains(service)) {
        list_servers(draft, *service, |servers| servers.retain(|own| *own != id))?;
    }
    for service in wanted.iter().filter(|service| !had.contains(service)) {
        list_servers(draft, *service, |servers| servers.push(id))?;
    }
    Ok(())
}

fn list_servers(
    draft: &mut Draft,
    service: Id,
    change: impl FnOnce(&mut Vec<Id>),
) -> Result<(), Failed> {
    let entity = draft.snapshot.entity(Kind::Service, service).cloned();
    let Some((entity, service)) = entity
        .as_ref()
        .and_then(|entity| Some((entity, entity.as_kind::<Service>()?)))
    else {
        return Ok(());
    };
    let mut servers = pools::servers(&draft.snapshot, service).to_vec();
    change(&mut servers);
    pools::set_servers(draft, entity, servers)
}

/// Makes this the monitor that asks the server; it has one at most.
fn into_monitors(draft: &mut Draft, id: Id, names: &[String]) -> Result<(), Failed> {
    let wanted = relations::resolve(&draft.snapshot, Kind::Monitor, names)?;
    if wanted.len() > 1 {
        return Err(Failed::refused(
            "A server is monitored by one monitor at most",
        ));
    }
    let had: Vec<_> = draft
        .snapshot
        .mentioning(id, Kind::Monitor)
        .cloned()
        .collect();
    for entity in had.iter().filter(|entity| !wanted.contains(&entity.id)) {
        list_monitored(draft, entity, |servers| servers.retain(|own| *own != id))?;
    }
    let new = wanted
        .iter()
        .filter(|monitor| had.iter().all(|had| had.id != **monitor));
    for monitor in new {
        if let Some(entity) = draft.snapshot.entity(Kind::Monitor, *monitor).cloned() {
            list_monitored(draft, &entity, |servers| servers.push(id))?;
        }
    }
    Ok(())
}

fn list_monitored(
    draft: &mut Draft,
    entity: &Entity,
    change: impl FnOnce(&mut Vec<Id>),
) -> Result<(), Failed> {
    let Some(monitor) = entity.as_kind::<Monitor>().cloned() else {
        return Ok(());
    };
    let mut servers = monitor.servers.to_vec();
    change(&mut servers);
    let servers = servers.into();
    draft.replace(Entity {
        spec: Monitor { servers, ..monitor }.into(),
        ..entity.clone()
    })
}

fn remove(draft: &mut Draft, call: &Call) -> Result<(), Failed> {
    let entity = names::existing(&draft.snapshot, Kind::Server, call.name(0))?.clone();
    if call.query.is_set("force") {
        into_services(draft, entity.id, &[])?;
        into_monitors(draft, entity.id, &[])?;
    }
    let users = users(&draft.snapshot, entity.id);
    if !users.is_empty() {
        let (name, users) = (entity.label(), users.join(", "));
        let why = format!("Server {name:?} cannot be destroyed: it is used by {users}");
        return Err(Failed::refused(why));
    }
    draft.delete([entity.at()])
}

/// Who keeps a server: services, monitors, and pools that no service leads to.
fn users(snapshot: &Snapshot, id: Id) -> Vec<String> {
    let label = |entity: &Arc<Entity>| format!("{} {:?}", entity.kind(), entity.label());
    let services = pools::services_of(snapshot, id).into_iter().map(label);
    let monitors = snapshot.mentioning(id, Kind::Monitor).map(label);
    let led_to = |entity: &&Arc<Entity>| {
        let pool = entity.as_kind::<Pool>();
        pool.is_some_and(|pool| {
            let mut services = snapshot.services_at(&pool.namespace, pool.name.as_str());
            pool.namespace.is_default() && services.next().is_some()
        })
    };
    let pools = snapshot.mentioning(id, Kind::Pool);
    let pools = pools.filter(|entity| !led_to(entity)).map(label);
    services.chain(monitors).chain(pools).collect()
}

/// Whether a fact comes to a server or goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    Set,
    Clear,
}

fn set<'a>(maxscale: &'a MaxScale, call: &'a Call) -> Running<'a> {
    Box::pin(turn(maxscale, call, Turn::Set))
}

fn clear<'a>(maxscale: &'a MaxScale, call: &'a Call) -> Running<'a> {
    Box::pin(turn(maxscale, call, Turn::Clear))
}

/// Says by hand what a server is. What an operator allows it is stored; roles are not, and are the
/// monitor's where one runs.
async fn turn(maxscale: &MaxScale, call: &Call, turn: Turn) -> Outcome {
    let snapshot = maxscale.registry.snapshot();
    let id = names::existing(&snapshot, Kind::Server, call.name(0))?.id;
    let fact = call.query.value("state").and_then(Fact::parse);
    let fact =
        fact.ok_or_else(|| Failed::refused("Invalid or missing value for the `state` parameter"))?;
    let standing = match fact {
        Fact::Maintenance => Standing::Maintenance,
        Fact::Drain => Standing::Draining,
        Fact::Found(_) if maxscale.live.owner(id).is_some() => {
            return Err(Failed::refused(MONITORED));
        }
        Fact::Found(found) => {
            match turn {
                Turn::Set => maxscale.live.say(id, found),
                Turn::Clear => maxscale.live.deny(id, found),
            }
            return Ok(Answer::Done);
        }
    };
    maxscale
        .edit(move |draft| stand(draft, id, standing, turn))
        .await?;
    if turn == Turn::Set && standing == Standing::Maintenance && call.query.is_set("force") {
        maxscale.live.close_server(id);
    }
    Ok(Answer::Done)
}

const MONITORED: &str = "The server is monitored, so only the maintenance status can be set/cleared \
                         manually. Status was not modified.";

/// Takes a standing, or gives up the one it is asked to give up.
fn stand(draft: &mut Draft, id: Id, standing: Standing, turn: Turn) -> Result<(), Failed> {
    let entity = draft.snapshot.entity(Kind::Server, id).cloned();
    let gone = || Failed::not_found("The server was destroyed meanwhile");
    let mut entity = entity.as_deref().cloned().ok_or_else(gone)?;
    let mut server = entity.as_kind::<Server>().cloned().ok_or_else(gone)?;
    match turn {
        Turn::Set => server.standing = standing,
        Turn::Clear if server.standing == standing => server.standing = Standing::Active,
        Turn::Clear => {}
    }
    entity.spec = server.into();
    draft.replace(entity)
}
