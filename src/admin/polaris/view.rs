//! The registry as Polaris' questions want it: services and instances with their counts, by host and by
//! label, kept current by what each revision touched.
//!
//! The snapshot stays the truth; this repeats nothing but where to look, and adds who is there.

use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::Instant;

use imbl::{OrdMap, OrdSet};

use super::heartbeat::Heartbeats;
use super::names::service_of;
use super::records::{self, InstanceRecord};
use super::rows::{InstanceRow, Order, Place, Pulse, ServiceRow, key};
use crate::model::{Endpoint, EntityRef, Id, Kind, Pool, Revision, Snapshot};
use crate::registry::Registry;

/// The instances of one service.
#[derive(Clone, Debug, Default)]
pub(super) struct Members {
    pub(super) rows: OrdMap<Id, Arc<InstanceRow>>,
    pub(super) healthy: u64,
    /// Of all states together, whatever their order.
    pub(super) stamp: u64,
}

/// What a namespace holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Census {
    pub(super) services: u64,
    pub(super) instances: u64,
    pub(super) healthy: u64,
}

/// The view at one revision. Persistent maps share with the next one what a change does not touch.
#[derive(Clone, Debug, Default)]
pub(super) struct View {
    revision: Option<Revision>,
    services: OrdMap<Place, Arc<ServiceRow>>,
    aliases: OrdMap<Place, Arc<ServiceRow>>,
    places: OrdMap<Id, Place>,
    instances: OrdMap<Id, Arc<InstanceRow>>,
    order: OrdMap<Order, Arc<InstanceRow>>,
    members: OrdMap<Arc<str>, Members>,
    /// By the hash of a host. Nothing but numbers, so that a change has no counts of others to touch.
    by_host: OrdSet<(u64, Id)>,
    /// By a label's key and value.
    by_label: OrdMap<(Arc<str>, Arc<str>, Id), Arc<InstanceRow>>,
    census: OrdMap<Arc<str>, Census>,
}

impl View {
    /// Whether the view shows that revision.
    pub(super) fn is_at(&self, revision: Revision) -> bool {
        self.revision == Some(revision)
    }

    /// Takes in what was written since the last time.
    pub(super) fn follow(&mut self, registry: &Registry, beats: &Heartbeats, now: Instant) {
        let snapshot = registry.snapshot();
        if !self.is_at(snapshot.revision()) {
            let touched = self.revision.and_then(|seen| registry.touched_since(seen));
            self.advance(&snapshot, touched.as_deref(), beats, now);
        }
    }

    /// Goes on to `snapshot`, by what was touched since; reads everything where nobody knows that.
    fn advance(
        &mut self,
        snapshot: &Snapshot,
        touched: Option<&[EntityRef]>,
        beats: &Heartbeats,
        now: Instant,
    ) {
        match touched {
            Some(touched) => {
                for at in touched {
                    self.take(snapshot, *at, beats, now);
                }
            }
            None => self.begin(snapshot, beats, now),
        }
        self.revision = Some(snapshot.revision());
    }

    /// Reads everything.
    fn begin(&mut self, snapshot: &Snapshot, beats: &Heartbeats, now: Instant) {
        let before = std::mem::take(self);
        let gone = |id: &&Id| snapshot.entity(Kind::Endpoint, **id).is_none();
        for id in before.instances.keys().filter(gone) {
            beats.forget(*id);
        }
        for kind in [Kind::Service, Kind::Endpoint] {
            for entity in snapshot.list(kind, None) {
                self.take(snapshot, entity.at(), beats, now);
            }
        }
    }

    fn take(&mut self, snapshot: &Snapshot, at: EntityRef, beats: &Heartbeats, now: Instant) {
        match at.kind {
            Kind::Service => {
                self.remove_service(at.id);
                let entity = snapshot.entity(at.kind, at.id);
                if let Some(row) = entity.and_then(ServiceRow::of) {
                    self.insert_service(row);
                }
            }
            Kind::Pool => {
                let endpoints = snapshot.mentioning(at.id, Kind::Endpoint);
                for endpoint in endpoints {
                    self.take_endpoint(snapshot, endpoint.id, beats, now);
                }
            }
            Kind::Endpoint => self.take_endpoint(snapshot, at.id, beats, now),
            Kind::Namespace
            | Kind::Route
            | Kind::Certificate
            | Kind::Sni
            | Kind::Listener
            | Kind::Plugin
            | Kind::Consumer
            | Kind::KeyAuth
            | Kind::BasicAuth
            | Kind::HmacAuth
            | Kind::JwtSecret
            | Kind::Acl
            | Kind::Oauth2Credential
            | Kind::CaCertificate
            | Kind::KeySet
            | Kind::Key
            | Kind::Vault
            | Kind::Server
            | Kind::Filter
            | Kind::Monitor
            | Kind::Operator => {}
        }
    }

    fn insert_service(&mut self, row: ServiceRow) {
        let place = row.place();
        self.places.insert(row.entity.id, place);
        if row.record.alias.is_some() {
            self.aliases.insert(place, Arc::new(row));
        } else {
            self.census_of(&row.namespace).services += 1;
            self.services.insert(place, Arc::new(row));
        }
    }

    fn remove_service(&mut self, id: Id) {
        let Some(place) = self.places.remove(&id) else {
            return;
        };
        self.aliases.remove(&place);
        if let Some(row) = self.services.remove(&place) {
            self.census_of(&row.namespace).services -= 1;
        }
    }

    fn census_of(&mut self, namespace: &str) -> &mut Census {
        self.census.entry(namespace.into()).or_default()
    }

    fn take_endpoint(&mut self, snapshot: &Snapshot, id: Id, beats: &Heartbeats, now: Instant) {
        let before = self.remove_instance(id);
        let Some(mut row) = self.row(snapshot, id) else {
            if before.is_some() {
                beats.forget(id);
            }
            return;
        };
        let there = match row.record.ttl {
            Some(ttl) => {
                beats.watch(id, ttl, row.record.healthy, now);
                beats.is_there(id, now).unwrap_or(true)
            }
            None => {
                beats.declare(id, row.record.healthy);
                row.record.healthy
            }
        };
        row.pulse = Pulse::after(before.as_ref().map(|before| &before.pulse), there);
        self.insert_instance(row);
    }

    /// An endpoint as an instance; `None` where its pool is no service's.
    fn row(&mut self, snapshot: &Snapshot, id: Id) -> Option<InstanceRow> {
        let entity = snapshot.entity(Kind::Endpoint, id)?;
        let pool: &Pool = snapshot.get(entity.as_kind::<Endpoint>()?.pool)?;
        let (namespace, service) = (pool.namespace.as_str(), service_of(pool)?);
        let record: InstanceRecord = records::read(entity);
        let key = key(namespace, &service);
        // Instances of one service share its names.
        let mate = self
            .members
            .get(&*key)
            .and_then(|members| members.rows.get_min());
        let mate = mate.map(|(_, one)| one);
        let names = mate.map(|one| (one.key.clone(), one.service.clone(), one.namespace.clone()));
        let fresh = || (key.as_str().into(), (&*service).into(), namespace.into());
        let (key, service, namespace) = names.unwrap_or_else(fresh);
        let endpoint: &Endpoint = entity.as_kind()?;
        let host = endpoint.host.as_str();
        let host = self
            .on_host(host)
            .next()
            .map_or_else(|| host.into(), |one| one.host.clone());
        Some(InstanceRow {
            entity: Arc::clone(entity),
            at: id,
            updated_at: entity.updated_at,
            id: records::instance_id(entity, &record).into(),
            service,
            namespace,
            key,
            host,
            port: endpoint.port,
            weight: endpoint.weight,
            is_isolated: !endpoint.enabled,
            pulse: Pulse::default(),
            record,
        })
    }

    fn insert_instance(&mut self, row: InstanceRow) {
        let row = Arc::new(row);
        let id = row.entity.id;
        let members = self.members.entry(row.key.clone()).or_default();
        members.rows.insert(id, Arc::clone(&row));
        self.by_host.insert((hash(&row.host), id));
        for (key, value) in &row.record.metadata {
            let (key, value) = self.label(key, value);
            self.by_label.insert((key, value, id), Arc::clone(&row));
        }
        self.order.insert(row.place(), Arc::clone(&row));
        self.census_of(&row.namespace).instances += 1;
        self.count(&row, true);
        self.instances.insert(id, row);
    }

    /// A label as others have it already: many instances share few texts.
    fn label(&self, key: &str, value: &str) -> (Arc<str>, Arc<str>) {
        let (key, value): (Arc<str>, Arc<str>) = (key.into(), value.into());
        let next = |value: Arc<str>| {
            let from = (Arc::clone(&key), value, Id::MIN);
            self.by_label.range(from..).next().map(|(label, _)| label)
        };
        let same_key = |label: &&(Arc<str>, Arc<str>, Id)| label.0 == key;
        let same = |label: &&(Arc<str>, Arc<str>, Id)| label.0 == key && label.1 == value;
        match next(Arc::clone(&value)).filter(same) {
            Some((key, value, _)) => (Arc::clone(key), Arc::clone(value)),
            None => {
                let known = next(Arc::from("")).filter(same_key);
                (
                    known.map_or_else(|| Arc::clone(&key), |label| Arc::clone(&label.0)),
                    value,
                )
            }
        }
    }

    fn remove_instance(&mut self, id: Id) -> Option<Arc<InstanceRow>> {
        let row = self.instances.remove(&id)?;
        self.count(&row, false);
        self.census_of(&row.namespace).instances -= 1;
        self.order.remove(&row.place());
        self.by_host.remove(&(hash(&row.host), id));
        for (key, value) in &row.record.metadata {
            self.by_label
                .remove(&((&**key).into(), (&**value).into(), id));
        }
        let emptied = self.members.get_mut(&*row.key).is_some_and(|members| {
            members.rows.remove(&id);
            members.rows.is_empty()
        });
        if emptied {
            self.members.remove(&*row.key);
        }
        Some(row)
    }

    /// Adds a row's state to the sums, or takes it away.
    fn count(&mut self, row: &InstanceRow, add: bool) {
        let one = u64::from(row.counts());
        let change = |healthy: &mut u64| {
            *healthy = if add {
                *healthy + one
            } else {
                healthy.saturating_sub(one)
            };
        };
        let members = self.members.entry(row.key.clone()).or_default();
        members.stamp ^= row.stamp();
        change(&mut members.healthy);
        change(&mut self.census_of(&row.namespace).healthy);
    }

    /// Whether an instance is shown otherwise than its heartbeats have it.
    pub(super) fn is_stale(&self, id: Id, beats: &Heartbeats, now: Instant) -> bool {
        let shown = self.instances.get(&id).map(|row| row.is_healthy());
        let there = beats.is_there(id, now);
        shown
            .zip(there)
            .is_some_and(|(shown, there)| shown != there)
    }

    /// Shows an instance as its heartbeats have it now.
    pub(super) fn settle(&mut self, id: Id, beats: &Heartbeats, now: Instant) {
        if !self.is_stale(id, beats, now) {
            return;
        }
        if let Some(row) = self.instances.get(&id).map(Arc::clone) {
            self.count(&row, false);
            row.pulse.flip();
            self.count(&row, true);
        }
    }

    /// All services but aliases, in the order of lists.
    pub(super) fn services(&self) -> impl ExactSizeIterator<Item = &ServiceRow> {
        self.services.values().map(|row| &**row)
    }

    pub(super) fn aliases(&self) -> impl Iterator<Item = &ServiceRow> {
        self.aliases.values().map(|row| &**row)
    }

    /// All instances, in the order of lists.
    pub(super) fn instances(&self) -> impl ExactSizeIterator<Item = &InstanceRow> {
        self.order.values().map(|row| &**row)
    }

    /// The instances of services that `admits`, which is asked for namespace and name.
    pub(super) fn instances_where(
        &self,
        admits: impl Fn(&str, &str) -> bool,
    ) -> impl Iterator<Item = &InstanceRow> {
        let admitted = move |(key, _): &(&Arc<str>, &Members)| {
            key.split_once('\0')
                .is_some_and(|(namespace, name)| admits(namespace, name))
        };
        let members = self.members.iter().filter(admitted);
        members.flat_map(|(_, members)| members.rows.values().map(|row| &**row))
    }

    /// The keys of the services of which an instance `fits`.
    pub(super) fn keys_where(
        &self,
        fits: impl Fn(&InstanceRow) -> bool,
    ) -> impl Iterator<Item = &str> {
        let has_one =
            move |(_, members): &(&Arc<str>, &Members)| members.rows.values().any(|row| fits(row));
        self.members.iter().filter(has_one).map(|(key, _)| &**key)
    }

    /// The instances of the service with that key.
    pub(super) fn under<'v>(
        &'v self,
        key: &str,
    ) -> impl Iterator<Item = &'v InstanceRow> + use<'v> {
        let members = self.members.get(key).into_iter();
        members.flat_map(|members| members.rows.values().map(|row| &**row))
    }

    pub(super) fn instance(&self, id: Id) -> Option<&InstanceRow> {
        self.instances.get(&id).map(|row| &**row)
    }

    /// A service; an alias is not one.
    pub(super) fn service(&self, id: Id) -> Option<&ServiceRow> {
        let row = self.services.get(self.places.get(&id)?);
        row.map(|row| &**row)
    }

    pub(super) fn members(&self, namespace: &str, service: &str) -> Option<&Members> {
        self.members.get(&*key(namespace, service))
    }

    /// The instances of a service, by the ids of their entities.
    pub(super) fn instances_of(
        &self,
        namespace: &str,
        service: &str,
    ) -> impl Iterator<Item = &InstanceRow> {
        self.under(&key(namespace, service))
    }

    /// The instances on a host.
    pub(super) fn on_host<'v>(
        &'v self,
        host: &str,
    ) -> impl Iterator<Item = &'v InstanceRow> + use<'v> {
        let (hash, host) = (hash(host), host.to_owned());
        let all = self.by_host.range((hash, Id::MIN)..=(hash, Id::MAX));
        let rows = all.filter_map(|(_, id)| self.instance(*id));
        rows.filter(move |row| *row.host == *host)
    }

    /// The instances with a label, whose value begins with that text; with the values.
    pub(super) fn labelled(
        &self,
        key: &str,
        begins: &str,
    ) -> impl Iterator<Item = (&str, &InstanceRow)> {
        let (key, begins): (Arc<str>, Arc<str>) = (key.into(), begins.into());
        let from = (Arc::clone(&key), Arc::clone(&begins), Id::MIN);
        let all = self.by_label.range(from..);
        all.take_while(move |((known, value, _), _)| *known == key && value.starts_with(&*begins))
            .map(|((_, value, _), row)| (&**value, &**row))
    }

    pub(super) fn census(&self, namespace: &str) -> Census {
        self.census.get(namespace).copied().unwrap_or_default()
    }
}

fn hash(host: &str) -> u64 {
    foldhash::quality::FixedState::default().hash_one(host)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::names::pool_name;
    use super::super::records::ServiceRecord;
    use super::*;
    use crate::model::{Change, Entity, Name, Protocol, Service, Timestamp};
    use crate::upstream::Presences;

    /// What a view shows, in an order of its own.
    fn shown(view: &View) -> String {
        let services: Vec<_> = view
            .services()
            .map(|row| (&*row.namespace, &*row.name))
            .collect();
        let instance = |row: &InstanceRow| {
            (
                row.entity.id,
                row.service.to_string(),
                row.is_healthy(),
                row.is_isolated,
            )
        };
        let instances: Vec<_> = view.instances().map(instance).collect();
        let members: Vec<_> = view
            .members
            .iter()
            .map(|(key, members)| (key.clone(), members.rows.len(), members.healthy))
            .collect();
        // Pulses count what a process saw, so that stamps are another view's; their sum is not.
        for (_, members) in &view.members {
            let stamps = members.rows.values().map(|row| row.stamp());
            assert_eq!(members.stamp, stamps.fold(0, |all, one| all ^ one));
        }
        let census: Vec<_> = view
            .census
            .iter()
            .filter(|(_, census)| **census != Census::default())
            .collect();
        format!(
            "{services:?} {instances:?} {members:?} {:?} {:?} {census:?}",
            view.by_host.iter().collect::<Vec<_>>(),
            view.by_label.keys().collect::<Vec<_>>()
        )
    }

    fn ids(n: u8) -> Id {
        Id::derived(&n.to_string())
    }

    fn namespace(n: u8) -> Name {
        ["default", "other"][usize::from(n % 2)].parse().unwrap()
    }

    fn service(n: u8, label: u8) -> Entity {
        let service = Service {
            namespace: namespace(n).into(),
            name: Some(format!("s{n}").parse().unwrap()),
            ..Service::at(Protocol::Http, "h".parse().unwrap(), 80)
        };
        let mut entity = Entity::new(ids(n), service);
        let mut record = ServiceRecord::default();
        record.metadata.insert("k".into(), label.to_string().into());
        records::write(&mut entity, &record);
        entity
    }

    fn pool(n: u8, is_named_well: bool) -> Entity {
        let name = match is_named_well {
            true => pool_name(namespace(n).as_str(), &format!("s{n}")),
            false => format!("p{n}"),
        };
        let mut pool = Pool::named(name.parse().unwrap());
        pool.namespace = namespace(n).into();
        Entity::new(ids(n), pool)
    }

    fn endpoint(n: u8, of: u8, state: u8) -> Entity {
        let endpoint = Endpoint {
            pool: ids(of),
            host: format!("10.0.0.{}", n % 3).parse().unwrap(),
            port: u16::from(n) + 1,
            weight: 1,
            enabled: !state.is_multiple_of(4),
        };
        let mut entity = Entity::new(ids(n), endpoint);
        let mut record = InstanceRecord {
            healthy: !state.is_multiple_of(3),
            ttl: state.is_multiple_of(5).then_some(60),
            ..InstanceRecord::default()
        };
        record
            .metadata
            .insert("v".into(), (state % 2).to_string().into());
        records::write(&mut entity, &record);
        entity
    }

    fn change(what: u8, n: u8, other: u8, state: u8) -> Change {
        let put = |entity: Entity| Change::Put(Arc::new(entity));
        match what {
            0 => put(service(n, state)),
            1 => put(pool(n, !state.is_multiple_of(4))),
            2 | 3 => put(endpoint(n, other, state)),
            4 => Change::Delete(EntityRef {
                kind: Kind::Service,
                id: ids(n),
            }),
            5 => Change::Delete(EntityRef {
                kind: Kind::Pool,
                id: ids(n),
            }),
            _ => Change::Delete(EntityRef {
                kind: Kind::Endpoint,
                id: ids(n),
            }),
        }
    }

    proptest! {
        /// A view that followed every change shows what one shows that begins now.
        #[test]
        fn following_comes_to_what_beginning_shows(
            steps in proptest::collection::vec((0_u8..7, 0_u8..6, 0_u8..6, any::<u8>()), 1..60),
        ) {
            let beats = Heartbeats::new(Presences::default());
            let now = Instant::now();
            let other = super::super::draft::namespace(namespace(1), "", "");
            let created = [Change::Create(Arc::new(other))];
            let (mut snapshot, _) = Snapshot::empty().with(&created, Timestamp(1)).unwrap();
            let mut view = View::default();
            view.advance(&snapshot, None, &beats, now);
            for (step, (what, n, other, state)) in (2..).zip(steps) {
                let changes = [change(what, n, other, state)];
                let Ok((next, touched)) = snapshot.with(&changes, Timestamp(step)) else {
                    continue;
                };
                snapshot = next;
                view.advance(&snapshot, Some(&touched), &beats, now);
                let mut fresh = View::default();
                fresh.advance(&snapshot, None, &beats, now);
                prop_assert_eq!(shown(&view), shown(&fresh));
            }
        }
    }
}
