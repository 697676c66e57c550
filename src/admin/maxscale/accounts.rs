//! Who may administer: HTTP Basic (RFC 7617) against the operators.
//!
//! A password costs a tenth of a second to check. Who was let in is remembered, so that this is paid once;
//! who guesses pays it each time, and only a few are checked at once.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use ring::hmac;
use subtle::ConstantTimeEq;
use tokio::sync::Semaphore;

use crate::admin::auth;
use crate::model::{Entity, Id, Kind, Operator, OperatorRole, Revision, Secret, Snapshot};

use super::answer::Failed;
use super::path::Verb;
use super::{MaxScale, passwords, settings};

/// The account there is while nobody made one, and its password (MaxScale's), which everybody knows:
/// it is good on loopback only, whoever has it.
pub(super) const FIRST_NAME: &str = "admin";
pub(super) const FIRST_PASSWORD: &str = "mariadb";

/// Hashes that are computed at the same time, and callers that may wait for theirs.
const HASHES_MAX: usize = 2;
const WAITING_MAX: usize = 64;

/// Credentials that are remembered; all are forgotten when there would be more.
const REMEMBERED_MAX: usize = 1024;

/// What it takes to tell who asks.
pub(super) struct Guard {
    /// Of this process alone: what is remembered says nothing of a password.
    key: hmac::Key,
    remembered: Mutex<HashMap<Proof, Account>>,
    hashes: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

/// A name and a password, under the key.
type Proof = [u8; 32];

/// An operator as it was when its password was checked: what is written since has another revision.
type Account = (Id, Revision);

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").finish_non_exhaustive()
    }
}

impl Guard {
    pub(super) fn new() -> Self {
        let (one, other) = (Id::random(), Id::random());
        let random = [*one.as_bytes(), *other.as_bytes()].concat();
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, &random),
            remembered: Mutex::default(),
            hashes: Arc::new(Semaphore::new(HASHES_MAX)),
            waiting: Arc::new(Semaphore::new(HASHES_MAX + WAITING_MAX)),
        }
    }

    /// What these credentials allow.
    async fn role(&self, snapshot: &Snapshot, who: Credentials) -> Result<OperatorRole, Failed> {
        if is_nobody(snapshot) {
            let first = who.is_first().then_some(OperatorRole::Admin);
            return first.ok_or_else(Failed::denied);
        }
        let named = snapshot.named(Kind::Operator, "", &who.name);
        let known = named.and_then(|entity| Some((entity, entity.as_kind::<Operator>()?)));
        let proof = self.proof(&who);
        match known {
            Some((entity, operator)) if self.remembers(&proof, entity) => Ok(operator.role),
            Some((entity, operator)) => {
                let hash = operator.password.clone();
                self.check(who.password, hash).await?;
                self.remember(proof, entity);
                Ok(operator.role)
            }
            None => {
                // It takes as long to hear of a wrong name as of a wrong password.
                let _ = self.hash(who.password).await?;
                Err(Failed::denied())
            }
        }
    }

    async fn check(&self, password: Box<str>, hash: Secret) -> Result<(), Failed> {
        let check = move || passwords::is_of(&password, hash.reveal());
        match self.compute(check).await? {
            true => Ok(()),
            false => Err(Failed::denied()),
        }
    }

    /// A new password's hash.
    pub(super) async fn hash(&self, password: Box<str>) -> Result<Secret, Failed> {
        self.compute(move || passwords::hash(&password)).await
    }

    /// Runs what takes long beside everything else, a few at once.
    async fn compute<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Failed> {
        let waiting = Arc::clone(&self.waiting).try_acquire_owned();
        let _waiting = waiting.map_err(|_| too_many())?;
        let turn = Arc::clone(&self.hashes).acquire_owned().await;
        let turn = turn.map_err(|_| too_many())?;
        let done = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            work()
        });
        done.await.map_err(|_| too_many())
    }

    fn proof(&self, who: &Credentials) -> Proof {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(who.name.as_bytes());
        // No name holds it, so that name and password are told apart.
        context.update(b":");
        context.update(who.password.as_bytes());
        let tag = context.sign();
        tag.as_ref().try_into().expect("HMAC-SHA-256 has 32 bytes")
    }

    fn remembers(&self, proof: &Proof, entity: &Entity) -> bool {
        let remembered = self.remembered.lock();
        let remembered = remembered.unwrap_or_else(PoisonError::into_inner);
        remembered.get(proof) == Some(&(entity.id, entity.revision))
    }

    fn remember(&self, proof: Proof, entity: &Entity) {
        let remembered = self.remembered.lock();
        let mut remembered = remembered.unwrap_or_else(PoisonError::into_inner);
        if remembered.len() >= REMEMBERED_MAX {
            remembered.clear();
        }
        remembered.insert(proof, (entity.id, entity.revision));
    }
}

fn too_many() -> Failed {
    let why = "too many passwords are being checked; try again in a second";
    Failed::new(StatusCode::SERVICE_UNAVAILABLE, why)
}

/// Whether nobody has made an account yet.
pub(super) fn is_nobody(snapshot: &Snapshot) -> bool {
    snapshot.list(Kind::Operator, None).next().is_none()
}

/// Lets a request in, or not; `verb` is the one that is meant. A page in a browser that is logged in
/// here changes nothing, unless it is ours.
pub(super) async fn admit(maxscale: &MaxScale, head: &Parts, verb: Verb) -> Result<(), Failed> {
    let headers = &head.headers;
    if verb.is_write() && auth::is_foreign_page(headers) {
        return Err(Failed::refused(auth::Denied::UntrustedOrigin.why()));
    }
    let snapshot = maxscale.registry.snapshot();
    let is_local = maxscale.at.ip().to_canonical().is_loopback();
    if is_local && !settings::asks(&snapshot) {
        return check_host(head);
    }
    let who = Credentials::of(headers).ok_or_else(Failed::denied)?;
    match (who.has_first_password(), is_local) {
        (true, false) => return Err(Failed::denied()),
        (true, true) => check_host(head)?,
        (false, _) => (),
    }
    let name = who.name.clone();
    let role = maxscale.guard.role(&snapshot, who).await;
    if role.is_err() && settings::logs_failures(&snapshot) {
        tracing::warn!(user = ?name, "maxscale: a login failed");
    }
    match (role?, verb.is_write()) {
        (OperatorRole::Basic, true) => Err(Failed::denied()),
        (OperatorRole::Basic, false) | (OperatorRole::Admin, _) => Ok(()),
    }
}

/// A page in a browser can give this machine a name of its own; it knows no password but the one that
/// everybody knows.
fn check_host(head: &Parts) -> Result<(), Failed> {
    match auth::is_called_local(&head.uri, &head.headers) {
        true => Ok(()),
        false => Err(Failed::refused(FOREIGN_NAME)),
    }
}

const FOREIGN_NAME: &str = "without a password of your own the host must be an IP address or localhost; \
                            give admin another password to use a name";

/// Who somebody says that they are.
struct Credentials {
    name: Box<str>,
    password: Box<str>,
}

impl Credentials {
    /// RFC 7617 §2, of the only `Authorization`.
    fn of(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let (only, None) = (values.next()?, values.next()) else {
            return None;
        };
        let (scheme, rest) = only.as_bytes().split_at_checked(6)?;
        let basic = scheme.eq_ignore_ascii_case(b"basic ");
        let decoded = STANDARD.decode(rest.trim_ascii()).ok().filter(|_| basic)?;
        let text = String::from_utf8(decoded).ok()?;
        let (name, password) = text.split_once(':')?;
        Some(Self {
            name: name.into(),
            password: password.into(),
        })
    }

    fn has_first_password(&self) -> bool {
        let (own, first) = (self.password.as_bytes(), FIRST_PASSWORD.as_bytes());
        own.ct_eq(first).into()
    }

    fn is_first(&self) -> bool {
        self.has_first_password() && *self.name == *FIRST_NAME
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::Change;

    fn who(name: &str, password: &str) -> Credentials {
        Credentials {
            name: name.into(),
            password: password.into(),
        }
    }

    fn operator(name: &str, password: &str, role: OperatorRole) -> Change {
        let operator = Operator {
            name: name.parse().unwrap(),
            password: passwords::hash(password),
            role,
        };
        Change::Create(Arc::new(Entity::new(Id::random(), operator)))
    }

    fn with(changes: &[Change]) -> Snapshot {
        let now = crate::model::Timestamp(0);
        Snapshot::empty().with(changes, now).unwrap().0
    }

    #[tokio::test]
    async fn the_first_account_is_there_until_another_is_made() {
        let guard = Guard::new();
        let role = guard
            .role(&Snapshot::empty(), who("admin", "mariadb"))
            .await;
        assert_eq!(role, Ok(OperatorRole::Admin));
        for wrong in [who("admin", "x"), who("Admin", "mariadb"), who("", "")] {
            assert!(guard.role(&Snapshot::empty(), wrong).await.is_err());
        }
        let others = with(&[operator("bob", "b", OperatorRole::Basic)]);
        assert!(guard.role(&others, who("admin", "mariadb")).await.is_err());
        assert_eq!(
            guard.role(&others, who("bob", "b")).await,
            Ok(OperatorRole::Basic)
        );
    }

    #[tokio::test]
    async fn what_is_remembered_ends_with_the_account_as_it_was() {
        let guard = Guard::new();
        let before = with(&[operator("bob", "b", OperatorRole::Admin)]);
        let entity = Arc::clone(before.named(Kind::Operator, "", "bob").unwrap());
        guard.role(&before, who("bob", "b")).await.unwrap();
        assert!(guard.remembers(&guard.proof(&who("bob", "b")), &entity));
        assert!(!guard.remembers(&guard.proof(&who("bob", "c")), &entity));
        assert!(!guard.remembers(&guard.proof(&who("bo", "b:b")), &entity));

        let mut changed = Entity::clone(&entity);
        changed.spec = Operator {
            name: "bob".parse().unwrap(),
            password: passwords::hash("new"),
            role: OperatorRole::Admin,
        }
        .into();
        let change = Change::Replace(Arc::new(changed));
        let (after, _) = before.with(&[change], crate::model::Timestamp(1)).unwrap();
        assert!(guard.role(&after, who("bob", "b")).await.is_err());
        assert!(guard.role(&after, who("bob", "new")).await.is_ok());
    }

    #[test]
    fn memory_is_bounded() {
        let guard = Guard::new();
        let entity = Entity::new(
            Id::random(),
            Operator {
                name: "a".parse().unwrap(),
                password: Secret::new(""),
                role: OperatorRole::Basic,
            },
        );
        for n in 0..=REMEMBERED_MAX {
            guard.remember(guard.proof(&who("a", &n.to_string())), &entity);
        }
        assert_eq!(guard.remembered.lock().unwrap().len(), 1);
    }

    #[tokio::test]
    async fn no_more_than_a_few_wait_to_be_checked() {
        let guard = Guard::new();
        let all = u32::try_from(HASHES_MAX + WAITING_MAX).unwrap();
        let taken = guard.waiting.clone().try_acquire_many_owned(all).unwrap();
        let refused = guard.hash("x".into()).await.unwrap_err();
        assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
        drop(taken);
        assert!(guard.hash("x".into()).await.is_ok());
    }

    #[test]
    fn credentials_are_read_as_they_are_sent() {
        let read = |values: &[&str]| {
            let pairs = values
                .iter()
                .map(|value| (AUTHORIZATION, value.parse().unwrap()));
            let read = Credentials::of(&pairs.collect())?;
            Some(format!("{}|{}", read.name, read.password))
        };
        let basic = |text: &str| format!("Basic {}", STANDARD.encode(text));
        assert_eq!(read(&[&basic("a:b:c")]).as_deref(), Some("a|b:c"));
        assert_eq!(read(&[&basic(":")]).as_deref(), Some("|"));
        assert_eq!(read(&["bASIC YTpi"]).as_deref(), Some("a|b"));
        for wrong in [
            &[][..],
            &["Basic"],
            &["Basic !"],
            &["Bearer YTpi"],
            &[&basic("ab")],
            &["Basic YTpi", "Basic YTpi"],
            &["Basic /zpi"],
        ] {
            assert_eq!(read(wrong), None, "{wrong:?}");
        }
    }
}
