//! Pulls of sound repositories.

use crate::fixture::*;
use jiff::SignedDuration;
use lifeboat_common::store::faulty::{Faults, FaultyStore};
use lifeboat_format::charter::AgentKey;
use lifeboat_format::layout;
use lifeboat_format::manifest::Coverage;
use lifeboat_replicator::alarm::AlarmKind;
use lifeboat_replicator::catalog::{Catalogue, State};
use lifeboat_replicator::replicate::{Outcome, recover};
use lifeboat_replicator::vault::{MinFree, VaultError};
use std::sync::Arc;

#[tokio::test]
async fn a_pull_takes_over_every_snapshot_with_its_receipt() {
    let primary = Primary::with("prod", 3);
    let vaulted = Vaulted::new(&primary);
    let outcome = vaulted.clean_pull(&primary).await;
    assert_eq!((outcome.snapshots, outcome.packs, outcome.pending), (3, 9, 0));
    assert_eq!(vaulted.held(&primary), [1, 2, 3]);
    check_receipts(vaulted.dir.path(), &primary, &[1, 2, 3]);
    let folder = vaulted.dir.path().join("prod");
    for empty in ["pending", ".tmp"] {
        assert_eq!(std::fs::read_dir(folder.join(empty)).unwrap().count(), 0, "{empty}");
    }
}

/// Requests of a pull that finds nothing new, without the sweep's pages.
async fn idle_requests(primary: &Primary, vaulted: &Vaulted) -> u64 {
    let before = primary.store.requests();
    let outcome = vaulted.clean_pull(primary).await;
    assert_eq!((outcome.snapshots, outcome.packs), (0, 0));
    primary.store.requests().since(&before).total() - 1
}

#[tokio::test]
async fn nothing_new_costs_few_requests_whatever_the_vault_holds() {
    let mut figures = Vec::new();
    for count in [1, 200] {
        let primary = Primary::with("prod", count);
        let vaulted = Vaulted::new(&primary);
        vaulted.clean_pull(&primary).await;
        let requests = idle_requests(&primary, &vaulted).await;
        assert!(requests <= 5, "{requests} requests with {count} snapshots");
        figures.push(requests);
        // A process that starts anew asks no more.
        drop(vaulted.replicator.vault.clone());
        assert_eq!(idle_requests(&primary, &vaulted).await, requests);
    }
    assert_eq!(figures[0], figures[1]);
}

#[tokio::test]
async fn only_what_is_missing_is_fetched() {
    let mut primary = Primary::with("prod", 2);
    let vaulted = Vaulted::new(&primary);
    vaulted.clean_pull(&primary).await;
    // A snapshot that needs old packs and one new one.
    let shared = lifeboat_format::manifest::UnverifiedManifest::parse(
        &primary.store.bytes(&layout::manifest(2)).unwrap(),
    )
    .unwrap()
    .claims()
    .packs
    .clone();
    let pack = primary.put_pack();
    let fresh = primary.put_list(vec![pack]);
    let manifest = primary.manifest([shared, vec![fresh]].concat());
    primary.commit(&manifest);
    let outcome = vaulted.clean_pull(&primary).await;
    assert_eq!((outcome.snapshots, outcome.packs), (1, 1));
    assert_eq!(vaulted.held(&primary), [1, 2, 3]);
}

#[tokio::test]
async fn a_checkpoint_is_chained_and_is_no_snapshot() {
    let mut primary = Primary::with("prod", 1);
    primary.checkpoint();
    primary.snapshot(1);
    let vaulted = Vaulted::new(&primary);
    let outcome = vaulted.clean_pull(&primary).await;
    assert_eq!((outcome.snapshots, outcome.packs), (2, 4), "a carried pack is not needed");
    assert_eq!(vaulted.held(&primary), [1, 3]);
    assert!(vaulted.dir.path().join("prod").join(layout::manifest(2)).exists());
    assert!(!vaulted.dir.path().join("prod").join(layout::receipt(2)).exists());
    check_receipts(vaulted.dir.path(), &primary, &[1, 3]);
}

#[tokio::test]
async fn two_clusters_share_a_vault() {
    let (one, mut two) = (Primary::with("prod", 2), Primary::with("test", 1));
    let vaulted = Vaulted::new(&one);
    vaulted.clean_pull(&one).await;
    vaulted.clean_pull(&two).await;
    two.snapshot(1);
    two.store.remove(&two.first("packs/"));
    let (first, second) = tokio::join!(vaulted.pull(&one), vaulted.pull(&two));
    assert!(first.alarms.is_empty(), "{:?}", first.alarms);
    assert_eq!(second.alarms.len(), 1, "{:?}", second.alarms);
    assert_eq!(vaulted.held(&one), [1, 2]);
    assert!(vaulted.held(&two).contains(&1));
}

#[tokio::test]
async fn one_host_and_one_process_write_a_vault() {
    let primary = Primary::with("prod", 1);
    let vaulted = Vaulted::new(&primary);
    let busy = open_vault(vaulted.dir.path(), None, MinFree::Default).unwrap_err();
    assert!(matches!(busy, VaultError::Busy { .. }), "{busy}");
    let path = vaulted.dir.path().to_owned();
    let Vaulted { dir, replicator } = vaulted;
    drop(replicator);
    let options = lifeboat_replicator::vault::VaultOptions {
        root: path,
        state: None,
        host: host("two"),
        min_free: MinFree::Default,
        disk: None,
        now: start(),
    };
    let claimed = lifeboat_replicator::vault::Vault::open(options).unwrap_err();
    assert!(matches!(claimed, VaultError::Claimed { .. }), "{claimed}");
    assert!(claimed.to_string().contains("remove"), "{claimed}");
    open_vault(dir.path(), None, MinFree::Default).unwrap();
}

#[tokio::test]
async fn the_catalogue_is_rebuilt_as_it_was() {
    let mut primary = Primary::with("prod", 3);
    primary.checkpoint();
    primary.next_charter(|c| c.dedup_generation = 2);
    let seq = primary.snapshot(2);
    let vaulted = Vaulted::new(&primary);
    vaulted.clean_pull(&primary).await;
    // One that waits for a pack.
    let waiting = primary.snapshot(2);
    let pack = last_pack(&primary, waiting);
    let bytes = primary.store.bytes(&pack).unwrap();
    primary.store.remove(&pack);
    assert_eq!(vaulted.pull(&primary).await.pending, 1);

    let before = dump(&vaulted.replicator.catalogue);
    let path = vaulted.dir.path().join("new.sqlite");
    let catalogue = Catalogue::open(&path).unwrap();
    let folder = vaulted.replicator.vault.folder(&primary.cluster);
    let findings = recover::rebuild(&folder, &catalogue, &primary.source()).unwrap();
    assert!(findings.is_empty(), "{findings:?}");
    assert_eq!(dump(&catalogue), before);
    assert_eq!(catalogue.newest("prod", None).unwrap().unwrap().seq, waiting);
    assert_eq!(catalogue.in_state("prod", State::Held).unwrap()[0].seq, seq);

    // A lost catalogue is noticed by itself, and the pull goes on.
    let Vaulted { dir, replicator: old } = vaulted;
    drop((old, folder));
    Catalogue::remove(&dir.path().join(".lifeboat/catalogue.sqlite")).unwrap();
    let vault = open_vault(dir.path(), None, MinFree::Bytes(0)).unwrap();
    let vaulted = Vaulted { replicator: replicator(vault, primary.clock.clone()), dir };
    primary.store.put(&pack, bytes);
    let outcome = vaulted.clean_pull(&primary).await;
    assert_eq!((outcome.snapshots, outcome.packs), (1, 1));
    let held = vaulted.held(&primary);
    check_receipts(vaulted.dir.path(), &primary, &held);
}

/// The last pack of a snapshot's first list.
pub fn last_pack(primary: &Primary, seq: u64) -> String {
    let manifest = primary.store.bytes(&layout::manifest(seq)).unwrap();
    let manifest = lifeboat_format::manifest::UnverifiedManifest::parse(&manifest).unwrap();
    let list = primary.store.bytes(&layout::list(&manifest.claims().packs[0].list)).unwrap();
    let list = lifeboat_format::pack_list::PackList::parse(&list).unwrap();
    layout::pack(&list.packs.last().unwrap().sha256)
}

fn dump(catalogue: &Catalogue) -> String {
    let snapshots = catalogue.snapshots("prod").unwrap();
    let packs = catalogue.packs_between("prod", None, None).unwrap();
    let (charters, totals) = (catalogue.charters("prod").unwrap(), catalogue.totals("prod").unwrap());
    let receipt = catalogue.cursor("prod", lifeboat_replicator::catalog::Cursor::Receipt).unwrap();
    format!("{snapshots:#?}\n{packs:#?}\n{charters:#?}\n{totals:#?}\n{receipt:?}")
}

#[tokio::test]
async fn a_new_charter_and_a_new_agent_key_are_followed() {
    let mut primary = Primary::with("prod", 2);
    let vaulted = Vaulted::new(&primary);
    vaulted.clean_pull(&primary).await;
    let until = primary.head.map(|(_, sha256)| sha256);
    let new = key();
    primary.next_charter(|c| {
        c.agents[0].until = until;
        c.agents.push(AgentKey { key: new.verify_key(), from: until, until: None });
    });
    primary.agent = new;
    primary.snapshot(1);
    vaulted.clean_pull(&primary).await;
    assert_eq!(vaulted.held(&primary), [1, 2, 3]);
    // A vault that begins only now follows the same history.
    let late = Vaulted::new(&primary);
    late.clean_pull(&primary).await;
    assert_eq!(late.held(&primary), [1, 2, 3]);
}

#[tokio::test]
async fn the_old_charter_passes_for_a_week() {
    let mut primary = Primary::with("prod", 1);
    let vaulted = Vaulted::new(&primary);
    vaulted.clean_pull(&primary).await;
    primary.next_charter(|c| c.dedup_generation = 2);
    vaulted.clean_pull(&primary).await;
    let current = primary.charter.clone();
    primary.charter.n = 1;
    primary.snapshot(1);
    vaulted.clean_pull(&primary).await;
    primary.pass(SignedDuration::from_hours(24 * 8));
    let seq = primary.snapshot(1);
    let late = vaulted.pull(&primary).await;
    assert_eq!(alarms(&late), [(AlarmKind::CharterLate, layout::manifest(seq))]);
    assert_eq!(vaulted.held(&primary), [1, 2]);
    primary.charter = current;
}

#[tokio::test]
async fn an_unknown_charter_waits_until_it_is_there() {
    let mut primary = Primary::with("prod", 1);
    let vaulted = Vaulted::new(&primary);
    let charter = primary.next_charter(|c| c.dedup_generation = 2);
    let hidden = primary.store.bytes(&charter).unwrap();
    primary.store.remove(&charter);
    let seq = primary.snapshot(1);
    let behind = primary.snapshot(1);
    let outcome = vaulted.pull(&primary).await;
    assert!(outcome.error.is_none());
    let expected =
        [layout::manifest(seq), layout::manifest(behind)].map(|key| (AlarmKind::CharterUnknown, key));
    assert_eq!(alarms(&outcome), expected);
    assert_eq!(vaulted.held(&primary), [1]);
    primary.store.put(&charter, hidden);
    vaulted.clean_pull(&primary).await;
    assert_eq!(vaulted.held(&primary), [1, 2, 3]);
}

#[tokio::test]
async fn the_sweep_finds_what_the_primary_lost() {
    let primary = Primary::with("prod", 3);
    let vaulted = Vaulted::new(&primary);
    vaulted.clean_pull(&primary).await;
    let (lost, cut) = (last_pack(&primary, 1), last_pack(&primary, 2));
    let bytes = primary.store.bytes(&lost).unwrap();
    primary.store.remove(&lost);
    let whole = primary.store.bytes(&cut).unwrap();
    primary.store.corrupt(&cut, |b| b.truncate(10));
    let outcome = vaulted.pull(&primary).await;
    assert!(outcome.error.is_none());
    let mut expected = [lost.clone(), cut.clone()].map(|key| (AlarmKind::PrimaryLost, key));
    expected.sort();
    assert_eq!(alarms(&outcome), expected);
    primary.store.put(&lost, bytes);
    primary.store.put(&cut, whole);
    vaulted.clean_pull(&primary).await;
}

#[tokio::test]
async fn status_says_how_old_and_how_far_behind() {
    let mut primary = Primary::with("prod", 1);
    let vaulted = Vaulted::new(&primary);
    vaulted.clean_pull(&primary).await;
    let seq = primary.snapshot(1);
    primary.store.remove(&last_pack(&primary, seq));
    vaulted.pull(&primary).await;
    primary.pass(SignedDuration::from_hours(1));
    let now = lifeboat_common::clock::Clock::now(&*primary.clock);
    let catalogue: Arc<Catalogue> = vaulted.replicator.catalogue.clone();
    let status = lifeboat_replicator::status::read(&catalogue, &[], now).unwrap();
    let cluster = &status.clusters[0];
    assert_eq!((cluster.age_s, cluster.lag_s), (Some(25 * 3600), 3600));
    assert_eq!((cluster.snapshots, cluster.pending, cluster.alarms.len()), (1, 1, 1));
    assert!(status.text().contains("ALARM missing"), "{}", status.text());
}

#[tokio::test]
async fn backups_that_grow_old_are_an_alarm_until_a_new_one_is_whole() {
    use AlarmKind::{AgentStopped, NotCovered, RpoMissed};
    let kinds = |outcome: &Outcome| outcome.alarms.iter().map(|a| a.kind).collect::<Vec<_>>();
    let mut primary = Primary::with("prod", 1);
    let vaulted = Vaulted::new(&primary);
    vaulted.clean_pull(&primary).await;
    primary.pass(SignedDuration::from_hours(27));
    let late = vaulted.pull(&primary).await;
    assert_eq!(kinds(&late), [AgentStopped, RpoMissed]);
    // The source that cannot be asked is when backups grow old.
    let deny = Faults { deny: 1.0, ..Faults::default() };
    let denied = FaultyStore::new(Arc::new(primary.store.clone()), 1).everywhere(deny);
    let outcome = vaulted.replicator.pull(&primary.source_through(Arc::new(denied))).await;
    assert!(kinds(&outcome).contains(&RpoMissed), "{:?}", outcome.alarms);
    let mut part = primary.manifest(vec![]);
    part.coverage = Coverage::Partial;
    primary.commit(&part);
    assert_eq!(kinds(&vaulted.pull(&primary).await), [NotCovered, RpoMissed]);
    primary.snapshot(1);
    vaulted.clean_pull(&primary).await;
}
