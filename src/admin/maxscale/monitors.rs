//! `/monitors`: who asks servers what they are, and by which rules.

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::model::{
    Entity, Id, Kind, Monitor, MonitorModule, MonitorRules, Name, NamespaceRef, Secret, Server,
    Snapshot,
};

use super::answer::Failed;
use super::call::Call;
use super::document::Object;
use super::draft::Draft;
use super::live::{MonitorInfo, MonitoredServer, SlaveConnection};
use super::names;
use super::parameters::{self, Held, Occasion};
use super::path::{Operation, Outcome, Path, delete, get, patch, post, put};
use super::relations;
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
        segments: &["monitors", ":", "relationships", ":"],
        actions: &[
            get(Operation::Show(relations::show)),
            patch(Operation::Plan(relate)),
        ],
    },
];

/// Whom monitors relate to.
const SERVERS: &str = "servers";

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

fn list(view: &View<'_>, _: &Call) -> Outcome {
    view.list(Kind::Monitor, "monitors", |entity| document(view, entity))
}

fn show(view: &View<'_>, call: &Call) -> Outcome {
    view.one(Kind::Monitor, call, |entity| document(view, entity))
}

fn document(view: &View<'_>, entity: &Entity) -> Option<Value> {
    Some(value(view, entity.id, &Held::of(entity)?))
}

/// What a kind's entities never are: of another kind.
fn odd() -> Failed {
    Failed::not_found("It is no monitor")
}

fn value(view: &View<'_>, id: Id, held: &Held<Monitor>) -> Value {
    let monitor = &held.spec;
    let info = view.live.monitor(id).filter(|_| monitor.running);
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
    object.set("parameters", table.show(held));
    if let Some(info) = info {
        object.set("monitor_diagnostics", diagnostics(&info));
    }
    let servers = monitor.servers.iter();
    let servers = servers.filter_map(|id| view.snapshot.get::<Server>(*id));
    let servers = servers.map(|server| server.name.as_str());
    object.relate_any(view.links, SERVERS, servers);
    object.into_value(view.links)
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
    let described = call.described("monitors")?;
    names::check_free(&draft.snapshot, Kind::Monitor, &described.name)?;
    let module = module(described.attributes.get("module"))?;
    let mut held = Held::new(new(described.name, module));
    parameters::monitor(module)
        .assign(&described.parameters, &mut held, Occasion::Creation)
        .map_err(Failed::refused_for)?;
    let id = Id::random();
    if let Some(servers) = related(&draft.snapshot, described.data)? {
        held.spec.servers = free(&draft.snapshot, id, servers)?;
    }
    let mut entity = Entity::new(id, held.spec.clone());
    held.put(&mut entity);
    draft.create(entity)
}

/// A new monitor of which nothing is said but its name and module.
fn new(name: Name, module: MonitorModule) -> Monitor {
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
        running: true,
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

fn update(draft: &mut Draft, call: &Call) -> Result<(), Failed> {
    let (data, given) = call.changes("monitors")?;
    let servers = related(&draft.snapshot, data)?;
    change(draft, call.name(0), |snapshot, id, held| {
        parameters::monitor(held.spec.module)
            .assign(&given, held, Occasion::Alteration)
            .map_err(Failed::refused_for)?;
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
    let entity = names::existing(&draft.snapshot, Kind::Monitor, name)?;
    let mut entity = Entity::clone(entity);
    let mut held = Held::of(&entity).ok_or_else(odd)?;
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
    if call.name(1) != SERVERS {
        let why = format!("Monitors have no relationship '{}'", call.name(1));
        return Err(Failed::not_found(why));
    }
    let names = relations::listed(call, SERVERS)?;
    let servers = relations::resolve(&draft.snapshot, Kind::Server, &names)?;
    change(draft, call.name(0), |snapshot, id, held| {
        held.spec.servers = free(snapshot, id, servers)?;
        Ok(())
    })
}

/// One that has servers stays, unless it is forced to go.
fn remove(draft: &mut Draft, call: &Call) -> Result<(), Failed> {
    let entity = names::existing(&draft.snapshot, Kind::Monitor, call.name(0))?;
    let at = entity.at();
    let monitor = entity.as_kind::<Monitor>();
    let is_empty = monitor.is_none_or(|monitor| monitor.servers.is_empty());
    if !is_empty && !call.query.is_set("force") {
        let why = format!("Monitor '{}' still monitors servers", call.name(0));
        return Err(Failed::refused(why));
    }
    draft.delete([at])
}

/// The servers that a document relates to, where it says so.
fn related(snapshot: &Snapshot, data: &Map<String, Value>) -> Result<Option<Vec<Id>>, Failed> {
    relations::nothing_but(data, &[SERVERS])?;
    let names = relations::wanted(data, SERVERS)?;
    let servers = names.map(|names| relations::resolve(snapshot, Kind::Server, &names));
    servers.transpose()
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
