//! Routes and requests: the index against the oracle.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sluicegate::table::fuzz::find(bytes));
