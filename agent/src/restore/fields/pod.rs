//! Bare Pods: unbound from their node, and without what admission put in. Pure.

use super::super::json::Node;
use super::Verdict;

/// What the scheduler or admission set, and sets again (admission refuses values of its own making
/// that do not match the classes of the target).
const SET_BY_CLUSTER: [&str; 5] =
    ["nodeName", "ephemeralContainers", "priority", "preemptionPolicy", "overhead"];

pub(super) fn bare(doc: &mut Node<'_>) -> Verdict {
    if doc.at(&["metadata", "annotations", "kubernetes.io/config.mirror"]).is_some() {
        return Verdict::Skip("mirror of a static pod");
    }
    if matches!(doc.text(&["status", "phase"]).as_deref(), Some("Succeeded" | "Failed")) {
        return Verdict::Skip("had ended");
    }
    if let Some(annotations) = doc.at(&["metadata", "annotations"]) {
        annotations.retain_fields(|key| !key.starts_with("kubernetes.io/config."));
    }
    if let Some(spec) = doc.get("spec") {
        spec.retain_fields(|field| !SET_BY_CLUSTER.contains(&field));
        token_volumes(spec);
    }
    Verdict::Keep
}

/// Takes out the ServiceAccount's token volume, which admission adds again.
fn token_volumes(spec: &mut Node<'_>) {
    let account = spec.text(&["serviceAccountName"]).unwrap_or_else(|| "default".to_owned());
    let legacy = format!("{account}-token-");
    let is_token = |name: &str| name.starts_with("kube-api-access-") || name.starts_with(&legacy);
    let mut gone = Vec::new();
    if let Some(volumes) = spec.get("volumes").and_then(Node::items) {
        volumes.retain_mut(|volume| match volume.text(&["name"]) {
            Some(name) if is_token(&name) => {
                gone.push(name);
                false
            }
            _ => true,
        });
    }
    if gone.is_empty() {
        return;
    }
    if spec.get("volumes").is_some_and(|v| v.is_empty()) {
        spec.remove("volumes");
    }
    for list in ["containers", "initContainers"] {
        for container in spec.each(&[list]) {
            if let Some(mounts) = container.get("volumeMounts").and_then(Node::items) {
                mounts.retain_mut(|m| m.text(&["name"]).is_none_or(|name| !gone.contains(&name)));
            }
            if container.get("volumeMounts").is_some_and(|m| m.is_empty()) {
                container.remove("volumeMounts");
            }
        }
    }
}
