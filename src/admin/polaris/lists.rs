//! Lists and counts of services and instances, as the console asks for them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::accounts::Caller;
use super::answer::{Failed, Reply};
use super::call::Call;
use super::codes;
use super::heartbeat::Heartbeats;
use super::names::digits;
use super::rows::{InstanceRow, ServiceRow};
use super::search::Page;
use super::view::View;
use super::wire::{
    BatchQueryResponse, HealthCheck, InstanceLabels, InstanceMessage, Response, ServiceMessage,
    Values,
};
use super::{Polaris, instance_search, moment, service_search};
use crate::model::{Kind, Service, Timestamp};

/// Labels that say again what fields say; the console hides them.
const INJECTED: [&str; 5] = ["version", "protocol", "region", "zone", "campus"];

fn answer(found: Result<BatchQueryResponse, Failed>) -> Reply {
    match found {
        Ok(body) => Reply::query(&body),
        Err(failed) => Reply::no_query(&failed),
    }
}

pub(super) fn services(polaris: &Polaris, call: &Call) -> Reply {
    answer(services_found(polaris, call))
}

fn services_found(polaris: &Polaris, call: &Call) -> Result<BatchQueryResponse, Failed> {
    let query = call.parameters();
    let filter = service_search::Filter::read(&query)?;
    let page = query.page()?;
    let view = polaris.look();
    let (amount, rows) = page.of(filter.find(&view));
    let services = rows
        .into_iter()
        .map(|row| service(&view, row, &call.caller));
    let mut body = BatchQueryResponse::success(amount);
    body.services = services.collect();
    body.size = body.services.len();
    Ok(body)
}

/// A row of the list.
fn service(view: &View, row: &ServiceRow, caller: &Caller) -> ServiceMessage {
    let record = &row.record;
    let text = |text: &str| Some(text.to_owned());
    let [cmdb_mod1, cmdb_mod2, cmdb_mod3] = record.cmdb.each_ref().map(|cmdb| text(cmdb));
    ServiceMessage {
        id: Some(digits(row.entity.id)),
        metadata: record.metadata.clone(),
        ports: text(&record.ports),
        business: text(&record.business),
        department: text(&record.department),
        cmdb_mod1,
        cmdb_mod2,
        cmdb_mod3,
        comment: text(&record.comment),
        owners: text(&record.owners),
        ctime: Some(moment::written(row.entity.created_at)),
        mtime: Some(moment::written(row.entity.updated_at)),
        revision: Some(row.revision()),
        platform_id: text(&record.platform_id),
        editable: Some(caller.may_write(&record.user_ids).is_ok()),
        export_to: record.export_to.iter().map(|to| to.to_string()).collect(),
        ..counted(view, row)
    }
}

/// Its names and how many instances it has.
fn counted(view: &View, row: &ServiceRow) -> ServiceMessage {
    let members = view.members(&row.namespace, &row.name);
    let total = members.map_or(0, |members| members.rows.len() as u64);
    ServiceMessage {
        name: Some(row.name.to_string()),
        namespace: Some(row.namespace.to_string()),
        total_instance_count: Some(total),
        healthy_instance_count: Some(members.map_or(0, |members| members.healthy)),
        ..ServiceMessage::default()
    }
}

pub(super) fn all_services(polaris: &Polaris, call: &Call) -> Reply {
    let query = call.parameters();
    let namespace = query.find("namespace").filter(|name| !name.is_empty());
    let view = polaris.look();
    let rows = view.services();
    let rows = rows.filter(|row| namespace.is_none_or(|name| name == &*row.namespace));
    let message = |row: &ServiceRow| ServiceMessage {
        metadata: row.record.metadata.clone(),
        ..counted(&view, row)
    };
    let services: Vec<_> = rows.map(message).collect();
    let mut body = BatchQueryResponse::success(services.len());
    body.size = services.len();
    body.services = services;
    Reply::query(&body)
}

pub(super) fn count_services(polaris: &Polaris, _: &Call) -> Reply {
    Reply::query(&BatchQueryResponse::success(
        polaris.look().services().len(),
    ))
}

pub(super) fn count_instances(polaris: &Polaris, _: &Call) -> Reply {
    Reply::query(&BatchQueryResponse::success(
        polaris.look().instances().len(),
    ))
}

/// Lists of rules, of which there are none.
pub(super) fn nothing(_: &Polaris, _: &Call) -> Reply {
    Reply::query(&BatchQueryResponse::success(0))
}

pub(super) fn instances(polaris: &Polaris, call: &Call) -> Reply {
    answer(instances_found(polaris, call))
}

fn instances_found(polaris: &Polaris, call: &Call) -> Result<BatchQueryResponse, Failed> {
    let query = call.parameters();
    let filter = instance_search::Filter::read(&query)?;
    let page: Page = query.page()?;
    let view = polaris.look();
    let (amount, rows) = filter.find(&view, page);
    let listed = |row: &InstanceRow| {
        let mut message = instance(row, &polaris.beats);
        for label in INJECTED {
            message.metadata.remove(label);
        }
        if filter.shows_beats {
            tell_beat(polaris, row, &mut message);
        }
        message
    };
    let mut body = BatchQueryResponse::success(amount);
    body.instances = rows.into_iter().map(listed).collect();
    body.size = body.instances.len();
    Ok(body)
}

/// Tells, of an instance whose heartbeats are missing, when the last one was.
const LAST_HEARTBEAT: &str = "internal-lastheartbeat";

/// An instance with everything that is known of it.
pub(super) fn instance(row: &InstanceRow, beats: &Heartbeats) -> InstanceMessage {
    let mut message = stored(row);
    let missed = (!row.is_healthy()).then(|| last_beat(beats, row)).flatten();
    if let Some(at) = missed {
        let at = at.seconds().to_string();
        message.metadata.insert(LAST_HEARTBEAT.into(), at.into());
    }
    message
}

/// An instance with everything that is stored of it.
fn stored(row: &InstanceRow) -> InstanceMessage {
    let record = &row.record;
    let text = |text: &str| Some(text.to_owned());
    InstanceMessage {
        id: text(&row.id),
        service: text(&row.service),
        namespace: text(&row.namespace),
        vpc_id: text(&record.vpc_id),
        host: text(&row.host),
        port: Some(row.port.into()),
        protocol: text(&record.protocol),
        version: text(&record.version),
        priority: Some(record.priority),
        weight: Some(row.weight.into()),
        enable_health_check: Some(record.ttl.is_some()),
        health_check: record.ttl.map(HealthCheck::heartbeat),
        healthy: Some(row.is_healthy()),
        isolate: Some(row.is_isolated),
        location: Some(record.location()),
        metadata: record.metadata.clone(),
        logic_set: text(&record.logic_set),
        ctime: Some(moment::written(row.entity.created_at)),
        mtime: Some(moment::written(row.entity.updated_at)),
        revision: Some(row.revision()),
        service_token: None,
    }
}

fn tell_beat(polaris: &Polaris, row: &InstanceRow, message: &mut InstanceMessage) {
    let Some(at) = last_beat(&polaris.beats, row) else {
        return;
    };
    let mut tell = |label: &str, value: String| {
        message.metadata.insert(label.into(), value.into());
    };
    tell("last-heartbeat-timestamp", at.seconds().to_string());
    tell("last-heartbeat-time", moment::written(at));
}

/// When a watched instance was heard of.
fn last_beat(beats: &Heartbeats, row: &InstanceRow) -> Option<Timestamp> {
    let ago = beats.last_beat(row.entity.id, Instant::now())?;
    let ago = u64::try_from(ago.as_millis()).unwrap_or(u64::MAX);
    Some(Timestamp(Timestamp::now().0.saturating_sub(ago)))
}

/// Every label of a service's instances.
pub(super) fn labels(polaris: &Polaris, call: &Call) -> Reply {
    let query = call.parameters();
    let by_id = query.find("service_id").and_then(|id| {
        let snapshot = polaris.registry.snapshot();
        let entity = snapshot.entity(Kind::Service, id.parse().ok()?)?;
        let service = entity.as_kind::<Service>()?;
        Some((service.namespace.to_string(), entity.label()))
    });
    let named = || {
        let namespace = query.find("namespace").unwrap_or("default");
        (
            namespace.to_owned(),
            query.find("service").unwrap_or_default().to_owned(),
        )
    };
    let (namespace, service) = by_id.unwrap_or_else(named);
    let view = polaris.look();
    let mut all: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for row in view.instances_of(&namespace, &service) {
        for (key, value) in &row.record.metadata {
            all.entry(key).or_default().insert(value);
        }
    }
    let values = |values: BTreeSet<&str>| Values {
        values: values.into_iter().map(Into::into).collect(),
    };
    let labels = all
        .into_iter()
        .map(|(key, found)| (key.into(), values(found)));
    let instance_labels = Some(InstanceLabels {
        labels: labels.collect(),
    });
    let response = Response {
        instance_labels,
        ..Response::of(codes::SUCCESS)
    };
    Reply::one(codes::SUCCESS, &response)
}
