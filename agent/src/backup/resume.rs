//! The upload log: what an interrupted run has sent already, so that the next one goes on. A piece is written at
//! least every 256 MiB or minute (rule 3); what came after the last piece is sent again.

use super::pack::NewPack;
use super::state::{Pending, State, StateError, StateFile};
use super::upload::Uploader;
use bytes::Bytes;
use jiff::Timestamp;
use lifeboat_common::store::{ReadStore, StoreError};
use lifeboat_format::id::{Handle, Sha256};
use lifeboat_format::send_log::{self, KnownChunk, KnownPack, UploadPiece};
use lifeboat_format::{layout, limits};
use std::collections::{HashMap, HashSet};

/// After so many sealed bytes a piece is written.
pub const PIECE_BYTES: u64 = 256 << 20;
/// After so many seconds a piece is written.
pub const PIECE_SECONDS: i64 = 60;
/// A pack is fresh for this long after the time that was noted for it, seconds.
pub const FRESH_SECONDS: i64 = 24 * 3600;

#[derive(Debug, thiserror::Error)]
pub enum ResumeError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    State(#[from] StateError),
}

/// A pack of an earlier attempt of this run that may still be named.
#[derive(Debug, Clone)]
pub struct Resumed {
    pub pack: KnownPack,
    pub sealed_run_key: Vec<u8>,
}

/// Packs and chunks of the interrupted run, as far as they are fresh.
#[derive(Debug, Default)]
pub struct Interrupted {
    pub packs: HashMap<Handle, Resumed>,
    pub chunks: Vec<KnownChunk>,
}

impl Interrupted {
    /// Divides packs that a snapshot reuses into those of the interrupted run and those of earlier snapshots.
    #[must_use]
    pub fn split(mut self, reused: HashSet<Handle>) -> (Vec<Resumed>, HashSet<Handle>) {
        let (own, earlier): (Vec<Handle>, Vec<Handle>) =
            reused.into_iter().partition(|h| self.packs.contains_key(h));
        let mut resumed: Vec<Resumed> = own.iter().filter_map(|h| self.packs.remove(h)).collect();
        resumed.sort_unstable_by_key(|r| r.pack.handle);
        (resumed, earlier.into_iter().collect())
    }
}

/// Whether a pack whose time was `noted` is fresh beside the newest object under `manifests/` (rule 3).
#[must_use]
pub fn is_fresh(noted: i64, newest_manifest: Option<Timestamp>) -> bool {
    newest_manifest.is_none_or(|newest| newest.as_second() < noted + FRESH_SECONDS)
}

/// Reads what the interrupted run has left.
pub async fn load(
    store: &dyn ReadStore,
    pending: Option<&Pending>,
    newest_manifest: Option<Timestamp>,
) -> Result<Interrupted, StoreError> {
    let mut out = Interrupted::default();
    let Some((pending, key)) = pending.and_then(|p| Some((p, p.key()?))) else { return Ok(out) };
    for sha256 in &pending.pieces {
        let bytes = match store.get(&layout::agent(sha256), limits::LOG_SEGMENT_MAX).await {
            Ok(bytes) => bytes,
            Err(e) if e.kind.is_transient() => return Err(e),
            // The state names a piece before it is sent; one that never arrived says nothing.
            Err(_) => continue,
        };
        let piece_key = piece_key(&key, &bytes);
        let Some(piece) = piece_key.and_then(|k| send_log::open_uploads(&k, &bytes[32..]).ok()) else {
            continue;
        };
        for pack in piece.packs.into_iter().filter(|p| is_fresh(p.noted, newest_manifest)) {
            let sealed_run_key = piece.sealed_run_key.clone();
            out.packs.insert(pack.handle, Resumed { pack, sealed_run_key });
        }
        out.chunks.extend(piece.chunks);
    }
    let Interrupted { packs, chunks } = &mut out;
    chunks.retain(|c| packs.contains_key(&c.reference.handle));
    Ok(out)
}

/// A piece stands behind 32 random bytes, from which and from the run's log key its own key follows.
fn piece_key(
    key: &lifeboat_format::crypto::derive::Secret32,
    bytes: &[u8],
) -> Option<lifeboat_format::crypto::derive::Secret32> {
    let salt = bytes.get(..32)?;
    Some(lifeboat_format::crypto::derive::labelled(key, "lifeboat/1 upload log", salt))
}

/// Writes pieces while a run goes on.
#[derive(Debug)]
pub struct UploadLog {
    sealed_run_key: Vec<u8>,
    packs: Vec<KnownPack>,
    chunks: Vec<KnownChunk>,
    bytes: u64,
    last: Timestamp,
    piece_bytes: u64,
}

impl UploadLog {
    #[must_use]
    pub fn new(sealed_run_key: Vec<u8>, now: Timestamp, piece_bytes: u64) -> Self {
        Self { sealed_run_key, packs: Vec::new(), chunks: Vec::new(), bytes: 0, last: now, piece_bytes }
    }

    /// A pack has arrived in the store.
    pub fn arrived(&mut self, pack: KnownPack, chunks: &[KnownChunk]) {
        if chunks.is_empty() {
            return; // Secrets and bodies are sealed anew by every run.
        }
        self.bytes += pack.size;
        self.packs.push(pack);
        self.chunks.extend_from_slice(chunks);
    }

    /// Whether a piece is due.
    #[must_use]
    pub fn is_due(&self, now: Timestamp) -> bool {
        let old = now.as_second() - self.last.as_second() >= PIECE_SECONDS;
        !self.packs.is_empty() && (old || self.bytes >= self.piece_bytes)
    }

    /// Writes a piece: the state names it first, so that it is found.
    pub async fn write(
        &mut self,
        now: Timestamp,
        uploader: &Uploader,
        state: &mut State,
        file: &StateFile,
    ) -> Result<(), ResumeError> {
        self.last = now;
        self.bytes = 0;
        let Some((pending, key)) = state.pending.as_mut().and_then(|p| Some((p.run, p.key()?))) else {
            return Ok(());
        };
        let piece = UploadPiece {
            run: pending,
            sealed_run_key: self.sealed_run_key.clone(),
            packs: std::mem::take(&mut self.packs),
            chunks: std::mem::take(&mut self.chunks),
        };
        let salt: [u8; 32] = lifeboat_format::crypto::random::bytes();
        let piece_key = lifeboat_format::crypto::derive::labelled(&key, "lifeboat/1 upload log", &salt);
        let sealed = Bytes::from([salt.to_vec(), send_log::seal_uploads(&piece_key, &piece)].concat());
        let sha256 = Sha256::of(&sealed);
        if let Some(pending) = &mut state.pending {
            pending.pieces.push(sha256);
        }
        file.save(state)?;
        uploader.create_named(&layout::agent(&sha256), sealed, sha256).await?;
        Ok(())
    }
}

/// What is known of a new pack before its list is written.
#[must_use]
pub fn known_pack(pack: &NewPack, noted: i64) -> KnownPack {
    KnownPack {
        handle: pack.sealed.handle,
        sha256: pack.sealed.sha256,
        size: pack.sealed.bytes.len() as u64,
        plain_bytes: pack.sealed.plain_bytes,
        list: Sha256([0; 32]),
        index: 0,
        noted,
        domain: pack.domain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn freshness_is_measured_against_the_newest_manifest() {
        let day = |n: i64| Some(Timestamp::from_second(n).unwrap());
        assert!(is_fresh(0, None));
        assert!(is_fresh(0, day(FRESH_SECONDS - 1)));
        assert!(!is_fresh(0, day(FRESH_SECONDS)), "strictly less than a day");
    }
}
