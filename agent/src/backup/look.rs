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

/// The store's clock and that of whoever noted a time may tell so many seconds apart.
const CLOCKS: i64 = 300;

/// How many of the packs that a worker says it sent are absent, of another size, or older than it noted (rule 3 rests on
/// the note being before).
pub async fn unfit(
    store: &dyn ReadStore,
    packs: impl Iterator<Item = KnownPack>,
) -> Result<usize, StoreError> {
    let looks: Vec<_> = packs.map(|p| is_unfit(store, p).boxed()).collect();
    let unfit: Vec<bool> = stream::iter(looks).buffer_unordered(AT_ONCE).try_collect().await?;
    Ok(unfit.into_iter().filter(|u| *u).count())
}

async fn is_unfit(store: &dyn ReadStore, pack: KnownPack) -> Result<bool, StoreError> {
    let there = store.head(&layout::pack(&pack.sha256)).await?;
    let fits = |modified: i64| pack.noted <= modified.saturating_add(CLOCKS);
    Ok(there.is_none_or(|e| e.size != pack.size || !fits(e.modified.as_second())))
}
