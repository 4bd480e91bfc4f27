//! The writer against a scripted server: answers that are lost, late, throttled or refused.

use super::*;
use std::collections::VecDeque;
use std::sync::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What the server does with one request.
enum Act {
    /// Takes the request and hangs up.
    HangUp,
    Answer(u16, &'static str, &'static str),
}

/// A server that acts by a script, hangs up when it is at its end, and notes each request.
struct Server {
    writer: Writer,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn new(script: impl IntoIterator<Item = Act>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen: Arc<Mutex<Vec<String>>> = Arc::default();
        let notes = seen.clone();
        let mut script: VecDeque<Act> = script.into_iter().collect();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let act = script.pop_front().unwrap_or(Act::HangUp);
                serve(stream, act, &notes).await;
            }
        });
        let mut config = kube::Config::new(format!("http://{address}").parse().unwrap());
        config.default_retry = false;
        let limits = Limits {
            request: Duration::from_secs(2),
            away: Duration::from_millis(400),
            refused: Duration::from_millis(200),
            ..Limits::default()
        };
        let writer = Writer::new(kube::Client::try_from(config).unwrap(), "lifeboat-restore-x", limits);
        Self { writer, seen }
    }

    async fn create(&self) -> Result<Created, WriteError> {
        let path = KindPath {
            group: String::new(),
            version: "v1".into(),
            plural: "configmaps".into(),
            namespaced: true,
        };
        self.writer.create(&path, Some("a"), "b", Bytes::from_static(b"{}")).await
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

async fn serve(mut stream: TcpStream, act: Act, notes: &Mutex<Vec<String>>) {
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    while !request.windows(4).any(|w| w == b"\r\n\r\n") {
        match stream.read(&mut buffer).await {
            Ok(read) if read > 0 => request.extend_from_slice(&buffer[..read]),
            _ => return,
        }
    }
    let line = String::from_utf8_lossy(&request).lines().next().unwrap_or_default().to_owned();
    notes.lock().unwrap().push(line);
    if let Act::Answer(code, headers, body) = act {
        let answer = format!(
            "HTTP/1.1 {code} X\r\nConnection: close\r\n{headers}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let _ = stream.write_all(answer.as_bytes()).await;
    }
}

const TAKEN: Act = Act::Answer(409, "", r#"{"reason":"AlreadyExists"}"#);
const MADE: Act = Act::Answer(201, "", r#"{"metadata":{"uid":"u","resourceVersion":"1"}}"#);

#[tokio::test]
async fn a_lost_answer_is_settled_by_the_field_manager() {
    let ours = r#"{"metadata":{"uid":"u","resourceVersion":"1","managedFields":[{"manager":"lifeboat-restore-x"}]}}"#;
    let server = Server::new([Act::HangUp, TAKEN, Act::Answer(200, "", ours)]).await;
    assert!(matches!(server.create().await.unwrap(), Created::Made(live) if live.uid == "u"));
    let seen = server.seen();
    assert!(seen[0].starts_with("POST /api/v1/namespaces/a/configmaps?fieldManager=lifeboat-restore-x "));
    assert!(seen[1].starts_with("POST ") && seen[2].starts_with("GET /api/v1/namespaces/a/configmaps/b "));
}

#[tokio::test]
async fn what_others_made_is_left_alone() {
    let theirs = r#"{"metadata":{"uid":"u","resourceVersion":"1","managedFields":[{"manager":"kubectl"}]}}"#;
    let server = Server::new([TAKEN, Act::Answer(200, "", theirs)]).await;
    assert!(matches!(server.create().await.unwrap(), Created::Exists(found) if found.live.uid == "u"));
    assert!(server.seen().iter().skip(1).all(|request| request.starts_with("GET ")));
}

#[tokio::test]
async fn throttling_is_waited_out() {
    let slow = || Act::Answer(429, "Retry-After: 0\r\n", "Too many requests");
    let server = Server::new([slow(), Act::Answer(503, "", ""), MADE]).await;
    assert!(matches!(server.create().await.unwrap(), Created::Made(_)));
    assert_eq!(server.seen().len(), 3);
}

#[tokio::test]
async fn a_refusal_carries_the_servers_words() {
    let invalid = Act::Answer(422, "", r#"{"message":"spec: Required value","reason":"Invalid"}"#);
    let server = Server::new([invalid]).await;
    let Created::Refused(refusal) = server.create().await.unwrap() else { panic!() };
    assert_eq!(refusal.to_string(), "spec: Required value (422 Invalid)");
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn a_server_that_stays_away_ends_it_and_says_how_to_go_on() {
    let server = Server::new([]).await;
    let error = server.create().await.unwrap_err();
    assert!(error.to_string().contains("run the same command again"), "{error}");
    assert!(server.seen().len() > 1);
}

#[tokio::test]
async fn a_dead_webhook_does_not_cost_every_object_the_whole_time() {
    let script = (0..200).map(|_| Act::Answer(500, "", r#"{"message":"failed calling webhook"}"#));
    let server = Server::new(script).await;
    let mut tries = Vec::new();
    for _ in 0..4 {
        let before = server.seen().len();
        assert!(matches!(server.create().await.unwrap(), Created::Refused(_)));
        tries.push(server.seen().len() - before);
    }
    assert!(tries[3] <= tries[0], "{tries:?}");
}

#[tokio::test]
async fn a_credential_that_is_not_accepted_ends_it() {
    let server = Server::new([Act::Answer(401, "", r#"{"message":"Unauthorized"}"#)]).await;
    assert!(matches!(server.create().await, Err(WriteError::Unauthorized { .. })));
}

#[tokio::test]
async fn an_endless_answer_is_cut_off() {
    let mut server = Server::new([Act::Answer(201, "", "{\"metadata\":{\"uid\":\"u\"}}")]).await;
    server.writer.limits.answer_bytes = 4;
    assert!(matches!(server.create().await, Err(WriteError::Away { .. })));
}

fn pods() -> KindPath {
    KindPath { group: String::new(), version: "v1".into(), plural: "pods".into(), namespaced: true }
}

#[test]
fn urls_are_built_and_hostile_names_refused() {
    assert_eq!(pods().object(Some("a"), "b").unwrap(), "/api/v1/namespaces/a/pods/b");
    for name in ["", ".", "..", "a/b", "a%2fb"] {
        assert_eq!(pods().object(Some("a"), name), None, "{name:?}");
    }
    for namespace in ["", "..", "a/b", "a?b", "a#b", "ä"] {
        assert_eq!(pods().collection(Some(namespace)), None, "{namespace:?}");
    }
    assert_eq!(pods().collection(None), None);
    let roles = KindPath {
        group: "rbac.authorization.k8s.io".into(),
        version: "v1".into(),
        plural: "clusterroles".into(),
        namespaced: false,
    };
    assert_eq!(
        roles.object(None, "system:a b?").unwrap(),
        "/apis/rbac.authorization.k8s.io/v1/clusterroles/system:a%20b%3F"
    );
}
