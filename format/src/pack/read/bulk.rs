//! Opening many frames of packs: in place, into one buffer that is used again, so that nothing is allocated for each.

use super::{FrameEntry, Header};
use crate::crypto::derive::PackKey;
use crate::crypto::open;
use crate::pack::FrameKind;
use crate::{FormatError, Result};

/// A buffer over this is given back after the frame that needed it, bytes.
const KEPT_MAX: usize = 4 << 20;

/// Opens one frame after another; each thread has its own.
pub struct FrameOpener {
    zstd: zstd::bulk::Decompressor<'static>,
    plain: Vec<u8>,
}

impl std::fmt::Debug for FrameOpener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FrameOpener({} bytes)", self.plain.capacity())
    }
}

impl FrameOpener {
    /// # Errors
    /// Where there is no memory for zstd's tables.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self { zstd: zstd::bulk::Decompressor::new()?, plain: Vec::new() })
    }

    /// Opens a frame, whose sealed bytes are overwritten. What is given back lives until the next call.
    ///
    /// # Errors
    /// As [`Header::open_frame`].
    pub fn open<'a>(
        &'a mut self,
        header: &Header,
        key: &PackKey,
        entry: &FrameEntry,
        sealed: &'a mut [u8],
    ) -> Result<&'a [u8]> {
        if sealed.len() != entry.sealed_len as usize {
            return Err(FormatError::malformed("pack", "frame cut short"));
        }
        let opened = open::frame_in_place(key, &header.context(), entry.number, entry.kind as u8, sealed)?;
        let plain = if entry.kind == FrameKind::Zstd { self.decompress(opened, entry)? } else { &*opened };
        if plain.len() == entry.plain_len as usize {
            Ok(plain)
        } else {
            Err(FormatError::malformed("pack", "a frame has another length than its directory says"))
        }
    }

    fn decompress(&mut self, packed: &[u8], entry: &FrameEntry) -> Result<&[u8]> {
        if self.plain.capacity() > KEPT_MAX {
            self.plain = Vec::new();
        }
        self.plain.clear();
        // Of at most limits::FRAME_MAX: the directory was checked.
        self.plain.reserve(entry.plain_len as usize);
        let written = self.zstd.decompress_to_buffer(packed, &mut self.plain);
        written.map_err(|_| FormatError::malformed("pack", "a frame does not decompress"))?;
        Ok(&self.plain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::derive::{RunKey, Secret32};
    use crate::id::Handle;
    use crate::pack::{Directory, HEADER_MAX, PackBuilder, Trailer};

    fn opened(bytes: &[u8], key: &PackKey) -> (Header, Directory) {
        let header = Header::parse(&bytes[..bytes.len().min(HEADER_MAX)]).unwrap();
        let trailer = Trailer::parse(&bytes[bytes.len() - 4..], bytes.len() as u64, &header).unwrap();
        let directory = header.open_directory(key, &trailer, trailer.of(bytes).to_vec()).unwrap();
        (header, directory)
    }

    #[test]
    fn frames_open_as_they_do_one_by_one() {
        let (run, handle) = (RunKey(Secret32::new([1; 32])), Handle([2; 16]));
        let mut builder = PackBuilder::new(handle, &run, b"sealed".to_vec());
        for n in 0..40_u8 {
            // Some compress, some do not.
            let chunk: Vec<u8> = (0..50_000_u32)
                .map(|i| if n % 2 == 0 { n } else { i.wrapping_mul(2_654_435_761).to_le_bytes()[2] })
                .collect();
            builder.append(&chunk);
        }
        let mut pack = builder.finish().bytes;
        let key = run.pack_key(&handle);
        let (header, directory) = opened(&pack, &key);
        let mut opener = FrameOpener::new().unwrap();
        for entry in directory.frames() {
            let range = usize::try_from(entry.offset).unwrap()..usize::try_from(entry.end()).unwrap();
            let expected = header.open_frame(&key, entry, pack[range.clone()].to_vec()).unwrap();
            assert!(opener.open(&header, &key, entry, &mut pack[range.clone()][1..].to_vec()).is_err());
            let mut bad = pack[range.clone()].to_vec();
            bad[0] ^= 1;
            assert!(opener.open(&header, &key, entry, &mut bad).is_err());
            assert_eq!(opener.open(&header, &key, entry, &mut pack[range]).unwrap(), expected);
        }
    }
}
