//! What is particular to directories: links, devices, crashes, clocks.

use super::*;
use crate::clock::{ManualClock, SystemClock};
use crate::store::StoreErrorKind;
use jiff::Timestamp;
use std::fs;
use std::os::unix::fs::symlink;

fn sha256(bytes: &[u8]) -> [u8; 32] {
    ring::digest::digest(&ring::digest::SHA256, bytes).as_ref().try_into().unwrap()
}

async fn put(store: &LocalStore, key: &str, bytes: &'static [u8]) -> Result<Created> {
    store.create(key, Bytes::from_static(bytes), sha256(bytes)).await
}

async fn keys(store: &LocalStore, prefix: &str) -> Vec<String> {
    let page = store.list(prefix, None, 1000).await.unwrap();
    page.entries.into_iter().map(|entry| entry.key).collect()
}

#[tokio::test]
async fn a_missing_base_is_an_error_and_a_missing_folder_is_empty() {
    let scratch = tempfile::tempdir().unwrap();
    let absent = LocalStore::new(scratch.path().join("absent"), Arc::new(SystemClock));
    for error in [
        absent.get("k", 1).await.unwrap_err(),
        absent.head("k").await.unwrap_err(),
        absent.list("", None, 1).await.unwrap_err(),
        put(&absent, "k", b"").await.unwrap_err(),
    ] {
        assert_eq!(error.kind, StoreErrorKind::NotFound);
        assert!(error.to_string().contains("mount"), "{error}");
    }
    let empty = LocalStore::below(scratch.path(), "prod", Arc::new(SystemClock)).unwrap();
    assert!(keys(&empty, "").await.is_empty());
    assert!(empty.head("k").await.unwrap().is_none());
    assert_eq!(empty.get("k", 1).await.unwrap_err().kind, StoreErrorKind::NotFound);
    put(&empty, "a/k", b"x").await.unwrap();
    assert_eq!(fs::read(scratch.path().join("prod/a/k")).unwrap(), b"x");
    assert!(LocalStore::below(scratch.path(), "../out", Arc::new(SystemClock)).is_err());
}

#[tokio::test]
async fn links_never_lead_out() {
    let scratch = tempfile::tempdir().unwrap();
    let (inside, outside) = (scratch.path().join("in"), scratch.path().join("out"));
    fs::create_dir_all(&inside).unwrap();
    fs::create_dir_all(&outside).unwrap();
    fs::write(outside.join("secret"), b"secret").unwrap();
    symlink(&outside, inside.join("packs")).unwrap();
    symlink(outside.join("secret"), inside.join("file")).unwrap();
    symlink(outside.join("nothing"), inside.join("dangling")).unwrap();
    let store = LocalStore::new(&inside, Arc::new(SystemClock));
    for key in ["packs/secret", "file"] {
        assert_eq!(store.get(key, 100).await.unwrap_err().kind, StoreErrorKind::Protocol);
        assert_eq!(store.head(key).await.unwrap_err().kind, StoreErrorKind::Protocol);
        assert!(store.get_stream(key).await.is_err());
    }
    assert_eq!(put(&store, "packs/new", b"x").await.unwrap_err().kind, StoreErrorKind::Protocol);
    assert_eq!(put(&store, "dangling", b"x").await.unwrap_err().kind, StoreErrorKind::Exists);
    assert_eq!(store.delete("packs/secret").await.unwrap_err().kind, StoreErrorKind::Protocol);
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
    assert!(keys(&store, "").await.is_empty());
}

#[tokio::test]
async fn devices_and_folders_are_no_objects() {
    let scratch = tempfile::tempdir().unwrap();
    let store = LocalStore::new(scratch.path(), Arc::new(SystemClock));
    rustix::fs::mkfifoat(
        rustix::fs::CWD,
        scratch.path().join("fifo"),
        rustix::fs::Mode::from_raw_mode(0o600),
    )
    .unwrap();
    assert_eq!(store.get("fifo", 1).await.unwrap_err().kind, StoreErrorKind::Protocol);
    put(&store, "a/b", b"x").await.unwrap();
    assert_eq!(store.get("a", 1).await.unwrap_err().kind, StoreErrorKind::NotFound);
    assert!(store.head("a").await.unwrap().is_none());
    assert!(store.head("a/b/c").await.unwrap().is_none());
    assert_eq!(put(&store, "a/b/c", b"x").await.unwrap_err().kind, StoreErrorKind::Invalid);
    assert_eq!(keys(&store, "").await, ["a/b"]);
}

#[tokio::test]
async fn what_a_crash_left_is_invisible_and_goes_away_later() {
    let scratch = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(SystemClock.now()));
    fs::create_dir(scratch.path().join(".tmp")).unwrap();
    fs::write(scratch.path().join(".tmp/half"), b"ha").unwrap();
    let store = LocalStore::new(scratch.path(), clock.clone());
    put(&store, "k", b"x").await.unwrap();
    assert_eq!(keys(&store, "").await, ["k"]);
    assert!(scratch.path().join(".tmp/half").exists(), "it may be in use");
    for key in [".tmp/half", ".tmp"] {
        assert_eq!(store.get(key, 9).await.unwrap_err().kind, StoreErrorKind::Invalid);
    }
    clock.set(clock.now() + jiff::SignedDuration::from_hours(25));
    let later = LocalStore::new(scratch.path(), clock);
    put(&later, "l", b"x").await.unwrap();
    assert_eq!(fs::read_dir(scratch.path().join(".tmp")).unwrap().count(), 0);
}

#[tokio::test]
async fn times_are_those_of_the_clock() {
    let scratch = tempfile::tempdir().unwrap();
    let then: Timestamp = "2031-02-03T04:05:06.789Z".parse().unwrap();
    let store = LocalStore::new(scratch.path(), Arc::new(ManualClock::new(then)));
    assert_eq!(put(&store, "k", b"x").await.unwrap().store_time, then);
    assert_eq!(store.head("k").await.unwrap().unwrap().modified, then);
    assert_eq!(store.list("", None, 1).await.unwrap().store_time, then);
}

#[tokio::test]
async fn a_failed_create_leaves_nothing() {
    let scratch = tempfile::tempdir().unwrap();
    let store = LocalStore::new(scratch.path(), Arc::new(SystemClock));
    let wrong = store.create("k", Bytes::from_static(b"x"), sha256(b"y")).await.unwrap_err();
    assert_eq!(wrong.kind, StoreErrorKind::Checksum);
    put(&store, "k", b"x").await.unwrap();
    assert_eq!(put(&store, "k", b"other").await.unwrap_err().kind, StoreErrorKind::Exists);
    assert_eq!(fs::read_dir(scratch.path().join(".tmp")).unwrap().count(), 0);
    assert_eq!(fs::read(scratch.path().join("k")).unwrap(), b"x");
}

#[tokio::test]
async fn a_stream_over_a_file_that_shrinks_ends_in_an_error() {
    use futures::TryStreamExt;
    let scratch = tempfile::tempdir().unwrap();
    let store = LocalStore::new(scratch.path(), Arc::new(SystemClock));
    fs::write(scratch.path().join("k"), vec![7; 3 << 20]).unwrap();
    let (entry, body) = store.get_stream("k").await.unwrap();
    assert_eq!(entry.size, 3 << 20);
    fs::OpenOptions::new().write(true).open(scratch.path().join("k")).unwrap().set_len(100).unwrap();
    let error = body.try_collect::<Vec<_>>().await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Unavailable);
}
