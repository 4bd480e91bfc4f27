//! What is said of a task at one moment, as a line and as an event. Pure.

use super::Unit;
use serde::Serialize;
use std::time::Duration;

pub(super) struct Report<'a> {
    pub(super) task: &'a str,
    pub(super) unit: Unit,
    pub(super) done: u64,
    pub(super) total: Option<u64>,
    pub(super) elapsed: Duration,
}

#[derive(Serialize)]
struct Event<'a> {
    schema: &'static str,
    event: &'a str,
    task: &'a str,
    unit: &'static str,
    done: u64,
    total: Option<u64>,
    rate: u64,
    eta_s: Option<u64>,
}

impl Report<'_> {
    /// Per second, on average.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "for people"
    )]
    pub(super) fn rate(&self) -> u64 {
        (self.done as f64 / self.elapsed.as_secs_f64().max(0.001)) as u64
    }

    pub(super) fn eta(&self) -> Option<u64> {
        let (left, rate) = (self.total?.saturating_sub(self.done), self.rate());
        (rate > 0).then(|| left.div_ceil(rate))
    }

    fn amount(&self, count: u64) -> String {
        match self.unit {
            Unit::Bytes => indicatif::BinaryBytes(count).to_string(),
            Unit::Items => indicatif::HumanCount(count).to_string(),
        }
    }

    pub(super) fn line(&self) -> String {
        let done = self.amount(self.done);
        let rate = self.amount(self.rate());
        let of = self.total.map(|total| format!(" of {}", self.amount(total))).unwrap_or_default();
        let percent = self.total.filter(|&total| total > 0);
        let percent = percent
            .map(|total| format!(" ({} %)", self.done.saturating_mul(100) / total))
            .unwrap_or_default();
        let eta = self.eta().map(|s| format!(", {} left", indicatif::HumanDuration(Duration::from_secs(s))));
        format!("{}: {done}{of}{percent}, {rate}/s{}", self.task, eta.unwrap_or_default())
    }

    pub(super) fn last_line(&self) -> String {
        let elapsed = indicatif::HumanDuration(self.elapsed);
        format!("{}: {} in {elapsed}", self.task, self.amount(self.done))
    }

    pub(super) fn event(&self, event: &str) -> String {
        let unit = match self.unit {
            Unit::Bytes => "bytes",
            Unit::Items => "items",
        };
        let event = Event {
            schema: "lifeboat/progress/1",
            event,
            task: self.task,
            unit,
            done: self.done,
            total: self.total,
            rate: self.rate(),
            eta_s: self.eta(),
        };
        serde_json::to_string(&event).expect("an event always serializes")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(done: u64, total: Option<u64>) -> Report<'static> {
        Report { task: "Verifying", unit: Unit::Bytes, done, total, elapsed: Duration::from_secs(2) }
    }

    #[test]
    fn lines_say_how_much_how_fast_and_how_long() {
        let line = report(512 << 20, Some(1 << 30)).line();
        assert_eq!(line, "Verifying: 512.00 MiB of 1.00 GiB (50 %), 256.00 MiB/s, 2 seconds left");
        assert_eq!(report(0, Some(0)).line(), "Verifying: 0 B of 0 B, 0 B/s");
        assert_eq!(report(1024, None).line(), "Verifying: 1.00 KiB, 512 B/s");
    }

    #[test]
    fn events_are_one_json_object_a_line() {
        let text = report(100, Some(300)).event("progress");
        let event: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(event["schema"], "lifeboat/progress/1");
        assert_eq!((event["rate"].as_u64(), event["eta_s"].as_u64()), (Some(50), Some(4)));
        assert!(!text.contains('\n'));
    }
}
