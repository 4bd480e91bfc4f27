//! What a walk says of itself, as text that may be shown.

use super::result::{MissedEntry, Told, Totals};
use crate::tree::{Reason, StoredTree, TreeReport};

/// Bytes of a path that are shown.
const PATH_SHOWN: usize = 1024;

impl Told {
    #[must_use]
    pub fn of(walk: &TreeReport) -> Self {
        let missed = |m: &crate::tree::Missed| MissedEntry {
            path: shown(&m.path),
            reason: word(m.reason),
            message: m.reason.to_string(),
        };
        Self {
            missed: walk.missed.iter().map(missed).collect(),
            missed_total: walk.missed_total,
            changing: walk.changing.iter().map(|path| shown(path)).collect(),
            changing_total: walk.changing_total,
            excluded: walk.excluded,
            vanished: walk.vanished,
            mounts: walk.mounts,
        }
    }
}

impl Totals {
    #[must_use]
    pub fn of(tree: &StoredTree) -> Self {
        Self {
            entries: tree.entries,
            files: tree.files,
            bytes: tree.bytes,
            read_bytes: tree.read_bytes,
            new_bytes: tree.new_bytes,
        }
    }
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
