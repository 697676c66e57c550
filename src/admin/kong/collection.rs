//! Kong's collections: which kind of entity each one shows, and which collections hang together.

use crate::admin::kong::schema::{Schema, Schemas};
use crate::model::Kind;

/// One collection of Kong's API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Collection {
    /// Kong's table: `keyauth_credentials`.
    pub(super) table: &'static str,
    pub(super) kind: Kind,
}

const fn collection(table: &'static str, kind: Kind) -> Collection {
    Collection { table, kind }
}

/// Every collection.
pub(super) static COLLECTIONS: [Collection; 18] = [
    collection("services", Kind::Service),
    collection("routes", Kind::Route),
    collection("upstreams", Kind::Pool),
    collection("targets", Kind::Endpoint),
    collection("plugins", Kind::Plugin),
    collection("consumers", Kind::Consumer),
    collection("certificates", Kind::Certificate),
    collection("snis", Kind::Sni),
    collection("ca_certificates", Kind::CaCertificate),
    collection("keyauth_credentials", Kind::KeyAuth),
    collection("basicauth_credentials", Kind::BasicAuth),
    collection("hmacauth_credentials", Kind::HmacAuth),
    collection("jwt_secrets", Kind::JwtSecret),
    collection("acls", Kind::Acl),
    collection("oauth2_credentials", Kind::Oauth2Credential),
    collection("key_sets", Kind::KeySet),
    collection("keys", Kind::Key),
    collection("vaults", Kind::Vault),
];

impl Collection {
    pub(super) fn schema(&self) -> &'static Schema {
        Schemas::all()
            .entity(self.table)
            .expect("every collection has its schema")
    }

    /// The collection of that table.
    pub(super) fn of_table(table: &str) -> Option<&'static Self> {
        COLLECTIONS.iter().find(|one| one.table == table)
    }

    /// The collection that shows a kind.
    pub(super) fn of_kind(kind: Kind) -> Option<&'static Self> {
        COLLECTIONS.iter().find(|one| one.kind == kind)
    }

    /// The collection at `/{word}`.
    pub(super) fn at(word: &str) -> Option<&'static Self> {
        let reachable =
            |one: &&Self| one.kind != Kind::Endpoint && one.schema().collection() == word;
        COLLECTIONS.iter().find(reachable)
    }

    /// The entity that each entity of this collection names in `field`: `/routes/{route}/service`.
    pub(super) fn parent(&self, field: &str) -> Option<&'static Self> {
        let mut fields = self.schema().foreign_fields();
        let (_, foreign) = fields.find(|(name, _)| *name == field)?;
        Self::of_table(&foreign.table)
    }

    /// The collection below each entity of this one, and the field by which it belongs there:
    /// `/services/{service}/routes`.
    pub(super) fn child(&self, word: &str) -> Option<(&'static Self, &'static str)> {
        let below = COLLECTIONS
            .iter()
            .filter(|one| one.schema().nested_collection() == word);
        below
            .into_iter()
            .find_map(|one| Some((one, one.mention_of(self)?)))
    }

    /// The field in which entities of this collection name one of `other`.
    pub(super) fn mention_of(&self, other: &Self) -> Option<&'static str> {
        let mut fields = self.schema().foreign_fields();
        let (field, _) = fields.find(|(_, foreign)| *foreign.table == *other.table)?;
        Some(field)
    }

    /// The collections below each entity of this one.
    pub(super) fn children(&self) -> impl Iterator<Item = &'static Self> {
        let parent = *self;
        let below = move |one: &&Self| one.mention_of(&parent).is_some();
        COLLECTIONS.iter().filter(below)
    }

    /// The second field by which a URL may name an entity.
    pub(super) fn endpoint_key(&self) -> Option<&'static str> {
        self.schema().endpoint_key.as_deref()
    }

    /// The fields that Kong names where another entity has the same `field` of the model.
    pub(super) fn unique_fields(&self, field: &'static str) -> Vec<&'static str> {
        match (self.kind, field) {
            (Kind::Plugin, "name") => vec!["consumer", "name", "route", "service"],
            (Kind::Acl, _) => vec!["consumer", "group"],
            (Kind::Key, "kid") => vec!["kid", "set"],
            (Kind::Endpoint, _) => vec!["target", "upstream"],
            (Kind::CaCertificate, _) => vec!["cert_digest"],
            _ => vec![field],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn collections_hang_together_as_kong_s_do() {
        let services = Collection::at("services").unwrap();
        let (routes, field) = services.child("routes").unwrap();
        assert_eq!((routes.table, field), ("routes", "service"));
        assert_eq!(routes.parent("service"), Some(services));
        let consumers = Collection::at("consumers").unwrap();
        let (keys, field) = consumers.child("key-auth").unwrap();
        assert_eq!((keys.table, field), ("keyauth_credentials", "consumer"));
        assert_eq!(Collection::at("key-auths"), Some(keys));
        assert_eq!(Collection::at("targets"), None);
        let certificates = Collection::at("certificates").unwrap();
        assert!(
            certificates.child("services").is_some() && certificates.child("upstreams").is_some()
        );
    }
}
