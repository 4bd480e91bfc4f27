//! The index of a volume's log: its segments in order, each with the directories that begin in it.

use super::DirectoryId;
use crate::crypto::derive::Secret32;
use crate::id::{Digest, Sha256};
use crate::send_log::{open_as, seal_as};
use crate::{FormatError, Result};
use minicbor::{Decode, Encode};

const MAGIC: &[u8; 6] = b"LBLI\x01\x01";
/// Below this an index file is not cut, bytes of its entries.
const PIECE_MIN: usize = 32 << 10;
/// At this it is cut in any case.
const PIECE_MAX: usize = 1 << 20;
/// Bytes of an entry beside its directories, about.
const ENTRY: usize = 108;

/// One segment.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct SegmentEntry {
    #[n(0)]
    pub sha256: Sha256,
    /// 32 bytes, its own.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub key: Vec<u8>,
    /// BLAKE3 of its plaintext, by which it is found and named again.
    #[n(2)]
    pub digest: Digest,
    /// The [`DirectoryId`]s of the directories that begin in it, in order, one after the other.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub directories: Vec<u8>,
}

impl SegmentEntry {
    pub fn directories(&self) -> impl Iterator<Item = DirectoryId> + '_ {
        self.directories.as_chunks::<8>().0.iter().copied()
    }
}

/// Cuts the segments of a volume into index files, where a segment's digest says.
#[must_use]
pub fn index_pieces(segments: &[SegmentEntry]) -> Vec<&[SegmentEntry]> {
    let (mut out, mut from, mut size) = (Vec::new(), 0, 0);
    for (i, s) in segments.iter().enumerate() {
        size += ENTRY + s.directories.len();
        if size >= PIECE_MAX || (size >= PIECE_MIN && s.digest.0[0] < 32) {
            out.push(&segments[from..=i]);
            (from, size) = (i + 1, 0);
        }
    }
    if from < segments.len() {
        out.push(&segments[from..]);
    }
    out
}

/// Seals one index file; its plaintext's digest is [`crate::send_log::content`] of the segments.
#[must_use]
pub fn seal_index(key: &Secret32, segments: &[SegmentEntry]) -> Vec<u8> {
    seal_as(MAGIC, key, &segments.to_vec())
}

/// # Errors
/// Over the limit, of another kind, or sealed under another key.
pub fn open_index(key: &Secret32, sealed: &[u8]) -> Result<Vec<SegmentEntry>> {
    let segments: Vec<SegmentEntry> = open_as(MAGIC, key, sealed)?;
    if segments.iter().any(|s| s.key.len() != 32 || s.directories.len() % 8 != 0) {
        return Err(FormatError::malformed("volume log", "a key or directories of another length"));
    }
    Ok(segments)
}
