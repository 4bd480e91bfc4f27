//! What one document refers to: Secrets, classes, roles, namespaces, and the tool that deployed it.
//! Pure; reads only the few fields it names and believes nothing else.

use super::source::{GroupKind, ObjectKey};
use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// References of one object.
#[derive(Debug, Default)]
pub struct Refs {
    /// Secrets of its own namespace without which it does not start.
    pub secrets: BTreeSet<String>,
    /// Cluster-scoped objects that it names.
    pub cluster: BTreeSet<(GroupKind, String)>,
    /// Drivers that it needs.
    pub drivers: BTreeSet<String>,
    /// Namespaces that a cluster-scoped object belongs to or acts for.
    pub namespaces: BTreeSet<String>,
    /// For a definition: the kind that it defines.
    pub defines: Option<GroupKind>,
    /// The object of a deployment tool that keeps it.
    pub manager: Option<ObjectKey>,
}

/// The few fields of metadata that a plan needs.
#[derive(Debug, Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
pub struct Meta {
    pub uid: String,
    pub creation_timestamp: String,
    pub labels: Option<BTreeMap<String, String>>,
    pub annotations: Option<BTreeMap<String, String>>,
    pub owner_references: Vec<OwnerReference>,
    managed_fields: Vec<ManagedFields>,
}

#[derive(Debug, Deserialize, Default, Clone)]
#[serde(default, rename_all = "camelCase")]
pub struct OwnerReference {
    pub api_version: String,
    pub kind: String,
    pub name: String,
    pub uid: String,
    pub controller: Option<bool>,
    pub block_owner_deletion: Option<bool>,
}

#[derive(Debug, Deserialize, Default)]
#[serde(default)]
struct ManagedFields {
    operation: String,
    subresource: String,
}

impl OwnerReference {
    /// Whether every part is as short as the API server would have it.
    #[must_use]
    pub fn is_bounded(&self, max: usize) -> bool {
        [&self.api_version, &self.kind, &self.name, &self.uid].iter().all(|part| part.len() <= max)
    }
}

impl Meta {
    #[must_use]
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.as_ref()?.get(key).map(String::as_str)
    }

    #[must_use]
    pub fn label(&self, key: &str) -> Option<&str> {
        self.labels.as_ref()?.get(key).map(String::as_str)
    }

    /// Whether server-side apply wrote the object: then who owns which field matters.
    #[must_use]
    pub fn was_applied(&self) -> bool {
        self.managed_fields.iter().any(|m| m.operation == "Apply" && m.subresource.is_empty())
    }

    /// The owner that manages the object, if one does.
    #[must_use]
    pub fn controller(&self) -> Option<&OwnerReference> {
        self.owner_references.iter().find(|owner| owner.controller == Some(true))
    }
}

/// Whether documents of a kind are looked into at all. Others may be large, and refer to nothing.
#[must_use]
pub fn has_refs(kind: &GroupKind) -> bool {
    matches!(
        kind.group.as_str(),
        "apps"
            | "batch"
            | "networking.k8s.io"
            | "storage.k8s.io"
            | "rbac.authorization.k8s.io"
            | "apiextensions.k8s.io"
            | "apiregistration.k8s.io"
            | "admissionregistration.k8s.io"
    ) || (kind.group.is_empty() && !matches!(kind.kind.as_str(), "ConfigMap" | "Secret" | "Event"))
}

/// Finds what a document refers to.
#[must_use]
pub fn refs_of(key: &ObjectKey, doc: &Value, meta: &Meta) -> Refs {
    let mut refs = Refs { manager: manager(meta), ..Refs::default() };
    let spec = &doc["spec"];
    match (key.kind.group.as_str(), key.kind.kind.as_str()) {
        ("", "Pod") => pod(spec, &mut refs),
        ("apps", _) | ("batch", "Job") | ("", "ReplicationController") => {
            pod(&spec["template"]["spec"], &mut refs);
            for template in list(&spec["volumeClaimTemplates"]) {
                claim(&template["spec"], &mut refs);
            }
        }
        ("batch", "CronJob") => pod(&spec["jobTemplate"]["spec"]["template"]["spec"], &mut refs),
        ("", "PersistentVolumeClaim") => claim(spec, &mut refs),
        ("", "PersistentVolume") => {
            claim(spec, &mut refs);
            refs.drivers.extend(text(&spec["csi"]["driver"]));
            refs.namespaces.extend(text(&spec["claimRef"]["namespace"]));
        }
        ("", "ServiceAccount") => names(&doc["imagePullSecrets"], &mut refs.secrets),
        ("networking.k8s.io", "Ingress") => {
            refs.add("networking.k8s.io", "IngressClass", &spec["ingressClassName"]);
            refs.secrets.extend(list(&spec["tls"]).filter_map(|tls| text(&tls["secretName"])));
        }
        ("storage.k8s.io", "StorageClass") => {
            refs.drivers.extend(text(&doc["provisioner"]).filter(|driver| driver.contains("csi")));
        }
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => {
            if doc["roleRef"]["kind"] == "ClusterRole" {
                refs.add("rbac.authorization.k8s.io", "ClusterRole", &doc["roleRef"]["name"]);
            }
            refs.namespaces.extend(list(&doc["subjects"]).filter_map(|s| text(&s["namespace"])));
        }
        _ => extension(key, doc, &mut refs),
    }
    if key.namespace.is_none() {
        refs.namespaces.extend(meta.annotation("meta.helm.sh/release-namespace").map(str::to_owned));
    }
    refs
}

fn extension(key: &ObjectKey, doc: &Value, refs: &mut Refs) {
    let spec = &doc["spec"];
    match (key.kind.group.as_str(), key.kind.kind.as_str()) {
        ("apiextensions.k8s.io", "CustomResourceDefinition") => {
            let kind = text(&spec["names"]["kind"]).unwrap_or_default();
            refs.defines = Some(GroupKind::new(text(&spec["group"]).unwrap_or_default(), kind));
        }
        ("apiregistration.k8s.io", "APIService") => {
            refs.namespaces.extend(text(&spec["service"]["namespace"]));
        }
        (
            "admissionregistration.k8s.io",
            "ValidatingWebhookConfiguration" | "MutatingWebhookConfiguration",
        ) => {
            for webhook in list(&doc["webhooks"]) {
                refs.namespaces.extend(text(&webhook["clientConfig"]["service"]["namespace"]));
            }
        }
        _ => {}
    }
}

impl Refs {
    fn add(&mut self, group: &str, kind: &str, name: &Value) {
        if let Some(name) = text(name) {
            self.cluster.insert((GroupKind::new(group, kind), name));
        }
    }
}

fn pod(spec: &Value, refs: &mut Refs) {
    refs.add("scheduling.k8s.io", "PriorityClass", &spec["priorityClassName"]);
    refs.add("node.k8s.io", "RuntimeClass", &spec["runtimeClassName"]);
    names(&spec["imagePullSecrets"], &mut refs.secrets);
    for volume in list(&spec["volumes"]) {
        needed(&volume["secret"], "secretName", refs);
        refs.drivers.extend(text(&volume["csi"]["driver"]));
        for source in list(&volume["projected"]["sources"]) {
            needed(&source["secret"], "name", refs);
        }
        claim(&volume["ephemeral"]["volumeClaimTemplate"]["spec"], refs);
    }
    for container in list(&spec["containers"]).chain(list(&spec["initContainers"])) {
        for variable in list(&container["env"]) {
            needed(&variable["valueFrom"]["secretKeyRef"], "name", refs);
        }
        for source in list(&container["envFrom"]) {
            needed(&source["secretRef"], "name", refs);
        }
    }
}

fn claim(spec: &Value, refs: &mut Refs) {
    refs.add("storage.k8s.io", "StorageClass", &spec["storageClassName"]);
    refs.add("storage.k8s.io", "VolumeAttributesClass", &spec["volumeAttributesClassName"]);
}

fn needed(reference: &Value, field: &str, refs: &mut Refs) {
    if reference["optional"] != true {
        refs.secrets.extend(text(&reference[field]));
    }
}

fn names(references: &Value, into: &mut BTreeSet<String>) {
    into.extend(list(references).filter_map(|reference| text(&reference["name"])));
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> Option<String> {
    value.as_str().filter(|text| !text.is_empty() && text.len() <= 253).map(str::to_owned)
}

/// The Flux or Argo CD object that keeps this one as it is.
fn manager(meta: &Meta) -> Option<ObjectKey> {
    let key = |group: &str, kind: &str, namespace: Option<&str>, name: &str| ObjectKey {
        namespace: namespace.map(str::to_owned),
        kind: GroupKind::new(group, kind),
        name: name.to_owned(),
    };
    for (group, kind) in
        [("kustomize.toolkit.fluxcd.io", "Kustomization"), ("helm.toolkit.fluxcd.io", "HelmRelease")]
    {
        let name = meta.label(&format!("{group}/name"));
        let namespace = meta.label(&format!("{group}/namespace"));
        if let (Some(name), Some(namespace)) = (name, namespace)
            && name.len().max(namespace.len()) <= 253
        {
            return Some(key(group, kind, Some(namespace), name));
        }
    }
    let tracked = meta.annotation("argocd.argoproj.io/tracking-id").and_then(|id| id.split(':').next());
    let app = tracked.or_else(|| meta.label("argocd.argoproj.io/instance")).filter(|app| app.len() <= 253)?;
    // An application of another namespace than Argo CD's own is tracked as `namespace_name`.
    let (namespace, name) = match app.split_once('_') {
        Some((namespace, name)) => (Some(namespace), name),
        None => (None, app),
    };
    Some(key("argoproj.io", "Application", namespace, name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn refs(group: &str, kind: &str, doc: Value) -> Refs {
        let key =
            ObjectKey { namespace: Some("shop".into()), kind: GroupKind::new(group, kind), name: "x".into() };
        let meta: Meta = serde_json::from_value(doc["metadata"].clone()).unwrap_or_default();
        refs_of(&key, &doc, &meta)
    }

    #[test]
    fn pods_name_their_secrets_unless_optional() {
        let spec = json!({"imagePullSecrets": [{"name": "pull"}], "priorityClassName": "high",
            "volumes": [{"secret": {"secretName": "vol"}}, {"secret": {"secretName": "maybe", "optional": true}},
                {"projected": {"sources": [{"secret": {"name": "proj"}}]}}],
            "containers": [{"env": [{"valueFrom": {"secretKeyRef": {"name": "env"}}}], "envFrom": [{"secretRef": {"name": "from"}}]}]});
        let found = refs("apps", "Deployment", json!({"spec": {"template": {"spec": spec}}}));
        let secrets: Vec<_> = found.secrets.iter().map(String::as_str).collect();
        assert_eq!(secrets, ["env", "from", "proj", "pull", "vol"]);
        assert!(
            found.cluster.contains(&(GroupKind::new("scheduling.k8s.io", "PriorityClass"), "high".into()))
        );
    }

    #[test]
    fn deployment_tools_are_recognized() {
        let flux = json!({"metadata": {"labels": {"kustomize.toolkit.fluxcd.io/name": "apps", "kustomize.toolkit.fluxcd.io/namespace": "flux-system"}}});
        assert_eq!(
            refs("", "ConfigMap", flux).manager.unwrap().to_string(),
            "Kustomization.kustomize.toolkit.fluxcd.io flux-system/apps"
        );
        let argo = json!({"metadata": {"annotations": {"argocd.argoproj.io/tracking-id": "shop:apps/Deployment:a/b"}}});
        assert_eq!(refs("", "ConfigMap", argo).manager.unwrap().name, "shop");
        assert!(
            refs("", "ConfigMap", json!({"metadata": {"labels": {"app.kubernetes.io/instance": "a"}}}))
                .manager
                .is_none()
        );
    }

    #[test]
    fn odd_shapes_refer_to_nothing() {
        let found = refs(
            "apps",
            "Deployment",
            json!({"spec": {"template": {"spec": {"volumes": "x", "containers": [1]}}}}),
        );
        assert!(found.secrets.is_empty() && found.cluster.is_empty());
    }
}
