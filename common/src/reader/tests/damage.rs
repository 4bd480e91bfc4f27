//! Damage while opening: named, told apart from a store that does not answer, and no reason to lose the rest.

use super::*;
use crate::store::faulty::{Faults, FaultyStore, Operation};
use std::sync::Arc;

#[tokio::test]
async fn a_flipped_byte_in_a_pack_costs_what_it_holds_and_is_named() {
    let mut r = TestRepository::new();
    let committed = r.commit(&sample());
    for (domain, lost) in [("objects/data", 1), ("secrets/web", 1), ("cluster", 1)] {
        let pack = &committed.packs[domain][0];
        let sound = r.store.bytes(pack).unwrap();
        flip(&r, pack);
        let open = open(&r, "latest").await.unwrap();
        let (objects, errors) = read_all(&open).await;
        assert_eq!((objects.len(), errors.len()), (3004 - lost, 1), "{domain}: {errors:?}");
        assert_eq!(errors[0].key(), Some(pack.as_str()), "{domain}");
        assert!(errors[0].is_damage() && errors[0].to_string().contains("objects/"), "{}", errors[0]);
        r.store.put(pack, sound);
    }
}

#[tokio::test]
async fn a_damaged_page_does_not_hide_the_others() {
    let mut r = TestRepository::new();
    let committed = r.commit(&sample());
    let pack = &committed.packs["objects/web"][0];
    let middle = r.store.bytes(pack).unwrap().len() / 2;
    r.store.corrupt(pack, |b| b[middle] ^= 1);
    let open = open(&r, "latest").await.unwrap();
    let (objects, errors) = read_all(&open).await;
    assert!(objects.len() > 1000 && objects.len() < 3004, "{} left", objects.len());
    assert!(!errors.is_empty() && errors.iter().all(ReadError::is_damage), "{errors:?}");
}

#[tokio::test]
async fn a_missing_or_cut_pack_is_named() {
    let mut r = TestRepository::new();
    let committed = r.commit(&small("{}"));
    let pack = &committed.packs["objects/web"][0];
    let sound = r.store.bytes(pack).unwrap();
    for cut in [0, 3, 100, sound.len() - 1] {
        r.store.put(pack, sound.slice(..cut));
        let (objects, errors) = read_all(&open(&r, "1").await.unwrap()).await;
        assert!(objects.is_empty() && errors[0].key() == Some(pack.as_str()), "{cut}: {errors:?}");
    }
    r.store.remove(pack);
    let (_, errors) = read_all(&open(&r, "1").await.unwrap()).await;
    assert!(
        matches!(&errors[0], ReadError::At { source, .. } if matches!(**source, ReadError::Missing { .. }))
    );
    r.store.put(pack, sound);
    r.store.remove(&committed.body_pack);
    assert_eq!(open(&r, "1").await.unwrap_err().key(), Some(committed.body_pack.as_str()));
}

#[tokio::test]
async fn a_pack_in_anothers_place_is_refused() {
    let mut r = TestRepository::new();
    let committed = r.commit(&sample());
    let (mine, other) = (&committed.packs["secrets/web"][0], &committed.packs["cluster"][0]);
    r.store.put(mine, r.store.bytes(other).unwrap());
    let (_, errors) = read_all(&open(&r, "1").await.unwrap()).await;
    assert_eq!(errors[0].key(), Some(mine.as_str()), "{errors:?}");
}

#[tokio::test]
async fn a_damaged_list_or_epoch_is_named() {
    let mut r = TestRepository::new();
    let committed = r.commit(&small("{}"));
    let list = r.store.bytes(&committed.list).unwrap();
    r.store.corrupt(&committed.list, |b| b[30] ^= 1);
    assert_eq!(open(&r, "1").await.unwrap_err().key(), Some(committed.list.as_str()));
    r.store.put(&committed.list, list);
    let epoch = r.store.keys().into_iter().find(|k| k.starts_with("epochs/")).unwrap();
    r.store.corrupt(&epoch, |b| b[30] ^= 1);
    let error = open(&r, "1").await.unwrap_err();
    assert!(matches!(&error, ReadError::NoEpoch { why, .. } if why.contains(&epoch)), "{error}");
}

#[tokio::test]
async fn a_store_that_does_not_answer_is_no_damage() {
    let mut r = TestRepository::new();
    r.commit(&sample());
    let mut failures = 0;
    for seed in 0..40 {
        let faults = Faults { before: 0.1, truncate: 0.1, cut: 0.1, ..Faults::default() };
        let store = FaultyStore::new(Arc::new(r.store.clone()), seed).with(Operation::Get, faults);
        let Ok(opened) = Repository::open(Arc::new(store), &r.cluster, &r.owner_key()).await else {
            continue;
        };
        let Ok(list) = opened.snapshots().await else { continue };
        let Ok(latest) = list.latest() else { panic!("a short answer hid a snapshot: {:?}", list.anomalies) };
        let Ok(open) = opened.open_snapshot(latest, r.keyring(&opened)).await else { continue };
        let (_, errors) = read_all(&open).await;
        failures += errors.len();
        assert!(errors.iter().all(|e| e.is_transient() && !e.is_damage()), "{errors:?}");
    }
    assert!(failures > 0, "no fault met a reader");
}
