//! The catalogue from the vault's files: after a crash, after a power cut that took the newest rows, after its loss, and
//! when a new charter changes which manifests count.
//!
//! Owns what the files mean. Asks no source.

use super::charters::{self, Charters};
use super::commit::{read_receipt, write_receipt};
use super::error::PullError;
use super::manifests::judged_by;
use super::snapshots::packs_of;
use super::{Cycle, blocking};
use crate::alarm::{AlarmKind, Finding, Stage};
use crate::catalog::{Catalogue, CharterRow, Cursor, Damaged, HeldPack, Side, SnapshotRow, State};
use crate::retain;
use crate::source::Source;
use crate::vault::Folder;
use jiff::Timestamp;
use lifeboat_format::chain::{Chain, Head, Verdict};
use lifeboat_format::crypto::sign::VerifyKey;
use lifeboat_format::id::Sha256;
use lifeboat_format::manifest::{Coverage, Manifest, SignedManifest, UnverifiedManifest};
use lifeboat_format::pack_list::PackList;
use lifeboat_format::receipt::Receipt;
use lifeboat_format::{layout, limits};
use std::collections::{BTreeMap, BTreeSet};

/// What to do about a damaged or lost file of the vault.
const NEXT: &str = "copy it back from the source, or run `lifeboat verify` on the vault; look at the disk, then run rebuild-catalogue";

/// Removes what a crash left behind, and rebuilds the catalogue where it and the files differ.
pub(super) async fn run(cycle: &Cycle) -> Result<(), PullError> {
    let (folder, catalogue, source) = (cycle.folder.clone(), cycle.catalogue.clone(), cycle.source.clone());
    let now = cycle.now;
    let findings = blocking("recovery", move || {
        folder.clean()?;
        let cluster = source.cluster.as_str();
        let mut findings = None;
        if !is_current(&folder, &catalogue, cluster)? {
            tracing::info!(cluster, "The catalogue is behind the vault's files; rebuilding it");
            note_lost(&folder, &catalogue, cluster, now)?;
            findings = Some(rebuild(&folder, &catalogue, &source)?);
        }
        retain::take_over(&folder, &catalogue, &source.cluster)?;
        end_pending(&folder, &catalogue, cluster)?;
        Ok::<_, PullError>(findings)
    })
    .await?;
    report(cycle, findings)
}

/// Manifests whose file is gone: what is known of them is kept, so that the source can give them back.
fn note_lost(folder: &Folder, catalogue: &Catalogue, cluster: &str, now: Timestamp) -> Result<(), PullError> {
    let placed = manifests(folder)?;
    let rows = catalogue.snapshots(cluster)?.into_iter();
    for row in rows.filter(|r| r.state != State::Pending && !placed.contains(&r.seq)) {
        let damaged = Damaged {
            key: layout::manifest(row.seq),
            why: "it is gone from the vault".to_owned(),
            since: now,
            size: None,
            manifest: Some((row.sha256, row.signer)),
        };
        catalogue.put_damaged(cluster, Side::Vault, &damaged)?;
    }
    Ok(())
}

/// After a new charter: judges the whole chain again, for it may have taken back a key.
pub(super) async fn judge_again(cycle: &Cycle, charters: &Charters) -> Result<(), PullError> {
    let before = cycle.catalogue.cursor(cycle.cluster(), Cursor::JudgedBy)?;
    if before.is_none() || before == Some(judged_by(charters)) {
        return Ok(());
    }
    let (folder, catalogue, source) = (cycle.folder.clone(), cycle.catalogue.clone(), cycle.source.clone());
    let findings = blocking("recovery", move || rebuild(&folder, &catalogue, &source)).await?;
    report(cycle, Some(findings))
}

/// `None` when nothing was looked at.
fn report(cycle: &Cycle, findings: Option<Vec<Finding>>) -> Result<(), PullError> {
    let Some(findings) = findings else { return Ok(()) };
    for f in findings {
        cycle.find(f.kind, f.stage, f.what, f.why, &f.next)?;
    }
    Ok(cycle.settle(Stage::Vault)?)
}

/// Removes the pack names of snapshots that are no longer under way.
fn end_pending(folder: &Folder, catalogue: &Catalogue, cluster: &str) -> Result<(), PullError> {
    let pending: BTreeSet<u64> = catalogue.in_state(cluster, State::Pending)?.iter().map(|r| r.seq).collect();
    for name in folder.names(layout::PENDING)? {
        match layout::parse_pending(&format!("{}{name}", layout::PENDING)) {
            Some(seq) if !pending.contains(&seq) => folder.end_pending(seq)?,
            _ => {}
        }
    }
    Ok(())
}

/// Whether the rows and the files name the same manifests.
fn is_current(folder: &Folder, catalogue: &Catalogue, cluster: &str) -> Result<bool, PullError> {
    let rows = catalogue.states(cluster, 0)?;
    let pending: BTreeSet<u64> = rows.iter().filter(|r| r.1 == State::Pending).map(|r| r.0).collect();
    let placed: BTreeSet<u64> = rows.iter().filter(|r| r.1 != State::Pending).map(|r| r.0).collect();
    let held = rows.iter().filter(|r| r.1 == State::Held).map(|r| r.0);
    let receipts: BTreeSet<u64> = folder
        .names(layout::RECEIPTS)?
        .iter()
        .filter_map(|n| layout::parse_receipt(&format!("{}{n}", layout::RECEIPTS)))
        .collect();
    let charters = folder.names(layout::CHARTER)?.is_empty() || !catalogue.charters(cluster)?.is_empty();
    Ok(charters
        && manifests(folder)? == placed
        && folder.pending()?.into_iter().collect::<BTreeSet<_>>() == pending
        && held.collect::<BTreeSet<_>>().is_subset(&receipts))
}

fn manifests(folder: &Folder) -> Result<BTreeSet<u64>, PullError> {
    let names = folder.names(layout::MANIFESTS)?;
    Ok(names.iter().filter_map(|n| layout::parse_manifest(&format!("{}{n}", layout::MANIFESTS))).collect())
}

/// One manifest file of the vault.
struct File {
    signed: SignedManifest,
    modified: Timestamp,
    placed: bool,
}

/// Writes the rows of a cluster anew from its files. Gives what is wrong with them.
pub fn rebuild(folder: &Folder, catalogue: &Catalogue, source: &Source) -> Result<Vec<Finding>, PullError> {
    let cluster = source.cluster.as_str();
    let mut findings = Vec::new();
    let first_seen: BTreeMap<u64, Timestamp> =
        catalogue.charters(cluster)?.into_iter().map(|c| (c.n, c.first_seen)).collect();
    catalogue.clear(cluster)?;
    let (files, _) = charters::held(folder)?;
    let (trusted, _) = charters::judge(&files, &[], &source.owner, &source.cluster);
    for charter in &trusted {
        let n = charter.charter().n;
        let modified = files.iter().filter(|f| f.n == n).map(|f| f.modified).min();
        let first_seen = first_seen.get(&n).copied().or(modified).unwrap_or(Timestamp::UNIX_EPOCH);
        catalogue.put_charter(cluster, &CharterRow { n, sha256: charter.sha256(), first_seen })?;
    }
    let Some(charters) = Charters::new(trusted, BTreeMap::new(), BTreeSet::new()) else {
        return Ok(findings);
    };
    let mut keys = charters.receipt_keys();
    keys.push(source.receipt_key.verify_key());
    let rebuild = Rebuild { folder, catalogue, source, keys };
    let judged = rebuild.judge(&charters, &mut findings)?;
    rebuild.write(judged, &mut findings)?;
    Ok(findings)
}

struct Rebuild<'a> {
    folder: &'a Folder,
    catalogue: &'a Catalogue,
    source: &'a Source,
    /// May have signed receipts.
    keys: Vec<VerifyKey>,
}

impl Rebuild<'_> {
    fn read(&self, seq: u64, placed: bool, agents: &[VerifyKey]) -> Result<Result<File, String>, PullError> {
        let read = if placed {
            self.folder.read(&layout::manifest(seq), limits::MANIFEST_MAX)?
        } else {
            self.folder.read_pending(seq)?
        };
        let Some((bytes, modified)) = read else { return Ok(Err("it is gone".to_owned())) };
        let signed = UnverifiedManifest::parse(&bytes)
            .and_then(|unverified| unverified.verify(agents, &self.source.cluster, seq));
        Ok(signed.map(|signed| File { signed, modified, placed }).map_err(|e| e.to_string()))
    }

    /// Judges all manifest files in the order of their slots.
    fn judge(
        &self,
        charters: &Charters,
        findings: &mut Vec<Finding>,
    ) -> Result<Vec<(File, bool)>, PullError> {
        let agents = &charters.newest().agents;
        let keys: Vec<VerifyKey> = agents.iter().map(|a| a.key).collect();
        let placed = manifests(self.folder)?;
        let pending: BTreeSet<u64> = self.folder.pending()?.into_iter().collect();
        let mut chain = Chain::new(agents, None);
        let mut hole = false;
        let mut counted: BTreeSet<Sha256> = BTreeSet::new();
        let mut judged = Vec::new();
        for seq in placed.union(&pending).copied() {
            let file = match self.read(seq, placed.contains(&seq), &keys)? {
                Ok(file) => file,
                Err(why) if placed.contains(&seq) => {
                    findings.push(damaged(layout::manifest(seq), why, NEXT));
                    hole = true;
                    continue;
                }
                Err(_) => {
                    self.folder.end_pending(seq)?;
                    continue;
                }
            };
            if placed.contains(&seq) && pending.contains(&seq) {
                self.folder.end_pending(seq)?;
            }
            if std::mem::take(&mut hole) {
                // What stood before is unreadable, and was judged when it came: go on behind it.
                let m = &file.signed;
                let head = m.manifest.prev.map(|sha256| Head { seq: seq - 1, sha256, signer: m.signer });
                chain = Chain::new(agents, head);
            }
            let mut verdict = chain.judge(&file.signed);
            let m = &file.signed;
            let in_force = agents.iter().any(|a| a.key == m.signer && a.until.is_none());
            if let Some(prev) = m.manifest.prev.filter(|prev| in_force && !counted.contains(prev))
                && verdict != Verdict::Accepted
            {
                // It counted when it came, so the file of what it extends is gone: one lost file must not cost the rest.
                let why = format!("manifest {seq} extends {prev}, which is gone from the vault");
                findings.push(damaged(layout::manifest(seq - 1), why, NEXT));
                chain = Chain::new(agents, Some(Head { seq: seq - 1, sha256: prev, signer: m.signer }));
                verdict = chain.judge(m);
            }
            let counts = verdict == Verdict::Accepted;
            if counts {
                counted.insert(m.sha256);
            }
            judged.push((file, counts));
        }
        Ok(judged)
    }

    fn write(&self, judged: Vec<(File, bool)>, findings: &mut Vec<Finding>) -> Result<(), PullError> {
        let cluster = self.source.cluster.as_str();
        let mut chain = ReceiptChain::default();
        let mut without = Vec::new();
        for (file, counts) in judged {
            let mut row = SnapshotRow::new(&file.signed, file.modified);
            if !counts && !self.reject(&mut row, file.placed, findings)? {
                continue;
            }
            let checkpoint = file.signed.manifest.coverage == Coverage::Checkpoint;
            if !file.placed || checkpoint {
                if file.placed && counts {
                    row.state = State::Checkpoint;
                }
                self.catalogue.put_snapshot(cluster, &row)?;
                continue;
            }
            if counts {
                row.state = State::Held;
            }
            let packs = self.packs(&file.signed.manifest, findings)?;
            (row.packs, row.bytes) = (packs.len() as u64, packs.iter().map(|p| p.size).sum());
            match read_receipt(self.folder, self.source, row.seq, &self.keys)? {
                Some(Ok(receipt)) => {
                    (row.first_seen, row.verified) = (receipt.first_seen, Some(receipt.verified));
                    chain.add(&receipt);
                }
                Some(Err(modified)) => {
                    row.verified = Some(modified);
                    let next = "look at the disk; the snapshot itself is whole, its receipt cannot be trusted: put it back, then run rebuild-catalogue";
                    let why = "no receipt key of the charters signed it as it stands";
                    findings.push(damaged(layout::receipt(row.seq), why, next));
                }
                None if self.folder.size(&layout::tombstone(row.seq))?.is_some() => {
                    // Forgotten before it was whole.
                    row.state = State::Forgotten;
                    row.forgotten = self.folder.modified(&layout::tombstone(row.seq))?;
                }
                None => {
                    // The crash came between the commit and its receipt.
                    row.verified = Some(file.modified);
                    without.push(row.clone());
                }
            }
            self.catalogue.hold(cluster, &row, &packs)?;
            if !without.iter().any(|w: &SnapshotRow| w.seq == row.seq) {
                // Its receipt was written, so the pull that took it over came to its end.
                self.catalogue.set_audited(cluster, &[row.seq])?;
            }
        }
        let mut newest = chain.newest();
        for row in without {
            newest = Some(write_receipt(self.folder, self.source, &row, newest)?);
        }
        let text = newest.map_or_else(String::new, |h| h.to_hex());
        Ok(self.catalogue.set_cursor(cluster, Cursor::Receipt, &text)?)
    }

    /// A manifest that the charters no longer count. False when it leaves the catalogue.
    fn reject(
        &self,
        row: &mut SnapshotRow,
        placed: bool,
        findings: &mut Vec<Finding>,
    ) -> Result<bool, PullError> {
        let why =
            "the newest charter no longer counts it: its key ended before, or it does not extend the chain";
        let next = "it is kept aside and displaces nothing; find out who used a key that the charter ended";
        let (kind, what) = (AlarmKind::RejectedBranch, layout::manifest(row.seq));
        findings.push(Finding::new(kind, Stage::Manifests, what, why, next));
        row.state = State::Rejected;
        if placed {
            return Ok(true);
        }
        if let Some((bytes, modified)) = self.folder.read_pending(row.seq)? {
            self.folder.keep_rejected(
                &format!("{:016}-{}.json", row.seq, Sha256::of(&bytes)),
                &bytes,
                modified,
            )?;
        }
        self.folder.end_pending(row.seq)?;
        Ok(false)
    }

    fn still_there(&self, packs: Vec<HeldPack>) -> Result<Vec<HeldPack>, PullError> {
        let mut there = Vec::with_capacity(packs.len());
        for pack in packs {
            if self.folder.size(&layout::pack(&pack.sha256))?.is_some() {
                there.push(pack);
            }
        }
        Ok(there)
    }

    /// The packs of a held snapshot, from the lists in the vault.
    fn packs(&self, manifest: &Manifest, findings: &mut Vec<Finding>) -> Result<Vec<HeldPack>, PullError> {
        let mut lists = BTreeMap::new();
        for sha256 in manifest.packs.iter().map(|set| set.list).collect::<BTreeSet<_>>() {
            let key = layout::list(&sha256);
            let bytes = self.folder.read(&key, limits::LIST_MAX)?.map(|(bytes, _)| bytes);
            match bytes.filter(|b| Sha256::of(b) == sha256).and_then(|b| PackList::parse(&b).ok()) {
                Some(list) => drop(lists.insert(sha256, list)),
                None => findings.push(damaged(key, "it is gone or has other bytes", NEXT)),
            }
        }
        match packs_of(manifest, &lists) {
            Ok(packs) => {
                let mut packs: Vec<HeldPack> =
                    packs.into_iter().map(|(sha256, size)| HeldPack { sha256, size }).collect();
                if self.folder.size(&layout::tombstone(manifest.seq))?.is_some() {
                    // What retention deleted is not held.
                    packs = self.still_there(packs)?;
                }
                Ok(packs)
            }
            Err(why) => {
                findings.push(damaged(layout::manifest(manifest.seq), why, NEXT));
                Ok(Vec::new())
            }
        }
    }
}

fn damaged(what: String, why: impl Into<String>, next: &str) -> Finding {
    Finding::new(AlarmKind::VaultDamaged, Stage::Vault, what, why, next)
}

/// Finds the end of the chain of receipts, which grows in the order of commits.
#[derive(Default)]
struct ReceiptChain {
    receipts: Vec<(Timestamp, Sha256)>,
    named: BTreeSet<Sha256>,
}

impl ReceiptChain {
    fn add(&mut self, receipt: &Receipt) {
        self.receipts.push((receipt.verified, Sha256::of(&receipt.payload())));
        self.named.extend(receipt.prev);
    }

    /// The one that no other names.
    fn newest(&self) -> Option<Sha256> {
        self.receipts
            .iter()
            .filter(|(_, sha256)| !self.named.contains(sha256))
            .max()
            .map(|(_, sha256)| *sha256)
    }
}
