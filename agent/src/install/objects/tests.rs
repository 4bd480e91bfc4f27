//! Tests of the parent: the files of `deploy/` themselves, and how they are fitted.

use super::*;
use crate::install::Files;
use std::collections::BTreeMap;

fn options(namespace: &str) -> Options {
    let files = Files::new(BTreeMap::from([("agent.toml".to_owned(), "x".to_owned().into())]));
    Options { namespace: namespace.to_owned(), ..Options::new(files) }
}

fn one(all: &[Object], kind: &str) -> Value {
    all.iter().find(|o| o.is(kind)).unwrap_or_else(|| panic!("no {kind}")).body.clone()
}

#[test]
fn everything_is_in_the_namespace_that_was_asked_for() {
    let all = objects(&options("backups"));
    for object in &all {
        assert_eq!(object.namespace.is_some(), object.path.namespaced, "{}", object.title());
        let inside = object.namespace.as_deref();
        assert!(inside.is_none_or(|n| n == "backups" || n == "backups-nodes"), "{}", object.title());
        assert!(!object.body.to_string().contains("lifeboat-nodes"), "{}", object.title());
        assert_eq!(object.body["metadata"]["labels"][PART_OF], "lifeboat", "{}", object.title());
        assert_eq!(
            object.body.get("subjects").is_some(),
            object.kind.ends_with("RoleBinding"),
            "{}",
            object.title()
        );
        for subject in object.body["subjects"].as_array().into_iter().flatten() {
            assert!(subject["namespace"] == "backups" || subject["namespace"] == "backups-nodes");
        }
    }
    assert_eq!(one(&all, "Namespace")["metadata"]["name"], "backups");
    assert_eq!(one(&all, "ClusterRoleBinding")["metadata"]["name"], "lifeboat-agent.backups");
    assert_eq!(
        one(&objects(&options(NAMESPACE)), "ClusterRoleBinding")["metadata"]["name"],
        "lifeboat-agent"
    );
}

#[test]
fn what_is_needed_comes_before_what_needs_it() {
    let all = objects(&options(NAMESPACE));
    let at = |kind: &str, name: &str| all.iter().position(|o| o.is(kind) && o.name == name).unwrap();
    let order = [
        at("CustomResourceDefinition", "backups.lifeboat.dev"),
        at("Namespace", NAMESPACE),
        at("ClusterRole", SECRET),
        at("RoleBinding", SECRET),
        at("Secret", STATE),
        at("BackupSchedule", SCHEDULE),
        at("Secret", SECRET),
        at("Deployment", CONTROLLER),
    ];
    assert!(order.is_sorted(), "{order:?}");
    assert_eq!(all.last().unwrap().title(), "Deployment lifeboat-controller");
}

#[test]
fn the_agent_may_list_and_little_else() {
    let all = objects(&options(NAMESPACE));
    let cluster = one(&all, "ClusterRole");
    assert_eq!(
        cluster["rules"],
        json!([{ "apiGroups": ["*"], "resources": ["*"], "verbs": ["list"] }]),
        "beyond its own namespace it only lists"
    );
    for rule in one(&all, "Role")["rules"].as_array().unwrap() {
        let has = |field: &str, what: &str| rule[field].as_array().unwrap().iter().any(|v| v == what);
        for field in ["apiGroups", "resources", "verbs"] {
            assert!(!has(field, "*"), "{rule}");
        }
        if has("resources", "secrets") {
            assert_eq!(rule["resourceNames"], json!([STATE]));
            assert_eq!(rule["verbs"], json!(["get", "update"]));
        }
        assert!(!has("resources", "pods/exec") && !has("resources", "pods"));
        assert!(!has("verbs", "delete") || has("resources", "backups"));
        assert!(!has("verbs", "deletecollection") && !has("verbs", "escalate") && !has("verbs", "bind"));
    }
}

#[test]
fn the_pods_are_restricted() {
    let all = objects(&options(NAMESPACE));
    let namespace = one(&all, "Namespace");
    assert_eq!(namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"], "restricted");
    let deployment = one(&all, "Deployment");
    let pod = &deployment["spec"]["template"]["spec"];
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    assert_eq!(pod["volumes"][0]["secret"]["defaultMode"], 0o440);
    let container = &pod["containers"][0];
    let security = &container["securityContext"];
    assert_eq!(security["readOnlyRootFilesystem"], true);
    assert_eq!(security["allowPrivilegeEscalation"], false);
    assert_eq!(security["capabilities"], json!({ "drop": ["ALL"] }));
    assert_eq!(container["resources"]["limits"]["memory"], "256Mi");
    assert_eq!(container["resources"]["requests"]["cpu"], "200m");
}

#[test]
fn image_schedule_and_ports_are_filled_in() {
    let mut options = options(NAMESPACE);
    options.image = Some("registry.example.org/lifeboat:2".to_owned());
    options.schedule = Some("@daily-random".to_owned());
    options.time_zone = Some("Europe/Stockholm".to_owned());
    options.ports = vec![443, 9000];
    let all = objects(&options);
    assert_eq!(
        one(&all, "Deployment")["spec"]["template"]["spec"]["containers"][0]["image"],
        "registry.example.org/lifeboat:2"
    );
    let spec = &one(&all, "BackupSchedule")["spec"];
    assert_eq!((&spec["schedule"], &spec["timeZone"]), (&json!("@daily-random"), &json!("Europe/Stockholm")));
    let egress = &one(&all, "NetworkPolicy")["spec"]["egress"][1]["ports"];
    let ports: Vec<_> = egress.as_array().unwrap().iter().map(|p| p["port"].as_u64().unwrap()).collect();
    assert_eq!(ports, [443, 6443, 9000]);
}

#[test]
fn the_version_of_the_image_is_the_program_s() {
    let image = one(&objects(&options(NAMESPACE)), "Deployment")["spec"]["template"]["spec"]["containers"][0]
        ["image"]
        .clone();
    assert_eq!(image, format!("localhost/lifeboat-agent:{}", env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_changed_secret_restarts_the_pods() {
    let checksum = |text: &str| {
        let files = Files::new(BTreeMap::from([("agent.toml".to_owned(), text.to_owned().into())]));
        let deployment = one(&objects(&Options::new(files)), "Deployment");
        deployment["spec"]["template"]["metadata"]["annotations"][CHECKSUM].clone()
    };
    assert_eq!(checksum("a"), checksum("a"));
    assert_ne!(checksum("a"), checksum("b"));
}

#[test]
fn kustomize_has_every_file() {
    let text = include_str!("../../../../deploy/kustomization.yaml");
    let kustomization: Value = serde_saphyr::from_str(text).unwrap();
    let mut files: Vec<String> = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy"))
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().is_file())
        .map(|entry| entry.file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".yaml") && name != "kustomization.yaml")
        .collect();
    files.push("nodes".to_owned());
    let mut named: Vec<String> = serde_json::from_value(kustomization["resources"].clone()).unwrap();
    files.retain(|f| !f.starts_with("alert"));
    named.retain(|f| !f.starts_with("alert"));
    files.sort();
    named.sort();
    assert_eq!(named, files);
}

#[test]
fn kustomize_has_every_file_of_the_nodes() {
    let text = include_str!("../../../../deploy/nodes/kustomization.yaml");
    let kustomization: Value = serde_saphyr::from_str(text).unwrap();
    let named: Vec<String> = serde_json::from_value(kustomization["resources"].clone()).unwrap();
    let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/nodes")).unwrap().count();
    assert_eq!(named.len() + 1, files);
}

#[test]
fn without_nodes_nothing_is_privileged_and_nothing_is_in_their_namespace() {
    let all = objects(&Options { nodes: false, ..options(NAMESPACE) });
    for object in &all {
        assert!(object.namespace.as_deref() != Some("lifeboat-nodes"), "{}", object.title());
        assert!(!object.is("DaemonSet") && !object.kind.starts_with("Validating"), "{}", object.title());
    }
    assert_eq!(all.iter().filter(|o| o.is("Namespace")).count(), 1);
}

#[test]
fn a_daemon_reads_volumes_and_has_no_other_right() {
    let all = objects(&options(NAMESPACE));
    let named = |kind: &str, name: &str| {
        let found = all.iter().find(|o| o.is(kind) && o.name == name);
        found.unwrap_or_else(|| panic!("no {kind} {name}")).body.clone()
    };
    let pod = named("DaemonSet", nodes::NODE)["spec"]["template"]["spec"].clone();
    for host in ["hostNetwork", "hostPID", "hostIPC", "initContainers"] {
        assert!(pod[host].is_null(), "{host}");
    }
    assert_eq!(pod["containers"].as_array().unwrap().len(), 1);
    let container = &pod["containers"][0];
    let security = &container["securityContext"];
    assert_eq!(security["capabilities"], json!({ "drop": ["ALL"], "add": ["DAC_READ_SEARCH"] }));
    assert_eq!(
        (&security["privileged"], &security["allowPrivilegeEscalation"]),
        (&json!(false), &json!(false))
    );
    assert_eq!(security["readOnlyRootFilesystem"], true);
    assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    for mount in container["volumeMounts"].as_array().unwrap() {
        assert_eq!(mount["readOnly"], true, "{mount}");
    }
    let host: Vec<_> =
        pod["volumes"].as_array().unwrap().iter().filter(|v| !v["hostPath"].is_null()).collect();
    assert_eq!(host.len(), 1);
    assert_eq!(host[0]["hostPath"]["path"], "/var/lib/kubelet/pods");
    let rules = named("Role", nodes::NODE)["rules"].clone();
    assert_eq!(
        rules,
        json!([
            { "apiGroups": ["lifeboat.dev"], "resources": ["volumebackups"], "verbs": ["list", "watch"] },
            { "apiGroups": ["lifeboat.dev"], "resources": ["volumebackups/status"], "verbs": ["patch"] },
            { "apiGroups": [""], "resources": ["secrets"], "resourceNames": ["lifeboat-work"], "verbs": ["get"] },
        ])
    );
    let bound = all.iter().filter(|o| o.kind.ends_with("Binding"));
    let to = |o: &&Object| o.body["subjects"].to_string().contains(nodes::NODE);
    assert_eq!(bound.filter(to).count(), 1, "one Role, and no ClusterRole");
}

#[test]
fn the_kubelet_may_be_elsewhere_and_stays_where_it_was_said_to_be() {
    let other = Options { kubelet: Some("/var/lib/k0s/kubelet/".to_owned()), ..options(NAMESPACE) };
    let set = one(&objects(&other), "DaemonSet");
    let text = set.to_string();
    assert!(text.contains(r#""path":"/var/lib/k0s/kubelet/pods""#), "{text}");
    assert!(text.contains(r#""mountPath":"/var/lib/kubelet/pods""#), "{text}");
    assert_eq!(nodes::kubelet_of(&set).as_deref(), Some("/var/lib/k0s/kubelet"));
}

fn hooked(agent: &str, namespaces: &[&str]) -> Vec<Object> {
    let namespaces = namespaces.iter().map(|n| (*n).to_owned()).collect();
    let all = objects(&Options { hooks: Some(namespaces), ..options(agent) });
    all.into_iter()
        .filter(|o| o.body["metadata"]["labels"]["app.kubernetes.io/component"] == "hooks")
        .collect()
}

#[test]
fn hooks_are_allowed_where_they_are_asked_for_and_nowhere_else() {
    assert!(hooked(NAMESPACE, &[]).is_empty());
    let some = hooked("backups", &["shop", "db", "shop"]);
    let titles: Vec<String> = some.iter().map(Object::title).collect();
    let expected = [
        "ServiceAccount lifeboat-hooks",
        "ClusterRole lifeboat-hooks",
        "Role lifeboat-hooks",
        "RoleBinding lifeboat-hooks",
        "RoleBinding lifeboat-hooks-exec.backups in db",
        "RoleBinding lifeboat-hooks-exec.backups in shop",
    ];
    assert_eq!(titles, expected);
    for binding in &some[4..] {
        assert_eq!(binding.body["roleRef"]["kind"], "ClusterRole");
        assert_eq!(binding.body["subjects"][0]["namespace"], "backups");
    }
    assert_eq!(some[3].body["subjects"][0]["namespace"], "backups");
    assert_eq!(
        some[1].body["rules"],
        json!([{ "apiGroups": [""], "resources": ["pods/exec"], "verbs": ["get", "create"] }])
    );
    // The agent's account itself may not exec: only act for the one that may.
    assert!(some[4..].iter().all(|b| !b.body["subjects"].to_string().contains("lifeboat-agent")));
    let everywhere = hooked("backups", &["shop", "*"]);
    assert_eq!(everywhere.last().unwrap().title(), "ClusterRoleBinding lifeboat-hooks.backups");
    assert_eq!(everywhere.len(), 5);
    assert_eq!(hooked(NAMESPACE, &["*"]).last().unwrap().name, "lifeboat-hooks");
}

#[test]
fn kustomize_can_switch_hooks_on() {
    assert!(include_str!("../../../../deploy/kustomization.yaml").contains("\n# - hooks\n"));
    let text = include_str!("../../../../deploy/hooks/kustomization.yaml");
    let kustomization: Value = serde_saphyr::from_str(text).unwrap();
    let named: Vec<String> = serde_json::from_value(kustomization["resources"].clone()).unwrap();
    let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/hooks")).unwrap().count();
    assert_eq!(named.len() + 1, files);
}
