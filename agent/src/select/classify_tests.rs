//! Tests of classes: every rule on objects as real servers send them.

use super::super::rules::SelectionSpec;
use super::*;

fn resource(key: &str, kind: &str, namespaced: bool) -> Resource {
    let (plural, group) = key.split_once('.').unwrap_or((key, ""));
    Resource {
        group: group.into(),
        version: "v1".into(),
        kind: kind.into(),
        plural: plural.into(),
        namespaced,
        verbs: ["list", "create", "delete"].map(str::to_owned).to_vec(),
        ..Resource::default()
    }
}

fn item(meta: &str, rest: &str) -> Item {
    Item::from_document(&format!(r#"{{"metadata":{{{meta}}}{rest}}}"#)).unwrap()
}

fn selection(change: impl FnOnce(&mut SelectionSpec)) -> Selection {
    let mut spec = SelectionSpec::default();
    change(&mut spec);
    Selection::parse(&spec).unwrap()
}

/// Classifies with everything at its default.
fn plain(key: &str, namespaced: bool, meta: &str, rest: &str) -> &'static str {
    classify(&resource(key, "X", namespaced), &item(meta, rest), &Facts::default(), &Selection::default())
        .rule()
}

#[test]
fn kinds_that_come_back_by_themselves() {
    for (key, rule) in [
        ("events", "event"),
        ("events.events.k8s.io", "event"),
        ("leases.coordination.k8s.io", "lease"),
        ("nodes", "node"),
        ("csinodes.storage.k8s.io", "nodeState"),
        ("volumeattachments.storage.k8s.io", "nodeState"),
        ("resourceslices.resource.k8s.io", "nodeState"),
        ("certificatesigningrequests.certificates.k8s.io", "signingRequest"),
        ("pods.metrics.k8s.io", "metrics"),
        ("anything.custom.metrics.k8s.io", "metrics"),
        ("ipaddresses.networking.k8s.io", "ipAddress"),
    ] {
        let class = classify_kind(&resource(key, "X", true), &Selection::default());
        assert_eq!(class.map(Class::rule), Some(rule), "{key}");
    }
    let mut readable = resource("componentstatuses", "ComponentStatus", false);
    readable.verbs.pop();
    assert_eq!(classify_kind(&readable, &Selection::default()), Some(Class::Derived(Derived::NotStorable)));
    assert_eq!(classify_kind(&resource("secrets", "Secret", true), &Selection::default()), None);
    assert_eq!(
        classify_kind(
            &resource("clusterroles.rbac.authorization.k8s.io", "ClusterRole", false),
            &Selection::default()
        ),
        None
    );
}

#[test]
fn objects_that_every_cluster_has() {
    let ns = r#""namespace":"default","name""#;
    for (key, namespaced, meta, rule) in [
        ("configmaps", true, format!(r#"{ns}:"kube-root-ca.crt""#), "clusterCertificate"),
        ("configmaps", true, format!(r#"{ns}:"openshift-service-ca.crt""#), "clusterCertificate"),
        ("services", true, format!(r#"{ns}:"kubernetes""#), "kubernetesService"),
        ("endpoints", true, format!(r#"{ns}:"kubernetes""#), "kubernetesService"),
        ("endpointslices.discovery.k8s.io", true, format!(r#"{ns}:"kubernetes""#), "kubernetesService"),
        ("services", true, r#""namespace":"other","name":"kubernetes""#.into(), "stored"),
        (
            "clusterroles.rbac.authorization.k8s.io",
            false,
            r#""name":"admin","labels":{"kubernetes.io/bootstrapping":"rbac-defaults"}"#.into(),
            "bootstrapRbac",
        ),
        (
            "flowschemas.flowcontrol.apiserver.k8s.io",
            false,
            r#""name":"exempt","annotations":{"apf.kubernetes.io/autoupdate-spec":"true"}"#.into(),
            "bootstrapFlowControl",
        ),
        (
            "flowschemas.flowcontrol.apiserver.k8s.io",
            false,
            r#""name":"exempt","annotations":{"apf.kubernetes.io/autoupdate-spec":"false"}"#.into(),
            "stored",
        ),
        (
            "priorityclasses.scheduling.k8s.io",
            false,
            r#""name":"system-node-critical""#.into(),
            "systemPriorityClass",
        ),
        ("servicecidrs.networking.k8s.io", false, r#""name":"kubernetes""#.into(), "defaultServiceCidr"),
        (
            "apiservices.apiregistration.k8s.io",
            false,
            r#""name":"v1.","labels":{"kube-aggregator.kubernetes.io/automanaged":"onstart"}"#.into(),
            "automanagedApiService",
        ),
        (
            "roles.rbac.authorization.k8s.io",
            true,
            format!(r#"{ns}:"r","labels":{{"hnc.x-k8s.io/inherited-from":"p"}}"#),
            "hierarchyInherited",
        ),
        ("secrets", true, r#""namespace":"lifeboat","name":"s""#.into(), "agentNamespace"),
        ("namespaces", false, r#""name":"lifeboat""#.into(), "agentNamespace"),
        ("namespaces", false, r#""name":"kube-system""#.into(), "systemNamespace"),
        ("namespaces", false, r#""name":"team""#.into(), "stored"),
        ("secrets", true, r#""namespace":"kube-public","name":"s""#.into(), "systemNamespace"),
        ("secrets", true, format!(r#"{ns}:"s""#), "stored"),
    ] {
        assert_eq!(plain(key, namespaced, &meta, ""), rule, "{key} {meta}");
    }
}

const OWNER: &str = r#""namespace":"a","name":"o","ownerReferences":[{"apiVersion":"apps/v1","kind":"ReplicaSet","name":"r","uid":"u","controller":true}]"#;

#[test]
fn owned_objects_are_derived() {
    assert_eq!(plain("pods", true, OWNER, ""), "owned");
    assert_eq!(plain("pods", true, r#""namespace":"a","name":"p""#, ""), "stored");
    let loose = OWNER.replace(r#","controller":true"#, "");
    assert_eq!(plain("pods", true, &loose, ""), "stored");
    assert_eq!(plain("replicasets.apps", true, OWNER, ""), "owned");
    assert_eq!(plain("persistentvolumeclaims", true, OWNER, ""), "stored");
    assert_eq!(plain("secrets", true, OWNER, r#","type":"kubernetes.io/service-account-token""#), "stored");
}

#[test]
fn endpoints_that_a_controller_makes() {
    let slices = "endpointslices.discovery.k8s.io";
    let managed = |by: &str| {
        format!(r#""namespace":"a","name":"s","labels":{{"endpointslice.kubernetes.io/managed-by":"{by}"}}"#)
    };
    assert_eq!(plain(slices, true, &managed("endpointslice-controller.k8s.io"), ""), "serviceEndpoints");
    assert_eq!(
        plain(slices, true, &managed("endpointslicemirroring-controller.k8s.io"), ""),
        "serviceEndpoints"
    );
    assert_eq!(plain(slices, true, &managed("staff"), ""), "stored");
    assert_eq!(plain(slices, true, OWNER, ""), "serviceEndpoints");
    let made =
        r#""namespace":"a","name":"s","labels":{"endpoints.kubernetes.io/managed-by":"endpoint-controller"}"#;
    assert_eq!(plain("endpoints", true, made, ""), "serviceEndpoints");
    assert_eq!(
        plain(
            "endpoints",
            true,
            r#""namespace":"a","name":"s","annotations":{"control-plane.alpha.kubernetes.io/leader":"{}"}"#,
            ""
        ),
        "lease"
    );

    let mut facts = Facts::default();
    let services = resource("services", "Service", true);
    facts.observe(
        &services,
        &item(r#""namespace":"a","name":"picks""#, r#","spec":{"selector":{"app":"x"}}"#),
    );
    facts.observe(&services, &item(r#""namespace":"a","name":"fixed""#, r#","spec":{"selector":null}"#));
    facts.observe(&services, &item(r#""namespace":"a","name":"empty""#, r#","spec":{"selector":{}}"#));
    let endpoints = resource("endpoints", "Endpoints", true);
    for (name, rule) in
        [("picks", "serviceEndpoints"), ("fixed", "stored"), ("empty", "stored"), ("alone", "stored")]
    {
        let meta = format!(r#""namespace":"a","name":"{name}""#);
        assert_eq!(
            classify(&endpoints, &item(&meta, ""), &facts, &Selection::default()).rule(),
            rule,
            "{name}"
        );
    }
}

#[test]
fn a_paused_deployment_keeps_what_it_runs() {
    let mut facts = Facts::default();
    let deployments = resource("deployments.apps", "Deployment", true);
    let revision = |n: u8| format!(r#""annotations":{{"deployment.kubernetes.io/revision":"{n}"}}"#);
    facts.observe(
        &deployments,
        &item(&format!(r#""namespace":"a","name":"d",{}"#, revision(2)), r#","spec":{"paused":true}"#),
    );
    facts.observe(
        &deployments,
        &item(&format!(r#""namespace":"a","name":"e",{}"#, revision(2)), r#","spec":{"replicas":1}"#),
    );
    let sets = resource("replicasets.apps", "ReplicaSet", true);
    let set = |owner: &str, n: u8, replicas: u8| {
        let owner = format!(
            r#""ownerReferences":[{{"apiVersion":"apps/v1","kind":"Deployment","name":"{owner}","uid":"u","controller":true}}]"#
        );
        item(
            &format!(r#""namespace":"a","name":"r",{},{owner}"#, revision(n)),
            &format!(r#","spec":{{"replicas":{replicas}}}"#),
        )
    };
    for (owner, n, replicas, rule) in [
        ("d", 2, 3, "stored"),
        ("d", 2, 0, "stored"),
        ("d", 1, 0, "owned"),
        ("d", 1, 1, "stored"),
        ("e", 2, 3, "owned"),
    ] {
        let class = classify(&sets, &set(owner, n, replicas), &facts, &Selection::default());
        assert_eq!(class.rule(), rule, "{owner} {n} {replicas}");
    }
}

#[test]
fn opting_out_and_being_deleted() {
    for label in [
        r#""compliantkubernetes.io/nobackup":"""#,
        r#""lifeboat.dev/nobackup":"x""#,
        r#""velero.io/exclude-from-backup":"true""#,
    ] {
        let meta = format!(r#""namespace":"a","name":"s","labels":{{{label}}}"#);
        assert_eq!(plain("secrets", true, &meta, ""), "optedOut", "{label}");
    }
    assert_eq!(
        plain(
            "secrets",
            true,
            r#""namespace":"a","name":"s","labels":{"velero.io/exclude-from-backup":"false"}"#,
            ""
        ),
        "stored"
    );
    assert_eq!(
        plain(
            "secrets",
            true,
            r#""namespace":"a","name":"s","deletionTimestamp":"2026-01-01T00:00:00Z""#,
            ""
        ),
        "beingDeleted"
    );

    let (namespaces, secrets) =
        (resource("namespaces", "Namespace", false), resource("secrets", "Secret", true));
    let mut facts = Facts::default();
    let out = item(r#""name":"out","labels":{"lifeboat.dev/nobackup":""}"#, "");
    let dying = item(r#""name":"dying""#, r#","status":{"phase":"Terminating"}"#);
    facts.observe(&namespaces, &out);
    facts.observe(&namespaces, &dying);
    let all = Selection::default();
    assert_eq!(classify(&namespaces, &out, &facts, &all).rule(), "optedOut");
    assert_eq!(classify(&namespaces, &dying, &facts, &all).rule(), "namespaceTerminating");
    assert_eq!(
        classify(&secrets, &item(r#""namespace":"out","name":"s""#, ""), &facts, &all).rule(),
        "namespaceOptedOut"
    );
    assert_eq!(
        classify(&secrets, &item(r#""namespace":"dying","name":"s""#, ""), &facts, &all).rule(),
        "namespaceTerminating"
    );
    let asked = selection(|spec| spec.include_opted_out = true);
    assert_eq!(classify(&namespaces, &out, &facts, &asked), Class::Stored);
    assert_eq!(
        classify(&secrets, &item(r#""namespace":"out","name":"s""#, ""), &facts, &asked),
        Class::Stored
    );
}

#[test]
fn what_belongs_to_an_excluded_namespace_goes_with_it() {
    let hooks = "validatingwebhookconfigurations.admissionregistration.k8s.io";
    let hook = |namespaces: &[&str]| {
        let all: Vec<_> = namespaces
            .iter()
            .map(|ns| format!(r#"{{"clientConfig":{{"service":{{"name":"s","namespace":"{ns}"}}}}}}"#))
            .collect();
        format!(r#","webhooks":[{}]"#, all.join(","))
    };
    assert_eq!(plain(hooks, false, r#""name":"w""#, &hook(&["kube-system"])), "ownerNamespace");
    assert_eq!(plain(hooks, false, r#""name":"w""#, &hook(&["kube-system", "team"])), "stored");
    assert_eq!(plain(hooks, false, r#""name":"w""#, &hook(&["lifeboat"])), "agentNamespace");
    assert_eq!(
        plain(hooks, false, r#""name":"w""#, r#","webhooks":[{"clientConfig":{"url":"https://x"}}]"#),
        "stored"
    );
    let helm = |ns: &str| format!(r#""name":"c","annotations":{{"meta.helm.sh/release-namespace":"{ns}"}}"#);
    assert_eq!(
        plain("clusterroles.rbac.authorization.k8s.io", false, &helm("kube-system"), ""),
        "ownerNamespace"
    );
    assert_eq!(plain("clusterroles.rbac.authorization.k8s.io", false, &helm("team"), ""), "stored");
    assert_eq!(
        plain(
            "persistentvolumes",
            false,
            r#""name":"pv""#,
            r#","spec":{"claimRef":{"namespace":"kube-system","name":"c"}}"#
        ),
        "ownerNamespace"
    );
    assert_eq!(
        plain(
            "apiservices.apiregistration.k8s.io",
            false,
            r#""name":"v1.x""#,
            r#","spec":{"service":{"namespace":"kube-system"}}"#
        ),
        "ownerNamespace"
    );

    // A storage class from a chart in kube-system that a stored claim uses is stored.
    let mut facts = Facts::default();
    let claims = resource("persistentvolumeclaims", "PersistentVolumeClaim", true);
    facts.note_used(
        &claims,
        &item(r#""namespace":"team","name":"c""#, r#","spec":{"storageClassName":"fast"}"#),
    );
    let fast = item(r#""name":"fast","annotations":{"meta.helm.sh/release-namespace":"kube-system"}"#, "");
    assert_eq!(
        classify(
            &resource("storageclasses.storage.k8s.io", "StorageClass", false),
            &fast,
            &facts,
            &Selection::default()
        ),
        Class::Stored
    );
}

#[test]
fn related_objects_of_a_selection() {
    let some = selection(|spec| spec.namespaces = vec!["team".into()]);
    let mut facts = Facts::default();
    facts.note_used(
        &resource("persistentvolumeclaims", "PersistentVolumeClaim", true),
        &item(
            r#""namespace":"team","name":"c""#,
            r#","spec":{"storageClassName":"fast","volumeName":"pv-1"}"#,
        ),
    );
    facts.note_used(
        &resource("cronjobs.batch", "CronJob", true),
        &item(r#""namespace":"team","name":"c""#, r#","spec":{"jobTemplate":{"spec":{"template":{"spec":{"priorityClassName":"high","runtimeClassName":"gvisor"}}}}}"#),
    );
    facts.note_used(
        &resource("statefulsets.apps", "StatefulSet", true),
        &item(r#""namespace":"team","name":"c""#, r#","spec":{"volumeClaimTemplates":[{"spec":{"storageClassName":"slow"}}],"template":{"spec":{}}}"#),
    );
    facts.note_used(
        &resource("ingresses.networking.k8s.io", "Ingress", true),
        &item(
            r#""namespace":"team","name":"c","annotations":{"kubernetes.io/ingress.class":"old"}"#,
            r#","spec":{"ingressClassName":"nginx"}"#,
        ),
    );
    let binding = resource("rolebindings.rbac.authorization.k8s.io", "RoleBinding", true);
    facts.note_used(
        &binding,
        &item(r#""namespace":"team","name":"b""#, r#","roleRef":{"kind":"ClusterRole","name":"viewer"}"#),
    );
    let mut boats = resource("boats.demo.dev", "Boat", true);
    boats.custom = true;
    facts.note_used(&boats, &item(r#""namespace":"team","name":"b""#, ""));
    for (key, name, stored) in [
        ("persistentvolumes", "pv-1", true),
        ("persistentvolumes", "pv-2", false),
        ("storageclasses.storage.k8s.io", "fast", true),
        ("storageclasses.storage.k8s.io", "slow", true),
        ("priorityclasses.scheduling.k8s.io", "high", true),
        ("runtimeclasses.node.k8s.io", "gvisor", true),
        ("ingressclasses.networking.k8s.io", "nginx", true),
        ("ingressclasses.networking.k8s.io", "old", true),
        ("clusterroles.rbac.authorization.k8s.io", "viewer", true),
        ("clusterroles.rbac.authorization.k8s.io", "other", false),
        ("customresourcedefinitions.apiextensions.k8s.io", "boats.demo.dev", true),
        ("customresourcedefinitions.apiextensions.k8s.io", "oars.demo.dev", false),
    ] {
        let class =
            classify(&resource(key, "X", false), &item(&format!(r#""name":"{name}""#), ""), &facts, &some);
        assert_eq!(class == Class::Stored, stored, "{key} {name} {class:?}");
    }
    let bindings = resource("clusterrolebindings.rbac.authorization.k8s.io", "ClusterRoleBinding", false);
    for (subject, stored) in [
        (r#"{"kind":"ServiceAccount","name":"s","namespace":"team"}"#, true),
        (r#"{"kind":"ServiceAccount","name":"s","namespace":"other"}"#, false),
        (r#"{"kind":"Group","name":"system:serviceaccounts:team"}"#, true),
        (r#"{"kind":"User","name":"anna"}"#, false),
    ] {
        let class = classify(
            &bindings,
            &item(r#""name":"b""#, &format!(r#","subjects":[{subject}]"#)),
            &facts,
            &some,
        );
        assert_eq!(class == Class::Stored, stored, "{subject}");
    }
    let namespaces = resource("namespaces", "Namespace", false);
    assert_eq!(classify(&namespaces, &item(r#""name":"team""#, ""), &facts, &some), Class::Stored);
    assert_eq!(classify(&namespaces, &item(r#""name":"other""#, ""), &facts, &some).rule(), "namespace");
}

#[test]
fn labels_and_kinds_narrow_it() {
    let some = selection(|spec| {
        spec.selector = Some("app=shop".into());
        spec.exclude_kinds = vec!["secrets".into()];
        spec.cluster_scope = Some(ClusterScope::Off);
    });
    let facts = Facts::default();
    let maps = resource("configmaps", "ConfigMap", true);
    assert_eq!(
        classify(&maps, &item(r#""namespace":"a","name":"m","labels":{"app":"shop"}"#, ""), &facts, &some),
        Class::Stored
    );
    assert_eq!(
        classify(&maps, &item(r#""namespace":"a","name":"m""#, ""), &facts, &some).rule(),
        "labelSelector"
    );
    assert_eq!(classify_kind(&resource("secrets", "Secret", true), &some).map(Class::rule), Some("kind"));
    assert_eq!(
        classify_kind(&resource("persistentvolumes", "PersistentVolume", false), &some).map(Class::rule),
        Some("clusterScope")
    );
    assert_eq!(classify_kind(&resource("namespaces", "Namespace", false), &some), None);
}

#[test]
fn broken_groups_that_hold_nothing() {
    let broken = |group: &str| BrokenGroup {
        group: group.into(),
        version: "v1".into(),
        reason: "Stale".into(),
        message: String::new(),
    };
    assert!(classify_broken(&broken("metrics.k8s.io")).is_some());
    assert!(classify_broken(&broken("dead.dev")).is_none());
}
