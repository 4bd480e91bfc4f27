//! A worker's whole task: order → walk, read, chunk, seal, pack → store → list, log, result. Has no state: what it sent
//! is noted in the upload log under the order's key, and whoever watches is told of the newest piece.

pub use super::flow::Stop;
use super::flow::{Begin, Flow, Step, Walked};
use super::left::{self, Left};
use super::lists::write_lists;
use super::order::{Order, OrderKeys};
use super::past::{Past, PastOf};
use super::result::{Told, Totals, WorkResult};
use crate::backup::head;
use crate::backup::ledger::Ledger;
use crate::backup::resume::{self, Cadence, Interrupted, UploadLog};
use crate::backup::send::Sending;
use crate::backup::state::StateError;
use crate::backup::upload::{Rate, Uploader};
use crate::backup::{BackupError, log};
use crate::tree::{TreeKeys, TreeOptions, TreeProgress};
use jiff::Timestamp;
use lifeboat_common::clock::Clock;
use lifeboat_common::store::SharedCreate;
use lifeboat_format::crypto::derive::{RunKey, Secret32};
use lifeboat_format::crypto::seal;
use lifeboat_format::id::{Handle, RunId, Sha256};
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A step of the flow takes no longer.
const LOOK: Duration = Duration::from_secs(1);

/// How far a task is, for whoever shows it or keeps it going.
#[derive(Debug, Default)]
pub struct WorkProgress {
    pub tree: Arc<TreeProgress>,
    upload_log: Mutex<Option<Sha256>>,
}

impl WorkProgress {
    /// The newest piece of the upload log that has arrived: where a later attempt goes on from.
    #[must_use]
    pub fn upload_log(&self) -> Option<Sha256> {
        *self.upload_log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn logged(&self, piece: Sha256) {
        *self.upload_log.lock().unwrap_or_else(PoisonError::into_inner) = Some(piece);
    }
}

/// A task that is done.
#[derive(Debug)]
pub struct Done {
    /// Of the sealed result, which is in the store under `agent/`.
    pub name: Sha256,
    pub result: WorkResult,
}

/// One task.
pub struct Work<'a> {
    pub store: SharedCreate,
    pub order: &'a Order,
    /// The work key that the order was sealed under, and the result will be.
    pub key: &'a Secret32,
    /// The volume's root directory; may be reached through links, `/proc/self/fd/N` among them.
    pub root: &'a Path,
    /// The newest piece of an earlier attempt at this order, beside what the order itself names.
    pub resume: Option<Sha256>,
    pub clock: Arc<dyn Clock>,
    pub progress: Arc<WorkProgress>,
}

/// Notes pieces with whoever watches.
struct Noted {
    run: RunId,
    key: Secret32,
    progress: Arc<WorkProgress>,
}

impl Ledger for Noted {
    fn run(&self) -> Option<(RunId, Secret32)> {
        Some((self.run, self.key.clone()))
    }

    async fn sending(&mut self, _: Option<Sha256>, _: Sha256) -> Result<(), StateError> {
        Ok(())
    }

    fn sent(&mut self, piece: Sha256) {
        self.progress.logged(piece);
    }
}

/// One attempt, under way.
struct Attempt<'a> {
    work: &'a Work<'a>,
    cadence: Cadence,
    keys: OrderKeys,
    options: TreeOptions,
    started: Timestamp,
    interrupted: Interrupted,
    past: Arc<Past>,
    uploader: Uploader,
    run_key: RunKey,
    sealed_run_key: Vec<u8>,
}

/// Reads a volume, and stores it with its result.
///
/// # Errors
/// There is no result; [`BackupError::Stopped`] if `stop` came first. What has arrived in the store is used again by an
/// attempt that is told of [`WorkProgress::upload_log`].
pub async fn work(work: Work<'_>, stop: Stop<'_>) -> Result<Done, BackupError> {
    work_at(work, Cadence::TREES, stop).await
}

/// The same, with a say in how often what was sent is noted.
pub(crate) async fn work_at(
    work: Work<'_>,
    cadence: Cadence,
    mut stop: Stop<'_>,
) -> Result<Done, BackupError> {
    let begin = Attempt::begin(&work, cadence);
    let attempt = tokio::select! {
        biased;
        () = &mut stop => return Err(BackupError::Stopped),
        attempt = begin => attempt?,
    };
    attempt.run(stop).await
}

impl<'a> Attempt<'a> {
    async fn begin(work: &'a Work<'a>, mut cadence: Cadence) -> Result<Self, BackupError> {
        let order = work.order;
        let keys = order.keys()?;
        let options = order.options.tree().map_err(|e| BackupError::Order { why: e.to_string() })?;
        let started = work.clock.now();
        let seen = head::glance(&*work.store, order.head_seq).await?;
        let allowed: HashSet<Handle> = order.packs.iter().map(|p| p.handle).collect();
        let pieces: Vec<Sha256> = order.pieces.iter().copied().chain(work.resume).collect();
        let log = Some((pieces, keys.upload.clone()));
        let named = |h: &Handle| allowed.contains(h);
        let interrupted = resume::load(&*work.store, log, seen.newest_modified, &named).await?;
        if let Some(newest) = interrupted.pieces.first() {
            work.progress.logged(*newest);
        }
        let past = Past::load(PastOf {
            store: &work.store,
            keys: &keys.domain,
            log: order.past.as_ref(),
            allowed: allowed.clone(),
            interrupted: interrupted.clone(),
            upload_key: Some(keys.upload.clone()),
        });
        let past = Arc::new(past.await?);
        let run_key = RunKey::random();
        let sealed_run_key = seal::run_key(&order.recipient, &run_key)?;
        let rate = order.options.rate().map(Rate);
        if !interrupted.is_empty() || rate.is_some() {
            // It was interrupted once, or takes long on purpose: it may be interrupted again.
            cadence.pause = Duration::ZERO;
        }
        let uploader = Uploader::new(work.store.clone(), seen.store_time, rate);
        Ok(Self {
            work,
            cadence,
            keys,
            options,
            started,
            interrupted,
            past,
            uploader,
            run_key,
            sealed_run_key,
        })
    }

    fn sending(&self) -> Sending<Noted> {
        let last = self.interrupted.pieces.first().copied();
        let log = UploadLog::new(self.sealed_run_key.clone(), self.started, self.cadence, last);
        let (run, key) = (self.work.order.run, self.keys.upload.clone());
        let ledger = Noted { run, key, progress: self.work.progress.clone() };
        Sending::noted(self.uploader.clone(), self.work.clock.clone(), log, ledger)
    }

    fn flow(&self) -> Flow {
        Flow::begin(Begin {
            past: self.past.clone(),
            keys: TreeKeys {
                run: self.run_key.clone(),
                sealed_run_key: self.sealed_run_key.clone(),
                domain: self.keys.domain.clone(),
                alias: self.work.order.domain,
                sizes: self.keys.sizes,
            },
            root: self.work.root.to_owned(),
            options: self.options.clone(),
            progress: self.work.progress.tree.clone(),
            uploader: self.uploader.clone(),
            look: LOOK,
        })
    }

    async fn run(self, mut stop: Stop<'_>) -> Result<Done, BackupError> {
        let mut sending = self.sending();
        let mut flow = self.flow();
        loop {
            match flow.step(&mut sending, stop.as_mut()).await? {
                Step::More => {}
                Step::Done => break,
                Step::Stopped => {
                    flow.stop(&mut sending).await?;
                    return Err(BackupError::Stopped);
                }
            }
        }
        let walked = flow.walked().await?;
        // What is left takes seconds; who goes on from here finds all of it.
        sending.write_log().await?;
        tokio::select! {
            biased;
            () = &mut stop => Err(BackupError::Stopped),
            done = self.finish(sending, walked) => done,
        }
    }

    /// Writes lists, log and result.
    async fn finish(&self, mut sending: Sending<Noted>, walked: Walked) -> Result<Done, BackupError> {
        let Walked { tree, written } = walked;
        let order = self.work.order;
        let mut new = sending.wait().await?;
        // A file that changed while it was read may have left chunks behind.
        new.retain(|p| tree.needed.contains(&p.handle));
        let own: HashSet<Handle> = new.iter().map(|p| p.handle).collect();
        let old: HashSet<Handle> = tree.needed.difference(&own).copied().collect();
        let (resumed, mut reused) = self.interrupted.clone().split(old);
        let mut sizes: HashMap<Handle, (u64, u64)> =
            order.packs.iter().map(|p| (p.handle, (p.size, p.plain_bytes))).collect();
        let all = new.iter().chain(resumed.iter().map(|r| &r.pack));
        sizes.extend(all.map(|p| (p.handle, (p.size, p.plain_bytes))));
        let (lists, packs) = write_lists(&self.uploader, &self.sealed_run_key, &new, &resumed).await?;
        let of = left::Of {
            past: &self.past,
            keys: &self.keys.domain,
            domain: order.domain,
            started: self.started.as_second(),
            uploader: &self.uploader,
        };
        let Left { log, .. } = left::send(&of, &tree, written, |h| sizes.get(h).copied()).await?;
        let mut reused: Vec<Handle> = reused.drain().collect();
        reused.sort_unstable();
        let result = WorkResult {
            run: order.run,
            domain: order.domain,
            lists,
            packs,
            reused,
            root: tree.root,
            totals: Totals::of(&tree),
            log,
            told: Told::of(&tree.report),
            started: self.started.as_second(),
            finished: self.work.clock.now().as_second(),
            sent_bytes: self.uploader.sent_bytes(),
            sent_objects: self.uploader.sent_objects(),
        };
        let (name, sealed) = result.seal(self.work.key);
        log::send(&self.uploader, vec![(name, sealed)]).await?;
        Ok(Done { name, result })
    }
}
