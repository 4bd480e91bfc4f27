//! Which finished Backups are removed as objects. Snapshots are never touched. Pure.

use super::plan::{Action, View, schedule_of, scheduled_at, uid};
use crate::kinds::{Backup, HistoryLimits};
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;

/// Finished Backups on demand stay for so long whatever their number: somebody may still wait for one.
const ON_DEMAND: SignedDuration = SignedDuration::from_hours(24);
/// But never more than so many of them.
const ON_DEMAND_MAX: usize = 500;
/// Removed in one go.
const AT_ONCE: usize = 20;

pub(super) fn forget(view: View<'_>) -> Vec<Action> {
    let mut groups: BTreeMap<_, Vec<(&String, &Backup)>> = BTreeMap::new();
    for (name, backup) in view.backups {
        let Some(status) = backup.status.as_ref().filter(|s| s.phase.is_finished()) else { continue };
        if backup.metadata.deletion_timestamp.is_none() {
            let group = (schedule_of(backup), status.phase.has_snapshot());
            groups.entry(group).or_default().push((name, backup));
        }
    }
    let mut gone = Vec::new();
    for ((schedule, good), mut backups) in groups {
        let known = schedule.and_then(|s| view.schedules.get(s));
        let limits = known.map(|s| s.spec.history_limits).unwrap_or_default();
        backups.sort_by_key(|(name, b)| std::cmp::Reverse((finished(b), (*name).clone())));
        for (i, (name, backup)) in backups.into_iter().enumerate() {
            let over = i >= limit(limits, good);
            let wanted = match schedule {
                None => {
                    i < ON_DEMAND_MAX
                        && finished(backup).is_some_and(|t| view.now.duration_since(t) < ON_DEMAND)
                }
                // The only trace of a time that was served, until the schedule's own status has it.
                Some(_) => {
                    known.is_some_and(|s| s.status.as_ref().and_then(|s| s.served) < scheduled_at(backup))
                }
            };
            if over && !wanted {
                gone.push(Action::Forget { name: name.clone(), uid: uid(backup).to_owned() });
            }
        }
    }
    gone.truncate(AT_ONCE);
    gone
}

fn finished(backup: &Backup) -> Option<Timestamp> {
    backup.status.as_ref().and_then(|s| s.finished)
}

fn limit(limits: HistoryLimits, good: bool) -> usize {
    let limit = if good { limits.successful } else { limits.failed };
    usize::try_from(limit).unwrap_or(1).max(1)
}
