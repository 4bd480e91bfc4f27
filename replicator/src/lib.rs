//! The replicator: pulls a cluster's snapshots off-site, verifies them without being able to read them, keeps them.
//!
//! Knows no Kubernetes and no key that opens anything. The flow is `replicate`; what is kept is `vault`; what is known
//! of it is `catalog`.

pub mod activity;
pub mod age;
pub mod alarm;
pub mod audit;
pub mod catalog;
pub mod check;
pub mod daemon;
pub mod heal;
pub mod http;
pub mod metrics;
pub mod notify;
pub mod page;
pub mod primary;
pub mod replicate;
pub mod retain;
pub mod scrub;
pub mod setup;
pub mod source;
pub mod status;
#[cfg(test)]
mod testing;
pub mod vault;
