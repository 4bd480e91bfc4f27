//! What a URL may be, and that opening and looking for clusters work on directories.

use super::*;
use crate::clock::SystemClock;
use crate::store::StoreErrorKind;
use crate::store::options::S3Options;
use bytes::Bytes;
use std::sync::Arc;

fn sha256(bytes: &[u8]) -> [u8; 32] {
    ring::digest::digest(&ring::digest::SHA256, bytes).as_ref().try_into().unwrap()
}

#[test]
fn urls_come_back_as_they_were_given() {
    for text in ["file:///var/lib/vault", "file:///", "s3://bucket", "s3://bucket/a/b", "file:///a b/c%20d"] {
        assert_eq!(text.parse::<StoreUrl>().unwrap().to_string(), text);
    }
    assert_eq!("s3://b/p/".parse::<StoreUrl>().unwrap().to_string(), "s3://b/p");
    assert_eq!("s3://b/".parse::<StoreUrl>().unwrap().to_string(), "s3://b");
    assert_eq!("file:///x//".parse::<StoreUrl>().unwrap().to_string(), "file:///x");
    let read: StoreUrl = serde_json::from_str("\"s3://b/p\"").unwrap();
    assert_eq!(serde_json::to_string(&read).unwrap(), "\"s3://b/p\"");
}

#[test]
fn what_is_no_url_is_refused_without_repeating_it() {
    for (text, why) in [
        ("/var/lib", UrlError::Scheme),
        ("https://x/y", UrlError::Scheme),
        ("file://host/x", UrlError::Directory),
        ("file://", UrlError::Directory),
        ("file:///a/../b", UrlError::Directory),
        ("file:///a\0", UrlError::Directory),
        ("s3://", UrlError::Bucket),
        ("s3:///p", UrlError::Bucket),
        ("s3://key:sesame@bucket/p", UrlError::Bucket),
        ("s3://b/a//c", UrlError::Prefix),
        ("s3://b/../c", UrlError::Prefix),
    ] {
        assert_eq!(text.parse::<StoreUrl>(), Err(why), "{text}");
    }
    let error = serde_json::from_str::<StoreUrl>("\"s3://key:sesame@bucket/p\"").unwrap_err();
    assert!(!error.to_string().contains("sesame"), "{error}");
}

#[test]
fn folders_are_joined() {
    let url: StoreUrl = "s3://b".parse().unwrap();
    assert_eq!(url.join("c").to_string(), "s3://b/c");
    assert_eq!(url.join("c").join("d").to_string(), "s3://b/c/d");
    assert_eq!(url.join("c").last_part(), "c");
    assert_eq!("file:///x/y".parse::<StoreUrl>().unwrap().join("c").to_string(), "file:///x/y/c");
}

#[tokio::test]
async fn clusters_are_the_folders_with_a_charter() {
    let scratch = tempfile::tempdir().unwrap();
    let url = StoreUrl::File(scratch.path().join("repo"));
    let (options, clock) = (S3Options::default(), Arc::new(SystemClock));
    let missing = url.clusters(&options, clock.clone()).await.unwrap_err();
    assert_eq!(missing.kind, StoreErrorKind::NotFound);
    url.make_base().await.unwrap();
    assert!(url.clusters(&options, clock.clone()).await.unwrap().is_empty());
    for (cluster, key) in [
        ("prod", "charter/1.json"),
        ("dev", "charter/1.json"),
        ("junk", "packs/x"),
        (".lifeboat", "charter/x"),
    ] {
        let store = url.open(Some(cluster), &options, clock.clone()).await.unwrap();
        store.create(key, Bytes::from_static(b"x"), sha256(b"x")).await.unwrap();
    }
    let found = url.clusters(&options, clock.clone()).await.unwrap();
    assert_eq!(found.iter().map(|cluster| cluster.name.as_str()).collect::<Vec<_>>(), ["dev", "prod"]);
    let itself = found[1].url.clusters(&options, clock.clone()).await.unwrap();
    assert_eq!(itself, found[1..]);
    let store = itself[0].url.open_read(None, &options, clock).await.unwrap();
    assert_eq!(&store.get("charter/1.json", 9).await.unwrap()[..], b"x");
}
