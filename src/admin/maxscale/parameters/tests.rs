use std::collections::BTreeSet;

use serde_json::json;

use super::*;
use crate::model::{
    Id, Monitor, MonitorModule, MonitorRules, Name, Protocol, ProxyHeader, Role, Secret, Server,
    Service, SessionPolicy, SessionRouter,
};

fn object(value: &Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

fn service_of(router: SessionRouter) -> Held<Service> {
    let mut service = Service::at(Protocol::Tcp, "a".parse().unwrap(), 1);
    let policy = SessionPolicy {
        router,
        ..SessionPolicy::default()
    };
    service.sessions = Some(Box::new(policy));
    Held::new(service)
}

fn a_server() -> Held<Server> {
    let name: Name = "s".parse().unwrap();
    Held::new(Server {
        namespace: Default::default(),
        name: name.clone(),
        host: name,
        port: 3306,
        standing: Default::default(),
        proxy_protocol: ProxyHeader::Off,
        parameters: Default::default(),
    })
}

fn a_monitor(module: MonitorModule) -> Held<Monitor> {
    Held::new(Monitor {
        namespace: Default::default(),
        name: "m".parse().unwrap(),
        module,
        servers: Box::default(),
        user: "u".into(),
        password: Secret::new("p"),
        interval: std::time::Duration::from_secs(2),
        connect_timeout: std::time::Duration::from_secs(3),
        read_timeout: std::time::Duration::from_secs(3),
        connect_attempts: 1,
        running: true,
        rules: MonitorRules::default(),
    })
}

const CONN: Table<Service> = service(Some(SessionRouter::ReadConnRoute));

#[expect(clippy::needless_pass_by_value, reason = "reads as it is called")]
fn alter<T: Clone>(table: &Table<T>, held: &mut Held<T>, given: Value) -> Result<(), Vec<String>> {
    table.assign(&object(&given), held, Occasion::Alteration)
}

#[test]
fn a_new_service_shows_every_parameter_with_its_default() {
    let shown = CONN.show(&service_of(SessionRouter::ReadConnRoute));
    assert_eq!(
        Value::Object(shown),
        json!({
            "user": null, "password": null, "router_options": null, "enable_root_user": false,
            "max_retry_interval": 3600, "max_connections": 0, "connection_timeout": 0,
            "auth_all_servers": false, "strip_db_esc": true,
            "localhost_match_wildcard_host": true, "version_string": null, "weightby": null,
            "log_auth_warnings": true, "retry_on_failure": true,
            "session_track_trx_state": false, "retain_last_statements": -1, "session_trace": 0,
        })
    );
    let split = service(Some(SessionRouter::ReadWriteSplit));
    let shown = split.show(&service_of(SessionRouter::ReadWriteSplit));
    assert_eq!(shown.len(), 17 + 21);
    assert_eq!(shown["max_slave_connections"], "255");
    assert_eq!(shown["transaction_replay_max_size"], "1Mi");
}

#[test]
fn what_the_gateway_acts_by_goes_to_the_model() {
    let mut held = service_of(SessionRouter::ReadConnRoute);
    let given = json!({
        "max_connections": "7", "connection_timeout": "5m", "weightby": "w",
        "router_options": "Slave, master", "user": "u", "passwd": "p",
    });
    CONN.assign(&object(&given), &mut held, Occasion::Creation)
        .unwrap();
    let sessions = held.spec.sessions.as_deref().unwrap();
    assert_eq!(sessions.connections_max, 7);
    assert_eq!(sessions.idle_timeout.as_secs(), 300);
    assert_eq!(sessions.weight_by.as_deref(), Some("w"));
    assert_eq!(sessions.roles, BTreeSet::from([Role::Master, Role::Slave]));
    assert_eq!(
        Value::Object(held.beside.clone()),
        json!({"user": "u", "password": "p", "router_options": "Slave, master"})
    );
    let shown = CONN.show(&held);
    assert_eq!(shown["password"], MASK);
    assert_eq!(shown["router_options"], "Slave, master");
    let sessions = held.spec.sessions.as_deref_mut().unwrap();
    sessions.roles.remove(&Role::Slave);
    let shown = CONN.show(&held);
    assert_eq!(
        shown["router_options"], "master",
        "another interface's word"
    );
    assert_eq!(shown["connection_timeout"], 300);
}

#[test]
fn one_wrong_value_keeps_all_of_them_out() {
    let mut held = service_of(SessionRouter::ReadConnRoute);
    let before = held.clone();
    let wrong = alter(
        &CONN,
        &mut held,
        json!({"user": "u", "max_connections": "many", "router_options": "slav", "x": 1}),
    );
    assert_eq!(
        wrong.unwrap_err(),
        [
            "Invalid value for parameter 'max_connections': 'many' is not a number from 0 to \
             2147483647",
            "Invalid value for parameter 'router_options': 'slav' is none of master, slave, \
             running, synced, ndb",
            "Unknown parameter: x",
        ]
    );
    assert_eq!(held.spec, before.spec);
    assert_eq!(held.beside, before.beside);
}

#[test]
fn what_is_shown_may_be_given_back() {
    let mut held = a_server();
    let given = json!({"monitorpw": "secret", "monitoruser": "m", "weight": 3});
    alter(&server(), &mut held, given).unwrap();
    let shown = server().show(&held);
    assert_eq!(shown["monitorpw"], MASK);
    assert_eq!(shown["weight"], "3");
    let before = held.clone();
    alter(&server(), &mut held, Value::Object(shown)).unwrap();
    assert_eq!(held.spec, before.spec);
    assert_eq!(held.beside, before.beside);
    let parameters = &held.spec.parameters;
    assert_eq!(
        parameters.get("monitorpw").map(|text| &**text),
        Some("secret")
    );
}

#[test]
fn what_is_fixed_may_be_repeated_and_not_changed() {
    let mut held = a_server();
    let table = server();
    let given = object(&json!({"disk_space_threshold": "/:80", "address": "a"}));
    table.assign(&given, &mut held, Occasion::Creation).unwrap();
    alter(&table, &mut held, json!({"disk_space_threshold": "/:80"})).unwrap();
    assert_eq!(
        alter(&table, &mut held, json!({"disk_space_threshold": "/:90"})).unwrap_err(),
        ["The parameter 'disk_space_threshold' cannot be modified at runtime"]
    );
}

#[test]
fn null_is_as_if_it_were_not_given() {
    let mut held = service_of(SessionRouter::ReadConnRoute);
    alter(&CONN, &mut held, json!({"user": "u"})).unwrap();
    alter(&CONN, &mut held, json!({"user": null, "nonsense": null})).unwrap();
    assert_eq!(CONN.show(&held)["user"], "u");
}

#[test]
fn a_new_object_needs_its_mandatory_parameters() {
    let missing = |given: Value| {
        let table = filter("regexfilter").unwrap();
        let mut held = Held::new(crate::model::Filter {
            namespace: Default::default(),
            name: "f".parse().unwrap(),
            module: "regexfilter".parse().unwrap(),
            parameters: Map::new(),
        });
        let wrong = table.assign(&object(&given), &mut held, Occasion::Creation);
        wrong.err().map_or(0, |wrong| wrong.len())
    };
    assert_eq!(missing(json!({})), 2);
    assert_eq!(missing(json!({"match": null})), 2);
    assert_eq!(missing(json!({"match": "5"})), 1);
    assert_eq!(missing(json!({"match": "a", "replace": "b"})), 0);
}

#[test]
fn a_service_of_another_dialect_keeps_its_own_limits() {
    let table = service(None);
    let other = Service::at(Protocol::Http, "a".parse().unwrap(), 1);
    let mut held = Held::new(other);
    assert_eq!(table.show(&held)["max_connections"], 0);
    alter(&table, &mut held, json!({"max_connections": 0})).unwrap();
    assert!(alter(&table, &mut held, json!({"max_connections": 1})).is_err());
    alter(&table, &mut held, json!({"user": "u"})).unwrap();
}

#[test]
fn custom_parameters_of_servers_have_bounds() {
    let mut held = a_server();
    for bad in ["", "type", "a\nb", &"x".repeat(200)] {
        let given = Value::Object(Map::from_iter([(bad.to_owned(), json!("1"))]));
        assert!(alter(&server(), &mut held, given).is_err(), "{bad:?}");
    }
    assert!(alter(&server(), &mut held, json!({"w": {"a": 1}})).is_err());
    assert!(alter(&server(), &mut held, json!({"w": ""})).is_err());
    alter(&server(), &mut held, json!({"w": true})).unwrap();
    assert_eq!(server().show(&held)["w"], "true");
}

#[test]
fn monitors_are_told_in_their_own_units() {
    let mut held = a_monitor(MonitorModule::MariadbMon);
    let table = monitor(MonitorModule::MariadbMon);
    let given = json!({
        "monitor_interval": "500ms", "backend_connect_timeout": "2s", "failcount": 3,
        "detect_stale_slave": "no", "backend_connect_attempts": 2,
    });
    alter(&table, &mut held, given).unwrap();
    assert_eq!(held.spec.interval.as_millis(), 500);
    assert_eq!(held.spec.connect_timeout.as_secs(), 2);
    assert_eq!(held.spec.rules.failcount, 3);
    assert!(!held.spec.rules.detect_stale_slave);
    let shown = table.show(&held);
    assert_eq!(
        (&shown["monitor_interval"], &shown["user"]),
        (&json!(500), &json!("u"))
    );
    assert!(alter(&table, &mut held, json!({"monitor_interval": 0})).is_err());
    assert!(alter(&table, &mut held, json!({"use_priority": true})).is_err());
    let galera = monitor(MonitorModule::GaleraMon);
    alter(&galera, &mut held, json!({"use_priority": true})).unwrap();
}

#[test]
fn what_is_kept_beside_stands_in_the_entity_s_attributes() {
    let mut held = service_of(SessionRouter::ReadConnRoute);
    let mut entity = Entity::new(Id::random(), held.spec.clone());
    entity.set_attributes("maxscale", object(&json!({"other": 1})));
    alter(&CONN, &mut held, json!({"user": "u", "max_connections": 3})).unwrap();
    held.put(&mut entity);
    assert_eq!(
        Value::Object(entity.attributes_of("maxscale").unwrap().clone()),
        json!({"other": 1, "parameters": {"user": "u"}})
    );
    let again = Held::<Service>::of(&entity).unwrap();
    assert_eq!(CONN.show(&again)["max_connections"], 3);
    assert_eq!(CONN.show(&again)["user"], "u");
}

/// Attributes of any shape may have been written by another way.
#[test]
fn attributes_that_are_no_parameters_count_as_none() {
    let held = service_of(SessionRouter::ReadConnRoute);
    let mut entity = Entity::new(Id::random(), held.spec);
    entity.set_attributes("maxscale", object(&json!({"parameters": [1]})));
    let again = Held::<Service>::of(&entity).unwrap();
    assert!(again.beside.is_empty());
}

#[test]
fn no_table_has_a_name_twice() {
    fn check<T: Clone>(table: &Table<T>) {
        let mut names = BTreeSet::new();
        for parameter in table.iter() {
            let own = [parameter.name].into_iter();
            for name in own.chain(parameter.aliases.iter().copied()) {
                assert!(names.insert(name), "{name}");
            }
            let preset = parameter.default_value();
            if !preset.is_null() {
                assert_eq!(
                    parameter.shape.parse(&preset),
                    Ok(preset),
                    "{}",
                    parameter.name
                );
            }
        }
    }
    for router in [
        None,
        Some(SessionRouter::ReadConnRoute),
        Some(SessionRouter::ReadWriteSplit),
    ] {
        check(&service(router));
    }
    check(&server());
    check(&listener());
    check(&monitor(MonitorModule::MariadbMon));
    check(&monitor(MonitorModule::GaleraMon));
    check(&settings());
    for module in filter_modules() {
        check(&filter(module).unwrap());
    }
}

#[test]
fn a_module_or_an_event_that_nobody_knows_is_refused() {
    let mut server = a_server();
    for name in ["MariaDBBackend", "mysqlbackend"] {
        alter(&super::server(), &mut server, json!({"protocol": name})).unwrap();
    }
    for wrong in [
        json!({"protocol": "nosuch"}),
        json!({"authenticator": "nosuch"}),
    ] {
        assert!(alter(&super::server(), &mut server, wrong).is_err());
    }
    let events = monitor(MonitorModule::MariadbMon);
    let events = events
        .iter()
        .find(|one| one.name == "events")
        .unwrap()
        .shape;
    for good in ["all", "master_down", "master_down, new_master"] {
        assert_eq!(events.parse(&json!(good)), Ok(json!(good)));
    }
    for bad in ["nosuch_event", "Master_down", "master_down,x", ",", " "] {
        assert!(events.parse(&json!(bad)).is_err(), "{bad:?}");
    }
}
