//! Tells an observer of every request that leaves for the API server: its verb and how it was answered. Knows neither
//! metrics nor what the requests are for.

use http::{Method, Request};
use kube::client::Body;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tower::{Layer, Service};

/// Who wants to know of requests. Called on the request's own task: it must not wait.
pub trait RequestObserver: Send + Sync + std::fmt::Debug {
    /// The server answered with an HTTP status.
    fn answered(&self, verb: Verb, code: u16);
    /// There was no answer.
    fn unanswered(&self, verb: Verb);
}

impl<A: RequestObserver, B: RequestObserver> RequestObserver for (A, B) {
    fn answered(&self, verb: Verb, code: u16) {
        self.0.answered(verb, code);
        self.1.answered(verb, code);
    }

    fn unanswered(&self, verb: Verb) {
        self.0.unanswered(verb);
        self.1.unanswered(verb);
    }
}

/// What a request does, in the words of Kubernetes' RBAC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verb {
    Get,
    List,
    Watch,
    Create,
    Update,
    Patch,
    Delete,
    Other,
}

impl Verb {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::Other => "other",
        }
    }

    /// Of a method and a path with its query, as the API server's own request info reads them.
    #[must_use]
    pub fn of(method: &Method, path: &str, query: &str) -> Self {
        match *method {
            Method::POST => Self::Create,
            Method::PUT => Self::Update,
            Method::PATCH => Self::Patch,
            Method::DELETE => Self::Delete,
            Method::GET if query.split('&').any(|p| p == "watch" || p == "watch=true" || p == "watch=1") => {
                Self::Watch
            }
            Method::GET if is_collection(path) => Self::List,
            Method::GET => Self::Get,
            _ => Self::Other,
        }
    }
}

/// `/api/v1/pods`, `/apis/apps/v1/namespaces/x/deployments`: what comes after the version is one word, or three that
/// begin with a namespace.
fn is_collection(path: &str) -> bool {
    let mut words = path.trim_matches('/').split('/');
    let before = match words.next() {
        Some("api") => 1,
        Some("apis") => 2,
        _ => return false,
    };
    let rest: Vec<&str> = words.skip(before).collect();
    match rest.as_slice() {
        [_kind] => true,
        ["namespaces", _namespace, kind] => !matches!(*kind, "status" | "finalize"),
        _ => false,
    }
}

/// Wraps a client's connection.
#[derive(Debug, Clone)]
pub(super) struct Observe(pub(super) Option<Arc<dyn RequestObserver>>);

impl<S> Layer<S> for Observe {
    type Service = Observed<S>;
    fn layer(&self, inner: S) -> Observed<S> {
        Observed { inner, observer: self.0.clone() }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Observed<S> {
    inner: S,
    observer: Option<Arc<dyn RequestObserver>>,
}

impl<S, B> Service<Request<Body>> for Observed<S>
where
    S: Service<Request<Body>, Response = http::Response<B>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let verb = Verb::of(request.method(), request.uri().path(), request.uri().query().unwrap_or(""));
        let observer = self.observer.clone();
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await;
            if let Some(observer) = observer {
                match &answer {
                    Ok(response) => observer.answered(verb, response.status().as_u16()),
                    Err(_) => observer.unanswered(verb),
                }
            }
            answer
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbs_are_those_of_the_server() {
        let cases = [
            (Method::GET, "/api/v1/pods", "limit=500", Verb::List),
            (Method::GET, "/api/v1/namespaces", "", Verb::List),
            (Method::GET, "/api/v1/namespaces/kube-system", "", Verb::Get),
            (Method::GET, "/api/v1/namespaces/a/secrets", "", Verb::List),
            (Method::GET, "/api/v1/namespaces/a/secrets/b", "", Verb::Get),
            (
                Method::GET,
                "/apis/apps/v1/namespaces/a/deployments",
                "watch=true&timeoutSeconds=9",
                Verb::Watch,
            ),
            (Method::GET, "/apis/lifeboat.dev/v1alpha1/backups", "watchful=1", Verb::List),
            (Method::GET, "/apis/apps/v1/namespaces/a/deployments/b/status", "", Verb::Get),
            (Method::GET, "/version", "", Verb::Get),
            (Method::GET, "/apis/apps/v1", "", Verb::Get),
            (Method::POST, "/api/v1/namespaces/a/events", "", Verb::Create),
            (Method::PUT, "/apis/coordination.k8s.io/v1/namespaces/a/leases/b", "", Verb::Update),
            (Method::PATCH, "/x", "", Verb::Patch),
            (Method::DELETE, "/x", "", Verb::Delete),
            (Method::HEAD, "/x", "", Verb::Other),
        ];
        for (method, path, query, verb) in cases {
            assert_eq!(Verb::of(&method, path, query), verb, "{method} {path}?{query}");
        }
    }
}
