//! Which of the packs that the agent remembers may be named again. Pure: the argument of repository.md, "Commit and
//! reuse", rule 2b, and the ages and sizes at which a pack counts as absent although it is there.

use super::head::ChainView;
use jiff::Timestamp;
use lifeboat_format::id::{Handle, ScopeAlias, Sha256};
use lifeboat_format::send_log::{KnownChunk, KnownPack};
use std::collections::{HashMap, HashSet};

/// Packs below this are small, bytes.
const SMALL: u64 = 4 << 20;
/// A domain may have so many small packs before they are stored anew.
const SMALL_MAX: usize = 32;
/// A pack of which less than this part is needed is stored anew, in percent.
const LIVE_MIN_PERCENT: u64 = 30;
/// At most this part of a domain's bytes is stored anew in one run, in percent.
const ANEW_PERCENT: u64 = 2;

/// Days after which a pack is stored anew, spread so that it does not happen to all at once.
fn age_max_days(sha256: &Sha256) -> i64 {
    150 + i64::from(sha256.0[0] % 60)
}

/// The packs that this run may name beside its own. `live` is what the head's snapshot needs of each, bytes of plaintext.
#[must_use]
pub fn reusable<'a>(
    packs: impl Iterator<Item = &'a KnownPack>,
    live: &HashMap<Handle, u64>,
    view: &ChainView,
    gone: &HashSet<Sha256>,
    now: Timestamp,
) -> HashSet<Handle> {
    let mut usable: HashMap<ScopeAlias, Vec<KnownPack>> = HashMap::new();
    for p in packs {
        let named = view.names(&p.list, p.index);
        let days = (now.as_second() - p.noted) / 86_400;
        if named && days <= age_max_days(&p.sha256) && !gone.contains(&p.sha256) {
            usable.entry(p.domain).or_default().push(*p);
        }
    }
    usable.into_values().flat_map(|domain| without_worst(domain, live)).collect()
}

/// Whether a pack may be stored anew because of its size or of what is left of it, should there be many such.
#[must_use]
pub fn is_sparse(size: u64, plain_bytes: u64, live: u64) -> bool {
    size < SMALL || percent(plain_bytes, live) < LIVE_MIN_PERCENT
}

/// The part of a pack's plaintext that is live.
#[must_use]
pub fn percent(plain_bytes: u64, live: u64) -> u64 {
    live.saturating_mul(100) / plain_bytes.max(1)
}

/// Plaintext bytes of each pack that these chunks are in.
#[must_use]
pub fn live_bytes(needed: &[KnownChunk]) -> HashMap<Handle, u64> {
    let mut live = HashMap::new();
    for c in needed {
        *live.entry(c.reference.handle).or_default() += u64::from(c.reference.length);
    }
    live
}

/// Leaves out the packs that are mostly dead or too small, worst first, within this run's allowance.
fn without_worst(mut domain: Vec<KnownPack>, live: &HashMap<Handle, u64>) -> Vec<Handle> {
    let live_of = |p: &KnownPack| live.get(&p.handle).copied().unwrap_or(0);
    let total: u64 = domain.iter().map(live_of).sum();
    let small = domain.iter().filter(|p| p.size < SMALL).count();
    let mut allowance = total * ANEW_PERCENT / 100;
    let percent = |p: &KnownPack| percent(p.plain_bytes, live_of(p));
    domain.sort_by_key(|p| (percent(p), p.size, p.handle));
    let mut keep = Vec::new();
    for p in &domain {
        let bad = percent(p) < LIVE_MIN_PERCENT || (small > SMALL_MAX && p.size < SMALL);
        match allowance.checked_sub(live_of(p)) {
            Some(rest) if bad => allowance = rest,
            _ => keep.push(p.handle),
        }
    }
    keep
}

/// At most `count` of the packs, going round from `start`: those that the agent looks for in the store this run.
pub fn rotating(packs: &[KnownPack], start: u64, count: usize) -> impl Iterator<Item = &KnownPack> {
    let len = packs.len();
    let first = usize::try_from(start % len.max(1) as u64).expect("below a length");
    packs.iter().cycle().skip(first).take(count.min(len))
}

#[cfg(test)]
mod tests {
    use super::*;
    use lifeboat_format::id::{ChunkId, Digest};
    use lifeboat_format::manifest::{Bitmap, PackSet};
    use lifeboat_format::pack::Reference;

    const LIST: Sha256 = Sha256([9; 32]);

    fn pack(n: u8, size: u64, plain_bytes: u64) -> KnownPack {
        KnownPack {
            handle: Handle([n; 16]),
            sha256: Sha256([n; 32]),
            size,
            plain_bytes,
            list: LIST,
            index: u32::from(n),
            noted: 0,
            domain: ScopeAlias([0; 16]),
        }
    }

    fn chunk(n: u8, length: u32) -> KnownChunk {
        let reference =
            Reference { handle: Handle([n; 16]), frame: 0, offset: 0, length, digest: Digest([n; 32]) };
        KnownChunk { id: ChunkId([n; 16]), reference }
    }

    fn view(named: &[usize]) -> ChainView {
        let mut bitmap = Bitmap::new(0);
        named.iter().for_each(|&i| bitmap.insert(i));
        let signer = lifeboat_format::crypto::sign::SigningKey::from_pkcs8(
            &lifeboat_format::crypto::sign::SigningKey::generate(),
        );
        let mut manifest = super::super::testing::manifest(1);
        manifest.packs = vec![PackSet { list: LIST, bitmap }];
        let signed = lifeboat_format::manifest::SignedManifest {
            sha256: Sha256([1; 32]),
            manifest,
            signer: signer.unwrap().verify_key(),
        };
        ChainView {
            head: Some(signed.clone()),
            window: vec![signed],
            free: 2,
            newest_modified: None,
            store_time: Timestamp::UNIX_EPOCH,
        }
    }

    fn usable(packs: &[KnownPack], chunks: &[KnownChunk], named: &[usize], days: i64) -> Vec<u8> {
        let now = Timestamp::from_second(days * 86_400).unwrap();
        let mut out: Vec<u8> =
            reusable(packs.iter(), &live_bytes(chunks), &view(named), &HashSet::new(), now)
                .iter()
                .map(|h| h.0[0])
                .collect();
        out.sort_unstable();
        out
    }

    #[test]
    fn only_what_the_window_names_is_reused() {
        let packs = [pack(1, 5 << 20, 100), pack(2, 5 << 20, 100)];
        assert_eq!(usable(&packs, &[chunk(1, 100), chunk(2, 100)], &[1], 0), [1]);
        let gone = HashSet::from([Sha256([1; 32])]);
        assert!(
            reusable(packs.iter(), &HashMap::new(), &view(&[1]), &gone, Timestamp::UNIX_EPOCH).is_empty()
        );
    }

    #[test]
    fn old_packs_are_stored_anew_at_different_times() {
        let packs = [pack(1, 5 << 20, 100), pack(59, 5 << 20, 100)];
        let chunks = [chunk(1, 100), chunk(59, 100)];
        assert_eq!(usable(&packs, &chunks, &[1, 59], 150), [1, 59]);
        assert_eq!(usable(&packs, &chunks, &[1, 59], 152), [59]);
        assert!(usable(&packs, &chunks, &[1, 59], 211).is_empty());
    }

    #[test]
    fn mostly_dead_packs_go_within_an_allowance() {
        let packs = [pack(1, 5 << 20, 1_000), pack(2, 5 << 20, 1_000), pack(3, 5 << 20, 100_000)];
        let chunks = [chunk(1, 10), chunk(2, 299), chunk(3, 100_000)];
        assert_eq!(usable(&packs, &chunks, &[1, 2, 3], 0), [3], "both fit in 2 % of the domain");
        let tight = [chunk(1, 10), chunk(2, 299), chunk(3, 31_000)];
        assert_eq!(usable(&packs, &tight, &[1, 2, 3], 0), [3]);
        let tighter = [chunk(1, 290), chunk(2, 299), chunk(3, 21_000)];
        assert_eq!(usable(&packs, &tighter, &[1, 2, 3], 0), [2, 3], "the worst first, and no more than 2 %");
    }

    #[test]
    fn looks_go_round() {
        let packs: Vec<KnownPack> = (0..5).map(|n| pack(n, 1, 1)).collect();
        let seen: Vec<u8> = rotating(&packs, 3, 4).map(|p| p.handle.0[0]).collect();
        assert_eq!(seen, [3, 4, 0, 1]);
        assert_eq!(rotating(&[], 3, 4).count(), 0);
    }
}
