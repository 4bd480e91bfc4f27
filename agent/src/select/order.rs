//! In which order kinds are listed, so that what is used is never older than what uses it, and facts are
//! known before they are needed. Pure.

use crate::cluster::Resource;

/// Sorts kinds into the order to list them in.
///
/// Users come before what they use: an object that a listed Pod names was made before that Pod, so it is
/// in the later list. Cluster-scoped kinds come last, when it is known what is used.
pub fn sort_for_listing(resources: &mut [Resource]) {
    resources
        .sort_by_cached_key(|resource| (rank(resource), resource.group.clone(), resource.plural.clone()));
}

fn rank(resource: &Resource) -> u8 {
    match (resource.group.as_str(), resource.plural.as_str()) {
        ("", "namespaces") => 0,
        // Facts for Endpoints and ReplicaSets.
        ("", "services") | ("apps", "deployments") => 1,
        ("", "pods") => 4,
        ("", "serviceaccounts") => 6,
        ("", "configmaps") => 7,
        ("", "persistentvolumeclaims") => 8,
        ("", "secrets") => 9,
        ("rbac.authorization.k8s.io", "clusterrolebindings") => 10,
        ("apiextensions.k8s.io", "customresourcedefinitions") => 12,
        _ if !resource.namespaced => 11,
        _ if resource.custom => 2,
        ("apps" | "batch", _) => 3,
        _ => 5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_come_before_what_they_use() {
        let make = |group: &str, plural: &str, namespaced: bool, custom: bool| Resource {
            group: group.into(),
            plural: plural.into(),
            namespaced,
            custom,
            ..Resource::default()
        };
        let mut all = [
            make("", "secrets", true, false),
            make("apiextensions.k8s.io", "customresourcedefinitions", false, false),
            make("", "persistentvolumes", false, false),
            make("", "persistentvolumeclaims", true, false),
            make("rbac.authorization.k8s.io", "clusterroles", false, false),
            make("rbac.authorization.k8s.io", "clusterrolebindings", false, false),
            make("", "endpoints", true, false),
            make("apps", "replicasets", true, false),
            make("demo.dev", "boats", true, true),
            make("", "pods", true, false),
            make("apps", "deployments", true, false),
            make("", "services", true, false),
            make("", "namespaces", false, false),
        ];
        sort_for_listing(&mut all);
        let plurals: Vec<_> = all.iter().map(|resource| resource.plural.as_str()).collect();
        assert_eq!(
            plurals,
            [
                "namespaces",
                "services",
                "deployments",
                "boats",
                "replicasets",
                "pods",
                "endpoints",
                "persistentvolumeclaims",
                "secrets",
                "clusterrolebindings",
                "persistentvolumes",
                "clusterroles",
                "customresourcedefinitions"
            ]
        );
    }
}
