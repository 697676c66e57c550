//! Filters: what services put in the way of their connections.

use serde_json::{Map, Value, json};

use super::answer::Failed;
use super::call::Call;
use super::document::Object;
use super::draft::Draft;
use super::parameters::{self, Held, Occasion};
use super::path::{Operation, Outcome, Path, delete, get, post};
use super::view::View;
use super::{live, names, relations, services};
use crate::model::{Entity, Filter, Id, Kind, Name, NamespaceRef, Snapshot};

pub(super) const TYPE: &str = "filters";

pub(super) static PATHS: &[Path] = &[
    Path {
        segments: &["filters"],
        actions: &[get(Operation::Show(list)), post(Operation::Plan(create))],
    },
    Path {
        segments: &["filters", ":"],
        actions: &[get(Operation::Show(one)), delete(Operation::Plan(remove))],
    },
    Path {
        segments: &["filters", ":", "relationships", ":"],
        actions: &[get(Operation::Show(relations::show))],
    },
];

fn list(view: &View<'_>, _: &Call) -> Outcome {
    view.list(Kind::Filter, TYPE, |entity| document(view, entity))
}

fn one(view: &View<'_>, call: &Call) -> Outcome {
    view.one(Kind::Filter, call, |entity| document(view, entity))
}

fn document(view: &View<'_>, entity: &Entity) -> Option<Value> {
    let held = Held::<Filter>::of(entity)?;
    let module = held.spec.module.as_str();
    let mut object = Object::new(TYPE, entity.label());
    object.set("module", module);
    object.set("parameters", shown(module, &held));
    let acts = live::acts(module);
    object.set("filter_diagnostics", json!({"active": acts}));
    let users = users(&view.snapshot, entity.id);
    let users = view.links.relation(services::TYPE, users);
    object.relate(services::TYPE, users);
    Some(object.into_value(view.links))
}

/// A module that MaxScale does not have came by another dialect; what it was told is shown as it is.
fn shown(module: &str, held: &Held<Filter>) -> Map<String, Value> {
    match parameters::filter(module) {
        Some(table) => table.show(held),
        None => held.spec.parameters.clone(),
    }
}

/// The services that a filter is in the way of.
fn users(snapshot: &Snapshot, filter: Id) -> Vec<String> {
    let users = snapshot.mentioning(filter, Kind::Service);
    let seen = |entity: &&std::sync::Arc<Entity>| {
        let namespace = entity.spec.namespace();
        namespace.is_some_and(NamespaceRef::is_default)
    };
    let mut users: Vec<_> = users.filter(seen).map(|entity| entity.label()).collect();
    users.sort();
    users
}

/// Relationships must name services that exist and are not made: a service says which filters it has.
fn create(draft: &mut Draft, call: &Call) -> Result<(), Failed> {
    let described = call.described(TYPE)?;
    names::check_free(&draft.snapshot, Kind::Filter, &described.name)?;
    let module = described.attributes.get("module").and_then(Value::as_str);
    let module = module
        .ok_or_else(|| Failed::refused("The request has no `data.attributes.module` string"))?;
    let unknown = || Failed::refused(format!("There is no filter module {module:?}"));
    let table = parameters::filter(module).ok_or_else(unknown)?;
    let module: Result<Name, _> = module.parse();
    let filter = Filter {
        namespace: NamespaceRef::default(),
        name: described.name,
        module: module.map_err(|invalid| Failed::refused(invalid.to_string()))?,
        parameters: Map::new(),
    };
    let mut held = Held::new(filter);
    let assigned = table.assign(&described.parameters, &mut held, Occasion::Creation);
    assigned.map_err(Failed::refused_for)?;
    relations::nothing_but(described.data, &[services::TYPE])?;
    let named = relations::wanted(described.data, services::TYPE)?.unwrap_or_default();
    relations::resolve(&draft.snapshot, Kind::Service, &named)?;
    let mut entity = Entity::new(Id::random(), held.spec.clone());
    held.put(&mut entity);
    draft.create(entity)
}

fn remove(draft: &mut Draft, call: &Call) -> Result<(), Failed> {
    let entity = names::existing(&draft.snapshot, Kind::Filter, call.name(0))?.clone();
    if call.query.is_set("force") {
        services::without_filter(draft, entity.id)?;
    }
    let users = users(&draft.snapshot, entity.id);
    if !users.is_empty() {
        let (name, users) = (entity.label(), users.join(", "));
        let why = format!("Filter {name:?} cannot be destroyed: it is used by {users}");
        return Err(Failed::refused(why));
    }
    draft.delete([entity.at()])
}
