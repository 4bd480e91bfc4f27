//! Who is protected, who is new, who was forgotten, and who left out the rest.

use super::*;
use crate::kinds::{BackupStatus, Phase};
use crate::select::report::NamespaceCounts;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

fn backup(spec: BackupSpec, phase: Phase, started: i64) -> Backup {
    let mut backup = Backup::new("x", spec);
    backup.status = Some(BackupStatus {
        phase,
        started: Some(at(started)),
        finished: Some(at(started + 10)),
        coverage: Some("Full".to_owned()),
        ..BackupStatus::default()
    });
    backup
}

/// A namespace with three ConfigMaps, `newer` of them made since the last backup.
fn stored(report: &mut Report, table: &mut Table, name: &str, made: i64, newer: u64) {
    report.namespaces.insert(name.to_owned(), NamespaceCounts { stored: 4, ..NamespaceCounts::default() });
    table.made.insert(name.to_owned(), at(made));
    let cell = Cell { stored: 3, newer, ..Cell::default() };
    table.cells.entry(name.to_owned()).or_default().insert("configmap".to_owned(), cell);
}

fn left_out(report: &mut Report, name: &str, rule: &str) {
    let counts = NamespaceCounts { excluded: [(rule.to_owned(), 2)].into(), ..NamespaceCounts::default() };
    report.namespaces.insert(name.to_owned(), counts);
}

fn find<'a>(coverage: &'a Coverage, name: &str) -> &'a Namespace {
    coverage.namespaces.iter().find(|n| n.name == name).unwrap()
}

#[test]
fn protected_new_and_never() {
    let (mut report, mut table) = (Report::new(at(0)), Table::default());
    stored(&mut report, &mut table, "old", 5, 1);
    stored(&mut report, &mut table, "fresh", 150, 3);
    stored(&mut report, &mut table, "forgotten", 5, 0);
    let not = BackupSpec { excluded_namespaces: vec!["forg*".to_owned()], ..BackupSpec::default() };
    let backups = [
        backup(not.clone(), Phase::Completed, 100),
        backup(not.clone(), Phase::PartiallyFailed, 50),
        backup(BackupSpec::default(), Phase::Failed, 120),
        backup(
            BackupSpec { selector: Some("a=b".to_owned()), ..BackupSpec::default() },
            Phase::Completed,
            130,
        ),
    ];
    let template = BackupSpec::default();
    let known = Known {
        report: &report,
        table: &table,
        backups: &backups,
        template: &template,
        charter_excludes: None,
        snapshot: None,
    };
    let coverage = assess(&known);
    let old = find(&coverage, "old");
    assert_eq!((old.state, old.last, old.since), (State::Protected, Some(at(110)), Some(at(50))));
    assert_eq!(old.kinds["configmap"].state, State::Protected);
    assert_eq!(find(&coverage, "fresh").state, State::New);
    assert_eq!(find(&coverage, "fresh").kinds["configmap"].state, State::New);
    let forgotten = find(&coverage, "forgotten");
    assert_eq!((forgotten.state, forgotten.kinds["configmap"].state), (State::Never, State::Never));
    assert!(coverage.has_gaps() && !old.has_gaps());
    // Without any Backup nothing is protected, and nothing is merely new.
    let none = assess(&Known { backups: &[], ..known });
    assert!(none.namespaces.iter().all(|n| n.state == State::Never), "{none:?}");
}

#[test]
fn a_namespace_made_again_is_not_the_one_that_was_backed_up() {
    let (mut report, mut table) = (Report::new(at(0)), Table::default());
    stored(&mut report, &mut table, "again", 200, 3);
    let backups = [backup(BackupSpec::default(), Phase::Completed, 100)];
    let template = BackupSpec::default();
    let coverage = assess(&Known {
        report: &report,
        table: &table,
        backups: &backups,
        template: &template,
        charter_excludes: None,
        snapshot: None,
    });
    assert_eq!((find(&coverage, "again").state, find(&coverage, "again").last), (State::New, None));
}

#[test]
fn the_snapshot_is_believed_over_the_objects() {
    let (mut report, mut table) = (Report::new(at(0)), Table::default());
    stored(&mut report, &mut table, "a", 5, 0);
    table.cells.get_mut("a").unwrap().insert("secret".to_owned(), Cell { stored: 1, ..Cell::default() });
    stored(&mut report, &mut table, "b", 5, 0);
    let backups = [backup(BackupSpec::default(), Phase::Completed, 100)];
    let kinds = [("a".to_owned(), ["configmap".to_owned()].into())].into();
    let snapshot = InSnapshot { seq: 3, finished: at(90), kinds };
    let template = BackupSpec::default();
    let coverage = assess(&Known {
        report: &report,
        table: &table,
        backups: &backups,
        template: &template,
        charter_excludes: None,
        snapshot: Some(&snapshot),
    });
    let a = find(&coverage, "a");
    assert_eq!((a.state, a.last), (State::Protected, Some(at(90))));
    assert_eq!((a.kinds["configmap"].state, a.kinds["secret"].state), (State::Protected, State::Never));
    assert_eq!(find(&coverage, "b").state, State::Never);
}

#[test]
fn who_left_it_out_is_named() {
    let mut report = Report::new(at(0));
    for (name, rule) in [
        ("kube-system", "systemNamespace"),
        ("monitoring", "systemNamespace"),
        ("lifeboat", "agentNamespace"),
        ("scratch-1", "namespace"),
        ("other", "namespace"),
        ("shop-test", "namespace"),
        ("mine", "optedOut"),
    ] {
        left_out(&mut report, name, rule);
    }
    report.opted_out.push(OptedOut {
        kind: "namespace".to_owned(),
        namespace: String::new(),
        name: "mine".to_owned(),
        label: "lifeboat.dev/nobackup".to_owned(),
    });
    let template = BackupSpec {
        preset: Some("compliant-kubernetes".to_owned()),
        excluded_namespaces: vec!["*-test".to_owned()],
        ..BackupSpec::default()
    };
    let excludes = ["scratch-*".to_owned()];
    let table = Table::default();
    let coverage = assess(&Known {
        report: &report,
        table: &table,
        backups: &[],
        template: &template,
        charter_excludes: Some(&excludes),
        snapshot: None,
    });
    for (name, why) in [
        ("kube-system", "a system namespace"),
        ("monitoring", "preset compliant-kubernetes"),
        ("lifeboat", "Lifeboat's own namespace"),
        ("scratch-1", "the charter excludes scratch-*"),
        ("shop-test", "the schedule excludes *-test"),
        ("other", "the schedule does not include it"),
        ("mine", "label lifeboat.dev/nobackup on Namespace mine"),
    ] {
        assert_eq!(find(&coverage, name).why.as_deref(), Some(why), "{name}");
        assert_eq!(find(&coverage, name).state, State::Excluded, "{name}");
    }
    assert!(!coverage.has_gaps());
}

#[test]
fn what_the_charter_excludes_is_told_by_the_newest_full_backup_that_has_a_snapshot() {
    let excluding = |names: &[&str], phase, coverage: &str, started| {
        let mut backup = backup(BackupSpec::default(), phase, started);
        let status = backup.status.as_mut().unwrap();
        status.excluded_namespaces = names.iter().map(|n| (*n).to_owned()).collect();
        status.coverage = Some(coverage.to_owned());
        backup
    };
    let old = excluding(&["old"], Phase::Completed, "Full", 100);
    let new = excluding(&["kube-*", "infra"], Phase::PartiallyFailed, "Full", 200);
    let failed = excluding(&["x"], Phase::Failed, "Full", 300);
    let part = excluding(&[], Phase::Completed, "Partial", 400);
    let silent = excluding(&[], Phase::Completed, "Full", 500);
    assert_eq!(excluded_lately(&[]), None);
    let told = excluded_lately(&[new, old, failed, part.clone()]);
    assert_eq!(told, Some(vec!["kube-*".to_owned(), "infra".to_owned()]));
    assert_eq!(excluded_lately(&[part, silent]), None, "one that was made before it was told");
}
