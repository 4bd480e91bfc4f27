//! Key derivation: HKDF-SHA-256 (RFC 5869) with a label for each use. Knows no bytes of the store.

use crate::id::{ChunkId, Digest, Fingerprint, Handle, PathHash, ScopeAlias};
use ring::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// 32 secret bytes, wiped on drop, never printed.
#[derive(Clone, Zeroize, ZeroizeOnDrop, PartialEq, Eq)]
pub struct Secret32([u8; 32]);

impl std::fmt::Debug for Secret32 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret32(…)")
    }
}

impl Secret32 {
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
    #[must_use]
    pub fn random() -> Self {
        Self(super::random::bytes())
    }
    #[must_use]
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

/// A worker's key for one run: 32 random bytes, known to nobody once the run ends but to who opens its epoch.
#[derive(Clone, Debug)]
pub struct RunKey(pub Secret32);

/// Opens the frames of one pack and nothing else.
#[derive(Clone, Debug)]
pub struct PackKey(pub Secret32);

struct Len32;
impl KeyType for Len32 {
    fn len(&self) -> usize {
        32
    }
}

fn expand(prk: &Prk, info: &[&[u8]]) -> Secret32 {
    let mut out = [0; 32];
    prk.expand(info, Len32).and_then(|okm| okm.fill(&mut out)).expect("32 bytes are within HKDF's bound");
    let secret = Secret32::new(out);
    out.zeroize();
    secret
}

impl RunKey {
    #[must_use]
    pub fn random() -> Self {
        Self(Secret32::random())
    }

    /// HKDF(salt = handle, ikm = run key, info = "lifeboat/1 pack").
    #[must_use]
    pub fn pack_key(&self, handle: &Handle) -> PackKey {
        let prk = Salt::new(HKDF_SHA256, &handle.0).extract(self.0.expose());
        PackKey(expand(&prk, &[b"lifeboat/1 pack"]))
    }
}

impl PackKey {
    /// HKDF-Expand(pack key, "lifeboat/1 frame" ‖ frame as u32, little endian).
    #[must_use]
    pub fn frame_key(&self, frame: u32) -> Secret32 {
        let prk = Prk::new_less_safe(HKDF_SHA256, self.0.expose());
        expand(&prk, &[b"lifeboat/1 frame", &frame.to_le_bytes()])
    }
}

/// HKDF(salt = none, ikm = secret, info = label ‖ 00 ‖ context).
#[must_use]
pub fn labelled(secret: &Secret32, label: &str, context: &[u8]) -> Secret32 {
    let prk = Salt::new(HKDF_SHA256, &[]).extract(secret.expose());
    expand(&prk, &[label.as_bytes(), &[0], context])
}

/// What one domain's deduplication needs; made from the dedup key and the domain's name.
#[derive(Clone, Debug)]
pub struct DomainKeys {
    chunk: Secret32,
    cut: Secret32,
    path: Secret32,
    fingerprint: Secret32,
}

impl DomainKeys {
    #[must_use]
    pub fn new(dedup: &Secret32, domain: &str) -> Self {
        Self {
            chunk: labelled(dedup, "lifeboat/1 chunk id", domain.as_bytes()),
            cut: labelled(dedup, "lifeboat/1 page cut", domain.as_bytes()),
            path: labelled(dedup, "lifeboat/1 path hash", domain.as_bytes()),
            fingerprint: labelled(dedup, "lifeboat/1 fingerprint", domain.as_bytes()),
        }
    }

    /// For a worker of this domain, who is not given the key that they come from: chunk, cut, path, fingerprint.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<[u8; 128]> {
        let mut out = Zeroizing::new([0; 128]);
        let keys = [&self.chunk, &self.cut, &self.path, &self.fingerprint];
        for (place, key) in out.chunks_exact_mut(32).zip(keys) {
            place.copy_from_slice(key.expose());
        }
        out
    }

    /// The reverse of [`Self::to_bytes`]; `None` for another length.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        if bytes.len() != 128 {
            return None;
        }
        let key = |i: usize| bytes[32 * i..].first_chunk::<32>().copied().map(Secret32::new);
        Some(Self { chunk: key(0)?, cut: key(1)?, path: key(2)?, fingerprint: key(3)? })
    }

    /// Keyed BLAKE3 of the digest, cut to 16 bytes.
    #[must_use]
    pub fn chunk_id(&self, digest: &Digest) -> ChunkId {
        ChunkId(first16(&blake3::keyed_hash(self.chunk.expose(), &digest.0)))
    }

    /// A path in a tree (its components joined by `/`; empty for the root): keyed BLAKE3, cut to 16 bytes.
    #[must_use]
    pub fn path_hash(&self, path: &[u8]) -> PathHash {
        PathHash(first16(&blake3::keyed_hash(self.path.expose(), path)))
    }

    /// What [`crate::volume_log::Stat`] encodes: keyed BLAKE3, cut to 16 bytes.
    #[must_use]
    pub(crate) fn fingerprint(&self, stat: &[u8]) -> Fingerprint {
        Fingerprint(first16(&blake3::keyed_hash(self.fingerprint.expose(), stat)))
    }

    /// Where a sorted map's pages are cut: keyed BLAKE3 of a map key, first 8 bytes, little endian.
    #[must_use]
    pub fn cut_hash(&self, key: &[u8]) -> u64 {
        let hash = blake3::keyed_hash(self.cut.expose(), key);
        let mut first = [0; 8];
        first.copy_from_slice(&hash.as_bytes()[..8]);
        u64::from_le_bytes(first)
    }
}

/// Keyed pseudonym of a scope (`ns/<namespace>` or `paths/<volume>`): keyed BLAKE3, cut to 16 bytes.
#[must_use]
pub fn scope_alias(alias_key: &Secret32, scope: &str) -> ScopeAlias {
    ScopeAlias(first16(&blake3::keyed_hash(alias_key.expose(), scope.as_bytes())))
}

fn first16(hash: &blake3::Hash) -> [u8; 16] {
    let mut out = [0; 16];
    out.copy_from_slice(&hash.as_bytes()[..16]);
    out
}
