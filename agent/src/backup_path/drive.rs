//! A walk of this host and what goes on meanwhile: the run writes checkpoints.

use super::checkpoint::{self, Base};
use super::{Run, Stop};
use crate::backup::BackupError;
use crate::backup::NewPack;
use crate::backup::ledger::Stated;
use crate::backup::pack::domain_alias;
use crate::backup::send::Sending;
use crate::tree::{
    Nothing, PackSink, PastChunks, RecordSink, Remembered, SinkClosed, StoredTree, TreeError, TreeKeys,
    TreeOptions, TreeProgress, TreeRun, store_tree,
};
use crate::volume::flow::{Begin, Flow, Step, Walked};
use crate::volume::past::Past;
use lifeboat_format::chunker::ChunkSizes;
use lifeboat_format::crypto::derive::{DomainKeys, RunKey, Secret32};
use lifeboat_format::id::PathHash;
use lifeboat_format::volume_log::Record;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

pub(super) struct Keys {
    pub(super) run_key: RunKey,
    pub(super) dedup_key: Secret32,
}

/// One attempt, under way.
pub(super) struct Drive<'a, 's> {
    pub(super) run: &'a Run<'a>,
    pub(super) base: Base,
    pub(super) sending: Sending<Stated<'s>>,
    pub(super) past: Arc<Past>,
    pub(super) keys: Keys,
}

pub(super) enum Driven {
    Walked(Box<Walked>),
    Redo(&'static str),
}

impl Drive<'_, '_> {
    pub(super) async fn run(
        &mut self,
        progress: Arc<TreeProgress>,
        mut stop: Stop<'_>,
    ) -> Result<Driven, BackupError> {
        let when = self.run.request.checkpoints;
        let mut flow = Flow::begin(self.begin(progress));
        loop {
            match flow.step(&mut self.sending, stop.as_mut()).await? {
                Step::Done => return Ok(Driven::Walked(Box::new(flow.walked().await?))),
                Step::Stopped => {
                    flow.stop(&mut self.sending).await?;
                    return Err(BackupError::Stopped);
                }
                Step::More => {}
            }
            if self.base.is_due(&when, self.run.clock.now()).await?
                && let Some(why) = self.checkpoint().await?
            {
                return Ok(Driven::Redo(why));
            }
        }
    }

    async fn checkpoint(&mut self) -> Result<Option<&'static str>, BackupError> {
        let domain = domain_alias(&self.keys.dedup_key, &self.run.domain);
        checkpoint::write(self.run, &mut self.base, &mut self.sending, domain).await
    }

    fn begin(&self, progress: Arc<TreeProgress>) -> Begin {
        let keys = TreeKeys {
            run: self.keys.run_key.clone(),
            sealed_run_key: self.base.sealed_run_key.clone(),
            domain: self.run.keys.clone(),
            alias: domain_alias(&self.keys.dedup_key, &self.run.domain),
            sizes: self.run.setup.charter.charter().chunking,
        };
        Begin {
            past: self.past.clone(),
            keys,
            root: self.run.request.root.clone(),
            options: self.run.request.options.clone(),
            progress,
            uploader: self.base.uploader.clone(),
            look: self.run.request.checkpoints.look,
        }
    }
}

/// Walks without storing.
pub(super) fn count(
    root: &Path,
    options: &TreeOptions,
    progress: &TreeProgress,
    cancel: &AtomicBool,
) -> Result<StoredTree, TreeError> {
    let nothing = DomainKeys::new(&Secret32::random(), "");
    let alias = domain_alias(&Secret32::random(), "");
    let keys = TreeKeys {
        run: RunKey::random(),
        sealed_run_key: Vec::new(),
        domain: nothing,
        alias,
        sizes: ChunkSizes::default(),
    };
    let (memory, past): (&mut dyn Remembered, &dyn PastChunks) = (&mut Nothing, &Nothing);
    let (packs, records) = (&Nowhere, &mut Nowhere);
    store_tree(root, TreeRun { options, keys: &keys, memory, past, packs, records, progress, cancel })
}

/// Where a dry run's records go; it has no packs.
struct Nowhere;

impl PackSink for Nowhere {
    fn take(&self, _: NewPack) -> Result<(), SinkClosed> {
        Err(SinkClosed)
    }
}

impl RecordSink for Nowhere {
    fn directory(&mut self, _: &PathHash) {}
    fn record(&mut self, _: Record) {}
}
