//! A create whose answer got lost: settled by a look, never guessed.

use super::server::{Reply, Server};
use super::{BRISK, discreet, options, sha256, store};
use crate::store::s3::{S3Store, Timeouts};
use crate::store::{CreateStore, Result, StoreErrorKind};
use bytes::Bytes;
use std::time::{Duration, Instant};

const WRITTEN: &str = "Last-Modified: Wed, 21 Oct 2015 07:27:00 GMT\r\nETag: \"x\"\r\n";

/// A server that answers a PUT so and holds this object (or none).
async fn create_at(put: Reply, held: Option<&'static [u8]>) -> (Result<String>, Vec<String>) {
    let server = Server::start(move |request| match (request.method.as_str(), held) {
        ("PUT", _) => put.clone(),
        (_, None) => Reply::error("404 Not Found", "NoSuchKey"),
        ("HEAD", Some(held)) => {
            let Reply::Raw(mut raw) = Reply::answer("200 OK", WRITTEN, held) else { unreachable!() };
            raw.truncate(raw.len() - held.len());
            Reply::Raw(raw)
        }
        (_, Some(held)) => Reply::answer("200 OK", WRITTEN, held),
    });
    let server = server.await;
    let created = store(&server).await.create("k", Bytes::from_static(b"own"), sha256(b"own")).await;
    if let Err(error) = &created {
        discreet(error);
    }
    (created.map(|created| created.store_time.to_string()), server.methods())
}

#[tokio::test]
async fn own_bytes_are_a_success() {
    for put in [Reply::Hangup, Reply::Stall(Vec::new()), Reply::error("500 Oops", "InternalError")] {
        let (created, methods) = create_at(put, Some(b"own")).await;
        assert_eq!(created.unwrap(), "2015-10-21T07:28:00Z");
        assert_eq!(methods, ["PUT", "HEAD", "GET"]);
    }
}

#[tokio::test]
async fn other_bytes_are_somebody_elses() {
    let (created, methods) = create_at(Reply::Hangup, Some(b"not")).await;
    assert_eq!(created.unwrap_err().kind, StoreErrorKind::Exists);
    assert_eq!(methods, ["PUT", "HEAD", "GET"]);
    let (created, methods) = create_at(Reply::Hangup, Some(b"longer")).await;
    assert_eq!(created.unwrap_err().kind, StoreErrorKind::Exists);
    assert_eq!(methods, ["PUT", "HEAD"]);
}

#[tokio::test]
async fn nothing_there_can_be_tried_again() {
    let (created, methods) = create_at(Reply::Hangup, None).await;
    assert_eq!(created.unwrap_err().kind, StoreErrorKind::Unavailable);
    assert_eq!(methods, ["PUT", "HEAD"]);
}

#[tokio::test]
async fn a_clear_refusal_needs_no_look() {
    for (status, code, kind) in [
        ("412 Precondition Failed", "PreconditionFailed", StoreErrorKind::Exists),
        ("409 Conflict", "ConditionalRequestConflict", StoreErrorKind::Unavailable),
        ("403 Forbidden", "AccessDenied", StoreErrorKind::Denied),
        ("400 Bad Request", "BadDigest", StoreErrorKind::Checksum),
        ("503 Slow Down", "SlowDown", StoreErrorKind::Throttled),
        ("507 Full", "InsufficientStorage", StoreErrorKind::Full),
    ] {
        let (created, methods) = create_at(Reply::error(status, code), Some(b"own")).await;
        assert_eq!(created.unwrap_err().kind, kind, "{code}");
        assert_eq!(methods, ["PUT"], "{code}");
    }
}

#[tokio::test]
async fn when_nobody_answers_it_stays_unclear() {
    let server = Server::start(|_| Reply::Hangup).await;
    let error =
        store(&server).await.create("k", Bytes::from_static(b"own"), sha256(b"own")).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Unclear);
    assert!(error.detail.contains("could not be found out"), "{error}");
}

#[tokio::test]
async fn a_server_without_a_clock_is_asked_for_the_time_of_the_write() {
    let server = Server::start(|request| match request.method.as_str() {
        "PUT" => Reply::Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec()),
        _ => Reply::Raw(
            format!("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n{WRITTEN}Connection: close\r\n\r\n")
                .into_bytes(),
        ),
    });
    let server = server.await;
    let created = store(&server).await.create("k", Bytes::from_static(b"own"), sha256(b"own")).await.unwrap();
    assert_eq!(created.store_time.to_string(), "2015-10-21T07:27:00Z");
}

#[tokio::test]
async fn a_server_that_stops_reading_is_left() {
    let server = Server::start(|request| match request.method.as_str() {
        "PUT" => Reply::Deaf,
        _ => Reply::error("404 Not Found", "NoSuchKey"),
    });
    let server = server.await;
    let (_file, options) = options(&server.endpoint());
    // By its rate alone, this body may take two minutes.
    let timeouts = Timeouts { slowest: 128 << 10, ..BRISK };
    let store = S3Store::connect("bucket", "", &options, timeouts).await.unwrap();
    let body = Bytes::from(vec![7; 16 << 20]);
    let start = Instant::now();
    let error = store.create("k", body.clone(), sha256(&body)).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Unavailable, "{error}");
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
}
