//! One run: discover → read → chunk → seal → pack → store → manifest. Owns the order of these; each is a file of
//! `backup/`. Knows nothing of schedules.

mod attempt;
pub(crate) mod begin;
pub(crate) mod body;
pub(crate) mod buffers;
pub(crate) mod commit;
mod control;
mod error;
pub(crate) mod head;
pub(crate) mod ledger;
mod list_budget;
pub(crate) mod log;
pub(crate) mod look;
pub(crate) mod pack;
mod read;
mod request;
pub(crate) mod resume;
pub(crate) mod reuse;
pub(crate) mod send;
mod setup;
pub(crate) mod state;
#[cfg(test)]
mod testing;
pub(crate) mod unfinished;
pub(crate) mod upload;
mod volume_merge;
mod volume_run;
#[cfg(test)]
mod volume_tests;
pub mod volumes;

use crate::cluster::Cluster;
use crate::select::coverage::Table;
use crate::select::{Report, Selection};
use attempt::{Attempt, Run};
use lifeboat_common::clock::Clock;
use lifeboat_format::id::Sha256;
use lifeboat_format::manifest::{Manifest, SignedManifest};
use std::sync::Arc;

pub use control::{Control, Stop};
pub use error::BackupError;
pub use head::HeadError;
pub use pack::NewPack;
pub use read::Progress;
pub use request::{Request, Wanted, run_of};
pub use setup::{Setup, SetupError};
pub use state::{StateError, StatePlace};

/// A run that loses what it built on starts again at most so often.
const ATTEMPTS: usize = 3;

/// A committed snapshot.
#[derive(Debug)]
pub struct Committed {
    pub manifest: Manifest,
    /// SHA-256 of the manifest's payload.
    pub sha256: Sha256,
    /// What was missed, and why; none when an earlier attempt of the run had committed already.
    pub report: Option<Report>,
    /// Sealed bytes sent, lists and log included.
    pub sent_bytes: u64,
    pub sent_objects: u64,
}

/// Makes one snapshot of a cluster.
pub async fn backup(
    setup: &Setup,
    cluster: &Cluster,
    request: &Request,
    clock: Arc<dyn Clock>,
    progress: Progress<'_>,
) -> Result<Committed, BackupError> {
    let (committing, may_commit, stop) = (|| {}, || true, Stop::never());
    let control =
        Control { progress, committing: &committing, may_commit: &may_commit, stop: &stop, volumes: None };
    backup_under(setup, cluster, request, clock, control).await
}

/// Makes one snapshot of a cluster, and can be stopped.
pub async fn backup_under(
    setup: &Setup,
    cluster: &Cluster,
    request: &Request,
    clock: Arc<dyn Clock>,
    control: Control<'_>,
) -> Result<Committed, BackupError> {
    let taken = async {
        let (held, state) = setup.open_state().await?;
        let origin = Sha256::of(cluster.kube_system_uid().await?.as_bytes());
        Ok::<_, BackupError>((held, state, origin))
    };
    let (held, mut state, origin) = stoppable(control.stop, taken).await?;
    setup.check_origin(&mut state, origin)?;
    let mut done = Vec::new();
    for _ in 0..ATTEMPTS {
        let run = Run { setup, cluster, request, clock: clock.clone(), origin, control };
        match run.attempt(&held, &mut state, &mut done).await? {
            Attempt::Committed(committed) => return Ok(*committed),
            Attempt::Redo(why) => tracing::warn!(why, "starting the run again"),
        }
    }
    Err(BackupError::Overtaken { attempts: ATTEMPTS })
}

/// A part of a run that leaves nothing to note when it is stopped.
async fn stoppable<T, E: Into<BackupError>>(
    stop: &Stop,
    part: impl Future<Output = Result<T, E>>,
) -> Result<T, BackupError> {
    tokio::select! {
        biased;
        () = stop.stopped() => Err(BackupError::Stopped),
        done = part => done.map_err(Into::into),
    }
}

/// Reads what a run would store, and stores nothing.
pub async fn dry_run(
    cluster: &Cluster,
    request: &Request,
    progress: Progress<'_>,
) -> Result<Report, BackupError> {
    let discovery = cluster.discover().await?;
    let mut report = read::count(cluster, discovery, &request.selection, None, progress).await;
    report.finish(cluster.now());
    Ok(report)
}

/// The same, and counts by namespace and kind.
pub async fn survey(
    cluster: &Cluster,
    selection: &Selection,
    table: &mut Table,
    progress: Progress<'_>,
) -> Result<Report, BackupError> {
    let discovery = cluster.discover().await?;
    let mut report = read::count(cluster, discovery, selection, Some(table), progress).await;
    report.finish(cluster.now());
    Ok(report)
}

impl Committed {
    /// By an attempt of this run that could not tell.
    fn found(found: SignedManifest) -> Self {
        let sent_bytes = found.manifest.counts.stored_bytes;
        Self { manifest: found.manifest, sha256: found.sha256, report: None, sent_bytes, sent_objects: 0 }
    }
}
