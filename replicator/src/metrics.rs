//! A status as Prometheus scrapes it. Pure: a status in, text out; `metrics/names.rs` has the names.
//! Source: Prometheus, "Exposition formats" (text format 0.0.4) and "Metric and label naming".

pub mod names;
#[cfg(test)]
mod tests;

use crate::alarm::AlarmKind;
use crate::status::{ClusterStatus, Status, WarningKind};
use jiff::Timestamp;
use metrics_exporter_prometheus::formatting::{sanitize_label_value, write_help_line, write_type_line};
use names::Described;
use std::fmt::Write as _;

/// One scrape; a status that could not be read says only that.
#[must_use]
pub fn render(status: Option<&Status>) -> String {
    let mut text = Text(String::new());
    text.one(&names::READABLE, Some(f64::from(u8::from(status.is_some()))));
    if let Some(status) = status {
        clusters(&mut text, &status.clusters);
        trouble(&mut text, status);
        disk(&mut text, status);
    }
    text.family(&names::BUILD_INFO, [([env!("CARGO_PKG_VERSION").to_owned()], 1.0)]);
    text.0
}

fn clusters(text: &mut Text, all: &[ClusterStatus]) {
    text.each(&names::NEWEST, all, |c| at(c.newest.as_ref().map(|n| n.time.min(n.first_seen))));
    text.each(&names::RPO, all, |c| c.rpo_hours.map(|h| f64::from(h) * 3600.0));
    text.each(&names::LAG, all, |c| Some(number(u64::try_from(c.lag_s).unwrap_or(0))));
    text.each(&names::LAST_PULL, all, |c| at(c.last_pull));
    let sides = all.iter().flat_map(|c| {
        let vault = [([c.name.clone(), "vault".to_owned()], number(c.snapshots))];
        let primary =
            c.in_primary.as_ref().map(|p| ([c.name.clone(), "primary".to_owned()], number(p.snapshots)));
        vault.into_iter().chain(primary)
    });
    text.family(&names::SNAPSHOTS, sides);
    text.each(&names::PENDING, all, |c| Some(number(c.pending)));
    text.each(&names::PACKS, all, |c| Some(number(c.packs)));
    text.each(&names::BYTES, all, |c| Some(number(c.bytes)));
    text.each(&names::PROTECTED, all, |c| at(c.protected_until));
    text.each(&names::LAST_RETENTION, all, |c| at(c.last_retention));
    text.each(&names::SCRUBBED, all, |c| at(c.scrub.as_ref().and_then(|s| s.oldest)));
    text.each(&names::OVERDUE, all, |c| c.scrub.as_ref().map(|s| number(s.overdue)));
    let damaged = all.iter().flat_map(|c| {
        [("vault", c.damaged.vault), ("primary", c.damaged.primary)]
            .map(|(side, n)| ([c.name.clone(), side.to_owned()], number(n)))
    });
    text.family(&names::DAMAGED, damaged);
    text.each(&names::TRANSFER_DONE, all, |c| c.progress.as_ref().map(|p| number(p.done)));
    text.each(&names::TRANSFER_SIZE, all, |c| c.progress.as_ref().and_then(|p| p.total).map(number));
    text.each(&names::TRANSFER_RATE, all, |c| c.progress.as_ref().map(|p| number(p.rate)));
}

fn trouble(text: &mut Text, status: &Status) {
    let alarms = status.clusters.iter().flat_map(|c| {
        AlarmKind::ALL.into_iter().map(|kind| {
            let open = c.alarms.iter().filter(|a| a.kind == kind).count() as u64;
            ([c.name.clone(), kind.name().to_owned()], number(open))
        })
    });
    text.family(&names::ALARMS, alarms);
    let own = [WarningKind::NotPulled, WarningKind::ScrubOverdue];
    let warnings = status.clusters.iter().flat_map(|c| {
        own.into_iter().map(|kind| {
            let open = c.warnings.iter().filter(|w| w.kind == kind).count() as u64;
            ([c.name.clone(), kind.name().to_owned()], number(open))
        })
    });
    let fills_up = status.warnings.iter().filter(|w| w.kind == WarningKind::DiskFillsUp).count() as u64;
    let disk = ([String::new(), WarningKind::DiskFillsUp.name().to_owned()], number(fills_up));
    text.family(&names::WARNINGS, warnings.chain([disk]));
}

fn disk(text: &mut Text, status: &Status) {
    let Some(space) = &status.space else { return };
    text.one(&names::DISK_FREE, Some(number(space.free)));
    text.one(&names::DISK_SIZE, Some(number(space.total)));
    text.one(&names::DISK_RESERVE, Some(number(space.reserve)));
    let growth = space
        .growth_per_day
        .map(|g| if g < 0 { -number(g.unsigned_abs()) } else { number(g.unsigned_abs()) });
    text.one(&names::DISK_GROWTH, growth);
    text.one(&names::DISK_LEFT, space.days_left.map(|d| number(d) * 86_400.0));
}

/// Prometheus counts in floating point.
#[expect(clippy::cast_precision_loss, reason = "beyond 2^53 nobody counts one by one")]
fn number(n: u64) -> f64 {
    n as f64
}

fn at(time: Option<Timestamp>) -> Option<f64> {
    time.map(|t| number(u64::try_from(t.as_second()).unwrap_or(0)))
}

struct Text(String);

impl Text {
    /// A family and its samples: the values of its labels, in their order, and the number. None without samples.
    fn family<const N: usize>(
        &mut self,
        of: &Described,
        samples: impl IntoIterator<Item = ([String; N], f64)>,
    ) {
        debug_assert_eq!(of.labels.len(), N, "{}", of.name);
        let mut head = true;
        for (values, number) in samples {
            if std::mem::take(&mut head) {
                write_help_line(&mut self.0, of.name, None, None, of.help);
                write_type_line(&mut self.0, of.name, None, None, "gauge");
            }
            let labels: Vec<String> = of
                .labels
                .iter()
                .zip(&values)
                .map(|(label, value)| format!("{label}=\"{}\"", sanitize_label_value(value)))
                .collect();
            let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
            // Writing to a String cannot fail.
            let _ = writeln!(self.0, "{}{labels} {number}", of.name);
        }
    }

    fn one(&mut self, of: &Described, number: Option<f64>) {
        self.family(of, number.map(|n| ([], n)));
    }

    /// One sample for each cluster that has a value.
    fn each(
        &mut self,
        of: &Described,
        clusters: &[ClusterStatus],
        value: impl Fn(&ClusterStatus) -> Option<f64>,
    ) {
        self.family(of, clusters.iter().filter_map(|c| value(c).map(|v| ([c.name.clone()], v))));
    }
}
