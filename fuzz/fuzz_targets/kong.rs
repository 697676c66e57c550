//! A conversation with Kong's Admin API.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sluicegate::boot::fuzz::kong(bytes));
