//! Completing snapshots: the newest first, then the past. Lists, then the names of the packs, then the packs that the
//! vault lacks, then the commit. One that lacks something waits; the others go on.

use super::commit::{self, Committed};
use super::error::{FetchError, PullError};
use super::verify::{List, Named, Pack};
use super::{Cycle, Outcome, blocking, reread};
use crate::alarm::{AlarmKind, Stage};
use crate::catalog::{HeldPack, SnapshotRow, State};
use crate::vault::{Folder, VaultError};
use futures::{FutureExt as _, StreamExt as _, stream};
use lifeboat_common::progress::Progress;
use lifeboat_format::id::Sha256;
use lifeboat_format::manifest::{Manifest, UnverifiedManifest};
use lifeboat_format::pack_list::PackList;
use lifeboat_format::{layout, limits};
use std::collections::BTreeMap;

pub(super) async fn complete(cycle: &Cycle, outcome: &mut Outcome) -> Result<(), PullError> {
    for row in cycle.catalogue.in_state(cycle.cluster(), State::Pending)? {
        complete_one(cycle, row, outcome).await?;
    }
    Ok(())
}

async fn complete_one(cycle: &Cycle, row: SnapshotRow, outcome: &mut Outcome) -> Result<(), PullError> {
    let seq = row.seq;
    let Some(manifest) = manifest(cycle, &row).await? else { return Ok(()) };
    let Some(lists) = lists(cycle, &manifest).await? else { return Ok(()) };
    let checkpoint = row.coverage == "checkpoint";
    let packs = if checkpoint { Some(BTreeMap::new()) } else { needed(cycle, &manifest, &lists)? };
    let Some(packs) = packs else { return Ok(()) };
    let (folder, first_seen) = (cycle.folder.clone(), row.first_seen);
    let names: Vec<Sha256> = packs.keys().copied().collect();
    let wanted = packs.clone();
    let missing = blocking("packs", move || {
        // Named first, looked for after: `collect` spares what is named.
        folder.keep_packs(seq, &names, first_seen)?;
        missing(&folder, &wanted)
    })
    .await?;
    if !fetch(cycle, seq, missing, outcome).await? {
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

/// Those of `packs` that the vault does not hold, with their sizes.
pub(super) fn missing(
    folder: &Folder,
    packs: &BTreeMap<Sha256, u64>,
) -> Result<Vec<(Sha256, u64)>, VaultError> {
    let mut missing = Vec::new();
    for (sha256, size) in packs {
        let key = layout::pack(sha256);
        match folder.size(&key)? {
            Some(there) if there == *size => {}
            None => missing.push((*sha256, *size)),
            Some(there) => {
                let (expected, seen) =
                    (format!("{sha256} over {size} bytes"), format!("a file of {there} bytes"));
                return Err(VaultError::Damaged { path: folder.full_path(&key), expected, seen });
            }
        }
    }
    Ok(missing)
}

/// Fetches, verifies and places packs, several at a time. True when all are there.
async fn fetch(
    cycle: &Cycle,
    seq: u64,
    missing: Vec<(Sha256, u64)>,
    outcome: &mut Outcome,
) -> Result<bool, PullError> {
    if missing.is_empty() {
        return Ok(true);
    }
    let (count, bytes) = (missing.len(), missing.iter().map(|(_, size)| size).sum::<u64>());
    // Named before it begins, so that a disk that is too small is said at once.
    drop(cycle.folder.vault().reserve(bytes)?);
    let progress =
        cycle.activity.progress(cycle.cluster(), format!("Pulling {} {seq}", cycle.cluster()), bytes);
    let mut transfers = stream::iter(missing)
        .map(|(sha256, size)| {
            let progress = progress.clone();
            async move { fetch_one(cycle, sha256, size, &progress).await.map(|()| size) }.boxed()
        })
        .buffer_unordered(cycle.transfers);
    let mut done = 0;
    let mut complete = true;
    while let Some(result) = transfers.next().await {
        done += 1;
        match result {
            Ok(size) => {
                outcome.packs += 1;
                outcome.bytes += size;
            }
            Err(error) => {
                note_lost(cycle, &error)?;
                cycle.object_failed(Stage::Snapshots, error).inspect_err(|_| progress.finish())?;
                complete = false;
            }
        }
        cycle.activity.busy(cycle.cluster(), format!("pulling snapshot {seq}, {done} of {count} packs"));
    }
    progress.finish();
    Ok(complete)
}

/// What the source does not have as it must is not to be reused: `retain` tells the agent, where it may.
fn note_lost(cycle: &Cycle, error: &FetchError) -> Result<(), PullError> {
    match error {
        FetchError::Missing { key } => reread::note(cycle, key, "it is not in the source".to_owned(), None),
        FetchError::Damaged(damage) => {
            let why = format!("expected {}, found {}", damage.expected, damage.seen);
            reread::note(cycle, &damage.key, why, None)
        }
        FetchError::Store(_) | FetchError::Vault(_) => Ok(()),
    }
}

async fn fetch_one(cycle: &Cycle, sha256: Sha256, size: u64, progress: &Progress) -> Result<(), FetchError> {
    let verified = cycle.fetcher.object(&Named::<Pack>::pack(sha256, size), progress).await?;
    let (folder, now) = (cycle.folder.clone(), cycle.now);
    let placed = tokio::task::spawn_blocking(move || folder.place(verified, now)).await;
    placed.unwrap_or_else(|_| {
        let path = cycle.folder.full_path(&layout::pack(&sha256));
        let source = std::io::Error::other("the thread that did it is gone");
        Err(VaultError::Io { action: "put in place", path, source })
    })?;
    Ok(())
}
