//! What the programs share. Knows no Kubernetes and serves no HTTP.

pub mod clock;
pub mod config;
pub mod store;
pub mod trust;
