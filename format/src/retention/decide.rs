//! The decision for a vault: counts by buckets, and the floors under them.

use super::bucket::label;
use super::{Decision, Granularity, Policy, Reason, Subject};
use crate::id::ScopeAlias;
use crate::manifest::{Coverage, RunResult};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Snapshots that compete with each other: full ones, and others by just what they cover. So a backup of one
/// namespace never takes the place of one of the whole cluster.
type Group = (u8, Vec<ScopeAlias>);

/// Decides for every snapshot. `subjects` come in the order of the chain, without those that are forgotten already.
#[must_use]
pub fn decide(subjects: &[Subject], policy: &Policy, now: Timestamp) -> Vec<Decision> {
    let mut reasons: Vec<BTreeSet<Reason>> = vec![BTreeSet::new(); subjects.len()];
    for (i, s) in subjects.iter().enumerate() {
        if s.held {
            reasons[i].insert(Reason::Hold);
        }
        if is_younger(s, policy.floors.hours, now) {
            reasons[i].insert(Reason::Floor);
        }
        if is_younger(s, policy.keep.within_hours, now) {
            reasons[i].insert(Reason::Within);
        }
    }
    for members in groups(subjects).values() {
        keep_newest(members, policy, &mut reasons);
        keep_buckets(members, subjects, policy, &mut reasons);
    }
    keep_scopes(subjects, policy, now, &mut reasons);
    let all = subjects.iter().zip(reasons);
    all.map(|(s, reasons)| Decision { seq: s.seq, reasons: reasons.into_iter().collect() }).collect()
}

/// Hours are of first-seen time. What was first seen in the future is young: that clock is not to be trusted.
fn is_younger(s: &Subject, hours: u32, now: Timestamp) -> bool {
    now.as_second().saturating_sub(s.first_seen.as_second()) < i64::from(hours) * 3600
}

/// Whole snapshots by group: one that cannot be restored must not take the place of one that can.
fn groups(subjects: &[Subject]) -> BTreeMap<Group, Vec<usize>> {
    let mut groups: BTreeMap<Group, Vec<usize>> = BTreeMap::new();
    for (i, s) in subjects.iter().enumerate().filter(|(_, s)| s.whole) {
        let key = match s.coverage {
            Coverage::Full => (0, Vec::new()),
            Coverage::Partial => (1, sorted(&s.scopes)),
            Coverage::Paths => (2, sorted(&s.scopes)),
            Coverage::Checkpoint => continue,
        };
        groups.entry(key).or_default().push(i);
    }
    groups
}

fn sorted(scopes: &[ScopeAlias]) -> Vec<ScopeAlias> {
    let mut scopes = scopes.to_vec();
    scopes.sort_unstable();
    scopes.dedup();
    scopes
}

fn keep_newest(members: &[usize], policy: &Policy, reasons: &mut [BTreeSet<Reason>]) {
    let last = usize::try_from(policy.keep.last).unwrap_or(usize::MAX);
    for &i in members.iter().rev().take(last) {
        reasons[i].insert(Reason::Last);
    }
    for &i in members.iter().rev().take(policy.floors.minimum) {
        reasons[i].insert(Reason::Minimum);
    }
}

/// The first of each of the newest buckets that hold something, and its first Completed one.
fn keep_buckets(members: &[usize], subjects: &[Subject], policy: &Policy, reasons: &mut [BTreeSet<Reason>]) {
    let keep = &policy.keep;
    let counts = [
        (Granularity::Hour, keep.hourly),
        (Granularity::Day, keep.daily),
        (Granularity::Week, keep.weekly),
        (Granularity::Month, keep.monthly),
        (Granularity::Year, keep.yearly),
    ];
    for (granularity, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
        // By time, not by label: a zone's offset may go back.
        let mut buckets: BTreeMap<Timestamp, (String, Vec<usize>)> = BTreeMap::new();
        let mut by_label: HashMap<String, Timestamp> = HashMap::new();
        for &i in members {
            let label = label(granularity, subjects[i].bucket_time, &policy.zone);
            let first = *by_label.entry(label.clone()).or_insert(subjects[i].bucket_time);
            let (_, kept) = buckets.entry(first).or_insert_with(|| (label, Vec::new()));
            let completed = |&k: &usize| subjects[k].result == RunResult::Completed;
            if kept.is_empty() || (completed(&i) && !kept.iter().any(completed)) {
                kept.push(i);
            }
        }
        for (label, kept) in buckets.into_values().rev().take(usize::try_from(count).unwrap_or(usize::MAX)) {
            for i in kept {
                reasons[i].insert(Reason::Bucket(granularity, label.clone()));
            }
        }
    }
}

/// The last whole snapshot of each scope, and the newest proven one.
fn keep_scopes(subjects: &[Subject], policy: &Policy, now: Timestamp, reasons: &mut [BTreeSet<Reason>]) {
    let mut last: HashMap<ScopeAlias, usize> = HashMap::new();
    let mut proven: HashMap<ScopeAlias, usize> = HashMap::new();
    for (i, s) in subjects.iter().enumerate().filter(|(_, s)| s.whole) {
        for scope in &s.scopes {
            last.insert(*scope, i);
            if s.proven {
                proven.insert(*scope, i);
            }
        }
    }
    let mut scopes: HashMap<usize, usize> = HashMap::new();
    for i in last.into_values() {
        *scopes.entry(i).or_default() += 1;
    }
    let hours = policy.floors.scope_days.saturating_mul(24);
    for (i, count) in scopes.into_iter().filter(|(i, _)| is_younger(&subjects[*i], hours, now)) {
        reasons[i].insert(Reason::LastOfScopes(count));
    }
    for i in proven.into_values() {
        reasons[i].insert(Reason::Proven);
    }
}
