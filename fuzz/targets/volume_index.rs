//! Fuzzes `volume_index`; what it does is in `format/tests/fuzz_bodies.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| lifeboat_fuzz::volume_index(data));
