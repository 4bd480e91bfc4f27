//! What a compromised agent can sign: names that leave a folder, lists and maps that contradict themselves.

use super::*;
use lifeboat_format::body::{DomainKind, object_key};
use lifeboat_format::pack::Reference;

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

/// CBOR: a head of major type `major`; the numbers here are below 2^32.
fn head(major: u8, n: usize) -> Vec<u8> {
    let mut out = vec![major << 5 | 26];
    out.extend_from_slice(&u32::try_from(n).unwrap().to_be_bytes());
    out
}

fn bytes(b: &[u8]) -> Vec<u8> {
    [head(2, b.len()), b.to_vec()].concat()
}

fn reference(r: &Reference) -> Vec<u8> {
    let numbers = [0, r.frame, r.offset, r.length].map(|n| head(0, n as usize)).concat();
    [head(4, 5), numbers, bytes(&r.digest.0)].concat()
}

fn leaf(keys: &[&str]) -> Vec<u8> {
    let entry = |k: &&str| {
        let key = object_key("configmap", k);
        [head(4, 4), bytes(&key), bytes(b"{}"), head(4, 0), vec![0xf4]].concat()
    };
    let entries: Vec<u8> = keys.iter().flat_map(entry).collect();
    [head(4, 3), head(0, 0), bytes(b""), head(4, keys.len()), entries].concat()
}

fn inner(level: usize, children: &[(&str, Reference)]) -> Vec<u8> {
    let child =
        |(k, r): &(&str, Reference)| [head(4, 2), bytes(&object_key("configmap", k)), reference(r)].concat();
    let entries: Vec<u8> = children.iter().flat_map(child).collect();
    let handle = children.first().map_or([0; 16], |(_, r)| r.handle.0);
    [head(4, 3), head(0, level), bytes(&handle), head(4, children.len()), entries].concat()
}

type Put<'a> = &'a mut dyn FnMut(&[u8]) -> Reference;

fn sound(put: Put<'_>) -> Reference {
    let (a, b) = (put(&leaf(&["a", "b"])), put(&leaf(&["c"])));
    put(&inner(1, &[("a", a), ("c", b)]))
}
fn another_first_key(put: Put<'_>) -> Reference {
    let (a, b) = (put(&leaf(&["a", "b"])), put(&leaf(&["d"])));
    put(&inner(1, &[("a", a), ("c", b)]))
}
fn overlapping(put: Put<'_>) -> Reference {
    let (a, b) = (put(&leaf(&["a", "d"])), put(&leaf(&["c"])));
    put(&inner(1, &[("a", a), ("c", b)]))
}
fn skipped_level(put: Put<'_>) -> Reference {
    let a = put(&leaf(&["a"]));
    put(&inner(2, &[("a", a)]))
}
fn level_that_rises(put: Put<'_>) -> Reference {
    let a = put(&leaf(&["a"]));
    let low = put(&inner(1, &[("a", a)]));
    put(&inner(1, &[("a", low)]))
}
fn too_deep(put: Put<'_>) -> Reference {
    let a = put(&leaf(&["a"]));
    put(&inner(200, &[("a", a)]))
}
fn many_ways_to_one_leaf(put: Put<'_>) -> Reference {
    let a = put(&leaf(&["a"]));
    let one = put(&inner(1, &[("a", a)]));
    put(&inner(2, &[("a", one), ("b", one), ("c", one)]))
}

#[tokio::test]
async fn maps_that_contradict_themselves_are_refused() {
    let cases: [(crate::testing::RawMap, usize, bool); 7] = [
        (sound, 3, false),
        (another_first_key, 2, true),
        (overlapping, 2, true),
        (skipped_level, 0, true),
        (level_that_rises, 0, true),
        (too_deep, 0, true),
        (many_ways_to_one_leaf, 1, true),
    ];
    for (i, (make, readable, refused)) in cases.into_iter().enumerate() {
        let mut r = TestRepository::new();
        r.commit(&SnapshotBuilder { raw: Some(make), ..SnapshotBuilder::default() });
        let (objects, errors) = read_all(&open(&r, "1").await.unwrap()).await;
        assert_eq!((objects.len(), !errors.is_empty()), (readable, refused), "case {i}: {errors:?}");
        assert!(errors.iter().all(|e| e.to_string().contains("contradicts itself")), "case {i}: {errors:?}");
    }
}
