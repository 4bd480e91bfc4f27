//! The packs that a volume's last tree needs, where they are many: sorted, and cut by content so that an unchanged
//! stretch is named again.

use crate::Result;
use crate::crypto::derive::Secret32;
use crate::id::Handle;
use crate::send_log::{cut, open_as, seal_as};

const MAGIC: &[u8; 6] = b"LBLH\x01\x01";

/// Cuts handles, sorted, into pieces as [`crate::send_log::segments`] cuts chunks.
#[must_use]
pub fn handle_pieces(handles: &[Handle]) -> Vec<&[Handle]> {
    cut(handles, |h| h.0[15])
}

#[must_use]
pub fn seal_handles(key: &Secret32, handles: &[Handle]) -> Vec<u8> {
    seal_as(MAGIC, key, &handles.to_vec())
}

/// # Errors
/// Over the limit, of another kind, or sealed under another key.
pub fn open_handles(key: &Secret32, sealed: &[u8]) -> Result<Vec<Handle>> {
    open_as(MAGIC, key, sealed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_together_are_all_and_open_with_their_key_only() {
        let handle = |n: u32| {
            let digest = blake3::hash(&n.to_le_bytes());
            let mut out = [0; 16];
            out.copy_from_slice(&digest.as_bytes()[..16]);
            Handle(out)
        };
        let mut all: Vec<Handle> = (0..3000).map(handle).collect();
        all.sort_unstable();
        let pieces = handle_pieces(&all);
        assert!(pieces.len() > 1);
        assert_eq!(pieces.concat(), all);
        let key = Secret32::random();
        let sealed = seal_handles(&key, pieces[0]);
        assert_eq!(open_handles(&key, &sealed).unwrap(), pieces[0]);
        assert!(open_handles(&Secret32::random(), &sealed).is_err());
    }
}
