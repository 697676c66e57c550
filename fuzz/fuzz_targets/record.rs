//! A stored record.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sluicegate::store::fuzz::record(bytes));
