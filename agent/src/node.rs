//! The daemon of one node: takes the VolumeBackups that name this node, reads each volume where the kubelet has mounted
//! it, and says in their status how far it is. Owns the order of that; what a volume becomes is `volume`'s. Holds no
//! signing key, no state and no dedup key, and writes into no file system.

mod daemon;
mod job;
pub mod place;
pub mod sandbox;
mod status;

use crate::cluster::node_work::NodeWork;
use crate::cluster::{Cluster, ClusterError, ConnectOptions};
use crate::health::Health;
use crate::metrics::NodeMetrics;
use daemon::Daemon;
use lifeboat_common::clock::Clock;
use lifeboat_common::config::{self, NodeConfig};
use place::Roots;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Between tries to reach the API server at the start.
const AGAIN: Duration = Duration::from_secs(5);
/// One small request of the daemon itself.
const CALL: Duration = Duration::from_secs(8);

/// What a daemon is given.
#[derive(Debug, Clone)]
pub struct Options {
    /// `node.toml`, read anew for each volume.
    pub config: PathBuf,
    pub kubeconfig: Option<PathBuf>,
    pub context: Option<String>,
    /// Where VolumeBackups are.
    pub namespace: String,
    /// This node, as the API calls it.
    pub node: String,
    pub roots: Roots,
    /// Volumes that are read at a time.
    pub concurrency: usize,
    pub clock: Arc<dyn Clock>,
    pub metrics: NodeMetrics,
    pub health: Health,
}

/// Works until `asked` is done; then stops within seconds, and leaves what is under way to be taken up again.
///
/// # Errors
/// If the kubeconfig cannot be used. An API server that is away is waited for.
pub async fn run(options: &Options, asked: impl Future<Output = ()>) -> Result<(), ClusterError> {
    tokio::pin!(asked);
    let cluster = tokio::select! {
        cluster = connect(options) => cluster?,
        () = &mut asked => return Ok(()),
    };
    let loaded = config::load::<NodeConfig>(&options.config).map(drop).map_err(|e| e.to_string());
    options.health.config(loaded);
    let work = NodeWork::new(cluster, &options.namespace, &options.node);
    Daemon::new(work, options.clone()).run(asked).await;
    Ok(())
}

async fn connect(options: &Options) -> Result<Cluster, ClusterError> {
    let quick = ConnectOptions {
        field_manager: "lifeboat-node".to_owned(),
        clock: options.clock.clone(),
        observer: Some(Arc::new((options.metrics.clone(), options.health.clone()))),
        connect_timeout: Duration::from_secs(4),
        read_timeout: CALL,
        attempt_timeout: CALL,
        retry_budget: Duration::ZERO,
        ..ConnectOptions::default()
    };
    loop {
        let to = (options.kubeconfig.as_deref(), options.context.as_deref());
        match Cluster::connect(to.0, to.1, quick.clone()).await {
            Ok(cluster) => return Ok(cluster),
            Err(error @ (ClusterError::Kubeconfig { .. } | ClusterError::NoKubeconfig { .. })) => {
                return Err(error);
            }
            Err(error) => tracing::warn!(%error, "the API server cannot be reached; trying again"),
        }
        tokio::time::sleep(AGAIN).await;
    }
}
