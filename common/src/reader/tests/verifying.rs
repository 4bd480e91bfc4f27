//! Verification finds a flipped byte, a cut and a missing file of every kind, without a key, and says who needs it.

use super::*;
use crate::store::faulty::{Faults, FaultyStore, Operation};
use lifeboat_format::layout;
use std::sync::Arc;

async fn run(r: &TestRepository, options: &VerifyOptions) -> VerifyReport {
    let opened = r.open().await;
    let list = opened.snapshots().await.unwrap();
    let all: Vec<&Snapshot> = list.kept().collect();
    verify(&opened, &list, &all, options, &|_| {}).await.unwrap()
}

fn two() -> (TestRepository, [crate::testing::Committed; 2]) {
    let mut r = TestRepository::new();
    let committed = [r.commit(&small("1")), r.commit(&sample())];
    r.receipt(&committed[0]);
    r.receipt(&committed[1]);
    (r, committed)
}

#[tokio::test]
async fn a_sound_repository_is_sound() {
    let (r, _) = two();
    let opened = r.open().await;
    for options in [
        VerifyOptions::default(),
        VerifyOptions { keyring: Some(r.keyring(&opened)), ..VerifyOptions::default() },
    ] {
        let report = run(&r, &options).await;
        assert!(report.is_sound(), "{report:?}");
        assert_eq!(report.snapshots.into_iter().collect::<Vec<_>>(), [(1, true), (2, true)]);
        assert!(report.files >= 11, "{} files", report.files);
        assert_eq!(report.opened_entries > 3000, options.keyring.is_some());
    }
}

#[tokio::test]
async fn every_kind_of_file_is_checked() {
    let (r, committed) = two();
    let needed = r.store.keys();
    for folder in ["charter/", "epochs/", "lists/", "packs/", "manifests/", "receipts/"] {
        assert!(needed.iter().any(|k| k.starts_with(folder)), "{folder}");
    }
    for key in &needed {
        let sound = r.store.bytes(key).unwrap();
        for damage in 0..3 {
            match damage {
                0 => drop(r.store.corrupt(key, |b| b[sound.len() / 2] ^= 4)),
                1 => r.store.put(key, sound.slice(..sound.len() - 1)),
                _ => drop(r.store.remove(key)),
            }
            // The only charter is needed to verify anything; a last manifest or a receipt may not be there yet.
            let opened = Repository::open(r.shared(), &r.cluster, &r.owner_key()).await;
            let Ok(opened) = opened else {
                assert!(key.starts_with("charter/"));
                continue;
            };
            let list = opened.snapshots().await.unwrap();
            let report =
                verify(&opened, &list, &list.kept().collect::<Vec<_>>(), &VerifyOptions::default(), &|_| {})
                    .await
                    .unwrap();
            let unseen = damage == 2 && (*key == layout::manifest(2) || key.starts_with("receipts/"));
            assert_eq!(report.damage.iter().any(|d| d.key == *key), !unseen, "{key}: {report:?}");
            assert!(report.unchecked.is_empty(), "{report:?}");
        }
        r.store.put(key, sound);
    }
    let pack = &committed[0].packs["objects/web"][0];
    r.store.remove(pack);
    let report = run(&r, &VerifyOptions::default()).await;
    assert_eq!((report.damage.len(), report.damage[0].snapshots.as_slice()), (1, &[1][..]));
    assert_eq!(report.damage[0].kind, DamageKind::Missing);
    assert_eq!(report.snapshots.into_iter().collect::<Vec<_>>(), [(1, false), (2, true)]);
}

#[tokio::test]
async fn opening_names_what_is_touched() {
    let (r, committed) = two();
    let pack = &committed[1].packs["secrets/web"][0];
    flip(&r, pack);
    let opened = r.open().await;
    let options = VerifyOptions { keyring: Some(r.keyring(&opened)), ..VerifyOptions::default() };
    let report = run(&r, &options).await;
    let damage = &report.damage[0];
    assert_eq!((report.damage.len(), &damage.key), (1, pack));
    assert_eq!(damage.objects, ["objects/web"]);
}

#[tokio::test]
async fn a_list_that_contradicts_itself_is_found_without_a_key() {
    let mut r = TestRepository::new();
    r.commit_with(&small("{}"), |l| l.packs[0].handle = l.packs[1].handle, |_| {});
    let report = run(&r, &VerifyOptions::default()).await;
    assert_eq!(report.damage[0].kind, DamageKind::Invalid, "{report:?}");
}

#[tokio::test]
async fn a_store_that_does_not_answer_is_unchecked() {
    let (r, _) = two();
    let list = r.open().await.snapshots().await.unwrap();
    let mut unchecked = 0;
    for seed in 0..30 {
        let faults = Faults { before: 0.1, truncate: 0.1, cut: 0.1, ..Faults::default() };
        let store = FaultyStore::new(Arc::new(r.store.clone()), seed).with(Operation::Get, faults);
        let Ok(opened) = Repository::open(Arc::new(store), &r.cluster, &r.owner_key()).await else {
            continue;
        };
        let all: Vec<&Snapshot> = list.kept().collect();
        let report = verify(&opened, &list, &all, &VerifyOptions::default(), &|_| {}).await.unwrap();
        let packs = report.damage.iter().filter(|d| d.key.starts_with("packs/"));
        assert_eq!(packs.count(), 0, "{report:?}");
        unchecked += report.unchecked.len();
    }
    assert!(unchecked > 0, "no fault met the verification");
}

#[tokio::test]
async fn files_of_volumes_are_opened_and_named() {
    let mut r = TestRepository::new();
    let mut tree = crate::testing::TestTree::new().file("a", "sound").file("dir/many", vec![7; 5000]);
    tree.chunk = 100;
    let lie = tree.raw(lifeboat_format::tree::path_key(b"lie"), b"\xa2\x00\x01\x06\x05".to_vec());
    let committed = r.commit(&SnapshotBuilder::default().path("home", lie));
    let opened = r.open().await;
    let options = VerifyOptions { keyring: Some(r.keyring(&opened)), ..VerifyOptions::default() };
    let report = run(&r, &options).await;
    assert_eq!(report.opened_entries, 3);
    let named: Vec<&String> = report.damage.iter().flat_map(|d| &d.objects).collect();
    assert_eq!(named, ["volumes/_paths/home/lie"], "{report:?}");
    r.store.remove(&committed.packs["trees"][0]);
    let report = run(&r, &options).await;
    assert!(report.damage.iter().any(|d| d.key == committed.packs["trees"][0]), "{report:?}");
}
