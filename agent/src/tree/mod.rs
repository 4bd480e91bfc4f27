//! Turns a directory tree into packs and a sorted map: walk → read → chunk → seal → pack. Owns the threads, buffers and
//! order of that; knows nothing of stores, manifests, Kubernetes, or of how its memory of earlier runs is kept.
//!
//! One walker lists and stats in key order and matches what is remembered; readers take what is new or changed, put
//! small files straight into frames and hand the chunks of large ones to workers; the caller's thread puts entries
//! into the map in the walk's order, as soon as all before them are there. No step waits for a later one of its own:
//! a reader whose queue is full does the work itself.

mod chunks;
mod content;
mod context;
mod emit;
mod entry;
mod index;
mod links;
mod listing;
mod options;
mod pack;
mod read;
mod records;
mod report;
pub mod restore;
mod run;
mod shared;
mod statx;
mod walk;
mod windows;
mod xattrs;

pub use index::ChunkIndex;
pub use options::{Excludes, PatternError, TreeOptions};
pub use records::{Nothing, PastChunks, RecordSink, Remembered};
pub use report::{LISTED_MAX, Missed, Reason, StoredTree, TreeError, TreeProgress, TreeReport};
pub use run::store_tree;

use crate::backup::NewPack;
use lifeboat_format::chunker::ChunkSizes;
use lifeboat_format::crypto::derive::{DomainKeys, RunKey};
use lifeboat_format::id::ScopeAlias;
use std::sync::atomic::AtomicBool;

/// Keys and sizes of one volume's run.
#[derive(Debug, Clone)]
pub struct TreeKeys {
    pub run: RunKey,
    pub sealed_run_key: Vec<u8>,
    pub domain: DomainKeys,
    /// The domain's alias, for [`NewPack::domain`].
    pub alias: ScopeAlias,
    /// From the charter; checked.
    pub sizes: ChunkSizes,
}

/// Whoever took packs takes no more; it knows why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the run's packs are taken no more")]
pub struct SinkClosed;

/// Where sealed packs go. Called by several threads at once.
pub trait PackSink: Send + Sync {
    /// Takes a sealed pack of at most 16 MiB and a little; blocks while too much is under way.
    ///
    /// # Errors
    /// Ends the run with [`TreeError::Closed`]; nothing is offered again.
    fn take(&self, pack: NewPack) -> Result<(), SinkClosed>;
}

/// Everything that a run works with.
pub struct TreeRun<'a> {
    pub options: &'a TreeOptions,
    pub keys: &'a TreeKeys,
    pub memory: &'a mut dyn Remembered,
    pub past: &'a dyn PastChunks,
    pub packs: &'a dyn PackSink,
    pub records: &'a mut dyn RecordSink,
    pub progress: &'a TreeProgress,
    /// Set to end the run within about 100 ms, beside what the sink takes.
    pub cancel: &'a AtomicBool,
}

#[cfg(test)]
mod tests;
