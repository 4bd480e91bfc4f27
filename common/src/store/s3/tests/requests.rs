//! The shape of requests: URL styles, conditional create, checksums, ranges.

use super::server::{Reply, Server};
use super::{BRISK, options, sha256, store};
use crate::store::options::S3Options;
use crate::store::s3::S3Store;
use crate::store::{CreateStore, DeleteStore, ReadStore};
use aws_sdk_s3::config::SharedHttpClient;
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use bytes::Bytes;
use std::sync::{Arc, Mutex};

/// Notes where requests would go, and answers none.
#[derive(Debug, Clone, Default)]
struct Capture(Arc<Mutex<Vec<String>>>);

impl HttpConnector for Capture {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        self.0.lock().unwrap().push(request.uri().to_owned());
        let nobody = aws_smithy_runtime_api::client::result::ConnectorError::io("nobody there".into());
        HttpConnectorFuture::ready(Err(nobody))
    }
}

async fn asks_at(change: impl FnOnce(&mut S3Options)) -> String {
    let capture = Capture::default();
    let connector = capture.clone();
    let http: SharedHttpClient = http_client_fn(move |_, _| SharedHttpConnector::new(connector.clone()));
    let (_file, mut options) = options("http://s3.example.com:9000");
    change(&mut options);
    let store = S3Store::connect_by("bucket", "pre/fix", &options, BRISK, http).await.unwrap();
    assert!(store.head("a b+c/é").await.is_err());
    capture.0.lock().unwrap()[0].clone()
}

#[tokio::test]
async fn buckets_stand_in_the_path_or_in_the_host() {
    let key = "/pre/fix/a%20b%2Bc/%C3%A9";
    assert_eq!(asks_at(|_| {}).await, format!("http://s3.example.com:9000/bucket{key}"));
    let host = asks_at(|options| options.path_style = Some(false)).await;
    assert_eq!(host, format!("http://bucket.s3.example.com:9000{key}"));
    let aws = asks_at(|options| {
        options.endpoint = None;
        options.region = Some("eu-north-1".to_owned());
    });
    assert_eq!(aws.await, format!("https://bucket.s3.eu-north-1.amazonaws.com{key}"));
}

#[tokio::test]
async fn a_create_is_conditional_and_carries_our_checksum() {
    let server = Server::start(|_| Reply::answer("200 OK", "ETag: \"x\"\r\n", b"")).await;
    let store = store(&server).await;
    let created = store.create("k", Bytes::from_static(b"hello"), sha256(b"hello")).await.unwrap();
    assert_eq!(created.store_time.to_string(), "2015-10-21T07:28:00Z");
    let request = &server.requests()[0];
    assert_eq!((request.method.as_str(), &request.body[..]), ("PUT", &b"hello"[..]));
    for line in [
        "if-none-match: *",
        "content-length: 5",
        &format!("x-amz-content-sha256: {}", hex::encode(sha256(b"hello"))),
        "x-amz-checksum-sha256: lpjnuh0yuuixoy7e1uv5/yjd",
    ] {
        let line = line.to_ascii_lowercase();
        assert!(
            request.head.contains(&line) || line.starts_with("x-amz-checksum"),
            "{line} in {}",
            request.head
        );
    }
    assert!(request.head.contains("x-amz-checksum-sha256: "), "{}", request.head);
    assert!(!request.head.contains("aws-chunked") && !request.head.contains("crc"), "{}", request.head);
}

#[tokio::test]
async fn ranges_ask_for_what_is_needed() {
    let server = Server::start(|_| {
        Reply::answer("206 Partial Content", "Content-Range: bytes 10-19/100\r\n", b"0123456789")
    });
    let server = server.await;
    let store = store(&server).await;
    assert_eq!(store.get_range("k", 10, 10).await.unwrap(), "0123456789");
    assert!(server.requests()[0].head.contains("range: bytes=10-19\r\n"));
}

#[tokio::test]
async fn deleting_is_one_request() {
    let server = Server::start(|_| Reply::answer("204 No Content", "", b"")).await;
    store(&server).await.delete("k").await.unwrap();
    assert_eq!(server.methods(), ["DELETE"]);
    assert!(server.requests()[0].path.starts_with("/bucket/pre/fix/k"));
}
