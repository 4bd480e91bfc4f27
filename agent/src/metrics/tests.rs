//! What is exported is what is documented, and what alerts ask for exists.

use super::names::{ALL, Described, NODE};
use super::*;
use crate::select::Report;
use std::collections::BTreeSet;

const T: Timestamp = Timestamp::UNIX_EPOCH;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

fn end(result: Ended, finished: i64) -> RunEnd {
    RunEnd {
        result,
        finished: at(finished),
        duration: Duration::from_millis(1500),
        objects: 10,
        bytes: 1000,
        stored_bytes: 300,
        missed: u64::from(result == Ended::PartiallyFailed),
    }
}

/// A controller that has done everything once.
fn busy() -> Metrics {
    let metrics = Metrics::new();
    metrics.leader(true);
    let state = ScheduleState { next_run: Some(at(500)), ..ScheduleState::default() };
    metrics.schedules([("daily".to_owned(), state)]);
    metrics.run_ended("daily", &end(Ended::Completed, 100));
    metrics.running(1);
    metrics.store_error();
    metrics.answered(Verb::List, 200);
    metrics.unanswered(Verb::Watch);
    let mut report = Report::new(T);
    report.excluded.insert("optedOut".to_owned(), 2);
    let (namespace, claim) = ("shop".to_owned(), "data".to_owned());
    report.keep_volume(crate::select::Kept { namespace, claim, since: at(40), overdue: true });
    metrics.name_claims(true);
    metrics.coverage(&report);
    metrics
}

#[test]
fn the_last_good_tree_of_a_missed_volume_stays_and_claims_are_named_only_if_asked() {
    let metrics = busy();
    let mut report = Report::new(T);
    report.miss_volume("shop", "data", "NodeSilent", "no sign of life");
    metrics.coverage(&report);
    let text = metrics.render();
    let series = "lifeboat_volume_last_good_timestamp_seconds{namespace=\"shop\",claim=\"data\"} 40\n";
    assert!(
        text.contains(series) && text.contains("lifeboat_coverage_volumes{state=\"missed\"} 1\n"),
        "{text}"
    );
    metrics.name_claims(false);
    let text = metrics.render();
    assert!(!text.contains("shop"), "{text}");
    assert!(text.contains("lifeboat_coverage_oldest_volume_timestamp_seconds 40\n"), "{text}");
    metrics.coverage(&Report::new(T));
    assert!(!metrics.render().contains("oldest_volume_timestamp_seconds 4"));
}

fn samples(text: &str) -> Vec<&str> {
    text.lines().filter(|l| !l.starts_with('#')).collect()
}

#[test]
fn every_metric_is_exported_with_its_labels() {
    let text = busy().render();
    for Described { name, kind, labels, .. } in ALL {
        assert!(text.contains(&format!("# TYPE {name} {kind}\n")), "{name}");
        let sample = samples(&text)
            .into_iter()
            .find(|l| l.starts_with(&format!("{name}{{")) || l.starts_with(&format!("{name} ")));
        let sample = sample.unwrap_or_else(|| panic!("{name} has no sample"));
        assert!(labels.iter().all(|l| sample.contains(&format!("{l}=\""))), "{sample}");
    }
    let exported: BTreeSet<_> =
        text.lines().filter_map(|l| l.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    assert_eq!(exported, ALL.iter().map(|d| d.name).collect());
}

#[test]
fn names_follow_prometheus_rules() {
    for Described { name, kind, labels, help } in ALL.iter().chain(NODE) {
        assert!(name.starts_with("lifeboat_") && !help.is_empty() && !help.ends_with('.'), "{name}");
        assert_eq!(*kind == "counter", name.ends_with("_total"), "{name}");
        assert!(labels.iter().all(|l| l.chars().all(|c| c.is_ascii_lowercase())), "{name}");
    }
}

#[test]
fn what_only_the_leader_knows_goes_with_the_lease() {
    let metrics = busy();
    metrics.leader(false);
    let text = metrics.render();
    assert!(text.contains("\nlifeboat_leader 0\n"), "{text}");
    assert!(!text.contains("schedule=\"daily\"} 100") && !text.contains("lifeboat_coverage"), "{text}");
    // Counters never go back.
    assert!(
        text.contains("lifeboat_backup_runs_total{schedule=\"daily\",result=\"Completed\"} 1\n"),
        "{text}"
    );
}

#[test]
fn only_a_completed_run_is_a_success() {
    let metrics = busy();
    metrics.run_ended("daily", &end(Ended::PartiallyFailed, 200));
    metrics.run_ended("", &end(Ended::Failed, 300));
    // The set of schedules says nothing of those on demand.
    let state =
        ScheduleState { last_run: Some(at(200)), last_success: Some(at(100)), ..ScheduleState::default() };
    metrics.schedules([("daily".to_owned(), state)]);
    let text = metrics.render();
    for line in [
        "lifeboat_backup_last_success_timestamp_seconds{schedule=\"daily\"} 100",
        "lifeboat_backup_last_run_timestamp_seconds{schedule=\"daily\"} 200",
        "lifeboat_backup_last_run_timestamp_seconds{schedule=\"\"} 300",
        "lifeboat_backup_missed{schedule=\"daily\"} 1",
        "lifeboat_backup_runs_total{schedule=\"\",result=\"Failed\"} 1",
        "lifeboat_backup_runs_total{schedule=\"\",result=\"Canceled\"} 0",
        "lifeboat_backup_duration_seconds{schedule=\"daily\"} 1.5",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
    }
}

#[test]
fn an_older_backup_never_hides_a_newer_one() {
    let metrics = busy();
    metrics.run_known("daily", &end(Ended::Failed, 50));
    let text = metrics.render();
    assert!(text.contains("last_run_timestamp_seconds{schedule=\"daily\"} 100\n"), "{text}");
    assert!(text.contains("runs_total{schedule=\"daily\",result=\"Failed\"} 0\n"), "{text}");
}

#[test]
fn a_deleted_schedule_is_forgotten_and_names_cannot_fill_the_memory() {
    let metrics = busy();
    metrics.schedules([]);
    let text = metrics.render();
    assert!(!text.contains("last_success_timestamp_seconds{schedule=\"daily\"}"), "{text}");
    metrics.schedules((0..10_000).map(|i| (format!("s{i}"), ScheduleState::default())));
    for i in 0..10_000 {
        metrics.run_ended(&format!("t{i}"), &end(Ended::Failed, i));
    }
    assert!(metrics.render().lines().count() < 4000);
}

#[test]
fn label_values_cannot_break_the_format() {
    let metrics = Metrics::new();
    metrics.run_ended("a\"b\\c\nd", &end(Ended::Completed, 1));
    for line in samples(&metrics.render()) {
        assert!(
            line.starts_with("lifeboat_") && line.rsplit_once(' ').unwrap().1.parse::<f64>().is_ok(),
            "{line}"
        );
    }
}

#[test]
fn two_controllers_share_nothing() {
    let _first = busy();
    assert!(Metrics::new().render().contains("lifeboat_store_errors_total 0\n"));
}

fn file(path: &str) -> String {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    std::fs::read_to_string(root.join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

#[test]
fn the_documentation_lists_exactly_what_is_exported() {
    let row = |d: &Described| {
        let labels = if d.labels.is_empty() { "–".to_owned() } else { d.labels.join(", ") };
        format!("| `{}` | {} | {labels} | {} |", d.name, d.kind, d.help)
    };
    let expected: Vec<String> = ALL.iter().chain(NODE).map(row).collect();
    let text = file("docs/metrics.md");
    let found: Vec<&str> = text.lines().filter(|l| l.starts_with("| `lifeboat_")).collect();
    assert_eq!(found, expected, "docs/metrics.md should have these rows:\n{}", expected.join("\n"));
}

#[test]
fn alerts_ask_only_for_what_is_exported() {
    let text = file("deploy/monitoring/alerts.yaml");
    let known: BTreeSet<_> = ALL.iter().chain(NODE).map(|d| d.name).collect();
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let asked: BTreeSet<_> = words.filter(|w| w.starts_with("lifeboat_")).collect();
    assert!(asked.len() >= 8, "{asked:?}");
    let unknown: Vec<_> = asked.difference(&known).collect();
    assert!(unknown.is_empty(), "no such metrics: {unknown:?}");
    let documented = file("docs/metrics.md");
    let rules: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
    assert_eq!(rules["kind"], "PrometheusRule");
    let alerts = rules["spec"]["groups"][0]["rules"].as_array().unwrap();
    for rule in alerts {
        let alert = rule["alert"].as_str().unwrap();
        assert!(documented.contains(&format!("### {alert}\n")), "docs/metrics.md has no section {alert}");
        let runbook = format!("docs/metrics.md#{}", alert.to_lowercase());
        assert_eq!(rule["annotations"]["runbook"], runbook.as_str(), "{alert}");
        assert!(
            rule["annotations"]["summary"].is_string() && rule["labels"]["severity"].is_string(),
            "{alert}"
        );
        let expression = rule["expr"].as_str().unwrap();
        for (open, close) in ["()", "[]", "{}"].map(|p| p.split_at(1)) {
            assert_eq!(expression.matches(open).count(), expression.matches(close).count(), "{alert}");
        }
    }
    let sections = documented.lines().filter(|l| l.starts_with("### ")).count();
    assert_eq!(sections, alerts.len(), "a section for each alert, and no other");
}
