//! The limits of the settings, as the transport wants them.

use super::{Concern, Fault};
use crate::config;
use crate::net::Limits;
use crate::proxy::chunked::ChunkLimits;
use crate::proxy::head::HeadLimits;
use crate::proxy::trust::TrustedProxies;

/// The proxies before us whose word is taken.
pub(super) fn trusted(settings: &config::Proxy) -> Result<TrustedProxies, Fault> {
    let networks = settings.trusted_proxies.iter();
    let networks: Vec<_> = networks.map(ToString::to_string).collect();
    TrustedProxies::parse(networks.iter().map(String::as_str))
        .map_err(|error| Fault::new(Concern::Settings, error))
}

pub(super) const fn of_heads(settings: &config::Limits) -> HeadLimits {
    HeadLimits {
        line_bytes_max: settings.request_line_max,
        field_bytes_max: settings.header_field_max,
        fields_max: settings.header_count_max,
        head_bytes_max: settings.header_section_max,
    }
}

pub(super) fn of(settings: &config::Limits) -> Limits {
    let defaults = Limits::default();
    let per_address = settings.connections_per_address_max;
    Limits {
        head: of_heads(settings),
        head_time: settings.header_timeout,
        idle: settings.keepalive_timeout,
        handshake: settings.tls_handshake_timeout,
        rate: u64::from(settings.body_rate_min),
        grace: settings.body_rate_grace,
        body_stall: settings.body_read_timeout,
        write_stall: settings.response_stall_timeout,
        chunks: ChunkLimits {
            extensions: settings.chunk_extension_max,
            trailers: settings.trailer_max,
        },
        h2_streams: settings.h2_streams_max,
        h2_headers: settings.h2_header_list_max,
        h2_idle: settings.keepalive_timeout,
        h2_control_frames: settings.h2_control_frames_max,
        h2_control_window: settings.h2_window,
        connections: settings.connections_max.unwrap_or(defaults.connections),
        connections_per_address: (per_address > 0).then_some(per_address),
        ..defaults
    }
}
