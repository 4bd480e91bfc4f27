//! What goes wrong in a simulated world: rot and loss on either side, never of both copies; junk in the primary; and the
//! person who looks at what does not end by itself.

use super::World;
use jiff::SignedDuration;
use lifeboat_common::clock::Clock as _;
use lifeboat_format::layout;
use lifeboat_replicator::alarm::AlarmKind;
use std::path::PathBuf;

impl World {
    fn in_vault(&self, key: &str) -> PathBuf {
        self.vaulted.dir.path().join("prod").join(key)
    }

    /// Whether both sides have the same bytes: only then may one of them go wrong.
    fn is_twice(&self, key: &str) -> bool {
        let there = std::fs::read(self.in_vault(key)).ok();
        there.is_some() && there == self.primary.store.bytes(key).map(|b| b.to_vec())
    }

    /// Keys of `prefix` that both sides have.
    fn twice(&self, prefix: &str) -> Vec<String> {
        let keys = self.primary.store.keys();
        keys.into_iter().filter(|k| k.starts_with(prefix) && self.is_twice(k)).collect()
    }

    pub(super) fn misfortune(&mut self) {
        if self.dice.says(35) {
            let kinds = [
                layout::PACKS,
                layout::PACKS,
                layout::LISTS,
                layout::MANIFESTS,
                layout::CHARTER,
                layout::EPOCHS,
            ];
            let prefix = *self.dice.pick(&kinds).unwrap();
            let keys = self.twice(prefix);
            if let Some(key) = self.dice.pick(&keys).cloned() {
                self.spoil_vault(&key);
            }
        }
        if self.dice.says(20) {
            let keys = self.twice(layout::PACKS);
            if let Some(key) = self.dice.pick(&keys).cloned() {
                if self.dice.says(50) {
                    self.primary.store.remove(&key);
                } else {
                    self.primary.store.corrupt(&key, |bytes| bytes[7] ^= 1);
                }
                self.spoiled.insert(key);
                self.tally.primary_faults += 1;
            }
        }
        if self.dice.says(6) {
            let name = format!("{}junk-{}", layout::MANIFESTS, self.dice.next());
            self.primary.store.put(&name, "junk");
            self.tally.attacks += 1;
        }
        if self.dice.says(6)
            && let Some((seq, sha256)) = self.primary.head
        {
            // A marker that is not ours, for a snapshot that is to stay.
            self.primary.store.put(&layout::forgotten(seq, &sha256), "forged");
            self.tally.attacks += 1;
        }
    }

    fn spoil_vault(&mut self, key: &str) {
        let path = self.in_vault(key);
        let is_pack = key.starts_with(layout::PACKS);
        if is_pack && self.dice.says(30) {
            std::fs::remove_file(&path).unwrap();
        } else {
            let mut bytes = std::fs::read(&path).unwrap();
            let at = usize::try_from(self.dice.below(bytes.len() as u64)).unwrap();
            bytes[at] ^= 1 << self.dice.below(8);
            std::fs::write(&path, bytes).unwrap();
        }
        self.tally.vault_faults += 1;
    }

    /// Resolves junk, which nobody may delete, after a look. Agrees to nothing else.
    pub(super) fn person(&mut self) {
        let catalogue = &self.vaulted.replicator.catalogue;
        for alarm in catalogue.alarms("prod").unwrap() {
            if alarm.kind == AlarmKind::Junk {
                catalogue.resolve("prod", &alarm, "junk", self.primary.clock.now()).unwrap();
            }
        }
    }

    /// The faults end: after a few days everything is whole again, on both sides.
    pub(super) async fn calm(&mut self) {
        for _ in 0..4 {
            self.primary.pass(SignedDuration::from_hours(24));
            self.vaulted.pull(&self.primary).await;
            super::scrubber(&self.vaulted, &self.primary).run(true, |_| super::Progress::quiet()).unwrap();
            self.vaulted.pull(&self.primary).await;
            let pass = crate::primary::pass(&self.vaulted, &self.primary);
            self.tally.healed_primary += pass.healed.healed.len() as u64;
            self.vaulted.pull(&self.primary).await;
            self.person();
        }
        self.look();
        let open = crate::fixture::alarms(&self.vaulted.pull(&self.primary).await);
        assert_eq!(open, [], "{}", self.dice.place());
    }
}
