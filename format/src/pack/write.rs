//! Building a pack in memory.

use super::compress::Compressor;
use super::{DIRECTORY_FRAME, FrameKind, MAGIC, Reference, padme};
use crate::crypto::derive::{PackKey, RunKey};
use crate::crypto::seal::{self, FrameContext, TAG};
use crate::id::{Digest, Handle, Sha256};
use crate::limits;

/// What one more frame can add to the directory: its entry, and a longer count of entries.
const ENTRY_MAX: usize = 12 + 2;

/// A finished pack.
#[derive(Debug, Clone)]
pub struct SealedPack {
    pub bytes: Vec<u8>,
    pub sha256: Sha256,
    pub handle: Handle,
    /// Plaintext bytes of its chunks.
    pub plain_bytes: u64,
}

/// Collects chunks of one domain into frames, and frames into a pack.
pub struct PackBuilder {
    handle: Handle,
    key: PackKey,
    context: FrameContext,
    out: Vec<u8>,
    frames: Vec<(FrameKind, u32, u32)>,
    open: Vec<u8>,
    plain_bytes: u64,
    compressor: Compressor,
    packed: Vec<u8>,
}

/// A complete pack that has no name yet: hashing it takes time, and can be another thread's work.
pub struct ClosedPack {
    bytes: Vec<u8>,
    handle: Handle,
    plain_bytes: u64,
}

impl ClosedPack {
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle
    }

    /// Names it: SHA-256 of its bytes.
    #[must_use]
    pub fn name(self) -> SealedPack {
        let sha256 = Sha256::of(&self.bytes);
        SealedPack { bytes: self.bytes, sha256, handle: self.handle, plain_bytes: self.plain_bytes }
    }
}

impl PackBuilder {
    /// A handle is random and never used for two packs: with the run key it makes the pack's key.
    #[must_use]
    pub fn new(handle: Handle, run_key: &RunKey, sealed_run_key: Vec<u8>) -> Self {
        let mut out = MAGIC.to_vec();
        let len = u16::try_from(sealed_run_key.len()).expect("a sealed run key is below 1 KiB");
        out.extend_from_slice(&len.to_le_bytes());
        out.extend_from_slice(&sealed_run_key);
        out.extend_from_slice(&handle.0);
        let context = FrameContext { header: Sha256::of(&out).0 };
        let key = run_key.pack_key(&handle);
        Self {
            handle,
            key,
            context,
            out,
            frames: Vec::new(),
            open: Vec::new(),
            plain_bytes: 0,
            compressor: Compressor::plain(),
            packed: Vec::new(),
        }
    }

    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle
    }

    /// Bytes held: sealed frames and the open one.
    #[must_use]
    pub fn len(&self) -> usize {
        self.out.len() + self.open.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty() && self.open.is_empty()
    }

    /// Whether the pack should be finished before more is appended.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.len() >= limits::PACK_TARGET || self.frames.len() + 2 >= limits::FRAMES_MAX
    }

    /// Adds a chunk of at most [`limits::FRAME_MAX`] bytes; small ones share a frame.
    pub fn append(&mut self, chunk: &[u8]) -> Reference {
        debug_assert!(chunk.len() <= limits::FRAME_MAX, "the chunker's bound is below a frame's");
        if !self.open.is_empty() && self.open.len() + chunk.len() > limits::FRAME_TARGET {
            self.close_frame();
        }
        let number =
            |n: usize| u32::try_from(n).expect("a pack's frames, and a frame's bytes, are far below 2^32");
        let reference = Reference {
            handle: self.handle,
            frame: number(self.frames.len()),
            offset: number(self.open.len()),
            length: number(chunk.len()),
            digest: Digest::of(chunk),
        };
        self.plain_bytes += chunk.len() as u64;
        self.open.extend_from_slice(chunk);
        if self.open.len() >= limits::FRAME_TARGET {
            self.close_frame();
        }
        reference
    }

    fn close_frame(&mut self) {
        let (mut plain, mut packed) = (std::mem::take(&mut self.open), std::mem::take(&mut self.packed));
        let kind = self.compressor.compress(&plain, &mut packed);
        let bytes = if kind == FrameKind::Zstd { &packed } else { &plain };
        self.seal(kind, bytes, plain.len());
        plain.clear();
        (self.open, self.packed) = (plain, packed);
    }

    /// Seals a frame of `plain_len` bytes of chunks; `bytes` are what [`Compressor::compress`] made of them, at most
    /// [`limits::FRAME_MAX`]. Returns its number. Not to be mixed with [`PackBuilder::append`].
    pub fn push_frame(&mut self, kind: FrameKind, bytes: &[u8], plain_len: usize) -> u32 {
        debug_assert!(self.open.is_empty(), "one builder is filled by chunks or by frames");
        self.plain_bytes += plain_len as u64;
        self.seal(kind, bytes, plain_len)
    }

    fn seal(&mut self, kind: FrameKind, bytes: &[u8], plain_len: usize) -> u32 {
        let frame = u32::try_from(self.frames.len()).expect("a pack's frames are far below 2^32");
        let from = self.out.len();
        self.out.extend_from_slice(bytes);
        seal::frame_in(&self.key, &self.context, frame, kind as u8, &mut self.out, from);
        let sealed_len = u32::try_from(self.out.len() - from).expect("a frame is below 2^32 bytes");
        let plain_len = u32::try_from(plain_len).expect("a frame is below 2^32 bytes");
        self.frames.push((kind, sealed_len, plain_len));
        frame
    }

    /// Whether a frame of `bytes` more would take the pack over [`limits::PACK_TARGET`], padding and directory
    /// included; an empty pack takes any.
    #[must_use]
    pub fn has_room(&self, bytes: usize) -> bool {
        let tail = (self.frames.len() + 3) * ENTRY_MAX + 3 * TAG + 8;
        let fits = self.out.len() + bytes + tail <= limits::PACK_TARGET;
        self.frames.is_empty() || (fits && self.frames.len() + 3 < limits::FRAMES_MAX)
    }

    /// Whether the pack is as good to close now as it will be: it is large, and what is missing to a size that Padmé
    /// allows is less than can be hoped for from the `bytes`-sized frames that still have room. (Optimal stopping: of
    /// n more tries, each even over a step, the best leaves step/(n+1).)
    #[must_use]
    pub fn fills_a_step(&self, bytes: usize) -> bool {
        let len = self.out.len();
        if len < limits::PACK_TARGET / 4 * 3 {
            return false;
        }
        let tail = encode_directory_len(&self.frames) + ENTRY_MAX + 2 * TAG + 4;
        let step = padme_step(len + tail);
        let tries = (limits::PACK_TARGET - len.min(limits::PACK_TARGET)) / bytes.max(1);
        padding(len + tail) <= step / (tries + 2)
    }

    /// Builds in `buffer`, whose content is dropped: with room for a whole pack it does not move while it grows.
    pub fn build_in(&mut self, mut buffer: Vec<u8>) {
        buffer.clear();
        buffer.extend_from_slice(&self.out);
        self.out = buffer;
    }

    /// A frame of zeros that nothing refers to. Padding in the directory alone would show the length of the chunks:
    /// the directory's length stands in clear.
    fn pad(&mut self) {
        let others = self.out.len() + encode_directory(&self.frames).len() + ENTRY_MAX + 2 * TAG + 4;
        let len = padding(others);
        self.seal(FrameKind::Raw, &vec![0; len], len);
    }

    /// Pads the pack, seals its directory, and names it.
    #[must_use]
    pub fn finish(self) -> SealedPack {
        self.close().name()
    }

    /// As [`PackBuilder::finish`], without the name.
    #[must_use]
    pub fn close(mut self) -> ClosedPack {
        if !self.open.is_empty() || self.frames.is_empty() {
            self.close_frame();
        }
        self.pad();
        let mut directory = encode_directory(&self.frames);
        // A few bytes, because lengths in the directory take one to five.
        let rest = padding(self.out.len() + directory.len() + TAG + 4);
        directory.resize(directory.len() + rest, 0);
        seal::frame(&self.key, &self.context, DIRECTORY_FRAME, FrameKind::Directory as u8, &mut directory);
        let len = u32::try_from(directory.len()).expect("a directory is far below 2^32 bytes");
        self.out.extend_from_slice(&directory);
        self.out.extend_from_slice(&len.to_le_bytes());
        ClosedPack { bytes: self.out, handle: self.handle, plain_bytes: self.plain_bytes }
    }
}

/// What is missing to a size that Padmé allows.
fn padding(len: usize) -> usize {
    usize::try_from(padme(len as u64)).expect("a pack is far below 2^32 bytes") - len
}

/// CBOR: an array of [kind, sealed length, plaintext length]; offsets follow from the lengths.
fn encode_directory(frames: &[(FrameKind, u32, u32)]) -> Vec<u8> {
    let mut e = minicbor::Encoder::new(Vec::new());
    let infallible = "writing to memory does not fail";
    e.array(frames.len() as u64).expect(infallible);
    for (kind, sealed, plain) in frames {
        e.array(3).expect(infallible);
        e.u8(*kind as u8).expect(infallible);
        e.u32(*sealed).expect(infallible);
        e.u32(*plain).expect(infallible);
    }
    e.into_writer()
}

/// An upper bound of what [`encode_directory`] makes.
fn encode_directory_len(frames: &[(FrameKind, u32, u32)]) -> usize {
    let number = |n: u32| match n {
        0..24 => 1,
        24..0x100 => 2,
        0x100..0x1_0000 => 3,
        _ => 5,
    };
    9 + frames.iter().map(|(_, sealed, plain)| 2 + number(*sealed) + number(*plain)).sum::<usize>()
}

/// How far apart the sizes that Padmé allows are around `len`, bytes.
fn padme_step(len: usize) -> usize {
    let e = len.max(2).ilog2();
    let s = e.max(1).ilog2() + 1;
    1 << (e - s.min(e))
}
