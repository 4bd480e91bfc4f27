//! What needs a person although no pull raised an alarm, such as that no pull runs at all. Pure.

use super::{ClusterStatus, Status, duration};
use jiff::Timestamp;
use lifeboat_common::config::ReplicatorConfig;
use serde::Serialize;

/// Pulls may be late by so many of their intervals, and by this many seconds in any case.
const LATE_TIMES: u64 = 3;
const LATE: u64 = 3600;
/// Days of room below which a person should act.
const ROOM_DAYS: u64 = 14;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum WarningKind {
    /// No pull went through for long: the service is not running, or hangs.
    NotPulled,
    /// The vault's disk will be full soon.
    DiskFillsUp,
    /// Files of the vault were not read again for longer than they should.
    ScrubOverdue,
}

impl WarningKind {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NotPulled => "not-pulled",
            Self::DiskFillsUp => "disk-fills-up",
            Self::ScrubOverdue => "scrub-overdue",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Warning {
    pub kind: WarningKind,
    pub why: String,
    pub next: String,
}

pub(super) fn add(status: &mut Status, config: &ReplicatorConfig, now: Timestamp) {
    let limit = config.poll_seconds.saturating_mul(LATE_TIMES).max(LATE);
    for cluster in &mut status.clusters {
        // What is in the vault of a cluster that is configured no more is nobody's worry.
        if config.sources.iter().any(|s| s.cluster.as_str() == cluster.name) {
            add_to(cluster, i64::try_from(limit).unwrap_or(i64::MAX), now);
        }
    }
    if let Some(space) = &status.space
        && let Some(days) = space.days_left.filter(|d| *d < ROOM_DAYS)
    {
        let next = "enlarge the vault's disk, or keep less (see `retain --dry-run`); nothing is deleted to make room";
        status.warnings.push(Warning {
            kind: WarningKind::DiskFillsUp,
            why: format!("at the present growth pulls stop for want of room in {days} days"),
            next: next.to_owned(),
        });
    }
}

fn add_to(cluster: &mut ClusterStatus, limit: i64, now: Timestamp) {
    let age = cluster.last_pull.map(|last| now.duration_since(last).as_secs());
    // A first pull that is long under way is no silence.
    if cluster.progress.is_none() && age.is_none_or(|age| age > limit) {
        let why = match age {
            Some(age) => format!("no pull went through for {}", duration(age)),
            None => "no pull went through yet".to_owned(),
        };
        let next = "see the alarms, and whether the service runs: systemctl status 'lifeboat-replicator*'";
        cluster.warnings.push(Warning { kind: WarningKind::NotPulled, why, next: next.to_owned() });
    }
    if let Some(scrub) = cluster.scrub.as_ref().filter(|s| s.overdue > 0) {
        cluster.warnings.push(Warning {
            kind: WarningKind::ScrubOverdue,
            why: format!("{} files of the vault were not read again in time", scrub.overdue),
            next: "look whether the scrub runs, or raise scrub.rate".to_owned(),
        });
    }
}
