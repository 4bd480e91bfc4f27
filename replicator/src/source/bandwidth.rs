//! How fast a source may be read, and when: a rate, and windows of time that have another one. Pure but for the moment up
//! to which what was read is paid for.

use crate::vault::parse_size;
use jiff::Timestamp;
use jiff::civil::{Time, Weekday};
use jiff::tz::TimeZone;
use lifeboat_common::config::LimitsConfig;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

const DAYS: [(&str, Weekday); 7] = [
    ("mon", Weekday::Monday),
    ("tue", Weekday::Tuesday),
    ("wed", Weekday::Wednesday),
    ("thu", Weekday::Thursday),
    ("fri", Weekday::Friday),
    ("sat", Weekday::Saturday),
    ("sun", Weekday::Sunday),
];

/// A part of the week; `until` before `from` is a time of the next day.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Window {
    days: Vec<Weekday>,
    from: Time,
    until: Time,
    /// Bytes per second; none: as fast as it goes.
    rate: Option<u64>,
}

/// The rate by the time of the week.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    rate: Option<u64>,
    windows: Vec<Window>,
    zone: TimeZone,
}

/// A bound that all transfers of a source share.
#[derive(Debug)]
pub struct Bandwidth {
    schedule: Schedule,
    paid: Mutex<Option<Instant>>,
}

fn rate(text: &str) -> Result<Option<u64>, String> {
    Ok(Some(parse_size(text)?).filter(|rate| *rate > 0))
}

/// Days of `mon-fri`, `sat,sun`, or both in one.
fn days(text: &str) -> Result<Vec<Weekday>, String> {
    let one = |name: &str| {
        let found = DAYS.iter().find(|(n, _)| *n == name.to_ascii_lowercase());
        found.map(|(_, day)| *day).ok_or_else(|| format!("'{name}' is no day such as mon, or mon-fri"))
    };
    let mut all = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (mut day, last) = (one(first)?, one(last)?);
        all.push(day);
        while day != last {
            day = day.next();
            all.push(day);
        }
    }
    Ok(all)
}

fn window(text: &str) -> Result<Window, String> {
    let bad = || format!("'{text}' is no window such as \"mon-fri 08:00-18:00 10MiB\"");
    let words: Vec<&str> = text.split_whitespace().collect();
    let (named, hours, fast) = match words[..] {
        [hours, fast] => ("mon-sun", hours, fast),
        [named, hours, fast] => (named, hours, fast),
        _ => return Err(bad()),
    };
    let time = |text: &str| {
        let (hour, minute) = text.split_once(':')?;
        let two = |t: &str| (t.len() == 2).then(|| t.parse::<i8>().ok())?;
        Time::new(two(hour)?, two(minute)?, 0, 0).ok()
    };
    let (from, until) = hours.split_once('-').ok_or_else(bad)?;
    let (from, until) = (time(from).ok_or_else(bad)?, time(until).ok_or_else(bad)?);
    Ok(Window { days: days(named)?, from, until, rate: rate(fast)? })
}

impl Window {
    fn holds(&self, day: Weekday, time: Time) -> bool {
        if self.from < self.until {
            return self.days.contains(&day) && (self.from..self.until).contains(&time);
        }
        let (begun, over) = (time >= self.from, time < self.until);
        (begun && self.days.contains(&day)) || (over && self.days.contains(&day.previous()))
    }
}

impl Schedule {
    pub fn new(config: &LimitsConfig) -> Result<Self, String> {
        let named = |key: &'static str| move |why: String| format!("limits.{key}: {why}");
        let fast = config.rate.as_deref().map(rate).transpose().map_err(named("rate"))?.flatten();
        let windows = config.windows.iter().map(|w| window(w)).collect::<Result<_, _>>();
        Ok(Self { rate: fast, windows: windows.map_err(named("windows"))?, zone: zone(config)? })
    }

    /// Bytes per second at `now`; none: as fast as it goes. The first window that holds counts.
    #[must_use]
    pub fn rate(&self, now: Timestamp) -> Option<u64> {
        if self.windows.is_empty() {
            return self.rate;
        }
        let there = now.to_zoned(self.zone.clone());
        let found = self.windows.iter().find(|w| w.holds(there.weekday(), there.time()));
        found.map_or(self.rate, |w| w.rate)
    }
}

/// Where days and windows begin.
pub fn zone(config: &LimitsConfig) -> Result<TimeZone, String> {
    match &config.time_zone {
        None => Ok(TimeZone::UTC),
        Some(name) => TimeZone::get(name).map_err(|_| {
            format!("limits.time_zone: there is no time zone '{name}'; give one such as Europe/Stockholm")
        }),
    }
}

impl Bandwidth {
    #[must_use]
    pub fn new(schedule: Schedule) -> Self {
        Self { schedule, paid: Mutex::new(None) }
    }

    /// Pays for `bytes` that were read: how long to wait before reading on. Time in which nothing was read is not saved up.
    pub fn pay(&self, bytes: usize, now: Timestamp, at: Instant) -> Duration {
        let mut paid = self.paid.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(rate) = self.schedule.rate(now) else {
            *paid = None;
            return Duration::ZERO;
        };
        #[expect(clippy::cast_precision_loss, reason = "a time to wait")]
        let cost = Duration::from_secs_f64(bytes as f64 / rate as f64);
        let until = paid.map_or(at, |paid| paid.max(at)) + cost;
        *paid = Some(until);
        until - at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(windows: &[&str]) -> Result<Schedule, String> {
        Schedule::new(&LimitsConfig {
            rate: Some("8MiB".to_owned()),
            windows: windows.iter().map(|w| (*w).to_owned()).collect(),
            time_zone: Some("Europe/Stockholm".to_owned()),
            ..LimitsConfig::default()
        })
    }

    #[test]
    fn the_first_window_that_holds_counts() {
        let schedule = schedule(&["mon-fri 08:00-18:00 1MiB", "sat,sun 22:00-06:00 0"]).unwrap();
        // A Monday; Stockholm is two hours ahead.
        for (at, mib) in [
            ("2026-06-01T05:59:59Z", Some(8)),
            ("2026-06-01T06:00:00Z", Some(1)),
            ("2026-06-01T15:59:59Z", Some(1)),
            ("2026-06-01T16:00:00Z", Some(8)),
            ("2026-06-06T20:00:00Z", None),
            ("2026-06-07T03:59:59Z", None),
            ("2026-06-08T03:59:59Z", None),
            ("2026-06-08T04:00:00Z", Some(8)),
            ("2026-06-06T03:00:00Z", Some(8)),
        ] {
            assert_eq!(schedule.rate(at.parse().unwrap()), mib.map(|m: u64| m << 20), "{at}");
        }
        let winter = "2026-12-07T06:30:00Z".parse().unwrap();
        assert_eq!(schedule.rate(winter), Some(8 << 20), "half past seven in winter");
    }

    #[test]
    fn what_is_no_window_is_refused_by_its_words() {
        for bad in [
            "",
            "8MiB",
            "08:00 8MiB",
            "8:00-18:00 1MiB",
            "mon 08:00-25:00 1MiB",
            "moon 08:00-09:00 1MiB",
            "mon 08:00-09:00 fast",
        ] {
            assert!(schedule(&[bad]).unwrap_err().contains("limits.windows"), "{bad}");
        }
        let lost = LimitsConfig { time_zone: Some("Mars/Base".to_owned()), ..LimitsConfig::default() };
        assert!(Schedule::new(&lost).unwrap_err().contains("Mars/Base"));
    }

    #[test]
    fn bytes_are_paid_for_in_turn() {
        let bandwidth = Bandwidth::new(schedule(&["sat 00:00-23:59 0"]).unwrap());
        let (at, monday) = (Instant::now(), "2026-06-01T00:00:00Z".parse().unwrap());
        assert_eq!(bandwidth.pay(8 << 20, monday, at), Duration::from_secs(1));
        assert_eq!(bandwidth.pay(4 << 20, monday, at), Duration::from_millis(1500));
        let later = at + Duration::from_secs(60);
        assert_eq!(bandwidth.pay(8 << 20, monday, later), Duration::from_secs(1), "nothing is saved up");
        assert_eq!(bandwidth.pay(8 << 20, "2026-06-06T10:00:00Z".parse().unwrap(), at), Duration::ZERO);
    }
}
