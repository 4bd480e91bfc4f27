//! Figures of large vaults: a million packs, a hundred thousand snapshots. Run by hand:
//! `cargo test --release -p lifeboat-replicator --test pull millions -- --ignored --nocapture --test-threads 1`.

use crate::fixture::*;
use jiff::{SignedDuration, Timestamp};
use lifeboat_common::store::faulty::{Faults, FaultyStore};
use lifeboat_format::id::{Sha256, SnapshotId};
use lifeboat_format::layout;
use lifeboat_replicator::catalog::{Catalogue, HeldPack, State};
use lifeboat_replicator::status;
use std::sync::Arc;
use std::time::{Duration, Instant};

fn name(n: u64) -> Sha256 {
    Sha256::of(&n.to_be_bytes())
}

/// Adds `snapshots` rows after the first one, an hour apart, with `packs` packs in all.
fn fill(catalogue: &Catalogue, snapshots: u64, packs: u64, first: Timestamp) {
    let like = catalogue.snapshot("prod", 1).unwrap().unwrap();
    let each = packs / snapshots;
    for seq in 2..=snapshots {
        let at = first + SignedDuration::from_hours(i64::try_from(seq).unwrap());
        let mut row = like.clone();
        (row.seq, row.id, row.sha256, row.prev) =
            (seq, SnapshotId(u128::from(seq).to_be_bytes()), name(seq), Some(name(seq - 1)));
        (row.claimed, row.first_seen, row.verified, row.state) = (at, at, Some(at), State::Held);
        (row.packs, row.bytes) = (each, each << 24);
        let of = (0..each).map(|n| HeldPack { sha256: name((seq << 32) | n), size: 16 << 20 });
        catalogue.hold("prod", &row, &of.collect::<Vec<_>>()).unwrap();
    }
}

fn peak() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    status.lines().find(|l| l.starts_with("VmHWM")).unwrap().split_whitespace().nth(1).unwrap().to_owned()
}

#[tokio::test]
#[ignore = "a measurement, not a test"]
async fn status_and_retention_over_a_million_packs() {
    let primary = Primary::with("prod", 1);
    let vaulted = Vaulted::new(&primary);
    vaulted.clean_pull(&primary).await;
    let (snapshots, packs) = (10_000, 1_000_000);
    fill(&vaulted.replicator.catalogue, snapshots, packs, start());
    println!("filled; {} KB at most so far", peak());
    let now = start() + SignedDuration::from_hours(10_001);
    primary.clock.set(now);
    let path = vaulted.replicator.vault.catalogue();
    let began = Instant::now();
    let read = status::read(&Catalogue::open_read_only(&path).unwrap(), &[], now).unwrap();
    let took = began.elapsed();
    assert_eq!(read.clusters[0].packs, packs - packs / snapshots + 3);
    println!("status of {packs} packs in {snapshots} snapshots: {took:?}");
    let began = Instant::now();
    let pass = vaulted.retaining(&primary, |r| r.preview(now).unwrap());
    println!("retention decided on {}: {:?}; {:?}", pass.decisions.len(), began.elapsed(), pass.restraints);
    let needed: Vec<u64> = (1..=snapshots).filter(|n| n % 2 == 0).collect();
    let began = Instant::now();
    let dead = vaulted.replicator.catalogue.packs_without("prod", &needed).unwrap();
    println!("{} packs found that nothing needs: {:?}", dead.len(), began.elapsed());
    drop(dead);
    println!("peak of this process, its own fixture included: {} KB", peak());
    assert!(took < Duration::from_secs(5));
}

#[tokio::test]
#[ignore = "a measurement, not a test"]
async fn nothing_new_beside_a_hundred_thousand_snapshots() {
    for (snapshots, packs) in [(10, 100), (1_000, 10_000), (100_000, 1_000_000)] {
        let mut primary = Primary::with("prod", 1);
        let vaulted = Vaulted::new(&primary);
        vaulted.clean_pull(&primary).await;
        fill(&vaulted.replicator.catalogue, snapshots, packs, start());
        // Files stand for the manifests: only names are looked at where nothing is new.
        let folder = vaulted.dir.path().join("prod");
        for seq in 2..=snapshots {
            std::fs::write(folder.join(layout::manifest(seq)), b"").unwrap();
            std::fs::write(folder.join(layout::receipt(seq)), b"").unwrap();
        }
        // The newest one is real, here and in the source.
        let head = vaulted.replicator.catalogue.snapshot("prod", snapshots).unwrap().unwrap();
        let mut manifest = primary.manifest(vec![]);
        (manifest.seq, manifest.prev) = (snapshots, head.prev);
        primary.commit(&manifest);
        let mut row = head.clone();
        row.sha256 = Sha256::of(&manifest.payload());
        vaulted.replicator.catalogue.put_snapshot("prod", &row).unwrap();
        primary.clock.set(row.claimed + SignedDuration::from_hours(1));
        let seqs: Vec<u64> = (1..=snapshots).collect();
        vaulted.replicator.catalogue.set_audited("prod", &seqs).unwrap();
        let slow = Faults { slow: 1.0, pause: Duration::from_millis(150), ..Faults::default() };
        let far = FaultyStore::new(Arc::new(primary.store.clone()), 1).everywhere(slow);
        // The sweep and the reading of old packs are looked at elsewhere: what is old was forgotten in the source.
        let mut far = Arc::into_inner(primary.source_through(Arc::new(far))).unwrap();
        far.reread_rate = 0;
        let far = Arc::new(far);
        let old: String = (1..=snapshots).map(|seq| format!("{seq}\n")).collect();
        std::fs::write(vaulted.dir.path().join(".lifeboat/primary-forgotten-prod.txt"), old).unwrap();
        let mut took = Vec::new();
        for _ in 0..3 {
            let before = primary.store.requests();
            let began = Instant::now();
            let outcome = vaulted.replicator.pull(&far).await;
            took.push(began.elapsed());
            assert!(outcome.error.is_none(), "{:?}", outcome.error);
            assert_eq!(outcome.snapshots, 0);
            let requests = primary.store.requests().since(&before).total();
            println!(
                "{snapshots} snapshots, {packs} packs, 150 ms away: {:?}, {requests} requests, {} KB at most",
                took.last(),
                peak()
            );
        }
    }
}
