//! The order and the meaning of each attribute, read literally: a scan over all routes, sorted.

use std::cmp::Reverse;
use std::net::{IpAddr, SocketAddr};

use super::{ServerName, StreamFacts};
use crate::model::{End, Entity, Id, Route, RouteProtocol, StreamEnds};

/// The id of the route that wins.
pub(in crate::table) fn find<'a>(
    routes: impl IntoIterator<Item = &'a Entity>,
    facts: &StreamFacts<'_>,
) -> Option<Id> {
    let route = |entity: &'a Entity| Some((entity, entity.as_kind::<Route>()?));
    let mut routes: Vec<_> = routes.into_iter().filter_map(route).collect();
    routes.sort_by_key(|(entity, route)| {
        let ends = ends(route);
        let both = !ends.sources.is_empty() && !ends.destinations.is_empty();
        let best = (
            route.priority,
            !route.snis.is_empty() || both,
            weight(&ends.sources),
            weight(&ends.destinations),
        );
        (Reverse(best), entity.created_at, Reverse(entity.id))
    });
    let won = routes.into_iter().find(|(_, route)| takes(route, facts));
    won.map(|(entity, _)| entity.id)
}

fn ends(route: &Route) -> StreamEnds {
    route.stream.as_deref().cloned().unwrap_or_default()
}

/// Kong's: the sum of the distinct weights 8 (address), 4 (port) and 1 (network).
fn weight(ends: &[End]) -> u32 {
    let is_network = |end: &End| end.ip.as_ref().is_some_and(|ip| ip.contains('/'));
    let is_address = |end: &End| end.ip.as_ref().is_some_and(|ip| !ip.contains('/'));
    let once = |weight: u32, found: bool| if found { weight } else { 0 };
    once(8, ends.iter().any(is_address))
        + once(4, ends.iter().any(|end| end.port.is_some()))
        + once(1, ends.iter().any(is_network))
}

fn takes(route: &Route, facts: &StreamFacts<'_>) -> bool {
    let speaks = |protocol| route.protocols.contains(&protocol);
    let spoken = match facts.tls {
        None => speaks(RouteProtocol::Tcp),
        Some(_) => speaks(RouteProtocol::Tls) || speaks(RouteProtocol::TlsPassthrough),
    };
    let ends = ends(route);
    let from = ends.sources.is_empty() || ends.sources.iter().any(|end| holds(end, facts.client));
    let to =
        ends.destinations.is_empty() || ends.destinations.iter().any(|end| holds(end, facts.local));
    let named = match facts.tls {
        None => true,
        Some(ServerName(name)) => {
            let name = name.unwrap_or_default();
            route.snis.is_empty() || route.snis.iter().any(|sni| sni.matches(name))
        }
    };
    spoken && from && to && named
}

fn holds(end: &End, at: SocketAddr) -> bool {
    let ip = at.ip().to_canonical();
    let address = match end
        .ip
        .as_deref()
        .map(|text| text.split_once('/').ok_or(text))
    {
        None => true,
        Some(Err(text)) => text.parse::<IpAddr>().is_ok_and(|one| one == ip),
        Some(Ok((network, length))) => within(network, length, ip),
    };
    address && end.port.is_none_or(|port| port == at.port())
}

/// Whether the first `length` bits of both are the same.
fn within(network: &str, length: &str, ip: IpAddr) -> bool {
    let (Ok(network), Ok(length)) = (network.parse::<IpAddr>(), length.parse::<u32>()) else {
        return false;
    };
    match (network, ip) {
        (IpAddr::V4(a), IpAddr::V4(b)) => {
            let differ = a.to_bits() ^ b.to_bits();
            differ.leading_zeros() >= length
        }
        (IpAddr::V6(a), IpAddr::V6(b)) => {
            let differ = a.to_bits() ^ b.to_bits();
            differ.leading_zeros() >= length
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
    }
}
