//! The class of every object and kind: stored, excluded, derived or skipped, and by which rule. Pure.
//!
//! An object that is being deleted, or whose Namespace is, counts as derived: nothing is lost by leaving
//! out what its owner has already given up, and restoring it would bring it back to life.

use super::builtin::{derived_kind, derived_object, is_metrics, skipped_kind, skipped_object};
use super::facts::Facts;
use super::rules::{ClusterScope, NamespaceVerdict, Selection};
use crate::cluster::{BrokenGroup, Item, Resource};
use serde::Deserialize;
use std::collections::BTreeMap;

/// What becomes of an object, or of a whole kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    Stored,
    /// Left out by a rule or a label; counted.
    Excluded(Excluded),
    /// The cluster makes it again by itself; counted.
    Derived(Derived),
    /// Every cluster has its own; never stored and never reported as differing.
    Skipped(Skipped),
}

/// A list of reasons, each with its stable name in reports.
macro_rules! reasons {
    ($(#[$doc:meta])* $name:ident { $($(#[$each:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$each])* $variant,)+ }
        impl $name {
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }
    };
}

reasons!(
    /// Why a rule or a label leaves it out.
    Excluded {
        Namespace = "namespace",
        SystemNamespace = "systemNamespace",
        OptedOut = "optedOut",
        NamespaceOptedOut = "namespaceOptedOut",
        LabelSelector = "labelSelector",
        Kind = "kind",
        ClusterScope = "clusterScope",
        /// Cluster-scoped, and part of something in a namespace that is not selected.
        OwnerNamespace = "ownerNamespace",
    }
);
reasons!(
    /// Why the cluster makes it again.
    Derived {
        Event = "event",
        Node = "node",
        Lease = "lease",
        NodeState = "nodeState",
        SigningRequest = "signingRequest",
        ServerState = "serverState",
        Metrics = "metrics",
        /// Without list, create and delete there is nothing to store or to restore.
        NotStorable = "notStorable",
        Owned = "owned",
        ServiceEndpoints = "serviceEndpoints",
        BeingDeleted = "beingDeleted",
        NamespaceTerminating = "namespaceTerminating",
    }
);
reasons!(
    /// Why every cluster has its own.
    Skipped {
        AgentNamespace = "agentNamespace",
        ClusterCertificate = "clusterCertificate",
        BootstrapRbac = "bootstrapRbac",
        KubernetesService = "kubernetesService",
        BootstrapFlowControl = "bootstrapFlowControl",
        SystemPriorityClass = "systemPriorityClass",
        DefaultServiceCidr = "defaultServiceCidr",
        IpAddress = "ipAddress",
        AutomanagedApiService = "automanagedApiService",
        HierarchyInherited = "hierarchyInherited",
    }
);

impl Class {
    /// The rule's stable name; `stored` if it is.
    #[must_use]
    pub fn rule(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::Excluded(why) => why.as_str(),
            Self::Derived(why) => why.as_str(),
            Self::Skipped(why) => why.as_str(),
        }
    }
}

/// Whether labels ask to be left out: this holds for objects, claims (their data too), Pods (their
/// volumes) and Namespaces (everything in them).
#[must_use]
pub fn opted_out(labels: &BTreeMap<String, String>) -> bool {
    opt_out_label(labels).is_some()
}

/// The label that asks to be left out.
#[must_use]
pub fn opt_out_label(labels: &BTreeMap<String, String>) -> Option<&'static str> {
    let plain = ["compliantkubernetes.io/nobackup", "lifeboat.dev/nobackup"];
    let velero = "velero.io/exclude-from-backup";
    plain
        .into_iter()
        .find(|label| labels.contains_key(*label))
        .or_else(|| labels.get(velero).is_some_and(|value| value == "true").then_some(velero))
}

/// The namespace that an object is counted in: its own, or itself if it is one.
#[must_use]
pub fn home<'a>(resource: &Resource, item: &'a Item) -> Option<&'a str> {
    if resource.is("", "namespaces") { Some(&item.meta.name) } else { item.meta.namespace.as_deref() }
}

/// The class of a whole kind, if all its objects share one: it need not be listed then.
#[must_use]
pub fn classify_kind(resource: &Resource, selection: &Selection) -> Option<Class> {
    if let Some(why) = skipped_kind(resource) {
        return Some(Class::Skipped(why));
    }
    if let Some(why) = derived_kind(resource) {
        return Some(Class::Derived(why));
    }
    let namespaces = resource.is("", "namespaces");
    if !namespaces && !selection.selects_kind(resource) {
        return Some(Class::Excluded(Excluded::Kind));
    }
    let off = !resource.namespaced && !namespaces && selection.cluster_scope == ClusterScope::Off;
    off.then_some(Class::Excluded(Excluded::ClusterScope))
}

/// Whether a group that could not be learned holds nothing that would have been stored.
#[must_use]
pub fn classify_broken(group: &BrokenGroup) -> Option<Class> {
    is_metrics(&group.group).then_some(Class::Derived(Derived::Metrics))
}

/// The class of one object. `facts` must hold what was listed before it, in the listing order; the caller
/// then tells [`Facts::note_used`] of those that are stored or owned.
#[must_use]
pub fn classify(resource: &Resource, item: &Item, facts: &Facts, selection: &Selection) -> Class {
    let namespaces = resource.is("", "namespaces");
    let home = home(resource, item);
    let verdict = home.map_or(NamespaceVerdict::Selected, |home| selection.namespace(home));
    if verdict == NamespaceVerdict::Agent {
        return Class::Skipped(Skipped::AgentNamespace);
    }
    if let Some(why) = skipped_object(resource, item) {
        return Class::Skipped(why);
    }
    match verdict {
        NamespaceVerdict::System => return Class::Excluded(Excluded::SystemNamespace),
        NamespaceVerdict::NotSelected => return Class::Excluded(Excluded::Namespace),
        NamespaceVerdict::Agent | NamespaceVerdict::Selected => {}
    }
    if let Some(class) = classify_kind(resource, selection) {
        return class;
    }
    if let Some(class) = by_state(resource, item, facts, selection, home) {
        return class;
    }
    if let Some(why) = derived_object(resource, item, facts) {
        return Class::Derived(why);
    }
    if namespaces {
        return Class::Stored;
    }
    if resource.namespaced {
        return if selection.labels().matches(&item.meta.labels) {
            Class::Stored
        } else {
            Class::Excluded(Excluded::LabelSelector)
        };
    }
    cluster_scoped(resource, item, facts, selection)
}

/// Deletion and opting out, of the object or of its Namespace.
fn by_state(
    resource: &Resource,
    item: &Item,
    facts: &Facts,
    selection: &Selection,
    home: Option<&str>,
) -> Option<Class> {
    let around = home.and_then(|home| facts.namespace(home)).cloned().unwrap_or_default();
    if around.terminating {
        return Some(Class::Derived(Derived::NamespaceTerminating));
    }
    if item.meta.deleted.is_some() {
        return Some(Class::Derived(Derived::BeingDeleted));
    }
    if selection.include_opted_out {
        return None;
    }
    if opted_out(&item.meta.labels) {
        return Some(Class::Excluded(Excluded::OptedOut));
    }
    (around.opted_out && resource.namespaced).then_some(Class::Excluded(Excluded::NamespaceOptedOut))
}

fn cluster_scoped(resource: &Resource, item: &Item, facts: &Facts, selection: &Selection) -> Class {
    // What a stored object uses belongs to it, wherever it came from.
    if facts.uses(resource, &item.meta.name) {
        return Class::Stored;
    }
    if selection.cluster_scope == ClusterScope::Related {
        return if binds_selected(resource, item, selection) {
            Class::Stored
        } else {
            Class::Excluded(Excluded::ClusterScope)
        };
    }
    let owners = owner_namespaces(resource, item);
    if !owners.is_empty() && !owners.iter().any(|namespace| selection.selects_namespace(namespace)) {
        let agent = owners.iter().all(|namespace| selection.namespace(namespace) == NamespaceVerdict::Agent);
        return if agent {
            Class::Skipped(Skipped::AgentNamespace)
        } else {
            Class::Excluded(Excluded::OwnerNamespace)
        };
    }
    if selection.labels().matches(&item.meta.labels) {
        Class::Stored
    } else {
        Class::Excluded(Excluded::LabelSelector)
    }
}

/// Whether it gives rights to a ServiceAccount in a selected namespace.
fn binds_selected(resource: &Resource, item: &Item, selection: &Selection) -> bool {
    if !resource.is("rbac.authorization.k8s.io", "clusterrolebindings") {
        return false;
    }
    let subjects = item.parse::<Subjects>().unwrap_or_default().subjects.unwrap_or_default();
    subjects.iter().any(|subject| match subject.kind.as_str() {
        "ServiceAccount" => selection.selects_namespace(&subject.namespace),
        "Group" => {
            let group = subject.name.strip_prefix("system:serviceaccounts:");
            group.is_some_and(|namespace| selection.selects_namespace(namespace))
        }
        _ => false,
    })
}

/// The namespaces that a cluster-scoped object belongs to, by what it says itself.
fn owner_namespaces(resource: &Resource, item: &Item) -> Vec<String> {
    if let Some(namespace) = item.meta.annotation("meta.helm.sh/release-namespace") {
        return vec![namespace.to_owned()];
    }
    let refers = matches!(
        (resource.group.as_str(), resource.plural.as_str()),
        ("admissionregistration.k8s.io", "validatingwebhookconfigurations" | "mutatingwebhookconfigurations")
            | ("apiregistration.k8s.io", "apiservices")
            | ("", "persistentvolumes")
    );
    if !refers {
        return Vec::new();
    }
    let body = item.parse::<Refers>().unwrap_or_default();
    let spec = body.spec.unwrap_or_default();
    let hooks = body.webhooks.unwrap_or_default();
    // A webhook without a Service calls a URL: that part belongs to no namespace.
    if hooks.iter().any(|hook| hook.client_config.service.is_none()) {
        return Vec::new();
    }
    let services = hooks.into_iter().filter_map(|hook| hook.client_config.service);
    services.chain(spec.service).chain(spec.claim_ref).map(|place| place.namespace).collect()
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Subjects {
    subjects: Option<Vec<Subject>>,
}
#[derive(Deserialize, Default)]
#[serde(default)]
struct Subject {
    kind: String,
    name: String,
    namespace: String,
}
#[derive(Deserialize, Default)]
#[serde(default)]
struct Refers {
    webhooks: Option<Vec<Hook>>,
    spec: Option<RefersSpec>,
}
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct RefersSpec {
    service: Option<Place>,
    claim_ref: Option<Place>,
}
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Hook {
    client_config: ClientConfig,
}
#[derive(Deserialize, Default)]
#[serde(default)]
struct ClientConfig {
    service: Option<Place>,
}
#[derive(Deserialize, Default)]
#[serde(default)]
struct Place {
    namespace: String,
}

#[cfg(test)]
#[path = "classify_tests.rs"]
mod tests;
