//! What a walk says of itself, in the words of the run report that every snapshot has.

use super::Totals;
use crate::select::{Counts, Missed, Report};
use crate::tree::{Reason, StoredTree};
use jiff::Timestamp;

/// The report's name for what a tree holds.
const ENTRY: &str = "entry";
/// Bytes of a path that are shown.
const PATH_SHOWN: usize = 1024;

/// The report of a walk that began at `started`.
pub(super) fn of(tree: &StoredTree, volume: &str, started: Timestamp) -> Report {
    let walk = &tree.report;
    let mut report = Report::new(started);
    let counts = Counts {
        stored: tree.entries,
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
            name: shown(&missed.path),
            reason: word(missed.reason),
            message: missed.reason.to_string(),
            ..Missed::default()
        });
    }
    report.missed_total = walk.missed_total;
    for path in &walk.changing {
        report.warn(&format!("{} kept changing while it was read", shown(path)));
    }
    let unnamed = walk.changing_total.saturating_sub(walk.changing.len() as u64);
    if unnamed > 0 {
        report.warn(&format!("{unnamed} more files kept changing while they were read"));
    }
    report
}

/// A CamelCase word: the reason's own name.
fn word(reason: Reason) -> String {
    let debug = format!("{reason:?}");
    debug.split('(').next().unwrap_or_default().to_owned()
}

/// What a path looks like in a report: bytes that are no text and what a terminal would obey are escaped, and of a long
/// one the beginning and the end are shown, so that the report stays within its snapshot's body.
fn shown(path: &[u8]) -> String {
    match path {
        [] => ".".to_owned(),
        path if path.len() <= PATH_SHOWN => escaped(path),
        path => {
            let half = PATH_SHOWN / 2;
            format!("{}…{}", escaped(&path[..half]), escaped(&path[path.len() - half..]))
        }
    }
}

fn escaped(path: &[u8]) -> String {
    let mut out = String::with_capacity(path.len());
    for chunk in path.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_control() { out.extend(c.escape_default()) } else { out.push(c) }
        }
        for byte in chunk.invalid() {
            out.push_str(&format!("\\x{byte:02x}"));
        }
    }
    out
}

pub(super) fn totals(tree: &StoredTree) -> Totals {
    Totals {
        entries: tree.entries,
        files: tree.files,
        bytes: tree.bytes,
        read_bytes: tree.read_bytes,
        new_bytes: tree.new_bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_shown_safely() {
        assert_eq!(shown(b""), ".");
        assert_eq!(shown("a/b é".as_bytes()), "a/b é");
        assert_eq!(shown(b"a\x1b[2Jb\n\xff"), "a\\u{1b}[2Jb\\n\\xff");
        assert!(shown(&[b'a'; 5000]).len() < 1100);
    }
}
