//! Deletes packs that nothing kept needs, once their snapshots' time of grace is over; and tells the catalogue, through
//! a file that the next pull takes over.

use super::{RetainError, Retainer};
use crate::catalog::{Catalogue, HeldPack, State};
use crate::replicate::error::PullError;
use crate::vault::{Folder, Vault, VaultError};
use jiff::Timestamp;
use lifeboat_format::id::{ClusterName, Sha256};
use lifeboat_format::layout;
use lifeboat_format::tombstone::Tombstone;
use std::collections::{BTreeMap, HashSet};

/// Packs that are deleted under one lock: a pull waits for it.
const BATCH: usize = 1000;
/// A file of names: those of a million packs.
const NAMES_MAX: u64 = 80 << 20;

/// A pack that nothing kept needs. Only [`run`] makes one.
#[derive(Debug)]
pub struct Collectable(Sha256);

impl Collectable {
    #[must_use]
    pub fn sha256(&self) -> &Sha256 {
        &self.0
    }
}

fn name(cluster: &ClusterName) -> String {
    format!("collected-{cluster}.txt")
}

/// Deletes; gives the number of packs and their bytes.
pub(super) fn run(
    retainer: &Retainer<'_>,
    tombstones: &BTreeMap<u64, Tombstone>,
    now: Timestamp,
) -> Result<(u64, u64), RetainError> {
    let over: HashSet<u64> = tombstones.values().filter(|t| t.collect_after <= now).map(|t| t.seq).collect();
    if over.is_empty() {
        return Ok((0, 0));
    }
    let (folder, vault) = (&retainer.folder, retainer.folder.vault());
    let dead = retainer.catalogue.packs_without(retainer.cluster.as_str(), &needed(retainer, &over)?)?;
    let (mut packs, mut bytes) = (0, 0);
    for batch in dead.chunks(BATCH) {
        let lock = vault.lock_exclusive()?;
        // Read again in each batch: a snapshot under way named what it needs before it looked for it, and one that was
        // committed meanwhile is in the catalogue, or its names are still there.
        let pending: HashSet<Sha256> = folder.pending_packs()?.into_iter().collect();
        let cluster = retainer.cluster.as_str();
        let mut batch = retainer.catalogue.still_without(cluster, &needed(retainer, &over)?, batch)?;
        batch.retain(|p| !pending.contains(&p.sha256));
        note(vault, retainer.cluster, &batch)?;
        for pack in batch {
            if folder.size(&layout::pack(&pack.sha256))?.is_none() {
                continue;
            }
            folder.collect(&Collectable(pack.sha256), &lock)?;
            packs += 1;
            bytes += pack.size;
        }
    }
    Ok((packs, bytes))
}

/// Slots whose packs stay: all but rejected ones and those whose grace is over. A pack row names the first and the last
/// slot that needs it; what lies between keeps it too, which keeps too much and never too little.
fn needed(retainer: &Retainer<'_>, over: &HashSet<u64>) -> Result<Vec<u64>, RetainError> {
    let rows = retainer.catalogue.snapshots(retainer.cluster.as_str())?;
    let kept = rows.iter().filter(|r| r.state != State::Rejected && !over.contains(&r.seq));
    Ok(kept.map(|r| r.seq).collect())
}

/// Adds names to the file that the next pull takes over, before anything is deleted.
fn note(vault: &Vault, cluster: &ClusterName, packs: &[HeldPack]) -> Result<(), VaultError> {
    if packs.is_empty() {
        return Ok(());
    }
    // Each after an end of line: the one before may have been cut short.
    let names: String = packs.iter().map(|pack| format!("\n{}", pack.sha256)).collect();
    vault.append_own(&name(cluster), names.as_bytes(), NAMES_MAX)
}

/// Packs that were deleted, or were about to be, and that no pull has taken over yet.
pub fn collected(vault: &Vault, cluster: &ClusterName) -> Result<HashSet<Sha256>, VaultError> {
    let names = vault.read_own(&name(cluster), NAMES_MAX)?.unwrap_or_default();
    Ok(String::from_utf8_lossy(&names).lines().filter_map(|line| line.parse().ok()).collect())
}

/// A snapshot that was forgotten before it was whole: it is pulled no more. Its manifest is kept like all others, and what
/// came of its packs is known from now on, so that it can be collected.
fn bury(folder: &Folder, catalogue: &Catalogue, cluster: &ClusterName, seq: u64) -> Result<(), PullError> {
    let Some(mut row) = catalogue.snapshot(cluster.as_str(), seq)? else { return Ok(()) };
    let mut there = Vec::new();
    for sha256 in folder.packs_of_pending(seq)? {
        if let Some(size) = folder.size(&layout::pack(&sha256))? {
            there.push(HeldPack { sha256, size });
        }
    }
    folder.bury(seq)?;
    row.state = State::Forgotten;
    row.forgotten = folder.modified(&layout::tombstone(seq))?;
    (row.packs, row.bytes) = (there.len() as u64, there.iter().map(|p| p.size).sum());
    catalogue.hold(cluster.as_str(), &row, &there)?;
    tracing::info!(cluster = %cluster, seq, "Forgotten before it was complete; it is pulled no more");
    Ok(folder.end_pending(seq)?)
}

/// Brings the catalogue up to date with what retention did since the last pull: tombstones written and taken back, packs
/// deleted. Whoever calls it is the catalogue's writer.
pub fn take_over(folder: &Folder, catalogue: &Catalogue, cluster: &ClusterName) -> Result<(), PullError> {
    let tombstones: HashSet<u64> = folder.tombstones()?.into_iter().collect();
    for (seq, state) in catalogue.states(cluster.as_str(), 0)? {
        let next = match (state, tombstones.contains(&seq)) {
            (State::Held, true) => State::Forgotten,
            (State::Forgotten, false) => State::Held,
            (State::Pending, true) => {
                bury(folder, catalogue, cluster, seq)?;
                continue;
            }
            _ => continue,
        };
        let Some(mut row) = catalogue.snapshot(cluster.as_str(), seq)? else { continue };
        row.forgotten = match next {
            State::Forgotten => folder.modified(&layout::tombstone(row.seq))?,
            _ => None,
        };
        row.state = next;
        catalogue.put_snapshot(cluster.as_str(), &row)?;
    }
    let vault = folder.vault();
    if vault.read_own(&name(cluster), NAMES_MAX)?.is_none() {
        return Ok(());
    }
    let _lock = vault.lock_exclusive()?;
    let names = vault.read_own(&name(cluster), NAMES_MAX)?.unwrap_or_default();
    let mut gone = Vec::new();
    for sha256 in String::from_utf8_lossy(&names).lines().filter_map(|line| line.parse::<Sha256>().ok()) {
        // Named before it was deleted, and maybe never was.
        if folder.size(&layout::pack(&sha256))?.is_none() {
            gone.push(sha256);
        }
    }
    catalogue.drop_packs(cluster.as_str(), &gone)?;
    Ok(vault.remove_own(&name(cluster))?)
}
