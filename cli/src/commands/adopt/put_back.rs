//! What an emptied primary needs to go on: the sealed epochs, and something in every slot up to the head, because the
//! next manifest takes the lowest free one. Packs are not put back: the vault has them.

use super::head::names;
use crate::publish;
use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use lifeboat_common::store::{CreateStore, ReadStore, StoreErrorKind};
use lifeboat_format::chain::Head;
use lifeboat_format::charter::Charter;
use lifeboat_format::id::Sha256;
use lifeboat_format::{layout, limits};
use std::collections::BTreeSet;

/// Requests at a time.
const REQUESTS: usize = 8;
/// More slots than this were not taken one after the other: the newest manifest is an intruder's.
const SLOTS_MAX: usize = 100_000;
/// For a slot of which the vault has nothing: junk had it, which nobody keeps.
const FILLER: &[u8] = b"This slot was taken before the repository was emptied\n";

pub(super) async fn put_back(
    store: &dyn CreateStore,
    vault: &dyn ReadStore,
    charter: &Charter,
    head: Option<Head>,
) -> Result<()> {
    epochs(store, vault, charter).await?;
    let Some(head) = head else { return Ok(()) };
    slots(store, vault, head.seq).await.context(
        "The manifests up to the newest must be put back, so that new backups go on after it; use a credential that may create under manifests/, then run the same command again with --from-vault",
    )
}

async fn epochs(store: &dyn CreateStore, vault: &dyn ReadStore, charter: &Charter) -> Result<()> {
    for epoch in &charter.epochs {
        for sha256 in &epoch.sealed_sha256 {
            let name = layout::epoch(epoch.n, sha256);
            if store.head(&name).await?.is_some() {
                continue;
            }
            match vault.get(&name, limits::EPOCH_MAX).await {
                Ok(bytes) if Sha256::of(&bytes) == *sha256 => publish::put(store, &name, &bytes).await?,
                Ok(_) => tracing::warn!("The vault's {name} is damaged; it was not put back"),
                Err(error) if error.kind == StoreErrorKind::NotFound => {
                    tracing::warn!("Neither side has {name}");
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(())
}

/// Fills the free slots up to `head`. The order matters to a run that is cut short: with the head there and anything
/// below it missing, the next one sees a gap and stops, rather than taking a part of the chain for all of it.
async fn slots(store: &dyn CreateStore, vault: &dyn ReadStore, head: u64) -> Result<()> {
    let (taken, kept) = (seqs(store).await?, seqs(vault).await?);
    if usize::try_from(head).is_ok_and(|head| head > kept.len().saturating_add(SLOTS_MAX)) {
        bail!(
            "Manifest {head} stands far above the {} that the vault has, so an intruder placed it; give the last that counts as --head SEQ",
            kept.len()
        );
    }
    let (manifests, junk): (Vec<u64>, Vec<u64>) =
        (1..=head).rev().filter(|seq| !taken.contains(seq)).partition(|seq| kept.contains(seq));
    let (first, rest) = manifests.split_at(manifests.len().min(1));
    for seqs in [first, &junk, rest] {
        let copies = stream::iter(seqs).map(|&seq| fill(store, vault, seq, kept.contains(&seq)));
        copies.buffer_unordered(REQUESTS).try_collect::<()>().await?;
    }
    Ok(())
}

async fn fill(store: &dyn CreateStore, vault: &dyn ReadStore, seq: u64, kept: bool) -> Result<()> {
    let name = layout::manifest(seq);
    let bytes = if kept { vault.get(&name, limits::MANIFEST_MAX).await? } else { Bytes::from_static(FILLER) };
    publish::put(store, &name, &bytes).await
}

async fn seqs(store: &dyn ReadStore) -> Result<BTreeSet<u64>> {
    Ok(names(store).await?.iter().filter_map(|name| layout::parse_manifest(name)).collect())
}
