//! What is kept of each day, on each side: a block for each month, a column for each week, as calendars of activity are
//! drawn. Pure.

use super::html::Html;
use crate::catalog::{SnapshotRow, State};
use crate::status::made;
use jiff::civil::{Date, date};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};
use std::collections::{BTreeMap, BTreeSet};

/// Months that are shown.
const MONTHS: i32 = 24;
/// Pixels from cell to cell, and of a cell.
const STEP: i32 = 14;
const CELL: i32 = 12;

/// One day.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Day {
    /// Snapshots that the vault keeps.
    pub(super) kept: u32,
    /// Of these, such as miss nothing.
    pub(super) complete: u32,
    /// Of all there were, such as the vault's retention forgot.
    pub(super) forgotten: u32,
    /// Snapshots that the primary has still.
    pub(super) primary: u32,
}

/// Days of a cluster.
#[derive(Debug, Default)]
pub struct Calendar {
    days: BTreeMap<Date, Day>,
    first: Option<Date>,
    today: Option<Date>,
}

impl Calendar {
    /// Days begin at midnight UTC. `gone` names the slots that the primary forgot.
    #[must_use]
    pub fn new(rows: &[SnapshotRow], gone: &BTreeSet<u64>, now: Timestamp) -> Self {
        let mut days: BTreeMap<Date, Day> = BTreeMap::new();
        for row in rows {
            let day = || made(row).to_zoned(TimeZone::UTC).date();
            if matches!(row.state, State::Checkpoint | State::Rejected) {
                continue;
            }
            let day = days.entry(day()).or_default();
            match row.state {
                State::Held => {
                    day.kept += 1;
                    day.complete += u32::from(row.result == "Completed");
                }
                State::Forgotten => day.forgotten += 1,
                State::Pending | State::Checkpoint | State::Rejected => {}
            }
            day.primary += u32::from(!gone.contains(&row.seq));
        }
        let first = days.keys().next().copied();
        Self { days, first, today: Some(now.to_zoned(TimeZone::UTC).date()) }
    }

    pub(super) fn write(&self, html: &mut Html) {
        let Some(today) = self.today else { return };
        html.markup("<ol class=months>");
        for (year, month) in self.months(today) {
            self.month(html, year, month, today);
        }
        html.markup("</ol>").markup(LEGEND);
    }

    /// Those from the first snapshot on, [`MONTHS`] at most and six at least, up to today's.
    fn months(&self, today: Date) -> Vec<(i16, i8)> {
        let index = |d: Date| i32::from(d.year()) * 12 + i32::from(d.month()) - 1;
        let last = index(today);
        let first = self.first.map_or(last, index).clamp(last - MONTHS + 1, last - 5);
        let split = |i: i32| {
            let year = i16::try_from(i.div_euclid(12)).ok()?;
            Some((year, i8::try_from(i.rem_euclid(12)).ok()? + 1))
        };
        (first..=last).filter_map(split).collect()
    }

    fn month(&self, html: &mut Html, year: i16, month: i8, today: Date) {
        let begin = date(year, month, 1);
        let offset = i32::from(begin.weekday().to_monday_zero_offset());
        let length = i32::from(begin.days_in_month());
        let width = ((offset + length + 6) / 7) * STEP - (STEP - CELL) + 1;
        html.markup("<li><span>").text(&begin.strftime("%b %Y").to_string());
        html.markup("</span><svg viewBox=\"0 0 ").number(width).markup(" 97\" role=img>");
        for n in 0..length {
            let Ok(day) = begin.checked_add(n.days()) else { continue };
            if day > today {
                break;
            }
            let at = offset + n;
            self.cell(html, day, today, (at / 7) * STEP, (at % 7) * STEP);
        }
        html.markup("</svg></li>");
    }

    fn cell(&self, html: &mut Html, date: Date, today: Date, x: i32, y: i32) {
        let day = self.days.get(&date).copied().unwrap_or_default();
        let before = self.first.is_none_or(|first| date < first);
        let class = match day {
            Day { kept: 0, forgotten: 0, .. } if before || date == today => "e",
            Day { kept: 0, forgotten: 0, .. } => "n",
            Day { kept: 0, .. } => "f",
            Day { kept, complete, .. } if complete < kept => "p",
            Day { .. } => "k",
        };
        // An outline lies half outside.
        let (inset, size) = if class == "n" { (1, CELL - 2) } else { (0, CELL) };
        html.markup("<g><title>")
            .text(&format!("{date}: {}", day.text(before)))
            .markup("</title><rect class=");
        html.text(class).markup(" x=").number(x + inset).markup(" y=").number(y + inset);
        html.markup(" width=").number(size).markup(" height=").number(size).markup(" rx=2.5 />");
        if day.primary > 0 {
            html.markup("<circle cx=")
                .number(x + CELL / 2)
                .markup(" cy=")
                .number(y + CELL / 2)
                .markup(" r=2.6 />");
        }
        html.markup("</g>");
    }
}

impl Day {
    fn text(self, before: bool) -> String {
        let Self { kept, complete, forgotten, primary } = self;
        if kept + forgotten == 0 {
            return if before { "before the first snapshot" } else { "no snapshot" }.to_owned();
        }
        let partly = kept - complete;
        let partly = if partly > 0 { format!(" ({partly} of them missed something)") } else { String::new() };
        format!(
            "{kept} in the vault{partly}, {forgotten} forgotten there by the policy, {primary} in the primary"
        )
    }
}

const LEGEND: &str = "<ul class=legend>\
<li><svg viewBox=\"0 0 12 12\"><rect class=k width=12 height=12 rx=2.5 /></svg>kept in the vault\
<li><svg viewBox=\"0 0 12 12\"><rect class=k width=12 height=12 rx=2.5 /><circle cx=6 cy=6 r=2.6 /></svg>in the primary, too\
<li><svg viewBox=\"0 0 12 12\"><rect class=p width=12 height=12 rx=2.5 /></svg>kept, and missed something\
<li><svg viewBox=\"0 0 12 12\"><rect class=f width=12 height=12 rx=2.5 /></svg>forgotten by the policy\
<li><svg viewBox=\"0 0 12 12\"><rect class=n x=1 y=1 width=10 height=10 rx=2.5 /></svg>no snapshot</ul>";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::row;

    #[test]
    fn each_day_is_what_it_is() {
        let mut forgotten = row(2, 24 * 3, "full", State::Forgotten);
        forgotten.result = "Completed".to_owned();
        let mut partial = row(3, 24 * 4, "full", State::Held);
        partial.result = "PartiallyFailed".to_owned();
        let rows =
            [row(1, 24 * 2, "full", State::Held), forgotten, partial, row(4, 24 * 6, "full", State::Held)];
        let now = Timestamp::from_second(3600 * 24 * 6).unwrap();
        let calendar = Calendar::new(&rows, &BTreeSet::from([1, 2]), now);
        let mut html = Html::default();
        calendar.write(&mut html);
        let html = html.finish();
        let has = |day: &str, class: &str| {
            let cell = html.split("<title>").find(|c| c.starts_with(day)).unwrap();
            assert!(cell.contains(&format!("class={class} ")), "{cell}");
            cell.contains("<circle")
        };
        assert!(!has("1970-01-02", "e"), "before the first");
        assert!(!has("1970-01-03", "k"), "the primary forgot it");
        assert!(!has("1970-01-04", "f"));
        assert!(has("1970-01-05", "p"));
        assert!(!has("1970-01-06", "n"), "a night without a backup");
        assert!(has("1970-01-07", "k"));
        assert!(!html.contains("1970-01-08"), "the future is not shown");
        assert_eq!(html.matches("<li><span>").count(), 6);
    }
}
