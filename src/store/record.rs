//! Bytes ↔ entity: the form in which a store keeps one, in every version that was ever released.
//!
//! ```text
//! record   version (1 byte) · JSON {"kind","id","created_at","updated_at","revision",
//!                                   "tags"?,"attributes"?,"spec":{the kind's own fields}}
//! key      kind (1 byte) · id (16 bytes)
//! ```
//!
//! The bytes of every version are kept under `tests/fixtures/records`; changing what this version
//! writes means raising [`VERSION`] and adding a step to [`MIGRATIONS`].

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::model::{
    Acl, Attributes, BasicAuth, CaCertificate, Certificate, Consumer, Endpoint, Entity, EntityRef,
    Filter, HmacAuth, Id, JwtSecret, Key, KeyAuth, KeySet, Kind, Kinded, Listener, Monitor,
    Namespace, Oauth2Credential, Operator, Plugin, Pool, Revision, Route, Server, Service, Sni,
    Spec, Tag, Timestamp, Vault,
};

/// The version that [`encode`] writes.
pub const VERSION: u8 = 1;

/// Bytes of a [`key`].
pub const KEY_BYTES: usize = 17;

/// Step `n` takes a record's document from version `n + 1` to `n + 2`.
type Migration = fn(&mut Map<String, Value>) -> Result<(), String>;

const MIGRATIONS: [Migration; VERSION as usize - 1] = [];

/// Why bytes are not an entity to this version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    #[error("record format {0} is newer than {VERSION}")]
    Version(u8),
    #[error("kind {0} is not known")]
    Kind(u8),
    #[error("{0}")]
    Broken(String),
}

/// The byte that stands for a kind. Never reuse or change one.
const fn code(kind: Kind) -> u8 {
    match kind {
        Kind::Namespace => 1,
        Kind::Pool => 2,
        Kind::Endpoint => 3,
        Kind::Service => 4,
        Kind::Route => 5,
        Kind::Certificate => 6,
        Kind::Sni => 7,
        Kind::Listener => 8,
        Kind::Plugin => 9,
        Kind::Consumer => 10,
        Kind::KeyAuth => 11,
        Kind::BasicAuth => 12,
        Kind::HmacAuth => 13,
        Kind::JwtSecret => 14,
        Kind::Acl => 15,
        Kind::Oauth2Credential => 16,
        Kind::CaCertificate => 17,
        Kind::KeySet => 18,
        Kind::Key => 19,
        Kind::Vault => 20,
        Kind::Server => 21,
        Kind::Filter => 22,
        Kind::Monitor => 23,
        Kind::Operator => 24,
    }
}

/// The greatest kind's byte.
pub const KIND_MAX: u8 = 24;

/// The key under which an entity is kept; keys sort kind by kind.
pub fn key(at: EntityRef) -> [u8; KEY_BYTES] {
    let mut key = [code(at.kind); KEY_BYTES];
    for (to, from) in key.iter_mut().skip(1).zip(at.id.as_bytes()) {
        *to = *from;
    }
    key
}

/// Reads a [`key`].
///
/// # Errors
/// [`Unreadable::Kind`] where a newer version added the kind.
pub fn read_key(key: &[u8; KEY_BYTES]) -> Result<EntityRef, Unreadable> {
    let [first, id @ ..] = key;
    let named = |kind: &&Kind| code(**kind) == *first;
    let kind = Kind::ALL.iter().find(named).copied();
    Ok(EntityRef {
        kind: kind.ok_or(Unreadable::Kind(*first))?,
        id: Id::from_bytes(*id),
    })
}

#[derive(Serialize)]
struct Written<'a> {
    kind: Kind,
    id: Id,
    created_at: Timestamp,
    updated_at: Timestamp,
    revision: Revision,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    tags: &'a [Tag],
    #[serde(skip_serializing_if = "Option::is_none")]
    attributes: Option<&'a Attributes>,
    spec: &'a Spec,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Read<T> {
    kind: Kind,
    id: Id,
    created_at: Timestamp,
    updated_at: Timestamp,
    revision: Revision,
    #[serde(default)]
    tags: Box<[Tag]>,
    #[serde(default)]
    attributes: Option<Box<Attributes>>,
    spec: T,
}

impl<T: Kinded + Into<Spec>> Read<T> {
    fn entity(self, at: EntityRef) -> Result<Entity, Unreadable> {
        let found = EntityRef {
            kind: self.kind,
            id: self.id,
        };
        if found != at {
            return Err(Unreadable::Broken(format!("it holds {found}")));
        }
        Ok(Entity {
            id: self.id,
            created_at: self.created_at,
            updated_at: self.updated_at,
            revision: self.revision,
            tags: self.tags,
            attributes: self.attributes,
            spec: self.spec.into(),
        })
    }
}

/// An entity's record, in the current version.
pub fn encode(entity: &Entity) -> Vec<u8> {
    let written = Written {
        kind: entity.kind(),
        id: entity.id,
        created_at: entity.created_at,
        updated_at: entity.updated_at,
        revision: entity.revision,
        tags: &entity.tags,
        attributes: entity.attributes.as_deref(),
        spec: &entity.spec,
    };
    let mut record = vec![VERSION];
    serde_json::to_writer(&mut record, &written)
        .expect("a document with text keys, written to memory");
    record
}

/// Reads the record kept under `at`'s key, whichever version wrote it.
///
/// # Errors
/// [`Unreadable`], never a panic, whatever the bytes are.
pub fn decode(at: EntityRef, record: &[u8]) -> Result<Entity, Unreadable> {
    match record.split_first() {
        Some((&VERSION, document)) => read(at, Source::Current(document)),
        Some((&version, document)) => {
            read(at, Source::Older(migrated(version, document, &MIGRATIONS)?))
        }
        None => Err(Unreadable::Broken("it is empty".into())),
    }
}

/// A document of an older version, taken through every step up to the newest.
fn migrated(version: u8, document: &[u8], steps: &[Migration]) -> Result<Value, Unreadable> {
    let Some(done) = usize::from(version).checked_sub(1) else {
        return Err(Unreadable::Broken("its format is 0".into()));
    };
    if done >= steps.len() {
        return Err(Unreadable::Version(version));
    }
    let mut map: Map<String, Value> = serde_json::from_slice(document).map_err(broken)?;
    for step in steps.iter().skip(done) {
        step(&mut map).map_err(Unreadable::Broken)?;
    }
    Ok(Value::Object(map))
}

/// A document to read: the current version's straight from its bytes, for speed.
enum Source<'a> {
    Current(&'a [u8]),
    Older(Value),
}

fn read(at: EntityRef, source: Source<'_>) -> Result<Entity, Unreadable> {
    match at.kind {
        Kind::Namespace => read_kind::<Namespace>(at, source),
        Kind::Pool => read_kind::<Pool>(at, source),
        Kind::Endpoint => read_kind::<Endpoint>(at, source),
        Kind::Service => read_kind::<Service>(at, source),
        Kind::Route => read_kind::<Route>(at, source),
        Kind::Certificate => read_kind::<Certificate>(at, source),
        Kind::Sni => read_kind::<Sni>(at, source),
        Kind::Listener => read_kind::<Listener>(at, source),
        Kind::Plugin => read_kind::<Plugin>(at, source),
        Kind::Consumer => read_kind::<Consumer>(at, source),
        Kind::KeyAuth => read_kind::<KeyAuth>(at, source),
        Kind::BasicAuth => read_kind::<BasicAuth>(at, source),
        Kind::HmacAuth => read_kind::<HmacAuth>(at, source),
        Kind::JwtSecret => read_kind::<JwtSecret>(at, source),
        Kind::Acl => read_kind::<Acl>(at, source),
        Kind::Oauth2Credential => read_kind::<Oauth2Credential>(at, source),
        Kind::CaCertificate => read_kind::<CaCertificate>(at, source),
        Kind::KeySet => read_kind::<KeySet>(at, source),
        Kind::Key => read_kind::<Key>(at, source),
        Kind::Vault => read_kind::<Vault>(at, source),
        Kind::Server => read_kind::<Server>(at, source),
        Kind::Filter => read_kind::<Filter>(at, source),
        Kind::Monitor => read_kind::<Monitor>(at, source),
        Kind::Operator => read_kind::<Operator>(at, source),
    }
}

fn read_kind<T>(at: EntityRef, source: Source<'_>) -> Result<Entity, Unreadable>
where
    T: Kinded + DeserializeOwned + Into<Spec>,
{
    let read: Read<T> = match source {
        Source::Current(document) => serde_json::from_slice(document),
        Source::Older(document) => serde_json::from_value(document),
    }
    .map_err(broken)?;
    read.entity(at)
}

#[expect(clippy::needless_pass_by_value, reason = "map_err's shape")]
fn broken(error: serde_json::Error) -> Unreadable {
    Unreadable::Broken(error.to_string())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::PathBuf;
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::model::{
        ActiveCheck, CheckProtocol, HashOn, HeaderMatch, ListenerProtocol, NamespaceRef,
        PassiveCheck, PathHandling, Protocol, Secret,
    };

    /// An entity of each kind with as many fields set as it has.
    fn samples() -> Vec<Entity> {
        vec![
            sample(1, namespace()),
            sample(2, pool()),
            sample(3, endpoint()),
            sample(4, service()),
            sample(5, route()),
            sample(6, certificate()),
            sample(7, sni()),
            sample(8, listener()),
        ]
        .into_iter()
        .chain(later_kinds())
        .collect()
    }

    /// The kinds that came with later dialects, by their documents.
    fn later_kinds() -> Vec<Entity> {
        let consumer = id(10);
        let documents = [
            (
                Kind::Plugin,
                json!({"name": "key-auth", "instance_name": "k", "route": id(5), "service": id(4), "consumer": consumer, "config": {"key_names": ["apikey"]}, "protocols": ["http"], "enabled": false}),
            ),
            (Kind::Consumer, json!({"username": "ann", "custom_id": "7"})),
            (
                Kind::KeyAuth,
                json!({"consumer": consumer, "key": "k", "expires_at": 1}),
            ),
            (
                Kind::BasicAuth,
                json!({"consumer": consumer, "username": "u", "password": "p"}),
            ),
            (
                Kind::HmacAuth,
                json!({"consumer": consumer, "username": "u", "secret": "s"}),
            ),
            (
                Kind::JwtSecret,
                json!({"consumer": consumer, "key": "k", "secret": "s", "algorithm": "EdDSA", "rsa_public_key": "PEM"}),
            ),
            (Kind::Acl, json!({"consumer": consumer, "group": "gold"})),
            (
                Kind::Oauth2Credential,
                json!({"consumer": consumer, "name": "app", "client_id": "i", "client_secret": "s", "hash_secret": true, "redirect_uris": ["https://a.test"], "client_type": "public"}),
            ),
            (Kind::CaCertificate, json!({"cert": "PEM"})),
            (Kind::KeySet, json!({"name": "set"})),
            (
                Kind::Key,
                json!({"name": "n", "set": id(18), "kid": "1", "pem": {"private_key": "P", "public_key": "Q"}}),
            ),
            (
                Kind::Vault,
                json!({"prefix": "env-a", "name": "env", "description": "d", "config": {"prefix": "A_"}}),
            ),
            (
                Kind::Server,
                json!({"name": "s1", "host": "db.test", "port": 3306, "standing": "maintenance", "proxy_protocol": "v1", "parameters": {"weight": "3"}}),
            ),
            (
                Kind::Filter,
                json!({"name": "f", "module": "throttlefilter", "parameters": {"max_qps": 5}}),
            ),
            (
                Kind::Monitor,
                json!({"name": "m", "module": "mariadb_mon", "servers": [id(21)], "user": "u", "password": "p", "interval_ms": 500, "connect_timeout_ms": 1000, "read_timeout_ms": 1001, "connect_attempts": 2, "running": false, "rules": {"failcount": 3}}),
            ),
            (
                Kind::Operator,
                json!({"name": "o", "password": "$5$", "role": "basic"}),
            ),
        ];
        let numbered = documents.into_iter().zip(9_u8..);
        let read =
            |((kind, document), n): ((Kind, Value), u8)| sample(n, kind.read(document).unwrap());
        numbered.map(read).collect()
    }

    fn id(n: u8) -> Id {
        Id::from_bytes([n; 16])
    }

    fn sample(n: u8, spec: impl Into<Spec>) -> Entity {
        let mut entity = Entity::new(id(n), spec);
        entity.created_at = Timestamp(1_700_000_000_000);
        entity.updated_at = Timestamp(1_700_000_000_001);
        entity.revision = Revision(42);
        entity.tags = ["a b".parse().unwrap(), "ü".parse().unwrap()].into();
        let attributes = json!({"deep": [1, -2.5, null, {"k": "v"}]});
        entity.set_attributes("gateway", attributes.as_object().unwrap().clone());
        entity
    }

    fn namespace() -> Namespace {
        Namespace {
            name: "shop".parse().unwrap(),
            comment: "of \"quotes\"".into(),
        }
    }

    fn pool() -> Pool {
        let headers = BTreeMap::from([("X-A".to_owned(), vec!["1".to_owned()])]);
        let active = ActiveCheck {
            host: Some("check.test".parse().unwrap()),
            headers: headers.try_into().unwrap(),
            tls_server_name: Some("tls.test".parse().unwrap()),
            healthy_interval: Duration::from_millis(1500),
            ..ActiveCheck::default()
        };
        Pool {
            namespace: namespace().name.into(),
            hash_on: HashOn::Header("x-key".to_owned().try_into().unwrap()),
            hash_fallback: HashOn::Cookie("c".parse().unwrap()),
            hash_cookie_path: Some("/c".into()),
            slots: Some(100),
            active: Some(active),
            passive: Some(PassiveCheck {
                protocol: CheckProtocol::Tcp,
                ..PassiveCheck::default()
            }),
            use_srv_name: true,
            healthy_percent_min: 30,
            host_header: Some("shop.test".parse().unwrap()),
            ..Pool::named("carts".parse().unwrap())
        }
    }

    fn endpoint() -> Endpoint {
        Endpoint {
            pool: id(2),
            host: "::1".parse().unwrap(),
            port: 8080,
            weight: 7,
            enabled: false,
        }
    }

    fn service() -> Service {
        let host = "10.0.0.1".parse().unwrap();
        Service {
            name: Some("cart".parse().unwrap()),
            path: Some("/base".into()),
            connect_timeout: Duration::from_millis(7),
            tls_server_name: Some("cart.test".parse().unwrap()),
            ..Service::at(Protocol::Https, host, 8443)
        }
    }

    fn route() -> Route {
        Route {
            name: Some("all".parse().unwrap()),
            service: Some(id(4)),
            hosts: ["*.test:8000".parse().unwrap()].into(),
            paths: ["/a".parse().unwrap(), "~/b\\d".parse().unwrap()].into(),
            methods: vec!["GET".to_owned(), "PURGE".to_owned()]
                .try_into()
                .unwrap(),
            headers: [HeaderMatch::parse("x-a", &["1".to_owned()]).unwrap()].into(),
            snis: ["a.test".parse().unwrap()].into(),
            priority: -1,
            regex_priority: 2,
            path_handling: PathHandling::V1,
            rewrite: Some("/c".into()),
            body_bytes_max: Some(1),
            ..Route::default()
        }
    }

    fn certificate() -> Certificate {
        Certificate {
            cert: "-----BEGIN CERTIFICATE-----\n".into(),
            key: Secret::new("-----BEGIN PRIVATE KEY-----\n"),
            cert_alt: None,
            key_alt: None,
        }
    }

    fn sni() -> Sni {
        Sni {
            name: "*.a.test".parse().unwrap(),
            certificate: id(6),
        }
    }

    fn listener() -> Listener {
        Listener {
            namespace: NamespaceRef::default(),
            name: "edge".parse().unwrap(),
            address: "::".parse().unwrap(),
            port: 9000,
            protocol: ListenerProtocol::Https,
            proxy_protocol: true,
            ..Listener::at("edge".parse().unwrap(), ([0, 0, 0, 0], 1).into())
        }
    }

    /// Where the bytes of `version` are kept, one file per kind, without the version's byte.
    fn fixture(version: u8, kind: Kind) -> PathBuf {
        let root = env!("CARGO_MANIFEST_DIR");
        format!("{root}/tests/fixtures/records/v{version}/{kind}.json").into()
    }

    fn stored(version: u8, kind: Kind) -> Vec<u8> {
        let document = std::fs::read(fixture(version, kind)).unwrap();
        [vec![version], document].concat()
    }

    #[test]
    fn every_kind_is_written_as_it_was_released() {
        let kinds: Vec<_> = samples().iter().map(Entity::kind).collect();
        for kind in Kind::ALL {
            assert!(kinds.contains(kind), "no sample of a {kind}");
        }
        for entity in samples() {
            let written = String::from_utf8(encode(&entity)).unwrap();
            let f = fixture(VERSION, entity.kind());
            if !f.exists() {
                std::fs::write(&f, &encode(&entity)[1..]).unwrap();
            }
            let kept = String::from_utf8(stored(VERSION, entity.kind())).unwrap();
            assert_eq!(written, kept, "raise VERSION and add a migration");
        }
    }

    #[test]
    fn every_released_record_is_read_back_whole() {
        for entity in samples() {
            for version in 1..=VERSION {
                let record = stored(version, entity.kind());
                assert_eq!(decode(entity.at(), &record).unwrap(), entity);
            }
        }
    }

    #[test]
    fn a_record_without_the_optional_parts_is_short_and_whole() {
        let entity = Entity::new(id(1), namespace());
        let record = encode(&entity);
        let text = std::str::from_utf8(&record).unwrap();
        assert!(!text.contains("tags") && !text.contains("attributes"));
        assert_eq!(decode(entity.at(), &record).unwrap(), entity);
    }

    #[test]
    fn keys_read_back_and_codes_are_the_kinds_own() {
        for kind in Kind::ALL.iter().copied() {
            let at = EntityRef { kind, id: id(9) };
            assert_eq!(read_key(&key(at)), Ok(at));
        }
        let most = Kind::ALL.iter().map(|kind| code(*kind)).max();
        assert_eq!(most, Some(KIND_MAX));
        assert_eq!(read_key(&[200; KEY_BYTES]), Err(Unreadable::Kind(200)));
    }

    #[test]
    fn what_is_not_a_record_is_refused() {
        let entity = sample(1, namespace());
        let at = entity.at();
        let record = encode(&entity);
        let versioned = |version| [&[version], &record[1..]].concat();
        assert_eq!(decode(at, &versioned(9)), Err(Unreadable::Version(9)));
        let other = EntityRef { id: id(2), ..at };
        let swapped = EntityRef {
            kind: Kind::Pool,
            ..at
        };
        let extra = [&record[..record.len() - 1], b",\"x\":1}"].concat();
        for (at, bytes) in [
            (at, vec![]),
            (at, vec![VERSION]),
            (at, versioned(0)),
            (at, record[..record.len() - 1].to_vec()),
            (at, extra),
            (other, record.clone()),
            (swapped, record.clone()),
        ] {
            assert!(
                matches!(decode(at, &bytes), Err(Unreadable::Broken(_))),
                "{bytes:?}"
            );
        }
    }

    #[test]
    fn an_older_document_takes_every_step_from_its_version_on() {
        let rename: Migration = |map| {
            let name = map.remove("nom").ok_or("nom is missing")?;
            map.insert("name".into(), name);
            Ok(())
        };
        let mark: Migration = |map| {
            map.insert("marked".into(), true.into());
            Ok(())
        };
        let steps = [rename, mark];
        let migrate = |version, text: &str| migrated(version, text.as_bytes(), &steps);
        let whole = json!({"name": "a", "marked": true});
        assert_eq!(migrate(1, r#"{"nom":"a"}"#), Ok(whole.clone()));
        assert_eq!(migrate(2, r#"{"name":"a"}"#), Ok(whole));
        assert_eq!(
            migrate(1, "{}"),
            Err(Unreadable::Broken("nom is missing".into()))
        );
        assert_eq!(migrate(3, "{}"), Err(Unreadable::Version(3)));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(kind in 0..Kind::ALL.len(), at in 0_usize..400, byte: u8) {
            let entity = &samples()[kind];
            let mut record = encode(entity);
            let at = at % record.len();
            record[at] = byte;
            drop(decode(entity.at(), &record));
            record.truncate(at);
            proptest::prop_assert!(decode(entity.at(), &record).is_err());
        }
    }
}
