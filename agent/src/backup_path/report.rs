//! What a walk says of itself, in the words of the run report that every snapshot has.

use crate::select::{Counts, Missed, Report};
use crate::volume::result::Told;
use jiff::Timestamp;

/// The report's name for what a tree holds.
const ENTRY: &str = "entry";

/// The report of a walk that began at `started`.
pub(super) fn of(walk: &Told, entries: u64, volume: &str, started: Timestamp) -> Report {
    let mut report = Report::new(started);
    let counts = Counts {
        stored: entries,
        excluded: walk.excluded,
        derived: 0,
        skipped: walk.vanished + walk.mounts,
        missed: walk.missed_total,
    };
    report.total = counts;
    report.kinds.insert(ENTRY.to_owned(), counts);
    let rules =
        [(&mut report.excluded, "excluded", walk.excluded), (&mut report.skipped, "vanished", walk.vanished)];
    for (map, rule, count) in rules {
        if count > 0 {
            map.insert(rule.to_owned(), count);
        }
    }
    if walk.mounts > 0 {
        report.skipped.insert("otherFileSystem".to_owned(), walk.mounts);
    }
    for missed in &walk.missed {
        report.missed.push(Missed {
            kind: ENTRY.to_owned(),
            namespace: volume.to_owned(),
            name: missed.path.clone(),
            reason: missed.reason.clone(),
            message: missed.message.clone(),
            ..Missed::default()
        });
    }
    report.missed_total = walk.missed_total;
    for path in &walk.changing {
        report.warn(&format!("{path} kept changing while it was read"));
    }
    let unnamed = walk.changing_total.saturating_sub(walk.changing.len() as u64);
    if unnamed > 0 {
        report.warn(&format!("{unnamed} more files kept changing while they were read"));
    }
    report
}
