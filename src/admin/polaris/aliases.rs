//! Aliases: second names of services.

use std::sync::Arc;

use super::answer::{Failed, Reply};
use super::call::Call;
use super::codes;
use super::draft::{self, Draft, fresh_digits};
use super::fields::single;
use super::names::{digits, pool_name};
use super::records::{self, AliasKind, ServiceRecord};
use super::requests::AliasRequest;
use super::rows::ServiceRow;
use super::search::Wildcard;
use super::services::{self, batch, find, target_of};
use super::wire::{AliasMessage, BatchQueryResponse, Response};
use super::{Polaris, Settings, moment};
use crate::model::{Entity, Id, Kind, Pool, Service, Snapshot};

/// Namespaces that may have aliases whose names the server makes.
const CL5_NAMESPACES: [&str; 6] = [
    "Production",
    "Development",
    "Pre-release",
    "Test",
    "Polaris",
    "default",
];

pub(super) async fn create(polaris: &Polaris, call: Call) -> Reply {
    one(polaris, call, create_one).await
}

pub(super) async fn update(polaris: &Polaris, call: Call) -> Reply {
    one(polaris, call, update_one).await
}

type Step = fn(&mut Draft, &mut AliasRequest, &Call, &Settings) -> Result<(), Failed>;

async fn one(polaris: &Polaris, call: Call, step: Step) -> Reply {
    let mut request = match single(&call.body).and_then(|m| AliasRequest::read(&m)) {
        Ok(request) => request,
        Err(malformed) => return Reply::failed(&malformed.into()),
    };
    let settings = Arc::clone(&polaris.settings);
    let plan = move |draft: &mut Draft| {
        let outcome = step(draft, &mut request, &call, &settings);
        (outcome, request.echo())
    };
    match polaris.edit(plan).await {
        Ok((outcome, alias)) => {
            let failed = outcome.err().unwrap_or_else(|| codes::SUCCESS.into());
            let response = Response {
                alias: Some(alias),
                ..failed.response()
            };
            Reply::one(failed.code, &response)
        }
        Err(failed) => Reply::failed(&failed),
    }
}

fn create_one(
    draft: &mut Draft,
    request: &mut AliasRequest,
    call: &Call,
    settings: &Settings,
) -> Result<(), Failed> {
    request.check_new()?;
    let namespace = request.alias_namespace.clone().unwrap_or_default();
    if request.is_cl5 {
        if !CL5_NAMESPACES.contains(&&*namespace) {
            return Err(codes::ALIAS_NAMESPACE.into());
        }
        request.alias = Some(cl5_name(&draft.snapshot, &namespace));
    }
    let alias = request.alias.clone().unwrap_or_default();
    let target = target(draft, request, settings)?;
    if find(&draft.snapshot, &namespace, &alias).is_some() {
        return Err(codes::EXISTED_RESOURCE.into());
    }
    let owner = call
        .caller
        .owner_or(request.owners.as_deref().unwrap_or_default());
    let namespace = draft.namespace(&namespace, &owner, settings)?;
    let mut record = ServiceRecord {
        token: fresh_digits().into(),
        alias: Some(if request.is_cl5 {
            AliasKind::Cl5sid
        } else {
            AliasKind::Default
        }),
        ..ServiceRecord::default()
    };
    describe(&mut record, request);
    record.owners = owner.into();
    let entity = services::entity(&namespace, &alias, &record)?;
    draft.create(entity.clone())?;
    draft.create(pool(&entity, target, settings)?)?;
    services::expose_new(draft, &entity, settings)
}

/// A name of two numbers that nobody has yet.
fn cl5_name(snapshot: &Snapshot, namespace: &str) -> String {
    let parts = |id: Id| {
        let [a, b, c, d, e, f, g, h, ..] = *id.as_bytes();
        let (module, command) = ([a & 0x7f, b, c, d], [e & 0x7f, f, g, h]);
        format!(
            "{}:{}",
            u32::from_be_bytes(module),
            u32::from_be_bytes(command)
        )
    };
    let mut names = std::iter::repeat_with(|| parts(Id::random()));
    let free = names.find(|name| find(snapshot, namespace, name).is_none());
    free.unwrap_or_default()
}

/// The pool of the service that an alias shall stand for.
fn target(draft: &mut Draft, request: &AliasRequest, settings: &Settings) -> Result<Id, Failed> {
    let namespace = request.namespace.as_deref().unwrap_or_default();
    let service = request.service.as_deref().unwrap_or_default();
    let found = find(&draft.snapshot, namespace, service).ok_or(codes::NOT_FOUND_SERVICE)?;
    if records::is_alias(found) {
        return Err(codes::ALIAS_FOR_ALIAS.into());
    }
    let namespace = draft.namespace(namespace, "", settings)?;
    draft.pool(&namespace, service, settings)
}

fn pool(alias: &Entity, target: Id, settings: &Settings) -> Result<Entity, Failed> {
    let service = alias.as_kind::<Service>().ok_or(codes::NOT_FOUND_ALIAS)?;
    let (namespace, name) = (&service.namespace, service.host.as_str());
    let mut pool = draft::pool(namespace, name, settings)?;
    pool.service = Some(alias.id);
    pool.heartbeats = true;
    pool.endpoints_of = Some(target);
    Ok(Entity::new(Id::random(), pool))
}

fn describe(record: &mut ServiceRecord, request: &AliasRequest) {
    if let Some(comment) = &request.comment {
        record.comment = comment.as_str().into();
    }
    if let Some(owners) = &request.owners {
        record.owners = owners.as_str().into();
    }
    record.export_to = services::boxed(&request.export_to);
}

/// An alias by its name.
fn find_alias(snapshot: &Snapshot, request: &AliasRequest) -> Result<Arc<Entity>, Failed> {
    let namespace = request.alias_namespace.as_deref().unwrap_or_default();
    let alias = request.alias.as_deref().unwrap_or_default();
    let found = find(snapshot, namespace, alias);
    let is_alias = |entity: &&Arc<Entity>| records::is_alias(entity);
    let found = found.filter(is_alias).map(Arc::clone);
    found.ok_or_else(|| codes::NOT_FOUND_ALIAS.into())
}

fn update_one(
    draft: &mut Draft,
    request: &mut AliasRequest,
    call: &Call,
    settings: &Settings,
) -> Result<(), Failed> {
    request.check_update()?;
    let mut entity = Entity::clone(&*find_alias(&draft.snapshot, request)?);
    let before: ServiceRecord = records::read(&entity);
    call.caller.may_write(&before.user_ids)?;
    let target = target(draft, request, settings)?;
    let moved = repoint(draft, &entity, target)?;
    let mut record = before.clone();
    describe(&mut record, request);
    if call.caller.is_somebody() {
        record.owners.clone_from(&before.owners);
    }
    if record == before && !moved {
        return Err(codes::NO_NEED_UPDATE.into());
    }
    records::write(&mut entity, &record);
    draft.replace(entity)
}

/// Lets an alias take its endpoints from `target`; whether it did not before.
fn repoint(draft: &mut Draft, alias: &Entity, target: Id) -> Result<bool, Failed> {
    let service = alias.as_kind::<Service>().ok_or(codes::NOT_FOUND_ALIAS)?;
    let name = pool_name(
        service.namespace.as_str(),
        alias.spec.name().unwrap_or_default(),
    );
    let entity = draft
        .snapshot
        .named(Kind::Pool, service.namespace.as_str(), &name);
    let entity = entity.ok_or(codes::NOT_FOUND_ALIAS)?;
    let other = entity
        .as_kind::<Pool>()
        .filter(|pool| pool.endpoints_of != Some(target));
    let Some(pool) = other.cloned() else {
        return Ok(false);
    };
    let spec = Pool {
        endpoints_of: Some(target),
        ..pool
    }
    .into();
    let entity = Entity {
        spec,
        ..Entity::clone(entity)
    };
    draft.replace(entity)?;
    Ok(true)
}

pub(super) async fn delete(polaris: &Polaris, call: Call) -> Reply {
    let requests = batch(&call.body, AliasRequest::read);
    let one = move |draft: &mut Draft, request: &AliasRequest| {
        let failed = delete_one(draft, request, &call).err();
        let failed = failed.unwrap_or_else(|| codes::SUCCESS.into());
        let response = Response {
            alias: Some(request.echo()),
            ..failed.response()
        };
        (failed.code, response)
    };
    polaris.batch(requests, one, codes::folded).await
}

fn delete_one(draft: &mut Draft, request: &AliasRequest, call: &Call) -> Result<(), Failed> {
    request.check_key()?;
    let entity = find_alias(&draft.snapshot, request)?;
    let record: ServiceRecord = records::read(&entity);
    call.caller.may_write(&record.user_ids)?;
    services::remove(draft, &entity)
}

const ALLOWED: &[&str] = &[
    "alias",
    "alias_namespace",
    "namespace",
    "service",
    "owner",
    "offset",
    "limit",
    "lang",
];

pub(super) fn list(polaris: &Polaris, call: &Call) -> Reply {
    match listed(polaris, call) {
        Ok(body) => Reply::query(&body),
        Err(failed) => Reply::no_query(&failed),
    }
}

fn listed(polaris: &Polaris, call: &Call) -> Result<BatchQueryResponse, Failed> {
    let query = call.parameters();
    query.check(ALLOWED, &[])?;
    let page = query.page()?;
    let wild = |name| query.find(name).map(Wildcard::read);
    let (alias, alias_namespace) = (wild("alias"), wild("alias_namespace"));
    let (service, namespace) = (wild("service"), wild("namespace"));
    let owner = query.find("owner").unwrap_or_default();
    let fits = |wanted: &Option<Wildcard>, text: Option<&str>| {
        wanted
            .as_ref()
            .is_none_or(|wanted| wanted.matches(text.unwrap_or_default()))
    };
    let snapshot = polaris.registry.snapshot();
    let view = polaris.look();
    let rows = view.aliases().filter(|row| {
        fits(&alias, Some(&row.name))
            && fits(&alias_namespace, Some(&row.namespace))
            && row.record.owners.contains(owner)
    });
    let messages = rows.map(|row| message(&snapshot, row, call));
    let (amount, aliases) = page.of(messages.filter(|message| {
        fits(&service, message.service.as_deref()) && fits(&namespace, message.namespace.as_deref())
    }));
    let mut body = BatchQueryResponse::success(amount);
    body.size = aliases.len();
    body.aliases = aliases;
    Ok(body)
}

fn message(snapshot: &Snapshot, row: &ServiceRow, call: &Call) -> AliasMessage {
    let target = target_of(snapshot, &row.entity);
    let target = target.and_then(|target| target.as_kind::<Service>());
    let record = &row.record;
    AliasMessage {
        id: Some(digits(row.entity.id)),
        service: target
            .and_then(|target| target.name.as_ref())
            .map(ToString::to_string),
        namespace: target.map(|target| target.namespace.to_string()),
        alias: Some(row.name.to_string()),
        alias_namespace: Some(row.namespace.to_string()),
        kind: record.alias.map(AliasKind::word),
        owners: Some(record.owners.to_string()),
        comment: Some(record.comment.to_string()),
        service_token: None,
        ctime: Some(moment::written(row.entity.created_at)),
        mtime: Some(moment::written(row.entity.updated_at)),
        editable: Some(call.caller.may_write(&record.user_ids).is_ok()),
        export_to: record.export_to.iter().map(|to| to.to_string()).collect(),
    }
}
