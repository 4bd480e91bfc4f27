//! Pack lists: which packs a worker wrote in a run, in order. In clear but for the sealed run key, so that the
//! replicator can check what it cannot read.
//!
//! `"LBLS" ‖ version 01 ‖ suite 01 ‖ nonce (16) ‖ u16 length ‖ sealed run key ‖ u32 count ‖ count × (SHA-256 (32) ‖ u64 size ‖ handle (16))`,
//! little endian, nothing after.

use crate::bytes::Cursor;
use crate::id::{Handle, Sha256};
use crate::{FormatError, Result, limits};

const MAGIC: &[u8; 6] = b"LBLS\x01\x01";
const ENTRY: usize = 56;

/// One pack as a list names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackEntry {
    pub sha256: Sha256,
    /// Bytes, sealed.
    pub size: u64,
    pub handle: Handle,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackList {
    /// Random, so that two lists of the same packs have different names.
    pub nonce: [u8; 16],
    pub sealed_run_key: Vec<u8>,
    pub packs: Vec<PackEntry>,
}

impl PackList {
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(32 + self.sealed_run_key.len() + self.packs.len() * ENTRY);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&self.nonce);
        let key_len = u16::try_from(self.sealed_run_key.len()).expect("a sealed run key is below 1 KiB");
        out.extend_from_slice(&key_len.to_le_bytes());
        out.extend_from_slice(&self.sealed_run_key);
        let count = u32::try_from(self.packs.len()).expect("a list is closed far below this");
        out.extend_from_slice(&count.to_le_bytes());
        for p in &self.packs {
            out.extend_from_slice(&p.sha256.0);
            out.extend_from_slice(&p.size.to_le_bytes());
            out.extend_from_slice(&p.handle.0);
        }
        out
    }

    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let mut c = Cursor::new("pack list", bytes);
        c.magic(MAGIC)?;
        let nonce = c.array()?;
        let key_len = usize::from(c.u16()?);
        if key_len > limits::SEALED_RUN_KEY_MAX {
            return Err(FormatError::too_large("pack list", "sealed run key too long"));
        }
        let sealed_run_key = c.take(key_len)?.to_vec();
        let count = c.u32()? as usize;
        if count > limits::LIST_PACKS_MAX || c.rest() != count * ENTRY {
            return Err(FormatError::malformed("pack list", "its count and its length do not fit"));
        }
        let mut packs = Vec::with_capacity(count);
        for _ in 0..count {
            let entry = PackEntry { sha256: Sha256(c.array()?), size: c.u64()?, handle: Handle(c.array()?) };
            if entry.size > limits::PACK_MAX {
                return Err(FormatError::too_large("pack list", "it names a pack over the limit"));
            }
            packs.push(entry);
        }
        Ok(Self { nonce, sealed_run_key, packs })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> PackList {
        let entry = |b| PackEntry { sha256: Sha256([b; 32]), size: u64::from(b), handle: Handle([b; 16]) };
        PackList { nonce: [7; 16], sealed_run_key: vec![9; 300], packs: vec![entry(1), entry(2)] }
    }

    #[test]
    fn round_trip() {
        assert_eq!(PackList::parse(&sample().encode()).unwrap(), sample());
    }

    #[test]
    fn no_prefix_and_no_longer_one_parses() {
        let bytes = sample().encode();
        for end in 0..bytes.len() {
            assert!(PackList::parse(&bytes[..end]).is_err());
        }
        assert!(PackList::parse(&[bytes, vec![0]].concat()).is_err());
    }
}
