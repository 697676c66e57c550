//! Batches of changes, against a plain map.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sluicegate::model::fuzz::apply(bytes));
