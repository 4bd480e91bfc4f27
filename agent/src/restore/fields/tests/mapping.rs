//! What a namespace map changes in a document, and what it takes off.

use super::*;

pub(super) fn mapped() -> FieldRules {
    FieldRules { map: NamespaceMap::parse(["shop=copy"]).unwrap(), ..FieldRules::default() }
}

#[test]
fn mapping_moves_the_object_and_takes_tracking_off() {
    let doc = object(
        "apps/v1",
        "Deployment",
        json!({"metadata": {
        "labels": {"argocd.argoproj.io/instance": "a", "kustomize.toolkit.fluxcd.io/name": "f", "app.kubernetes.io/managed-by": "Helm",
            "app.kubernetes.io/instance": "a", "app": "x"},
        "annotations": {"argocd.argoproj.io/tracking-id": "t", "meta.helm.sh/release-name": "r", "mine": "m",
            "kubectl.kubernetes.io/last-applied-configuration": "{}"}}}),
    );
    let (out, _) = cleaned(&doc, &mapped());
    assert_eq!(
        out["metadata"],
        json!({"name": "x", "namespace": "copy", "labels": {"app": "x"}, "annotations": {"mine": "m"}})
    );
    let plain = object(
        "v1",
        "Service",
        json!({"metadata": {"labels": {"app.kubernetes.io/instance": "a"}}, "spec": {}}),
    );
    assert_eq!(
        cleaned(&plain, &mapped()).0["metadata"]["labels"],
        json!({"app.kubernetes.io/instance": "a"})
    );
    let mut elsewhere = doc.clone();
    elsewhere["metadata"]["namespace"] = json!("other");
    assert_eq!(cleaned(&elsewhere, &mapped()).0, elsewhere);
}

#[test]
fn mapping_follows_references() {
    let binding = cluster_object(
        "rbac.authorization.k8s.io/v1",
        "ClusterRoleBinding",
        json!({"subjects": [
        {"kind": "ServiceAccount", "name": "a", "namespace": "shop"}, {"kind": "ServiceAccount", "name": "a", "namespace": "other"},
        {"kind": "Group", "name": "system:serviceaccounts:shop"}]}),
    );
    let out = cleaned(&binding, &mapped()).0;
    assert_eq!(out["subjects"][0]["namespace"], "copy");
    assert_eq!(out["subjects"][1]["namespace"], "other");
    assert_eq!(out["subjects"][2]["name"], "system:serviceaccounts:copy");
    let policy = object(
        "networking.k8s.io/v1",
        "NetworkPolicy",
        json!({"spec": {"ingress": [{"from": [{"namespaceSelector":
        {"matchLabels": {"kubernetes.io/metadata.name": "shop"},
         "matchExpressions": [{"key": "kubernetes.io/metadata.name", "operator": "In", "values": ["shop", "b"]}]}}]}]}}),
    );
    let selector =
        cleaned(&policy, &mapped()).0["spec"]["ingress"][0]["from"][0]["namespaceSelector"].clone();
    assert_eq!(selector["matchLabels"]["kubernetes.io/metadata.name"], "copy");
    assert_eq!(selector["matchExpressions"][0]["values"], json!(["copy", "b"]));
    let custom = object(
        "example.com/v1",
        "Widget",
        json!({"spec": {"ref": {"namespace": "shop", "n": 1.0}, "matchNames": ["shop"], "text": "shop"}}),
    );
    let spec = cleaned(&custom, &mapped()).0["spec"].clone();
    assert_eq!(spec, json!({"ref": {"namespace": "copy", "n": 1.0}, "matchNames": ["copy"], "text": "shop"}));
    let hook = cluster_object(
        "admissionregistration.k8s.io/v1",
        "ValidatingWebhookConfiguration",
        json!({"webhooks": [{"sideEffects": "None", "clientConfig": {"service": {"namespace": "shop", "name": "s"}}}]}),
    );
    assert_eq!(cleaned(&hook, &mapped()).0["webhooks"][0]["clientConfig"]["service"]["namespace"], "copy");
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "labels": {"kubernetes.io/metadata.name": "shop"}}});
    let out = cleaned(&namespace, &mapped()).0;
    assert_eq!(out["metadata"]["name"], "copy");
    assert_eq!(out["metadata"]["labels"], json!({}));
}

#[test]
fn copies_do_not_claim_node_ports() {
    let managed = json!({"metadata": {"managedFields": [{"fieldsV1": {"f:spec": {"f:ports":
        {"k:{\"port\":53,\"protocol\":\"UDP\"}": {"f:nodePort": {}}}}}}]}});
    let (doc, notes) = cleaned(&service(managed), &mapped());
    assert!(doc["spec"]["ports"][1].get("nodePort").is_none());
    assert_eq!(notes.len(), 1);
}

#[test]
fn what_steers_a_deployment_tool_is_never_copied() {
    for (version, kind) in
        [("argoproj.io/v1alpha1", "Application"), ("helm.toolkit.fluxcd.io/v2", "HelmRelease")]
    {
        let doc = object(version, kind, json!({}));
        assert!(matches!(run(&doc, &mapped()), Outcome::Drop(_)));
        created(&doc);
    }
}
