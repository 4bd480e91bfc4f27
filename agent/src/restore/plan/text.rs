//! A plan as a person reads it. Pure.

use super::{PlanSummary, RestorePlan};
use std::fmt;

/// Lines of one list before the rest is only counted.
const SHOWN: usize = 20;

impl fmt::Display for RestorePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.summary.fmt(f)
    }
}

impl fmt::Display for PlanSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Restore of snapshot {} into {}", self.snapshot, self.server)?;
        writeln!(f, "{} objects are created; nothing that exists is changed.", self.objects)?;
        for (number, step) in self.steps.iter().enumerate() {
            let kinds: Vec<String> =
                step.kinds.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
            writeln!(f, "  {:>2}. {}: {}", number + 1, step.title, kinds.join(", "))?;
        }
        if !self.namespaces.is_empty() {
            writeln!(f, "Namespaces:")?;
            for n in self.namespaces.iter().take(SHOWN) {
                let renamed =
                    if n.namespace == n.target { String::new() } else { format!(" (from {})", n.namespace) };
                let state = if n.exists { "exists" } else { "is created" };
                writeln!(f, "  {}{renamed}: {} objects, {state}", n.target, n.objects)?;
            }
            more(f, self.namespaces.len())?;
        }
        if !self.findings.is_empty() {
            writeln!(f, "To know before going on:")?;
            for finding in self.findings.iter().take(SHOWN) {
                writeln!(f, "  {}: {}", finding.target, finding.message)?;
            }
            more(f, self.findings.len())?;
        }
        section(f, "Left out, and not made again by the cluster:", &self.dropped, 0)?;
        if !self.skipped.is_empty() {
            writeln!(f, "Left out without loss:")?;
            for (reason, count) in &self.skipped {
                writeln!(f, "  {count} {reason}")?;
            }
        }
        section(f, "Notes:", &self.notes, self.more_notes)?;
        if let Some(checks) = &self.checks {
            writeln!(
                f,
                "Checked by the API server: {}; names taken, will be left alone: {}; checked by rules alone, because their namespace or kind does not exist yet: {}",
                checks.by_server, checks.existing, checks.by_rules
            )?;
        }
        Ok(())
    }
}

fn section(f: &mut fmt::Formatter<'_>, title: &str, list: &[super::Named], uncounted: usize) -> fmt::Result {
    if list.is_empty() {
        return Ok(());
    }
    writeln!(f, "{title}")?;
    for named in list.iter().take(SHOWN) {
        writeln!(f, "  {}: {}", named.object, named.text)?;
    }
    more(f, list.len() + uncounted)
}

fn more(f: &mut fmt::Formatter<'_>, all: usize) -> fmt::Result {
    match all.saturating_sub(SHOWN) {
        0 => Ok(()),
        hidden => writeln!(f, "  … and {hidden} more (--json lists them)"),
    }
}
