//! In which order kinds are created. Pure; knows group and kind, nothing of the objects themselves.

use serde::{Deserialize, Serialize};

/// A step of a restore; everything of one is created before the next begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// CustomResourceDefinitions; waited for until established.
    Definitions,
    /// Namespaces; waited for until active.
    Namespaces,
    /// Priority, storage, network and runtime classes, roles and bindings, adopted volumes.
    Classes,
    /// Volumes are filled here, before anything mounts them; nothing is posted.
    Volumes,
    /// ServiceAccounts.
    Accounts,
    /// Secrets, ConfigMaps and claims.
    Data,
    /// Services, unmanaged endpoints and policies.
    Network,
    /// Custom resources, and kinds that no other step names.
    Custom,
    /// Bare Pods, ReplicaSets and revisions: before the controllers that adopt them.
    Adopted,
    /// Deployments, StatefulSets, DaemonSets, Ingresses.
    Workloads,
    /// HorizontalPodAutoscalers and PodDisruptionBudgets.
    Guards,
    /// ResourceQuotas, so that they do not stand in the way of what they once admitted.
    Quotas,
    /// CronJobs and unfinished Jobs.
    Jobs,
    /// APIServices, webhook configurations and admission policies.
    Admission,
}

impl Phase {
    /// All of them, in order.
    pub const ALL: [Self; 14] = [
        Self::Definitions,
        Self::Namespaces,
        Self::Classes,
        Self::Volumes,
        Self::Accounts,
        Self::Data,
        Self::Network,
        Self::Custom,
        Self::Adopted,
        Self::Workloads,
        Self::Guards,
        Self::Quotas,
        Self::Jobs,
        Self::Admission,
    ];

    /// For a person.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Definitions => "custom resource definitions",
            Self::Namespaces => "namespaces",
            Self::Classes => "classes and access rules",
            Self::Volumes => "volumes",
            Self::Accounts => "service accounts",
            Self::Data => "secrets, config maps and claims",
            Self::Network => "services and policies",
            Self::Custom => "custom resources",
            Self::Adopted => "bare pods and replica sets",
            Self::Workloads => "workloads",
            Self::Guards => "autoscalers and disruption budgets",
            Self::Quotas => "resource quotas",
            Self::Jobs => "cron jobs and jobs",
            Self::Admission => "API services and admission",
        }
    }
}

/// The step that creates a kind.
#[must_use]
pub fn phase_of(group: &str, kind: &str) -> Phase {
    match (group, kind) {
        ("apiextensions.k8s.io", "CustomResourceDefinition") => Phase::Definitions,
        ("", "Namespace") => Phase::Namespaces,
        ("", "PersistentVolume")
        | ("scheduling.k8s.io", _)
        | ("storage.k8s.io", _)
        | ("rbac.authorization.k8s.io", _)
        | ("node.k8s.io", _)
        | ("resource.k8s.io", "DeviceClass")
        | ("flowcontrol.apiserver.k8s.io", _)
        | ("networking.k8s.io", "IngressClass" | "ServiceCIDR")
        | ("gateway.networking.k8s.io", "GatewayClass")
        | ("snapshot.storage.k8s.io", "VolumeSnapshotClass") => Phase::Classes,
        ("", "ServiceAccount") => Phase::Accounts,
        ("", "Secret" | "ConfigMap" | "PersistentVolumeClaim") => Phase::Data,
        ("", "Service" | "Endpoints" | "LimitRange")
        | ("discovery.k8s.io", "EndpointSlice")
        | ("networking.k8s.io", "NetworkPolicy") => Phase::Network,
        ("", "Pod" | "PodTemplate") | ("apps", "ReplicaSet" | "ControllerRevision") => Phase::Adopted,
        ("", "ReplicationController")
        | ("apps", "Deployment" | "StatefulSet" | "DaemonSet")
        | ("networking.k8s.io" | "extensions", "Ingress") => Phase::Workloads,
        ("autoscaling", _) | ("policy", "PodDisruptionBudget") => Phase::Guards,
        ("", "ResourceQuota") => Phase::Quotas,
        ("batch", _) => Phase::Jobs,
        ("apiregistration.k8s.io" | "admissionregistration.k8s.io", _) => Phase::Admission,
        _ => Phase::Custom,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_comes_before_its_users() {
        let before = |a: (&str, &str), b: (&str, &str)| {
            assert!(phase_of(a.0, a.1) < phase_of(b.0, b.1), "{a:?} before {b:?}");
        };
        before(("apiextensions.k8s.io", "CustomResourceDefinition"), ("", "Namespace"));
        before(("", "Namespace"), ("scheduling.k8s.io", "PriorityClass"));
        before(("rbac.authorization.k8s.io", "RoleBinding"), ("", "ServiceAccount"));
        before(("", "ServiceAccount"), ("", "Secret"));
        before(("", "PersistentVolumeClaim"), ("", "Service"));
        before(("networking.k8s.io", "NetworkPolicy"), ("postgresql.cnpg.io", "Cluster"));
        before(("", "Secret"), ("cert-manager.io", "Certificate"));
        before(("cert-manager.io", "Certificate"), ("apps", "Deployment"));
        before(("apps", "ReplicaSet"), ("apps", "Deployment"));
        before(("apps", "StatefulSet"), ("autoscaling", "HorizontalPodAutoscaler"));
        before(("policy", "PodDisruptionBudget"), ("", "ResourceQuota"));
        before(("", "ResourceQuota"), ("batch", "CronJob"));
        before(("batch", "Job"), ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration"));
        before(("batch", "Job"), ("apiregistration.k8s.io", "APIService"));
    }

    #[test]
    fn all_phases_are_listed_in_order() {
        assert!(Phase::ALL.is_sorted());
    }

    #[test]
    fn a_group_that_only_sounds_alike_is_custom() {
        assert_eq!(phase_of("example.com", "Secret"), Phase::Custom);
        assert_eq!(phase_of("apps.example.com", "Deployment"), Phase::Custom);
    }
}
