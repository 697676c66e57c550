//! `/monitors`: who asks servers what they are, and by which rules.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::model::{
    Entity, Id, Kind, Monitor, MonitorModule, MonitorRules, Name, NamespaceRef, Secret, Server,
    Snapshot,
};

use super::answer::{Answer, Failed};
use super::call::Call;
use super::document::{Document, Object};
use super::draft::Draft;
use super::live::{MonitorInfo, MonitoredServer, SlaveConnection};
use super::names;
use super::parameters::{self, Held, Occasion};
use super::path::{Operation, Outcome, Path, delete, get, patch, post, put};
use super::view::View;

pub(super) static PATHS: &[Path] = &[
    Path {
        segments: &["monitors"],
        actions: &[get(Operation::Show(list)), post(Operation::Plan(create))],
    },
    Path {
        segments: &["monitors", ":"],
        actions: &[
            get(Operation::Show(show)),
            patch(Operation::Plan(update)),
            delete(Operation::Plan(remove)),
        ],
    },
    Path {
        segments: &["monitors", ":", "start"],
        actions: &[put(Operation::Plan(start))],
    },
    Path {
        segments: &["monitors", ":", "stop"],
        actions: &[put(Operation::Plan(stop))],
    },
    Path {
        segments: &["monitors", ":", "relationships", "servers"],
        actions: &[patch(Operation::Plan(relate))],
    },
];

/// Modules by name, the older one of mariadbmon included.
const MODULES: [(&str, MonitorModule); 3] = [
    ("mariadbmon", MonitorModule::MariadbMon),
    ("galeramon", MonitorModule::GaleraMon),
    ("mysqlmon", MonitorModule::MariadbMon),
];

const fn word(module: MonitorModule) -> &'static str {
    match module {
        MonitorModule::MariadbMon => "mariadbmon",
        MonitorModule::GaleraMon => "galeramon",
    }
}

#[expect(clippy::unnecessary_wraps, reason = "an operation's signature")]
fn list(view: &View<'_>, _: &Call) -> Outcome {
    let mut all: Vec<_> = names::shown(&view.snapshot, Kind::Monitor).collect();
    all.sort_by_key(|entity| (entity.created_at, entity.id));
    let values = all.into_iter().filter_map(|entity| value(view, entity));
    let url = view.links.collection("monitors");
    Ok(Answer::Document(Document::many(&url, values.collect())))
}

fn show(view: &View<'_>, call: &Call) -> Outcome {
    let entity = find(&view.snapshot, call.name(0))?;
    let value = value(view, entity).ok_or_else(|| unknown(call.name(0)))?;
    Ok(Answer::Document(Document::one(value)))
}

fn find<'s>(snapshot: &'s Snapshot, name: &str) -> Result<&'s Arc<Entity>, Failed> {
    names::find(snapshot, Kind::Monitor, name).ok_or_else(|| unknown(name))
}

fn unknown(name: &str) -> Failed {
    Failed::not_found(format!("Monitor '{name}' was not found"))
}

fn value(view: &View<'_>, entity: &Entity) -> Option<Value> {
    let held = Held::<Monitor>::of(entity)?;
    let monitor = &held.spec;
    let info = view.live.monitor(entity.id).filter(|_| monitor.running);
    let mut object = Object::new("monitors", monitor.name.as_str());
    object.set("module", word(monitor.module));
    object.set(
        "state",
        if monitor.running {
            "Running"
        } else {
            "Stopped"
        },
    );
    object.set("ticks", info.as_ref().map_or(0, |info| info.ticks));
    let table = parameters::monitor(monitor.module);
    object.set("parameters", table.show(&held));
    if let Some(info) = info {
        object.set("monitor_diagnostics", diagnostics(&info));
    }
    let servers = monitor.servers.iter();
    let servers = servers.filter_map(|id| view.snapshot.get::<Server>(*id));
    let servers = servers.map(|server| server.name.as_str());
    object.relate_any(view.links, "servers", servers);
    Some(object.into_value(view.links))
}

fn diagnostics(info: &MonitorInfo) -> Value {
    let servers: Vec<_> = info.servers.iter().map(server_info).collect();
    json!({ "server_info": servers })
}

fn server_info(server: &MonitoredServer) -> Value {
    let slaves: Vec<_> = server.slave_connections.iter().map(slave).collect();
    json!({
        "name": server.name,
        "server_id": server.server_id,
        "read_only": server.read_only,
        "gtid_current_pos": server.gtid_current_pos,
        "gtid_binlog_pos": server.gtid_binlog_pos,
        "slave_connections": slaves,
    })
}

fn slave(connection: &SlaveConnection) -> Value {
    json!({
        "connection_name": connection.connection_name,
        "master_host": connection.master_host,
        "master_port": connection.master_port,
        "master_server_id": connection.master_server_id,
        "slave_io_running": connection.slave_io_running.as_str(),
        "slave_sql_running": if connection.slave_sql_running { "Yes" } else { "No" },
        "seconds_behind_master": connection.seconds_behind_master,
        "last_io_error": connection.last_io_error,
        "last_sql_error": connection.last_sql_error,
        "gtid_io_pos": connection.gtid_io_pos,
    })
}

fn create(draft: &mut Draft, call: &Call) -> Result<(), Failed> {
    let data = call.data()?;
    let id = data.get("id").and_then(Value::as_str);
    let name = names::parse(id.ok_or_else(|| Failed::refused("`/data/id` is not a string"))?)?;
    if names::find(&draft.snapshot, Kind::Monitor, name.as_str()).is_some() {
        return Err(Failed::refused(format!("Monitor '{name}' already exists")));
    }
    let attributes = attributes(data)?;
    let module = module(attributes.get("module"))?;
    let mut held = Held::new(stopped(name, module));
    held.spec.running = true;
    let given = given(&attributes)?.unwrap_or_default();
    parameters::monitor(module)
        .assign(&given, &mut held, Occasion::Creation)
        .map_err(Failed::refused_for)?;
    let id = Id::random();
    if let Some(servers) = related(&draft.snapshot, data)? {
        held.spec.servers = free(&draft.snapshot, id, servers)?;
    }
    let mut entity = Entity::new(id, held.spec.clone());
    held.put(&mut entity);
    draft.create(entity)
}

/// A new monitor of which nothing is said but its name and module.
fn stopped(name: Name, module: MonitorModule) -> Monitor {
    Monitor {
        namespace: NamespaceRef::default(),
        name,
        module,
        servers: Box::default(),
        user: Box::default(),
        password: Secret::new(""),
        interval: Duration::from_secs(2),
        connect_timeout: Duration::from_secs(3),
        read_timeout: Duration::from_secs(3),
        connect_attempts: 1,
        running: false,
        rules: MonitorRules::default(),
    }
}

fn module(given: Option<&Value>) -> Result<MonitorModule, Failed> {
    let missing = || Failed::refused("`/data/attributes/module` is not a string");
    let name = given.and_then(Value::as_str).ok_or_else(missing)?;
    let mut known = MODULES.iter();
    let known = known.find(|(word, _)| word.eq_ignore_ascii_case(name));
    let unknown = || Failed::refused(format!("Unknown monitor module '{name}'"));
    known.map(|(_, module)| *module).ok_or_else(unknown)
}

fn attributes(data: &Map<String, Value>) -> Result<Map<String, Value>, Failed> {
    match data.get("attributes") {
        None => Ok(Map::new()),
        Some(Value::Object(attributes)) => Ok(attributes.clone()),
        Some(_) => Err(Failed::refused("`/data/attributes` is not an object")),
    }
}

fn given(attributes: &Map<String, Value>) -> Result<Option<Map<String, Value>>, Failed> {
    match attributes.get("parameters") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(given)) => Ok(Some(given.clone())),
        Some(_) => Err(Failed::refused(
            "`/data/attributes/parameters` is not an object",
        )),
    }
}

fn update(draft: &mut Draft, call: &Call) -> Result<(), Failed> {
    let data = call.data()?;
    let given = given(&attributes(data)?)?;
    let servers = related(&draft.snapshot, data)?;
    change(draft, call.name(0), |snapshot, id, held| {
        if let Some(given) = given {
            parameters::monitor(held.spec.module)
                .assign(&given, held, Occasion::Alteration)
                .map_err(Failed::refused_for)?;
        }
        if let Some(servers) = servers {
            held.spec.servers = free(snapshot, id, servers)?;
        }
        Ok(())
    })
}

/// Rewrites a monitor.
fn change(
    draft: &mut Draft,
    name: &str,
    edit: impl FnOnce(&Snapshot, Id, &mut Held<Monitor>) -> Result<(), Failed>,
) -> Result<(), Failed> {
    let entity = find(&draft.snapshot, name)?;
    let mut entity = Entity::clone(entity);
    let mut held = Held::of(&entity).ok_or_else(|| unknown(name))?;
    edit(&draft.snapshot, entity.id, &mut held)?;
    held.put(&mut entity);
    draft.replace(entity)
}

fn start(draft: &mut Draft, call: &Call) -> Result<(), Failed> {
    run(draft, call.name(0), true)
}

fn stop(draft: &mut Draft, call: &Call) -> Result<(), Failed> {
    run(draft, call.name(0), false)
}

fn run(draft: &mut Draft, name: &str, running: bool) -> Result<(), Failed> {
    change(draft, name, |_, _, held| {
        held.spec.running = running;
        Ok(())
    })
}

fn relate(draft: &mut Draft, call: &Call) -> Result<(), Failed> {
    let body = call.object()?;
    let missing = || Failed::refused("`/data` is neither an array nor null");
    let data = body.get("data").ok_or_else(missing)?;
    let servers = servers(&draft.snapshot, data)?;
    change(draft, call.name(0), |snapshot, id, held| {
        held.spec.servers = free(snapshot, id, servers)?;
        Ok(())
    })
}

/// One that has servers stays, unless it is forced to go.
fn remove(draft: &mut Draft, call: &Call) -> Result<(), Failed> {
    let entity = find(&draft.snapshot, call.name(0))?;
    let at = entity.at();
    let monitor = entity.as_kind::<Monitor>();
    let is_empty = monitor.is_none_or(|monitor| monitor.servers.is_empty());
    if !is_empty && !call.query.is_set("force") {
        let why = format!("Monitor '{}' still monitors servers", call.name(0));
        return Err(Failed::refused(why));
    }
    draft.delete([at])
}

/// The servers that a document relates to, where it says so. Kinds that no monitor relates to may be
/// there, if they are empty.
fn related(snapshot: &Snapshot, data: &Map<String, Value>) -> Result<Option<Vec<Id>>, Failed> {
    let all = match data.get("relationships") {
        None => return Ok(None),
        Some(Value::Object(all)) => all,
        Some(_) => return Err(Failed::refused("`/data/relationships` is not an object")),
    };
    let mut found = None;
    for (kind, relation) in all {
        let relation = relation.as_object();
        let wrong = || Failed::refused(format!("`/data/relationships/{kind}` is not an object"));
        let Some(data) = relation.ok_or_else(wrong)?.get("data") else {
            continue;
        };
        if kind == "servers" {
            found = Some(servers(snapshot, data)?);
        } else if !is_nothing(data) {
            let why = format!("A monitor has no relationship '{kind}'");
            return Err(Failed::refused(why));
        }
    }
    Ok(found)
}

fn is_nothing(data: &Value) -> bool {
    data.is_null() || data.as_array().is_some_and(Vec::is_empty)
}

/// The servers of a list of relations, each once.
fn servers(snapshot: &Snapshot, data: &Value) -> Result<Vec<Id>, Failed> {
    let list = match data {
        Value::Null => &[][..],
        Value::Array(list) => list,
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
            return Err(Failed::refused("`data` is neither an array nor null"));
        }
    };
    let mut found = Vec::with_capacity(list.len());
    for relation in list {
        let id = server(snapshot, relation)?;
        if !found.contains(&id) {
            found.push(id);
        }
    }
    Ok(found)
}

fn server(snapshot: &Snapshot, relation: &Value) -> Result<Id, Failed> {
    let text = |field: &str| relation.get(field).and_then(Value::as_str);
    let (Some(name), Some("servers")) = (text("id"), text("type")) else {
        let why = "A relation to a server has an `id` and the `type` 'servers'";
        return Err(Failed::refused(why));
    };
    let entity = names::find(snapshot, Kind::Server, name);
    let unknown = || Failed::refused(format!("Server '{name}' was not found"));
    Ok(entity.ok_or_else(unknown)?.id)
}

/// The same servers, where no other monitor has one of them.
fn free(snapshot: &Snapshot, monitor: Id, servers: Vec<Id>) -> Result<Box<[Id]>, Failed> {
    for server in &servers {
        let mut owners = snapshot.mentioning(*server, Kind::Monitor);
        if let Some(owner) = owners.find(|owner| owner.id != monitor) {
            let name = snapshot.entity(Kind::Server, *server);
            let name = name.map_or_else(|| server.to_string(), |entity| entity.label());
            let why = format!("Server '{name}' is monitored by '{}'", owner.label());
            return Err(Failed::refused(why));
        }
    }
    Ok(servers.into())
}
