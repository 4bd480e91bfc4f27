//! Re-hashing everything that snapshots need in one store, without any key; with one, opening all of it too.
//!
//! Owns the order and the result. A store that does not answer is never taken for damage.

mod hash;
mod open;
mod plan;
mod receipts;
mod report;

use super::chain::{Snapshot, SnapshotList};
use super::error::ReadError;
use super::keyring::Keyring;
use super::repository::Repository;
use futures::{StreamExt as _, stream};
use std::sync::Arc;

pub use report::{Damage, DamageKind, Unchecked, VerifyReport};

/// How to verify.
#[derive(Debug, Clone)]
pub struct VerifyOptions {
    /// Objects read at a time.
    pub concurrency: usize,
    /// Opens every chunk as well.
    pub keyring: Option<Arc<Keyring>>,
}

impl Default for VerifyOptions {
    fn default() -> Self {
        Self { concurrency: 8, keyring: None }
    }
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Files hashed so far, and all there are.
    Hashed { files: u64, of_files: u64, bytes: u64, of_bytes: u64 },
    /// Entries of snapshots opened so far, and all there are in the snapshot at hand.
    Opened { seq: u64, entries: u64, of_entries: u64 },
}

/// Verifies what `snapshots` need, and what `list` says of the manifests.
pub async fn verify(
    repository: &Repository,
    list: &SnapshotList,
    snapshots: &[&Snapshot],
    options: &VerifyOptions,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<VerifyReport, ReadError> {
    let mut report = VerifyReport::new(snapshots);
    report.add_anomalies(list);
    let plan = plan::Plan::make(repository, snapshots, &mut report).await?;
    let (of_files, of_bytes) = plan.totals();
    let (mut files, mut bytes) = (0, 0);
    let mut checks = stream::iter(plan.targets())
        .map(|target| hash::check(Arc::clone(&repository.store), target))
        .buffer_unordered(options.concurrency.max(1));
    while let Some((target, outcome)) = checks.next().await {
        files += 1;
        bytes += target.size.unwrap_or_default();
        report.add(&target, outcome);
        progress(Progress::Hashed { files, of_files, bytes, of_bytes });
    }
    drop(checks);
    plan.name_snapshots(&mut report, snapshots);
    receipts::check(repository, list, &mut report).await?;
    if let Some(keyring) = &options.keyring {
        for snapshot in snapshots {
            open::check(repository, snapshot, keyring, &mut report, progress).await?;
        }
    }
    report.finish();
    Ok(report)
}
