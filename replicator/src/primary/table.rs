//! A pass over a primary as people and programs read it.

use super::Pass;
use crate::status::{plain, size};
use lifeboat_format::retention::PrimaryReason;
use serde::Serialize;
use std::fmt::Write as _;

#[derive(Debug, Serialize)]
pub struct Side {
    pub hours: u32,
    /// Why nothing is forgotten or deleted.
    pub stopped: Vec<String>,
    /// What no credential is configured for.
    pub without: Vec<&'static str>,
    pub snapshots: Vec<Line>,
    pub forgotten: Vec<u64>,
    /// Unneeded objects that wait for a second pass or for the next commit.
    pub waiting: u64,
    pub due: u64,
    pub deleted: u64,
    pub deleted_bytes: u64,
    pub refused: u64,
    pub healed: Vec<String>,
    pub not_healed: Vec<String>,
    pub marked_lost: Vec<String>,
}

#[derive(Debug, Serialize)]
pub struct Line {
    pub seq: u64,
    pub first_seen: jiff::Timestamp,
    pub keep: bool,
    pub forgotten: bool,
    pub reason: Option<&'static str>,
}

fn words(reason: PrimaryReason) -> &'static str {
    match reason {
        PrimaryReason::Young => "young",
        PrimaryReason::NotInVault => "not whole in the vault",
        PrimaryReason::Undone => "undone by a person",
        PrimaryReason::Newest => "one of the newest three",
    }
}

impl Side {
    #[must_use]
    pub fn new(pass: &Pass) -> Self {
        let line = |(row, d, done): &(_, lifeboat_format::retention::PrimaryDecision, bool)| {
            let row: &crate::catalog::SnapshotRow = row;
            Line {
                seq: row.seq,
                first_seen: row.first_seen,
                keep: d.keep.is_some(),
                forgotten: *done,
                reason: d.keep.map(words),
            }
        };
        Self {
            hours: pass.hours,
            stopped: pass.stopped.clone(),
            without: pass.without.clone(),
            snapshots: pass.decisions.iter().map(line).collect(),
            forgotten: pass.forgotten.clone(),
            waiting: pass.waiting,
            due: pass.due,
            deleted: pass.deleted,
            deleted_bytes: pass.deleted_bytes,
            refused: pass.refused,
            healed: pass.healed.healed.clone(),
            not_healed: pass.healed.failed.iter().map(|(key, why)| format!("{key}: {why}")).collect(),
            marked_lost: pass.healed.marked.clone(),
        }
    }

    /// For people: every snapshot that is not forgotten there (`full`), and what was done.
    #[must_use]
    pub fn text(&self, full: bool) -> String {
        let mut out = format!("  in the primary, kept for {} hours\n", self.hours);
        for l in self.snapshots.iter().filter(|l| full && !l.forgotten) {
            let what = l.reason.map_or_else(|| "forget".to_owned(), |why| format!("keep: {why}"));
            let _ = writeln!(out, "  {:>8}  {:<20}  {what}", l.seq, format!("{:.0}", l.first_seen));
        }
        for without in &self.without {
            let _ = writeln!(out, "  not configured: {without}");
        }
        for why in &self.stopped {
            let _ = writeln!(out, "  NOTHING IS DELETED IN THE PRIMARY: {}", plain(why));
        }
        if !self.forgotten.is_empty() {
            let _ = writeln!(out, "  forgot {} snapshots in the primary", self.forgotten.len());
        }
        if self.deleted > 0 {
            let _ = writeln!(out, "  deleted {} objects there ({})", self.deleted, size(self.deleted_bytes));
        } else if self.due > 0 {
            let _ = writeln!(out, "  {} objects there are due to be deleted", self.due);
        }
        if self.waiting > 0 {
            let _ = writeln!(out, "  {} unneeded objects there wait for a later pass", self.waiting);
        }
        if self.refused > 0 {
            let _ = writeln!(out, "  the store refused {} deletions", self.refused);
        }
        for key in &self.healed {
            let _ = writeln!(out, "  healed in the primary: {}", plain(key));
        }
        for line in &self.not_healed {
            let _ = writeln!(out, "  NOT HEALED in the primary: {}", plain(line));
        }
        for key in &self.marked_lost {
            let _ = writeln!(out, "  marked as lost, the agent stores it again: {}", plain(key));
        }
        out
    }
}
