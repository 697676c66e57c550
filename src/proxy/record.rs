//! What remains of a request: its numbers and its line.

use std::time::Instant;

use http::HeaderValue;

use super::Shared;
use super::access_log::Entry;
use super::exchange::Exchange;
use super::request_id::RequestId;
use super::target::Head;
use crate::metrics::Outcome;
use crate::model::Timestamp;
use crate::table::{Candidate, Miss, Question, Table, Trial};

/// What of a request the exchange does not hold.
#[derive(Debug)]
pub(super) struct Seen<'a> {
    pub(super) head: Head<'a>,
    /// The request target as it was written.
    pub(super) target: &'a [u8],
    /// Bytes of the response's body that were sent.
    pub(super) bytes_out: u64,
}

/// Counts the request and writes its line.
pub(super) fn request(shared: &Shared, seen: &Seen<'_>, x: &Exchange, now: Instant) {
    let bytes_out = seen.bytes_out;
    let duration = now.duration_since(x.started);
    if let Some(matched) = &x.matched {
        let bytes_in = x.outcome.received;
        let status = x.outcome.status;
        matched.in_flight.observe(&Outcome {
            status,
            duration,
            bytes_in,
            bytes_out,
        });
    }
    let Some(log) = &shared.log else { return };
    let head = seen.head;
    let route = x
        .matched
        .as_ref()
        .map(|matched| matched.route.entity().label());
    let service = x.service().map(|service| service.entity().label());
    let endpoint = x.attempt.pick.as_ref().map(|pick| pick.addr().to_string());
    let host = head
        .uri
        .authority()
        .map(|authority| authority.as_str().as_bytes());
    let host = host.or_else(|| Some(head.headers.get(http::header::HOST)?.as_bytes()));
    log.write(&Entry {
        time: Timestamp::now(),
        client: x.client,
        method: head.method.as_str(),
        host: host.unwrap_or_default(),
        path: seen.target,
        protocol: protocol(head.version),
        tls: x
            .connection
            .as_ref()
            .and_then(|connection| Some(connection.tls.as_ref()?.version)),
        listener: x
            .connection
            .as_ref()
            .map_or("", |connection| &connection.entrance.name),
        status: x.outcome.status,
        bytes_in: x.outcome.received,
        bytes_out,
        duration,
        upstream_duration: x.upstream_time(),
        route: route.as_deref(),
        service: service.as_deref(),
        endpoint: endpoint.as_deref(),
        attempts: u32::from(x.attempt.count),
        cause: cause(x),
        request_id: x.request_id.as_ref().map_or("", RequestId::as_str),
    });
}

const fn protocol(version: http::Version) -> &'static str {
    match version {
        http::Version::HTTP_2 => "HTTP/2",
        http::Version::HTTP_10 => "HTTP/1.0",
        _ => "HTTP/1.1",
    }
}

/// Why it failed, or why the gateway answered itself.
fn cause(x: &Exchange) -> Option<&'static str> {
    let failed = x
        .outcome
        .failure
        .as_ref()
        .map(super::failure::Failure::cause);
    failed.or_else(|| x.outcome.reply.map(crate::reply::Kind::label))
}

/// The methods of routes that fail a request for its method only, for `Allow`.
pub(super) fn allowed_methods(table: &Table, question: &Question<'_>) -> Option<HeaderValue> {
    let mut allowed = Allowed(Vec::new());
    table.find(question, &mut allowed);
    allowed.0.sort();
    allowed.0.dedup();
    let listed = (!allowed.0.is_empty()).then(|| allowed.0.join(", "))?;
    HeaderValue::try_from(listed).ok()
}

struct Allowed(Vec<String>);

impl Trial for Allowed {
    const EXHAUSTIVE: bool = true;

    fn tried(&mut self, candidate: Candidate<'_>, verdict: Result<Option<usize>, Miss>) {
        if verdict == Err(Miss::Method) {
            self.0
                .extend(candidate.route().spec().methods.iter().map(str::to_owned));
        }
    }
}
