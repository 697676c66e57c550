//! `/sessions`: the connections of bytes that are open, and the listeners they come by.
//!
//! A listener has a session too, as MaxScale's had: it is shown by its number and is in no list. The
//! first numbers are theirs, in the order in which the listeners were made; clients' begin behind.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::model::{Entity, Kind, Listener, Service, Snapshot};

use super::MaxScale;
use super::answer::{Answer, Failed};
use super::call::Call;
use super::document::{Document, Object};
use super::live::{FIRST_SESSION, SessionView};
use super::moment::asctime;
use super::names;
use super::path::{Operation, Outcome, Path, Running, delete, get};
use super::view::View;

pub(super) static PATHS: &[Path] = &[
    Path {
        segments: &["sessions"],
        actions: &[get(Operation::Show(list))],
    },
    Path {
        segments: &["sessions", ":"],
        actions: &[get(Operation::Show(show)), delete(Operation::Run(close))],
    },
];

/// The longest time that a session may be given, in seconds.
const TTL_MAX: u64 = 86_400;

/// Whom a number means.
enum Meant<'s> {
    Client(u64),
    Listener(&'s Arc<Entity>),
}

impl<'s> Meant<'s> {
    fn parse(snapshot: &'s Snapshot, text: &str) -> Option<Self> {
        let number: u64 = text.parse().ok()?;
        match number >= FIRST_SESSION {
            true => Some(Self::Client(number)),
            false => listener(snapshot, number).map(Self::Listener),
        }
    }
}

/// The listener whose session has that number.
fn listener(snapshot: &Snapshot, number: u64) -> Option<&Arc<Entity>> {
    let mut all: Vec<_> = names::shown(snapshot, Kind::Listener).collect();
    all.retain(|entity| {
        let listener = entity.as_kind::<Listener>();
        listener.is_some_and(|listener| listener.service.is_some())
    });
    all.sort_by_key(|entity| (entity.created_at, entity.id));
    let index = usize::try_from(number.checked_sub(1)?).ok()?;
    all.get(index).copied()
}

#[expect(clippy::unnecessary_wraps, reason = "an operation's signature")]
fn list(view: &View<'_>, _: &Call) -> Outcome {
    let all = view.live.sessions().into_iter();
    let all = all.map(|session| client(view, &session)).collect();
    let url = view.links.collection("sessions");
    Ok(Answer::Document(Document::many(&url, all)))
}

fn show(view: &View<'_>, call: &Call) -> Outcome {
    let unknown = || unknown(call.name(0));
    let meant = Meant::parse(&view.snapshot, call.name(0)).ok_or_else(unknown)?;
    let value = match meant {
        Meant::Client(id) => client(view, &view.live.session(id).ok_or_else(unknown)?),
        Meant::Listener(entity) => listening(view, entity, call.name(0)),
    };
    Ok(Answer::Document(Document::one(value)))
}

fn unknown(id: &str) -> Failed {
    Failed::not_found(format!("Session '{id}' was not found"))
}

/// The service's name as it is now; of one that is gone, as it was.
fn client(view: &View<'_>, session: &SessionView) -> Value {
    let mut object = Object::new("sessions", session.id.to_string());
    object.set("state", "Session ready for routing");
    if let Some(user) = &session.user {
        object.set("user", &**user);
    }
    object.set("remote", session.client.ip().to_string());
    object.set("port", session.client.port());
    object.set("connected", asctime(session.connected_at));
    object.set("idle", seconds(session.idle));
    object.set("connections", connections(session));
    object.set(
        "client",
        json!({"id": side(session), "cipher": null, "protocol_diagnostics": {}}),
    );
    object.set("queries", json!([]));
    object.set("log", json!([]));
    let service = view.snapshot.entity(Kind::Service, session.service);
    let name = service.map_or_else(|| session.service_name.to_string(), |entity| entity.label());
    object.relate_any(view.links, "services", (!name.is_empty()).then_some(name));
    object.relate_any(view.links, "filters", session.filters.iter());
    object.into_value(view.links)
}

/// In tenths, as MaxScale counts.
fn seconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 10.0).round() / 10.0
}

/// What either side's connection is called, as MaxScale writes it. A session has one on each side.
fn side(session: &SessionView) -> String {
    format!("{:#x}", session.id)
}

fn connections(session: &SessionView) -> Vec<Value> {
    let named = session.server_name.as_ref().map(ToString::to_string);
    let endpoint = session.endpoint.map(|endpoint| endpoint.to_string());
    let one = named.or(endpoint).map(|server| {
        let mut diagnostics = json!({});
        if let (Some(id), Some(told)) = (session.connection_id, diagnostics.as_object_mut()) {
            told.insert("connection_id".into(), id.into());
        }
        json!({"id": side(session), "server": server, "protocol_diagnostics": diagnostics})
    });
    one.into_iter().collect()
}

fn listening(view: &View<'_>, entity: &Entity, id: &str) -> Value {
    let mut object = Object::new("sessions", id);
    object.set("state", "Listener Session");
    object.set("connected", asctime(entity.created_at));
    object.set("idle", 0);
    let listener = entity.as_kind::<Listener>();
    let service = listener.and_then(|listener| listener.service);
    let service = service.and_then(|id| view.snapshot.get::<Service>(id));
    let name = service.and_then(|service| service.name.as_ref());
    object.relate_any(view.links, "services", name.map(|name| name.as_str()));
    object.into_value(view.links)
}

/// Ends a session, at once or when its time is over.
fn close<'a>(maxscale: &'a MaxScale, call: &'a Call) -> Running<'a> {
    Box::pin(async move {
        let snapshot = maxscale.registry.snapshot();
        let unknown = || unknown(call.name(0));
        let ttl = ttl(call)?;
        match Meant::parse(&snapshot, call.name(0)).ok_or_else(unknown)? {
            Meant::Listener(_) => {
                let why = "A listener's session ends with the listener; stop or delete that";
                return Err(Failed::refused(why));
            }
            Meant::Client(id) if ttl.is_zero() => {
                maxscale.live.close(id).then_some(()).ok_or_else(unknown)?;
            }
            Meant::Client(id) => {
                maxscale.live.session(id).ok_or_else(unknown)?;
                maxscale.live.close_after(id, ttl)?;
            }
        }
        Ok(Answer::Ended)
    })
}

fn ttl(call: &Call) -> Result<Duration, Failed> {
    let text = call.query.value("ttl").unwrap_or("0");
    let seconds = text.strip_suffix('s').unwrap_or(text).parse::<u64>();
    let seconds = seconds.ok().filter(|seconds| *seconds <= TTL_MAX);
    let wrong = || Failed::refused(format!("`ttl` is not a number from 0 to {TTL_MAX}"));
    Ok(Duration::from_secs(seconds.ok_or_else(wrong)?))
}
