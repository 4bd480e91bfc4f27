//! The bodies of the fuzz targets. Those of the format are shared with its tests, which run them on stable Rust.

#[path = "../../format/tests/fuzz_bodies.rs"]
mod bodies;
#[cfg(feature = "config")]
pub mod config;

pub use bodies::*;
