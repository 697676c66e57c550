//! How a service, its pool and its instances are called, here and there.

use std::borrow::Cow;
use std::sync::Arc;

use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

use crate::model::{Entity, Id, Kind, NAME_BYTES_MAX, Pool, Snapshot, unique};

/// This dialect's word in attributes, metrics and logs.
pub(super) const DIALECT: &str = "polaris";

/// How `/` and `:`, which a host cannot hold, are written in a pool's name; and how where that takes
/// too many bytes, with what no name of Polaris holds.
const ESCAPES: [(char, &str); 2] = [('/', "%2F"), (':', "%3A")];
const SHORT_ESCAPES: [(char, &str); 2] = [('/', "~"), (':', "!")];

fn escaped(text: &str, escapes: [(char, &str); 2]) -> String {
    let [(slash, instead), (colon, other)] = escapes;
    text.replace(slash, instead).replace(colon, other)
}

/// The name of a service's pool: `{service}.{namespace}`, which other services may name as their host.
pub(super) fn pool_name(namespace: &str, service: &str) -> String {
    let plain = format!("{service}.{namespace}");
    let name = escaped(&plain, ESCAPES);
    if name.len() <= NAME_BYTES_MAX {
        return name;
    }
    escaped(&plain, SHORT_ESCAPES)
}

/// The service whose pool this is; `None` for a pool that is called otherwise.
pub(super) fn service_of(pool: &Pool) -> Option<Cow<'_, str>> {
    let (namespace, name) = (pool.namespace.as_str(), pool.name.as_str());
    let long = unescaped(namespace, name, ESCAPES);
    if name.contains(['~', '!']) {
        let short = unescaped(namespace, name, SHORT_ESCAPES);
        let short = short.filter(|service| pool_name(namespace, service) == *name);
        return short.or(long);
    }
    long
}

fn unescaped<'n>(
    namespace: &str,
    name: &'n str,
    escapes: [(char, &str); 2],
) -> Option<Cow<'n, str>> {
    let suffix = escaped(&format!(".{namespace}"), escapes);
    let service = name.strip_suffix(&suffix)?;
    if service.is_empty() {
        return None;
    }
    let is_escaped = escapes.iter().any(|(_, instead)| service.contains(instead));
    Some(if is_escaped {
        let plain = |text: String, (was, instead): (char, &str)| {
            text.replace(instead, was.encode_utf8(&mut [0; 4]))
        };
        escapes.into_iter().fold(service.to_owned(), plain).into()
    } else {
        service.into()
    })
}

/// 32 hexadecimal digits.
pub(super) fn digits(id: Id) -> String {
    hex(id.as_bytes())
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        for half in [byte >> 4, byte & 15] {
            text.extend(char::from_digit(half.into(), 16));
        }
        text
    })
}

/// The address of an instance, as a request gives it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) service: String,
    pub(super) namespace: String,
    pub(super) vpc_id: String,
    pub(super) host: String,
    pub(super) port: u16,
}

impl Address {
    /// The id that every Polaris gives the instance there.
    pub(super) fn instance_id(&self) -> String {
        let vpc = match &*self.vpc_id {
            "" => String::new(),
            vpc => format!("{vpc}##"),
        };
        let words = format!(
            "{}##{}##{vpc}{}##{}",
            self.namespace, self.service, self.host, self.port
        );
        hex(digest(&SHA1_FOR_LEGACY_USE_ONLY, words.as_bytes()).as_ref())
    }

    /// The instance that stands there, whatever its id.
    pub(super) fn find<'s>(&self, snapshot: &'s Snapshot) -> Option<&'s Arc<Entity>> {
        let name = pool_name(&self.namespace, &self.service);
        let pool = snapshot.named(Kind::Pool, &self.namespace, &name)?;
        at_address(snapshot, pool.id, &self.host, self.port)
    }
}

/// The endpoint of a pool at an address.
pub(super) fn at_address<'s>(
    snapshot: &'s Snapshot,
    pool: Id,
    host: &str,
    port: u16,
) -> Option<&'s Arc<Entity>> {
    let address = format!("{host}:{port}");
    snapshot.holder(
        Kind::Endpoint,
        unique("host", &[&pool.to_string(), &address]),
    )
}

/// The id of the entity of an instance, from the instance's own.
pub(super) fn entity_id(instance: &str) -> Id {
    Id::derived(&format!("sluicegate:polaris:instance:{instance}"))
}

/// An instance by its id: of this dialect's own making, or another's endpoint by its UUID.
pub(super) fn instance<'s>(snapshot: &'s Snapshot, id: &str) -> Option<&'s Arc<Entity>> {
    let own = snapshot.entity(Kind::Endpoint, entity_id(id));
    own.or_else(|| snapshot.entity(Kind::Endpoint, id.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_s_id_is_polaris_own() {
        let mut address = Address {
            service: "fixed-svc".into(),
            namespace: "fixed-ns".into(),
            vpc_id: String::new(),
            host: "10.2.3.4".into(),
            port: 8080,
        };
        assert_eq!(
            address.instance_id(),
            "876c19d3ac0757dd8075884dab5dfbd9cb7a9b72"
        );
        address.vpc_id = "vpc1".into();
        assert_eq!(
            address.instance_id(),
            "a44e5ce297c19585c0e224ce5b685e7c655828d6"
        );
    }

    #[test]
    fn a_pool_s_name_leads_back_to_the_service() {
        for (namespace, service) in [("default", "a"), ("b.c", "a"), ("x/y", "A-b.c/d:e_f1")] {
            let name = pool_name(namespace, service);
            let mut pool = Pool::named(name.parse().unwrap());
            pool.namespace = namespace.parse::<crate::model::Name>().unwrap().into();
            assert_eq!(service_of(&pool).as_deref(), Some(service), "{name}");
        }
        let (slashes, colons) = ("a/".repeat(64), ":".repeat(128));
        let crowded = "x/y:".repeat(16);
        for (namespace, service) in [
            ("default", slashes.as_str()),
            (&*crowded, "a/b:c"),
            (&*crowded, &*colons),
        ] {
            let name = pool_name(namespace, service);
            assert!(name.len() <= NAME_BYTES_MAX);
            let mut pool = Pool::named(name.parse().unwrap());
            pool.namespace = namespace.parse::<crate::model::Name>().unwrap().into();
            assert_eq!(service_of(&pool).as_deref(), Some(service), "{name}");
        }
        let native = Pool::named("a~b!c.default".parse().unwrap());
        assert_eq!(service_of(&native).as_deref(), Some("a~b!c"));
        let other = Pool::named("mine".parse().unwrap());
        assert_eq!(service_of(&other), None);
        let bare = Pool::named(".default".parse().unwrap());
        assert_eq!(service_of(&bare), None);
    }
}
