//! What is written wrongly: refused when it is made, with the reason in words; what a schema cannot know is refused at
//! once by the controller.

use super::site::Site;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Kind, spec, and a piece of the words that refuse it.
fn refused() -> Vec<(&'static str, Value, &'static str)> {
    let cron = |text: &str| ("BackupSchedule", json!({"schedule": text}), "not a schedule");
    let zone =
        |text: &str| ("BackupSchedule", json!({"schedule": "@daily", "timeZone": text}), "not a time zone");
    let namespace = |text: &str| ("Backup", json!({"includedNamespaces": [text]}), "not a namespace");
    let selector = |text: &str| ("Backup", json!({"selector": text}), "not a label selector");
    let mut all: Vec<_> = [
        "60 * * * *",
        "* 24 * * *",
        "0 0 32 * *",
        "0 0 * 13 *",
        "0 0 * * 8",
        "* * * *",
        "* * * * * *",
        "@reboot",
        "@every 5m",
        "*/0 * * * *",
        "a b c d e",
        "0 0 * * MONDAY",
    ]
    .map(cron)
    .into();
    all.extend(["Europe/Stock holm", "+02:00", "../etc/passwd", "Local"].map(zone));
    all.extend(["UPPER", "a_b", "a/b", "a b"].map(namespace));
    all.extend(["a in (b", "a=b=c", "=a", "a in ()b", "-a=b", "a=b,,c"].map(selector));
    all.extend([
        ("Backup", json!({"selector": "a=b", "labelSelector": {"matchLabels": {"a": "b"}}}), "not both"),
        (
            "Backup",
            json!({"labelSelector": {"matchExpressions": [{"key": "a", "operator": "Like"}]}}),
            "In or NotIn",
        ),
        (
            "Backup",
            json!({"labelSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}}),
            "In or NotIn",
        ),
        ("Backup", json!({"labelSelector": {"matchLabels": {"a": "b c"}}}), "not a label"),
        ("Backup", json!({"ttl": "tomorrow"}), "not a time"),
        ("Backup", json!({"ttl": "90s"}), "not a time"),
        ("Backup", json!({"deadline": "-1h"}), "not a time"),
        ("Backup", json!({"includedKinds": ["deployments/scale"]}), "not a kind"),
        ("Backup", json!({"preset": "mine"}), "no such preset"),
        ("Backup", json!({"clusterScope": "Some"}), "Unsupported value"),
        ("Backup", json!({"includedNamespaces": "one"}), "must be of type array"),
        ("BackupSchedule", json!({}), "Required value"),
        ("BackupSchedule", json!({"schedule": "@daily", "template": {"scheduleName": "x"}}), "leave it out"),
        ("BackupSchedule", json!({"schedule": "@daily", "startingDeadlineSeconds": 1}), "between 60 seconds"),
        (
            "BackupSchedule",
            json!({"schedule": "@daily", "historyLimits": {"successful": 0}}),
            "between 1 and 1000",
        ),
    ]);
    all
}

#[test]
fn what_is_written_wrongly_is_refused_with_the_reason() {
    let site = Site::new("lifeboat-admission");
    for (kind, spec, words) in refused() {
        let refusal = site.create(kind, "wrong", &spec).expect_err(&format!("{kind} {spec} was taken"));
        let text = format!("{refusal:#}");
        assert!(text.contains(words), "{kind} {spec}: {text}");
    }
    let many: Vec<String> = (0..300).map(|i| format!("n{i}")).collect();
    site.create("Backup", "wrong", &json!({"includedNamespaces": many})).unwrap_err();
    for (i, spec) in [
        json!({"schedule": "*/15 0-6,22 1,15 JAN-MAR MON-FRI"}),
        json!({"schedule": "@daily-random", "timeZone": "America/Argentina/Buenos_Aires"}),
        json!({"schedule": "5 4 * * 7", "timeZone": "Etc/GMT+5", "paused": true}),
    ]
    .iter()
    .enumerate()
    {
        site.create("BackupSchedule", &format!("good-{i}"), spec).unwrap();
    }
    for (i, spec) in [
        json!({}),
        json!({"selector": "app=shop, tier in (web,db),!test,a.b/c", "ttl": "720h", "deadline": "90m"}),
        json!({"includedNamespaces": ["team-*"], "includedKinds": ["deploy", "*.cert-manager.io"], "clusterScope": "Related"}),
    ]
    .iter()
    .enumerate()
    {
        site.create("Backup", &format!("good-{i}"), spec).unwrap();
    }
}

fn condition(object: &Value, kind: &str) -> Option<Value> {
    object["status"]["conditions"].as_array()?.iter().find(|c| c["type"] == kind).cloned()
}

#[test]
fn what_no_schema_can_know_is_refused_at_once() {
    let site = Site::new("lifeboat-invalid");
    let controller = site.controller();
    site.backup("nowhere", &json!({"includedNamespaces": ["no-such-namespace"]}));
    let status = site.ended("nowhere");
    assert_eq!(status["phase"], "Failed", "{status:#}");
    let invalid = condition(&site.get("nowhere"), "Invalid").unwrap_or_else(|| panic!("{status:#}"));
    assert_eq!(invalid["status"], "True");
    assert!(invalid["message"].as_str().unwrap().contains("no-such-namespace"), "{invalid:#}");
    assert!(
        status["started"].is_null() && status["attempts"].is_null(),
        "it was never in progress: {status:#}"
    );
    // A pattern may match nothing today; a named namespace beside one that exists is still a slip.
    site.user_namespace("there", 1);
    site.backup("half", &json!({"includedNamespaces": ["there", "ther"]}));
    assert_eq!(site.ended("half")["phase"], "Failed");
    let spec = json!({"schedule": "0 3 * * *", "timeZone": "Mars/Olympus_Mons"});
    site.create("BackupSchedule", "martian", &spec).unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    let schedule = loop {
        let found: Value =
            serde_json::from_str(&site.kubectl(&["get", "lbs", "martian", "-o", "json"])).unwrap();
        if condition(&found, "Ready").is_some_and(|c| c["status"] == "False")
            || condition(&found, "Invalid").is_some_and(|c| c["status"] == "True")
        {
            break found;
        }
        assert!(Instant::now() < deadline, "{found:#}\n{}", site.logs());
        std::thread::sleep(Duration::from_millis(200));
    };
    let conditions = schedule["status"]["conditions"].to_string();
    assert!(conditions.contains("Mars/Olympus_Mons"), "{conditions}");
    assert!(schedule["status"]["nextRun"].is_null());
    let events = site.events();
    for (kind, name) in [("Backup", "nowhere"), ("BackupSchedule", "martian")] {
        let told = events.lines().any(|l| l.split_whitespace().take(3).eq([kind, name, "Warning"]));
        assert!(told, "{kind} {name}: {events}");
    }
    let gauge = "lifeboat_schedule_invalid{schedule=\"martian\"}";
    assert_eq!(controller.metric(gauge), Some(1.0), "{}", controller.get("/metrics").unwrap());
    // Repaired, it is followed.
    site.kubectl(&[
        "patch",
        "lbs",
        "martian",
        "--type=merge",
        "-p",
        r#"{"spec":{"timeZone":"Europe/Oslo"}}"#,
    ]);
    let deadline = Instant::now() + Duration::from_secs(30);
    while site.kubectl(&["get", "lbs", "martian", "-o", "jsonpath={.status.nextRun}"]).is_empty() {
        assert!(Instant::now() < deadline, "{}", site.logs());
        std::thread::sleep(Duration::from_millis(200));
    }
}
