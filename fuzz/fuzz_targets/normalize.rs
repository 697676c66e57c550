//! A path and its normal form.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sluicegate::table::fuzz::normal_form(bytes));
