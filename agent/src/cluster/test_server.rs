//! A scripted API server for tests: a function from request path to answer, over real HTTP on loopback.

use super::connect::{Cluster, ConnectOptions};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What to answer.
pub(crate) enum Answer {
    Json(u16, String),
    /// With one header more.
    With(u16, &'static str, String),
    /// Accept the request and say nothing.
    Stall,
    /// Close the connection in the middle of the body.
    Cut,
}

pub(crate) fn ok(body: &str) -> Answer {
    Answer::Json(200, body.to_owned())
}

pub(crate) struct TestServer {
    pub(crate) cluster: Cluster,
    seen: Arc<Mutex<Vec<String>>>,
    _folder: tempfile::TempDir,
}

impl TestServer {
    /// The requests so far, method and path, without those for the version.
    pub(crate) fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }

    pub(crate) fn count(&self, part: &str) -> usize {
        self.seen().iter().filter(|path| path.contains(part)).count()
    }
}

pub(crate) fn quick() -> ConnectOptions {
    ConnectOptions {
        read_timeout: Duration::from_millis(300),
        retry_budget: Duration::from_secs(2),
        ..ConnectOptions::default()
    }
}

type Script = Arc<Mutex<dyn FnMut(&str) -> Answer + Send>>;

/// Starts a server that answers with `script`, and connects to it.
pub(crate) async fn serve(
    options: ConnectOptions,
    script: impl FnMut(&str) -> Answer + Send + 'static,
) -> TestServer {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let script: Script = Arc::new(Mutex::new(script));
    let log = seen.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(connection(stream, script.clone(), log.clone()));
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kubeconfig");
    let text = format!(
        "apiVersion: v1\nkind: Config\nclusters: [{{name: c, cluster: {{server: \"http://127.0.0.1:{port}\"}}}}]\n\
         users: [{{name: u, user: {{token: hunter2}}}}]\ncontexts: [{{name: c, context: {{cluster: c, user: u}}}}]\n\
         current-context: c\n"
    );
    std::fs::write(&path, text).unwrap();
    let cluster = Cluster::connect(Some(&path), None, options).await.unwrap();
    TestServer { cluster, seen, _folder: folder }
}

async fn connection(mut stream: TcpStream, script: Script, seen: Arc<Mutex<Vec<String>>>) -> Option<()> {
    let mut buffer = Vec::new();
    loop {
        let head = loop {
            if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break String::from_utf8(buffer.drain(..end + 4).collect()).ok()?;
            }
            if stream.read_buf(&mut buffer).await.ok()? == 0 {
                return None;
            }
        };
        let mut words = head.split(' ');
        let (method, path) = (words.next()?, words.next()?);
        let length = head
            .lines()
            .find_map(|l| l.to_lowercase().strip_prefix("content-length: ")?.parse::<usize>().ok());
        while buffer.len() < length.unwrap_or(0) {
            stream.read_buf(&mut buffer).await.ok()?;
        }
        buffer.drain(..length.unwrap_or(0));
        let answer = if path == "/version" {
            ok(r#"{"gitVersion":"v1.34.4"}"#)
        } else {
            seen.lock().ok()?.push(format!("{method} {path}"));
            (script.lock().ok()?)(path)
        };
        let (code, header, body) = match answer {
            Answer::Json(code, body) => (code, "X-A: b", body),
            Answer::With(code, header, body) => (code, header, body),
            Answer::Stall => {
                tokio::time::sleep(Duration::from_secs(60)).await;
                return None;
            }
            Answer::Cut => {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{").await.ok()?;
                return None;
            }
        };
        let head = format!(
            "HTTP/1.1 {code} X\r\n{header}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        // In one write, or delayed acknowledgements cost 40 ms a request. A client that has had enough closes.
        stream.write_all((head + &body).as_bytes()).await.ok()?;
    }
}
