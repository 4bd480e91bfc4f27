//! Every bound of the format in one place. A reader refuses what exceeds one; a writer never does.

/// A charter file, bytes.
pub const CHARTER_MAX: u64 = 1 << 20;
/// A manifest file, bytes.
pub const MANIFEST_MAX: u64 = 16 << 20;
/// A record of a vault's audit log.
pub const AUDIT_MAX: u64 = 4 << 20;
/// A receipt or marker file, bytes.
pub const RECEIPT_MAX: u64 = 64 << 10;
/// A sealed epoch file, bytes.
pub const EPOCH_MAX: u64 = 64 << 10;
/// A run key sealed by age, bytes (measured 245–435; the grease stanza varies).
pub const SEALED_RUN_KEY_MAX: usize = 1024;
/// A sealed pack, bytes. The writer aims at [`PACK_TARGET`].
pub const PACK_MAX: u64 = 64 << 20;
/// Sealed bytes at which the writer closes a pack.
pub const PACK_TARGET: usize = 16 << 20;
/// Plaintext of one frame, bytes.
pub const FRAME_MAX: usize = 16 << 20;
/// Plaintext at which the writer closes a frame of small chunks, bytes.
pub const FRAME_TARGET: usize = 128 << 10;
/// Frames in one pack.
pub const FRAMES_MAX: usize = 65_536;
/// Packs in one pack list.
pub const LIST_PACKS_MAX: usize = 65_536;
/// A pack list file, bytes.
pub const LIST_MAX: u64 = 4 << 20;
/// Pack lists named by one manifest.
pub const MANIFEST_LISTS_MAX: usize = 16_384;
/// One page of a sorted map, bytes.
pub const PAGE_MAX: usize = 256 << 10;
/// A key of a sorted map, bytes.
pub const KEY_MAX: usize = 16 << 10;
/// A value kept inside its page, bytes; a longer one is chunks.
pub const INLINE_MAX: usize = 64 << 10;
/// Levels of a sorted map.
pub const MAP_DEPTH_MAX: usize = 8;
/// References of one value in its page: to its chunks, or to as many lists of them.
pub const VALUE_CHUNKS_MAX: usize = 16;
/// References in one list; it is a chunk, and fits a frame whatever they are.
pub const LIST_REFERENCES_MAX: usize = 200_000;
/// Chunks of one value, through lists: of about 1 MiB each, some 3 TiB.
pub const VALUE_REFERENCES_MAX: usize = VALUE_CHUNKS_MAX * LIST_REFERENCES_MAX;
/// One stored object (a Kubernetes object as JSON), bytes. etcd's own default limit is 1.5 MiB.
pub const OBJECT_MAX: u64 = 64 << 20;
/// The body of a snapshot, bytes.
pub const BODY_MAX: usize = 16 << 20;
/// Domains in one body.
pub const DOMAINS_MAX: usize = 131_072;
/// One segment or root of a send log, sealed, bytes.
pub const LOG_SEGMENT_MAX: u64 = 8 << 20;
/// Segments of one send log.
pub const LOG_SEGMENTS_MAX: usize = 65_536;
/// Signatures in one envelope.
pub const SIGNATURES_MAX: usize = 32;
