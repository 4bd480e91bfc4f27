//! Workloads that will not come up by themselves the way somebody may expect: said, not changed.
//! Pure.

use super::super::json::Node;
use super::{Notes, Verdict};

pub(super) fn stateful_set(doc: &mut Node<'_>, notes: &mut Notes) -> Verdict {
    let strategy = doc.text(&["spec", "updateStrategy", "type"]);
    let partition = doc.read_at::<u64>(&["spec", "updateStrategy", "rollingUpdate", "partition"]);
    if strategy.as_deref() == Some("OnDelete") {
        notes.push("updates on delete: pods that ran an older template start with the stored one".to_owned());
    } else if let Some(partition) = partition.filter(|p| *p > 0) {
        notes.push(format!(
            "updates from ordinal {partition} on: pods below it start with the stored template too"
        ));
    }
    Verdict::Keep
}

pub(super) fn deployment(doc: &mut Node<'_>, notes: &mut Notes) -> Verdict {
    if doc.read_at::<bool>(&["spec", "paused"]) == Some(true) {
        notes.push("is paused: it keeps its current replica set until resumed".to_owned());
    }
    Verdict::Keep
}
