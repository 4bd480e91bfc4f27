//! What stops a pass of retention, or makes it smaller: alarms, clocks, weaker policies, caps.

use super::{Decision, Policy};
use crate::charter::Keep;
use jiff::Timestamp;
use std::fmt;

/// At most so much is forgotten in one pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caps {
    pub snapshots: usize,
    /// Of all snapshots; at least one may always go.
    pub percent: usize,
}

impl Default for Caps {
    fn default() -> Self {
        Self { snapshots: 50, percent: 20 }
    }
}

/// A pass whose clock is more than this before or after the last one's waits for a person, seconds.
const BACK_MAX: i64 = 15 * 60;
const FORTH_MAX: i64 = 8 * 86_400;

/// How things stand when a pass begins.
#[derive(Debug, Clone, Default)]
pub struct Situation {
    /// When the last pass was, by the same clock.
    pub last_pass: Option<Timestamp>,
    /// Names of open alarms that freeze forgetting.
    pub alarms: Vec<String>,
    /// What of the policy is weaker than a person agreed to; see [`weaker`].
    pub weaker: Vec<String>,
    /// A person agreed to go on with this clock.
    pub clock_agreed: bool,
}

/// Why a pass forgets nothing until a person agrees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Restraint {
    Alarms(Vec<String>),
    /// Seconds since the last pass.
    Clock(i64),
    Weaker(Vec<String>),
}

impl fmt::Display for Restraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Alarms(alarms) => write!(f, "open alarms: {}", alarms.join(", ")),
            Self::Clock(seconds) if *seconds < 0 => {
                write!(f, "the clock is {} s before the last pass", seconds.unsigned_abs())
            }
            Self::Clock(seconds) => {
                write!(
                    f,
                    "the last pass was {} days ago: the clock jumped, or retention did not run",
                    seconds / 86_400
                )
            }
            Self::Weaker(what) => write!(f, "the policy became weaker: {}", what.join(", ")),
        }
    }
}

/// All that speaks against a pass.
#[must_use]
pub fn against(situation: &Situation, now: Timestamp) -> Vec<Restraint> {
    let mut against = Vec::new();
    if !situation.alarms.is_empty() {
        against.push(Restraint::Alarms(situation.alarms.clone()));
    }
    if let Some(last) = situation.last_pass.filter(|_| !situation.clock_agreed) {
        let passed = now.as_second().saturating_sub(last.as_second());
        if !(-BACK_MAX..=FORTH_MAX).contains(&passed) {
            against.push(Restraint::Clock(passed));
        }
    }
    if !situation.weaker.is_empty() {
        against.push(Restraint::Weaker(situation.weaker.clone()));
    }
    against
}

/// The snapshots to forget now, oldest first, within the caps; or all that speaks against it.
pub fn restrain(
    decisions: &[Decision],
    situation: &Situation,
    caps: Caps,
    now: Timestamp,
) -> Result<Vec<u64>, Vec<Restraint>> {
    let against = against(situation, now);
    if !against.is_empty() {
        return Err(against);
    }
    let most = caps.snapshots.min((decisions.len() * caps.percent / 100).max(1));
    Ok(decisions.iter().filter(|d| !d.is_kept()).map(|d| d.seq).take(most).collect())
}

/// What of `new` keeps less than `agreed`, in words.
#[must_use]
pub fn weaker(agreed: &Policy, new: &Policy) -> Vec<String> {
    let counts = |k: &Keep| {
        [
            ("within_hours", k.within_hours),
            ("last", k.last),
            ("hourly", k.hourly),
            ("daily", k.daily),
            ("weekly", k.weekly),
            ("monthly", k.monthly),
            ("yearly", k.yearly),
        ]
    };
    let floors = |p: &Policy| {
        let minimum = u32::try_from(p.floors.minimum).unwrap_or(u32::MAX);
        [("minimum", minimum), ("floor_hours", p.floors.hours), ("scope_days", p.floors.scope_days)]
    };
    let old = counts(&agreed.keep).into_iter().chain(floors(agreed));
    let new = counts(&new.keep).into_iter().chain(floors(new));
    let less = old.zip(new).filter(|((_, old), (_, new))| new < old);
    less.map(|((name, old), (_, new))| format!("{name} {old} → {new}")).collect()
}
