//! Lists: pages, offsets, and the filter by tags.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::failure::Failure;
use crate::model::{Entity, Id};

/// Entities on a page where the client does not say.
const SIZE: usize = 100;
const SIZE_MAX: usize = 1000;
const TAGS_MAX: usize = 5;
/// What is wrong with an offset that reads as one and leads nowhere.
const NO_PLACE: &str = "bad value";

/// What a list's query asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Query {
    pub(super) size: Option<usize>,
    /// Where the last page ended: an opaque text that [`write_offset`] made.
    pub(super) offset: Option<Vec<String>>,
    pub(super) tags: Option<Tags>,
}

/// `a,b`: all of them. `a/b`: any of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tags {
    text: String,
    all: bool,
    names: Vec<String>,
}

impl Query {
    /// # Errors
    /// A size, an offset or a filter that is none.
    pub(super) fn read(query: &[(String, String)]) -> Result<Self, Failure> {
        let read = Self::of(query)?;
        let is_place = read.offset.is_none() || read.after().is_some();
        read.judged(query, is_place)
    }

    /// As [`Query::read`], of a list that takes no notice of tags.
    ///
    /// # Errors
    /// A size or an offset that is none.
    pub(super) fn read_untagged(query: &[(String, String)]) -> Result<Self, Failure> {
        Self::read(&without_tags(query))
    }

    /// The query of a list of tags: each has a table, an id and a name.
    ///
    /// # Errors
    /// As [`Query::read_untagged`].
    pub(super) fn read_of_tags(query: &[(String, String)]) -> Result<Self, Failure> {
        let read = Self::of(&without_tags(query))?;
        let is_place = read.offset.as_ref().is_none_or(|place| place.len() == 3);
        read.judged(query, is_place)
    }

    /// The query, where its offset is a place in the list.
    fn judged(self, query: &[(String, String)], is_place: bool) -> Result<Self, Failure> {
        let offset = value_of(query, "offset").unwrap_or_default();
        match is_place {
            true => Ok(self),
            false => Err(Failure::bad_offset(offset, NO_PLACE)),
        }
    }

    fn of(query: &[(String, String)]) -> Result<Self, Failure> {
        let value = |name: &str| value_of(query, name);
        Ok(Self {
            size: value("size").map(read_size).transpose()?,
            offset: value("offset").map(read_offset).transpose()?,
            tags: value("tags").map(Tags::read).transpose()?,
        })
    }

    pub(super) fn after(&self) -> Option<Id> {
        match self.offset.as_deref()? {
            [id] => id.parse().ok(),
            _ => None,
        }
    }

    pub(super) fn limit(&self) -> usize {
        self.size.unwrap_or(SIZE)
    }

    /// The page of `found`, which begins where this query does and may be longer than the page.
    pub(super) fn page<'a>(
        &self,
        path: &str,
        nested: bool,
        found: impl Iterator<Item = &'a Arc<Entity>>,
        mut render: impl FnMut(&Entity) -> Value,
    ) -> Value {
        let wanted = |entity: &&Arc<Entity>| {
            let tags = self.tags.as_ref().filter(|_| !nested);
            tags.is_none_or(|tags| tags.fit(entity))
        };
        let mut found = found.filter(wanted).peekable();
        let page: Vec<_> = found.by_ref().take(self.limit()).collect();
        let last = page.last().filter(|_| found.peek().is_some());
        let next = last.map(|last| write_offset(&[last.id.to_string()]));
        let data: Vec<_> = page.iter().map(|entity| render(entity)).collect();
        self.envelope(path, nested, &data, next.as_deref())
    }

    /// The document of one page.
    pub(super) fn envelope(
        &self,
        path: &str,
        nested: bool,
        data: &[Value],
        offset: Option<&str>,
    ) -> Value {
        let Some(offset) = offset else {
            return json!({"data": data, "next": null});
        };
        let escape = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let mut next = format!("{path}?offset={}", escape(offset));
        if let Some(tags) = self.tags.as_ref().filter(|_| !nested) {
            next = format!("{next}&tags={}", escape(&tags.text));
        }
        if let Some(size) = self.size.filter(|_| !nested) {
            next = format!("{next}&size={size}");
        }
        json!({"data": data, "next": next, "offset": offset})
    }
}

fn value_of<'q>(query: &'q [(String, String)], name: &str) -> Option<&'q str> {
    let named = query.iter().find(|(one, _)| one == name);
    named.map(|(_, value)| value.as_str())
}

fn without_tags(query: &[(String, String)]) -> Vec<(String, String)> {
    let others = query.iter().filter(|(name, _)| name != "tags");
    others.cloned().collect()
}

fn read_size(text: &str) -> Result<usize, Failure> {
    let number: f64 = text
        .parse()
        .map_err(|_| Failure::bad_size("size must be a number"))?;
    let whole = (1..=SIZE_MAX)
        .find(|size| u32::try_from(*size).is_ok_and(|size| f64::from(size) == number));
    whole.ok_or_else(|| {
        Failure::bad_size(&format!("size must be an integer between 1 and {SIZE_MAX}"))
    })
}

/// Where a page ends, for the client to send back.
pub(super) fn write_offset(place: &[String]) -> String {
    STANDARD.encode(json!(place).to_string())
}

fn read_offset(text: &str) -> Result<Vec<String>, Failure> {
    let bytes = STANDARD
        .decode(text)
        .map_err(|_| Failure::bad_offset(text, "bad base64 encoding"))?;
    serde_json::from_slice(&bytes).map_err(|_| Failure::bad_offset(text, NO_PLACE))
}

impl Tags {
    fn read(text: &str) -> Result<Self, Failure> {
        let wrong = |why| Err(Failure::bad_option("tags", why));
        if text.is_empty() {
            return wrong("cannot be null");
        }
        let (all, any) = (text.contains(','), text.contains('/'));
        if all && any {
            return wrong("invalid filter syntax");
        }
        let names: Vec<String> = text.split([',', '/']).map(str::to_owned).collect();
        if names.iter().any(String::is_empty) {
            return wrong("invalid filter syntax");
        }
        if names.len() > TAGS_MAX {
            return wrong("cannot query more than 5 tags");
        }
        Ok(Self {
            text: text.to_owned(),
            all: !any,
            names,
        })
    }

    fn fit(&self, entity: &Entity) -> bool {
        let has = |name: &String| entity.tags.iter().any(|tag| tag.as_str() == name);
        if self.all {
            self.names.iter().all(has)
        } else {
            self.names.iter().any(has)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, value: &str) -> Result<Query, Failure> {
        Query::read(&[(name.to_owned(), value.to_owned())])
    }

    #[test]
    fn sizes_are_whole_and_bounded() {
        assert_eq!(read("size", "1000").unwrap().limit(), 1000);
        assert_eq!(read("size", "2.0").unwrap().limit(), 2);
        for wrong in ["0", "1001", "1.5", "x", "-1"] {
            assert!(read("size", wrong).is_err(), "{wrong}");
        }
        assert_eq!(Query::default().limit(), 100);
    }

    #[test]
    fn an_offset_reads_back() {
        let id = Id::random();
        let query = read("offset", &write_offset(&[id.to_string()])).unwrap();
        assert_eq!(query.after(), Some(id));
        assert!(read("offset", "x").is_err() && read("offset", "|potato|").is_err());
    }

    #[test]
    fn an_offset_is_a_place_in_its_own_list() {
        let id = Id::random().to_string();
        let place = [id.clone(), id.clone(), id];
        let of_tags = |offset: &str| {
            let query = [("offset".to_owned(), offset.to_owned())];
            Query::read_of_tags(&query).is_ok()
        };
        let whole = write_offset(&place);
        assert!(of_tags(&whole) && read("offset", &whole).is_err());
        for wrong in ["W10=", "WyJ4Il0="] {
            assert!(read("offset", wrong).is_err() && !of_tags(wrong), "{wrong}");
        }
    }

    #[test]
    fn filters_are_of_one_kind() {
        for wrong in ["", "a,b/c", "a,b,c,d,e,f", "a,,b"] {
            assert!(read("tags", wrong).is_err(), "{wrong}");
        }
    }
}
