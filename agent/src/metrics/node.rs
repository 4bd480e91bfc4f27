//! What the daemon of a node tells Prometheus. Owns the values; `names.rs` has the names. No names of namespaces or
//! claims: a node's scrape is readable by whoever reaches it.

use super::text::Text;
use super::{names, number, seconds};
use crate::cluster::{RequestObserver, Verb};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How a volume ended on this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum VolumeResult {
    Completed,
    Failed,
    Canceled,
    /// The daemon ended before the volume was done.
    Interrupted,
}

impl VolumeResult {
    const ALL: [Self; 4] = [Self::Completed, Self::Failed, Self::Canceled, Self::Interrupted];

    fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "Completed",
            Self::Failed => "Failed",
            Self::Canceled => "Canceled",
            Self::Interrupted => "Interrupted",
        }
    }
}

/// A volume that ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VolumeEnd {
    pub result: VolumeResult,
    pub read_bytes: u64,
    pub sent_bytes: u64,
}

/// The values. Cheap to clone; every clone is the same.
#[derive(Debug, Clone, Default)]
pub struct NodeMetrics(Arc<Mutex<Values>>);

#[derive(Debug, Default)]
struct Values {
    running: u64,
    volumes: BTreeMap<VolumeResult, u64>,
    read_bytes: u64,
    sent_bytes: u64,
    last_success: Option<Timestamp>,
    requests: BTreeMap<(Verb, Option<u16>), u64>,
    store_errors: u64,
}

impl NodeMetrics {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many volumes are being read now.
    pub fn running(&self, number: u64) {
        self.lock().running = number;
    }

    pub fn ended(&self, end: &VolumeEnd, now: Timestamp) {
        let mut values = self.lock();
        *values.volumes.entry(end.result).or_default() += 1;
        values.read_bytes = values.read_bytes.saturating_add(end.read_bytes);
        values.sent_bytes = values.sent_bytes.saturating_add(end.sent_bytes);
        if end.result == VolumeResult::Completed {
            values.last_success = Some(now);
        }
    }

    /// An operation on the store failed for good.
    pub fn store_error(&self) {
        self.lock().store_errors += 1;
    }

    /// One scrape, in Prometheus' text format.
    #[must_use]
    pub fn render(&self) -> String {
        let values = self.lock();
        let mut text = Text::default();
        text.one(&names::NODE_RUNNING, number(values.running));
        // From the start with zero, so that the first failure is an increase.
        let volumes = VolumeResult::ALL.map(|result| {
            let n = values.volumes.get(&result).copied().unwrap_or_default();
            ([result.as_str().to_owned()], number(n))
        });
        text.family(&names::NODE_VOLUMES, volumes);
        text.one(&names::NODE_READ_BYTES, number(values.read_bytes));
        text.one(&names::NODE_SENT_BYTES, number(values.sent_bytes));
        text.family(&names::NODE_LAST_SUCCESS, values.last_success.map(|t| ([], seconds(t))));
        super::requests(&values.requests, &mut text);
        text.one(&names::STORE_ERRORS, number(values.store_errors));
        text.family(&names::BUILD_INFO, [([env!("CARGO_PKG_VERSION").to_owned()], 1.0)]);
        text.finish()
    }

    fn lock(&self) -> MutexGuard<'_, Values> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RequestObserver for NodeMetrics {
    fn answered(&self, verb: Verb, code: u16) {
        *self.lock().requests.entry((verb, Some(code))).or_default() += 1;
    }

    fn unanswered(&self, verb: Verb) {
        *self.lock().requests.entry((verb, None)).or_default() += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::names::{Described, NODE};
    use std::collections::BTreeSet;

    #[test]
    fn every_metric_of_a_node_is_exported_with_its_labels() {
        let metrics = NodeMetrics::new();
        assert!(metrics.render().contains("lifeboat_node_volumes_total{result=\"Failed\"} 0\n"));
        let end = VolumeEnd { result: VolumeResult::Completed, read_bytes: 70, sent_bytes: 7 };
        metrics.ended(&end, Timestamp::UNIX_EPOCH);
        metrics
            .ended(&VolumeEnd { result: VolumeResult::Failed, read_bytes: 0, sent_bytes: 1 }, Timestamp::MAX);
        metrics.answered(Verb::Patch, 200);
        let text = metrics.render();
        let exported: BTreeSet<_> =
            text.lines().filter_map(|l| l.strip_prefix("# TYPE ")?.split(' ').next()).collect();
        assert_eq!(exported, NODE.iter().map(|d| d.name).collect());
        for Described { name, labels, .. } in NODE {
            let sample = text
                .lines()
                .find(|l| l.starts_with(&format!("{name}{{")) || l.starts_with(&format!("{name} ")));
            assert!(labels.iter().all(|l| sample.unwrap().contains(&format!("{l}=\""))), "{name}");
        }
        for line in ["lifeboat_node_sent_bytes_total 8", "lifeboat_node_last_success_timestamp_seconds 0"] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
    }
}
