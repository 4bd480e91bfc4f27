//! Looks whether packs are in the store, whole by their size, a bounded number at a time. Decides nothing.

use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _, stream};
use lifeboat_common::store::{ReadStore, StoreError};
use lifeboat_format::id::Sha256;
use lifeboat_format::layout;
use lifeboat_format::send_log::KnownPack;
use std::collections::HashSet;

/// Looks at a time.
const AT_ONCE: usize = 16;

/// Those of `packs` that are absent, or of another size.
pub async fn gone(
    store: &dyn ReadStore,
    packs: impl Iterator<Item = KnownPack>,
) -> Result<HashSet<Sha256>, StoreError> {
    let looks: Vec<_> = packs.map(|p| is_gone(store, p).boxed()).collect();
    let gone: Vec<Option<Sha256>> = stream::iter(looks).buffer_unordered(AT_ONCE).try_collect().await?;
    Ok(gone.into_iter().flatten().collect())
}

async fn is_gone(store: &dyn ReadStore, pack: KnownPack) -> Result<Option<Sha256>, StoreError> {
    let there = store.head(&layout::pack(&pack.sha256)).await?;
    Ok(there.is_none_or(|e| e.size != pack.size).then_some(pack.sha256))
}
