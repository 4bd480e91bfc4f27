//! The command's side: seals the grant to the worker, answers its reads, and believes nothing that it says: it is given
//! ranges of the packs that it was granted, and nothing else.

use super::frame::{FrameError, read_frame, write_frame};
use super::grant::{Grant, GrantError};
use super::message::{FromWorker, PART_MAX, READS_MAX, ToWorker, VERSION, Why, decode, encode};
use super::{ALIVE, QUIET};
use crate::cluster::text::clean;
use crate::tree::restore::Report;
use lifeboat_common::store::{SharedRead, StoreError, StoreErrorKind};
use lifeboat_format::id::Sha256;
use lifeboat_format::{layout, limits};
use std::collections::HashMap;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Frames on their way to the worker.
const OUTGOING: usize = 16;
/// The longest text of a worker that is passed on, bytes.
const TEXT_MAX: usize = 2000;
/// A worker that began says so within this time.
const FIRST_WORD: Duration = Duration::from_secs(60);

/// Why a volume was not filled.
#[derive(Debug, thiserror::Error)]
pub enum FillError {
    /// Passes: another worker goes on.
    #[error("The worker is gone: {0}")]
    Lost(String),
    #[error("The worker failed: {message}")]
    Failed { message: String, passing: bool },
    #[error("The worker {0}; what runs in its place is not to be trusted, or another version")]
    Refused(String),
    #[error("Cannot give the worker its keys: {0}")]
    Grant(#[from] GrantError),
}

impl FillError {
    /// Whether another worker may do better.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Lost(_) | Self::Failed { passing: true, .. })
    }
}

/// What one worker is served with.
pub struct Serving<'a> {
    /// Where the packs are.
    pub store: SharedRead,
    pub grant: &'a Grant,
    /// Told how many bytes of content are in place.
    pub progress: &'a (dyn Fn(u64) + Send + Sync),
}

impl std::fmt::Debug for Serving<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Serving").field("store", &self.store).finish_non_exhaustive()
    }
}

/// Serves one worker until its last word.
///
/// # Errors
/// It is gone, it fails, or it asks for what it was not given.
pub async fn serve<R, W>(mut input: R, output: W, serving: Serving<'_>) -> Result<Report, FillError>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin + Send + 'static,
{
    let (frames, outgoing) = mpsc::channel(OUTGOING);
    let mut tasks = JoinSet::new();
    tasks.spawn(write(output, outgoing));
    tasks.spawn(be_there(frames.clone()));
    // Dropping the tasks ends them all.
    let hello = next(&mut input, FIRST_WORD).await?;
    let sealed = serving.grant.seal(&recipient(hello)?)?;
    tasks.spawn(give(frames.clone(), sealed));
    let packs: HashMap<Sha256, u64> =
        serving.grant.tree.packs.iter().map(|p| (p.pack.sha256, p.pack.size)).collect();
    let mut reads = JoinSet::new();
    loop {
        while reads.try_join_next().is_some() {}
        match next(&mut input, QUIET).await? {
            FromWorker::Progress { bytes } => (serving.progress)(bytes),
            FromWorker::Done { report } => {
                return serde_json::from_slice(&report)
                    .map_err(|e| refused(&format!("reports nonsense ({e})")));
            }
            FromWorker::Failed { message, passing } => {
                return Err(FillError::Failed { message: clean(&message, TEXT_MAX), passing });
            }
            FromWorker::Hello { .. } => return Err(refused("says twice who it is")),
            FromWorker::Read { .. } | FromWorker::Size { .. } if reads.len() >= READS_MAX => {
                return Err(refused("asks for more at a time than it may"));
            }
            FromWorker::Read { id, pack, offset, length } => {
                let Some(size) = packs.get(&pack) else { return Err(foreign()) };
                // One byte more, so that a pack that is too long is noticed.
                let length = length.min((size + 1).saturating_sub(offset)).min(limits::PACK_MAX);
                let wanted = Wanted { id, key: layout::pack(&pack), offset, length };
                reads.spawn(answer(serving.store.clone(), wanted, frames.clone()));
            }
            FromWorker::Size { id, pack } => {
                if !packs.contains_key(&pack) {
                    return Err(foreign());
                }
                reads.spawn(look(serving.store.clone(), id, layout::pack(&pack), frames.clone()));
            }
        }
    }
}

fn refused(what: &str) -> FillError {
    FillError::Refused(what.to_owned())
}

fn foreign() -> FillError {
    refused("asks for a pack that is not of its volume")
}

/// Who the worker says that it is.
fn recipient(hello: FromWorker) -> Result<String, FillError> {
    match hello {
        FromWorker::Hello { version: VERSION, recipient, .. } => Ok(recipient),
        FromWorker::Hello { version, program, .. } => Err(FillError::Refused(format!(
            "is of version {} and speaks version {version} of the protocol, and this command version {VERSION}: give its image with --fill-image",
            clean(&program, 64)
        ))),
        FromWorker::Failed { message, passing } => {
            Err(FillError::Failed { message: clean(&message, TEXT_MAX), passing })
        }
        _ => Err(refused("does not begin as it should")),
    }
}

async fn next(input: &mut (impl AsyncRead + Unpin), within: Duration) -> Result<FromWorker, FillError> {
    let lost = |why: String| FillError::Lost(why);
    let frame = timeout(within, read_frame(input)).await;
    let frame = frame.map_err(|_| lost(format!("it said nothing for {} s", within.as_secs())))?;
    let frame = frame.map_err(|e| match e {
        FrameError::TooLong(_) => FillError::Refused(e.to_string()),
        e => lost(e.to_string()),
    })?;
    decode(&frame).ok_or_else(|| refused("says what has no meaning"))
}

async fn write(mut output: impl AsyncWrite + Unpin, mut outgoing: mpsc::Receiver<Vec<u8>>) {
    while let Some(frame) = outgoing.recv().await {
        if write_frame(&mut output, &frame).await.is_err() {
            return;
        }
    }
}

async fn be_there(frames: mpsc::Sender<Vec<u8>>) {
    loop {
        tokio::time::sleep(ALIVE).await;
        if frames.send(encode(&ToWorker::Alive)).await.is_err() {
            return;
        }
    }
}

async fn give(frames: mpsc::Sender<Vec<u8>>, sealed: Vec<u8>) {
    let count = sealed.len().div_ceil(PART_MAX);
    for (n, part) in sealed.chunks(PART_MAX).enumerate() {
        let grant = ToWorker::Grant { part: part.to_vec().into(), last: n + 1 == count };
        if frames.send(encode(&grant)).await.is_err() {
            return;
        }
    }
}

struct Wanted {
    id: u32,
    key: String,
    offset: u64,
    length: u64,
}

async fn answer(store: SharedRead, wanted: Wanted, frames: mpsc::Sender<Vec<u8>>) {
    let id = wanted.id;
    let bytes = match store.get_range(&wanted.key, wanted.offset, wanted.length).await {
        Ok(bytes) => bytes,
        Err(e) => {
            let _gone = frames.send(encode(&refusal(id, &e))).await;
            return;
        }
    };
    let count = bytes.len().div_ceil(PART_MAX).max(1);
    for n in 0..count {
        let part = bytes.get(n * PART_MAX..bytes.len().min((n + 1) * PART_MAX)).unwrap_or_default();
        let data = ToWorker::Data { id, part: part.to_vec().into(), last: n + 1 == count };
        if frames.send(encode(&data)).await.is_err() {
            return;
        }
    }
}

async fn look(store: SharedRead, id: u32, key: String, frames: mpsc::Sender<Vec<u8>>) {
    let answer = match store.head(&key).await {
        Ok(entry) => ToWorker::Size { id, bytes: entry.map(|e| e.size) },
        Err(e) => refusal(id, &e),
    };
    let _gone = frames.send(encode(&answer)).await;
}

fn refusal(id: u32, error: &StoreError) -> ToWorker {
    let why = match error.kind {
        StoreErrorKind::NotFound => Why::NotFound,
        StoreErrorKind::Denied => Why::Denied,
        kind if kind.is_transient() => Why::Unavailable,
        _ => Why::Invalid,
    };
    ToWorker::Refused { id, why, message: clean(&error.to_string(), TEXT_MAX) }
}
