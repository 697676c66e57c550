//! The head of an endpoint's response, against httparse.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sluicegate::proxy::fuzz::response_head(bytes));
