//! All that a database server says to a monitor.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sluicegate::monitor::fuzz::server(bytes));
