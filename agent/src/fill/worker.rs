//! The worker's side: says its key, takes its grant, writes the tree, makes sure that it is on the disk, and reports.

use super::frame::{FrameError, read_frame, write_frame};
use super::grant::{Grant, GrantError, SEALED_MAX};
use super::message::{FromWorker, ToWorker, VERSION, decode, encode};
use super::relay::Relay;
use super::{ALIVE, SILENCE};
use crate::tree::restore::{Chosen, Report, RestoreError, RestoreOptions, Restored, Root, Target, restore};
use lifeboat_common::progress::Progress;
use lifeboat_common::reader::{ReadError, Tree};
use lifeboat_common::store::SharedRead;
use lifeboat_format::crypto::open::OneTimeIdentity;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};

/// Frames on their way out.
const OUTGOING: usize = 64;
/// Between two words of progress.
const PACE: Duration = Duration::from_secs(1);
/// How long the last word may take to be on its way.
const LAST_WORD: Duration = Duration::from_secs(10);
/// How long a worker waits for one before it to let go of the directory.
const PREDECESSOR: Duration = Duration::from_secs(100);
/// Paths and failures that go into a report, and the length of each, bytes.
const NAMED_MAX: usize = 200;
const NAME_MAX: usize = 2000;

/// Why a worker ended before it was done.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    #[error("Cannot talk to the command that fills this volume: {0}; run that command again")]
    Frame(#[from] FrameError),
    #[error("Cannot use what the command gave: {0}; use the same version on both sides")]
    Grant(#[from] GrantError),
    #[error(
        "The command that fills this volume said something else than it should; use the same version on both sides"
    )]
    Protocol,
    #[error("{0}")]
    Restore(#[from] RestoreError),
    #[error("Cannot make sure that the volume is on the disk: {0}; see what the system says of the disk")]
    Sync(std::io::Error),
}

impl WorkerError {
    /// Whether another try may do better.
    fn is_passing(&self) -> bool {
        match self {
            Self::Frame(_) => true,
            Self::Restore(e) => match e {
                RestoreError::InUse { .. } | RestoreError::Interrupted => true,
                RestoreError::Read(read) => matches!(read, ReadError::Store(_)),
                _ => false,
            },
            _ => false,
        }
    }
}

/// Fills the directory `to`, as the command on the other side of the streams says. Says itself what went wrong; what it
/// gives is for its own log.
///
/// # Errors
/// The streams end, or the volume cannot be written.
pub async fn work<R, W>(input: R, output: W, to: &Path) -> Result<Report, WorkerError>
where
    R: AsyncRead + Unpin + Send + 'static,
    W: AsyncWrite + Unpin + Send + 'static,
{
    let (frames, outgoing) = mpsc::channel(OUTGOING);
    let writer = tokio::spawn(write(output, outgoing));
    let done = fill(input, &frames, to).await;
    let last = match &done {
        Ok(report) => {
            let report = serde_json::to_vec(&shortened(report.clone())).unwrap_or_default();
            FromWorker::Done { report: report.into() }
        }
        Err(e) => FromWorker::Failed { message: e.to_string(), passing: e.is_passing() },
    };
    // If nobody is there to hear it, there is nobody to tell either.
    let _nobody_hears = frames.send(encode(&last)).await;
    drop(frames);
    let _nobody_hears = timeout(LAST_WORD, writer).await;
    done
}

async fn write(mut output: impl AsyncWrite + Unpin, mut outgoing: mpsc::Receiver<Vec<u8>>) {
    while let Some(frame) = outgoing.recv().await {
        if write_frame(&mut output, &frame).await.is_err() {
            return;
        }
    }
}

async fn fill<R>(input: R, frames: &mpsc::Sender<Vec<u8>>, to: &Path) -> Result<Report, WorkerError>
where
    R: AsyncRead + Unpin + Send + 'static,
{
    let identity = OneTimeIdentity::generate();
    let hello = FromWorker::Hello {
        version: VERSION,
        recipient: identity.recipient(),
        program: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let gone = || WorkerError::Frame(FrameError::Closed);
    frames.send(encode(&hello)).await.map_err(|_| gone())?;
    let relay = Arc::new(Relay::new(frames.clone()));
    let cancel = Arc::new(AtomicBool::new(false));
    let (granted, grant) = oneshot::channel();
    let reading = tokio::spawn(read(input, Arc::clone(&relay), granted, Arc::clone(&cancel)));
    let progress = Progress::quiet();
    let telling = tokio::spawn(tell(frames.clone(), progress.clone()));
    let done = async {
        let sealed = grant.await.map_err(|_| gone())?;
        let grant = Grant::open(&identity, &sealed)?;
        drop(sealed);
        let target = open(to, &cancel).await?;
        let restored = write_tree(grant, relay.clone(), &target, cancel.clone(), progress).await;
        match restored.stopped {
            Some(why) => Err(why.into()),
            None => sync(to).await.map(|()| restored.report),
        }
    }
    .await;
    telling.abort();
    reading.abort();
    done
}

async fn write_tree(
    grant: Grant,
    relay: Arc<Relay>,
    target: &Arc<Target>,
    cancel: Arc<AtomicBool>,
    progress: Progress,
) -> Restored {
    let store: SharedRead = relay;
    let Grant { tree, path, devices } = grant;
    let tree = Tree::granted(store, tree);
    let chosen = if path.is_empty() { Chosen::All } else { Chosen::Path(path) };
    let options = RestoreOptions { devices, root: Root::Target, cancel, progress };
    restore(&tree, vec![chosen], target, options).await
}

/// Opens the directory; a worker before this one may still be ending.
async fn open(to: &Path, cancel: &AtomicBool) -> Result<Arc<Target>, RestoreError> {
    let since = Instant::now();
    loop {
        match Target::open(to) {
            Err(RestoreError::InUse { .. })
                if since.elapsed() < PREDECESSOR && !cancel.load(Ordering::Relaxed) =>
            {
                tokio::time::sleep(PACE).await;
            }
            opened => {
                // The volume is nobody's but this restore's.
                return opened.inspect(Target::remove_left_behind).map(Arc::new);
            }
        }
    }
}

/// Everything that was written is on the disk when this returns.
async fn sync(to: &Path) -> Result<(), WorkerError> {
    let to = to.to_owned();
    let synced = tokio::task::spawn_blocking(move || {
        let directory = std::fs::File::open(to)?;
        rustix::fs::syncfs(&directory)?;
        Ok(())
    });
    synced.await.expect("syncing does not panic").map_err(WorkerError::Sync)
}

/// Says how far it is, and that it is there.
async fn tell(frames: mpsc::Sender<Vec<u8>>, progress: Progress) {
    let (mut said, mut when) = (0, Instant::now());
    loop {
        tokio::time::sleep(PACE).await;
        let bytes = progress.done();
        if bytes == said && when.elapsed() < ALIVE {
            continue;
        }
        (said, when) = (bytes, Instant::now());
        if frames.send(encode(&FromWorker::Progress { bytes })).await.is_err() {
            return;
        }
    }
}

/// Takes in what the command says until it ends, and then ends everything.
async fn read(
    mut input: impl AsyncRead + Unpin,
    relay: Arc<Relay>,
    granted: oneshot::Sender<Vec<u8>>,
    cancel: Arc<AtomicBool>,
) {
    let (mut sealed, mut granted) = (Vec::new(), Some(granted));
    while let Ok(Ok(frame)) = timeout(SILENCE, read_frame(&mut input)).await {
        let Some(message) = decode::<ToWorker>(&frame) else { break };
        match message {
            ToWorker::Alive => {}
            ToWorker::Stop => break,
            ToWorker::Grant { part, last } => {
                if granted.is_none() || sealed.len() + part.len() > SEALED_MAX {
                    break;
                }
                sealed.extend_from_slice(&part);
                if last && let Some(granted) = granted.take() {
                    let _ended = granted.send(std::mem::take(&mut sealed));
                }
            }
            answer => {
                if !relay.take(answer) {
                    break;
                }
            }
        }
    }
    cancel.store(true, Ordering::Relaxed);
    relay.close();
}

/// Fits into a message, whatever the tree's names are.
fn shortened(mut report: Report) -> Report {
    for named in [&mut report.failed, &mut report.left_alone] {
        named.first.truncate(NAMED_MAX);
        for line in &mut named.first {
            let end = (0..=line.len().min(NAME_MAX)).rev().find(|i| line.is_char_boundary(*i));
            line.truncate(end.unwrap_or(0));
        }
    }
    report
}
