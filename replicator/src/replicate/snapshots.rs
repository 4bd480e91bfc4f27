//! Completing snapshots: the newest first, then the past. Lists, then the names of the packs, then the packs that the
//! vault lacks, then the commit. One that lacks something waits; the others go on.

use super::commit::{self, Committed};
use super::error::{FetchError, PullError};
use super::pulling::Pulling;
use super::verify::{List, Named};
use super::{Cycle, Outcome, blocking};
use crate::alarm::{AlarmKind, Stage};
use crate::catalog::{HeldPack, SnapshotRow, State};
use crate::vault::{Folder, VaultError};
use lifeboat_common::progress::Progress;
use lifeboat_format::id::Sha256;
use lifeboat_format::manifest::{Manifest, UnverifiedManifest};
use lifeboat_format::pack_list::PackList;
use lifeboat_format::{layout, limits};
use std::collections::BTreeMap;

pub(super) async fn complete(cycle: &Cycle, outcome: &mut Outcome) -> Result<(), PullError> {
    // Learnt over all snapshots of a pull: most are too small to learn anything from.
    let mut pulling = Pulling::new(cycle)?;
    for row in cycle.catalogue.in_state(cycle.cluster(), State::Pending)? {
        complete_one(cycle, row, &mut pulling, outcome).await?;
    }
    Ok(())
}

async fn complete_one(
    cycle: &Cycle,
    row: SnapshotRow,
    pulling: &mut Pulling<'_>,
    outcome: &mut Outcome,
) -> Result<(), PullError> {
    let seq = row.seq;
    let Some(manifest) = manifest(cycle, &row).await? else { return Ok(()) };
    let Some(lists) = lists(cycle, &manifest).await? else { return Ok(()) };
    let checkpoint = row.coverage == "checkpoint";
    let packs = if checkpoint { Some(BTreeMap::new()) } else { needed(cycle, &manifest, &lists)? };
    let Some(packs) = packs else { return Ok(()) };
    let (folder, first_seen) = (cycle.folder.clone(), row.first_seen);
    let names: Vec<Sha256> = packs.keys().copied().collect();
    let wanted = packs.clone();
    let Lacking { mut missing, wrong } = blocking("packs", move || {
        // Named first, looked for after: `collect` spares what is named.
        folder.keep_packs(seq, &names, first_seen)?;
        lacking(&folder, &wanted)
    })
    .await?;
    if !wrong.is_empty() {
        missing.extend(set_aside(cycle, wrong).await?);
    }
    if !pulling.fetch(seq, missing, outcome).await? {
        return Ok(());
    }
    let packs: Vec<HeldPack> = packs.into_iter().map(|(sha256, size)| HeldPack { sha256, size }).collect();
    let (folder, catalogue, source, clock) =
        (cycle.folder.clone(), cycle.catalogue.clone(), cycle.source.clone(), cycle.clock.clone());
    let committed =
        blocking("commit", move || commit::commit(&folder, &catalogue, &source, row, packs, &*clock)).await?;
    cycle.activity.tick();
    match committed {
        Committed::Checkpoint => {}
        Committed::Whole(row) => {
            outcome.snapshots += 1;
            tracing::info!(
                cluster = cycle.cluster(),
                seq,
                id = %row.id,
                packs = row.packs,
                bytes = row.bytes,
                "Snapshot replicated and verified"
            );
        }
        Committed::Lost(key) => {
            let next = "something removed it from the vault while the snapshot was under way; the next pull fetches it again";
            cycle.find(AlarmKind::VaultDamaged, Stage::Snapshots, key, "it was here and is gone", next)?;
        }
    }
    Ok(())
}

/// The judged manifest, from where it was kept. Damaged there, the same one is fetched again: forgetting it would lose
/// the snapshot, for nothing before the head is ever listed again.
async fn manifest(cycle: &Cycle, row: &SnapshotRow) -> Result<Option<Manifest>, PullError> {
    let (folder, seq) = (cycle.folder.clone(), row.seq);
    let read = move || Ok::<_, VaultError>((folder.read_pending(seq)?, folder.size(&layout::manifest(seq))?));
    let (kept, placed) = blocking("manifests", read).await?;
    if kept.is_none() && placed.is_some() {
        // A pull that was cut short came to its commit after all; the next recovery sees it.
        return Ok(None);
    }
    if let Some(manifest) = kept.and_then(|(bytes, _)| judged(cycle, row, &bytes)) {
        return Ok(Some(manifest));
    }
    let fetched = match cycle.fetcher.manifest(seq).await {
        Ok(bytes) => judged(cycle, row, &bytes).map(|manifest| (bytes, manifest)),
        Err(FetchError::Missing { .. } | FetchError::Damaged(_)) => None,
        Err(error) => return cycle.object_failed(Stage::Snapshots, error).map(|()| None),
    };
    let Some((bytes, manifest)) = fetched else {
        let why = "the copy kept in the vault while its snapshot is under way is damaged or gone, and the source has it no more";
        let next = "put the manifest back in the source, or copy it from elsewhere; the snapshot waits; look at the disk";
        cycle.find(AlarmKind::VaultDamaged, Stage::Snapshots, layout::manifest(seq), why, next)?;
        return Ok(None);
    };
    tracing::warn!(cluster = cycle.cluster(), seq, "The kept manifest was damaged; it was fetched again");
    let (folder, first_seen) = (cycle.folder.clone(), row.first_seen);
    blocking("manifests", move || folder.renew_pending(seq, &bytes, first_seen)).await?;
    Ok(Some(manifest))
}

/// What was judged is known by its hash, which says nothing of the signature beside it.
fn judged(cycle: &Cycle, row: &SnapshotRow, bytes: &[u8]) -> Option<Manifest> {
    let unverified = UnverifiedManifest::parse(bytes).ok()?;
    let signed = unverified.verify(&[row.signer], &cycle.source.cluster, row.seq).ok()?;
    (signed.sha256 == row.sha256).then_some(signed.manifest)
}

/// All pack lists that the manifest names, from the vault or the source; `None` when one cannot be had.
async fn lists(cycle: &Cycle, manifest: &Manifest) -> Result<Option<BTreeMap<Sha256, PackList>>, PullError> {
    let mut lists = BTreeMap::new();
    let mut complete = true;
    for sha256 in manifest.lists() {
        match list(cycle, sha256).await? {
            Some(list) => drop(lists.insert(sha256, list)),
            None => complete = false,
        }
    }
    Ok(complete.then_some(lists))
}

async fn list(cycle: &Cycle, sha256: Sha256) -> Result<Option<PackList>, PullError> {
    let key = layout::list(&sha256);
    let (folder, name) = (cycle.folder.clone(), key.clone());
    if let Some((bytes, _)) = blocking("lists", move || folder.read(&name, limits::LIST_MAX)).await? {
        let seen = Sha256::of(&bytes);
        if seen == sha256 {
            return parse_list(cycle, key, &bytes);
        }
        let why = format!("expected SHA-256 {sha256}, found {seen}");
        let next = "move the file away and pull again; then look at the disk";
        cycle.find(AlarmKind::VaultDamaged, Stage::Snapshots, key, why, next)?;
        return Ok(None);
    }
    match cycle.fetcher.object(&Named::<List>::list(sha256), &Progress::quiet()).await {
        Ok(verified) => {
            let parsed = parse_list(cycle, key, verified.bytes())?;
            if parsed.is_some() {
                let (folder, now) = (cycle.folder.clone(), cycle.now);
                blocking("lists", move || folder.place(verified, now)).await?;
            }
            Ok(parsed)
        }
        Err(error) => cycle.object_failed(Stage::Snapshots, error).map(|()| None),
    }
}

fn parse_list(cycle: &Cycle, key: String, bytes: &[u8]) -> Result<Option<PackList>, PullError> {
    match PackList::parse(bytes) {
        Ok(list) => Ok(Some(list)),
        Err(error) => {
            let next = "the agent signed for something that is no pack list: find out what it runs; the snapshot waits";
            cycle.find(AlarmKind::Damaged, Stage::Snapshots, key, error.to_string(), next)?;
            Ok(None)
        }
    }
}

/// The packs that the snapshot needs, with their sizes; `None` when the manifest and its lists do not fit.
fn needed(
    cycle: &Cycle,
    manifest: &Manifest,
    lists: &BTreeMap<Sha256, PackList>,
) -> Result<Option<BTreeMap<Sha256, u64>>, PullError> {
    match packs_of(manifest, lists) {
        Ok(packs) => Ok(Some(packs)),
        Err(why) => {
            let next =
                "the agent signed for packs that do not exist: find out what it runs; the snapshot waits";
            cycle.find(AlarmKind::Damaged, Stage::Snapshots, layout::manifest(manifest.seq), why, next)?;
            Ok(None)
        }
    }
}

/// The packs named in a manifest's bitmaps.
pub(crate) fn packs_of(
    manifest: &Manifest,
    lists: &BTreeMap<Sha256, PackList>,
) -> Result<BTreeMap<Sha256, u64>, String> {
    let mut packs = BTreeMap::new();
    for set in &manifest.packs {
        let list = lists.get(&set.list).ok_or_else(|| format!("pack list {} is not here", set.list))?;
        for index in set.bitmap.iter() {
            let entry = list.packs.get(index).ok_or_else(|| {
                format!("it names pack {index} of list {}, which has {}", set.list, list.packs.len())
            })?;
            let other = packs.insert(entry.sha256, entry.size).filter(|size| *size != entry.size);
            if let Some(other) = other {
                return Err(format!("two lists give pack {} {} and {other} bytes", entry.sha256, entry.size));
            }
        }
    }
    Ok(packs)
}

/// Packs that the vault does not hold as it must, with the sizes that they must have.
#[derive(Debug, Default)]
struct Lacking {
    missing: Vec<(Sha256, u64)>,
    /// A file is there and has another size.
    wrong: Vec<(Sha256, u64)>,
}

fn lacking(folder: &Folder, packs: &BTreeMap<Sha256, u64>) -> Result<Lacking, VaultError> {
    let mut lacking = Lacking::default();
    for (sha256, size) in packs {
        match folder.size(&layout::pack(sha256))? {
            Some(there) if there == *size => {}
            None => lacking.missing.push((*sha256, *size)),
            Some(_) => lacking.wrong.push((*sha256, *size)),
        }
    }
    Ok(lacking)
}

/// Moves files of a wrong size out of the way, so that what they should be can be fetched, and says so.
async fn set_aside(cycle: &Cycle, wrong: Vec<(Sha256, u64)>) -> Result<Vec<(Sha256, u64)>, PullError> {
    let folder = cycle.folder.clone();
    let moved = blocking("packs", move || {
        let lock = folder.vault().lock_exclusive()?;
        let mut moved = Vec::new();
        for (sha256, size) in wrong {
            let key = layout::pack(&sha256);
            // Looked at again under the lock: a heal may have put it right.
            let there = folder.size(&key)?;
            if there != Some(size) {
                folder.set_aside(&key, &lock)?;
                moved.push((sha256, size, there.unwrap_or(0)));
            }
        }
        Ok::<_, VaultError>(moved)
    })
    .await?;
    for (sha256, size, there) in &moved {
        let why = format!("expected {size} bytes, found {there}; the file was moved to {}", layout::DAMAGED);
        let next = "nothing, if it ends with the next pull: this one fetches it again; look at the disk";
        cycle.find(AlarmKind::VaultDamaged, Stage::Snapshots, layout::pack(sha256), why, next)?;
    }
    Ok(moved.into_iter().map(|(sha256, size, _)| (sha256, size)).collect())
}
