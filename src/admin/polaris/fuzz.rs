//! What the fuzzer calls: bodies and query strings of strangers.

use super::fields::{messages, single};
use super::requests::{AliasRequest, InstanceRequest, NamespaceRequest, ServiceRequest};
use super::search::Parameters;
use super::{instance_search, service_search};

/// Reads the bytes as every kind of body and as every kind of query. Whatever they are, they are read or
/// refused, and what was read passes or fails its checks.
pub fn body_and_query(bytes: &[u8]) {
    let all = messages(bytes).unwrap_or_default();
    for message in all.iter().chain(single(bytes).ok().iter()) {
        if let Ok(request) = ServiceRequest::read(message) {
            let _ = (
                request.key(),
                request.few_labels(),
                request.lengths(),
                request.echo(),
            );
        }
        if let Ok(request) = InstanceRequest::read(message) {
            if let Ok(address) = request.check_new() {
                assert_eq!(address.instance_id().len(), 40);
            }
            let _ = request.echo();
        }
        if let Ok(request) = NamespaceRequest::read(message) {
            let _ = (request.check(), request.echo());
        }
        if let Ok(request) = AliasRequest::read(message) {
            let _ = (request.check_new(), request.check_update(), request.echo());
        }
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        let query = Parameters::read(text);
        let _ = (
            service_search::Filter::read(&query),
            instance_search::Filter::read(&query),
        );
        let _ = query.page().map(|page| assert!(page.limit <= 100));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            body_and_query(&bytes);
        }

        #[test]
        fn nor_do_bodies_that_look_right(
            name in "[a-z*./:_-]{0,4}",
            value in prop_oneof![
                Just("null".to_owned()),
                Just("[]".to_owned()),
                Just("{\"a\":null}".to_owned()),
                "-?[0-9]{1,12}",
                "\"[a-z0-9]{0,5}\"",
            ],
            field in prop_oneof![
                Just("metadata"), Just("port"), Just("weight"), Just("health_check"),
                Just("location"), Just("user_ids"), Just("export_to"), Just("id"),
            ],
        ) {
            let item = format!(
                "{{\"name\":\"{name}\",\"service\":\"{name}\",\"namespace\":\"n\",\"host\":\"h\",\"{field}\":{value}}}"
            );
            body_and_query(format!("[{item}]").as_bytes());
            body_and_query(item.as_bytes());
            body_and_query(format!("name={name}&port={name}&keys={field}").as_bytes());
        }
    }
}
