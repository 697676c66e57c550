//! Bodies and query strings of Polaris' calls.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sluicegate::admin::polaris::fuzz::body_and_query(bytes));
