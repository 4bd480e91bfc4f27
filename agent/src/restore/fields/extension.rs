//! What extends the API: definitions, API services, webhooks. Whether a webhook's Service is alive
//! is asked when it is applied, not here. Pure.

use super::super::json::Node;
use super::{Notes, Verdict};

pub(super) fn api_service(doc: &mut Node<'_>) -> Verdict {
    let automanaged = "kube-aggregator.kubernetes.io/automanaged";
    let local = doc.at(&["spec", "service"]).is_none_or(|service| service.is_empty());
    if local || doc.at(&["metadata", "labels", automanaged]).is_some() {
        return Verdict::Skip("made by the cluster itself");
    }
    Verdict::Keep
}

pub(super) fn definition(doc: &mut Node<'_>, notes: &mut Notes) -> Verdict {
    if doc.read_at::<bool>(&["spec", "preserveUnknownFields"]) == Some(true) {
        doc.remove_at(&["spec", "preserveUnknownFields"]);
        for version in doc.each(&["spec", "versions"]) {
            if let Some(schema) = version.at(&["schema", "openAPIV3Schema"]) {
                schema.set("x-kubernetes-preserve-unknown-fields", Node::new(&true));
            }
        }
        notes.push("preserveUnknownFields moved into the schemas, as v1 wants it".to_owned());
    }
    if doc.text(&["spec", "conversion", "strategy"]).as_deref() == Some("Webhook") {
        notes.push("converts versions by a webhook, which must run before other versions than the stored one can be read".to_owned());
    }
    Verdict::Keep
}

pub(super) fn webhooks(doc: &mut Node<'_>, notes: &mut Notes) -> Verdict {
    let mut changed = false;
    for webhook in doc.each(&["webhooks"]) {
        let effects = webhook.text(&["sideEffects"]);
        if !matches!(effects.as_deref(), Some("None" | "NoneOnDryRun")) {
            webhook.set("sideEffects", Node::new(&"None"));
            changed = true;
        }
    }
    if changed {
        notes.push("sideEffects set to None, as v1 wants it".to_owned());
    }
    Verdict::Keep
}
