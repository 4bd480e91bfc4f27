//! One HTTP call, and the rule when it is worth repeating. Bounded in time and in bytes.

use super::Writer;
use super::answer::{Answer, Refusal};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, header};
use http_body_util::{BodyExt, Limited};
use kube::client::Body;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

pub(super) const JSON: &str = "application/json";
pub(super) const MERGE_PATCH: &str = "application/merge-patch+json";
/// Of what we wrote ourselves, the metadata suffices as an answer.
const METADATA_ONLY: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json";

/// How long things may take.
#[derive(Debug, Clone)]
pub struct Limits {
    /// One try of one request.
    pub request: Duration,
    /// How long the API server may be away before the restore stops.
    pub away: Duration,
    /// How long one request is repeated that is refused for a passing reason, the server being up.
    pub refused: Duration,
    /// The longest answer.
    pub answer_bytes: usize,
    /// Between two looks at something that becomes ready by itself.
    pub poll: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            request: Duration::from_secs(60),
            away: Duration::from_secs(300),
            refused: Duration::from_secs(30),
            answer_bytes: 64 << 20,
            poll: Duration::from_millis(500),
        }
    }
}

/// Why writing cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    #[error(
        "Cannot reach the API server for {target}: {detail}, for {seconds} s; once it answers, run the same command again: it goes on where it stopped"
    )]
    Away { target: String, detail: String, seconds: u64 },
    #[error(
        "Cannot use the API server for {target}: it no longer accepts the credential ({refusal}); renew the kubeconfig and run the same command again"
    )]
    Unauthorized { target: String, refusal: Refusal },
    #[error("Cannot read {target}: {refusal}; check the rights of the kubeconfig")]
    Refused { target: String, refusal: Refusal },
    #[error("Cannot build a request for {target}: {detail}")]
    Request { target: String, detail: String },
}

/// How much waiting still makes sense: a webhook that is dead for one object is dead for the next
/// ten thousand too, and must not cost each of them the whole time.
#[derive(Debug, Default)]
pub(super) struct Patience(AtomicU32);

impl Patience {
    fn left(&self, whole: Duration) -> Duration {
        whole / (1 + self.0.load(Ordering::Relaxed).min(1_000))
    }

    fn spend(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn renew(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

/// What to do with an answer.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    Take,
    /// The server is overloaded or starting: as long as it may be away.
    Wait,
    /// Refused for a reason that may pass: for a shorter time.
    Soon,
    Denied,
}

impl Writer {
    /// Repeats a call until it has an answer worth taking.
    pub(super) async fn retry(
        &self,
        method: Method,
        url: &str,
        content: &'static str,
        body: Bytes,
    ) -> Result<Answer, WriteError> {
        let started = Instant::now();
        let mut pause = Duration::from_millis(100);
        let mut waited = false;
        loop {
            let (detail, asked) = match self.once(&method, url, content, body.clone()).await? {
                Ok(answer) => match next(&method, &answer) {
                    Next::Take => {
                        if waited {
                            self.patience.renew();
                        }
                        return Ok(answer);
                    }
                    Next::Denied => {
                        let refusal = answer.refusal();
                        return Err(WriteError::Unauthorized { target: url.to_owned(), refusal });
                    }
                    Next::Soon if started.elapsed() >= self.patience.left(self.limits.refused) => {
                        self.patience.spend();
                        return Ok(answer);
                    }
                    Next::Soon => {
                        waited = true;
                        (answer.refusal().to_string(), answer.retry_after)
                    }
                    // A dead aggregated API answers 503 while the server itself is well.
                    Next::Wait
                        if started.elapsed() >= self.limits.refused
                            && answer.code != 429
                            && self.is_up().await =>
                    {
                        return Ok(answer);
                    }
                    Next::Wait => (answer.refusal().to_string(), answer.retry_after),
                },
                Err(detail) => (detail, None),
            };
            if started.elapsed() >= self.limits.away {
                let seconds = started.elapsed().as_secs();
                return Err(WriteError::Away { target: url.to_owned(), detail, seconds });
            }
            tracing::debug!(url, detail, "repeating a request");
            sleep(asked.unwrap_or_default() + jittered(pause)).await;
            pause = (pause * 2).min(Duration::from_secs(10));
        }
    }

    /// Whether the API server answers at all.
    async fn is_up(&self) -> bool {
        let answer = self.once(&Method::GET, "/version", JSON, Bytes::new()).await;
        matches!(answer, Ok(Ok(answer)) if answer.is_success())
    }

    /// One try; the inner error is one of the way, after which nobody knows what the server did.
    async fn once(
        &self,
        method: &Method,
        url: &str,
        content: &str,
        body: Bytes,
    ) -> Result<Result<Answer, String>, WriteError> {
        let accept = if *method == Method::GET { JSON } else { METADATA_ONLY };
        let request = Request::builder()
            .method(method)
            .uri(url)
            .header(header::ACCEPT, accept)
            .header(header::CONTENT_TYPE, content)
            .body(Body::from(body))
            .map_err(|e| WriteError::Request { target: url.to_owned(), detail: e.to_string() })?;
        Ok(match timeout(self.limits.request, self.exchange(request)).await {
            Ok(done) => done,
            Err(_) => Err(format!("no answer within {} s", self.limits.request.as_secs())),
        })
    }

    async fn exchange(&self, request: Request<Body>) -> Result<Answer, String> {
        let response = self.client.send(request).await.map_err(|e| chain(&e))?;
        let code = response.status().as_u16();
        let retry_after = retry_after(response.headers());
        let body = Limited::new(response.into_body(), self.limits.answer_bytes);
        let body = body.collect().await.map_err(|e| chain(e.as_ref()))?.to_bytes();
        Ok(Answer { code, retry_after, body })
    }
}

/// An error with its causes, which hyper hides from `Display`.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}

/// Reads `Retry-After` in seconds, no longer than a minute.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds: u64 = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds.min(60)))
}

/// Half to all of a pause, so that a throttled fleet does not come back at once.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(0.5 + rand::random::<f64>() / 2.0)
}

/// The rule.
fn next(method: &Method, answer: &Answer) -> Next {
    match answer.code {
        401 => Next::Denied,
        429 | 502 | 503 | 504 => Next::Wait,
        500..=599 => Next::Soon,
        403 if *method == Method::POST && passes(&answer.refusal().message) => Next::Soon,
        // Two quota updates met; the name is not the matter.
        409 if *method == Method::POST && answer.refusal().reason == "Conflict" => Next::Soon,
        _ => Next::Take,
    }
}

/// Refusals of a namespace whose controllers have not caught up yet.
fn passes(message: &str) -> bool {
    (message.contains("serviceaccount \"") && message.contains("not found"))
        || message.contains("status unknown for quota")
        || message.contains("not yet ready to handle request")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(code: u16, body: &'static str) -> Answer {
        Answer { code, retry_after: None, body: Bytes::from_static(body.as_bytes()) }
    }

    #[test]
    fn what_is_repeated() {
        let post = |code, body| next(&Method::POST, &answer(code, body));
        assert_eq!(post(201, "{}"), Next::Take);
        assert_eq!(post(429, "slow"), Next::Wait);
        assert_eq!(post(503, ""), Next::Wait);
        assert_eq!(post(500, "failed calling webhook"), Next::Soon);
        assert_eq!(post(401, "{}"), Next::Denied);
        assert_eq!(post(422, "{}"), Next::Take);
        assert_eq!(post(409, r#"{"reason":"AlreadyExists"}"#), Next::Take);
        assert_eq!(post(409, r#"{"reason":"Conflict"}"#), Next::Soon);
        assert_eq!(next(&Method::PATCH, &answer(409, r#"{"reason":"Conflict"}"#)), Next::Take);
        assert_eq!(
            post(
                403,
                r#"{"message":"error looking up service account a/default: serviceaccount \"default\" not found"}"#
            ),
            Next::Soon
        );
        assert_eq!(post(403, r#"{"message":"exceeded quota"}"#), Next::Take);
    }

    #[test]
    fn patience_runs_out_and_comes_back() {
        let patience = Patience::default();
        let whole = Duration::from_secs(30);
        assert_eq!(patience.left(whole), whole);
        patience.spend();
        patience.spend();
        assert_eq!(patience.left(whole), Duration::from_secs(10));
        patience.renew();
        assert_eq!(patience.left(whole), whole);
    }

    #[test]
    fn retry_after_is_read_and_bounded() {
        let mut headers = HeaderMap::new();
        assert_eq!(retry_after(&headers), None);
        for (text, want) in [("2", Some(2)), ("99999", Some(60)), ("soon", None), ("-1", None)] {
            headers.insert(header::RETRY_AFTER, text.parse().unwrap());
            assert_eq!(retry_after(&headers), want.map(Duration::from_secs));
        }
    }
}
