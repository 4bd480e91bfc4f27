//! What a restore did, what it could not do, and why: counts, and the first of each kind of trouble by name. Bounded,
//! whatever a tree holds.

use lifeboat_common::progress::Progress;
use lifeboat_common::reader::shown;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Paths and failures that are kept by name; the rest is counted.
const NAMED_MAX: usize = 1000;
/// Kinds of attributes that could not be set, told apart.
const NOT_SET_MAX: usize = 64;

/// The result of a restore.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Made, or found as an earlier run left them.
    pub directories: u64,
    pub files: u64,
    /// Content written, bytes.
    pub bytes: u64,
    /// Further names of files with several.
    pub hard_links: u64,
    pub symlinks: u64,
    /// FIFOs, sockets, and devices where they were asked for.
    pub special: u64,
    /// Already there as an earlier run finished them.
    pub already_complete: u64,
    /// There, other than in the snapshot, and left as they are.
    pub left_alone: Named,
    /// Not restored, each with the reason.
    pub failed: Named,
    /// Below a directory that could not be made.
    pub below_failed: u64,
    /// Device nodes, which nobody asked for.
    pub devices_left_out: u64,
    /// Attributes that the system did not let us set, and on how many entries.
    pub not_set: BTreeMap<String, u64>,
    /// Names that became files of their own, where a hard link could not be made.
    pub links_as_copies: u64,
}

/// How many, and the first of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    pub total: u64,
    pub first: Vec<String>,
}

impl Named {
    fn add(&mut self, line: impl FnOnce() -> String) {
        self.total += 1;
        if self.first.len() < NAMED_MAX {
            self.first.push(line());
        }
    }

    fn merge(&mut self, other: Self) {
        self.total += other.total;
        let room = NAMED_MAX - self.first.len().min(NAMED_MAX);
        self.first.extend(other.first.into_iter().take(room));
    }
}

impl Report {
    /// Whether everything is there, as it was.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.failed.total == 0
            && self.left_alone.total == 0
            && self.below_failed == 0
            && self.devices_left_out == 0
            && self.not_set.is_empty()
            && self.links_as_copies == 0
    }

    /// Adds another restore's counts.
    pub fn merge(&mut self, other: Self) {
        self.directories += other.directories;
        self.files += other.files;
        self.bytes += other.bytes;
        self.hard_links += other.hard_links;
        self.symlinks += other.symlinks;
        self.special += other.special;
        self.already_complete += other.already_complete;
        self.left_alone.merge(other.left_alone);
        self.failed.merge(other.failed);
        self.below_failed += other.below_failed;
        self.devices_left_out += other.devices_left_out;
        for (what, count) in other.not_set {
            *self.not_set.entry(what).or_default() += count;
        }
        self.links_as_copies += other.links_as_copies;
    }
}

/// A report in the making, shared by threads.
#[derive(Debug)]
pub(super) struct Tally {
    report: Mutex<Report>,
    progress: Progress,
}

impl Tally {
    pub(super) fn new(progress: Progress) -> Self {
        Self { report: Mutex::default(), progress }
    }

    pub(super) fn change(&self) -> MutexGuard<'_, Report> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// So much content is in place.
    pub(super) fn content(&self, bytes: u64) {
        self.progress.add(bytes);
    }

    pub(super) fn failed(&self, path: &[u8], why: impl std::fmt::Display) {
        self.change().failed.add(|| format!("{}: {why}", shown(path)));
    }

    /// A failure that says itself what it concerns.
    pub(super) fn trouble(&self, why: &dyn std::fmt::Display) {
        self.change().failed.add(|| why.to_string());
    }

    pub(super) fn left_alone(&self, path: &[u8]) {
        self.change().left_alone.add(|| shown(path));
    }

    pub(super) fn not_set(&self, what: String) {
        let mut report = self.change();
        let room = report.not_set.len() < NOT_SET_MAX || report.not_set.contains_key(&what);
        *report.not_set.entry(if room { what } else { "others".to_owned() }).or_default() += 1;
    }

    pub(super) fn take(&self) -> Report {
        std::mem::take(&mut self.change())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_named_is_bounded() {
        let tally = Tally::new(Progress::quiet());
        for n in 0..NAMED_MAX + 5 {
            tally.failed(b"a", n);
            tally.not_set(format!("user.{n}"));
        }
        let report = tally.take();
        assert_eq!((report.failed.total, report.failed.first.len()), (1005, 1000));
        assert_eq!(report.not_set.len(), NOT_SET_MAX + 1);
        let mut sum = report.clone();
        sum.merge(report);
        assert_eq!((sum.failed.total, sum.failed.first.len()), (2010, 1000));
        assert!(!sum.is_complete());
    }
}
