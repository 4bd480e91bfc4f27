//! Retention and collection in a primary, and healing it: what goes, what stays and why, what freezes it, and what a pull
//! makes of it.

use crate::fixture::*;
use crate::plain::last_pack;
use jiff::SignedDuration;
use lifeboat_common::clock::Clock as _;
use lifeboat_common::store::faulty::FaultyStore;
use lifeboat_common::store::{CreateStore, DeleteStore, MemoryStore};
use lifeboat_format::id::Sha256;
use lifeboat_format::layout;
use lifeboat_format::manifest::Carry;
use lifeboat_replicator::alarm::AlarmKind;
use lifeboat_replicator::catalog::Side;
use lifeboat_replicator::heal::Healer;
use lifeboat_replicator::primary::{Pass, Primary as Retention, PrimaryError};
use lifeboat_replicator::retain::Agreement;
use std::sync::Arc;

/// Which credentials a pass has.
#[derive(Clone, Copy)]
pub struct With {
    pub marker: bool,
    pub delete: bool,
    pub heal: bool,
}

pub const ALL: With = With { marker: true, delete: true, heal: true };

pub fn pass_with(vaulted: &Vaulted, primary: &Primary, with: With, dry: bool) -> Pass {
    let store = Arc::new(primary.store.clone());
    one_pass(vaulted, primary, with, store, dry).unwrap()
}

/// A pass whose requests go through a store of its own.
pub fn pass_through(
    vaulted: &Vaulted,
    primary: &Primary,
    with: With,
    store: Arc<FaultyStore<MemoryStore>>,
) -> Result<Pass, PrimaryError> {
    one_pass(vaulted, primary, with, store, false)
}

fn one_pass<S: CreateStore + DeleteStore + 'static>(
    vaulted: &Vaulted,
    primary: &Primary,
    with: With,
    store: Arc<S>,
    dry: bool,
) -> Result<Pass, PrimaryError> {
    vaulted.retaining(primary, |retainer| {
        let retention = Retention {
            retainer,
            read: store.clone(),
            marker: with.marker.then(|| store.clone() as _),
            delete: with.delete.then(|| store.clone() as _),
            healer: with.heal.then(|| Healer { create: store.clone(), delete: store.clone() }),
            max_objects: 10_000,
            max_percent: 100,
        };
        let now = primary.clock.now();
        let pass = async { if dry { retention.preview(now).await } else { retention.run(now).await } };
        futures::executor::block_on(pass)
    })
}

pub fn pass(vaulted: &Vaulted, primary: &Primary) -> Pass {
    pass_with(vaulted, primary, ALL, false)
}

fn days(n: i64) -> SignedDuration {
    SignedDuration::from_hours(24 * n)
}

pub fn count(store: &MemoryStore, prefix: &str) -> usize {
    store.keys().iter().filter(|k| k.starts_with(prefix)).count()
}

/// `n` daily snapshots of one own pack each, pulled as they come.
async fn daily(n: usize) -> (Primary, Vaulted) {
    let mut primary = Primary::new("prod");
    let vaulted = Vaulted::new(&primary);
    for _ in 0..n {
        primary.snapshot(1);
        vaulted.clean_pull(&primary).await;
    }
    (primary, vaulted)
}

#[tokio::test]
async fn what_is_old_is_forgotten_by_a_marker_and_collected_in_a_second_pass() {
    let (mut primary, vaulted) = daily(5).await;
    assert_eq!(pass(&vaulted, &primary).forgotten, [] as [u64; 0], "720 hours are not over");
    primary.pass(days(29));
    for _ in 0..4 {
        primary.snapshot(1);
        assert_eq!(alarms(&vaulted.pull(&primary).await), []);
    }
    vaulted.retaining(&primary, |r| {
        r.agree(Agreement::Clock, primary.clock.now()).unwrap();
        lifeboat_replicator::primary::agree(r, Agreement::Clock).unwrap();
    });
    let dry = pass_with(&vaulted, &primary, ALL, true);
    assert!(
        dry.decisions.iter().take(3).all(|(_, d, done)| d.keep.is_none() && !done),
        "{:?}",
        dry.decisions
    );
    assert_eq!(count(&primary.store, layout::FORGOTTEN), 0, "a dry run changes nothing");

    let first = pass(&vaulted, &primary);
    assert_eq!(first.stopped, [] as [&str; 0]);
    assert_eq!((first.forgotten.len(), first.deleted), (1, 0), "a fifth of nine, and at least one");
    let mut deleted = 0;
    for _ in 0..6 {
        primary.snapshot(1);
        assert_eq!(alarms(&vaulted.pull(&primary).await), [], "what our own retention deleted is no loss");
        deleted += pass(&vaulted, &primary).deleted;
    }
    // Packs and lists of those whose marker is older than two days.
    let gone: Vec<u64> =
        (1..=5).filter(|seq| primary.store.bytes(&last_pack_key(&vaulted, *seq)).is_none()).collect();
    assert!(deleted >= 4 && !gone.is_empty(), "{deleted} {gone:?}");
    assert_eq!(count(&primary.store, layout::MANIFESTS), 15, "no manifest is ever deleted");
    for seq in gone {
        assert!(
            primary.store.keys().iter().any(|k| layout::parse_forgotten(k).is_some_and(|(s, _)| s == seq))
        );
        assert!(vaulted.held(&primary).contains(&seq), "the vault has it");
    }
    assert!(primary.store.bytes(&last_pack(&primary, 14)).is_some());
}

/// By the vault's list: the primary's may be gone.
fn last_pack_key(vaulted: &Vaulted, seq: u64) -> String {
    let read = |key: &str| std::fs::read(vaulted.dir.path().join("prod").join(key)).unwrap();
    let manifest =
        lifeboat_format::manifest::UnverifiedManifest::parse(&read(&layout::manifest(seq))).unwrap();
    let list =
        lifeboat_format::pack_list::PackList::parse(&read(&layout::list(&manifest.claims().packs[0].list)));
    layout::pack(&list.unwrap().packs.last().unwrap().sha256)
}

/// Two passes 48 hours apart, with a commit in each, and whatever `between` does before the second.
async fn two_passes(primary: &mut Primary, vaulted: &Vaulted) -> Pass {
    pass(vaulted, primary);
    for _ in 0..3 {
        primary.snapshot(1);
        vaulted.pull(primary).await;
    }
    pass(vaulted, primary)
}

#[tokio::test]
async fn garbage_goes_and_what_may_be_reused_stays() {
    let (mut primary, vaulted) = daily(3).await;
    let orphan = primary.put_pack();
    let orphaned_list = primary.put_list(vec![orphan]);
    let carried = primary.put_pack();
    let carried = primary.put_list(vec![carried]);
    let junk = "packs/zz/not-ours".to_owned();
    primary.store.put(&junk, "x");
    let mut deleted = 0;
    for day in 0..6 {
        primary.pass(days(1));
        let own = primary.put_pack();
        let own = primary.put_list(vec![own]);
        let mut manifest = primary.manifest(vec![own]);
        let since = primary.clock.now();
        // The last one that carries it leaves the window two days before the end.
        if day < 6 {
            manifest.carry = vec![Carry { list: carried.list, bitmap: carried.bitmap.clone(), since }];
        }
        primary.commit(&manifest);
        vaulted.clean_pull(&primary).await;
        deleted += pass(&vaulted, &primary).deleted;
    }
    assert_eq!(deleted, 2, "the orphan and its list");
    assert!(primary.store.bytes(&layout::pack(&orphan.sha256)).is_none());
    assert!(primary.store.bytes(&layout::list(&orphaned_list.list)).is_none());
    assert!(primary.store.bytes(&layout::list(&carried.list)).is_some(), "the newest carry it");
    assert!(primary.store.bytes(&junk).is_some(), "what is not ours stays");
    let carried_pack = count(&primary.store, layout::PACKS);
    for _ in 0..6 {
        primary.snapshot(1);
        vaulted.clean_pull(&primary).await;
        deleted += pass(&vaulted, &primary).deleted;
    }
    assert_eq!(deleted, 4, "nobody carries it any more");
    assert_eq!(count(&primary.store, layout::PACKS), carried_pack + 6 - 1);
}

#[tokio::test]
async fn a_cluster_that_no_longer_commits_loses_nothing() {
    let (mut primary, vaulted) = daily(3).await;
    let orphan = primary.put_pack();
    for _ in 0..20 {
        primary.pass(days(1));
        vaulted.pull(&primary).await;
        assert_eq!(pass(&vaulted, &primary).deleted, 0);
    }
    assert!(primary.store.bytes(&layout::pack(&orphan.sha256)).is_some(), "it waits for the next commit");
    primary.snapshot(1);
    vaulted.pull(&primary).await;
    assert_eq!(pass(&vaulted, &primary).deleted, 1);
}

#[tokio::test]
async fn what_is_not_certain_freezes_the_collector() {
    type Spoil = fn(&Primary, &Vaulted);
    let spoils: [(&str, Spoil); 6] = [
        ("junk in a slot", |p, _| p.store.put(&layout::manifest(9), "x")),
        ("a list that the vault lost", |p, v| {
            std::fs::remove_file(v.dir.path().join("prod").join(p.first(layout::LISTS))).unwrap();
        }),
        ("a manifest that rotted", |_, v| {
            std::fs::write(v.dir.path().join("prod").join(layout::manifest(2)), "rotten").unwrap();
        }),
        ("the newest manifest overwritten in the primary", |p, _| {
            let last = p.head.unwrap().0;
            p.store.corrupt(&layout::manifest(last), |b| b.push(b' '));
        }),
        ("the newest manifest gone from the primary", |p, _| {
            p.store.remove(&layout::manifest(p.head.unwrap().0));
        }),
        ("an open alarm", |p, _| p.store.put("manifests/junk", "x")),
    ];
    for (what, spoil) in spoils {
        let (mut primary, vaulted) = daily(4).await;
        let orphan = primary.put_pack();
        pass(&vaulted, &primary);
        for _ in 0..4 {
            primary.snapshot(1);
            vaulted.clean_pull(&primary).await;
        }
        spoil(&primary, &vaulted);
        if what.contains("junk") || what.contains("alarm") {
            vaulted.pull(&primary).await;
        }
        let frozen = pass(&vaulted, &primary);
        assert!(!frozen.stopped.is_empty() && frozen.deleted == 0, "{what}: {frozen:?}");
        assert!(primary.store.bytes(&layout::pack(&orphan.sha256)).is_some(), "{what}");
    }
}

#[tokio::test]
async fn junk_that_a_person_acknowledged_no_longer_freezes_it() {
    let (mut primary, vaulted) = daily(2).await;
    let orphan = primary.put_pack();
    primary.store.put(&layout::manifest(3), "x");
    primary.head = primary.head.map(|(_, sha256)| (3, sha256));
    let outcome = vaulted.pull(&primary).await;
    assert_eq!(alarms(&outcome).len(), 1);
    let alarm = outcome.alarms[0].clone();
    vaulted.replicator.catalogue.resolve("prod", &alarm, "ours", primary.clock.now()).unwrap();
    for _ in 0..4 {
        primary.snapshot(1);
        vaulted.pull(&primary).await;
        pass(&vaulted, &primary);
    }
    assert!(primary.store.bytes(&layout::pack(&orphan.sha256)).is_none());
}

#[tokio::test]
async fn what_the_vault_has_not_whole_is_never_forgotten() {
    let (mut primary, vaulted) = daily(4).await;
    // Its pack is gone from the vault although the catalogue holds it.
    let gone = last_pack(&primary, 1);
    let folder = vaulted.dir.path().join("prod");
    std::fs::remove_file(folder.join(&gone)).unwrap();
    primary.pass(days(31));
    for _ in 0..3 {
        primary.snapshot(1);
        vaulted.pull(&primary).await;
    }
    let passed = pass(&vaulted, &primary);
    let reasons: Vec<_> = passed.decisions.iter().take(2).map(|(r, d, _)| (r.seq, d.keep)).collect();
    assert_eq!(passed.forgotten, [2], "{reasons:?} {:?}", passed.stopped);
}

#[tokio::test]
async fn without_a_credential_nothing_is_done_and_that_is_said() {
    let (mut primary, vaulted) = daily(3).await;
    let orphan = primary.put_pack();
    let none = With { marker: false, delete: false, heal: false };
    let passed = pass_with(&vaulted, &primary, none, false);
    assert_eq!(passed.without.len(), 2);
    let marker = With { marker: true, delete: false, heal: false };
    for _ in 0..4 {
        primary.snapshot(1);
        vaulted.pull(&primary).await;
        assert_eq!(pass_with(&vaulted, &primary, marker, false).deleted, 0);
    }
    assert!(primary.store.bytes(&layout::pack(&orphan.sha256)).is_some());
}

#[tokio::test]
async fn an_altered_pack_of_the_primary_is_found_by_reading_and_healed_from_the_vault() {
    let (primary, vaulted) = daily(3).await;
    let (altered, lost) = (last_pack(&primary, 2), last_pack(&primary, 1));
    primary.store.corrupt(&altered, |b| b[9] ^= 1);
    primary.store.remove(&lost);
    primary.pass(days(1));
    let outcome = vaulted.pull(&primary).await;
    let mut found = alarms(&outcome);
    found.sort();
    let mut expected = [(AlarmKind::PrimaryLost, lost.clone()), (AlarmKind::PrimaryDamaged, altered.clone())];
    expected.sort();
    assert_eq!(found, expected);
    assert!(outcome.alarms.iter().all(|a| a.next.contains("heal")), "{:?}", outcome.alarms);

    // Without the right to heal, the agent is told.
    let marker = With { marker: true, delete: false, heal: false };
    let told = pass_with(&vaulted, &primary, marker, false).healed;
    assert_eq!((told.marked.len(), told.failed.len(), told.healed.len()), (2, 2, 0));
    for key in [&altered, &lost] {
        assert!(primary.store.bytes(&layout::lost(&layout::parse_pack(key).unwrap())).is_some());
    }
    assert_eq!(pass_with(&vaulted, &primary, marker, false).healed.marked.len(), 0, "once is enough");

    let healed = pass(&vaulted, &primary).healed;
    assert_eq!((healed.healed.len(), healed.failed.len()), (2, 0), "{:?}", healed.failed);
    for key in [&altered, &lost] {
        assert_eq!(Some(Sha256::of(&primary.store.bytes(key).unwrap())), layout::parse_pack(key));
    }
    assert_eq!(alarms(&vaulted.pull(&primary).await), []);
    assert_eq!(vaulted.replicator.catalogue.count_damaged("prod", Side::Primary).unwrap(), 0);
    let kept = std::fs::read_dir(vaulted.dir.path().join("prod").join(layout::DAMAGED)).unwrap().count();
    assert_eq!(kept, 1, "the altered bytes are kept for whoever looks into it");
}

#[tokio::test]
async fn a_pack_that_both_sides_have_damaged_is_left_alone() {
    let (primary, vaulted) = daily(2).await;
    let pack = last_pack(&primary, 1);
    primary.store.corrupt(&pack, |b| b[9] ^= 1);
    primary.pass(days(1));
    vaulted.pull(&primary).await;
    let path = vaulted.dir.path().join("prod").join(&pack);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[5] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let before = primary.store.bytes(&pack).unwrap();
    let healed = super::primary::pass(&vaulted, &primary).healed;
    assert_eq!((healed.healed.len(), healed.failed.len()), (0, 1));
    assert_eq!(primary.store.bytes(&pack).unwrap(), before, "nothing is deleted for nothing");
}

#[tokio::test]
async fn shorter_hours_wait_for_a_person() {
    let (mut primary, vaulted) = daily(4).await;
    pass(&vaulted, &primary);
    primary.next_charter(|c| c.policy.retention.primary_hours = 1);
    primary.snapshot(1);
    vaulted.clean_pull(&primary).await;
    let stopped = pass(&vaulted, &primary);
    assert!(stopped.stopped[0].contains("primary_hours 720 → 1"), "{:?}", stopped.stopped);
    vaulted.retaining(&primary, |r| lifeboat_replicator::primary::agree(r, Agreement::Policy).unwrap());
    let went = pass(&vaulted, &primary);
    assert_eq!(went.forgotten, [1], "{:?}", went.stopped);
    let _ = two_passes(&mut primary, &vaulted).await;
}
