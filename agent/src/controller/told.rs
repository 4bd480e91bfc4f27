//! What the metrics are told: schedules as their objects say, and every run that ends.

use super::plan::{View, schedule_of};
use crate::kinds::{BackupStatus, Phase};
use crate::metrics::{Ended, Metrics, RunEnd, ScheduleState};
use std::collections::HashSet;
use std::time::Duration;

/// Tells.
#[derive(Debug)]
pub struct Told {
    metrics: Metrics,
    /// Backups that ended before this term, told once.
    known: HashSet<String>,
}

impl Told {
    #[must_use]
    pub fn new(metrics: Metrics) -> Self {
        Self { metrics, known: HashSet::new() }
    }

    pub fn started(&self) {
        self.metrics.running(1);
    }

    pub fn stopped(&self) {
        self.metrics.running(0);
    }

    /// A run of this controller ended.
    pub fn ended(&mut self, schedule: &str, status: &BackupStatus) {
        if let Some(end) = run_end(status) {
            self.metrics.run_ended(schedule, &end);
        }
    }

    /// What there is now.
    pub fn view(&mut self, view: View<'_>) {
        let backups: Vec<_> = view.backups.values().collect();
        let last_run = |name: &str| {
            let of = backups.iter().filter(|b| schedule_of(b) == Some(name));
            of.filter_map(|b| b.status.as_ref()?.finished).max()
        };
        self.metrics.schedules(view.schedules.iter().map(|(name, schedule)| {
            let status = schedule.status.clone().unwrap_or_default();
            let invalid = status.conditions.iter().any(|c| c.kind == "Invalid" && c.status == "True");
            let state = ScheduleState {
                last_run: last_run(name).max(status.last_successful_run),
                last_success: status.last_successful_run,
                next_run: status.next_run,
                paused: schedule.spec.paused,
                invalid,
            };
            (name.clone(), state)
        }));
        for backup in &backups {
            let Some(end) = backup.status.as_ref().and_then(run_end) else { continue };
            let uid = backup.metadata.uid.clone().unwrap_or_default();
            if self.known.insert(uid) {
                self.metrics.run_known(schedule_of(backup).unwrap_or_default(), &end);
            }
        }
        if self.known.len() > 2 * view.backups.len() + 100 {
            let there: HashSet<_> = backups.iter().filter_map(|b| b.metadata.uid.clone()).collect();
            self.known.retain(|uid| there.contains(uid));
        }
    }
}

fn run_end(status: &BackupStatus) -> Option<RunEnd> {
    let result = match status.phase {
        Phase::Completed => Ended::Completed,
        Phase::PartiallyFailed => Ended::PartiallyFailed,
        Phase::Failed => Ended::Failed,
        Phase::Canceled => Ended::Canceled,
        Phase::Pending | Phase::InProgress | Phase::Committing => return None,
    };
    let count = |n: Option<i64>| n.and_then(|n| u64::try_from(n).ok()).unwrap_or(0);
    let finished = status.finished?;
    let took = finished.duration_since(status.started.unwrap_or(finished)).as_secs();
    Some(RunEnd {
        result,
        finished,
        duration: Duration::from_secs(u64::try_from(took).unwrap_or(0)),
        objects: count(status.objects),
        bytes: count(status.bytes),
        stored_bytes: count(status.stored_bytes),
        missed: count(status.missed),
    })
}
