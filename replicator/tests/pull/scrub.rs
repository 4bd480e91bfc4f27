//! Scrubbing and healing the vault: a flipped, lost or unreadable file of each kind is found, set aside, and fetched again.

use crate::fixture::*;
use crate::plain::last_pack;
use jiff::SignedDuration;
use lifeboat_common::clock::Clock as _;
use lifeboat_common::progress::Progress;
use lifeboat_format::crypto::sign::SigningKey;
use lifeboat_format::layout;
use lifeboat_replicator::alarm::AlarmKind;
use lifeboat_replicator::audit;
use lifeboat_replicator::catalog::{Catalogue, Side};
use lifeboat_replicator::scrub::{Pace, RECORD, Record, Report, Scrubber};
use lifeboat_replicator::vault::{MinFree, Vault, VaultOptions, Work};
use std::path::PathBuf;
use std::sync::Arc;

pub fn scrubber(vaulted: &Vaulted, primary: &Primary) -> Scrubber {
    let options = VaultOptions {
        root: vaulted.dir.path().to_owned(),
        state: None,
        host: host("one"),
        min_free: MinFree::Bytes(0),
        disk: None,
        now: start(),
    };
    let vault = Vault::open_for(Work::Scrub, options).unwrap();
    Scrubber {
        catalogue: Catalogue::open_read_only(&vault.catalogue()).unwrap(),
        record: Record::open(&vault.own_path(RECORD)).unwrap(),
        vault,
        clusters: vec![(primary.cluster.clone(), primary.owner.verify_key())],
        clock: primary.clock.clone(),
        pace: Arc::new(Pace::new(None)),
        period_days: 30,
        threads: Some(2),
        activity: None,
    }
}

pub fn scrub(vaulted: &Vaulted, primary: &Primary, all: bool) -> Report {
    scrubber(vaulted, primary).run(all, |_| Progress::quiet()).unwrap()
}

fn path(vaulted: &Vaulted, key: &str) -> PathBuf {
    vaulted.dir.path().join("prod").join(key)
}

/// Flips a bit in the middle, keeping size and times as a rotten disk would.
fn flip(vaulted: &Vaulted, key: &str) {
    let path = path(vaulted, key);
    let mut bytes = std::fs::read(&path).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    std::fs::write(&path, bytes).unwrap();
}

fn damaged(report: &Report) -> Vec<String> {
    report.clusters[0].damaged.iter().map(|f| f.key.clone()).collect()
}

async fn three() -> (Primary, Vaulted) {
    let primary = Primary::with("prod", 3);
    let vaulted = Vaulted::new(&primary);
    vaulted.clean_pull(&primary).await;
    (primary, vaulted)
}

#[tokio::test]
async fn a_flipped_byte_in_each_kind_of_file_is_found_and_healed() {
    let (primary, vaulted) = three().await;
    let kinds = [
        last_pack(&primary, 2),
        primary.first(layout::LISTS),
        primary.first(layout::CHARTER),
        primary.first(layout::EPOCHS),
        layout::manifest(2),
    ];
    assert_eq!(damaged(&scrub(&vaulted, &primary, true)), [] as [&str; 0]);
    for key in kinds {
        flip(&vaulted, &key);
        let report = scrub(&vaulted, &primary, true);
        assert_eq!(damaged(&report), [&*key]);
        assert!(report.clusters[0].damaged[0].why.len() > 10);
        // A manifest keeps its place until the right one is here; all else is out of the way.
        assert_eq!(path(&vaulted, &key).exists(), layout::parse_manifest(&key).is_some(), "{key}");
        vaulted.clean_pull(&primary).await;
        assert_eq!(vaulted.held(&primary), [1, 2, 3], "{key}");
        assert_eq!(damaged(&scrub(&vaulted, &primary, true)), [] as [&str; 0], "{key}");
    }
    assert_eq!(
        std::fs::read_dir(path(&vaulted, layout::DAMAGED)).unwrap().count(),
        5,
        "each bad copy is kept"
    );
    let key = SigningKey::from_pem(&primary.receipt_pem).unwrap().verify_key();
    let folder = vaulted.replicator.vault.folder(&primary.cluster);
    let checked = audit::check(&folder, &primary.cluster, &[key]).unwrap();
    assert_eq!(checked.problems, [] as [String; 0]);
    let told = |what: &str| checked.records.iter().flat_map(|r| &r.events).filter(|e| e.what == what).count();
    assert_eq!((told("vault-damaged"), told("vault-healed")), (5, 5));
}

#[tokio::test]
async fn what_the_vault_alone_has_is_an_alarm_until_it_is_right_again() {
    let (mut primary, vaulted) = three().await;
    for key in [layout::receipt(2), layout::audit(1)] {
        let right = std::fs::read(path(&vaulted, &key)).unwrap();
        flip(&vaulted, &key);
        assert_eq!(damaged(&scrub(&vaulted, &primary, true)), [&*key]);
        let outcome = vaulted.pull(&primary).await;
        assert_eq!(alarms(&outcome), [(AlarmKind::VaultDamaged, key.clone())]);
        let alarm = &outcome.alarms[0];
        assert!(alarm.next.contains(&*path(&vaulted, &key).to_string_lossy()), "{}", alarm.next);
        // What else comes is pulled.
        let seq = primary.snapshot(1);
        assert_eq!(vaulted.pull(&primary).await.snapshots, 1, "{seq}");
        std::fs::write(path(&vaulted, &key), right).unwrap();
        assert_eq!(damaged(&scrub(&vaulted, &primary, true)), [] as [&str; 0]);
        let outcome = vaulted.pull(&primary).await;
        assert_eq!(alarms(&outcome), [], "{key}");
    }
}

#[tokio::test]
async fn a_lost_pack_and_a_lost_list_are_found_and_fetched_again() {
    let (primary, vaulted) = three().await;
    let pack = last_pack(&primary, 2);
    let list = primary.first(layout::LISTS);
    for key in [&pack, &list] {
        std::fs::remove_file(path(&vaulted, key)).unwrap();
    }
    let mut found = damaged(&scrub(&vaulted, &primary, true));
    found.sort();
    found.dedup();
    assert_eq!(found, [list, pack]);
    vaulted.clean_pull(&primary).await;
    assert_eq!(vaulted.held(&primary), [1, 2, 3]);
    assert_eq!(damaged(&scrub(&vaulted, &primary, true)), [] as [&str; 0]);
}

#[tokio::test]
async fn what_neither_side_has_stays_an_alarm_and_freezes_forgetting() {
    let (primary, vaulted) = three().await;
    let pack = last_pack(&primary, 2);
    let bytes = primary.store.bytes(&pack).unwrap();
    flip(&vaulted, &pack);
    primary.store.remove(&pack);
    scrub(&vaulted, &primary, true);
    let outcome = vaulted.pull(&primary).await;
    let of_vault: Vec<_> = outcome.alarms.iter().filter(|a| a.kind == AlarmKind::VaultDamaged).collect();
    assert_eq!(of_vault.len(), 1, "{:?}", outcome.alarms);
    assert!(of_vault[0].why.contains("the source does not have it"), "{}", of_vault[0].why);
    let pass = vaulted.retaining(&primary, |r| r.run(primary.clock.now()).unwrap());
    assert!(pass.restraints[0].to_string().contains("vault-damaged"), "{:?}", pass.restraints);
    assert_eq!(vaulted.replicator.catalogue.count_damaged("prod", Side::Vault).unwrap(), 1);
    primary.store.put(&pack, bytes);
    vaulted.clean_pull(&primary).await;
    assert_eq!(vaulted.held(&primary), [1, 2, 3]);
}

#[tokio::test]
async fn a_round_reads_what_is_due_and_what_was_verified_longest_ago_first() {
    let (mut primary, vaulted) = three().await;
    assert_eq!(scrub(&vaulted, &primary, false).clusters[0].objects, 0, "all of it was verified on arrival");
    primary.pass(SignedDuration::from_hours(24 * 24));
    primary.snapshot(2);
    vaulted.pull(&primary).await;
    // The files of the first pull carry the test's clock only where the vault sets it: the others are of today.
    let report = scrub(&vaulted, &primary, true);
    let all = report.clusters[0].objects;
    assert!(all > 20 && report.clusters[0].bytes > 10_000, "{report:?}");
    let standing = &report.clusters[0].standing;
    assert_eq!((standing.objects, standing.overdue), (all, 0));
    assert_eq!(standing.oldest.unwrap().as_second(), primary.clock.now().as_second());
    assert_eq!(scrub(&vaulted, &primary, false).clusters[0].objects, 0);
    primary.pass(SignedDuration::from_hours(24 * 26));
    assert_eq!(
        scrub(&vaulted, &primary, false).clusters[0].objects,
        all,
        "due again before the 30 days are over"
    );
}

#[tokio::test]
async fn a_scrub_that_is_stopped_goes_on_from_there() {
    let (primary, vaulted) = three().await;
    let scrubber = scrubber(&vaulted, &primary);
    scrubber.pace.stop();
    let report = scrubber.run(true, |_| Progress::quiet()).unwrap();
    assert!(report.stopped && report.clusters[0].objects == 0);
    drop(scrubber);
    assert!(!scrub(&vaulted, &primary, true).stopped);
}

#[tokio::test]
async fn what_retention_deleted_is_not_missed() {
    let (primary, vaulted) = three().await;
    let pack = last_pack(&primary, 1);
    let sha256 = layout::parse_pack(&pack).unwrap();
    std::fs::remove_file(path(&vaulted, &pack)).unwrap();
    std::fs::write(vaulted.dir.path().join(".lifeboat/collected-prod.txt"), format!("\n{sha256}")).unwrap();
    assert_eq!(damaged(&scrub(&vaulted, &primary, true)), [] as [&str; 0]);
}

/// Run by hand: `cargo test -p lifeboat-replicator --test pull scrub::figures -- --ignored --nocapture`.
#[tokio::test]
#[ignore = "a measurement, not a test"]
async fn figures() {
    use lifeboat_format::id::{Handle, Sha256};
    use lifeboat_format::pack_list::PackEntry;
    use std::time::Instant;
    let mut primary = Primary::new("prod");
    let entries = (0..48_u8).map(|i| {
        let seed = u64::from(i) + 7;
        let bytes: Vec<u8> =
            (0..16_u64 << 17).flat_map(|n| (n.wrapping_mul(seed) ^ (n << 31)).to_le_bytes()).collect();
        let sha256 = Sha256::of(&bytes);
        primary.store.put(&layout::pack(&sha256), bytes);
        PackEntry { sha256, size: 16 << 20, handle: Handle([i; 16]) }
    });
    let entries = entries.collect();
    let set = primary.put_list(entries);
    let manifest = primary.manifest(vec![set]);
    primary.commit(&manifest);
    let vaulted = Vaulted::new(&primary);
    vaulted.clean_pull(&primary).await;
    for round in 0..3 {
        // Both from the page cache.
        let warm = || {
            let find =
                format!("find {} -type f -exec cat {{}} + > /dev/null", path(&vaulted, "packs").display());
            std::process::Command::new("sh").args(["-c", &find]).status().unwrap();
        };
        warm();
        let began = Instant::now();
        let openssl = format!(
            "find {} -type f -print0 | xargs -0 -P $(nproc) -n 24 openssl dgst -sha256 > /dev/null",
            path(&vaulted, "packs").display()
        );
        std::process::Command::new("sh").args(["-c", &openssl]).status().unwrap();
        let theirs = began.elapsed();
        warm();
        let mut scrubber = scrubber(&vaulted, &primary);
        scrubber.threads = None;
        let began = Instant::now();
        let report = scrubber.run(true, |_| Progress::quiet()).unwrap();
        let ours = began.elapsed();
        let ratio = theirs.as_secs_f64() / ours.as_secs_f64();
        println!(
            "round {round}: scrub {ours:?} of {} bytes, openssl {theirs:?}, ratio {ratio:.2}",
            report.clusters[0].bytes
        );
    }
}
