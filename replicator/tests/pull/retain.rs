//! Retention in a vault: what is forgotten, what is deleted and when, what stops it, and that a crash at any of its steps
//! and a pull beside it lose nothing.

use crate::fixture::*;
use jiff::SignedDuration;
use lifeboat_common::clock::Clock as _;
use lifeboat_common::config::RetentionConfig;
use lifeboat_format::crypto::sign::SigningKey;
use lifeboat_format::layout;
use lifeboat_replicator::alarm::AlarmKind;
use lifeboat_replicator::audit;
use lifeboat_replicator::catalog::State;
use lifeboat_replicator::replicate::recover;
use lifeboat_replicator::retain::{Agreement, Hold, Pass, RetainError};
use std::path::Path;

/// Keeps two days, a week of floor, and lets everything else go at once.
fn tight() -> RetentionConfig {
    RetentionConfig {
        within_hours: Some(0),
        last: Some(0),
        daily: Some(2),
        weekly: Some(0),
        monthly: Some(1),
        yearly: Some(0),
        minimum: Some(1),
        floor_hours: Some(0),
        scope_days: Some(0),
        max_percent: Some(100),
        ..RetentionConfig::default()
    }
}

fn run(vaulted: &Vaulted, primary: &Primary, overrides: &RetentionConfig) -> Pass {
    vaulted.retaining_with(primary, overrides, |r| r.run(primary.clock.now()).unwrap())
}

fn packs(root: &Path) -> usize {
    let folders = std::fs::read_dir(root.join("prod/packs")).unwrap();
    folders.map(|f| std::fs::read_dir(f.unwrap().path()).unwrap().count()).sum()
}

/// Ten days of snapshots pulled as they came; each has a pack of its own, and all share one.
async fn ten_days() -> (Primary, Vaulted) {
    let mut primary = Primary::new("prod");
    let vaulted = Vaulted::new(&primary);
    let shared = primary.put_pack();
    let shared = primary.put_list(vec![shared]);
    for _ in 0..10 {
        primary.pass(SignedDuration::from_hours(24));
        let own = primary.put_pack();
        let own = primary.put_list(vec![own]);
        let manifest = primary.manifest(vec![own, shared.clone()]);
        primary.commit(&manifest);
        vaulted.clean_pull(&primary).await;
    }
    (primary, vaulted)
}

#[tokio::test]
async fn what_is_forgotten_can_be_brought_back_for_a_week_and_then_goes() {
    let (primary, vaulted) = ten_days().await;
    let pass = run(&vaulted, &primary, &tight());
    assert!(pass.restraints.is_empty(), "{:?}", pass.restraints);
    // Days 2 to 11 of March: the first is the month's, the last two are days.
    assert_eq!(pass.forgotten, [2, 3, 4, 5, 6, 7, 8]);
    assert_eq!((pass.collected_packs, packs(vaulted.dir.path())), (0, 11), "nothing is deleted yet");
    assert_eq!(vaulted.held(&primary), [1, 9, 10]);
    vaulted.clean_pull(&primary).await;
    let forgotten = vaulted.replicator.catalogue.in_state("prod", State::Forgotten).unwrap();
    assert_eq!(forgotten.len(), 7);
    assert!(forgotten.iter().all(|row| row.forgotten.is_some()));

    vaulted.retaining(&primary, |r| r.undo(5, primary.clock.now()).unwrap());
    let error = vaulted.retaining(&primary, |r| r.undo(9, primary.clock.now()).unwrap_err());
    assert!(matches!(error, RetainError::CannotUndo { seq: 9, .. }));
    assert_eq!(vaulted.held(&primary), [1, 5, 9, 10]);
    let hold = Hold { since: primary.clock.now(), reason: "a court asked".to_owned() };
    vaulted.retaining(&primary, |r| r.hold(5, Some(hold), primary.clock.now()).unwrap());

    primary.pass(SignedDuration::from_hours(24 * 7 - 1));
    let pass = run(&vaulted, &primary, &tight());
    assert_eq!((pass.collected_packs, pass.forgotten.len()), (0, 0), "{:?}", pass.forgotten);
    primary.pass(SignedDuration::from_hours(2));
    let pass = run(&vaulted, &primary, &tight());
    assert_eq!((pass.collected_packs, packs(vaulted.dir.path())), (6, 5), "the shared one stays");
    assert_eq!(vaulted.held(&primary), [1, 5, 9, 10]);
    let error = vaulted.retaining(&primary, |r| r.undo(4, primary.clock.now()).unwrap_err());
    assert!(error.to_string().contains("grace"), "{error}");

    // The catalogue takes it over, and comes out the same from the files.
    assert!(alarms(&vaulted.pull(&primary).await).is_empty());
    let catalogue = &vaulted.replicator.catalogue;
    let totals = catalogue.totals("prod").unwrap();
    assert_eq!((totals.snapshots, totals.packs), (4, 5));
    let folder = vaulted.replicator.vault.folder(&primary.cluster);
    assert!(recover::rebuild(&folder, catalogue, &primary.source()).unwrap().is_empty());
    assert!(alarms(&vaulted.pull(&primary).await).is_empty());
    assert_eq!(catalogue.totals("prod").unwrap(), totals);
    assert_eq!(run(&vaulted, &primary, &tight()).forgotten, [] as [u64; 0]);
}

#[tokio::test]
async fn alarms_weaker_policies_and_clocks_stop_it_until_a_person_agrees() {
    let (primary, vaulted) = ten_days().await;
    let charter = RetentionConfig { floor_hours: Some(0), scope_days: Some(0), ..RetentionConfig::default() };
    assert!(run(&vaulted, &primary, &charter).forgotten.is_empty(), "720 hours are not over");
    let stopped = run(&vaulted, &primary, &tight());
    assert!(stopped.forgotten.is_empty());
    assert!(stopped.restraints[0].to_string().contains("daily 30 → 2"), "{:?}", stopped.restraints);
    vaulted.retaining_with(&primary, &tight(), |r| r.agree(Agreement::Policy, primary.clock.now()).unwrap());

    primary.store.put("manifests/junk", "x");
    let alarmed = vaulted.pull(&primary).await;
    assert_eq!(alarms(&alarmed), [(AlarmKind::Junk, "manifests/junk".to_owned())]);
    let frozen = run(&vaulted, &primary, &tight());
    assert!(frozen.restraints[0].to_string().contains("junk"), "{:?}", frozen.restraints);
    let open = vaulted.replicator.catalogue.alarms("prod").unwrap();
    vaulted.replicator.catalogue.resolve("prod", &open[0], "a test of ours", primary.clock.now()).unwrap();
    assert!(alarms(&vaulted.pull(&primary).await).is_empty(), "the same junk is no news");

    primary.pass(SignedDuration::from_hours(24 * 30));
    let late = run(&vaulted, &primary, &tight());
    assert!(late.restraints[0].to_string().contains("30 days ago"), "{:?}", late.restraints);
    vaulted.retaining_with(&primary, &tight(), |r| r.agree(Agreement::Clock, primary.clock.now()).unwrap());
    assert_eq!(run(&vaulted, &primary, &tight()).forgotten.len(), 7);
}

#[tokio::test]
async fn a_pull_that_needs_an_old_pack_again_keeps_it() {
    let (mut primary, vaulted) = ten_days().await;
    run(&vaulted, &primary, &tight());
    primary.pass(SignedDuration::from_hours(24 * 7));
    // A manifest that names what only forgotten ones need, pulled up to its names and no further.
    let own = primary.store.bytes(&layout::manifest(3)).unwrap();
    let third = lifeboat_format::manifest::UnverifiedManifest::parse(&own).unwrap().claims().clone();
    let missing = primary.put_pack();
    primary.store.remove(&layout::pack(&missing.sha256));
    let missing = primary.put_list(vec![missing]);
    let manifest = primary.manifest([third.packs, vec![missing]].concat());
    primary.commit(&manifest);
    let outcome = vaulted.pull(&primary).await;
    assert_eq!(outcome.pending, 1);
    let pass = run(&vaulted, &primary, &RetentionConfig::default());
    assert!(!pass.restraints.is_empty(), "a missing pack is an alarm");
    let open = vaulted.replicator.catalogue.alarms("prod").unwrap();
    for alarm in open.iter().filter(|a| a.kind == AlarmKind::Missing) {
        vaulted.replicator.catalogue.resolve("prod", alarm, "known", primary.clock.now()).unwrap();
    }
    let pass = run(&vaulted, &primary, &tight());
    assert_eq!(pass.collected_packs, 6, "seven were forgotten, one is needed again: {:?}", pass.restraints);
}

#[tokio::test]
async fn a_tombstone_that_nobody_signed_deletes_nothing() {
    let (primary, vaulted) = ten_days().await;
    run(&vaulted, &primary, &RetentionConfig { daily: Some(10), minimum: Some(10), ..tight() });
    let folder = vaulted.dir.path().join("prod/tombstones");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join(format!("{:016}.json", 4)), "{}").unwrap();
    primary.pass(SignedDuration::from_hours(24 * 7));
    let pass = run(&vaulted, &primary, &RetentionConfig { daily: Some(10), minimum: Some(10), ..tight() });
    assert_eq!((pass.collected_packs, packs(vaulted.dir.path())), (0, 11));
    let seqs: Vec<u64> = pass.decisions.iter().map(|(row, _)| row.seq).collect();
    assert!(seqs.contains(&4), "it is still decided on");
}

#[tokio::test]
async fn the_audit_log_tells_it_all_and_shows_what_was_done_to_it() {
    let (mut primary, vaulted) = ten_days().await;
    run(&vaulted, &primary, &tight());
    primary.store.put("manifests/junk", "x");
    vaulted.pull(&primary).await;
    primary.snapshot(1);
    vaulted.pull(&primary).await;
    let key = SigningKey::from_pem(&primary.receipt_pem).unwrap().verify_key();
    let folder = vaulted.replicator.vault.folder(&primary.cluster);
    let look = || audit::check(&folder, &primary.cluster, &[key]).unwrap();
    let whole = look();
    assert_eq!(whole.problems, [] as [String; 0]);
    let told: Vec<String> =
        whole.records.iter().flat_map(|r| &r.events).map(|e| format!("{} {}", e.what, e.subject)).collect();
    let count = |what: &str| told.iter().filter(|t| t.starts_with(what)).count();
    assert_eq!((count("snapshot-accepted"), count("snapshot-forgotten")), (11, 7), "{told:?}");
    assert_eq!((count("charter-accepted"), count("alarm-raised manifests/junk")), (1, 1), "{told:?}");
    let records = whole.records.len();
    vaulted.pull(&primary).await;
    assert_eq!(look().records.len(), records, "a pull with nothing new is no news");

    // Changed, taken out, cut off, forged.
    let file = |n: usize| vaulted.dir.path().join("prod").join(layout::audit(n as u64));
    let third = std::fs::read(file(3)).unwrap();
    std::fs::write(file(3), String::from_utf8(third.clone()).unwrap().replace('a', "b")).unwrap();
    assert!(look().problems[0].starts_with("record 3:"), "{:?}", look().problems);
    std::fs::remove_file(file(3)).unwrap();
    assert!(look().problems[0].contains("record 3 is gone"), "{:?}", look().problems);
    std::fs::write(file(3), &third).unwrap();
    let last = std::fs::read(file(records)).unwrap();
    std::fs::remove_file(file(records)).unwrap();
    assert!(look().problems[0].contains("cut off"), "{:?}", look().problems);
    let mut record = whole.records.last().unwrap().clone();
    record.events.clear();
    std::fs::write(file(records), record.sign(&primary.owner)).unwrap();
    assert!(look().problems[0].contains("no receipt key"), "{:?}", look().problems);
    std::fs::write(file(records), last).unwrap();
    assert_eq!(look().problems, [] as [String; 0]);
}
