//! `/maxscale/logs`: what is logged. The gateway logs as its own settings say; what is set here is kept
//! and shown.

use serde_json::{Map, Value, json};

use super::answer::{Answer, Failed};
use super::call::Call;
use super::document::{Document, Object};
use super::draft::Draft;
use super::node::given;
use super::parameters::{parse_bool, text};
use super::path::{Operation, Outcome, Path, get, patch, post_without_body};
use super::settings::{record, write_record};
use super::view::View;

pub(super) static PATHS: &[Path] = &[
    Path {
        segments: &["maxscale", "logs"],
        actions: &[get(Operation::Show(show)), patch(Operation::Plan(update))],
    },
    Path {
        segments: &["maxscale", "logs", "flush"],
        actions: &[post_without_body(Operation::Plan(flush))],
    },
];

/// Whether something is logged, with what it is by default.
const SWITCHES: [(&str, bool); 8] = [
    ("highprecision", false),
    ("maxlog", true),
    ("syslog", true),
    ("log_warning", true),
    ("log_notice", true),
    ("log_info", false),
    ("log_debug", false),
    ("log_to_shm", false),
];

const THROTTLING: &str = "throttling";

/// How often the same may be logged: so many times in a window, then no more for a while.
const THROTTLE: [(&str, u32); 3] = [("count", 10), ("suppress_ms", 10_000), ("window_ms", 1_000)];

/// Priorities that are always logged, and the switches of the others.
const ALWAYS: [&str; 2] = ["alert", "error"];
const PRIORITIES: [&str; 4] = ["warning", "notice", "info", "debug"];

/// Where the log goes.
const LOG_FILE: &str = "/dev/stdout";

/// Everything that may be set, as it is now.
fn parameters(kept: &Map<String, Value>) -> Map<String, Value> {
    let of = |name: &str, preset: Value| {
        let value = kept.get(name).cloned().unwrap_or(preset);
        (name.to_owned(), value)
    };
    let switches = SWITCHES.iter();
    let switches = switches.map(|(name, preset)| of(name, (*preset).into()));
    let throttle = kept.get(THROTTLING);
    let throttle = THROTTLE.iter().map(|(name, preset)| {
        let kept = throttle.and_then(|kept| kept.get(name)).cloned();
        ((*name).to_owned(), kept.unwrap_or_else(|| (*preset).into()))
    });
    let throttle: Map<_, _> = throttle.collect();
    let throttle = (THROTTLING.to_owned(), throttle.into());
    switches.chain([throttle]).collect()
}

#[expect(clippy::unnecessary_wraps, reason = "an operation's signature")]
fn show(view: &View<'_>, _: &Call) -> Outcome {
    let parameters = parameters(&record(&view.snapshot).logs);
    let is_on = |priority: &&str| parameters.get(&format!("log_{priority}")) == Some(&json!(true));
    let others = PRIORITIES.into_iter().filter(is_on);
    let priorities: Vec<_> = ALWAYS.into_iter().chain(others).collect();
    let mut object = Object::new("logs", "logs");
    object.set("log_file", LOG_FILE);
    object.set("log_priorities", priorities);
    object.set("parameters", parameters);
    let value = object.at(view.links, ["maxscale", "logs"]);
    Ok(Answer::Document(Document::one(value)))
}

fn update(draft: &mut Draft, call: &Call) -> Result<(), Failed> {
    let mut record = record(&draft.snapshot);
    merge(&mut record.logs, &given(call)?).map_err(Failed::refused_for)?;
    write_record(draft, &record)
}

/// Takes what is known; what is unknown does not count, since clients send what is none.
fn merge(kept: &mut Map<String, Value>, given: &Map<String, Value>) -> Result<(), Vec<String>> {
    let mut wrong = Vec::new();
    for (name, value) in given.iter().filter(|(_, value)| !value.is_null()) {
        if SWITCHES.iter().any(|(own, _)| own == name) {
            match text(value).and_then(|text| parse_bool(&text)) {
                Some(on) => drop(kept.insert(name.clone(), on.into())),
                None => wrong.push(format!("`{name}` is not a boolean")),
            }
        } else if name == THROTTLING {
            match throttling(kept.get(THROTTLING), value) {
                Ok(value) => drop(kept.insert(name.clone(), value)),
                Err(why) => wrong.push(why),
            }
        }
    }
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(wrong),
    }
}

fn throttling(kept: Option<&Value>, given: &Value) -> Result<Value, String> {
    let given = given.as_object();
    let given = given.ok_or_else(|| format!("`{THROTTLING}` is not an object"))?;
    let kept = kept.and_then(Value::as_object);
    let mut kept = kept.cloned().unwrap_or_default();
    for (name, _) in THROTTLE {
        match given.get(name).filter(|value| !value.is_null()) {
            Some(value) if is_count(value) => drop(kept.insert(name.to_owned(), value.clone())),
            Some(_) => return Err(format!("`{THROTTLING}/{name}` is not a number from 0 on")),
            None => (),
        }
    }
    Ok(kept.into())
}

fn is_count(value: &Value) -> bool {
    value.as_u64().is_some_and(|count| count <= u32::MAX.into())
}

/// The log goes to standard output, where nothing waits to be written.
#[expect(clippy::unnecessary_wraps, reason = "an operation's signature")]
const fn flush(_: &mut Draft, _: &Call) -> Result<(), Failed> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(given: &Value) -> Result<Value, Vec<String>> {
        let mut kept = Map::new();
        merge(&mut kept, given.as_object().unwrap())?;
        Ok(parameters(&kept).into())
    }

    #[test]
    fn what_is_given_goes_over_what_is_the_default() {
        let given = json!({
            "log_info": true, "maxlog": "off", "some-parameter": "maybe",
            "throttling": {"count": 3, "other": 1}, "syslog": null,
        });
        assert_eq!(
            merged(&given).unwrap(),
            json!({
                "highprecision": false, "maxlog": false, "syslog": true, "log_warning": true,
                "log_notice": true, "log_info": true, "log_debug": false, "log_to_shm": false,
                "throttling": {"count": 3, "suppress_ms": 10000, "window_ms": 1000},
            })
        );
    }

    #[test]
    fn what_has_the_wrong_type_is_refused() {
        for wrong in [
            json!({"log_info": "maybe"}),
            json!({"maxlog": {}}),
            json!({"throttling": 5}),
            json!({"throttling": {"count": "3"}}),
            json!({"throttling": {"count": -1}}),
            json!({"throttling": {"window_ms": 1.5}}),
        ] {
            assert_eq!(merged(&wrong).unwrap_err().len(), 1, "{wrong}");
        }
    }
}
