//! Servers that refuse, stall, cut short, never end, or lie.

use super::server::{Reply, Server};
use super::{BRISK, discreet, options, store};
use crate::store::s3::S3Store;
use crate::store::{ReadStore, StoreError, StoreErrorKind};
use futures::TryStreamExt;
use std::time::{Duration, Instant};

const WRITTEN: &str = "Last-Modified: Wed, 21 Oct 2015 07:27:00 GMT\r\n";

fn head(length: usize) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\n{WRITTEN}Content-Length: {length}\r\n\r\n").into_bytes()
}

async fn get_from(reply: Reply) -> StoreError {
    let server = Server::start(move |_| reply.clone()).await;
    let start = Instant::now();
    let error = store(&server).await.get("k", 1 << 20).await.unwrap_err();
    assert!(start.elapsed() < Duration::from_secs(10), "time-outs fire");
    discreet(&error);
    error
}

async fn list_from(body: &str) -> Result<usize, StoreError> {
    let reply = Reply::answer("200 OK", "Content-Type: application/xml\r\n", body.as_bytes());
    let server = Server::start(move |_| reply.clone()).await;
    let page = store(&server).await.list("packs/", Some("packs/b"), 3).await;
    page.map(|page| page.entries.len())
}

fn page(keys: &[&str], truncated: bool) -> String {
    let contents: String = keys
        .iter()
        .map(|key| format!("<Contents><Key>{key}</Key><Size>1</Size><LastModified>2015-10-21T07:28:00.000Z</LastModified></Contents>"))
        .collect();
    format!(
        "<?xml version=\"1.0\"?><ListBucketResult><IsTruncated>{truncated}</IsTruncated>{contents}</ListBucketResult>"
    )
}

#[tokio::test]
async fn a_server_that_is_gone_names_the_endpoint() {
    let port = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap().port()
    };
    let endpoint = format!("http://127.0.0.1:{port}");
    let (_file, options) = options(&endpoint);
    let store = S3Store::connect("bucket", "", &options, BRISK).await.unwrap();
    let error = store.head("k").await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Unavailable);
    assert!(error.detail.contains(&endpoint) && error.detail.contains("refused"), "{error}");
    discreet(&error);
}

#[tokio::test]
async fn silence_runs_into_a_time_out() {
    for reply in
        [Reply::Stall(Vec::new()), Reply::Stall(b"HTTP/1.1 200 OK\r\n".to_vec()), Reply::Stall(head(100))]
    {
        let error = get_from(reply).await;
        assert_eq!(error.kind, StoreErrorKind::Unavailable, "{error}");
    }
}

#[tokio::test]
async fn a_short_body_is_not_taken_for_damage() {
    let short = [head(100), vec![7; 60]].concat();
    let error = get_from(Reply::Raw(short.clone())).await;
    assert_eq!(error.kind, StoreErrorKind::Unavailable);
    assert!(error.detail.contains("60 of 100"), "{error}");
    let server = Server::start(move |_| Reply::Raw(short.clone())).await;
    let (entry, body) = store(&server).await.get_stream("k").await.unwrap();
    assert_eq!(entry.size, 100);
    assert_eq!(body.try_collect::<Vec<_>>().await.unwrap_err().kind, StoreErrorKind::Unavailable);
}

#[tokio::test]
async fn bodies_without_end_are_bounded() {
    let large = get_from(Reply::Endless(head(1 << 30), vec![7; 1 << 16])).await;
    assert_eq!(large.kind, StoreErrorKind::TooLarge);
    let open = format!("HTTP/1.1 200 OK\r\n{WRITTEN}Connection: close\r\n\r\n").into_bytes();
    let endless = get_from(Reply::Endless(open, vec![7; 1 << 16])).await;
    assert_eq!(endless.kind, StoreErrorKind::Protocol, "{endless}");
}

#[tokio::test]
async fn answers_in_memory_are_bounded() {
    for status in ["200 OK", "500 Oops"] {
        let start = format!(
            "HTTP/1.1 {status}\r\nConnection: close\r\n\r\n<?xml version=\"1.0\"?><ListBucketResult>"
        );
        let reply = Reply::Endless(start.into_bytes(), b"<a></a>".repeat(10_000));
        let server = Server::start(move |_| reply.clone()).await;
        let error = store(&server).await.list("", None, 10).await.unwrap_err();
        assert!(matches!(error.kind, StoreErrorKind::Protocol | StoreErrorKind::Unavailable), "{error}");
    }
}

#[tokio::test]
async fn refusals_say_what_to_do() {
    let denied = get_from(Reply::error("403 Forbidden", "AccessDenied")).await;
    assert_eq!(denied.kind, StoreErrorKind::Denied);
    assert!(
        denied.detail.contains("s3:GetObject") && denied.detail.contains("the credential in "),
        "{denied}"
    );
    let busy = get_from(Reply::error("503 Slow Down\r\nRetry-After: 3", "SlowDown")).await;
    assert_eq!((busy.kind, busy.retry_after), (StoreErrorKind::Throttled, Some(Duration::from_secs(3))));
    let bucket = get_from(Reply::error("404 Not Found", "NoSuchBucket")).await;
    assert_eq!(bucket.kind, StoreErrorKind::NotFound);
    assert!(bucket.detail.contains("create the bucket"), "{bucket}");
    let broken =
        get_from(Reply::answer("502 Bad Gateway", "Content-Type: text/html\r\n", b"<html>no</html>")).await;
    assert_eq!(broken.kind, StoreErrorKind::Unavailable, "{broken}");
}

#[tokio::test]
async fn what_is_no_s3_is_a_protocol_error() {
    for body in ["", "<html><body>Welcome</body></html>", "{\"json\": true}", "<ListBucketResult><Contents>"]
    {
        let answer = list_from(body).await;
        assert!(
            answer.as_ref().is_err_and(|error| error.kind == StoreErrorKind::Protocol),
            "{body}: {answer:?}"
        );
    }
}

#[tokio::test]
async fn listings_that_lie_are_noticed() {
    let good = list_from(&page(&["pre/fix/packs/c", "pre/fix/packs/d"], false)).await;
    assert_eq!(good.unwrap(), 2);
    for (keys, truncated) in [
        (&["pre/fix/packs/a"][..], false),                // before the start
        (&["pre/fix/packs/b"], false),                    // the start itself
        (&["pre/fix/packs/d", "pre/fix/packs/c"], false), // out of order
        (&["pre/fix/packs/c", "pre/fix/packs/c"], false), // twice
        (&["pre/fix/quilts/c"], false),                   // another folder
        (&["packs/c"], false),                            // outside the prefix
        (&["pre/fix/packs/c", "pre/fix/packs/d", "pre/fix/packs/e", "pre/fix/packs/f"], false), // too many
        (&[], true),                                      // for ever
        (&["pre/fix/packs/c//d"], true),                  // nothing usable, for ever
    ] {
        let answer = list_from(&page(keys, truncated)).await;
        assert!(
            answer.as_ref().is_err_and(|error| error.kind == StoreErrorKind::Protocol),
            "{keys:?}: {answer:?}"
        );
    }
}

#[tokio::test]
async fn ranges_that_lie_are_noticed() {
    for (headers, body) in [
        ("Content-Range: bytes 0-9/100\r\n", &b"0123456789"[..]),
        ("Content-Range: bytes 10-14/100\r\n", b"01234"),
        ("", b"0123456789"),
    ] {
        let reply = Reply::answer("206 Partial Content", headers, body);
        let server = Server::start(move |_| reply.clone()).await;
        let error = store(&server).await.get_range("k", 10, 10).await.unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::Protocol, "{headers}");
    }
    let server = Server::start(|_| Reply::error("416 Range Not Satisfiable", "InvalidRange")).await;
    assert!(store(&server).await.get_range("k", 10, 10).await.unwrap().is_empty());
}

/// A chain of providers none of which has a credential, or the last of which did not answer.
#[tokio::test]
async fn no_credential_is_told_from_one_that_cannot_be_had() {
    use crate::store::s3::answer::NO_CREDENTIAL;
    use crate::store::s3::judge::judge;
    use aws_credential_types::provider::error::CredentialsError;
    use aws_sdk_s3::error::SdkError;
    use aws_sdk_s3::operation::head_object::HeadObjectError;
    let judged =
        |error: CredentialsError| judge(&SdkError::<HeadObjectError, _>::construction_failure(error));
    let none = judged(CredentialsError::not_loaded("tried everything"));
    assert_eq!((none.kind, none.detail.as_str()), (StoreErrorKind::Denied, NO_CREDENTIAL));
    assert!(none.next("get", "x", "y").contains("credentials_file"));
    let silent = judged(CredentialsError::provider_timed_out(Duration::from_secs(5)));
    assert_eq!((silent.kind, silent.unclear), (StoreErrorKind::Unavailable, false));
}
