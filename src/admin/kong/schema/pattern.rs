//! Lua's patterns, in which Kong's schemas are written, as regular expressions.

use regex::Regex;

/// A pattern of Lua: what a client is shown, and what judges.
#[derive(Clone, Debug)]
pub(super) struct Pattern(Regex);

impl Pattern {
    /// Translates a pattern of the schemas: classes (`%a %d %p %s %u %w`), sets, anchors and
    /// quantifiers. `-` behind a single is Lua's lazy repetition.
    ///
    /// # Errors
    /// What the regular expression would be, where it is none.
    pub(super) fn parse(lua: &str) -> Result<Self, String> {
        let regex = translate(lua);
        Regex::new(&regex)
            .map(Self)
            .map_err(|_| format!("the pattern {lua:?} would be {regex:?}"))
    }

    pub(super) fn finds(&self, text: &str) -> bool {
        self.0.is_match(text)
    }
}

fn translate(lua: &str) -> String {
    let mut out = String::from("(?s)");
    let mut chars = lua.chars().peekable();
    let mut in_set = false;
    while let Some(c) = chars.next() {
        match c {
            '%' => out.push_str(&class(chars.next().unwrap_or('%'))),
            '[' if !in_set => {
                in_set = true;
                out.push('[');
            }
            ']' if in_set => {
                in_set = false;
                out.push(']');
            }
            '-' if !in_set => out.push_str("*?"),
            // A hyphen that ends a set is one.
            '-' if chars.peek() == Some(&']') => out.push_str(r"\-"),
            '\\' | '&' | '~' => out.extend(['\\', c]),
            '{' | '}' | '|' if !in_set => out.extend(['\\', c]),
            other => out.push(other),
        }
    }
    out
}

/// What stands behind `%`: a class of Lua, or a character that means itself.
fn class(letter: char) -> String {
    let class = match letter {
        'a' => "[A-Za-z]",
        'd' => "[0-9]",
        'p' => r"[!-/:-@\[-`{-~]",
        's' => r"[ \t-\r]",
        'u' => "[A-Z]",
        'w' => "[0-9A-Za-z]",
        itself => return regex::escape(&itself.to_string()),
    };
    class.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_of_the_schemas_mean_what_lua_means() {
        for (lua, found, not) in [
            ("^%u+$", "GET", "Get"),
            ("^[^*]*%*?[^*]*$", "a*b", "*a*"),
            ("%.%*$", "a.*", "a.*.b"),
            ("^[a-z][a-z%d-]-[a-z%d]+$", "my-vault1", "My"),
            ("^[a-z][a-z%d-]-[a-z%d]+$", "ab", "a-"),
            (
                r"^[^%s*&%%\`][^*&%%\`]*[^%s*&%%\`]$",
                "/var/log/x.log",
                "/var/*",
            ),
            (r"^[^%s*&%%\`][^*&%%\`]*[^%s*&%%\`]$", "a b", " ab"),
            ("^[^:]+:.*$", "a:\nb", ":b"),
            ("%w*%p*@+%w*%.?%w*", "a@b.c", "ab.c"),
            ("//", "a//b", "a/b"),
        ] {
            let pattern = Pattern::parse(lua).unwrap();
            assert!(pattern.finds(found), "{lua} {found:?}");
            assert!(!pattern.finds(not), "{lua} {not:?}");
        }
    }
}
