//! Health, metrics and the status page over HTTP: GET alone, no credential, nothing secret in the answers. Reads the
//! catalogue and the vault's small files, at most once in a few seconds, and writes nothing.

mod listen;
#[cfg(test)]
mod tests;

use crate::page;
use crate::status::Status;
use crate::{metrics, setup};
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use lifeboat_common::clock::Clock;
use listen::Bounded;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::sync::Mutex;

/// Prometheus' text format.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
/// How long a connection may last, idle or not.
const LIFETIME: Duration = Duration::from_secs(15);
/// How old an answer may be.
const FRESH: Duration = Duration::from_secs(5);

/// What one look found.
#[derive(Debug)]
struct Seen {
    /// Or why it could not be read.
    read: Result<(), String>,
    page: String,
    metrics: String,
}

/// What the answers come from.
#[derive(Debug)]
pub struct Shown {
    config: PathBuf,
    clock: Arc<dyn Clock>,
    last: Mutex<Option<(Instant, Arc<Seen>)>>,
}

impl Shown {
    /// By the configuration at `config`, which is read anew for each look.
    #[must_use]
    pub fn new(config: PathBuf, clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self { config, clock, last: Mutex::default() })
    }

    /// Looks, unless somebody just did; whoever asks meanwhile waits for the same look.
    async fn seen(&self) -> Arc<Seen> {
        let mut last = self.last.lock().await;
        if let Some((at, seen)) = last.as_ref()
            && at.elapsed() < FRESH
        {
            return Arc::clone(seen);
        }
        let (config, clock) = (self.config.clone(), Arc::clone(&self.clock));
        let looked = tokio::task::spawn_blocking(move || look(&config, &*clock)).await;
        let seen = looked.unwrap_or_else(|_| failed("The thread that looks is gone".to_owned()));
        let seen = Arc::new(seen);
        *last = Some((Instant::now(), Arc::clone(&seen)));
        seen
    }

    /// One look, for whoever wants to know that looking works.
    pub async fn look(&self) {
        drop(self.seen().await);
    }
}

fn look(config: &Path, clock: &dyn Clock) -> Seen {
    match read(config, clock) {
        Ok((status, page)) => Seen { read: Ok(()), page, metrics: metrics::render(Some(&status)) },
        Err(error) => failed(error.to_string()),
    }
}

fn read(config: &Path, clock: &dyn Clock) -> Result<(Status, String), setup::SetupError> {
    let config = setup::load(config)?;
    let catalogue = setup::catalogue(&config)?;
    let status = crate::status::gather_from(&catalogue, &config, clock.now())?;
    let histories = page::histories(&catalogue, &config, &status)?;
    let page = page::render(&status, &histories);
    Ok((status, page))
}

fn failed(why: String) -> Seen {
    tracing::warn!(why, "Cannot say how things are");
    Seen { page: page::unreadable(&why), metrics: metrics::render(None), read: Err(why) }
}

/// Answers until `stop` is done; connections that are open then end within seconds.
///
/// # Errors
/// If the listener cannot be used.
pub async fn serve(
    listener: TcpListener,
    shown: Arc<Shown>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    axum::serve(Bounded::new(listener, LIFETIME), app(shown)).with_graceful_shutdown(stop).await
}

fn app(shown: Arc<Shown>) -> Router {
    Router::new()
        .route("/", get(status_page))
        .route("/metrics", get(scrape))
        .route("/healthz", get(|| async { guarded("ok\n".into_response()) }))
        .route("/readyz", get(ready))
        .with_state(shown)
}

async fn ready(State(shown): State<Arc<Shown>>) -> Response {
    guarded(match &shown.seen().await.read {
        Ok(()) => "ok\n".into_response(),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    })
}

async fn scrape(State(shown): State<Arc<Shown>>) -> Response {
    guarded(([(header::CONTENT_TYPE, TEXT)], shown.seen().await.metrics.clone()).into_response())
}

async fn status_page(State(shown): State<Arc<Shown>>) -> Response {
    let seen = shown.seen().await;
    let code = if seen.read.is_ok() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8".to_owned()),
        (header::CONTENT_SECURITY_POLICY, page::policy()),
    ];
    guarded((code, headers, seen.page.clone()).into_response())
}

/// What every answer says to a browser: nothing is to be guessed, kept, framed or told to others.
fn guarded(mut response: Response) -> Response {
    let all: [(HeaderName, &str); 5] = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    for (name, value) in all {
        response.headers_mut().insert(name, header::HeaderValue::from_static(value));
    }
    response
}
