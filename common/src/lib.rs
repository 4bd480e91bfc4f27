//! What the programs share. Knows no Kubernetes and serves no HTTP.

pub mod clock;
pub mod config;
pub mod exit;
pub mod keys;
pub mod progress;
pub mod reader;
pub mod store;
pub mod telemetry;
#[cfg(any(test, feature = "test-support"))]
pub mod testing;
pub mod trust;
