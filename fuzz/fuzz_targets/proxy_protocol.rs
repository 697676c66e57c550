//! A PROXY header.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sluicegate::net::fuzz::proxy_protocol(bytes));
