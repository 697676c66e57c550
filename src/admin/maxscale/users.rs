//! `/users`: the accounts of this dialect. Those of type `inet` are operators and may log in; those of
//! type `unix` were for a local socket that there is not: they are kept, shown, and admit nobody.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::model::{Entity, Id, Kind, Name, Operator, OperatorRole, Secret, Snapshot};

use super::MaxScale;
use super::accounts::{FIRST_NAME, FIRST_PASSWORD, is_nobody};
use super::answer::{Answer, Failed};
use super::call::Call;
use super::document::{Document, Object};
use super::draft::Draft;
use super::links::Links;
use super::moment::http_date;
use super::path::{Operation, Outcome, Path, Running, delete, get, patch, post};
use super::settings::{record, write_record};
use super::view::View;

pub(super) static PATHS: &[Path] = &[
    Path {
        segments: &["users"],
        actions: &[get(Operation::Show(list_all))],
    },
    Path {
        segments: &["users", "inet"],
        actions: &[
            get(Operation::Show(list_inet)),
            post(Operation::Run(create_inet)),
        ],
    },
    Path {
        segments: &["users", "unix"],
        actions: &[
            get(Operation::Show(list_unix)),
            post(Operation::Plan(create_unix)),
        ],
    },
    Path {
        segments: &["users", "inet", ":"],
        actions: &[
            get(Operation::Show(show_inet)),
            patch(Operation::Run(update_inet)),
            delete(Operation::Plan(delete_inet)),
        ],
    },
    Path {
        segments: &["users", "unix", ":"],
        actions: &[
            get(Operation::Show(show_unix)),
            delete(Operation::Plan(delete_unix)),
        ],
    },
];

/// The longest password, in bytes.
const PASSWORD_BYTES_MAX: usize = 1024;

/// The most accounts of type `unix`.
const UNIX_MAX: usize = 256;

/// The accounts of type `unix`, by name.
pub(super) type UnixUsers = BTreeMap<Box<str>, Account>;

/// What an account may do, in the dialect's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Account {
    Admin,
    Basic,
}

impl Account {
    const fn word(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Basic => "basic",
        }
    }

    const fn role(self) -> OperatorRole {
        match self {
            Self::Admin => OperatorRole::Admin,
            Self::Basic => OperatorRole::Basic,
        }
    }

    const fn of(role: OperatorRole) -> Self {
        match role {
            OperatorRole::Admin => Self::Admin,
            OperatorRole::Basic => Self::Basic,
        }
    }

    fn read(attributes: &Map<String, Value>) -> Result<Option<Self>, Failed> {
        match attributes.get("account") {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(word)) if word == "admin" => Ok(Some(Self::Admin)),
            Some(Value::String(word)) if word == "basic" => Ok(Some(Self::Basic)),
            Some(_) => Err(Failed::refused(
                "The value of `/data/attributes/account` is neither 'admin' nor 'basic'",
            )),
        }
    }
}

/// One account as it is shown.
struct User<'a> {
    name: &'a str,
    kind: &'static str,
    account: Account,
    /// None of the account that is there from the start.
    entity: Option<&'a Entity>,
}

impl User<'_> {
    fn into_value(self, links: &Links) -> Value {
        let segments = ["users", self.kind, self.name];
        let mut object = Object::new(self.kind, self.name);
        object.set("account", self.account.word());
        if let Some(entity) = self.entity {
            object.set("created", http_date(entity.created_at));
            object.set("last_update", http_date(entity.updated_at));
        }
        // A bare string, as MaxScale has it.
        object.relate("self", links.url(segments).into());
        object.at(links, segments)
    }
}

fn inet_users(snapshot: &Snapshot) -> Vec<User<'_>> {
    let operators = snapshot.list(Kind::Operator, None);
    let mut users: Vec<_> = operators.filter_map(|entity| inet_user(entity)).collect();
    if users.is_empty() {
        users.push(first());
    }
    users.sort_by_key(|user| user.name);
    users
}

fn inet_user(entity: &Entity) -> Option<User<'_>> {
    let operator = entity.as_kind::<Operator>()?;
    Some(User {
        name: operator.name.as_str(),
        kind: "inet",
        account: Account::of(operator.role),
        entity: Some(entity),
    })
}

/// The account that is there while nobody has made one.
const fn first() -> User<'static> {
    User {
        name: FIRST_NAME,
        kind: "inet",
        account: Account::Admin,
        entity: None,
    }
}

fn unix_users(all: &UnixUsers) -> impl Iterator<Item = User<'_>> {
    all.iter().map(|(name, account)| User {
        name,
        kind: "unix",
        account: *account,
        entity: None,
    })
}

#[expect(clippy::unnecessary_wraps, reason = "an operation's signature")]
fn list_all(view: &View<'_>, _: &Call) -> Outcome {
    let unix = record(&view.snapshot).unix;
    let users = inet_users(&view.snapshot)
        .into_iter()
        .chain(unix_users(&unix));
    let users = users.map(|user| user.into_value(view.links)).collect();
    let document = Document::many(&view.links.collection("users"), users);
    Ok(Answer::Document(document))
}

#[expect(clippy::unnecessary_wraps, reason = "an operation's signature")]
fn list_inet(view: &View<'_>, _: &Call) -> Outcome {
    let users = inet_users(&view.snapshot).into_iter();
    let users = users.map(|user| user.into_value(view.links)).collect();
    let url = view.links.url(["users", "inet"]);
    Ok(Answer::Document(Document::many(&url, users)))
}

#[expect(clippy::unnecessary_wraps, reason = "an operation's signature")]
fn list_unix(view: &View<'_>, _: &Call) -> Outcome {
    let unix = record(&view.snapshot).unix;
    let users = unix_users(&unix).map(|user| user.into_value(view.links));
    let url = view.links.url(["users", "unix"]);
    Ok(Answer::Document(Document::many(&url, users.collect())))
}

fn show_inet(view: &View<'_>, call: &Call) -> Outcome {
    let users = inet_users(&view.snapshot).into_iter();
    shown(view, users, call.name(0))
}

fn show_unix(view: &View<'_>, call: &Call) -> Outcome {
    let unix = record(&view.snapshot).unix;
    shown(view, unix_users(&unix), call.name(0))
}

fn shown<'a>(view: &View<'_>, users: impl Iterator<Item = User<'a>>, name: &str) -> Outcome {
    let mut users = users;
    let user = users.find(|user| user.name == name);
    let user = user.ok_or_else(|| unknown(name))?;
    let document = Document::one(user.into_value(view.links));
    Ok(Answer::Document(document))
}

fn unknown(name: &str) -> Failed {
    Failed::not_found(format!("User '{name}' was not found"))
}

fn exists(name: &str) -> Failed {
    Failed::refused(format!("User '{name}' already exists"))
}

/// What a request says of a new account.
struct New {
    name: Name,
    account: Account,
    attributes: Map<String, Value>,
}

impl New {
    fn read(call: &Call, kind: &str) -> Result<Self, Failed> {
        let data = call.data()?;
        let text = |field: &str| data.get(field).and_then(Value::as_str);
        let name = text("id").ok_or_else(|| Failed::refused("`/data/id` is not a string"))?;
        if text("type") != Some(kind) {
            let why = format!("`/data/type` is not '{kind}'");
            return Err(Failed::refused(why));
        }
        let attributes = data.get("attributes").and_then(Value::as_object);
        let attributes = attributes.cloned().unwrap_or_default();
        let missing = || Failed::refused("`/data/attributes/account` is missing");
        Ok(Self {
            name: parse_name(name)?,
            account: Account::read(&attributes)?.ok_or_else(missing)?,
            attributes,
        })
    }
}

/// A colon would end the name in what a client sends (RFC 7617 §2).
fn parse_name(text: &str) -> Result<Name, Failed> {
    if text.contains(':') {
        return Err(Failed::refused("A user's name has no colon"));
    }
    let parsed: Result<Name, _> = text.parse();
    parsed.map_err(|invalid| Failed::refused(format!("Invalid user name: {}", invalid.why)))
}

fn password(attributes: &Map<String, Value>) -> Result<Option<Box<str>>, Failed> {
    match attributes.get("password") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.is_empty() || text.len() > PASSWORD_BYTES_MAX => {
            let why = format!("A password has 1 to {PASSWORD_BYTES_MAX} bytes");
            Err(Failed::refused(why))
        }
        Some(Value::String(text)) => Ok(Some(text.as_str().into())),
        Some(_) => Err(Failed::refused(
            "`/data/attributes/password` is not a string",
        )),
    }
}

fn create_inet<'a>(maxscale: &'a MaxScale, call: &'a Call) -> Running<'a> {
    Box::pin(async move {
        let new = New::read(call, "inet")?;
        let missing = || Failed::refused("`/data/attributes/password` is missing");
        let password = password(&new.attributes)?.ok_or_else(missing)?;
        let operator = Operator {
            role: new.account.role(),
            password: maxscale.guard.hash(password).await?,
            name: new.name,
        };
        let first = first_operator(maxscale).await?;
        maxscale
            .edit(move |draft| add(draft, operator, first))
            .await?;
        Ok(Answer::Done)
    })
}

/// The account that is there from the start, as an operator.
async fn first_operator(maxscale: &MaxScale) -> Result<Option<Operator>, Failed> {
    if !is_nobody(&maxscale.registry.snapshot()) {
        return Ok(None);
    }
    let password = maxscale.guard.hash(FIRST_PASSWORD.into()).await?;
    Ok(Some(first_with(password)))
}

fn first_with(password: Secret) -> Operator {
    Operator {
        name: FIRST_NAME.parse().expect("a name"),
        password,
        role: OperatorRole::Admin,
    }
}

/// With the first account that is made, the one that was there from the start stays: who made it must
/// not be locked out by it.
fn add(draft: &mut Draft, operator: Operator, first: Option<Operator>) -> Result<(), Failed> {
    let first = first.filter(|_| is_nobody(&draft.snapshot));
    if let Some(first) = first {
        draft.create(Entity::new(Id::random(), first))?;
    }
    let name = operator.name.as_str();
    if draft.snapshot.named(Kind::Operator, "", name).is_some() {
        return Err(exists(name));
    }
    draft.create(Entity::new(Id::random(), operator))
}

fn create_unix(draft: &mut Draft, call: &Call) -> Result<(), Failed> {
    let new = New::read(call, "unix")?;
    let mut all = record(&draft.snapshot);
    if all.unix.contains_key(new.name.as_str()) {
        return Err(exists(new.name.as_str()));
    }
    if all.unix.len() >= UNIX_MAX {
        let why = format!("There are at most {UNIX_MAX} users of type unix");
        return Err(Failed::refused(why));
    }
    all.unix.insert(new.name.as_str().into(), new.account);
    write_record(draft, &all)
}

fn update_inet<'a>(maxscale: &'a MaxScale, call: &'a Call) -> Running<'a> {
    Box::pin(async move {
        let attributes = call.data()?.get("attributes").and_then(Value::as_object);
        let attributes = attributes.cloned().unwrap_or_default();
        let account = Account::read(&attributes)?;
        let password = match password(&attributes)? {
            Some(password) => Some(maxscale.guard.hash(password).await?),
            None => None,
        };
        if account.is_none() && password.is_none() {
            return Err(Failed::refused(
                "Neither a password nor an account is given",
            ));
        }
        let first = first_operator(maxscale).await?;
        let name = call.name(0).to_owned();
        let plan = move |draft: &mut Draft| update(draft, &name, account, password, first);
        maxscale.edit(plan).await?;
        Ok(Answer::Done)
    })
}

fn update(
    draft: &mut Draft,
    name: &str,
    account: Option<Account>,
    password: Option<Secret>,
    first: Option<Operator>,
) -> Result<(), Failed> {
    let first = first.filter(|first| is_nobody(&draft.snapshot) && first.name.as_str() == name);
    if let Some(first) = first {
        draft.create(Entity::new(Id::random(), first))?;
    }
    let entity = draft.snapshot.named(Kind::Operator, "", name);
    let mut entity = Entity::clone(entity.ok_or_else(|| unknown(name))?);
    let operator = entity.as_kind::<Operator>().ok_or_else(|| unknown(name))?;
    let mut operator = operator.clone();
    operator.password = password.unwrap_or(operator.password);
    operator.role = account.map_or(operator.role, Account::role);
    if operator.role != OperatorRole::Admin {
        keep_an_admin(&draft.snapshot, name)?;
    }
    entity.spec = operator.into();
    draft.replace(entity)
}

fn delete_inet(draft: &mut Draft, call: &Call) -> Result<(), Failed> {
    let name = call.name(0);
    if is_nobody(&draft.snapshot) && name == FIRST_NAME {
        return Err(last_admin());
    }
    let entity = draft.snapshot.named(Kind::Operator, "", name);
    let at = entity.ok_or_else(|| unknown(name))?.at();
    keep_an_admin(&draft.snapshot, name)?;
    draft.delete([at])
}

fn delete_unix(draft: &mut Draft, call: &Call) -> Result<(), Failed> {
    let mut all = record(&draft.snapshot);
    let name = call.name(0);
    all.unix.remove(name).ok_or_else(|| unknown(name))?;
    write_record(draft, &all)
}

/// Refuses what would leave nobody who may change anything.
fn keep_an_admin(snapshot: &Snapshot, without: &str) -> Result<(), Failed> {
    let operators = snapshot.list(Kind::Operator, None);
    let mut operators = operators.filter_map(|entity| entity.as_kind::<Operator>());
    let another = |operator: &Operator| {
        operator.role == OperatorRole::Admin && operator.name.as_str() != without
    };
    match operators.any(another) {
        true => Ok(()),
        false => Err(last_admin()),
    }
}

fn last_admin() -> Failed {
    Failed::refused("The last admin account cannot be removed")
}
