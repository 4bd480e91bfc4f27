//! One volume under way: order → place → pipeline → status. A sign of life goes out at most every ten seconds; what
//! stops it is told apart, because a volume that is nobody's any more needs no more words.

use super::Options;
use super::place::{Place, PlaceError, VolumeSource};
use super::status;
use crate::backup::BackupError;
use crate::cluster::ClusterError;
use crate::cluster::node_work::NodeWork;
use crate::kinds::{VolumeBackup, VolumeBackupSpec};
use crate::metrics::{VolumeEnd, VolumeResult};
use crate::volume::{Done, Order, Work, WorkError, WorkProgress, work};
use lifeboat_common::config::{self, ConfigError, NodeConfig};
use lifeboat_common::store::StoreError;
use lifeboat_format::crypto::derive::Secret32;
use lifeboat_format::id::Sha256;
use serde_json::Value;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, interval_at, sleep};

/// Between two signs of life.
const RENEW: Duration = Duration::from_secs(10);
/// How long the end of a volume is told to an API server that does not take it.
const PATIENCE: Duration = Duration::from_secs(600);
const MAX_PAUSE: Duration = Duration::from_secs(15);

/// Why a volume is not gone on with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Halted {
    /// The VolumeBackup was deleted.
    Gone,
    /// The daemon is to end; the next one goes on.
    Asked,
}

/// Stops a volume. Every clone is the same; the first word stands.
#[derive(Debug, Clone)]
pub(super) struct Halt(Arc<watch::Sender<Option<Halted>>>);

impl Halt {
    pub(super) fn new() -> Self {
        Self(Arc::new(watch::channel(None).0))
    }

    pub(super) fn halt(&self, why: Halted) {
        self.0.send_if_modified(|now| now.is_none() && now.replace(why).is_none());
    }

    pub(super) fn halted(&self) -> Option<Halted> {
        *self.0.borrow()
    }

    async fn wait(self) {
        let mut changes = self.0.subscribe();
        // The sender lives as long as `self`.
        let _ = changes.wait_for(Option::is_some).await;
    }
}

/// How a volume ended here.
#[derive(Debug)]
pub(super) enum End {
    Completed(Box<Done>),
    Failed,
    /// Deleted while it was read.
    Canceled,
    /// Left for the next daemon.
    Left,
    /// The API server does not let this daemon write its status: nothing of it counts.
    Refused,
}

impl End {
    pub(super) fn counted(&self) -> VolumeEnd {
        let (result, read_bytes, sent_bytes) = match self {
            Self::Completed(done) => {
                (VolumeResult::Completed, done.result.totals.read_bytes, done.result.sent_bytes)
            }
            Self::Failed | Self::Refused => (VolumeResult::Failed, 0, 0),
            Self::Canceled => (VolumeResult::Canceled, 0, 0),
            Self::Left => (VolumeResult::Interrupted, 0, 0),
        };
        VolumeEnd { result, read_bytes, sent_bytes }
    }
}

/// Why a volume could not be read, or not be stored.
#[derive(Debug, thiserror::Error)]
enum JobError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Order(#[from] WorkError),
    #[error(transparent)]
    Place(#[from] PlaceError),
    #[error(transparent)]
    Backup(#[from] BackupError),
    #[error("The VolumeBackup cannot be worked on: {0}; it was not made by Lifeboat's controller")]
    Spec(&'static str),
    #[error("The order is another volume's or another run's than the VolumeBackup says: {0}")]
    Mismatch(&'static str),
    #[error("A thread of the daemon ended early; this is a bug, please report it with the log")]
    Broken,
}

impl JobError {
    fn reason(&self) -> String {
        match self {
            Self::Config(_) => "Configuration".to_owned(),
            Self::Store(error) | Self::Order(WorkError::Store(error)) => {
                format!("Store{}", error.kind.reason())
            }
            Self::Order(_) | Self::Mismatch(_) => "OrderUnusable".to_owned(),
            Self::Place(error) => error.reason().to_owned(),
            Self::Backup(error) => error.reason().to_owned(),
            Self::Spec(_) => "VolumeMismatch".to_owned(),
            Self::Broken => "Broken".to_owned(),
        }
    }

    fn is_the_store_s(&self) -> bool {
        matches!(
            self,
            Self::Store(_) | Self::Order(WorkError::Store(_)) | Self::Backup(BackupError::Store(_))
        )
    }
}

/// One volume.
#[derive(Clone)]
pub(super) struct Job {
    pub(super) volume: VolumeBackup,
    pub(super) key: Secret32,
    pub(super) calls: NodeWork,
    pub(super) options: Arc<Options>,
}

impl Job {
    pub(super) async fn run(self, halt: Halt) -> End {
        let spec = &self.volume.spec;
        let (namespace, claim) = (spec.namespace.as_str(), spec.claim.as_str());
        tracing::info!(namespace, claim, backup = spec.backup, attempt = spec.attempt, "reading a volume");
        let old = self.volume.status.clone().unwrap_or_default();
        if let Err(end) = sorted(self.calls.tell(&self.volume, status::begun(&old, self.now())).await, &halt)
        {
            return end;
        }
        let progress = Arc::new(WorkProgress::default());
        // On a task of its own: neither waits for the other.
        let mut reading = tokio::spawn(self.clone().read(progress.clone(), halt.clone()));
        let mut renew = interval_at(Instant::now() + RENEW, RENEW);
        renew.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let read = loop {
            tokio::select! {
                read = &mut reading => break read.unwrap_or(Err(JobError::Broken)),
                _ = renew.tick() => {
                    let told = self.calls.tell(&self.volume, status::alive(&progress, self.now())).await;
                    let _gone_is_noted = sorted(told, &halt);
                }
            }
        };
        self.end(read, &progress, &halt).await
    }

    async fn read(self, progress: Arc<WorkProgress>, halt: Halt) -> Result<Done, JobError> {
        let spec = &self.volume.spec;
        let config: NodeConfig = config::load(&self.options.config)?;
        let name: Sha256 = spec.order.parse().map_err(|_| JobError::Spec("its order is no SHA-256"))?;
        let clock = self.options.clock.clone();
        let fetched = async {
            let store = config.repo.open(Some(config.cluster.as_str()), &config.s3, clock.clone()).await?;
            let order = Order::fetch(&*store, &name, &self.key).await?;
            Ok::<_, JobError>((store, order))
        };
        let (store, order) = tokio::select! {
            fetched = fetched => fetched?,
            () = halt.clone().wait() => return Err(BackupError::Stopped.into()),
        };
        if order.cluster != config.cluster.as_str() {
            return Err(JobError::Mismatch("it is for another cluster"));
        }
        if order.run.to_hex() != spec.run_id {
            return Err(JobError::Mismatch("it is of another run"));
        }
        let (place, roots) = (place(spec).map_err(JobError::Spec)?, self.options.roots.clone());
        // A file system that does not answer stops a thread, and not the daemon.
        let opened = tokio::task::spawn_blocking(move || VolumeSource::live(&roots, &place));
        let source = opened.await.map_err(|_| JobError::Broken)??;
        // What this node noted itself is newer than what an earlier try elsewhere left.
        let noted = self.volume.status.as_ref().and_then(|s| s.upload_log.as_ref());
        let resume = noted.or(spec.upload_log.as_ref()).and_then(|log| log.parse().ok());
        let stop = std::pin::pin!(halt.wait());
        let root = source.path();
        let task = Work { store, order: &order, key: &self.key, root: &root, resume, clock, progress };
        Ok(work(task, stop).await?)
    }

    async fn end(&self, read: Result<Done, JobError>, progress: &WorkProgress, halt: &Halt) -> End {
        let spec = &self.volume.spec;
        let (namespace, claim) = (spec.namespace.as_str(), spec.claim.as_str());
        let old = self.volume.status.clone().unwrap_or_default();
        let (status, end) = match read {
            Ok(done) => {
                let totals = &done.result.totals;
                tracing::info!(
                    namespace,
                    claim,
                    files = totals.files,
                    bytes = totals.bytes,
                    "a volume was read"
                );
                (status::completed(&old, &done, self.now()), End::Completed(Box::new(done)))
            }
            Err(_) if halt.halted() == Some(Halted::Gone) => {
                tracing::info!(namespace, claim, "its VolumeBackup was deleted; no longer read");
                return End::Canceled;
            }
            Err(JobError::Backup(BackupError::Stopped)) => {
                // Where the next daemon goes on from; if this does not arrive, it goes on from what was told last.
                let told = self.calls.tell(&self.volume, status::alive(progress, self.now())).await;
                tracing::info!(namespace, claim, told = told.is_ok(), "a volume is left to be gone on with");
                return End::Left;
            }
            Err(error) => {
                let reason = error.reason();
                tracing::warn!(namespace, claim, reason, %error, "a volume could not be read");
                if error.is_the_store_s() {
                    self.options.metrics.store_error();
                }
                let why = error.to_string();
                (status::failed(&old, &reason, &why, progress.upload_log(), self.now()), End::Failed)
            }
        };
        self.tell_at_last(status, halt).await.map_or_else(|other| other, |()| end)
    }

    /// Without this the controller would believe that the volume is still read, until it is not renewed any more.
    async fn tell_at_last(&self, status: Value, halt: &Halt) -> Result<(), End> {
        let (started, mut pause) = (Instant::now(), Duration::from_secs(1));
        loop {
            let error = match self.calls.tell(&self.volume, status.clone()).await {
                Ok(_) => return Ok(()),
                Err(error) if error.permanent() || started.elapsed() >= PATIENCE => {
                    tracing::warn!(%error, "the end of a volume could not be told");
                    return sorted(Err(error), halt);
                }
                Err(error) => error,
            };
            tokio::select! {
                () = sleep(error.retry_after().unwrap_or(pause).min(MAX_PAUSE)) => {}
                () = halt.clone().wait() => return Err(End::Left),
            }
            pause = (pause * 2).min(MAX_PAUSE);
        }
    }

    fn now(&self) -> jiff::Timestamp {
        self.options.clock.now()
    }
}

/// What an answer to a write of the status means for the volume. An API server that is away means nothing: the volume is
/// read on.
fn sorted(told: Result<VolumeBackup, ClusterError>, halt: &Halt) -> Result<(), End> {
    match told {
        Err(error) if matches!(error.code(), Some(404 | 409)) => {
            halt.halt(Halted::Gone);
            Err(End::Canceled)
        }
        Err(error) if error.permanent() => {
            tracing::error!(%error, "the API server does not take this node's status");
            Err(End::Refused)
        }
        Err(error) => {
            tracing::warn!(%error, "a status could not be written; trying again");
            Ok(())
        }
        Ok(_) => Ok(()),
    }
}

fn place(spec: &VolumeBackupSpec) -> Result<Place, &'static str> {
    match (&spec.plugin, &spec.host_path) {
        (Some(plugin), None) => Ok(Place::Pod {
            pod_uid: spec.pod_uid.clone(),
            plugin: plugin.clone(),
            volume: spec.volume_name.clone(),
        }),
        (None, Some(path)) => Ok(Place::HostPath(PathBuf::from(path))),
        _ => Err("it must name a plugin or a hostPath, and not both"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_is_in_one_place() {
        let spec = |plugin: Option<&str>, path: Option<&str>| VolumeBackupSpec {
            plugin: plugin.map(str::to_owned),
            host_path: path.map(str::to_owned),
            ..VolumeBackupSpec::default()
        };
        assert!(matches!(place(&spec(Some("kubernetes.io~csi"), None)), Ok(Place::Pod { .. })));
        assert!(matches!(place(&spec(None, Some("/srv/a"))), Ok(Place::HostPath(_))));
        assert!(place(&spec(None, None)).is_err() && place(&spec(Some("a~b"), Some("/srv"))).is_err());
    }

    #[tokio::test]
    async fn the_first_word_stands() {
        let halt = Halt::new();
        assert_eq!(halt.halted(), None);
        halt.halt(Halted::Gone);
        halt.halt(Halted::Asked);
        assert_eq!(halt.halted(), Some(Halted::Gone));
        halt.wait().await;
    }
}
