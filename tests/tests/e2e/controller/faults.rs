//! Trouble around the controller: credentials, rights, the API server, a Backup that is deleted, a namespace that goes.
//! Each time it is said on the objects, and when it is mended the next run is whole.

use super::site::{SOON, Site};
use crate::killer::Killer;
use crate::world::{S3Flags, shared_s3};
use lifeboat_tests::harness::cluster::Cluster;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

fn credentials(path: &Path, secret: &str) {
    let root = lifeboat_tests::harness::s3::ROOT;
    let text = format!("[default]\naws_access_key_id = {root}\naws_secret_access_key = {secret}\n");
    // As a mounted Secret is changed: at once.
    std::fs::write(path.with_extension("new"), text).unwrap();
    std::fs::rename(path.with_extension("new"), path).unwrap();
}

#[test]
fn wrong_credentials_are_said_and_right_ones_are_taken_up_without_a_restart() {
    let site = Site::new("lifeboat-creds");
    site.user_namespace("creds", 3);
    let path = site.world.folder().join("credentials");
    credentials(&path, "not-the-secret");
    site.world.use_s3(&S3Flags { endpoint: shared_s3().endpoint(), credentials: path.clone() });
    let controller = site.controller();
    site.backup("x", &json!({"includedNamespaces": ["creds"]}));
    let told = |status: &Value| {
        let conditions = status["conditions"].to_string();
        conditions.contains("403")
            || conditions.contains("AccessDenied")
            || conditions.contains("SignatureDoesNotMatch")
            || conditions.contains("refuse")
    };
    let status = site.until("x", told);
    assert!(!status.to_string().contains("not-the-secret"));
    assert!(!site.logs().contains("not-the-secret"), "{}", site.logs());
    let events = site.events();
    assert!(events.lines().any(|l| l.contains(" x ") && l.contains("Warning")), "{events}");
    assert!(controller.metric("lifeboat_store_errors_total").unwrap() >= 1.0);
    controller.get("/healthz").unwrap();
    credentials(&path, &shared_s3().secret(lifeboat_tests::harness::s3::ROOT).unwrap());
    // The same one if it is still being tried, else the next.
    if site.ended_or_running("x", Duration::from_secs(60))["phase"] != "Completed" {
        site.backup("y", &json!({"includedNamespaces": ["creds"]}));
        site.completed("y");
    }
    assert_eq!(site.snapshots().len(), 1);
    site.world.pull().expect(0);
}

/// A site whose store answers when it is told to, and a Backup under way.
pub(super) fn under_way(site: &Site, killer: &Killer, name: &str, namespace: &str) {
    killer.stall(true);
    site.backup(name, &json!({"includedNamespaces": [namespace]}));
    site.until(name, |status| status["phase"] == "InProgress");
}

#[test]
fn deleting_a_running_backup_cancels_it() {
    let site = Site::new("lifeboat-cancel");
    site.user_namespace("cancel", 5);
    let killer = Killer::before(shared_s3().address().into());
    site.through(killer.endpoint());
    let controller = site.controller();
    under_way(&site, &killer, "x", "cancel");
    let started = Instant::now();
    site.kubectl(&["delete", "lb", "x", "--timeout=20s"]);
    assert!(started.elapsed() < Duration::from_secs(15));
    std::thread::sleep(Duration::from_secs(1));
    killer.stall(false);
    site.backup("y", &json!({"includedNamespaces": ["cancel"]}));
    let status = site.completed("y");
    assert_eq!(
        site.snapshots().into_keys().collect::<Vec<_>>(),
        [status["snapshot"]["seq"].as_u64().unwrap()]
    );
    let canceled = "lifeboat_backup_runs_total{schedule=\"\",result=\"Canceled\"}";
    assert_eq!(controller.metric(canceled), Some(1.0), "{}", controller.get("/metrics").unwrap());
    // One that only waits goes as quietly.
    site.world.pull().expect(0);
}

#[test]
fn rights_taken_away_in_the_middle_and_given_back() {
    let site = Site::new("lifeboat-revoked");
    site.user_namespace("revoked", 5);
    let killer = Killer::before(shared_s3().address().into());
    site.through(killer.endpoint());
    let _controller = site.controller();
    under_way(&site, &killer, "x", "revoked");
    let binding = site.kubectl(&["get", "rolebinding", "lifeboat-agent", "-o", "json"]);
    site.kubectl(&["delete", "rolebinding", "lifeboat-agent"]);
    std::thread::sleep(Duration::from_secs(1));
    killer.stall(false);
    // Longer than the lease: whoever leads must find that it does not any more.
    std::thread::sleep(Duration::from_secs(5));
    let mut binding: Value = serde_json::from_str(&binding).unwrap();
    for field in ["uid", "resourceVersion", "creationTimestamp"] {
        binding["metadata"].as_object_mut().unwrap().remove(field);
    }
    site.cluster.kubectl_stdin(&["create", "-f", "-"], binding.to_string()).unwrap();
    site.completed("x");
    assert_eq!(site.snapshots().len(), 1, "{}", site.logs());
    site.world.pull().expect(0);
}

#[test]
fn a_namespace_that_terminates_is_no_gap() {
    let site = Site::new("lifeboat-ending");
    site.user_namespace("ending-a", 3);
    site.user_namespace("ending-b", 3);
    // It cannot go while this is there.
    let held = [
        "patch",
        "configmap",
        "c00000",
        "-n",
        "ending-b",
        "--type=merge",
        "-p",
        r#"{"metadata":{"finalizers":["example.com/hold"]}}"#,
    ];
    site.cluster.kubectl(&held).unwrap();
    site.cluster.kubectl(&["delete", "namespace", "ending-b", "--wait=false"]).unwrap();
    let _controller = site.controller();
    site.backup("x", &json!({"includedNamespaces": ["ending-*"]}));
    let status = site.completed("x");
    assert_eq!((&status["missed"], &status["namespaces"]), (&json!(0), &json!(1)), "{status:#}");
    let freed = [
        "patch",
        "configmap",
        "c00000",
        "-n",
        "ending-b",
        "--type=merge",
        "-p",
        r#"{"metadata":{"finalizers":null}}"#,
    ];
    site.cluster.kubectl(&freed).unwrap();
}

#[test]
fn the_api_server_goes_away_in_the_middle() {
    let _alone = super::site::alone();
    let site = Site::on(Arc::new(Cluster::start().unwrap()), "lifeboat");
    site.user_namespace("away", 50);
    let killer = Killer::before(shared_s3().address().into());
    site.through(killer.endpoint());
    let controller = site.controller();
    under_way(&site, &killer, "x", "away");
    site.cluster.stop_apiserver();
    std::thread::sleep(Duration::from_secs(1));
    killer.stall(false);
    // Gone for longer than the lease lasts.
    std::thread::sleep(Duration::from_secs(5));
    controller.get("/healthz").unwrap();
    site.cluster.start_apiserver().unwrap();
    site.completed("x");
    assert_eq!(site.snapshots().len(), 1, "{}", site.logs());
    // Also when it is away while nothing runs.
    site.cluster.restart_apiserver().unwrap();
    site.backup("y", &json!({"includedNamespaces": ["away"]}));
    site.completed("y");
    let deadline = Instant::now() + SOON;
    while controller.get("/readyz").is_err() {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(200));
    }
    site.world.pull().expect(0);
}

#[test]
fn an_api_server_that_throttles_costs_only_time() {
    let _alone = super::site::alone();
    let site = Site::on(Arc::new(Cluster::start().unwrap()), "lifeboat");
    site.user_namespace("away", 50);
    let controller = site.controller();
    let throttle = Throttle::begin(&site);
    let refused = || controller.sum("lifeboat_api_requests_total", "code=\"429\"");
    let deadline = Instant::now() + SOON;
    while refused() < 3.0 {
        assert!(
            Instant::now() < deadline,
            "the agent is not throttled: {}",
            controller.get("/metrics").unwrap()
        );
        std::thread::sleep(Duration::from_millis(100));
    }
    site.backup("z", &json!({"includedNamespaces": ["away"]}));
    let before = refused();
    std::thread::sleep(Duration::from_secs(8));
    assert!(refused() >= before + 3.0, "the agent was not throttled all the time");
    assert_ne!(site.get("z")["status"]["phase"], "Completed");
    controller.get("/healthz").unwrap();
    throttle.end(&site);
    site.completed("z");
    assert_eq!(site.snapshots().len(), 1, "{}", site.logs());
    site.world.pull().expect(0);
}

/// Priority and fairness put the agent and a greedy user into a level without a seat of its own. Such a level still
/// lets one request in while none runs; the greedy user's hangs in an admission webhook that never answers, so that
/// all others of the level, the agent's lease too, are answered 429 as long as this lasts.
struct Throttle {
    greedy: Vec<std::thread::JoinHandle<()>>,
    over: Arc<std::sync::atomic::AtomicBool>,
    _silent: std::net::TcpListener,
}

impl Throttle {
    fn begin(site: &Site) -> Self {
        // The backlog takes the connections; nobody ever answers them.
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        site.cluster.apply(&objects(silent.local_addr().unwrap().port()).to_string()).unwrap();
        let over = Arc::new(std::sync::atomic::AtomicBool::new(false));
        // Two, so that one waits for the seat when the other's time is up.
        let greedy = (0..2).map(|n| greedy(site.cluster.clone(), over.clone(), n)).collect();
        Self { greedy, over, _silent: silent }
    }

    fn end(self, site: &Site) {
        self.over.store(true, std::sync::atomic::Ordering::Relaxed);
        site.cluster.kubectl(&["delete", "flowschema", "starved"]).unwrap();
        site.cluster.kubectl(&["delete", "validatingwebhookconfiguration", "silent"]).unwrap();
        for thread in self.greedy {
            thread.join().unwrap();
        }
    }
}

/// Creates objects whose admission hangs, one after the other, until it is over.
fn greedy(
    cluster: Arc<Cluster>,
    over: Arc<std::sync::atomic::AtomicBool>,
    number: usize,
) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        while !over.load(std::sync::atomic::Ordering::Relaxed) {
            let name = format!("greedy-{number}");
            let create =
                ["create", "configmap", &name, "-n", "default", "--as=greedy", "--request-timeout=30s"];
            drop(cluster.kubectl(&create));
            std::thread::sleep(Duration::from_millis(20));
        }
    })
}

fn objects(port: u16) -> Value {
    let api = "flowcontrol.apiserver.k8s.io/v1";
    let limited = json!({"nominalConcurrencyShares": 0, "lendablePercent": 0, "borrowingLimitPercent": 0, "limitResponse": {"type": "Reject"}});
    let account = json!({"kind": "ServiceAccount", "serviceAccount": {"name": "lifeboat-agent", "namespace": "lifeboat"}});
    let user = json!({"kind": "User", "user": {"name": "greedy"}});
    let rule = json!({"subjects": [account, user], "resourceRules": [
        {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"], "clusterScope": true},
    ]});
    let webhook = json!({
        "name": "silent.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1"],
        "timeoutSeconds": 30, "failurePolicy": "Ignore",
        "clientConfig": {"url": format!("https://127.0.0.1:{port}/")},
        "matchConditions": [{"name": "greedy", "expression": "request.userInfo.username == 'greedy'"}],
        "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}],
    });
    json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "greedy"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "edit"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "greedy"}]},
        {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
            "metadata": {"name": "silent"}, "webhooks": [webhook]},
        {"apiVersion": api, "kind": "PriorityLevelConfiguration", "metadata": {"name": "starved"}, "spec": {"type": "Limited", "limited": limited}},
        {"apiVersion": api, "kind": "FlowSchema", "metadata": {"name": "starved"}, "spec": {
            "priorityLevelConfiguration": {"name": "starved"}, "matchingPrecedence": 2, "rules": [rule],
            "distinguisherMethod": {"type": "ByUser"}}},
    ]})
}
