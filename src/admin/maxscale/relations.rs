//! Relationships as requests write them, and as they are asked for alone.

use serde_json::{Map, Value};

use super::answer::{Answer, Failed};
use super::call::{Call, Query};
use super::document::{Content, Document};
use super::names;
use super::path::{self, Operation, Outcome, Verb};
use super::view::View;
use crate::model::{Id, Kind, Snapshot};

/// The relationships that resources have; one that a resource lacks is empty.
const ALL: [&str; 5] = ["servers", "filters", "services", "monitors", "listeners"];

/// Whom a resource should be related to from now on, by `relationships.<relation>`; `None` where it
/// does not say so.
pub(super) fn wanted(
    data: &Map<String, Value>,
    relation: &str,
) -> Result<Option<Vec<String>>, Failed> {
    let Some(related) = relationships(data)?.and_then(|all| all.get(relation)) else {
        return Ok(None);
    };
    let Some(related) = related.as_object() else {
        let why = format!("The relationship `{relation}` is not a JSON object");
        return Err(Failed::refused(why));
    };
    match related.get("data") {
        None => Ok(None),
        Some(listed) => names_in(listed, relation).map(Some),
    }
}

/// Refuses members of relationships that the resource does not have; clients send empty ones.
pub(super) fn nothing_but(data: &Map<String, Value>, known: &[&str]) -> Result<(), Failed> {
    let all = relationships(data)?.into_iter().flat_map(Map::keys);
    for relation in all.filter(|name| !known.contains(&name.as_str())) {
        if wanted(data, relation)?.is_some_and(|names| !names.is_empty()) {
            let why = format!("The relationship `{relation}` cannot be set here");
            return Err(Failed::refused(why));
        }
    }
    Ok(())
}

fn relationships(data: &Map<String, Value>) -> Result<Option<&Map<String, Value>>, Failed> {
    let Some(all) = data.get("relationships") else {
        return Ok(None);
    };
    let all = all.as_object();
    all.map(Some)
        .ok_or_else(|| Failed::refused("`relationships` is not a JSON object"))
}

/// Whom a request to `…/relationships/<relation>` lists.
pub(super) fn listed(call: &Call, relation: &str) -> Result<Vec<String>, Failed> {
    let body = call.body.as_ref();
    match body.and_then(|body| body.get("data")) {
        Some(listed) => names_in(listed, relation),
        None => Err(Failed::refused("The request has no `data` array")),
    }
}

/// The ids of `[{id, type}, …]`; none of `null`. What else stands in the members does not count.
fn names_in(listed: &Value, relation: &str) -> Result<Vec<String>, Failed> {
    let members = match listed {
        Value::Null => return Ok(Vec::new()),
        Value::Array(members) => members,
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
            let why = format!("The `data` of the relationship `{relation}` is not an array");
            return Err(Failed::refused(why));
        }
    };
    let name = |member: &Value| {
        let kind = member.get("type").and_then(Value::as_str);
        let id = member.get("id").and_then(Value::as_str);
        id.filter(|_| kind == Some(relation)).map(str::to_owned)
    };
    let names: Option<Vec<_>> = members.iter().map(name).collect();
    names.ok_or_else(|| {
        let why = format!(
            "A member of the relationship `{relation}` lacks its `id` or the `type` {relation:?}"
        );
        Failed::refused(why)
    })
}

/// The entities that are called so, each once, in the order given.
pub(super) fn resolve(
    snapshot: &Snapshot,
    kind: Kind,
    wanted: &[String],
) -> Result<Vec<Id>, Failed> {
    let mut ids = Vec::with_capacity(wanted.len());
    let mut unknown = Vec::new();
    for name in wanted {
        match names::find(snapshot, kind, name) {
            Some(entity) if ids.contains(&entity.id) => {}
            Some(entity) => ids.push(entity.id),
            None => unknown.push(format!("There is no {} named {name:?}", kind.singular())),
        }
    }
    match unknown.is_empty() {
        true => Ok(ids),
        false => Err(Failed::refused_for(unknown)),
    }
}

/// One relationship of a resource, alone.
pub(super) fn show(view: &View<'_>, call: &Call) -> Outcome {
    let [kind, name, .., relation] = call.segments.as_slice() else {
        return Err(Failed::not_found("No resource has this path"));
    };
    let value = resource(view, call, &[kind.clone(), name.clone()])?;
    let related = value
        .pointer("/relationships")
        .and_then(|all| all.get(relation));
    let data = related.and_then(|related| related.get("data")?.as_array());
    let url = view.links.url(&call.segments);
    match data {
        Some(data) => Ok(Answer::Document(Document::many(&url, data.clone()))),
        None if ALL.contains(&relation.as_str()) => {
            Ok(Answer::Document(Document::many(&url, Vec::new())))
        }
        None => Err(Failed::not_found(format!("{kind} have no {relation:?}"))),
    }
}

/// The resource at that path, as a request for it alone shows it.
fn resource(view: &View<'_>, call: &Call, at: &[String]) -> Result<Value, Failed> {
    let nothing = || Failed::not_found("No resource has this path");
    let (path, filled) = path::find(at).ok_or_else(nothing)?;
    let action = path.action(Verb::Get).ok_or_else(nothing)?;
    let Operation::Show(show) = action.operation else {
        return Err(nothing());
    };
    let whole = Call {
        verb: Verb::Get,
        segments: at.to_vec(),
        filled,
        query: Query::default(),
        body: None,
        links: call.links.clone(),
    };
    match show(view, &whole)? {
        Answer::Document(Document {
            body: Content::One(value),
            ..
        }) => Ok(value),
        Answer::Document(_) | Answer::Done | Answer::Ended => Err(nothing()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn servers(relationships: &Value) -> Result<Option<Vec<String>>, u16> {
        let data = json!({"relationships": relationships});
        let wanted = wanted(data.as_object().unwrap(), "servers");
        wanted.map_err(|failed| failed.status.as_u16())
    }

    #[test]
    fn a_relationship_is_replaced_cleared_or_not_mentioned() {
        let one =
            json!({"servers": {"data": [{"id": "a", "type": "servers", "more": 1}], "links": {}}});
        assert_eq!(servers(&one), Ok(Some(vec!["a".into()])));
        assert_eq!(servers(&json!({"servers": {"data": []}})), Ok(Some(vec![])));
        assert_eq!(
            servers(&json!({"servers": {"data": null}})),
            Ok(Some(vec![]))
        );
        assert_eq!(servers(&json!({})), Ok(None));
        assert_eq!(servers(&json!({"servers": {"links": {}}})), Ok(None));
        assert_eq!(wanted(&Map::new(), "servers"), Ok(None));
    }

    #[test]
    fn what_is_no_list_of_that_type_is_refused() {
        for wrong in [
            json!(null),
            json!([]),
            json!({"servers": null}),
            json!({"servers": []}),
            json!({"servers": {"data": {}}}),
            json!({"servers": {"data": "a"}}),
            json!({"servers": {"data": ["a"]}}),
            json!({"servers": {"data": [{"id": "a"}]}}),
            json!({"servers": {"data": [{"id": 1, "type": "servers"}]}}),
            json!({"servers": {"data": [{"id": "a", "type": "server"}]}}),
        ] {
            assert_eq!(servers(&wrong), Err(403), "{wrong}");
        }
    }

    #[test]
    fn only_empty_ones_may_be_unknown() {
        let verdict = |relationships: Value| {
            let data = json!({"relationships": relationships});
            nothing_but(data.as_object().unwrap(), &["servers"]).is_ok()
        };
        assert!(verdict(
            json!({"monitors": {"data": []}, "servers": {"data": [1]}})
        ));
        assert!(verdict(json!({"monitors": {"data": null}})));
        assert!(!verdict(
            json!({"monitors": {"data": [{"id": "m", "type": "monitors"}]}})
        ));
        assert!(!verdict(json!({"monitors": 1})));
    }
}
