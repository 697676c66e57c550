//! A [`Conn`] as what pingora calls a stream: the questions its sessions ask. The names are
//! pingora's.

use std::os::fd::AsRawFd;
use std::sync::Arc;

use async_trait::async_trait;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl,
    TimingDigest, UniqueID,
};
use tokio::io::AsyncWriteExt;

use crate::net::conn::Conn;

#[async_trait]
impl Shutdown for Conn {
    async fn shutdown(&mut self) {
        // The client may be gone already.
        let _ = AsyncWriteExt::shutdown(self).await;
    }
}

impl UniqueID for Conn {
    fn id(&self) -> i32 {
        self.transport().tcp().stream().as_raw_fd()
    }
}

impl Ssl for Conn {
    /// Also for HTTP/2 by prior knowledge: pingora only asks whether it is HTTP/2.
    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.is_http2().then_some(ALPN::H2)
    }
}

impl GetTimingDigest for Conn {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl GetProxyDigest for Conn {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        None
    }
}

impl GetSocketDigest for Conn {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        Some(self.digest().clone())
    }
}

impl Peek for Conn {}
