//! What a node says of itself: version, plugins, counters, schemas, tags, endpoints.

use std::collections::BTreeSet;

use axum::response::Response;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::answer;
use super::collection::{COLLECTIONS, Collection};
use super::declarative;
use super::failure::Failure;
use super::lens;
use super::page::{Query, write_offset};
use super::place::Node;
use super::schema::{Operation, Schema, Schemas, Surroundings, Violations};
use super::unit::Unit;
use super::view::View;
use super::{Call, Kong};
use crate::model::{Id, Kind, Plugin, Timestamp};

impl Node {
    pub(super) const fn methods(&self) -> &'static [&'static str] {
        match self {
            Self::ValidateEntity(_) | Self::ValidatePlugin => &["POST"],
            Self::Config => &["GET", "POST"],
            _ => &["GET"],
        }
    }
}

impl Kong {
    pub(super) fn node(&self, node: &Node, call: Call) -> Result<Response, Failure> {
        let document = match (node, &call.method) {
            (Node::Tags, &Method::POST) => return Err(unwritable_tags()),
            (Node::Tag(_), &Method::DELETE) => return Ok(answer::nothing()),
            (Node::ValidateEntity(table), &Method::POST) => {
                let schema = Schemas::all()
                    .entity(table)
                    .ok_or_else(|| no_entity(table))?;
                self.validate(schema, call)?
            }
            (Node::ValidatePlugin, &Method::POST) => {
                let schema = Schemas::all()
                    .entity("plugins")
                    .ok_or_else(Failure::unexpected)?;
                self.validate(schema, call)?
            }
            (Node::Config, &Method::GET | &Method::POST) if self.database => {
                return Err(Failure::with_a_database());
            }
            (Node::Config, &Method::GET) => self.configuration()?,
            (_, &Method::GET) => self.describe(node, &call)?,
            _ => return Err(Failure::method_not_allowed()),
        };
        Ok(answer::json(StatusCode::OK, &document))
    }

    fn describe(&self, node: &Node, call: &Call) -> Result<Value, Failure> {
        let all = Schemas::all();
        Ok(match node {
            Node::Root => self.root(),
            Node::Status => self.status(Unit::read(&call.query)?),
            Node::Endpoints => json!({"data": endpoints()}),
            Node::Tags => self.tags(None, call)?,
            Node::Tag(tag) => self.tags(Some(tag), call)?,
            Node::EnabledPlugins => {
                let names: Vec<_> = all.plugins().map(|(name, _)| name).collect();
                json!({"enabled_plugins": names})
            }
            Node::EntitySchema(table) => {
                let schema = all.entity(table).ok_or_else(|| no_entity(table))?;
                schema.describe()
            }
            Node::PluginSchema(name) => {
                let schema = all.plugin(name).ok_or_else(|| no_plugin(name))?;
                schema.describe()
            }
            Node::PluginConfiguration(name) => {
                let schema = all.plugin(name).ok_or_else(|| no_plugin(name))?;
                configuration(&schema.describe())
            }
            Node::Config | Node::ValidateEntity(_) | Node::ValidatePlugin => {
                return Err(Failure::method_not_allowed());
            }
        })
    }

    fn root(&self) -> Value {
        let snapshot = self.registry.snapshot();
        let stored = snapshot.list(Kind::Plugin, None);
        let stored = stored.filter_map(|one| Some(one.as_kind::<Plugin>()?.name.to_string()));
        let stored: BTreeSet<_> = stored.collect();
        json!({
            "tagline": "Welcome to kong",
            "version": super::VERSION,
            "edition": "community",
            "hostname": hostname(),
            "node_id": self.node,
            "timers": {"running": 0, "pending": 0},
            "lua_version": "none",
            "plugins": {
                // Only what acts on traffic; plugins are stored and shown, and none acts.
                "available_on_server": {},
                "enabled_in_cluster": stored,
            },
            "configuration": {
                "database": if self.database { "postgres" } else { "off" },
                "router_flavor": "traditional_compatible",
                "log_level": "notice",
                "plugins": ["bundled"],
            },
            "pids": {"master": std::process::id(), "workers": [std::process::id()]},
        })
    }

    fn status(&self, unit: Unit) -> Value {
        let traffic = (self.traffic)();
        let memory = unit.write(traffic.resident_bytes);
        let mut status = json!({
            "memory": {
                "workers_lua_vms": [{"pid": std::process::id(), "http_allocated_gc": memory}],
                "lua_shared_dicts": {},
            },
            "server": {
                "connections_accepted": traffic.accepted,
                "connections_handled": traffic.accepted,
                "connections_active": traffic.active,
                "connections_reading": 0,
                "connections_writing": traffic.active,
                "connections_waiting": 0,
                "total_requests": traffic.requests,
            },
        });
        let (name, value) = match self.database {
            true => ("database", json!({"reachable": true})),
            false => {
                let hash = declarative::hash(&self.registry.snapshot());
                ("configuration_hash", hash.into())
            }
        };
        if let Value::Object(status) = &mut status {
            status.insert(name.to_owned(), value);
        }
        status
    }

    /// Every tag of every entity, or the entities of one tag.
    fn tags(&self, only: Option<&str>, call: &Call) -> Result<Value, Failure> {
        if let Some(tag) = only {
            check_tag(tag, self)?;
        }
        let query = Query::read_of_tags(&call.query)?;
        let snapshot = self.registry.snapshot();
        let view = View::new(&snapshot);
        let tagged = COLLECTIONS.iter().flat_map(|collection| {
            view.list(collection, None).flat_map(move |entity| {
                let tags = entity.tags.iter();
                tags.map(move |tag| (collection.table, entity.id, tag.as_str()))
            })
        });
        let wanted = tagged.filter(|(_, _, tag)| only.is_none_or(|only| only == *tag));
        let mut rest = wanted.skip_while(|place| !is_behind(place, query.offset.as_deref()));
        if query.offset.is_some() {
            rest.next();
        }
        let mut rest = rest.peekable();
        let page: Vec<_> = rest.by_ref().take(query.limit()).collect();
        let last = page.last().filter(|_| rest.peek().is_some());
        let offset = last.map(|(table, id, tag)| {
            write_offset(&[(*table).to_owned(), id.to_string(), (*tag).to_owned()])
        });
        let one = |(table, id, tag): &(&str, Id, &str)| json!({"entity_name": table, "entity_id": id, "tag": tag});
        let data: Vec<_> = page.iter().map(one).collect();
        let path = call.path.trim_end_matches('/');
        Ok(query.envelope(path, false, &data, offset.as_deref()))
    }

    fn validate(&self, schema: &Schema, call: Call) -> Result<Value, Failure> {
        let input = call.input.document(schema, None)?;
        let around = Surroundings::new(Timestamp::now(), self.normal_path);
        let mut document = schema.complete(Operation::Insert, input, None, &around)?;
        document.remove("ttl");
        if let Some(collection) = Collection::of_table(&schema.name) {
            lens::judge(collection, &document)?;
        }
        Ok(json!({"message": "schema validation successful"}))
    }
}

/// Whether a place is where the last page ended; every place where there was none.
fn is_behind((table, id, tag): &(&str, Id, &str), offset: Option<&[String]>) -> bool {
    match offset {
        Some([last_table, last_id, last_tag]) => {
            *last_table == **table && *last_id == id.to_string() && *last_tag == **tag
        }
        _ => true,
    }
}

fn hostname() -> String {
    let name = rustix::system::uname();
    name.nodename().to_string_lossy().into_owned()
}

fn check_tag(tag: &str, kong: &Kong) -> Result<(), Failure> {
    let schema = Schemas::all()
        .entity("tags")
        .ok_or_else(Failure::unexpected)?;
    let around = Surroundings::new(Timestamp::default(), kong.normal_path);
    let judged = schema.judge_key("tag", tag, &around);
    judged.map_err(|why| Failure::bad_unique("tag", &why))
}

fn unwritable_tags() -> Failure {
    let why = "does not support insert/upsert/update/delete operations";
    Violations::of_field("tags", why.to_owned()).into()
}

fn no_entity(table: &str) -> Failure {
    Failure::not_found_as(&format!("No entity named '{table}'"))
}

fn no_plugin(name: &str) -> Failure {
    Failure::not_found_as(&format!("No plugin named '{name}'"))
}

/// The record `config` of a plugin's description.
fn configuration(description: &Value) -> Value {
    let fields = description.get("fields").and_then(Value::as_array);
    let mut fields = fields.into_iter().flatten();
    let config = fields.find_map(|field| field.get("config"));
    config.cloned().unwrap_or_default()
}

/// Every path, sorted segment by segment.
fn endpoints() -> Vec<String> {
    let fixed = [
        "/",
        "/config",
        "/endpoints",
        "/metrics",
        "/plugins/enabled",
        "/plugins/schema/{name}",
        "/schemas/plugins/validate",
        "/schemas/plugins/{name}",
        "/schemas/{name}",
        "/schemas/{name}/validate",
        "/status",
        "/tags",
        "/tags/{tags}",
        "/upstreams/{upstreams}/health",
        "/upstreams/{upstreams}/targets/all",
        "/upstreams/{upstreams}/targets/{targets}/healthy",
        "/upstreams/{upstreams}/targets/{targets}/unhealthy",
        "/upstreams/{upstreams}/targets/{targets}/{address}/healthy",
        "/upstreams/{upstreams}/targets/{targets}/{address}/unhealthy",
    ];
    let mut all: BTreeSet<Vec<String>> = BTreeSet::new();
    let mut add = |path: String| {
        all.insert(path.split('/').map(str::to_owned).collect());
    };
    fixed.into_iter().for_each(|path| add(path.to_owned()));
    for collection in COLLECTIONS.iter().filter(|one| one.kind != Kind::Endpoint) {
        of_collection(collection).for_each(&mut add);
    }
    all.into_iter().map(|segments| segments.join("/")).collect()
}

fn of_collection(collection: &'static Collection) -> impl Iterator<Item = String> {
    let name = collection.schema().collection();
    let one = format!("/{name}/{{{}}}", collection.table);
    let parents = collection.schema().foreign_fields();
    let parents = parents.filter(|_| collection.kind != Kind::Sni);
    let parents: Vec<_> = parents.map(|(field, _)| format!("{one}/{field}")).collect();
    let children = collection.children().flat_map(|child| {
        let below = format!("{one}/{}", child.schema().nested_collection());
        [below.clone(), format!("{below}/{{{}}}", child.table)]
    });
    let children: Vec<_> = children.collect();
    [format!("/{name}"), one]
        .into_iter()
        .chain(parents)
        .chain(children)
}
