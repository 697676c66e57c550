//! Every bound that a client meets before a route is known.

use std::time::Duration;

use crate::proxy::chunked::ChunkLimits;
use crate::proxy::head::HeadLimits;
use crate::proxy::trust::TrustedProxies;

/// Limits of the data plane's connections. The defaults are the documented ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Of a request head. pingora itself refuses above 256 fields.
    pub head: HeadLimits,
    /// From a head's first byte to its empty line, in total. Beyond: 408. Default 10 s.
    pub head_time: Duration,
    /// Waiting for a request, on a new connection or between two. Beyond: closed. Default 60 s.
    pub idle: Duration,
    /// PROXY header and TLS handshake together. Beyond: closed. Default 10 s.
    pub handshake: Duration,
    /// Bytes per second a request body or a response must move, counted over the time spent
    /// waiting for the client, after `grace`. Default 240.
    pub rate: u64,
    /// How long the client may be slower than `rate` before that counts. Default 10 s.
    pub grace: Duration,
    /// One wait for request body bytes. Beyond: 408. Default 30 s.
    pub body_stall: Duration,
    /// One wait for the client to take response bytes. Beyond: reset. Default 60 s.
    pub write_stall: Duration,
    /// Of a chunked body. Beyond: 400.
    pub chunks: ChunkLimits,
    /// HTTP/2 streams of a connection at once. Beyond: REFUSED_STREAM. Default 100.
    pub h2_streams: u32,
    /// Decoded header bytes of an HTTP/2 request. Beyond: 431. Default 64 KiB.
    pub h2_headers: u32,
    /// An HTTP/2 connection without streams. Beyond: closed. Default 60 s.
    pub h2_idle: Duration,
    /// HTTP/2 frames other than HEADERS and DATA with content within `h2_control_window`, and one
    /// more for each KiB sent meanwhile. Beyond: GOAWAY with ENHANCE_YOUR_CALM. Default 1000.
    pub h2_control_frames: u32,
    /// Default 10 s.
    pub h2_control_window: Duration,
    /// Connections of the whole process. Beyond: accepted and closed. Default 80 % of
    /// `RLIMIT_NOFILE`.
    pub connections: usize,
    /// Connections of one peer address; `None`: not counted. Listeners with PROXY protocol are
    /// never counted: their peers are balancers. Default 1000.
    pub connections_per_address: Option<usize>,
    /// Peers that have as many as they like: they speak for others. Default none.
    pub trusted: TrustedProxies,
    /// How often deadlines are looked at: a limit of time may pass by so much. Default 250 ms.
    pub sweep: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head: HeadLimits::DEFAULT,
            head_time: Duration::from_secs(10),
            idle: Duration::from_secs(60),
            handshake: Duration::from_secs(10),
            rate: 240,
            grace: Duration::from_secs(10),
            body_stall: Duration::from_secs(30),
            write_stall: Duration::from_secs(60),
            chunks: ChunkLimits::DEFAULT,
            h2_streams: 100,
            h2_headers: 64 << 10,
            h2_idle: Duration::from_secs(60),
            h2_control_frames: 1000,
            h2_control_window: Duration::from_secs(10),
            connections: connections_affordable(),
            connections_per_address: Some(1000),
            trusted: TrustedProxies::default(),
            sweep: Duration::from_millis(250),
        }
    }
}

/// Four fifths of the file descriptors this process may open: the rest is for upstreams, the
/// store and the admin side.
fn connections_affordable() -> usize {
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let files = files.current.unwrap_or(1 << 20);
    usize::try_from(files / 5 * 4).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_leaves_a_fifth_of_the_files_to_others() {
        let files = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        let files = usize::try_from(files.current.unwrap()).unwrap();
        let connections = Limits::default().connections;
        assert!(
            connections > 0 && connections <= files / 5 * 4,
            "{connections} of {files}"
        );
    }
}
