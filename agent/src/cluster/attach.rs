//! Running a command in a container with its standard streams at hand. Knows nothing of what is said over them.
//!
//! One WebSocket carries all streams (v5.channel.k8s.io). What goes in and what comes out are two tasks: a command that
//! dies while much is on its way to it leaves a connection into which nothing can be written any more, and its end is
//! only heard by somebody who reads on all the same.

use super::connect::Cluster;
use super::text::{MAX_MESSAGE, clean};
use bytes::Bytes;
use futures::{Sink, SinkExt as _, Stream, StreamExt as _};
use k8s_openapi::api::core::v1::Pod;
use kube::Resource as _;
use kube::api::AttachParams;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_tungstenite::tungstenite::Message;

/// Kept of what is on its way in each direction, bytes.
const BUFFER: usize = 1 << 20;
/// Sent at a time, bytes.
const PART: usize = 32 << 10;
/// Kept of standard error, bytes.
const ERRORS_MAX: usize = 8 << 10;
/// How long a server may take to start the command.
const START: Duration = Duration::from_secs(60);
/// How long the last words of a command may take.
const LAST: Duration = Duration::from_secs(2);
/// How often a connection without traffic is kept open.
const PING: Duration = Duration::from_secs(30);

// The channels of the protocol: k8s.io/apimachinery/pkg/util/remotecommand.
const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const STATUS: u8 = 3;
const CLOSE: u8 = 255;

/// A command that runs in a container; it ends when this is dropped, as far as closing its streams ends it.
pub struct Attached {
    output: Option<DuplexStream>,
    input: Option<DuplexStream>,
    said: Arc<Mutex<Said>>,
    coming: JoinSet<()>,
    _going: JoinSet<()>,
}

/// What there is to know of a command beside its output.
#[derive(Debug, Default)]
struct Said {
    errors: Vec<u8>,
    /// Why it ended, where it did not end well.
    end: String,
}

impl std::fmt::Debug for Attached {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Attached").finish_non_exhaustive()
    }
}

/// A command that could not be started.
#[derive(Debug, thiserror::Error)]
#[error(
    "Cannot run {command} in the pod {namespace}/{pod}: {detail}; check the rights of the kubeconfig (create pods/exec)"
)]
pub struct AttachError {
    command: String,
    namespace: String,
    pod: String,
    detail: String,
}

impl Cluster {
    /// Starts `command` in a pod's only container.
    ///
    /// # Errors
    /// The server refuses, or does not answer within a minute.
    pub async fn attach(
        &self,
        namespace: &str,
        pod: &str,
        command: &[&str],
    ) -> Result<Attached, AttachError> {
        let failed = |detail: &str| AttachError {
            command: command.join(" "),
            namespace: namespace.to_owned(),
            pod: pod.to_owned(),
            detail: clean(detail, MAX_MESSAGE),
        };
        let params = AttachParams::default().stdin(true).stdout(true).stderr(true);
        let request = kube::core::Request::new(Pod::url_path(&(), Some(namespace)));
        let request = request.exec(pod, command.iter().copied(), &params);
        let request = request.map_err(|e| failed(&e.to_string()))?;
        let started = timeout(START, self.long_lived_client().connect(request)).await;
        let started = started.map_err(|_| failed("the API server does not answer"))?;
        let connection = started.map_err(|e| failed(&e.to_string()))?;
        let closes = connection.supports_stream_close();
        let (going, coming) = connection.into_stream().split();
        Ok(Attached::over(going, coming, closes))
    }
}

impl Attached {
    /// `closes`: whether the other side can be told that a single stream has ended.
    fn over<G, C, E>(going: G, coming: C, closes: bool) -> Self
    where
        G: Sink<Message> + Unpin + Send + 'static,
        C: Stream<Item = Result<Message, E>> + Unpin + Send + 'static,
        E: Send + 'static,
    {
        let (output, to_output) = duplex(BUFFER);
        let (input, from_input) = duplex(BUFFER);
        let said = Arc::default();
        let (mut reading, mut writing) = (JoinSet::new(), JoinSet::new());
        reading.spawn(come(coming, to_output, Arc::clone(&said)));
        writing.spawn(go(going, from_input, closes));
        Self { output: Some(output), input: Some(input), said, coming: reading, _going: writing }
    }

    /// What the command prints; once.
    pub fn output(&mut self) -> Option<impl AsyncRead + Unpin + use<>> {
        self.output.take()
    }

    /// What the command reads; once.
    pub fn input(&mut self) -> Option<impl AsyncWrite + Unpin + Send + 'static + use<>> {
        self.input.take()
    }

    /// Ends it, and gives what it wrote to standard error and why it ended, as one line.
    pub async fn end(mut self) -> String {
        drop((self.output.take(), self.input.take()));
        let _goes_on = timeout(LAST, self.coming.join_next()).await;
        let said = lock(&self.said);
        let errors = String::from_utf8_lossy(&said.errors);
        let both = [errors.trim(), said.end.trim()].into_iter().filter(|t| !t.is_empty());
        clean(&both.collect::<Vec<_>>().join("; "), MAX_MESSAGE)
    }
}

fn lock(said: &Mutex<Said>) -> MutexGuard<'_, Said> {
    said.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes in what the other side sends, until the command or the connection ends.
async fn come<C, E>(mut coming: C, mut output: DuplexStream, said: Arc<Mutex<Said>>)
where
    C: Stream<Item = Result<Message, E>> + Unpin,
{
    while let Some(Ok(message)) = coming.next().await {
        let Message::Binary(frame) = message else { continue };
        let Some((channel, content)) = frame.split_first() else { continue };
        match *channel {
            // Nobody wants it any more: but how it ends is heard.
            STDOUT => drop(output.write_all(content).await),
            STDERR => lock(&said).add(content),
            STATUS if !content.is_empty() => {
                lock(&said).end = why(content);
                break;
            }
            _ => {}
        }
    }
    let _nobody_reads = output.shutdown().await;
}

/// Sends what the command is to read, until there is no more of it.
async fn go<G>(mut going: G, mut input: DuplexStream, closes: bool)
where
    G: Sink<Message> + Unpin,
{
    let mut ping = interval(PING);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut part = vec![0; PART + 1];
    part[0] = STDIN;
    loop {
        let message = tokio::select! {
            read = input.read(&mut part[1..]) => match read {
                Ok(n @ 1..) => Message::Binary(Bytes::copy_from_slice(part.get(..=n).unwrap_or_default())),
                _ => break,
            },
            _ = ping.tick() => Message::Ping(Bytes::new()),
        };
        if going.send(message).await.is_err() {
            return;
        }
    }
    let last = if closes { Message::Binary(vec![CLOSE, STDIN].into()) } else { Message::Close(None) };
    let _gone = going.send(last).await;
}

impl Said {
    /// The last of what is written to standard error.
    fn add(&mut self, content: &[u8]) {
        self.errors
            .extend_from_slice(content.get(content.len().saturating_sub(ERRORS_MAX)..).unwrap_or_default());
        let over = self.errors.len().saturating_sub(ERRORS_MAX);
        self.errors.drain(..over);
    }
}

/// What a `Status` says; nothing where the command ended well.
fn why(status: &[u8]) -> String {
    let status: serde_json::Value = serde_json::from_slice(status).unwrap_or_default();
    if status["status"] == "Success" {
        return String::new();
    }
    clean(status["message"].as_str().unwrap_or("it failed"), MAX_MESSAGE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio_tungstenite::WebSocketStream;
    use tokio_tungstenite::tungstenite::protocol::Role;

    /// What runs on the other side of a connection that holds so many bytes.
    async fn pair(bytes: usize) -> (Attached, WebSocketStream<DuplexStream>) {
        let (here, there) = duplex(bytes);
        let here = WebSocketStream::from_raw_socket(here, Role::Client, None).await;
        let (going, coming) = here.split();
        let there = WebSocketStream::from_raw_socket(there, Role::Server, None).await;
        (Attached::over(going, coming, true), there)
    }

    fn frame(channel: u8, content: &str) -> Message {
        Message::Binary([&[channel], content.as_bytes()].concat().into())
    }

    const KILLED: &str = r#"{"status":"Failure","message":"command terminated with exit code 137"}"#;

    #[tokio::test]
    async fn a_command_that_reads_no_more_is_heard_to_end() {
        let (mut attached, mut server) = pair(4096).await;
        let (mut output, mut input) = (attached.output().unwrap(), attached.input().unwrap());
        // More than the connection and all buffers hold, and nobody takes it off.
        let stuffing = tokio::spawn(async move { input.write_all(&vec![7; 4 << 20]).await });
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(!stuffing.is_finished());
        server.send(frame(STDOUT, "out")).await.unwrap();
        server.send(frame(STDERR, "err")).await.unwrap();
        server.send(frame(STATUS, KILLED)).await.unwrap();
        let mut said = String::new();
        timeout(Duration::from_secs(5), output.read_to_string(&mut said)).await.unwrap().unwrap();
        assert_eq!(said, "out");
        assert_eq!(attached.end().await, "err; command terminated with exit code 137");
        assert!(stuffing.await.unwrap().is_err(), "who writes is told");
    }

    #[tokio::test]
    async fn streams_arrive_whole_and_end_by_themselves() {
        let (mut attached, mut server) = pair(1 << 16).await;
        let mut input = attached.input().unwrap();
        let echo = tokio::spawn(async move {
            let mut got = Vec::new();
            while let Some(Ok(message)) = server.next().await {
                match message {
                    Message::Binary(frame) if frame[..] == [CLOSE, STDIN] => break,
                    Message::Binary(frame) => got.extend_from_slice(&frame[1..]),
                    _ => {}
                }
            }
            server.send(frame(STATUS, r#"{"status":"Success"}"#)).await.unwrap();
            got
        });
        let content: Vec<u8> = (0..300_000_u32).map(|n| n.to_le_bytes()[1]).collect();
        input.write_all(&content).await.unwrap();
        drop(input);
        assert!(echo.await.unwrap() == content);
        assert_eq!(attached.end().await, "");
    }

    #[test]
    fn only_the_end_of_standard_error_is_kept() {
        let mut said = Said::default();
        said.add(b"first");
        said.add(&vec![b'x'; ERRORS_MAX * 3]);
        said.add(b"last");
        assert!(said.errors.len() == ERRORS_MAX && said.errors.ends_with(b"xlast"));
    }
}
