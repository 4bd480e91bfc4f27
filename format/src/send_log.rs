//! The send log: what the agent remembers of its last snapshots, so that it stores nothing twice. Sealed, and kept
//! under `agent/`; holds keyed ids and references, never names.
//!
//! A root and its segments are `magic (6) ‖ AES-256-GCM(CBOR)`; the root under the run's log key, each segment under a
//! random key of its own that the root holds, so that dropping old roots drops the keys of old segments.

use crate::crypto::derive::Secret32;
use crate::crypto::{open, seal};
use crate::id::{ChunkId, Digest, Handle, RunId, ScopeAlias, Sha256};
use crate::pack::Reference;
use crate::volume_log::VolumeLog;
use crate::{FormatError, Result, limits};
use minicbor::{Decode, Encode};

const ROOT: &[u8; 6] = b"LBLR\x01\x01";
const SEGMENT: &[u8; 6] = b"LBLG\x01\x01";
const PACKS: &[u8; 6] = b"LBLK\x01\x01";
const UPLOADS: &[u8; 6] = b"LBLU\x01\x01";

/// A pack that may be reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct KnownPack {
    #[n(0)]
    pub handle: Handle,
    #[n(1)]
    pub sha256: Sha256,
    /// Bytes, sealed.
    #[n(2)]
    pub size: u64,
    /// Bytes of its chunks.
    #[n(3)]
    pub plain_bytes: u64,
    /// The list that names it, and its place there.
    #[n(4)]
    pub list: Sha256,
    #[n(5)]
    pub index: u32,
    /// The store's time that was noted before it was sent, seconds since 1970.
    #[n(6)]
    pub noted: i64,
    /// Keyed alias of the domain whose chunks it holds.
    #[n(7)]
    pub domain: ScopeAlias,
}

/// A chunk that may be reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct KnownChunk {
    #[n(0)]
    pub id: ChunkId,
    #[n(1)]
    pub reference: Reference,
}

/// What the root says of a segment.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct SegmentRef {
    #[n(0)]
    pub sha256: Sha256,
    #[cbor(n(1), with = "minicbor::bytes")]
    pub key: Vec<u8>,
    /// First chunk id in it.
    #[n(2)]
    pub first: ChunkId,
}

/// Another file of the log: an index of a volume, or a piece of the known packs.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct FileRef {
    #[n(0)]
    pub sha256: Sha256,
    /// 32 bytes, its own.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub key: Vec<u8>,
    /// Of its plaintext, by which it is found and named again.
    #[n(2)]
    pub digest: Digest,
}

/// What opens the rest of the log. Fields that an older agent did not know are empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct LogRoot {
    /// Where they are at most [`ROOT_PACKS_MAX`]; more are in `pack_files`.
    #[n(0)]
    pub packs: Vec<KnownPack>,
    #[n(1)]
    pub segments: Vec<SegmentRef>,
    /// Pieces of the known packs ([`open_packs`]).
    #[cbor(n(2), default, skip_if = "Vec::is_empty")]
    pub pack_files: Vec<FileRef>,
    /// One for each volume that the log remembers.
    #[cbor(n(3), default, skip_if = "Vec::is_empty")]
    pub volumes: Vec<VolumeLog>,
}

/// Known packs that a root holds itself; more would bring it to its limit.
pub const ROOT_PACKS_MAX: usize = 4096;

/// A piece of the log of what a run has uploaded, so that a killed run goes on.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct UploadPiece {
    #[n(0)]
    pub run: RunId,
    #[cbor(n(1), with = "minicbor::bytes")]
    pub sealed_run_key: Vec<u8>,
    /// `list` and `index` are not known yet: zero.
    #[n(2)]
    pub packs: Vec<KnownPack>,
    #[n(3)]
    pub chunks: Vec<KnownChunk>,
    /// The piece before it, so that the agent's state need not name them all.
    #[n(4)]
    pub prev: Option<Sha256>,
}

/// Cuts chunks, sorted by id, into segments: after an id whose last byte is 0 once 256 are in, so that unchanged
/// stretches give equal segments.
#[must_use]
pub fn segments(chunks: &[KnownChunk]) -> Vec<&[KnownChunk]> {
    cut(chunks, |c| c.id.0[15])
}

pub(crate) fn cut<T>(items: &[T], last_byte: impl Fn(&T) -> u8) -> Vec<&[T]> {
    let mut out = Vec::new();
    let mut from = 0;
    for (i, item) in items.iter().enumerate() {
        let long = i + 1 - from;
        if (last_byte(item) == 0 && long >= 256) || long >= 8192 {
            out.push(&items[from..=i]);
            from = i + 1;
        }
    }
    if from < items.len() {
        out.push(&items[from..]);
    }
    out
}

/// Digest of a file's plaintext, by which an unchanged one is found and named again.
#[must_use]
pub fn content<T: Encode<()>>(items: &[T]) -> Digest {
    Digest::of(&minicbor::to_vec(items).expect("writing to memory does not fail"))
}

pub(crate) fn seal_as<T: Encode<()>>(magic: &[u8; 6], key: &Secret32, value: &T) -> Vec<u8> {
    seal_plain(magic, key, &minicbor::to_vec(value).expect("writing to memory does not fail"))
}

pub(crate) fn seal_plain(magic: &[u8; 6], key: &Secret32, plain: &[u8]) -> Vec<u8> {
    [magic.to_vec(), seal::once(key, magic, plain)].concat()
}

pub(crate) fn open_plain(magic: &[u8; 6], key: &Secret32, sealed: &[u8]) -> Result<Vec<u8>> {
    if sealed.len() as u64 > limits::LOG_SEGMENT_MAX {
        return Err(FormatError::too_large("send log", "over the limit"));
    }
    let body = sealed
        .strip_prefix(magic)
        .ok_or_else(|| FormatError::malformed("send log", "it does not begin as one"))?;
    open::once("send log", key, magic, body)
}

pub(crate) fn open_as<T: for<'b> Decode<'b, ()>>(
    magic: &[u8; 6],
    key: &Secret32,
    sealed: &[u8],
) -> Result<T> {
    let plain = open_plain(magic, key, sealed)?;
    let mut d = minicbor::Decoder::new(&plain);
    let value = d.decode().map_err(|e| FormatError::malformed("send log", e.to_string()))?;
    if d.position() == plain.len() {
        Ok(value)
    } else {
        Err(FormatError::malformed("send log", "bytes after its end"))
    }
}

#[must_use]
pub fn seal_root(key: &Secret32, root: &LogRoot) -> Vec<u8> {
    seal_as(ROOT, key, root)
}

pub fn open_root(key: &Secret32, sealed: &[u8]) -> Result<LogRoot> {
    let root: LogRoot = open_as(ROOT, key, sealed)?;
    if root.segments.len() > limits::LOG_SEGMENTS_MAX {
        return Err(FormatError::too_large("send log", "too many segments"));
    }
    Ok(root)
}

#[must_use]
pub fn seal_segment(key: &Secret32, chunks: &[KnownChunk]) -> Vec<u8> {
    seal_as(SEGMENT, key, &chunks.to_vec())
}

pub fn open_segment(key: &Secret32, sealed: &[u8]) -> Result<Vec<KnownChunk>> {
    open_as(SEGMENT, key, sealed)
}

/// Cuts known packs, sorted by handle, into pieces as [`segments`] cuts chunks.
#[must_use]
pub fn pack_pieces(packs: &[KnownPack]) -> Vec<&[KnownPack]> {
    cut(packs, |p| p.handle.0[15])
}

#[must_use]
pub fn seal_packs(key: &Secret32, packs: &[KnownPack]) -> Vec<u8> {
    seal_as(PACKS, key, &packs.to_vec())
}

/// # Errors
/// Over the limit, of another kind, or sealed under another key.
pub fn open_packs(key: &Secret32, sealed: &[u8]) -> Result<Vec<KnownPack>> {
    open_as(PACKS, key, sealed)
}

#[must_use]
pub fn seal_uploads(key: &Secret32, piece: &UploadPiece) -> Vec<u8> {
    seal_as(UPLOADS, key, piece)
}

pub fn open_uploads(key: &Secret32, sealed: &[u8]) -> Result<UploadPiece> {
    open_as(UPLOADS, key, sealed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Digest;

    fn chunk(n: u32) -> KnownChunk {
        let reference = Reference {
            handle: Handle([1; 16]),
            frame: n,
            offset: 0,
            length: 1,
            digest: Digest::of(&n.to_le_bytes()),
        };
        let mut id = [0; 16];
        id.copy_from_slice(&reference.digest.0[..16]);
        KnownChunk { id: ChunkId(id), reference }
    }

    #[test]
    fn logs_open_with_their_key_only() {
        let (key, other) = (Secret32::random(), Secret32::random());
        let sealed = seal_segment(&key, &[chunk(1), chunk(2)]);
        assert_eq!(open_segment(&key, &sealed).unwrap(), [chunk(1), chunk(2)]);
        assert!(open_segment(&other, &sealed).is_err());
        assert!(open_root(&key, &sealed).is_err());
    }

    /// A root as it was before volumes.
    #[derive(Encode)]
    #[cbor(map)]
    struct OldRoot {
        #[n(0)]
        packs: Vec<KnownPack>,
        #[n(1)]
        segments: Vec<SegmentRef>,
    }

    #[test]
    fn roots_of_older_agents_open() {
        let key = Secret32::random();
        let old = OldRoot { packs: vec![pack(1)], segments: vec![] };
        let root = open_root(&key, &seal_as(ROOT, &key, &old)).unwrap();
        assert_eq!(root, LogRoot { packs: vec![pack(1)], ..LogRoot::default() });
    }

    fn pack(n: u32) -> KnownPack {
        let digest = Digest::of(&n.to_le_bytes()).0;
        let mut handle = Handle([0; 16]);
        handle.0.copy_from_slice(&digest[..16]);
        let sha256 = Sha256(digest);
        let (size, plain_bytes, noted) = (u64::MAX, u64::MAX, i64::MAX);
        let domain = ScopeAlias([1; 16]);
        KnownPack { handle, sha256, size, plain_bytes, list: sha256, index: u32::MAX, noted, domain }
    }

    #[test]
    fn many_packs_go_to_files_of_their_own() {
        let mut packs: Vec<KnownPack> = (0..60_000).map(pack).collect();
        packs.sort_by_key(|p| p.handle);
        let key = Secret32::random();
        let pieces: Vec<Vec<KnownPack>> = pack_pieces(&packs).into_iter().map(<[_]>::to_vec).collect();
        assert_eq!(pieces.concat(), packs);
        for piece in &pieces {
            let sealed = seal_packs(&key, piece);
            assert!(sealed.len() < 2 << 20);
            assert_eq!(open_packs(&key, &sealed).unwrap(), *piece);
        }
        packs.push(pack(70_000));
        packs.sort_by_key(|p| p.handle);
        let changed = pack_pieces(&packs).into_iter().filter(|p| !pieces.contains(&p.to_vec())).count();
        assert!(changed <= 2, "{changed}");
        // And what a root holds itself leaves room.
        let root = LogRoot { packs: packs[..ROOT_PACKS_MAX].to_vec(), ..LogRoot::default() };
        assert!(seal_root(&key, &root).len() < 1 << 20);
    }

    #[test]
    fn one_new_chunk_changes_one_segment() {
        let mut chunks: Vec<KnownChunk> = (0..40_000).map(chunk).collect();
        chunks.sort_by_key(|c| c.id);
        let before: Vec<Vec<KnownChunk>> = segments(&chunks).into_iter().map(<[_]>::to_vec).collect();
        assert!(before.len() > 20);
        assert_eq!(before.concat(), chunks);
        chunks.push(chunk(70_000));
        chunks.sort_by_key(|c| c.id);
        let changed = segments(&chunks).into_iter().filter(|s| !before.contains(&s.to_vec())).count();
        assert!(changed <= 2, "{changed}");
    }
}
