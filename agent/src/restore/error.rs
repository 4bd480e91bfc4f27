//! Why a restore cannot go on. What fails for one object is in the report, not here.

use super::journal::JournalError;
use super::source::SourceError;
use crate::cluster::ClusterError;
use crate::cluster::write::WriteError;

/// A restore stopped.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    #[error(transparent)]
    Cluster(Box<ClusterError>),
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error("Cannot fill the volumes: {detail}; run the same command again: it goes on where it stopped")]
    Volumes { detail: String },
    #[error("Cannot restore the selection: {detail}")]
    Selection { detail: String },
}

impl From<ClusterError> for RestoreError {
    fn from(error: ClusterError) -> Self {
        Self::Cluster(Box::new(error))
    }
}
