//! An agent as small as the rules of naming and freshness allow (docs/format.md, "Commit and reuse" 2 and 3): new packs,
//! packs of the last three manifests, carried ones, checkpoints, runs that die, and runs that commit late.

use super::Tally;
use super::dice::Dice;
use crate::fixture::Primary;
use jiff::{SignedDuration, Timestamp};
use lifeboat_common::clock::Clock as _;
use lifeboat_format::id::Sha256;
use lifeboat_format::layout;
use lifeboat_format::manifest::{Bitmap, Carry, Coverage, PackSet};
use lifeboat_format::pack_list::{PackEntry, PackList};
use std::collections::BTreeMap;

/// What one manifest names: each pack, and the list and place that it is named by.
type Names = BTreeMap<Sha256, (Sha256, usize)>;

#[derive(Default)]
pub struct Writer {
    /// Of the last three manifests: needed, carried.
    window: Vec<(Names, Names)>,
    newest: Option<Timestamp>,
    /// Uploaded by a run that is late, and when it noted the store's time.
    late: Option<(Vec<PackEntry>, Timestamp)>,
}

impl Writer {
    pub fn day(&mut self, primary: &mut Primary, dice: &mut Dice, tally: &mut Tally) {
        if dice.says(25) {
            // A run that dies before its commit.
            let packs: Vec<PackEntry> = (0..1 + dice.below(2)).map(|_| primary.put_pack()).collect();
            if dice.says(50) {
                primary.put_list(packs);
            }
            tally.orphans += 1;
        }
        if dice.says(15) {
            self.late = Some((vec![primary.put_pack()], primary.clock.now()));
        }
        for _ in 0..1 + u64::from(dice.says(30)) {
            if dice.says(92) {
                self.commit(primary, dice);
                tally.commits += 1;
            }
            primary.pass(SignedDuration::from_mins(i64::try_from(dice.below(40)).unwrap()));
        }
        // The late one: what it uploaded counts only while it is fresh.
        let now = primary.clock.now();
        if let Some((packs, noted)) = self.late.take() {
            let fresh = self.newest.is_none_or(|newest| newest < noted + SignedDuration::from_hours(24));
            if fresh && now.duration_since(noted) < SignedDuration::from_hours(20) && dice.says(70) {
                self.commit_with(primary, dice, packs);
                tally.commits += 1;
            } else if fresh {
                self.late = Some((packs, noted));
            }
        }
    }

    fn commit(&mut self, primary: &mut Primary, dice: &mut Dice) {
        let new = (0..dice.below(3)).map(|_| primary.put_pack()).collect();
        self.commit_with(primary, dice, new);
    }

    /// What may be named again: what the store still has, and is not marked as lost.
    fn reusable(&self, primary: &Primary) -> Names {
        let mut all = Names::new();
        for (needed, carried) in &self.window {
            all.extend(needed.iter().chain(carried).map(|(k, v)| (*k, *v)));
        }
        all.retain(|pack, _| {
            let key = layout::pack(pack);
            let sound = primary.store.bytes(&key).is_some_and(|b| Sha256::of(&b) == *pack);
            sound && primary.store.bytes(&layout::lost(pack)).is_none()
        });
        all
    }

    fn commit_with(&mut self, primary: &mut Primary, dice: &mut Dice, new: Vec<PackEntry>) {
        let (mut needed, mut carried) = (Names::new(), Names::new());
        for (pack, place) in self.reusable(primary) {
            match dice.below(10) {
                0..=5 => drop(needed.insert(pack, place)),
                6..=7 => drop(carried.insert(pack, place)),
                _ => {}
            }
        }
        if !new.is_empty() {
            let set = primary.put_list(new.clone());
            needed.extend(new.iter().enumerate().map(|(i, e)| (e.sha256, (set.list, i))));
        }
        let checkpoint = dice.says(10) && !needed.is_empty();
        let mut manifest = primary.manifest(sets(primary, &needed));
        let since = primary.clock.now();
        let carry = |names: &Names| -> Vec<Carry> {
            let sets = sets(primary, names).into_iter();
            sets.map(|s| Carry { list: s.list, bitmap: s.bitmap, since }).collect()
        };
        if checkpoint {
            carried.append(&mut needed);
            (manifest.coverage, manifest.body, manifest.packs) = (Coverage::Checkpoint, None, vec![]);
        }
        manifest.carry = carry(&carried);
        primary.commit(&manifest);
        self.newest = Some(primary.clock.now());
        self.window.push((needed, carried));
        if self.window.len() > 3 {
            self.window.remove(0);
        }
    }
}

fn sets(primary: &Primary, names: &Names) -> Vec<PackSet> {
    let mut by_list: BTreeMap<Sha256, Vec<usize>> = BTreeMap::new();
    for (list, index) in names.values() {
        by_list.entry(*list).or_default().push(*index);
    }
    let sets = by_list.into_iter().map(|(list, indices)| {
        let bytes =
            primary.store.bytes(&layout::list(&list)).expect("a list in the window is in the primary");
        let mut bitmap = Bitmap::new(PackList::parse(&bytes).unwrap().packs.len());
        indices.into_iter().for_each(|i| bitmap.insert(i));
        PackSet { list, bitmap }
    });
    sets.collect()
}
