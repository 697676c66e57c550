//! Bodies and query strings of MaxScale's REST API.
#![no_main]

libfuzzer_sys::fuzz_target!(
    |bytes: &[u8]| sluicegate::admin::maxscale::fuzz::body_and_query(bytes)
);
