//! A walk on its own threads, and the store on the runtime: packs go over through a channel of one, so that the walk
//! waits while too much is under way. Meanwhile the run logs what has arrived and writes checkpoints.

use super::checkpoint::{self, Base};
use super::memory::Records;
use super::past::Past;
use super::records::{LogFiles, LogWriter, Written};
use super::{Run, Stop};
use crate::backup::pack::domain_alias;
use crate::backup::send::Sending;
use crate::backup::upload::{Room, Uploader};
use crate::backup::{BackupError, NewPack, log};
use crate::tree::{
    Nothing, PackSink, PastChunks, RecordSink, Remembered, SinkClosed, StoredTree, TreeError, TreeKeys,
    TreeOptions, TreeProgress, TreeRun, store_tree,
};
use lifeboat_format::chunker::ChunkSizes;
use lifeboat_format::crypto::derive::{DomainKeys, RunKey, Secret32};
use lifeboat_format::id::{PathHash, Sha256};
use lifeboat_format::volume_log::Record;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::runtime::Handle as Runtime;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// How long a run that is to stop waits for what is on its way.
const STOP_WAIT: Duration = Duration::from_secs(20);

pub(super) struct Keys {
    pub(super) run_key: RunKey,
    pub(super) dedup_key: Secret32,
}

/// One attempt, under way.
pub(super) struct Drive<'a, 's> {
    pub(super) run: &'a Run<'a>,
    pub(super) base: Base,
    pub(super) sending: Sending<'s>,
    pub(super) past: Arc<Past>,
    pub(super) keys: Keys,
}

/// A tree that is in packs, and its log.
pub(super) struct Walked {
    pub(super) tree: StoredTree,
    pub(super) written: Written,
}

pub(super) enum Driven {
    Walked(Box<Walked>),
    Redo(&'static str),
}

/// A pack that has its room among those on their way.
type Taken = (NewPack, Room);

/// Packs on their way out of the walk. A pack waits for room where it was made, so that no more of them stand anywhere.
struct Out {
    runtime: Runtime,
    uploader: Uploader,
    send: mpsc::Sender<Taken>,
}

impl PackSink for Out {
    fn take(&self, pack: NewPack) -> Result<(), SinkClosed> {
        let room = async {
            tokio::select! {
                room = self.uploader.room(pack.sealed.bytes.len()) => Some(room),
                () = self.send.closed() => None,
            }
        };
        let room = self.runtime.block_on(room).ok_or(SinkClosed)?;
        self.send.blocking_send((pack, room)).map_err(|_| SinkClosed)
    }
}

/// Ends the walk when nobody waits for it any more.
struct Walk {
    task: JoinHandle<Result<Walked, TreeError>>,
    cancel: Arc<AtomicBool>,
}

impl Drop for Walk {
    fn drop(&mut self) {
        self.cancel.store(true, Ordering::Relaxed);
    }
}

enum Next {
    Pack(Option<Taken>),
    Files(LogFiles),
    Arrived(Sha256),
    Look,
}

impl Drive<'_, '_> {
    pub(super) async fn run(
        &mut self,
        progress: Arc<TreeProgress>,
        mut stop: Stop<'_>,
    ) -> Result<Driven, BackupError> {
        let (packs_in, mut packs) = mpsc::channel(1);
        let (files_in, mut files) = mpsc::channel(1);
        let out = Out { runtime: Runtime::current(), uploader: self.base.uploader.clone(), send: packs_in };
        let mut walk = self.begin(out, files_in, progress);
        let when = self.run.request.checkpoints;
        let mut look = tokio::time::interval(when.look);
        let mut walking = true;
        while walking || !self.sending.is_idle() {
            let next = tokio::select! {
                () = &mut stop => return self.stopped(walk, packs).await,
                pack = packs.recv(), if walking => Next::Pack(pack),
                Some(sealed) = files.recv() => Next::Files(sealed),
                Some(arrived) = self.sending.next() => Next::Arrived(arrived?),
                _ = look.tick() => Next::Look,
            };
            match next {
                Next::Pack(None) => walking = false,
                Next::Pack(Some((pack, room))) => self.sending.send(pack, Some(room)).await?,
                Next::Files(sealed) => log::send(&self.base.uploader, sealed).await?,
                Next::Arrived(sha256) => self.sending.take_in(Some(sha256)).await?,
                Next::Look => self.sending.take_in(None).await?,
            }
            if self.base.is_due(&when, self.run.clock.now()).await?
                && let Some(why) = self.checkpoint().await?
            {
                return Ok(Driven::Redo(why));
            }
        }
        while let Some(sealed) = files.recv().await {
            log::send(&self.base.uploader, sealed).await?;
        }
        let walked = (&mut walk.task).await.map_err(|_| TreeError::Broken)??;
        Ok(Driven::Walked(Box::new(walked)))
    }

    async fn checkpoint(&mut self) -> Result<Option<&'static str>, BackupError> {
        let domain = domain_alias(&self.keys.dedup_key, &self.run.domain);
        checkpoint::write(self.run, &mut self.base, &mut self.sending, domain).await
    }

    fn begin(&self, packs: Out, files: mpsc::Sender<LogFiles>, progress: Arc<TreeProgress>) -> Walk {
        let keys = TreeKeys {
            run: self.keys.run_key.clone(),
            sealed_run_key: self.base.sealed_run_key.clone(),
            domain: self.run.keys.clone(),
            alias: domain_alias(&self.keys.dedup_key, &self.run.domain),
            sizes: self.run.setup.charter.charter().chunking,
        };
        let (root, options) = (self.run.request.root.clone(), self.run.request.options.clone());
        let past = self.past.clone();
        let cancel = Arc::new(AtomicBool::new(false));
        let canceled = cancel.clone();
        let task = tokio::task::spawn_blocking(move || {
            let mut records = LogWriter::new(past.clone(), files);
            let mut memory = Records::new(past.clone());
            let run = TreeRun {
                options: &options,
                keys: &keys,
                memory: &mut memory,
                past: &*past,
                packs: &packs,
                records: &mut records,
                progress: &progress,
                cancel: &canceled,
            };
            let tree = store_tree(&root, run)?;
            Ok(Walked { tree, written: records.finish() })
        });
        Walk { task, cancel }
    }

    /// Logs what has arrived, so that the next run goes on from it.
    async fn stopped(&mut self, walk: Walk, packs: mpsc::Receiver<Taken>) -> Result<Driven, BackupError> {
        drop((walk, packs));
        // What does not arrive in time is sent again.
        if let Ok(arrived) = tokio::time::timeout(STOP_WAIT, self.sending.wait()).await {
            arrived?;
        }
        self.sending.write_log().await?;
        Err(BackupError::Stopped)
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
