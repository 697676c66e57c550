//! The head of a request, against httparse.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sluicegate::proxy::fuzz::head(bytes));
