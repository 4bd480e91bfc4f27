//! At the bound, and for years of changes: everything fits, and little is stored twice.

use super::*;
use lifeboat_format::crypto::sign::SigningKey;
use lifeboat_format::id::ScopeAlias;
use lifeboat_format::limits::{MANIFEST_LISTS_MAX, MANIFEST_MAX};
use lifeboat_format::manifest::{Bitmap, PackSet, UnverifiedManifest};
use proptest::prelude::*;

fn pack(n: u32, list: u32, size: u64) -> KnownPack {
    let id = |n: u32| {
        let mut id = [0; 32];
        id[..4].copy_from_slice(&n.to_le_bytes());
        Sha256(id)
    };
    let mut handle = [0; 16];
    handle[..4].copy_from_slice(&n.to_le_bytes());
    KnownPack {
        handle: Handle(handle),
        sha256: id(n),
        size,
        plain_bytes: size,
        list: id(list),
        index: 0,
        noted: 0,
        domain: ScopeAlias([0; 16]),
    }
}

#[test]
fn nobody_is_cut_while_there_is_room() {
    assert_eq!(share(100, &[5, 1, 30]), Share { volumes: 3, old: usize::MAX });
    assert_eq!(share(100, &[]), Share { volumes: 0, old: usize::MAX });
    let packs = vec![pack(1, 1, 5), pack(2, 2, 6)];
    assert_eq!(in_largest(packs.clone(), usize::MAX), packs);
}

#[test]
fn the_smallest_lists_go() {
    let packs = vec![pack(1, 1, 5), pack(2, 1, 5), pack(3, 2, 9), pack(4, 3, 100)];
    let left: Vec<u64> = in_largest(packs, 2).iter().map(|p| p.size).collect();
    assert_eq!(left, [5, 5, 100]);
}

/// Volumes of 1000 units that all change by one a day, each of which has its first list and one for each day, for as long
/// as their ages allow: how many lists a manifest names at most, and how much is stored for each unit that changed.
fn years(volumes: usize, days: usize) -> (usize, f64) {
    const AGE: usize = 150;
    // By volume: (day, units) of each list. All are alike, so that one stands for those that are read.
    let mut lists: Vec<(usize, u64)> = vec![(0, 1000)];
    let (mut most, mut stored) = (0, 0);
    for day in 1..=days {
        let free = free(MANIFEST_LISTS_MAX, 20);
        let share = share(free, &vec![lists.len(); volumes]);
        assert_eq!(share.volumes, volumes, "there is room for each of them");
        lists.sort_unstable_by_key(|(_, units)| std::cmp::Reverse(*units));
        let old: Vec<_> = lists.iter().skip(share.old).copied().collect();
        lists.truncate(share.old);
        let aged: u64 = lists.iter().filter(|(at, _)| day - at > AGE).map(|(_, units)| units).sum();
        lists.retain(|(at, _)| day - at <= AGE);
        let new = 1 + aged + old.iter().map(|(_, units)| units).sum::<u64>();
        // What changed was in the largest list.
        if let Some(first) = lists.first_mut() {
            first.1 = first.1.saturating_sub(1);
        }
        stored += new - aged;
        lists.push((day, new));
        most = most.max(lists.len() * volumes + 20);
    }
    (most, stored as f64 / days as f64)
}

#[test]
fn thousands_of_volumes_that_change_every_day_fit_for_ever() {
    for (volumes, factor) in [(100, 1.1), (450, 15.0), (2000, 55.0), (5000, 80.0)] {
        let (most, times) = years(volumes, 1000);
        assert!(most <= MANIFEST_LISTS_MAX, "{volumes} volumes: {most} lists");
        assert!(times <= factor, "{volumes} volumes store {times} times what changes");
    }
}

#[test]
fn beyond_what_a_manifest_can_name_some_are_left_out() {
    let free = free(MANIFEST_LISTS_MAX, 20);
    let share = share(free, &vec![3; 9000]);
    assert_eq!((share.volumes, share.old), (free / 2, 0));
    assert!(share.volumes > 7900, "{share:?}");
}

#[test]
fn a_manifest_at_the_bound_is_one_that_readers_take() {
    let agent = SigningKey::from_pkcs8(&SigningKey::generate()).unwrap();
    let mut manifest = crate::backup::testing::manifest(1);
    // 450 volumes of 100 GiB in packs of 16 MiB, divided among the lists: 180 packs in each.
    let set = |n: usize| {
        let mut bitmap = Bitmap::new(180);
        (0..180).for_each(|i| bitmap.insert(i));
        let mut list = [7; 32];
        list[..8].copy_from_slice(&(n as u64).to_le_bytes());
        PackSet { list: Sha256(list), bitmap }
    };
    manifest.packs = (0..MANIFEST_LISTS_MAX).map(set).collect();
    let bytes = manifest.sign(&agent);
    assert!(bytes.len() as u64 <= MANIFEST_MAX / 3, "{}", bytes.len());
    assert!(UnverifiedManifest::parse(&bytes).is_ok());
    manifest.packs.push(set(MANIFEST_LISTS_MAX));
    assert!(UnverifiedManifest::parse(&manifest.sign(&agent)).is_err());
}

proptest! {
    #[test]
    fn a_share_never_overflows_and_wastes_nothing(
        volumes in prop::collection::vec(0usize..300, 0..200),
        free in 0usize..20_000,
    ) {
        let share = share(free, &volumes);
        let named = |old: usize| {
            volumes[..share.volumes].iter().map(|has| (*has).min(old) + NEW).sum::<usize>()
        };
        prop_assert!(named(share.old) <= free);
        prop_assert!(share.volumes == volumes.len() || (share.volumes + 1) * NEW > free);
        if share.old != usize::MAX {
            prop_assert!(named(share.old + 1) > free, "one more would have fitted");
        }
    }

    #[test]
    fn what_stays_is_in_so_many_lists(
        packs in prop::collection::vec((0u32..40, 1u64..100), 0..200),
        old in 0usize..50,
    ) {
        let numbered = packs.iter().zip(0..);
        let all: Vec<KnownPack> = numbered.map(|((list, size), n)| pack(n, *list, *size)).collect();
        let left = in_largest(all.clone(), old);
        prop_assert!(lists(&left).len() == lists(&all).len().min(old));
        let bytes = |list: &Sha256| all.iter().filter(|p| p.list == *list).map(|p| p.size).sum::<u64>();
        let least = lists(&left).iter().map(bytes).min();
        let gone: HashSet<Sha256> = lists(&all).difference(&lists(&left)).copied().collect();
        prop_assert!(gone.iter().all(|g| least.is_none_or(|l| bytes(g) <= l)));
    }
}
