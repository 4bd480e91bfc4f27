//! Pack lists of a worker or a run: one for an attempt's own packs, one for each run key of the attempts it went on
//! from.

use super::result::ListRef;
use crate::backup::resume::Resumed;
use crate::backup::upload::Uploader;
use bytes::Bytes;
use lifeboat_common::store::StoreError;
use lifeboat_format::crypto::random;
use lifeboat_format::id::Sha256;
use lifeboat_format::pack_list::{PackEntry, PackList};
use lifeboat_format::send_log::KnownPack;
use lifeboat_format::{layout, limits};
use std::collections::BTreeMap;

/// Writes the lists; gives their names and keys, and the packs with their places. A run without packs has none.
pub(crate) async fn write_lists(
    uploader: &Uploader,
    sealed_run_key: &[u8],
    new: &[KnownPack],
    resumed: &[Resumed],
) -> Result<(Vec<ListRef>, Vec<KnownPack>), StoreError> {
    let mut groups: BTreeMap<Vec<u8>, Vec<KnownPack>> = BTreeMap::new();
    groups.insert(sealed_run_key.to_vec(), new.to_vec());
    for r in resumed {
        groups.entry(r.sealed_run_key.clone()).or_default().push(r.pack);
    }
    let (mut lists, mut known) = (Vec::new(), Vec::new());
    for (sealed_run_key, packs) in groups {
        for packs in packs.chunks(limits::LIST_PACKS_MAX) {
            let sha256 = write_list(uploader, &sealed_run_key, packs).await?;
            lists.push(ListRef { sha256, sealed_run_key: sealed_run_key.clone() });
            for (i, p) in packs.iter().enumerate() {
                let index = u32::try_from(i).expect("a list has fewer packs than 2^32");
                known.push(KnownPack { list: sha256, index, ..*p });
            }
        }
    }
    Ok((lists, known))
}

async fn write_list(
    uploader: &Uploader,
    sealed_run_key: &[u8],
    packs: &[KnownPack],
) -> Result<Sha256, StoreError> {
    let entry = |p: &KnownPack| PackEntry { sha256: p.sha256, size: p.size, handle: p.handle };
    let list = PackList {
        nonce: random::bytes(),
        sealed_run_key: sealed_run_key.to_vec(),
        packs: packs.iter().map(entry).collect(),
    };
    let bytes = Bytes::from(list.encode());
    let name = Sha256::of(&bytes);
    uploader.create_named(&layout::list(&name), bytes, name).await?;
    Ok(name)
}
