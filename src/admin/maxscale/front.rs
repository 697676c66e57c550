//! From a request to its answer: who asks, what is meant, whether it still should happen, and the rest.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body as Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::response::Response;
use http::header::{ALLOW, CONTENT_LENGTH, ETAG, LAST_MODIFIED};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use http_body_util::BodyExt;
use percent_encoding::percent_decode_str;
use serde_json::Value;

pub use super::answer::refusal;
use super::answer::{Answer, Failed, Layout};
use super::call::{Call, Query};
use super::links::Links;
use super::path::{self, Action, Body, Operation, Outcome, Path, Verb};
use super::stamps::Stamp;
use super::view::View;
use super::{MaxScale, accounts, moment, names, precondition, select};
use crate::admin::json;
use crate::model::Timestamp;

static OVERRIDE: HeaderName = HeaderName::from_static("x-http-method-override");
static ACCEPT_PATCH: HeaderName = HeaderName::from_static("accept-patch");

/// The most segments of a path; no resource has more.
const SEGMENTS_MAX: usize = 8;

/// The dialect's own paths. The door is put before them by whoever mounts it.
pub fn router(maxscale: MaxScale) -> Router {
    Router::new().fallback(attend).with_state(maxscale)
}

/// What is meant by a request's method and its override.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meant {
    Verb(Verb),
    /// As [`Verb::Get`], without the body.
    Head,
    Options,
    Unknown,
}

impl Meant {
    /// `X-HTTP-Method-Override` goes before the method, whatever that is; several mean nothing.
    fn of(method: &Method, headers: &HeaderMap) -> Self {
        let mut overrides = headers.get_all(&OVERRIDE).iter();
        let named = match (overrides.next(), overrides.next()) {
            (None, _) => method.as_str().as_bytes(),
            (Some(only), None) => only.as_bytes(),
            (Some(_), Some(_)) => b"",
        };
        match named {
            b"GET" => Self::Verb(Verb::Get),
            b"POST" => Self::Verb(Verb::Post),
            b"PUT" => Self::Verb(Verb::Put),
            b"PATCH" => Self::Verb(Verb::Patch),
            b"DELETE" => Self::Verb(Verb::Delete),
            b"HEAD" => Self::Head,
            b"OPTIONS" => Self::Options,
            _ => Self::Unknown,
        }
    }

    /// What it is authorised as. What is unknown will not be done.
    const fn verb(self) -> Verb {
        match self {
            Self::Verb(verb) => verb,
            Self::Head | Self::Options | Self::Unknown => Verb::Get,
        }
    }
}

async fn attend(State(maxscale): State<MaxScale>, request: Request) -> Response {
    let meant = Meant::of(request.method(), request.headers());
    let was_head = request.method() == Method::HEAD;
    let query = Query::parse(request.uri().query().unwrap_or_default());
    let layout = query.as_ref().map_or(Layout::Pretty, Query::layout);
    let answered = match query {
        Ok(query) => maxscale.attend(meant, query, request).await,
        Err(failed) => Err(failed),
    };
    let response = answered.unwrap_or_else(|failed| layout.failed(&failed));
    match was_head || meant == Meant::Head {
        true => without_body(response, was_head),
        false => response,
    }
}

/// The head of an answer. Its length is told only to who asked with `HEAD` and knows that no body comes.
fn without_body(response: Response, was_head: bool) -> Response {
    let (mut head, body) = response.into_parts();
    if let Some(length) = body.size_hint().exact().filter(|_| was_head) {
        head.headers.insert(CONTENT_LENGTH, length.into());
    }
    Response::from_parts(head, Bytes::empty())
}

impl MaxScale {
    async fn attend(
        &self,
        meant: Meant,
        query: Query,
        request: Request,
    ) -> Result<Response, Failed> {
        let (head, body) = request.into_parts();
        let segments = segments(head.uri.path());
        if matches!(meant, Meant::Verb(Verb::Get) | Meant::Head) && is_root(segments.as_deref()) {
            return Ok(empty(StatusCode::OK));
        }
        if let Err(denied) = accounts::admit(self, &head, meant.verb()).await {
            drain(body).await;
            return Err(denied);
        }
        let body = json::collect(&head.headers, body).await?;
        let place = segments.and_then(|all| below_version(&all));
        let found =
            place.and_then(|all| path::find(&all).map(|(path, filled)| (path, filled, all)));
        let verb = match meant {
            Meant::Verb(verb) => verb,
            Meant::Head => Verb::Get,
            Meant::Options => return Ok(options(found.map(|(path, ..)| path))),
            Meant::Unknown => return Ok(no_such_method(found.map(|(path, ..)| path))),
        };
        let (path, filled, segments) = found.ok_or_else(|| nothing_at(head.uri.path()))?;
        let action = path.action(verb);
        let action = action.ok_or_else(|| no_such_verb(verb, head.uri.path()))?;
        let call = Call {
            verb,
            segments,
            filled,
            query,
            body: None,
            links: Links::of(&head.headers, self.at),
        };
        self.judge(action, call, &head.headers, &body).await
    }

    /// Does what is asked, unless a precondition is in the way.
    async fn judge(
        &self,
        action: &Action,
        mut call: Call,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<Response, Failed> {
        let alone = call.verb.is_write() && precondition::is_conditional(headers);
        let _alone = match alone {
            true => Some(self.turn.write().await),
            false => None,
        };
        let _beside = match call.verb.is_write() && !alone {
            true => Some(self.turn.read().await),
            false => None,
        };
        let stamp = self.stamps.of(&call.segments);
        if let Some(status) = precondition::verdict(headers, stamp) {
            return unmet(status, stamp);
        }
        call.body = read(body, &call)?;
        if action.body == Body::Required && call.body.is_none() {
            names::check_path(&self.registry.snapshot(), &call)?;
            return Err(Failed::refused("Missing request body"));
        }
        self.answer(action.operation, call, stamp).await
    }

    async fn answer(
        &self,
        operation: Operation,
        call: Call,
        stamp: Stamp,
    ) -> Result<Response, Failed> {
        let call = Arc::new(call);
        let answer = self.run(operation, &call).await?;
        if call.verb.is_write() {
            self.stamps.count(&call.segments, Timestamp::now());
        }
        let document = match answer {
            Answer::Done => return Ok(empty(StatusCode::NO_CONTENT)),
            Answer::Ended => return Ok(empty(StatusCode::OK)),
            Answer::Document(document) => document,
        };
        let value = match call.verb.is_write() {
            true => document.into_value(),
            false => select::apply(document, &call)?.into_value(),
        };
        let mut response = call.query.layout().answer(StatusCode::OK, &value);
        if !call.verb.is_write() {
            show(stamp, response.headers_mut());
        }
        Ok(response)
    }

    async fn run(&self, operation: Operation, call: &Arc<Call>) -> Outcome {
        match operation {
            Operation::Show(show) => show(&self.view(&call.links), call),
            Operation::Plan(plan) => {
                let planned = Arc::clone(call);
                self.edit(move |draft| plan(draft, &planned)).await?;
                Ok(Answer::Done)
            }
            Operation::Run(run) => run(self, call).await,
        }
    }

    /// What is there now, as a request with these links sees it.
    pub(super) fn view<'a>(&'a self, links: &'a Links) -> View<'a> {
        View {
            maxscale: self,
            snapshot: self.registry.snapshot(),
            live: &self.live,
            links,
        }
    }
}

/// A path's segments, decoded. Slashes at the end do not count; an escaped one does not divide.
fn segments(path: &str) -> Option<Vec<String>> {
    let path = path.strip_prefix('/')?.trim_end_matches('/');
    if path.is_empty() {
        return Some(Vec::new());
    }
    let decoded = |segment: &str| {
        let text = percent_decode_str(segment).decode_utf8();
        text.ok().map(String::from)
    };
    let segments = path.split('/').take(SEGMENTS_MAX + 1);
    let segments: Option<Vec<_>> = segments.map(decoded).collect();
    segments.filter(|all| all.len() <= SEGMENTS_MAX)
}

fn is_root(segments: Option<&[String]>) -> bool {
    match segments {
        Some([]) => true,
        Some([only]) => only == "v1",
        Some(_) | None => false,
    }
}

fn below_version(segments: &[String]) -> Option<Vec<String>> {
    let (version, rest) = segments.split_first()?;
    (version == "v1" && !rest.is_empty()).then(|| rest.to_vec())
}

/// Takes what the client still sends, so that it comes to read the answer.
async fn drain(body: Bytes) {
    let mut left = json::BODY_BYTES_MAX;
    let mut body = body;
    let all = async {
        while let Some(Ok(frame)) = body.frame().await {
            left = left.saturating_sub(frame.data_ref().map_or(0, bytes::Bytes::len));
            if left == 0 {
                return;
            }
        }
    };
    let _ = tokio::time::timeout(json::BODY_TIME, all).await;
}

/// The JSON of a body; none where there is nothing but white space.
fn read(body: &[u8], call: &Call) -> Result<Option<Value>, Failed> {
    if body.trim_ascii().is_empty() {
        return Ok(None);
    }
    let wrong = |why: &str| {
        let detail = format!("Invalid JSON in request: {why}");
        match call
            .segments
            .iter()
            .any(|segment| segment == "relationships")
        {
            true => Failed::refused(detail),
            false => Failed::malformed(detail),
        }
    };
    match json::parse(body) {
        Ok(value) if value.is_object() || value.is_array() => Ok(Some(value)),
        Ok(_) => Err(wrong("it is neither an object nor an array")),
        Err(details) => Err(wrong(&details.detail)),
    }
}

fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Bytes::empty());
    *response.status_mut() = status;
    response
}

fn show(stamp: Stamp, headers: &mut HeaderMap) {
    let texts = [
        (ETAG, format!("\"{}\"", stamp.count)),
        (LAST_MODIFIED, moment::http_date(stamp.modified)),
    ];
    for (name, text) in texts {
        if let Ok(value) = HeaderValue::from_str(&text) {
            headers.insert(name, value);
        }
    }
}

fn unmet(status: StatusCode, stamp: Stamp) -> Result<Response, Failed> {
    if status == StatusCode::PRECONDITION_FAILED {
        return Err(Failed::new(
            status,
            "A precondition of the request is not met",
        ));
    }
    let mut response = empty(status);
    show(stamp, response.headers_mut());
    Ok(response)
}

fn nothing_at(path: &str) -> Failed {
    Failed::not_found(format!("No resource has the path {path:?}"))
}

fn no_such_verb(verb: Verb, path: &str) -> Failed {
    let verb = verb.name();
    Failed::not_found(format!("{verb} does nothing at {path:?}"))
}

/// What a path can do: in `Accept`, where MaxScale's clients look, and in `Allow`.
fn options(path: Option<Path>) -> Response {
    let Some(path) = path else {
        return no_such_method(None);
    };
    let mut response = empty(StatusCode::OK);
    let verbs: Vec<_> = path
        .actions
        .iter()
        .map(|action| action.verb.name())
        .collect();
    let headers = response.headers_mut();
    if let Ok(accept) = HeaderValue::from_str(&verbs.join(", ")) {
        headers.insert(http::header::ACCEPT, accept);
    }
    headers.insert(ALLOW, allow(&verbs));
    if path.action(Verb::Patch).is_some() {
        headers.insert(
            ACCEPT_PATCH.clone(),
            HeaderValue::from_static("application/json"),
        );
    }
    response
}

fn allow(verbs: &[&str]) -> HeaderValue {
    let more: &[&str] = match verbs.contains(&"GET") {
        true => &["HEAD", "OPTIONS"],
        false => &["OPTIONS"],
    };
    let text = [verbs, more].concat().join(", ");
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("OPTIONS"))
}

/// A method that nothing here has, or a question about a path that is none.
fn no_such_method(path: Option<Path>) -> Response {
    let verbs: Vec<_> = match path {
        Some(path) => path
            .actions
            .iter()
            .map(|action| action.verb.name())
            .collect(),
        None => vec!["GET", "POST", "PUT", "PATCH", "DELETE"],
    };
    let failed = Failed::new(StatusCode::METHOD_NOT_ALLOWED, "No such method");
    let mut response = Layout::Pretty.failed(&failed);
    response.headers_mut().insert(ALLOW, allow(&verbs));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_decoded_and_slashes_at_the_end_do_not_count() {
        let of = |path: &str| segments(path).map(|all| all.join("|"));
        assert_eq!(of("/v1/services//").as_deref(), Some("v1|services"));
        assert_eq!(of("/v1/a%20b%2fc").as_deref(), Some("v1|a b/c"));
        assert_eq!(of("/").as_deref(), Some(""));
        assert_eq!(of("/v1//x").as_deref(), Some("v1||x"));
        assert_eq!(of("/v1/%ff"), None);
        assert_eq!(of(&"/a".repeat(SEGMENTS_MAX + 1)), None);
        assert_eq!(of("*"), None);
    }

    #[test]
    fn the_override_is_what_is_meant_and_authorised() {
        let meant = |method: Method, overrides: &[&str]| {
            let pairs = overrides
                .iter()
                .map(|one| (OVERRIDE.clone(), one.parse().unwrap()));
            Meant::of(&method, &pairs.collect())
        };
        assert_eq!(meant(Method::GET, &["DELETE"]).verb(), Verb::Delete);
        assert_eq!(meant(Method::POST, &["GET"]).verb(), Verb::Get);
        assert_eq!(meant(Method::HEAD, &[]), Meant::Head);
        for odd in [&["delete"][..], &["BREW"], &[""], &["GET", "DELETE"]] {
            assert_eq!(meant(Method::GET, odd), Meant::Unknown, "{odd:?}");
        }
    }
}
