//! What a compromised agent can sign: names that leave a folder, lists and maps that contradict themselves.

use super::*;
use lifeboat_format::body::{DomainKind, object_key};

#[tokio::test]
async fn hostile_names_are_reported_and_never_followed() {
    let mut r = TestRepository::new();
    let mut snapshot = small("good");
    for namespace in ["..", "a/b", "", "_cluster", "A", "a\0b"] {
        snapshot = snapshot.entry(DomainKind::Objects, namespace, object_key("configmap", "x"), "bad");
    }
    let keys: [&[u8]; 6] = [
        b"configmap\0../../etc/passwd",
        b"..\0x",
        b"configmap\0..",
        b"noname",
        b"\xff\0x",
        b"configmap\0a\nb",
    ];
    for key in keys {
        snapshot = snapshot.entry(DomainKind::Objects, "web", key.to_vec(), "bad");
    }
    r.commit(&snapshot);
    let open = open(&r, "1").await.unwrap();
    let (objects, errors) = read_all(&open).await;
    assert_eq!(objects.into_values().collect::<Vec<_>>(), [b"good"]);
    assert_eq!((open.problems().len(), errors.len()), (6, keys.len()), "{errors:?}");
    for text in open.problems().iter().cloned().chain(errors.iter().map(ToString::to_string)) {
        assert!(!text.chars().any(char::is_control), "{text:?}");
    }
}

#[tokio::test]
async fn a_list_that_binds_a_handle_twice_is_refused() {
    let mut r = TestRepository::new();
    let twice = |list: &mut lifeboat_format::pack_list::PackList| list.packs[0].handle = list.packs[1].handle;
    r.commit_with(&small("{}"), twice, |_| {});
    let error = open(&r, "1").await.unwrap_err();
    assert!(
        matches!(&error, ReadError::Snapshot { seq: 1, why } if why.contains("two different packs")),
        "{error}"
    );
}

#[tokio::test]
async fn a_pack_that_the_manifest_does_not_name_is_not_used() {
    let mut r = TestRepository::new();
    let none = |m: &mut lifeboat_format::manifest::Manifest| {
        m.packs[0].bitmap = lifeboat_format::manifest::Bitmap::new(1)
    };
    r.commit_with(&small("{}"), |_| {}, none);
    assert!(matches!(open(&r, "1").await.unwrap_err(), ReadError::UnnamedPack { seq: 1, .. }));
    let beyond = |m: &mut lifeboat_format::manifest::Manifest| m.packs[0].bitmap.insert(77);
    r.commit_with(&small("{}"), |_| {}, beyond);
    assert!(matches!(open(&r, "2").await.unwrap_err(), ReadError::Snapshot { seq: 2, .. }));
}

#[tokio::test]
async fn anothers_body_is_refused() {
    let mut r = TestRepository::new();
    r.commit_with(&small("{}"), |_| {}, |m| m.id = lifeboat_format::id::SnapshotId([9; 16]));
    let error = open(&r, "1").await.unwrap_err();
    assert!(matches!(&error, ReadError::Snapshot { why, .. } if why.contains("another snapshot")), "{error}");
}
