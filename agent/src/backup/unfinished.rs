//! What unfinished readings of volumes have sent. A snapshot names it in `carry`, as a checkpoint does (docs/format.md,
//! "Commit and reuse" 3): so it stays usable for longer than the day for which its packs are fresh, and a volume that
//! takes longer than one run has time is read over several.

use super::head::ChainView;
use super::log::Memory;
use super::look;
use super::resume::{self, Resumed};
use crate::volume::check::{Refused, header};
use lifeboat_common::store::{ReadStore, StoreError};
use lifeboat_format::crypto::derive::Secret32;
use lifeboat_format::id::{Handle, ScopeAlias, Sha256};
use lifeboat_format::limits;
use std::collections::BTreeMap;

/// Packs of one volume that are taken over so: 2 TiB in full ones. What is more is sent again, if it is not fresh.
const PACKS_MAX: usize = 131_072;

/// Of one volume.
pub struct Unfinished {
    pub domain: ScopeAlias,
    /// Packs that no list names yet.
    pub packs: Vec<Resumed>,
}

/// Reads what is noted of an unfinished reading. A worker wrote it: what is not as it says, or not this volume's, is left
/// out, and with it all that it says is of the same attempt.
pub async fn load(
    store: &dyn ReadStore,
    memory: &Memory,
    view: &ChainView,
    domain: ScopeAlias,
    (key, piece): (&Secret32, Sha256),
) -> Result<Unfinished, StoreError> {
    let named = |h: &Handle| memory.packs.get(h).is_some_and(|p| view.names(&p.list, p.index));
    let log = Some((vec![piece], key.clone()));
    let left = resume::load(store, log, view.newest_modified, &named).await?;
    let mut attempts: BTreeMap<Vec<u8>, Vec<Resumed>> = BTreeMap::new();
    for r in left.packs.into_values() {
        attempts.entry(r.sealed_run_key.clone()).or_default().push(r);
    }
    let mut packs = Vec::new();
    for (sealed_run_key, mut attempt) in attempts {
        attempt.sort_unstable_by_key(|r| r.pack.handle);
        let own = |r: &Resumed| {
            r.pack.domain == domain
                && r.pack.size <= limits::PACK_MAX
                && !memory.packs.contains_key(&r.pack.handle)
        };
        let fits = attempt.iter().all(own) && packs.len() + attempt.len() <= PACKS_MAX;
        if !fits || !is_so(store, &attempt, &sealed_run_key).await? {
            tracing::warn!(
                packs = attempt.len(),
                "what an unfinished reading of a volume sent is not kept for long"
            );
            continue;
        }
        packs.extend(attempt);
    }
    Ok(Unfinished { domain, packs })
}

/// Whether the packs are there as they are said to be, and of that run key.
async fn is_so(store: &dyn ReadStore, packs: &[Resumed], sealed_run_key: &[u8]) -> Result<bool, StoreError> {
    let Some(first) = packs.first() else { return Ok(false) };
    match header(store, &first.pack, sealed_run_key).await {
        Ok(()) => {}
        Err(Refused::Store(error)) => return Err(error),
        Err(_) => return Ok(false),
    }
    Ok(look::unfit(store, packs.iter().map(|r| r.pack)).await? == 0)
}
