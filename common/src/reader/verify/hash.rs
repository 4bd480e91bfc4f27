//! One file: does it hash to its name. Streams, so that its size costs no memory.

use crate::store::{SharedRead, StoreError, StoreErrorKind};
use futures::TryStreamExt as _;
use lifeboat_format::id::Sha256;

/// What a file should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) key: String,
    pub(super) sha256: Sha256,
    /// Bytes, where something signed says so.
    pub(super) size: Option<u64>,
    /// Longer ones are not read to their end, bytes.
    pub(super) limit: u64,
}

#[derive(Debug)]
pub(super) enum Outcome {
    Sound {
        bytes: u64,
    },
    Missing,
    /// Of a length it must not have.
    Length {
        seen: u64,
    },
    Altered {
        seen: Sha256,
    },
    Unreached(StoreError),
}

/// Hashes on a task of its own, so that several cores take part.
pub(super) async fn check(store: SharedRead, target: Target) -> (Target, Outcome) {
    let checked = target.clone();
    let task = tokio::spawn(async move { read(&store, &checked).await });
    let outcome = task.await.expect("hashing does not panic");
    let outcome = outcome.unwrap_or_else(|e| match e.kind {
        StoreErrorKind::NotFound => Outcome::Missing,
        _ => Outcome::Unreached(e),
    });
    (target, outcome)
}

async fn read(store: &SharedRead, target: &Target) -> Result<Outcome, StoreError> {
    let (entry, mut body) = store.get_stream(&target.key).await?;
    let wrong = target.size.is_some_and(|size| size != entry.size) || entry.size > target.limit;
    if wrong {
        return Ok(Outcome::Length { seen: entry.size });
    }
    let mut hasher = ring::digest::Context::new(&ring::digest::SHA256);
    let mut bytes = 0;
    while let Some(piece) = body.try_next().await? {
        bytes += piece.len() as u64;
        if bytes > entry.size {
            return Ok(Outcome::Length { seen: bytes });
        }
        hasher.update(&piece);
    }
    if bytes < entry.size {
        let detail = format!("{bytes} of {} bytes came", entry.size);
        return Err(StoreError::new(StoreErrorKind::Unavailable, "get", &target.key, detail));
    }
    let mut seen = [0; 32];
    seen.copy_from_slice(hasher.finish().as_ref());
    let seen = Sha256(seen);
    Ok(if seen == target.sha256 { Outcome::Sound { bytes } } else { Outcome::Altered { seen } })
}
