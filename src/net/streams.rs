//! An HTTP/2 connection's streams.
//!
//! pingora spawns a task for each, where the task-local of the connection is lost; so each is
//! scoped anew.

use std::sync::Arc;

use async_trait::async_trait;
use pingora::apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream};
use pingora::protocols::http::ServerSession;
use pingora::protocols::http::v2::server::{H2Options, default_h2_options};
use pingora::server::ShutdownWatch;
use pingora_proxy::{HttpProxy, ProxyHttp};

use crate::net::limits::Limits;
use crate::proxy::connection::Connection;
use crate::proxy::lane::{Lane, Stalls};

/// One HTTP/2 connection as pingora serves it.
pub struct Streams<A> {
    proxy: Arc<HttpProxy<A>>,
    lane: Option<Arc<Lane>>,
    connection: Arc<Connection>,
    options: HttpServerOptions,
    h2: H2Options,
    stalls: Stalls,
}

impl<A> Streams<A> {
    pub fn new(
        proxy: Arc<HttpProxy<A>>,
        lane: Option<Arc<Lane>>,
        connection: Arc<Connection>,
        limits: &Limits,
    ) -> Self {
        let mut options = HttpServerOptions::default();
        options.h2_idle_timeout = Some(limits.h2_idle);
        let mut h2 = default_h2_options();
        h2.max_concurrent_streams(limits.h2_streams)
            .max_header_list_size(limits.h2_headers);
        Self {
            proxy,
            lane,
            connection,
            options,
            h2,
            stalls: Stalls {
                body: limits.body_stall,
                response: limits.write_stall,
            },
        }
    }
}

#[async_trait]
impl<A> HttpServerApp for Streams<A>
where
    A: ProxyHttp + Send + Sync + 'static,
    A::CTX: Send + Sync,
{
    async fn process_new_http(
        self: &Arc<Self>,
        session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        let mut session = match (session, &self.lane) {
            (ServerSession::H2(stream), Some(lane)) => {
                let served = lane.serve_stream(stream, &self.connection, self.stalls);
                ServerSession::new_http2(served.await?)
            }
            (session, _) => session,
        };
        session.set_write_timeout(Some(self.stalls.response));
        let work = self.proxy.process_new_http(session, shutdown);
        self.connection.clone().scope(work).await
    }

    fn h2_options(&self) -> Option<H2Options> {
        Some(self.h2.clone())
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        Some(&self.options)
    }
}

impl<A> std::fmt::Debug for Streams<A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Streams")
            .field("connection", &self.connection)
            .finish_non_exhaustive()
    }
}
