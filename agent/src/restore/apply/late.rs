//! What can brick a cluster comes last, and only when what it calls is alive: webhooks and API
//! services whose Service has a ready endpoint.

use super::super::error::RestoreError;
use super::Run;
use super::create::Prepared;
use serde_json::Value;
use std::collections::BTreeSet;

/// What an object calls.
#[derive(Debug, PartialEq, Eq, Default)]
struct Calls {
    services: BTreeSet<(String, String)>,
    url: bool,
}

impl Run<'_> {
    /// Why an object must not be created now, if so; with the command that creates it later.
    pub(super) async fn not_yet(&self, one: &Prepared) -> Result<Option<String>, RestoreError> {
        let Some(calls) = calls(&one.key.kind.group, &one.key.kind.kind, &one.body) else { return Ok(None) };
        let existing = self.writer.find(&one.path, None, &one.key.name).await?;
        if existing.is_some() {
            return Ok(None);
        }
        let why = self.unready(&calls).await?;
        Ok(why.map(|why| {
            format!(
                "{why}; to create it later: lifeboat restore {} --kind {} --name {}",
                self.plan.options.snapshot, one.stored.kind, one.stored.name
            )
        }))
    }

    async fn unready(&self, calls: &Calls) -> Result<Option<String>, RestoreError> {
        if calls.url {
            return Ok(Some(
                "it calls a URL outside the cluster, which cannot be checked from here".to_owned(),
            ));
        }
        for (namespace, service) in &calls.services {
            if !self.writer.has_endpoints(namespace, service, self.plan.options.waits.endpoints).await? {
                return Ok(Some(format!("its Service {namespace}/{service} has no ready endpoint")));
            }
        }
        Ok(None)
    }
}

/// What a webhook configuration or API service calls; `None` for any other kind.
fn calls(group: &str, kind: &str, body: &[u8]) -> Option<Calls> {
    let is_webhook = matches!(
        (group, kind),
        ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration" | "MutatingWebhookConfiguration")
    );
    if !is_webhook && (group, kind) != ("apiregistration.k8s.io", "APIService") {
        return None;
    }
    let document: Value = serde_json::from_slice(body).ok()?;
    let mut calls = Calls::default();
    if is_webhook {
        for webhook in document["webhooks"].as_array().into_iter().flatten() {
            calls.add(&webhook["clientConfig"]);
        }
    } else {
        calls.add(&document["spec"]);
    }
    Some(calls)
}

impl Calls {
    fn add(&mut self, config: &Value) {
        let text = |field: &str| config["service"][field].as_str().unwrap_or_default().to_owned();
        if config["service"].is_object() {
            self.services.insert((text("namespace"), text("name")));
        } else {
            self.url = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn services_and_urls_are_found() {
        let service = json!({"service": {"namespace": "a", "name": "b"}});
        let both = json!({"webhooks": [{"clientConfig": service}, {"clientConfig": {"url": "https://x"}}]});
        let found = calls(
            "admissionregistration.k8s.io",
            "ValidatingWebhookConfiguration",
            both.to_string().as_bytes(),
        );
        let found = found.unwrap();
        assert!(found.url && found.services.contains(&("a".into(), "b".into())));
        let api = json!({"spec": service}).to_string();
        let found = calls("apiregistration.k8s.io", "APIService", api.as_bytes()).unwrap();
        assert!(!found.url && found.services.len() == 1);
        let policy =
            calls("admissionregistration.k8s.io", "ValidatingAdmissionPolicy", both.to_string().as_bytes());
        assert_eq!(policy, None);
    }
}
