//! JSON as CPython's `json` module reads it, with its words for what is wrong and where.
//!
//! The original echoes the decoder's error to the client, so that clients see positions counted in
//! characters and texts such as "Expecting ',' delimiter" (CPython 3.11 `_json.c`, `json.decoder`).
//! No other reader stops at the same places. `NaN` and `Infinity` are values, as there.

/// The deepest nesting that is read; CPython gives up near its recursion limit of 1000.
const DEPTH_MAX: usize = 200;

/// The longest integer, in digits (CPython's limit against quadratic conversion).
const DIGITS_MAX: usize = 4300;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Null,
    Bool(bool),
    /// As written.
    Integer(String),
    Float(f64),
    Text(String),
    List(Vec<Self>),
    /// In the order written; of two fields alike the later counts.
    Object(Vec<(String, Self)>),
}

/// Why bytes are not JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Malformed {
    At(Place),
    /// What has no place: not UTF-8, nested too deep, a number too long.
    Altogether,
}

/// Where and why the decoder stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) why: &'static str,
    /// In characters from the beginning, from 0.
    pub(super) position: usize,
    /// From 1.
    pub(super) line: usize,
    /// In characters, from 1.
    pub(super) column: usize,
}

/// Reads one value and nothing behind it.
pub(super) fn read(bytes: &[u8]) -> Result<Value, Malformed> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let text = std::str::from_utf8(bytes).map_err(|_| Malformed::Altogether)?;
    let mut reader = Reader {
        text: text.chars().collect(),
        at: 0,
        depth: 0,
    };
    reader.skip_space();
    let value = reader.value()?;
    reader.skip_space();
    match reader.peek() {
        Some(_) => Err(reader.stop("Extra data", reader.at)),
        None => Ok(value),
    }
}

struct Reader {
    text: Vec<char>,
    at: usize,
    depth: usize,
}

impl Reader {
    fn peek(&self) -> Option<char> {
        self.text.get(self.at).copied()
    }

    fn take(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        self.at += usize::from(found);
        found
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(' ' | '\t' | '\n' | '\r')) {
            self.at += 1;
        }
    }

    fn stop(&self, why: &'static str, position: usize) -> Malformed {
        let before = self.text.get(..position).unwrap_or(&self.text);
        let line_start = before.iter().rposition(|c| *c == '\n').map_or(0, |n| n + 1);
        Malformed::At(Place {
            why,
            position,
            line: before.iter().filter(|c| **c == '\n').count() + 1,
            column: position - line_start + 1,
        })
    }

    fn value(&mut self) -> Result<Value, Malformed> {
        match self.peek() {
            Some('"') => self.string().map(Value::Text),
            Some('{') => self.nested(Self::object),
            Some('[') => self.nested(Self::list),
            _ => match self.word() {
                Some(value) => Ok(value),
                None => self.number(),
            },
        }
    }

    fn nested(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<Value, Malformed>,
    ) -> Result<Value, Malformed> {
        if self.depth == DEPTH_MAX {
            return Err(Malformed::Altogether);
        }
        self.depth += 1;
        self.at += 1;
        self.skip_space();
        let value = read(self)?;
        self.depth -= 1;
        Ok(value)
    }

    fn word(&mut self) -> Option<Value> {
        let words = [
            ("null", Value::Null),
            ("true", Value::Bool(true)),
            ("false", Value::Bool(false)),
            ("NaN", Value::Float(f64::NAN)),
            ("Infinity", Value::Float(f64::INFINITY)),
            ("-Infinity", Value::Float(f64::NEG_INFINITY)),
        ];
        let rest = self.text.get(self.at..)?;
        let begins = |word: &str| word.chars().eq(rest.iter().copied().take(word.len()));
        let (word, value) = words.into_iter().find(|(word, _)| begins(word))?;
        self.at += word.len();
        Some(value)
    }

    fn digits(&self, mut at: usize) -> usize {
        while self.text.get(at).is_some_and(char::is_ascii_digit) {
            at += 1;
        }
        at
    }

    fn number(&mut self) -> Result<Value, Malformed> {
        let start = self.at;
        let whole = start + usize::from(self.peek() == Some('-'));
        let mut end = match self.text.get(whole) {
            Some('0') => whole + 1,
            _ => self.digits(whole),
        };
        if end == whole {
            return Err(self.stop("Expecting value", start));
        }
        let whole_end = end;
        if self.text.get(end) == Some(&'.') && self.digits(end + 1) > end + 1 {
            end = self.digits(end + 1);
        }
        if matches!(self.text.get(end), Some('e' | 'E')) {
            let sign = usize::from(matches!(self.text.get(end + 1), Some('+' | '-')));
            let from = end + 1 + sign;
            if self.digits(from) > from {
                end = self.digits(from);
            }
        }
        self.at = end;
        let text: String = self.text.get(start..end).into_iter().flatten().collect();
        if end > whole_end {
            return text
                .parse()
                .map(Value::Float)
                .map_err(|_| Malformed::Altogether);
        }
        if text.len() > DIGITS_MAX {
            return Err(Malformed::Altogether);
        }
        Ok(Value::Integer(text))
    }

    fn list(&mut self) -> Result<Value, Malformed> {
        let mut items = Vec::new();
        if self.take(']') {
            return Ok(Value::List(items));
        }
        loop {
            items.push(self.value()?);
            self.skip_space();
            if self.take(']') {
                return Ok(Value::List(items));
            }
            self.comma()?;
        }
    }

    fn object(&mut self) -> Result<Value, Malformed> {
        let mut fields = Vec::new();
        if self.take('}') {
            return Ok(Value::Object(fields));
        }
        loop {
            if self.peek() != Some('"') {
                let why = "Expecting property name enclosed in double quotes";
                return Err(self.stop(why, self.at));
            }
            let name = self.string()?;
            self.skip_space();
            if !self.take(':') {
                return Err(self.stop("Expecting ':' delimiter", self.at));
            }
            self.skip_space();
            fields.push((name, self.value()?));
            self.skip_space();
            if self.take('}') {
                return Ok(Value::Object(fields));
            }
            self.comma()?;
        }
    }

    fn comma(&mut self) -> Result<(), Malformed> {
        if !self.take(',') {
            return Err(self.stop("Expecting ',' delimiter", self.at));
        }
        self.skip_space();
        Ok(())
    }

    fn string(&mut self) -> Result<String, Malformed> {
        let begin = self.at;
        self.at += 1;
        let mut out = String::new();
        loop {
            let Some(c) = self.peek() else {
                return Err(self.stop("Unterminated string starting at", begin));
            };
            match c {
                '"' => break,
                '\\' => out.push(self.escape(begin)?),
                c if c <= '\u{1f}' => {
                    return Err(self.stop("Invalid control character at", self.at));
                }
                c => {
                    out.push(c);
                    self.at += 1;
                }
            }
        }
        self.at += 1;
        Ok(out)
    }

    fn escape(&mut self, begin: usize) -> Result<char, Malformed> {
        let backslash = self.at;
        let Some(c) = self.text.get(backslash + 1).copied() else {
            return Err(self.stop("Unterminated string starting at", begin));
        };
        self.at += 2;
        Ok(match c {
            '"' | '\\' | '/' => c,
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => return self.unicode(),
            _ => return Err(self.stop("Invalid \\escape", backslash)),
        })
    }

    /// The character behind `\u`, both halves of a pair where there are two. A half alone, which
    /// CPython keeps and no text can hold, becomes U+FFFD.
    fn unicode(&mut self) -> Result<char, Malformed> {
        let first = self.hex4()?;
        let is_high = (0xd800..0xdc00).contains(&first);
        let follows = self.text.get(self.at..self.at + 2) == Some(&['\\', 'u']);
        if is_high && follows && self.at + 6 < self.text.len() {
            let behind_first = self.at;
            self.at += 2;
            let second = self.hex4()?;
            if (0xdc00..0xe000).contains(&second) {
                let joined = 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                return Ok(char::from_u32(joined).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            self.at = behind_first;
        }
        Ok(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    fn hex4(&mut self) -> Result<u32, Malformed> {
        let from = self.at;
        let wrong = || self.stop("Invalid \\uXXXX escape", from - 1);
        if from + 4 >= self.text.len() {
            return Err(wrong());
        }
        let digits = self.text.get(from..from + 4).into_iter().flatten();
        let mut code = 0;
        for digit in digits {
            code = code << 4 | digit.to_digit(16).ok_or_else(wrong)?;
        }
        self.at += 4;
        Ok(code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stopped(text: &str) -> (usize, usize, usize, &'static str) {
        match read(text.as_bytes()) {
            Err(Malformed::At(place)) => (place.position, place.line, place.column, place.why),
            other => panic!("{text:?}: {other:?}"),
        }
    }

    /// Recorded from CPython 3.11 through the original.
    #[test]
    fn errors_stand_where_cpython_sees_them() {
        let name = "Expecting property name enclosed in double quotes";
        let comma = "Expecting ',' delimiter";
        let colon = "Expecting ':' delimiter";
        let value = "Expecting value";
        let unicode = "Invalid \\uXXXX escape";
        let open = "Unterminated string starting at";
        for (text, position, why) in [
            ("{bad", 1, name),
            ("{", 1, name),
            ("[", 1, value),
            ("nope", 0, value),
            ("nul", 0, value),
            (r#"{"a":1,}"#, 7, name),
            (r#"{"a" 1}"#, 5, colon),
            (r#"{"a":1 "b":2}"#, 7, comma),
            ("[1,]", 3, value),
            ("[1 2]", 3, comma),
            ("[1 , ", 5, value),
            (r#""abc"#, 0, open),
            (r#"{"a":"\"#, 5, open),
            (r#"{"a":"\u"#, 7, unicode),
            (r#"{"a":"\u12"}"#, 7, unicode),
            (r#"{"a":"\u00g0"}"#, 7, unicode),
            (r#""a\x""#, 2, "Invalid \\escape"),
            ("\"a\nb\"", 2, "Invalid control character at"),
            (r#"{"a":1} x"#, 8, "Extra data"),
            ("-", 0, value),
            ("-Infinit", 0, value),
            ("01", 1, "Extra data"),
            ("1.", 1, "Extra data"),
            ("1e", 1, "Extra data"),
            (r#"{"a":1e5.5}"#, 8, comma),
            (r#"{"a""#, 4, colon),
            (r#"{"a":"#, 5, value),
            (r#"{"a":1"#, 6, comma),
            (r#"{"a":1 , x"#, 9, name),
            ("é", 0, value),
            (r#"{"é":x}"#, 5, value),
            ("   ", 3, value),
        ] {
            let (at, _, _, reason) = stopped(text);
            assert_eq!((at, reason), (position, why), "{text:?}");
        }
    }

    #[test]
    fn lines_and_columns_count_characters() {
        assert_eq!(stopped("\n\n  {\"a\":tru}"), (9, 3, 8, "Expecting value"));
        let (at, line, column, _) = stopped("{\"a\":\n\"b\"\n\"c\"}");
        assert_eq!((at, line, column), (10, 3, 1));
    }

    #[test]
    fn what_cpython_accepts_is_read() {
        assert_eq!(read(br#""\ud83d\ude00""#), Ok(Value::Text("😀".into())));
        assert_eq!(read(br#""\ud800""#), Ok(Value::Text("\u{fffd}".into())));
        assert_eq!(read(b"-Infinity"), Ok(Value::Float(f64::NEG_INFINITY)));
        assert_eq!(read(b"\xef\xbb\xbf{}"), Ok(Value::Object(vec![])));
        assert_eq!(read(b"1e400"), Ok(Value::Float(f64::INFINITY)));
        assert_eq!(read(b" [ ] "), Ok(Value::List(vec![])));
    }

    #[test]
    fn depth_length_and_encoding_are_bounded() {
        assert_eq!(
            read("[".repeat(5000).as_bytes()),
            Err(Malformed::Altogether)
        );
        assert_eq!(
            read("1".repeat(5000).as_bytes()),
            Err(Malformed::Altogether)
        );
        assert_eq!(read(b"{\"a\":\"\xff\"}"), Err(Malformed::Altogether));
    }

    proptest::proptest! {
        #[test]
        fn whatever_another_reader_accepts_is_accepted(text in r#"[\[\]{}:, "a\\u0-9.eE+-]{0,24}"#) {
            let ours = read(text.as_bytes());
            if serde_json::from_str::<serde_json::Value>(&text).is_ok() {
                proptest::prop_assert!(ours.is_ok(), "{text}");
            }
        }
    }
}
