//! One attempt at a run over a cluster: its objects and its volumes, side by side, into one snapshot.

use super::begin::{self, Begun, Start};
use super::commit::{Commit, Outcome, Remains};
use super::head::ChainView;
use super::log::Memory;
use super::pack::Packer;
use super::resume::Interrupted;
use super::send::Sending;
use super::state::{Held, State};
use super::upload::Uploader;
use super::volume_run::{Known, ReadVolume, VolumeRun, VolumesRead};
use super::{BackupError, Committed, Control, Request, Setup, body, read, stoppable};
use crate::cluster::Cluster;
use lifeboat_common::clock::Clock;
use lifeboat_format::id::{RunId, Sha256};
use lifeboat_format::send_log::KnownPack;
use std::sync::Arc;

/// What does not change from attempt to attempt.
pub(super) struct Run<'a> {
    pub(super) setup: &'a Setup,
    pub(super) cluster: &'a Cluster,
    pub(super) request: &'a Request,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) origin: Sha256,
    pub(super) control: Control<'a>,
}

pub(super) enum Attempt {
    Committed(Box<Committed>),
    Redo(&'static str),
}

impl Run<'_> {
    /// `done`: volumes that attempts before have read.
    pub(super) async fn attempt(
        &self,
        held: &Held,
        state: &mut State,
        done: &mut Vec<ReadVolume>,
    ) -> Result<Attempt, BackupError> {
        let (started, stop) = (self.clock.now(), self.control.stop);
        let kind = begin::Kind::objects();
        let begin = begin::begin(self.setup, held, state, &kind, started, self.request.run);
        let begun = match stoppable(stop, begin).await? {
            Start::Begun(begun) => *begun,
            Start::Found(manifest) => {
                self.tidy(manifest.manifest.run).await;
                return Ok(Attempt::Committed(Box::new(Committed::found(*manifest))));
            }
        };
        let reusable = stoppable(stop, begin::reusable_objects(&begun, state, &*self.setup.store)).await?;
        let sizes = self.setup.charter.charter().chunking;
        let Begun { view, memory, interrupted, uploader, gone, dedup_key, upload_log, .. } = begun;
        let mut packer = Packer::new(begun.run_key, begun.sealed_run_key, dedup_key.clone(), sizes, reusable);
        let discovery = stoppable(stop, self.cluster.discover()).await?;

        let aliases = body::Aliases::new(state)?;
        let known = Known { memory: &memory, view: &view, gone: &gone };
        let volumes = VolumeRun::new(self, known, uploader.clone(), dedup_key, state, started)?;
        let mut sending = Sending::new(uploader.clone(), self.clock.clone(), upload_log, state, held);
        let (selection, progress) = (&self.request.selection, self.control.progress);
        let objects = async {
            let gathered =
                read::gather(self.cluster, discovery, selection, &mut packer, &mut sending, progress).await?;
            // The volumes may take hours more: what is left of the objects is on its way meanwhile, and noted.
            sending.take(&mut packer).await?;
            if self.control.volumes.is_some() {
                sending.settle().await?;
            }
            Ok::<_, BackupError>(gathered)
        };
        let both = async { tokio::try_join!(objects, volumes.read(std::mem::take(done))) };
        let gathered = tokio::select! {
            gathered = both => Some(gathered?),
            () = stop.stopped() => None,
        };
        let Some((gathered, volumes_read)) = gathered else {
            sending.note_and_stop().await;
            return Err(BackupError::Stopped);
        };
        (self.control.committing)();
        let sealed = body::seal(self, &mut packer, gathered, &volumes_read, &aliases, started)?;
        let send = async {
            sending.take(&mut packer).await?;
            sending.wait().await
        };
        let new_packs = stoppable(stop, send).await?;
        let run = volumes.run;
        let whole = Whole { view, memory, interrupted, uploader, packer, sealed, new_packs, run };
        self.commit(whole, volumes_read, held, state, done).await
    }

    async fn commit(
        &self,
        whole: Whole,
        volumes: VolumesRead,
        held: &Held,
        state: &mut State,
        done: &mut Vec<ReadVolume>,
    ) -> Result<Attempt, BackupError> {
        let stop = self.control.stop;
        let Whole { view, memory, interrupted, uploader, packer, sealed, new_packs, run } = whole;
        let left = stoppable(stop, volumes.leave(&uploader, &memory, &view, state)).await?;
        let own = interrupted.checkpointed.clone();
        let (resumed, mut reused) = interrupted.split(packer.reused_packs());
        reused.extend(left.reused);
        let sent_bytes = uploader.sent_bytes().saturating_add(left.sent_bytes);
        let sent_objects = uploader.sent_objects().saturating_add(left.sent_objects);
        let mut manifest = sealed.manifest;
        manifest.counts.stored_bytes = sent_bytes;
        let commit = Commit {
            uploader: &uploader,
            charter: self.setup.charter.charter(),
            signing: &self.setup.signing,
            memory: &memory,
            new_packs,
            resumed,
            listed: left.listed,
            reused,
            own,
            sealed_run_key: packer.sealed_run_key().to_vec(),
            covered: sealed.covered,
            kept: left.kept,
            unfinished: left.unfinished,
            remains: Remains::Run {
                objects: Some(packer.needed().map(|(id, reference)| (*id, *reference)).collect()),
                volumes: left.left,
            },
            manifest,
            may_commit: self.control.may_commit,
        };
        let outcome = stoppable(stop, commit.run(view, state, held)).await?;
        if !matches!(outcome, Outcome::Redo(_)) {
            self.tidy(run).await;
        }
        Ok(match outcome {
            Outcome::Redo(why) => {
                *done = volumes.read;
                Attempt::Redo(why)
            }
            Outcome::Found(manifest) => Attempt::Committed(Box::new(Committed::found(*manifest))),
            Outcome::Committed(done) => Attempt::Committed(Box::new(Committed {
                manifest: done.manifest,
                sha256: done.sha256,
                report: Some(sealed.report),
                sent_bytes,
                sent_objects,
            })),
        })
    }

    async fn tidy(&self, run: RunId) {
        if let Some(volumes) = self.control.volumes {
            volumes.committed(run).await;
        }
    }
}

/// Everything that the run has read, stored and sealed.
struct Whole {
    view: ChainView,
    memory: Memory,
    interrupted: Interrupted,
    uploader: Uploader,
    packer: Packer,
    sealed: body::Sealed,
    new_packs: Vec<KnownPack>,
    run: RunId,
}
