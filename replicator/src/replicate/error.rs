//! Why a source could not be pulled to its end. Each says what failed, on what, why, and what to do next.

use crate::alarm::AlarmKind;
use crate::catalog::CatalogError;
use crate::replicate::verify::Damage;
use crate::vault::VaultError;
use lifeboat_common::store::{StoreError, StoreErrorKind};

/// One object could not be had.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Vault(#[from] VaultError),
    #[error("{key} is not in the source")]
    Missing { key: String },
    #[error("{} is damaged: expected {}, found {}", .0.key, .0.expected, .0.seen)]
    Damaged(Damage),
}

#[derive(Debug, thiserror::Error)]
pub enum PullError {
    #[error("{source}; {next}", next = next_step(.source))]
    Store { source: StoreError },
    #[error(transparent)]
    Vault(#[from] VaultError),
    #[error(transparent)]
    Catalogue(#[from] CatalogError),
    #[error(
        "{store} holds no charter that the owner {fingerprint} signed for cluster {cluster}: {why}; {next}"
    )]
    NoCharter { store: String, cluster: String, fingerprint: String, why: String, next: String },
    #[error("Lost the thread that worked on {what}; run the pull again, and report this if it happens again")]
    Lost { what: &'static str },
}

impl From<StoreError> for PullError {
    fn from(source: StoreError) -> Self {
        Self::Store { source }
    }
}

impl PullError {
    /// The alarm that stands for it.
    #[must_use]
    pub fn kind(&self) -> AlarmKind {
        match self {
            Self::Store { source } if source.kind == StoreErrorKind::Denied => AlarmKind::Denied,
            Self::Store { .. } => AlarmKind::Unreachable,
            Self::Vault(error) if error.is_full() => AlarmKind::VaultFull,
            Self::Catalogue(error) if error.is_full() => AlarmKind::VaultFull,
            Self::Vault(VaultError::Damaged { .. }) => AlarmKind::VaultDamaged,
            Self::Vault(_) | Self::Catalogue(_) | Self::Lost { .. } => AlarmKind::VaultFailed,
            Self::NoCharter { .. } => AlarmKind::NoCharter,
        }
    }

    /// Whether this side is to blame.
    #[must_use]
    pub fn is_of_vault(&self) -> bool {
        matches!(self, Self::Vault(_) | Self::Catalogue(_) | Self::Lost { .. })
    }

    /// What happened, without the next step, which an alarm has beside it.
    #[must_use]
    pub fn why(&self) -> String {
        match self {
            Self::Store { source } => source.to_string(),
            other => other.to_string(),
        }
    }

    /// What to do, for the alarm.
    #[must_use]
    pub fn next(&self) -> &'static str {
        match self {
            Self::Store { source } => next_step(source),
            Self::Vault(error) if error.is_full() => "free some space; the next pull goes on from here",
            Self::Vault(VaultError::Damaged { .. }) => "run `lifeboat verify` on the vault",
            Self::Vault(_) | Self::Lost { .. } => {
                "see to the disk of the vault; the next pull goes on from here"
            }
            Self::Catalogue(error) if error.is_full() => "free some space; the next pull goes on from here",
            Self::Catalogue(_) => "run `lifeboat-replicator rebuild-catalogue`",
            Self::NoCharter { .. } => "compare repo, cluster and owner with repository.toml",
        }
    }
}

fn next_step(error: &StoreError) -> &'static str {
    match error.kind {
        StoreErrorKind::Denied => {
            "the replicator needs Get and List below this cluster's prefix, so check the credential and the policy"
        }
        StoreErrorKind::NotFound => "check repo, and that the bucket exists or the disk is mounted",
        StoreErrorKind::Throttled => {
            "the next pull goes on from here; pull less often or with fewer transfers"
        }
        StoreErrorKind::Invalid => "check repo and cluster in the configuration",
        StoreErrorKind::Protocol => {
            "look at the store, what it answers cannot be right; nothing was taken over from it"
        }
        _ => "nothing is lost, the next pull goes on from here",
    }
}
