//! Instances: registered, changed, taken out of traffic and deleted, item by item.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use super::accounts::Caller;
use super::answer::{Failed, Reply};
use super::call::Call;
use super::codes::{self, Code};
use super::draft::Draft;
use super::names::{self, Address, pool_name};
use super::records::{self, InstanceRecord, ServiceRecord};
use super::requests::InstanceRequest;
use super::services::{batch, ensure, find};
use super::wire::{InstanceMessage, Response};
use super::{Polaris, Settings};
use crate::model::{Change, Endpoint, Entity, Id, Kind, Pool, Snapshot};

/// What one item came to.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) code: Code,
    pub(super) response: Response,
    /// A word on the instance's health that heartbeats begin from.
    health: Option<(Id, bool)>,
}

impl Done {
    fn of(outcome: Result<InstanceMessage, (Failed, InstanceMessage)>) -> Self {
        let (failed, instance) = match outcome {
            Ok(instance) => (codes::SUCCESS.into(), instance),
            Err((failed, instance)) => (failed, instance),
        };
        let response = Response {
            instance: Some(instance),
            ..failed.response()
        };
        Self {
            code: failed.code,
            response,
            health: None,
        }
    }

    fn failed(failed: impl Into<Failed>, request: &InstanceRequest) -> Self {
        Self::of(Err((failed.into(), request.echo())))
    }
}

/// What runs for each item of a batch.
pub(super) type Step = fn(&mut Draft, &InstanceRequest, &Context<'_>) -> Done;

/// What items know beside the registry.
#[derive(Debug)]
pub(super) struct Context<'a> {
    caller: &'a Caller,
    settings: &'a Settings,
    polaris: &'a Polaris,
}

impl Context<'_> {
    /// Whether an instance counts as healthy now.
    fn is_healthy(&self, entity: &Entity, record: &InstanceRecord) -> bool {
        let heard = self.polaris.beats.is_there(entity.id, Instant::now());
        heard.unwrap_or(record.healthy)
    }
}

impl Polaris {
    /// Runs a batch in the registry's writer; then what it said of health holds for heartbeats too.
    pub(super) async fn instances(
        &self,
        requests: Vec<InstanceRequest>,
        caller: Caller,
        step: Step,
    ) -> Result<Vec<Done>, Failed> {
        let polaris = self.clone();
        let plan = move |draft: &mut Draft| {
            let settings = Arc::clone(&polaris.settings);
            draft.is_last = requests.len() == 1;
            let context = Context {
                caller: &caller,
                settings: &settings,
                polaris: &polaris,
            };
            let one = |request: &InstanceRequest| step(draft, request, &context);
            requests.iter().map(one).collect::<Vec<_>>()
        };
        let done = self.write(plan).await?;
        if done.iter().all(|done| self.is_plain(done)) {
            self.keep_up();
        } else {
            self.follow();
        }
        self.hear(done.iter().filter_map(|done| done.health));
        Ok(done)
    }

    /// Whether picks are right before heartbeats know of it: one that nobody knew is there, as endpoints
    /// are where nobody says otherwise.
    fn is_plain(&self, done: &Done) -> bool {
        done.health
            .is_some_and(|(id, healthy)| healthy && !self.beats.knows(id))
    }

    fn hear(&self, words: impl Iterator<Item = (Id, bool)>) {
        let now = Instant::now();
        let words: Vec<_> = words.collect();
        if words.is_empty() {
            return;
        }
        for (id, healthy) in &words {
            self.beats.set(*id, *healthy, now);
            self.beats.is_known(*id);
        }
        let ids: Vec<Id> = words.into_iter().map(|(id, _)| id).collect();
        self.settle(&ids, now);
    }
}

async fn run(polaris: &Polaris, call: Call, step: Step) -> Reply {
    let requests = match batch(&call.body, InstanceRequest::read) {
        Ok(requests) => requests,
        Err(failed) => return Reply::no_batch(&failed),
    };
    match polaris.instances(requests, call.caller, step).await {
        Ok(done) => {
            let items = done.into_iter().map(|done| (done.code, done.response));
            Reply::batch(items.collect(), codes::folded)
        }
        Err(failed) => Reply::no_batch(&failed),
    }
}

pub(super) async fn create(polaris: &Polaris, mut call: Call) -> Reply {
    let requests = match batch(&call.body, InstanceRequest::read) {
        Ok(requests) => requests,
        Err(failed) => return Reply::no_batch(&failed),
    };
    let repeated = repeated(&requests);
    let caller = std::mem::replace(&mut call.caller, Caller::nobody());
    let fresh = requests
        .iter()
        .enumerate()
        .filter(|(n, _)| !repeated.contains(n));
    let fresh: Vec<_> = fresh.map(|(_, request)| request.clone()).collect();
    let done = match polaris.instances(fresh, caller, register_one).await {
        Ok(done) => done,
        Err(failed) => return Reply::no_batch(&failed),
    };
    let mut done = done.into_iter();
    let outcome = |(n, request): (usize, &InstanceRequest)| {
        let done = if repeated.contains(&n) {
            None
        } else {
            done.next()
        };
        let done = done.unwrap_or_else(|| Done::failed(codes::SAME_INSTANCE, request));
        (done.code, done.response)
    };
    Reply::batch(
        requests.iter().enumerate().map(outcome).collect(),
        codes::folded,
    )
}

/// Items that name an instance which an earlier item names.
fn repeated(requests: &[InstanceRequest]) -> HashSet<usize> {
    let mut seen = HashSet::new();
    let mut repeated = HashSet::new();
    for (n, request) in requests.iter().enumerate() {
        let id = request
            .check_new()
            .ok()
            .map(|address| wanted_id(request, &address));
        if id.is_some_and(|id| !seen.insert(id)) {
            repeated.insert(n);
        }
    }
    repeated
}

fn wanted_id(request: &InstanceRequest, address: &Address) -> String {
    let given = request.id.as_ref().filter(|id| !id.is_empty());
    given.cloned().unwrap_or_else(|| address.instance_id())
}

/// Registers an instance, or registers it again.
pub(super) fn register_one(
    draft: &mut Draft,
    request: &InstanceRequest,
    context: &Context<'_>,
) -> Done {
    match register(draft, request, context) {
        Ok((id, entity, healthy)) => {
            let instance = InstanceMessage {
                id: Some(id),
                ..request.echo()
            };
            Done {
                health: Some((entity, healthy)),
                ..Done::of(Ok(instance))
            }
        }
        Err(failed) => Done::failed(failed, request),
    }
}

fn register(
    draft: &mut Draft,
    request: &InstanceRequest,
    context: &Context<'_>,
) -> Result<(String, Id, bool), Failed> {
    let address = request.check_new()?;
    let (namespace, service) = (address.namespace.as_str(), address.service.as_str());
    permit(&draft.snapshot, namespace, service, context.caller)?;
    draft.whole(|draft| enter(draft, request, &address, context.settings))
}

/// Puts a new instance where it belongs, with the service and the pool that it needs.
fn enter(
    draft: &mut Draft,
    request: &InstanceRequest,
    address: &Address,
    settings: &Settings,
) -> Result<(String, Id, bool), Failed> {
    let (namespace, service) = (address.namespace.as_str(), address.service.as_str());
    ensure(draft, namespace, service, settings)?;
    let namespace = draft.namespace(namespace, "", settings)?;
    let pool = draft.pool(&namespace, service, settings)?;
    let id = wanted_id(request, address);
    let (entity, record) = instance(&draft.snapshot, pool, &id, request, address)?;
    let (at, healthy) = (entity.id, record.healthy);
    put(draft, pool, entity, address)?;
    Ok((id, at, healthy))
}

/// Who may write a service may write its instances.
fn permit(
    snapshot: &Snapshot,
    namespace: &str,
    service: &str,
    caller: &Caller,
) -> Result<(), Failed> {
    if !caller.is_somebody() {
        return Ok(());
    }
    let Some(entity) = find(snapshot, namespace, service) else {
        return Ok(());
    };
    let record: ServiceRecord = records::read(entity);
    caller.may_write(&record.user_ids)
}

/// The endpoint that a registration asks for. What another dialect keeps with it stays.
fn instance(
    snapshot: &Snapshot,
    pool: Id,
    id: &str,
    request: &InstanceRequest,
    address: &Address,
) -> Result<(Entity, InstanceRecord), Failed> {
    let at = names::entity_id(id);
    let before = snapshot.entity(Kind::Endpoint, at);
    let was_enabled = before
        .and_then(|old| old.as_kind::<Endpoint>())
        .map(|old| old.enabled);
    let dialable = |why| move |_| Failed::saying(codes::INSTANCE_HOST, why);
    let endpoint = Endpoint {
        pool,
        host: address
            .host
            .parse()
            .map_err(dialable("it cannot be dialled"))?,
        port: address.port,
        weight: u16::try_from(request.weight.unwrap_or(100)).map_err(|_| codes::PARAMETER)?,
        enabled: request
            .isolate
            .map_or_else(|| was_enabled.unwrap_or(true), |isolate| !isolate),
    };
    let mut entity = Entity::new(at, endpoint);
    if let Some(before) = before {
        entity.tags.clone_from(&before.tags);
        entity.attributes.clone_from(&before.attributes);
    }
    entity.spec.check().map_err(|invalid| {
        let code = if address.port == 0 {
            codes::INSTANCE_PORT
        } else {
            codes::INSTANCE_HOST
        };
        Failed::saying(code, invalid.why)
    })?;
    let record = InstanceRecord {
        id: id.into(),
        vpc_id: address.vpc_id.as_str().into(),
        healthy: request.healthy.unwrap_or(true),
        ttl: request.health.initial(),
        ..InstanceRecord::default()
    };
    let record = changed(record, request);
    records::write(&mut entity, &record);
    Ok((entity, record))
}

/// The fields that registrations and updates have in common, where they are sent.
fn changed(mut record: InstanceRecord, request: &InstanceRequest) -> InstanceRecord {
    let put = |to: &mut Box<str>, from: Option<&String>| {
        if let Some(text) = from {
            *to = text.as_str().into();
        }
    };
    put(&mut record.protocol, request.protocol.as_ref());
    put(&mut record.version, request.version.as_ref());
    put(&mut record.logic_set, request.logic_set.as_ref());
    record.priority = request.priority.unwrap_or(record.priority);
    if let Some([region, zone, campus]) = &request.location {
        put(&mut record.region, Some(region));
        put(&mut record.zone, Some(zone));
        put(&mut record.campus, Some(campus));
    }
    if let Some(metadata) = &request.metadata {
        record.metadata.clone_from(metadata);
    }
    record
}

/// Puts an endpoint at its address; another one that stands there gives way.
fn put(draft: &mut Draft, pool: Id, entity: Entity, address: &Address) -> Result<(), Failed> {
    let other = names::at_address(&draft.snapshot, pool, &address.host, address.port);
    let other = other
        .filter(|other| other.id != entity.id)
        .map(|other| other.at());
    let same = |old: &&Arc<Entity>| old.spec == entity.spec && old.attributes == entity.attributes;
    let old = draft.snapshot.entity(Kind::Endpoint, entity.id);
    if other.is_none() && old.filter(same).is_some() {
        return Ok(());
    }
    let gone = other.map(Change::Delete);
    let put = Change::Put(Arc::new(entity));
    draft.conclude(gone.into_iter().chain([put]).collect())
}

/// The instance a request means: by its id, or by its four fields.
pub(super) fn meant<'s>(
    snapshot: &'s Snapshot,
    request: &InstanceRequest,
) -> Result<Option<&'s Arc<Entity>>, Code> {
    match request.id.as_deref() {
        Some("") => Err(codes::INSTANCE_ID),
        Some(id) => Ok(names::instance(snapshot, id)),
        None => Ok(request.address()?.find(snapshot)),
    }
}

/// Whose instance it is: namespace and service.
fn service_of(snapshot: &Snapshot, entity: &Entity) -> Option<(String, String)> {
    let pool: &Pool = snapshot.get(entity.as_kind::<Endpoint>()?.pool)?;
    let service = names::service_of(pool)?;
    Some((pool.namespace.to_string(), service.into_owned()))
}

fn permit_instance(snapshot: &Snapshot, entity: &Entity, caller: &Caller) -> Result<(), Failed> {
    match service_of(snapshot, entity) {
        Some((namespace, service)) => permit(snapshot, &namespace, &service, caller),
        None => Ok(()),
    }
}

pub(super) async fn delete(polaris: &Polaris, call: Call) -> Reply {
    run(polaris, call, delete_one).await
}

pub(super) fn delete_one(
    draft: &mut Draft,
    request: &InstanceRequest,
    context: &Context<'_>,
) -> Done {
    let found = match meant(&draft.snapshot, request) {
        Ok(found) => found.map(Arc::clone),
        Err(code) => return Done::failed(code, request),
    };
    let deleted = found.map_or(Ok(()), |entity| {
        permit_instance(&draft.snapshot, &entity, context.caller)?;
        draft.conclude(vec![Change::Delete(entity.at())])
    });
    match deleted {
        Ok(()) => Done::of(Ok(request.echo())),
        Err(failed) => Done::failed(failed, request),
    }
}

pub(super) async fn update(polaris: &Polaris, call: Call) -> Reply {
    run(polaris, call, update_one).await
}

fn update_one(draft: &mut Draft, request: &InstanceRequest, context: &Context<'_>) -> Done {
    match updated(draft, request, context) {
        Ok(health) => Done {
            health,
            ..Done::of(Ok(request.echo()))
        },
        Err(failed) => Done::failed(failed, request),
    }
}

fn updated(
    draft: &mut Draft,
    request: &InstanceRequest,
    context: &Context<'_>,
) -> Result<Option<(Id, bool)>, Failed> {
    request.few_labels()?;
    request.lengths()?;
    let found = meant(&draft.snapshot, request)?.ok_or(codes::NOT_FOUND_INSTANCE)?;
    permit_instance(&draft.snapshot, found, context.caller)?;
    let mut entity = Entity::clone(found);
    let before: InstanceRecord = records::read(&entity);
    let mut record = changed(before.clone(), request);
    let mut endpoint = entity
        .as_kind::<Endpoint>()
        .cloned()
        .ok_or(codes::NOT_FOUND_INSTANCE)?;
    if let Some(weight) = request.weight {
        endpoint.weight = u16::try_from(weight).map_err(|_| codes::PARAMETER)?;
    }
    endpoint.enabled = request.isolate.map_or(endpoint.enabled, |isolate| !isolate);
    let said = health(&mut record, request);
    let flips = said.is_some_and(|said| said != context.is_healthy(found, &before));
    let same = found.as_kind::<Endpoint>() == Some(&endpoint);
    if record == before && same && !flips {
        return Err(codes::NO_NEED_UPDATE.into());
    }
    entity.spec = endpoint.into();
    records::write(&mut entity, &record);
    let id = entity.id;
    draft.replace(entity)?;
    Ok(said.map(|said| (id, said)))
}

/// What an update says of health: a check that is switched on waits for the first heartbeat, one that
/// is switched off leaves what was last written.
fn health(record: &mut InstanceRecord, request: &InstanceRequest) -> Option<bool> {
    let said = request.healthy;
    record.healthy = said.unwrap_or(record.healthy);
    match (request.health.enabled, request.health.ttl) {
        (Some(false), _) => record.ttl = None,
        (Some(true) | None, Some(ttl)) => {
            let is_new = record.ttl.is_none();
            record.ttl = Some(ttl);
            if is_new {
                record.healthy = false;
                return Some(false);
            }
        }
        (Some(true) | None, None) => {}
    }
    said
}

pub(super) async fn delete_host(polaris: &Polaris, call: Call) -> Reply {
    run(polaris, call, delete_host_one).await
}

/// The instances of a service on one host.
fn on_host(draft: &Draft, request: &InstanceRequest) -> Result<Vec<Arc<Entity>>, Failed> {
    let (service, namespace) = request.service()?;
    let host = request.host.as_deref().filter(|host| !host.is_empty());
    let host = host.ok_or(codes::INSTANCE_HOST)?;
    let snapshot = &draft.snapshot;
    find(snapshot, namespace, service).ok_or(codes::NOT_FOUND_SERVICE)?;
    let Some(pool) = snapshot.named(Kind::Pool, namespace, &pool_name(namespace, service)) else {
        return Ok(Vec::new());
    };
    let stands = |entity: &&Arc<Entity>| {
        let endpoint = entity.as_kind::<Endpoint>();
        endpoint.is_some_and(|endpoint| endpoint.host.as_str() == host)
    };
    let all = snapshot.mentioning(pool.id, Kind::Endpoint);
    Ok(all.filter(stands).map(Arc::clone).collect())
}

fn delete_host_one(draft: &mut Draft, request: &InstanceRequest, context: &Context<'_>) -> Done {
    let deleted = on_host(draft, request).and_then(|all| {
        if context.caller.is_sub() {
            return Err(codes::NOT_ALLOWED.into());
        }
        draft.delete(all.iter().map(|entity| entity.at()))
    });
    match deleted {
        Ok(()) => Done::of(Ok(request.echo())),
        Err(failed) => Done::failed(failed, request),
    }
}

pub(super) async fn isolate_host(polaris: &Polaris, call: Call) -> Reply {
    run(polaris, call, isolate_host_one).await
}

fn isolate_host_one(draft: &mut Draft, request: &InstanceRequest, context: &Context<'_>) -> Done {
    match isolated(draft, request, context) {
        Ok(()) => Done::of(Ok(request.echo())),
        Err(failed) => Done::failed(failed, request),
    }
}

fn isolated(
    draft: &mut Draft,
    request: &InstanceRequest,
    context: &Context<'_>,
) -> Result<(), Failed> {
    request.service()?;
    let isolate = request.isolate.ok_or(codes::INSTANCE_ISOLATE)?;
    let all = on_host(draft, request)?;
    if all.is_empty() {
        return Err(codes::NOT_FOUND_INSTANCE.into());
    }
    let mut changes = Vec::new();
    for entity in &all {
        permit_instance(&draft.snapshot, entity, context.caller)?;
        let endpoint = entity
            .as_kind::<Endpoint>()
            .filter(|one| one.enabled == isolate);
        if let Some(endpoint) = endpoint.cloned() {
            let spec = Endpoint {
                enabled: !isolate,
                ..endpoint
            }
            .into();
            let entity = Entity {
                spec,
                ..Entity::clone(entity)
            };
            changes.push(Change::Replace(Arc::new(entity)));
        }
    }
    if changes.is_empty() {
        return Err(codes::NO_NEED_UPDATE.into());
    }
    draft.add(changes)
}
