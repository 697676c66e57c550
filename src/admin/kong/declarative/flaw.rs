//! What is wrong with a document: a tree beside the document's own, or one entry per entity.

use serde_json::{Map, Value, json};

use crate::admin::kong::collection::Collection;
use crate::admin::kong::schema::Document;

/// Where an entity stands: list and position, from the document inwards.
pub(super) type Spot = Vec<(Box<str>, usize)>;

/// What is wrong with one entity.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Flaw {
    pub(super) spot: Spot,
    pub(super) collection: &'static Collection,
    /// The entity as written, without the entities below it.
    pub(super) entity: Document,
    /// Fields and what is said of them; or a text, or several, about the whole.
    pub(super) what: Value,
}

/// Everything that is wrong with a document; never empty where it is an error.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Flaws {
    document: Document,
    entities: Vec<Flaw>,
}

impl Flaws {
    /// What is wrong with the document as a whole.
    pub fn of_whole(why: &str) -> Self {
        let mut flaws = Self::default();
        flaws.put("error", why);
        flaws
    }

    pub(super) fn put(&mut self, field: &str, what: impl Into<Value>) {
        self.document.insert(field.to_owned(), what.into());
    }

    pub(super) fn push(&mut self, flaw: Flaw) {
        self.entities.push(flaw);
    }

    /// In the order of the document, everything about one entity together.
    pub(super) fn in_order(mut self) -> Self {
        self.entities.sort_by(|a, b| a.spot.cmp(&b.spot));
        self.entities
            .dedup_by(|next, first| next.spot == first.spot && first.takes(&next.what));
        self
    }

    pub(super) fn is_empty(&self) -> bool {
        self.document.is_empty() && self.entities.is_empty()
    }

    /// The `fields` of Kong's error 14: everything, where it stands.
    pub fn fields(&self) -> Value {
        let mut root = Value::Object(self.document.clone());
        for flaw in &self.entities {
            let at = descend(&mut root, &flaw.spot);
            match (at.as_object_mut(), &flaw.what) {
                (Some(there), Value::Object(more)) => there.extend(more.clone()),
                _ => *at = flaw.what.clone(),
            }
        }
        root
    }

    /// What is wrong with the document itself, and a list with one entry for each entity that is
    /// wrong: the `fields` and `flattened_errors` that `flatten_errors=1` asks for.
    pub fn flattened(&self) -> (Value, Value) {
        let fields = Value::Object(self.document.clone());
        (fields, self.entities.iter().map(Flaw::flattened).collect())
    }

    /// One line for each flaw: `services[0].routes[1].paths: …`.
    pub fn lines(&self) -> Vec<String> {
        let own = self.document.iter();
        let own = own.map(|(field, what)| format!("{field}: {}", plain(what)));
        let own: Vec<_> = own.collect();
        let of_entity = |flaw: &Flaw| {
            let spot = flaw.spot.iter();
            let spot: Vec<_> = spot.map(|(list, n)| format!("{list}[{n}]")).collect();
            let at = spot.join(".");
            let said = flaw.said().into_iter();
            let line = move |(field, text): (Option<String>, String)| match field {
                Some(field) => format!("{at}.{field}: {text}"),
                None => format!("{at}: {text}"),
            };
            said.map(line).collect::<Vec<_>>()
        };
        let entities = self.entities.iter().flat_map(of_entity);
        own.into_iter().chain(entities).collect()
    }
}

impl Flaw {
    /// Takes in what else is wrong with the fields of the same entity.
    fn takes(&mut self, what: &Value) -> bool {
        match (&mut self.what, what) {
            (Value::Object(there), Value::Object(more)) => {
                there.extend(more.clone());
                true
            }
            _ => false,
        }
    }

    /// What is said, by field; none for the entity as a whole.
    fn said(&self) -> Vec<(Option<String>, String)> {
        let mut said = Vec::new();
        gather(None, &self.what, &mut said);
        said
    }

    fn flattened(&self) -> Value {
        let text = |field: &str| self.entity.get(field).filter(|value| value.is_string());
        let table = self.collection.table;
        let error = |(field, message): (Option<String>, String)| match field {
            Some(field) => json!({"type": "field", "field": field, "message": message}),
            None => json!({"type": "entity", "message": message}),
        };
        let errors: Vec<_> = self.said().into_iter().map(error).collect();
        let mut flat = Map::new();
        let mut put = |name: &str, value: Option<&Value>| {
            flat.extend(value.map(|value| (name.to_owned(), value.clone())));
        };
        put("entity_type", Some(&table.trim_end_matches('s').into()));
        put("entity_id", text("id"));
        put("entity_name", text("name"));
        put("entity_tags", self.entity.get("tags"));
        put("entity", Some(&Value::Object(self.entity.clone())));
        put("errors", Some(&errors.into()));
        flat.into()
    }
}

/// The value at a spot, with empty ones made on the way.
fn descend<'v>(mut at: &'v mut Value, spot: &Spot) -> &'v mut Value {
    for (list, n) in spot {
        if !at.is_object() {
            *at = Value::Object(Map::new());
        }
        at = element(at, list, *n);
    }
    at
}

fn element<'v>(at: &'v mut Value, list: &str, n: usize) -> &'v mut Value {
    let fields = at.as_object_mut().expect("made an object above");
    let items = fields
        .entry(list)
        .or_insert_with(|| Value::Array(Vec::new()));
    if !items.is_array() {
        *items = Value::Array(Vec::new());
    }
    let items = items.as_array_mut().expect("made an array above");
    if items.len() <= n {
        items.resize(n + 1, Value::Null);
    }
    items.get_mut(n).expect("resized above")
}

fn gather(field: Option<&str>, what: &Value, said: &mut Vec<(Option<String>, String)>) {
    match what {
        Value::Object(fields) => {
            for (name, what) in fields {
                let whole = name == "@entity";
                let path = match field {
                    Some(field) if whole => field.to_owned(),
                    Some(field) => format!("{field}.{name}"),
                    None => name.clone(),
                };
                let path = (!whole || field.is_some()).then_some(path);
                gather(path.as_deref(), what, said);
            }
        }
        Value::Array(items) => {
            let bad = (1..).zip(items).filter(|(_, item)| !item.is_null());
            for (n, item) in bad {
                let path = field.map(|field| format!("{field}.{n}"));
                gather(path.as_deref(), item, said);
            }
        }
        Value::Null => {}
        Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            said.push((field.map(str::to_owned), plain(what)));
        }
    }
}

fn plain(value: &Value) -> String {
    let text = value.as_str().map(str::to_owned);
    text.unwrap_or_else(|| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flaws_stand_where_their_entities_stand() {
        let targets = Collection::of_table("targets").unwrap();
        let mut flaws = Flaws::default();
        flaws.push(Flaw {
            spot: vec![("upstreams".into(), 1), ("targets".into(), 1)],
            collection: targets,
            entity: Document::new(),
            what: "twice".into(),
        });
        let tree = json!({"upstreams": [null, {"targets": [null, "twice"]}]});
        assert_eq!(flaws.fields(), tree);
        assert_eq!(flaws.lines(), ["upstreams[1].targets[1]: twice"]);
    }
}
