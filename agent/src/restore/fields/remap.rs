//! A document under a namespace map: its namespace, its references to mapped namespaces, and no
//! mark of a tool that would take the copy for its own and prune it. Pure.

use super::super::json::Node;
use super::super::mapping::NamespaceMap;
use super::super::source::ObjectKey;
use super::Notes;

/// How deep references are looked for in custom resources.
const MAX_DEPTH: usize = 32;

/// Applies the map; a reason means that the object must not be copied at all.
pub(super) fn apply(
    key: &ObjectKey,
    doc: &mut Node<'_>,
    map: &NamespaceMap,
    notes: &mut Notes,
) -> Option<String> {
    let mapped = match (&key.namespace, key.kind.is("", "Namespace")) {
        (Some(namespace), _) => map.get(namespace),
        (None, true) => map.get(&key.name),
        _ => None,
    };
    if let Some(new) = mapped {
        if let Some(reason) = never_copied(key, doc) {
            return Some(reason);
        }
        if strip_tracking(doc) {
            notes.push("tracking marks of Argo CD, Flux or Helm taken off the copy".to_owned());
        }
        let field = if key.namespace.is_some() { "namespace" } else { "name" };
        if let Some(meta) = doc.get("metadata") {
            meta.set(field, Node::new(&new));
        }
    }
    references(key, doc, map, notes);
    None
}

/// Objects that steer a deployment tool: a copy would make it act twice.
fn never_copied(key: &ObjectKey, doc: &mut Node<'_>) -> Option<String> {
    let steers = matches!(
        (key.kind.group.as_str(), key.kind.kind.as_str()),
        ("argoproj.io", "Application" | "ApplicationSet" | "AppProject")
            | ("kustomize.toolkit.fluxcd.io", "Kustomization")
            | ("helm.toolkit.fluxcd.io", "HelmRelease")
    );
    if steers {
        return Some("a copy under another namespace would deploy a second time".to_owned());
    }
    let release = key.kind.is("", "Secret") && doc.text(&["type"]).as_deref() == Some("helm.sh/release.v1");
    release.then(|| "a Helm release record names the old namespace".to_owned())
}

fn strip_tracking(doc: &mut Node<'_>) -> bool {
    let argo = has_argo(doc);
    let Some(meta) = doc.get("metadata") else { return false };
    let mut went = false;
    if let Some(labels) = meta.get("labels") {
        let helm = labels.text(&["app.kubernetes.io/managed-by"]).as_deref() == Some("Helm");
        went |= labels.retain_fields(|key| {
            !(is_tracking(key)
                || (helm && key == "app.kubernetes.io/managed-by")
                || (argo && key == "app.kubernetes.io/instance"))
        });
    }
    if let Some(annotations) = meta.get("annotations") {
        went |= annotations.retain_fields(|key| !is_tracking(key));
        // It holds the same marks, and the old namespace.
        annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
    }
    went
}

fn is_tracking(key: &str) -> bool {
    key.starts_with("argocd.argoproj.io/")
        || key.starts_with("kustomize.toolkit.fluxcd.io/")
        || key.starts_with("helm.toolkit.fluxcd.io/")
        || key.starts_with("meta.helm.sh/")
}

/// Whether Argo CD wrote the object. Its label may be `app.kubernetes.io/instance`, which is
/// everybody else's too, so that goes only with another sign.
fn has_argo(doc: &mut Node<'_>) -> bool {
    let annotated = doc
        .at(&["metadata", "annotations"])
        .and_then(Node::fields)
        .is_some_and(|fields| fields.iter().any(|(key, _)| key.starts_with("argocd.argoproj.io/")));
    annotated
        || doc
            .each(&["metadata", "managedFields"])
            .iter_mut()
            .any(|entry| entry.text(&["manager"]).is_some_and(|manager| manager.starts_with("argocd")))
}

fn references(key: &ObjectKey, doc: &mut Node<'_>, map: &NamespaceMap, notes: &mut Notes) {
    match (key.kind.group.as_str(), key.kind.kind.as_str()) {
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => {
            for subject in doc.each(&["subjects"]) {
                field(subject, "namespace", map);
                group_subject(subject, map);
            }
        }
        ("", "PersistentVolume") => at(doc, &["spec", "claimRef"], map),
        ("", "PersistentVolumeClaim") => at(doc, &["spec", "dataSourceRef"], map),
        ("", "Service") => {
            external_name(doc, map, notes);
            if key.namespace.as_deref().is_some_and(|n| map.get(n).is_some()) {
                fixed_ports(doc, notes);
            }
        }
        ("networking.k8s.io", "NetworkPolicy") => network_policy(doc, map),
        ("apiregistration.k8s.io", "APIService") => at(doc, &["spec", "service"], map),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => {
            at(doc, &["spec", "conversion", "webhook", "clientConfig", "service"], map);
        }
        ("admissionregistration.k8s.io", _) => {
            for webhook in doc.each(&["webhooks"]) {
                at(webhook, &["clientConfig", "service"], map);
                selector(webhook.get("namespaceSelector"), map);
            }
        }
        (group, _) if is_custom(group) => {
            if let Some(spec) = doc.get("spec") {
                anywhere(spec, map, 0);
            }
        }
        _ => {}
    }
}

/// Groups of the API server itself have no dots, or end in `.k8s.io` and were handled by kind.
fn is_custom(group: &str) -> bool {
    group.contains('.') && (!group.ends_with(".k8s.io") || group == "gateway.networking.k8s.io")
}

fn at(doc: &mut Node<'_>, path: &[&str], map: &NamespaceMap) {
    if let Some(reference) = doc.at(path) {
        field(reference, "namespace", map);
    }
}

fn field(object: &mut Node<'_>, name: &str, map: &NamespaceMap) {
    if let Some(old) = object.text(&[name])
        && let Some(new) = map.get(&old)
    {
        object.set(name, Node::new(&new));
    }
}

/// `system:serviceaccounts:NAMESPACE`
fn group_subject(subject: &mut Node<'_>, map: &NamespaceMap) {
    let prefix = "system:serviceaccounts:";
    if let Some(name) = subject.text(&["name"])
        && let Some(new) = name.strip_prefix(prefix).and_then(|old| map.get(old))
    {
        subject.set("name", Node::new(&format!("{prefix}{new}")));
    }
}

fn external_name(doc: &mut Node<'_>, map: &NamespaceMap, notes: &mut Notes) {
    let Some(name) = doc.text(&["spec", "externalName"]) else { return };
    for (old, new) in map.iter() {
        if name.contains(&format!(".{old}.svc")) {
            let changed = name.replacen(&format!(".{old}.svc"), &format!(".{new}.svc"), 1);
            notes.push(format!("external name {name} became {changed}"));
            if let Some(spec) = doc.get("spec") {
                spec.set("externalName", Node::new(&changed));
            }
            return;
        }
    }
}

/// A node port belongs to the whole cluster: the original may hold it still.
fn fixed_ports(doc: &mut Node<'_>, notes: &mut Notes) {
    let mut went = doc.remove_at(&["spec", "healthCheckNodePort"]);
    for port in doc.each(&["spec", "ports"]) {
        went |= port.remove("nodePort").is_some();
    }
    if went {
        notes.push("fixed node ports left off the copy: the original may hold them".to_owned());
    }
}

fn network_policy(doc: &mut Node<'_>, map: &NamespaceMap) {
    for (direction, peers) in [("ingress", "from"), ("egress", "to")] {
        for rule in doc.each(&["spec", direction]) {
            for peer in rule.each(&[peers]) {
                selector(peer.get("namespaceSelector"), map);
            }
        }
    }
}

/// A namespace selector that selects by name.
fn selector(selector: Option<&mut Node<'_>>, map: &NamespaceMap) {
    const NAME: &str = "kubernetes.io/metadata.name";
    let Some(selector) = selector else { return };
    if let Some(labels) = selector.get("matchLabels") {
        field(labels, NAME, map);
    }
    for expression in selector.each(&["matchExpressions"]) {
        if expression.text(&["key"]).as_deref() == Some(NAME) {
            names(expression.get("values"), map);
        }
    }
}

fn names(list: Option<&mut Node<'_>>, map: &NamespaceMap) {
    let Some(list) = list else { return };
    let Some(old) = list.read::<Vec<String>>() else { return };
    if old.iter().any(|name| map.get(name).is_some()) {
        let new: Vec<&str> = old.iter().map(|name| map.of(name)).collect();
        *list = Node::new(&new);
    }
}

/// In a custom resource every `namespace: old` is taken for a reference, and every list of names
/// under the usual keys. Only objects that hold a mapped name are opened for writing.
fn anywhere(node: &mut Node<'_>, map: &NamespaceMap, depth: usize) {
    if depth > MAX_DEPTH || !mentions(node, map) {
        return;
    }
    if let Some(fields) = node.fields() {
        for (key, value) in fields {
            match key.as_ref() {
                "namespace" | "targetNamespace" => {
                    if let Some(new) = value.read::<String>().and_then(|old| map.get(&old)) {
                        *value = Node::new(&new);
                    } else {
                        anywhere(value, map, depth + 1);
                    }
                }
                "matchNames" | "namespaces" => names(Some(value), map),
                _ => anywhere(value, map, depth + 1),
            }
        }
    } else if let Some(items) = node.items() {
        for item in items {
            anywhere(item, map, depth + 1);
        }
    }
}

fn mentions(node: &Node<'_>, map: &NamespaceMap) -> bool {
    match node {
        Node::Raw(raw) => {
            let text = raw.get();
            matches!(text.as_bytes().first(), Some(b'{' | b'['))
                && map.iter().any(|(old, _)| text.contains(old))
        }
        _ => true,
    }
}
