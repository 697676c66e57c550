//! An OpenAPI document, and what is merged of it.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sluicegate::admin::gateway::openapi::fuzz(bytes));
