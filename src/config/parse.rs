//! Values as written → values as meant. Each parser says what it wants when it gets something else.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use super::raw::{Value, inline_list};
use crate::model::Secret;

/// What a parser returns: the value, or what is wrong with it and what to write instead.
pub(super) type Parsed<T> = Result<T, String>;

fn wrong<T>(value: &Value, wants: &str) -> Parsed<T> {
    Err(format!("{value} is not {wants}"))
}

fn text(value: &Value) -> Option<&str> {
    match value {
        Value::Text(text) | Value::Variable(text) => Some(text),
        Value::Number(_)
        | Value::Flag(_)
        | Value::List(_)
        | Value::Table(_)
        | Value::Foreign(_) => None,
    }
}

fn number(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => Some(*number),
        Value::Variable(text) => text.trim().parse().ok(),
        Value::Text(_) | Value::Flag(_) | Value::List(_) | Value::Table(_) | Value::Foreign(_) => {
            None
        }
    }
}

pub(super) fn flag(value: &Value) -> Parsed<bool> {
    match (value, text(value)) {
        (Value::Flag(flag), _) => Ok(*flag),
        (Value::Variable(_), Some("true" | "1")) => Ok(true),
        (Value::Variable(_), Some("false" | "0")) => Ok(false),
        _ => wrong(value, "true or false"),
    }
}

/// A whole number within bounds.
pub(super) fn count<T: TryFrom<u64>>(bounds: RangeInclusive<u64>) -> impl Fn(&Value) -> Parsed<T> {
    move |value| {
        let (least, most) = (bounds.start(), bounds.end());
        let number = number(value).and_then(|number| u64::try_from(number).ok());
        number
            .filter(|number| bounds.contains(number))
            .and_then(|number| T::try_from(number).ok())
            .ok_or_else(|| format!("{value} is not a whole number from {least} to {most}"))
    }
}

/// Or the word `auto`, for what the machine decides.
pub(super) fn or_auto<T>(
    parse: impl Fn(&Value) -> Parsed<T>,
) -> impl Fn(&Value) -> Parsed<Option<T>> {
    move |value| match text(value) {
        Some("auto") => Ok(None),
        _ => parse(value)
            .map(Some)
            .map_err(|why| format!("{why}, and not \"auto\"")),
    }
}

/// Where a key is there at all.
pub(super) fn some<T>(parse: impl Fn(&Value) -> Parsed<T>) -> impl Fn(&Value) -> Parsed<Option<T>> {
    move |value| parse(value).map(Some)
}

/// A text's leading digits and the unit behind them.
fn with_unit(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at_checked(digits)?;
    Some((number.parse().ok()?, unit.trim()))
}

/// Bytes: `"16KiB"`, `"100MiB"`, `"1GiB"`, `"240B"`, or a plain number of them; within bounds.
pub(super) fn size<T: TryFrom<u64>>(bounds: RangeInclusive<u64>) -> impl Fn(&Value) -> Parsed<T> {
    move |value| {
        let (least, most) = (bounds.start(), bounds.end());
        bytes(value)
            .filter(|bytes| bounds.contains(bytes))
            .and_then(|bytes| T::try_from(bytes).ok())
            .ok_or_else(|| {
                format!(
                    "{value} is not a size from {least} to {most} bytes; write it like \"64KiB\""
                )
            })
    }
}

fn bytes(value: &Value) -> Option<u64> {
    if let Some(number) = number(value) {
        return u64::try_from(number).ok();
    }
    let (number, unit) = with_unit(text(value)?)?;
    let shift = match unit {
        "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        _ => return None,
    };
    number.checked_mul(1 << shift)
}

/// The longest time a setting may name.
const TIME_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// A time: `"500ms"`, `"30s"`, `"5m"`, `"1h"`; at least `least`, at most a day.
pub(super) fn duration(least: Duration) -> impl Fn(&Value) -> Parsed<Duration> {
    move |value| {
        text(value)
            .and_then(time)
            .filter(|time| (least..=TIME_MAX).contains(time))
            .ok_or_else(|| {
                format!("{value} is not a time from {least:?} to 24h; write it like \"30s\" or \"500ms\"")
            })
    }
}

fn time(text: &str) -> Option<Duration> {
    let (number, unit) = with_unit(text)?;
    match unit {
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "m" => number.checked_mul(60).map(Duration::from_secs),
        "h" => number.checked_mul(3600).map(Duration::from_secs),
        _ => None,
    }
}

pub(super) fn string(value: &Value) -> Parsed<String> {
    match text(value) {
        Some(text) if !text.is_empty() => Ok(text.to_owned()),
        _ => wrong(value, "a text"),
    }
}

pub(super) fn path(value: &Value) -> Parsed<PathBuf> {
    string(value)
        .map(PathBuf::from)
        .map_err(|_| format!("{value} is not a path"))
}

/// Bytes of the shortest token.
pub(super) const TOKEN_BYTES_MIN: usize = 16;

/// A bearer token. Messages never show it.
pub(super) fn token(value: &Value) -> Parsed<Secret> {
    let token = text(value).ok_or("a token is a text")?;
    if token.len() < TOKEN_BYTES_MIN || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(format!(
            "a token has at least {TOKEN_BYTES_MIN} visible ASCII characters; make one with `openssl rand -hex 32`"
        ));
    }
    Ok(Secret::new(token))
}

pub(super) fn address(value: &Value) -> Parsed<SocketAddr> {
    let parsed = text(value).and_then(|text| text.trim().parse().ok());
    parsed.ok_or_else(|| {
        format!("{value} is not an IP address with a port; write it like \"127.0.0.1:8001\" or \"[::1]:8001\"")
    })
}

/// A network like `10.0.0.0/8`, or one address.
pub(super) fn network(value: &Value) -> Parsed<IpNet> {
    let parsed = text(value).and_then(|text| {
        let text = text.trim();
        let one = |text: &str| text.parse::<IpAddr>().ok().map(IpNet::from);
        text.parse().ok().or_else(|| one(text))
    });
    parsed.ok_or_else(|| {
        format!("{value} is not a network; write it like \"10.0.0.0/8\" or \"192.168.1.7\"")
    })
}

/// A list; a single value and, in a variable, values between commas are lists, too.
pub(super) fn list<T>(parse: impl Fn(&Value) -> Parsed<T>) -> impl Fn(&Value) -> Parsed<Vec<T>> {
    move |value| items(value)?.iter().map(&parse).collect()
}

fn items(value: &Value) -> Parsed<Vec<Value>> {
    match value {
        Value::List(list) => Ok(list.clone()),
        Value::Variable(text) if text.trim_start().starts_with('[') => {
            let wrong =
                || "a value that begins with '[' must be a list as TOML writes it".to_owned();
            inline_list(text).ok_or_else(wrong)
        }
        Value::Variable(text) => {
            let items = text
                .split(',')
                .map(str::trim)
                .filter(|item| !item.is_empty());
            Ok(items.map(|item| Value::Variable(item.to_owned())).collect())
        }
        Value::Text(_) | Value::Number(_) | Value::Flag(_) | Value::Table(_) => {
            Ok(vec![value.clone()])
        }
        Value::Foreign(_) => wrong(value, "a list"),
    }
}

/// One word of a closed set.
pub(super) fn word<T: Copy>(words: &'static [(&'static str, T)]) -> impl Fn(&Value) -> Parsed<T> {
    move |value| {
        let known = |(word, _): &&(&str, T)| Some(*word) == text(value);
        words
            .iter()
            .find(known)
            .map(|(_, meant)| *meant)
            .ok_or_else(|| {
                let all: Vec<_> = words
                    .iter()
                    .map(|(word, _)| format!("\"{word}\""))
                    .collect();
                format!("{value} is none of {}", all.join(", "))
            })
    }
}

/// How many threads.
pub(super) fn workers(value: &Value) -> Parsed<NonZeroUsize> {
    let workers: usize = count(1..=1024)(value)?;
    Ok(NonZeroUsize::new(workers).expect("at least 1"))
}
