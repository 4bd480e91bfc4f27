//! Which files snapshots need: charters, epochs, pack lists, packs. Reads the pack lists, which are in clear.

use super::hash::Target;
use super::report::{Damage, DamageKind, Unchecked, VerifyReport};
use crate::reader::chain::Snapshot;
use crate::reader::error::ReadError;
use crate::reader::listing::list_all;
use crate::reader::packs::{chosen, read_list};
use crate::reader::repository::Repository;
use futures::{StreamExt as _, stream};
use lifeboat_format::id::{Handle, Sha256};
use lifeboat_format::pack_list::PackList;
use lifeboat_format::{layout, limits};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Lists fetched at a time.
const FETCHES: usize = 8;

/// Everything that is to be hashed.
#[derive(Debug, Default)]
pub(super) struct Plan {
    targets: BTreeMap<String, Target>,
    lists: HashMap<Sha256, PackList>,
}

impl Plan {
    pub(super) async fn make(
        repository: &Repository,
        snapshots: &[&Snapshot],
        report: &mut VerifyReport,
    ) -> Result<Self, ReadError> {
        let mut plan = Self::default();
        plan.add_charters(repository).await?;
        plan.add_epochs(repository);
        plan.add_lists(repository, snapshots, report).await;
        for snapshot in snapshots {
            plan.add_packs(snapshot, report);
            let (made_under, newest) = (snapshot.manifest.charter, repository.newest().n);
            if made_under > newest {
                let seen = format!("charters up to {newest}");
                let what = format!("charter {made_under}, which snapshot {} names", snapshot.manifest.seq);
                let key = format!("{}{made_under}-…", layout::CHARTER);
                report.damage(Damage::new(key, DamageKind::Missing, what, seen).of([snapshot.manifest.seq]));
            }
        }
        Ok(plan)
    }

    fn add(&mut self, key: String, sha256: Sha256, size: Option<u64>, limit: u64) {
        self.targets.insert(key.clone(), Target { key, sha256, size, limit });
    }

    async fn add_charters(&mut self, repository: &Repository) -> Result<(), ReadError> {
        for entry in list_all(&*repository.store, layout::CHARTER).await? {
            if let Some((_, sha256)) = layout::parse_charter(&entry.key) {
                self.add(entry.key, sha256, None, limits::CHARTER_MAX);
            }
        }
        Ok(())
    }

    fn add_epochs(&mut self, repository: &Repository) {
        for epoch in &repository.newest().epochs {
            for sha256 in &epoch.sealed_sha256 {
                self.add(layout::epoch(epoch.n, sha256), *sha256, None, limits::EPOCH_MAX);
            }
        }
    }

    async fn add_lists(
        &mut self,
        repository: &Repository,
        snapshots: &[&Snapshot],
        report: &mut VerifyReport,
    ) {
        let names: BTreeSet<Sha256> =
            snapshots.iter().flat_map(|s| s.manifest.packs.iter().map(|p| p.list)).collect();
        let mut read = stream::iter(names)
            .map(|name| async move { (name, read_list(&repository.store, &name).await) })
            .buffer_unordered(FETCHES);
        while let Some((name, list)) = read.next().await {
            match list {
                Ok(list) => {
                    report.sound(list.encode().len() as u64);
                    self.lists.insert(name, list);
                }
                Err(e) => report.unread_list(&name, e, snapshots),
            }
        }
    }

    fn add_packs(&mut self, snapshot: &Snapshot, report: &mut VerifyReport) {
        let mut bound: HashMap<Handle, Sha256> = HashMap::new();
        let seq = snapshot.manifest.seq;
        let mut packs = Vec::new();
        let mut contradicts = |why: String| {
            let key = layout::manifest(seq);
            let damage = Damage::new(key, DamageKind::Invalid, "a manifest that fits its pack lists", why);
            report.damage(damage.of([seq]));
        };
        for set in &snapshot.manifest.packs {
            let Some(list) = self.lists.get(&set.list) else { continue };
            for entry in chosen(seq, set, list) {
                match entry {
                    Ok(entry) => {
                        if bound.insert(entry.handle, entry.sha256).is_some_and(|other| other != entry.sha256)
                        {
                            contradicts(format!("the handle {} is bound to two packs", entry.handle));
                        }
                        packs.push(entry);
                    }
                    Err(e) => contradicts(e.to_string()),
                }
            }
        }
        for pack in packs {
            self.add(layout::pack(&pack.sha256), pack.sha256, Some(pack.size), limits::PACK_MAX);
        }
    }

    /// Files and bytes, as far as known.
    pub(super) fn totals(&self) -> (u64, u64) {
        let bytes = self.targets.values().filter_map(|t| t.size).sum();
        (self.targets.len() as u64, bytes)
    }

    pub(super) fn targets(&self) -> impl Iterator<Item = Target> + '_ {
        self.targets.values().cloned()
    }

    /// Says of each damaged pack which snapshots need it; of a charter or epoch, all do.
    pub(super) fn name_snapshots(&self, report: &mut VerifyReport, snapshots: &[&Snapshot]) {
        let all: Vec<u64> = snapshots.iter().map(|s| s.manifest.seq).collect();
        let mut packs: HashMap<Sha256, Vec<u64>> = HashMap::new();
        for damage in &mut report.damage {
            if let Some(pack) = layout::parse_pack(&damage.key) {
                packs.insert(pack, Vec::new());
            } else if self.targets.contains_key(&damage.key) {
                damage.snapshots.clone_from(&all);
            }
        }
        if packs.is_empty() {
            return;
        }
        for snapshot in snapshots {
            let seq = snapshot.manifest.seq;
            for set in &snapshot.manifest.packs {
                let entries =
                    self.lists.get(&set.list).into_iter().flat_map(|l| chosen(seq, set, l)).flatten();
                for entry in entries {
                    match packs.get_mut(&entry.sha256) {
                        Some(seqs) if seqs.last() != Some(&seq) => seqs.push(seq),
                        _ => {}
                    }
                }
            }
        }
        for damage in &mut report.damage {
            if let Some(seqs) = layout::parse_pack(&damage.key).and_then(|p| packs.remove(&p)) {
                damage.snapshots = seqs;
            }
        }
    }
}

impl VerifyReport {
    fn unread_list(&mut self, name: &Sha256, error: ReadError, snapshots: &[&Snapshot]) {
        let key = layout::list(name);
        if !error.is_damage() {
            self.unchecked(Unchecked { key, why: error.to_string() });
            return;
        }
        let kind = if matches!(error, ReadError::Missing { .. }) {
            DamageKind::Missing
        } else {
            DamageKind::Altered
        };
        let affected = snapshots.iter().filter(|s| s.manifest.packs.iter().any(|p| p.list == *name));
        let damage = Damage::new(key, kind, format!("SHA-256 {name}"), error.to_string());
        self.damage(damage.of(affected.map(|s| s.manifest.seq)));
    }
}
