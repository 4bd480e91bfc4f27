//! The harness: starts the real programs (etcd, Kubernetes, S3 servers) on loopback or in a network namespace
//! of their own, and leaves nothing behind, however the test ends. Must not know what Lifeboat does with them.
//!
//! Everything here is synchronous and may be called from any thread; from async code, too (it blocks for seconds).

pub mod cluster;
pub mod dns;
pub mod image;
mod kubeconfig;
pub mod node;
pub mod peers;
pub mod pids;
pub mod ports;
pub mod process;
pub mod s3;
pub mod scratch;
pub mod slow;
pub mod standing;
pub mod systemd;

pub use cluster::Cluster;
pub use node::Node;
pub use s3::S3Server;
pub use slow::Slow;
pub use systemd::Systemd;

use anyhow::{Result, anyhow};
use std::sync::OnceLock;

/// The cluster that tests share: started by the first that asks, ended with the process. Use a namespace of your own in it.
pub fn shared_cluster() -> Result<&'static Cluster> {
    static SHARED: OnceLock<Result<Cluster, String>> = OnceLock::new();
    let shared = SHARED.get_or_init(|| Cluster::start().map_err(|error| format!("{error:#}")));
    shared.as_ref().map_err(|error| anyhow!("the shared cluster: {error}"))
}
