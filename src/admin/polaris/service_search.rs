//! Which services a query of `GET /naming/v1/services` means.

use std::collections::HashSet;

use foldhash::fast::RandomState;

use super::answer::Failed;
use super::codes;
use super::rows::{InstanceRow, ServiceRow};
use super::search::{Parameters, Wildcard, few, shortest};
use super::view::View;

const ALLOWED: &[&str] = &[
    "name",
    "namespace",
    "business",
    "department",
    "cmdb_mod1",
    "cmdb_mod2",
    "cmdb_mod3",
    "platform_id",
    "owner",
    "keys",
    "values",
    "host",
    "port",
    "instance_keys",
    "instance_values",
    "only_exist_health_instance",
    "offset",
    "limit",
    "lang",
];
const MAY_BE_EMPTY: &[&str] = &["values"];

/// What a service must be, all of it.
#[derive(Debug, Default)]
pub(super) struct Filter {
    name: Option<Wildcard>,
    namespace: Option<Wildcard>,
    business: Option<String>,
    department: Option<String>,
    cmdb: [Option<String>; 3],
    platform_id: Option<String>,
    owner: Option<String>,
    label: Option<(String, String)>,
    hosts: Option<Vec<String>>,
    ports: Option<Vec<u16>>,
    instance: Vec<(String, Wildcard)>,
    is_healthy: bool,
}

impl Filter {
    pub(super) fn read(query: &Parameters) -> Result<Self, Failed> {
        query.check(ALLOWED, MAY_BE_EMPTY)?;
        let text = |name| query.find(name).map(str::to_owned);
        let hosts = query.list("host");
        let hosts = hosts.map(|hosts| {
            hosts
                .into_iter()
                .map(|host| host.trim().to_owned())
                .collect()
        });
        let filter = Self {
            name: query.find("name").map(Wildcard::folded),
            namespace: query.find("namespace").map(Wildcard::folded),
            business: query.find("business").map(str::to_lowercase),
            department: text("department"),
            cmdb: [text("cmdb_mod1"), text("cmdb_mod2"), text("cmdb_mod3")],
            platform_id: text("platform_id"),
            owner: text("owner"),
            label: text("keys").map(|key| (key, text("values").unwrap_or_default())),
            hosts,
            ports: query.list("port").map(ports).transpose()?,
            instance: pairs(query)?,
            is_healthy: query.find("only_exist_health_instance") == Some("true"),
        };
        if filter.ports.is_some() && filter.hosts.is_none() {
            let why = "port parameter can not be used alone without host";
            return Err(Failed::saying(codes::PARAMETER, why));
        }
        Ok(filter)
    }

    /// The services meant, in the order of lists.
    pub(super) fn find<'v>(&'v self, view: &'v View) -> impl Iterator<Item = &'v ServiceRow> {
        let through = self.through_instances(view);
        let has_instance =
            move |row: &&ServiceRow| through.as_ref().is_none_or(|keys| keys.contains(&*row.key));
        let rows = view.services();
        rows.filter(|row| self.admits(row))
            .filter(has_instance)
            .filter(|row| !self.is_healthy || is_healthy(view, row))
    }

    fn admits(&self, row: &ServiceRow) -> bool {
        let record = &row.record;
        let wild = |wanted: &Option<Wildcard>, name: &str, folded: &str| {
            wanted
                .as_ref()
                .is_none_or(|wanted| wanted.matches_folded(name, folded))
        };
        let is = |wanted: &Option<String>, text: &str| {
            wanted.as_ref().is_none_or(|wanted| wanted == text)
        };
        let within = |wanted: &Option<String>, text: &str| {
            wanted
                .as_ref()
                .is_none_or(|wanted| text.contains(wanted.as_str()))
        };
        wild(&self.namespace, &row.namespace, &row.namespace_folded)
            && wild(&self.name, &row.name, &row.name_folded)
            && within(&self.business, &row.business_folded)
            && is(&self.department, &record.department)
            && self
                .cmdb
                .iter()
                .zip(&record.cmdb)
                .all(|(wanted, text)| is(wanted, text))
            && is(&self.platform_id, &record.platform_id)
            && within(&self.owner, &record.owners)
            && self.label.as_ref().is_none_or(|(key, value)| {
                record
                    .metadata
                    .get(key.as_str())
                    .is_some_and(|found| **found == **value)
            })
    }

    /// The keys of the services that instances lead to; `None` where instances do not matter.
    fn through_instances<'v>(&'v self, view: &'v View) -> Option<Keys<'v>> {
        let by_host = self.hosts.as_ref().map(|hosts| self.by_host(view, hosts));
        match (by_host, self.by_label(view)) {
            (Some(mut one), Some(other)) => {
                one.retain(|key| other.contains(key));
                Some(one)
            }
            (one, other) => one.or(other),
        }
    }

    /// Services with an instance on one of the hosts and, perhaps another, on one of the ports.
    fn by_host<'v>(&self, view: &'v View, hosts: &[String]) -> Keys<'v> {
        let rows = hosts.iter().flat_map(|host| view.on_host(host));
        let mut found = match few(rows, most(view)) {
            Some(rows) => keys(rows.into_iter()),
            None => {
                let is_on = |row: &InstanceRow| hosts.iter().any(|host| **host == *row.host);
                view.keys_where(is_on).collect()
            }
        };
        if let Some(ports) = &self.ports {
            found.retain(|key| view.under(key).any(|row| ports.contains(&row.port)));
        }
        found
    }

    /// Services with an instance that has all the labels, by way of the rarest; where many have that,
    /// service by service.
    fn by_label<'v>(&'v self, view: &'v View) -> Option<Keys<'v>> {
        if self.instance.is_empty() {
            return None;
        }
        let has_all = |row: &InstanceRow| has_labels(row, &self.instance);
        let each = self.instance.iter();
        let each = each.map(|(key, value)| labelled(view, key, value));
        Some(match shortest(each.collect(), most(view)) {
            Some(rows) => keys(rows.into_iter().filter(|row| has_all(row))),
            None => view.keys_where(has_all).collect(),
        })
    }
}

/// Instances of an index above which going through the services, each up to its first that fits, is
/// faster.
fn most(view: &View) -> usize {
    view.instances().len() / 4
}

/// Keys of services.
type Keys<'v> = HashSet<&'v str, RandomState>;

fn keys<'v>(rows: impl Iterator<Item = &'v InstanceRow>) -> Keys<'v> {
    rows.map(|row| &*row.key).collect()
}

/// The instances whose label has a value like that.
fn labelled<'v>(
    view: &'v View,
    key: &'v str,
    value: &'v Wildcard,
) -> impl Iterator<Item = &'v InstanceRow> {
    let begins = match value {
        Wildcard::Exact(text) | Wildcard::Prefix(text) => text,
        Wildcard::Suffix(_) | Wildcard::Contains(_) => "",
    };
    // The values that begin with an exact one follow it.
    let more = move |found: &str| !matches!(value, Wildcard::Exact(text) if found != text);
    view.labelled(key, begins)
        .take_while(move |(found, _)| more(found))
        .filter(move |(found, _)| value.matches(found))
        .map(|(_, row)| row)
}

fn has_labels(row: &InstanceRow, wanted: &[(String, Wildcard)]) -> bool {
    let has = |(key, value): &(String, Wildcard)| {
        let found = row.record.metadata.get(key.as_str());
        found.is_some_and(|found| value.matches(found))
    };
    wanted.iter().all(has)
}

fn is_healthy(view: &View, row: &ServiceRow) -> bool {
    let members = view.members(&row.namespace, &row.name);
    members.is_some_and(|members| members.healthy > 0)
}

fn ports(texts: Vec<&str>) -> Result<Vec<u16>, Failed> {
    let port = |text: &str| {
        text.trim()
            .parse::<u32>()
            .map_err(|_| codes::PARAMETER.into())
    };
    let ports: Result<Vec<u32>, Failed> = texts.into_iter().map(port).collect();
    // Nothing listens on a port beyond.
    Ok(ports?
        .into_iter()
        .filter_map(|port| u16::try_from(port).ok())
        .collect())
}

fn pairs(query: &Parameters) -> Result<Vec<(String, Wildcard)>, Failed> {
    let keys = query.list("instance_keys").unwrap_or_default();
    let values = query.list("instance_values").unwrap_or_default();
    if keys.len() != values.len() {
        let why = "instance_keys and instance_values must be lists of the same length";
        return Err(Failed::saying(codes::PARAMETER, why));
    }
    let pair = |(key, value): (&str, &str)| (key.to_owned(), Wildcard::read(value));
    Ok(keys.into_iter().zip(values).map(pair).collect())
}
