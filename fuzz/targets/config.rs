//! Fuzzes the configuration files.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| lifeboat_fuzz::config::any(data));
