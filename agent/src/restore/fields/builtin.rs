//! What a cluster makes by itself, and a restore therefore leaves to it. Pure.

use super::super::json::Node;
use super::super::source::{GroupKind, ObjectKey};

/// Namespaces that every cluster has.
const NAMESPACES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];

/// Kinds of which no object is ever created by a restore.
#[must_use]
pub fn is_cluster_made(kind: &GroupKind) -> bool {
    matches!(
        (kind.group.as_str(), kind.kind.as_str()),
        ("", "Node" | "Event" | "ComponentStatus" | "Binding")
            | ("events.k8s.io", "Event")
            | ("coordination.k8s.io", _)
            | ("storage.k8s.io", "CSINode" | "VolumeAttachment" | "CSIStorageCapacity")
            | ("resource.k8s.io", "ResourceSlice")
            | ("certificates.k8s.io", "CertificateSigningRequest")
            | ("networking.k8s.io", "IPAddress")
            | ("metrics.k8s.io" | "custom.metrics.k8s.io" | "external.metrics.k8s.io", _)
            | ("internal.apiserver.k8s.io", _)
            | ("storagemigration.k8s.io", _)
            | ("lifeboat.dev", "Backup" | "VolumeBackup")
    )
}

/// Why the cluster makes this object by itself, if it does.
pub(super) fn cluster_made(key: &ObjectKey, doc: &mut Node<'_>) -> Option<&'static str> {
    if is_cluster_made(&key.kind) {
        return Some("made by the cluster itself");
    }
    if doc.at(&["metadata", "labels", "hnc.x-k8s.io/inherited-from"]).is_some() {
        return Some("inherited from a parent namespace");
    }
    let name = key.name.as_str();
    let namespace = key.namespace.as_deref();
    let own = match (key.kind.group.as_str(), key.kind.kind.as_str()) {
        ("", "Namespace") => NAMESPACES.contains(&name),
        ("", "ConfigMap") => {
            matches!(name, "kube-root-ca.crt" | "openshift-service-ca.crt")
        }
        ("", "Service" | "Endpoints") | ("discovery.k8s.io", "EndpointSlice") => {
            name == "kubernetes" && namespace == Some("default")
        }
        ("rbac.authorization.k8s.io", _) => {
            doc.text(&["metadata", "labels", "kubernetes.io/bootstrapping"]).is_some()
        }
        ("flowcontrol.apiserver.k8s.io", _) => {
            let path = ["metadata", "annotations", "apf.kubernetes.io/autoupdate-spec"];
            doc.text(&path).as_deref() == Some("true") || matches!(name, "exempt" | "catch-all")
        }
        ("scheduling.k8s.io", "PriorityClass") => name.starts_with("system-"),
        ("networking.k8s.io", "ServiceCIDR") => name == "kubernetes",
        _ => false,
    };
    own.then_some("made by the cluster itself")
}
