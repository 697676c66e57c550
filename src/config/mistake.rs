//! What is wrong with settings, and where.

use std::fmt;
use std::path::{Path, PathBuf};

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    File {
        path: PathBuf,
        /// From 1; 0 for the file as a whole.
        line: usize,
        key: Option<String>,
    },
    Variable(String),
    /// Nowhere: what follows from defaults.
    Unwritten,
}

impl Place {
    pub(super) fn file(path: &Path, line: usize, key: Option<&str>) -> Self {
        Self::File {
            path: path.to_owned(),
            line,
            key: key.map(str::to_owned),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line, key } => {
                write!(f, "{}", path.display())?;
                if *line > 0 {
                    write!(f, ":{line}")?;
                }
                key.iter().try_for_each(|key| write!(f, ": {key}"))
            }
            Self::Variable(name) => write!(f, "variable {name}"),
            Self::Unwritten => f.write_str("settings"),
        }
    }
}

/// One thing wrong: where, what, and the fix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {why}")]
pub struct Mistake {
    pub place: Place,
    pub why: String,
}

impl Mistake {
    pub(super) fn new(place: Place, why: impl Into<String>) -> Self {
        Self {
            place,
            why: why.into(),
        }
    }
}

/// Everything wrong with the settings, never only the first; one line each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistakes(pub Vec<Mistake>);

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, mistake) in self.0.iter().enumerate() {
            let line_end = if n == 0 { "" } else { "\n" };
            write!(f, "{line_end}{mistake}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Mistakes {}

/// The known word that `written` was probably meant to be: at most a third of it differs.
pub(super) fn nearest<'a>(
    written: &str,
    known: impl IntoIterator<Item = &'a String>,
) -> Option<&'a str> {
    let scored = known
        .into_iter()
        .map(|word| (distance(written, word), word));
    let (distance, word) = scored.min()?;
    (distance <= written.len() / 3).then_some(word)
}

/// Levenshtein's: characters to insert, delete or replace.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (n, from) in (1..).zip(a.chars()) {
        let mut diagonal = n - 1;
        let mut left = n;
        for (to, cell) in b.chars().zip(row.iter_mut().skip(1)) {
            let replaced = diagonal + usize::from(from != to);
            diagonal = *cell;
            left = replaced.min(diagonal + 1).min(left + 1);
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = n;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_single_edits() {
        for (a, b, edits) in [
            ("", "", 0),
            ("a", "", 1),
            ("kitten", "sitting", 3),
            ("flaw", "lawn", 2),
            ("same", "same", 0),
        ] {
            assert_eq!((distance(a, b), distance(b, a)), (edits, edits), "{a} {b}");
        }
    }

    #[test]
    fn only_what_is_near_is_suggested() {
        let known = ["proxy.http".to_owned(), "proxy.https".to_owned()];
        assert_eq!(nearest("proxy.htp", &known), Some("proxy.http"));
        assert_eq!(nearest("colour", &known), None);
    }
}
