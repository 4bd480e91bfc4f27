//! Compression of one frame, with a context that is used again and again: making one costs more than a small frame.

use super::FrameKind;
use zstd::zstd_safe::CParameter;

/// zstd's level.
const LEVEL: i32 = 1;
/// What level 1 is tuned by, as log2 of its hash table's entries (zstd itself: 13 to 15), the shortest match it looks
/// for, bytes (6 or 7), and log2 of its window (17 to 19). Measured on binaries in chunks of 1 MiB: 5 % smaller than
/// level 1 as it is, at 0.9 of its speed; on source text in frames of 128 KiB 1 % smaller, at the same speed.
const TUNED: [CParameter; 3] = [CParameter::HashLog(16), CParameter::MinMatch(6), CParameter::WindowLog(21)];
/// A frame is looked at in so many places before it is compressed,
const SAMPLES: usize = 4;
/// of so many bytes each.
const SAMPLE: usize = 4 << 10;

/// Compresses frames: zstd (RFC 8878), one frame each, without dictionary.
pub struct Compressor {
    zstd: Option<zstd::bulk::Compressor<'static>>,
    tuned: bool,
    sample: Vec<u8>,
    scratch: Vec<u8>,
}

impl Compressor {
    /// Level 1 as zstd has it; every frame is tried. Its output is held by a fixture.
    #[must_use]
    pub fn plain() -> Self {
        Self { zstd: None, tuned: false, sample: Vec::new(), scratch: Vec::new() }
    }

    /// Level 1 with a larger table and window; what a sample shows to be incompressible is not tried.
    #[must_use]
    pub fn tuned() -> Self {
        Self { tuned: true, ..Self::plain() }
    }

    /// Puts `plain` into `out`, whose content goes, where that saves at least a thirty-second ([`FrameKind::Zstd`]).
    /// Otherwise the frame is `plain` as it is, and `out` is of no meaning.
    pub fn compress(&mut self, plain: &[u8], out: &mut Vec<u8>) -> FrameKind {
        if self.tuned && plain.len() >= 2 * SAMPLES * SAMPLE && !self.is_promising(plain) {
            return FrameKind::Raw;
        }
        self.try_zstd(plain, out)
    }

    fn try_zstd(&mut self, plain: &[u8], out: &mut Vec<u8>) -> FrameKind {
        out.clear();
        out.reserve(zstd::zstd_safe::compress_bound(plain.len()));
        let Some(zstd) = self.context() else { return FrameKind::Raw };
        match zstd.compress_to_buffer(plain, out) {
            Ok(packed) if packed + plain.len() / 32 < plain.len() => FrameKind::Zstd,
            _ => FrameKind::Raw,
        }
    }

    /// Looks at four places: bytes that are far from evenly distributed, or that compress where they look even.
    fn is_promising(&mut self, plain: &[u8]) -> bool {
        self.sample.clear();
        for i in 0..SAMPLES {
            let at = (plain.len() - SAMPLE) / (SAMPLES - 1) * i;
            self.sample.extend_from_slice(&plain[at..at + SAMPLE]);
        }
        if is_uneven(&self.sample) {
            return true;
        }
        let (sample, mut scratch) = (std::mem::take(&mut self.sample), std::mem::take(&mut self.scratch));
        let kind = self.try_zstd(&sample, &mut scratch);
        (self.sample, self.scratch) = (sample, scratch);
        kind == FrameKind::Zstd
    }

    /// None where there is no memory for one: then nothing is compressed.
    fn context(&mut self) -> Option<&mut zstd::bulk::Compressor<'static>> {
        if self.zstd.is_none() {
            let mut new = zstd::bulk::Compressor::new(LEVEL).ok()?;
            if self.tuned {
                TUNED.into_iter().try_for_each(|parameter| new.set_parameter(parameter)).ok()?;
            }
            self.zstd = Some(new);
        }
        self.zstd.as_mut()
    }
}

/// Whether two bytes drawn from `sample` are equal at least one eighth more often than in noise (1/256).
fn is_uneven(sample: &[u8]) -> bool {
    let mut counts = [[0_u32; 256]; 2];
    for pair in sample.chunks_exact(2) {
        counts[0][usize::from(pair[0])] += 1;
        counts[1][usize::from(pair[1])] += 1;
    }
    let squares: u64 =
        (0..256).map(|b| u64::from(counts[0][b]) + u64::from(counts[1][b])).map(|n| n * n).sum();
    let n = sample.len() as u64;
    squares * 256 * 8 > n * n * 9
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(len: usize) -> Vec<u8> {
        let mut x = 7_u64;
        let mut next = || {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            x.to_be_bytes()[3]
        };
        (0..len).map(|_| next()).collect()
    }

    #[test]
    fn noise_is_left_alone_and_everything_else_tried() {
        let mut c = Compressor::tuned();
        let mut out = Vec::new();
        assert_eq!(c.compress(&noise(200_000), &mut out), FrameKind::Raw);
        assert!(out.is_empty(), "it was not even tried");
        let text = b"a line of a log, 1234567890\n".repeat(8000);
        assert_eq!(c.compress(&text, &mut out), FrameKind::Zstd);
        assert_eq!(zstd::bulk::decompress(&out, text.len()).unwrap(), text);
        // Noise that repeats at once: its bytes are even, and it compresses.
        let repeated = noise(512).repeat(400);
        assert_eq!(c.compress(&repeated, &mut out), FrameKind::Zstd);
        assert_eq!(c.compress(b"", &mut out), FrameKind::Raw);
    }

    #[test]
    fn a_used_context_writes_what_a_new_one_writes() {
        let mut used = Compressor::plain();
        let (mut first, mut second) = (Vec::new(), Vec::new());
        let text = b"some text, some more text, and again some text".repeat(50);
        used.compress(&noise(10_000), &mut first);
        used.compress(&text, &mut first);
        Compressor::plain().compress(&text, &mut second);
        assert_eq!(first, second);
        assert_eq!(first, zstd::bulk::compress(&text, 1).unwrap());
    }
}
