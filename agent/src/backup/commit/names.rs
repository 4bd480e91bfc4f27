//! Which packs a manifest names: what it needs, and what it keeps reusable of domains that its run does not cover.

use super::lists::Lists;
use super::{Commit, Covered};
use crate::backup::head::ChainView;
use crate::backup::resume::is_fresh;
use jiff::Timestamp;
use lifeboat_format::id::{ChunkId, Handle, ScopeAlias, Sha256};
use lifeboat_format::limits;
use lifeboat_format::manifest::{Bitmap, Carry, PackSet};
use lifeboat_format::pack::Reference;
use lifeboat_format::send_log::{KnownChunk, KnownPack};
use std::collections::{BTreeMap, HashMap, HashSet};

/// Days after which a domain that no run covers is no longer kept reusable.
const CARRY_DAYS: i64 = 14;

/// Bitmaps, by list and by the time when their domain was last named in `packs`.
type Carried = BTreeMap<(Sha256, Timestamp), Bitmap>;

impl Commit<'_> {
    pub(super) fn covers(&self, domain: &ScopeAlias) -> bool {
        match &self.covered {
            Covered::Objects(volumes) => {
                volumes.contains(domain) || !self.memory.last.volumes.iter().any(|v| v.domain == *domain)
            }
            Covered::Only(domains) => domains.contains(domain),
        }
    }

    /// What the snapshot needs; a checkpoint needs nothing, it only keeps.
    pub(super) fn pack_sets(&self, lists: &Lists) -> Vec<PackSet> {
        if self.is_checkpoint() {
            return Vec::new();
        }
        let mut sets = lists.own.clone();
        for pack in self.reused.iter().filter_map(|h| self.memory.packs.get(h)) {
            sets.entry(pack.list).or_default().insert(pack.index as usize);
        }
        sets.into_iter().map(|(list, bitmap)| PackSet { list, bitmap }).collect()
    }

    /// What stays reusable, each with its own time, for 14 days.
    pub(super) fn carry(&self, view: &ChainView, lists: &Lists) -> Vec<Carry> {
        let mut carried = self.carried(view);
        if self.is_checkpoint() {
            self.keep_own(view, lists, &mut carried);
        }
        let fresh = |p: &&KnownPack| is_fresh(p.noted, view.newest_modified);
        for p in lists.unfinished.iter().filter(fresh) {
            carried.entry((p.list, self.manifest.finished)).or_default().insert(p.index as usize);
        }
        let room = limits::MANIFEST_LISTS_MAX.saturating_sub(self.pack_sets(lists).len());
        let carried = with_most(carried, room);
        carried.into_iter().map(|((list, since), bitmap)| Carry { list, bitmap, since }).collect()
    }

    /// Of what the head names: for a snapshot, the domains that its run does not cover; for a checkpoint, all.
    fn carried(&self, view: &ChainView) -> Carried {
        let mut out = Carried::new();
        let Some(head) = view.window.first() else { return out };
        let domain_of: HashMap<(Sha256, u32), ScopeAlias> =
            self.memory.packs.values().map(|p| ((p.list, p.index), p.domain)).collect();
        let all = self.is_checkpoint();
        let mut keep = |list: Sha256, bitmap: &Bitmap, since: Timestamp, unknown: bool| {
            for i in bitmap.iter() {
                let domain = domain_of.get(&(list, u32::try_from(i).unwrap_or(u32::MAX)));
                if all || domain.map_or(unknown, |d| !self.covers(d)) {
                    out.entry((list, since)).or_default().insert(i);
                }
            }
        };
        for set in &head.manifest.packs {
            // A pack of it that no log knows (Secrets, bodies) can never be reused.
            keep(set.list, &set.bitmap, head.manifest.finished, false);
        }
        let oldest = self.manifest.finished.as_second() - CARRY_DAYS * 86_400;
        for carry in head.manifest.carry.iter().filter(|c| c.since.as_second() >= oldest) {
            // One that no log knows may be of a run that has not finished (rule 3).
            keep(carry.list, &carry.bitmap, carry.since, true);
        }
        out
    }

    /// All that a run still means to use: what it has sent, and what it found in the chain.
    fn keep_own(&self, view: &ChainView, lists: &Lists, out: &mut Carried) {
        let now = self.manifest.finished;
        for (list, bitmap) in &lists.own {
            for i in bitmap.iter() {
                out.entry((*list, now)).or_default().insert(i);
            }
        }
        let mut there: HashSet<(Sha256, usize)> = HashSet::new();
        for ((list, _), bitmap) in out.iter() {
            there.extend(bitmap.iter().map(|i| (*list, i)));
        }
        for pack in self.reused.iter().filter_map(|h| self.memory.packs.get(h)) {
            let place = (pack.list, pack.index as usize);
            if !there.contains(&place) {
                let since = if self.own.contains(&pack.handle) { now } else { last_named(view, pack, now) };
                out.entry((place.0, since)).or_default().insert(place.1);
            }
        }
    }

    /// Known packs that `carry` names.
    pub(super) fn kept(&self, view: &ChainView, lists: &Lists) -> HashMap<Handle, KnownPack> {
        let carry = self.carry(view, lists);
        let mut by_list: HashMap<Sha256, Vec<&Bitmap>> = HashMap::new();
        for c in &carry {
            by_list.entry(c.list).or_default().push(&c.bitmap);
        }
        let named = |p: &&KnownPack| {
            by_list.get(&p.list).is_some_and(|maps| maps.iter().any(|b| b.contains(p.index as usize)))
        };
        let all = self.memory.packs.values().chain(&lists.unfinished);
        all.filter(named).map(|p| (p.handle, *p)).collect()
    }

    /// Of what the run covers, only what it needs: the rest is dead, and the rules of reuse must see that it is.
    pub(super) fn object_chunks(
        &self,
        needed: &[(ChunkId, Reference)],
        kept: &HashMap<Handle, KnownPack>,
    ) -> Vec<KnownChunk> {
        let mut chunks: HashMap<ChunkId, Reference> = needed.iter().copied().collect();
        for (id, reference) in &self.memory.chunks {
            if kept.contains_key(&reference.handle) {
                chunks.entry(*id).or_insert(*reference);
            }
        }
        chunks.into_iter().map(|(id, reference)| KnownChunk { id, reference }).collect()
    }
}

/// The entries with most packs, if not all can be named: what is not carried is stored anew, should it be needed again.
fn with_most(carried: Carried, room: usize) -> Carried {
    if carried.len() <= room {
        return carried;
    }
    tracing::warn!(entries = carried.len(), room, "not all that could be used again can be named");
    let mut all: Vec<_> = carried.into_iter().collect();
    all.sort_by_key(|(_, bitmap)| std::cmp::Reverse(bitmap.iter().count()));
    all.into_iter().take(room).collect()
}

/// When the newest manifest that needs the pack was finished; of what was only kept, when it was last needed.
fn last_named(view: &ChainView, pack: &KnownPack, otherwise: Timestamp) -> Timestamp {
    let index = pack.index as usize;
    for m in &view.window {
        if m.manifest.packs.iter().any(|s| s.list == pack.list && s.bitmap.contains(index)) {
            return m.manifest.finished;
        }
        let carried = m.manifest.carry.iter().find(|c| c.list == pack.list && c.bitmap.contains(index));
        if let Some(carry) = carried {
            return carry.since;
        }
    }
    otherwise
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_carried_beyond_the_bound_goes_smallest_first() {
        let carried: Carried = (1..=6u8)
            .map(|n| {
                let mut bitmap = Bitmap::new(8);
                (0..usize::from(n)).for_each(|i| bitmap.insert(i));
                ((Sha256([n; 32]), Timestamp::UNIX_EPOCH), bitmap)
            })
            .collect();
        let left: Vec<u8> = with_most(carried.clone(), 2).keys().map(|(list, _)| list.0[0]).collect();
        assert_eq!(left, [5, 6]);
        assert_eq!(with_most(carried.clone(), 6), carried);
        assert!(with_most(carried, 0).is_empty());
    }
}
