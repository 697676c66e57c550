//! Query strings: which parameters a list takes, what they mean, and which page is meant.

use form_urlencoded::parse;

use super::answer::Failed;
use super::codes;

/// The most rows of a page.
const LIMIT_MAX: usize = 100;

/// A query string's parameters, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Of a parameter named twice the first counts; `keys` and `values` are joined by commas.
    pub(super) fn read(query: &str) -> Self {
        let mut all: Vec<(String, String)> = Vec::new();
        for (name, value) in parse(query.as_bytes()) {
            match all.iter_mut().find(|(known, _)| *known == name) {
                None => all.push((name.into_owned(), value.into_owned())),
                Some((_, joined)) if name == "keys" || name == "values" => {
                    joined.push(',');
                    joined.push_str(&value);
                }
                Some(_) => {}
            }
        }
        Self(all)
    }

    /// Refuses names that are not in `allowed`, and values that are empty without being in `may_be_empty`.
    pub(super) fn check(&self, allowed: &[&str], may_be_empty: &[&str]) -> Result<(), Failed> {
        for (name, value) in &self.0 {
            let wrong = |why: String| Err(Failed::saying(codes::PARAMETER, why));
            if !allowed.contains(&name.as_str()) {
                return wrong(format!("{name} is not allowed"));
            }
            if value.is_empty() && !may_be_empty.contains(&name.as_str()) {
                return wrong(format!("the value for {name} is empty"));
            }
        }
        Ok(())
    }

    pub(super) fn find(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Whether anything but `ignored` is asked for.
    pub(super) fn asks_besides(&self, ignored: &[&str]) -> bool {
        self.0
            .iter()
            .any(|(name, _)| !ignored.contains(&name.as_str()))
    }

    /// The items of a comma list.
    pub(super) fn list(&self, name: &str) -> Option<Vec<&str>> {
        self.find(name).map(|value| value.split(',').collect())
    }

    /// A number that must be one.
    fn number(&self, name: &str) -> Result<Option<usize>, Failed> {
        let number = self.find(name).map(str::parse).transpose();
        number.map_err(|_| codes::PARAMETER.into())
    }

    pub(super) fn page(&self) -> Result<Page, Failed> {
        let offset = self.number("offset")?.unwrap_or(0);
        let limit = self.number("limit")?.unwrap_or(LIMIT_MAX);
        Ok(Page {
            offset,
            limit: limit.min(LIMIT_MAX),
        })
    }
}

/// Which rows of a list are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) offset: usize,
    pub(super) limit: usize,
}

impl Page {
    /// How many there are, and those wanted.
    pub(super) fn of<T>(self, all: impl Iterator<Item = T>) -> (usize, Vec<T>) {
        let mut amount = 0;
        let mut rows = Vec::new();
        for row in all {
            if amount >= self.offset && rows.len() < self.limit {
                rows.push(row);
            }
            amount += 1;
        }
        (amount, rows)
    }

    /// The same of rows in no order, by their places: only those wanted are sorted.
    pub(super) fn first_of<K: Ord, T>(self, mut all: Vec<(K, T)>) -> (usize, Vec<T>) {
        let amount = all.len();
        let end = self.offset.saturating_add(self.limit);
        if end < amount {
            all.select_nth_unstable_by(end, |one, other| one.0.cmp(&other.0));
            all.truncate(end);
        }
        all.sort_unstable_by(|one, other| one.0.cmp(&other.0));
        let wanted = all.into_iter().skip(self.offset);
        (amount, wanted.map(|(_, row)| row).collect())
    }
}

/// All there are, where there are not more than `most`.
pub(super) fn few<T>(all: impl Iterator<Item = T>, most: usize) -> Option<Vec<T>> {
    let found: Vec<T> = all.take(most.saturating_add(1)).collect();
    (found.len() <= most).then_some(found)
}

/// What the shortest of several iterators has, at the cost of that one times their number; `None` where
/// it has more than `most`.
pub(super) fn shortest<T>(mut all: Vec<impl Iterator<Item = T>>, most: usize) -> Option<Vec<T>> {
    let mut found: Vec<Vec<T>> = all.iter().map(|_| Vec::new()).collect();
    if all.is_empty() {
        return None;
    }
    for _ in 0..=most {
        for (next, found) in all.iter_mut().zip(&mut found) {
            match next.next() {
                Some(item) => found.push(item),
                None => return Some(std::mem::take(found)),
            }
        }
    }
    None
}

/// A boolean as Go spells it; anything else is none.
pub(super) fn flag(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

/// What a name must look like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wildcard {
    Exact(String),
    Prefix(String),
    Suffix(String),
    Contains(String),
}

impl Wildcard {
    /// `x*`, `*x` and `*x*`; anything else is itself.
    pub(super) fn read(text: &str) -> Self {
        let open = text.strip_prefix('*');
        match (open, text.strip_suffix('*')) {
            (Some(rest), Some(_)) => {
                let inner = rest.strip_suffix('*').unwrap_or_default();
                Self::Contains(inner.to_owned())
            }
            (Some(rest), None) => Self::Suffix(rest.to_owned()),
            (None, Some(rest)) => Self::Prefix(rest.to_owned()),
            (None, None) => Self::Exact(text.to_owned()),
        }
    }

    /// The same for names in lower case; exact ones keep their case.
    pub(super) fn folded(text: &str) -> Self {
        match Self::read(text) {
            Self::Exact(text) => Self::Exact(text),
            Self::Prefix(text) => Self::Prefix(text.to_lowercase()),
            Self::Suffix(text) => Self::Suffix(text.to_lowercase()),
            Self::Contains(text) => Self::Contains(text.to_lowercase()),
        }
    }

    pub(super) fn matches(&self, name: &str) -> bool {
        match self {
            Self::Exact(text) => name == text,
            Self::Prefix(text) => name.starts_with(&**text),
            Self::Suffix(text) => name.ends_with(&**text),
            Self::Contains(text) => name.contains(&**text),
        }
    }

    /// Against a name and its lower-case form, for patterns made by [`Wildcard::folded`].
    pub(super) fn matches_folded(&self, name: &str, folded: &str) -> bool {
        match self {
            Self::Exact(_) => self.matches(name),
            Self::Prefix(_) | Self::Suffix(_) | Self::Contains(_) => self.matches(folded),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_a_repeated_parameter_counts_but_keys_and_values_are_joined() {
        let query = Parameters::read("name=a&name=b&keys=x&keys=y&values=1&values=");
        assert_eq!(query.find("name"), Some("a"));
        assert_eq!(query.find("keys"), Some("x,y"));
        assert_eq!(query.find("values"), Some("1,"));
    }

    #[test]
    fn unknown_names_and_empty_values_are_told() {
        let why = |text: &str| {
            let checked = Parameters::read(text).check(&["name", "values"], &["values"]);
            checked.map_err(|failed| failed.info())
        };
        let unknown = "invalid parameter: color is not allowed";
        assert_eq!(why("color=red"), Err(unknown.to_owned()));
        let empty = "invalid parameter: the value for name is empty";
        assert_eq!(why("name="), Err(empty.to_owned()));
        assert_eq!(why("name=a&values="), Ok(()));
    }

    #[test]
    fn a_page_has_at_most_a_hundred_rows_and_knows_how_many_there_are() {
        let page = |query: &str| Parameters::read(query).page();
        assert_eq!(
            page("").unwrap(),
            Page {
                offset: 0,
                limit: 100
            }
        );
        assert_eq!(page("limit=600").unwrap().limit, 100);
        for bad in ["limit=ss", "limit=-10", "offset=1.5", "offset=%20"] {
            assert!(page(bad).is_err(), "{bad}");
        }
        assert_eq!(page("offset=6&limit=3").unwrap().of(0..7), (7, vec![6]));
        assert_eq!(page("limit=0").unwrap().of(0..7), (7, vec![]));
    }

    #[test]
    fn a_page_of_rows_in_no_order_is_the_page_of_them_sorted() {
        let rows = [5, 3, 8, 1, 9, 2, 7];
        let mut sorted = rows;
        sorted.sort_unstable();
        for (offset, limit) in [
            (0, 3),
            (2, 3),
            (5, 100),
            (7, 1),
            (9, 2),
            (0, 0),
            (usize::MAX, 9),
        ] {
            let page = Page { offset, limit };
            let keyed = rows.iter().map(|row| (*row, *row)).collect();
            assert_eq!(page.first_of(keyed), page.of(sorted.into_iter()));
        }
    }

    #[test]
    fn the_shortest_is_found_in_lockstep() {
        assert_eq!(shortest(vec![0..9, 3..5, 0..100], 2), Some(vec![3, 4]));
        assert_eq!(shortest(vec![0..9, 3..5, 0..100], 1), None);
        assert_eq!(shortest(vec![0..0, 1..2], 0), Some(vec![]));
        assert_eq!(shortest(Vec::<std::ops::Range<u8>>::new(), 9), None);
        assert_eq!(few(0..3, 3), Some(vec![0, 1, 2]));
        assert_eq!(few(0..4, 3), None);
    }

    #[test]
    fn wildcards_stand_at_the_ends() {
        let matches = |pattern: &str, name: &str| Wildcard::read(pattern).matches(name);
        assert!(matches("a*", "ab") && !matches("a*", "ba"));
        assert!(matches("*a", "ba") && !matches("*a", "ab"));
        assert!(matches("*b*", "abc") && matches("*", "x") && matches("**", "x"));
        assert!(!matches("a*c", "abc") && matches("a*c", "a*c"));
        assert!(Wildcard::folded("oRd*").matches_folded("Order", "order"));
        assert!(!Wildcard::folded("order").matches_folded("Order", "order"));
    }
}
