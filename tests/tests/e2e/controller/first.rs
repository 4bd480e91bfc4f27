//! The controller in an administrator's day: a Backup by kubectl, by schedule, by `lifeboat backup now`; what they show.

use super::site::{SOON, Site};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

#[test]
fn a_backup_made_with_kubectl_is_done_and_shown() {
    let site = Site::new("lifeboat-first");
    site.user_namespace("first", 20);
    let controller = site.controller();
    site.backup("x", &json!({"includedNamespaces": ["first"]}));
    let waited = site.kubectl(&["wait", "--for=condition=Completed", "backup/x", "--timeout=90s"]);
    assert!(waited.contains("condition met"), "{waited}");
    let status = site.completed("x");
    assert_eq!(status["snapshot"]["seq"], 1);
    assert!(status["objects"].as_i64().unwrap() >= 23, "{status:#}");
    assert_eq!(status["coverage"], "Partial");
    let table = site.kubectl(&["get", "lb"]);
    let titles: Vec<&str> = table.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(
        titles,
        ["NAME", "PHASE", "OBJECTS", "VOLUMES", "SIZE", "MISSED", "SNAPSHOT", "AGE"],
        "{table}"
    );
    assert!(table.lines().nth(1).unwrap().starts_with("x "), "{table}");
    let described = site.kubectl(&["describe", "backup", "x"]);
    for word in ["Phase:", "Completed", "Objects:", "Stored Bytes:", "Missed:", "Events:"] {
        assert!(described.contains(word), "{word}: {described}");
    }
    let events = site.events();
    assert!(
        events.lines().filter(|l| l.starts_with("Backup ") && l.contains(" x ")).count() >= 2,
        "{events}"
    );
    // The report, the data, and what the replicator thinks of it.
    site.world.pull().expect(0);
    let report = site.world.on_vault(&["report", "1"]).expect(0).stdout;
    assert!(report.contains("configmap"), "{report}");
    let object = site.world.on_vault(&["cat", "1", "objects/first/configmap/c00003.yaml"]).expect(0).stdout;
    assert!(object.contains("9007199254740993"), "{object}");
    // Health and metrics.
    for path in ["/healthz", "/readyz"] {
        controller.get(path).unwrap();
    }
    assert_eq!(controller.metric("lifeboat_leader"), Some(1.0));
    assert_eq!(
        controller.metric("lifeboat_backup_runs_total{schedule=\"\",result=\"Completed\"}"),
        Some(1.0)
    );
    assert_eq!(controller.metric("lifeboat_backup_missed{schedule=\"\"}"), Some(0.0));
    assert_eq!(controller.metric("lifeboat_backup_running"), Some(0.0));
}

#[test]
fn a_spec_cannot_be_changed_and_a_deleted_backup_keeps_its_snapshot() {
    let site = Site::new("lifeboat-fixed");
    site.user_namespace("fixed", 3);
    let _controller = site.controller();
    site.backup("x", &json!({"includedNamespaces": ["fixed"]}));
    site.completed("x");
    let change = site.try_kubectl(&["patch", "lb", "x", "--type=merge", "-p", r#"{"spec":{"ttl":"3h"}}"#]);
    let refusal = format!("{:#}", change.unwrap_err());
    assert!(refusal.contains("cannot be changed"), "{refusal}");
    site.kubectl(&["delete", "lb", "x", "--timeout=20s"]);
    assert_eq!(site.snapshots().len(), 1);
    site.world.pull().expect(0);
}

#[test]
fn backup_now_waits_and_says_how_it_ended() {
    let site = Site::new("lifeboat-now");
    site.user_namespace("now", 5);
    let controller = site.controller();
    let now = |more: &[&str]| {
        let fixed =
            ["backup", "now", "--kubeconfig", site.admin_kubeconfig(), "--agent-namespace", &site.namespace];
        site.world.lifeboat(&[&fixed, more].concat())
    };
    let done = now(&["--namespace", "now", "--ttl", "72h", "--wait", "--timeout", "90s"]).expect(0);
    assert!(done.stdout.contains("is Completed: snapshot 1 "), "{}", done.said());
    let template = json!({"includedNamespaces": ["no*"], "excludedNamespaces": ["nothing"]});
    site.create("BackupSchedule", "yearly", &json!({"schedule": "0 0 1 1 *", "template": template})).unwrap();
    let done = now(&["--from-schedule", "yearly", "--wait", "--json"]).expect(0).json();
    assert_eq!((&done["phase"], &done["status"]["snapshot"]["seq"]), (&json!("Completed"), &json!(2)));
    let name = done["name"].as_str().unwrap();
    assert!(name.starts_with("yearly-now-"), "{name}");
    let made = site.get(name);
    assert_eq!(made["metadata"]["labels"]["lifeboat.dev/schedule"], "yearly");
    assert_eq!(made["spec"]["includedNamespaces"], json!(["no*"]));
    // Called wrongly: said by whom, and nothing is made.
    let before = site.kubectl(&["get", "lb", "-o", "name"]).lines().count();
    let wrong = now(&["--from-schedule", "nightly"]).expect(2);
    assert!(wrong.stderr.contains("no BackupSchedule nightly"), "{}", wrong.stderr);
    let wrong = now(&["--selector", "a in (b"]).expect(2);
    assert!(wrong.stderr.contains("not a label selector"), "{}", wrong.stderr);
    now(&["--from-schedule", "yearly", "--namespace", "now"]).expect(2);
    let nobody = site.world.lifeboat(&[
        "backup",
        "now",
        "--kubeconfig",
        site.admin_kubeconfig(),
        "--agent-namespace",
        "not-there",
    ]);
    nobody.expect(1);
    assert_eq!(site.kubectl(&["get", "lb", "-o", "name"]).lines().count(), before);
    // What ends without a snapshot is a failure, and waiting has an end.
    let none = now(&["--namespace", "no-such-namespace", "--wait", "--timeout", "60s"]).expect(1);
    assert!(none.stdout.contains("no-such-namespace"), "{}", none.said());
    drop(controller);
    let late = now(&["--namespace", "now", "--wait", "--timeout", "2s"]).expect(1);
    assert!(late.stderr.contains("it goes on"), "{}", late.stderr);
    interrupted_waiting_leaves_the_backup(&site);
}

fn interrupted_waiting_leaves_the_backup(site: &Site) {
    let fixed =
        ["backup", "now", "--kubeconfig", site.admin_kubeconfig(), "--agent-namespace", &site.namespace];
    let count = || site.kubectl(&["get", "lb", "-o", "name"]).lines().count();
    let before = count();
    let mut child = site.world.spawn("lifeboat", &[&fixed[..], &["--namespace", "now", "--wait"]].concat());
    let deadline = Instant::now() + SOON;
    while count() == before {
        assert!(Instant::now() < deadline && child.try_wait().unwrap().is_none());
        std::thread::sleep(Duration::from_millis(100));
    }
    std::thread::sleep(Duration::from_millis(300));
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1));
    let said = std::fs::read_to_string(site.world.folder().join("lifeboat.log")).unwrap();
    assert!(said.contains("goes on"), "{said}");
    assert_eq!(count(), before + 1);
    // A controller that comes later finds both, and does them.
    let _controller = site.controller();
    let names = site.kubectl(&["get", "lb", "-o", "name"]);
    let names = names.lines().filter_map(|name| name.rsplit('/').next());
    let of_now = names.filter(|name| site.get(name)["spec"]["includedNamespaces"] == json!(["now"]));
    let ended: Vec<Value> = of_now.map(|name| site.completed(name)).collect();
    assert_eq!(ended.len(), 3, "the first, the late and the interrupted one");
}

#[test]
fn a_schedule_makes_backups_and_keeps_to_its_limits() {
    let site = Site::new("lifeboat-schedule");
    site.user_namespace("scheduled", 3);
    let controller = site.controller();
    let spec = json!({
        "schedule": "* * * * *", "timeZone": "Europe/Stockholm",
        "template": {"includedNamespaces": ["scheduled"]},
        "historyLimits": {"successful": 1, "failed": 1},
    });
    site.create("BackupSchedule", "minutely", &spec).unwrap();
    let deadline = Instant::now() + Duration::from_secs(200);
    let schedule = || -> serde_json::Value {
        serde_json::from_str(&site.kubectl(&["get", "lbs", "minutely", "-o", "json"])).unwrap()
    };
    // Two of its backups, of which the history keeps one.
    let kept = || {
        let names = site.kubectl(&[
            "get",
            "lb",
            "-l",
            "lifeboat.dev/schedule=minutely",
            "-o",
            "jsonpath={range .items[?(@.status.snapshot)]}{.metadata.name} {end}",
        ]);
        names.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    let first = loop {
        assert!(Instant::now() < deadline, "{:#}\n{}", schedule(), site.logs());
        if let Some(first) = kept().pop() {
            break first;
        }
        std::thread::sleep(Duration::from_millis(500));
    };
    let made = site.get(&first);
    assert_eq!(made["spec"]["includedNamespaces"], json!(["scheduled"]));
    let labels = "lifeboat_backup_last_success_timestamp_seconds{schedule=\"minutely\"}";
    assert!(controller.metric(labels).is_some_and(|t| t > 1.7e9), "{}", controller.get("/metrics").unwrap());
    loop {
        assert!(Instant::now() < deadline, "{:#}\n{}", schedule(), site.logs());
        let now = kept();
        if !now.is_empty() && !now.contains(&first) {
            assert_eq!(now.len(), 1, "{now:?}");
            break;
        }
        std::thread::sleep(Duration::from_millis(500));
    }
    // Its objects went, its snapshots did not.
    assert!(site.snapshots().len() >= 2);
    let status = &schedule()["status"];
    assert!(status["lastSuccessfulRun"].is_string() && status["nextRun"].is_string(), "{status:#}");
    site.kubectl(&["patch", "lbs", "minutely", "--type=merge", "-p", r#"{"spec":{"paused":true}}"#]);
    let table = site.kubectl(&["get", "lbs"]);
    let titles = table.lines().next().unwrap();
    for title in ["SCHEDULE", "TIMEZONE", "PAUSED", "LAST SUCCESS", "NEXT", "AGE"] {
        assert!(titles.contains(title), "{table}");
    }
    let paused = "lifeboat_schedule_paused{schedule=\"minutely\"}";
    while controller.metric(paused) != Some(1.0) {
        assert!(Instant::now() < deadline, "{}", controller.get("/metrics").unwrap());
        std::thread::sleep(Duration::from_millis(300));
    }
}
