//! What a run report says of volumes: read, kept, missed, left out, and what was missed inside them.

use super::{Counts, Kept, MAX_MISSED_PER_KIND, Missed, Report};
use crate::cluster::text::{MAX_MESSAGE, clean};
use crate::volume::result::Told;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Volumes are counted as this kind.
pub const VOLUME: &str = "volume";
/// Entries of their trees that were missed are counted as this.
pub const ENTRY: &str = "entry";
/// Volumes named; a cluster with more has them in its body all the same.
const MAX_VOLUMES: usize = 10_000;
/// Bytes of a path that are shown.
const MAX_PATH: usize = 1536;

/// How still a volume stood while it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Consistency {
    /// While it was written.
    Live,
    /// Between its Pod's pre and post hooks.
    Hooked,
    /// Of a snapshot of its storage.
    Snapshot,
}

/// A volume that was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VolumeRecord {
    pub namespace: String,
    pub claim: String,
    pub consistency: Consistency,
    /// When its reading began.
    pub read: Timestamp,
    pub entries: u64,
    pub files: u64,
    /// Sizes of its files together.
    pub bytes: u64,
    /// Sealed bytes that were added to the store for it.
    pub stored_bytes: u64,
}

impl Report {
    fn volumes_kind(&mut self) -> &mut Counts {
        self.kinds.entry(VOLUME.to_owned()).or_default()
    }

    /// A volume that was read.
    pub fn read_volume(&mut self, record: VolumeRecord) {
        self.volumes_kind().stored += 1;
        self.total.stored += 1;
        if self.volumes.len() < MAX_VOLUMES {
            self.volumes.push(record);
        }
    }

    /// A volume whose earlier tree is named again. One too many to be named still makes the run partial if it is
    /// overdue.
    pub fn keep_volume(&mut self, kept: Kept) {
        self.volumes_kind().stored += 1;
        self.total.stored += 1;
        if self.kept.len() < MAX_VOLUMES {
            self.kept.push(kept);
        } else if let Some(last) = self.kept.last_mut() {
            last.overdue |= kept.overdue;
        }
    }

    /// A volume that is not in the snapshot and should be; without names: all of them.
    pub fn miss_volume(&mut self, namespace: &str, claim: &str, reason: &str, message: &str) {
        self.miss(Missed {
            kind: "Volume".to_owned(),
            namespace: namespace.to_owned(),
            name: claim.to_owned(),
            reason: clean(reason, 64),
            message: clean(message, MAX_MESSAGE),
            ..Missed::default()
        });
    }

    /// Volumes left out by a rule.
    pub fn exclude_volumes(&mut self, rule: &str, count: u64) {
        self.volumes_kind().excluded += count;
        self.total.excluded += count;
        *self.excluded.entry(rule.to_owned()).or_default() += count;
    }

    /// What the walk of a volume says; a worker's words, which may be any.
    pub fn walked(&mut self, namespace: &str, claim: &str, told: &Told) {
        let path = |path: &str| clean(&format!("{claim}/{path}"), MAX_PATH);
        let named = told.missed.iter().take(MAX_MISSED_PER_KIND);
        let count = named.len() as u64;
        for entry in named {
            self.miss(Missed {
                kind: ENTRY.to_owned(),
                namespace: namespace.to_owned(),
                name: path(&entry.path),
                reason: clean(&entry.reason, 64),
                message: clean(&entry.message, MAX_MESSAGE),
                ..Missed::default()
            });
        }
        let more = told.missed_total.saturating_sub(count);
        if more > 0 {
            self.missed_total = self.missed_total.saturating_add(more);
            self.total.missed = self.total.missed.saturating_add(more);
            let entries = self.kinds.entry(ENTRY.to_owned()).or_default();
            entries.missed = entries.missed.saturating_add(more);
        }
        for changing in told.changing.iter().take(MAX_MISSED_PER_KIND) {
            self.warn(&format!("{namespace}/{} kept changing while it was read", path(changing)));
        }
        let unnamed = told.changing_total.saturating_sub(told.changing.len().min(MAX_MISSED_PER_KIND) as u64);
        if unnamed > 0 {
            self.warn(&format!(
                "{namespace}/{claim}: {unnamed} more files kept changing while they were read"
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::RunResult;
    use super::*;
    use crate::volume::result::MissedEntry;

    #[test]
    fn a_worker_cannot_flood_a_report_or_a_terminal() {
        let mut report = Report::new(Timestamp::UNIX_EPOCH);
        let entry = MissedEntry {
            path: "\u{1b}[2J".repeat(1000),
            reason: "R".repeat(1000),
            message: "m".repeat(9000),
        };
        let told = Told {
            missed: vec![entry; 5000],
            missed_total: u64::MAX,
            changing: vec!["x\n".repeat(9000); 5000],
            changing_total: u64::MAX,
            ..Told::default()
        };
        report.walked("n", "c", &told);
        report.walked("n", "d", &told);
        assert!(report.missed.len() <= MAX_MISSED_PER_KIND);
        assert_eq!(report.missed_total, u64::MAX);
        assert_eq!(report.result(), RunResult::PartiallyFailed);
        let text = serde_json::to_string(&report).unwrap();
        assert!(text.len() < 1 << 20 && !text.contains("\\u001b"), "{}", text.len());
    }
}
