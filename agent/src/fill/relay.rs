//! The worker's store: every read is asked of the command on the other side of the streams. Holds packs of the grant and
//! nothing else, and can change nothing.

use super::message::{FromWorker, READS_MAX, ToWorker, Why, encode};
use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use lifeboat_common::store::{Body, Entry, Listing, ReadStore, Result, StoreError, StoreErrorKind};
use lifeboat_format::id::Sha256;
use lifeboat_format::limits;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::{Semaphore, mpsc, oneshot};

/// Requests under way: below what the command allows.
const REQUESTS: usize = READS_MAX / 2;

/// A store that is a conversation.
#[derive(Debug)]
pub(super) struct Relay {
    frames: mpsc::Sender<Vec<u8>>,
    waiting: Mutex<Option<HashMap<u32, Waiting>>>,
    next: AtomicU32,
    requests: Semaphore,
}

/// A request that was sent.
#[derive(Debug)]
struct Waiting {
    got: Vec<u8>,
    /// Bytes.
    wanted: usize,
    answer: oneshot::Sender<Result<Answer>>,
}

#[derive(Debug)]
enum Answer {
    Data(Bytes),
    Size(Option<u64>),
}

impl Relay {
    pub(super) fn new(frames: mpsc::Sender<Vec<u8>>) -> Self {
        let waiting = Mutex::new(Some(HashMap::new()));
        Self { frames, waiting, next: AtomicU32::new(0), requests: Semaphore::new(REQUESTS) }
    }

    fn waiting(&self) -> MutexGuard<'_, Option<HashMap<u32, Waiting>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes an answer in; false where nobody asked, or for less.
    pub(super) fn take(&self, message: ToWorker) -> bool {
        let mut waiting = self.waiting();
        let Some(waiting) = waiting.as_mut() else { return true };
        match message {
            ToWorker::Data { id, part, last } => {
                let Some(asked) = waiting.get_mut(&id) else { return false };
                if asked.got.len() + part.len() > asked.wanted {
                    return false;
                }
                asked.got.extend_from_slice(&part);
                if last && let Some(asked) = waiting.remove(&id) {
                    let _gave_up = asked.answer.send(Ok(Answer::Data(asked.got.into())));
                }
                true
            }
            ToWorker::Size { id, bytes } => answer(waiting, id, Ok(Answer::Size(bytes))),
            ToWorker::Refused { id, why, message } => {
                let kind = match why {
                    Why::NotFound => StoreErrorKind::NotFound,
                    Why::Denied => StoreErrorKind::Denied,
                    Why::Unavailable => StoreErrorKind::Unavailable,
                    Why::Invalid => StoreErrorKind::Invalid,
                };
                answer(waiting, id, Err(StoreError::new(kind, "read", "the repository", message)))
            }
            _ => false,
        }
    }

    /// The other side is gone: whoever waits is told, and whoever asks from now on.
    pub(super) fn close(&self) {
        let waiting = self.waiting().take();
        for (_, asked) in waiting.into_iter().flatten() {
            let _gave_up = asked.answer.send(Err(gone()));
        }
    }

    async fn ask(&self, wanted: u64, request: impl FnOnce(u32) -> FromWorker) -> Result<Answer> {
        let wanted = usize::try_from(wanted.min(limits::PACK_MAX)).unwrap_or(usize::MAX);
        let _permit = self.requests.acquire().await.map_err(|_| gone())?;
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (tell, told) = oneshot::channel();
        match self.waiting().as_mut() {
            Some(waiting) => {
                let got = Vec::with_capacity(wanted);
                waiting.insert(id, Waiting { got, wanted, answer: tell });
            }
            None => return Err(gone()),
        }
        self.frames.send(encode(&request(id))).await.map_err(|_| gone())?;
        told.await.unwrap_or_else(|_| Err(gone()))
    }

    async fn read(&self, key: &str, offset: u64, length: u64) -> Result<Bytes> {
        let pack = pack_of(key)?;
        let request = |id| FromWorker::Read { id, pack, offset, length };
        match self.ask(length, request).await? {
            Answer::Data(bytes) => Ok(bytes),
            Answer::Size(_) => Err(wrong(key)),
        }
    }
}

fn answer(waiting: &mut HashMap<u32, Waiting>, id: u32, answer: Result<Answer>) -> bool {
    let Some(asked) = waiting.remove(&id) else { return false };
    let _gave_up = asked.answer.send(answer);
    true
}

fn gone() -> StoreError {
    StoreError::new(StoreErrorKind::Unavailable, "read", "the repository", "the command is gone")
}

fn wrong(key: &str) -> StoreError {
    StoreError::new(StoreErrorKind::Protocol, "read", key, "the command answered something else")
}

/// The pack that a key of the store names: `packs/<aa>/<sha256>`.
fn pack_of(key: &str) -> Result<Sha256> {
    let name = key.rsplit('/').next().filter(|_| key.starts_with("packs/"));
    name.and_then(|name| name.parse().ok()).ok_or_else(|| {
        StoreError::new(StoreErrorKind::Invalid, "read", key, "a worker reads packs and nothing else")
    })
}

#[async_trait]
impl ReadStore for Relay {
    async fn get(&self, key: &str, max_bytes: u64) -> Result<Bytes> {
        // The reader knows how long its packs are, and asks for no more.
        let bytes = self.read(key, 0, max_bytes.saturating_add(1).min(limits::PACK_MAX)).await?;
        if bytes.len() as u64 > max_bytes {
            let detail = "it is longer than expected";
            return Err(StoreError::new(StoreErrorKind::TooLarge, "read", key, detail));
        }
        Ok(bytes)
    }

    async fn get_range(&self, key: &str, offset: u64, length: u64) -> Result<Bytes> {
        self.read(key, offset, length.min(limits::PACK_MAX)).await
    }

    async fn get_stream(&self, key: &str) -> Result<(Entry, Body)> {
        Err(StoreError::new(StoreErrorKind::Invalid, "read", key, "a worker reads ranges"))
    }

    async fn head(&self, key: &str) -> Result<Option<Entry>> {
        let pack = pack_of(key)?;
        match self.ask(0, |id| FromWorker::Size { id, pack }).await? {
            Answer::Size(size) => {
                let entry = |size| Entry { key: key.to_owned(), size, modified: Timestamp::UNIX_EPOCH };
                Ok(size.map(entry))
            }
            Answer::Data(_) => Err(wrong(key)),
        }
    }

    async fn list(&self, prefix: &str, _: Option<&str>, _: usize) -> Result<Listing> {
        Err(StoreError::new(StoreErrorKind::Invalid, "list", prefix, "a worker lists nothing"))
    }

    fn describe(&self) -> String {
        "the repository".to_owned()
    }
}
