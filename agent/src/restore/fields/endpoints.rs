//! Endpoints: those that a controller keeps are left to it, those that a person keeps are restored.
//! (Endpoints of a Service with a selector are found by the plan, which knows the Services.) Pure.

use super::super::json::Node;
use super::Verdict;

pub(super) fn slice(doc: &mut Node<'_>) -> Verdict {
    let manager = doc.text(&["metadata", "labels", "endpointslice.kubernetes.io/managed-by"]);
    match manager.as_deref() {
        Some("endpointslice-controller.k8s.io" | "endpointslicemirroring-controller.k8s.io") => {
            Verdict::Skip("kept by the endpoint controller")
        }
        _ => Verdict::Keep,
    }
}

pub(super) fn endpoints(doc: &mut Node<'_>) -> Verdict {
    let managed = doc.text(&["metadata", "labels", "endpoints.kubernetes.io/managed-by"]);
    let changed = ["metadata", "annotations", "endpoints.kubernetes.io/last-change-trigger-time"];
    let leader = ["metadata", "annotations", "control-plane.alpha.kubernetes.io/leader"];
    if managed.as_deref() == Some("endpoint-controller") || doc.at(&changed).is_some() {
        return Verdict::Skip("kept by the endpoint controller");
    }
    if doc.at(&leader).is_some() {
        return Verdict::Skip("a leader election of the old cluster");
    }
    Verdict::Keep
}
