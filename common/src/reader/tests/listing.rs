//! What is listed, and what `latest` and the other names of snapshots mean.

use super::*;
use crate::testing::signing_key;
use lifeboat_format::layout;
use lifeboat_format::manifest::Coverage;

async fn list(repository: &TestRepository) -> SnapshotList {
    repository.open().await.snapshots().await.unwrap()
}

fn seqs(list: &SnapshotList) -> Vec<u64> {
    list.snapshots.iter().map(|s| s.manifest.seq).collect()
}

fn kinds(list: &SnapshotList) -> Vec<AnomalyKind> {
    list.anomalies.iter().map(|a| a.kind).collect()
}

fn of(coverage: Coverage) -> SnapshotBuilder {
    SnapshotBuilder { coverage, ..small("{}") }
}

#[tokio::test]
async fn latest_is_the_newest_full_one_that_is_kept() {
    let mut r = TestRepository::new();
    assert!(matches!(list(&r).await.resolve("latest"), Err(ResolveError::Empty { .. })));
    r.commit(&of(Coverage::Partial));
    assert_eq!(list(&r).await.latest().unwrap().manifest.seq, 1, "the newest of any kind");
    for coverage in [Coverage::Full, Coverage::Full, Coverage::Partial, Coverage::Checkpoint] {
        r.commit(&of(coverage));
    }
    let all = list(&r).await;
    assert_eq!((seqs(&all), all.checkpoints.len()), (vec![1, 2, 3, 4], 1), "a checkpoint is none");
    assert_eq!(all.latest().unwrap().manifest.seq, 3);
    r.store.put("tombstones/0000000000000003.json", "x");
    let all = list(&r).await;
    assert_eq!(all.latest().unwrap().manifest.seq, 2);
    assert_eq!(all.resolve("3").unwrap().fate, Fate::Tombstoned, "by number it can be tried");
    let two = &all.resolve("2").unwrap().sha256;
    r.store.put(&layout::forgotten(2, two), "");
    assert_eq!(list(&r).await.latest().unwrap().manifest.seq, 4);
}

#[tokio::test]
async fn a_snapshot_has_a_number_and_an_id() {
    let mut r = TestRepository::new();
    let one = r.commit(&small("{}"));
    r.commit(&small("{}"));
    let all = list(&r).await;
    let id = one.manifest.id.to_hex();
    for spec in ["1", id.as_str(), &id[..8]] {
        assert_eq!(all.resolve(spec).unwrap().manifest.seq, 1, "{spec}");
    }
    for bad in ["9", "", "zz", "ffff0000ffff", "latest2", "-1", &id[..3]] {
        assert!(matches!(all.resolve(bad), Err(ResolveError::Unknown { .. })), "{bad}");
    }
}

#[tokio::test]
async fn an_id_that_begins_two_is_ambiguous() {
    let mut r = TestRepository::new();
    for last in 0..2 {
        r.commit_with(
            &small("{}"),
            |_| {},
            |m| m.id = lifeboat_format::id::SnapshotId([0xab; 16].map(|b| b ^ last)),
        );
    }
    let twins = list(&r).await;
    assert!(twins.resolve("abababab").is_ok());
    r.commit_with(&small("{}"), |_| {}, |m| m.id = lifeboat_format::id::SnapshotId([0xab; 16]));
    assert!(matches!(list(&r).await.resolve("abababab"), Err(ResolveError::Ambiguous { .. })));
}

#[tokio::test]
async fn one_damaged_manifest_costs_one_snapshot() {
    let mut r = TestRepository::new();
    for _ in 0..5 {
        r.commit(&small("{}"));
    }
    r.store.corrupt(&layout::manifest(3), |b| b[40] ^= 1);
    let all = list(&r).await;
    assert_eq!((seqs(&all), kinds(&all)), (vec![1, 2, 4, 5], vec![AnomalyKind::Unverifiable]));
    let links: Vec<Link> = all.snapshots.iter().map(|s| s.link).collect();
    assert_eq!(links, [Link::Chained, Link::Chained, Link::AfterGap, Link::AfterGap]);
    assert!(matches!(all.resolve("3"), Err(ResolveError::Unusable { seq: 3, .. })));
    r.store.remove(&layout::manifest(1));
    let all = list(&r).await;
    assert_eq!(
        (seqs(&all), kinds(&all)),
        (vec![2, 4, 5], vec![AnomalyKind::Missing, AnomalyKind::Unverifiable])
    );
}

#[tokio::test]
async fn a_slot_that_never_held_a_snapshot_is_no_hole() {
    let mut r = TestRepository::new();
    r.commit(&small("{}"));
    r.commit(&small("{}"));
    // The agent found junk in slot 3 and took the next one; a vault does not keep the junk.
    r.commit_with(&small("{}"), |_| {}, |m| m.seq = 4);
    let bytes = r.store.bytes(&layout::manifest(3)).unwrap();
    r.store.put(&layout::manifest(4), bytes);
    r.store.remove(&layout::manifest(3));
    let all = list(&r).await;
    assert_eq!((seqs(&all), kinds(&all)), (vec![1, 2, 4], vec![]));
    r.store.remove(&layout::manifest(2));
    let all = list(&r).await;
    assert_eq!((seqs(&all), kinds(&all)), (vec![1, 4], vec![AnomalyKind::Missing]));
}

#[tokio::test]
async fn what_is_replayed_copied_or_junk_is_no_snapshot() {
    let mut r = TestRepository::new();
    r.commit(&small("{}"));
    r.commit(&small("{}"));
    let first = r.store.bytes(&layout::manifest(1)).unwrap();
    r.store.put(&layout::manifest(3), first);
    r.store.put("manifests/latest.json", "{}");
    r.store.put(&layout::manifest(4), vec![0; 100]);
    let all = list(&r).await;
    assert_eq!(seqs(&all), [1, 2]);
    let expected = [AnomalyKind::Unverifiable, AnomalyKind::Unverifiable, AnomalyKind::Junk];
    assert_eq!(kinds(&all), expected);
    assert!(all.anomalies[0].why.contains("stands as number 3"), "{:?}", all.anomalies[0]);
}

#[tokio::test]
async fn a_fork_is_broken_and_displaces_nothing() {
    let mut r = TestRepository::new();
    let one = r.commit(&small("{}"));
    r.commit(&small("{}"));
    r.commit_with(&small("{}"), |_| {}, |m| m.prev = Some(one.sha256));
    r.commit_with(&small("{}"), |_| {}, |m| m.prev = None);
    let all = list(&r).await;
    assert_eq!((seqs(&all), kinds(&all)), (vec![1, 2], vec![AnomalyKind::Broken, AnomalyKind::Broken]));
    assert_eq!(all.latest().unwrap().manifest.seq, 2);
}

#[tokio::test]
async fn what_an_ended_key_signs_is_rejected() {
    let mut r = TestRepository::new();
    r.commit(&small("{}"));
    let last = r.commit(&small("{}"));
    let stolen = std::mem::replace(&mut r.agent, signing_key());
    let key = r.agent.verify_key();
    r.amend(|charter| {
        charter.agents[0].until = Some(last.sha256);
        charter.agents.push(lifeboat_format::charter::AgentKey { key, from: Some(last.sha256), until: None });
    });
    let ours = std::mem::replace(&mut r.agent, stolen);
    r.commit(&small("{}"));
    r.agent = ours;
    r.commit_with(&small("{}"), |_| {}, |m| m.prev = Some(last.sha256));
    let all = list(&r).await;
    assert_eq!((seqs(&all), kinds(&all)), (vec![1, 2, 4], vec![AnomalyKind::Rejected]));
    r.store.remove(&layout::manifest(2));
    assert_eq!(seqs(&list(&r).await), [1, 4], "the charter names what is missing");
}

#[tokio::test]
async fn another_owner_or_cluster_is_believed_in_nothing() {
    let mut r = TestRepository::new();
    r.commit(&small("{}"));
    let stranger = signing_key().verify_key();
    let error = Repository::open(r.shared(), &r.cluster, &stranger).await.unwrap_err().to_string();
    assert!(error.contains(&stranger.fingerprint()), "{error}");
    let other = "test".parse().unwrap();
    assert!(Repository::open(r.shared(), &other, &r.owner_key()).await.is_err());
    let claimed = claims(&r.shared()).await.unwrap();
    assert_eq!(claimed, [Claims { cluster: r.cluster.clone(), owner: r.owner_key() }]);
    let stranger = TestRepository::new();
    for key in stranger.store.keys().iter().filter(|k| k.starts_with(layout::CHARTER)) {
        r.store.put(key, stranger.store.bytes(key).unwrap());
    }
    assert_eq!(seqs(&list(&r).await), [1], "another's charter beside ours is junk");
}
