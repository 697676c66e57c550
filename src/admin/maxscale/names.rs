//! Names: how one is stored, and whom a segment of a path means.
//!
//! White space becomes hyphens where a name is stored. The case is kept, and does not count where
//! somebody is looked for: MaxScale's documents say so of services and servers, and no two may differ in
//! nothing else.

use std::sync::Arc;

use crate::model::{Entity, Id, Kind, Name, NamespaceRef, Snapshot};

use super::answer::Failed;
use super::call::Call;

/// Trimmed, and each run of white space a hyphen.
pub(super) fn hyphenated(name: &str) -> String {
    name.split_whitespace().collect::<Vec<_>>().join("-")
}

/// A new entity's name.
///
/// # Errors
/// Where the text cannot be a name, or begins with `@@`, which MaxScale keeps for itself.
pub(super) fn parse(text: &str) -> Result<Name, Failed> {
    let name = hyphenated(text);
    if name.starts_with("@@") {
        let why = format!("Invalid name {text:?}: names do not begin with @@");
        return Err(Failed::refused(why));
    }
    let parsed: Result<Name, _> = name.parse();
    parsed.map_err(|invalid| Failed::refused(format!("Invalid name: {}", invalid.why)))
}

/// Whether both names mean the same.
pub(super) fn is_same(one: &str, other: &str) -> bool {
    one.eq_ignore_ascii_case(other) || hyphenated(one).eq_ignore_ascii_case(&hyphenated(other))
}

/// The entities of a kind that this dialect shows: those of the namespace `default`, and of kinds that
/// have none.
pub(super) fn shown(snapshot: &Snapshot, kind: Kind) -> impl Iterator<Item = &Arc<Entity>> {
    let seen = |entity: &&Arc<Entity>| entity.spec.namespace().is_none_or(NamespaceRef::is_default);
    snapshot.list(kind, None).filter(seen)
}

/// The entity of that kind that is called so: exactly, else but for case and hyphens, else by its id
/// where it has no name.
pub(super) fn find<'a>(snapshot: &'a Snapshot, kind: Kind, name: &str) -> Option<&'a Arc<Entity>> {
    let exact = snapshot.named(kind, namespace(kind), name);
    let alike = || {
        let named = |entity: &&Arc<Entity>| {
            let own = entity.spec.name();
            own.is_some_and(|own| is_same(own, name))
        };
        shown(snapshot, kind).find(named)
    };
    let nameless = || {
        let id: Id = name.parse().ok()?;
        let entity = snapshot.entity(kind, id)?;
        let seen = entity.spec.namespace().is_none_or(NamespaceRef::is_default);
        (entity.spec.name().is_none() && seen).then_some(entity)
    };
    exact.or_else(alike).or_else(nameless)
}

/// Refuses a name that another entity of that kind has, but for case and hyphens.
pub(super) fn check_free(snapshot: &Snapshot, kind: Kind, name: &Name) -> Result<(), Failed> {
    match find(snapshot, kind, name.as_str()) {
        Some(other) => {
            let (kind, label) = (kind.singular(), other.label());
            Err(Failed::refused(format!(
                "A {kind} named {label:?} exists already"
            )))
        }
        None => Ok(()),
    }
}

/// The entities of a kind that this dialect shows, the oldest first.
pub(super) fn by_age(snapshot: &Snapshot, kind: Kind) -> Vec<&Arc<Entity>> {
    let mut all: Vec<_> = shown(snapshot, kind).collect();
    all.sort_by_cached_key(|entity| (entity.created_at, entity.label()));
    all
}

/// The entity that a segment of the path means.
///
/// # Errors
/// 404 where there is none.
pub(super) fn existing<'a>(
    snapshot: &'a Snapshot,
    kind: Kind,
    name: &str,
) -> Result<&'a Arc<Entity>, Failed> {
    let missing = || Failed::not_found(format!("There is no {} named {name:?}", kind.singular()));
    find(snapshot, kind, name).ok_or_else(missing)
}

/// Whether what the path of a request names first is there.
///
/// # Errors
/// 404 where it is not.
pub(super) fn check_path(snapshot: &Snapshot, call: &Call) -> Result<(), Failed> {
    let Some(name) = call.filled.first() else {
        return Ok(());
    };
    let collection = call.segments.first().map_or("", String::as_str);
    let kind = match collection {
        "services" => Kind::Service,
        "servers" => Kind::Server,
        "filters" => Kind::Filter,
        "monitors" => Kind::Monitor,
        "listeners" => Kind::Listener,
        _ => return Ok(()),
    };
    existing(snapshot, kind, name).map(|_| ())
}

/// Where names of a kind are looked for.
const fn namespace(kind: Kind) -> &'static str {
    match kind {
        Kind::Operator => "",
        Kind::Namespace
        | Kind::Pool
        | Kind::Endpoint
        | Kind::Service
        | Kind::Route
        | Kind::Certificate
        | Kind::Sni
        | Kind::Listener
        | Kind::Plugin
        | Kind::Consumer
        | Kind::KeyAuth
        | Kind::BasicAuth
        | Kind::HmacAuth
        | Kind::JwtSecret
        | Kind::Acl
        | Kind::Oauth2Credential
        | Kind::CaCertificate
        | Kind::KeySet
        | Kind::Key
        | Kind::Vault
        | Kind::Server
        | Kind::Filter
        | Kind::Monitor => NamespaceRef::DEFAULT,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_becomes_hyphens() {
        assert_eq!(parse(" a  b\tc ").unwrap().as_str(), "a-b-c");
        for bad in ["", "  ", "@@x", "a\u{0}b", &"x".repeat(257)] {
            assert_eq!(parse(bad).unwrap_err().status, 403, "{bad:?}");
        }
    }

    #[test]
    fn case_and_hyphens_do_not_tell_names_apart() {
        assert!(is_same("Read Connection Router", "read-connection-router"));
        assert!(!is_same("ab", "a-b"));
    }
}
