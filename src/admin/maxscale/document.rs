//! Documents as JSON:API has them: objects with attributes and relationships, and links.

use serde_json::{Map, Value, json};

use super::links::Links;

/// One resource.
#[derive(Clone, Debug, Default)]
pub(super) struct Object {
    /// `services`
    pub(super) kind: &'static str,
    pub(super) id: String,
    pub(super) attributes: Map<String, Value>,
    /// Name to what [`Links::relation`] makes.
    pub(super) relationships: Map<String, Value>,
}

impl Object {
    pub(super) fn new(kind: &'static str, id: impl Into<String>) -> Self {
        Self {
            kind,
            id: id.into(),
            ..Self::default()
        }
    }

    pub(super) fn set(&mut self, attribute: &str, value: impl Into<Value>) {
        self.attributes.insert(attribute.to_owned(), value.into());
    }

    /// Sets a relationship, whether it has members or not.
    pub(super) fn relate(&mut self, relation: &str, to: Value) {
        self.relationships.insert(relation.to_owned(), to);
    }

    /// Sets a relationship to resources of the same name, unless it is empty: an absent one is how
    /// MaxScale says so.
    pub(super) fn relate_any<S: AsRef<str>>(
        &mut self,
        links: &Links,
        kind: &str,
        names: impl IntoIterator<Item = S>,
    ) {
        let names: Vec<_> = names.into_iter().collect();
        if !names.is_empty() {
            self.relate(kind, links.relation(kind, names));
        }
    }

    /// As a document's `data`; `segments` lead to it.
    pub(super) fn at<S: AsRef<str>>(
        self,
        links: &Links,
        segments: impl IntoIterator<Item = S>,
    ) -> Value {
        let own = links.url(segments);
        json!({
            "id": self.id,
            "type": self.kind,
            "attributes": self.attributes,
            "relationships": self.relationships,
            "links": {"self": own},
        })
    }

    /// The same where its type and its id are its path: `…/v1/services/X`.
    pub(super) fn into_value(self, links: &Links) -> Value {
        let segments = [self.kind.to_owned(), self.id.clone()];
        self.at(links, segments)
    }
}

/// What a request is answered with.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Document {
    pub(super) links: Map<String, Value>,
    pub(super) body: Content,
    pub(super) meta: Map<String, Value>,
}

/// The one or the many that a document is about.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Content {
    One(Value),
    Many(Vec<Value>),
}

impl Document {
    fn new(url: &str, body: Content) -> Self {
        let links = Map::from_iter([("self".to_owned(), url.into())]);
        let meta = Map::new();
        Self { links, body, meta }
    }

    /// One resource, whose own link is the document's too.
    pub(super) fn one(value: Value) -> Self {
        let own = value.pointer("/links/self").and_then(Value::as_str);
        let own = own.unwrap_or_default().to_owned();
        Self::new(&own, Content::One(value))
    }

    /// A collection at `url`.
    pub(super) fn many(url: &str, values: Vec<Value>) -> Self {
        Self::new(url, Content::Many(values))
    }

    pub(super) fn into_value(self) -> Value {
        let mut out = Map::new();
        out.insert("links".to_owned(), Value::Object(self.links));
        let data = match self.body {
            Content::One(value) => value,
            Content::Many(values) => Value::Array(values),
        };
        out.insert("data".to_owned(), data);
        if !self.meta.is_empty() {
            out.insert("meta".to_owned(), Value::Object(self.meta));
        }
        Value::Object(out)
    }
}
