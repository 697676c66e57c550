//! Routes that follow from services: `/{namespace}/{service}/…`, with that prefix taken off.
//!
//! They are entities like any other route, compiled into the table; nothing is looked up by name when
//! a request comes.

use std::sync::Arc;

use serde_json::json;

use super::answer::Failed;
use super::draft::Draft;
use super::names::DIALECT;
use crate::model::{Change, Entity, EntityRef, Id, Kind, PathPattern, Route, Service};

/// The route that exposes a service: the same at every start.
fn route_id(service: Id) -> Id {
    Id::derived(&format!("sluicegate:polaris:expose:{service}"))
}

pub(super) fn route_at(service: Id) -> EntityRef {
    EntityRef {
        kind: Kind::Route,
        id: route_id(service),
    }
}

/// The paths of a service; none where a path could not lead to it: a `.` or `..` in its name is taken
/// out of every path before it is matched.
fn paths(service: &Service) -> Option<[PathPattern; 2]> {
    let name = service.name.as_ref()?.as_str();
    let path = format!("/{}/{name}", service.namespace);
    let lost = |segment: &str| matches!(segment, "" | "." | "..");
    if path.split('/').skip(1).any(lost) {
        return None;
    }
    let whole = PathPattern::Exact(path.as_str().into());
    let below = PathPattern::Prefix(format!("{path}/").into());
    Some([below, whole])
}

/// The route that exposes a service.
pub(super) fn route(entity: &Entity) -> Option<Entity> {
    let service = entity.as_kind::<Service>()?;
    let route = Route {
        namespace: service.namespace.clone(),
        service: Some(entity.id),
        paths: paths(service)?.into(),
        ..Route::default()
    };
    let mut route = Entity::new(route_id(entity.id), route);
    let attributes = json!({"exposes": service.name});
    route.set_attributes(DIALECT, attributes.as_object().cloned().unwrap_or_default());
    Some(route)
}

/// Makes the routes those that the setting asks for.
pub(super) fn reconcile(draft: &mut Draft, expose: bool) -> Result<(), Failed> {
    let mut changes = Vec::new();
    for entity in draft.snapshot.list(Kind::Service, None) {
        let at = route_at(entity.id);
        let is_there = draft.snapshot.entity(at.kind, at.id).is_some();
        let wanted = expose && super::draft::is_ours(entity);
        match route(entity).filter(|_| wanted) {
            Some(route) if !is_there => changes.push(Change::Create(Arc::new(route))),
            None if is_there => changes.push(Change::Delete(at)),
            Some(_) | None => {}
        }
    }
    draft.add(changes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Name, Protocol};

    fn service(namespace: &str, name: &str) -> Service {
        Service {
            namespace: namespace.parse::<Name>().unwrap().into(),
            name: Some(name.parse().unwrap()),
            ..Service::at(Protocol::Http, "h".parse().unwrap(), 80)
        }
    }

    #[test]
    fn a_service_has_the_paths_of_its_names() {
        let [below, whole] = paths(&service("prod", "a/b:c")).unwrap();
        assert_eq!(
            (below.to_string(), whole.to_string()),
            ("/prod/a/b:c/".into(), "=/prod/a/b:c".into())
        );
        for lost in [
            service("prod", ".."),
            service(".", "a"),
            service("prod", "a//b"),
        ] {
            assert_eq!(paths(&lost), None);
        }
    }
}
