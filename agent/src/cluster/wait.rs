//! Waiting for what becomes ready by itself: definitions, namespaces, endpoints. Only looks; must
//! not change anything.

use super::write::{WriteError, Writer};
use serde::Deserialize;
use std::time::Duration;
use tokio::time::{Instant, sleep};

#[derive(Deserialize, Default)]
#[serde(default)]
struct Document {
    status: Status,
    items: Vec<Slice>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Status {
    phase: String,
    conditions: Vec<Condition>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Slice {
    endpoints: Option<Vec<Endpoint>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Endpoint {
    addresses: Vec<String>,
    conditions: Ready,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Ready {
    /// Absent means ready.
    ready: Option<bool>,
}

impl Writer {
    /// Waits until a definition is established; `false` when the time is over.
    pub async fn established(&self, name: &str, within: Duration) -> Result<bool, WriteError> {
        let url = format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}");
        self.until(&url, within, is_established).await
    }

    /// Waits until a namespace is active; `false` when the time is over.
    pub async fn active(&self, name: &str, within: Duration) -> Result<bool, WriteError> {
        self.until(&format!("/api/v1/namespaces/{name}"), within, is_active).await
    }

    /// Waits until a Service has a ready endpoint; `false` when the time is over.
    pub async fn has_endpoints(
        &self,
        namespace: &str,
        service: &str,
        within: Duration,
    ) -> Result<bool, WriteError> {
        if [namespace, service].iter().any(|t| !is_label(t)) {
            return Ok(false);
        }
        let url = format!(
            "/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices?labelSelector=kubernetes.io%2Fservice-name%3D{service}"
        );
        self.until(&url, within, has_ready_endpoint).await
    }

    async fn until(
        &self,
        url: &str,
        within: Duration,
        ready: fn(&Document) -> bool,
    ) -> Result<bool, WriteError> {
        let deadline = Instant::now() + within;
        loop {
            let body = self.get(url).await?;
            let document = body.and_then(|b| serde_json::from_slice::<Document>(&b).ok());
            if document.is_some_and(|d| ready(&d)) {
                return Ok(true);
            }
            if Instant::now() >= deadline {
                return Ok(false);
            }
            sleep(self.poll_interval()).await;
        }
    }
}

/// Names of namespaces and Services are DNS labels.
fn is_label(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 63
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

fn is_established(document: &Document) -> bool {
    let holds = |kind: &str| document.status.conditions.iter().any(|c| c.kind == kind && c.status == "True");
    holds("Established") && holds("NamesAccepted")
}

fn is_active(document: &Document) -> bool {
    document.status.phase == "Active"
}

fn has_ready_endpoint(document: &Document) -> bool {
    document
        .items
        .iter()
        .flat_map(|slice| slice.endpoints.iter().flatten())
        .any(|e| !e.addresses.is_empty() && e.conditions.ready != Some(false))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(text: &str) -> Document {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_definition_needs_its_names_too() {
        let both = r#"{"status":{"conditions":[{"type":"NamesAccepted","status":"True"},{"type":"Established","status":"True"}]}}"#;
        assert!(is_established(&document(both)));
        assert!(!is_established(&document(&both.replacen("True", "False", 1))));
        assert!(!is_established(&document("{}")));
    }

    #[test]
    fn endpoints_count_when_ready() {
        let with = |endpoint: &str| {
            has_ready_endpoint(&document(&format!(r#"{{"items":[{{"endpoints":[{endpoint}]}}]}}"#)))
        };
        assert!(with(r#"{"addresses":["10.0.0.1"],"conditions":{"ready":true}}"#));
        assert!(with(r#"{"addresses":["10.0.0.1"]}"#));
        assert!(!with(r#"{"addresses":["10.0.0.1"],"conditions":{"ready":false}}"#));
        assert!(!has_ready_endpoint(&document(r#"{"items":[{"endpoints":null}]}"#)));
    }

    #[test]
    fn names_that_are_no_labels_are_not_asked_for() {
        assert!(is_label("web-1"));
        for name in ["", "a/b", "a&b", "A", &"a".repeat(64)] {
            assert!(!is_label(name), "{name:?}");
        }
    }
}
