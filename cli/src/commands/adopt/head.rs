//! Where a store's chain of manifests ends. Believes only what the charter's agents signed, in the order of the slots.

use anyhow::{Result, bail};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use lifeboat_common::store::{ReadStore, StoreError, StoreErrorKind};
use lifeboat_format::chain::{Chain, Head, Verdict};
use lifeboat_format::charter::{Charter, KNOWN_FEATURES};
use lifeboat_format::crypto::sign::VerifyKey;
use lifeboat_format::manifest::{SignedManifest, UnverifiedManifest};
use lifeboat_format::{layout, limits};

/// Manifests read at a time.
const READS: usize = 8;

/// The end of the chain, and what lies beside it.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) head: Option<Head>,
    /// Slots of manifests by keys out of their time.
    pub(super) rejected: Vec<u64>,
    /// Names under `manifests/` that are no manifests of this cluster's agents.
    pub(super) junk: Vec<String>,
}

/// Reads every manifest and follows the chain, to `until` if that is given.
pub(super) async fn find_head(store: &dyn ReadStore, charter: &Charter, until: Option<u64>) -> Result<Found> {
    let keys: Vec<VerifyKey> = charter.agents.iter().map(|a| a.key).collect();
    let names = names(store).await?;
    let mut found = Found::default();
    let mut chain = Chain::new(&charter.agents, None);
    let (mut heads, mut broken): (Vec<Head>, Vec<u64>) = (Vec::new(), Vec::new());
    let mut read = stream::iter(&names).map(|name| read(store, name)).buffered(READS);
    while let Some((name, bytes)) = read.try_next().await? {
        match judge(&mut chain, name, &bytes, &keys, charter) {
            Some((seq, Verdict::Accepted)) => {
                heads.extend(chain.head());
                tracing::debug!(seq, "Manifest is on the chain");
            }
            Some((seq, Verdict::RejectedBranch)) => found.rejected.push(seq),
            Some((seq, Verdict::Broken)) => broken.push(seq),
            None => found.junk.push(name.to_owned()),
        }
    }
    let last = heads.last().map(|h| h.seq);
    if let Some(seq) = until {
        let accepted: Vec<u64> = heads.iter().map(|h| h.seq).collect();
        found.head =
            Some(*heads.iter().find(|h| h.seq == seq).ok_or_else(|| super::no_such_head(seq, &accepted))?);
        return Ok(found);
    }
    if let Some(seq) = broken.iter().find(|&&seq| last.is_none_or(|last| seq > last)) {
        let (store, last) =
            (store.describe(), last.map_or_else(|| "the beginning".to_owned(), |n| format!("manifest {n}")));
        bail!(
            "{store}: manifest {seq} is signed by an agent in force and does not follow {last}: one between them is missing, the chain was forked, or it claims a charter or a feature that there is not; compare with the vault (--from-vault URL), or say which manifest is the last that counts (--head SEQ)"
        );
    }
    found.head = heads.last().copied();
    Ok(found)
}

async fn read<'a>(store: &dyn ReadStore, name: &'a str) -> Result<(&'a str, bytes::Bytes), StoreError> {
    match store.get(name, limits::MANIFEST_MAX).await {
        Ok(bytes) => Ok((name, bytes)),
        Err(error) if error.kind == StoreErrorKind::TooLarge => Ok((name, bytes::Bytes::new())),
        Err(error) => Err(error),
    }
}

/// `None` for junk.
fn judge(
    chain: &mut Chain,
    name: &str,
    bytes: &[u8],
    keys: &[VerifyKey],
    charter: &Charter,
) -> Option<(u64, Verdict)> {
    let seq = layout::parse_manifest(name)?;
    let parsed = UnverifiedManifest::parse(bytes).ok()?;
    let signed: SignedManifest = parsed.verify(keys, &charter.cluster, seq).ok()?;
    // A thief's manifest that nobody could ever judge must not become what everything later stands on.
    let known = |f: &String| KNOWN_FEATURES.contains(&f.as_str());
    if signed.manifest.charter > charter.n || !signed.manifest.features.iter().all(known) {
        return Some((seq, Verdict::Broken));
    }
    Some((seq, chain.judge(&signed)))
}

/// Everything under `manifests/`, ascending, which is the order of the slots.
pub(super) async fn names(store: &dyn ReadStore) -> Result<Vec<String>> {
    let mut names: Vec<String> = Vec::new();
    loop {
        let page = store.list(layout::MANIFESTS, names.last().map(String::as_str), 1000).await?;
        names.extend(page.entries.into_iter().map(|e| e.key));
        if !page.more {
            return Ok(names);
        }
    }
}
