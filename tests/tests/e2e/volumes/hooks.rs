//! Hooks in real Pods, by Velero's annotations: a frozen Pod is read as it stood, and is thawed whatever happens.

use super::common::*;
use super::*;

#[test]
fn a_pod_with_hooks_is_read_as_it_stood_and_is_thawed_whatever_happens() {
    if !may_start_nodes("a_pod_with_hooks_is_read_as_it_stood_and_is_thawed_whatever_happens") {
        return;
    }
    let site = Site::start();
    writer(&site, "apps", "good", &freezing("0.5"));
    nobody_may_run_commands(&site);
    let installed = site.prepared.install(site.node.kubeconfig(), &["--hooks", "apps"]).expect(0);
    assert!(
        installed.stdout.contains("RoleBinding lifeboat-hooks-exec in apps: created"),
        "{}",
        installed.said()
    );
    begin(&site, "good", &["apps"]);
    let status = ended(&site, "good", "Completed");
    assert_eq!(status["volumes"], 1, "{status:#}");
    stood_still(&site, "good");
    thawed(&site, "apps", "good");
    hooks_that_hang_and_fail(&site);
    killed_between_freeze_and_thaw(&site);
    taken_back(&site);
}

/// The snapshot holds nothing that was written after the mark of the pre hook; and the Pod writes on.
#[track_caller]
fn stood_still(site: &Site, name: &str) {
    let report = report(site);
    assert_eq!(consistency(&report, name), "hooked", "{report:#}");
    let log = file_of(site, &format!("volumes/apps/{name}/log"));
    assert_eq!(log.lines().last(), Some("still"), "{}", log.lines().count());
}

fn nobody_may_run_commands(site: &Site) {
    begin(site, "forbidden", &["apps"]);
    let status = ended(site, "forbidden", "PartiallyFailed");
    assert!(status["messages"].to_string().contains("lifeboat install --hooks"), "{status:#}");
    assert!(!shell(&site.node, "apps", "good", "test -e /tmp/calls"), "no hook ran");
}

/// Each is named with what it said; a volume whose hook may fail is read; all Pods run on.
fn hooks_that_hang_and_fail(site: &Site) {
    let command = |line: &str| json!(["sh", "-c", line]).to_string();
    let post = command("rm -f /tmp/frozen; echo thawed >> /tmp/calls");
    let hangs = json!({
        PRE: command("touch /tmp/frozen; sleep 1000"), "pre.hook.backup.velero.io/timeout": "3s", POST: post,
    });
    let fails =
        json!({ PRE: command("touch /tmp/frozen; echo the disk is on fire >&2; exit 3"), POST: post });
    let mut goes_on = fails.clone();
    goes_on["pre.hook.backup.velero.io/on-error"] = json!("Continue");
    for (name, hooks) in [("hangs", hangs), ("fails", fails), ("goes-on", goes_on)] {
        writer(site, "apps", name, &hooks);
    }
    // Elsewhere nobody may run commands.
    writer(site, "elsewhere", "other", &freezing("0.1"));
    begin(site, "bad", &["apps", "elsewhere"]);
    let status = ended(site, "bad", "PartiallyFailed");
    assert_eq!((&status["volumes"], &status["missed"]), (&json!(2), &json!(3)), "{status:#}");
    let report = report(site);
    let missed = |name: &str| {
        let all = report["missed"].as_array().unwrap();
        let found = all.iter().find(|m| m["name"] == name).unwrap_or_else(|| panic!("{name}: {report:#}"));
        (found["reason"].as_str().unwrap().to_owned(), found["message"].as_str().unwrap().to_owned())
    };
    let (reason, message) = missed("hangs");
    assert!(reason == "HookFailed" && message.contains("within 3 s"), "{reason} {message}");
    let (reason, message) = missed("fails");
    assert!(reason == "HookFailed" && message.contains("the disk is on fire"), "{reason} {message}");
    let (reason, message) = missed("other");
    assert!(reason == "HooksForbidden" && message.contains("--hooks elsewhere"), "{reason} {message}");
    for name in ["good", "hangs", "fails", "goes-on"] {
        thawed(site, "apps", name);
        assert!(shell(&site.node, "apps", name, "test -s /tmp/calls"), "{name}: its post hook ran");
    }
    site.node.kubectl(&["delete", "namespace", "elsewhere", "--wait=false"]).unwrap();
    for name in ["hangs", "fails", "goes-on"] {
        site.node.kubectl(&["-n", "apps", "delete", "pod,pvc", name]).unwrap();
    }
}

/// Whoever dies while a Pod is frozen: it is thawed, and the Backup is good.
fn killed_between_freeze_and_thaw(site: &Site) {
    let path = writer(site, "apps", "slow", &freezing("6"));
    for victim in ["controller", "node"] {
        // So much that is new takes some seconds to read.
        random_files(&path, 40, 8 << 20);
        let name = format!("killed-{victim}");
        begin(site, &name, &["apps"]);
        let until = |what: &str, so: &dyn Fn() -> bool| {
            let deadline = Instant::now() + Duration::from_secs(90);
            while !so() {
                assert!(Instant::now() < deadline, "{what}: {:#}\n{}", status(site, &name), logs(site));
                std::thread::sleep(Duration::from_millis(100));
            }
        };
        until("a freeze", &|| is_frozen(site, "apps", "slow"));
        if victim == "node" {
            let phases =
                ["get", "volumebackups", "-o=jsonpath={.items[?(@.spec.claim==\"slow\")].status.phase}"];
            until("reading", &|| site.nodes(&phases).contains("InProgress"));
        }
        assert!(kill(&site.node, victim) > 0, "no {victim} was there to be killed");
        ended(site, &name, "Completed");
        thawed(site, "apps", "slow");
        thawed(site, "apps", "good");
        let left = site.nodes(&["get", "volumebackups", "-o=name"]);
        assert_eq!(left, "", "{name}");
        if consistency(&report(site), "slow") == "hooked" {
            stood_still(site, "slow");
        }
    }
}

/// The right goes when it is not wanted any more, and with the installation.
fn taken_back(site: &Site) {
    let k = site.node.kubeconfig();
    let of_hooks = || {
        let label = "-l=app.kubernetes.io/component=hooks";
        let kinds = "serviceaccounts,clusterroles,clusterrolebindings,roles,rolebindings";
        site.node.kubectl(&["get", kinds, "-A", "-o=name", label]).unwrap()
    };
    let everywhere = site.prepared.install(k, &["--no-wait", "--hooks", "*"]).expect(0);
    assert!(
        everywhere.stdout.contains("RoleBinding lifeboat-hooks-exec in apps: removed"),
        "{}",
        everywhere.said()
    );
    assert!(
        of_hooks().contains("clusterrolebinding.rbac.authorization.k8s.io/lifeboat-hooks"),
        "{}",
        of_hooks()
    );
    let same = site.prepared.install(k, &["--no-wait"]).expect(0);
    assert!(!same.stdout.contains("removed") && !same.stdout.contains(": created"), "{}", same.said());
    site.prepared.install(k, &["--no-wait", "--without-hooks"]).expect(0);
    assert_eq!(
        of_hooks().trim(),
        "clusterrole.rbac.authorization.k8s.io/lifeboat-hooks",
        "it gives nobody a right"
    );
    let nowhere = site.prepared.install(k, &["--no-wait", "--hooks", "not-there"]).expect(1);
    assert!(nowhere.stderr.contains("make that namespace first"), "{}", nowhere.said());
    site.prepared.install(k, &["--no-wait", "--hooks", "apps"]).expect(0);
    site.prepared.uninstall(k, &["--yes"]).expect(0);
    assert_eq!(of_hooks(), "");
}
