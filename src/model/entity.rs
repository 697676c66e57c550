//! An entity of any kind, and the table of kinds: a new kind is one line in [`kinds!`].

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::id::{Id, Invalid, NamespaceRef, Revision, TAGS_MAX, Tag, Timestamp};
use super::{Acl, BasicAuth, Consumer, HmacAuth, JwtSecret, KeyAuth, Oauth2Credential};
use super::{CaCertificate, Certificate, Endpoint, Key, KeySet, Listener, Namespace};
use super::{Filter, Monitor, Operator, Server};
use super::{Plugin, Pool, Route, Service, Sni, Vault};

/// What dialects keep with an entity that is not ours to understand: dialect name → its attributes.
/// A lens reads and writes its own entry and leaves the others untouched.
pub type Attributes = BTreeMap<Box<str>, Map<String, Value>>;

/// A thing an operator configures, with what all kinds have in common.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Entity {
    pub id: Id,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// The revision that wrote it last; what `If-Match` compares with.
    pub revision: Revision,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub tags: Box<[Tag]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attributes: Option<Box<Attributes>>,
    #[serde(flatten)]
    pub spec: Spec,
}

/// Which entity, of which kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
pub struct EntityRef {
    pub kind: Kind,
    pub id: Id,
}

impl fmt::Display for EntityRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.id)
    }
}

/// One kind's type: how to find it in a [`Spec`].
pub trait Kinded: Sized {
    const KIND: Kind;
    fn of(spec: &Spec) -> Option<&Self>;
}

/// What a kind's own file says of its entities.
pub(super) trait Rules {
    /// What must hold within the entity itself.
    fn check(&self) -> Result<(), Invalid> {
        Ok(())
    }

    /// The namespace it lives in, where its kind has one.
    fn namespace(&self) -> Option<&NamespaceRef> {
        None
    }

    /// Its name, where its kind has one that is unique within the namespace.
    fn name(&self) -> Option<&str> {
        None
    }

    /// What else no other entity of its kind may share.
    fn unique(&self) -> Vec<Unique> {
        Vec::new()
    }

    /// The entities it mentions by id.
    fn references(&self) -> Vec<Reference> {
        Vec::new()
    }
}

/// What no other entity of its kind may share: the field it stands in, and the text to compare.
pub type Unique = (&'static str, Box<str>);

/// The text of a field that is unique together with others; the field's own value comes last.
pub fn unique(field: &'static str, values: &[&str]) -> Unique {
    (field, format!("{field}\0{}", values.join("\0")).into())
}

/// Declares every kind: variant, type, its word, and its plural in paths and files.
macro_rules! kinds {
    ($($kind:ident, $singular:literal, $plural:literal;)*) => {
        /// The closed list of kinds, in the order in which a store is best read back.
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
        )]
        #[serde(rename_all = "snake_case")]
        pub enum Kind { $($kind,)* }

        impl Kind {
            pub const ALL: &'static [Self] = &[$(Self::$kind,)*];

            /// `service`
            pub const fn singular(self) -> &'static str {
                match self { $(Self::$kind => $singular,)* }
            }

            /// `services`: in paths, files and metrics.
            pub const fn plural(self) -> &'static str {
                match self { $(Self::$kind => $plural,)* }
            }

            /// Reads a kind's own fields; unknown ones are refused.
            pub fn read(self, fields: Value) -> Result<Spec, Invalid> {
                match self {
                    $(Self::$kind => serde_json::from_value::<$kind>(fields)
                        .map(|spec| Spec::$kind(Box::new(spec))),)*
                }
                .map_err(|error| Invalid::new("", error.to_string()))
            }

            /// The JSON schema of a kind's own fields.
            pub fn schema(self, generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                match self { $(Self::$kind => <$kind>::json_schema(generator),)* }
            }
        }

        /// What an entity is, beyond what all kinds have.
        #[derive(Clone, Debug, PartialEq, Serialize)]
        #[serde(untagged)]
        pub enum Spec { $($kind(Box<$kind>),)* }

        impl Spec {
            pub const fn kind(&self) -> Kind {
                match self { $(Self::$kind(_) => Kind::$kind,)* }
            }

            fn rules(&self) -> &dyn Rules {
                match self { $(Self::$kind(spec) => &**spec,)* }
            }
        }

        $(
            impl Kinded for $kind {
                const KIND: Kind = Kind::$kind;

                fn of(spec: &Spec) -> Option<&Self> {
                    if let Spec::$kind(spec) = spec { Some(spec) } else { None }
                }
            }

            impl From<$kind> for Spec {
                fn from(spec: $kind) -> Self {
                    Self::$kind(Box::new(spec))
                }
            }
        )*
    };
}

kinds! {
    Namespace, "namespace", "namespaces";
    Pool, "pool", "pools";
    Endpoint, "endpoint", "endpoints";
    Service, "service", "services";
    Route, "route", "routes";
    Certificate, "certificate", "certificates";
    Sni, "sni", "snis";
    Listener, "listener", "listeners";
    Plugin, "plugin", "plugins";
    Consumer, "consumer", "consumers";
    KeyAuth, "key_auth", "key_auths";
    BasicAuth, "basic_auth", "basic_auths";
    HmacAuth, "hmac_auth", "hmac_auths";
    JwtSecret, "jwt_secret", "jwt_secrets";
    Acl, "acl", "acls";
    Oauth2Credential, "oauth2_credential", "oauth2_credentials";
    CaCertificate, "ca_certificate", "ca_certificates";
    KeySet, "key_set", "key_sets";
    Key, "key", "keys";
    Vault, "vault", "vaults";
    Server, "server", "servers";
    Filter, "filter", "filters";
    Monitor, "monitor", "monitors";
    Operator, "operator", "operators";
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.singular())
    }
}

impl FromStr for Kind {
    type Err = Invalid;

    /// From the singular or the plural word.
    fn from_str(word: &str) -> Result<Self, Invalid> {
        let named = |kind: &&Self| kind.singular() == word || kind.plural() == word;
        Self::ALL
            .iter()
            .find(named)
            .copied()
            .ok_or_else(|| Invalid::new("kind", format!("{word:?} is not a kind of entity")))
    }
}

/// One entity's mention of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reference {
    pub field: &'static str,
    pub to: EntityRef,
    pub tie: Tie,
}

/// What deleting the mentioned entity means for the one that mentions it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tie {
    /// Deleted along: an endpoint of its pool, a server name of its certificate.
    Owned,
    /// Deleted along, but refused while anything else mentions the one that would go: a pool of its
    /// service, while it has endpoints.
    Emptied,
    /// The deletion is refused: a route of its service.
    Free,
}

impl Reference {
    pub(super) const fn to(field: &'static str, kind: Kind, id: Id, tie: Tie) -> Self {
        let to = EntityRef { kind, id };
        Self { field, to, tie }
    }
}

impl Spec {
    /// What must hold within the entity itself.
    pub fn check(&self) -> Result<(), Invalid> {
        self.rules().check()
    }

    /// The namespace it lives in, where its kind has one.
    pub fn namespace(&self) -> Option<&NamespaceRef> {
        self.rules().namespace()
    }

    /// Its name, where it has one.
    pub fn name(&self) -> Option<&str> {
        self.rules().name()
    }

    /// What no other entity of its kind may share, and the field it stands in.
    pub fn unique(&self) -> Vec<Unique> {
        let rules = self.rules();
        let mut all = rules.unique();
        let namespace = rules.namespace().map_or("", NamespaceRef::as_str);
        all.extend(
            rules
                .name()
                .map(|name| ("name", named_key(namespace, name))),
        );
        all
    }

    /// The entities it mentions by id.
    pub fn references(&self) -> Vec<Reference> {
        self.rules().references()
    }
}

/// The unique key of a name within a namespace.
pub(super) fn named_key(namespace: &str, name: &str) -> Box<str> {
    format!("{namespace}\0{name}").into()
}

/// The fields all kinds have, as a document writes them; each may be left out.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
pub struct Common {
    pub id: Option<Id>,
    #[serde(default)]
    pub created_at: Timestamp,
    #[serde(default)]
    pub updated_at: Timestamp,
    #[serde(default)]
    pub revision: Revision,
    #[serde(default)]
    pub tags: Vec<Tag>,
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, Map<String, Value>>")]
    pub attributes: Attributes,
}

impl Common {
    const FIELDS: [&'static str; 6] = [
        "id",
        "created_at",
        "updated_at",
        "revision",
        "tags",
        "attributes",
    ];

    /// Takes the common fields out of a document and leaves the kind's own.
    pub fn take(document: &mut Map<String, Value>) -> Result<Self, Invalid> {
        let take = |field: &str| {
            document
                .remove(field)
                .map(|value| (field.to_owned(), value))
        };
        let fields: Map<String, Value> = Self::FIELDS.into_iter().filter_map(take).collect();
        let common: Self = serde_json::from_value(Value::Object(fields))
            .map_err(|error| Invalid::new("", error.to_string()))?;
        if common.tags.len() > TAGS_MAX {
            return Err(Invalid::new("tags", format!("at most {TAGS_MAX} tags")));
        }
        let mut values = common.attributes.values().flat_map(Map::values);
        // The document and the dialect's own object are the first two levels.
        if values.any(|value| is_deeper(value, ATTRIBUTES_DEPTH_MAX - 2)) {
            let why = format!("at most {ATTRIBUTES_DEPTH_MAX} levels of objects and arrays");
            return Err(Invalid::new("attributes", why));
        }
        Ok(common)
    }
}

/// The most levels of objects and arrays in an entity's attributes: what walks them may recurse.
const ATTRIBUTES_DEPTH_MAX: usize = 32;

/// Whether `value` has more than `levels` levels of objects and arrays; looks no deeper than that.
fn is_deeper(value: &Value, levels: usize) -> bool {
    let below = |inner: &Value| is_deeper(inner, levels.saturating_sub(1));
    match value {
        Value::Object(fields) => levels == 0 || fields.values().any(below),
        Value::Array(items) => levels == 0 || items.iter().any(below),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

impl Entity {
    /// An entity that no registry has seen yet; the registry sets times and revision.
    pub fn new(id: Id, spec: impl Into<Spec>) -> Self {
        Self {
            id,
            created_at: Timestamp::default(),
            updated_at: Timestamp::default(),
            revision: Revision::default(),
            tags: Box::default(),
            attributes: None,
            spec: spec.into(),
        }
    }

    /// Reads an entity's canonical document, the form that [`Serialize`] writes.
    pub fn read(kind: Kind, mut document: Map<String, Value>) -> Result<Self, Invalid> {
        let common = Common::take(&mut document)?;
        let spec = kind.read(Value::Object(document))?;
        Ok(Self {
            id: common.id.unwrap_or_else(Id::random),
            created_at: common.created_at,
            updated_at: common.updated_at,
            revision: common.revision,
            tags: common.tags.into(),
            attributes: (!common.attributes.is_empty()).then(|| Box::new(common.attributes)),
            spec,
        })
    }

    pub const fn kind(&self) -> Kind {
        self.spec.kind()
    }

    pub const fn at(&self) -> EntityRef {
        EntityRef {
            kind: self.kind(),
            id: self.id,
        }
    }

    /// This entity as one kind's type.
    pub fn as_kind<T: Kinded>(&self) -> Option<&T> {
        T::of(&self.spec)
    }

    /// What `dialect` keeps with it.
    pub fn attributes_of(&self, dialect: &str) -> Option<&Map<String, Value>> {
        self.attributes.as_ref()?.get(dialect)
    }

    /// Replaces what `dialect` keeps with it.
    pub fn set_attributes(&mut self, dialect: &str, attributes: Map<String, Value>) {
        self.attributes
            .get_or_insert_default()
            .insert(dialect.into(), attributes);
    }

    /// [`Entity::label`], after the namespace where that is not the default one: what tells it from
    /// all others of its kind.
    pub fn qualified_label(&self) -> String {
        match self.spec.namespace() {
            Some(namespace) if !namespace.is_default() => format!("{namespace}/{}", self.label()),
            Some(_) | None => self.label(),
        }
    }

    /// How a person calls it: its name, else its id.
    pub fn label(&self) -> String {
        self.spec
            .name()
            .map_or_else(|| self.id.to_string(), str::to_owned)
    }
}

/// A document with its kind beside it, as transactions and files hold them.
impl<'de> Deserialize<'de> for Entity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut document = Map::deserialize(deserializer)?;
        let kind = document
            .remove("kind")
            .ok_or_else(|| D::Error::missing_field("kind"))?;
        let kind = Kind::deserialize(kind).map_err(D::Error::custom)?;
        Self::read(kind, document).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A document whose attributes are `levels` levels deep.
    fn with_depth(levels: usize) -> Map<String, Value> {
        let inner = (2..levels).fold(json!(1), |inner, n| match n % 2 {
            0 => json!([0, inner]),
            _ => json!({"a": 1, "b": inner}),
        });
        let document = json!({"name": "a", "attributes": {"kong": {"x": inner}}});
        document.as_object().unwrap().clone()
    }

    #[test]
    fn attributes_are_bounded_in_depth() {
        let read = |levels| Entity::read(Kind::Namespace, with_depth(levels));
        for levels in [2, 3, ATTRIBUTES_DEPTH_MAX] {
            assert!(read(levels).is_ok(), "{levels}");
        }
        for levels in [ATTRIBUTES_DEPTH_MAX + 1, 1000] {
            let refused = read(levels).unwrap_err();
            assert_eq!(
                refused.to_string(),
                "attributes: at most 32 levels of objects and arrays"
            );
        }
    }
}
