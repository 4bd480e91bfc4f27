//! How orders and results are sealed: `magic (6) ‖ salt (32) ‖ AES-256-GCM(CBOR)`, the key derived from the work key and
//! the salt, so that one work key seals as many of them as a volume takes attempts.

use bytes::Bytes;
use lifeboat_common::store::{ReadStore, StoreError};
use lifeboat_format::crypto::derive::{Secret32, labelled};
use lifeboat_format::crypto::{open, random, seal};
use lifeboat_format::id::Sha256;
use lifeboat_format::layout;
use minicbor::{Decode, Encode};
use zeroize::Zeroizing;

/// An order or a result, sealed, bytes: a volume of some 4 TiB stored for the first time, or 16 TiB ordered.
pub const SEALED_MAX: u64 = 64 << 20;
const SALT: usize = 32;

/// Why an order or a result cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum WorkError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("agent/{name} is not the {what} that it should be: {why}; it is made anew by the next attempt")]
    Unusable { what: &'static str, name: Sha256, why: String },
}

/// One of the two kinds.
pub(super) struct Kind {
    pub(super) what: &'static str,
    pub(super) magic: &'static [u8; 6],
    pub(super) label: &'static str,
}

/// Seals a document: its name under `agent/`, and its bytes.
pub(super) fn sealed<T: Encode<()>>(kind: &Kind, key: &Secret32, value: &T) -> (Sha256, Bytes) {
    let plain = Zeroizing::new(minicbor::to_vec(value).expect("writing to memory does not fail"));
    let salt: [u8; SALT] = random::bytes();
    let key = labelled(key, kind.label, &salt);
    let sealed = seal::once(&key, kind.magic, &plain);
    let bytes = Bytes::from([&kind.magic[..], &salt, &sealed].concat());
    (Sha256::of(&bytes), bytes)
}

/// Reads and opens a document by its name.
pub(super) async fn fetch<T: for<'b> Decode<'b, ()>>(
    kind: &Kind,
    store: &dyn ReadStore,
    name: &Sha256,
    key: &Secret32,
) -> Result<T, WorkError> {
    let bytes = store.get(&layout::agent(name), SEALED_MAX).await?;
    let unusable = |why: String| WorkError::Unusable { what: kind.what, name: *name, why };
    if Sha256::of(&bytes) != *name {
        return Err(unusable("its bytes are not those that its name says".to_owned()));
    }
    opened(kind, key, &bytes).map_err(unusable)
}

pub(super) fn opened<T: for<'b> Decode<'b, ()>>(
    kind: &Kind,
    key: &Secret32,
    bytes: &[u8],
) -> Result<T, String> {
    let body = bytes.strip_prefix(kind.magic).ok_or("it does not begin as one")?;
    let (salt, body) = body.split_at_checked(SALT).ok_or("it is cut short")?;
    let plain = open::once(kind.what, &labelled(key, kind.label, salt), kind.magic, body);
    let plain = Zeroizing::new(plain.map_err(|e| e.to_string())?);
    let mut d = minicbor::Decoder::new(&plain);
    let value = d.decode().map_err(|e| e.to_string())?;
    if d.position() == plain.len() { Ok(value) } else { Err("there are bytes after its end".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Kind = Kind { what: "work order", magic: b"LBLO\x01\x01", label: "one" };
    const OTHER: Kind = Kind { what: "work result", magic: b"LBLW\x01\x01", label: "other" };

    #[test]
    fn a_document_opens_whole_and_under_its_key_and_kind_only() {
        let (key, value) = (Secret32::random(), vec![1_u64, 2, 3]);
        let (name, bytes) = sealed(&ONE, &key, &value);
        assert_eq!(name, Sha256::of(&bytes));
        assert_eq!(opened::<Vec<u64>>(&ONE, &key, &bytes), Ok(value));
        assert!(opened::<Vec<u64>>(&OTHER, &key, &bytes).is_err());
        assert!(opened::<Vec<u64>>(&ONE, &Secret32::random(), &bytes).is_err());
        assert!(sealed(&ONE, &key, &7_u64).1[..38] != bytes[..38], "another salt each time");
        for end in 0..bytes.len() {
            assert!(opened::<Vec<u64>>(&ONE, &key, &bytes[..end]).is_err());
            let mut bad = bytes.to_vec();
            bad[end] ^= 1;
            assert!(opened::<Vec<u64>>(&ONE, &key, &bad).is_err());
        }
    }
}
