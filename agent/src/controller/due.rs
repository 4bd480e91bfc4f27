//! Whether a schedule is due, and what its status says. Pure.

use super::cron::Timetable;
use super::plan::{View, created, scheduled_at};
use crate::kinds::{BackupSchedule, BackupScheduleStatus, Phase, set_condition};
use jiff::{SignedDuration, Timestamp};

/// A clock that is set back by up to so long, or by one period of the schedule, makes nothing run twice; set back
/// further, it counts from where it now is.
const STEP_BACK: SignedDuration = SignedDuration::from_hours(25);

/// What a schedule asks for now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Nothing,
    /// A Backup for `at`; `skipped` earlier times are covered by it.
    Due {
        at: Timestamp,
        skipped: u64,
    },
    /// Too late for all of these.
    TooLate {
        count: u64,
        newest: Timestamp,
    },
}

pub(super) struct Judged {
    pub(super) verdict: Verdict,
    pub(super) status: BackupScheduleStatus,
    /// When it is due next.
    pub(super) wake: Option<Timestamp>,
}

pub(super) fn judge(view: View<'_>, name: &str, schedule: &BackupSchedule) -> Judged {
    let mut status = schedule.status.clone().unwrap_or_default();
    let observed = format!("{} {}", schedule.spec.schedule, schedule.spec.time_zone);
    let changed = status.observed_schedule.as_ref().is_some_and(|o| *o != observed);
    status.observed_schedule = Some(observed);
    status.observed_generation = schedule.metadata.generation;
    let seed = format!("{}/{name}", view.seed);
    let spec = &schedule.spec;
    let table = Timetable::parse(&spec.schedule, &spec.time_zone, &seed)
        .and_then(|t| t.check(&spec.schedule, view.now).map(|_| t));
    let table = match table {
        Ok(table) => table,
        Err(error) => {
            status.next_run = None;
            set_condition(
                &mut status.conditions,
                "Invalid",
                true,
                error.reason(),
                &error.to_string(),
                view.now,
            );
            return Judged { verdict: Verdict::Nothing, status, wake: None };
        }
    };
    set_condition(&mut status.conditions, "Invalid", false, "Valid", "", view.now);
    let served = if changed { view.now } else { served(view, name, schedule, &status, &table) };
    let due = table.due(served, view.now);
    let unfinished = view.of_schedule(name).any(|(_, b)| !view.is_ended(b));
    let verdict = match due {
        None => Verdict::Nothing,
        // What a pause leaves out is not made up.
        Some(_) if spec.paused => Verdict::Nothing,
        Some((newest, count)) if too_late(schedule, newest, view.now) => Verdict::TooLate { count, newest },
        // Made up when the one before has ended.
        Some(_) if unfinished => Verdict::Nothing,
        Some((at, count)) => Verdict::Due { at, skipped: count - 1 },
    };
    let waits = unfinished && !spec.paused && verdict == Verdict::Nothing;
    let served = due.filter(|_| !waits).map_or(served, |(newest, _)| newest);
    status.served = Some(served);
    let missed = match verdict {
        Verdict::TooLate { count, .. } => count,
        Verdict::Due { skipped, .. } => skipped,
        Verdict::Nothing => 0,
    };
    if missed > 0 {
        let missed = i64::try_from(missed).unwrap_or(i64::MAX);
        status.missed_runs = Some(status.missed_runs.unwrap_or(0).saturating_add(missed));
    }
    let next = table.next(served.max(view.now)).filter(|_| !spec.paused);
    status.next_run = next;
    Judged { verdict, status, wake: next }
}

/// Up to when the schedule was served.
fn served(
    view: View<'_>,
    name: &str,
    schedule: &BackupSchedule,
    status: &BackupScheduleStatus,
    table: &Timetable,
) -> Timestamp {
    let uid = schedule.metadata.uid.as_deref().unwrap_or_default();
    let made = view.of_schedule(name).filter_map(|(_, b)| scheduled_at(b));
    let created = schedule.metadata.creation_timestamp.as_ref().map(|t| t.0);
    let known =
        status.served.into_iter().chain(made).chain(view.memory.served.get(uid).copied()).chain(created);
    // What a clock that was far ahead left behind must not shut the schedule out until then.
    known.filter(|t| is_plausible(*t, view.now, table)).max().unwrap_or(view.now)
}

fn is_plausible(served: Timestamp, now: Timestamp, table: &Timetable) -> bool {
    let ahead = served.duration_since(now);
    let period = || table.next(served).map_or(STEP_BACK, |next| next.duration_since(served));
    ahead <= SignedDuration::ZERO || ahead <= period().min(STEP_BACK)
}

fn too_late(schedule: &BackupSchedule, at: Timestamp, now: Timestamp) -> bool {
    let deadline = schedule.spec.starting_deadline_seconds;
    deadline.is_some_and(|seconds| now.duration_since(at).as_secs() > seconds)
}

/// What a schedule's Backups say of it. Those that are gone from the history are not forgotten.
pub(super) fn fill_runs(view: View<'_>, name: &str, status: &mut BackupScheduleStatus) {
    status.active = None;
    let mut oldest = None;
    for (backup_name, backup) in view.of_schedule(name) {
        let of = backup.status.as_ref();
        status.last_run = status.last_run.max(of.and_then(|s| s.started));
        if of.is_some_and(|s| s.phase == Phase::Completed) {
            status.last_successful_run = status.last_successful_run.max(of.and_then(|s| s.finished));
        }
        if !view.is_ended(backup) && oldest.is_none_or(|o| created(backup) < o) {
            oldest = Some(created(backup));
            status.active = Some(backup_name.clone());
        }
    }
}
