//! Routes for connections of bytes, against the oracle.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sluicegate::table::fuzz::find_stream(bytes));
