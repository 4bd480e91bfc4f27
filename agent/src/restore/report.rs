//! What a restore did: for a person, for a program, and for the exit code. Pure.

use super::plan::Named;
use super::source::ObjectKey;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

/// Entries of one list; beyond it they are counted.
const MAX_LISTED: usize = 10_000;
/// Lines shown of one list.
const SHOWN: usize = 20;

/// The outcome of a restore.
#[derive(Debug, Clone, Serialize)]
pub struct RestoreReport {
    pub schema: &'static str,
    pub snapshot: String,
    pub server: String,
    /// Names the field manager `lifeboat-restore-ID`.
    pub id: String,
    /// Whether an earlier, interrupted run had begun it.
    pub resumed: bool,
    pub created: usize,
    /// By kind, what was created.
    pub created_kinds: BTreeMap<String, usize>,
    /// Existed already, and says the same.
    pub left_same: usize,
    /// Existed already, and says something else.
    pub left_different: List,
    pub failed: List,
    /// Left out, or created without a part of it.
    pub dropped: List,
    pub notes: List,
    /// By reason, what was left out without loss.
    pub skipped: BTreeMap<String, usize>,
    /// Owner references put back.
    pub owners_added: usize,
    pub seconds: f64,
}

/// A list that stays bounded.
#[derive(Debug, Clone, Default, Serialize)]
pub struct List {
    pub count: usize,
    pub items: Vec<Named>,
}

impl List {
    pub(super) fn push(&mut self, object: &ObjectKey, text: impl Into<String>) {
        self.push_named(Named::new(object, text));
    }

    pub(super) fn push_named(&mut self, named: Named) {
        self.count += 1;
        if self.items.len() < MAX_LISTED {
            self.items.push(named);
        }
    }
}

impl RestoreReport {
    pub(super) fn new(snapshot: &str, server: &str, id: &str, resumed: bool) -> Self {
        Self {
            schema: "lifeboat/restore-report/1",
            snapshot: snapshot.to_owned(),
            server: server.to_owned(),
            id: id.to_owned(),
            resumed,
            created: 0,
            created_kinds: BTreeMap::new(),
            left_same: 0,
            left_different: List::default(),
            failed: List::default(),
            dropped: List::default(),
            notes: List::default(),
            skipped: BTreeMap::new(),
            owners_added: 0,
            seconds: 0.0,
        }
    }

    /// 0: all created or left alone as they should be. 3: something differs or was left out. 1: an
    /// object failed.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        if self.failed.count > 0 {
            1
        } else if self.left_different.count > 0 || self.dropped.count > 0 {
            3
        } else {
            0
        }
    }
}

impl fmt::Display for RestoreReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = if self.resumed { " (continued)" } else { "" };
        writeln!(f, "Restore of snapshot {} into {}{how}", self.snapshot, self.server)?;
        writeln!(
            f,
            "{} created, {} left alone (same), {} left alone (different), {} failed, {} left out, in {:.1} s",
            self.created,
            self.left_same,
            self.left_different.count,
            self.failed.count,
            self.dropped.count,
            self.seconds
        )?;
        section(f, "Failed:", &self.failed)?;
        section(f, "Left alone, different:", &self.left_different)?;
        section(f, "Left out:", &self.dropped)?;
        section(f, "Notes:", &self.notes)
    }
}

fn section(f: &mut fmt::Formatter<'_>, title: &str, list: &List) -> fmt::Result {
    if list.count == 0 {
        return Ok(());
    }
    writeln!(f, "{title}")?;
    for named in list.items.iter().take(SHOWN) {
        writeln!(f, "  {}: {}", named.object, named.text)?;
    }
    match list.count.saturating_sub(SHOWN) {
        0 => Ok(()),
        hidden => writeln!(f, "  … and {hidden} more (--json lists them)"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::source::GroupKind;
    use super::*;

    #[test]
    fn the_exit_code_is_the_worst_thing_that_happened() {
        let key = ObjectKey { namespace: None, kind: GroupKind::new("", "Namespace"), name: "a".into() };
        let mut report = RestoreReport::new("7", "https://c", "id", false);
        report.left_same = 3;
        report.notes.push(&key, "so");
        assert_eq!(report.exit_code(), 0);
        report.dropped.push(&key, "why");
        assert_eq!(report.exit_code(), 3);
        report.failed.push(&key, "no");
        assert_eq!(report.exit_code(), 1);
        let text = report.to_string();
        assert!(text.contains("Failed:\n  Namespace a: no"), "{text}");
    }

    #[test]
    fn lists_stay_bounded_and_count_on() {
        let key = ObjectKey { namespace: None, kind: GroupKind::new("", "Namespace"), name: "a".into() };
        let mut list = List::default();
        for _ in 0..MAX_LISTED + 5 {
            list.push(&key, "x");
        }
        assert_eq!((list.count, list.items.len()), (MAX_LISTED + 5, MAX_LISTED));
    }
}
