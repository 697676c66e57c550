use serde_json::{Value, json};

use super::*;
use crate::model::Kind;

const VECTORS: &str = include_str!("../../../tests/vectors/kong-router.json");

fn entity(document: &Value) -> Arc<Entity> {
    let Value::Object(document) = document.clone() else {
        unreachable!("a route is an object")
    };
    Arc::new(Entity::read(Kind::Route, document).unwrap())
}

fn compiled(entity: &Arc<Entity>) -> Arc<StreamRoute> {
    let spec = entity.as_kind().unwrap();
    Arc::new(StreamRoute::compile(entity, spec, None, None).unwrap())
}

fn index(entities: &[Arc<Entity>]) -> Streams {
    let mut streams = Streams::default();
    for entity in entities {
        streams.insert(&compiled(entity));
    }
    streams
}

/// Both the index and the oracle.
fn found(entities: &[Arc<Entity>], facts: &StreamFacts<'_>) -> Option<Id> {
    let streams = index(entities);
    let found = streams.best(facts, |_| true).map(|route| route.entity.id);
    let expected = oracle::find(entities.iter().map(|entity| &**entity), facts);
    assert_eq!(found, expected, "{facts:?}");
    found
}

/// A recorded route in our words; one that says no protocol stands for one of TLS, since what is asked
/// of it is a server name.
fn recorded(route: &Value) -> Option<Arc<Entity>> {
    let protocols = match &route["protocols"] {
        Value::Null => json!(["tls"]),
        protocols => protocols.clone(),
    };
    let is_http = protocols.as_array()?.contains(&json!("http"));
    let ends = |field: &str| route.get(field).cloned().unwrap_or_else(|| json!([]));
    let document = json!({
        "id": route["id"],
        "protocols": protocols,
        "snis": ends("snis"),
        "stream": {"sources": ends("sources"), "destinations": ends("destinations")},
    });
    (!is_http).then(|| entity(&document))
}

/// A recorded end; what was not recorded is what no route names.
fn end(request: &Value, side: &str) -> SocketAddr {
    let ip = request[format!("{side}_ip")].as_str();
    let port = request[format!("{side}_port")].as_u64().unwrap_or(0);
    let ip: IpAddr = ip.unwrap_or("240.0.0.1").parse().unwrap();
    SocketAddr::new(ip, u16::try_from(port).unwrap())
}

#[test]
fn recorded_connections_find_the_recorded_route() {
    let vectors: Value = serde_json::from_str(VECTORS).unwrap();
    let (mut judged, sets) = (0, ["spec_derived", "handmade", "generated"]);
    for set in sets.iter().flat_map(|key| vectors[key].as_array().unwrap()) {
        if set["subsystem"] != "stream" {
            continue;
        }
        let routes = set["routes"].as_array().unwrap();
        let mut entities: Vec<_> = routes.iter().filter_map(recorded).collect();
        for check in set["checks"].as_array().unwrap() {
            let request = &check["request"];
            let facts = StreamFacts {
                listener: None,
                client: end(request, "src"),
                local: end(request, "dst"),
                tls: request["sni"].as_str().map(|name| ServerName(Some(name))),
            };
            // What was asked in clear finds routes in clear.
            if facts.tls.is_none() {
                entities.retain(|entity| {
                    entity
                        .as_kind::<model::Route>()
                        .unwrap()
                        .accepts(RouteProtocol::Tcp)
                });
            }
            let expected = check["expect"]["route"].as_str();
            let expected = expected.map(|id| id.parse().unwrap());
            assert_eq!(found(&entities, &facts), expected, "{}: {check}", set["id"]);
            judged += 1;
        }
    }
    assert!(judged >= 16, "{judged} checks");
}

fn asked(client: &str, local: &str, tls: Option<Option<&'static str>>) -> StreamFacts<'static> {
    StreamFacts {
        listener: None,
        client: client.parse().unwrap(),
        local: local.parse().unwrap(),
        tls: tls.map(ServerName),
    }
}

/// Each line beats the next.
#[test]
fn every_rule_of_precedence_holds() {
    let from = json!([{"ip": "10.0.0.1"}]);
    let lines = [
        json!({"priority": 1}),
        json!({"stream": {"sources": from, "destinations": [{"ip": "10.0.0.0/8"}]}}),
        json!({"stream": {"sources": [{"port": 9}], "destinations": [{"ip": "10.0.0.2", "port": 1}]}}),
        json!({"snis": ["a.b"], "created_at": 1}),
        json!({"snis": ["a.b"], "created_at": 2}),
        json!({"stream": {"sources": [{"ip": "10.0.0.1", "port": 9}]}}),
        json!({"stream": {"sources": from}}),
        json!({"stream": {"sources": [{"port": 9}]}}),
        json!({"stream": {"sources": [{"ip": "10.0.0.0/8"}]}}),
        json!({"stream": {"destinations": [{"ip": "10.0.0.2"}]}}),
        json!({"stream": {"destinations": [{"port": 1}]}}),
        json!({}),
        json!({"priority": -1, "snis": ["a.b"]}),
    ];
    let routes: Vec<_> = lines
        .iter()
        .map(|line| {
            let mut document = line.clone();
            document["id"] = json!(Id::random());
            document["protocols"] = json!(["tls"]);
            entity(&document)
        })
        .collect();
    let facts = asked("10.0.0.1:9", "10.0.0.2:1", Some(Some("a.b")));
    for n in 0..routes.len() {
        assert_eq!(
            found(&routes[n..], &facts),
            Some(routes[n].id),
            "{}",
            lines[n]
        );
    }
}

#[test]
fn an_address_within_ipv6_is_the_ipv4_address() {
    let document = json!({
        "id": Id::random(), "protocols": ["tcp"], "stream": {"sources": [{"ip": "10.0.0.0/8"}]},
    });
    let routes = [entity(&document)];
    let facts = asked("[::ffff:10.1.2.3]:1", "[::1]:2", None);
    assert_eq!(found(&routes, &facts), Some(routes[0].id));
}

#[test]
fn what_is_no_address_is_named() {
    let document = json!({"protocols": ["tcp"], "stream": {"sources": [{"ip": "10.0.0.1/40"}]}});
    let entity = entity(&document);
    let spec = entity.as_kind().unwrap();
    let invalid = StreamRoute::compile(&entity, spec, None, None).unwrap_err();
    assert_eq!(invalid.field, "stream.sources");
    assert!(invalid.why.contains("10.0.0.1/40"), "{}", invalid.why);
}

#[test]
fn listeners_of_one_service_count_together() {
    let mut streams = Streams::default();
    let to = |service| Door {
        enabled: true,
        tls: None,
        service: Some(service),
    };
    let [one, two, other] = ["1", "2", "3"].map(Id::derived);
    streams.bind(one, to(7));
    streams.bind(two, to(7));
    streams.bind(other, to(8));
    let sessions: Vec<_> = [one, two, other]
        .iter()
        .map(|id| streams.listeners[id].stats.open())
        .collect();
    streams.bind(one, to(7));
    streams.unbind(two);
    assert_eq!(sessions.len(), 3);
    let busy: Vec<_> = streams.busy(|slot| slot.to_string().into()).collect();
    let services: Vec<_> = busy.iter().map(|(labels, _)| &*labels.service).collect();
    assert_eq!(services, ["7", "8"]);
}

#[test]
fn counters_go_on_while_route_and_service_keep_their_names() {
    let document = json!({"id": Id::derived("r"), "protocols": ["tcp"], "name": "r"});
    let (before, mut renamed) = (entity(&document), document);
    renamed["name"] = "s".into();
    let first = compiled(&before);
    drop(first.stats.open());
    let again = |entity: &Arc<Entity>, slot| {
        let spec = entity.as_kind().unwrap();
        let next = StreamRoute::compile(entity, spec, slot, Some(&first)).unwrap();
        next.stats.is_busy()
    };
    assert!(again(&before, None));
    assert!(!again(&before, Some(1)));
    assert!(!again(&entity(&renamed), None));
}
