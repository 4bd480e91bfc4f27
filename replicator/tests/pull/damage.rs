//! One byte changed, or the end missing, in each kind of object: found, named, never half applied, and forgotten once it
//! is right again. And transfers that fail: never taken for damage.

use crate::fixture::*;
use crate::plain::last_pack;
use lifeboat_common::store::faulty::{Faults, FaultyStore, Operation};
use lifeboat_format::layout;
use lifeboat_replicator::alarm::AlarmKind;
use std::sync::Arc;
use std::time::Duration;

/// Spoils `key`, pulls into a fresh vault, and into one that has all before; then repairs it and pulls again.
async fn found_and_forgotten(spoil: impl Fn(&mut Vec<u8>), of: impl Fn(&Primary) -> String) {
    let primary = Primary::with("prod", 3);
    let key = of(&primary);
    let right = primary.store.bytes(&key).unwrap();
    assert!(primary.store.corrupt(&key, spoil));
    let vaulted = Vaulted::new(&primary);
    let outcome = vaulted.pull(&primary).await;
    assert!(outcome.alarms.iter().any(|a| a.what == key), "{key}: {:?}", outcome.alarms);
    let alarm = outcome.alarms.iter().find(|a| a.what == key).unwrap();
    assert!(matches!(alarm.kind, AlarmKind::Damaged | AlarmKind::Forged), "{alarm:?}");
    assert!(!alarm.why.is_empty() && !alarm.next.is_empty());
    vaulted.held(&primary);
    let again = vaulted.pull(&primary).await;
    assert!(again.alarms.iter().any(|a| a.what == key), "it stays open: {:?}", again.alarms);
    primary.store.put(&key, right);
    vaulted.clean_pull(&primary).await;
    assert_eq!(vaulted.held(&primary), [1, 2, 3], "{key}");
    check_receipts(vaulted.dir.path(), &primary, &[1, 2, 3]);
}

fn kinds() -> Vec<fn(&Primary) -> String> {
    vec![
        |p| p.first(layout::CHARTER),
        |p| p.first(layout::EPOCHS),
        |p| p.first(layout::LISTS),
        |p| last_pack(p, 2),
        |_| layout::manifest(1),
        |_| layout::manifest(2),
        |_| layout::manifest(3),
    ]
}

#[tokio::test]
async fn a_flipped_byte_anywhere_is_found() {
    for of in kinds() {
        for place in [0.0, 0.5, 0.999] {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a place in a small file"
            )]
            found_and_forgotten(
                |bytes| {
                    let at = (bytes.len() as f64 * place) as usize;
                    bytes[at] ^= 1;
                },
                of,
            )
            .await;
        }
    }
}

#[tokio::test]
async fn a_truncated_or_longer_object_is_found() {
    for of in kinds() {
        found_and_forgotten(|bytes| bytes.truncate(bytes.len() / 2), of).await;
        found_and_forgotten(Vec::clear, of).await;
        found_and_forgotten(|bytes| bytes.push(b'x'), of).await;
        found_and_forgotten(|bytes| bytes.resize(65 << 20, 0), of).await;
    }
}

#[tokio::test]
async fn a_missing_pack_holds_up_only_its_snapshot() {
    let primary = Primary::with("prod", 3);
    let pack = last_pack(&primary, 2);
    let bytes = primary.store.bytes(&pack).unwrap();
    primary.store.remove(&pack);
    let vaulted = Vaulted::new(&primary);
    let outcome = vaulted.pull(&primary).await;
    assert!(outcome.error.is_none());
    assert_eq!(alarms(&outcome), [(AlarmKind::Missing, pack.clone())]);
    assert_eq!((outcome.snapshots, outcome.pending), (2, 1));
    assert_eq!(vaulted.held(&primary), [1, 3]);
    primary.store.put(&pack, bytes);
    let outcome = vaulted.clean_pull(&primary).await;
    assert_eq!((outcome.snapshots, outcome.packs), (1, 1), "what was there was not fetched again");
    assert_eq!(vaulted.held(&primary), [1, 2, 3]);
}

#[tokio::test]
async fn a_kept_manifest_that_rots_is_fetched_again() {
    let primary = Primary::with("prod", 3);
    let pack = last_pack(&primary, 2);
    let bytes = primary.store.bytes(&pack).unwrap();
    primary.store.remove(&pack);
    let vaulted = Vaulted::new(&primary);
    assert_eq!(vaulted.pull(&primary).await.pending, 1);
    // In its signature, which the hash that it is known by does not cover.
    let kept = vaulted.dir.path().join(format!("prod/{}.json", layout::pending(2)));
    let mut rotten = std::fs::read(&kept).unwrap();
    let at = rotten.windows(7).rposition(|w| w == b"\"sig\":\"").unwrap() + 10;
    rotten[at] = if rotten[at] == b'A' { b'B' } else { b'A' };
    std::fs::write(&kept, rotten).unwrap();
    primary.store.put(&pack, bytes);
    vaulted.clean_pull(&primary).await;
    assert_eq!(vaulted.held(&primary), [1, 2, 3]);
}

#[tokio::test]
async fn a_manifest_that_the_vault_lost_does_not_cost_the_later_ones() {
    let mut primary = Primary::with("prod", 3);
    let vaulted = Vaulted::new(&primary);
    vaulted.clean_pull(&primary).await;
    std::fs::remove_file(vaulted.dir.path().join("prod").join(layout::manifest(2))).unwrap();
    let bytes = primary.store.bytes(&layout::manifest(2)).unwrap();
    primary.store.remove(&layout::manifest(2));
    let outcome = vaulted.pull(&primary).await;
    assert_eq!(alarms(&outcome), [(AlarmKind::VaultDamaged, layout::manifest(2))]);
    primary.snapshot(1);
    let outcome = vaulted.pull(&primary).await;
    assert_eq!((outcome.snapshots, outcome.pending), (1, 0));
    assert_eq!(alarms(&outcome), [(AlarmKind::VaultDamaged, layout::manifest(2))], "it stays open");
    assert_eq!(vaulted.held(&primary), [1, 3, 4]);
    // Where the source has it, it comes back; the rows follow the files.
    primary.store.put(&layout::manifest(2), bytes);
    vaulted.pull(&primary).await;
    vaulted.clean_pull(&primary).await;
    assert_eq!(vaulted.held(&primary), [1, 2, 3, 4]);
}

#[tokio::test]
async fn without_the_newest_epoch_nothing_is_committed() {
    let primary = Primary::with("prod", 1);
    let epoch = primary.first(layout::EPOCHS);
    let bytes = primary.store.bytes(&epoch).unwrap();
    primary.store.remove(&epoch);
    let vaulted = Vaulted::new(&primary);
    let outcome = vaulted.pull(&primary).await;
    assert_eq!(alarms(&outcome), [(AlarmKind::Missing, epoch.clone())]);
    assert!(vaulted.held(&primary).is_empty());
    primary.store.put(&epoch, bytes);
    vaulted.clean_pull(&primary).await;
    assert_eq!(vaulted.held(&primary), [1]);
}

#[tokio::test]
async fn transfers_that_fail_are_never_damage() {
    let bad = [
        Faults { before: 0.3, ..Faults::default() },
        Faults { lost: 0.3, ..Faults::default() },
        Faults { cut: 0.4, ..Faults::default() },
        Faults { truncate: 0.4, ..Faults::default() },
        Faults { throttle: 0.3, pause: Duration::from_millis(1), ..Faults::default() },
        Faults { deny: 0.05, ..Faults::default() },
        Faults { omit: 0.3, duplicate: 0.3, ..Faults::default() },
    ];
    for (number, faults) in bad.into_iter().enumerate() {
        let primary = Primary::with("prod", 3);
        let vaulted = Vaulted::new(&primary);
        let mut whole = false;
        for seed in 0..40 {
            let faulty = FaultyStore::new(Arc::new(primary.store.clone()), seed).everywhere(faults);
            let outcome = vaulted.replicator.pull(&primary.source_through(Arc::new(faulty))).await;
            for alarm in &outcome.alarms {
                let honest = [AlarmKind::Unreachable, AlarmKind::Denied];
                // A listing that leaves out a manifest or a charter cannot be told from one where it is hidden.
                let hidden = [AlarmKind::Fork, AlarmKind::CharterRolledBack, AlarmKind::NoCharter];
                let allowed = is_of_age(alarm.kind)
                    || honest.contains(&alarm.kind)
                    || (faults.omit > 0.0 && hidden.contains(&alarm.kind));
                assert!(allowed, "faults {number}, seed {seed}: {alarm:?}");
            }
            whole |= outcome.error.is_none() && outcome.alarms.is_empty() && outcome.pending == 0;
        }
        assert!(whole, "faults {number}: no pull went through in 40");
        vaulted.clean_pull(&primary).await;
        assert_eq!(vaulted.held(&primary), [1, 2, 3]);
        check_receipts(vaulted.dir.path(), &primary, &[1, 2, 3]);
    }
}

#[tokio::test]
async fn a_store_that_denies_or_is_away_is_said_and_forgotten() {
    let primary = Primary::with("prod", 1);
    let vaulted = Vaulted::new(&primary);
    for (faults, kind) in [
        (Faults { deny: 1.0, ..Faults::default() }, AlarmKind::Denied),
        (Faults { before: 1.0, ..Faults::default() }, AlarmKind::Unreachable),
        (Faults { throttle: 1.0, ..Faults::default() }, AlarmKind::Unreachable),
    ] {
        for operation in [Operation::List, Operation::Get] {
            let faulty = FaultyStore::new(Arc::new(primary.store.clone()), 1).with(operation, faults);
            let outcome = vaulted.replicator.pull(&primary.source_through(Arc::new(faulty))).await;
            let error = outcome.error.as_ref().unwrap().to_string();
            assert!(
                error.contains("charter/") && error.contains("; "),
                "it names the object and the next step: {error}"
            );
            assert!(outcome.alarms.iter().any(|a| a.kind == kind), "{:?}", outcome.alarms);
            assert!(vaulted.held(&primary).is_empty());
        }
    }
    vaulted.clean_pull(&primary).await;
    assert_eq!(vaulted.held(&primary), [1]);
}
