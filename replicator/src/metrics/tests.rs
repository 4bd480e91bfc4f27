//! What is exported is what is documented, and what rules and dashboard ask for exists.

use super::names::{ALL, Described};
use super::*;
use crate::alarm::{Finding, Stage};
use crate::catalog::{Catalogue, Cursor, State, Transfer};
use crate::scrub::Standing;
use crate::status::forecast::Space;
use crate::status::{self, InPrimary};
use crate::testing::row;
use std::collections::BTreeSet;

fn file(path: &str) -> String {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    std::fs::read_to_string(root.join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

/// Everything is known, and one alarm is open.
fn full(name: &str) -> Status {
    let dir = tempfile::tempdir().unwrap();
    let catalogue = Catalogue::open(&dir.path().join("c.sqlite")).unwrap();
    catalogue.put_snapshot(name, &row(1, 10, "full", State::Held)).unwrap();
    catalogue.put_snapshot(name, &row(2, 11, "full", State::Pending)).unwrap();
    catalogue.set_cursor(name, Cursor::Pulled, &at(40_000).to_string()).unwrap();
    let finding = Finding::new(AlarmKind::Missing, Stage::Snapshots, "packs/aa", "gone", "look");
    catalogue.raise(name, &finding, at(40_000)).unwrap();
    let mut status = status::read(&catalogue, &[], at(43_200)).unwrap();
    let c = &mut status.clusters[0];
    c.rpo_hours = Some(26);
    c.in_primary = Some(InPrimary { snapshots: 7, oldest: None });
    c.protected_until = Some(at(99_000));
    c.last_retention = Some(at(30_000));
    c.scrub = Some(Standing { objects: 3, oldest: Some(at(20_000)), overdue: 2 });
    c.progress = Some(Transfer {
        task: "x".to_owned(),
        done: 5,
        total: Some(10),
        rate: 1,
        eta_s: Some(5),
        at: at(43_000),
    });
    status.space =
        Some(Space { free: 5, total: 10, reserve: 1, growth_per_day: Some(-3), days_left: Some(2) });
    status
}

#[test]
fn every_metric_is_exported_with_its_labels() {
    let text = render(Some(&full("prod")));
    for Described { name, labels, help } in ALL {
        assert!(name.starts_with("lifeboat_") && !help.ends_with('.') && !name.ends_with("_total"), "{name}");
        assert!(text.contains(&format!("# TYPE {name} gauge\n")), "{name}");
        let sample =
            text.lines().find(|l| l.starts_with(&format!("{name}{{")) || l.starts_with(&format!("{name} ")));
        let sample = sample.unwrap_or_else(|| panic!("{name} has no sample"));
        assert!(labels.iter().all(|l| sample.contains(&format!("{l}=\""))), "{sample}");
    }
    let exported: BTreeSet<_> =
        text.lines().filter_map(|l| l.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    assert_eq!(exported, ALL.iter().map(|d| d.name).collect());
    for line in [
        "lifeboat_replicator_newest_snapshot_timestamp_seconds{cluster=\"prod\"} 36000",
        "lifeboat_replicator_lag_seconds{cluster=\"prod\"} 3600",
        "lifeboat_replicator_alarms{cluster=\"prod\",kind=\"missing\"} 1",
        "lifeboat_replicator_alarms{cluster=\"prod\",kind=\"forged\"} 0",
        "lifeboat_replicator_snapshots{cluster=\"prod\",side=\"primary\"} 7",
        "lifeboat_replicator_disk_growth_bytes_per_day -3",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
    }
}

#[test]
fn names_cannot_break_the_format_and_what_cannot_be_read_is_not_guessed() {
    for line in render(Some(&full("a\"b\\c\nd"))).lines().filter(|l| !l.starts_with('#')) {
        let number = line.rsplit_once(' ').unwrap().1.parse::<f64>();
        assert!(line.starts_with("lifeboat_") && number.is_ok(), "{line}");
    }
    let unreadable = render(None);
    let samples: Vec<&str> = unreadable.lines().filter(|l| !l.starts_with('#')).collect();
    assert_eq!(samples.len(), 2, "{unreadable}");
    assert_eq!(samples[0], "lifeboat_replicator_readable 0");
}

#[test]
fn the_documentation_lists_exactly_what_is_exported() {
    let row = |d: &Described| {
        let labels = if d.labels.is_empty() { "–".to_owned() } else { d.labels.join(", ") };
        format!("| `{}` | {labels} | {} |", d.name, d.help)
    };
    let expected: Vec<String> = ALL.iter().map(row).collect();
    let text = file("docs/monitoring.md");
    let found: Vec<&str> = text.lines().filter(|l| l.starts_with("| `lifeboat_")).collect();
    assert_eq!(found, expected, "docs/monitoring.md should have these rows:\n{}", expected.join("\n"));
}

fn asked(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|w| w.starts_with("lifeboat_")).map(str::to_owned).collect()
}

#[track_caller]
fn assert_known(asked: &BTreeSet<String>, least: usize) {
    let known: BTreeSet<String> = ALL.iter().map(|d| d.name.to_owned()).collect();
    assert!(asked.len() >= least, "{asked:?}");
    let unknown: Vec<_> = asked.difference(&known).collect();
    assert!(unknown.is_empty(), "no such metrics: {unknown:?}");
}

#[test]
fn alerts_ask_only_for_what_is_exported_and_each_is_explained() {
    let text = file("deploy/monitoring/replicator-alerts.yaml");
    assert_known(&asked(&text), 9);
    let rules: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
    let alerts = rules["groups"][0]["rules"].as_array().unwrap();
    let documented = file("docs/monitoring.md");
    for rule in alerts {
        let alert = rule["alert"].as_str().unwrap();
        assert!(documented.contains(&format!("### {alert}\n")), "docs/monitoring.md has no section {alert}");
        let runbook = format!("docs/monitoring.md#{}", alert.to_lowercase());
        assert_eq!(rule["annotations"]["runbook"], runbook.as_str(), "{alert}");
        assert!(
            rule["annotations"]["summary"].is_string() && rule["labels"]["severity"].is_string(),
            "{alert}"
        );
        let expression = rule["expr"].as_str().unwrap();
        for (open, close) in ["()", "[]", "{}"].map(|p| p.split_at(1)) {
            assert_eq!(expression.matches(open).count(), expression.matches(close).count(), "{alert}");
        }
        // A label's value that does not exist would never alert.
        for kind in expression.split("kind=\"").skip(1).filter_map(|rest| rest.split('"').next()) {
            let warnings = [WarningKind::NotPulled, WarningKind::DiskFillsUp, WarningKind::ScrubOverdue];
            let known = AlarmKind::parse(kind).is_some() || warnings.iter().any(|w| w.name() == kind);
            assert!(known, "{alert}: {kind}");
        }
    }
    assert_eq!(documented.lines().filter(|l| l.starts_with("### ")).count(), alerts.len());
}

#[test]
fn the_dashboard_asks_only_for_what_is_exported() {
    let text = file("deploy/monitoring/grafana-replicator.json");
    assert_known(&asked(&text), 12);
    let dashboard: serde_json::Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<_> = panels.iter().map(|p| p["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len());
    for panel in panels {
        let (at, title) = (&panel["gridPos"], panel["title"].as_str().unwrap());
        assert!(at["x"].as_u64().unwrap() + at["w"].as_u64().unwrap() <= 24, "{title}");
        assert!(panel["targets"].as_array().is_some_and(|t| !t.is_empty()), "{title}");
    }
}
