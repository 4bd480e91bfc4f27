//! Forgetting in a primary: which snapshots, by the policy and by what the vault has; and the markers that say so there.

use super::{Pass, Primary, PrimaryError, caps, memory};
use crate::catalog::{Side, SnapshotRow, State};
use crate::replicate::{list, snapshots};
use crate::retain::Retainer;
use crate::vault::Folder;
use jiff::Timestamp;
use lifeboat_common::store::StoreErrorKind;
use lifeboat_format::id::Sha256;
use lifeboat_format::manifest::UnverifiedManifest;
use lifeboat_format::pack_list::PackList;
use lifeboat_format::retention::{Caps, OnPrimary, PrimaryDecision, PrimaryReason, VaultHas, decide_primary};
use lifeboat_format::{layout, limits};
use std::collections::{BTreeMap, BTreeSet};

/// Slots of the chain that the primary itself says are forgotten: listed there, of the same manifest.
pub(super) async fn markers(
    primary: &Primary<'_>,
    chain: &[SnapshotRow],
) -> Result<BTreeSet<u64>, PrimaryError> {
    let by_seq: BTreeMap<u64, Sha256> = chain.iter().map(|r| (r.seq, r.sha256)).collect();
    let listed = list::all(&*primary.read, layout::FORGOTTEN, None).await?;
    let parsed = listed.iter().filter_map(|l| layout::parse_forgotten(&l.key));
    Ok(parsed.filter(|(seq, sha256)| by_seq.get(seq) == Some(sha256)).map(|(seq, _)| seq).collect())
}

/// Decides for every snapshot of the chain.
pub(super) fn decide(
    retainer: &Retainer<'_>,
    chain: &[SnapshotRow],
    hours: u32,
    now: Timestamp,
) -> Result<Vec<(SnapshotRow, PrimaryDecision)>, PrimaryError> {
    let damaged = Hurt::new(retainer)?;
    let rows: Vec<&SnapshotRow> = chain.iter().filter(|r| r.state != State::Checkpoint).collect();
    let on = |r: &&SnapshotRow| OnPrimary {
        seq: r.seq,
        first_seen: r.first_seen,
        ttl_hours: r.ttl_hours,
        vault: match r.state {
            State::Forgotten => VaultHas::Tombstone,
            State::Held if !damaged.touches(r.seq) => VaultHas::Whole,
            _ => VaultHas::Less,
        },
    };
    let subjects: Vec<OnPrimary> = rows.iter().map(on).collect();
    let mut decisions = decide_primary(&subjects, hours, now);
    let undone = memory::undone(retainer.folder.vault(), retainer.cluster)?;
    for decision in decisions.iter_mut().filter(|d| undone.contains(&d.seq)) {
        decision.keep = decision.keep.or(Some(PrimaryReason::Undone));
    }
    Ok(rows.into_iter().cloned().zip(decisions).collect())
}

/// Which slots something damaged in the vault may concern: a pack row names the first and the last that needs it, and
/// what lies between is taken to need it, too.
struct Hurt {
    ranges: Vec<(u64, u64)>,
}

impl Hurt {
    fn new(retainer: &Retainer<'_>) -> Result<Self, PrimaryError> {
        let cluster = retainer.cluster.as_str();
        let mut ranges = Vec::new();
        for damaged in retainer.catalogue.damaged(cluster, Side::Vault, 1 << 20)? {
            let range = match layout::parse_pack(&damaged.key) {
                Some(sha256) => {
                    retainer.catalogue.pack(cluster, &sha256)?.map(|(_, first, last)| (first, last))
                }
                None => match layout::parse_manifest(&damaged.key) {
                    Some(seq) => Some((seq, seq)),
                    None => Some((0, u64::MAX)),
                },
            };
            ranges.extend(range);
        }
        Ok(Self { ranges })
    }

    fn touches(&self, seq: u64) -> bool {
        self.ranges.iter().any(|(first, last)| (*first..=*last).contains(&seq))
    }
}

/// Writes markers for what is due and is not marked, within the caps, oldest first. Each is acknowledged before it counts.
pub(super) async fn run(primary: &Primary<'_>, pass: &mut Pass, now: Timestamp) -> Result<(), PrimaryError> {
    let Some(marker) = &primary.marker else { return Ok(()) };
    let most = caps(Caps::default(), pass.decisions.len());
    for (row, decision, done) in &mut pass.decisions {
        if *done || decision.keep.is_some() || pass.forgotten.len() >= most {
            continue;
        }
        if row.state == State::Held && !is_whole(&primary.retainer.folder, row)? {
            decision.keep = Some(PrimaryReason::NotInVault);
            continue;
        }
        let body = serde_json::json!({
            "schema": "lifeboat/forgotten/1", "seq": row.seq, "manifest": row.sha256.to_hex(), "at": now.to_string(),
        });
        let body = body.to_string().into_bytes();
        let sha256 = Sha256::of(&body).0;
        match marker.create(&layout::forgotten(row.seq, &row.sha256), body.into(), sha256).await {
            Ok(_) => {}
            // By an earlier pass, whose answer was lost or whose listing left it out.
            Err(error) if error.kind == StoreErrorKind::Exists => {}
            Err(error) => return Err(error.into()),
        }
        tracing::info!(cluster = %primary.retainer.cluster, seq = row.seq, "Forgotten in the primary");
        *done = true;
        pass.forgotten.push(row.seq);
    }
    Ok(())
}

/// A look at every file that the vault's snapshot needs: the catalogue says that it is held, the files must agree.
fn is_whole(folder: &Folder, row: &SnapshotRow) -> Result<bool, PrimaryError> {
    let Some((bytes, _)) = folder.read(&layout::manifest(row.seq), limits::MANIFEST_MAX)? else {
        return Ok(false);
    };
    let Ok(manifest) = UnverifiedManifest::parse(&bytes) else { return Ok(false) };
    if manifest.sha256() != row.sha256 {
        return Ok(false);
    }
    let mut lists = BTreeMap::new();
    for set in &manifest.claims().packs {
        let read = folder.read(&layout::list(&set.list), limits::LIST_MAX)?;
        let list =
            read.filter(|(b, _)| Sha256::of(b) == set.list).and_then(|(b, _)| PackList::parse(&b).ok());
        let Some(list) = list else { return Ok(false) };
        lists.insert(set.list, list);
    }
    let Ok(packs) = snapshots::packs_of(manifest.claims(), &lists) else { return Ok(false) };
    for (sha256, size) in packs {
        if folder.size(&layout::pack(&sha256))? != Some(size) {
            return Ok(false);
        }
    }
    Ok(true)
}
