//! Healing a primary: the bad version of a pack is set aside, then the vault's verified bytes are created; and markers, so
//! that the agent stores again what was lost there. The one exception to write-once; needs a credential of its own.
//!
//! Owns which bytes may be written into a primary. Reads what pulls found in the catalogue, and never writes it.

use crate::audit;
use crate::catalog::{Damaged, HeldPack, Side};
use crate::primary::PrimaryError;
use crate::retain::Retainer;
use bytes::Bytes;
use futures::StreamExt as _;
use jiff::Timestamp;
use lifeboat_common::store::{SharedCreate, SharedDelete, StoreError, StoreErrorKind};
use lifeboat_format::audit::Event;
use lifeboat_format::id::Sha256;
use lifeboat_format::{layout, limits};

/// Packs that one run heals or marks at most.
const MOST: usize = 10_000;
/// Versions of one key that are looked at.
const VERSIONS: usize = 100;

/// May write and delete in a primary, to put back what it had.
#[derive(Debug, Clone)]
pub struct Healer {
    pub create: SharedCreate,
    pub delete: SharedDelete,
}

/// What was done.
#[derive(Debug, Default)]
pub struct HealReport {
    /// Keys whose right bytes are in place.
    pub healed: Vec<String>,
    /// Keys, and why not.
    pub failed: Vec<(String, String)>,
    /// Keys that were marked as lost for the agent.
    pub marked: Vec<String>,
}

/// Heals what pulls found damaged or lost in the primary; marks as lost what cannot be healed.
pub async fn run(
    retainer: &Retainer<'_>,
    healer: Option<&Healer>,
    marker: Option<&SharedCreate>,
    now: Timestamp,
) -> Result<HealReport, PrimaryError> {
    let mut report = HealReport::default();
    for damaged in retainer.catalogue.damaged(retainer.cluster.as_str(), Side::Primary, MOST)? {
        let Some(sha256) = layout::parse_pack(&damaged.key) else { continue };
        let healed = match healer {
            Some(healer) => heal(retainer, healer, &damaged, sha256, now).await?,
            None => Err("no [source.heal] is configured".to_owned()),
        };
        match (healed, marker) {
            (Ok(()), _) => report.healed.push(damaged.key),
            (Err(why), None) => report.failed.push((damaged.key, why)),
            (Err(why), Some(marker)) => {
                if mark(marker, &damaged, &sha256, now).await? {
                    report.marked.push(damaged.key.clone());
                }
                report.failed.push((damaged.key, why));
            }
        }
    }
    let events = report.healed.iter().map(|key| Event::new("primary-healed", key.clone(), "from the vault"));
    let marked =
        report.marked.iter().map(|key| Event::new("marked-lost", key.clone(), "the agent stores it again"));
    let events = events.chain(marked).collect();
    audit::append(&retainer.folder, retainer.cluster, retainer.receipt_key, "heal", events, now)?;
    Ok(report)
}

/// The vault's copy, if it is what its name says.
fn copy(retainer: &Retainer<'_>, pack: &HeldPack) -> Result<Option<Bytes>, PrimaryError> {
    let read = retainer.folder.read(&layout::pack(&pack.sha256), limits::PACK_MAX)?;
    Ok(read.filter(|(bytes, _)| Sha256::of(bytes) == pack.sha256).map(|(bytes, _)| bytes.into()))
}

async fn heal(
    retainer: &Retainer<'_>,
    healer: &Healer,
    damaged: &Damaged,
    sha256: Sha256,
    now: Timestamp,
) -> Result<Result<(), String>, PrimaryError> {
    let Some((pack, ..)) = retainer.catalogue.pack(retainer.cluster.as_str(), &sha256)? else {
        return Ok(Err("the vault does not hold it".to_owned()));
    };
    let Some(bytes) = copy(retainer, &pack)? else {
        return Ok(Err("the vault's copy is damaged or gone; a scrub queues it".to_owned()));
    };
    let key = &damaged.key;
    for _ in 0..VERSIONS {
        // Read twice before anything is deleted: the way may be to blame.
        let seen = digest(healer, key).await?;
        if seen == Some(sha256) {
            return Ok(Ok(()));
        }
        if digest(healer, key).await? != seen {
            return Ok(Err("it has other bytes in every transfer".to_owned()));
        }
        // The newest one hides what is below: on a store with versions that may be the right one.
        let Some(top) = healer.delete.versions(key).await?.into_iter().next() else {
            return Ok(match healer.create.create(key, bytes.clone(), sha256.0).await {
                Ok(_) => Ok(()),
                Err(error) => Err(error.to_string()),
            });
        };
        if seen.is_none() != top.delete_marker {
            return Ok(Err("it comes and goes".to_owned()));
        }
        if !top.delete_marker {
            keep(retainer, healer, key, now).await?;
        }
        match healer.delete.delete_version(key, top.id.as_deref()).await {
            Ok(()) => {}
            Err(error) if error.kind == StoreErrorKind::Denied => return Ok(Err(error.to_string())),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Err(format!("it has more than {VERSIONS} versions; delete those that are not {sha256}")))
}

/// What the primary gives for `key` now; none when there is nothing.
async fn digest(healer: &Healer, key: &str) -> Result<Option<Sha256>, StoreError> {
    let (entry, mut body) = match healer.create.get_stream(key).await {
        Ok(found) => found,
        Err(error) if error.kind == StoreErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if entry.size > limits::PACK_MAX {
        return Ok(Some(Sha256([0; 32])));
    }
    let mut hash = ring::digest::Context::new(&ring::digest::SHA256);
    while let Some(piece) = body.next().await {
        hash.update(&piece?);
    }
    let mut sha256 = Sha256([0; 32]);
    sha256.0.copy_from_slice(hash.finish().as_ref());
    Ok(Some(sha256))
}

/// Keeps the bad bytes in the vault's `damaged/`, before they are deleted. Evidence is worth a try, not the healing.
async fn keep(
    retainer: &Retainer<'_>,
    healer: &Healer,
    key: &str,
    now: Timestamp,
) -> Result<(), PrimaryError> {
    match healer.create.get(key, limits::PACK_MAX).await {
        Ok(bytes) => {
            let name = format!("primary_{}.{}", key.replace('/', "_"), Sha256::of(&bytes));
            Ok(retainer.folder.keep_damaged(&name, &bytes, now)?)
        }
        Err(error) => {
            tracing::warn!(key, %error, "Could not keep what is being healed");
            Ok(())
        }
    }
}

/// Tells the agent that a pack is gone; true when it was not told yet.
async fn mark(
    marker: &SharedCreate,
    damaged: &Damaged,
    sha256: &Sha256,
    now: Timestamp,
) -> Result<bool, PrimaryError> {
    let body = serde_json::json!({"schema": "lifeboat/lost/1", "at": now.to_string(), "why": damaged.why});
    let body = body.to_string().into_bytes();
    let hash = Sha256::of(&body).0;
    match marker.create(&layout::lost(sha256), body.into(), hash).await {
        Ok(_) => Ok(true),
        Err(error) if error.kind == StoreErrorKind::Exists => Ok(false),
        Err(error) => Err(error.into()),
    }
}
