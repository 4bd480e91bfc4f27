//! One run over a directory tree: begin → walk, read, chunk, seal, pack (`tree`) → store → manifest. Owns the order of
//! these, and what lasts as long as a run does: its memory, checkpoints, resumption. Knows no Kubernetes.

mod checkpoint;
mod drive;
mod finish;
mod origin;
mod report;
#[cfg(test)]
pub(crate) mod tests;

use crate::backup::begin::{self, Begun, Kind, Start};
use crate::backup::commit::Outcome;
use crate::backup::pack::domain_alias;
use crate::backup::send::Sending;
use crate::backup::state::{Held, Pending, State};
use crate::backup::upload::Rate;
use crate::backup::{BackupError, Setup};
use crate::select::Report;
use crate::tree::{TreeError, TreeOptions, TreeProgress};
use crate::volume::past::{Past, PastOf};
use crate::volume::result::Told;
use jiff::Timestamp;
use lifeboat_common::clock::Clock;
use lifeboat_format::body::{DomainKind, domain_name};
use lifeboat_format::crypto::derive::DomainKeys;
use lifeboat_format::id::Sha256;
use lifeboat_format::manifest::Manifest;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

pub use crate::backup::resume::Cadence;
pub use crate::volume::flow::Stop;
pub use crate::volume::result::Totals;
pub use checkpoint::Checkpoints;
pub use origin::host_origin;

/// A run that loses what it built on starts again at most so often.
const ATTEMPTS: usize = 3;

/// What is asked for.
#[derive(Debug, Clone)]
pub struct PathRequest {
    /// The volume's name; [`lifeboat_common::reader::is_volume_name`] holds.
    pub name: String,
    pub root: PathBuf,
    pub options: TreeOptions,
    /// Of this host and configuration ([`host_origin`]).
    pub origin: Sha256,
    /// Bytes a second that may be sent; `None`: as many as the store takes.
    pub bandwidth: Option<NonZeroU64>,
    pub checkpoints: Checkpoints,
    /// How often the run logs what it has sent.
    pub cadence: Cadence,
}

/// A committed snapshot of a tree.
#[derive(Debug)]
pub struct CommittedTree {
    pub manifest: Manifest,
    /// SHA-256 of the manifest's payload.
    pub sha256: Sha256,
    pub report: Report,
    pub totals: Totals,
    /// Sealed bytes sent by the attempt that committed, lists and log included.
    pub sent_bytes: u64,
    pub sent_objects: u64,
    pub checkpoints: u64,
}

/// Makes one snapshot of a directory tree. `stop` is not polled again once it was ready.
///
/// # Errors
/// No snapshot was made. What has arrived in the store is used by the next run of this volume.
pub async fn backup_path(
    setup: &Setup,
    request: &PathRequest,
    clock: Arc<dyn Clock>,
    progress: Arc<TreeProgress>,
    mut stop: Stop<'_>,
) -> Result<CommittedTree, BackupError> {
    let (file, mut state) = setup.open_state().await?;
    setup.check_host(&mut state, request.origin)?;
    for _ in 0..ATTEMPTS {
        let run = Run::new(setup, request, clock.clone(), &state)?;
        match run.attempt(&file, &mut state, progress.clone(), stop.as_mut()).await? {
            Attempt::Committed(committed) => return Ok(*committed),
            Attempt::Redo(why) => tracing::warn!(why, "starting the run again"),
        }
    }
    Err(BackupError::Overtaken { attempts: ATTEMPTS })
}

/// Walks a tree and counts what a first run would read; asks no store, stores nothing. Blocks.
///
/// # Errors
/// The tree cannot be opened, or `cancel` was set.
pub fn dry_run(
    request: &PathRequest,
    now: Timestamp,
    progress: &TreeProgress,
    cancel: &AtomicBool,
) -> Result<(Report, Totals), TreeError> {
    let options = TreeOptions { dry_run: true, ..request.options.clone() };
    let stored = drive::count(&request.root, &options, progress, cancel)?;
    let told = Told::of(&stored.report);
    Ok((report::of(&told, stored.entries, &request.name, now), Totals::of(&stored)))
}

/// Only with a copy of the state: its lock keeps two attempts apart.
const FOUND: &str = "another attempt of this run has committed";

enum Attempt {
    Committed(Box<CommittedTree>),
    Redo(&'static str),
}

/// What does not change during one attempt.
struct Run<'a> {
    setup: &'a Setup,
    request: &'a PathRequest,
    clock: Arc<dyn Clock>,
    /// The volume's domain.
    domain: String,
    keys: DomainKeys,
    started: Timestamp,
}

impl<'a> Run<'a> {
    fn new(
        setup: &'a Setup,
        request: &'a PathRequest,
        clock: Arc<dyn Clock>,
        state: &State,
    ) -> Result<Self, BackupError> {
        let domain = domain_name(DomainKind::Path, "", &request.name);
        let dedup_key = state.dedup_key().ok_or(BackupError::NoKey)?;
        let keys = DomainKeys::new(&dedup_key, &domain);
        let started = clock.now();
        Ok(Self { setup, request, clock, domain, keys, started })
    }

    async fn attempt(
        &self,
        file: &Held,
        state: &mut State,
        progress: Arc<TreeProgress>,
        stop: Stop<'_>,
    ) -> Result<Attempt, BackupError> {
        let kind = Kind {
            volume: Some(self.domain.clone()),
            cadence: self.request.cadence,
            rate: self.request.bandwidth.map(Rate),
        };
        let begun = match begin::begin(self.setup, file, state, &kind, self.started, None).await? {
            Start::Begun(begun) => *begun,
            Start::Found(_) => return Ok(Attempt::Redo(FOUND)),
        };
        let upload_key = state.pending.as_ref().and_then(Pending::key);
        let past = Past::load(PastOf {
            store: &self.setup.store,
            keys: &self.keys,
            log: begun.memory.volume(&domain_alias(&begun.dedup_key, &self.domain)),
            allowed: begun.allowed.clone(),
            interrupted: begun.interrupted.clone(),
            upload_key,
        });
        let past = Arc::new(past.await?);
        let Begun {
            view,
            memory,
            interrupted,
            uploader,
            run_key,
            sealed_run_key,
            dedup_key,
            upload_log,
            allowed,
            gone: _,
        } = begun;
        let sending = Sending::new(uploader.clone(), self.clock.clone(), upload_log, state, file);
        let base = checkpoint::Base::new(
            view,
            memory,
            interrupted,
            allowed,
            uploader.clone(),
            sealed_run_key,
            self.clock.now(),
        );
        let keys = drive::Keys { run_key, dedup_key };
        let mut drive = drive::Drive { run: self, base, sending, past, keys };
        let walked = match drive.run(progress, stop).await? {
            drive::Driven::Walked(walked) => walked,
            drive::Driven::Redo(why) => return Ok(Attempt::Redo(why)),
        };
        let finished = finish::finish(&mut drive, walked).await?;
        Ok(match finished.outcome {
            Outcome::Redo(why) => Attempt::Redo(why),
            Outcome::Found(_) => Attempt::Redo(FOUND),
            Outcome::Committed(done) => Attempt::Committed(Box::new(CommittedTree {
                manifest: done.manifest,
                sha256: done.sha256,
                report: finished.report,
                totals: finished.totals,
                sent_bytes: uploader.sent_bytes(),
                sent_objects: uploader.sent_objects(),
                checkpoints: drive.base.written,
            })),
        })
    }
}
