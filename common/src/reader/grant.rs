//! What one is given who may read one tree of a snapshot and nothing else: its root, and its packs, each with the key
//! that opens it alone. No identity, no epoch, no run key. How it travels is its carrier's to know.

use super::chunks::ChunkReader;
use super::error::ReadError;
use super::keyring::Keyring;
use super::packs::PackRef;
use super::tree::Tree;
use crate::store::SharedRead;
use lifeboat_format::crypto::derive::PackKey;
use lifeboat_format::id::Handle;
use lifeboat_format::pack::{Header, Reference};
use std::collections::HashMap;
use std::sync::Arc;

/// A pack, and what opens it.
#[derive(Debug, Clone)]
pub struct GrantedPack {
    pub handle: Handle,
    pub pack: PackRef,
    pub key: PackKey,
}

/// All that reading one tree, or a part of it, needs beside the store.
#[derive(Debug, Clone)]
pub struct TreeGrant {
    /// The snapshot's number, for messages.
    pub seq: u64,
    /// As `lifeboat ls` shows the tree.
    pub folder: String,
    /// Nothing where the tree is empty.
    pub root: Option<Reference>,
    pub packs: Vec<GrantedPack>,
}

/// Where keys of packs come from.
#[derive(Debug, Clone)]
pub(super) enum PackKeys {
    /// An administrator's.
    Ring(Arc<Keyring>),
    /// Of these packs only.
    Granted(Arc<HashMap<Handle, PackKey>>),
}

impl PackKeys {
    pub(super) fn granted(packs: &[GrantedPack]) -> Self {
        Self::Granted(Arc::new(packs.iter().map(|p| (p.handle, p.key.clone())).collect()))
    }

    /// The key of the pack with this header, which is `key` in the store; `hint` is the epoch that is tried first.
    pub(super) async fn of(
        &self,
        key: &str,
        header: &Header,
        hint: Option<u64>,
    ) -> Result<PackKey, ReadError> {
        match self {
            Self::Ring(ring) => {
                let run_key = ring.run_key(key, &header.sealed_run_key, hint).await?;
                Ok(run_key.pack_key(&header.handle))
            }
            Self::Granted(keys) => keys.get(&header.handle).cloned().ok_or_else(|| ReadError::NoEpoch {
                key: key.to_owned(),
                why: " (its key was not given)".to_owned(),
            }),
        }
    }
}

impl Tree {
    /// The tree that was granted, out of a store that holds its packs.
    #[must_use]
    pub fn granted(store: SharedRead, grant: TreeGrant) -> Self {
        let chunks = Arc::new(ChunkReader::granted(grant.seq, store, &grant.packs));
        Self { chunks, root: grant.root, folder: grant.folder.into(), owners: Arc::default() }
    }
}
