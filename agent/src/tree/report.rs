//! What a tree became: counts, what could not be read, and how far a run is.

use lifeboat_format::id::Handle;
use lifeboat_format::pack::Reference;
use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;

/// Paths listed in a report; beyond it they are only counted.
pub const LISTED_MAX: usize = 1000;

/// A tree that is in packs, all of them taken by the sink.
#[derive(Debug, Clone, Default)]
pub struct StoredTree {
    /// Root page of its map. Always there: the root directory itself is an entry.
    pub root: Option<Reference>,
    /// Entries in the map, the root among them.
    pub entries: u64,
    /// Regular files among them.
    pub files: u64,
    /// Their sizes together, holes included.
    pub bytes: u64,
    /// Bytes read from files.
    pub read_bytes: u64,
    /// Plaintext bytes of new chunks, pages included.
    pub new_bytes: u64,
    /// Every pack that content or pages are in, old and new.
    pub needed: HashSet<Handle>,
    /// Pages of the map, and lists of references: not in any record.
    pub pages: Vec<Reference>,
    pub report: TreeReport,
}

/// What a person should know of a run. Paths are relative to the root, components joined by `/`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TreeReport {
    /// At most [`LISTED_MAX`], by path.
    pub missed: Vec<Missed>,
    pub missed_total: u64,
    /// Files that kept changing while they were read; stored. At most [`LISTED_MAX`].
    pub changing: Vec<Vec<u8>>,
    pub changing_total: u64,
    /// Entries left out by patterns and markers; what is below them is not counted.
    pub excluded: u64,
    /// Entries that were listed, and were gone when they were looked at.
    pub vanished: u64,
    /// Directories on which something else is mounted (stored empty), and files that are mounts (left out).
    pub mounts: u64,
}

impl TreeReport {
    pub(super) fn miss(&mut self, missed: Missed) {
        self.missed_total += 1;
        if self.missed.len() < LISTED_MAX {
            self.missed.push(missed);
        }
    }

    pub(super) fn note_changing(&mut self, path: Vec<u8>) {
        self.changing_total += 1;
        if self.changing.len() < LISTED_MAX {
            self.changing.push(path);
        }
    }
}

/// An entry, or what is in a directory, that is not in the snapshot as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missed {
    pub path: Vec<u8>,
    pub reason: Reason,
}

/// Why something was missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    #[error("it cannot be looked at: {0}")]
    Stat(rustix::io::Errno),
    #[error("it cannot be opened: {0}")]
    Open(rustix::io::Errno),
    #[error("it cannot be read: {0}")]
    Read(rustix::io::Errno),
    #[error("it cannot be listed, and what was not listed is not stored: {0}")]
    List(rustix::io::Errno),
    #[error("where it points cannot be read: {0}")]
    Target(rustix::io::Errno),
    #[error("its extended attributes cannot be read, and it is stored without them: {0}")]
    Xattrs(rustix::io::Errno),
    #[error("its extended attributes are too large, and it is stored without them")]
    XattrsTooLarge,
    #[error("its path is too long, and with it those of everything below it")]
    PathTooLong,
    #[error("it is too large: more chunks than an entry can name")]
    TooLarge,
    #[error("the directory has too many subdirectories, and the rest of them is stored empty")]
    TooManyDirectories,
    #[error("it became something else while it was read")]
    Replaced,
    #[error("it has attributes that no file system gives")]
    Attributes,
}

/// Why a tree was not stored.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    #[error("{} cannot be opened as a directory: {source}; give the directory to back up", path.display())]
    Root { path: PathBuf, source: std::io::Error },
    #[error(
        "a thread of the run cannot be started: {0}; raise the limit of processes, or give it more memory"
    )]
    Threads(std::io::Error),
    #[error("the run was canceled; nothing was committed, and it can be started again")]
    Canceled,
    /// The sink said so; it knows why.
    #[error("the run's packs could not be stored")]
    Closed,
    #[error("a thread of the run ended early; this is a bug, please report it with the log")]
    Broken,
}

/// How far a run is; read by whoever shows it. All in units or bytes, ascending.
#[derive(Debug, Default)]
pub struct TreeProgress {
    /// Entries that the walk has seen, and whether it has seen all (1).
    pub seen: AtomicU64,
    pub walked: AtomicU64,
    /// Sizes of the files among them.
    pub seen_bytes: AtomicU64,
    /// Entries, and bytes of files, that are in the map.
    pub done: AtomicU64,
    pub done_bytes: AtomicU64,
    /// Bytes read from files so far.
    pub read_bytes: AtomicU64,
    /// Plaintext bytes of new chunks.
    pub new_bytes: AtomicU64,
    /// Sealed bytes handed to the sink.
    pub packed_bytes: AtomicU64,
}
