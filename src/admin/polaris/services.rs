//! Services: created, changed and deleted, item by item.

use std::sync::Arc;

use super::accounts::Caller;
use super::answer::{Failed, Reply};
use super::call::Call;
use super::codes::{self, Code};
use super::draft::{Draft, fresh_digits};
use super::fields::messages;
use super::names::{digits, pool_name};
use super::records::{self, ServiceRecord};
use super::requests::{Grants, ServiceRequest};
use super::wire::{Response, ServiceMessage};
use super::{Polaris, Settings, expose};
use crate::model::{Entity, Id, Kind, NamespaceRef, Pool, Protocol, Service, Snapshot};

/// The most items of a batch.
pub(super) const BATCH_MAX: usize = 100;

/// Where the servers themselves would stand, and the service that is there from the start.
const OWN_NAMESPACE: &str = "Polaris";
const OWN_SERVICE: &str = "polaris.checker";

/// Who owns what was made on the way.
const NOBODY: &str = "Polaris";

/// What one item came to: the code, and the service to show.
type Outcome = Result<ServiceMessage, Box<(Failed, ServiceMessage)>>;

/// What runs for each item of a batch.
type Step = fn(&mut Draft, &ServiceRequest, &Caller, &Settings) -> Outcome;

/// The items of a batch, or why there is none.
pub(super) fn batch<T, E>(
    body: &[u8],
    read: impl Fn(&super::fields::Message) -> Result<T, E>,
) -> Result<Vec<T>, Failed>
where
    Failed: From<E>,
{
    let messages = messages(body)?;
    match messages.len() {
        0 => Err(codes::EMPTY_REQUEST.into()),
        1..=BATCH_MAX => messages.iter().map(|m| Ok(read(m)?)).collect(),
        _ => Err(codes::BATCH_SIZE.into()),
    }
}

pub(super) async fn create(polaris: &Polaris, call: Call) -> Reply {
    run(polaris, call, create_one).await
}

pub(super) async fn update(polaris: &Polaris, call: Call) -> Reply {
    run(polaris, call, update_one).await
}

pub(super) async fn delete(polaris: &Polaris, call: Call) -> Reply {
    run(polaris, call, delete_one).await
}

async fn run(polaris: &Polaris, call: Call, step: Step) -> Reply {
    let requests = batch(&call.body, ServiceRequest::read);
    let settings = Arc::clone(&polaris.settings);
    let one = move |draft: &mut Draft, request: &ServiceRequest| {
        item(step(draft, request, &call.caller, &settings))
    };
    polaris.batch(requests, one, codes::folded).await
}

fn item(outcome: Outcome) -> (Code, Response) {
    let (failed, service) = match outcome {
        Ok(service) => (codes::SUCCESS.into(), service),
        Err(told) => *told,
    };
    let response = Response {
        service: Some(service),
        ..failed.response()
    };
    (failed.code, response)
}

/// Says why with the request beside it.
fn echoing(request: &ServiceRequest) -> impl Fn(Failed) -> Box<(Failed, ServiceMessage)> {
    |failed| Box::new((failed, request.echo()))
}

/// Makes what every Polaris has from the start.
pub(super) fn begin(draft: &mut Draft, settings: &Settings) -> Result<(), Failed> {
    let settings = Settings {
        auto_create: true,
        ..settings.clone()
    };
    if find(&draft.snapshot, OWN_NAMESPACE, OWN_SERVICE).is_none() {
        let request = ServiceRequest::default();
        insert(
            draft,
            (OWN_NAMESPACE, OWN_SERVICE),
            &request,
            &Caller::nobody(),
            &settings,
        )?;
    }
    Ok(())
}

pub(super) fn find<'s>(
    snapshot: &'s Snapshot,
    namespace: &str,
    name: &str,
) -> Option<&'s Arc<Entity>> {
    snapshot.named(Kind::Service, namespace, name)
}

fn create_one(
    draft: &mut Draft,
    request: &ServiceRequest,
    caller: &Caller,
    settings: &Settings,
) -> Outcome {
    let echo = echoing(request);
    let key = checked(request).map_err(|code| echo(code.into()))?;
    if let Some(existing) = find(&draft.snapshot, key.0, key.1) {
        let id = Some(digits(existing.id));
        let service = ServiceMessage {
            id,
            ..request.echo()
        };
        return Err(Box::new((codes::EXISTED_RESOURCE.into(), service)));
    }
    let entity = insert(draft, key, request, caller, settings).map_err(&echo)?;
    caller.may_grant(&request.grants).map_err(&echo)?;
    let record: ServiceRecord = records::read(&entity);
    Ok(ServiceMessage {
        id: Some(digits(entity.id)),
        name: request.name.clone(),
        namespace: request.namespace.clone(),
        token: Some(record.token.into()),
        ..ServiceMessage::default()
    })
}

fn checked(request: &ServiceRequest) -> Result<(&str, &str), Code> {
    let key = request.key()?;
    request.few_labels()?;
    request.lengths()?;
    Ok(key)
}

/// A new service, with its pool and what leads to it.
fn insert(
    draft: &mut Draft,
    (namespace, name): (&str, &str),
    request: &ServiceRequest,
    caller: &Caller,
    settings: &Settings,
) -> Result<Entity, Failed> {
    let owner = caller.owner_or(request.owners.as_deref().unwrap_or_default());
    let namespace = draft.namespace(namespace, &owner, settings)?;
    let mut record = ServiceRecord {
        token: fresh_digits().into(),
        revision: fresh_digits().into(),
        ..ServiceRecord::default()
    };
    change(&mut record, request);
    record.owners = owner.into();
    let grants = super::namespaces::with_maker(&request.grants, caller);
    grant(&mut record.user_ids, &grants, caller);
    let entity = entity(&namespace, name, &record)?;
    draft.create(entity.clone())?;
    draft.pool(&namespace, name, settings)?;
    expose_new(draft, &entity, settings)?;
    Ok(entity)
}

pub(super) fn expose_new(
    draft: &mut Draft,
    entity: &Entity,
    settings: &Settings,
) -> Result<(), Failed> {
    let route = expose::route(entity).filter(|_| settings.expose);
    route.map_or(Ok(()), |route| draft.create(route))
}

/// A service whose traffic goes to the pool of its name.
pub(super) fn entity(
    namespace: &NamespaceRef,
    name: &str,
    record: &ServiceRecord,
) -> Result<Entity, Failed> {
    let host = pool_name(namespace.as_str(), name);
    let host = host.parse().map_err(|_| codes::SERVICE_NAME)?;
    let service = Service {
        namespace: namespace.clone(),
        name: Some(name.parse().map_err(|_| codes::SERVICE_NAME)?),
        ..Service::at(Protocol::Http, host, 80)
    };
    let mut entity = Entity::new(Id::random(), service);
    records::write(&mut entity, record);
    Ok(entity)
}

/// The service of an instance, made on the way where it is missing.
pub(super) fn ensure(
    draft: &mut Draft,
    namespace: &str,
    name: &str,
    settings: &Settings,
) -> Result<(), Failed> {
    match find(&draft.snapshot, namespace, name) {
        Some(entity) if records::is_alias(entity) => {
            Err(Failed::saying(codes::BAD_REQUEST, "service is alias"))
        }
        Some(_) => Ok(()),
        None if settings.auto_create => {
            let owners = Some(NOBODY.to_owned());
            let request = ServiceRequest {
                owners,
                ..ServiceRequest::default()
            };
            insert(
                draft,
                (namespace, name),
                &request,
                &Caller::nobody(),
                settings,
            )
            .map(drop)
        }
        None => Err(codes::NOT_FOUND_SERVICE.into()),
    }
}

/// What a request says, put over what is there; the namespaces that see it always.
fn change(record: &mut ServiceRecord, request: &ServiceRequest) {
    let put = |to: &mut Box<str>, from: &Option<String>| {
        if let Some(text) = from {
            *to = text.as_str().into();
        }
    };
    put(&mut record.ports, &request.ports);
    put(&mut record.business, &request.business);
    put(&mut record.department, &request.department);
    for (to, from) in record.cmdb.iter_mut().zip(&request.cmdb) {
        put(to, from);
    }
    put(&mut record.comment, &request.comment);
    put(&mut record.owners, &request.owners);
    put(&mut record.platform_id, &request.platform_id);
    record.export_to = boxed(&request.export_to);
    if let Some(labels) = request.metadata.as_ref().filter(|m| **m != record.metadata) {
        record.metadata = labels.clone();
        record.revision = fresh_digits().into();
    }
}

pub(super) fn boxed(texts: &[String]) -> Box<[Box<str>]> {
    texts.iter().map(|text| text.as_str().into()).collect()
}

/// Who may write it from now on; without authentication nobody is asked, and nothing remembered.
pub(super) fn grant(user_ids: &mut Box<[Box<str>]>, grants: &Grants, caller: &Caller) {
    if !caller.is_somebody() {
        return;
    }
    let mut ids: Vec<Box<str>> = user_ids.to_vec();
    ids.retain(|id| !grants.remove_user_ids.iter().any(|gone| **gone == **id));
    let new = grants.user_ids.iter().filter(|id| caller.knows(id));
    for id in new {
        if !ids.iter().any(|known| **known == **id) {
            ids.push(id.as_str().into());
        }
    }
    *user_ids = ids.into();
}

fn update_one(
    draft: &mut Draft,
    request: &ServiceRequest,
    caller: &Caller,
    _: &Settings,
) -> Outcome {
    let echo = echoing(request);
    let fail = |code: Code| echo(code.into());
    let (namespace, name) = request.key().map_err(fail)?;
    request.lengths().map_err(fail)?;
    let found = find(&draft.snapshot, namespace, name);
    let found = found.ok_or_else(|| fail(codes::NOT_FOUND_RESOURCE))?;
    let mut entity = Entity::clone(found);
    let before: ServiceRecord = records::read(&entity);
    if before.alias.is_some() {
        return Err(fail(codes::NO_ALIAS_UPDATE));
    }
    caller.may_write(&before.user_ids).map_err(&echo)?;
    request.few_labels().map_err(fail)?;
    let mut record = before.clone();
    change(&mut record, request);
    if caller.is_somebody() {
        record.owners.clone_from(&before.owners);
    }
    grant(&mut record.user_ids, &request.grants, caller);
    if record == before {
        return Err(fail(codes::NO_NEED_UPDATE));
    }
    records::write(&mut entity, &record);
    draft.replace(entity).map_err(&echo)?;
    caller.may_grant(&request.grants).map_err(&echo)?;
    Ok(request.echo())
}

fn delete_one(
    draft: &mut Draft,
    request: &ServiceRequest,
    caller: &Caller,
    _: &Settings,
) -> Outcome {
    let echo = echoing(request);
    let (namespace, name) = request.key().map_err(|code| echo(code.into()))?;
    let Some(entity) = find(&draft.snapshot, namespace, name).map(Arc::clone) else {
        return Ok(request.echo());
    };
    let record: ServiceRecord = records::read(&entity);
    caller.may_write(&record.user_ids).map_err(&echo)?;
    remove(draft, &entity).map_err(&echo)?;
    Ok(request.echo())
}

/// Takes a service or an alias away, with its pool and the route that exposes it.
pub(super) fn remove(draft: &mut Draft, entity: &Entity) -> Result<(), Failed> {
    let snapshot = &draft.snapshot;
    let (namespace, name) = match entity.as_kind::<Service>() {
        Some(service) => (
            service.namespace.as_str(),
            entity.spec.name().unwrap_or_default(),
        ),
        None => return Ok(()),
    };
    let pool = snapshot.named(Kind::Pool, namespace, &pool_name(namespace, name));
    if let Some(pool) = pool {
        if snapshot
            .mentioning(pool.id, Kind::Endpoint)
            .next()
            .is_some()
        {
            return Err(codes::SERVICE_EXISTED_INSTANCES.into());
        }
        if snapshot.mentioning(pool.id, Kind::Pool).next().is_some() {
            return Err(codes::SERVICE_EXISTED_ALIAS.into());
        }
    }
    let exposed = expose::route_at(entity.id);
    let is_other = |route: &Arc<Entity>| route.at() != exposed;
    if snapshot.mentioning(entity.id, Kind::Route).any(is_other) {
        return Err(codes::SERVICE_EXISTED_ROUTINGS.into());
    }
    let exposed = snapshot
        .entity(exposed.kind, exposed.id)
        .map(|route| route.at());
    // The pool first: it would go along with its service.
    let gone = exposed.into_iter().chain(pool.map(|pool| pool.at()));
    let gone: Vec<_> = gone.chain([entity.at()]).collect();
    draft.delete(gone)
}

/// `POST /naming/v1/service/owner`, `GET` and `PUT /naming/v1/service/token`: small questions.
pub(super) fn owners(polaris: &Polaris, call: &Call) -> Reply {
    let requests = match batch(&call.body, ServiceRequest::read) {
        Ok(requests) => requests,
        Err(failed) => return Reply::no_query(&failed),
    };
    let snapshot = polaris.registry.snapshot();
    let owned = |request: &ServiceRequest| {
        let (namespace, name) = request.key().ok()?;
        let record: ServiceRecord = records::read(find(&snapshot, namespace, name)?);
        Some(ServiceMessage {
            name: request.name.clone(),
            namespace: request.namespace.clone(),
            owners: Some(record.owners.into()),
            ..ServiceMessage::default()
        })
    };
    let services: Vec<_> = requests.iter().filter_map(owned).collect();
    let mut body = super::wire::BatchQueryResponse::success(services.len());
    body.size = services.len();
    body.services = services;
    Reply::query(&body)
}

pub(super) fn token(polaris: &Polaris, call: &Call) -> Reply {
    let query = call.parameters();
    let text = |name| query.find(name).map(str::to_owned);
    let request = ServiceRequest {
        name: text("name"),
        namespace: text("namespace"),
        ..ServiceRequest::default()
    };
    let snapshot = polaris.registry.snapshot();
    let found = request
        .key()
        .map_err(Failed::from)
        .and_then(|(namespace, name)| {
            let found = find(&snapshot, namespace, name);
            found.ok_or_else(|| codes::NOT_FOUND_RESOURCE.into())
        });
    match found {
        Ok(entity) => with_token(&request, records::read(entity)),
        Err(failed) => Reply::failed(&failed),
    }
}

fn with_token(request: &ServiceRequest, record: ServiceRecord) -> Reply {
    let service = ServiceMessage {
        name: request.name.clone(),
        namespace: request.namespace.clone(),
        token: Some(record.token.into()),
        ..ServiceMessage::default()
    };
    let response = Response {
        service: Some(service),
        ..Response::of(codes::SUCCESS)
    };
    Reply::one(codes::SUCCESS, &response)
}

pub(super) async fn renew_token(polaris: &Polaris, call: Call) -> Reply {
    let request = super::fields::single(&call.body).and_then(|m| ServiceRequest::read(&m));
    let request = match request {
        Ok(request) => request,
        Err(malformed) => return Reply::failed(&malformed.into()),
    };
    let asked = request.clone();
    let plan = move |draft: &mut Draft| {
        let (namespace, name) = asked.key()?;
        let found = find(&draft.snapshot, namespace, name).ok_or(codes::NOT_FOUND_RESOURCE)?;
        let mut entity = Entity::clone(found);
        let mut record: ServiceRecord = records::read(&entity);
        call.caller.may_write(&record.user_ids)?;
        record.token = fresh_digits().into();
        records::write(&mut entity, &record);
        draft.replace(entity)?;
        Ok::<_, Failed>(record)
    };
    match polaris.edit(plan).await.and_then(|told| told) {
        Ok(record) => with_token(&request, record),
        Err(failed) => Reply::failed(&failed),
    }
}

/// The service that an alias stands for: whose pool its own takes the endpoints from.
pub(super) fn target_of<'s>(snapshot: &'s Snapshot, alias: &Entity) -> Option<&'s Arc<Entity>> {
    let service = alias.as_kind::<Service>()?;
    let namespace = service.namespace.as_str();
    let name = pool_name(namespace, service.name.as_ref()?.as_str());
    let pool = snapshot.named(Kind::Pool, namespace, &name)?;
    let target: &Pool = snapshot.get(pool.as_kind::<Pool>()?.endpoints_of?)?;
    let name = super::names::service_of(target)?;
    find(snapshot, target.namespace.as_str(), &name)
}
