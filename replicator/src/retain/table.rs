//! A pass as people and programs read it.

use super::Pass;
use crate::catalog::SnapshotRow;
use crate::primary::table::Side;
use crate::status::{plain, size};
use lifeboat_format::id::ClusterName;
use lifeboat_format::retention::Decision;
use serde::Serialize;
use std::fmt::Write as _;

pub const SCHEMA: &str = "lifeboat/retain/1";

#[derive(Debug, Serialize)]
pub struct Document {
    pub schema: &'static str,
    pub dry_run: bool,
    pub clusters: Vec<Cluster>,
}

#[derive(Debug, Serialize)]
pub struct Cluster {
    pub name: String,
    /// Why nothing is forgotten.
    pub stopped: Vec<String>,
    pub snapshots: Vec<Line>,
    pub forgotten: Vec<u64>,
    pub collected_packs: u64,
    pub collected_bytes: u64,
    /// Where a credential for it is configured.
    pub primary: Option<Side>,
}

#[derive(Debug, Serialize)]
pub struct Line {
    pub seq: u64,
    pub time: jiff::Timestamp,
    pub first_seen: jiff::Timestamp,
    pub coverage: String,
    pub result: String,
    pub keep: bool,
    pub reasons: Vec<String>,
}

impl Cluster {
    #[must_use]
    pub fn new(name: &ClusterName, pass: &Pass) -> Self {
        let line = |(row, d): &(SnapshotRow, Decision)| Line {
            seq: row.seq,
            time: row.claimed,
            first_seen: row.first_seen,
            coverage: row.coverage.clone(),
            result: row.result.clone(),
            keep: d.is_kept(),
            reasons: d.reasons.iter().map(ToString::to_string).collect(),
        };
        Self {
            name: name.to_string(),
            stopped: pass.restraints.iter().map(ToString::to_string).collect(),
            snapshots: pass.decisions.iter().map(line).collect(),
            forgotten: pass.forgotten.clone(),
            collected_packs: pass.collected_packs,
            collected_bytes: pass.collected_bytes,
            primary: None,
        }
    }

    /// Whether something waits for a person.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        let on = |p: &Side| !p.stopped.is_empty() || p.refused > 0 || !p.not_healed.is_empty();
        !self.stopped.is_empty() || self.primary.as_ref().is_some_and(on)
    }

    /// For people: a table of all snapshots (`full`), and what was done.
    #[must_use]
    pub fn text(&self, full: bool) -> String {
        let mut out = format!("{}\n", self.name);
        // Writing to a String cannot fail.
        let mut row = |seq: &str, seen: &str, coverage: &str, result: &str, what: &str| {
            let _ = writeln!(out, "  {seq:>8}  {seen:<20}  {coverage:<8}  {result:<15}  {what}");
        };
        if full {
            row("seq", "first seen", "coverage", "result", "decision");
        }
        for l in self.snapshots.iter().filter(|_| full) {
            let what = if l.keep { format!("keep: {}", l.reasons.join(", ")) } else { "forget".to_owned() };
            let seen = format!("{:.0}", l.first_seen);
            row(&l.seq.to_string(), &seen, &plain(&l.coverage), &plain(&l.result), &what);
        }
        let forget = self.snapshots.iter().filter(|l| !l.keep).count();
        let _ = writeln!(out, "  {} snapshots, {forget} that the policy does not keep", self.snapshots.len());
        for why in &self.stopped {
            let _ = writeln!(out, "  NOTHING IS FORGOTTEN: {}", plain(why));
        }
        if !self.forgotten.is_empty() || self.collected_packs > 0 {
            let (forgot, packs, bytes) =
                (self.forgotten.len(), self.collected_packs, size(self.collected_bytes));
            let _ = writeln!(out, "  forgot {forgot} snapshots, deleted {packs} packs ({bytes})");
        }
        match &self.primary {
            Some(primary) => out.push_str(&primary.text(full)),
            None => out.push_str("  the primary: nothing is forgotten there, no [source.marker] or [source.retain] is configured\n"),
        }
        out
    }
}
