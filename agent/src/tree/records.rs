//! What a run hands to its successor about each entry, and what it is handed by its predecessor. Owns the traits;
//! how records are kept, sealed and found is not its business.

use super::index::ChunkIndex;
use jiff::Timestamp;
use lifeboat_format::id::PathHash;
use lifeboat_format::volume_log::Record;

/// What the last run of this volume left. Asked in walk order, by one thread.
pub trait Remembered: Send {
    /// When that run started: an entry whose ctime is not at least 2 s older may have changed unnoticed, and is read
    /// again. None: nothing is remembered, and nothing below is asked.
    fn started(&self) -> Option<Timestamp>;

    /// Goes to a directory (`PathHash` of its path; the root's is of the empty path). Called once for each
    /// directory that has entries, in walk order, before its entries.
    fn directory(&mut self, directory: &PathHash);

    /// The record of an entry of the directory gone to last (the root itself has none), in the order of names, each
    /// asked at most once; those that are not asked for are gone. Records that continue are joined into one. None
    /// costs a reading, never an error.
    fn record(&mut self, name: &PathHash) -> Option<Record>;
}

/// Nothing remembered: the first run.
#[derive(Debug, Clone, Copy, Default)]
pub struct Nothing;

impl Remembered for Nothing {
    fn started(&self) -> Option<Timestamp> {
        None
    }
    fn directory(&mut self, _: &PathHash) {}
    fn record(&mut self, _: &PathHash) -> Option<Record> {
        None
    }
}

/// Chunks that may be named again although they come from elsewhere than their record says. Both may take their time
/// (they read the old log); other threads wait.
pub trait PastChunks: Sync {
    /// Puts the pages of the old map, and lists of references, into the index. Called at most once, before the first
    /// page is looked up.
    fn pages(&self, index: &ChunkIndex);

    /// Puts all chunks of content into the index. Called at most once, by the first thread that read something new.
    fn content(&self, index: &ChunkIndex);
}

impl PastChunks for Nothing {
    fn pages(&self, _: &ChunkIndex) {}
    fn content(&self, _: &ChunkIndex) {}
}

/// Takes the records of this run, in walk order, on the thread that called `store_tree`.
pub trait RecordSink {
    /// Begins a directory that has entries.
    fn directory(&mut self, directory: &PathHash);
    /// An entry of that directory, of any kind, in the order of names. Entries that were missed have none. `lists` and
    /// the flags CONTINUES and RACY are not set.
    fn record(&mut self, record: Record);
}
