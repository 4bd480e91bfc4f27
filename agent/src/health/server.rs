//! `/healthz`, `/readyz`, `/metrics`: GET, no body, no credential, nothing secret in the answers.

use super::Health;
use super::listen::{Bounded, LIFETIME};
use crate::metrics::{Metrics, NodeMetrics};
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use std::future::Future;
use tokio::net::TcpListener;

/// Prometheus' text format.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Values for Prometheus.
pub trait Scrape: Clone + Send + Sync + 'static {
    /// One scrape, in its text format.
    fn scrape(&self) -> String;
}

impl Scrape for Metrics {
    fn scrape(&self) -> String {
        self.render()
    }
}

impl Scrape for NodeMetrics {
    fn scrape(&self) -> String {
        self.render()
    }
}

/// Answers until `stop` is done; connections that are open then end within seconds.
///
/// # Errors
/// If the listener cannot be used.
pub async fn serve<M: Scrape>(
    listener: TcpListener,
    health: Health,
    metrics: M,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    axum::serve(Bounded::new(listener, LIFETIME), app(health, metrics)).with_graceful_shutdown(stop).await
}

fn app<M: Scrape>(health: Health, metrics: M) -> Router {
    Router::new()
        .route("/healthz", get(|State((health, _)): State<(Health, M)>| async move { said(health.alive()) }))
        .route("/readyz", get(|State((health, _)): State<(Health, M)>| async move { said(health.ready()) }))
        .route(
            "/metrics",
            get(|State((_, metrics)): State<(Health, M)>| async move { scraped(metrics.scrape()) }),
        )
        .with_state((health, metrics))
}

fn said(state: Result<(), String>) -> impl IntoResponse {
    match state {
        Ok(()) => (StatusCode::OK, "ok\n".to_owned()),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
    }
}

fn scraped(text: String) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, TEXT)], text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::IntoFuture as _;
    use std::net::SocketAddr;
    use std::time::{Duration, Instant};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    async fn started(health: &Health) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(serve(listener, health.clone(), Metrics::new(), std::future::pending()));
        address
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
    async fn each_path_says_what_is_so() {
        let health = Health::new();
        let address = started(&health).await;
        assert!(ask(address, &get("/healthz")).await.starts_with("HTTP/1.1 200 "));
        let not = ask(address, &get("/readyz")).await;
        assert!(
            not.starts_with("HTTP/1.1 503 ") && not.ends_with("the configuration is not loaded yet\n"),
            "{not}"
        );
        let scrape = ask(address, &get("/metrics")).await;
        assert!(
            scrape.contains("text/plain; version=0.0.4") && scrape.contains("lifeboat_leader 0"),
            "{scrape}"
        );
        assert!(ask(address, &get("/")).await.starts_with("HTTP/1.1 404 "));
        let post = "POST /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc";
        assert!(ask(address, post).await.starts_with("HTTP/1.1 405 "));
    }

    #[tokio::test]
    async fn those_who_say_nothing_are_let_go() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let lifetime = Duration::from_millis(300);
        let server =
            axum::serve(Bounded::new(listener, lifetime), app(Health::new(), Metrics::new())).into_future();
        tokio::spawn(server);
        let begin = Instant::now();
        let mut silent = Vec::new();
        for _ in 0..60 {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(b"GET /healthz HT").await.unwrap();
            silent.push(stream);
        }
        // More than there are places: it is their turn once the silent ones are gone.
        assert!(ask(address, &get("/healthz")).await.starts_with("HTTP/1.1 200 "));
        assert!(begin.elapsed() >= lifetime, "{:?}", begin.elapsed());
    }
}
