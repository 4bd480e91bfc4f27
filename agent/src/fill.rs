//! Filling a volume where it is mounted: the worker writes, the administrator's command gives it sealed packs and the
//! keys of exactly those, over one pair of streams.
//!
//! The worker makes a key in memory and says its public half; the command seals to it the root of the tree and the keys
//! of the packs that the selection needs ([`Grant`]): no identity, no epoch, no run key. Then the worker asks for
//! ranges of packs by name, checks what it opens by AEAD and digests, and writes with [`crate::tree::restore`]. Whoever
//! takes a worker over can open its own volume's packs and nothing else. Knows no Kubernetes.

mod frame;
mod grant;
mod message;
mod relay;
mod serve;
mod worker;

pub use frame::{FRAME_MAX, FrameError, read_frame, write_frame};
pub use grant::{Grant, GrantError};
pub use message::{FromWorker, PART_MAX, READS_MAX, ToWorker, VERSION};
pub use serve::{FillError, Serving, serve};
pub use worker::{WorkerError, work};

use crate::tree::restore::Report;
use std::time::Duration;

/// How often each side says that it is there.
const ALIVE: Duration = Duration::from_secs(5);
/// The worker takes the command for gone after so long without a word.
const SILENCE: Duration = Duration::from_secs(90);
/// The command takes a worker for gone after so long. Shorter, because another worker goes on where one was: where a
/// process is killed with its standard input full, a node may keep its streams open though nobody is there any more.
const QUIET: Duration = Duration::from_secs(30);

/// Whether a volume that was filled so has all of its content.
#[must_use]
pub fn is_whole(report: &Report) -> bool {
    report.failed.total == 0 && report.below_failed == 0
}

#[cfg(test)]
mod tests;
