//! Filters of connections of bytes, as traffic uses them: what a module's parameters say, read when
//! they are compiled.

use std::num::NonZeroU32;
use std::path::{Component, Path};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Map, Value};

use crate::model;
use crate::model::{Entity, Id, Invalid};

/// Slows clients down that ask too often (MaxScale's module).
const THROTTLE: &str = "throttlefilter";
/// Writes sessions down (MaxScale's query log; statements are not told apart).
const LOG: &str = "qlafilter";

/// Whether filters of that module do something. All others are kept and shown.
pub fn filter_acts(module: &str) -> bool {
    matches!(module, THROTTLE | LOG)
}

/// A filter, compiled.
#[derive(Debug)]
pub struct Filter {
    pub id: Id,
    pub name: Box<str>,
    pub act: Act,
}

/// What a filter does.
#[derive(Debug)]
pub enum Act {
    /// Nothing: its module is not one that acts.
    Nothing,
    Throttle(Throttle),
    Log(Log),
}

impl Filter {
    /// # Errors
    /// [`Invalid`], naming the parameter.
    pub(super) fn compile(
        entity: &Entity,
        spec: &model::Filter,
        before: Option<&Self>,
    ) -> Result<Self, Invalid> {
        let parameters = Parameters(&spec.parameters);
        let act = match spec.module.as_str() {
            THROTTLE => Act::Throttle(Throttle::compile(&parameters, before)?),
            LOG => Act::Log(Log::compile(&parameters)?),
            _ => Act::Nothing,
        };
        Ok(Self {
            id: entity.id,
            name: spec.name.as_str().into(),
            act,
        })
    }

    const fn rate(&self) -> Option<&Arc<Arrivals>> {
        match &self.act {
            Act::Throttle(throttle) => Some(&throttle.arrivals),
            Act::Nothing | Act::Log(_) => None,
        }
    }
}

/// How fast clients may be.
#[derive(Debug)]
pub struct Throttle {
    /// What one client may say.
    pub queries: Option<QueryRate>,
    /// Bytes that one client may send in a second.
    pub bytes: Option<NonZeroU32>,
    /// Sessions that may begin in a second, of all services together that have the filter.
    pub connections: Option<NonZeroU32>,
    arrivals: Arc<Arrivals>,
}

/// How often one client may say something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueryRate {
    /// Pieces in a second.
    pub most: NonZeroU32,
    /// Over which time they are counted, so that few may come at once.
    pub sampling: Duration,
    /// How long a client may be slowed down before its session is ended.
    pub throttling: Duration,
    /// How long a client must not have been slowed down for that to begin anew.
    pub continuous: Duration,
}

/// MaxScale's defaults.
const SAMPLING: Duration = Duration::from_millis(250);
const CONTINUOUS: Duration = Duration::from_secs(2);

impl Throttle {
    fn compile(parameters: &Parameters<'_>, before: Option<&Filter>) -> Result<Self, Invalid> {
        let bytes = parameters.count("max_bytes_per_second")?;
        let connections = parameters.count("max_connections_per_second")?;
        let most = parameters.count("max_qps")?;
        if most.is_none() && bytes.is_none() && connections.is_none() {
            return Err(parameters.missing("max_qps"));
        }
        let queries = most.map(|most| QueryRate::compile(most, parameters));
        let arrivals = before.and_then(Filter::rate).cloned();
        Ok(Self {
            queries: queries.transpose()?,
            bytes,
            connections,
            arrivals: arrivals.unwrap_or_default(),
        })
    }

    /// Whether one more session may begin at `now`, a time since any fixed moment.
    pub fn admits(&self, now: Duration) -> bool {
        let admits = |rate| self.arrivals.admits(rate, now);
        self.connections.is_none_or(admits)
    }
}

impl QueryRate {
    fn compile(most: NonZeroU32, parameters: &Parameters<'_>) -> Result<Self, Invalid> {
        let throttling = parameters.duration("throttling_duration")?;
        let sampling = parameters.duration("sampling_duration")?;
        let continuous = parameters.duration("continuous_duration")?;
        Ok(Self {
            most,
            sampling: sampling.unwrap_or(SAMPLING),
            throttling: throttling.ok_or_else(|| parameters.missing("throttling_duration"))?,
            continuous: continuous.unwrap_or(CONTINUOUS),
        })
    }
}

/// When sessions began: the time, in nanoseconds, up to which the rate is used up (the generic cell
/// rate algorithm). A second's worth may come at once.
#[derive(Debug, Default)]
struct Arrivals(AtomicU64);

impl Arrivals {
    fn admits(&self, rate: NonZeroU32, now: Duration) -> bool {
        const SECOND: u64 = 1_000_000_000;
        let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        let each = SECOND / u64::from(rate.get());
        let next = |used: u64| {
            let used = used.max(now).saturating_add(each);
            (used <= now.saturating_add(SECOND)).then_some(used)
        };
        let relaxed = Ordering::Relaxed;
        self.0.fetch_update(relaxed, relaxed, next).is_ok()
    }
}

/// Where a line about each session's beginning and end goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// Below the folder of logs.
    pub base: Box<Path>,
    /// Into one file for all sessions, whose name ends with `.unified`.
    pub unified: bool,
    /// Into a file for each session, whose name ends with the session's id.
    pub each: bool,
}

/// The longest `filebase`.
const BASE_BYTES_MAX: usize = 1024;

impl Log {
    fn compile(parameters: &Parameters<'_>) -> Result<Self, Invalid> {
        let base = parameters.text("filebase")?;
        let base = base.ok_or_else(|| parameters.missing("filebase"))?;
        let types = parameters.text("log_type")?;
        let types = types.as_deref().unwrap_or("session");
        let types: Vec<_> = types.split(',').map(str::trim).collect();
        if !types
            .iter()
            .all(|kind| matches!(*kind, "session" | "unified"))
        {
            return Err(parameters.wrong("log_type", "is session, unified, or both with a comma"));
        }
        Ok(Self {
            base: below(&base).map_err(|why| parameters.wrong("filebase", why))?,
            unified: types.contains(&"unified"),
            each: types.contains(&"session"),
        })
    }
}

/// Every path is one below the folder of logs, an absolute one too; none leads out of it.
fn below(text: &str) -> Result<Box<Path>, &'static str> {
    let long = |part: &str| part.len() > 200;
    if text.len() > BASE_BYTES_MAX || text.split('/').any(long) {
        return Err("is too long");
    }
    if text.chars().any(char::is_control) {
        return Err("has a control character in it");
    }
    if text.ends_with('/') {
        return Err("names no file");
    }
    let parts = Path::new(text).components();
    let parts = parts.filter(|part| !matches!(part, Component::RootDir | Component::CurDir));
    let inside = |part: &Component<'_>| matches!(part, Component::Normal(_));
    if !parts.clone().all(|part| inside(&part)) {
        return Err("leads out of the folder of logs");
    }
    let path: std::path::PathBuf = parts.collect();
    match path.as_os_str().is_empty() {
        true => Err("names no file"),
        false => Ok(path.into()),
    }
}

/// The parameters of a filter. MaxScale's clients write numbers as numbers or as text.
struct Parameters<'a>(&'a Map<String, Value>);

impl Parameters<'_> {
    #[expect(clippy::unused_self, reason = "reads as what is said of them")]
    fn wrong(&self, name: &str, why: &str) -> Invalid {
        Invalid::new(format!("parameters.{name}"), why.to_owned())
    }

    fn missing(&self, name: &str) -> Invalid {
        self.wrong(name, "is needed")
    }

    /// Nothing said and null are alike.
    fn text(&self, name: &str) -> Result<Option<String>, Invalid> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if text.is_empty() => {
                Err(self.wrong(name, "must not be empty"))
            }
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(Value::Number(number)) => Ok(Some(number.to_string())),
            Some(Value::Bool(_) | Value::Array(_) | Value::Object(_)) => {
                Err(self.wrong(name, "is text or a number"))
            }
        }
    }

    fn count(&self, name: &str) -> Result<Option<NonZeroU32>, Invalid> {
        let Some(text) = self.text(name)? else {
            return Ok(None);
        };
        let count = text.parse().ok();
        let count = count.ok_or_else(|| self.wrong(name, "is a whole number from 1 upward"))?;
        Ok(Some(count))
    }

    /// Milliseconds, or a number with `ms`, `s`, `m` or `h` behind it.
    fn duration(&self, name: &str) -> Result<Option<Duration>, Invalid> {
        let Some(text) = self.text(name)? else {
            return Ok(None);
        };
        let duration = duration(&text);
        let why = "is a time from 1 ms upward: 250, 250ms, 10s, 5m, 1h";
        duration.ok_or_else(|| self.wrong(name, why)).map(Some)
    }
}

fn duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit());
    let (number, unit) = text.split_at(digits.unwrap_or(text.len()));
    let number: u64 = number.parse().ok()?;
    let factor = match unit {
        "" | "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    let millis = number.checked_mul(factor)?;
    // A year is for ever, and no sum overflows.
    let fits = (1..=31_536_000_000).contains(&millis);
    fits.then(|| Duration::from_millis(millis))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::Kind;

    fn compile(
        module: &str,
        parameters: &Value,
        before: Option<&Filter>,
    ) -> Result<Filter, Invalid> {
        let document = json!({"name": "f", "module": module, "parameters": parameters});
        let Value::Object(document) = document else {
            unreachable!("an object")
        };
        let entity = Entity::read(Kind::Filter, document).unwrap();
        Filter::compile(&entity, entity.as_kind().unwrap(), before)
    }

    fn refused(module: &str, parameters: &Value) -> String {
        let invalid = compile(module, parameters, None).unwrap_err();
        invalid.field.into_owned()
    }

    #[test]
    fn a_throttle_says_what_maxscale_s_says() {
        let full = json!({
            "max_qps": 100, "sampling_duration": "500", "throttling_duration": "10s",
            "continuous_duration": 1000,
        });
        let filter = compile("throttlefilter", &full, None).unwrap();
        let Act::Throttle(throttle) = &filter.act else {
            panic!("{filter:?}")
        };
        let expected = QueryRate {
            most: NonZeroU32::new(100).unwrap(),
            sampling: Duration::from_millis(500),
            throttling: Duration::from_secs(10),
            continuous: Duration::from_secs(1),
        };
        assert_eq!(throttle.queries, Some(expected));
        let short = json!({"max_qps": "1", "throttling_duration": "1m"});
        let filter = compile("throttlefilter", &short, None).unwrap();
        let Act::Throttle(throttle) = &filter.act else {
            panic!("{filter:?}")
        };
        let queries = throttle.queries.unwrap();
        assert_eq!(
            (queries.sampling, queries.continuous),
            (SAMPLING, CONTINUOUS)
        );
    }

    #[test]
    fn what_a_throttle_cannot_mean_is_refused() {
        let throttle = |parameters: Value| refused("throttlefilter", &parameters);
        assert_eq!(throttle(json!({})), "parameters.max_qps");
        let missing = throttle(json!({"max_qps": 1}));
        assert_eq!(missing, "parameters.throttling_duration");
        for wrong in [
            json!(0),
            json!(-1),
            json!("x"),
            json!(1.5),
            json!(true),
            json!(""),
        ] {
            let parameters = json!({"max_qps": wrong, "throttling_duration": 1});
            assert_eq!(throttle(parameters), "parameters.max_qps", "{wrong}");
        }
        for wrong in [
            "0",
            "1d",
            "s",
            "-1",
            "99999999999999999999",
            "9999999999999h",
        ] {
            let parameters = json!({"max_qps": 1, "throttling_duration": wrong});
            assert_eq!(
                throttle(parameters),
                "parameters.throttling_duration",
                "{wrong}"
            );
        }
        let unlimited = json!({"max_bytes_per_second": 1});
        compile("throttlefilter", &unlimited, None).unwrap();
    }

    #[test]
    fn no_path_leads_out_of_the_folder_of_logs() {
        for (text, path) in [
            ("qla", "qla"),
            ("/tmp/qla.log", "tmp/qla.log"),
            ("a/./b", "a/b"),
            ("..a", "..a"),
        ] {
            assert_eq!(below(text).as_deref(), Ok(Path::new(path)), "{text}");
        }
        let long = "x".repeat(201);
        for text in [
            "..",
            "../a",
            "/a/../../b",
            "a/..",
            "/",
            ".",
            "a/",
            "a\0b",
            "a\nb",
            &long,
        ] {
            assert!(below(text).is_err(), "{text:?}");
            assert_eq!(
                refused("qlafilter", &json!({"filebase": text})),
                "parameters.filebase"
            );
        }
        assert_eq!(refused("qlafilter", &json!({})), "parameters.filebase");
        let types = json!({"filebase": "a", "log_type": "stdout"});
        assert_eq!(refused("qlafilter", &types), "parameters.log_type");
    }

    #[test]
    fn modules_that_do_not_act_say_nothing_about_their_parameters() {
        let filter = compile("regexfilter", &json!({"match": []}), None).unwrap();
        assert!(matches!(filter.act, Act::Nothing));
        assert!(filter_acts("qlafilter") && !filter_acts("regexfilter"));
    }

    #[test]
    fn a_second_s_worth_of_sessions_may_come_at_once_whatever_the_filter_was_before() {
        let rate = |rate: u32| json!({"max_connections_per_second": rate});
        let first = compile("throttlefilter", &rate(3), None).unwrap();
        let admitted = |filter: &Filter, at: u64| {
            let Act::Throttle(throttle) = &filter.act else {
                panic!("{filter:?}")
            };
            let now = Duration::from_millis(at);
            (0..9).filter(|_| throttle.admits(now)).count()
        };
        assert_eq!(admitted(&first, 5000), 3);
        let again = compile("throttlefilter", &rate(3), Some(&first)).unwrap();
        assert_eq!(admitted(&again, 5000), 0, "what is used up stays so");
        assert_eq!(admitted(&again, 5334), 1);
        assert_eq!(admitted(&again, 60_000), 3);
    }
}
