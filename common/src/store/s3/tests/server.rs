//! A tiny HTTP server on loopback that answers as it is told.

use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// One request as it came in.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) head: String,
    pub(super) body: Vec<u8>,
}

/// What to do with it.
#[derive(Debug, Clone)]
pub(super) enum Reply {
    /// These bytes, then the connection is closed.
    Raw(Vec<u8>),
    /// These bytes, then nothing more, without closing.
    Stall(Vec<u8>),
    /// These bytes, then the same piece for ever.
    Endless(Vec<u8>, Vec<u8>),
    /// The connection is closed at once.
    Hangup,
    /// The body of the request is not read, and nothing is said.
    Deaf,
}

impl Reply {
    /// A whole answer; `Date` and `Content-Length` are added.
    pub(super) fn answer(status: &str, headers: &str, body: &[u8]) -> Self {
        let head = format!(
            "HTTP/1.1 {status}\r\nDate: Wed, 21 Oct 2015 07:28:00 GMT\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        Self::Raw([head.as_bytes(), body].concat())
    }

    /// An error of S3's kind.
    pub(super) fn error(status: &str, code: &str) -> Self {
        let body =
            format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>As told</Message></Error>");
        Self::answer(status, "Content-Type: application/xml\r\n", body.as_bytes())
    }
}

#[derive(Debug)]
pub(super) struct Server {
    port: u16,
    requests: Arc<Mutex<Vec<Request>>>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    pub(super) async fn start(reply: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (seen, reply) = (Arc::clone(&requests), Arc::new(reply));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&seen), Arc::clone(&reply)));
            }
        });
        Self { port, requests, task }
    }

    pub(super) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(super) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    pub(super) fn methods(&self) -> Vec<String> {
        self.requests().into_iter().map(|request| request.method).collect()
    }
}

async fn serve<F: Fn(&Request) -> Reply>(
    mut stream: TcpStream,
    seen: Arc<Mutex<Vec<Request>>>,
    reply: Arc<F>,
) {
    let Some(mut request) = read(&mut stream).await else { return };
    let answer = reply(&request);
    if !matches!(answer, Reply::Deaf) && read_body(&mut stream, &mut request).await.is_none() {
        return;
    }
    seen.lock().unwrap().push(request);
    match answer {
        Reply::Hangup => {}
        Reply::Deaf => tokio::time::sleep(Duration::from_secs(60)).await,
        Reply::Raw(bytes) => {
            let _ = stream.write_all(&bytes).await;
            let _ = stream.shutdown().await;
        }
        Reply::Stall(bytes) => {
            let _ = stream.write_all(&bytes).await;
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
        Reply::Endless(start, piece) => {
            let _ = stream.write_all(&start).await;
            while stream.write_all(&piece).await.is_ok() {}
        }
    }
}

async fn read(stream: &mut TcpStream) -> Option<Request> {
    let mut bytes = Vec::new();
    let end = loop {
        let mut buffer = [0; 4096];
        let read = stream.read(&mut buffer).await.ok().filter(|read| *read > 0)?;
        bytes.extend_from_slice(&buffer[..read]);
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
    let first = String::from_utf8_lossy(&bytes[..end]).lines().next()?.to_owned();
    let body = bytes.split_off(end);
    let mut words = first.split(' ');
    Some(Request { method: words.next()?.to_owned(), path: words.next()?.to_owned(), head, body })
}

async fn read_body(stream: &mut TcpStream, request: &mut Request) -> Option<()> {
    let length = request.head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    while request.body.len() < length.unwrap_or(0) {
        let mut buffer = vec![0; 65536];
        let read = stream.read(&mut buffer).await.ok().filter(|read| *read > 0)?;
        request.body.extend_from_slice(&buffer[..read]);
    }
    Some(())
}
