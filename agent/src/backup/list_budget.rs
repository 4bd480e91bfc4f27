//! How many pack lists each volume of a run may name, so that all of them together fit into one manifest. Pure.
//!
//! Every run in which a volume changes gives it one more list, and what is old and unchanged keeps its own for months. A
//! volume that has more than its share is not offered the packs of its smallest lists: its worker stores what is in them
//! anew, in the one list that it writes anyway. So lists are merged smallest first, as in a log-structured merge tree
//! (O'Neil et al., 1996), and a volume grows a list of a size only after several smaller ones.

use lifeboat_format::id::{Handle, Sha256};
use lifeboat_format::send_log::KnownPack;
use std::collections::{HashMap, HashSet};

/// Lists that a worker writes: its own, and that of an attempt that it went on from.
const NEW: usize = 2;

/// What is left of a manifest for volumes that are read, of `max` lists, when `fixed` are needed by what the run does not
/// choose; a part stays for the lists of objects that it will write, and for those of attempts that went on.
#[must_use]
pub fn free(max: usize, fixed: usize) -> usize {
    max.saturating_sub((max / 32).max(8)).saturating_sub(fixed)
}

/// How many may be known to be named before a run writes its own.
#[must_use]
pub fn most(max: usize) -> usize {
    max.saturating_sub((max / 128).max(4))
}

/// What volumes may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// So many of them are read; there is no room for the others.
    pub volumes: usize,
    /// Lists of earlier runs that each may name.
    pub old: usize,
}

/// Divides `free` lists among volumes, in their order, of which each has so many lists of earlier runs.
#[must_use]
pub fn share(free: usize, volumes: &[usize]) -> Share {
    let fit = volumes.len().min(free / NEW);
    let rest = free - fit * NEW;
    let fits = |old: usize| volumes[..fit].iter().map(|has| (*has).min(old)).sum::<usize>() <= rest;
    let most = volumes[..fit].iter().copied().max().unwrap_or(0);
    // The largest number that fits: what fits grows with it.
    let (mut low, mut high) = (0, most);
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        if fits(middle) {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    Share { volumes: fit, old: if low == most { usize::MAX } else { low } }
}

/// The lists that these packs are in.
#[must_use]
pub fn lists<'a>(packs: impl IntoIterator<Item = &'a KnownPack>) -> HashSet<Sha256> {
    packs.into_iter().map(|p| p.list).collect()
}

/// Those of a volume's packs that are in its `old` largest lists.
#[must_use]
pub fn in_largest(packs: Vec<KnownPack>, old: usize) -> Vec<KnownPack> {
    let mut bytes: HashMap<Sha256, u64> = HashMap::new();
    for p in &packs {
        let sum = bytes.entry(p.list).or_default();
        *sum = sum.saturating_add(p.size);
    }
    if bytes.len() <= old {
        return packs;
    }
    let mut largest: Vec<(u64, Sha256)> = bytes.into_iter().map(|(list, bytes)| (bytes, list)).collect();
    largest.sort_unstable_by(|a, b| b.cmp(a));
    let kept: HashSet<Sha256> = largest.into_iter().take(old).map(|(_, list)| list).collect();
    packs.into_iter().filter(|p| kept.contains(&p.list)).collect()
}

/// The lists that a result names: its own, and those of the packs that it uses again.
pub fn of_result<'a>(
    own: impl Iterator<Item = &'a KnownPack>,
    reused: impl Iterator<Item = &'a Handle>,
    known: &'a HashMap<Handle, KnownPack>,
) -> HashSet<Sha256> {
    own.chain(reused.filter_map(|h| known.get(h))).map(|p| p.list).collect()
}

#[cfg(test)]
mod tests;
