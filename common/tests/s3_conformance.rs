//! S3 against a real server: versitygw always, MinIO with `MINIO=1`.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod s3_server;

use bytes::Bytes;
use lifeboat_common::clock::SystemClock;
use lifeboat_common::store::s3::{S3Store, Timeouts};
use lifeboat_common::store::{
    CreateStore, ReadStore, RetryPolicy, RetryStore, S3Options, StoreErrorKind, StoreUrl, conformance,
};
use s3_server::Server;
use std::sync::Arc;
use std::time::Duration;

/// One server at a time: between choosing a free port and listening on it, another test's could take it.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

async fn conforms(server: &Server) {
    for prefix in ["", "clusters/prod"] {
        let store =
            S3Store::connect("lifeboat", prefix, &server.options(), Timeouts::default()).await.unwrap();
        let store = Arc::new(store);
        conformance::run(store.clone(), Some(store)).await;
    }
}

async fn clusters_are_found(server: &Server) {
    let (options, clock) = (server.options(), Arc::new(SystemClock));
    let url: StoreUrl = "s3://lifeboat/repositories".parse().unwrap();
    assert!(url.clusters(&options, clock.clone()).await.unwrap().is_empty());
    for (cluster, key) in [("prod", "charter/1.json"), ("dev", "charter/1.json"), ("junk", "packs/x")] {
        let store = url.open(Some(cluster), &options, clock.clone()).await.unwrap();
        let body = Bytes::from_static(b"x");
        store.create(key, body.clone(), conformance::sha256(&body)).await.unwrap();
    }
    let found = url.clusters(&options, clock.clone()).await.unwrap();
    assert_eq!(found.iter().map(|cluster| cluster.name.as_str()).collect::<Vec<_>>(), ["dev", "prod"]);
    assert_eq!(found[1].url.clusters(&options, clock.clone()).await.unwrap(), found[1..]);
    let store = found[1].url.open_read(None, &options, clock).await.unwrap();
    assert_eq!(store.get("charter/1.json", 9).await.unwrap(), "x");
}

async fn refusals_are_told_apart(server: &Server) {
    let absent = S3Store::connect("absent", "", &server.options(), Timeouts::default()).await.unwrap();
    let error = absent.list("", None, 1).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::NotFound, "{error}");
    let wrong = server.write_credentials("wrong", "lifeboat", "not-the-secret");
    let options = S3Options { credentials_file: Some(wrong), ..server.options() };
    let store = S3Store::connect("lifeboat", "", &options, Timeouts::default()).await.unwrap();
    for error in [store.head("k").await.unwrap_err(), store.list("", None, 1).await.unwrap_err()] {
        assert_eq!(error.kind, StoreErrorKind::Denied, "{error}");
        assert!(!error.to_string().contains("not-the-secret"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn versitygw_conforms() {
    let _alone = ALONE.lock().await;
    let server = Server::versitygw();
    conforms(&server).await;
    clusters_are_found(&server).await;
    refusals_are_told_apart(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_of_ones_own_is_trusted_alone() {
    let _alone = ALONE.lock().await;
    let server = Server::versitygw_with_tls();
    let trusting = S3Options { ca_file: Some(server.authority()), ..server.options() };
    let store = S3Store::connect("lifeboat", "", &trusting, Timeouts::default()).await.unwrap();
    let body = Bytes::from(vec![7; 5 << 20]);
    store.create("k", body.clone(), conformance::sha256(&body)).await.unwrap();
    assert!(store.get("k", 5 << 20).await.unwrap() == body);

    let other = Server::versitygw_with_tls();
    let wary = S3Options { ca_file: Some(other.authority()), ..server.options() };
    let store = S3Store::connect("lifeboat", "", &wary, Timeouts::default()).await.unwrap();
    let error = store.head("k").await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Unavailable);
    assert!(error.to_string().contains("certificate"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn minio_conforms() {
    let _alone = ALONE.lock().await;
    if std::env::var_os("MINIO").is_none_or(|value| value.is_empty() || value == "0") {
        return; // a second opinion, by hand
    }
    let server = Server::minio();
    // It listens before it serves.
    let impatient = Timeouts { answer: Duration::from_secs(1), ..Timeouts::default() };
    let store = S3Store::connect("lifeboat", "", &server.options(), impatient).await.unwrap();
    let policy =
        RetryPolicy { longest_pause: Duration::from_millis(250), attempts: 100, ..RetryPolicy::default() };
    RetryStore::new(Arc::new(store), policy).list("", None, 1).await.unwrap();
    conforms(&server).await;
    clusters_are_found(&server).await;
    refusals_are_told_apart(&server).await;
}
