//! What programs ask for themselves: to be registered, to be forgotten, to be thought alive.

use std::time::Instant;

use super::Polaris;
use super::answer::{Failed, Reply};
use super::call::Call;
use super::codes::{self, Code};
use super::fields::{Malformed, Message, single};
use super::heartbeat::Beat;
use super::instances::{Step, delete_one, meant, register_one};
use super::names;
use super::requests::InstanceRequest;
use super::wire::{BatchQueryResponse, ClientMessage, Location, LoginMessage, Options, Response};
use crate::model::Id;

pub(super) async fn register(polaris: &Polaris, call: Call) -> Reply {
    one(polaris, call, register_one).await
}

pub(super) async fn deregister(polaris: &Polaris, call: Call) -> Reply {
    one(polaris, call, delete_one).await
}

async fn one(polaris: &Polaris, call: Call, step: Step) -> Reply {
    let request = match single(&call.body).and_then(|m| InstanceRequest::read(&m)) {
        Ok(request) => request,
        Err(malformed) => return Reply::failed(&malformed.into()),
    };
    match polaris.instances(vec![request], call.caller, step).await {
        Ok(done) => match done.into_iter().next() {
            Some(done) => Reply::one(done.code, &done.response),
            None => Reply::failed(&codes::EXCEPTION.into()),
        },
        Err(failed) => Reply::failed(&failed),
    }
}

/// Takes note of a heartbeat. Nothing is written.
pub(super) fn heartbeat(polaris: &Polaris, call: &Call) -> Reply {
    let request = match single(&call.body).and_then(|m| InstanceRequest::read(&m)) {
        Ok(request) => request,
        Err(malformed) => return Reply::failed(&malformed.into()),
    };
    let failed = match beat(polaris, &request) {
        Ok(()) => codes::SUCCESS.into(),
        Err(code) => Failed::from(code),
    };
    let response = Response {
        instance: Some(request.echo()),
        ..failed.response()
    };
    Reply::one(failed.code, &response)
}

fn beat(polaris: &Polaris, request: &InstanceRequest) -> Result<(), Code> {
    let now = Instant::now();
    let own = request.id.as_deref().filter(|id| !id.is_empty());
    let own = own.map(names::entity_id);
    // The plain case: an instance of our own making, by its id. No lock that a writer holds.
    if own.map(|id| polaris.beats.beat(id, now)) == Some(Beat::Kept) {
        return Ok(());
    }
    let snapshot = polaris.registry.snapshot();
    match meant(&snapshot, request)? {
        Some(entity) => {
            polaris.hear_beat(entity.id, now);
            Ok(())
        }
        None if polaris.beats.tolerates(ghost(request)) => Ok(()),
        None => Err(codes::NOT_FOUND_RESOURCE),
    }
}

/// Who an instance that is not registered would be.
fn ghost(request: &InstanceRequest) -> Id {
    let id = match &request.id {
        Some(id) => id.clone(),
        None => request
            .address()
            .map(|address| address.instance_id())
            .unwrap_or_default(),
    };
    names::entity_id(&id)
}

impl Polaris {
    fn hear_beat(&self, id: Id, now: Instant) {
        let beat = match self.beats.beat(id, now) {
            Beat::Unwatched => {
                // It may be registered since the view looked last.
                self.follow();
                self.beats.beat(id, now)
            }
            beat @ (Beat::Kept | Beat::Revived) => beat,
        };
        match beat {
            // One without a health check may beat; it changes nothing.
            Beat::Unwatched | Beat::Kept => {}
            Beat::Revived => {
                self.follow();
                self.settle(&[id], now);
            }
        }
    }
}

/// Tells a client where it is: what it says itself, or the address it comes from.
pub(super) fn report(_: &Polaris, call: &Call) -> Reply {
    match single(&call.body).and_then(|m| reported(&m)) {
        Ok(mut client) => {
            if client.host.is_empty() {
                client.host = call.forwarded.clone().unwrap_or_default();
            }
            let client = Some(client);
            let response = Response {
                client,
                ..Response::of(codes::SUCCESS)
            };
            Reply::one(codes::SUCCESS, &response)
        }
        Err(malformed) => Reply::failed(&malformed.into()),
    }
}

fn reported(message: &Message) -> Result<ClientMessage, Malformed> {
    let kind = message.word("type", &[("UNKNOWN", 0), ("SDK", 1), ("AGENT", 2)])?;
    let location = message.message(&["location"])?.unwrap_or_default();
    let part = |name| Ok::<_, Malformed>(location.text(name)?.unwrap_or_default());
    Ok(ClientMessage {
        host: message.text("host")?.unwrap_or_default(),
        kind: kind.unwrap_or("UNKNOWN"),
        version: message.text("version")?.unwrap_or_default(),
        location: Location {
            region: part("region")?,
            zone: part("zone")?,
            campus: part("campus")?,
        },
    })
}

/// Exchanges a name and a password for a token.
pub(super) fn login(polaris: &Polaris, call: &Call) -> Reply {
    let credentials = single(&call.body).and_then(|message| {
        message.text("owner")?;
        let text = |name| Ok::<_, Malformed>(message.text(name)?.unwrap_or_default());
        Ok((text("name")?, text("password")?))
    });
    let (name, password) = match credentials {
        Ok(credentials) => credentials,
        Err(malformed) => return Reply::failed(&malformed.into()),
    };
    let accounts = polaris.settings.accounts.as_ref();
    let login: Result<LoginMessage, Code> = match accounts {
        Some(accounts) => accounts.login(&name, &password),
        None => Err(codes::NOT_FOUND_USER),
    };
    match login {
        Ok(login) => {
            let login = Some(login);
            let response = Response {
                login,
                ..Response::of(codes::SUCCESS)
            };
            Reply::one(codes::SUCCESS, &response)
        }
        Err(code) => Reply::failed(&code.into()),
    }
}

/// Tells consoles whether they have to log in.
pub(super) fn auth_status(polaris: &Polaris, _: &Call) -> Reply {
    let asks = if polaris.settings.accounts.is_some() {
        "true"
    } else {
        "false"
    };
    let options = [
        ("auth", asks),
        ("consoleOpen", asks),
        ("clientOpen", "false"),
    ];
    let option_switch = Some(Options {
        options: options.into(),
    });
    let response = Response {
        option_switch,
        ..Response::of(codes::SUCCESS)
    };
    Reply::one(codes::SUCCESS, &response)
}

/// All accounts.
pub(super) fn users(polaris: &Polaris, _: &Call) -> Reply {
    let accounts = polaris.settings.accounts.as_ref();
    let users = accounts
        .map(super::accounts::Accounts::users)
        .unwrap_or_default();
    let mut body = BatchQueryResponse::success(users.len());
    body.size = users.len();
    body.users = users;
    Reply::query(&body)
}
