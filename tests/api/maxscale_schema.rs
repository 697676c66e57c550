//! The shape that every document of the MaxScale dialect has: JSON:API's, as MaxScale's own tests check
//! it.

use serde_json::{Map, Value};

/// What a document may have at its top.
const TOP: [&str; 5] = ["data", "errors", "links", "meta", "included"];

/// What a resource may have.
const RESOURCE: [&str; 6] = ["id", "type", "attributes", "relationships", "links", "meta"];

/// What an attribute may not be called.
const RESERVED: [&str; 4] = ["id", "type", "links", "relationships"];

/// Everything in which a document is not as it should be.
pub(crate) fn flaws(document: &Value) -> Vec<String> {
    let mut flaws = Flaws(Vec::new());
    match document.as_object() {
        Some(top) => flaws.top(top),
        None => flaws.note("a document is an object"),
    }
    flaws.0
}

struct Flaws(Vec<String>);

impl Flaws {
    fn note(&mut self, why: &str) {
        self.0.push(why.to_owned());
    }

    fn members(&mut self, of: &Map<String, Value>, known: &[&str]) {
        let unknown = of.keys().filter(|name| !known.contains(&name.as_str()));
        self.0
            .extend(unknown.map(|name| format!("{name} is unknown here")));
    }

    fn top(&mut self, top: &Map<String, Value>) {
        self.members(top, &TOP);
        match (top.get("data"), top.get("errors"), top.get("meta")) {
            (Some(data), None, _) => self.data(data),
            (None, Some(errors), _) => self.errors(errors),
            (None, None, Some(_)) => {}
            _ => self.note("one of data and errors, or meta"),
        }
        if top.contains_key("data")
            && !is_text(top.get("links").and_then(|links| links.get("self")))
        {
            self.note("a document has a link to itself");
        }
    }

    fn data(&mut self, data: &Value) {
        match data {
            Value::Array(all) => all.iter().for_each(|one| self.resource(one)),
            one => self.resource(one),
        }
    }

    fn resource(&mut self, resource: &Value) {
        let Some(resource) = resource.as_object() else {
            return self.note("a resource is an object");
        };
        self.members(resource, &RESOURCE);
        if !is_text(resource.get("id")) || !is_text(resource.get("type")) {
            self.note("a resource has an id and a type");
        }
        let attributes = resource.get("attributes").map(Value::as_object);
        if let Some(attributes) = attributes {
            let names = attributes.into_iter().flat_map(Map::keys);
            let reserved = names.filter(|name| RESERVED.contains(&name.as_str()));
            self.0
                .extend(reserved.map(|name| format!("an attribute called {name}")));
        }
        let related = resource.get("relationships").and_then(Value::as_object);
        for relationship in related.into_iter().flat_map(Map::values) {
            self.relationship(relationship);
        }
    }

    fn relationship(&mut self, relationship: &Value) {
        let Some(relationship) = relationship.as_object() else {
            return self.note("a relationship is an object");
        };
        self.members(relationship, &["links", "data", "meta"]);
        let data = relationship.get("data");
        let members = data.and_then(Value::as_array).into_iter().flatten();
        let members: Vec<_> = members.collect();
        let twice = members
            .iter()
            .enumerate()
            .any(|(n, one)| members[..n].contains(one));
        let linkage = |one: &&Value| {
            one.as_object().is_some_and(|object| object.len() == 2)
                && is_text(one.get("id"))
                && is_text(one.get("type"))
        };
        if twice || !members.iter().all(linkage) || relationship.is_empty() {
            self.note("a relationship names each of its resources once, by id and type");
        }
    }

    fn errors(&mut self, errors: &Value) {
        let errors = errors.as_array().filter(|errors| !errors.is_empty());
        let told = |errors: &Vec<Value>| errors.iter().all(|error| is_text(error.get("detail")));
        if !errors.is_some_and(told) {
            self.note("errors are a list of details");
        }
    }
}

fn is_text(value: Option<&Value>) -> bool {
    value
        .and_then(Value::as_str)
        .is_some_and(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_wrong_with_a_document_is_noticed() {
        let links = json!({"self": "http://x/"});
        let fine = json!({"id": "a", "type": "servers", "attributes": {}, "relationships": {}});
        assert_eq!(
            flaws(&json!({"links": links, "data": fine})),
            Vec::<String>::new()
        );
        for wrong in [
            json!([]),
            json!({"data": fine}),
            json!({"links": links, "data": fine, "x": 1}),
            json!({"links": links, "data": [{"id": "a"}]}),
            json!({"links": links, "data": {"id": "a", "type": "b", "attributes": {"links": 1}}}),
            json!({"links": links, "data": {"id": "a", "type": "b", "relationships": {"x": []}}}),
            json!({"links": links, "data": {"id": "a", "type": "b", "relationships": {"x": {"data": [1]}}}}),
            json!({"errors": []}),
            json!({"errors": [{"detail": 1}]}),
        ] {
            assert!(!flaws(&wrong).is_empty(), "{wrong}");
        }
    }
}
