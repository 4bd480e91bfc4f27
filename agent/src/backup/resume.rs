//! The upload log: what an interrupted run has sent already, so that the next one goes on. A piece is written at
//! least every 256 MiB or minute (rule 3), and names packs before they are sent; what no piece names is sent again.

use super::ledger::Ledger;
use super::look;
use super::pack::NewPack;
use super::state::StateError;
use super::upload::Uploader;
use bytes::Bytes;
use jiff::Timestamp;
use lifeboat_common::store::{ReadStore, StoreError};
use lifeboat_format::crypto::derive::{Secret32, labelled};
use lifeboat_format::crypto::random;
use lifeboat_format::id::{Handle, Sha256};
use lifeboat_format::send_log::{self, KnownChunk, KnownPack, UploadPiece};
use lifeboat_format::{layout, limits};
use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

/// When a piece is written.
#[derive(Debug, Clone, Copy)]
pub struct Cadence {
    /// After so many sealed bytes.
    pub bytes: u64,
    /// After so many seconds.
    pub seconds: i64,
    /// Earlier while less was sent: after one in so many of the bytes sent so far. Zero: never earlier.
    pub share: u64,
    /// But not so soon after the one before, or after the beginning: short runs need none.
    pub pause: Duration,
}

impl Cadence {
    /// Of runs that read a cluster: they take seconds.
    pub const OBJECTS: Self = Self { bytes: 256 << 20, seconds: 60, share: 0, pause: Duration::ZERO };
    /// Of runs that read trees: a kill costs a second, or a five-hundredth of what was sent.
    pub const TREES: Self = Self { bytes: 256 << 20, seconds: 60, share: 512, pause: Duration::from_secs(1) };

    fn limit(&self, sent: u64) -> u64 {
        sent.checked_div(self.share).map_or(self.bytes, |part| part.min(self.bytes))
    }
}

/// Chunks in one piece, so that it stays far below the limit of a log's file: each takes about 80 bytes.
const PIECE_CHUNKS_MAX: usize = 65_536;
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

/// What an interrupted run of the same scope has left, as far as it may still be named.
#[derive(Debug, Clone, Default)]
pub struct Interrupted {
    /// Packs that are fresh and that no list names yet.
    pub packs: HashMap<Handle, Resumed>,
    /// Packs that a checkpoint of the run made nameable: in the memory, too.
    pub checkpointed: HashSet<Handle>,
    /// The pieces of its upload log that name any of these, newest first.
    pub pieces: Vec<Sha256>,
}

impl Interrupted {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.packs.is_empty() && self.checkpointed.is_empty()
    }

    #[must_use]
    pub fn has(&self, handle: &Handle) -> bool {
        self.packs.contains_key(handle) || self.checkpointed.contains(handle)
    }

    /// Divides packs that a snapshot reuses into those of the interrupted run and those of earlier manifests.
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

/// Reads what the interrupted run has left: `log` are the last pieces of its upload log and their key; `named` says whether the chain names a pack already (rule 2b).
pub async fn load(
    store: &dyn ReadStore,
    log: Option<(Vec<Sha256>, Secret32)>,
    newest_manifest: Option<Timestamp>,
    named: &(dyn Fn(&Handle) -> bool + Sync),
) -> Result<Interrupted, StoreError> {
    let mut out = Interrupted::default();
    let Some((mut next, key)) = log else { return Ok(out) };
    let mut seen: HashSet<Sha256> = HashSet::new();
    let mut pieces = Vec::new();
    while let Some(sha256) = next.pop() {
        if !seen.insert(sha256) {
            continue;
        }
        let Some(piece) = read_piece(store, &key, &sha256).await? else { continue };
        pieces.push((sha256, piece.packs.iter().map(|p| p.handle).collect::<Vec<_>>()));
        next.extend(piece.prev);
        for pack in piece.packs {
            if named(&pack.handle) {
                out.checkpointed.insert(pack.handle);
            } else if is_fresh(pack.noted, newest_manifest) {
                let sealed_run_key = piece.sealed_run_key.clone();
                out.packs.insert(pack.handle, Resumed { pack, sealed_run_key });
            }
        }
    }
    // A piece names a pack before it is sent: what never arrived, or not whole, may not be named.
    let gone = look::gone(store, out.packs.values().map(|r| r.pack)).await?;
    out.packs.retain(|_, r| !gone.contains(&r.pack.sha256));
    // A piece of which nothing came is not gone on from: attempts that all die young would have ever more to read first.
    out.pieces = pieces.iter().filter(|(_, packs)| packs.iter().any(|h| out.has(h))).map(|p| p.0).collect();
    Ok(out)
}

/// Gives every chunk of the interrupted run's packs that may be named; reads the pieces again for it, since all of
/// them together may be more than a run has memory for.
pub async fn chunks(
    store: &dyn ReadStore,
    key: &Secret32,
    interrupted: &Interrupted,
    mut chunk: impl FnMut(KnownChunk) + Send,
) -> Result<(), StoreError> {
    for sha256 in &interrupted.pieces {
        let Some(piece) = read_piece(store, key, sha256).await? else { continue };
        piece.chunks.into_iter().filter(|c| interrupted.has(&c.reference.handle)).for_each(&mut chunk);
    }
    Ok(())
}

/// `None` for one that says nothing: the state names a piece before it is sent, and it may never have arrived.
async fn read_piece(
    store: &dyn ReadStore,
    key: &Secret32,
    sha256: &Sha256,
) -> Result<Option<UploadPiece>, StoreError> {
    let bytes = match store.get(&layout::agent(sha256), limits::LOG_SEGMENT_MAX).await {
        Ok(bytes) => bytes,
        Err(e) if e.kind.is_transient() => return Err(e),
        Err(_) => return Ok(None),
    };
    let Some(piece_key) = piece_key(key, &bytes) else { return Ok(None) };
    Ok(send_log::open_uploads(&piece_key, &bytes[32..]).ok())
}

/// A piece stands behind 32 random bytes, from which and from the run's log key its own key follows.
fn piece_key(key: &Secret32, bytes: &[u8]) -> Option<Secret32> {
    Some(labelled(key, "lifeboat/1 upload log", bytes.get(..32)?))
}

/// Writes pieces while a run goes on.
#[derive(Debug)]
pub struct UploadLog {
    sealed_run_key: Vec<u8>,
    packs: Vec<KnownPack>,
    chunks: Vec<KnownChunk>,
    bytes: u64,
    sent: u64,
    last: Timestamp,
    written: Instant,
    prev: Option<Sha256>,
    cadence: Cadence,
}

impl UploadLog {
    /// `prev`: the last piece of the attempt that this one goes on from.
    #[must_use]
    pub fn new(sealed_run_key: Vec<u8>, now: Timestamp, cadence: Cadence, prev: Option<Sha256>) -> Self {
        let (packs, chunks) = (Vec::new(), Vec::new());
        Self {
            sealed_run_key,
            packs,
            chunks,
            bytes: 0,
            sent: 0,
            last: now,
            written: Instant::now(),
            prev,
            cadence,
        }
    }

    /// A pack is about to be sent.
    pub fn sending(&mut self, pack: KnownPack, chunks: &[KnownChunk]) {
        if chunks.is_empty() {
            return; // Secrets and bodies are sealed anew by every run.
        }
        self.bytes += pack.size;
        self.sent += pack.size;
        self.packs.push(pack);
        self.chunks.extend_from_slice(chunks);
    }

    /// Whether a piece is due.
    #[must_use]
    pub fn is_due(&self, now: Timestamp) -> bool {
        let old = now.as_second() - self.last.as_second() >= self.cadence.seconds;
        let full = self.bytes >= self.cadence.limit(self.sent) || self.chunks.len() >= PIECE_CHUNKS_MAX;
        let full = full && self.written.elapsed() >= self.cadence.pause;
        !self.packs.is_empty() && (old || full)
    }

    /// Writes a piece, when there is something to say: the ledger names it first, so that it is found.
    pub async fn write<L: Ledger>(
        &mut self,
        now: Timestamp,
        uploader: &Uploader,
        ledger: &mut L,
    ) -> Result<(), ResumeError> {
        self.last = now;
        self.written = Instant::now();
        self.bytes = 0;
        if self.packs.is_empty() {
            return Ok(());
        }
        let Some((run, key)) = ledger.run() else { return Ok(()) };
        let packs = std::mem::take(&mut self.packs);
        let chunks = std::mem::take(&mut self.chunks);
        for part in chunks.chunks(PIECE_CHUNKS_MAX) {
            let handles: HashSet<Handle> = part.iter().map(|c| c.reference.handle).collect();
            let packs = packs.iter().filter(|p| handles.contains(&p.handle)).copied().collect();
            let sealed_run_key = self.sealed_run_key.clone();
            let piece = UploadPiece { run, sealed_run_key, packs, chunks: part.to_vec(), prev: self.prev };
            self.send(&key, &piece, uploader, ledger).await?;
        }
        Ok(())
    }

    async fn send<L: Ledger>(
        &mut self,
        key: &Secret32,
        piece: &UploadPiece,
        uploader: &Uploader,
        ledger: &mut L,
    ) -> Result<(), ResumeError> {
        let salt: [u8; 32] = random::bytes();
        let piece_key = labelled(key, "lifeboat/1 upload log", &salt);
        let sealed = Bytes::from([salt.to_vec(), send_log::seal_uploads(&piece_key, piece)].concat());
        let sha256 = Sha256::of(&sealed);
        ledger.sending(self.prev, sha256).await?;
        uploader.create_named(&layout::agent(&sha256), sealed, sha256).await?;
        ledger.sent(sha256);
        self.prev = Some(sha256);
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
