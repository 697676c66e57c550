//! Answers that change nothing: status, readiness, liveness, explanations, metrics, the document.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use axum::body::Bytes;
use http::header::CACHE_CONTROL;
use http::{HeaderName, HeaderValue, StatusCode};
use schemars::JsonSchema;
use serde::Serialize;

use crate::admin::problem::Details;
use crate::admin::status::Status;
use crate::model::Kind;

use super::{Call, Reply, docs, explain, openapi};

/// Whether traffic is accepted.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Readiness {
    ready: bool,
}

/// Who answers is alive.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Liveness {
    live: bool,
}

/// The text format of Prometheus, version 0.0.4.
pub(super) const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(super) async fn status(call: Call) -> Result<Reply, Details> {
    let native = &call.native;
    let snapshot = native.registry.snapshot();
    let count = |kind: &Kind| (kind.plural(), snapshot.count(*kind));
    let entities: BTreeMap<_, _> = Kind::ALL.iter().map(count).collect();
    let uptime = native.started.elapsed().as_secs();
    let status = Status::new((native.observe)(), snapshot.revision(), entities, uptime);
    Ok(Reply::json(StatusCode::OK, &status).at_revision(snapshot.revision()))
}

pub(super) async fn ready(call: Call) -> Result<Reply, Details> {
    let ready = (call.native.observe)().ready;
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    Ok(Reply::json(status, &Readiness { ready }))
}

pub(super) async fn live(_: Call) -> Result<Reply, Details> {
    Ok(Reply::json(StatusCode::OK, &Liveness { live: true }))
}

pub(super) async fn explain(call: Call) -> Result<Reply, Details> {
    let question = explain::question(call.body, &call.native.registry.snapshot())?;
    let answer = (call.native.explain)(&question);
    Ok(Reply::json(StatusCode::OK, &answer).at_revision(answer.revision))
}

pub(super) async fn metrics(call: Call) -> Result<Reply, Details> {
    Ok(Reply::new(
        StatusCode::OK,
        METRICS_TYPE,
        (call.native.metrics)(),
    ))
}

/// Built when first asked for: the binary decides it, not the gateway's state.
static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| openapi::document().to_string().into());

pub(super) async fn document(_: Call) -> Result<Reply, Details> {
    Ok(Reply::new(
        StatusCode::OK,
        "application/json",
        DOCUMENT.clone(),
    ))
}

pub(super) async fn docs_page(_: Call) -> Result<Reply, Details> {
    let policy = HeaderName::from_static("content-security-policy");
    Ok(
        Reply::new(StatusCode::OK, "text/html; charset=utf-8", docs::PAGE)
            .with_header(policy, HeaderValue::from_static(docs::POLICY))
            .with_header(CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    )
}
