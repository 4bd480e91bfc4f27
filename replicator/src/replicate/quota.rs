//! How much a source brings: what came on which day, what it may bring on one and in all, and how long the room of the
//! disk lasts at that pace. Pure.

use crate::alarm::{AlarmKind, Finding, Stage};
use crate::status::size;
use jiff::civil::Date;
use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::str::FromStr;

/// Days that are remembered.
const REMEMBERED: usize = 15;
/// Room for fewer days than this is said.
const EARLY_DAYS: u64 = 14;

/// Bytes of packs by day.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Days(BTreeMap<Date, u64>);

impl FromStr for Days {
    type Err = std::convert::Infallible;

    /// What is no day is left out: it is an account, and its loss costs a day's quota.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let day = |entry: &str| {
            let (day, bytes) = entry.split_once(' ')?;
            Some((day.parse().ok()?, bytes.parse().ok()?))
        };
        Ok(Self(text.split(';').filter_map(day).collect()))
    }
}

impl fmt::Display for Days {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        for (day, bytes) in &self.0 {
            write!(text, "{day} {bytes};")?;
        }
        f.write_str(&text)
    }
}

impl Days {
    pub fn add(&mut self, day: Date, bytes: u64) {
        let sum = self.0.entry(day).or_default();
        *sum = sum.saturating_add(bytes);
        while self.0.len() > REMEMBERED {
            self.0.pop_first();
        }
    }

    #[must_use]
    pub fn on(&self, day: Date) -> u64 {
        self.0.get(&day).copied().unwrap_or(0)
    }

    /// Bytes a day on average, over the days before `today` that something is known of; the first one, which fills an
    /// empty vault, left out. None before there is one.
    #[must_use]
    pub fn pace(&self, today: Date) -> Option<u64> {
        let mut before = self.0.range(..today).skip(1);
        let first = before.next()?;
        let days = today.since(*first.0).ok()?.get_days().max(1);
        let sum = before.fold(*first.1, |sum, (_, bytes)| sum.saturating_add(*bytes));
        Some(sum / u64::try_from(days).unwrap_or(1))
    }
}

/// What a source may bring.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Quota {
    /// Bytes of packs a day.
    pub per_day: Option<u64>,
    /// Bytes of packs in the vault.
    pub total: Option<u64>,
}

impl Quota {
    /// Whether nothing more may come, and which key of the configuration says so.
    #[must_use]
    pub fn reached(&self, today: u64, held: u64) -> Option<(&'static str, u64)> {
        let over = |limit: Option<u64>, used| limit.filter(|limit| used >= *limit);
        let day = over(self.per_day, today).map(|limit| ("per_day", limit));
        day.or_else(|| over(self.total, held).map(|limit| ("total", limit)))
    }
}

/// The alarm of a quota.
#[must_use]
pub fn reached(cluster: &str, (key, limit): (&'static str, u64)) -> Finding {
    let (when, until) = if key == "per_day" {
        ("today", "the next day goes on from here")
    } else {
        ("in all", "nothing more is pulled until then")
    };
    let why = format!("{} of packs came {when}, which is what limits.{key} allows", size(limit));
    let next = format!(
        "look whether the cluster's backups grew for a reason; if so raise limits.{key} of this source; {until}"
    );
    Finding::new(AlarmKind::QuotaReached, Stage::Snapshots, cluster, why, next)
}

/// The alarm of a disk that will be full: `free` and `floor` in bytes, `pace` a day.
#[must_use]
pub fn filling(vault: &str, free: u64, floor: u64, pace: u64) -> Option<Finding> {
    let room = free.saturating_sub(floor);
    let days = room.checked_div(pace);
    if room >= floor && days.is_none_or(|days| days >= EARLY_DAYS) {
        return None;
    }
    let pace = match days {
        Some(days) => format!("; at {} a day that lasts {days} days", size(pace)),
        None => String::new(),
    };
    // Rounded, so that a person who has looked is not asked again for each byte.
    let why = format!("about {} GiB are left above the {} that stay free{pace}", room >> 30, size(floor));
    let next = "enlarge the disk, or keep less (retention); pulling stops before it is full, and nothing is deleted to make room";
    Some(Finding::new(AlarmKind::VaultFilling, Stage::Space, vault, why, next))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(n: i8) -> Date {
        jiff::civil::date(2026, 3, n)
    }

    #[test]
    fn days_are_remembered_and_the_first_counts_for_nothing() {
        let mut days = Days::default();
        assert_eq!(days.pace(day(1)), None);
        days.add(day(1), 1000);
        days.add(day(2), 10);
        assert_eq!(days.pace(day(2)), None, "the first fill says nothing");
        days.add(day(3), 15);
        days.add(day(3), 15);
        assert_eq!((days.on(day(3)), days.on(day(9))), (30, 0));
        assert_eq!(days.pace(day(4)), Some(20));
        assert_eq!(days.pace(day(12)), Some(4), "days without anything count, too");
        assert_eq!(days.to_string().parse(), Ok(days.clone()));
        assert_eq!("nonsense;2026-03-02 7".parse::<Days>().unwrap().on(day(2)), 7);
        for n in 1..30 {
            days.add(day(n), 1);
        }
        assert_eq!(days.0.len(), REMEMBERED);
    }

    #[test]
    fn quotas_and_room() {
        let quota = Quota { per_day: Some(100), total: Some(1000) };
        assert_eq!(quota.reached(99, 999), None);
        assert_eq!(quota.reached(100, 0), Some(("per_day", 100)));
        assert_eq!(quota.reached(0, 1000), Some(("total", 1000)));
        assert_eq!(Quota::default().reached(u64::MAX, u64::MAX), None);
        let gib = 1 << 30;
        assert_eq!(filling("v", 100 * gib, gib, gib), None);
        assert_eq!(filling("v", u64::MAX, 0, 0), None);
        assert!(filling("v", 14 * gib, gib, gib).unwrap().why.contains("lasts 13 days"));
        assert!(filling("v", gib + gib / 2, gib, 0).is_some(), "less above the floor than the floor is");
    }
}
