//! The small values every entity is made of, each parsed once and valid ever after.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Why a value cannot exist: the field it was meant for, and the reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {why}")]
pub struct Invalid {
    /// The field as the canonical document names it; empty where the caller knows it.
    pub field: Cow<'static, str>,
    /// The reason, lowercase, naming the value and, where there is one, the fix.
    pub why: String,
}

impl Invalid {
    pub fn new(field: impl Into<Cow<'static, str>>, why: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            why: why.into(),
        }
    }
}

/// An entity's identity: a UUID, stable under renames.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Id(Uuid);

impl Id {
    pub const MIN: Self = Self(Uuid::nil());
    pub const MAX: Self = Self(Uuid::max());

    pub fn random() -> Self {
        Self(Uuid::new_v4())
    }

    /// An id that every node and every restart derives alike from the same words (RFC 9562 v5).
    pub fn derived(words: &str) -> Self {
        Self(Uuid::new_v5(&Uuid::NAMESPACE_URL, words.as_bytes()))
    }

    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    pub const fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Id {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        Uuid::parse_str(text)
            .map(Self)
            .map_err(|_| Invalid::new("id", format!("{text:?} is not a UUID")))
    }
}

/// Declares a text newtype that is parsed by `$check` wherever it comes from.
macro_rules! text {
    ($(#[$doc:meta])* $name:ident, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(try_from = "String", into = "String")]
        #[schemars(with = "String")]
        pub struct $name(Box<str>);

        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = Invalid;

            fn from_str(text: &str) -> Result<Self, Invalid> {
                let check: fn(&str) -> Result<(), String> = $check;
                check(text).map_err(|why| Invalid::new("", why))?;
                Ok(Self(text.into()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = Invalid;

            fn try_from(text: String) -> Result<Self, Invalid> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.0.into()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}
pub(super) use text;

/// The longest name, in bytes; Polaris' longest (128) and Kong's habit both fit.
pub const NAME_BYTES_MAX: usize = 256;

text! {
    /// A name: 1 to [`NAME_BYTES_MAX`] bytes, no control characters, no white space at either end.
    /// Dialects narrow this further for their own entities.
    Name, |text| {
        if text.is_empty() {
            return Err("a name may not be empty".into());
        }
        if text.len() > NAME_BYTES_MAX {
            return Err(format!("a name has at most {NAME_BYTES_MAX} bytes, this one {}", text.len()));
        }
        if text.chars().any(char::is_control) {
            return Err(format!("name {text:?} has a control character"));
        }
        if text.trim() != text {
            return Err(format!("name {text:?} begins or ends with white space"));
        }
        Ok(())
    }
}

text! {
    /// A tag: 1 to 128 bytes, no control characters, no `,` and no `/` (Kong's filter syntax).
    Tag, |text| {
        if text.is_empty() || text.len() > 128 {
            return Err("a tag has 1 to 128 bytes".into());
        }
        if text.chars().any(|c| c.is_control() || c == ',' || c == '/') {
            return Err(format!("tag {text:?} may not hold ',', '/' or control characters"));
        }
        Ok(())
    }
}

/// The most tags one entity may carry.
pub const TAGS_MAX: usize = 64;

/// The namespace an entity lives in, by name. `default` takes no memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "Name", into = "Name")]
pub struct NamespaceRef(Option<Box<Name>>);

impl NamespaceRef {
    pub const DEFAULT: &'static str = "default";

    pub fn as_str(&self) -> &str {
        self.0.as_ref().map_or(Self::DEFAULT, |name| name.as_str())
    }

    pub fn is_default(&self) -> bool {
        self.0.is_none()
    }
}

impl From<Name> for NamespaceRef {
    fn from(name: Name) -> Self {
        Self((name.as_str() != Self::DEFAULT).then(|| Box::new(name)))
    }
}

impl From<NamespaceRef> for Name {
    fn from(namespace: NamespaceRef) -> Self {
        let own = namespace.0.map(|name| *name);
        own.unwrap_or_else(|| Self(NamespaceRef::DEFAULT.into()))
    }
}

impl fmt::Display for NamespaceRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How many batches have been applied; rises by one with each.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(transparent)]
pub struct Revision(pub u64);

impl Revision {
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A moment of wall-clock time, in milliseconds since the Unix epoch.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(transparent)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// The one reader of the wall clock. Order never depends on it: revisions do that.
    pub fn now() -> Self {
        #[expect(clippy::disallowed_methods, reason = "the one place")]
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or(Duration::ZERO);
        Self(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    pub const fn seconds(self) -> u64 {
        self.0 / 1000
    }

    /// Year, month and day in UTC.
    pub const fn date(self) -> (u64, u64, u64) {
        civil(self.seconds() / 86_400)
    }
}

/// Year, month and day of a day since 1970-01-01, by counting in eras of 400 years that begin on the
/// first of March (Howard Hinnant, "chrono-compatible low-level date algorithms").
const fn civil(days: u64) -> (u64, u64, u64) {
    const DAYS_TO_1970: u64 = 719_468;
    let days = days + DAYS_TO_1970;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let (month, later) = if from_march < 10 {
        (from_march + 3, 0)
    } else {
        (from_march - 9, 1)
    };
    (era * 400 + year_of_era + later, month, day)
}

/// A secret text (a private key): never printed, compared or logged.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Secret(Box<str>);

impl Secret {
    pub fn new(text: impl Into<Box<str>>) -> Self {
        Self(text.into())
    }

    /// The text itself; every caller is a place to look at in review.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("«secret»")
    }
}

/// Durations as whole milliseconds on the wire.
pub(super) mod millis {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    /// The longest duration a document may name: 2³¹ − 2 ms, about 24.8 days (Kong's bound).
    pub(crate) const MAX: u64 = (1 << 31) - 2;

    pub(crate) fn serialize<S: Serializer>(
        value: &Duration,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        u64::try_from(value.as_millis())
            .unwrap_or(u64::MAX)
            .serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Duration, D::Error> {
        let millis = u64::deserialize(deserializer)?;
        if millis > MAX {
            return Err(serde::de::Error::custom(format!(
                "at most {MAX} milliseconds"
            )));
        }
        Ok(Duration::from_millis(millis))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_namespace_has_one_spelling() {
        let named: NamespaceRef = "default".parse::<Name>().unwrap().into();
        assert_eq!(named, NamespaceRef::default());
        assert_eq!(serde_json::to_string(&named).unwrap(), "\"default\"");
    }

    #[test]
    fn names_refuse_what_logs_and_paths_cannot_hold() {
        for bad in ["", " a", "a ", "a\nb", &"x".repeat(257)] {
            assert!(bad.parse::<Name>().is_err(), "{bad:?}");
        }
        assert_eq!("a b/c".parse::<Name>().unwrap().as_str(), "a b/c");
    }

    #[test]
    fn secrets_do_not_print() {
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "«secret»");
    }
}
