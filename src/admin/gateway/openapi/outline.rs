//! The parts of a document that decide, with its paths in the order they are written in.

use std::collections::HashMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// The top level of a document. Fields of an unexpected type are read all the same and found unfit
/// where they are used, so that one odd field does not cost the whole document.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Outline {
    pub(super) openapi: Value,
    pub(super) swagger: Value,
    pub(super) info: Value,
    pub(super) tags: Value,
    pub(super) security: Value,
    pub(super) components: Value,
    pub(super) paths: Paths,
    /// OpenAPI 2's fields.
    #[serde(rename = "basePath")]
    pub(super) base_path: Value,
    pub(super) consumes: Value,
    pub(super) produces: Value,
    pub(super) definitions: Value,
    pub(super) parameters: Value,
    pub(super) responses: Value,
    #[serde(rename = "securityDefinitions")]
    pub(super) security_definitions: Value,
}

/// Path and path item, in the order of the document, in which a JSON tree is not kept.
#[derive(Debug, Default)]
pub(super) struct Paths(pub(super) Vec<(String, Map<String, Value>)>);

impl<'de> Deserialize<'de> for Paths {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(InOrder)
    }
}

struct InOrder;

impl<'de> Visitor<'de> for InOrder {
    type Value = Paths;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("path items by path")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Paths, A::Error> {
        let mut paths: Vec<(String, Map<String, Value>)> = Vec::new();
        let mut places = HashMap::new();
        while let Some((path, item)) = map.next_entry::<String, Value>()? {
            let Value::Object(item) = item else { continue };
            let place = *places.entry(path.clone()).or_insert(paths.len());
            // A path written twice is the later one, as everywhere in JSON.
            match paths.get_mut(place) {
                Some((_, earlier)) => *earlier = item,
                None => paths.push((path, item)),
            }
        }
        Ok(Paths(paths))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Paths, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Paths::default())
    }

    fn visit_bool<E>(self, _: bool) -> Result<Paths, E> {
        Ok(Paths::default())
    }

    fn visit_i64<E>(self, _: i64) -> Result<Paths, E> {
        Ok(Paths::default())
    }

    fn visit_u64<E>(self, _: u64) -> Result<Paths, E> {
        Ok(Paths::default())
    }

    fn visit_f64<E>(self, _: f64) -> Result<Paths, E> {
        Ok(Paths::default())
    }

    fn visit_str<E>(self, _: &str) -> Result<Paths, E> {
        Ok(Paths::default())
    }

    fn visit_unit<E>(self) -> Result<Paths, E> {
        Ok(Paths::default())
    }
}
