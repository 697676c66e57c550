//! From text to a list of entities.

use serde_json::Value;

use super::flaw::{Flaw, Flaws, Spot};
use super::migrate;
use crate::admin::kong::collection::{COLLECTIONS, Collection};
use crate::admin::kong::schema::Document;

const VERSIONS: [&str; 3] = ["1.1", "2.1", "3.0"];

/// Fields of a document, and of an entity, that say nothing about entities. Those of decK tell decK
/// which entities are its own.
const SILENT: [&str; 5] = ["_comment", "_ignore", "_info", "_konnect", "_workspace"];

/// Nested lists deeper than this hold nothing that Kong knows.
const DEPTH_MAX: usize = 4;

/// One entity of a document.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) collection: &'static Collection,
    /// As written, without the entities below it.
    pub(super) fields: Document,
    pub(super) spot: Spot,
    /// The entity it stands below, by its position in the list, and the field that names it.
    pub(super) parent: Option<(usize, &'static str)>,
    /// Whether its flaw is told already, so that it need not be judged.
    pub(super) flawed: bool,
}

/// The entities of a document, each behind the one that it stands below.
#[derive(Debug)]
pub struct Declared {
    pub(super) items: Vec<Item>,
    /// What is wrong with the document already: told with what is wrong with its entities.
    pub(super) flaws: Flaws,
    transform: bool,
}

impl Declared {
    /// Whether passwords are written as they are, so that they are still to be hashed.
    pub(super) const fn hashes_passwords(&self) -> bool {
        self.transform
    }
}

/// Reads YAML or JSON.
///
/// # Errors
/// What is not an object in either.
pub fn parse(text: &str) -> Result<Value, Flaws> {
    let failed =
        |why: &str| Flaws::of_whole(&format!("failed parsing declarative configuration: {why}"));
    let read: Value = match text.trim_start().starts_with('{') {
        true => serde_json::from_str(text).map_err(|error| failed(&error.to_string()))?,
        false => yaml(text).map_err(|error| failed(&error))?,
    };
    match read {
        Value::Object(_) => Ok(read),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Err(failed("expected an object"))
        }
    }
}

/// YAML whose bounds let a document through that JSON's would.
fn yaml(text: &str) -> Result<Value, String> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_events: 20_000_000, max_nodes: 10_000_000 }
    };
    let read = serde_saphyr::from_str_with_options(text, options);
    // One line, without a piece of the text: it may hold keys.
    read.map_err(|error: serde_saphyr::Error| {
        let text = error.without_snippet().to_string();
        text.lines().map(str::trim).collect::<Vec<_>>().join(" ")
    })
}

/// Takes a document apart. Entities are not judged yet; a version that is none, fields that no document
/// has and lists that are none stand in [`Declared`].
///
/// # Errors
/// What is no object.
pub fn read(document: Value) -> Result<Declared, Flaws> {
    let Value::Object(mut document) = document else {
        return Err(Flaws::of_whole(
            "failed parsing declarative configuration: expected an object",
        ));
    };
    let mut reader = Reader::default();
    reader.version(&mut document);
    let transform = reader.transform(&mut document);
    reader.shared_configurations(&mut document);
    for name in SILENT {
        document.remove(name);
    }
    for collection in &COLLECTIONS {
        if let Some(list) = document.remove(collection.table) {
            reader.list(collection, list, &Vec::new(), None);
        }
    }
    for (field, _) in document {
        reader.flaws.put(&field, "unknown field");
    }
    Ok(Declared {
        items: reader.items,
        flaws: reader.flaws,
        transform,
    })
}

#[derive(Default)]
struct Reader {
    items: Vec<Item>,
    flaws: Flaws,
    /// Whether paths of routes are those of Kong before 3.0.
    old_paths: bool,
    /// decK's `_plugin_configs`: configurations that plugins share by name.
    shared: Document,
}

impl Reader {
    fn version(&mut self, document: &mut Document) {
        let wrong = match document.remove("_format_version") {
            None | Some(Value::Null) => "required field missing".to_owned(),
            Some(Value::String(version)) if VERSIONS.contains(&version.as_str()) => {
                self.old_paths = version != "3.0";
                return;
            }
            Some(Value::String(_)) => format!("expected one of: {}", VERSIONS.join(", ")),
            Some(_) => "expected a string".to_owned(),
        };
        self.flaws.put("_format_version", wrong);
    }

    fn transform(&mut self, document: &mut Document) -> bool {
        match document.remove("_transform") {
            None | Some(Value::Null) => true,
            Some(Value::Bool(transform)) => transform,
            Some(_) => {
                self.flaws.put("_transform", "expected a boolean");
                true
            }
        }
    }

    fn shared_configurations(&mut self, document: &mut Document) {
        match document.remove("_plugin_configs") {
            None | Some(Value::Null) => {}
            Some(Value::Object(shared)) => self.shared = shared,
            Some(_) => self.flaws.put("_plugin_configs", "expected a map"),
        }
    }

    fn list(
        &mut self,
        collection: &'static Collection,
        list: Value,
        above: &Spot,
        parent: Option<(usize, &'static str)>,
    ) {
        let Value::Array(list) = list else {
            if !list.is_null() {
                self.refuse_list(collection, above, parent);
            }
            return;
        };
        for (n, entity) in list.into_iter().enumerate() {
            let mut spot = above.clone();
            spot.push((collection.table.into(), n));
            match entity {
                Value::Object(fields) => self.entity(collection, fields, &spot, parent),
                Value::String(name) if collection.table == "snis" && parent.is_some() => {
                    let fields = Document::from_iter([("name".to_owned(), name.into())]);
                    self.entity(collection, fields, &spot, parent);
                }
                _ => self.flaws.push(Flaw {
                    spot,
                    collection,
                    entity: Document::new(),
                    what: "expected a record".into(),
                }),
            }
        }
    }

    /// Says of the field that it holds no list.
    fn refuse_list(
        &mut self,
        collection: &'static Collection,
        above: &Spot,
        parent: Option<(usize, &'static str)>,
    ) {
        let parent = parent.and_then(|(at, _)| self.items.get(at));
        let Some(parent) = parent else {
            return self.flaws.put(collection.table, "expected an array");
        };
        let what = Document::from_iter([(collection.table.to_owned(), "expected an array".into())]);
        self.flaws.push(Flaw {
            spot: above.clone(),
            collection: parent.collection,
            entity: parent.fields.clone(),
            what: what.into(),
        });
    }

    fn entity(
        &mut self,
        collection: &'static Collection,
        mut fields: Document,
        spot: &Spot,
        parent: Option<(usize, &'static str)>,
    ) {
        for name in SILENT {
            fields.remove(name);
        }
        let mut below = Vec::new();
        if spot.len() < DEPTH_MAX {
            for child in collection.children() {
                below.extend(fields.remove(child.table).map(|list| (child, list)));
            }
        }
        if self.old_paths && collection.table == "routes" {
            migrate_paths(&mut fields);
        }
        let shares = self.share(collection, &mut fields, spot);
        let at = self.items.len();
        self.items.push(Item {
            collection,
            fields,
            spot: spot.clone(),
            parent,
            flawed: !shares,
        });
        for (child, list) in below {
            let field = child.mention_of(collection);
            self.list(child, list, spot, field.map(|field| (at, field)));
        }
    }

    /// decK's `_config`: the plugin's own configuration goes before the one it shares. False where there
    /// is none to share.
    fn share(
        &mut self,
        collection: &'static Collection,
        fields: &mut Document,
        spot: &Spot,
    ) -> bool {
        let Some(name) = fields.remove("_config").filter(|name| !name.is_null()) else {
            return true;
        };
        let shared = name.as_str().and_then(|name| self.shared.get(name));
        let Some(Value::Object(mut config)) = shared.cloned() else {
            let why = format!("no configuration {name} in '_plugin_configs'");
            let what = Document::from_iter([("_config".to_owned(), why.into())]);
            self.flaws.push(Flaw {
                spot: spot.clone(),
                collection,
                entity: fields.clone(),
                what: what.into(),
            });
            return false;
        };
        let own = fields.remove("config");
        let own = own.as_ref().and_then(Value::as_object).cloned();
        config.extend(own.unwrap_or_default());
        fields.insert("config".to_owned(), config.into());
        true
    }
}

fn migrate_paths(route: &mut Document) {
    let paths = route.get_mut("paths").and_then(Value::as_array_mut);
    for path in paths.into_iter().flatten() {
        if let Value::String(text) = path {
            *text = migrate::path(text);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn children_follow_their_parents() {
        let text = "_format_version: '1.1'\nservices:\n- name: a\n  url: http://a.test\n  routes:\n  - paths: ['/x\\d']\n    plugins: [{name: cors}]\n";
        let declared = read(parse(text).unwrap()).unwrap();
        let tables: Vec<_> = declared.items.iter().map(|i| i.collection.table).collect();
        assert_eq!(tables, ["services", "routes", "plugins"]);
        assert_eq!(declared.items[1].parent, Some((0, "service")));
        assert_eq!(declared.items[2].parent, Some((1, "route")));
        assert_eq!(declared.items[1].fields["paths"], json!(["~/x\\d"]));
    }

    #[test]
    fn what_is_no_document_is_told_at_once() {
        let wrong = |text: &str| {
            let read = parse(text).and_then(read);
            read.map_or_else(|flaws| flaws, |declared| declared.flaws)
                .fields()
        };
        let no_object = "failed parsing declarative configuration: expected an object";
        assert_eq!(wrong("[]"), json!({ "error": no_object }));
        assert_eq!(wrong("bread"), json!({ "error": no_object }));
        assert_eq!(
            wrong("{\"_format_version\": \"9\", \"bogus\": 1, \"services\": 1}"),
            json!({
                "_format_version": "expected one of: 1.1, 2.1, 3.0",
                "bogus": "unknown field",
                "services": "expected an array",
            })
        );
        let nested = wrong("{\"_format_version\": \"3.0\", \"services\": [{\"routes\": {}}]}");
        assert_eq!(
            nested,
            json!({"services": [{"routes": "expected an array"}]})
        );
    }

    #[test]
    fn plugins_share_decks_configurations() {
        let text = "_format_version: '3.0'\n_plugin_configs: {x: {minute: 1, hour: 2}}\nplugins:\n- {name: rate-limiting, _config: x, config: {hour: 3}}\n";
        let declared = read(parse(text).unwrap()).unwrap();
        let config = &declared.items[0].fields["config"];
        assert_eq!(*config, json!({"minute": 1, "hour": 3}));
        let declared = read(parse(&text.replace("_config: x", "_config: y")).unwrap());
        assert!(!declared.unwrap().flaws.is_empty());
    }
}
