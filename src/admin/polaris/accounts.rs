//! Accounts: who may use the console's calls, and which services each may write.
//!
//! There is one main account, which owns everything, and accounts below it. A service that names users
//! may be written by those and by the main account; one that names nobody, by all.

use std::fmt;
use std::sync::Arc;

use ring::digest::{SHA256, digest};
use subtle::ConstantTimeEq;

use super::answer::Failed;
use super::codes::{self, Code};
use super::draft::fresh_digits;
use super::names::digits;
use super::requests::Grants;
use super::wire::{LoginMessage, UserMessage};
use crate::model::{Id, Secret};

/// The id of the main account of a new Polaris, which clients may have written down.
const MAIN_ID: &str = "65e4789a6d5b49669adf1e9e8387549c";
const MAIN_NAME: &str = "polaris";

/// An account as the settings have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    pub name: String,
    pub password: Secret,
    /// Default: another one at each start, which a login tells.
    pub token: Option<Secret>,
}

#[derive(Debug)]
struct Known {
    id: String,
    name: String,
    password: Secret,
    token: Secret,
}

impl Known {
    fn of(account: &Account) -> Self {
        let id = match &*account.name {
            MAIN_NAME => MAIN_ID.to_owned(),
            name => digits(Id::derived(&format!("sluicegate:polaris:user:{name}"))),
        };
        let token = account.token.clone();
        Self {
            id,
            name: account.name.clone(),
            password: account.password.clone(),
            token: token.unwrap_or_else(|| Secret::new(fresh_digits() + &fresh_digits())),
        }
    }
}

/// All accounts; the first is the main one. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Accounts(Arc<(Known, Vec<Known>)>);

impl Accounts {
    pub fn new(main: &Account, others: &[Account]) -> Self {
        let others = others.iter().map(Known::of).collect();
        Self(Arc::new((Known::of(main), others)))
    }

    fn main(&self) -> &Known {
        &self.0.0
    }

    fn all(&self) -> impl Iterator<Item = &Known> {
        std::iter::once(&self.0.0).chain(&self.0.1)
    }

    /// Who bears that token: compared with every one, each in constant time.
    pub(super) fn bearer(&self, token: &[u8]) -> Option<Caller> {
        let bears = |one: &&Known| is_same(one.token.reveal().as_bytes(), token);
        let found = self.all().filter(bears).last()?;
        Some(Caller(Some(Session {
            accounts: self.clone(),
            id: found.id.clone(),
        })))
    }

    pub(super) fn login(&self, name: &str, password: &str) -> Result<LoginMessage, Code> {
        let found = self.all().find(|one| one.name == name);
        let found = found.ok_or(codes::NOT_FOUND_USER)?;
        if !is_same(found.password.reveal().as_bytes(), password.as_bytes()) {
            return Err(codes::NOT_ALLOWED);
        }
        let is_main = found.id == self.main().id;
        Ok(LoginMessage {
            user_id: found.id.clone(),
            owner_id: self.main().id.clone(),
            token: found.token.reveal().to_owned(),
            name: found.name.clone(),
            role: if is_main { "main" } else { "sub" },
        })
    }

    pub(super) fn users(&self) -> Vec<UserMessage> {
        let main = self.main();
        let user = |one: &Known| UserMessage {
            id: one.id.clone(),
            name: one.name.clone(),
            owner: main.id.clone(),
            user_type: if one.id == main.id { "main" } else { "sub" },
        };
        self.all().map(user).collect()
    }
}

/// Compares without telling how far two texts agree, nor how long they are.
fn is_same(one: &[u8], other: &[u8]) -> bool {
    let (one, other) = (digest(&SHA256, one), digest(&SHA256, other));
    one.as_ref().ct_eq(other.as_ref()).into()
}

/// Who asks.
#[derive(Clone)]
pub(super) struct Caller(Option<Session>);

#[derive(Clone)]
struct Session {
    accounts: Accounts,
    id: String,
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = self.0.as_ref().map(|session| &session.id);
        f.debug_tuple("Caller").field(&id).finish()
    }
}

impl Caller {
    /// Somebody who was not asked who they are.
    pub(super) const fn nobody() -> Self {
        Self(None)
    }

    pub(super) const fn is_somebody(&self) -> bool {
        self.0.is_some()
    }

    /// Whether it is an account below the main one.
    pub(super) fn is_sub(&self) -> bool {
        let main = |session: &Session| session.id == session.accounts.main().id;
        self.0.as_ref().is_some_and(|session| !main(session))
    }

    /// The account's own id.
    pub(super) fn id(&self) -> Option<&str> {
        self.0.as_ref().map(|session| session.id.as_str())
    }

    /// Whose what is made now will be: the main account's, else what is said.
    pub(super) fn owner_or(&self, said: &str) -> String {
        let main = self.0.as_ref().map(|session| session.accounts.main());
        main.map_or(said, |main| &main.id).to_owned()
    }

    /// Whether a resource with those users may be written: one that names nobody by all, whoever owns
    /// it.
    pub(super) fn may_write(&self, user_ids: &[Box<str>]) -> Result<(), Failed> {
        let Some(session) = &self.0 else {
            return Ok(());
        };
        let main = &session.accounts.main().id;
        let is_named = user_ids.iter().any(|id| **id == session.id);
        if user_ids.is_empty() || session.id == *main || is_named {
            Ok(())
        } else {
            Err(codes::NOT_ALLOWED.into())
        }
    }

    /// Whether there is an account of that id.
    pub(super) fn knows(&self, id: &str) -> bool {
        let mut accounts = self.0.iter().flat_map(|session| session.accounts.all());
        accounts.any(|one| one.id == id)
    }

    /// Refuses ids of nobody. What was written stays written, as with Polaris.
    pub(super) fn may_grant(&self, grants: &Grants) -> Result<(), Failed> {
        if !self.is_somebody() {
            return Ok(());
        }
        let users = grants.user_ids.iter().chain(&grants.remove_user_ids);
        let stranger = users.into_iter().find(|id| !self.knows(id));
        let groups = grants.group_ids.iter().chain(&grants.remove_group_ids);
        match stranger.or_else(|| groups.into_iter().next()) {
            Some(id) => {
                let why = format!("{id} is the id of no user or group");
                Err(Failed::saying(codes::EXCEPTION, why))
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts() -> Accounts {
        let account = |name: &str| Account {
            name: name.to_owned(),
            password: Secret::new(name),
            token: Some(Secret::new(format!("{name}'s token"))),
        };
        Accounts::new(&account("polaris"), &[account("ann"), account("bob")])
    }

    #[test]
    fn a_login_tells_the_token_and_who_one_is() {
        let accounts = accounts();
        let login = accounts.login("polaris", "polaris").unwrap();
        assert_eq!((&*login.user_id, login.role), (MAIN_ID, "main"));
        assert_eq!(
            accounts.bearer(login.token.as_bytes()).unwrap().id(),
            Some(MAIN_ID)
        );
        assert_eq!(accounts.login("ann", "x"), Err(codes::NOT_ALLOWED));
        assert_eq!(accounts.login("nobody", "x"), Err(codes::NOT_FOUND_USER));
        assert!(accounts.bearer(b"x").is_none());
    }

    #[test]
    fn a_service_is_written_by_its_users_and_by_the_main_account() {
        let accounts = accounts();
        let caller = |name: &str| {
            accounts
                .bearer(format!("{name}'s token").as_bytes())
                .unwrap()
        };
        let ann: Box<str> = caller("ann").id().unwrap().into();
        let may = |name: &str, users: &[Box<str>]| caller(name).may_write(users).is_ok();
        assert!(
            may("polaris", std::slice::from_ref(&ann)) && may("ann", std::slice::from_ref(&ann))
        );
        assert!(!may("bob", &[ann]) && may("bob", &[]));
        assert!(Caller::nobody().may_write(&["x".into()]).is_ok());
    }

    #[test]
    fn nobody_is_granted_what_no_account_could_use() {
        let caller = accounts().bearer(b"ann's token").unwrap();
        let grants = |id: &str| Grants {
            user_ids: vec![id.to_owned()],
            ..Grants::default()
        };
        assert!(caller.may_grant(&grants(MAIN_ID)).is_ok());
        let refused = caller.may_grant(&grants("x")).unwrap_err();
        assert_eq!(refused.code, codes::EXCEPTION);
    }
}
