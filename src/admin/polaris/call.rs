//! A request, read: who asks, what they ask, and what they send.

use axum::body::{Bytes, to_bytes};
use axum::extract::Request;
use http::HeaderMap;

use super::Polaris;
use super::accounts::Caller;
use super::answer::{Failed, Reply};
use super::codes;
use super::search::Parameters;
use crate::admin::json::BODY_BYTES_MAX;

/// Whose calls these are, and so who is asked for a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Area {
    /// Programs that register and discover: nobody.
    Client,
    /// Whoever looks after services: everybody, where there are accounts.
    Console,
    /// Whoever looks after accounts: everybody, in words of its own.
    Users,
    /// Logins and the like: nobody.
    Open,
}

/// One request.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) caller: Caller,
    pub(super) query: String,
    pub(super) body: Bytes,
    /// The address that a client says it has, or none.
    pub(super) forwarded: Option<String>,
}

impl Call {
    /// Reads the request, or answers why not.
    pub(super) async fn read(
        polaris: &Polaris,
        request: Request,
        area: Area,
    ) -> Result<Self, Reply> {
        let (head, body) = request.into_parts();
        let caller = caller(polaris, &head.headers, area).map_err(|why| Reply::failed(&why))?;
        let body = to_bytes(body, BODY_BYTES_MAX).await.map_err(|error| {
            let why = format!("the body did not arrive, or has more than {BODY_BYTES_MAX} bytes");
            tracing::debug!(%error, "polaris body");
            Reply::no_batch(&Failed::saying(codes::PARSE, why))
        })?;
        let forwarded = head
            .headers
            .get("x-forwarded-for")
            .and_then(|v| v.to_str().ok());
        let forwarded = forwarded.map(|all| all.split(',').next().unwrap_or_default());
        Ok(Self {
            caller,
            query: head.uri.query().unwrap_or_default().to_owned(),
            body,
            forwarded: forwarded.map(|one| one.trim().to_owned()),
        })
    }

    pub(super) fn parameters(&self) -> Parameters {
        Parameters::read(&self.query)
    }
}

fn caller(polaris: &Polaris, headers: &HeaderMap, area: Area) -> Result<Caller, Failed> {
    let asked = matches!(area, Area::Console | Area::Users);
    let Some(accounts) = polaris.settings.accounts.as_ref().filter(|_| asked) else {
        return Ok(Caller::nobody());
    };
    let token = headers.get("x-polaris-token").map(|token| token.as_bytes());
    let token = token.filter(|token| !token.is_empty());
    match (token.and_then(|token| accounts.bearer(token)), area) {
        (Some(caller), _) => Ok(caller),
        (None, Area::Users) if token.is_none() => Err(codes::EMPTY_TOKEN.into()),
        (None, Area::Users) => Err(codes::TOKEN_FORBIDDEN.into()),
        (None, Area::Console | Area::Client | Area::Open) => Err(match token {
            Some(token) if is_ours(token) => codes::TOKEN_NOT_EXISTED.into(),
            Some(_) | None => codes::NOT_ALLOWED.into(),
        }),
    }
}

/// Whether a token looks like one that was made here, and counts no more.
fn is_ours(token: &[u8]) -> bool {
    token.len() == 64 && token.iter().all(u8::is_ascii_hexdigit)
}
