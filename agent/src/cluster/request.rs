//! One call to the API server: bounded in bytes and in time, repeated only if it reads, with typed errors.
//! Knows nothing of what the bytes mean, apart from a Status.

use super::connect::Cluster;
use super::error::ClusterError;
use super::retry::{spread, wait_before_retry};
use super::text::{MAX_MESSAGE, clean};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use kube::client::Body;
use std::time::Duration;

/// The largest answer that is read where the caller sets no bound of its own.
pub(super) const MAX_ANSWER: usize = 64 << 20;
/// How much of an answer that reports an error is read.
const MAX_ERROR: usize = 256 << 10;
/// How long a server may take to say that it is there.
const PROBE: Duration = Duration::from_secs(10);
/// The longest continue token that is taken.
const MAX_TOKEN: usize = 16 << 10;

impl Cluster {
    /// Sends a request and returns the body of a 2xx answer. GETs are repeated on 429, 5xx and lost
    /// connections, within the connection's budget; everything else is sent once.
    ///
    /// # Errors
    /// What the server answered, typed, or why it did not.
    pub async fn request_bytes(&self, request: http::Request<Vec<u8>>) -> Result<Bytes, ClusterError> {
        self.request_bounded(request, MAX_ANSWER).await
    }

    /// As [`Self::request_bytes`], for answers of at most `max_bytes`.
    ///
    /// # Errors
    /// As above, and `TooLarge`.
    pub async fn request_bounded(
        &self,
        request: http::Request<Vec<u8>>,
        max_bytes: usize,
    ) -> Result<Bytes, ClusterError> {
        self.request_within(request, max_bytes, self.options().retry_budget).await
    }

    /// GETs a path, query included.
    ///
    /// # Errors
    /// As [`Self::request_bytes`].
    pub async fn get(&self, path: &str) -> Result<Bytes, ClusterError> {
        self.get_within(path, self.options().retry_budget).await
    }

    /// Whether the server itself answers now, as opposed to one kind's extension server.
    pub(super) async fn alive(&self) -> bool {
        let probe = self.get_within("/version", Duration::ZERO);
        tokio::time::timeout(PROBE, probe).await.is_ok_and(|answer| answer.is_ok())
    }

    pub(super) async fn get_within(&self, path: &str, budget: Duration) -> Result<Bytes, ClusterError> {
        self.request_within(self.get_request(path, "application/json")?, MAX_ANSWER, budget).await
    }

    /// A GET request, to be sent by [`Self::request_bounded`].
    pub(super) fn get_request(
        &self,
        path: &str,
        accept: &str,
    ) -> Result<http::Request<Vec<u8>>, ClusterError> {
        http::Request::get(path)
            .header(http::header::ACCEPT, accept)
            .body(Vec::new())
            .map_err(|error| self.malformed("a request", &error.to_string()))
    }

    async fn request_within(
        &self,
        request: http::Request<Vec<u8>>,
        max_bytes: usize,
        budget: Duration,
    ) -> Result<Bytes, ClusterError> {
        let started = tokio::time::Instant::now();
        let reads = matches!(*request.method(), http::Method::GET | http::Method::HEAD);
        let mut tries = 0;
        loop {
            tries += 1;
            let error = match self.attempt(request.clone(), max_bytes).await {
                Ok(body) => return Ok(body),
                Err(error) => error,
            };
            let wait = if reads { wait_before_retry(&error, tries, started.elapsed(), budget) } else { None };
            let Some(wait) = wait else { return Err(error) };
            tracing::debug!(
                reason = error.reason(),
                tries,
                ?wait,
                "waiting before asking the API server again"
            );
            tokio::time::sleep(spread(wait, rand::random())).await;
        }
    }

    async fn attempt(
        &self,
        request: http::Request<Vec<u8>>,
        max_bytes: usize,
    ) -> Result<Bytes, ClusterError> {
        let what = format!("{} {}", request.method(), request.uri().path());
        let after = self.options().attempt_timeout;
        match tokio::time::timeout(after, self.send(&what, request, max_bytes)).await {
            Ok(result) => result,
            Err(_) => Err(ClusterError::TimedOut { what, server: self.server().to_owned(), after }),
        }
    }

    async fn send(
        &self,
        what: &str,
        request: http::Request<Vec<u8>>,
        max: usize,
    ) -> Result<Bytes, ClusterError> {
        let response = self
            .client()
            .send(request.map(Body::from))
            .await
            .map_err(|error| self.sort_silence(from_kube(what, self.server(), self.origin(), &error)))?;
        let (parts, body) = response.into_parts();
        if parts.status.is_success() {
            return self.collect(what, body, max).await;
        }
        // The status counts even if the text that explains it is cut off.
        let text = self.collect(what, body, MAX_ERROR).await.unwrap_or_default();
        Err(parse_status(what, self.server(), parts.status, &parts.headers, &text))
    }

    async fn collect(&self, what: &str, mut body: Body, max: usize) -> Result<Bytes, ClusterError> {
        let mut whole = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| {
                self.sort_silence(from_source(what, self.server(), self.origin(), &error))
            })?;
            let Ok(data) = frame.into_data() else { continue };
            if whole.len() + data.len() > max {
                return Err(ClusterError::TooLarge {
                    what: what.to_owned(),
                    server: self.server().to_owned(),
                    limit: max,
                });
            }
            whole.extend_from_slice(&data);
        }
        Ok(whole.freeze())
    }

    /// The read timeout does not know how long it was set to.
    fn sort_silence(&self, error: ClusterError) -> ClusterError {
        match error {
            ClusterError::TimedOut { what, server, .. } => {
                ClusterError::TimedOut { what, server, after: self.options().read_timeout }
            }
            other => other,
        }
    }
}

#[derive(serde::Deserialize, Default)]
struct RawStatus {
    #[serde(default)]
    kind: String,
    #[serde(default)]
    reason: Option<String>,
    #[serde(default)]
    message: Option<String>,
    #[serde(default)]
    metadata: Option<RawStatusMeta>,
    #[serde(default)]
    details: Option<RawStatusDetails>,
}

#[derive(serde::Deserialize)]
struct RawStatusMeta {
    #[serde(rename = "continue")]
    continue_token: Option<String>,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawStatusDetails {
    retry_after_seconds: Option<u64>,
}

/// An answer that is no success, typed.
fn parse_status(
    what: &str,
    server: &str,
    code: http::StatusCode,
    headers: &http::HeaderMap,
    body: &[u8],
) -> ClusterError {
    let status: RawStatus = serde_json::from_slice(body).unwrap_or_default();
    let from_kubernetes = status.kind == "Status";
    let word = status
        .reason
        .filter(|r| !r.is_empty() && r.len() <= 64 && r.bytes().all(|b| b.is_ascii_alphanumeric()));
    let message = match status.message {
        Some(message) if from_kubernetes => message,
        _ => String::from_utf8_lossy(&body[..body.len().min(4 * MAX_MESSAGE)]).into_owned(),
    };
    let header =
        headers.get(http::header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    let seconds: Option<u64> = header.or(status.details.and_then(|details| details.retry_after_seconds));
    ClusterError::Status {
        what: what.into(),
        server: server.to_owned(),
        code: code.as_u16(),
        reason: word.as_deref().unwrap_or_else(|| default_reason(code.as_u16())).into(),
        message: clean(&message, MAX_MESSAGE).trim().to_owned(),
        retry_after: seconds.filter(|seconds| *seconds > 0).map(Duration::from_secs),
        continue_token: status
            .metadata
            .and_then(|metadata| metadata.continue_token)
            .filter(|token| !token.is_empty() && token.len() <= MAX_TOKEN)
            .map(String::into_boxed_str),
        from_kubernetes,
    }
}

fn default_reason(code: u16) -> &'static str {
    match code {
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "NotFound",
        406 => "NotAcceptable",
        409 => "Conflict",
        410 => "Expired",
        429 => "TooManyRequests",
        500 => "InternalError",
        503 => "ServiceUnavailable",
        504 => "Timeout",
        _ => "Unknown",
    }
}

/// A failure of the client, typed. Never shows what a credential plugin printed.
pub(super) fn from_kube(what: &str, server: &str, origin: &str, error: &kube::Error) -> ClusterError {
    use kube::client::AuthError;
    if let kube::Error::Auth(auth) = error {
        let cause = match auth {
            AuthError::AuthExecRun { cmd, out } => {
                let program = cmd.split_whitespace().next().unwrap_or_default().trim_matches('"');
                format!("the credential plugin {program} failed with {}", out.status)
            }
            AuthError::AuthExecParse(_) => "the credential plugin's answer cannot be read".to_owned(),
            other => other.to_string(),
        };
        let cause = clean(&cause, MAX_MESSAGE);
        return ClusterError::Credentials { server: server.to_owned(), origin: origin.to_owned(), cause };
    }
    from_source(what, server, origin, error)
}

/// An error with its causes, which some hide from `Display`, fit for a log.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    clean(&text, MAX_MESSAGE)
}

/// Finds the cause at the bottom of a chain of errors.
fn from_source(
    what: &str,
    server: &str,
    origin: &str,
    error: &(dyn std::error::Error + 'static),
) -> ClusterError {
    let (what, server, origin) = (what.to_owned(), server.to_owned(), origin.to_owned());
    let mut cause = error.to_string();
    let mut next = Some(error);
    while let Some(error) = next {
        let io = error.downcast_ref::<std::io::Error>();
        if io.is_some_and(|io| io.kind() == std::io::ErrorKind::TimedOut) {
            return ClusterError::TimedOut { what, server, after: Duration::ZERO };
        }
        let inner = io.and_then(std::io::Error::get_ref);
        let tls = error.downcast_ref::<rustls::Error>().or_else(|| inner?.downcast_ref::<rustls::Error>());
        if let Some(tls) = tls {
            return ClusterError::Tls { what, server, origin, cause: clean(&tls.to_string(), MAX_MESSAGE) };
        }
        cause = error.to_string();
        next = error.source();
    }
    ClusterError::Unreachable { what, server, origin, cause: clean(&cause, MAX_MESSAGE) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(code: u16, body: &str, retry_after: Option<&str>) -> ClusterError {
        let mut headers = http::HeaderMap::new();
        if let Some(value) = retry_after {
            headers.insert(http::header::RETRY_AFTER, value.parse().unwrap());
        }
        parse_status(
            "GET /x",
            "https://c",
            http::StatusCode::from_u16(code).unwrap(),
            &headers,
            body.as_bytes(),
        )
    }

    #[test]
    fn statuses_are_typed() {
        let expired = parse(
            410,
            r#"{"kind":"Status","metadata":{"continue":"next"},"message":"old\u001b","reason":"Expired","code":410}"#,
            None,
        );
        let ClusterError::Status { continue_token, reason, message, from_kubernetes, .. } = expired else {
            panic!()
        };
        assert_eq!(
            (continue_token.as_deref(), &*reason, message.as_str(), from_kubernetes),
            (Some("next"), "Expired", "old", true)
        );
        let busy = parse(429, "Too many requests, please try again later.\n", Some(" 3 "));
        let ClusterError::Status { retry_after, reason, from_kubernetes, .. } = busy else { panic!() };
        assert_eq!(
            (retry_after, &*reason, from_kubernetes),
            (Some(Duration::from_secs(3)), "TooManyRequests", false)
        );
        let html = parse(502, &format!("<html>{}", "x".repeat(10_000)), Some("soon"));
        let ClusterError::Status { message, retry_after, .. } = html else { panic!() };
        assert!(message.len() < 600 && retry_after.is_none());
        let odd = parse(500, r#"{"kind":"Status","reason":"a b\n"}"#, None);
        assert_eq!(odd.reason(), "InternalError");
    }

    #[test]
    fn causes_are_found() {
        let tls = std::io::Error::other(rustls::Error::HandshakeNotComplete);
        assert_eq!(from_source("w", "s", "o", &tls).reason(), "ServerNotTrusted");
        let stalled = std::io::Error::from(std::io::ErrorKind::TimedOut);
        assert_eq!(from_source("w", "s", "o", &stalled).reason(), "ServerTimedOut");
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        assert_eq!(from_source("w", "s", "o", &refused).reason(), "ServerUnreachable");
    }
}
