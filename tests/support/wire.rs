//! HTTP/1.1 messages as both ends read them: strictly, and without repairing anything.

use std::io::{self, BufRead, Read};

/// Name and value, in order, spelled as they came.
pub type Fields = Vec<(String, String)>;

/// The first value of `name`, compared without regard to case.
pub fn field<'a>(fields: &'a Fields, name: &str) -> Option<&'a str> {
    let found = fields
        .iter()
        .find(|(key, _)| key.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value.as_str())
}

/// How the body behind a head ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    Length(usize),
    Chunked,
    /// Only a response's.
    UntilClose,
}

pub fn wrong(why: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.into())
}

/// The bytes up to and with the empty line; `None` where the other end closed before the first.
pub fn read_head(input: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut head = Vec::new();
    loop {
        let before = head.len();
        if input.read_until(b'\n', &mut head)? == 0 {
            let torn = || {
                wrong(format!(
                    "the head broke off: {:?}",
                    String::from_utf8_lossy(&head)
                ))
            };
            return if head.is_empty() {
                Ok(None)
            } else {
                Err(torn())
            };
        }
        if &head[before..] == b"\r\n" && before > 0 {
            return Ok(Some(head));
        }
    }
}

pub fn fields(parsed: &[httparse::Header<'_>]) -> Fields {
    let text = |bytes: &[u8]| bytes.iter().map(|byte| char::from(*byte)).collect();
    parsed
        .iter()
        .map(|field| (field.name.to_owned(), text(field.value)))
        .collect()
}

/// By `Transfer-Encoding` or `Content-Length`; `None` where neither is there.
pub fn framing(fields: &Fields) -> io::Result<Option<Framing>> {
    if let Some(coding) = field(fields, "transfer-encoding") {
        let chunked = coding.eq_ignore_ascii_case("chunked");
        return if chunked {
            Ok(Some(Framing::Chunked))
        } else {
            Err(wrong(coding))
        };
    }
    let length = field(fields, "content-length")
        .map(str::parse::<usize>)
        .transpose();
    Ok(length
        .map_err(|error| wrong(error.to_string()))?
        .map(Framing::Length))
}

/// The body, and the trailers of a chunked one.
pub fn read_body(input: &mut impl BufRead, framing: Framing) -> io::Result<(Vec<u8>, Fields)> {
    let mut body = Vec::new();
    match framing {
        Framing::Length(length) => {
            body.resize(length, 0);
            input.read_exact(&mut body)?;
        }
        Framing::UntilClose => drop(input.read_to_end(&mut body)?),
        Framing::Chunked => return read_chunks(input),
    }
    Ok((body, Fields::new()))
}

fn read_chunks(input: &mut impl BufRead) -> io::Result<(Vec<u8>, Fields)> {
    let mut body = Vec::new();
    loop {
        let line = read_line(input)?;
        let digits = line.split(';').next().unwrap_or_default();
        let length = usize::from_str_radix(digits, 16).map_err(|_| wrong(line.clone()))?;
        if length == 0 {
            return Ok((body, read_trailers(input)?));
        }
        let before = body.len();
        body.resize(before + length, 0);
        input.read_exact(&mut body[before..])?;
        if !read_line(input)?.is_empty() {
            return Err(wrong("a chunk is longer than it says"));
        }
    }
}

fn read_trailers(input: &mut impl BufRead) -> io::Result<Fields> {
    let mut trailers = Fields::new();
    loop {
        let line = read_line(input)?;
        let Some((name, value)) = line.split_once(':') else {
            return if line.is_empty() {
                Ok(trailers)
            } else {
                Err(wrong(line))
            };
        };
        trailers.push((name.to_owned(), value.trim().to_owned()));
    }
}

/// A line without its CRLF.
fn read_line(input: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    input.take(64 << 10).read_line(&mut line)?;
    let line = line
        .strip_suffix("\r\n")
        .ok_or_else(|| wrong(format!("no CRLF: {line:?}")))?;
    Ok(line.to_owned())
}
