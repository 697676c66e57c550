//! What the data plane says of itself to the native API: what would become of a request, and how it
//! fares. The same table, the same reading of a request, the same order as traffic.

use std::net::SocketAddr;
use std::sync::Arc;

use http::{HeaderValue, Uri, Version};

use crate::admin::kong::Traffic;
use crate::admin::native::explain::{
    Answer, CANDIDATES_MAX, Candidate, Forward, Named, Predicate, Question, Scheme, Verdict,
};
use crate::admin::status::{EndpointState, Fault, Health, Observed};
use crate::metrics::Metrics;
use crate::model;
use crate::model::{Entity, Id, Kind};
use crate::proxy::target::{Arrival, Head, Target, path_and_query};
use crate::proxy::{Shared, admit};
use crate::reply;
use crate::reply::{Reply, Shape};
use crate::table;
use crate::table::{Hit, Miss, Route, ServerName, Service, Standing, StreamFacts, StreamMiss};
use crate::table::{Table, Trial};
use crate::upstream;
use crate::upstream::{Endpoint, Pool, Unresolved};

/// Answers a question as traffic would be answered now.
pub(super) fn explain(shared: &Shared, question: &Question) -> Answer {
    let table = shared.current.load();
    let mut answer = Answer {
        revision: table.revision(),
        normalized_path: None,
        route: None,
        service: None,
        status: None,
        why: None,
        forward: None,
        candidates: Vec::new(),
        candidates_omitted: 0,
    };
    let replied = match question.scheme {
        Scheme::Http | Scheme::Https => fill(&table, question, &mut answer),
        Scheme::Tcp | Scheme::Tls => {
            fill_stream(&table, question, &mut answer);
            Ok(())
        }
    };
    if let Err(reply) = replied {
        answer.status = Some(reply.status(Shape::Native).as_u16());
        answer.why = Some(reply.message(Shape::Native).to_owned());
    }
    answer
}

/// Where a connection of bytes would go. Its client's port is none that a route names.
fn fill_stream(table: &Table, question: &Question, answer: &mut Answer) {
    let name = question.sni.as_deref().map(str::to_ascii_lowercase);
    let in_tls = question.scheme == Scheme::Tls;
    let hit = table.find_stream(&StreamFacts {
        listener: question.listener,
        client: SocketAddr::new(question.client, 0),
        local: SocketAddr::new(question.address, question.port),
        tls: in_tls.then_some(ServerName(name.as_deref())),
    });
    let hit = match hit {
        Ok(hit) => hit,
        Err(StreamMiss::NoRoute) => {
            answer.why = Some("no route takes the connection: it is closed".to_owned());
            return;
        }
        Err(StreamMiss::Stopped { service }) => {
            answer.service = service.map(|service| named(service.entity()));
            answer.why = Some("switched off: the connection is closed".to_owned());
            return;
        }
    };
    answer.route = hit.route.map(|route| named(route.entity()));
    let Some(service) = hit.service else {
        answer.why = Some("the route has no service: the connection is closed".to_owned());
        return;
    };
    answer.service = Some(named(service.entity()));
    let begins_tls = service.spec().protocol.is_tls() && !(in_tls && hit.passes_tls_through());
    answer.forward = Some(Forward {
        scheme: if begins_tls { "tls" } else { "tcp" }.to_owned(),
        host: String::new(),
        path: String::new(),
        pool: service.pool_entity().map(|pool| named(pool)),
        endpoints: endpoints(service.pool(), service.pool_entity()).collect(),
    });
}

fn fill(table: &Table, question: &Question, answer: &mut Answer) -> Result<(), Reply> {
    let bad_target = |_| reply::bad_request("the request target is malformed");
    let uri: Uri = question.path.parse().map_err(bad_target)?;
    let mut headers = question.headers.clone();
    let host = HeaderValue::from_str(&question.host);
    headers.insert(
        http::header::HOST,
        host.map_err(|_| reply::bad_request("the host is malformed"))?,
    );
    let (method, version) = (&question.method, Version::HTTP_11);
    let target = Target::read(Head {
        method,
        uri: &uri,
        version,
        headers: &headers,
    })?;
    answer.normalized_path = Some(String::from_utf8_lossy(&target.path).into_owned());
    let secure = question.scheme == Scheme::Https;
    let server_name = question.sni.as_deref().map(str::to_ascii_lowercase);
    let server_name = server_name.as_deref();
    let asked = target.question(&Arrival {
        port: question.port,
        secure,
        server_name,
    });
    let mut tried = Tried::default();
    let hit = table.find(&asked, &mut tried);
    tell_candidates(tried, hit.as_ref(), &asked, answer);
    let hit = hit.ok_or_else(reply::no_route)?;
    answer.route = Some(named(hit.route().entity()));
    // A question does not say which version of HTTP it is about.
    let head = Head {
        method,
        uri: &uri,
        version: Version::HTTP_2,
        headers: &headers,
    };
    admit(&hit, &target, head, secure)?;
    let service = table.service(&hit).ok_or_else(reply::no_service)?;
    answer.service = Some(named(service.entity()));
    answer.forward = Some(forward(&hit, service, &target, &uri, &question.host));
    Ok(())
}

fn named(entity: &Entity) -> Named {
    Named {
        id: entity.id,
        name: entity.spec.name().map(str::to_owned),
    }
}

fn forward(
    hit: &Hit<'_>,
    service: &Service,
    target: &Target<'_>,
    uri: &Uri,
    host: &str,
) -> Forward {
    let spec = service.spec();
    let path = hit.upstream_path(service.base(), &target.path);
    let sent = path_and_query(&path, uri.query());
    let own = || {
        let first = service.pool().endpoints().next();
        first
            .map(|e| table::authority(e.host(), e.addr().port(), spec.protocol))
            .unwrap_or_default()
    };
    let fixed = service
        .host()
        .and_then(|host| host.to_str().ok())
        .map(str::to_owned);
    let preserved = hit.route().spec().preserve_host.then(|| host.to_owned());
    Forward {
        scheme: if spec.protocol.is_tls() {
            "https"
        } else {
            "http"
        }
        .to_owned(),
        host: preserved.or(fixed).unwrap_or_else(own),
        path: String::from_utf8_lossy(&sent).into_owned(),
        pool: service.pool_entity().map(|pool| named(pool)),
        endpoints: endpoints(service.pool(), service.pool_entity()).collect(),
    }
}

/// Every candidate, with what was found of it.
#[derive(Default)]
struct Tried(Vec<(Standing, Arc<Route>, Judged)>);

/// How much of the path matched, or the first predicate that failed.
type Judged = Result<Option<usize>, Miss>;

impl Trial for Tried {
    const EXHAUSTIVE: bool = true;

    fn tried(&mut self, candidate: table::Candidate<'_>, verdict: Result<Option<usize>, Miss>) {
        self.0
            .push((candidate.standing(), Arc::clone(candidate.route()), verdict));
    }
}

fn tell_candidates(
    mut tried: Tried,
    hit: Option<&Hit<'_>>,
    asked: &table::Question<'_>,
    answer: &mut Answer,
) {
    tried.0.sort_by_key(|(standing, ..)| *standing);
    answer.candidates_omitted = tried.0.len().saturating_sub(CANDIDATES_MAX);
    let mut is_taken = false;
    for (_, route, verdict) in tried.0.into_iter().take(CANDIDATES_MAX) {
        let wins = hit.is_some_and(|hit| Arc::ptr_eq(hit.route(), &route)) && !is_taken;
        let verdict = match verdict {
            Ok(_) if wins => {
                is_taken = true;
                Verdict::Matched
            }
            Ok(_) => Verdict::Shadowed,
            Err(miss) => failed(&route, miss, asked),
        };
        answer.candidates.push(Candidate {
            route: named(route.entity()),
            verdict,
        });
    }
}

/// What the route asks for and what the request has.
fn failed(route: &Route, miss: Miss, asked: &table::Question<'_>) -> Verdict {
    let spec = route.spec();
    let (predicate, wanted, found) = match miss {
        Miss::Port => (
            Predicate::Host,
            listed(&spec.hosts),
            format!("port {}", asked.port),
        ),
        Miss::Path => {
            let path = String::from_utf8_lossy(asked.path).into_owned();
            (Predicate::Path, listed(&spec.paths), path)
        }
        Miss::Method => {
            let methods: Vec<_> = spec.methods.iter().collect();
            (
                Predicate::Method,
                methods.join(", "),
                asked.method.to_string(),
            )
        }
        Miss::Header(n) => header(spec, n, asked),
        Miss::ServerName => (
            Predicate::Sni,
            listed(&spec.snis),
            asked.server_name.unwrap_or_default().to_owned(),
        ),
        Miss::ServiceDisabled => (
            Predicate::Enabled,
            "an enabled service".into(),
            "a disabled one".into(),
        ),
    };
    Verdict::Failed {
        predicate,
        wanted,
        found,
    }
}

fn header(
    spec: &model::Route,
    n: usize,
    asked: &table::Question<'_>,
) -> (Predicate, String, String) {
    let Some(header) = spec.headers.get(n) else {
        return (Predicate::Header, String::new(), String::new());
    };
    let sent = asked.headers.get_all(&header.name).iter();
    let sent: Vec<_> = sent
        .map(|value| String::from_utf8_lossy(value.as_bytes()))
        .collect();
    let wanted = format!("{}: {}", header.name, header.values().join(" or "));
    (Predicate::Header, wanted, sent.join(", "))
}

fn listed<T: ToString>(all: &[T]) -> String {
    all.iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(" or ")
}

/// How traffic fares.
pub(super) fn observe(shared: &Shared, ready: bool, problems: &[table::Problem]) -> Observed {
    let table = shared.current.load();
    let pools = table
        .backends()
        .flat_map(|(pool, entity)| endpoints(pool, entity));
    Observed {
        ready,
        serving: table.revision(),
        endpoints: pools.collect(),
        faults: problems.iter().map(fault).collect(),
    }
}

/// An operator's word on an endpoint's health, for one of its addresses (`ip:port`) or all; says
/// whether there was one.
pub(super) fn mark(shared: &Shared, id: Id, address: Option<&str>, healthy: bool) -> bool {
    let health = match healthy {
        true => upstream::Health::Healthy,
        false => upstream::Health::Unhealthy,
    };
    let table = shared.current.load();
    let address = address.map(str::parse::<SocketAddr>);
    let meant = |endpoint: &&Arc<Endpoint>| {
        let at = |address: &Result<SocketAddr, _>| *address == Ok(endpoint.addr());
        endpoint.id() == Some(id) && address.as_ref().is_none_or(at)
    };
    let all = table.backends().flat_map(|(pool, _)| pool.endpoints());
    let marked = all.filter(meant).map(|endpoint| endpoint.mark(health));
    marked.count() > 0
}

/// What traffic there was, for Kong's `/status`.
pub(super) fn traffic(metrics: &Metrics) -> Traffic {
    let replies = metrics.total("gateway_replies_total");
    Traffic {
        accepted: metrics.total("gateway_connections_total"),
        active: metrics.total("gateway_connections_open"),
        requests: metrics.total("gateway_route_requests_total") + replies,
        resident_bytes: resident_bytes().unwrap_or(0),
    }
}

/// The second number of `statm` counts resident pages (proc(5)).
fn resident_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split(' ').nth(1)?.parse().ok()?;
    let page = u64::try_from(rustix::param::page_size()).ok()?;
    pages.checked_mul(page)
}

fn fault(problem: &table::Problem) -> Fault {
    let table::Problem { at, invalid } = problem;
    Fault {
        at: *at,
        field: invalid.field.to_string(),
        why: invalid.why.clone(),
    }
}

fn endpoints<'a>(
    pool: &'a Pool,
    entity: Option<&'a Arc<Entity>>,
) -> impl Iterator<Item = EndpointState> + 'a {
    let name = entity
        .filter(|entity| entity.kind() == Kind::Pool)
        .map(|entity| entity.label());
    let missing = pool.unresolved().iter().map({
        let name = name.clone();
        move |missing| unresolved(missing, name.clone())
    });
    pool.endpoints()
        .map(move |endpoint| state(endpoint, pool, name.clone()))
        .chain(missing)
}

fn unresolved(missing: &Unresolved, name: Option<String>) -> EndpointState {
    EndpointState {
        id: missing.id,
        pool: name,
        address: format!("{}:{}", missing.host, missing.port),
        resolved: None,
        health: Health::Unresolved,
        weight: missing.weight,
        in_flight: 0,
    }
}

fn state(endpoint: &Endpoint, pool: &Pool, name: Option<String>) -> EndpointState {
    let live = endpoint.health();
    let health = match live.health {
        _ if endpoint.weight() == 0 => Health::Disabled,
        upstream::Health::Unhealthy => Health::Unhealthy,
        upstream::Health::Healthy if pool.is_checked() => Health::Healthy,
        upstream::Health::Healthy => Health::Unknown,
    };
    EndpointState {
        id: endpoint.id(),
        pool: name,
        address: format!("{}:{}", endpoint.host(), endpoint.addr().port()),
        resolved: Some(endpoint.addr()),
        health,
        weight: endpoint.weight(),
        in_flight: live.in_flight,
    }
}
