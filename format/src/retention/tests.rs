//! Golden cases of the decision, and what holds for every history.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

const DAY: i64 = 86_400;

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn alias(n: u8) -> ScopeAlias {
    ScopeAlias([n; 16])
}

fn full(seq: u64, at: Timestamp) -> Subject {
    Subject {
        seq,
        bucket_time: at,
        first_seen: Timestamp::from_second(at.as_second() + 600).unwrap(),
        coverage: Coverage::Full,
        scopes: vec![alias(1)],
        result: RunResult::Completed,
        whole: true,
        proven: false,
        held: false,
    }
}

fn policy(keep: [u32; 7]) -> Policy {
    let [within_hours, last, hourly, daily, weekly, monthly, yearly] = keep;
    Policy {
        keep: Keep { within_hours, last, hourly, daily, weekly, monthly, yearly },
        floors: Floors { minimum: 1, hours: 0, scope_days: 0 },
        zone: TimeZone::UTC,
    }
}

/// One a day at 02:00, beginning at `first`.
fn daily(first: &str, days: u64) -> Vec<Subject> {
    let first = time(first).as_second();
    let at = |n: u64| Timestamp::from_second(first + DAY * i64::try_from(n).unwrap()).unwrap();
    (0..days).map(|n| full(n + 1, at(n))).collect()
}

/// Takes the bucket times at hand for what the agent claims, and puts those in that are believed.
fn believed(subjects: &mut [Subject], since: &str) -> Vec<Timestamp> {
    let of = |s: &Subject| Times { claimed: s.bucket_time, first_seen: s.first_seen };
    let chain: Vec<Times> = subjects.iter().map(of).collect();
    let times = bucket_times(&chain, time(since));
    subjects.iter_mut().zip(&times).for_each(|(s, t)| s.bucket_time = *t);
    times
}

fn kept(subjects: &[Subject], policy: &Policy, now: &str) -> Vec<u64> {
    let decisions = decide(subjects, policy, time(now));
    decisions.iter().filter(|d| d.is_kept()).map(|d| d.seq).collect()
}

#[test]
fn two_years_keep_what_the_counts_say() {
    let subjects = daily("2024-01-01T02:00:00Z", 731);
    let policy = policy([0, 3, 0, 7, 4, 6, 2]);
    let decisions = decide(&subjects, &policy, time("2025-12-31T12:00:00Z"));
    let table: Vec<String> = decisions
        .iter()
        .zip(&subjects)
        .filter(|(d, _)| d.is_kept())
        .map(|(d, s)| {
            let reasons: Vec<String> = d.reasons.iter().map(ToString::to_string).collect();
            format!("{} {}: {}", d.seq, s.bucket_time, reasons.join(", "))
        })
        .collect();
    let expected = [
        "1 2024-01-01T02:00:00Z: yearly 2024",
        "367 2025-01-01T02:00:00Z: yearly 2025",
        "548 2025-07-01T02:00:00Z: monthly 2025-07",
        "579 2025-08-01T02:00:00Z: monthly 2025-08",
        "610 2025-09-01T02:00:00Z: monthly 2025-09",
        "640 2025-10-01T02:00:00Z: monthly 2025-10",
        "671 2025-11-01T02:00:00Z: monthly 2025-11",
        "701 2025-12-01T02:00:00Z: monthly 2025-12",
        "708 2025-12-08T02:00:00Z: weekly 2025-W50",
        "715 2025-12-15T02:00:00Z: weekly 2025-W51",
        "722 2025-12-22T02:00:00Z: weekly 2025-W52",
        "725 2025-12-25T02:00:00Z: daily 2025-12-25",
        "726 2025-12-26T02:00:00Z: daily 2025-12-26",
        "727 2025-12-27T02:00:00Z: daily 2025-12-27",
        "728 2025-12-28T02:00:00Z: daily 2025-12-28",
        "729 2025-12-29T02:00:00Z: last, daily 2025-12-29, weekly 2026-W01",
        "730 2025-12-30T02:00:00Z: last, daily 2025-12-30",
        "731 2025-12-31T02:00:00Z: minimum, last, daily 2025-12-31",
    ];
    assert_eq!(table, expected);
}

#[test]
fn a_leap_day_is_a_day_and_ends_a_month() {
    let subjects = daily("2024-02-27T02:00:00Z", 4);
    assert_eq!(kept(&subjects, &policy([0, 0, 0, 2, 0, 2, 0]), "2024-03-01T12:00:00Z"), [1, 3, 4]);
}

#[test]
fn an_outage_takes_no_place_of_what_was_before() {
    let mut subjects = daily("2024-06-01T02:00:00Z", 10);
    // The agent went on, the replicator was down for 14 days and sees all at once.
    let back = time("2024-06-24T08:00:00Z");
    let mut late = daily("2024-06-11T02:00:00Z", 14);
    for (n, s) in (11..).zip(&mut late) {
        (s.seq, s.first_seen) = (n, back);
    }
    subjects.extend(late);
    let policy = policy([0, 0, 0, 5, 0, 0, 0]);
    let times = believed(&mut subjects, "2024-01-01T00:00:00Z");
    assert_eq!(times[10], time("2024-06-11T02:00:00Z"), "the first may have been made in the outage");
    assert!(times[11..].iter().all(|t| *t == back), "of the others nobody knows when");
    // Five days that hold something: before the outage three, the first of it, and the day when it ended.
    assert_eq!(kept(&subjects, &policy, "2024-06-24T12:00:00Z"), [8, 9, 10, 11, 12, 24]);
}

#[test]
fn the_hour_that_comes_twice_is_two() {
    let zone = TimeZone::get("Europe/Stockholm").unwrap();
    let hours: Vec<Subject> = (0..4_u64)
        .map(|n| {
            let start = time("2024-10-26T23:30:00Z").as_second();
            full(n + 1, Timestamp::from_second(start + 3600 * i64::try_from(n).unwrap()).unwrap())
        })
        .collect();
    let policy = Policy { zone, ..policy([0, 0, 24, 3, 0, 0, 0]) };
    assert_eq!(kept(&hours, &policy, "2024-10-27T04:00:00Z"), [1, 2, 3, 4]);
    let spring = daily("2024-03-30T22:30:00Z", 3);
    assert_eq!(kept(&spring, &policy, "2024-04-02T04:00:00Z").len(), 3, "a day of 23 hours is a day");
}

#[test]
fn dates_that_lie_are_not_believed() {
    let mut subjects = daily("2024-06-01T02:00:00Z", 3);
    subjects[1].bucket_time = time("2024-01-05T00:00:00Z");
    subjects[2].bucket_time = time("2099-01-01T00:00:00Z");
    let times = believed(&mut subjects, "2024-05-31T00:00:00Z");
    assert_eq!(times[1], subjects[1].first_seen);
    assert_eq!(times[2], subjects[2].first_seen);
    let mut early = daily("2023-01-01T02:00:00Z", 1);
    early[0].first_seen = time("2024-06-01T00:00:00Z");
    let times = believed(&mut early, "2024-05-31T00:00:00Z");
    assert_eq!(times[0], early[0].first_seen, "before the charter there was nothing");
}

#[test]
fn a_clock_that_jumped_forgets_nothing_by_itself() {
    let mut subjects = daily("2024-06-01T02:00:00Z", 40);
    // Seen when the clock was a year ahead.
    subjects[39].first_seen = time("2025-07-10T02:10:00Z");
    let floors = Floors { minimum: 1, hours: 168, scope_days: 0 };
    let policy = Policy { floors, ..policy([24, 0, 0, 0, 0, 0, 0]) };
    assert!(kept(&subjects, &policy, "2024-07-10T12:00:00Z").contains(&40), "from the future is young");
    let decisions = decide(&subjects, &policy, time("2025-07-10T02:10:00Z"));
    let situation = Situation { last_pass: Some(time("2024-07-09T03:00:00Z")), ..Situation::default() };
    let stopped = restrain(&decisions, &situation, Caps::default(), time("2025-07-10T02:10:00Z"));
    assert!(matches!(stopped.unwrap_err()[..], [Restraint::Clock(_)]));
    let back = restrain(&decisions, &situation, Caps::default(), time("2024-07-09T02:00:00Z"));
    assert!(matches!(back.unwrap_err()[..], [Restraint::Clock(s)] if s < 0));
}

#[test]
fn alarms_and_weaker_policies_stop_a_pass_and_caps_bound_it() {
    let subjects = daily("2024-01-01T02:00:00Z", 100);
    let strong = policy([0, 3, 0, 30, 8, 12, 2]);
    let weak = policy([0, 3, 0, 7, 8, 12, 2]);
    assert_eq!(weaker(&strong, &weak), ["daily 30 → 7"]);
    assert!(weaker(&weak, &strong).is_empty());
    let now = time("2024-04-09T12:00:00Z");
    let decisions = decide(&subjects, &weak, now);
    let free = Situation::default();
    assert_eq!(restrain(&decisions, &free, Caps::default(), now).unwrap().len(), 20, "20 % of them");
    let first = restrain(&decisions, &free, Caps { snapshots: 2, percent: 100 }, now).unwrap();
    assert_eq!(first, [2, 3], "oldest first, and never the first of its buckets");
    let frozen =
        Situation { alarms: vec!["fork".to_owned()], weaker: weaker(&strong, &weak), ..Situation::default() };
    assert_eq!(restrain(&decisions, &frozen, Caps::default(), now).unwrap_err().len(), 2);
}

#[test]
fn a_part_or_a_broken_one_takes_no_place_of_a_whole_cluster() {
    let mut subjects = daily("2024-06-01T02:00:00Z", 4);
    let mut part = full(0, time("2024-06-02T00:30:00Z"));
    part.coverage = Coverage::Partial;
    let mut broken = full(0, time("2024-06-02T01:00:00Z"));
    broken.whole = false;
    let mut failed = full(0, time("2024-06-02T01:30:00Z"));
    failed.result = RunResult::PartiallyFailed;
    subjects.splice(1..1, [part, broken, failed]);
    for (seq, s) in (1..).zip(&mut subjects) {
        s.seq = seq;
    }
    let kept = kept(&subjects, &policy([0, 0, 0, 9, 0, 0, 0]), "2024-06-10T12:00:00Z");
    assert_eq!(
        kept,
        [1, 2, 4, 5, 6, 7],
        "not the broken one; the first Completed beside the one that was not"
    );
}

#[test]
fn floors_hold_whatever_the_counts_say() {
    let mut subjects = daily("2024-01-01T02:00:00Z", 60);
    subjects[4].scopes = vec![alias(1), alias(2)];
    subjects[6].proven = true;
    subjects[8].held = true;
    let floors = Floors { minimum: 2, hours: 48, scope_days: 400 };
    let policy = Policy { floors, ..policy([0; 7]) };
    assert_eq!(kept(&subjects, &policy, "2024-02-29T12:00:00Z"), [5, 7, 9, 59, 60]);
    assert_eq!(
        kept(&subjects, &policy, "2025-12-29T12:00:00Z"),
        [7, 9, 59, 60],
        "the namespace is long gone"
    );
}

fn history() -> impl Strategy<Value = Vec<Subject>> {
    let one = (0_i64..200_000, -400_000_i64..400_000, 0_u8..4, 0_u8..4, any::<bool>(), any::<bool>());
    prop::collection::vec(one, 0..60).prop_map(|all| {
        let mut now = time("2024-01-01T00:00:00Z").as_second();
        let subject =
            |(n, (step, lie, kind, scope, whole, good)): (usize, (i64, i64, u8, u8, bool, bool))| {
                now += step;
                let mut s = full(n as u64 + 1, Timestamp::from_second(now + lie).unwrap());
                s.first_seen = Timestamp::from_second(now).unwrap();
                s.coverage = if kind == 0 { Coverage::Partial } else { Coverage::Full };
                s.scopes = vec![alias(scope)];
                s.whole = whole || kind > 1;
                s.result = if good { RunResult::Completed } else { RunResult::PartiallyFailed };
                s
            };
        all.into_iter().enumerate().map(subject).collect()
    })
}

proptest! {
    /// Whatever an attacker appends within an hour, a kept snapshot loses no bucket to it but the oldest of each kind,
    /// which ages out when a new day begins, and nothing within the hours goes.
    #[test]
    fn what_comes_later_displaces_nothing_from_its_bucket(
        honest in history(), junk in 1_usize..40, lies in prop::collection::vec(-9_000_000_i64..9_000_000, 40),
    ) {
        let policy = policy([72, 0, 4, 5, 3, 2, 1]);
        let since = "2024-01-01T00:00:00Z";
        let end = honest.last().map_or(time(since), |s| s.first_seen);
        let seen = Timestamp::from_second(end.as_second() + 1800).unwrap();
        let (mut honest, mut flooded) = (honest.clone(), honest);
        for (n, lie) in (0..junk).zip(lies) {
            let mut s = full((honest.len() + n) as u64 + 1, Timestamp::from_second(end.as_second() + lie).unwrap());
            s.first_seen = seen;
            flooded.push(s);
        }
        believed(&mut honest, since);
        believed(&mut flooded, since);
        let (before, after) = (decide(&honest, &policy, seen), decide(&flooded, &policy, seen));
        let places = |d: &Decision| -> BTreeSet<Reason> {
            d.reasons.iter().filter(|r| matches!(r, Reason::Bucket(..) | Reason::Within)).cloned().collect()
        };
        let mut lost: BTreeSet<Reason> = BTreeSet::new();
        for (b, a) in before.iter().zip(&after) {
            lost.extend(places(b).difference(&places(a)).cloned());
        }
        let mut kinds = BTreeSet::new();
        for reason in &lost {
            let Reason::Bucket(granularity, _) = reason else { panic!("{lost:?}") };
            prop_assert!(kinds.insert(*granularity) || *granularity == Granularity::Hour, "{lost:?}");
        }
    }

    /// A second pass over what the first one kept forgets nothing more.
    #[test]
    fn deciding_again_changes_nothing(mut honest in history()) {
        let policy = policy([48, 2, 3, 5, 3, 2, 1]);
        believed(&mut honest, "2024-01-01T00:00:00Z");
        let now = honest.last().map_or(time("2024-01-01T00:00:00Z"), |s| s.first_seen);
        let first = decide(&honest, &policy, now);
        let kept = honest.iter().zip(&first).filter(|(_, d)| d.is_kept());
        let left: Vec<Subject> = kept.map(|(s, _)| s.clone()).collect();
        let again = decide(&left, &policy, now);
        prop_assert!(again.iter().all(Decision::is_kept), "{again:?}");
    }
}
