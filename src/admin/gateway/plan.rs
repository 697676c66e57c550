//! What a refresh changes. Pure: the newest snapshot and what was found out in, changes out.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde_json::{Map, json};

use super::Unreachable;
use super::catalogue::{DIALECT, Listed, Record, services};
use super::openapi::{Document, Operation};
use super::paths::Way;
use crate::model::{Change, Entity, Id, Invalid, Kind, MethodSet, Route, Service, Snapshot};

/// What was learnt about one service.
#[derive(Clone, Debug)]
pub(super) struct Finding {
    /// Where its document was asked for.
    pub(super) asked: Arc<Service>,
    /// The status of the answer, or -1 without one, -2 without JSON in it.
    pub(super) status_code: i64,
    pub(super) document: Option<Arc<Document>>,
}

/// Findings by service.
pub(super) type Findings = HashMap<Id, Finding>;

/// All changes of one refresh.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) changes: Vec<Change>,
    /// Services whose document could not be used.
    pub(super) failed: usize,
}

impl Plan {
    /// Removes what is marked, and gives every service that was asked its status, document and
    /// routes. A service that came, or moved, while documents were fetched waits for the next
    /// refresh. Documents of `unfit` services are judged as not found.
    pub(super) fn new(
        snapshot: &Snapshot,
        findings: &Findings,
        unfit: &HashSet<Id>,
        unreachable: Unreachable,
    ) -> Self {
        let mut plan = Self::default();
        for listed in services(snapshot) {
            if listed.is_marked() {
                plan.remove(snapshot, &listed);
                continue;
            }
            let finding = findings.get(&listed.entity.id);
            let Some(finding) = finding.filter(|f| *f.asked == *listed.service) else {
                continue;
            };
            let unfit = unfit.contains(&listed.entity.id);
            plan.refresh(snapshot, &listed, finding, unfit, unreachable);
        }
        plan
    }

    /// A service goes with all routes that lead to it, whoever made them.
    fn remove(&mut self, snapshot: &Snapshot, listed: &Listed<'_>) {
        let routes = snapshot.mentioning(listed.entity.id, Kind::Route);
        self.changes
            .extend(routes.map(|route| Change::Delete(route.at())));
        self.changes.push(Change::Delete(listed.entity.at()));
    }

    fn refresh(
        &mut self,
        snapshot: &Snapshot,
        listed: &Listed<'_>,
        finding: &Finding,
        unfit: bool,
        unreachable: Unreachable,
    ) {
        let mut record = Record::of(listed);
        record.status_code = finding.status_code;
        let document = finding.document.as_deref().filter(|_| !unfit);
        let wanted = document.map(|document| (document, routes(listed, document)));
        match wanted {
            Some((document, Ok(routes))) => {
                record.urls = document.urls();
                record.document = Some(&document.reduced);
                self.replace_routes(snapshot, listed, routes);
            }
            Some((_, Err(_))) | None => {
                self.failed += 1;
                if unreachable == Unreachable::Drop {
                    record.urls = Vec::new();
                    record.document = None;
                    self.replace_routes(snapshot, listed, Vec::new());
                }
            }
        }
        let attributes = record.attributes();
        if listed.entity.attributes_of(DIALECT) != Some(&attributes) {
            let mut entity = Entity::clone(listed.entity);
            entity.set_attributes(DIALECT, attributes);
            if let Some(service) = listed.with_own_retries() {
                entity.spec = service.into();
            }
            self.changes.push(Change::Replace(Arc::new(entity)));
        }
    }

    /// Changes only what differs: a refresh that finds nothing new changes nothing.
    fn replace_routes(&mut self, snapshot: &Snapshot, listed: &Listed<'_>, wanted: Vec<Entity>) {
        let ids: HashSet<Id> = wanted.iter().map(|route| route.id).collect();
        let generated = snapshot
            .mentioning(listed.entity.id, Kind::Route)
            .filter(|route| route.attributes_of(DIALECT).is_some());
        let stale = generated.filter(|route| !ids.contains(&route.id));
        self.changes
            .extend(stale.map(|route| Change::Delete(route.at())));
        let is_new = |route: &Entity| match snapshot.entity(Kind::Route, route.id) {
            Some(old) => old.spec != route.spec || old.attributes != route.attributes,
            None => true,
        };
        let changed = wanted.into_iter().filter(is_new);
        self.changes
            .extend(changed.map(|route| Change::Put(Arc::new(route))));
    }
}

/// The routes of a service: one for each operation it exposes. Of two operations that would take
/// the same requests the first in the document is routed, as in the original.
fn routes(listed: &Listed<'_>, document: &Document) -> Result<Vec<Entity>, Invalid> {
    let name = listed.name();
    let mut taken = HashSet::new();
    let mut routes = Vec::new();
    for operation in &document.operations {
        let way = Way::to(operation, &name)?;
        if taken.insert((operation.method, way.pattern.clone())) {
            routes.push(route(listed, operation, way)?);
        }
    }
    Ok(routes)
}

fn route(listed: &Listed<'_>, operation: &Operation, way: Way) -> Result<Entity, Invalid> {
    let spec = Route {
        namespace: listed.service.namespace.clone(),
        service: Some(listed.entity.id),
        paths: [way.pattern].into(),
        methods: MethodSet::try_from(vec![operation.method.to_owned()])?,
        regex_priority: i32::try_from(way.literal).unwrap_or(i32::MAX),
        strip_path: false,
        rewrite: Some(way.rewrite),
        ..Route::default()
    };
    let mut entity = Entity::new(route_id(listed.entity.id, operation), spec);
    entity.spec.check()?;
    let mut attributes = Map::new();
    attributes.insert("operation".to_owned(), json!(operation.to_string()));
    if operation.guarded {
        attributes.insert("guarded".to_owned(), json!(true));
    }
    entity.set_attributes(DIALECT, attributes);
    Ok(entity)
}

/// The id of an operation's route, the same at every refresh.
pub(super) fn route_id(service: Id, operation: &Operation) -> Id {
    Id::derived(&format!("sluicegate:gateway:{service}:{operation}"))
}

#[cfg(test)]
mod tests {
    use super::super::address::Domain;
    use super::super::catalogue::{add, mark};
    use super::super::openapi::{read, read_open};
    use super::super::wire::NewService;
    use super::*;
    use crate::model::Timestamp;

    fn after(snapshot: &Snapshot, changes: &[Change]) -> Snapshot {
        snapshot.with(changes, Timestamp(1)).unwrap().0
    }

    fn with_service(snapshot: &Snapshot, name: &str) -> Snapshot {
        let new = NewService {
            domain: Domain::parse("http://127.0.0.1/base").unwrap(),
            name: name.parse().unwrap(),
            port: 81,
        };
        after(snapshot, &add(snapshot, &new).unwrap())
    }

    fn document(paths: &[(&str, &str)]) -> Option<Arc<Document>> {
        let mut items = Map::new();
        for (method, path) in paths {
            let item = items.entry(*path).or_insert_with(|| json!({}));
            item[method.to_ascii_lowercase()] = json!({"tags": ["t"], "responses": {}});
        }
        let tags = json!([{"name": "t", "x-auto-generate-in-api-gateway": true}]);
        let text = json!({"openapi": "3.0.2", "tags": tags, "paths": items}).to_string();
        Some(Arc::new(read(text.as_bytes()).unwrap()))
    }

    fn found(snapshot: &Snapshot, status_code: i64, document: Option<&Arc<Document>>) -> Findings {
        let finding = |listed: &Listed<'_>| Finding {
            asked: Arc::new(listed.service.clone()),
            status_code,
            document: document.cloned(),
        };
        let all = services(snapshot);
        all.iter().map(|l| (l.entity.id, finding(l))).collect()
    }

    fn refreshed(
        snapshot: &Snapshot,
        findings: &Findings,
        unreachable: Unreachable,
    ) -> (Snapshot, usize) {
        let plan = Plan::new(snapshot, findings, &HashSet::new(), unreachable);
        (after(snapshot, &plan.changes), plan.failed)
    }

    fn ways(snapshot: &Snapshot) -> Vec<String> {
        let routes = snapshot.list(Kind::Route, None);
        let mut ways: Vec<String> = routes
            .map(|route| {
                let route: &Route = route.as_kind().unwrap();
                let methods: Vec<&str> = route.methods.iter().collect();
                format!("{} {}", methods.join(","), route.paths[0])
            })
            .collect();
        ways.sort();
        ways
    }

    #[test]
    fn every_method_of_a_path_is_routed_and_an_unchanged_refresh_changes_nothing() {
        let snapshot = with_service(&Snapshot::empty(), "svc");
        let document = document(&[("GET", "/multi"), ("POST", "/multi"), ("GET", "/u/{id}")]);
        let findings = found(&snapshot, 200, document.as_ref());
        let (snapshot, failed) = refreshed(&snapshot, &findings, Unreachable::Keep);
        assert_eq!(failed, 0);
        let wanted = [
            "GET =/svc/multi",
            "GET ~/svc/(u/[^/]+)$",
            "POST =/svc/multi",
        ];
        assert_eq!(ways(&snapshot), wanted);
        let again = Plan::new(&snapshot, &findings, &HashSet::new(), Unreachable::Keep);
        assert!(again.changes.is_empty(), "{:?}", again.changes);
    }

    #[test]
    fn a_failing_service_keeps_its_routes_and_gets_its_status() {
        let snapshot = with_service(&Snapshot::empty(), "svc");
        let document = document(&[("GET", "/a")]);
        let (snapshot, _) = refreshed(
            &snapshot,
            &found(&snapshot, 200, document.as_ref()),
            Unreachable::Keep,
        );
        let down = found(&snapshot, -1, None);
        let (kept, failed) = refreshed(&snapshot, &down, Unreachable::Keep);
        assert_eq!((ways(&kept).len(), failed), (1, 1));
        let listed = services(&kept)[0];
        assert_eq!(Record::of(&listed).status_code, -1);
        assert_eq!(Record::of(&listed).urls, ["/a"]);
        assert!(listed.document().is_some());
        let (dropped, _) = refreshed(&snapshot, &down, Unreachable::Drop);
        assert_eq!(ways(&dropped).len(), 0);
        assert!(services(&dropped)[0].document().is_none());
    }

    #[test]
    fn an_operation_that_is_gone_loses_its_route_and_no_other() {
        let snapshot = with_service(&Snapshot::empty(), "svc");
        let both = document(&[("GET", "/a"), ("GET", "/b")]);
        let (snapshot, _) = refreshed(
            &snapshot,
            &found(&snapshot, 200, both.as_ref()),
            Unreachable::Keep,
        );
        let one = document(&[("GET", "/b")]);
        let findings = found(&snapshot, 200, one.as_ref());
        let plan = Plan::new(&snapshot, &findings, &HashSet::new(), Unreachable::Keep);
        assert_eq!(plan.changes.len(), 2, "a route and the service's record");
        assert_eq!(ways(&after(&snapshot, &plan.changes)), ["GET =/svc/b"]);
    }

    #[test]
    fn a_marked_service_goes_with_every_route_to_it_whatever_its_page() {
        let mut snapshot = Snapshot::empty();
        for n in 0..15 {
            snapshot = with_service(&snapshot, &format!("s{n}"));
        }
        let document = document(&[("GET", "/a")]);
        let (snapshot, _) = refreshed(
            &snapshot,
            &found(&snapshot, 200, document.as_ref()),
            Unreachable::Keep,
        );
        let last = services(&snapshot)[14].entity.id;
        let kongs = Route {
            service: Some(last),
            ..Route::default()
        };
        let kongs = Change::Create(Arc::new(Entity::new(Id::derived("kong"), kongs)));
        let snapshot = after(&snapshot, &[kongs]);
        let snapshot = after(&snapshot, &mark(&snapshot, 15).unwrap());
        assert_eq!(ways_to(&snapshot, last), 2);
        let (snapshot, _) = refreshed(&snapshot, &Findings::new(), Unreachable::Keep);
        assert_eq!(services(&snapshot).len(), 14);
        assert_eq!(ways_to(&snapshot, last), 0);
    }

    fn ways_to(snapshot: &Snapshot, service: Id) -> usize {
        snapshot.mentioning(service, Kind::Route).count()
    }

    #[test]
    fn a_service_that_came_or_moved_meanwhile_waits() {
        let before = with_service(&Snapshot::empty(), "old");
        let document = document(&[("GET", "/a")]);
        let mut findings = found(&before, 200, document.as_ref());
        let snapshot = with_service(&before, "new");
        let (snapshot, _) = refreshed(&snapshot, &findings, Unreachable::Keep);
        assert_eq!(ways(&snapshot), ["GET =/old/a"]);
        for finding in findings.values_mut() {
            let moved = Service {
                port: 82,
                ..Service::clone(&finding.asked)
            };
            finding.asked = Arc::new(moved);
            finding.document = None;
        }
        let plan = Plan::new(&snapshot, &findings, &HashSet::new(), Unreachable::Keep);
        assert!(plan.changes.is_empty());
    }

    #[test]
    fn what_a_document_wants_guarded_is_withheld_where_nobody_guards() {
        let text = r#"{"openapi":"3.0.2","tags":[{"name":"t","x-auto-generate-in-api-gateway":1,
            "x-enable-auth-in-api-gateway":true}],"paths":{"/a":{"get":{"tags":["t"]}}}}"#;
        let document = Arc::new(read(text.as_bytes()).unwrap());
        let snapshot = with_service(&Snapshot::empty(), "svc");
        let findings = found(&snapshot, 200, Some(&document));
        let (published, _) = refreshed(&snapshot, &findings, Unreachable::Keep);
        let route = published.list(Kind::Route, None).next().unwrap();
        assert_eq!(route.attributes_of(DIALECT).unwrap()["guarded"], true);
        let document = Arc::new(read_open(text.as_bytes()).unwrap());
        let findings = found(&published, 200, Some(&document));
        let (withheld, failed) = refreshed(&published, &findings, Unreachable::Keep);
        assert_eq!((ways(&withheld).len(), failed), (0, 0));
        assert!(Record::of(&services(&withheld)[0]).urls.is_empty());
    }

    #[test]
    fn a_service_of_an_earlier_build_gets_one_attempt_once() {
        let snapshot = with_service(&Snapshot::empty(), "svc");
        let with = |snapshot: &Snapshot, retries: u16, is_old: bool| {
            let listed = services(snapshot)[0];
            let mut entity = Entity::clone(listed.entity);
            let mut kept = entity.attributes_of(DIALECT).cloned().unwrap();
            if is_old {
                kept.remove("retries");
            }
            entity.set_attributes(DIALECT, kept);
            let service = listed.service.clone();
            entity.spec = Service { retries, ..service }.into();
            after(snapshot, &[Change::Replace(Arc::new(entity))])
        };
        let retries = |snapshot: &Snapshot| {
            let findings = found(snapshot, 200, document(&[("GET", "/a")]).as_ref());
            let refreshed = refreshed(snapshot, &findings, Unreachable::Keep).0;
            services(&refreshed)[0].service.retries
        };
        assert_eq!(retries(&snapshot), 0);
        assert_eq!(retries(&with(&snapshot, 5, true)), 0);
        assert_eq!(retries(&with(&snapshot, 7, true)), 7, "somebody set it");
        assert_eq!(retries(&with(&snapshot, 5, false)), 5, "somebody set it");
    }

    #[test]
    fn of_two_templates_for_the_same_requests_the_first_is_routed() {
        let snapshot = with_service(&Snapshot::empty(), "svc");
        let text = r#"{"openapi":"3.0.2","tags":[{"name":"t","x-auto-generate-in-api-gateway":1}],
            "paths":{"/u/{z}":{"get":{"tags":["t"]}},"/u/{a}":{"get":{"tags":["t"]}}}}"#;
        let document = Arc::new(read(text.as_bytes()).unwrap());
        let findings = found(&snapshot, 200, Some(&document));
        let (snapshot, _) = refreshed(&snapshot, &findings, Unreachable::Keep);
        let route = snapshot.list(Kind::Route, None).next().unwrap();
        assert_eq!(
            route.attributes_of(DIALECT).unwrap()["operation"],
            "GET /u/{z}"
        );
        assert_eq!(snapshot.count(Kind::Route), 1);
    }
}
