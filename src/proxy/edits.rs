//! What becomes of a message's header fields: a list of changes that is decided once and carried out
//! by whoever sends the message, on a header map or while the bytes are written.

use http::{HeaderMap, HeaderName, HeaderValue};
use pingora::http::{RequestHeader, ResponseHeader};

/// A message's header fields, however they are kept.
pub trait Fields {
    /// All fields: name and value.
    fn each(&self) -> impl Iterator<Item = (&[u8], &[u8])>;

    /// The values of all fields of `name`, in their order.
    fn values<'a>(&'a self, name: &'a HeaderName) -> impl Iterator<Item = &'a [u8]> {
        self.each()
            .filter(|(other, _)| other.eq_ignore_ascii_case(name.as_str().as_bytes()))
            .map(|(_, value)| value)
    }

    fn has(&self, name: &HeaderName) -> bool {
        self.values(name).next().is_some()
    }
}

impl Fields for HeaderMap {
    fn each(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.iter()
            .map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes()))
    }

    fn values<'a>(&'a self, name: &'a HeaderName) -> impl Iterator<Item = &'a [u8]> {
        let all = self.has(name).then(|| self.get_all(name));
        all.into_iter().flatten().map(HeaderValue::as_bytes)
    }

    /// Most questions are about fields that are not there, and most headers are short: looking
    /// through one costs less than hashing a name.
    fn has(&self, name: &HeaderName) -> bool {
        if self.len() <= SHORT {
            self.keys().any(|other| other == name)
        } else {
            self.contains_key(name)
        }
    }
}

/// Fields of a short header.
const SHORT: usize = 12;

/// What is to become of the fields of one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    /// This value instead of any there are.
    Set(HeaderValue),
    /// This value behind those there are.
    Append(HeaderValue),
    Remove,
}

/// Changes to a message's header. What is not named stays as the sender wrote it.
#[derive(Clone, Debug, Default)]
pub struct Edits(Vec<(HeaderName, Edit)>);

impl Edits {
    /// With room for so many.
    pub(super) fn with_capacity(count: usize) -> Self {
        Self(Vec::with_capacity(count))
    }

    /// Overrules what was decided about `name` before.
    pub fn set(&mut self, name: HeaderName, value: HeaderValue) {
        self.overrule(name, Edit::Set(value));
    }

    /// Overrules what was decided about `name` before.
    pub fn remove(&mut self, name: HeaderName) {
        self.overrule(name, Edit::Remove);
    }

    /// As [`Edits::set`], where nothing was decided about `name` before.
    pub(super) fn set_first(&mut self, name: HeaderName, value: HeaderValue) {
        debug_assert!(self.0.iter().all(|(other, _)| *other != name), "{name}");
        self.0.push((name, Edit::Set(value)));
    }

    pub fn append(&mut self, name: HeaderName, value: HeaderValue) {
        self.0.push((name, Edit::Append(value)));
    }

    fn overrule(&mut self, name: HeaderName, edit: Edit) {
        let same = self.0.iter().any(|(other, _)| *other == name);
        if same {
            self.0.retain(|(other, _)| *other != name);
        }
        self.0.push((name, edit));
    }

    /// Whether the sender's own fields of `name` go.
    fn replaces(&self, name: &[u8]) -> bool {
        self.0.iter().any(|(other, edit)| {
            let other = other.as_str().as_bytes();
            let same = other.len() == name.len() && other.eq_ignore_ascii_case(name);
            same && !matches!(edit, Edit::Append(_))
        })
    }

    /// The sender's own fields that stay.
    pub(super) fn kept<'a>(
        &'a self,
        fields: &'a impl Fields,
    ) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        fields.each().filter(|(name, _)| !self.replaces(name))
    }

    /// Writes the fields that result from the sender's, in HTTP/1's form.
    pub fn write(&self, fields: &impl Fields, out: &mut Vec<u8>) {
        for (name, value) in self.kept(fields) {
            write_field(name, value, out);
        }
        for (name, edit) in &self.0 {
            if let Edit::Set(value) | Edit::Append(value) = edit {
                write_field(name.as_str().as_bytes(), value.as_bytes(), out);
            }
        }
    }

    /// Makes the changes.
    ///
    /// # Errors
    /// The header's, which is full.
    pub fn apply(self, header: &mut impl Header) -> pingora::Result<()> {
        for (name, edit) in self.0 {
            match edit {
                Edit::Set(value) => header.insert(name, value)?,
                Edit::Append(value) => header.append(name, value)?,
                Edit::Remove => header.remove(&name),
            }
        }
        Ok(())
    }
}

fn write_field(name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    out.reserve(name.len() + value.len() + 4);
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// A header that can be changed field by field.
pub trait Header {
    fn insert(&mut self, name: HeaderName, value: HeaderValue) -> pingora::Result<()>;
    fn append(&mut self, name: HeaderName, value: HeaderValue) -> pingora::Result<()>;
    fn remove(&mut self, name: &HeaderName);
}

macro_rules! header {
    ($header:ty) => {
        impl Header for $header {
            fn insert(&mut self, name: HeaderName, value: HeaderValue) -> pingora::Result<()> {
                self.insert_header(name, value)
            }

            fn append(&mut self, name: HeaderName, value: HeaderValue) -> pingora::Result<()> {
                self.append_header(name, value).map(drop)
            }

            fn remove(&mut self, name: &HeaderName) {
                drop(self.remove_header(name));
            }
        }
    };
}

header!(RequestHeader);
header!(ResponseHeader);

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::{HOST, VIA};
    use proptest::prelude::*;

    fn written(edits: &Edits, fields: &HeaderMap) -> String {
        let mut out = Vec::new();
        edits.write(fields, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_field_is_kept_replaced_added_to_or_removed() {
        let fields: HeaderMap = [("x-a", "1"), ("via", "1.1 b"), ("host", "h"), ("te", "x")]
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            })
            .into_iter()
            .collect();
        let mut edits = Edits::default();
        edits.set(HOST, HeaderValue::from_static("wrong"));
        edits.set(HOST, HeaderValue::from_static("o"));
        edits.append(VIA, HeaderValue::from_static("1.1 g"));
        edits.remove(http::header::TE);
        assert_eq!(
            written(&edits, &fields),
            "x-a: 1\r\nvia: 1.1 b\r\nhost: o\r\nvia: 1.1 g\r\n"
        );
    }

    proptest! {
        /// Writing and changing come to the same.
        #[test]
        fn both_ways_lead_to_the_same_header(
            fields in proptest::collection::vec(("[abc]", "[xyz]"), 0..6),
            changes in proptest::collection::vec(("[abcd]", 0..3u8, "[xyz]"), 0..6),
        ) {
            let name = |text: &str| HeaderName::from_bytes(text.as_bytes()).unwrap();
            let mut header = RequestHeader::build_no_case("GET", b"/", None).unwrap();
            for (field, value) in &fields {
                header.append_header(name(field), value.as_str()).unwrap();
            }
            let mut edits = Edits::default();
            for (field, change, value) in &changes {
                let value = HeaderValue::from_str(value).unwrap();
                match change {
                    0 => edits.set(name(field), value),
                    1 => edits.append(name(field), value),
                    _ => edits.remove(name(field)),
                }
            }
            let lines = |text: String| {
                let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
                lines.sort();
                lines
            };
            let direct = lines(written(&edits, &header.headers));
            edits.apply(&mut header).unwrap();
            prop_assert_eq!(direct, lines(written(&Edits::default(), &header.headers)));
        }
    }
}
