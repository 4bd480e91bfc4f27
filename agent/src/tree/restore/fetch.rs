//! Brings sealed frames from the store, ahead of the threads that open them: pack by pack, neighbors with one request,
//! several requests at a time, within a budget of bytes. What cannot be read is asked for frame by frame, so that one
//! bad place in a pack costs no more than it holds.

use super::error::RestoreError;
use super::shared::Shared;
use super::window::{Unit, Window, units};
use super::work::{Job, StopIfBroken};
use crossbeam_channel::Sender;
use futures::{StreamExt as _, stream};
use lifeboat_common::reader::{BulkPack, ChunkReader, ReadError};
use std::ops::Range;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;

/// Sealed bytes that are fetched and not yet opened.
const BUDGET: usize = 20 << 20;
/// Requests under way.
const REQUESTS: usize = 16;
/// Packs opened ahead.
const PACKS_AHEAD: usize = 4;
/// Entries without content that one thread takes at a time.
const READY_BATCH: usize = 64;

/// Turns windows into jobs until there are no more.
pub(super) async fn fetch(
    chunks: Arc<ChunkReader>,
    mut windows: mpsc::Receiver<Window>,
    jobs: Sender<Job>,
    shared: Arc<Shared>,
) {
    let _guard = StopIfBroken(&shared);
    let budget = Arc::new(Semaphore::new(BUDGET));
    let mut requests = JoinSet::new();
    while let Some(mut window) = windows.recv().await {
        let ready = std::mem::take(&mut window.ready);
        for batch in ready.chunks(READY_BATCH) {
            give(&jobs, Job::Ready(batch.to_vec()));
        }
        let window = Arc::new(window);
        let runs = window.runs();
        let packs = stream::iter(runs).map(|(handle, range)| {
            let chunks = Arc::clone(&chunks);
            async move { (range, chunks.bulk(&handle).await) }
        });
        let mut packs = packs.buffered(PACKS_AHEAD);
        while let Some((range, pack)) = packs.next().await {
            if shared.stop.is_set() {
                break;
            }
            let asking =
                Asking { window: Arc::clone(&window), jobs: jobs.clone(), shared: Arc::clone(&shared) };
            match pack {
                Err(e) => asking.lost(range, e),
                Ok(pack) => ask(&asking, &pack, range, &budget, &mut requests).await,
            }
        }
    }
    while requests.join_next().await.is_some() {}
}

/// The threads are there until the last sender is gone.
fn give(jobs: &Sender<Job>, job: Job) {
    let _ = jobs.send(job);
}

async fn ask(
    asking: &Asking,
    pack: &BulkPack,
    range: Range<usize>,
    budget: &Arc<Semaphore>,
    requests: &mut JoinSet<()>,
) {
    let place = |n: u32| pack.frames().get(n as usize).map(|f| (f.offset, f.end()));
    let (units, lost) = units(&asking.window.pieces, range, place);
    for pieces in lost {
        asking.give_lost(pieces, "its pack has no frame of that number".to_owned());
    }
    for unit in units {
        // A frame is far smaller than the budget.
        let bytes = u32::try_from(unit.bytes.min(BUDGET as u64)).unwrap_or(u32::MAX);
        let Ok(budget) = Arc::clone(budget).acquire_many_owned(bytes).await else { return };
        while requests.len() >= REQUESTS {
            requests.join_next().await;
        }
        while requests.try_join_next().is_some() {}
        let (asking, pack) = (asking.clone(), pack.clone());
        requests.spawn(async move { asking.unit(&pack, unit, budget).await });
    }
}

/// One request's part of a window.
#[derive(Clone)]
struct Asking {
    window: Arc<Window>,
    jobs: Sender<Job>,
    shared: Arc<Shared>,
}

impl Asking {
    async fn unit(&self, pack: &BulkPack, unit: Unit, budget: OwnedSemaphorePermit) {
        let _guard = StopIfBroken(&self.shared);
        if self.shared.stop.is_set() {
            return;
        }
        match pack.fetch(unit.first, unit.last).await {
            Ok(sealed) => {
                let (window, pieces) = (Arc::clone(&self.window), unit.pieces);
                give(&self.jobs, Job::Frames { window, pieces, sealed, budget });
            }
            Err(e) if e.is_damage() && unit.first < unit.last => {
                self.frame_by_frame(pack, &unit, budget).await
            }
            Err(e) => self.lost(unit.pieces, e),
        }
    }

    async fn frame_by_frame(&self, pack: &BulkPack, unit: &Unit, mut budget: OwnedSemaphorePermit) {
        let mut from = unit.pieces.start;
        let pieces = self.window.pieces.get(unit.pieces.clone()).unwrap_or_default();
        for same in pieces.chunk_by(|a, b| a.frame == b.frame) {
            let pieces = from..from + same.len();
            from = pieces.end;
            let Some(frame) = same.first().map(|p| p.frame) else { continue };
            match pack.fetch(frame, frame).await {
                Ok(sealed) => {
                    let bytes = pack.frames().get(frame as usize).map_or(0, |f| f.sealed_len as usize);
                    let Some(budget) = budget.split(bytes.min(budget.num_permits())) else { return };
                    let window = Arc::clone(&self.window);
                    give(&self.jobs, Job::Frames { window, pieces, sealed, budget });
                }
                Err(e) => self.lost(pieces, e),
            }
        }
    }

    /// What is wrong with a pack concerns those files; what is wrong with the store or the key concerns all.
    fn lost(&self, pieces: Range<usize>, error: ReadError) {
        if error.is_damage() || matches!(error, ReadError::NoEpoch { .. }) {
            self.give_lost(pieces, error.to_string());
        } else {
            self.shared.stop.set(RestoreError::Read(error));
        }
    }

    fn give_lost(&self, pieces: Range<usize>, why: String) {
        give(&self.jobs, Job::Lost { window: Arc::clone(&self.window), pieces, why });
    }
}
