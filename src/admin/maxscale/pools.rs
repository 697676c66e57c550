//! The pool behind a service: whose servers it lists.

use std::sync::Arc;

use crate::model::{Entity, Id, Kind, Name, Pool, Service, Snapshot};

use super::answer::Failed;
use super::draft::Draft;

/// The pool that is there for a service.
pub(super) fn own(snapshot: &Snapshot, service: Id) -> Option<&Arc<Entity>> {
    let is_its = |entity: &&Arc<Entity>| {
        let pool = entity.as_kind::<Pool>();
        pool.is_some_and(|pool| pool.service == Some(service))
    };
    snapshot.mentioning(service, Kind::Pool).find(is_its)
}

/// The servers that a service's connections may go to, in order.
pub(super) fn servers<'a>(snapshot: &'a Snapshot, service: &Service) -> &'a [Id] {
    let (namespace, host) = (service.namespace.as_str(), service.host.as_str());
    let pool = snapshot.named(Kind::Pool, namespace, host);
    pool.and_then(|entity| entity.as_kind::<Pool>())
        .map_or(&[], |pool| &pool.servers)
}

/// The services that a server is there for, of the namespace `default`.
pub(super) fn services_of(snapshot: &Snapshot, server: Id) -> Vec<&Arc<Entity>> {
    let pools = snapshot.mentioning(server, Kind::Pool);
    let pools = pools.filter_map(|entity| entity.as_kind::<Pool>());
    let ids = pools.flat_map(|pool| snapshot.services_at(&pool.namespace, pool.name.as_str()));
    let services = ids.filter_map(|id| snapshot.entity(Kind::Service, id));
    let seen = |entity: &&Arc<Entity>| {
        let namespace = entity.spec.namespace();
        namespace.is_some_and(|namespace| namespace.is_default())
    };
    let mut services: Vec<_> = services.filter(seen).collect();
    services.sort_by_key(|entity| (entity.created_at, entity.label()));
    services
}

/// A new pool for the service `id`.
pub(super) fn new(id: Id, servers: Vec<Id>) -> Result<Entity, Failed> {
    let pool = Pool {
        service: Some(id),
        servers: servers.into(),
        // Monitors say which server is well.
        passive: None,
        ..Pool::named(name(id)?)
    };
    Ok(Entity::new(Id::random(), pool))
}

/// The name of a service's pool: by its id, so that no host is ever called so.
pub(super) fn name(service: Id) -> Result<Name, Failed> {
    let name: Result<Name, _> = format!("maxscale-{service}").parse();
    name.map_err(|invalid| Failed::refused(invalid.to_string()))
}

/// Lists other servers in a service's own pool.
///
/// # Errors
/// Where another dialect made the service, and it has no pool of its own.
pub(super) fn set_servers(
    draft: &mut Draft,
    service: &Entity,
    servers: Vec<Id>,
) -> Result<(), Failed> {
    let Some(entity) = own(&draft.snapshot, service.id).cloned() else {
        let listed = service
            .as_kind()
            .map(|own| self::servers(&draft.snapshot, own));
        if listed == Some(&servers[..]) {
            return Ok(());
        }
        let name = service.label();
        let why = format!(
            "The servers of service {name:?} are not its own to change: another interface made it"
        );
        return Err(Failed::refused(why));
    };
    let mut entity = Entity::clone(&entity);
    if let Some(pool) = entity.as_kind::<Pool>().cloned() {
        let servers = servers.into();
        entity.spec = Pool { servers, ..pool }.into();
    }
    draft.replace(entity)
}
