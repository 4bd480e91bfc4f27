//! What a worker is given, as bytes: sealed to the key that it made, and bounded. Pure.

use lifeboat_common::reader::{GrantedPack, PackRef, TreeGrant};
use lifeboat_format::crypto::derive::{PackKey, Secret32};
use lifeboat_format::crypto::open::OneTimeIdentity;
use lifeboat_format::crypto::seal;
use lifeboat_format::id::{Handle, Sha256};
use lifeboat_format::pack::Reference;
use lifeboat_format::{FormatError, limits};
use minicbor::bytes::{ByteArray, ByteVec};
use minicbor::{Decode, Encode};
use zeroize::Zeroizing;

/// Packs in one grant, 16 TiB of full ones.
const PACKS_MAX: usize = 1 << 20;
/// Of a grant in clear, bytes.
const PLAIN_MAX: usize = 128 << 20;
/// Of a grant, sealed, bytes.
pub(super) const SEALED_MAX: usize = PLAIN_MAX + (1 << 20);
const WHAT: &str = "grant";

/// What a worker does, and all it may read.
#[derive(Debug, Clone)]
pub struct Grant {
    pub tree: TreeGrant,
    /// The part of the tree that is wanted, components joined by `/`; empty for all of it.
    pub path: Vec<u8>,
    /// Make device nodes.
    pub devices: bool,
}

/// A grant that cannot be given or taken.
#[derive(Debug, thiserror::Error)]
pub enum GrantError {
    #[error(transparent)]
    Sealed(#[from] FormatError),
    #[error("the grant holds {0}")]
    Wrong(String),
}

#[derive(Encode, Decode)]
struct Wire {
    #[n(0)]
    seq: u64,
    #[n(1)]
    folder: String,
    #[n(2)]
    root: Option<Reference>,
    #[n(3)]
    path: ByteVec,
    #[n(4)]
    devices: bool,
    #[n(5)]
    packs: Vec<Pack>,
}

#[derive(Encode, Decode)]
struct Pack {
    #[n(0)]
    handle: Handle,
    #[n(1)]
    sha256: Sha256,
    #[n(2)]
    size: u64,
    #[n(3)]
    key: ByteArray<32>,
}

impl Grant {
    /// Seals it to a worker's recipient.
    ///
    /// # Errors
    /// The recipient is none, or the grant is longer than any may be.
    pub fn seal(&self, recipient: &str) -> Result<Vec<u8>, GrantError> {
        let packs = self.tree.packs.iter().map(|p| Pack {
            handle: p.handle,
            sha256: p.pack.sha256,
            size: p.pack.size,
            key: (*p.key.0.expose()).into(),
        });
        let wire = Wire {
            seq: self.tree.seq,
            folder: self.tree.folder.clone(),
            root: self.tree.root,
            path: self.path.clone().into(),
            devices: self.devices,
            packs: packs.collect(),
        };
        if wire.packs.len() > PACKS_MAX {
            return Err(GrantError::Wrong("more packs than one worker can be given".to_owned()));
        }
        let plain = Zeroizing::new(minicbor::to_vec(&wire).expect("writing to memory does not fail"));
        Ok(seal::to_one(recipient, &plain)?)
    }

    /// Opens it with the worker's key.
    ///
    /// # Errors
    /// It is sealed to another key, or is no grant.
    pub fn open(identity: &OneTimeIdentity, sealed: &[u8]) -> Result<Self, GrantError> {
        let plain = identity.open(WHAT, sealed, PLAIN_MAX as u64)?;
        let bad = |why: &str| GrantError::Wrong(why.to_owned());
        let wire: Wire = minicbor::decode(&plain).map_err(|e| bad(&e.to_string()))?;
        if wire.packs.len() > PACKS_MAX || wire.packs.iter().any(|p| p.size > limits::PACK_MAX) {
            return Err(bad("packs that cannot be"));
        }
        let pack = |p: Pack| GrantedPack {
            handle: p.handle,
            pack: PackRef { sha256: p.sha256, size: p.size },
            key: PackKey(Secret32::new(*p.key)),
        };
        let packs = wire.packs.into_iter().map(pack).collect();
        let tree = TreeGrant { seq: wire.seq, folder: wire.folder, root: wire.root, packs };
        Ok(Self { tree, path: wire.path.into(), devices: wire.devices })
    }
}
