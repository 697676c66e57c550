//! The beginning of TLS, against rustls.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sluicegate::l4::fuzz::hello(bytes));
