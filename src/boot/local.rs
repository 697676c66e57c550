//! Joins the *gateway* dialect to the port that it shares with traffic, and to the services whose
//! documents it reads.

use std::fmt;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use tokio::runtime::Handle;
use tower::ServiceExt as _;

use crate::admin::gateway;
use crate::admin::gateway::{Fetch, Fetched, document_path};
use crate::client::{Client, Get, Tls, To, Verify};
use crate::model::Service;
use crate::proxy::LocalService;
use crate::table::authority;

/// The dialect's router, answering on the admin runtime whichever worker asks.
pub(super) struct Dialect {
    pub(super) router: Router,
    pub(super) runtime: Handle,
}

impl fmt::Debug for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialect").finish_non_exhaustive()
    }
}

#[async_trait]
impl LocalService for Dialect {
    fn owns(&self, path: &str) -> bool {
        gateway::owns(path)
    }

    async fn answer(&self, request: Request<Bytes>) -> Response<Bytes> {
        let router = self.router.clone();
        let answering = self.runtime.spawn(answer(router, request.map(Body::from)));
        answering.await.ok().flatten().unwrap_or_else(|| {
            let mut response = Response::new(Bytes::from_static(b"Internal Server Error"));
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            response
        })
    }
}

/// The dialect's service, which is made after the workers that ask for it.
#[derive(Debug, Default)]
pub(super) struct LateService(OnceLock<Arc<dyn LocalService>>);

impl LateService {
    pub(super) fn set(&self, service: Option<Arc<dyn LocalService>>) {
        if let Some(service) = service {
            // Set once, here.
            let _ = self.0.set(service);
        }
    }
}

#[async_trait]
impl LocalService for LateService {
    fn owns(&self, path: &str) -> bool {
        self.0.get().is_some_and(|service| service.owns(path))
    }

    async fn answer(&self, request: Request<Bytes>) -> Response<Bytes> {
        match self.0.get() {
            Some(service) => service.answer(request).await,
            None => Response::default(),
        }
    }
}

/// `None` where the body broke while it was made.
async fn answer(router: Router, request: Request<Body>) -> Option<Response<Bytes>> {
    let response = match router.oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    };
    let (parts, body) = response.into_parts();
    let body = body.collect().await.ok()?.to_bytes();
    Some(Response::from_parts(parts, body))
}

/// Gets services' documents over the gateway's own client.
#[derive(Clone, Debug)]
pub(super) struct Documents {
    pub(super) client: Client,
    pub(super) timeout: std::time::Duration,
    /// Whether endpoints are verified where a service leaves it open.
    pub(super) tls_verify: bool,
}

#[async_trait]
impl Fetch for Documents {
    async fn document(&self, service: &Service) -> Result<Fetched, String> {
        let host = service.host.as_str();
        let server_name = service
            .tls_server_name
            .as_ref()
            .map_or(host, |name| name.as_str());
        let verify = if service.tls_verify.unwrap_or(self.tls_verify) {
            Verify::Chain
        } else {
            Verify::Nothing
        };
        let target = document_path(service);
        let host_header = authority(host, service.port, service.protocol);
        let get = Get {
            to: To::Name {
                host,
                port: service.port,
            },
            tls: service.protocol.is_tls().then_some(Tls {
                server_name,
                verify,
            }),
            host: &host_header,
            headers: None,
            target: &target,
            timeout: self.timeout,
            body_bytes_max: gateway::DOCUMENT_BYTES_MAX,
        };
        let answer = self
            .client
            .get(&get)
            .await
            .map_err(|error| error.to_string())?;
        Ok(Fetched {
            status: answer.status.as_u16(),
            body: answer.body,
        })
    }
}
