//! The status as people read it on a terminal.

use super::{ClusterStatus, DamagedCounts, Status, Warning, duration, plain, size};
use crate::scrub::Standing;
use std::fmt::Write as _;

impl Status {
    /// For people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = String::new();
        for cluster in &self.clusters {
            cluster.write(&mut out);
        }
        if self.clusters.is_empty() {
            out.push_str("No cluster was pulled yet\n");
        }
        if let Some(space) = &self.space {
            // Writing to a String cannot fail.
            let _ = writeln!(out, "vault's disk");
            let _ = writeln!(out, "  space            {} free of {}", size(space.free), size(space.total));
            let _ = writeln!(out, "  forecast         {}", space.forecast());
        }
        for warning in &self.warnings {
            warning.write(&mut out);
        }
        out
    }
}

impl Warning {
    fn write(&self, out: &mut String) {
        let _ = writeln!(out, "  WARNING {}: {}", self.kind.name(), plain(&self.why));
        let _ = writeln!(out, "    next: {}", plain(&self.next));
    }
}

impl ClusterStatus {
    fn write(&self, out: &mut String) {
        let _ = writeln!(out, "{}", self.name);
        let rpo = self.rpo_hours.map(|h| format!("; RPO {h} h")).unwrap_or_default();
        let _ = match (&self.newest, self.age_s) {
            (Some(newest), Some(age)) => writeln!(
                out,
                "  newest snapshot  {} ({}, {}), {} ago{rpo}",
                newest.seq,
                newest.coverage,
                newest.result,
                duration(age)
            ),
            _ => writeln!(out, "  newest snapshot  none{rpo}"),
        };
        let reach = self.oldest.map(|t| format!(", back to {}", t.strftime("%F"))).unwrap_or_default();
        let _ = writeln!(
            out,
            "  in the vault     {} snapshots{reach}, {} packs, {} (verified on arrival; no restore was proven)",
            self.snapshots,
            self.packs,
            size(self.bytes)
        );
        if let Some(other) = &self.in_primary {
            let reach = other.oldest.map(|t| format!(", back to {}", t.strftime("%F"))).unwrap_or_default();
            let _ = writeln!(out, "  in the primary   {} snapshots{reach}", other.snapshots);
        }
        if let Some(until) = self.protected_until {
            let _ =
                writeln!(out, "  kept             the newest until {} at least", until.strftime("%F %H:%MZ"));
        }
        self.write_work(out);
        for warning in &self.warnings {
            warning.write(out);
        }
        for alarm in &self.alarms {
            let (kind, since, what) = (alarm.kind.name(), alarm.since, plain(&alarm.what));
            let _ = writeln!(out, "  ALARM {kind} since {since:.0}: {what}");
            let _ = writeln!(out, "    {}", plain(&alarm.why));
            let _ = writeln!(out, "    next: {}", plain(&alarm.next));
        }
    }

    fn write_work(&self, out: &mut String) {
        if self.pending > 0 {
            let _ = writeln!(out, "  incomplete       {}, for {}", self.pending, duration(self.lag_s));
        }
        if let Some(progress) = &self.progress {
            let _ = writeln!(out, "  under way        {}", progress.text());
        }
        let last = self.last_pull.map_or("never".to_owned(), |t| format!("{t:.0}"));
        let _ = writeln!(out, "  last whole pull  {last}");
        if let Some(Standing { oldest: Some(oldest), overdue, .. }) = &self.scrub {
            let late = if *overdue > 0 { format!("; {overdue} files are overdue") } else { String::new() };
            let _ = writeln!(out, "  scrubbed         all of it since {oldest:.0}{late}");
        }
        if self.damaged.vault + self.damaged.primary > 0 {
            let DamagedCounts { vault, primary } = self.damaged;
            let _ = writeln!(out, "  damaged          {vault} in the vault, {primary} in the primary");
        }
    }
}

impl crate::catalog::Transfer {
    /// One line: what, how far, how fast, how long still.
    #[must_use]
    pub fn text(&self) -> String {
        let of = self.total.map(|t| format!(" of {}", size(t))).unwrap_or_default();
        let left = self.eta_s.and_then(|s| i64::try_from(s).ok());
        let left = left.map(|s| format!(", {} left", duration(s))).unwrap_or_default();
        format!("{}: {}{of}, {}/s{left}", plain(&self.task), size(self.done), size(self.rate))
    }
}
