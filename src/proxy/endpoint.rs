//! Dealing with endpoints: choosing one, what it is told, what becomes of its answer, and what
//! follows from its failure. Whoever carries the bytes asks here.

use std::time::Instant;

use http::header::{CONTENT_LENGTH, SET_COOKIE, TRANSFER_ENCODING};
use http::{Response, StatusCode};

use super::edits::{Edits, Fields};
use super::exchange::Exchange;
use super::failure::{Failure, Kind, Retry, Sent};
use super::headers::{Switch, is_answer, response_hop_by_hop};
use super::request_id::{RequestId, X_REQUEST_ID};
use super::target::Head;
use super::{Gateway, forward, kong};
use crate::reply::{Asker, Reply, Shape};

/// What an endpoint's response head is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// 1xx: another head follows.
    Interim,
    /// 101: what follows is no longer HTTP.
    Switch,
    Final,
}

impl Gateway {
    /// Picks the endpoint of the next attempt.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn choose(&self, x: &mut Exchange) -> Result<(), Kind> {
        let matched = x.matched.as_ref().ok_or(Kind::NoEndpoint)?;
        let key = matched.place.key(x.consumer);
        let chosen = x.attempt.choose(&matched.service, key);
        chosen.map(drop)?;
        self.shared.totals.attempted(u32::from(x.attempt.count));
        Ok(())
    }

    /// What becomes of the client's header fields on the way to the endpoint chosen.
    pub(super) fn forwarded(&self, client: Head<'_>, x: &Exchange) -> Edits {
        let hop = self.hop(x);
        let matched = x.matched.as_ref();
        matched.map_or_else(Edits::default, |matched| {
            let shared = &self.shared;
            let mut edits = forward::edits(x, matched, &shared.instance, &hop, client);
            if shared.kong_traffic {
                hop.forwarded_path(client.headers, client.uri.path(), &mut edits);
                kong::request(x, &mut edits);
            }
            edits
        })
    }

    /// Judges a response head of the endpoint: what it is, and what becomes of its fields on the way
    /// to the client.
    ///
    /// # Errors
    /// It answers nothing that was asked, or costs more than it may.
    pub(super) fn receive(
        &self,
        status: StatusCode,
        fields: &impl Fields,
        x: &mut Exchange,
    ) -> Result<(Answer, Edits), Kind> {
        let matched = x.matched.as_ref();
        let switch = matched.map_or(Switch::None, |matched| matched.switch);
        let limits = &self.shared.upstream;
        if !is_answer(status, fields, switch) || !limits.allows(fields) {
            return Err(Kind::InvalidResponse);
        }
        let answer = kind_of(status);
        if answer == Answer::Interim {
            x.attempt.count_informational(limits)?;
        } else {
            x.answered(status, Instant::now());
        }
        let mut edits = returned(answer, status, fields, switch, x);
        if self.shared.kong_traffic && answer != Answer::Interim {
            kong::response(fields, x, &mut edits);
        }
        if answer != Answer::Interim {
            kong::tell(x, |name, value| edits.set(name, value));
        }
        Ok((answer, edits))
    }

    /// Judges a failed attempt, tells its endpoint, and says whether there is another.
    pub(super) fn ends_attempt(&self, failure: Failure, sent: Sent, x: &mut Exchange) -> bool {
        self.shared.totals.failed(failure.kind);
        x.attempt.end(&failure, sent, Instant::now());
        x.outcome.failure = Some(failure);
        failure.retry == Retry::Safe && x.has_attempts_left()
    }

    /// The failure that ends the request: that of its last attempt, or one before any.
    pub(super) fn ends_request(&self, judged: Failure, x: &mut Exchange) -> Failure {
        *x.outcome.failure.get_or_insert_with(|| {
            self.shared.totals.failed(judged.kind);
            judged
        })
    }

    /// A reply of the gateway's own, counted.
    pub(super) fn render(
        &self,
        head: Head<'_>,
        x: &mut Exchange,
        reply: &Reply,
    ) -> Response<bytes::Bytes> {
        x.outcome.reply = Some(reply.kind());
        self.shared.totals.replied(reply.kind());
        let kong = self.shared.kong_traffic && x.shape() == Shape::Native;
        let mut response = reply.render(&Asker {
            method: head.method,
            version: head.version,
            headers: head.headers,
            shape: if kong { Shape::Kong } else { x.shape() },
            request_id: x.request_id.as_ref().map(RequestId::as_str),
        });
        if kong {
            kong::reply(x, Instant::now(), response.headers_mut());
        }
        kong::tell(x, |name, value| {
            response.headers_mut().insert(name, value);
        });
        response
    }
}

pub(super) fn kind_of(status: StatusCode) -> Answer {
    match status {
        StatusCode::SWITCHING_PROTOCOLS => Answer::Switch,
        status if status.is_informational() => Answer::Interim,
        _ => Answer::Final,
    }
}

/// What of the endpoint's fields was for our connection only, and what we add.
fn returned(
    answer: Answer,
    status: StatusCode,
    fields: &impl Fields,
    switch: Switch,
    x: &Exchange,
) -> Edits {
    let mut edits = Edits::with_capacity(6);
    for name in response_hop_by_hop(fields, switch) {
        edits.remove(name);
    }
    if answer == Answer::Interim || status == StatusCode::NO_CONTENT {
        // They have no body to frame (RFC 9110 §8.6, RFC 9112 §6.1).
        edits.remove(CONTENT_LENGTH);
        edits.remove(TRANSFER_ENCODING);
    }
    if answer != Answer::Interim {
        if let Some(id) = &x.request_id {
            edits.set_first(X_REQUEST_ID, id.as_header().clone());
        }
        if let Some(cookie) = x.hash_cookie() {
            edits.append(SET_COOKIE, cookie.clone());
        }
    }
    edits
}
