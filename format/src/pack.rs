//! Packs: sealed files of frames. Owns their bytes; knows nothing of where they are kept.
//!
//! `header ‖ frames ‖ sealed directory ‖ u32 length of the sealed directory`, little endian. Header:
//! `"LBPK" ‖ version 01 ‖ suite 01 ‖ u16 length ‖ sealed run key ‖ handle (16)`. The directory is CBOR. A
//! frame of zeros pads the pack (Padmé, Nikitin et al., PETS 2019), so that its size says little of its content.

mod compress;
mod read;
mod write;

use crate::id::{Digest, Handle};
use minicbor::{Decode, Encode};

pub use compress::Compressor;
pub use read::{Directory, FrameEntry, FrameOpener, Header, Trailer};
pub use write::{ClosedPack, PackBuilder, SealedPack};

const MAGIC: &[u8; 6] = b"LBPK\x01\x01";
/// The longest header: magic, length, sealed run key, handle. Bytes to fetch before anything is known of a pack.
pub const HEADER_MAX: usize = 6 + 2 + crate::limits::SEALED_RUN_KEY_MAX + 16;
/// The number that the directory has as a frame.
const DIRECTORY_FRAME: u32 = u32::MAX;

/// What a frame's plaintext is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameKind {
    /// Chunks as they are.
    Raw = 0,
    /// Chunks, zstd (RFC 8878), one zstd frame without dictionary.
    Zstd = 1,
    /// The directory.
    Directory = 2,
}

/// Where a chunk is: bound to a pack by its handle, to the chunk's content by its digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(array)]
pub struct Reference {
    #[n(0)]
    pub handle: Handle,
    #[n(1)]
    pub frame: u32,
    /// In the frame's plaintext, bytes.
    #[n(2)]
    pub offset: u32,
    /// Bytes.
    #[n(3)]
    pub length: u32,
    #[n(4)]
    pub digest: Digest,
}

/// Padmé: the smallest allowed size that is not below `len`; at most 12 % more, 3 % above 64 KiB.
#[must_use]
pub fn padme(len: u64) -> u64 {
    if len < 2 {
        return len;
    }
    let e = u64::from(len.ilog2());
    let s = u64::from(e.max(1).ilog2()) + 1;
    let mask = (1_u64 << (e - s.min(e))) - 1;
    (len + mask) & !mask
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::derive::{RunKey, Secret32};
    use proptest::prelude::*;

    fn run_key() -> RunKey {
        RunKey(Secret32::new([1; 32]))
    }

    fn open(bytes: &[u8], want: &Reference) -> crate::Result<Vec<u8>> {
        let header = Header::parse(bytes)?;
        let key = run_key().pack_key(&header.handle);
        let trailer = Trailer::parse(&bytes[bytes.len().saturating_sub(4)..], bytes.len() as u64, &header)?;
        let directory = header.open_directory(&key, &trailer, trailer.of(bytes).to_vec())?;
        let mut plain = Vec::new();
        for entry in directory.frames() {
            let (from, to) = (usize::try_from(entry.offset).unwrap(), usize::try_from(entry.end()).unwrap());
            plain.push(header.open_frame(&key, entry, bytes[from..to].to_vec())?);
        }
        directory.frame(want.frame)?;
        Ok(directory.chunk(&plain[want.frame as usize], want)?.to_vec())
    }

    fn build(chunks: &[Vec<u8>]) -> (SealedPack, Vec<Reference>) {
        let mut builder = PackBuilder::new(Handle([2; 16]), &run_key(), vec![3; 250]);
        let references = chunks.iter().map(|c| builder.append(c)).collect();
        (builder.finish(), references)
    }

    #[test]
    fn padme_is_bounded_and_monotone() {
        let mut last = 0;
        for len in (0..200_000).step_by(17) {
            let padded = padme(len);
            assert!(padded >= len && padded >= last && padded <= len + len / 8 + 1, "{len} → {padded}");
            assert_eq!(padme(padded), padded);
            last = padded;
        }
    }

    #[test]
    fn every_flipped_byte_is_noticed() {
        let (pack, references) = build(&[b"hello hello hello hello".to_vec(), vec![7; 1000]]);
        assert_eq!(open(&pack.bytes, &references[0]).unwrap(), b"hello hello hello hello");
        for i in 0..pack.bytes.len() {
            let mut flipped = pack.bytes.clone();
            flipped[i] ^= 0x40;
            assert!(open(&flipped, &references[0]).is_err(), "byte {i}");
        }
        for end in [0, 3, 10, pack.bytes.len() / 2, pack.bytes.len() - 1] {
            assert!(open(&pack.bytes[..end], &references[0]).is_err(), "cut to {end}");
        }
    }

    #[test]
    fn neither_size_nor_directory_shows_how_long_the_chunks_are() {
        let seen = |len: usize| {
            let (pack, _) = build(&[vec![7; 3], (0..len).map(|i| ((i * i) >> 3).to_le_bytes()[0]).collect()]);
            let directory = pack.bytes[pack.bytes.len() - 4..].to_vec();
            (pack.bytes.len(), directory)
        };
        let distinct: std::collections::BTreeSet<_> = (4000..4100).map(seen).collect();
        assert!(distinct.len() <= 4, "{distinct:?}");
    }

    #[test]
    fn packs_of_frames_open_and_are_closed_where_little_is_padded() {
        let mut x = 1_u64;
        let mut next = || {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            x >> 33
        };
        for (least, spread, most_waste) in [(20_000, 60_000, 4), (256 << 10, 1 << 20, 8)] {
            let (mut frames, mut sealed) = (0, 0);
            for n in 0..12 {
                let mut builder = PackBuilder::new(Handle([n; 16]), &run_key(), vec![3; 250]);
                let noise = vec![n; 2 << 20];
                let mut first = None;
                loop {
                    let len = usize::try_from(least + next() % spread).unwrap();
                    if !builder.has_room(len) {
                        break;
                    }
                    let frame = builder.push_frame(FrameKind::Raw, &noise[..len], len);
                    first.get_or_insert((frame, len));
                    frames += len;
                    if builder.fills_a_step(len) {
                        break;
                    }
                }
                let pack = builder.close().name();
                assert!(pack.bytes.len() > 11 << 20 && pack.bytes.len() <= crate::limits::PACK_TARGET);
                assert_eq!(padme(pack.bytes.len() as u64), pack.bytes.len() as u64);
                let (frame, len) = first.unwrap();
                let length = u32::try_from(len).unwrap();
                let reference = Reference {
                    handle: pack.handle,
                    frame,
                    offset: 0,
                    length,
                    digest: Digest::of(&noise[..len]),
                };
                assert_eq!(open(&pack.bytes, &reference).unwrap(), &noise[..len]);
                sealed += pack.bytes.len();
            }
            let waste = (sealed - frames) * 1000 / frames;
            assert!(waste <= most_waste, "{waste} thousandths");
        }
    }

    #[test]
    fn a_reference_to_something_else_is_refused() {
        let (pack, references) = build(&[b"first".to_vec(), b"other".to_vec()]);
        let lie = Reference { digest: references[1].digest, ..references[0] };
        assert!(open(&pack.bytes, &lie).is_err());
        assert!(open(&pack.bytes, &Reference { frame: 9, ..references[0] }).is_err());
        assert!(open(&pack.bytes, &Reference { offset: u32::MAX, ..references[0] }).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn chunks_come_back(chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200_000), 0..8)) {
            let (pack, references) = build(&chunks);
            prop_assert_eq!(padme(pack.bytes.len() as u64), pack.bytes.len() as u64);
            for (chunk, reference) in chunks.iter().zip(&references) {
                prop_assert_eq!(&open(&pack.bytes, reference).unwrap(), chunk);
            }
        }

        #[test]
        fn no_input_panics(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            let _ = Header::parse(&bytes);
        }
    }
}
