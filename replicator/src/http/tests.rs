//! The server as a whole: what each path answers, before there is anything to read and when somebody misbehaves.

use super::*;
use lifeboat_common::clock::SystemClock;
use std::future::IntoFuture as _;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

async fn started(lifetime: Duration) -> (SocketAddr, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let shown = Shown::new(dir.path().join("replicator.toml"), Arc::new(SystemClock));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(axum::serve(Bounded::new(listener, lifetime), app(shown)).into_future());
    (address, dir)
}

async fn ask(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
}

#[tokio::test]
async fn what_cannot_be_read_is_said_and_never_taken_for_well() {
    let (address, _dir) = started(LIFETIME).await;
    assert!(ask(address, &get("/healthz")).await.starts_with("HTTP/1.1 200 "));
    let ready = ask(address, &get("/readyz")).await;
    assert!(ready.starts_with("HTTP/1.1 503 ") && ready.contains("Cannot read "), "{ready}");
    let page = ask(address, &get("/")).await;
    assert!(page.starts_with("HTTP/1.1 503 ") && page.contains("cannot be read</h1>"), "{page}");
    for header in [
        "content-security-policy: default-src 'none'",
        "x-content-type-options: nosniff",
        "cache-control: no-store",
    ] {
        assert!(page.contains(header), "{page}");
    }
    assert!(ask(address, &get("/metrics")).await.contains("\nlifeboat_replicator_readable 0\n"));
    assert!(ask(address, &get("/etc/passwd")).await.starts_with("HTTP/1.1 404 "));
    let post = "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc";
    assert!(ask(address, post).await.starts_with("HTTP/1.1 405 "));
}

#[tokio::test]
async fn those_who_say_nothing_are_let_go() {
    let lifetime = Duration::from_millis(300);
    let (address, _dir) = started(lifetime).await;
    let begin = Instant::now();
    let mut silent = Vec::new();
    for _ in 0..100 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /healthz HT").await.unwrap();
        silent.push(stream);
    }
    // More than there are places: it is their turn once the silent ones are gone.
    assert!(ask(address, &get("/healthz")).await.starts_with("HTTP/1.1 200 "));
    assert!(begin.elapsed() >= lifetime, "{:?}", begin.elapsed());
}
