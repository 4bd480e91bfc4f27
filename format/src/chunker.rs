//! Where a long value is cut: FastCDC (Xia et al., USENIX ATC 2016; the 2020 variant) on bytes in memory.
//! Knows nothing of keys: the cut is no security boundary.

use crate::{FormatError, Result};
use fastcdc::v2020::FastCDC;
use serde::{Deserialize, Serialize};

/// Sizes in bytes; part of the charter, so that every run of a repository cuts alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChunkSizes {
    pub min: u32,
    pub average: u32,
    pub max: u32,
}

impl Default for ChunkSizes {
    fn default() -> Self {
        Self { min: 256 << 10, average: 1 << 20, max: 4 << 20 }
    }
}

impl ChunkSizes {
    /// The crate checks its sizes only in debug builds, and a charter is input: refused here.
    pub fn check(&self) -> Result<()> {
        let in_range = (64..=1 << 20).contains(&self.min)
            && (256..=4 << 20).contains(&self.average)
            && (1024..=16 << 20).contains(&self.max)
            && self.min < self.average
            && self.average < self.max;
        if in_range { Ok(()) } else { Err(FormatError::malformed("charter", "chunk sizes out of range")) }
    }
}

/// Cuts `bytes` into chunks; their concatenation is `bytes`.
pub fn cut(bytes: &[u8], sizes: ChunkSizes) -> impl Iterator<Item = &[u8]> {
    let chunker = FastCDC::new(bytes, sizes.min as usize, sizes.average as usize, sizes.max as usize);
    chunker.map(move |c| &bytes[c.offset..c.offset + c.length])
}

/// The length of the first chunk of a longer value of which `bytes` are the beginning. Less than all of `bytes` is the
/// cut that the whole value has there; all of them may be, or may go on.
#[must_use]
pub fn first(bytes: &[u8], sizes: ChunkSizes) -> usize {
    let chunker = FastCDC::new(bytes, sizes.min as usize, sizes.average as usize, sizes.max as usize);
    chunker.cut(0, bytes.len()).1
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes of a small linear congruential generator: the same on every machine and for ever.
    fn noise(len: usize) -> Vec<u8> {
        let mut x = 0x1234_5678_u64;
        (0..len)
            .map(|_| {
                x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                x.to_be_bytes()[1]
            })
            .collect()
    }

    #[test]
    fn cut_points_are_frozen() {
        let data = noise(8 << 20);
        let lengths: Vec<usize> = cut(&data, ChunkSizes::default()).map(<[u8]>::len).collect();
        assert_eq!(
            lengths,
            [1_283_290, 646_971, 1_247_768, 752_888, 386_560, 836_562, 1_780_276, 1_243_667, 210_626]
        );
    }

    #[test]
    fn chunks_join_to_the_whole() {
        let data = noise(3_000_000);
        assert_eq!(cut(&data, ChunkSizes::default()).collect::<Vec<_>>().concat(), data);
        assert_eq!(cut(&[], ChunkSizes::default()).count(), 0);
    }

    #[test]
    fn a_cut_before_the_end_does_not_depend_on_what_follows() {
        let sizes = ChunkSizes { min: 64, average: 256, max: 1024 };
        let data = noise(100_000);
        let whole: Vec<usize> = cut(&data, sizes).map(<[u8]>::len).collect();
        for window in [1025, 1500, 2000, 4096] {
            let (mut at, mut seen, mut end) = (0, Vec::new(), 0);
            while at < data.len() {
                let n = first(&data[at..end], sizes);
                if at + n == end && end < data.len() {
                    end = (at + window).min(data.len());
                    if first(&data[at..end], sizes) < end - at || end == data.len() {
                        continue;
                    }
                }
                seen.push(n);
                at += n;
            }
            assert_eq!(seen, whole, "{window}");
        }
        for at in (0..90_000).step_by(7919) {
            let n = first(&data[at..], sizes);
            // Shorter data may end where it would not be cut; a cut before its end is the same one.
            assert!((n + 1..n + 400).all(|len| {
                let cut = first(&data[at..at + len], sizes);
                cut == n || cut == len
            }));
        }
    }

    #[test]
    fn sizes_of_a_charter_are_checked() {
        assert!(ChunkSizes::default().check().is_ok());
        assert!(ChunkSizes { min: 0, average: 1, max: 2 }.check().is_err());
        assert!(ChunkSizes { min: 1 << 20, average: 1 << 20, max: 4 << 20 }.check().is_err());
    }
}
