//! What an object must be, and the proof that it is: only this module makes a [`Verified`], and only a [`Verified`] can
//! be placed in the vault. Does no I/O.

use crate::vault::Staged;
use bytes::Bytes;
use lifeboat_format::id::Sha256;
use lifeboat_format::{layout, limits};
use std::marker::PhantomData;

/// A kind of object whose name holds the SHA-256 of its bytes.
pub trait Kind: Send + Sync + 'static {
    /// Goes to disk as it arrives, rather than into memory.
    const STREAMED: bool;
    /// Durable at once, rather than with the snapshot.
    const AT_ONCE: bool;
}

#[derive(Debug)]
pub struct Pack;
#[derive(Debug)]
pub struct List;
#[derive(Debug)]
pub struct EpochFile;
#[derive(Debug)]
pub struct CharterFile;

impl Kind for Pack {
    const STREAMED: bool = true;
    const AT_ONCE: bool = false;
}
impl Kind for List {
    const STREAMED: bool = false;
    const AT_ONCE: bool = true;
}
impl Kind for EpochFile {
    const STREAMED: bool = false;
    const AT_ONCE: bool = true;
}
impl Kind for CharterFile {
    const STREAMED: bool = false;
    const AT_ONCE: bool = true;
}

/// An object by its name: the key is made from the hash.
#[derive(Debug)]
pub struct Named<K> {
    pub key: String,
    pub sha256: Sha256,
    /// The most bytes it may have.
    pub max: u64,
    /// Exactly this many, where something signed says so.
    pub size: Option<u64>,
    kind: PhantomData<K>,
}

impl<K> Named<K> {
    fn new(key: String, sha256: Sha256, max: u64, size: Option<u64>) -> Self {
        Self { key, sha256, max, size, kind: PhantomData }
    }
}

impl Named<Pack> {
    #[must_use]
    pub fn pack(sha256: Sha256, size: u64) -> Self {
        Self::new(layout::pack(&sha256), sha256, size.min(limits::PACK_MAX), Some(size))
    }
}

impl Named<List> {
    #[must_use]
    pub fn list(sha256: Sha256) -> Self {
        Self::new(layout::list(&sha256), sha256, limits::LIST_MAX, None)
    }
}

impl Named<EpochFile> {
    #[must_use]
    pub fn epoch(n: u64, sha256: Sha256) -> Self {
        Self::new(layout::epoch(n, &sha256), sha256, limits::EPOCH_MAX, None)
    }
}

impl Named<CharterFile> {
    #[must_use]
    pub fn charter(n: u64, sha256: Sha256) -> Self {
        Self::new(layout::charter(n, &sha256), sha256, limits::CHARTER_MAX, None)
    }
}

/// Bytes of an object.
#[derive(Debug)]
pub enum Content {
    Bytes(Bytes),
    Staged(Staged),
}

/// What was expected of an object and what was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    pub key: String,
    pub expected: String,
    pub seen: String,
}

/// Bytes that hash to their name.
#[derive(Debug)]
pub struct Verified<K> {
    key: String,
    content: Content,
    kind: PhantomData<K>,
}

impl<K> Verified<K> {
    /// The bytes of what was not streamed.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        match &self.content {
            Content::Bytes(bytes) => bytes,
            Content::Staged(_) => &[],
        }
    }

    #[must_use]
    pub(crate) fn into_parts(self) -> (String, Content) {
        (self.key, self.content)
    }
}

/// Refuses a length that the object cannot have, before its bytes are taken.
pub fn check_size<K>(named: &Named<K>, size: u64) -> Result<(), Damage> {
    let expected = match named.size {
        Some(exact) if size != exact => format!("{exact} bytes"),
        _ if size > named.max => format!("at most {} bytes", named.max),
        _ => return Ok(()),
    };
    Err(Damage { key: named.key.clone(), expected, seen: format!("{size} bytes") })
}

/// The one way to a [`Verified`].
pub fn check<K>(named: &Named<K>, content: Content) -> Result<Verified<K>, Damage> {
    let (sha256, size) = match &content {
        Content::Bytes(bytes) => (Sha256::of(bytes), bytes.len() as u64),
        Content::Staged(staged) => (staged.sha256(), staged.size()),
    };
    check_size(named, size)?;
    if sha256 != named.sha256 {
        return Err(Damage {
            key: named.key.clone(),
            expected: format!("SHA-256 {}", named.sha256),
            seen: format!("SHA-256 {sha256} over {size} bytes"),
        });
    }
    Ok(Verified { key: named.key.clone(), content, kind: PhantomData })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_bytes_are_verified() {
        let named = Named::list(Sha256::of(b"list"));
        assert_eq!(check(&named, Content::Bytes(Bytes::from_static(b"list"))).unwrap().bytes(), b"list");
        let damage = check(&named, Content::Bytes(Bytes::from_static(b"lisT"))).unwrap_err();
        assert_eq!(damage.key, named.key);
        assert!(damage.expected.contains(&named.sha256.to_hex()));
        let pack = Named::pack(Sha256::of(b"pack"), 4);
        assert!(check_size(&pack, 4).is_ok());
        assert!(check_size(&pack, 3).is_err() && check_size(&pack, 5).is_err());
        assert!(check_size(&named, limits::LIST_MAX + 1).is_err());
    }
}
