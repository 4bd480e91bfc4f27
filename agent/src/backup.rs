//! One run: discover → read → chunk → seal → pack → store → manifest. Owns the order of these; each is a file of
//! `backup/`. Knows nothing of schedules.

pub(crate) mod begin;
pub(crate) mod body;
pub(crate) mod commit;
mod error;
pub(crate) mod head;
pub(crate) mod log;
pub(crate) mod pack;
mod read;
pub(crate) mod resume;
pub(crate) mod reuse;
pub(crate) mod send;
mod setup;
pub(crate) mod state;
#[cfg(test)]
mod testing;
pub(crate) mod upload;

use crate::cluster::Cluster;
use crate::select::{Report, Selection};
use commit::{Commit, Outcome, Remains};
use lifeboat_common::clock::Clock;
use lifeboat_format::id::Sha256;
use lifeboat_format::manifest::Manifest;
use pack::Packer;
use send::Sending;
use state::{State, StateFile};
use std::sync::Arc;

pub use error::BackupError;
pub use pack::NewPack;
pub use read::Progress;
pub use setup::Setup;

/// A run that loses what it built on starts again at most so often.
const ATTEMPTS: usize = 3;

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Request {
    pub selection: Selection,
    /// All of the charter's scope, rather than a part of it.
    pub full: bool,
    /// What is covered is covered whole: no selection by label or kind.
    pub whole_namespaces: bool,
    /// Hours that the primary keeps it, when shorter than the charter's.
    pub primary_ttl_hours: Option<u32>,
}

/// A committed snapshot.
#[derive(Debug)]
pub struct Committed {
    pub manifest: Manifest,
    /// SHA-256 of the manifest's payload.
    pub sha256: Sha256,
    pub report: Report,
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
    let (file, mut state) = setup.open_state()?;
    let origin = Sha256::of(cluster.kube_system_uid().await?.as_bytes());
    setup.check_origin(&mut state, origin)?;
    for _ in 0..ATTEMPTS {
        let run = Run { setup, cluster, request, clock: clock.clone(), origin };
        match run.attempt(&file, &mut state, progress).await? {
            Attempt::Committed(committed) => return Ok(*committed),
            Attempt::Redo(why) => tracing::warn!(why, "starting the run again"),
        }
    }
    Err(BackupError::Overtaken { attempts: ATTEMPTS })
}

/// Reads what a run would store, and stores nothing.
pub async fn dry_run(
    cluster: &Cluster,
    request: &Request,
    progress: Progress<'_>,
) -> Result<Report, BackupError> {
    let discovery = cluster.discover().await?;
    let mut report = read::count(cluster, discovery, &request.selection, progress).await;
    report.finish(cluster.now());
    Ok(report)
}

struct Run<'a> {
    setup: &'a Setup,
    cluster: &'a Cluster,
    request: &'a Request,
    clock: Arc<dyn Clock>,
    origin: Sha256,
}

enum Attempt {
    Committed(Box<Committed>),
    Redo(&'static str),
}

impl Run<'_> {
    async fn attempt(
        &self,
        file: &StateFile,
        state: &mut State,
        progress: Progress<'_>,
    ) -> Result<Attempt, BackupError> {
        let started = self.clock.now();
        let discovery = self.cluster.discover().await?;
        let begun = begin::begin(self.setup, file, state, &begin::Kind::objects(), started).await?;
        let reusable = begin::reusable_objects(&begun, state, &*self.setup.store).await?;
        let begin::Begun { view, memory, interrupted, uploader, upload_log, .. } = begun;
        let sizes = self.setup.charter.charter().chunking;
        let mut packer = Packer::new(begun.run_key, begun.sealed_run_key, begun.dedup_key, sizes, reusable);

        let aliases = body::Aliases::new(state)?;
        let mut sending = Sending::new(uploader.clone(), self.clock.clone(), upload_log, state, file);
        let selection = &self.request.selection;
        let gathered =
            read::gather(self.cluster, discovery, selection, &mut packer, &mut sending, progress).await?;
        let sealed = body::seal(self, &mut packer, gathered, &aliases, started)?;
        sending.take(&mut packer).await?;
        let new_packs = sending.wait().await?;

        let interrupted_own = interrupted.checkpointed.clone();
        let (resumed, reused) = interrupted.split(packer.reused_packs());
        let mut manifest = sealed.manifest;
        manifest.counts.stored_bytes = uploader.sent_bytes();
        let commit = Commit {
            uploader: &uploader,
            charter: self.setup.charter.charter(),
            signing: &self.setup.signing,
            memory: &memory,
            new_packs,
            resumed,
            reused,
            own: interrupted_own,
            sealed_run_key: packer.sealed_run_key().to_vec(),
            covered: sealed.covered,
            remains: Remains::Objects(packer.needed().map(|(id, reference)| (*id, *reference)).collect()),
            manifest,
        };
        let report = sealed.report;
        Ok(match commit.run(view, state, file).await? {
            Outcome::Redo(why) => Attempt::Redo(why),
            Outcome::Committed(done) => Attempt::Committed(Box::new(Committed {
                manifest: done.manifest,
                sha256: done.sha256,
                report,
                sent_bytes: uploader.sent_bytes(),
                sent_objects: uploader.sent_objects(),
            })),
        })
    }
}
