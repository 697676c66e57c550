//! Both sides of MySQL's protocol, as far as it is read.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sluicegate::l4::fuzz::mysql(bytes));
