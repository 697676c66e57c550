//! Namespaces.

use std::sync::Arc;

use super::accounts::Caller;
use super::answer::{Failed, Reply};
use super::call::Call;
use super::codes::{self, Code};
use super::draft::{self, Draft, fresh_digits};
use super::fields::single;
use super::records::{self, NamespaceRecord};
use super::requests::{Grants, NamespaceRequest};
use super::search::Wildcard;
use super::services::{batch, boxed, grant};
use super::wire::{BatchQueryResponse, NamespaceMessage, Response, Summary};
use super::{Polaris, moment};
use crate::model::{Entity, Kind, Name, Namespace, NamespaceRef, Snapshot};

type Outcome = Result<NamespaceMessage, Failed>;
type Step = fn(&mut Draft, &NamespaceRequest, &Caller) -> Outcome;

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
    let requests = batch(&call.body, NamespaceRequest::read);
    let one = move |draft: &mut Draft, request: &NamespaceRequest| {
        item(request, step(draft, request, &call.caller))
    };
    polaris.batch(requests, one, codes::highest).await
}

fn item(request: &NamespaceRequest, outcome: Outcome) -> (Code, Response) {
    let (failed, namespace) = match outcome {
        Ok(namespace) => (codes::SUCCESS.into(), namespace),
        Err(failed) => (failed, request.echo()),
    };
    let namespace = Some(namespace);
    (
        failed.code,
        Response {
            namespace,
            ..failed.response()
        },
    )
}

fn find<'s>(snapshot: &'s Snapshot, name: &str) -> Option<&'s Arc<Entity>> {
    snapshot.named(Kind::Namespace, "", name)
}

fn create_one(draft: &mut Draft, request: &NamespaceRequest, caller: &Caller) -> Outcome {
    let text = request.check()?;
    if find(&draft.snapshot, text).is_some() {
        return Err(codes::EXISTED_RESOURCE.into());
    }
    let name: Name = text.parse().map_err(|_| codes::NAMESPACE_NAME)?;
    let owner = caller.owner_or(request.owners.as_deref().unwrap_or_default());
    let comment = request.comment.as_deref().unwrap_or_default();
    let mut entity = draft::namespace(name, comment, &owner);
    let mut record: NamespaceRecord = records::read(&entity);
    record.service_export_to = boxed(&request.service_export_to);
    grant(
        &mut record.user_ids,
        &with_maker(&request.grants, caller),
        caller,
    );
    records::write(&mut entity, &record);
    draft.create(entity)?;
    caller.may_grant(&request.grants)?;
    Ok(NamespaceMessage {
        name: Some(text.to_owned()),
        token: Some(record.token.into()),
        ..NamespaceMessage::default()
    })
}

/// The grants of something new: who makes it may write it.
pub(super) fn with_maker(grants: &Grants, caller: &Caller) -> Grants {
    let mut grants = grants.clone();
    grants.user_ids.extend(caller.id().map(str::to_owned));
    grants
}

fn update_one(draft: &mut Draft, request: &NamespaceRequest, caller: &Caller) -> Outcome {
    let name = request.check()?;
    let found = find(&draft.snapshot, name).ok_or(codes::NOT_FOUND_RESOURCE)?;
    let mut entity = Entity::clone(found);
    let mut record: NamespaceRecord = records::read(&entity);
    caller.may_write(&record.user_ids)?;
    if let Some(comment) = &request.comment {
        let namespace = entity.as_kind::<Namespace>().cloned();
        let namespace = namespace.ok_or(codes::NOT_FOUND_RESOURCE)?;
        let comment = comment.as_str().into();
        entity.spec = Namespace {
            comment,
            ..namespace
        }
        .into();
    }
    if let Some(owners) = request.owners.as_deref().filter(|_| !caller.is_somebody()) {
        record.owners = owners.into();
    }
    record.service_export_to = boxed(&request.service_export_to);
    grant(&mut record.user_ids, &request.grants, caller);
    records::write(&mut entity, &record);
    draft.replace(entity)?;
    caller.may_grant(&request.grants)?;
    Ok(request.echo())
}

fn delete_one(draft: &mut Draft, request: &NamespaceRequest, caller: &Caller) -> Outcome {
    super::requests::namespace_name(request.name.as_deref())?;
    let name = request.name.as_deref().unwrap_or_default();
    let Some(entity) = find(&draft.snapshot, name).map(Arc::clone) else {
        return Ok(request.echo());
    };
    let record: NamespaceRecord = records::read(&entity);
    caller.may_write(&record.user_ids)?;
    if name == NamespaceRef::DEFAULT {
        let why = "the namespace default always exists";
        return Err(Failed::saying(codes::BAD_REQUEST, why));
    }
    draft
        .delete([entity.at()])
        .map_err(|failed| match failed.code {
            codes::SERVICE_EXISTED_ROUTINGS => codes::NAMESPACE_EXISTED_SERVICES.into(),
            _ => failed,
        })?;
    Ok(request.echo())
}

/// Names and owners may be asked for several times; of other parameters no notice is taken.
pub(super) fn list(polaris: &Polaris, call: &Call) -> Reply {
    match listed(polaris, call) {
        Ok(body) => Reply::query(&body),
        Err(failed) => Reply::no_query(&failed),
    }
}

/// All values of a parameter.
fn all<'q>(query: &'q [(String, String)], name: &'q str) -> impl Iterator<Item = &'q str> {
    let named = query.iter().filter(move |(known, _)| known == name);
    named.map(|(_, value)| value.as_str())
}

fn listed(polaris: &Polaris, call: &Call) -> Result<BatchQueryResponse, Failed> {
    let query: Vec<_> = form_urlencoded::parse(call.query.as_bytes())
        .into_owned()
        .collect();
    if ["offset", "limit"]
        .iter()
        .any(|name| all(&query, name).nth(1).is_some())
    {
        return Err(codes::PARAMETER.into());
    }
    let page = call.parameters().page()?;
    let wild = |name| all(&query, name).map(Wildcard::read).collect::<Vec<_>>();
    let (names, owners) = (wild("name"), wild("owner"));
    let fits = |wanted: &[Wildcard], text: &str| {
        wanted.is_empty() || wanted.iter().any(|wanted| wanted.matches(text))
    };
    let snapshot = polaris.registry.snapshot();
    let mut found: Vec<_> = snapshot
        .list(Kind::Namespace, None)
        .map(|entity| (entity, records::read::<NamespaceRecord>(entity)))
        .filter(|(entity, record)| {
            fits(&names, entity.spec.name().unwrap_or_default()) && fits(&owners, &record.owners)
        })
        .collect();
    found.sort_by_key(|(entity, _)| (std::cmp::Reverse(entity.updated_at), entity.id));
    let (amount, rows) = page.of(found.into_iter());
    let rows = rows
        .into_iter()
        .map(|(entity, record)| message(polaris, entity, record, call));
    let mut body = BatchQueryResponse::success(amount);
    body.namespaces = rows.collect();
    body.size = body.namespaces.len();
    body.summary = Some(summary(&body.namespaces));
    Ok(body)
}

fn message(
    polaris: &Polaris,
    entity: &Entity,
    record: NamespaceRecord,
    call: &Call,
) -> NamespaceMessage {
    let name = entity.spec.name().unwrap_or_default();
    let census = polaris.look().census(name);
    let comment = entity
        .as_kind::<Namespace>()
        .map(|one| one.comment.to_string());
    NamespaceMessage {
        id: Some(name.to_owned()),
        name: Some(name.to_owned()),
        comment,
        ctime: Some(moment::written(entity.created_at)),
        mtime: Some(moment::written(entity.updated_at)),
        total_service_count: Some(census.services),
        total_health_instance_count: Some(census.healthy),
        total_instance_count: Some(census.instances),
        editable: Some(call.caller.may_write(&record.user_ids).is_ok()),
        service_export_to: record
            .service_export_to
            .iter()
            .map(|to| to.to_string())
            .collect(),
        owners: Some(record.owners.into()),
        ..NamespaceMessage::default()
    }
}

fn summary(rows: &[NamespaceMessage]) -> Summary {
    let sum = |count: fn(&NamespaceMessage) -> Option<u64>| rows.iter().filter_map(count).sum();
    Summary {
        total_service_count: sum(|row| row.total_service_count),
        total_health_instance_count: sum(|row| row.total_health_instance_count),
        total_instance_count: sum(|row| row.total_instance_count),
    }
}

/// Shows a namespace's token.
pub(super) fn token(polaris: &Polaris, call: &Call) -> Reply {
    let query = call.parameters();
    let name = query.find("name").unwrap_or_default();
    let snapshot = polaris.registry.snapshot();
    match find(&snapshot, name) {
        Some(entity) => with_token(name, records::read(entity)),
        None => Reply::failed(&codes::NOT_FOUND_RESOURCE.into()),
    }
}

fn with_token(name: &str, record: NamespaceRecord) -> Reply {
    let namespace = NamespaceMessage {
        name: Some(name.to_owned()),
        token: Some(record.token.into()),
        ..NamespaceMessage::default()
    };
    let namespace = Some(namespace);
    let response = Response {
        namespace,
        ..Response::of(codes::SUCCESS)
    };
    Reply::one(codes::SUCCESS, &response)
}

pub(super) async fn renew_token(polaris: &Polaris, call: Call) -> Reply {
    let request = match single(&call.body).and_then(|m| NamespaceRequest::read(&m)) {
        Ok(request) => request,
        Err(malformed) => return Reply::failed(&malformed.into()),
    };
    let plan = move |draft: &mut Draft| {
        let name = request.check()?;
        let found = find(&draft.snapshot, name).ok_or(codes::NOT_FOUND_RESOURCE)?;
        let mut entity = Entity::clone(found);
        let mut record: NamespaceRecord = records::read(&entity);
        call.caller.may_write(&record.user_ids)?;
        record.token = fresh_digits().into();
        records::write(&mut entity, &record);
        draft.replace(entity)?;
        Ok::<_, Failed>((name.to_owned(), record))
    };
    match polaris.edit(plan).await.and_then(|told| told) {
        Ok((name, record)) => with_token(&name, record),
        Err(failed) => Reply::failed(&failed),
    }
}
