//! Which part of a document a request wants: fields, rows, a page (MaxScale 2.5 and later).

use serde_json::{Map, Value, json};

use super::answer::Failed;
use super::call::{Call, Query};
use super::condition::Condition;
use super::document::{Content, Document};

/// The document with only what the request's parameters select: rows first, then a page of them, then
/// their fields.
pub(super) fn apply(mut document: Document, call: &Call) -> Result<Document, Failed> {
    if let Content::Many(rows) = &mut document.body {
        for condition in conditions(&call.query)? {
            rows.retain(|row| condition.holds(row));
        }
        if let Some(page) = Page::of(&call.query)? {
            turn(&mut document, page);
        }
    }
    let kept = fields(&call.query);
    if !kept.is_empty() {
        match &mut document.body {
            Content::One(value) => keep(value, &kept),
            Content::Many(values) => values.iter_mut().for_each(|value| keep(value, &kept)),
        }
    }
    Ok(document)
}

/// The text between brackets: `servers` of `fields[servers]`.
fn bracketed<'a>(name: &'a str, option: &str) -> Option<&'a str> {
    name.strip_prefix(option)?
        .strip_prefix('[')?
        .strip_suffix(']')
}

fn conditions(query: &Query) -> Result<Vec<Condition>, Failed> {
    let condition = |(name, value): &(String, String)| match name.as_str() {
        "filter" => Some(Condition::equal(value)),
        _ => Some(Condition::parse(bracketed(name, "filter")?, value)),
    };
    query.0.iter().filter_map(condition).collect()
}

/// One page of rows.
#[derive(Clone, Copy, Debug)]
struct Page {
    /// At least 1.
    size: usize,
    /// From 0.
    number: usize,
}

impl Page {
    fn of(query: &Query) -> Result<Option<Self>, Failed> {
        let number = |name: &str| match query.value(name) {
            None => Ok(None),
            Some(text) => text
                .parse::<usize>()
                .map(Some)
                .map_err(|_| Failed::malformed(format!("{name} is {text:?}, not a whole number"))),
        };
        let Some(size) = number("page[size]")? else {
            return Ok(None);
        };
        let number = number("page[number]")?.unwrap_or(0);
        match size {
            0 => Err(Failed::malformed("page[size] is at least 1")),
            size => Ok(Some(Self { size, number })),
        }
    }
}

/// Leaves one page of the rows, and says where the others are.
fn turn(document: &mut Document, page: Page) {
    let Content::Many(rows) = &mut document.body else {
        return;
    };
    let total = rows.len();
    let last = total.saturating_sub(1) / page.size;
    let begin = page.number.saturating_mul(page.size);
    *rows = rows.drain(..).skip(begin).take(page.size).collect();
    let own = document.links.get("self").and_then(Value::as_str);
    let own = own.unwrap_or_default().to_owned();
    let at = |number: usize| {
        format!(
            "{own}?page%5Bsize%5D={}&page%5Bnumber%5D={number}",
            page.size
        )
    };
    let before = page.number.checked_sub(1).map(|number| number.min(last));
    let after = page.number.checked_add(1).filter(|number| *number <= last);
    let links = [
        ("self", Some(page.number)),
        ("first", Some(0)),
        ("last", Some(last)),
        ("prev", before),
        ("next", after),
    ];
    for (name, number) in links {
        if let Some(number) = number {
            document.links.insert(name.to_owned(), at(number).into());
        }
    }
    document.meta.insert("total".to_owned(), json!(total));
}

/// Type to the pointers that are kept of resources of that type.
fn fields(query: &Query) -> Vec<(&str, Vec<&str>)> {
    let pairs = query.0.iter();
    pairs
        .filter_map(|(name, value)| {
            let kind = bracketed(name, "fields")?;
            let pointers = value.split(',').map(|text| text.trim_matches('/'));
            Some((kind, pointers.filter(|text| !text.is_empty()).collect()))
        })
        .collect()
}

/// Leaves only the kept fields of a resource's attributes and relationships.
fn keep(resource: &mut Value, kept: &[(&str, Vec<&str>)]) {
    let kind = resource.get("type").and_then(Value::as_str);
    let of_kind = |(own, _): &&(&str, Vec<&str>)| Some(*own) == kind;
    let pointers: Vec<&str> = kept
        .iter()
        .filter(of_kind)
        .flat_map(|(_, all)| all.clone())
        .collect();
    if !kept.iter().any(|one| of_kind(&one)) {
        return;
    }
    for part in ["attributes", "relationships"] {
        if let Some(Value::Object(fields)) = resource.get_mut(part) {
            *fields = chosen(fields, &pointers);
        }
    }
}

/// Of an object, what the pointers lead to, at the places where it was.
fn chosen(fields: &Map<String, Value>, pointers: &[&str]) -> Map<String, Value> {
    let mut out = Map::new();
    for (name, value) in fields {
        let behind: Vec<&str> = pointers
            .iter()
            .filter_map(|pointer| below(pointer, name))
            .collect();
        let whole = behind.iter().any(|rest| rest.is_empty());
        let kept = match value {
            _ if behind.is_empty() => None,
            Value::Object(inner) if !whole => {
                let inner = chosen(inner, &behind);
                (!inner.is_empty()).then_some(Value::Object(inner))
            }
            value => whole.then(|| value.clone()),
        };
        out.extend(kept.map(|kept| (name.clone(), kept)));
    }
    out
}

/// What a pointer has behind its first step, where that is `name`.
fn below<'a>(pointer: &'a str, name: &str) -> Option<&'a str> {
    let (first, rest) = pointer.split_once('/').unwrap_or((pointer, ""));
    (first.replace("~1", "/").replace("~0", "~") == name).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: &str, state: &str) -> Value {
        json!({
            "id": id, "type": "servers",
            "attributes": {"state": state, "parameters": {"port": 1, "address": "a"}},
            "relationships": {"services": {"data": []}},
        })
    }

    fn selected(query: &str) -> Result<Document, u16> {
        let query = Query::parse(query).unwrap();
        let rows = vec![row("a", "Running"), row("b", "Down"), row("c", "Running")];
        let call = Call {
            verb: super::super::path::Verb::Get,
            segments: vec![],
            filled: vec![],
            query,
            body: None,
            links: super::super::links::Links::of(
                &http::HeaderMap::new(),
                "127.0.0.1:8989".parse().unwrap(),
            ),
        };
        apply(Document::many("/s", rows), &call).map_err(|failed| failed.status.as_u16())
    }

    fn ids(query: &str) -> String {
        let Content::Many(rows) = selected(query).unwrap().body else {
            panic!("no rows")
        };
        let ids = rows.iter().map(|row| row["id"].as_str().unwrap());
        ids.collect::<Vec<_>>().join("")
    }

    #[test]
    fn rows_are_those_that_every_filter_takes() {
        assert_eq!(ids("filter=/attributes/state=%22Running%22"), "ac");
        assert_eq!(ids("filter=/attributes/parameters/port=1"), "abc");
        assert_eq!(ids("filter[id]=ge(%22b%22)"), "bc");
        assert_eq!(
            ids("filter[id]=ge(%22b%22)&filter=/attributes/state=%22Down%22"),
            "b"
        );
        assert_eq!(selected("filter=x").unwrap_err(), 400);
        assert_eq!(selected("filter[id]=ge(").unwrap_err(), 400);
    }

    #[test]
    fn a_page_says_where_the_others_are() {
        let page = selected("page[size]=2&page[number]=1").unwrap();
        let value = page.into_value();
        assert_eq!(value["data"].as_array().unwrap().len(), 1);
        assert_eq!(value["meta"]["total"], 3);
        let link = |name: &str| value["links"].get(name).and_then(Value::as_str);
        assert_eq!(
            link("first"),
            Some("/s?page%5Bsize%5D=2&page%5Bnumber%5D=0")
        );
        assert_eq!(link("prev"), link("first"));
        assert_eq!(link("last"), link("self"));
        assert_eq!(link("next"), None);
        assert_eq!(ids("page[size]=2&page[number]=9"), "");
        assert_eq!(ids("page[size]=18446744073709551615&page[number]=9"), "");
        for wrong in [
            "page[size]=0",
            "page[size]=-1",
            "page[size]=1&page[number]=x",
        ] {
            assert_eq!(selected(wrong).unwrap_err(), 400, "{wrong}");
        }
    }

    #[test]
    fn fields_are_kept_where_they_were() {
        let kept = |query: &str| {
            let Content::Many(rows) = selected(query).unwrap().body else {
                panic!("no rows")
            };
            json!([rows[0]["attributes"], rows[0]["relationships"]])
        };
        assert_eq!(
            kept("fields[servers]=state"),
            json!([{"state": "Running"}, {}])
        );
        assert_eq!(
            kept("fields[servers]=/parameters/port,services"),
            json!([{"parameters": {"port": 1}}, {"services": {"data": []}}])
        );
        assert_eq!(kept("fields[servers]="), json!([{}, {}]));
        assert_eq!(kept("fields[services]=x"), kept("pretty=true"));
    }
}
