//! A cluster with its daily backup: what runs on demand cost it, what is protected, what happens when a part of the API
//! or a right is missing, that everything comes back, and what the agent asked for meanwhile.

use super::site::{Running, Site, audit_log, audited};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

fn coverage(site: &Site, code: i32, more: &[&str]) -> Value {
    let fixed = ["coverage", "--json", "--kubeconfig", site.admin_kubeconfig()];
    site.world.lifeboat(&[&fixed, more].concat()).expect(code).json()
}

fn on_vault(site: &Site) -> [String; 4] {
    let identity = site.world.admin().join("identity.txt");
    ["--repo".to_owned(), site.world.vault_url(), "--identity".to_owned(), identity.display().to_string()]
}

fn state<'a>(coverage: &'a Value, namespace: &str) -> &'a Value {
    let all = coverage["namespaces"].as_array().unwrap();
    all.iter().find(|n| n["name"] == namespace).unwrap_or_else(|| panic!("{namespace}: {coverage:#}"))
}

/// What a restore must bring back.
fn contents(site: &Site) -> BTreeMap<String, Value> {
    let list = site.cluster.kubectl(&["get", "configmaps,secrets", "-A", "-o", "json"]).unwrap();
    let list: Value = serde_json::from_str(&list).unwrap();
    let each = list["items"].as_array().unwrap().iter().filter_map(|o| {
        let meta = &o["metadata"];
        let namespace = meta["namespace"].as_str()?;
        let name = meta["name"].as_str()?;
        let wanted = namespace.starts_with("team-") && name != "kube-root-ca.crt";
        wanted.then(|| (format!("{namespace}/{}/{name}", o["kind"]), json!([o["data"], meta["labels"]])))
    });
    each.collect()
}

#[test]
fn the_daily_backup_of_a_cluster() {
    let _alone = super::site::alone();
    let audit = tempfile::tempdir().unwrap();
    let site = Site::on(Arc::new(audited(audit.path())), "lifeboat");
    for namespace in ["team-a", "team-b"] {
        site.user_namespace(namespace, 500);
    }
    site.user_namespace("scratch", 2);
    site.cluster.kubectl(&["label", "namespace", "scratch", "lifeboat.dev/nobackup=true"]).unwrap();
    site.cluster
        .kubectl(&["label", "-n", "team-a", "configmap", "c00000", "compliantkubernetes.io/nobackup=1"])
        .unwrap();
    before_the_first(&site);
    let controller = site.controller();
    // An empty spec is what the daily schedule has.
    site.backup("daily-1", &json!({}));
    let first = site.completed("daily-1");
    assert_eq!(first["coverage"], "Full");
    for name in ["demand-1", "demand-2", "demand-3"] {
        site.backup(name, &json!({"includedNamespaces": ["team-a"]}));
        site.completed(name);
    }
    site.backup("daily-2", &json!({}));
    let second = site.completed("daily-2");
    let stored = |s: &Value| s["storedBytes"].as_u64().unwrap();
    assert!(stored(&second) * 50 < stored(&first), "{} of {}", stored(&second), stored(&first));
    site.world.pull().expect(0);
    protected(&site, &controller);
    a_broken_group(&site);
    a_missing_right(&site, &controller);
    everything_comes_back(&site);
    site.world.pull().expect(0);
    idle_and_audited(&controller, audit.path());
}

fn before_the_first(site: &Site) {
    let before = coverage(site, 3, &[]);
    assert_eq!(state(&before, "team-a")["state"], "never", "{before:#}");
    assert_eq!(state(&before, "scratch")["state"], "excluded");
    assert_eq!(state(&before, "scratch")["why"], "label lifeboat.dev/nobackup on Namespace scratch");
    assert_eq!(before["schedule"], Value::Null);
}

fn protected(site: &Site, controller: &Running) {
    site.create("BackupSchedule", "daily", &json!({"schedule": "@daily-random"})).unwrap();
    for more in [vec![], on_vault(site).to_vec()] {
        let more: Vec<&str> = more.iter().map(String::as_str).collect();
        let now = coverage(site, 0, &more);
        assert_eq!(now["schedule"], "daily");
        for namespace in ["team-a", "team-b", ""] {
            let found = state(&now, namespace);
            assert_eq!(found["state"], "protected", "{found:#}");
            assert!(found["last"].is_string(), "{found:#}");
        }
        assert_eq!(state(&now, "team-a")["kinds"]["secret"]["state"], "protected");
        // The charter of `lifeboat init` names it; without a repository a Backup's status says so.
        assert_eq!(state(&now, "kube-system")["why"], "the charter excludes kube-system");
        assert!(!now["warnings"].to_string().contains("charter"), "{:#}", now["warnings"]);
        assert_eq!(state(&now, "lifeboat")["why"], "Lifeboat's own namespace");
        let labeled: BTreeSet<_> = now["optedOut"]
            .as_array()
            .unwrap()
            .iter()
            .map(|o| (o["kind"].as_str().unwrap(), o["name"].as_str().unwrap()))
            .collect();
        assert_eq!(labeled, [("configmap", "c00000"), ("namespace", "scratch")].into());
    }
    // New since then, and so not a gap.
    site.user_namespace("later", 1);
    let now = coverage(site, 0, &[]);
    assert_eq!(state(&now, "later")["state"], "new", "{:#}", state(&now, "later"));
    let shown = site
        .world
        .lifeboat(&["coverage", "--kinds", "--kubeconfig", site.admin_kubeconfig()])
        .expect(0)
        .stdout;
    assert!(shown.contains("label lifeboat.dev/nobackup on Namespace scratch"), "{shown}");
    assert!(shown.contains("  configmap"), "{shown}");
    site.cluster.kubectl(&["delete", "namespace", "later", "--timeout=60s"]).unwrap();
    let gauge = |state: &str| {
        controller.metric(&format!("lifeboat_coverage_namespaces{{state=\"{state}\"}}")).unwrap()
    };
    assert!(gauge("protected") >= 3.0 && gauge("excluded") >= 4.0, "{}", controller.get("/metrics").unwrap());
    assert!((gauge("never")).abs() < 0.5);
}

/// Runs one and gives its status and exit code.
fn now(site: &Site, code: i32) -> Value {
    let args = [
        "backup",
        "now",
        "--from-schedule",
        "daily",
        "--wait",
        "--json",
        "--timeout",
        "90s",
        "--kubeconfig",
        site.admin_kubeconfig(),
    ];
    site.world.lifeboat(&args).expect(code).json()["status"].clone()
}

/// The only thing that a partial run missed.
fn only_missed(status: &Value) -> String {
    assert_eq!((&status["phase"], &status["missed"]), (&json!("PartiallyFailed"), &json!(1)), "{status:#}");
    let messages = status["messages"].as_array().unwrap();
    assert_eq!(messages.len(), 1, "{status:#}");
    messages[0].as_str().unwrap().to_owned()
}

fn a_broken_group(site: &Site) {
    let broken = json!({
        "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {"name": "v1.broken.example.dev"},
        "spec": {"group": "broken.example.dev", "version": "v1", "groupPriorityMinimum": 100, "versionPriority": 10,
                 "insecureSkipTLSVerify": true, "service": {"name": "none", "namespace": "team-a"}},
    });
    site.cluster.apply(&broken.to_string()).unwrap();
    let message = only_missed(&now(site, 3));
    assert!(message.contains("broken.example.dev"), "{message}");
    site.cluster.kubectl(&["delete", "apiservice", "v1.broken.example.dev"]).unwrap();
    assert_eq!(now(site, 0)["phase"], "Completed");
}

fn a_missing_right(site: &Site, controller: &Running) {
    let role = "lifeboat-agent-lifeboat";
    let kept = site.cluster.kubectl(&["get", "clusterrole", role, "-o", "json"]).unwrap();
    let all = site.cluster.kubectl(&["api-resources", "--verbs=list", "-o", "name", "--no-headers"]).unwrap();
    let mut by_group: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for resource in all.lines().filter(|r| *r != "secrets") {
        let (name, group) = resource.split_once('.').unwrap_or((resource, ""));
        by_group.entry(group).or_default().push(name);
    }
    let rules: Vec<Value> = by_group
        .iter()
        .map(|(group, resources)| json!({"apiGroups": [group], "resources": resources, "verbs": ["list"]}))
        .collect();
    let patch = json!({"rules": rules}).to_string();
    site.cluster.kubectl(&["patch", "clusterrole", role, "--type=merge", "-p", &patch]).unwrap();
    let message = only_missed(&now(site, 3));
    assert!(message.contains("Secret") && message.contains("orbidden"), "{message}");
    assert_eq!(controller.metric("lifeboat_backup_missed{schedule=\"daily\"}"), Some(1.0));
    let refused = "lifeboat_api_requests_total{verb=\"list\",code=\"403\"}";
    assert!(controller.metric(refused).unwrap() >= 1.0);
    let rules = serde_json::from_str::<Value>(&kept).unwrap()["rules"].clone();
    let patch = json!({"rules": rules}).to_string();
    site.cluster.kubectl(&["patch", "clusterrole", role, "--type=merge", "-p", &patch]).unwrap();
    assert_eq!(now(site, 0)["phase"], "Completed");
    assert_eq!(controller.metric("lifeboat_backup_missed{schedule=\"daily\"}"), Some(0.0));
}

fn everything_comes_back(site: &Site) {
    // The newest snapshot is of a part: `latest` is the newest full one.
    site.backup("demand-4", &json!({"includedNamespaces": ["team-b"]}));
    site.completed("demand-4");
    site.world.pull().expect(0);
    let mut before = contents(site);
    before.retain(|name, _| name != "team-a/\"ConfigMap\"/c00000");
    assert!(before.len() > 1000);
    site.cluster.kubectl(&["delete", "namespace", "team-a", "team-b", "--timeout=120s"]).unwrap();
    assert!(contents(site).is_empty());
    let args = ["restore", "latest", "--yes", "--kubeconfig", site.admin_kubeconfig()];
    let restored = site.world.on_vault(&args);
    assert!(matches!(restored.code, 0 | 3), "{}", restored.said());
    let after = contents(site);
    let lost: Vec<_> =
        before.iter().filter(|(name, value)| after.get(*name) != Some(value)).map(|(n, _)| n).collect();
    assert!(lost.is_empty(), "{lost:?}\n{}", restored.said());
}

/// Idle it lists nothing, and it never asked for what it has no use for.
fn idle_and_audited(controller: &Running, audit: &Path) {
    let lists = |entries: &[Value]| entries.iter().filter(|e| e["verb"] == "list").count();
    let quiet = Duration::from_secs(12);
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let before = lists(&audit_log(audit));
        std::thread::sleep(quiet);
        if lists(&audit_log(audit)) == before {
            break;
        }
        assert!(
            Instant::now() < deadline,
            "it lists while it is idle: {:#}",
            audit_log(audit).last().unwrap()
        );
    }
    let odd: BTreeSet<String> = audit_log(audit)
        .iter()
        .filter_map(|e| {
            let place = &e["objectRef"];
            let (verb, resource) = (e["verb"].as_str()?, place["resource"].as_str().unwrap_or_default());
            let own = place["namespace"] == "lifeboat";
            let fine = match verb {
                "list" => true,
                "get" if resource.is_empty() => true,
                "get" | "update" if resource == "secrets" => own && place["name"] == "lifeboat-state",
                "get" | "update" | "patch" | "create" if resource == "leases" => own,
                "create" | "patch" if resource == "events" => own,
                "watch" | "get" | "create" | "delete" | "patch" | "update" => {
                    own && place["apiGroup"] == "lifeboat.dev"
                }
                _ => false,
            };
            // What it only tries, to learn whose cluster this is.
            let uid = verb == "get" && resource == "namespaces" && place["name"] == "kube-system";
            (!fine && !uid).then(|| format!("{verb} {}", e["requestURI"]))
        })
        .collect();
    assert!(odd.is_empty(), "{odd:#?}");
    assert!(controller.metric("lifeboat_api_requests_total{verb=\"list\",code=\"200\"}").unwrap() > 10.0);
}
