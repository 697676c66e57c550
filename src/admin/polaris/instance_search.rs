//! Which instances a query of `GET /naming/v1/instances` means.

use std::collections::BTreeSet;

use super::answer::Failed;
use super::codes;
use super::rows::InstanceRow;
use super::search::{Page, Parameters, Wildcard, few, flag, shortest};
use super::view::View;

const ALLOWED: &[&str] = &[
    "id",
    "service",
    "namespace",
    "host",
    "port",
    "keys",
    "values",
    "protocol",
    "version",
    "cmdb_region",
    "cmdb_zone",
    "cmdb_idc",
    "weight",
    "health_status",
    "healthy",
    "isolate",
    "logic_set",
    "priority",
    "show_last_heartbeat",
    "offset",
    "limit",
    "lang",
];

/// What an instance must be, all of it.
#[derive(Debug, Default)]
pub(super) struct Filter {
    id: Option<Wildcard>,
    service: Option<Wildcard>,
    namespace: Option<Wildcard>,
    hosts: Option<Vec<String>>,
    port: Option<u32>,
    labels: Vec<(String, String)>,
    protocol: Option<String>,
    version: Option<String>,
    location: [Option<String>; 3],
    weight: Option<u32>,
    healthy: Option<bool>,
    isolate: Option<bool>,
    /// Whether the last heartbeat is told.
    pub(super) shows_beats: bool,
}

impl Filter {
    pub(super) fn read(query: &Parameters) -> Result<Self, Failed> {
        if !query.asks_besides(&["show_last_heartbeat"]) {
            return Err(codes::EMPTY_QUERY.into());
        }
        query.check(ALLOWED, &[])?;
        let text = |name| query.find(name).map(str::to_owned);
        // What is no number or no boolean asks for nothing, as with Polaris.
        let number = |name| query.find(name).and_then(|text| text.parse().ok());
        let truth = |name| query.find(name).and_then(flag);
        let hosts = query.list("host");
        let hosts = hosts.map(|hosts| {
            hosts
                .into_iter()
                .map(|host| host.trim().to_owned())
                .collect()
        });
        Ok(Self {
            id: query.find("id").map(Wildcard::read),
            service: query.find("service").map(Wildcard::read),
            namespace: query.find("namespace").map(Wildcard::read),
            hosts,
            port: number("port"),
            labels: labels(query)?,
            protocol: text("protocol"),
            version: text("version"),
            location: [text("cmdb_region"), text("cmdb_zone"), text("cmdb_idc")],
            weight: number("weight"),
            healthy: truth("healthy").or_else(|| truth("health_status")),
            isolate: truth("isolate"),
            shows_beats: truth("show_last_heartbeat") == Some(true),
        })
    }

    /// How many are meant, and the wanted ones of them: the last changed first.
    pub(super) fn find<'v>(&self, view: &'v View, page: Page) -> (usize, Vec<&'v InstanceRow>) {
        let Some(mut found) = self.indexed(view) else {
            return page.of(view.instances().filter(|row| self.admits(row)));
        };
        found.retain(|row| self.admits(row));
        let placed = found.into_iter().map(|row| (row.place(), row));
        page.first_of(placed.collect())
    }

    /// Where an index knows better than to look at everything: all that are meant, and more. Looking
    /// at everything goes in the order of lists, and so costs less than an eighth of it by an index.
    fn indexed<'v>(&self, view: &'v View) -> Option<Vec<&'v InstanceRow>> {
        let most = view.instances().len() / 8;
        if let Some(Wildcard::Exact(id)) = &self.id {
            let own = [super::names::entity_id(id)]
                .into_iter()
                .chain(id.parse().ok());
            return Some(own.filter_map(|id| view.instance(id)).collect());
        }
        if let Some(hosts) = &self.hosts {
            let hosts: BTreeSet<_> = hosts.iter().collect();
            return few(hosts.into_iter().flat_map(|host| view.on_host(host)), most);
        }
        if self.service.is_some() || self.namespace.is_some() {
            return self.of_services(view, most);
        }
        let labelled = self.labels.iter().map(|(key, value)| {
            let rows = view.labelled(key, value);
            let rows = rows.take_while(move |(found, _)| found == value);
            rows.map(|(_, row)| row)
        });
        shortest(labelled.collect(), most)
    }

    /// The instances of the services meant, at the most so many.
    fn of_services<'v>(&self, view: &'v View, most: usize) -> Option<Vec<&'v InstanceRow>> {
        if let (Some(Wildcard::Exact(service)), Some(Wildcard::Exact(namespace))) =
            (&self.service, &self.namespace)
        {
            return few(view.instances_of(namespace, service), most);
        }
        let fits = |wanted: &Option<Wildcard>, text: &str| {
            wanted.as_ref().is_none_or(|wanted| wanted.matches(text))
        };
        let admits = |namespace: &str, service: &str| {
            fits(&self.namespace, namespace) && fits(&self.service, service)
        };
        few(view.instances_where(admits), most)
    }

    fn admits(&self, row: &InstanceRow) -> bool {
        let record = &row.record;
        let wild = |wanted: &Option<Wildcard>, text: &str| {
            wanted.as_ref().is_none_or(|wanted| wanted.matches(text))
        };
        let is = |wanted: &Option<String>, text: &str| {
            wanted.as_ref().is_none_or(|wanted| wanted == text)
        };
        let has = |(key, value): &(String, String)| {
            let found = record.metadata.get(key.as_str());
            found.is_some_and(|found| **found == **value)
        };
        let [region, zone, campus] = &self.location;
        self.healthy
            .is_none_or(|healthy| healthy == row.is_healthy())
            && self
                .isolate
                .is_none_or(|isolate| isolate == row.is_isolated)
            && self.port.is_none_or(|port| port == u32::from(row.port))
            && self
                .weight
                .is_none_or(|weight| weight == u32::from(row.weight))
            && self
                .hosts
                .as_ref()
                .is_none_or(|hosts| hosts.iter().any(|h| **h == *row.host))
            && wild(&self.namespace, &row.namespace)
            && wild(&self.service, &row.service)
            && wild(&self.id, &row.id)
            && is(&self.protocol, &record.protocol)
            && is(&self.version, &record.version)
            && is(region, &record.region)
            && is(zone, &record.zone)
            && is(campus, &record.campus)
            && self.labels.iter().all(has)
    }
}

fn labels(query: &Parameters) -> Result<Vec<(String, String)>, Failed> {
    let (keys, values) = (query.list("keys"), query.list("values"));
    let (keys, values) = (keys.unwrap_or_default(), values.unwrap_or_default());
    if keys.len() != values.len() {
        let why = "keys and values must be lists of the same length";
        return Err(Failed::saying(codes::INSTANCE_QUERY, why));
    }
    let pair = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
    Ok(keys.into_iter().zip(values).map(pair).collect())
}
