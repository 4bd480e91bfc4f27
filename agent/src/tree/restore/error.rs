//! What ends a restore before its time. What concerns one file only is in the report instead.

use lifeboat_common::reader::{ReadError, shown};
use rustix::io::Errno;
use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    #[error("Cannot {action} {path}: {source}{next}")]
    Io { action: &'static str, path: PathBuf, source: std::io::Error, next: &'static str },
    #[error(
        "The disk is full: cannot {action} {path} ({source}). What was complete stays; free some space, or take another disk, and run the same command again: it goes on from there"
    )]
    Full { action: &'static str, path: String, source: std::io::Error },
    #[error(
        "The disk fails: cannot {action} {path} ({source}). What was complete stays; see what the system says of the disk, and run the same command again"
    )]
    Disk { action: &'static str, path: String, source: std::io::Error },
    #[error("Another extract is writing to {path}; wait for it to end, or give another folder")]
    InUse { path: PathBuf },
    #[error(
        "It was interrupted. What was complete stays; run the same command again, and it goes on from there"
    )]
    Interrupted,
    #[error("{0}; what was complete stays, and the same command goes on from there")]
    Read(#[from] ReadError),
    #[error(
        "The tree has more directories than can be restored at once; restore parts of it, by their paths"
    )]
    TooMany,
    #[error("Something in the program broke while writing files; please report it")]
    Broken,
}

impl RestoreError {
    pub(super) fn io(action: &'static str, path: &Path, source: impl Into<std::io::Error>) -> Self {
        Self::Io { action, path: path.to_owned(), source: source.into(), next: "" }
    }

    /// What no further file escapes either: a full or failing disk.
    pub(super) fn of_disk(action: &'static str, path: &[u8], errno: Errno) -> Option<Self> {
        let (path, source) = (shown(path), std::io::Error::from(errno));
        match errno {
            Errno::NOSPC | Errno::DQUOT => Some(Self::Full { action, path, source }),
            Errno::IO | Errno::ROFS => Some(Self::Disk { action, path, source }),
            _ => None,
        }
    }
}
