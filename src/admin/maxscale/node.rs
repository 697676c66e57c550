//! `/maxscale`: the gateway as MaxScale would show itself, and what there is nothing of (tasks, a
//! classifier of queries).

use serde_json::{Map, Value};

use crate::model::Timestamp;

use super::MaxScale;
use super::answer::{Answer, Failed};
use super::call::Call;
use super::document::{Document, Object};
use super::draft::Draft;
use super::moment::http_date;
use super::parameters::{self, Held, Occasion, Settings};
use super::path::{Operation, Outcome, Path, Running, get, patch};
use super::settings::{Record, record, write_record};
use super::view::View;

pub(super) static PATHS: &[Path] = &[
    Path {
        segments: &["maxscale"],
        actions: &[get(Operation::Show(show)), patch(Operation::Run(update))],
    },
    Path {
        segments: &["maxscale", "tasks"],
        actions: &[get(Operation::Show(tasks))],
    },
    Path {
        segments: &["maxscale", "query_classifier"],
        actions: &[get(Operation::Show(query_classifier))],
    },
    Path {
        segments: &["maxscale", "query_classifier", "classify"],
        actions: &[get(Operation::Show(classify))],
    },
];

/// The version whose API this is.
const VERSION: &str = "2.3.20";

/// What tells the two apart.
const COMMIT: &str = concat!("sluicegate-", env!("CARGO_PKG_VERSION"));

fn held(maxscale: &MaxScale, record: &Record) -> Held<Settings> {
    let process = maxscale.live.process();
    let settings = Settings {
        auth: record.admin_auth,
        host: maxscale.at.ip().to_string(),
        port: maxscale.at.port(),
        datadir: process.datadir.clone(),
        threads: process.workers().len(),
    };
    let beside = record.parameters.clone();
    Held {
        spec: settings,
        beside,
    }
}

#[expect(clippy::unnecessary_wraps, reason = "an operation's signature")]
fn show(view: &View<'_>, _: &Call) -> Outcome {
    let held = held(view.maxscale, &record(&view.snapshot));
    let started = view.maxscale.started;
    let uptime = Timestamp::now().seconds().saturating_sub(started.seconds());
    let mut object = Object::new("maxscale", "maxscale");
    object.set("parameters", parameters::settings().show(&held));
    object.set("version", VERSION);
    object.set("commit", COMMIT);
    object.set("started_at", http_date(started));
    object.set("activated_at", http_date(started));
    object.set("uptime", uptime);
    object.set("process_datadir", held.spec.datadir);
    let value = object.at(view.links, ["maxscale", ""]);
    Ok(Answer::Document(Document::one(value)))
}

fn update<'a>(maxscale: &'a MaxScale, call: &'a Call) -> Running<'a> {
    Box::pin(async move {
        let given = given(call)?;
        let at = maxscale.clone();
        maxscale
            .edit(move |draft| assign(draft, &at, &given))
            .await?;
        Ok(Answer::Done)
    })
}

/// The parameters that a request names.
pub(super) fn given(call: &Call) -> Result<Map<String, Value>, Failed> {
    let attributes = call.data()?.get("attributes");
    let parameters = attributes.and_then(|attributes| attributes.get("parameters"));
    match parameters {
        Some(Value::Object(parameters)) => Ok(parameters.clone()),
        None | Some(_) => Err(Failed::refused(
            "`/data/attributes/parameters` is not an object",
        )),
    }
}

fn assign(
    draft: &mut Draft,
    maxscale: &MaxScale,
    given: &Map<String, Value>,
) -> Result<(), Failed> {
    let mut record = record(&draft.snapshot);
    let mut held = held(maxscale, &record);
    let table = parameters::settings();
    table
        .assign(given, &mut held, Occasion::Alteration)
        .map_err(Failed::refused_for)?;
    if !held.spec.auth && !maxscale.at.ip().to_canonical().is_loopback() {
        return Err(Failed::refused(
            "admin_auth stays on: the port can be reached from other machines",
        ));
    }
    record.admin_auth = held.spec.auth;
    record.parameters = held.beside;
    write_record(draft, &record)
}

#[expect(clippy::unnecessary_wraps, reason = "an operation's signature")]
fn tasks(view: &View<'_>, _: &Call) -> Outcome {
    let url = view.links.url(["maxscale", "tasks", ""]);
    Ok(Answer::Document(Document::many(&url, Vec::new())))
}

/// No statement is looked at, so nothing is remembered of any.
#[expect(clippy::unnecessary_wraps, reason = "an operation's signature")]
fn query_classifier(view: &View<'_>, _: &Call) -> Outcome {
    let held = held(view.maxscale, &record(&view.snapshot));
    let all = parameters::settings().show(&held);
    let own = all.into_iter();
    let own = own.filter(|(name, _)| name.starts_with("query_classifier"));
    let mut object = Object::new("query_classifier", "query_classifier");
    object.set("parameters", own.collect::<Map<_, _>>());
    let value = object.at(view.links, ["maxscale", "query_classifier"]);
    Ok(Answer::Document(Document::one(value)))
}

/// What MaxScale says of a statement that it cannot parse: of every one, since none is parsed here.
fn classify(view: &View<'_>, call: &Call) -> Outcome {
    let statement = call.query.value("sql");
    statement.ok_or_else(|| Failed::refused("The parameter `sql` is missing"))?;
    let mut object = Object::new("classify", "classify");
    object.set("parse_result", "QC_QUERY_INVALID");
    object.set("type_mask", "QUERY_TYPE_UNKNOWN");
    object.set("operation", "QUERY_OP_UNDEFINED");
    let segments = ["maxscale", "query_classifier", "classify"];
    let value = object.at(view.links, segments);
    Ok(Answer::Document(Document::one(value)))
}
