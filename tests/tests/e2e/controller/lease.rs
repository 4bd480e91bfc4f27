//! The Lease in every state that others may leave it in: a long history, other people's words in it, edited and deleted
//! while a Backup runs. Somebody leads again in bounded time, and nothing is done twice.

use super::faults::under_way;
use super::site::{Running, SOON, Site};
use crate::killer::Killer;
use crate::world::shared_s3;
use rustix::process::Signal;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const LEASE: &str = "lifeboat-controller";

fn lease(site: &Site) -> Value {
    serde_json::from_str(&site.kubectl(&["get", "lease", LEASE, "-o", "json"])).unwrap()
}

fn edit(site: &Site, spec: &Value) {
    let patch = json!({ "spec": spec }).to_string();
    site.kubectl(&["patch", "lease", LEASE, "--type=merge", "-p", &patch]);
}

fn leads(controller: &Running) -> bool {
    controller.metric("lifeboat_leader") == Some(1.0)
}

fn until_one_leads<'a>(site: &Site, them: &'a [Running]) -> &'a Running {
    let deadline = Instant::now() + SOON;
    loop {
        if let Some(found) = them.iter().find(|c| leads(c)) {
            return found;
        }
        assert!(Instant::now() < deadline, "nobody leads\n{:#}\n{}", lease(site), site.logs());
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_lease_with_a_full_history_and_other_peoples_words_shuts_nobody_out() {
    let site = Site::new("lifeboat-lease-old");
    site.user_namespace("lease-old", 3);
    let found = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {
            "name": LEASE, "namespace": site.namespace,
            "labels": {"team": "platform"},
            "annotations": {"note": "x".repeat(200 << 10)},
        },
        "spec": {
            "holderIdentity": "\u{202e} ünïcode\n".repeat(500), "leaseDurationSeconds": 8,
            "leaseTransitions": i32::MAX,
            "acquireTime": "1970-01-01T00:00:00.000000Z", "renewTime": "9999-12-31T23:59:59.999999Z",
        },
    });
    site.cluster.kubectl_stdin(&["create", "-f", "-"], found.to_string()).unwrap();
    let controllers = [site.controller()];
    let leader = until_one_leads(&site, &controllers);
    site.backup("x", &json!({"includedNamespaces": ["lease-old"]}));
    site.completed("x");
    leader.get("/readyz").unwrap();
    let now = lease(&site);
    assert_eq!(now["spec"]["leaseTransitions"], i32::MAX, "it counts no further: {:#}", now["spec"]);
    assert_eq!(now["metadata"]["labels"]["team"], "platform", "what is others' stays");
    assert_eq!(now["metadata"]["annotations"]["note"].as_str().unwrap().len(), 200 << 10);
}

#[test]
fn a_lease_that_is_edited_or_deleted_while_a_backup_runs_makes_it_neither_lost_nor_twice() {
    let site = Site::new("lifeboat-lease-cut");
    site.user_namespace("lease-cut", 5);
    let killer = Killer::before(shared_s3().address().into());
    site.through(killer.endpoint());
    let controllers = [site.controller(), site.controller()];
    let edits: [(&str, &dyn Fn()); 5] = [
        ("taken", &|| edit(&site, &json!({"holderIdentity": "kubectl", "leaseDurationSeconds": 5}))),
        ("for-years", &|| {
            edit(
                &site,
                &json!({"holderIdentity": "somebody", "leaseDurationSeconds": 15, "renewTime": "9999-12-31T23:59:59.999999Z"}),
            )
        }),
        ("empty", &|| {
            edit(
                &site,
                &json!({"holderIdentity": null, "leaseDurationSeconds": null, "renewTime": null, "acquireTime": null, "leaseTransitions": null}),
            )
        }),
        ("counted-down", &|| {
            edit(&site, &json!({"leaseTransitions": 0, "acquireTime": "1970-01-01T00:00:00.000000Z"}))
        }),
        ("gone", &|| drop(site.kubectl(&["delete", "lease", LEASE]))),
    ];
    for (name, change) in edits {
        until_one_leads(&site, &controllers);
        under_way(&site, &killer, name, "lease-cut");
        change();
        // Longer than a term lasts that is not renewed.
        std::thread::sleep(Duration::from_secs(5));
        let sum = controllers.iter().filter(|c| leads(c)).count();
        assert!(sum <= 1, "{name}: {sum} lead\n{}", site.logs());
        killer.stall(false);
        let status = site.completed(name);
        println!("{name}: {} attempts", status["attempts"]);
    }
    assert_eq!(site.snapshots().len(), 5, "one each");
    site.world.pull().expect(0);
}

#[test]
fn leadership_may_change_hands_many_times() {
    let site = Site::new("lifeboat-lease-many");
    site.user_namespace("lease-many", 3);
    let mut controllers = vec![site.controller(), site.controller()];
    until_one_leads(&site, &controllers);
    let first = lease(&site);
    let transitions = |lease: &Value| lease["spec"]["leaseTransitions"].as_i64().unwrap();
    for round in 0..12 {
        let leader = until_one_leads(&site, &controllers).pid();
        let index = controllers.iter().position(|c| c.pid() == leader).unwrap();
        controllers[index].signal(Signal::TERM);
        if round % 4 == 0 {
            site.backup(&format!("b-{round}"), &json!({"includedNamespaces": ["lease-many"]}));
        }
        let started = Instant::now();
        while controllers[index].process.check().is_ok() {
            assert!(started.elapsed() < Duration::from_secs(20), "it does not end\n{}", site.logs());
            std::thread::sleep(Duration::from_millis(50));
        }
        controllers.remove(index);
        controllers.push(site.controller());
    }
    until_one_leads(&site, &controllers);
    for round in [0, 4, 8] {
        site.completed(&format!("b-{round}"));
    }
    let last = lease(&site);
    assert!(transitions(&last) >= transitions(&first) + 12, "{last:#}");
    assert_eq!(
        last["metadata"]["managedFields"].as_array().map(Vec::len),
        first["metadata"]["managedFields"].as_array().map(Vec::len),
        "a Lease does not grow with its history"
    );
    assert_eq!(site.snapshots().len(), 3);
}
