//! `POST /v1/Discover`: who offers a service, and whether that is still what the client knows.

use std::hash::BuildHasher as _;
use std::sync::Arc;

use super::Polaris;
use super::answer::{Failed, Reply};
use super::call::Call;
use super::codes::{self, Code};
use super::fields::{Malformed, Message, single};
use super::heartbeat::Heartbeats;
use super::lists::instance;
use super::names::digits;
use super::records::{self, NamespaceRecord};
use super::requests::ServiceRequest;
use super::rows::{InstanceRow, ServiceRow};
use super::services::{find, target_of};
use super::view::View;
use super::wire::{DiscoverResponse, InstanceMessage, ServiceMessage};
use crate::model::{Entity, Id, Kind, NamespaceRef, Service, Snapshot};

/// All types of the protocol, by name and number.
const TYPES: [(&str, u32); 17] = [
    ("UNKNOWN", 0),
    ("INSTANCE", 1),
    ("CLUSTER", 2),
    ("ROUTING", 3),
    ("RATE_LIMIT", 4),
    ("CIRCUIT_BREAKER", 5),
    ("SERVICES", 6),
    ("NAMESPACES", 12),
    ("FAULT_DETECTOR", 13),
    ("LANE", 14),
    ("CUSTOM_ROUTE_RULE", 15),
    ("NEARBY_ROUTE_RULE", 16),
    ("LOSSLESS", 17),
    ("BLOCK_ALLOW_RULE", 18),
    ("CONFIG_FILE", 19),
    ("SERVICE_CONTRACT", 20),
    ("MESH", 21),
];

/// What a client asks for.
#[derive(Debug)]
struct Question {
    kind: &'static str,
    service: Option<ServiceRequest>,
    only_healthy: bool,
}

impl Question {
    fn read(message: &Message) -> Result<Self, Malformed> {
        let filter = message.message(&["Filter", "filter"])?.unwrap_or_default();
        let only_healthy = filter.flag(&["OnlyHealthyInstance", "only_healthy_instance"])?;
        let service = message.message(&["service"])?;
        Ok(Self {
            kind: message.word("type", &TYPES)?.unwrap_or("UNKNOWN"),
            service: service
                .map(|service| ServiceRequest::read(&service))
                .transpose()?,
            only_healthy: only_healthy.unwrap_or(false),
        })
    }
}

pub(super) fn discover(polaris: &Polaris, call: &Call) -> Reply {
    let question = match single(&call.body).and_then(|m| Question::read(&m)) {
        Ok(question) => question,
        Err(malformed) => return failed("UNKNOWN", &malformed.into(), None),
    };
    let kind = question.kind;
    let is_rule = matches!(
        kind,
        "ROUTING" | "RATE_LIMIT" | "CIRCUIT_BREAKER" | "FAULT_DETECTOR"
    );
    if !is_rule && kind != "INSTANCE" && kind != "SERVICES" {
        return failed("ROUTING", &codes::DISCOVER_RESOURCE.into(), None);
    }
    let Some(service) = &question.service else {
        return failed(kind, &codes::EMPTY_REQUEST.into(), None);
    };
    let found = match kind {
        "INSTANCE" => instances(polaris, service, question.only_healthy),
        "SERVICES" => Ok(services(polaris, service)),
        _ => Ok(no_rules(service)),
    };
    match found {
        Ok((code, body)) => {
            let (number, info) = (code.number, code.info.to_owned());
            Reply::discovered(
                code,
                &DiscoverResponse {
                    code: number,
                    info,
                    kind,
                    ..body
                },
            )
        }
        Err(code) => failed(kind, &code.into(), Some(service.echo())),
    }
}

fn failed(kind: &'static str, why: &Failed, service: Option<ServiceMessage>) -> Reply {
    let (code, info) = (why.code.number, why.info());
    let body = DiscoverResponse {
        code,
        info,
        kind,
        service,
        ..DiscoverResponse::default()
    };
    Reply::discovered(why.code, &body)
}

fn no_rules(service: &ServiceRequest) -> (Code, DiscoverResponse) {
    let service = Some(service.echo());
    (
        codes::SUCCESS,
        DiscoverResponse {
            service,
            ..DiscoverResponse::default()
        },
    )
}

/// The service that a client of `namespace` reaches under that name: its own, an alias's, or one that
/// others let it see.
fn visible<'s>(
    snapshot: &'s Snapshot,
    view: &View,
    namespace: &str,
    name: &str,
) -> Option<&'s Arc<Entity>> {
    if let Some(own) = find(snapshot, namespace, name) {
        return if records::is_alias(own) {
            target_of(snapshot, own)
        } else {
            Some(own)
        };
    }
    let shown = |row: &&ServiceRow| *row.name == *name && exports(snapshot, row, namespace);
    let row = view.services().find(shown)?;
    find(snapshot, &row.namespace, name)
}

/// Whether a service, or its namespace, lets another namespace see it.
fn exports(snapshot: &Snapshot, row: &ServiceRow, to: &str) -> bool {
    let names = |list: &[Box<str>]| list.iter().any(|one| **one == *to || **one == *"*");
    let whole = || {
        let namespace = snapshot.named(Kind::Namespace, "", &row.namespace);
        let record: NamespaceRecord = namespace.map(|one| records::read(one)).unwrap_or_default();
        names(&record.service_export_to)
    };
    names(&row.record.export_to) || whole()
}

fn instances(
    polaris: &Polaris,
    asked: &ServiceRequest,
    only_healthy: bool,
) -> Result<(Code, DiscoverResponse), Code> {
    let name = asked.name.as_deref().filter(|name| !name.is_empty());
    let name = name.ok_or(codes::SERVICE_NAME)?;
    let namespace = asked.namespace.as_deref().filter(|name| !name.is_empty());
    let namespace = namespace.unwrap_or(NamespaceRef::DEFAULT);
    let view = polaris.look();
    let snapshot = polaris.registry.snapshot();
    let entity = visible(&snapshot, &view, namespace, name).ok_or(codes::NOT_FOUND_RESOURCE)?;
    let row = view.service(entity.id).ok_or(codes::NOT_FOUND_RESOURCE)?;
    let revision = revision(&view, row);
    let alias_for = (*row.namespace != *namespace || *row.name != *name).then(|| names(entity));
    let service = ServiceMessage {
        name: Some(name.to_owned()),
        namespace: Some(namespace.to_owned()),
        revision: Some(revision.clone()),
        metadata: row.record.metadata.clone(),
        ..ServiceMessage::default()
    };
    let known = asked.revision.as_deref() == Some(revision.as_str());
    let (code, instances) = match known {
        true => (codes::NO_CHANGE, Vec::new()),
        false => {
            let all = view.instances_of(&row.namespace, &row.name);
            let wanted = all.filter(|row| row.is_healthy() || !only_healthy);
            let shown = wanted.map(|row| discovered(row, &polaris.beats));
            (codes::SUCCESS, shown.collect())
        }
    };
    let service = Some(service);
    let body = DiscoverResponse {
        service,
        instances,
        alias_for,
        ..DiscoverResponse::default()
    };
    Ok((code, body))
}

fn names(entity: &Entity) -> ServiceMessage {
    let service = entity.as_kind::<Service>();
    ServiceMessage {
        name: entity.spec.name().map(str::to_owned),
        namespace: service.map(|service| service.namespace.to_string()),
        ..ServiceMessage::default()
    }
}

/// Another one whenever the service's metadata, its instances or their health are others.
fn revision(view: &View, row: &ServiceRow) -> String {
    let stamp = view
        .members(&row.namespace, &row.name)
        .map_or(0, |members| members.stamp);
    digits(Id::derived(&format!("{} {stamp:x}", row.revision())))
}

/// An instance as clients see it: what fields say stands among the labels too.
fn discovered(row: &InstanceRow, beats: &Heartbeats) -> InstanceMessage {
    let mut message = instance(row, beats);
    let record = &row.record;
    let mut say = |label: &str, value: &str| {
        message.metadata.insert(label.into(), value.into());
    };
    for (label, value) in [("version", &record.version), ("protocol", &record.protocol)] {
        if !value.is_empty() {
            say(label, value);
        }
    }
    if record.is_located() {
        say("region", &record.region);
        say("zone", &record.zone);
        say("campus", &record.campus);
    }
    message
}

/// The services of a namespace, or all.
fn services(polaris: &Polaris, asked: &ServiceRequest) -> (Code, DiscoverResponse) {
    let namespace = asked.namespace.as_deref().filter(|name| !name.is_empty());
    let view = polaris.look();
    let rows = view.services();
    let rows = rows.filter(|row| namespace.is_none_or(|name| *name == *row.namespace));
    let rows: Vec<_> = rows.collect();
    let stamp = |row: &&ServiceRow| {
        let state = (row.entity.id, row.entity.revision);
        foldhash::quality::FixedState::default().hash_one(state)
    };
    let all = rows
        .iter()
        .map(stamp)
        .fold(rows.len() as u64, |all, one| all ^ one);
    let revision = digits(Id::derived(&format!("services {all:x}")));
    let known = asked.revision.as_deref() == Some(revision.as_str());
    let message = |row: &ServiceRow| ServiceMessage {
        name: Some(row.name.to_string()),
        namespace: Some(row.namespace.to_string()),
        metadata: row.record.metadata.clone(),
        ..ServiceMessage::default()
    };
    let service = ServiceMessage {
        revision: Some(revision),
        ..asked.echo()
    };
    let (code, services) = match known {
        true => (codes::NO_CHANGE, Vec::new()),
        false => (codes::SUCCESS, rows.into_iter().map(message).collect()),
    };
    let service = Some(service);
    (
        code,
        DiscoverResponse {
            service,
            services,
            ..DiscoverResponse::default()
        },
    )
}
