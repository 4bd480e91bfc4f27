//! A walk on its own threads, and the store on the runtime: packs go over through a channel of one, so that the walk
//! waits while too much is under way. Taken in steps, between which whoever drives it does what it has to.

use super::memory::Records;
use super::past::Past;
use super::records::{LogFiles, LogWriter, Written};
use crate::backup::ledger::Ledger;
use crate::backup::send::Sending;
use crate::backup::upload::{Room, Uploader};
use crate::backup::{BackupError, NewPack, log};
use crate::tree::{
    PackSink, SinkClosed, StoredTree, TreeError, TreeKeys, TreeOptions, TreeProgress, TreeRun, store_tree,
};
use lifeboat_format::id::Sha256;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::runtime::Handle as Runtime;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// How long a run that is to stop waits for what is on its way.
const STOP_WAIT: Duration = Duration::from_secs(20);

/// Ends a run early, after what has arrived in the store was logged. Not polled again once it was ready.
pub type Stop<'a> = Pin<&'a mut (dyn Future<Output = ()> + Send)>;

/// A tree that is in packs, and its log.
pub(crate) struct Walked {
    pub(crate) tree: StoredTree,
    pub(crate) written: Written,
}

/// What a walk begins with.
pub(crate) struct Begin {
    pub(crate) past: Arc<Past>,
    pub(crate) keys: TreeKeys,
    pub(crate) root: PathBuf,
    pub(crate) options: TreeOptions,
    pub(crate) progress: Arc<TreeProgress>,
    pub(crate) uploader: Uploader,
    /// A step takes no longer, so that its driver sees what is due.
    pub(crate) look: Duration,
}

/// How a step ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    More,
    /// The walk is over, and everything has arrived.
    Done,
    Stopped,
}

/// A walk under way.
pub(crate) struct Flow {
    packs: mpsc::Receiver<Taken>,
    files: mpsc::Receiver<LogFiles>,
    walk: Walk,
    walking: bool,
    look: tokio::time::Interval,
    uploader: Uploader,
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

impl Flow {
    /// Must be called inside the runtime that serves the store.
    pub(crate) fn begin(begin: Begin) -> Self {
        let Begin { past, keys, root, options, progress, uploader, look } = begin;
        let (packs_in, packs) = mpsc::channel(1);
        let (files_in, files) = mpsc::channel(1);
        let out = Out { runtime: Runtime::current(), uploader: uploader.clone(), send: packs_in };
        let cancel = Arc::new(AtomicBool::new(false));
        let canceled = cancel.clone();
        let task = tokio::task::spawn_blocking(move || {
            let mut records = LogWriter::new(past.clone(), files_in);
            let mut memory = Records::new(past.clone());
            let run = TreeRun {
                options: &options,
                keys: &keys,
                memory: &mut memory,
                past: &*past,
                packs: &out,
                records: &mut records,
                progress: &progress,
                cancel: &canceled,
            };
            let tree = store_tree(&root, run)?;
            Ok(Walked { tree, written: records.finish() })
        });
        let look = tokio::time::interval(look);
        Self { packs, files, walk: Walk { task, cancel }, walking: true, look, uploader }
    }

    /// Waits for one thing to happen, and does what it asks for.
    pub(crate) async fn step<L: Ledger>(
        &mut self,
        sending: &mut Sending<L>,
        mut stop: Stop<'_>,
    ) -> Result<Step, BackupError> {
        if !self.walking && sending.is_idle() {
            return Ok(Step::Done);
        }
        let next = tokio::select! {
            () = &mut stop => return Ok(Step::Stopped),
            pack = self.packs.recv(), if self.walking => Next::Pack(pack),
            Some(sealed) = self.files.recv() => Next::Files(sealed),
            Some(arrived) = sending.next() => Next::Arrived(arrived?),
            _ = self.look.tick() => Next::Look,
        };
        match next {
            Next::Pack(None) => self.walking = false,
            Next::Pack(Some((pack, room))) => sending.send(pack, Some(room)).await?,
            Next::Files(sealed) => log::send(&self.uploader, sealed).await?,
            Next::Arrived(sha256) => sending.take_in(Some(sha256)).await?,
            Next::Look => sending.take_in(None).await?,
        }
        Ok(Step::More)
    }

    /// What became of it, after [`Step::Done`].
    pub(crate) async fn walked(mut self) -> Result<Walked, BackupError> {
        while let Some(sealed) = self.files.recv().await {
            log::send(&self.uploader, sealed).await?;
        }
        Ok((&mut self.walk.task).await.map_err(|_| TreeError::Broken)??)
    }

    /// Ends it; logs what has arrived, so that the next run goes on from it.
    pub(crate) async fn stop<L: Ledger>(self, sending: &mut Sending<L>) -> Result<(), BackupError> {
        drop(self);
        // What does not arrive in time is sent again.
        if let Ok(arrived) = tokio::time::timeout(STOP_WAIT, sending.wait()).await {
            arrived?;
        }
        Ok(sending.write_log().await?)
    }
}
