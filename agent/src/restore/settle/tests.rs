//! What depends on more than one object, each rule on a small snapshot.

use super::super::fields::FieldRules;
use super::super::mapping::NamespaceMap;
use super::super::scan;
use super::super::selection::Selection;
use super::super::source::MemorySource;
use super::*;
use serde_json::{Value, json};

fn object(version: &str, kind: &str, namespace: &str, name: &str, rest: Value) -> Value {
    let mut doc = json!({"apiVersion": version, "kind": kind, "metadata": {"name": name, "uid": format!("uid-{name}")}});
    if !namespace.is_empty() {
        doc["metadata"]["namespace"] = json!(namespace);
    }
    for (key, value) in rest.as_object().cloned().unwrap_or_default() {
        match doc.get_mut(&key).and_then(Value::as_object_mut) {
            Some(old) => old.extend(value.as_object().cloned().unwrap_or_default()),
            None => doc[&key] = value,
        }
    }
    doc
}

fn owned_by(version: &str, kind: &str, name: &str) -> Value {
    json!({"ownerReferences": [{"apiVersion": version, "kind": kind, "name": name, "uid": format!("uid-{name}"), "controller": true}]})
}

/// What is created of these documents, as `Kind name`.
fn created(docs: Vec<Value>, options: &RestoreOptions) -> Vec<String> {
    let source = MemorySource::of(docs);
    let rules = FieldRules { map: options.map.clone(), ..FieldRules::default() };
    let mut scan = futures::executor::block_on(scan::scan(&source, options, &rules)).unwrap();
    settle(&mut scan, options);
    let mut names: Vec<String> = scan
        .facts
        .to_create()
        .map(|i| format!("{} {}", scan.facts.kind_of(i).kind, scan.facts.get(i).name))
        .collect();
    names.sort();
    names
}

fn all() -> RestoreOptions {
    RestoreOptions::of("7")
}

fn only(namespace: &str) -> RestoreOptions {
    let selection = Selection { namespaces: vec![namespace.to_owned()], ..Selection::default() };
    RestoreOptions { selection, ..all() }
}

#[test]
fn controllers_make_their_pods_again_and_orphans_are_restored() {
    let docs = vec![
        object("apps/v1", "Deployment", "a", "web", json!({})),
        object(
            "apps/v1",
            "ReplicaSet",
            "a",
            "web-1",
            json!({"metadata": owned_by("apps/v1", "Deployment", "web")}),
        ),
        object("v1", "Pod", "a", "web-1-x", json!({"metadata": owned_by("apps/v1", "ReplicaSet", "web-1")})),
        object("v1", "Pod", "a", "orphan", json!({"metadata": owned_by("apps/v1", "ReplicaSet", "gone")})),
        object("v1", "Pod", "a", "bare", json!({})),
    ];
    assert_eq!(created(docs, &all()), ["Deployment web", "Pod bare", "Pod orphan"]);
}

#[test]
fn a_paused_deployment_keeps_its_current_replica_set() {
    let revision = |n: &str| json!({"deployment.kubernetes.io/revision": n});
    let set = |name: &str, n: &str| {
        let mut meta = owned_by("apps/v1", "Deployment", "web");
        meta["annotations"] = revision(n);
        object("apps/v1", "ReplicaSet", "a", name, json!({"metadata": meta}))
    };
    let deployment = object(
        "apps/v1",
        "Deployment",
        "a",
        "web",
        json!({"metadata": {"annotations": revision("2")}, "spec": {"paused": true}}),
    );
    let docs = vec![deployment, set("old", "1"), set("current", "2")];
    assert_eq!(created(docs, &all()), ["Deployment web", "ReplicaSet current"]);
}

#[test]
fn endpoints_of_a_selecting_service_are_left_to_it() {
    let docs = vec![
        object("v1", "Service", "a", "with", json!({"spec": {"selector": {"app": "x"}}})),
        object("v1", "Service", "a", "without", json!({"spec": {}})),
        object("v1", "Endpoints", "a", "with", json!({})),
        object("v1", "Endpoints", "a", "without", json!({})),
    ];
    assert_eq!(created(docs, &all()), ["Endpoints without", "Service with", "Service without"]);
}

fn cluster_docs() -> Vec<Value> {
    let binding = |name: &str, namespace: &str, role: &str| {
        object(
            "rbac.authorization.k8s.io/v1",
            "ClusterRoleBinding",
            "",
            name,
            json!({"subjects": [{"kind": "ServiceAccount", "name": "s", "namespace": namespace}], "roleRef": {"kind": "ClusterRole", "name": role}}),
        )
    };
    let definition = |name: &str, kind: &str| {
        object(
            "apiextensions.k8s.io/v1",
            "CustomResourceDefinition",
            "",
            name,
            json!({"spec": {"group": "example.com", "names": {"kind": kind}}}),
        )
    };
    vec![
        object("v1", "Namespace", "", "a", json!({})),
        object("v1", "Namespace", "", "b", json!({})),
        object("v1", "PersistentVolumeClaim", "a", "data", json!({"spec": {"storageClassName": "fast"}})),
        object("example.com/v1", "Widget", "a", "w", json!({})),
        definition("widgets", "Widget"),
        definition("gadgets", "Gadget"),
        object("storage.k8s.io/v1", "StorageClass", "", "fast", json!({})),
        object("storage.k8s.io/v1", "StorageClass", "", "slow", json!({})),
        binding("of-a", "a", "role-a"),
        binding("of-b", "b", "role-b"),
        object("rbac.authorization.k8s.io/v1", "ClusterRole", "", "role-a", json!({})),
        object("rbac.authorization.k8s.io/v1", "ClusterRole", "", "role-b", json!({})),
        object(
            "admissionregistration.k8s.io/v1",
            "ValidatingWebhookConfiguration",
            "",
            "hook-a",
            json!({"webhooks": [{"sideEffects": "None", "clientConfig": {"service": {"namespace": "a", "name": "s"}}}]}),
        ),
    ]
}

#[test]
fn a_subset_brings_what_it_needs_and_no_more() {
    let want = [
        "ClusterRole role-a",
        "ClusterRoleBinding of-a",
        "CustomResourceDefinition widgets",
        "Namespace a",
        "PersistentVolumeClaim data",
        "StorageClass fast",
        "ValidatingWebhookConfiguration hook-a",
        "Widget w",
    ];
    assert_eq!(created(cluster_docs(), &only("a")), want);
    let selection = Selection { kinds: vec!["configmap".into()], ..Selection::default() };
    assert!(created(cluster_docs(), &RestoreOptions { selection, ..all() }).is_empty());
    let selection =
        Selection { kinds: vec!["StorageClass".into()], names: vec!["slow".into()], ..Selection::default() };
    assert_eq!(created(cluster_docs(), &RestoreOptions { selection, ..all() }), ["StorageClass slow"]);
}

#[test]
fn a_copy_does_not_take_over_webhooks() {
    let options = RestoreOptions { map: NamespaceMap::parse(["a=copy"]).unwrap(), ..only("a") };
    assert!(!created(cluster_docs(), &options).iter().any(|name| name.contains("hook-a")));
}

#[test]
fn everything_means_everything_but_what_belongs_to_excluded_namespaces() {
    assert_eq!(created(cluster_docs(), &all()).len(), cluster_docs().len());
    let selection = Selection { exclude_namespaces: vec!["b".into()], ..Selection::default() };
    let names = created(cluster_docs(), &RestoreOptions { selection, ..all() });
    assert!(!names.contains(&"ClusterRoleBinding of-b".to_owned()));
    assert!(names.contains(&"ClusterRole role-b".to_owned()));
}
