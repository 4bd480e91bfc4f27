//! What the agent remembers of the trees it stored: of every file a fingerprint and its references, under keyed hashes
//! of paths, never names. A part of the send log ([`crate::send_log`]), sealed like its other files.
//!
//! Segments follow the walk, so that an old log and a new walk merge with little memory. They are cut by content: an
//! unchanged stretch of a tree gives a segment with the same plaintext, which is named again instead of stored. An
//! index, cut by content too, says which directories each segment begins.

mod handles;
mod index;
mod segment;
mod write;

pub use handles::{handle_pieces, open_handles, seal_handles};
pub use index::{SegmentEntry, index_pieces, open_index, seal_index};
pub use segment::{open_segment, parse_segment, seal_segment};
pub use write::{CutSegment, SegmentWriter};

use crate::crypto::derive::DomainKeys;
use crate::id::{Fingerprint, Handle, PathHash, ScopeAlias};
use crate::pack::Reference;
use crate::send_log::{FileRef, SegmentRef};
use crate::tree::NodeKind;
use minicbor::{Decode, Encode};

/// A bit of [`Record::flags`]: it has extended attributes.
pub const HAS_XATTRS: u8 = 1;
/// It kept changing while it was read.
pub const CHANGING: u8 = 2;
/// It changed so shortly before it was read that a later change may have left the same times.
pub const RACY: u8 = 4;
/// The next record is of the same file and has the references that follow.
pub const CONTINUES: u8 = 8;

/// References in one record; a file with more has several, all but the last with [`CONTINUES`].
pub const RECORD_REFERENCES_MAX: usize = 4096;

/// The first half of a directory's hash, which is enough to find where it begins.
pub type DirectoryId = [u8; 8];

/// [`DirectoryId`] of a directory.
#[must_use]
pub fn directory_id(hash: &PathHash) -> DirectoryId {
    let mut out = [0; 8];
    out.copy_from_slice(&hash.0[..8]);
    out
}

/// What a volume's log says of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Of its whole path.
    pub name: PathHash,
    pub fingerprint: Fingerprint,
    /// [`HAS_XATTRS`], [`CHANGING`], [`RACY`]; [`CONTINUES`] is set by [`SegmentWriter`].
    pub flags: u8,
    /// As in the tree's entry. Where a file has several records, in the first.
    pub extents: Option<Vec<(u64, u64)>>,
    /// Its content's chunks, in order: never lists of them.
    pub references: Vec<Reference>,
    /// The chunks that hold the list of `references`, where the tree's entry is indirect; in the first record.
    pub lists: Vec<Reference>,
}

impl Record {
    #[must_use]
    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// Records of one directory, in the order of the walk. A large directory goes on in the segments that follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectoryPart {
    pub directory: PathHash,
    pub records: Vec<Record>,
}

/// What the root of the send log says of one volume.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct VolumeLog {
    /// As in [`crate::send_log::KnownPack::domain`].
    #[n(0)]
    pub domain: ScopeAlias,
    /// When the run that wrote it began to walk, seconds since 1970: what changed within two seconds before, or after,
    /// counts as changed.
    #[n(1)]
    pub started: i64,
    /// Index files ([`open_index`]), in the order of the walk.
    #[n(2)]
    pub index: Vec<FileRef>,
    /// Pages of the tree, as known chunks ([`crate::send_log::open_segment`]).
    #[n(3)]
    pub pages: Vec<SegmentRef>,
    /// Packs that are small or mostly dead, worst first, at most [`SPARSE_MAX`], with the plaintext that the tree needs
    /// of each, bytes.
    #[cbor(n(4), default)]
    pub sparse: Vec<(Handle, u64)>,
    /// The tree itself, where it may have to be named again unread.
    #[cbor(n(5), default)]
    pub tree: Option<LastTree>,
}

/// The tree of a volume's last snapshot: what a snapshot needs that names it again although nobody can read the volume.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct LastTree {
    /// Root page of its map.
    #[n(0)]
    pub root: Reference,
    #[n(1)]
    pub entries: u64,
    /// Sizes of its files together.
    #[n(2)]
    pub bytes: u64,
    /// When it began to be read, seconds since 1970.
    #[n(3)]
    pub read: i64,
    /// Keyed alias of the claim's uid: another claim may get the same name.
    #[n(4)]
    pub claim: ScopeAlias,
    /// Every pack that it needs, where they are at most [`LAST_PACKS_MAX`]; more are in `handle_files`.
    #[n(5)]
    pub handles: Vec<Handle>,
    /// Pieces of the packs ([`open_handles`]).
    #[n(6)]
    pub handle_files: Vec<FileRef>,
}

/// Packs that [`LastTree`] names itself.
pub const LAST_PACKS_MAX: usize = 32;

impl VolumeLog {
    /// Of a volume whose first run has not finished: nothing is known of its tree, but its packs are known as its own.
    #[must_use]
    pub fn unfinished(domain: ScopeAlias) -> Self {
        Self { domain, started: 0, index: Vec::new(), pages: Vec::new(), sparse: Vec::new(), tree: None }
    }
}

/// Packs in [`VolumeLog::sparse`].
pub const SPARSE_MAX: usize = 256;

/// What changes when a file's content does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    pub kind: NodeKind,
    pub size: u64,
    /// Seconds since 1970, nanoseconds.
    pub mtime: (i64, u32),
    pub ctime: (i64, u32),
    pub inode: u64,
}

impl Stat {
    /// Keyed hash of all fields.
    #[must_use]
    pub fn fingerprint(&self, keys: &DomainKeys) -> Fingerprint {
        let mut bytes = [0; 41];
        bytes[0] = self.kind as u8;
        bytes[1..9].copy_from_slice(&self.size.to_le_bytes());
        bytes[9..17].copy_from_slice(&self.mtime.0.to_le_bytes());
        bytes[17..21].copy_from_slice(&self.mtime.1.to_le_bytes());
        bytes[21..29].copy_from_slice(&self.ctime.0.to_le_bytes());
        bytes[29..33].copy_from_slice(&self.ctime.1.to_le_bytes());
        bytes[33..].copy_from_slice(&self.inode.to_le_bytes());
        keys.fingerprint(&bytes)
    }
}

#[cfg(test)]
mod tests;
