//! New manifests: listed, fetched, judged in the order of their slots, and kept under `pending/`.
//!
//! Owns which slots are looked at again: a damaged one that was repaired must count, and a flood of junk must not be
//! fetched in each pull.

use super::charters::Charters;
use super::error::{FetchError, PullError};
use super::judge::{Accepted, Judge, Reason, Ruling};
use super::list::{self, Listed};
use super::{Cycle, WHOLE, blocking};
use crate::alarm::{AlarmKind, Stage};
use crate::catalog::{Cursor, Slot, SnapshotRow};
use futures::{FutureExt as _, StreamExt as _, stream};
use lifeboat_format::id::Sha256;
use lifeboat_format::manifest::UnverifiedManifest;
use lifeboat_format::{layout, limits};
use std::collections::{BTreeMap, BTreeSet};

/// Slots set aside that are fetched again in each pull, in turn, to see whether they were repaired.
const LOOKS: usize = 2;
/// Slots of one kind that have an alarm each.
const NAMED: usize = 100;

/// What a pull found under `manifests/`.
struct Found {
    /// After the head, by key.
    listed: BTreeMap<String, Listed>,
    /// Something changed since the last judgment.
    changed: bool,
}

/// Judges what is new.
pub(super) async fn update(cycle: &Cycle, charters: &Charters) -> Result<(), PullError> {
    let cluster = cycle.cluster();
    let known = known(cycle, charters)?;
    let judge = Judge::new(charters, &cycle.source.cluster, &known, cycle.now);
    let head = judge.head();
    let rows = rows_after(cycle, head.map_or(0, |h| h.seq))?;
    let after = head.map(|h| layout::manifest(h.seq));
    // Together: a far source costs a round trip for each.
    let listing = async {
        Ok::<_, PullError>(list::all(&*cycle.fetcher.store, layout::MANIFESTS, after.as_deref()).await?)
    };
    let head_there = async {
        match head {
            Some(head) => check_head(cycle, head.seq, head.sha256).await,
            None => Ok(()),
        }
    };
    let (listed, ()) = tokio::try_join!(listing, head_there)?;
    let listed = listed.into_iter().map(|l| (l.key.clone(), l)).collect();
    let mut found = Found { listed, changed: false };
    look_again(cycle, after.as_deref(), &mut found).await?;
    note_new(cycle, charters, &rows, &mut found)?;
    if found.changed {
        judge_all(cycle, judge, &rows, &found).await?;
    }
    let judged_by = judged_by(charters);
    if cycle.catalogue.cursor(cluster, Cursor::JudgedBy)?.as_deref() != Some(&judged_by) {
        cycle.catalogue.set_cursor(cluster, Cursor::JudgedBy, &judged_by)?;
    }
    name_slots(cycle)
}

/// Alarms for what was set aside: some of each kind by name, the rest as a number, so that a flood of junk floods no one.
fn name_slots(cycle: &Cycle) -> Result<(), PullError> {
    let mut counts: BTreeMap<AlarmKind, usize> = BTreeMap::new();
    for slot in cycle.catalogue.slots(cycle.cluster())? {
        let count = counts.entry(slot.kind).or_default();
        *count += 1;
        if *count <= NAMED {
            cycle.find(slot.kind, Stage::Manifests, slot.key, slot.why, &slot.next)?;
        }
    }
    for (kind, count) in counts.into_iter().filter(|(_, count)| *count > NAMED) {
        // By magnitude: an alarm that says something else each time would be a new one each time.
        let why =
            format!("more than {} objects are like that; the first {NAMED} are named", magnitude(count));
        let next = "find out who floods the source; what is sound is pulled all the same";
        cycle.find(kind, Stage::Manifests, layout::MANIFESTS, why, next)?;
    }
    Ok(())
}

/// The largest of 100, 1000, 10,000 … below `count`, or [`NAMED`].
fn magnitude(count: usize) -> usize {
    let mut below = NAMED;
    while below * 10 < count {
        below *= 10;
    }
    below
}

/// What a judgment needs of what is known: the newest of each kind, and those that the charter names as ends of keys.
fn known(cycle: &Cycle, charters: &Charters) -> Result<Vec<SnapshotRow>, PullError> {
    let (catalogue, cluster) = (&cycle.catalogue, cycle.cluster());
    let mut rows = Vec::new();
    for paths in [None, Some(false), Some(true)] {
        rows.extend(catalogue.newest(cluster, paths)?);
    }
    for end in charters.newest().agents.iter().flat_map(|a| [a.from, a.until]).flatten() {
        rows.extend(catalogue.by_manifest(cluster, &end)?);
    }
    rows.sort_by_key(|r| r.seq);
    rows.dedup_by_key(|r| r.seq);
    Ok(rows)
}

/// Slots after the head that have a row: those that a charter took back.
fn rows_after(cycle: &Cycle, head: u64) -> Result<BTreeSet<u64>, PullError> {
    Ok(cycle.catalogue.states(cycle.cluster(), head)?.into_iter().map(|(seq, _)| seq).collect())
}

/// What a judgment depends on beside the manifests.
pub(super) fn judged_by(charters: &Charters) -> String {
    format!("{} {}", env!("CARGO_PKG_VERSION"), charters.fingerprint())
}

/// The last manifest that counts must still be there, with the same payload: a source that was emptied or rewritten is
/// seen in one pull.
async fn check_head(cycle: &Cycle, seq: u64, sha256: Sha256) -> Result<(), PullError> {
    let key = layout::manifest(seq);
    let bytes = match cycle.fetcher.manifest(seq).await {
        Ok(bytes) => bytes,
        Err(FetchError::Missing { .. }) => {
            let why = "the newest manifest that the vault knows is no longer in the source, where none is ever deleted";
            let next = "the vault keeps what it has; find out who can delete in the source, or whether it is the right one";
            return Ok(cycle.find(AlarmKind::PrimaryEmptied, Stage::Manifests, key, why, next)?);
        }
        Err(FetchError::Damaged(damage)) => return rewritten(cycle, key, sha256, damage.seen),
        Err(error) => return cycle.object_failed(Stage::Manifests, error),
    };
    match UnverifiedManifest::parse(&bytes) {
        Ok(manifest) if manifest.sha256() == sha256 => Ok(()),
        Ok(manifest) => rewritten(cycle, key, sha256, format!("payload SHA-256 {}", manifest.sha256())),
        Err(error) => rewritten(cycle, key, sha256, error.to_string()),
    }
}

fn rewritten(cycle: &Cycle, key: String, expected: Sha256, seen: String) -> Result<(), PullError> {
    let why = format!("expected payload SHA-256 {expected}, found {seen}");
    let next = "the vault keeps the one it verified; find out who can overwrite objects in the source";
    Ok(cycle.find(AlarmKind::PrimaryRewritten, Stage::Manifests, key, why, next)?)
}

/// Looks at some of the slots that were set aside, and drops those that are gone.
async fn look_again(cycle: &Cycle, after: Option<&str>, found: &mut Found) -> Result<(), PullError> {
    let cluster = cycle.cluster();
    for slot in cycle.catalogue.slots(cluster)? {
        let passed = after.is_some_and(|after| slot.key.as_str() <= after);
        if !passed && !found.listed.contains_key(&slot.key) {
            cycle.catalogue.forget_slot(cluster, &slot.key)?;
        }
    }
    for slot in cycle.catalogue.stalest_slots(cluster, LOOKS)? {
        let Some(seq) = layout::parse_manifest(&slot.key) else { continue };
        match cycle.fetcher.manifest(seq).await {
            Ok(bytes) => {
                found.changed |= slot.seen != Some(Sha256::of(&bytes).to_hex());
                cycle.catalogue.put_slot(cluster, &slot)?;
            }
            Err(FetchError::Missing { .. }) => cycle.catalogue.forget_slot(cluster, &slot.key)?,
            Err(FetchError::Damaged(_)) => {}
            Err(error) => return cycle.object_failed(Stage::Manifests, error),
        }
    }
    look_behind(cycle, after).await
}

/// Where the head has passed a name that is none, no other listing says that it is gone: one page per pull, in turn.
async fn look_behind(cycle: &Cycle, head: Option<&str>) -> Result<(), PullError> {
    let cluster = cycle.cluster();
    let mut passed = cycle.catalogue.unread_slots(cluster)?;
    passed.retain(|slot| head.is_some_and(|head| slot.key.as_str() <= head));
    let Some(stalest) = passed.first() else { return Ok(()) };
    // From the manifest before it: the name itself may be one that no store takes.
    let number = stalest.key.strip_prefix(layout::MANIFESTS).and_then(|n| n.get(..16)?.parse::<u64>().ok());
    let from = number.map(|n| layout::manifest(n.saturating_sub(1)));
    let (page, more) = list::page(&*cycle.fetcher.store, layout::MANIFESTS, from.as_deref()).await?;
    let until = page.last().filter(|_| more).map(|l| l.key.clone());
    passed.retain(|slot| from.as_ref().is_none_or(|f| slot.key > *f));
    passed.retain(|slot| until.as_ref().is_none_or(|u| slot.key <= *u));
    for slot in passed {
        if page.iter().any(|l| l.key == slot.key) {
            cycle.catalogue.put_slot(cluster, &slot)?;
        } else {
            cycle.catalogue.forget_slot(cluster, &slot.key)?;
        }
    }
    Ok(())
}

/// Takes in what the listing has and nobody judged: names that are none at once, manifests by marking a change.
fn note_new(
    cycle: &Cycle,
    charters: &Charters,
    rows: &BTreeSet<u64>,
    found: &mut Found,
) -> Result<(), PullError> {
    let cluster = cycle.cluster();
    let slots: BTreeMap<String, Slot> =
        cycle.catalogue.slots(cluster)?.into_iter().map(|s| (s.key.clone(), s)).collect();
    let before = cycle.catalogue.cursor(cluster, Cursor::JudgedBy)?;
    if before != Some(judged_by(charters)) && !slots.is_empty() {
        found.changed = true;
    }
    for entry in found.listed.values() {
        let same = |slot: &Slot| slot.size == entry.size && slot.modified == entry.modified;
        if slots.get(&entry.key).is_some_and(same) {
            continue;
        }
        let aside = |kind, why: String, next| set_aside(cycle, entry, None, &Reason { kind, why, next });
        match layout::parse_manifest(&entry.key) {
            None => aside(
                AlarmKind::Junk,
                "it is no manifest's name".to_owned(),
                "find out who wrote it; nothing under manifests/ is ever followed that does not parse",
            )?,
            Some(seq) if rows.contains(&seq) => {}
            Some(_) if entry.size > limits::MANIFEST_MAX => aside(
                AlarmKind::Damaged,
                format!("it has {} bytes, a manifest has at most {}", entry.size, limits::MANIFEST_MAX),
                "find out who wrote it",
            )?,
            Some(_) => found.changed = true,
        }
    }
    Ok(())
}

fn set_aside(cycle: &Cycle, entry: &Listed, seen: Option<String>, reason: &Reason) -> Result<(), PullError> {
    let slot = Slot {
        key: entry.key.clone(),
        size: entry.size,
        modified: entry.modified,
        seen,
        kind: reason.kind,
        why: reason.why.clone(),
        next: reason.next.to_owned(),
    };
    Ok(cycle.catalogue.put_slot(cycle.cluster(), &slot)?)
}

/// Fetches and judges every slot after the head, ascending; stops at one that has to wait.
async fn judge_all(
    cycle: &Cycle,
    mut judge: Judge<'_>,
    rows: &BTreeSet<u64>,
    found: &Found,
) -> Result<(), PullError> {
    let due: Vec<(u64, Listed)> = found
        .listed
        .values()
        .filter(|entry| entry.size <= limits::MANIFEST_MAX)
        .filter_map(|entry| Some((layout::parse_manifest(&entry.key)?, entry.clone())))
        .filter(|(seq, _)| !rows.contains(seq))
        .collect();
    cycle.activity.busy(cycle.cluster(), format!("judging {} manifests", due.len()));
    let mut fetched = stream::iter(due)
        .map(|(seq, entry)| async move { (seq, entry, cycle.fetcher.manifest(seq).await) }.boxed())
        .buffered(WHOLE.min(cycle.transfers));
    let mut waits: Option<Reason> = None;
    while let Some((seq, entry, bytes)) = fetched.next().await {
        if let Some(reason) = &waits {
            set_aside(cycle, &entry, None, reason)?;
            continue;
        }
        let bytes = match bytes {
            Ok(bytes) => bytes,
            Err(FetchError::Missing { .. }) => continue,
            Err(FetchError::Damaged(damage)) => {
                let why = format!("expected {}, found {}", damage.expected, damage.seen);
                let reason = Reason { kind: AlarmKind::Damaged, why, next: "find out who wrote it" };
                set_aside(cycle, &entry, None, &reason)?;
                continue;
            }
            Err(error) => return cycle.object_failed(Stage::Manifests, error),
        };
        let seen = Sha256::of(&bytes);
        match rule(cycle, &mut judge, seq, bytes.to_vec()).await? {
            Ruling::Accepted(accepted) => accept(cycle, *accepted).await?,
            Ruling::Aside(reason) => keep_aside(cycle, &entry, seq, seen, bytes.to_vec(), &reason).await?,
            Ruling::Waits(reason) => {
                keep_aside(cycle, &entry, seq, seen, bytes.to_vec(), &reason).await?;
                waits =
                    Some(Reason { why: format!("it stands behind {}, which waits", entry.key), ..reason });
            }
        }
    }
    Ok(())
}

/// Judges; what looks unsound is fetched once more first, for the way may be to blame.
async fn rule(cycle: &Cycle, judge: &mut Judge<'_>, seq: u64, bytes: Vec<u8>) -> Result<Ruling, PullError> {
    let before = Sha256::of(&bytes);
    let ruling = judge.judge(seq, bytes);
    if !matches!(&ruling, Ruling::Aside(r) if matches!(r.kind, AlarmKind::Damaged | AlarmKind::Forged)) {
        return Ok(ruling);
    }
    match cycle.fetcher.manifest(seq).await {
        Ok(again) if Sha256::of(&again) != before => Ok(judge.judge(seq, again.to_vec())),
        Ok(_) | Err(FetchError::Missing { .. } | FetchError::Damaged(_)) => Ok(ruling),
        Err(error) => cycle.object_failed(Stage::Manifests, error).map(|()| ruling),
    }
}

/// Kept first, then known: what a crash leaves in between is removed when the next pull begins.
async fn accept(cycle: &Cycle, accepted: Accepted) -> Result<(), PullError> {
    let (cluster, now) = (cycle.cluster(), cycle.now);
    let m = accepted.manifest();
    let key = layout::manifest(m.seq);
    if m.finished > now {
        tracing::info!(cluster, seq = m.seq, claimed = %m.finished, "The manifest claims a time in the future");
    }
    if let Some(note) = &accepted.note {
        cycle.find(note.kind, Stage::Manifests, key.clone(), note.why.clone(), note.next)?;
    }
    let row = SnapshotRow::new(accepted.signed(), now);
    let folder = cycle.folder.clone();
    blocking("manifests", move || folder.keep_pending(&accepted, now)).await?;
    cycle.catalogue.put_snapshot(cluster, &row)?;
    cycle.catalogue.forget_slot(cluster, &key)?;
    cycle.activity.tick();
    tracing::debug!(cluster, seq = row.seq, "Manifest accepted");
    Ok(())
}

async fn keep_aside(
    cycle: &Cycle,
    entry: &Listed,
    seq: u64,
    seen: Sha256,
    bytes: Vec<u8>,
    reason: &Reason,
) -> Result<(), PullError> {
    // What nobody here signed is not worth the room: anyone who can write to the source could fill the vault with it.
    let signed = !matches!(reason.kind, AlarmKind::Damaged | AlarmKind::Forged | AlarmKind::Replayed);
    if signed {
        let (folder, now) = (cycle.folder.clone(), cycle.now);
        let name = format!("{seq:016}-{seen}.json");
        blocking("manifests", move || folder.keep_rejected(&name, &bytes, now)).await?;
    }
    set_aside(cycle, entry, Some(seen.to_hex()), reason)
}
