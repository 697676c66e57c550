//! Regexes that operators write: one way to read them, for whoever accepts and whoever runs them.

use ::regex::bytes::{Regex, RegexBuilder};

/// The most memory one compiled regex may take, in bytes.
const BYTES_MAX: usize = 256 * 1024;

/// Compiles one. Its classes are of ASCII, as PCRE has them without further word (`\d` is ten digits and
/// not 760), which takes a quarter of the memory; one that only Unicode can say has them all.
///
/// # Errors
/// What is wrong with it, in one line.
pub fn compile_regex(text: &str) -> Result<Regex, String> {
    let built = |unicode| {
        let mut builder = RegexBuilder::new(text);
        builder.size_limit(BYTES_MAX).unicode(unicode).build()
    };
    built(false).or_else(|_| built(true)).map_err(|error| {
        let why = error.to_string();
        let last = why.lines().last().unwrap_or_default();
        last.trim_start_matches("error: ").to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_of_ascii_unless_only_unicode_can_say_it() {
        let matches =
            |regex: &str, text: &str| compile_regex(regex).unwrap().is_match(text.as_bytes());
        assert!(matches(r"^\d\w$", "1a") && !matches(r"^\d$", "\u{663}"));
        assert!(matches("^caf\u{e9}.?$", "caf\u{e9}s"));
        assert!(matches(r"^\p{Greek}$", "\u{3bb}") && matches(r"^[\u{e9}]$", "\u{e9}"));
        assert!(matches("(?i)^AB$", "aB"));
    }

    #[test]
    fn what_is_wrong_is_one_line() {
        assert_eq!(compile_regex("a(").unwrap_err(), "unclosed group");
        let large = compile_regex(r"\p{L}{1000}").unwrap_err();
        assert!(large.contains("exceeds size limit"), "{large}");
    }
}
