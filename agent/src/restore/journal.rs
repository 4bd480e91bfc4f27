//! The restore's memory on disk: the intent before each POST, the UID after it, one line each. An
//! interrupted restore goes on from it; what a crash leaves between the two is settled by the field
//! manager, whose name holds the id in the first line. Knows no cluster.

mod lines;
mod writer;

pub use lines::{JournalKey, Line, Outcome};
pub use writer::{Extra, Journal, Settled};

use std::path::PathBuf;

/// A journal that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    #[error("Cannot {action} the restore journal {}: {source}; check the disk, then run the same command again", path.display())]
    Io { action: &'static str, path: PathBuf, source: std::io::Error },
    #[error("Cannot use the restore journal {}: another restore with the same snapshot, cluster and selection is running", path.display())]
    Locked { path: PathBuf },
    #[error("Cannot go on from the restore journal {}: line {line} is damaged ({detail}); move it away to begin anew, which leaves alone what exists", path.display())]
    Damaged { path: PathBuf, line: usize, detail: String },
    #[error("Cannot go on from the restore journal {}: it belongs to another restore; move it away", path.display())]
    Foreign { path: PathBuf },
}
