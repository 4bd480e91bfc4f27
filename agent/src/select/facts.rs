//! What is learned from objects while they are listed, because the class of others depends on it. Pure.
//! Knows rules of Kubernetes, not of the selection.

use crate::cluster::{Item, Resource};
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::collections::{BTreeMap, HashMap, HashSet};

/// What the objects seen so far say. Listing in the order of `sort_for_listing` makes it complete in time.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    namespaces: HashMap<String, NamespaceFacts>,
    /// Services that select their Pods: namespace, name.
    selecting_services: HashSet<(String, String)>,
    /// Paused Deployments, and their current revision.
    paused: HashMap<(String, String), Option<String>>,
    /// What stored or derived objects use: resource key, name.
    used: HashMap<String, HashSet<String>>,
}

/// What a Namespace says about the objects in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NamespaceFacts {
    pub opted_out: bool,
    pub terminating: bool,
}

impl Facts {
    /// Learns from an object before it is classified. Cheap for kinds that nothing depends on.
    pub fn observe(&mut self, resource: &Resource, item: &Item) {
        let place = || (item.meta.namespace.clone().unwrap_or_default(), item.meta.name.clone());
        match (resource.group.as_str(), resource.plural.as_str()) {
            ("", "namespaces") => {
                let phase = item.parse::<NamespaceBody>().unwrap_or_default().status.phase;
                let facts = NamespaceFacts {
                    opted_out: super::opted_out(&item.meta.labels),
                    terminating: item.meta.deleted.is_some() || phase == "Terminating",
                };
                self.namespaces.insert(item.meta.name.clone(), facts);
            }
            ("", "services") => {
                let spec = item.parse::<ServiceBody>().unwrap_or_default().spec;
                if spec.selector.is_some_and(|selector| !selector.is_empty()) {
                    self.selecting_services.insert(place());
                }
            }
            ("apps", "deployments") if item.parse::<DeploymentBody>().unwrap_or_default().spec.paused => {
                let revision = item.meta.annotation(REVISION).map(str::to_owned);
                self.paused.insert(place(), revision);
            }
            _ => {}
        }
    }

    /// Learns what an object that is stored, or made again from one that is, makes use of.
    pub fn note_used(&mut self, resource: &Resource, item: &Item) {
        if resource.custom {
            self.add("customresourcedefinitions.apiextensions.k8s.io", &resource.key());
        }
        match (resource.group.as_str(), resource.plural.as_str()) {
            ("rbac.authorization.k8s.io", "rolebindings" | "clusterrolebindings") => {
                let role = item.parse::<BindingBody>().unwrap_or_default().role_ref;
                if role.kind == "ClusterRole" {
                    self.add("clusterroles.rbac.authorization.k8s.io", &role.name);
                }
            }
            ("", "pods" | "replicationcontrollers" | "persistentvolumeclaims")
            | ("apps", _)
            | ("batch", _)
            | ("networking.k8s.io", "ingresses")
            | ("gateway.networking.k8s.io", "gateways") => {
                let spec = item.parse::<UserBody>().unwrap_or_default().spec;
                self.note_spec(&spec);
            }
            _ => {}
        }
        for (annotation, key) in CLASS_ANNOTATIONS {
            if let Some(name) = item.meta.annotation(annotation) {
                self.add(key, name);
            }
        }
    }

    fn note_spec(&mut self, spec: &UserSpec) {
        let names = [
            ("persistentvolumes", &spec.volume_name),
            ("storageclasses.storage.k8s.io", &spec.storage_class_name),
            ("volumeattributesclasses.storage.k8s.io", &spec.volume_attributes_class_name),
            ("ingressclasses.networking.k8s.io", &spec.ingress_class_name),
            ("gatewayclasses.gateway.networking.k8s.io", &spec.gateway_class_name),
            ("priorityclasses.scheduling.k8s.io", &spec.priority_class_name),
            ("runtimeclasses.node.k8s.io", &spec.runtime_class_name),
        ];
        for (key, name) in names {
            if let Some(name) = name {
                self.add(key, name);
            }
        }
        // The parser's depth limit bounds this, whatever a template nests.
        let inner = [&spec.template, &spec.job_template].into_iter().flatten().map(Box::as_ref);
        for template in inner.chain(spec.volume_claim_templates.iter().flatten()) {
            self.note_spec(&template.spec);
        }
    }

    fn add(&mut self, key: &str, name: &str) {
        if name.is_empty() {
            return;
        }
        if let Some(names) = self.used.get_mut(key) {
            names.insert(name.to_owned());
        } else {
            self.used.insert(key.to_owned(), HashSet::from([name.to_owned()]));
        }
    }

    /// Whether something stored or derived uses this object.
    #[must_use]
    pub fn uses(&self, resource: &Resource, name: &str) -> bool {
        self.used.get(&resource.key()).is_some_and(|names| names.contains(name))
    }

    /// `None` for a namespace that was not seen: it appeared since.
    #[must_use]
    pub fn namespace(&self, name: &str) -> Option<&NamespaceFacts> {
        self.namespaces.get(name)
    }

    #[must_use]
    pub fn service_selects(&self, namespace: &str, name: &str) -> bool {
        self.selecting_services.contains(&(namespace.to_owned(), name.to_owned()))
    }

    /// Whether this ReplicaSet is what a paused Deployment runs: nothing would make it again. While paused,
    /// the Deployment's template may already be another one, so that the running one exists only here.
    #[must_use]
    pub fn runs_paused_deployment(&self, item: &Item) -> bool {
        let Some(owner) = item.meta.controller().filter(|owner| owner.kind == "Deployment") else {
            return false;
        };
        let place = (item.meta.namespace.clone().unwrap_or_default(), owner.name.clone());
        let Some(revision) = self.paused.get(&place) else { return false };
        let current = revision.is_some() && revision.as_deref() == item.meta.annotation(REVISION);
        current
            || item
                .parse::<ReplicaSetBody>()
                .unwrap_or_default()
                .spec
                .replicas
                .is_none_or(|replicas| replicas > 0)
    }
}

const REVISION: &str = "deployment.kubernetes.io/revision";
/// The older way to name a class.
const CLASS_ANNOTATIONS: [(&str, &str); 2] = [
    ("kubernetes.io/ingress.class", "ingressclasses.networking.k8s.io"),
    ("volume.beta.kubernetes.io/storage-class", "storageclasses.storage.k8s.io"),
];

#[derive(Deserialize, Default)]
#[serde(default)]
struct NamespaceBody {
    status: NamespaceStatus,
}
#[derive(Deserialize, Default)]
#[serde(default)]
struct NamespaceStatus {
    phase: String,
}
#[derive(Deserialize, Default)]
#[serde(default)]
struct ServiceBody {
    spec: ServiceSpec,
}
#[derive(Deserialize, Default)]
#[serde(default)]
struct ServiceSpec {
    selector: Option<BTreeMap<String, IgnoredAny>>,
}
#[derive(Deserialize, Default)]
#[serde(default)]
struct DeploymentBody {
    spec: DeploymentSpec,
}
#[derive(Deserialize, Default)]
#[serde(default)]
struct DeploymentSpec {
    paused: bool,
}
#[derive(Deserialize, Default)]
#[serde(default)]
struct ReplicaSetBody {
    spec: ReplicaSetSpec,
}
#[derive(Deserialize, Default)]
#[serde(default)]
struct ReplicaSetSpec {
    replicas: Option<i64>,
}
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct BindingBody {
    role_ref: RoleRef,
}
#[derive(Deserialize, Default)]
#[serde(default)]
struct RoleRef {
    kind: String,
    name: String,
}
#[derive(Deserialize, Default)]
#[serde(default)]
struct UserBody {
    spec: UserSpec,
}
/// The fields by which workloads, claims, ingresses and gateways name cluster-scoped objects.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct UserSpec {
    volume_name: Option<String>,
    storage_class_name: Option<String>,
    volume_attributes_class_name: Option<String>,
    ingress_class_name: Option<String>,
    gateway_class_name: Option<String>,
    priority_class_name: Option<String>,
    runtime_class_name: Option<String>,
    template: Option<Box<UserBody>>,
    job_template: Option<Box<UserBody>>,
    volume_claim_templates: Option<Vec<UserBody>>,
}
