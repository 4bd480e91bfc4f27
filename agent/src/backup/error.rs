//! Why a run made no snapshot.

use super::head::HeadError;
use super::resume::ResumeError;
use super::setup::SetupError;
use super::state::StateError;
use crate::cluster::ClusterError;
use crate::select::RuleError;
use crate::tree::TreeError;
use lifeboat_common::store::StoreError;
use lifeboat_format::FormatError;

#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error(transparent)]
    Setup(#[from] SetupError),
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Head(#[from] HeadError),
    #[error(transparent)]
    Format(#[from] FormatError),
    #[error("The charter names no epoch to seal to; run `lifeboat rotate`")]
    NoEpoch,
    #[error("The state file lacks a key; move it away to store everything anew")]
    NoKey,
    #[error(
        "The work order cannot be used: {why}; nodes and controller must be of versions that know each other"
    )]
    Order { why: String },
    #[error("The run report cannot be stored: {why}")]
    Report { why: String },
    #[error(
        "Other runs committed under this one {attempts} times; see who else writes to this repository, then try again"
    )]
    Overtaken { attempts: usize },
    #[error(transparent)]
    Tree(#[from] TreeError),
    #[error(transparent)]
    Rule(#[from] RuleError),
    #[error("The run was stopped; no snapshot was made, and the next one goes on from what was sent")]
    Stopped,
}

impl From<ResumeError> for BackupError {
    fn from(error: ResumeError) -> Self {
        match error {
            ResumeError::Store(e) => Self::Store(e),
            ResumeError::State(e) => Self::State(e),
        }
    }
}

impl BackupError {
    /// A stable CamelCase word for conditions and metrics.
    #[must_use]
    pub fn reason(&self) -> &str {
        match self {
            Self::Setup(_) => "Configuration",
            Self::Cluster(e) => e.reason(),
            Self::Store(e) | Self::Head(HeadError::Store(e)) => e.kind.reason(),
            Self::State(_) => "State",
            Self::Head(_) => "Chain",
            Self::Format(e) => e.reason(),
            Self::NoEpoch | Self::NoKey => "Keys",
            Self::Order { .. } => "Order",
            Self::Report { .. } => "Report",
            Self::Overtaken { .. } => "Overtaken",
            Self::Tree(_) => "Tree",
            Self::Rule(_) => "InvalidSelection",
            Self::Stopped => "Stopped",
        }
    }
}
