//! Sends packs, lists and log pieces: a bounded number at a time, each created once, each with the store's time that
//! was noted before it was first sent (rule 3).

use bytes::Bytes;
use jiff::Timestamp;
use lifeboat_common::store::{CreateStore, SharedCreate, StoreError, StoreErrorKind};
use lifeboat_format::id::Sha256;
use lifeboat_format::{layout, limits};
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

/// Sealed bytes that may be on their way at a time.
const IN_FLIGHT_BYTES: usize = 32 << 20;
/// Transfers at a time.
const TRANSFERS: usize = 8;

/// The store, its clock as last heard, and what was sent.
#[derive(Debug, Clone)]
pub struct Uploader {
    store: SharedCreate,
    store_time: Arc<AtomicI64>,
    bytes: Arc<AtomicU64>,
    requests: Arc<AtomicU64>,
    room: Arc<Semaphore>,
    lanes: Arc<Semaphore>,
    limit: Option<Arc<Limit>>,
}

/// Objects of this size wait for their turn where a rate is set, bytes.
const QUEUED: usize = 1 << 20;

/// How fast may be sent, bytes a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate(pub NonZeroU64);

/// Lets one object after the other go when all before it have had their time (a leaky bucket, as a meter).
#[derive(Debug)]
struct Limit {
    rate: Rate,
    next: Mutex<Option<Instant>>,
}

impl Limit {
    async fn wait(&self, bytes: usize) {
        let takes = Duration::from_secs_f64(bytes as f64 / self.rate.0.get() as f64);
        let now = Instant::now();
        let until = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            let begins = next.map_or(now, |next| next.max(now));
            *next = Some(begins + takes);
            begins + takes
        };
        // Small ones are counted and do not queue: the log of what was sent must not come long after it.
        if bytes >= QUEUED {
            tokio::time::sleep_until(until.into()).await;
        }
    }
}

impl Uploader {
    /// `store_time` is the Date of an answer already received.
    #[must_use]
    pub fn new(store: SharedCreate, store_time: Timestamp, rate: Option<Rate>) -> Self {
        Self {
            store,
            store_time: Arc::new(AtomicI64::new(store_time.as_second())),
            bytes: Arc::default(),
            requests: Arc::default(),
            room: Arc::new(Semaphore::new(IN_FLIGHT_BYTES)),
            lanes: Arc::new(Semaphore::new(TRANSFERS)),
            limit: rate.map(|rate| Arc::new(Limit { rate, next: Mutex::new(None) })),
        }
    }

    /// Waits until so many bytes more may be on their way.
    pub async fn room(&self, bytes: usize) -> Room {
        let weight = u32::try_from(bytes.min(IN_FLIGHT_BYTES)).expect("a bound below 2^32");
        let room = self.room.clone().acquire_many_owned(weight).await;
        room.expect("the semaphore is never closed")
    }

    /// Takes in the Date of an answer that somebody else had.
    pub fn told(&self, time: Timestamp) {
        self.heard(time);
    }

    /// The store's time as last heard, seconds since 1970: noted for what is sent from now on.
    #[must_use]
    pub fn noted(&self) -> i64 {
        self.store_time.load(Ordering::Relaxed)
    }

    /// Sealed bytes sent so far.
    #[must_use]
    pub fn sent_bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Objects sent so far.
    #[must_use]
    pub fn sent_objects(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    #[must_use]
    pub fn store(&self) -> &dyn CreateStore {
        &*self.store
    }

    /// Creates an object named by its hash. That it is there already with these bytes is success.
    pub async fn create_named(&self, key: &str, bytes: Bytes, sha256: Sha256) -> Result<(), StoreError> {
        let len = bytes.len();
        if let Some(limit) = &self.limit {
            limit.wait(len).await;
        }
        match self.store.create(key, bytes.clone(), sha256.0).await {
            Ok(created) => self.heard(created.store_time),
            Err(e) if e.kind == StoreErrorKind::Exists => self.same_bytes(key, &bytes).await?,
            Err(e) => return Err(e),
        }
        self.bytes.fetch_add(len as u64, Ordering::Relaxed);
        self.requests.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    async fn same_bytes(&self, key: &str, bytes: &Bytes) -> Result<(), StoreError> {
        let there = self.store.get(key, limits::PACK_MAX).await?;
        if there == *bytes {
            return Ok(());
        }
        let why =
            "other bytes are there under a name that is the hash of ours; somebody else writes to this store";
        Err(StoreError::new(
            StoreErrorKind::Exists,
            "create",
            format!("{}/{key}", self.store.describe()),
            why,
        ))
    }

    fn heard(&self, time: Timestamp) {
        self.store_time.fetch_max(time.as_second(), Ordering::Relaxed);
    }
}

/// What a pack takes of the bytes that may be on their way at a time.
pub type Room = OwnedSemaphorePermit;

/// A pack on its way.
#[derive(Debug)]
pub struct Outgoing {
    pub bytes: Bytes,
    pub sha256: Sha256,
    /// `None`: it waits for it when it is sent.
    pub room: Option<Room>,
}

/// Packs under way; dropping it abandons them.
#[derive(Debug)]
pub struct PackSender {
    uploader: Uploader,
    tasks: JoinSet<Result<Sha256, StoreError>>,
}

impl PackSender {
    #[must_use]
    pub fn new(uploader: Uploader) -> Self {
        Self { uploader, tasks: JoinSet::new() }
    }

    /// Starts sending a pack, waiting while too much is under way; gives what has arrived meanwhile.
    pub async fn send(&mut self, pack: Outgoing) -> Result<Vec<Sha256>, StoreError> {
        let uploader = self.uploader.clone();
        let room = match pack.room {
            Some(room) => room,
            None => uploader.room(pack.bytes.len()).await,
        };
        self.tasks.spawn(async move {
            let _lane = uploader.lanes.acquire().await.expect("the semaphore is never closed");
            let key = layout::pack(&pack.sha256);
            uploader.create_named(&key, pack.bytes, pack.sha256).await?;
            drop(room);
            Ok(pack.sha256)
        });
        self.arrived()
    }

    /// What has arrived since the last look.
    fn arrived(&mut self) -> Result<Vec<Sha256>, StoreError> {
        let mut arrived = Vec::new();
        while let Some(done) = self.tasks.try_join_next() {
            arrived.push(finished(done)?);
        }
        Ok(arrived)
    }

    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Waits for one to arrive; `None` when none is under way. Nothing is lost when it is dropped before.
    pub async fn next(&mut self) -> Option<Result<Sha256, StoreError>> {
        self.tasks.join_next().await.map(finished)
    }

    /// Waits until everything has arrived.
    pub async fn wait(&mut self) -> Result<Vec<Sha256>, StoreError> {
        let mut arrived = Vec::new();
        while let Some(done) = self.tasks.join_next().await {
            arrived.push(finished(done)?);
        }
        Ok(arrived)
    }
}

fn finished(done: Result<Result<Sha256, StoreError>, tokio::task::JoinError>) -> Result<Sha256, StoreError> {
    done.unwrap_or_else(|e| {
        Err(StoreError::new(
            StoreErrorKind::Unclear,
            "create",
            "a pack",
            format!("its transfer ended early: {e}"),
        ))
    })
}
