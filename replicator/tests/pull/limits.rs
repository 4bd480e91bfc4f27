//! What a source may take: bytes a second, a day, in all. And a flood that must not flood anyone.

use crate::fixture::*;
use crate::plain::last_pack;
use jiff::SignedDuration;
use lifeboat_common::clock::Clock as _;
use lifeboat_common::config::{LimitsConfig, RetentionConfig};
use lifeboat_format::layout;
use lifeboat_replicator::alarm::AlarmKind;
use lifeboat_replicator::catalog::State;
use lifeboat_replicator::replicate::Outcome;
use lifeboat_replicator::retain::RetainError;
use lifeboat_replicator::source::Limits;
use std::sync::Arc;
use std::time::{Duration, Instant};

async fn pull_with(vaulted: &Vaulted, primary: &Primary, limits: &LimitsConfig) -> Outcome {
    let mut source = Arc::into_inner(primary.source()).unwrap();
    source.limits = Limits::new(limits).unwrap();
    let outcome = vaulted.replicator.pull(&Arc::new(source)).await;
    assert!(outcome.error.is_none(), "{}", outcome.error.unwrap());
    outcome
}

fn of(kind: AlarmKind, outcome: &Outcome) -> usize {
    outcome.alarms.iter().filter(|a| a.kind == kind).count()
}

#[tokio::test]
async fn a_quota_stops_a_source_for_the_day_and_the_next_day_goes_on() {
    let primary = Primary::with("prod", 1);
    let vaulted = Vaulted::new(&primary);
    let limits = LimitsConfig { per_day: Some("1".to_owned()), ..LimitsConfig::default() };
    for day in 1..=3 {
        let outcome = pull_with(&vaulted, &primary, &limits).await;
        assert_eq!(outcome.packs, 1, "day {day}");
        let reached = of(AlarmKind::QuotaReached, &outcome);
        assert_eq!((reached, outcome.snapshots), if day < 3 { (1, 0) } else { (0, 1) }, "day {day}");
        let outcome = pull_with(&vaulted, &primary, &limits).await;
        assert_eq!(outcome.packs, 0, "the day is over for it");
        primary.pass(SignedDuration::from_hours(24));
    }
    assert_eq!(vaulted.held(&primary), [1]);
}

#[tokio::test]
async fn a_quota_in_all_stops_it_until_it_is_raised_and_deletes_nothing() {
    let mut primary = Primary::with("prod", 1);
    let vaulted = Vaulted::new(&primary);
    vaulted.clean_pull(&primary).await;
    primary.snapshot(2);
    let total = |text: &str| LimitsConfig { total: Some(text.to_owned()), ..LimitsConfig::default() };
    let outcome = pull_with(&vaulted, &primary, &total("1KiB")).await;
    assert_eq!((outcome.packs, of(AlarmKind::QuotaReached, &outcome)), (0, 1));
    assert!(!AlarmKind::QuotaReached.freezes());
    assert_eq!(vaulted.held(&primary), [1]);
    let outcome = pull_with(&vaulted, &primary, &total("1GiB")).await;
    assert_eq!((outcome.packs, of(AlarmKind::QuotaReached, &outcome)), (2, 0));
    assert_eq!(vaulted.held(&primary), [1, 2]);
}

#[tokio::test]
async fn a_rate_is_kept() {
    let primary = Primary::with("prod", 1);
    let bytes: u64 = vaulted_bytes(&primary).await;
    let vaulted = Vaulted::new(&primary);
    let limits = LimitsConfig { rate: Some((bytes * 2).to_string()), ..LimitsConfig::default() };
    let began = Instant::now();
    assert_eq!(pull_with(&vaulted, &primary, &limits).await.packs, 3);
    // All but the last piece is waited for before the next is asked for.
    assert!(began.elapsed() >= Duration::from_millis(300), "{:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(60));
}

async fn vaulted_bytes(primary: &Primary) -> u64 {
    Vaulted::new(primary).clean_pull(primary).await.bytes
}

#[tokio::test]
async fn a_pack_of_the_wrong_size_in_the_vault_ends_no_pull() {
    let mut primary = Primary::with("prod", 2);
    let vaulted = Vaulted::new(&primary);
    vaulted.clean_pull(&primary).await;
    let pack = last_pack(&primary, 1);
    let path = vaulted.dir.path().join("prod").join(&pack);
    std::fs::write(&path, "too short").unwrap();
    // A snapshot that needs it again, and one that does not.
    let manifest = lifeboat_format::manifest::UnverifiedManifest::parse(
        &primary.store.bytes(&layout::manifest(1)).unwrap(),
    );
    let again = manifest.unwrap().claims().packs.clone();
    let again = primary.manifest(again);
    primary.commit(&again);
    primary.snapshot(1);
    let outcome = vaulted.pull(&primary).await;
    assert!(outcome.error.is_none(), "{:?}", outcome.error);
    assert_eq!(outcome.snapshots, 2);
    assert_eq!(of(AlarmKind::VaultDamaged, &outcome), 1, "{:?}", outcome.alarms);
    assert_eq!(std::fs::read(&path).unwrap(), primary.store.bytes(&pack).unwrap());
    let aside: Vec<_> = std::fs::read_dir(vaulted.dir.path().join("prod/damaged")).unwrap().collect();
    assert_eq!(aside.len(), 1, "what was there is kept for whoever looks into it");
    assert_eq!(vaulted.held(&primary), [1, 2, 3, 4]);
    assert_eq!(of(AlarmKind::VaultDamaged, &vaulted.pull(&primary).await), 0);
}

#[tokio::test]
async fn a_flood_of_junk_is_told_in_a_hundred_words_and_costs_seconds() {
    let mut primary = Primary::with("prod", 2);
    let vaulted = Vaulted::new(&primary);
    vaulted.clean_pull(&primary).await;
    for n in 0..20_000 {
        primary.store.put(&format!("manifests/9{n:015}.json.bak"), "junk");
    }
    primary.snapshot(1);
    for round in 0..3 {
        let began = Instant::now();
        let outcome = vaulted.pull(&primary).await;
        assert!(outcome.error.is_none(), "{:?}", outcome.error);
        assert_eq!(of(AlarmKind::Junk, &outcome), 101, "round {round}");
        assert!(began.elapsed() < Duration::from_secs(20), "round {round}: {:?}", began.elapsed());
        println!("a pull beside 20,000 junk names, round {round}: {:?}", began.elapsed());
    }
    assert_eq!(vaulted.held(&primary), [1, 2, 3]);
    primary
        .store
        .keys()
        .iter()
        .filter(|k| k.ends_with(".bak"))
        .for_each(|k| assert!(primary.store.remove(k)));
    assert_eq!(of(AlarmKind::Junk, &vaulted.pull(&primary).await), 0);
}

#[tokio::test]
async fn what_cannot_be_completed_ages_and_is_forgotten_as_incomplete() {
    let mut primary = Primary::with("prod", 1);
    let vaulted = Vaulted::new(&primary);
    vaulted.clean_pull(&primary).await;
    primary.snapshot(3);
    let lost = last_pack(&primary, 2);
    let bytes = primary.store.bytes(&lost).unwrap();
    primary.store.remove(&lost);
    for _ in 0..12 {
        vaulted.pull(&primary).await;
        primary.snapshot(1);
    }
    let outcome = vaulted.pull(&primary).await;
    assert_eq!(outcome.pending, 1);
    let policy = RetentionConfig {
        within_hours: Some(0),
        last: Some(3),
        daily: Some(3),
        weekly: Some(0),
        monthly: Some(0),
        yearly: Some(0),
        floor_hours: Some(0),
        max_percent: Some(100),
        ..RetentionConfig::default()
    };
    // A person has looked at the alarm of the lost pack, and nothing is frozen by it.
    for alarm in outcome.alarms.iter().filter(|a| a.kind.freezes()) {
        vaulted.replicator.catalogue.resolve("prod", alarm, "lost for good", primary.clock.now()).unwrap();
    }
    let pass = vaulted.retaining_with(&primary, &policy, |r| r.run(primary.clock.now()).unwrap());
    assert!(pass.forgotten.contains(&2), "{:?} {:?}", pass.forgotten, pass.restraints);
    let undo = vaulted.retaining_with(&primary, &policy, |r| r.undo(2, primary.clock.now()).unwrap_err());
    assert!(matches!(undo, RetainError::CannotUndo { seq: 2, .. }), "{undo}");

    // It is pulled no more, even where it could be completed now.
    primary.store.put(&lost, bytes);
    let outcome = vaulted.pull(&primary).await;
    assert_eq!((outcome.pending, outcome.packs), (0, 0), "{:?}", outcome.alarms);
    assert_eq!(of(AlarmKind::Missing, &outcome), 0, "nothing waits for it");
    let row = vaulted.replicator.catalogue.snapshot("prod", 2).unwrap().unwrap();
    assert_eq!((row.state, row.packs, row.verified), (State::Forgotten, 2, None));
    assert!(!vaulted.held(&primary).contains(&2));
    // A catalogue that is written anew says the same.
    let folder = vaulted.replicator.vault.folder(&primary.cluster);
    let source = primary.source();
    lifeboat_replicator::replicate::recover::rebuild(&folder, &vaulted.replicator.catalogue, &source)
        .unwrap();
    let again = vaulted.replicator.catalogue.snapshot("prod", 2).unwrap().unwrap();
    assert_eq!((again.state, again.packs, again.verified), (State::Forgotten, 2, None));
    let outcome = vaulted.pull(&primary).await;
    assert_eq!((outcome.pending, outcome.packs), (0, 0));

    // Its two packs go with their time of grace.
    primary.pass(SignedDuration::from_hours(24 * 8));
    primary.snapshot(1);
    vaulted.pull(&primary).await;
    let before = vaulted.replicator.catalogue.totals("prod").unwrap().packs;
    let agree = lifeboat_replicator::retain::Agreement::Clock;
    let pass = vaulted.retaining_with(&primary, &policy, |r| {
        r.agree(agree, primary.clock.now()).unwrap();
        r.run(primary.clock.now()).unwrap()
    });
    assert!(pass.collected_packs >= 2, "{} of {before}; {:?}", pass.collected_packs, pass.restraints);
}
