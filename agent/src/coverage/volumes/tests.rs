//! Claims in every state, with and without a snapshot to compare with.

use super::*;
use crate::kinds::{BackupSpec, BackupStatus, Phase};
use crate::select::VolumeRecord;
use crate::select::report::Kept;
use crate::select::volumes::{Claim, Place, Source};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

fn place() -> Verdict {
    Verdict::Read(vec![Place {
        node: "n1".to_owned(),
        pod: "db".to_owned(),
        pod_uid: "u".to_owned(),
        volume: "pv".to_owned(),
        source: Source::Plugin("kubernetes.io~csi".to_owned()),
        hooks: None,
    }])
}

fn why(reason: &'static str) -> Why {
    Why { reason, message: "because".to_owned() }
}

fn kept(otherwise: Verdict) -> Verdict {
    Verdict::Kept { why: why("notMounted"), otherwise: Box::new(otherwise) }
}

/// Claims of shop, made at 50 each, or at 150 if their name begins with `new`.
fn look(verdicts: &[(&str, Verdict)], evidence: Option<&Evidence>) -> Vec<Volume> {
    let claim = |name: &str| Claim {
        namespace: "shop".to_owned(),
        name: name.to_owned(),
        created: at(if name.starts_with("new") { 150 } else { 50 }).to_string(),
        ..Claim::default()
    };
    let seen = Seen { claims: verdicts.iter().map(|(n, _)| claim(n)).collect(), ..Seen::default() };
    let decisions: Vec<Decision> = verdicts
        .iter()
        .map(|(name, verdict)| Decision {
            namespace: "shop".to_owned(),
            claim: (*name).to_owned(),
            uid: "u".to_owned(),
            verdict: verdict.clone(),
        })
        .collect();
    volumes(VolumesNow { seen: &seen, decisions: &decisions }, evidence)
}

fn states(volumes: &[Volume]) -> Vec<(&str, Method, State)> {
    volumes.iter().map(|v| (v.claim.as_str(), v.method, v.state)).collect()
}

/// A run at 100 that read `db` between hooks, kept `idle` and `ancient`, and missed `bad`.
fn report() -> Report {
    let mut report = Report::new(at(100));
    report.read_volume(VolumeRecord {
        namespace: "shop".to_owned(),
        claim: "db".to_owned(),
        consistency: Consistency::Hooked,
        read: at(101),
        entries: 3,
        files: 2,
        bytes: 10,
        stored_bytes: 5,
    });
    for (claim, overdue) in [("idle", false), ("ancient", true)] {
        let (namespace, claim) = ("shop".to_owned(), claim.to_owned());
        report.keep_volume(Kept { namespace, claim, since: at(60), overdue });
    }
    report.miss_volume("shop", "bad", "HookFailed", "exit code 1");
    report
}

#[test]
fn a_snapshot_tells_of_each_volume() {
    let evidence = Evidence::of_report(&report(), at(110));
    let missed = Verdict::Missed(why("NeverMounted"));
    let all = look(
        &[
            ("ancient", kept(missed.clone())),
            ("bad", place()),
            ("db", place()),
            ("idle", kept(missed.clone())),
            ("lonely", kept(missed.clone())),
            ("new", place()),
            ("unread", place()),
        ],
        Some(&evidence),
    );
    let expected = [
        ("ancient", Method::Kept, State::Old),
        ("bad", Method::Live, State::Never),
        ("db", Method::Live, State::Protected),
        ("idle", Method::Kept, State::Protected),
        ("lonely", Method::Missed, State::Never),
        ("new", Method::Live, State::New),
        ("unread", Method::Live, State::Never),
    ];
    assert_eq!(states(&all), expected);
    assert_eq!((all[2].consistency, all[2].last), (Some(Consistency::Hooked), Some(at(101))));
    assert_eq!((all[3].consistency, all[3].last), (None, Some(at(60))));
    assert!(all[1].why.contains("HookFailed") && all[2].why.contains("Pod db on node n1"), "{all:#?}");
    let gaps: Vec<&str> = all.iter().filter(|v| v.is_gap()).map(|v| v.claim.as_str()).collect();
    assert_eq!(gaps, ["ancient", "bad", "lonely", "unread"]);
}

#[test]
fn what_a_schedule_does_not_ask_for_is_a_gap_and_what_a_label_says_is_none() {
    let evidence = Evidence::of_report(&report(), at(110));
    let out = |reason| Verdict::Excluded(why(reason));
    let all = look(
        &[
            ("a", out("volumesOff")),
            ("b", out("notOptedIn")),
            ("c", kept(out("notOptedIn"))),
            ("d", out("optedOut")),
            ("e", out("unbound")),
            ("f", out("systemNamespace")),
        ],
        Some(&evidence),
    );
    let found: Vec<(State, bool, bool)> = all.iter().map(|v| (v.state, v.is_gap(), v.around)).collect();
    let gap = (State::Never, true, false);
    let left_out = (State::Excluded, false, false);
    let nothing = (State::Derived, false, false);
    assert_eq!(found, [gap, gap, gap, left_out, nothing, (State::Excluded, false, true)]);
}

#[test]
fn a_claim_made_anew_has_nothing_of_the_one_before() {
    let mut report = report();
    report.volumes[0].claim = "new".to_owned();
    let evidence = Evidence::of_report(&report, at(110));
    let all = look(&[("new", place())], Some(&evidence));
    assert_eq!((all[0].state, all[0].last), (State::New, None));
}

#[test]
fn what_hinders_reading_now_leaves_an_old_tree() {
    let evidence = Evidence::of_report(&report(), at(110));
    let all = look(&[("db", Verdict::Missed(why("NodeNotReady")))], Some(&evidence));
    assert_eq!((all[0].method, all[0].state, all[0].last), (Method::Missed, State::Old, Some(at(101))));
}

#[test]
fn backup_objects_alone_say_less_and_never_too_much() {
    let backup = |missed: i64, messages: &[&str], spec: BackupSpec| {
        let mut backup = Backup::new("b", spec);
        backup.status = Some(BackupStatus {
            phase: Phase::PartiallyFailed,
            coverage: Some("Full".to_owned()),
            started: Some(at(100)),
            finished: Some(at(110)),
            missed: Some(missed),
            messages: messages.iter().map(|m| (*m).to_owned()).collect(),
            ..BackupStatus::default()
        });
        backup
    };
    let verdicts = [("bad", place()), ("db", place()), ("idle", kept(Verdict::Missed(why("NeverMounted"))))];
    let named = [backup(1, &["Volume shop/bad: HookFailed: exit code 1"], BackupSpec::default())];
    let all = look(&verdicts, Evidence::of_backups(&named).as_ref());
    let found: Vec<State> = all.iter().map(|v| v.state).collect();
    assert_eq!(found, [State::Never, State::Protected, State::Protected]);
    assert_eq!((all[1].last, all[2].last), (Some(at(110)), None), "when a kept one was read is not known");
    let stale = [backup(0, &["Volume shop/idle: Stale: read on some day"], BackupSpec::default())];
    let all = look(&verdicts, Evidence::of_backups(&stale).as_ref());
    let found: Vec<State> = all.iter().map(|v| v.state).collect();
    assert_eq!(found, [State::Protected, State::Protected, State::Old]);
    let many = [backup(40, &["Volume shop/bad: HookFailed: exit code 1"], BackupSpec::default())];
    let all = look(&verdicts, Evidence::of_backups(&many).as_ref());
    assert!(all.iter().all(Volume::is_gap), "any of them may be among those missed: {all:#?}");
    let off = BackupSpec { volumes: Some(VolumesMode::Off), ..BackupSpec::default() };
    assert_eq!(Evidence::of_backups(&[backup(0, &[], off)]), None);
    assert!(look(&verdicts, None).iter().all(Volume::is_gap), "no backup, no protection");
}
