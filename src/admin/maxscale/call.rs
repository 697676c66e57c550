//! A request, read: what an operation needs of it.

use serde_json::{Map, Value};

use super::answer::{Failed, Layout};
use super::links::Links;
use super::names;
use super::path::Verb;
use crate::model::Name;

/// The most parameters of a URL.
const PARAMETERS_MAX: usize = 256;

/// A request whose path and verb are known.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) verb: Verb,
    /// All segments below `/v1`, decoded.
    pub(super) segments: Vec<String>,
    /// Those that the path leaves open, in order.
    pub(super) filled: Vec<String>,
    pub(super) query: Query,
    /// An object or an array.
    pub(super) body: Option<Value>,
    pub(super) links: Links,
}

impl Call {
    /// What fills the path's open segment `n`, from 0.
    pub(super) fn name(&self, n: usize) -> &str {
        self.filled.get(n).map_or("", String::as_str)
    }

    /// The object that stands in the body as `data`.
    ///
    /// # Errors
    /// Where there is none.
    pub(super) fn data(&self) -> Result<&Map<String, Value>, Failed> {
        let data = self.body.as_ref().and_then(|body| body.get("data"));
        data.and_then(Value::as_object)
            .ok_or_else(|| Failed::refused("The request has no `data` object"))
    }
}

/// A member of a resource that a request describes, where it is an object.
///
/// # Errors
/// Where it is something else.
pub(super) fn object_in<'a>(
    of: &'a Map<String, Value>,
    member: &str,
) -> Result<Option<&'a Map<String, Value>>, Failed> {
    match of.get(member) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(object)) => Ok(Some(object)),
        Some(_) => Err(Failed::refused(format!("`{member}` is not a JSON object"))),
    }
}

/// A resource as a request changes it, and the parameters that it gives.
pub(super) type Changes<'a> = (&'a Map<String, Value>, Map<String, Value>);

/// A new resource as a request describes it.
#[derive(Debug)]
pub(super) struct Described<'a> {
    pub(super) data: &'a Map<String, Value>,
    pub(super) name: Name,
    pub(super) attributes: &'a Map<String, Value>,
    pub(super) parameters: Map<String, Value>,
}

impl Call {
    /// Reads the body as a new resource of the type `kind`. The type may be left out, as MaxScale's own
    /// client does.
    pub(super) fn described(&self, kind: &str) -> Result<Described<'_>, Failed> {
        let data = self.data()?;
        check_type(data, kind)?;
        let id = data.get("id").and_then(Value::as_str);
        let id = id.ok_or_else(|| Failed::refused("The request has no `data.id` string"))?;
        let attributes = object_in(data, "attributes")?;
        let attributes = attributes
            .ok_or_else(|| Failed::refused("The request has no `data.attributes` object"))?;
        Ok(Described {
            data,
            name: names::parse(id)?,
            attributes,
            parameters: object_in(attributes, "parameters")?
                .cloned()
                .unwrap_or_default(),
        })
    }

    /// Reads the body as changes of a resource of the type `kind`: its parameters, and the rest.
    pub(super) fn changes(&self, kind: &str) -> Result<Changes<'_>, Failed> {
        let data = self.data()?;
        check_type(data, kind)?;
        let attributes = object_in(data, "attributes")?;
        let parameters = match attributes {
            Some(attributes) => object_in(attributes, "parameters")?,
            None => None,
        };
        Ok((data, parameters.cloned().unwrap_or_default()))
    }
}

fn check_type(data: &Map<String, Value>, kind: &str) -> Result<(), Failed> {
    match data.get("type") {
        None | Some(Value::Null) => Ok(()),
        Some(Value::String(own)) if own == kind => Ok(()),
        Some(other) => Err(Failed::refused(format!(
            "The type of the resource is {other}, not {kind:?}"
        ))),
    }
}

/// The parameters of a URL, decoded, in their order. One without `=` has an empty value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Query(pub(super) Vec<(String, String)>);

impl Query {
    /// # Errors
    /// More than [`PARAMETERS_MAX`].
    pub(super) fn parse(text: &str) -> Result<Self, Failed> {
        let pairs = form_urlencoded::parse(text.as_bytes());
        let pairs: Vec<_> = pairs.into_owned().take(PARAMETERS_MAX + 1).collect();
        match pairs.len() > PARAMETERS_MAX {
            true => {
                let why = format!("a URL has at most {PARAMETERS_MAX} parameters");
                Err(Failed::malformed(why))
            }
            false => Ok(Self(pairs)),
        }
    }

    /// A parameter's value; the last where there are several.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        let mut named = self.0.iter().filter(|(own, _)| own == name);
        named.next_back().map(|(_, value)| value.as_str())
    }

    /// A parameter that says yes or no; anything else is no.
    pub(super) fn is_set(&self, name: &str) -> bool {
        let yes = |value: &str| ["yes", "true", "on", "1"].contains(&value);
        self.value(name)
            .is_some_and(|value| yes(&value.to_ascii_lowercase()))
    }

    pub(super) fn layout(&self) -> Layout {
        let no = |value: &str| ["no", "false", "off", "0"].contains(&value);
        match self.value("pretty").map(str::to_ascii_lowercase) {
            Some(value) if no(&value) => Layout::Compact,
            Some(_) | None => Layout::Pretty,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded_and_the_last_counts() {
        let query = Query::parse("force=no&force=TRUE&a%20b=c+d&bare&pretty=false").unwrap();
        assert!(query.is_set("force"));
        assert_eq!(query.value("a b"), Some("c d"));
        assert_eq!(query.value("bare"), Some(""));
        assert!(!query.is_set("bare"));
        assert_eq!(query.layout(), Layout::Compact);
        assert_eq!(Query::default().layout(), Layout::Pretty);
        let many = "a&".repeat(PARAMETERS_MAX + 1);
        assert_eq!(Query::parse(&many).unwrap_err().status, 400);
        assert!(Query::parse(&"a&".repeat(PARAMETERS_MAX)).is_ok());
    }
}
