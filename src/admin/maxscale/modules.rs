//! `/maxscale/modules`: which modules there are, what each may be told, and whether it does anything to
//! traffic.

use serde_json::{Value, json};

use crate::model::{MonitorModule, SessionRouter};

use super::answer::{Answer, Failed};
use super::call::Call;
use super::document::{Document, Object};
use super::links::Links;
use super::live;
use super::parameters::{self, Table};
use super::path::{Operation, Outcome, Path, get};
use super::view::View;

pub(super) static PATHS: &[Path] = &[
    Path {
        segments: &["maxscale", "modules"],
        actions: &[get(Operation::Show(list))],
    },
    Path {
        segments: &["maxscale", "modules", ":"],
        actions: &[get(Operation::Show(show))],
    },
];

/// The router of services that another dialect made.
pub(super) const OTHER_ROUTER: &str = "httproute";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sort {
    Router,
    Filter,
    Monitor,
    Protocol,
    Authenticator,
}

impl Sort {
    const fn word(self) -> &'static str {
        match self {
            Self::Router => "Router",
            Self::Filter => "Filter",
            Self::Monitor => "Monitor",
            Self::Protocol => "Protocol",
            Self::Authenticator => "Authenticator",
        }
    }

    const fn api(self) -> &'static str {
        match self {
            Self::Router => "router",
            Self::Filter => "filter",
            Self::Monitor => "monitor",
            Self::Protocol => "protocol",
            Self::Authenticator => "authenticator",
        }
    }
}

/// One module.
struct Module {
    name: &'static str,
    sort: Sort,
    description: &'static str,
    /// Whether traffic goes otherwise for it.
    acts: bool,
}

const fn module(name: &'static str, sort: Sort, acts: bool, description: &'static str) -> Module {
    Module {
        name,
        sort,
        description,
        acts,
    }
}

/// All but filters.
const MODULES: &[Module] = &[
    module(
        "readconnroute",
        Sort::Router,
        true,
        "Each connection goes to one server, by the servers' roles, weights and connections",
    ),
    module(
        "readwritesplit",
        Sort::Router,
        true,
        "Each connection goes to the master; statements are not told apart",
    ),
    module(
        OTHER_ROUTER,
        Sort::Router,
        true,
        "A service that another interface of the gateway made; it cannot be made here",
    ),
    module(
        "mariadbmon",
        Sort::Monitor,
        true,
        "Finds the master and its slaves by who replicates from whom; changes no server",
    ),
    module(
        "galeramon",
        Sort::Monitor,
        true,
        "Finds the synced nodes of a Galera cluster, and which of them is the master",
    ),
    module(
        "mariadbclient",
        Sort::Protocol,
        true,
        "What listeners speak: bytes of MariaDB's and MySQL's protocol; errors go out as its packets",
    ),
    module(
        "mariadbbackend",
        Sort::Protocol,
        true,
        "What is spoken with servers: the client's own bytes",
    ),
    module(
        "mysqlauth",
        Sort::Authenticator,
        false,
        "Clients log in at their server, whatever its methods; the gateway checks no password",
    ),
    module(
        "mysqlbackendauth",
        Sort::Authenticator,
        false,
        "Clients log in at their server; the gateway shows it no password of its own",
    ),
];

/// What a filter does where it does something.
fn describe_filter(name: &str) -> &'static str {
    match name {
        "throttlefilter" => "Slows down a session that asks too often, and ends one that goes on",
        "qlafilter" => "Writes down each session; statements are not looked at",
        _ => "Does something to a session's bytes",
    }
}

/// What is said of a filter that is known, and has no effect.
const INERT: &str = "Stored with its parameters, and does nothing: statements are not looked at";

fn filters() -> impl Iterator<Item = Module> {
    parameters::filter_modules().map(|name| {
        let acts = live::acts(name);
        let description = match acts {
            true => describe_filter(name),
            false => INERT,
        };
        module(name, Sort::Filter, acts, description)
    })
}

/// What a module may be told.
fn parameters_of(module: &Module) -> Vec<Value> {
    match (module.sort, module.name) {
        (Sort::Router, "readconnroute") => {
            own(&parameters::service(Some(SessionRouter::ReadConnRoute)))
        }
        (Sort::Router, "readwritesplit") => {
            own(&parameters::service(Some(SessionRouter::ReadWriteSplit)))
        }
        (Sort::Router, _) => own(&parameters::service(None)),
        (Sort::Monitor, "galeramon") => own(&parameters::monitor(MonitorModule::GaleraMon)),
        (Sort::Monitor, _) => own(&parameters::monitor(MonitorModule::MariadbMon)),
        (Sort::Filter, name) => parameters::filter(name).iter().flat_map(own).collect(),
        (Sort::Protocol | Sort::Authenticator, _) => Vec::new(),
    }
}

fn own<T: Clone>(table: &Table<T>) -> Vec<Value> {
    let all = table.iter();
    all.map(|parameter| parameter.describe().into()).collect()
}

fn value(module: &Module, links: &Links) -> Value {
    let mut object = Object::new("module", module.name);
    let attributes = json!({
        "module_type": module.sort.word(),
        "version": env!("CARGO_PKG_VERSION"),
        "description": module.description,
        "api": module.sort.api(),
        "maturity": "GA",
        "acts": module.acts,
        "commands": [],
        "parameters": parameters_of(module),
    });
    if let Value::Object(attributes) = attributes {
        object.attributes = attributes;
    }
    object.at(links, ["maxscale", "modules", module.name])
}

#[expect(clippy::unnecessary_wraps, reason = "an operation's signature")]
fn list(view: &View<'_>, _: &Call) -> Outcome {
    let filters: Vec<_> = filters().collect();
    let all = MODULES.iter().chain(&filters);
    let all = all.map(|module| value(module, view.links)).collect();
    let url = view.links.url(["maxscale", "modules", ""]);
    Ok(Answer::Document(Document::many(&url, all)))
}

/// Names of modules have no case.
fn show(view: &View<'_>, call: &Call) -> Outcome {
    let name = call.name(0);
    let filters: Vec<_> = filters().collect();
    let mut all = MODULES.iter().chain(&filters);
    let module = all.find(|module| module.name.eq_ignore_ascii_case(name));
    let unknown = || Failed::not_found(format!("There is no module '{name}'"));
    let document = Document::one(value(module.ok_or_else(unknown)?, view.links));
    Ok(Answer::Document(document))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_module_has_another_s_name() {
        let filters: Vec<_> = filters().collect();
        let mut names = BTreeSet::new();
        for module in MODULES.iter().chain(&filters) {
            assert!(names.insert(module.name), "{}", module.name);
        }
    }

    #[test]
    fn a_module_s_parameters_are_those_of_its_table() {
        let of = |name: &str| {
            let module = MODULES.iter().find(|module| module.name == name).unwrap();
            let parameters = parameters_of(module);
            let named = parameters.iter().map(|one| one["name"].as_str().unwrap());
            named.map(str::to_owned).collect::<BTreeSet<_>>()
        };
        assert!(of("readwritesplit").contains("causal_reads"));
        assert!(!of("readconnroute").contains("causal_reads"));
        assert!(of("galeramon").contains("use_priority"));
        assert!(!of("mariadbmon").contains("use_priority"));
        assert!(of("mariadbclient").is_empty());
    }
}
