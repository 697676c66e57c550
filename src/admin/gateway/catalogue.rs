//! The services of the namespace `default` as this dialect sees and changes them. Pure: a snapshot
//! in, what to show or what to change out.

use std::cmp::Ordering;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::address::{Domain, RETRIES, domain_text};
use super::refusal::Refusal;
use super::wire::{Listing, Metadata, NewService, Row};
use crate::model::{Change, Entity, Id, Kind, NamespaceRef, RETRIES_DEFAULT, Service, Snapshot};

/// The key of this dialect's attributes.
pub(super) const DIALECT: &str = "gateway";

const PAGE_SIZE: usize = 10;

/// Ids below belong to services that this dialect created, in their order.
const FOREIGN_IDS: u64 = 1 << 52;

/// A service with what this dialect keeps about it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Listed<'s> {
    pub(super) entity: &'s Arc<Entity>,
    pub(super) service: &'s Service,
    kept: Option<&'s Map<String, Value>>,
}

impl<'s> Listed<'s> {
    fn of(entity: &'s Arc<Entity>) -> Option<Self> {
        let service: &Service = entity.as_kind()?;
        service.namespace.is_default().then_some(Self {
            entity,
            service,
            kept: entity.attributes_of(DIALECT),
        })
    }

    fn kept(&self, field: &str) -> Option<&'s Value> {
        self.kept?.get(field)
    }

    /// Whether this dialect created it: only those have documents and generated routes.
    pub(super) fn is_own(&self) -> bool {
        self.kept("id").is_some_and(Value::is_i64)
    }

    pub(super) fn is_marked(&self) -> bool {
        self.kept("delete") == Some(&Value::Bool(true))
    }

    /// The integer that clients know it by. A service of another dialect is known by one that
    /// follows from its UUID, so that reading a list writes nothing; it is above all others and
    /// below 2⁵³, which JavaScript can still hold.
    pub(super) fn id(&self) -> i64 {
        let [.., a, b, c, d, e, f, g, h] = *self.entity.id.as_bytes();
        let low = u64::from_be_bytes([a, b, c, d, e, f, g, h]) & (FOREIGN_IDS - 1);
        let foreign = i64::try_from(FOREIGN_IDS | low).unwrap_or(i64::MAX);
        self.kept("id").and_then(Value::as_i64).unwrap_or(foreign)
    }

    /// The name, or the UUID of one without.
    pub(super) fn name(&self) -> String {
        self.entity.label()
    }

    pub(super) fn document(&self) -> Option<&'s str> {
        self.kept("document")?.as_str()
    }

    /// The domain as it was written, while the service is still there.
    fn domain(&self) -> String {
        let written = self.kept("domain").and_then(Value::as_str);
        let still = written
            .filter(|text| Domain::parse(text).is_ok_and(|domain| domain.is_of(self.service)));
        still.map_or_else(|| domain_text(self.service), str::to_owned)
    }

    /// The service with this dialect's retries, where it was made when they were everybody's and
    /// nobody has set others since.
    pub(super) fn with_own_retries(&self) -> Option<Service> {
        let is_old = self.kept("retries").is_none() && self.service.retries == RETRIES_DEFAULT;
        is_old.then(|| Service {
            retries: RETRIES,
            ..self.service.clone()
        })
    }

    fn row(&self) -> Row<'s> {
        let urls = self.kept("urls").and_then(Value::as_array);
        Row {
            id: self.id(),
            domain: self.domain(),
            port: self.service.port,
            name: self.name(),
            urls: urls
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .collect(),
            status_code: self
                .kept("status_code")
                .and_then(Value::as_i64)
                .unwrap_or(0),
            delete: self.is_marked(),
        }
    }

    fn order(&self, other: &Self) -> Ordering {
        (self.id(), self.entity.id).cmp(&(other.id(), other.entity.id))
    }
}

/// Every service of the namespace `default`, by id: this dialect's own first.
pub(super) fn services(snapshot: &Snapshot) -> Vec<Listed<'_>> {
    let mut services: Vec<_> = snapshot
        .list(Kind::Service, None)
        .filter_map(Listed::of)
        .collect();
    services.sort_by(Listed::order);
    services
}

/// One page of all services. Pages before the first are the first, as the original's were.
pub(super) fn page(snapshot: &Snapshot, page: i128) -> Result<Listing<'_>, Refusal> {
    let services = services(snapshot);
    if services.is_empty() {
        return Err(Refusal::NoServices);
    }
    let count_page = services.len().div_ceil(PAGE_SIZE);
    let skipped = usize::try_from(page.max(1) - 1).unwrap_or(usize::MAX);
    if skipped >= count_page {
        return Err(Refusal::NoPage);
    }
    let rows = services.iter().skip(skipped * PAGE_SIZE).take(PAGE_SIZE);
    Ok(Listing {
        services: rows.map(Listed::row).collect(),
        metadata: Metadata { page, count_page },
    })
}

/// The changes that add a service: it, and the next id, which is never given twice.
pub(super) fn add(snapshot: &Snapshot, new: &NewService) -> Result<Vec<Change>, Refusal> {
    let default = NamespaceRef::DEFAULT;
    let taken = snapshot.named(Kind::Service, default, new.name.as_str());
    if taken.is_some() {
        return Err(Refusal::Exists(new.name.clone()));
    }
    let namespace = snapshot.named(Kind::Namespace, "", default);
    let mut namespace = Entity::clone(namespace.expect("the namespace default always exists"));
    let mut kept = namespace
        .attributes_of(DIALECT)
        .cloned()
        .unwrap_or_default();
    let id = kept.get("next_id").and_then(Value::as_i64);
    let id = id.unwrap_or_else(|| next_id(snapshot));
    kept.insert("next_id".to_owned(), Value::from(id + 1));
    namespace.set_attributes(DIALECT, kept);

    let service = new.domain.service(new.name.clone(), new.port);
    let mut entity = Entity::new(Id::random(), service);
    let record = Record {
        id,
        domain: &new.domain.written,
        status_code: 0,
        urls: Vec::new(),
        document: None,
    };
    entity.set_attributes(DIALECT, record.attributes());
    Ok(vec![
        Change::Put(Arc::new(namespace)),
        Change::Create(Arc::new(entity)),
    ])
}

/// Behind the ids in use, for a store that came without the count of those given.
fn next_id(snapshot: &Snapshot) -> i64 {
    let own = services(snapshot).into_iter().filter(Listed::is_own);
    own.map(|listed| listed.id()).max().unwrap_or(0) + 1
}

/// The change that marks a service for deletion at the next refresh.
pub(super) fn mark(snapshot: &Snapshot, id: i128) -> Result<Vec<Change>, Refusal> {
    let listed = services(snapshot)
        .into_iter()
        .find(|listed| i128::from(listed.id()) == id)
        .ok_or(Refusal::NotFound(id))?;
    if listed.is_marked() {
        return Err(Refusal::Marked(id));
    }
    let mut entity = Entity::clone(listed.entity);
    let mut kept = listed.kept.cloned().unwrap_or_default();
    kept.insert("delete".to_owned(), Value::Bool(true));
    entity.set_attributes(DIALECT, kept);
    Ok(vec![Change::Replace(Arc::new(entity))])
}

/// What this dialect keeps with a service of its own.
#[derive(Clone, Debug)]
pub(super) struct Record<'a> {
    pub(super) id: i64,
    pub(super) domain: &'a str,
    pub(super) status_code: i64,
    /// Paths exposed at the last refresh.
    pub(super) urls: Vec<&'a str>,
    /// The last good document, reduced.
    pub(super) document: Option<&'a str>,
}

impl<'a> Record<'a> {
    /// What is kept with `listed` now, its mark apart.
    pub(super) fn of(listed: &Listed<'a>) -> Self {
        let row = listed.row();
        let written = listed.kept("domain").and_then(Value::as_str);
        Self {
            id: row.id,
            domain: written.unwrap_or_default(),
            status_code: row.status_code,
            urls: row.urls,
            document: listed.document(),
        }
    }

    pub(super) fn attributes(&self) -> Map<String, Value> {
        let kept = json!({
            "id": self.id, "domain": self.domain, "delete": false,
            "status_code": self.status_code, "urls": self.urls, "retries": RETRIES,
        });
        let Value::Object(mut kept) = kept else {
            return Map::new();
        };
        if let Some(document) = self.document {
            kept.insert("document".to_owned(), Value::from(document));
        }
        kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Protocol, Timestamp};

    fn new(name: &str) -> NewService {
        NewService {
            domain: Domain::parse("http://127.0.0.1").unwrap(),
            name: name.parse().unwrap(),
            port: 80,
        }
    }

    fn after(snapshot: &Snapshot, changes: &[Change]) -> Snapshot {
        snapshot.with(changes, Timestamp(1)).unwrap().0
    }

    fn foreign(name: &str) -> Change {
        let mut service = Service::at(Protocol::Grpcs, "h.io".parse().unwrap(), 443);
        service.name = Some(name.parse().unwrap());
        Change::Create(Arc::new(Entity::new(Id::derived(name), service)))
    }

    #[test]
    fn ids_rise_and_are_never_given_twice() {
        let mut snapshot = Snapshot::empty();
        for name in ["a", "b"] {
            snapshot = after(&snapshot, &add(&snapshot, &new(name)).unwrap());
        }
        let last = services(&snapshot).last().unwrap().entity.at();
        snapshot = after(&snapshot, &[Change::Delete(last)]);
        snapshot = after(&snapshot, &add(&snapshot, &new("c")).unwrap());
        let ids: Vec<i64> = services(&snapshot).iter().map(Listed::id).collect();
        assert_eq!(ids, [1, 3]);
    }

    #[test]
    fn a_name_of_another_dialect_is_taken_too() {
        let snapshot = after(&Snapshot::empty(), &[foreign("kong")]);
        assert_eq!(
            add(&snapshot, &new("kong")).unwrap_err(),
            Refusal::Exists("kong".parse().unwrap())
        );
    }

    #[test]
    fn services_of_other_dialects_stand_last_under_an_id_that_stays() {
        let snapshot = after(&Snapshot::empty(), &[foreign("kong")]);
        let snapshot = after(&snapshot, &add(&snapshot, &new("own")).unwrap());
        let listing = page(&snapshot, 1).unwrap();
        let [own, kong] = &listing.services[..] else {
            panic!("{listing:?}")
        };
        assert_eq!((own.id, &*own.name), (1, "own"));
        assert_eq!(
            (&*kong.name, &*kong.domain, kong.port),
            ("kong", "grpcs://h.io", 443)
        );
        assert!((1 << 52..1 << 53).contains(&kong.id));
        let marked = after(&snapshot, &mark(&snapshot, kong.id.into()).unwrap());
        let again = services(&marked)[1];
        assert!(again.is_marked() && !again.is_own() && again.id() == kong.id);
    }

    #[test]
    fn pages_hold_ten_and_end() {
        let mut snapshot = Snapshot::empty();
        assert_eq!(page(&snapshot, 1).unwrap_err(), Refusal::NoServices);
        for n in 0..11 {
            snapshot = after(&snapshot, &add(&snapshot, &new(&format!("s{n}"))).unwrap());
        }
        let sizes = |n| page(&snapshot, n).map(|listing| listing.services.len());
        assert_eq!(sizes(1), Ok(10));
        assert_eq!(sizes(2), Ok(1));
        assert_eq!(sizes(i128::MIN), Ok(10));
        assert_eq!(sizes(3), Err(Refusal::NoPage));
        assert_eq!(sizes(i128::MAX), Err(Refusal::NoPage));
        assert_eq!(page(&snapshot, -1).unwrap().metadata.page, -1);
    }

    #[test]
    fn a_service_that_another_dialect_moved_shows_where_it_is() {
        let snapshot = Snapshot::empty();
        let snapshot = after(&snapshot, &add(&snapshot, &new("a")).unwrap());
        let mut entity = Entity::clone(services(&snapshot)[0].entity);
        let mut service: Service = entity.as_kind::<Service>().unwrap().clone();
        service.host = "new.io".parse().unwrap();
        entity.spec = service.into();
        let snapshot = after(&snapshot, &[Change::Replace(Arc::new(entity))]);
        assert_eq!(
            page(&snapshot, 1).unwrap().services[0].domain,
            "http://new.io"
        );
    }
}
