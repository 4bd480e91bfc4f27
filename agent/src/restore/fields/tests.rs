//! Every field rule, one test a line of the decisions.

use super::super::source::GroupKind;
use super::*;
use serde_json::{Value, json};

mod hostile;
mod mapping;

fn key_of(doc: &Value) -> ObjectKey {
    let version = doc["apiVersion"].as_str().unwrap();
    let group = version.rsplit_once('/').map_or("", |(g, _)| g);
    ObjectKey {
        namespace: doc["metadata"]["namespace"].as_str().map(str::to_owned),
        kind: GroupKind::new(group, doc["kind"].as_str().unwrap()),
        name: doc["metadata"]["name"].as_str().unwrap().to_owned(),
    }
}

fn run(doc: &Value, rules: &FieldRules) -> Outcome {
    clean(&key_of(doc), doc.to_string().as_bytes(), rules)
}

#[track_caller]
fn cleaned(doc: &Value, rules: &FieldRules) -> (Value, Vec<String>) {
    match run(doc, rules) {
        Outcome::Create(c) => (serde_json::from_slice(&c.body).unwrap(), c.notes),
        other => panic!("not created: {other:?}"),
    }
}

#[track_caller]
fn created(doc: &Value) -> Value {
    cleaned(doc, &FieldRules::default()).0
}

fn is_skipped(doc: &Value) -> bool {
    matches!(run(doc, &FieldRules::default()), Outcome::Skip(_))
}

fn object(version: &str, kind: &str, rest: Value) -> Value {
    let mut doc =
        json!({"apiVersion": version, "kind": kind, "metadata": {"name": "x", "namespace": "shop"}});
    merge(&mut doc, rest);
    doc
}

fn cluster_object(version: &str, kind: &str, rest: Value) -> Value {
    let mut doc = json!({"apiVersion": version, "kind": kind, "metadata": {"name": "x"}});
    merge(&mut doc, rest);
    doc
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

#[test]
fn the_servers_metadata_goes_and_the_rest_stays() {
    let doc = object(
        "v1",
        "ConfigMap",
        json!({"metadata": {
        "uid": "u", "resourceVersion": "1", "generation": 2, "creationTimestamp": "t", "selfLink": "s",
        "deletionGracePeriodSeconds": 3, "managedFields": [{}], "generateName": "x-",
        "ownerReferences": [{"uid": "o", "kind": "A", "name": "a", "apiVersion": "v1"}],
        "labels": {"a": "b"}, "annotations": {"c": "d"}}, "data": {"k": "v"}}),
    );
    assert_eq!(
        created(&doc),
        object(
            "v1",
            "ConfigMap",
            json!({"metadata": {"labels": {"a": "b"}, "annotations": {"c": "d"}}, "data": {"k": "v"}})
        )
    );
}

#[test]
fn what_was_being_deleted_is_left_out() {
    assert!(is_skipped(&object("v1", "ConfigMap", json!({"metadata": {"deletionTimestamp": "t"}}))));
}

#[test]
fn finalizers_stay_except_built_in_ones_and_are_listed() {
    let finalizers =
        json!({"metadata": {"finalizers": ["example.com/keep", "kubernetes.io/pvc-protection"]}});
    let (doc, notes) = cleaned(&object("v1", "ConfigMap", finalizers), &FieldRules::default());
    assert_eq!(doc["metadata"]["finalizers"], json!(["example.com/keep"]));
    assert!(notes[0].contains("example.com/keep"));
    let only = json!({"metadata": {"finalizers": ["foregroundDeletion"]}});
    assert!(created(&object("v1", "ConfigMap", only))["metadata"].get("finalizers").is_none());
}

#[test]
fn a_document_under_the_wrong_key_is_not_believed() {
    let doc = object("v1", "ConfigMap", json!({}));
    let mut key = key_of(&doc);
    key.namespace = Some("kube-system".into());
    let outcome = clean(&key, doc.to_string().as_bytes(), &FieldRules::default());
    assert!(matches!(outcome, Outcome::Drop(_)));
    let outcome = clean(&key_of(&doc), b"not json", &FieldRules::default());
    assert!(matches!(outcome, Outcome::Drop(_)));
}

#[test]
fn status_comes_back_only_for_kinds_that_were_asked_for() {
    let doc = object("example.com/v1", "Widget", json!({"status": {"n": 1}}));
    let Outcome::Create(plain) = run(&doc, &FieldRules::default()) else { panic!() };
    assert!(plain.status.is_none() && !String::from_utf8(plain.body).unwrap().contains("status"));
    let rules = FieldRules { status: vec!["widgets".to_owned()], ..FieldRules::default() };
    let Outcome::Create(kept) = run(&doc, &rules) else { panic!() };
    assert_eq!(kept.status.unwrap().get(), r#"{"n":1}"#);
}

#[test]
fn pods_are_unbound_and_lose_what_admission_put_in() {
    let doc = object(
        "v1",
        "Pod",
        json!({"spec": {
        "nodeName": "n1", "priority": 0, "preemptionPolicy": "Never", "ephemeralContainers": [{"name": "dbg"}],
        "serviceAccountName": "app", "priorityClassName": "high",
        "volumes": [{"name": "kube-api-access-abcde"}, {"name": "app-token-xyz12"}, {"name": "data"}],
        "containers": [{"name": "c", "volumeMounts": [{"name": "kube-api-access-abcde"}, {"name": "data"}]}],
        "initContainers": [{"name": "i", "volumeMounts": [{"name": "app-token-xyz12"}]}]}}),
    );
    assert_eq!(
        created(&doc)["spec"],
        json!({
        "serviceAccountName": "app", "priorityClassName": "high", "volumes": [{"name": "data"}],
        "containers": [{"name": "c", "volumeMounts": [{"name": "data"}]}], "initContainers": [{"name": "i"}]})
    );
}

#[test]
fn ended_and_mirror_pods_are_left_out() {
    assert!(is_skipped(&object("v1", "Pod", json!({"status": {"phase": "Succeeded"}}))));
    assert!(is_skipped(&object("v1", "Pod", json!({"status": {"phase": "Failed"}}))));
    let mirror = json!({"metadata": {"annotations": {"kubernetes.io/config.mirror": "x"}}});
    assert!(is_skipped(&object("v1", "Pod", mirror)));
}

fn job(rest: Value) -> Value {
    let labels = json!({"controller-uid": "u", "batch.kubernetes.io/controller-uid": "u", "job-name": "x",
        "batch.kubernetes.io/job-name": "x", "app": "a"});
    let mut doc = object(
        "batch/v1",
        "Job",
        json!({"metadata": {"labels": labels}, "spec": {
        "selector": {"matchLabels": {"batch.kubernetes.io/controller-uid": "u"}},
        "template": {"metadata": {"labels": labels}}}}),
    );
    merge(&mut doc, rest);
    doc
}

#[test]
fn finished_jobs_never_run_again_and_unfinished_only_when_asked() {
    assert!(is_skipped(&job(json!({"status": {"completionTime": "t"}}))));
    assert!(is_skipped(&job(json!({"status": {"conditions": [{"type": "Failed", "status": "True"}]}}))));
    assert!(matches!(run(&job(json!({})), &FieldRules::default()), Outcome::Drop(_)));
    assert!(matches!(
        run(&job(json!({"spec": {"suspend": true}})), &FieldRules::default()),
        Outcome::Create(_)
    ));
}

#[test]
fn rerun_jobs_lose_generated_labels_and_selector() {
    let rules = FieldRules { rerun_jobs: true, ..FieldRules::default() };
    let (doc, notes) = cleaned(&job(json!({})), &rules);
    assert_eq!(doc["metadata"]["labels"], json!({"app": "a"}));
    assert_eq!(doc["spec"], json!({"template": {"metadata": {"labels": {"app": "a"}}}}));
    assert_eq!(notes.len(), 1);
    let (manual, _) = cleaned(&job(json!({"spec": {"manualSelector": true}})), &rules);
    assert_eq!(manual["spec"]["selector"]["matchLabels"]["batch.kubernetes.io/controller-uid"], "u");
}

fn service(rest: Value) -> Value {
    let mut doc = object(
        "v1",
        "Service",
        json!({"spec": {"type": "NodePort", "clusterIP": "10.0.0.9",
        "clusterIPs": ["10.0.0.9"], "ports": [
            {"name": "http", "port": 80, "protocol": "TCP", "nodePort": 30080},
            {"name": "dns", "port": 53, "protocol": "UDP", "nodePort": 30053}]}}),
    );
    merge(&mut doc, rest);
    doc
}

fn node_ports(doc: &Value) -> Vec<u64> {
    let ports = created(doc)["spec"]["ports"].as_array().unwrap().clone();
    ports.iter().filter_map(|p| p["nodePort"].as_u64()).collect()
}

#[test]
fn service_addresses_go_unless_headless() {
    let spec = created(&service(json!({})))["spec"].clone();
    assert!(spec.get("clusterIP").is_none() && spec.get("clusterIPs").is_none());
    let headless = service(json!({"spec": {"clusterIP": "None", "clusterIPs": ["None"]}}));
    assert_eq!(created(&headless)["spec"]["clusterIP"], "None");
    assert_eq!(created(&headless)["spec"]["clusterIPs"], json!(["None"]));
}

#[test]
fn node_ports_stay_only_where_a_person_set_them() {
    assert!(node_ports(&service(json!({}))).is_empty());
    let applied = |spec: Value| {
        json!({"metadata": {"annotations":
        {"kubectl.kubernetes.io/last-applied-configuration": json!({"spec": spec}).to_string()}}})
    };
    let by_name = applied(
        json!({"ports": [{"name": "http", "port": 80, "nodePort": 30080}, {"name": "dns", "port": 53}]}),
    );
    assert_eq!(node_ports(&service(by_name)), [30080]);
    let by_number = applied(json!({"ports": [{"port": 53, "nodePort": 30053}]}));
    assert_eq!(node_ports(&service(by_number)), [30053]);
    let managed = json!({"metadata": {"managedFields": [{"manager": "m", "fieldsV1": {"f:spec": {"f:ports":
        {"k:{\"port\":53,\"protocol\":\"UDP\"}": {"f:nodePort": {}}, "k:{\"port\":80,\"protocol\":\"TCP\"}": {}}}}}]}});
    assert_eq!(node_ports(&service(managed)), [30053]);
    let garbage = json!({"metadata": {"annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{"},
        "managedFields": [1, {"fieldsV1": 3}]}});
    assert!(node_ports(&service(garbage)).is_empty());
}

#[test]
fn the_health_check_port_follows_the_same_rule() {
    let port = json!({"spec": {"healthCheckNodePort": 31000}});
    assert!(created(&service(port.clone()))["spec"].get("healthCheckNodePort").is_none());
    let mut doc = service(port);
    merge(
        &mut doc,
        json!({"metadata": {"managedFields": [{"fieldsV1": {"f:spec": {"f:healthCheckNodePort": {}}}}]}}),
    );
    assert_eq!(created(&doc)["spec"]["healthCheckNodePort"], 31000);
}

#[test]
fn dual_stack_is_cut_down_and_said() {
    let doc =
        service(json!({"spec": {"ipFamilyPolicy": "RequireDualStack", "ipFamilies": ["IPv6", "IPv4"]}}));
    let families = |dual| FieldRules {
        families: Some(Families { primary: "IPv4".into(), dual }),
        ..FieldRules::default()
    };
    let (single, notes) = cleaned(&doc, &families(false));
    assert_eq!(single["spec"]["ipFamilyPolicy"], "PreferDualStack");
    assert_eq!(single["spec"]["ipFamilies"], json!(["IPv4"]));
    assert_eq!(notes.len(), 2);
    let (dual, notes) = cleaned(&doc, &families(true));
    assert_eq!(dual["spec"]["ipFamilyPolicy"], "RequireDualStack");
    assert!(notes.is_empty());
}

#[test]
fn external_names_are_untouched() {
    let doc = object("v1", "Service", json!({"spec": {"type": "ExternalName", "externalName": "a.example"}}));
    assert_eq!(created(&doc), doc);
}

#[test]
fn tokens_of_the_old_cluster_go() {
    let doc = object(
        "v1",
        "Secret",
        json!({"type": "kubernetes.io/service-account-token",
        "metadata": {"annotations": {"kubernetes.io/service-account.name": "app", "kubernetes.io/service-account.uid": "u"}},
        "data": {"token": "t", "ca.crt": "c", "extra": "e"}}),
    );
    let out = created(&doc);
    assert_eq!(out["data"], json!({"extra": "e"}));
    assert_eq!(out["metadata"]["annotations"], json!({"kubernetes.io/service-account.name": "app"}));
    let mut generated = doc.clone();
    generated["metadata"]["name"] = json!("app-token-x7f2p");
    assert!(is_skipped(&generated));
    let other = object("v1", "Secret", json!({"type": "Opaque", "data": {"token": "t"}}));
    assert_eq!(created(&other), other);
}

#[test]
fn accounts_lose_legacy_token_references() {
    let doc = object(
        "v1",
        "ServiceAccount",
        json!({"secrets": [{"name": "x-token-abcde"}, {"name": "mine"}],
        "imagePullSecrets": [{"name": "x-dockercfg-abcde"}]}),
    );
    let out = created(&doc);
    assert_eq!(out["secrets"], json!([{"name": "mine"}]));
    assert!(out.get("imagePullSecrets").is_none());
}

fn claim(rest: Value) -> Value {
    let mut doc = object(
        "v1",
        "PersistentVolumeClaim",
        json!({
        "metadata": {"annotations": {"pv.kubernetes.io/bind-completed": "yes", "volume.kubernetes.io/selected-node": "n", "mine": "m"}},
        "spec": {"storageClassName": "fast", "volumeName": "pv-1", "selector": {}, "dataSource": {"kind": "VolumeSnapshot"},
            "resources": {"requests": {"storage": "1Gi"}}},
        "status": {"phase": "Bound", "capacity": {"storage": "2Gi"}}}),
    );
    merge(&mut doc, rest);
    doc
}

#[test]
fn claims_are_unbound_and_as_large_as_their_volume_was() {
    let (out, notes) = cleaned(&claim(json!({})), &FieldRules::default());
    assert_eq!(out["metadata"]["annotations"], json!({"mine": "m"}));
    assert_eq!(
        out["spec"],
        json!({"storageClassName": "fast", "resources": {"requests": {"storage": "2Gi"}}})
    );
    assert_eq!(notes.len(), 2);
}

#[test]
fn unbound_claims_keep_their_source() {
    let out = created(&claim(json!({"status": {"phase": "Pending", "capacity": null}})));
    assert_eq!(out["spec"]["dataSource"]["kind"], "VolumeSnapshot");
}

#[test]
fn filled_and_adopted_claims_name_their_volume() {
    let filled = FieldRules {
        filled: HashMap::from([(("shop".to_owned(), "x".to_owned()), "pv-new".to_owned())]),
        ..FieldRules::default()
    };
    assert_eq!(cleaned(&claim(json!({})), &filled).0["spec"]["volumeName"], "pv-new");
    let adopt = FieldRules { adopt_volumes: true, ..FieldRules::default() };
    assert_eq!(cleaned(&claim(json!({})), &adopt).0["spec"]["volumeName"], "pv-1");
}

#[test]
fn volumes_are_created_only_when_adopted_and_then_retained() {
    let doc = cluster_object(
        "v1",
        "PersistentVolume",
        json!({"spec": {"persistentVolumeReclaimPolicy": "Delete",
        "claimRef": {"namespace": "shop", "name": "x", "uid": "u", "resourceVersion": "1"}}}),
    );
    assert!(is_skipped(&doc));
    let adopt = FieldRules { adopt_volumes: true, ..FieldRules::default() };
    let (out, _) = cleaned(&doc, &adopt);
    assert_eq!(out["spec"]["persistentVolumeReclaimPolicy"], "Retain");
    assert_eq!(out["spec"]["claimRef"], json!({"namespace": "shop", "name": "x"}));
}

#[test]
fn never_a_second_default_class() {
    let doc = cluster_object(
        "storage.k8s.io/v1",
        "StorageClass",
        json!({"metadata": {"annotations": {"storageclass.kubernetes.io/is-default-class": "true"}}}),
    );
    assert_eq!(created(&doc), doc);
    let mut rules = FieldRules::default();
    rules.defaults.stored("StorageClass", "x", "2024");
    assert_eq!(cleaned(&doc, &rules).0, doc);
    rules.defaults.stored("StorageClass", "newer", "2025");
    let (out, notes) = cleaned(&doc, &rules);
    assert_eq!(out["metadata"]["annotations"], json!({}));
    assert!(notes[0].contains("newer"));
    rules.defaults.in_cluster("PriorityClass", "live");
    let class = cluster_object("scheduling.k8s.io/v1", "PriorityClass", json!({"globalDefault": true}));
    assert_eq!(cleaned(&class, &rules).0["globalDefault"], false);
    rules.defaults.in_cluster("IngressClass", "nginx");
    let class = cluster_object(
        "networking.k8s.io/v1",
        "IngressClass",
        json!({"metadata": {"annotations": {"ingressclass.kubernetes.io/is-default-class": "true"}}}),
    );
    assert_eq!(cleaned(&class, &rules).0["metadata"]["annotations"], json!({}));
}

#[test]
fn only_endpoints_that_no_controller_keeps_are_restored() {
    let slice = |by: &str| {
        object(
            "discovery.k8s.io/v1",
            "EndpointSlice",
            json!({"metadata": {"labels": {"endpointslice.kubernetes.io/managed-by": by}}}),
        )
    };
    assert!(is_skipped(&slice("endpointslice-controller.k8s.io")));
    assert!(is_skipped(&slice("endpointslicemirroring-controller.k8s.io")));
    created(&slice("staff"));
    created(&object("v1", "Endpoints", json!({"subsets": []})));
    let leader = json!({"metadata": {"annotations": {"control-plane.alpha.kubernetes.io/leader": "{}"}}});
    assert!(is_skipped(&object("v1", "Endpoints", leader)));
}

#[test]
fn definitions_keep_their_webhook_and_lose_old_preserving() {
    let doc = cluster_object(
        "apiextensions.k8s.io/v1",
        "CustomResourceDefinition",
        json!({"spec": {
        "preserveUnknownFields": true, "conversion": {"strategy": "Webhook", "webhook": {"clientConfig": {"caBundle": "Q0E="}}},
        "versions": [{"name": "v1", "schema": {"openAPIV3Schema": {"type": "object"}}}]}, "status": {"storedVersions": ["v1"]}}),
    );
    let (out, notes) = cleaned(&doc, &FieldRules::default());
    assert!(out["spec"].get("preserveUnknownFields").is_none() && out.get("status").is_none());
    assert_eq!(
        out["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["x-kubernetes-preserve-unknown-fields"],
        true
    );
    assert_eq!(out["spec"]["conversion"]["webhook"]["clientConfig"]["caBundle"], "Q0E=");
    assert_eq!(notes.len(), 2);
}

#[test]
fn automanaged_api_services_are_the_clusters() {
    let service = json!({"spec": {"service": {"namespace": "a", "name": "b"}}});
    let mut doc = cluster_object("apiregistration.k8s.io/v1", "APIService", service);
    created(&doc);
    merge(
        &mut doc,
        json!({"metadata": {"labels": {"kube-aggregator.kubernetes.io/automanaged": "onstart"}}}),
    );
    assert!(is_skipped(&doc));
    assert!(is_skipped(&cluster_object(
        "apiregistration.k8s.io/v1",
        "APIService",
        json!({"spec": {"group": "apps"}})
    )));
}

#[test]
fn workloads_that_come_up_differently_are_said() {
    let set =
        |strategy: Value| object("apps/v1", "StatefulSet", json!({"spec": {"updateStrategy": strategy}}));
    let notes = |doc: &Value| cleaned(doc, &FieldRules::default()).1.len();
    assert_eq!(notes(&set(json!({"type": "OnDelete"}))), 1);
    assert_eq!(notes(&set(json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}))), 1);
    assert_eq!(notes(&set(json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}))), 0);
    assert_eq!(notes(&object("apps/v1", "Deployment", json!({"spec": {"paused": true}}))), 1);
}

#[test]
fn what_every_cluster_makes_is_left_to_it() {
    for (version, kind, name, namespace) in [
        ("v1", "Namespace", "kube-system", None),
        ("v1", "Node", "n", None),
        ("v1", "ConfigMap", "kube-root-ca.crt", Some("shop")),
        ("v1", "Service", "kubernetes", Some("default")),
        ("coordination.k8s.io/v1", "Lease", "l", Some("shop")),
        ("scheduling.k8s.io/v1", "PriorityClass", "system-node-critical", None),
        ("networking.k8s.io/v1", "ServiceCIDR", "kubernetes", None),
        ("lifeboat.dev/v1alpha1", "Backup", "b", Some("lifeboat")),
    ] {
        let mut doc = json!({"apiVersion": version, "kind": kind, "metadata": {"name": name}});
        if let Some(namespace) = namespace {
            doc["metadata"]["namespace"] = json!(namespace);
        }
        assert!(is_skipped(&doc), "{kind} {name}");
    }
    let role = json!({"metadata": {"labels": {"kubernetes.io/bootstrapping": "rbac-defaults"}}});
    assert!(is_skipped(&cluster_object("rbac.authorization.k8s.io/v1", "ClusterRole", role)));
}
