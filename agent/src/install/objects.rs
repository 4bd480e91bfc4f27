//! The objects that an installation is made of: the files of `deploy/`, fitted to a namespace, an image, a schedule and
//! the ports of this cluster. Pure; sends nothing.

use super::{Options, hooks, nodes};
use crate::cluster::write::KindPath;
use serde_json::{Value, json};

/// The namespace that the files are written for.
pub const NAMESPACE: &str = "lifeboat";
pub const CONTROLLER: &str = "lifeboat-controller";
pub const SECRET: &str = "lifeboat-agent";
pub const STATE: &str = "lifeboat-state";
pub const SCHEDULE: &str = "daily";
/// What `make image` names the image, up to the version.
pub const OWN_IMAGE: &str = "localhost/lifeboat-agent:";
/// Whatever carries this label with the value `lifeboat` belongs to an installation.
pub const PART_OF: &str = "app.kubernetes.io/part-of";
/// Lets the pods start anew when the Secret changes.
const CHECKSUM: &str = "lifeboat.dev/config-checksum";

const FILES: [&str; 17] = [
    include_str!("../../../deploy/namespace.yaml"),
    include_str!("../../../deploy/nodes/namespace.yaml"),
    include_str!("../../../deploy/clusterrole.yaml"),
    include_str!("../../../deploy/rbac.yaml"),
    include_str!("../../../deploy/nodes/rbac.yaml"),
    include_str!("../../../deploy/nodes/policy.yaml"),
    include_str!("../../../deploy/hooks/rights.yaml"),
    include_str!("../../../deploy/hooks/everywhere.yaml"),
    include_str!("../../../deploy/state.yaml"),
    include_str!("../../../deploy/nodes/work.yaml"),
    include_str!("../../../deploy/networkpolicy.yaml"),
    include_str!("../../../deploy/nodes/networkpolicy.yaml"),
    include_str!("../../../deploy/pdb.yaml"),
    include_str!("../../../deploy/service.yaml"),
    include_str!("../../../deploy/schedule.yaml"),
    include_str!("../../../deploy/nodes/daemonset.yaml"),
    include_str!("../../../deploy/deployment.yaml"),
];

const ADMISSION: &str = "admissionregistration.k8s.io";

/// Group, version, kind, plural, and whether it lives in a namespace.
const KINDS: [(&str, &str, &str, &str, bool); 17] = [
    ("", "v1", "Namespace", "namespaces", false),
    ("", "v1", "Secret", "secrets", true),
    ("", "v1", "Service", "services", true),
    ("", "v1", "ServiceAccount", "serviceaccounts", true),
    (ADMISSION, "v1", "ValidatingAdmissionPolicy", "validatingadmissionpolicies", false),
    (ADMISSION, "v1", "ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings", false),
    ("apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions", false),
    ("apps", "v1", "DaemonSet", "daemonsets", true),
    ("apps", "v1", "Deployment", "deployments", true),
    ("lifeboat.dev", "v1alpha1", "BackupSchedule", "backupschedules", true),
    ("lifeboat.dev", "v1alpha1", "Backup", "backups", true),
    ("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies", true),
    ("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets", true),
    ("rbac.authorization.k8s.io", "v1", "ClusterRole", "clusterroles", false),
    ("rbac.authorization.k8s.io", "v1", "ClusterRoleBinding", "clusterrolebindings", false),
    ("rbac.authorization.k8s.io", "v1", "Role", "roles", true),
    ("rbac.authorization.k8s.io", "v1", "RoleBinding", "rolebindings", true),
];

/// When an object is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    Always,
    /// Where nothing has its name: what is in it is the agent's.
    Absent,
    /// With the first installation, or when it is asked for: afterwards it is the administrator's.
    First,
}

/// One object, and how it is written.
#[derive(Debug, Clone)]
pub struct Object {
    pub path: KindPath,
    pub kind: String,
    pub namespace: Option<String>,
    pub name: String,
    pub when: When,
    pub body: Value,
}

impl Object {
    fn of(body: Value, when: When) -> Self {
        let text =
            |pointer: &str| body.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let kind = text("/kind");
        let namespace = Some(text("/metadata/namespace")).filter(|n| !n.is_empty());
        Self {
            path: path(&kind).expect("every kind in deploy/ is in the table"),
            namespace,
            name: text("/metadata/name"),
            kind,
            when,
            body,
        }
    }

    #[must_use]
    pub fn is(&self, kind: &str) -> bool {
        self.kind == kind
    }

    /// `Deployment lifeboat-controller`.
    #[must_use]
    pub fn title(&self) -> String {
        hooks::title(&self.kind, &self.name, self.namespace.as_deref())
    }
}

/// Where objects of a kind that is installed live.
#[must_use]
pub fn path(kind: &str) -> Option<KindPath> {
    let &(group, version, _, plural, namespaced) = KINDS.iter().find(|(_, _, k, ..)| *k == kind)?;
    Some(KindPath {
        group: group.to_owned(),
        version: version.to_owned(),
        plural: plural.to_owned(),
        namespaced,
    })
}

/// Everything, in the order of writing: definitions, namespace, rights, what the pods need, the pods.
#[must_use]
pub fn objects(options: &Options) -> Vec<Object> {
    let mut all: Vec<Object> =
        crate::kinds::crds().into_iter().map(|crd| Object::of(labeled(crd), When::Always)).collect();
    for document in documents().filter(|d| options.nodes || !nodes::is_for_nodes(d)) {
        if hooks::is_for_hooks(&document) {
            let namespaces = options.hooks.as_deref().unwrap_or_default();
            let wanted =
                hooks::wanted(in_namespace(document, &options.namespace), &options.namespace, namespaces);
            all.extend(wanted.into_iter().map(|document| Object::of(document, When::Always)));
            continue;
        }
        let when = match document["kind"].as_str() {
            Some("BackupSchedule") => When::First,
            Some("Secret") => When::Absent,
            _ => When::Always,
        };
        let needed = match document["kind"].as_str() {
            Some("DaemonSet") => Some(nodes::secret(&options.files)),
            Some("Deployment") => Some(secret(options)),
            _ => None,
        };
        if let Some(secret) = needed {
            all.push(Object::of(in_namespace(secret, &options.namespace), When::Always));
        }
        all.push(Object::of(fitted(document, options), when));
    }
    all
}

/// The documents of the files, as they are.
fn documents() -> impl Iterator<Item = Value> {
    let read = |text: &str| serde_saphyr::from_str(text).expect("the files in deploy/ are YAML");
    FILES.iter().flat_map(|file| file.split("\n---\n")).map(read)
}

/// The CustomResourceDefinitions are recognized when they are removed.
fn labeled(mut document: Value) -> Value {
    document["metadata"]["labels"][PART_OF] = json!("lifeboat");
    document
}

fn secret(options: &Options) -> Value {
    let mut secret = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": { "name": SECRET, "namespace": NAMESPACE, "labels": { "app.kubernetes.io/name": "lifeboat" } },
        "type": "Opaque",
        "data": options.files.to_data(),
    });
    secret["metadata"]["labels"][PART_OF] = json!("lifeboat");
    secret
}

fn fitted(document: Value, options: &Options) -> Value {
    let mut document = in_namespace(document, &options.namespace);
    match document["kind"].as_str() {
        Some(kind @ ("Deployment" | "DaemonSet")) => {
            let on_nodes = kind == "DaemonSet";
            let checksum =
                if on_nodes { nodes::files(&options.files).checksum() } else { options.files.checksum() };
            if let Some(directory) = options.kubelet.as_ref().filter(|_| on_nodes) {
                nodes::set_kubelet(&mut document, directory);
            }
            let template = &mut document["spec"]["template"];
            template["metadata"]["annotations"][CHECKSUM] = json!(checksum);
            if let Some(image) = &options.image {
                template["spec"]["containers"][0]["image"] = json!(image);
            }
        }
        Some("BackupSchedule") => {
            for (field, value) in [("schedule", &options.schedule), ("timeZone", &options.time_zone)] {
                if let Some(value) = value {
                    document["spec"][field] = json!(value);
                }
            }
        }
        Some("NetworkPolicy") if !document["spec"]["egress"].is_null() => open(&mut document, &options.ports),
        _ => {}
    }
    document
}

/// Adds ports to the rule for API server and store.
fn open(policy: &mut Value, ports: &[u16]) {
    let Some(list) = policy.pointer_mut("/spec/egress/1/ports").and_then(Value::as_array_mut) else { return };
    for port in ports {
        if !list.iter().any(|p| p["port"] == *port) {
            list.push(json!({ "port": port, "protocol": "TCP" }));
        }
    }
}

fn in_namespace(document: Value, namespace: &str) -> Value {
    let mut document = nodes::renamed(&document, namespace);
    if document["metadata"]["namespace"] == NAMESPACE {
        document["metadata"]["namespace"] = json!(namespace);
    }
    // Two installations do not take each other's rights away.
    let own = match document["kind"].as_str() {
        Some("Namespace") if document["metadata"]["name"] == NAMESPACE => Some(namespace.to_owned()),
        Some("ClusterRoleBinding") if hooks::is_for_hooks(&document) => Some(hooks::everywhere(namespace)),
        Some("ClusterRoleBinding") => Some(binding(namespace)),
        Some("ValidatingAdmissionPolicy") => Some(nodes::policy(namespace)),
        Some("ValidatingAdmissionPolicyBinding") => {
            document["spec"]["policyName"] = json!(nodes::policy(namespace));
            Some(nodes::policy(namespace))
        }
        _ => None,
    };
    if let Some(name) = own {
        document["metadata"]["name"] = json!(name);
    }
    for subject in document.get_mut("subjects").and_then(Value::as_array_mut).into_iter().flatten() {
        if subject["namespace"] == NAMESPACE {
            subject["namespace"] = json!(namespace);
        }
    }
    document
}

/// The name of the ClusterRoleBinding of an installation.
#[must_use]
pub fn binding(namespace: &str) -> String {
    if namespace == NAMESPACE { SECRET.to_owned() } else { format!("{SECRET}.{namespace}") }
}

#[cfg(test)]
mod tests;
