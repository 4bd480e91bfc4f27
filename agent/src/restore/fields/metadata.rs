//! Metadata of every kind: the server's fields go, finalizers of the cluster's own controllers go,
//! the rest stays. Knows no kind.

use super::super::json::Node;
use super::super::source::ObjectKey;
use super::Notes;

/// What the API server sets, or would refuse.
const SERVER_SET: [&str; 10] = [
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "selfLink",
    "managedFields",
    "ownerReferences",
    "generateName",
];

/// Finalizers that controllers of the cluster itself put on again.
const BUILT_IN_FINALIZERS: [&str; 10] = [
    "foregroundDeletion",
    "orphan",
    "kubernetes",
    "kubernetes.io/pv-protection",
    "kubernetes.io/pvc-protection",
    "batch.kubernetes.io/job-tracking",
    "service.kubernetes.io/load-balancer-cleanup",
    "customresourcecleanup.apiextensions.k8s.io",
    "resource.kubernetes.io/delete-protection",
    "networking.k8s.io/service-cidr-finalizer",
];

/// Annotations in which controllers keep what was true in the old cluster.
const SERVER_SET_ANNOTATIONS: [&str; 7] = [
    "cni.projectcalico.org/containerID",
    "cni.projectcalico.org/podIP",
    "cni.projectcalico.org/podIPs",
    "k8s.v1.cni.cncf.io/network-status",
    "k8s.v1.cni.cncf.io/networks-status",
    "control-plane.alpha.kubernetes.io/leader",
    "endpoints.kubernetes.io/last-change-trigger-time",
];

/// Annotations that say nothing about what a person set, for comparing.
#[must_use]
pub fn server_set_annotations(key: &str) -> bool {
    SERVER_SET_ANNOTATIONS.contains(&key)
        || key == "deployment.kubernetes.io/revision"
        || key == "deprecated.daemonset.template.generation"
        || key == "kubectl.kubernetes.io/last-applied-configuration"
        || key.starts_with("pv.kubernetes.io/")
}

/// A snapshot may hold a document under a key that is not its own; nothing of it is believed then.
pub(super) fn check_identity(doc: &mut Node<'_>, key: &ObjectKey) -> Result<(), String> {
    let parts = [key.namespace.as_deref().unwrap_or_default(), &key.kind.group, &key.kind.kind, &key.name];
    if parts.iter().any(|part| part.len() > 253 || part.chars().any(char::is_control)) {
        return Err("its name is none that an API server gives".to_owned());
    }
    let version = doc.text(&["apiVersion"]).unwrap_or_default();
    let group = version.rsplit_once('/').map_or("", |(group, _)| group);
    let same = group == key.kind.group
        && doc.text(&["kind"]).as_deref() == Some(&key.kind.kind)
        && doc.text(&["metadata", "name"]).as_deref() == Some(&key.name)
        && doc.text(&["metadata", "namespace"]).filter(|n| !n.is_empty()) == key.namespace;
    if same { Ok(()) } else { Err("the stored document is not the object of its key".to_owned()) }
}

/// Takes the server's fields out of metadata.
pub(super) fn strip(doc: &mut Node<'_>, notes: &mut Notes) {
    let Some(meta) = doc.get("metadata") else { return };
    meta.retain_fields(|field| !SERVER_SET.contains(&field));
    if let Some(annotations) = meta.get("annotations") {
        let went = annotations.retain_fields(|key| !SERVER_SET_ANNOTATIONS.contains(&key));
        if went && annotations.is_empty() {
            meta.remove("annotations");
        }
    }
    finalizers(meta, notes);
}

fn finalizers(meta: &mut Node<'_>, notes: &mut Notes) {
    let Some(all) = meta.get("finalizers").and_then(|node| node.read::<Vec<String>>()) else {
        return;
    };
    let kept: Vec<&String> = all
        .iter()
        .filter(|f| {
            !BUILT_IN_FINALIZERS.contains(&f.as_str())
                && !f.starts_with("external-provisioner.volume.kubernetes.io/")
                && !f.starts_with("external-attacher/")
        })
        .collect();
    if kept.len() == all.len() && !all.is_empty() {
        // Verbatim.
    } else if kept.is_empty() {
        meta.remove("finalizers");
    } else {
        meta.set("finalizers", Node::new(&kept));
    }
    for finalizer in kept {
        notes.push(format!("finalizer {finalizer} kept: it blocks deletion until its controller runs"));
    }
}
