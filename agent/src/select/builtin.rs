//! What Kubernetes itself makes in every cluster: kinds that come back by themselves, and objects that a
//! new cluster has already. Pure; a list of names, each with the place that makes it.

use super::classify::{Derived, Skipped};
use super::facts::Facts;
use crate::cluster::{Item, Resource};

/// Kinds none of whose objects are stored.
pub(super) fn derived_kind(resource: &Resource) -> Option<Derived> {
    let derived = match (resource.group.as_str(), resource.plural.as_str()) {
        ("" | "events.k8s.io", "events") => Derived::Event,
        ("", "nodes") => Derived::Node,
        ("coordination.k8s.io", "leases" | "leasecandidates") => Derived::Lease,
        ("storage.k8s.io", "csinodes" | "volumeattachments" | "csistoragecapacities") => Derived::NodeState,
        ("resource.k8s.io", "resourceslices") => Derived::NodeState,
        ("certificates.k8s.io", "certificatesigningrequests" | "podcertificaterequests") => {
            Derived::SigningRequest
        }
        ("internal.apiserver.k8s.io", _) => Derived::ServerState,
        (group, _) if is_metrics(group) => Derived::Metrics,
        _ if !resource.storable() => Derived::NotStorable,
        _ => return None,
    };
    Some(derived)
}

/// Groups that only show measurements.
pub(super) fn is_metrics(group: &str) -> bool {
    matches!(group, "metrics.k8s.io" | "custom.metrics.k8s.io" | "external.metrics.k8s.io")
}

/// Kinds that are never stored: the cluster hands them out.
pub(super) fn skipped_kind(resource: &Resource) -> Option<Skipped> {
    resource.is("networking.k8s.io", "ipaddresses").then_some(Skipped::IpAddress)
}

/// Objects that every cluster has by itself.
pub(super) fn skipped_object(resource: &Resource, item: &Item) -> Option<Skipped> {
    let (meta, name) = (&item.meta, item.meta.name.as_str());
    if meta.labels.contains_key("hnc.x-k8s.io/inherited-from") {
        return Some(Skipped::HierarchyInherited);
    }
    let in_default = meta.namespace.as_deref() == Some("default");
    match (resource.group.as_str(), resource.plural.as_str()) {
        ("", "configmaps") if matches!(name, "kube-root-ca.crt" | "openshift-service-ca.crt") => {
            Some(Skipped::ClusterCertificate)
        }
        ("rbac.authorization.k8s.io", _)
            if meta.label("kubernetes.io/bootstrapping") == Some("rbac-defaults") =>
        {
            Some(Skipped::BootstrapRbac)
        }
        ("", "services" | "endpoints") | ("discovery.k8s.io", "endpointslices")
            if in_default && name == "kubernetes" =>
        {
            Some(Skipped::KubernetesService)
        }
        // Set to "false" by an administrator, it is a changed one: that is stored.
        ("flowcontrol.apiserver.k8s.io", _)
            if meta.annotation("apf.kubernetes.io/autoupdate-spec") == Some("true") =>
        {
            Some(Skipped::BootstrapFlowControl)
        }
        ("scheduling.k8s.io", "priorityclasses") if name.starts_with("system-") => {
            Some(Skipped::SystemPriorityClass)
        }
        ("networking.k8s.io", "servicecidrs") if name == "kubernetes" => Some(Skipped::DefaultServiceCidr),
        ("apiregistration.k8s.io", "apiservices")
            if meta.labels.contains_key("kube-aggregator.kubernetes.io/automanaged") =>
        {
            Some(Skipped::AutomanagedApiService)
        }
        // The API server and the controller manager publish their own trust anchors.
        ("certificates.k8s.io", "clustertrustbundles") if name.starts_with("kubernetes.io:") => {
            Some(Skipped::ClusterCertificate)
        }
        _ => None,
    }
}

/// Objects that a controller makes again from one that is stored.
pub(super) fn derived_object(resource: &Resource, item: &Item, facts: &Facts) -> Option<Derived> {
    let meta = &item.meta;
    match (resource.group.as_str(), resource.plural.as_str()) {
        // Whoever controls a Pod makes it again: a workload, an operator, the kubelet for its static ones.
        ("", "pods") if meta.controller().is_some() => Some(Derived::Owned),
        ("apps", "replicasets") if meta.controller().is_some() && !facts.runs_paused_deployment(item) => {
            Some(Derived::Owned)
        }
        ("resource.k8s.io", "resourceclaims")
            if meta.controller().is_some_and(|owner| owner.kind == "Pod") =>
        {
            Some(Derived::Owned)
        }
        ("", "endpoints") => {
            let namespace = meta.namespace.as_deref().unwrap_or_default();
            // Servers before 1.33 do not set the label; a Service of the same name tells.
            let made = meta.label("endpoints.kubernetes.io/managed-by") == Some("endpoint-controller")
                || facts.service_selects(namespace, &meta.name);
            let election = meta.annotations.contains_key("control-plane.alpha.kubernetes.io/leader");
            match (made, election) {
                (true, _) => Some(Derived::ServiceEndpoints),
                (_, true) => Some(Derived::Lease),
                _ => None,
            }
        }
        ("discovery.k8s.io", "endpointslices") => {
            let by = meta.label("endpointslice.kubernetes.io/managed-by");
            let made = matches!(
                by,
                Some("endpointslice-controller.k8s.io" | "endpointslicemirroring-controller.k8s.io")
            );
            (made || meta.controller().is_some()).then_some(Derived::ServiceEndpoints)
        }
        _ => None,
    }
}
