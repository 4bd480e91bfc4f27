//! Retention: which snapshots of one side stay, and why. Pure: it is given the snapshots, the policy and the time, and
//! gives a decision with reasons for each. It deletes nothing and knows no store.
//!
//! Buckets are *sticky-first*: the first snapshot of a day, week, month or year keeps its place, so that nothing that
//! comes later in it, however many and however dated, displaces it. Ages and floors are by the replicator's own
//! first-seen time alone; a snapshot's claimed time decides only its bucket, and only where it cannot lie by much
//! (see [`bucket_times`]). The shape of the counts (last, hourly … yearly) is the field's (restic's `forget`).

mod bucket;
mod decide;
mod primary;
mod restrain;
#[cfg(test)]
mod tests;

use crate::charter::Keep;
use crate::id::ScopeAlias;
use crate::manifest::{Coverage, RunResult};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::fmt;

pub use bucket::{Times, bucket_times};
pub use decide::decide;
pub use primary::{OnPrimary, PrimaryDecision, PrimaryReason, VaultHas, decide_primary};
pub use restrain::{Caps, Restraint, Situation, against, restrain, weaker};

/// What decides how long a vault keeps.
#[derive(Debug, Clone)]
pub struct Policy {
    pub keep: Keep,
    pub floors: Floors,
    /// Days, weeks, months and years begin at midnight of this zone.
    pub zone: TimeZone,
}

/// Below these nothing is forgotten, whatever the counts say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Floors {
    /// Never fewer whole snapshots of one kind of coverage.
    pub minimum: usize,
    /// Nothing that was first seen less than so many hours ago.
    pub hours: u32,
    /// The last snapshot that covers a namespace stays for so many days after it was first seen, also when the
    /// namespace is gone.
    pub scope_days: u32,
}

impl Default for Floors {
    /// Three snapshots, a week, and 400 days for the last of a namespace.
    fn default() -> Self {
        Self { minimum: 3, hours: 168, scope_days: 400 }
    }
}

/// One snapshot, as far as retention looks at it. Checkpoints are none.
#[derive(Debug, Clone)]
pub struct Subject {
    pub seq: u64,
    /// What puts it into its buckets; see [`bucket_times`].
    pub bucket_time: Timestamp,
    /// When the replicator first saw it, by its own clock.
    pub first_seen: Timestamp,
    pub coverage: Coverage,
    pub scopes: Vec<ScopeAlias>,
    pub result: RunResult,
    /// Every pack of it is there and verified.
    pub whole: bool,
    /// A restore test proved it.
    pub proven: bool,
    pub held: bool,
}

/// Why a snapshot stays.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// A person holds it.
    Hold,
    /// First seen less than the floor ago, or in the future.
    Floor,
    /// One of the fewest that always stay.
    Minimum,
    /// The newest whole one that covers so many scopes.
    LastOfScopes(usize),
    /// The newest that a restore test proved for one of its scopes.
    Proven,
    /// Within the hours that everything is kept.
    Within,
    /// One of the newest.
    Last,
    /// The first of its bucket, or its first Completed one.
    Bucket(Granularity, String),
}

/// How long a bucket is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Granularity {
    Hour,
    Day,
    Week,
    Month,
    Year,
}

/// What becomes of one snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    pub seq: u64,
    /// Empty: forget it.
    pub reasons: Vec<Reason>,
}

impl Decision {
    #[must_use]
    pub fn is_kept(&self) -> bool {
        !self.reasons.is_empty()
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hold => f.write_str("hold"),
            Self::Floor => f.write_str("floor"),
            Self::Minimum => f.write_str("minimum"),
            Self::LastOfScopes(1) => f.write_str("last of 1 scope"),
            Self::LastOfScopes(n) => write!(f, "last of {n} scopes"),
            Self::Proven => f.write_str("proven"),
            Self::Within => f.write_str("within"),
            Self::Last => f.write_str("last"),
            Self::Bucket(granularity, label) => write!(f, "{granularity} {label}"),
        }
    }
}

impl fmt::Display for Granularity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hour => "hourly",
            Self::Day => "daily",
            Self::Week => "weekly",
            Self::Month => "monthly",
            Self::Year => "yearly",
        })
    }
}
