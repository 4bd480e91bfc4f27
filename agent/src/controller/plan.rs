//! What is to be done, from what there is: which Backups schedules are due to make, which Backup runs next, what of the
//! history goes. Pure: the same view gives the same plan, and a plan that was carried out leaves nothing to plan.

use super::due::{self, Verdict};
use super::history;
use crate::kinds::{Backup, BackupSchedule, BackupScheduleStatus, Phase, SCHEDULE_LABEL, SCHEDULED_AT};
use jiff::Timestamp;
use std::collections::{BTreeMap, HashSet};

/// Backups that are told in one go that they wait.
const AT_ONCE: usize = 20;

/// What the controller knows.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    pub now: Timestamp,
    /// By name.
    pub schedules: &'a BTreeMap<String, BackupSchedule>,
    /// By name.
    pub backups: &'a BTreeMap<String, Backup>,
    /// The uid of the Backup that this controller runs now.
    pub running: Option<&'a str>,
    pub memory: &'a Memory,
    /// Stands for the cluster, for `@daily-random`.
    pub seed: &'a str,
}

/// What this process did and may not see in its view yet.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    /// Up to when times of a schedule (by its uid) were served.
    pub served: BTreeMap<String, Timestamp>,
    /// Uids of Backups that were ended.
    pub ended: HashSet<String>,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Begin a Backup, or take up one that another controller left.
    Start { name: String, uid: String },
    /// Say of a Backup that it waits for another one.
    Queue { name: String, uid: String },
    /// The running Backup is no longer wanted.
    Cancel { uid: String },
    /// Make the Backup that a schedule is due for.
    Create { schedule: String, uid: String, at: Timestamp },
    /// Times of a schedule that are given up.
    Missed { schedule: String, uid: String, count: u64, newest: Timestamp },
    /// What a schedule's status must say.
    Status { schedule: String, uid: String, status: Box<BackupScheduleStatus> },
    /// Remove a finished Backup's object.
    Forget { name: String, uid: String },
}

/// What to do, and when to look again at the latest.
#[derive(Debug, Default, PartialEq)]
pub struct Plan {
    pub actions: Vec<Action>,
    pub wake: Option<Timestamp>,
}

/// Plans.
#[must_use]
pub fn plan(view: View<'_>) -> Plan {
    let mut plan = Plan::default();
    plan.actions.extend(cancel(view));
    for (name, schedule) in view.schedules {
        if schedule.metadata.deletion_timestamp.is_none() {
            plan_schedule(view, name, schedule, &mut plan);
        }
    }
    plan.actions.extend(start(view));
    plan.actions.extend(queue(view));
    plan.actions.extend(history::forget(view));
    plan
}

/// A Backup's uid; what has none is not a stored object.
pub(super) fn uid(backup: &Backup) -> &str {
    backup.metadata.uid.as_deref().unwrap_or_default()
}

pub(super) fn phase(backup: &Backup) -> Phase {
    backup.status.as_ref().map(|s| s.phase).unwrap_or_default()
}

/// The schedule that made a Backup.
pub(super) fn schedule_of(backup: &Backup) -> Option<&str> {
    let label = backup.metadata.labels.as_ref().and_then(|l| l.get(SCHEDULE_LABEL));
    label.map(String::as_str)
}

/// The time that its schedule made it for.
pub(super) fn scheduled_at(backup: &Backup) -> Option<Timestamp> {
    backup.metadata.annotations.as_ref()?.get(SCHEDULED_AT)?.parse().ok()
}

pub(super) fn created(backup: &Backup) -> Option<Timestamp> {
    backup.metadata.creation_timestamp.as_ref().map(|t| t.0)
}

impl View<'_> {
    /// Whether a Backup has ended, as far as this process knows.
    pub(super) fn is_ended(&self, backup: &Backup) -> bool {
        phase(backup).is_finished() || self.memory.ended.contains(uid(backup))
    }

    pub(super) fn of_schedule<'b>(&'b self, name: &'b str) -> impl Iterator<Item = (&'b String, &'b Backup)> {
        self.backups.iter().filter(move |(_, b)| schedule_of(b) == Some(name))
    }
}

/// Whether anybody still wants it made.
fn is_wanted(backup: &Backup) -> bool {
    backup.metadata.deletion_timestamp.is_none() && !uid(backup).is_empty()
}

fn cancel(view: View<'_>) -> Option<Action> {
    let running = view.running?;
    let wanted = view.backups.values().any(|b| uid(b) == running && b.metadata.deletion_timestamp.is_none());
    (!wanted).then(|| Action::Cancel { uid: running.to_owned() })
}

fn plan_schedule(view: View<'_>, name: &str, schedule: &BackupSchedule, plan: &mut Plan) {
    let Some(uid) = schedule.metadata.uid.clone() else { return };
    let judged = due::judge(view, name, schedule);
    let mut status = judged.status;
    match judged.verdict {
        Verdict::Nothing => {}
        Verdict::Due { at, skipped } => {
            // The Backup first, its name made of its time: if this process dies here, the next one finds it.
            plan.actions.push(Action::Create { schedule: name.to_owned(), uid: uid.clone(), at });
            if skipped > 0 {
                let missed = Action::Missed {
                    schedule: name.to_owned(),
                    uid: uid.clone(),
                    count: skipped,
                    newest: at,
                };
                plan.actions.push(missed);
            }
        }
        Verdict::TooLate { count, newest } => {
            plan.actions.push(Action::Missed { schedule: name.to_owned(), uid: uid.clone(), count, newest });
        }
    }
    due::fill_runs(view, name, &mut status);
    plan.wake = match (plan.wake, judged.wake) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    };
    if schedule.status.as_ref() != Some(&status) {
        plan.actions.push(Action::Status { schedule: name.to_owned(), uid, status: Box::new(status) });
    }
}

/// The Backup to run next. One that runs already comes first, wherever it was begun; then the oldest, but after one on
/// demand those of schedules go first, so that a crowd of requests does not starve them.
fn start(view: View<'_>) -> Option<Action> {
    if view.running.is_some() {
        return None;
    }
    let order = |b: &Backup| (created(b), b.metadata.name.clone());
    let open = || {
        let open = view.backups.iter().filter(|(_, b)| !view.is_ended(b) && is_wanted(b));
        open.map(|(name, b)| (name, b, phase(b).is_running()))
    };
    let left = open().filter(|(_, _, running)| *running).min_by_key(|(_, b, _)| order(b));
    let scheduled = || {
        let mut all: Vec<_> = open().filter(|(_, b, _)| schedule_of(b).is_some()).collect();
        all.sort_by_key(|(_, b, _)| order(b));
        all.into_iter().next()
    };
    let prefer = if last_was_on_demand(view) { scheduled() } else { None };
    let oldest = || open().min_by_key(|(_, b, _)| order(b));
    let (name, backup, _) = left.or(prefer).or_else(oldest)?;
    Some(Action::Start { name: name.clone(), uid: uid(backup).to_owned() })
}

/// Backups behind the one that runs, which nobody has told anything yet.
fn queue(view: View<'_>) -> Vec<Action> {
    let waits =
        |b: &Backup| b.status.is_none() && !uid(b).is_empty() && view.running.is_some_and(|r| r != uid(b));
    let waiting = view.backups.iter().filter(|(_, b)| waits(b) && !view.is_ended(b));
    waiting
        .take(AT_ONCE)
        .map(|(name, b)| Action::Queue { name: name.clone(), uid: uid(b).to_owned() })
        .collect()
}

fn last_was_on_demand(view: View<'_>) -> bool {
    let finished = |b: &Backup| b.status.as_ref().and_then(|s| s.finished);
    let last = view.backups.values().filter(|b| finished(b).is_some()).max_by_key(|b| finished(b));
    last.is_some_and(|b| schedule_of(b).is_none())
}

#[cfg(test)]
#[path = "plan/tests.rs"]
mod tests;
#[cfg(test)]
#[path = "plan/walks.rs"]
mod walks;
#[cfg(test)]
#[path = "plan/world.rs"]
mod world;
