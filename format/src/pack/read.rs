//! Reading a pack: header, trailer, directory, frames. Takes whatever ranges of bytes the caller fetched.

mod bulk;

pub use bulk::FrameOpener;

use super::{DIRECTORY_FRAME, FrameKind, HEADER_MAX, MAGIC, Reference};
use crate::bytes::Cursor;
use crate::crypto::derive::PackKey;
use crate::crypto::open;
use crate::crypto::seal::{FrameContext, TAG};
use crate::id::{Digest, Handle, Sha256};
use crate::{FormatError, Result, limits};

/// The start of a pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    pub sealed_run_key: Vec<u8>,
    pub handle: Handle,
    /// Bytes.
    pub len: u64,
    hash: [u8; 32],
}

/// Where the sealed directory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trailer {
    /// From the start of the pack, bytes.
    pub offset: u64,
    /// Bytes.
    pub len: u64,
}

/// One frame's place and size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameEntry {
    number: u32,
    kind: FrameKind,
    /// From the start of the pack, bytes.
    pub offset: u64,
    /// Bytes, sealed.
    pub sealed_len: u32,
    /// Bytes, opened.
    pub plain_len: u32,
}

impl FrameEntry {
    /// Offset of the byte after it.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.offset + u64::from(self.sealed_len)
    }
}

/// The opened directory of a pack.
#[derive(Debug, Clone)]
pub struct Directory {
    frames: Vec<FrameEntry>,
}

impl Header {
    /// Parses the first bytes of a pack: [`HEADER_MAX`] of them, or all there are.
    pub fn parse(start: &[u8]) -> Result<Self> {
        let mut c = Cursor::new("pack", &start[..start.len().min(HEADER_MAX)]);
        c.magic(MAGIC)?;
        let key_len = usize::from(c.u16()?);
        if key_len > limits::SEALED_RUN_KEY_MAX {
            return Err(FormatError::too_large("pack", "sealed run key too long"));
        }
        let sealed_run_key = c.take(key_len)?.to_vec();
        let handle = Handle(c.array()?);
        let len = c.position();
        Ok(Self { sealed_run_key, handle, len: len as u64, hash: Sha256::of(&start[..len]).0 })
    }

    fn context(&self) -> FrameContext {
        FrameContext { header: self.hash }
    }

    /// Opens the directory, whose sealed bytes the caller fetched at `trailer`.
    pub fn open_directory(&self, key: &PackKey, trailer: &Trailer, mut sealed: Vec<u8>) -> Result<Directory> {
        if sealed.len() as u64 != trailer.len {
            return Err(FormatError::malformed("pack", "directory cut short"));
        }
        open::frame(key, &self.context(), DIRECTORY_FRAME, FrameKind::Directory as u8, &mut sealed)?;
        let directory = Directory::parse(&sealed, self.len)?;
        if directory.end(self.len) == trailer.offset {
            Ok(directory)
        } else {
            Err(FormatError::malformed("pack", "its frames do not end where its directory begins"))
        }
    }

    /// Opens one frame, whose sealed bytes the caller fetched; gives its chunks' bytes.
    pub fn open_frame(&self, key: &PackKey, entry: &FrameEntry, mut sealed: Vec<u8>) -> Result<Vec<u8>> {
        if sealed.len() != entry.sealed_len as usize {
            return Err(FormatError::malformed("pack", "frame cut short"));
        }
        open::frame(key, &self.context(), entry.number, entry.kind as u8, &mut sealed)?;
        let plain = match entry.kind {
            FrameKind::Zstd => zstd::bulk::decompress(&sealed, entry.plain_len as usize)
                .map_err(|_| FormatError::malformed("pack", "a frame does not decompress"))?,
            _ => sealed,
        };
        if plain.len() == entry.plain_len as usize {
            Ok(plain)
        } else {
            Err(FormatError::malformed("pack", "a frame has another length than its directory says"))
        }
    }
}

impl Trailer {
    /// Parses the last four bytes of a pack of `pack_len` bytes.
    pub fn parse(last4: &[u8], pack_len: u64, header: &Header) -> Result<Self> {
        let len = u64::from(Cursor::new("pack", last4).u32()?);
        let offset = pack_len.checked_sub(4 + len).filter(|&o| o >= header.len && len >= TAG as u64);
        let offset =
            offset.ok_or_else(|| FormatError::malformed("pack", "its directory does not fit in it"))?;
        Ok(Self { offset, len })
    }

    /// The sealed directory, out of a whole pack in memory; empty when it is not within it.
    #[must_use]
    pub fn of<'a>(&self, pack: &'a [u8]) -> &'a [u8] {
        let range = usize::try_from(self.offset).ok().zip(usize::try_from(self.offset + self.len).ok());
        range.and_then(|(from, to)| pack.get(from..to)).unwrap_or_default()
    }
}

impl Directory {
    fn parse(plain: &[u8], header_len: u64) -> Result<Self> {
        let bad = |_| FormatError::malformed("pack", "its directory is not CBOR of its form");
        let mut d = minicbor::Decoder::new(plain);
        let count = d.array().map_err(bad)?.unwrap_or(u64::MAX);
        if count > limits::FRAMES_MAX as u64 {
            return Err(FormatError::too_large("pack", "too many frames"));
        }
        let mut frames = Vec::new();
        let mut offset = header_len;
        for number in 0..u32::try_from(count).unwrap_or(u32::MAX) {
            if d.array().map_err(bad)? != Some(3) {
                return Err(FormatError::malformed("pack", "its directory is not CBOR of its form"));
            }
            let kind = match d.u8().map_err(bad)? {
                0 => FrameKind::Raw,
                1 => FrameKind::Zstd,
                _ => return Err(FormatError::unsupported("pack", "a frame of unknown kind")),
            };
            let (sealed_len, plain_len) = (d.u32().map_err(bad)?, d.u32().map_err(bad)?);
            if plain_len as usize > limits::FRAME_MAX || sealed_len as usize > limits::FRAME_MAX + TAG {
                return Err(FormatError::too_large("pack", "a frame over the limit"));
            }
            frames.push(FrameEntry { number, kind, offset, sealed_len, plain_len });
            offset += u64::from(sealed_len);
        }
        if plain[d.position()..].iter().any(|&b| b != 0) {
            return Err(FormatError::malformed("pack", "its padding is not zero"));
        }
        Ok(Self { frames })
    }

    fn end(&self, header_len: u64) -> u64 {
        self.frames.last().map_or(header_len, FrameEntry::end)
    }

    pub fn frame(&self, number: u32) -> Result<&FrameEntry> {
        self.frames
            .get(number as usize)
            .ok_or_else(|| FormatError::malformed("pack", "no frame of that number"))
    }

    #[must_use]
    pub fn frames(&self) -> &[FrameEntry] {
        &self.frames
    }

    /// The chunk that `reference` names, out of its frame's plaintext; refused when its digest does not fit.
    pub fn chunk<'a>(&self, frame: &'a [u8], reference: &Reference) -> Result<&'a [u8]> {
        chunk(frame, reference)
    }
}

/// See [`Directory::chunk`].
pub(crate) fn chunk<'a>(frame: &'a [u8], reference: &Reference) -> Result<&'a [u8]> {
    let from = reference.offset as usize;
    let slice = from.checked_add(reference.length as usize).and_then(|to| frame.get(from..to));
    let slice = slice.ok_or_else(|| FormatError::malformed("pack", "a reference leaves its frame"))?;
    if Digest::of(slice) == reference.digest {
        Ok(slice)
    } else {
        Err(FormatError::forged("pack", "a chunk has another digest than its reference"))
    }
}
