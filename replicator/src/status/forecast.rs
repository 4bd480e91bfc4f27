//! When the vault's disk will be full: pure arithmetic over what was noted each day.
//!
//! The growth is the median of the slopes between all pairs of days, which one day that is out of line, such as that of
//! the first pull, does not move (Theil 1950, Sen 1968).

use crate::catalog::{Catalogue, Result, Usage};
use crate::status::{duration, size};
use crate::vault::disk;
use jiff::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;

/// Days that the growth is taken from.
const WINDOW: i64 = 30;
/// Fewer days say nothing.
const FEWEST: usize = 4;
/// Nobody plans further, in days.
const FURTHEST: u64 = 3650;

/// Room on the vault's disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Space {
    /// Bytes.
    pub free: u64,
    pub total: u64,
    /// Bytes that pulls leave free.
    pub reserve: u64,
    /// Bytes a day by which the vault grew in the last 30 days; negative when it shrank. None before a few days are known.
    pub growth_per_day: Option<i64>,
    /// Days until pulls stop for want of room; none when that is not in sight.
    pub days_left: Option<u64>,
}

impl Space {
    /// For people.
    #[must_use]
    pub fn forecast(&self) -> String {
        let Some(growth) = self.growth_per_day else {
            return "not known before four days of pulls".to_owned();
        };
        let a_day = format!("{}{} a day", if growth < 0 { "−" } else { "+" }, size(growth.unsigned_abs()));
        match self.days_left {
            Some(0) => format!("{a_day}; full today"),
            Some(days) => {
                let seconds = i64::try_from(days).unwrap_or(i64::MAX).saturating_mul(86_400);
                format!("{a_day}; full in {}", duration(seconds))
            }
            None => format!("{a_day}; full is not in sight"),
        }
    }
}

pub(super) fn space(
    catalogue: &Catalogue,
    clusters: &[String],
    (disk, reserve): (disk::Space, u64),
    now: Timestamp,
) -> Result<Space> {
    let today = now.as_second().div_euclid(86_400);
    let series = clusters.iter().map(|c| catalogue.usage(c, today - WINDOW)).collect::<Result<Vec<_>>>()?;
    let growth_per_day = growth(&sum(&series));
    let room = disk.free.saturating_sub(reserve);
    let grows = growth_per_day.and_then(|g| u64::try_from(g).ok()).filter(|g| *g > 0);
    let days_left = grows.map(|g| room / g).filter(|d| *d <= FURTHEST);
    Ok(Space { free: disk.free, total: disk.total, reserve, growth_per_day, days_left })
}

/// Bytes of all clusters by day. A cluster without a note of a day has what it had the day before.
#[must_use]
pub fn sum(series: &[Vec<Usage>]) -> Vec<(i64, u64)> {
    let mut days: BTreeMap<i64, u64> = series.iter().flatten().map(|usage| (usage.day, 0)).collect();
    for one in series {
        let mut known = one.iter().peekable();
        let mut bytes = 0;
        for (day, total) in &mut days {
            while let Some(usage) = known.next_if(|u| u.day <= *day) {
                bytes = usage.bytes;
            }
            *total = total.saturating_add(bytes);
        }
    }
    days.into_iter().collect()
}

/// Bytes a day.
fn growth(days: &[(i64, u64)]) -> Option<i64> {
    if days.len() < FEWEST {
        return None;
    }
    let mut slopes = Vec::new();
    for (i, (day, bytes)) in days.iter().enumerate() {
        for (later, more) in &days[i + 1..] {
            let slope = (i128::from(*more) - i128::from(*bytes)) / i128::from((later - day).max(1));
            slopes.push(i64::try_from(slope).unwrap_or(i64::MAX));
        }
    }
    slopes.sort_unstable();
    slopes.get(slopes.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(days: impl IntoIterator<Item = (i64, u64)>) -> Vec<Usage> {
        days.into_iter().map(|(day, bytes)| Usage { day, bytes, packs: 0, snapshots: 0 }).collect()
    }

    #[test]
    fn the_first_pull_is_no_growth() {
        let days = [(1, 5), (2, 1_000_000), (3, 1_000_010), (4, 1_000_020), (5, 1_000_030), (6, 1_000_040)];
        assert_eq!(growth(&days), Some(10));
        assert_eq!(growth(&days[..3]), None);
    }

    #[test]
    fn a_cluster_that_is_not_pulled_keeps_what_it_had() {
        let all = sum(&[usage([(1, 10), (3, 30)]), usage([(2, 100)])]);
        assert_eq!(all, [(1, 10), (2, 110), (3, 130)]);
    }

    #[test]
    fn people_are_told() {
        let mut space = Space { free: 10, total: 20, reserve: 1, growth_per_day: None, days_left: None };
        assert!(space.forecast().contains("not known"));
        space.growth_per_day = Some(3 << 20);
        assert_eq!(space.forecast(), "+3.0 MiB a day; full is not in sight");
        space.days_left = Some(40);
        assert_eq!(space.forecast(), "+3.0 MiB a day; full in 40 days");
        space.growth_per_day = Some(-(3 << 20));
        assert!(space.forecast().starts_with("−3.0 MiB"));
    }
}
