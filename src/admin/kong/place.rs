//! What a path of Kong's API leads to.

use super::collection::Collection;

/// Where a request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// `/services`
    List(&'static Collection),
    /// `/services/{service}`
    One(&'static Collection, String),
    /// `/routes/{route}/service`: the entity that another one names.
    Parent {
        child: &'static Collection,
        key: String,
        parent: &'static Collection,
        field: &'static str,
    },
    /// `/services/{service}/routes`
    Children(Family),
    /// `/services/{service}/routes/{route}`
    Child(Family, String),
    /// `/upstreams/{upstream}/targets/all`
    AllTargets(String),
    /// `/upstreams/{upstream}/health`
    Health(String),
    /// `/upstreams/{upstream}/targets/{target}[/{address}]/healthy`
    Mark {
        upstream: String,
        target: String,
        address: Option<String>,
        healthy: bool,
    },
    /// What the node says of itself.
    Node(Node),
    Nowhere,
}

/// A collection below one entity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Family {
    pub(super) parent: &'static Collection,
    /// What the URL calls the parent.
    pub(super) key: String,
    pub(super) child: &'static Collection,
    /// The child's field that names the parent.
    pub(super) field: &'static str,
}

/// What is not a collection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Node {
    Root,
    Status,
    Endpoints,
    Tags,
    Tag(String),
    Config,
    EnabledPlugins,
    EntitySchema(String),
    PluginSchema(String),
    /// The plugin's configuration alone, as Kong 1.0 showed it.
    PluginConfiguration(String),
    ValidateEntity(String),
    ValidatePlugin,
}

impl Place {
    /// Reads a path, still percent-encoded. A slash at its end means nothing.
    pub(super) fn of(path: &str) -> Self {
        let decode = |segment: &str| {
            let decoded = percent_encoding::percent_decode_str(segment).decode_utf8();
            decoded.map(|text| text.into_owned())
        };
        let trimmed = path.trim_start_matches('/');
        let trimmed = trimmed.strip_suffix('/').unwrap_or(trimmed);
        let segments = trimmed.split('/').filter(|_| !trimmed.is_empty());
        let Ok(segments) = segments.map(decode).collect::<Result<Vec<_>, _>>() else {
            return Self::Nowhere;
        };
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        match Node::of(&segments) {
            Some(node) => Self::Node(node),
            None => Self::among_collections(&segments).unwrap_or(Self::Nowhere),
        }
    }

    fn among_collections(segments: &[&str]) -> Option<Self> {
        let (first, rest) = segments.split_first()?;
        let collection = Collection::at(first)?;
        match rest {
            [] => Some(Self::List(collection)),
            [key] => Some(Self::One(collection, (*key).to_owned())),
            [key, word] => Self::of_entity(collection, key, word),
            [key, word, below @ ..] => Self::below_entity(collection, key, word, below),
        }
    }

    fn of_entity(collection: &'static Collection, key: &str, word: &str) -> Option<Self> {
        let key = key.to_owned();
        if (collection.table, word) == ("upstreams", "health") {
            return Some(Self::Health(key));
        }
        if (collection.table, word) == ("snis", "certificate") {
            return None;
        }
        let mut fields = collection.schema().foreign_fields();
        if let Some((field, _)) = fields.find(|(field, _)| *field == word) {
            let parent = collection.parent(field)?;
            return Some(Self::Parent {
                child: collection,
                key,
                parent,
                field,
            });
        }
        Family::of(collection, &key, word).map(Self::Children)
    }

    fn below_entity(
        collection: &'static Collection,
        key: &str,
        word: &str,
        below: &[&str],
    ) -> Option<Self> {
        let family = Family::of(collection, key, word)?;
        let targets = family.child.table == "targets";
        let mark = |target: &str, address: Option<&str>, state: &str| {
            let healthy = match state {
                "healthy" => true,
                "unhealthy" => false,
                _ => return None,
            };
            Some(Self::Mark {
                upstream: key.to_owned(),
                target: target.to_owned(),
                address: address.map(str::to_owned),
                healthy,
            })
        };
        match below {
            ["all"] if targets => Some(Self::AllTargets(key.to_owned())),
            [one] => Some(Self::Child(family, (*one).to_owned())),
            [target, state] if targets => mark(target, None, state),
            [target, address, state] if targets => mark(target, Some(address), state),
            _ => None,
        }
    }
}

impl Family {
    fn of(parent: &'static Collection, key: &str, word: &str) -> Option<Self> {
        let (child, field) = parent.child(word)?;
        let key = key.to_owned();
        Some(Self {
            parent,
            key,
            child,
            field,
        })
    }
}

impl Node {
    fn of(segments: &[&str]) -> Option<Self> {
        let owned = |text: &str| text.to_owned();
        Some(match segments {
            [] => Self::Root,
            ["status"] => Self::Status,
            ["endpoints"] => Self::Endpoints,
            ["config"] => Self::Config,
            ["tags"] => Self::Tags,
            ["tags", tag] => Self::Tag(owned(tag)),
            ["plugins", "enabled"] => Self::EnabledPlugins,
            ["plugins", "schema", name] => Self::PluginConfiguration(owned(name)),
            ["schemas", "plugins", "validate"] => Self::ValidatePlugin,
            ["schemas", "plugins", name] => Self::PluginSchema(owned(name)),
            ["schemas", name] => Self::EntitySchema(owned(name)),
            ["schemas", name, "validate"] => Self::ValidateEntity(owned(name)),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_where_kong_s_lead() {
        let services = Collection::at("services").unwrap();
        assert_eq!(Place::of("/services/"), Place::List(services));
        assert_eq!(
            Place::of("/services/a%20b"),
            Place::One(services, "a b".into())
        );
        assert!(matches!(
            Place::of("/plugins/p/service"),
            Place::Parent {
                field: "service",
                ..
            }
        ));
        assert!(matches!(
            Place::of("/consumers/c/key-auth/k"),
            Place::Child(..)
        ));
        assert!(matches!(
            Place::of("/upstreams/u/targets/a:1/b:2/unhealthy"),
            Place::Mark {
                healthy: false,
                address: Some(_),
                ..
            }
        ));
        assert_eq!(Place::of("/"), Place::Node(Node::Root));
        for nowhere in [
            "/targets",
            "/targets/1",
            "/snis/s/certificate",
            "/nope",
            "/services/%ff",
        ] {
            assert_eq!(Place::of(nowhere), Place::Nowhere, "{nowhere}");
        }
    }
}
