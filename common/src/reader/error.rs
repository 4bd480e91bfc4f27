//! What can go wrong while reading a repository, told apart by what helps: try again, look for another copy, use
//! another key.

use crate::store::{StoreError, StoreErrorKind};
use crate::trust::TrustError;
use lifeboat_format::id::Handle;

#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Trust(#[from] TrustError),
    #[error(
        "{key} is missing from {store}; look for it in another copy of this repository (the vault or the primary)"
    )]
    Missing { store: String, key: String },
    #[error("{key} in {store} is damaged: {why}; look for it in another copy of this repository")]
    Damaged { store: String, key: String, why: String },
    /// What was opened contradicts itself: the writer is at fault, not the store.
    #[error(
        "Snapshot {seq} contradicts itself: {why}; the agent that wrote it is at fault, use another snapshot"
    )]
    Snapshot { seq: u64, why: String },
    #[error(
        "Snapshot {seq} refers to the pack with handle {handle}, which its manifest does not name; use another snapshot"
    )]
    UnnamedPack { seq: u64, handle: Handle },
    #[error(
        "This identity opens none of the {epochs} epochs of the repository ({why}); use the identity of an administrator that the charter seals to"
    )]
    WrongIdentity { epochs: usize, why: String },
    #[error("No epoch at hand opens {key}{why}; use an identity that opens the epoch it was sealed to")]
    NoEpoch { key: String, why: String },
    #[error(
        "No charter is in {store}; give the folder that holds the repository's clusters, or one cluster's folder"
    )]
    NoCharter { store: String },
    /// A failure with the thing it touches.
    #[error("Cannot read {path}: {source}")]
    At { path: String, source: Box<ReadError> },
}

impl ReadError {
    /// Whether the same call may go through later: nothing is known to be wrong with the bytes.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Store(e) | Self::Trust(TrustError::Store(e)) => e.kind.is_transient(),
            Self::At { source, .. } => source.is_transient(),
            _ => false,
        }
    }

    /// Whether bytes are missing or wrong, as opposed to not reached, not allowed or not for this key.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Missing { .. }
            | Self::Damaged { .. }
            | Self::Snapshot { .. }
            | Self::UnnamedPack { .. } => true,
            Self::At { source, .. } => source.is_damage(),
            _ => false,
        }
    }

    /// The key in the store that is at fault, where one is.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        match self {
            Self::Missing { key, .. } | Self::Damaged { key, .. } => Some(key),
            Self::At { source, .. } => source.key(),
            _ => None,
        }
    }

    /// The object or file that the failure touches, where one is known.
    #[must_use]
    pub fn path(&self) -> Option<&str> {
        match self {
            Self::At { path, .. } => Some(path),
            _ => None,
        }
    }

    /// The same failure, with the path of the object that it touches.
    #[must_use]
    pub fn at(self, path: impl Into<String>) -> Self {
        Self::At { path: path.into(), source: Box::new(self) }
    }
}

/// A failed read of `key`: absent and oversized are facts about the repository, the rest about the store.
pub(super) fn of_store(store: &str, key: &str, error: StoreError) -> ReadError {
    match error.kind {
        StoreErrorKind::NotFound => ReadError::Missing { store: store.to_owned(), key: key.to_owned() },
        StoreErrorKind::TooLarge => damaged(store, key, "it is longer than it can be"),
        _ => ReadError::Store(error),
    }
}

pub(super) fn damaged(store: &str, key: &str, why: impl std::fmt::Display) -> ReadError {
    ReadError::Damaged { store: store.to_owned(), key: key.to_owned(), why: why.to_string() }
}

/// The store gave fewer bytes than the object has.
pub(super) fn cut_short(key: &str) -> ReadError {
    StoreError::new(StoreErrorKind::Unavailable, "get", key, "the answer was cut short").into()
}
