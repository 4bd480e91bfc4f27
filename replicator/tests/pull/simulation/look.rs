//! The invariants, looked at from outside: files and objects, not what the replicator says of itself.

use super::World;
use lifeboat_format::id::Sha256;
use lifeboat_format::layout;
use lifeboat_format::manifest::{Coverage, Manifest, PackSet, UnverifiedManifest};
use lifeboat_format::pack_list::PackList;
use std::collections::BTreeSet;

impl World {
    fn manifests(&self) -> Vec<(Manifest, Sha256)> {
        let keys = self.primary.store.keys();
        let manifests = keys.iter().filter(|k| layout::parse_manifest(k).is_some());
        manifests
            .map(|key| {
                let m = UnverifiedManifest::parse(&self.primary.store.bytes(key).unwrap()).unwrap();
                (m.claims().clone(), m.sha256())
            })
            .collect()
    }

    /// Keys that `sets` need, by lists that the primary has.
    fn keys(&self, sets: impl Iterator<Item = PackSet>) -> BTreeSet<String> {
        let mut keys = BTreeSet::new();
        for set in sets {
            let key = layout::list(&set.list);
            let bytes = self
                .primary
                .store
                .bytes(&key)
                .unwrap_or_else(|| panic!("{}: {key} is gone", self.dice.place()));
            let list = PackList::parse(&bytes).unwrap();
            keys.extend(set.bitmap.iter().map(|i| layout::pack(&list.packs[i].sha256)));
        }
        keys
    }

    fn is_sound(&self, key: &str) -> bool {
        let sha256 = layout::parse_pack(key).unwrap();
        self.primary.store.bytes(key).is_some_and(|b| Sha256::of(&b) == sha256)
    }

    /// After each day.
    pub(super) fn look(&mut self) {
        let sound: Vec<String> = self.spoiled.iter().filter(|k| self.is_sound(k)).cloned().collect();
        self.spoiled.retain(|k| !sound.contains(k));
        let manifests = self.manifests();
        self.look_at_primary(&manifests);
        self.look_at_vault(&manifests);
    }

    /// No manifest that is kept there lacks a pack but by somebody's hand, nor do the newest three lack what may be reused.
    fn look_at_primary(&self, manifests: &[(Manifest, Sha256)]) {
        let ours =
            lifeboat_replicator::primary::forgotten(&self.vaulted.replicator.vault, &self.primary.cluster)
                .unwrap();
        for (i, (m, sha256)) in manifests.iter().enumerate() {
            let in_window = manifests.len() - i <= 3;
            let marked = self.primary.store.bytes(&layout::forgotten(m.seq, sha256)).is_some();
            if in_window || !marked || !ours.contains(&m.seq) {
                let carried = m.carry.iter().map(|c| PackSet { list: c.list, bitmap: c.bitmap.clone() });
                let carried = carried.filter(|_| in_window);
                for key in self.keys(m.packs.iter().cloned().chain(carried)) {
                    let there = self.is_sound(&key) || self.spoiled.contains(&key);
                    assert!(
                        there,
                        "{}: {key} of manifest {} is gone from the primary",
                        self.dice.place(),
                        m.seq
                    );
                }
            }
        }
    }

    /// Every snapshot that the vault holds is whole there or in the primary; none is nowhere.
    fn look_at_vault(&self, manifests: &[(Manifest, Sha256)]) {
        let folder = self.vaulted.dir.path().join("prod");
        for (m, _) in manifests.iter().filter(|(m, _)| m.coverage != Coverage::Checkpoint) {
            let place = || format!("{}: snapshot {}", self.dice.place(), m.seq);
            if folder.join(layout::tombstone(m.seq)).exists() {
                continue;
            }
            let held = folder.join(layout::manifest(m.seq)).exists();
            let pending = folder.join(format!("{}.json", layout::pending(m.seq))).exists();
            assert!(held || pending, "{} left the vault", place());
            for set in &m.packs {
                let key = layout::list(&set.list);
                let sound = |b: &[u8]| Sha256::of(b) == set.list;
                let vault = std::fs::read(folder.join(&key)).ok().filter(|b| sound(b));
                let list =
                    vault.or_else(|| self.primary.store.bytes(&key).map(|b| b.to_vec()).filter(|b| sound(b)));
                let list =
                    PackList::parse(&list.unwrap_or_else(|| panic!("{} lacks {key}", place()))).unwrap();
                for i in set.bitmap.iter() {
                    let sha256 = list.packs[i].sha256;
                    let key = layout::pack(&sha256);
                    let in_vault = std::fs::read(folder.join(&key)).is_ok_and(|b| Sha256::of(&b) == sha256);
                    assert!(
                        in_vault || self.is_sound(&key) || (pending && self.spoiled.contains(&key)),
                        "{} lacks {key}",
                        place()
                    );
                }
            }
        }
    }
}
