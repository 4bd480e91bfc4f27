//! From a handle to the pack that a signed manifest binds it to.

use super::error::{ReadError, damaged, of_store};
use crate::store::SharedRead;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use lifeboat_format::id::{Handle, Sha256};
use lifeboat_format::manifest::{Manifest, PackSet};
use lifeboat_format::pack_list::{PackEntry, PackList};
use lifeboat_format::{layout, limits};
use std::collections::HashMap;

/// Lists fetched at a time.
const FETCHES: usize = 8;
/// Packs of one snapshot: 64 TiB of full ones.
const PACKS_MAX: usize = 1 << 22;

/// A pack as a manifest's list binds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackRef {
    pub sha256: Sha256,
    /// Bytes, sealed.
    pub size: u64,
}

/// The packs that one snapshot names.
#[derive(Debug, Clone, Default)]
pub struct PackIndex {
    packs: HashMap<Handle, PackRef>,
}

impl PackIndex {
    /// Reads the lists that `manifest` names in `packs`; nothing else of the store binds a handle.
    pub async fn load(store: &SharedRead, manifest: &Manifest) -> Result<Self, ReadError> {
        let lists = stream::iter(&manifest.packs)
            .map(|set| async move { Ok::<_, ReadError>((set, read_list(store, &set.list).await?)) });
        let mut lists = lists.buffered(FETCHES);
        let mut index = Self::default();
        while let Some((set, list)) = lists.try_next().await? {
            index.add(manifest.seq, set, &list)?;
        }
        Ok(index)
    }

    /// Of packs that somebody else has bound.
    pub(super) fn of(packs: impl IntoIterator<Item = (Handle, PackRef)>) -> Self {
        Self { packs: packs.into_iter().collect() }
    }

    fn add(&mut self, seq: u64, set: &PackSet, list: &PackList) -> Result<(), ReadError> {
        for entry in chosen(seq, set, list) {
            let entry = entry?;
            let pack = PackRef { sha256: entry.sha256, size: entry.size };
            let other = self.packs.insert(entry.handle, pack).filter(|other| *other != pack);
            if other.is_some() {
                let why = format!("its pack lists bind the handle {} to two different packs", entry.handle);
                return Err(ReadError::Snapshot { seq, why });
            }
            if self.packs.len() > PACKS_MAX {
                return Err(ReadError::Snapshot {
                    seq,
                    why: "it names more packs than a snapshot can have".to_owned(),
                });
            }
        }
        Ok(())
    }

    #[must_use]
    pub fn get(&self, handle: &Handle) -> Option<PackRef> {
        self.packs.get(handle).copied()
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.packs.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.packs.is_empty()
    }

    /// In no order.
    pub fn iter(&self) -> impl Iterator<Item = PackRef> + '_ {
        self.packs.values().copied()
    }
}

/// The entries of `list` whose bits are set.
pub(super) fn chosen<'a>(
    seq: u64,
    set: &'a PackSet,
    list: &'a PackList,
) -> impl Iterator<Item = Result<PackEntry, ReadError>> + 'a {
    set.bitmap.iter().map(move |i| {
        list.packs.get(i).copied().ok_or_else(|| ReadError::Snapshot {
            seq,
            why: format!("it names pack {i} of the list {}, which has {}", set.list, list.packs.len()),
        })
    })
}

/// Reads a list; its bytes hash to its name.
pub(super) async fn read_list(store: &SharedRead, sha256: &Sha256) -> Result<PackList, ReadError> {
    let key = layout::list(sha256);
    let name = store.describe();
    let bytes = store.get(&key, limits::LIST_MAX).await.map_err(|e| of_store(&name, &key, e))?;
    if Sha256::of(&bytes) != *sha256 {
        return Err(damaged(&name, &key, "its bytes do not hash to its name"));
    }
    PackList::parse(&bytes).map_err(|e| damaged(&name, &key, e))
}
