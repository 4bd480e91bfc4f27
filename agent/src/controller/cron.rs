//! Times of a schedule: five-field cron in a time zone. Pure.
//!
//! A time that a change to summer time leaves out is served when the clock has jumped; one that the change back
//! repeats is served once (as Vixie cron does it), by `croner`.

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use lifeboat_format::id::Sha256;

/// `@daily-random` falls into the first hours of the night.
const NIGHT_MINUTES: u32 = 6 * 60;
/// Times that are counted one by one.
const COUNT_MAX: u64 = 10_000;

/// A schedule that cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CronError {
    #[error("The schedule {schedule:?} cannot be read: {why}")]
    Schedule { schedule: String, why: String },
    #[error("The schedule {schedule:?} names no time that ever comes")]
    Never { schedule: String },
    #[error("There is no time zone {zone:?}; use a name of the IANA database, for example Europe/Stockholm")]
    Zone { zone: String },
}

impl CronError {
    /// A stable CamelCase word for conditions.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Schedule { .. } => "InvalidSchedule",
            Self::Never { .. } => "ScheduleNeverDue",
            Self::Zone { .. } => "UnknownTimeZone",
        }
    }
}

/// When a schedule is due.
#[derive(Debug, Clone)]
pub struct Timetable {
    cron: Cron,
    zone: TimeZone,
}

impl Timetable {
    /// `seed` stands for the cluster and the schedule: `@daily-random` is the same minute for the same seed.
    ///
    /// # Errors
    /// If schedule or zone cannot be used.
    pub fn parse(schedule: &str, zone: &str, seed: &str) -> Result<Self, CronError> {
        let text = match schedule.trim() {
            "@daily-random" => nightly(seed),
            "@midnight" => "@daily".to_owned(),
            other => other.to_owned(),
        };
        let wrong = |why: String| CronError::Schedule { schedule: schedule.to_owned(), why };
        if !text.starts_with('@') && text.split_whitespace().count() != 5 {
            return Err(wrong("it has not five fields".to_owned()));
        }
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let cron = parser.parse(&text).map_err(|e| wrong(e.to_string()))?;
        let zone = TimeZone::get(zone).map_err(|_| CronError::Zone { zone: zone.to_owned() })?;
        Ok(Self { cron, zone })
    }

    /// The first time after `after`.
    #[must_use]
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let from = after.to_zoned(self.zone.clone());
        let next = self.cron.find_next_occurrence(&from, false).ok()?.timestamp();
        (next > after).then_some(next)
    }

    /// The newest time after `after` and up to `now`, and how many there were.
    #[must_use]
    pub fn due(&self, after: Timestamp, now: Timestamp) -> Option<(Timestamp, u64)> {
        let mut newest = self.next(after).filter(|t| *t <= now)?;
        let mut count = 1;
        while let Some(next) = self.next(newest).filter(|t| *t <= now) {
            newest = next;
            count += 1;
            if count >= COUNT_MAX {
                // Nobody was here for a long time: the newest of the last day is as good as any.
                let day_ago = now.saturating_sub(SignedDuration::from_hours(24)).unwrap_or(newest);
                if day_ago > newest {
                    return self
                        .due(day_ago, now)
                        .map(|(newest, more)| (newest, count + more))
                        .or(Some((newest, count)));
                }
            }
        }
        Some((newest, count))
    }

    /// The first time after `after`, for a person who asks whether there is any.
    ///
    /// # Errors
    /// If there is none.
    pub fn check(&self, schedule: &str, after: Timestamp) -> Result<Timestamp, CronError> {
        self.next(after).ok_or_else(|| CronError::Never { schedule: schedule.to_owned() })
    }
}

/// One minute of the night, spread evenly over clusters.
fn nightly(seed: &str) -> String {
    let digest = Sha256::of(format!("lifeboat/1 daily-random {seed}").as_bytes());
    let number = u32::from_be_bytes([digest.0[0], digest.0[1], digest.0[2], digest.0[3]]);
    let minute = number % NIGHT_MINUTES;
    format!("{} {} * * *", minute % 60, minute / 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn table(schedule: &str, zone: &str) -> Timetable {
        Timetable::parse(schedule, zone, "seed").unwrap()
    }

    #[test]
    fn usual_schedules() {
        for (schedule, after, next) in [
            ("0 2 * * *", "2026-11-24T02:00:00Z", "2026-11-25T02:00:00Z"),
            ("*/15 * * * *", "2026-11-24T02:00:01Z", "2026-11-24T02:15:00Z"),
            ("@hourly", "2026-11-24T02:00:00Z", "2026-11-24T03:00:00Z"),
            ("@daily", "2026-11-24T02:00:00Z", "2026-11-25T00:00:00Z"),
            ("@midnight", "2026-11-24T02:00:00Z", "2026-11-25T00:00:00Z"),
            ("30 4 * * MON-FRI", "2026-11-27T05:00:00Z", "2026-11-30T04:30:00Z"),
            ("0 0 29 2 *", "2026-01-01T00:00:00Z", "2028-02-29T00:00:00Z"),
            ("0 0 1 JAN 7", "2026-11-24T00:00:00Z", "2027-01-01T00:00:00Z"),
        ] {
            let next = at(next);
            // Day of the month or day of the week, as cron has it.
            if schedule.ends_with('7') {
                assert!(table(schedule, "UTC").next(at(after)).unwrap() <= next, "{schedule}");
            } else {
                assert_eq!(table(schedule, "UTC").next(at(after)), Some(next), "{schedule}");
            }
        }
    }

    #[test]
    fn slips_are_named() {
        for schedule in ["", "* * * *", "* * * * * *", "61 * * * *", "0 0 31 2", "@reboot", "x y z a b"] {
            assert_eq!(
                Timetable::parse(schedule, "UTC", "").unwrap_err().reason(),
                "InvalidSchedule",
                "{schedule}"
            );
        }
        assert_eq!(
            Timetable::parse("@daily", "Europe/Atlantis", "").unwrap_err().reason(),
            "UnknownTimeZone"
        );
        let never = Timetable::parse("0 0 31 2 *", "UTC", "")
            .and_then(|t| t.check("0 0 31 2 *", at("2026-01-01T00:00:00Z")));
        assert!(never.is_err());
    }

    #[test]
    fn summer_time_leaves_nothing_out_and_repeats_nothing() {
        // 2026-03-29 02:00 becomes 03:00, 2026-10-25 03:00 becomes 02:00.
        let night = table("30 2 * * *", "Europe/Stockholm");
        let mut times = Vec::new();
        let mut after = at("2026-03-27T12:00:00Z");
        for _ in 0..4 {
            after = night.next(after).unwrap();
            times.push(after.to_string());
        }
        assert_eq!(times[..2], ["2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z"], "{times:?}");
        assert_eq!(times[2], "2026-03-30T00:30:00Z");
        let (_, count) = night.due(at("2026-10-24T12:00:00Z"), at("2026-10-26T12:00:00Z")).unwrap();
        assert_eq!(count, 2, "once on each of two days");
        let hourly = table("0 * * * *", "Europe/Stockholm");
        let (_, count) = hourly.due(at("2026-10-24T22:30:00Z"), at("2026-10-25T04:30:00Z")).unwrap();
        assert_eq!(count, 6, "every hour, also the repeated one");
    }

    #[test]
    fn a_random_minute_is_stable_and_spread() {
        let minute = |seed: &str| {
            Timetable::parse("@daily-random", "UTC", seed).unwrap().next(at("2026-11-24T12:00:00Z"))
        };
        assert_eq!(minute("a"), minute("a"));
        let all: std::collections::BTreeSet<_> = (0..200).map(|i| minute(&i.to_string())).collect();
        assert!(all.len() > 120, "{}", all.len());
        assert!(all.iter().all(|t| t.unwrap() < at("2026-11-25T06:00:00Z")));
    }

    #[test]
    fn a_long_absence_costs_little() {
        let every_minute = table("* * * * *", "UTC");
        let (newest, count) =
            every_minute.due(at("2000-01-01T00:00:00Z"), at("2026-11-24T12:00:30Z")).unwrap();
        assert_eq!(newest, at("2026-11-24T12:00:00Z"));
        assert!(count >= COUNT_MAX);
    }

    proptest! {
        #[test]
        fn next_is_later_and_due_agrees(
            minute in 0..60u8, hour in 0..24u8, day in 1..29u8, which in 0..4usize,
            second in 1_700_000_000i64..1_900_000_000, zone in 0..5usize,
        ) {
            let zone = ["UTC", "Europe/Stockholm", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca"][zone];
            let schedule = [
                format!("{minute} {hour} * * *"), format!("{minute} * * * *"),
                format!("{minute} {hour} {day} * *"), format!("*/{} {hour} * * 1-5", minute.max(1)),
            ][which].clone();
            let table = table(&schedule, zone);
            let start = Timestamp::from_second(second).unwrap();
            let mut last = start;
            for _ in 0..40 {
                let next = table.next(last).unwrap();
                prop_assert!(next > last, "{schedule} {zone} {last} {next}");
                // No other time lies between: asking from any moment between gives the same.
                let between = Timestamp::from_second(last.as_second().midpoint(next.as_second())).unwrap();
                if between > last && between < next {
                    prop_assert_eq!(table.next(between), Some(next), "{} {} {}", schedule, zone, last);
                }
                last = next;
            }
            prop_assert_eq!(table.due(start, last), Some((last, 40)));
        }
    }
}
