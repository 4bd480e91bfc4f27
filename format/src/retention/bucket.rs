//! The times that put snapshots into buckets, and the buckets' labels.

use super::Granularity;
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// The two times of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// When its run began, by the agent.
    pub claimed: Timestamp,
    /// By the replicator's own clock.
    pub first_seen: Timestamp,
}

/// The bucket time of each snapshot of a chain, in its order, those included that are forgotten since: its claimed time
/// if that lies between the first-seen time of the one before (for the first: `since`, the charter's date) and its own,
/// and is not below the bucket time of the one before; else its first-seen time. So a cluster can date a snapshot back
/// by no more than the time since the last one arrived, and never forward.
#[must_use]
pub fn bucket_times(chain: &[Times], since: Timestamp) -> Vec<Timestamp> {
    let mut seen_before = since;
    let mut bucket_before = since;
    let mut times = Vec::with_capacity(chain.len());
    for s in chain {
        let honest = s.claimed >= seen_before && s.claimed <= s.first_seen && s.claimed >= bucket_before;
        let time = if honest { s.claimed } else { s.first_seen };
        times.push(time);
        seen_before = s.first_seen;
        bucket_before = time;
    }
    times
}

/// The bucket that `time` is in. Labels of one granularity sort by time.
pub(super) fn label(granularity: Granularity, time: Timestamp, zone: &TimeZone) -> String {
    let civil = zone.to_datetime(time);
    let (year, month, day) = (civil.year(), civil.month(), civil.day());
    match granularity {
        // With the offset: an hour that the clocks repeat in autumn is two.
        Granularity::Hour => {
            let offset = zone.to_offset(time);
            format!("{year:04}-{month:02}-{day:02}T{:02}{offset}", civil.hour())
        }
        Granularity::Day => format!("{year:04}-{month:02}-{day:02}"),
        Granularity::Week => {
            let week = civil.date().iso_week_date();
            format!("{:04}-W{:02}", week.year(), week.week())
        }
        Granularity::Month => format!("{year:04}-{month:02}"),
        Granularity::Year => format!("{year:04}"),
    }
}
