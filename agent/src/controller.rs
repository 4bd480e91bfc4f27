//! The agent as a controller: a candidate until it leads; then schedules, a queue, and one run at a time. Owns the
//! order of these; each is a file of `controller/`. What a run does is `backup`'s.

mod act;
pub mod cron;
mod due;
mod elect;
mod history;
mod lead;
pub(crate) mod objects;
pub mod plan;
mod retry;
mod run;
mod status;
mod told;
pub mod volumes;
mod wanted;
mod write;

use crate::cluster::events::Recorder;
use crate::cluster::lease::LeaseObject;
use crate::cluster::own::Own;
use crate::cluster::state_secret::StateSecret;
use crate::cluster::{Cluster, ClusterError, ConnectOptions};
use crate::health::Health;
use crate::metrics::Metrics;
use elect::Candidate;
use lead::{Lead, Over};
use lifeboat_common::clock::Clock;
use lifeboat_common::config::{self, AgentConfig};
use run::Runner;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The one Lease.
pub const LEASE: &str = "lifeboat-controller";
/// The one writable Secret, and its key.
pub const STATE_SECRET: &str = "lifeboat-state";
pub const STATE_KEY: &str = "state.cbor";

/// A loop that does not go on for so long is stuck.
const STUCK: Duration = Duration::from_secs(180);
/// Between tries to reach the API server at the start.
const AGAIN: Duration = Duration::from_secs(5);
/// One small request of the controller itself.
const CALL: Duration = Duration::from_secs(8);

/// What a controller is given.
#[derive(Debug, Clone)]
pub struct Options {
    /// `agent.toml`, read anew at each run.
    pub config: PathBuf,
    pub kubeconfig: Option<PathBuf>,
    pub context: Option<String>,
    /// Where Lifeboat's objects are.
    pub namespace: String,
    /// Names this process among controllers; unique.
    pub me: String,
    pub lease: Duration,
    pub clock: Arc<dyn Clock>,
    pub metrics: Metrics,
    pub health: Health,
}

/// Works until `asked` is done.
///
/// # Errors
/// If the kubeconfig cannot be used. An API server that is away is waited for.
pub async fn run(options: &Options, asked: impl Future<Output = ()>) -> Result<(), ClusterError> {
    tokio::pin!(asked);
    let connections = tokio::select! {
        connections = connect(options) => connections?,
        () = &mut asked => return Ok(()),
    };
    options.health.config(loaded(options).map(drop));
    let own = Own::new(connections.quick.clone(), &options.namespace);
    let events = Recorder::start(own.clone(), &options.me);
    let candidate = Candidate {
        lease: LeaseObject::new(connections.quick.clone(), &options.namespace, LEASE),
        me: options.me.clone(),
        duration: options.lease,
        clock: options.clock.clone(),
    };
    loop {
        let beat = options.health.watch("the controller", STUCK);
        let leading = tokio::select! {
            leading = candidate.win(|| beat.beat()) => leading,
            () = &mut asked => return Ok(()),
        };
        tracing::info!(me = options.me, "this controller leads");
        options.metrics.leader(true);
        let config = loaded(options);
        options.health.config(config.as_ref().map(drop).map_err(Clone::clone));
        let runner = Runner {
            own: own.clone(),
            reader: connections.reader.clone(),
            config: options.config.clone(),
            state: StateSecret::new(connections.quick.clone(), &options.namespace, STATE_SECRET, STATE_KEY),
            ties: volumes::Ties::new(&connections.quick, &connections.reader, &options.namespace),
            term: leading.term.clone(),
            me: options.me.clone(),
            clock: options.clock.clone(),
            events: events.clone(),
            metrics: options.metrics.clone(),
        };
        let seed = config.map(|c| c.cluster.as_str().to_owned()).unwrap_or_default();
        let over = Lead::new(Arc::new(runner), &seed).lead(&mut asked, || beat.beat()).await;
        options.metrics.leader(false);
        match over {
            Over::Asked => {
                leading.release().await;
                return Ok(());
            }
            Over::Lost => tracing::warn!("this controller no longer leads"),
        }
    }
}

fn loaded(options: &Options) -> Result<AgentConfig, String> {
    config::load::<AgentConfig>(&options.config).map_err(|e| e.to_string())
}

struct Connections {
    /// For reading the whole cluster, patiently.
    reader: Cluster,
    /// For the controller's own small calls, each of which is repeated by whoever makes it.
    quick: Cluster,
}

async fn connect(options: &Options) -> Result<Connections, ClusterError> {
    let patient = ConnectOptions {
        field_manager: "lifeboat-agent".to_owned(),
        clock: options.clock.clone(),
        observer: Some(Arc::new((options.metrics.clone(), options.health.clone()))),
        ..ConnectOptions::default()
    };
    let quick = ConnectOptions {
        connect_timeout: Duration::from_secs(4),
        read_timeout: CALL,
        attempt_timeout: CALL,
        retry_budget: Duration::ZERO,
        ..patient.clone()
    };
    let to = (options.kubeconfig.as_deref(), options.context.as_deref());
    loop {
        let reader = Cluster::connect(to.0, to.1, patient.clone()).await;
        let error = match reader {
            Ok(reader) => match Cluster::connect(to.0, to.1, quick.clone()).await {
                Ok(quick) => return Ok(Connections { reader, quick }),
                Err(error) => error,
            },
            Err(error) => error,
        };
        if matches!(error, ClusterError::Kubeconfig { .. } | ClusterError::NoKubeconfig { .. }) {
            return Err(error);
        }
        tracing::warn!(%error, "the API server cannot be reached; trying again");
        tokio::time::sleep(AGAIN).await;
    }
}
