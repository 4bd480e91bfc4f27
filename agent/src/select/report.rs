//! The run report: what a run stored, left out and missed, and whether it is complete. Pure. Its names are
//! user data, so it is stored sealed.

mod volumes;

pub use volumes::{Consistency, ENTRY, VOLUME, VolumeRecord};

use super::classify::{Class, Excluded, Skipped, home, opt_out_label};
use crate::cluster::text::{MAX_MESSAGE, clean};
use crate::cluster::{BrokenGroup, ClusterError, Item, ListSummary, Rejected, Resource};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

pub const SCHEMA: &str = "lifeboat/run-report/1";
/// Missed things named in all; the rest are counted.
const MAX_MISSED: usize = 1000;
/// Missed things named of one kind, so that one flood does not hide the others.
const MAX_MISSED_PER_KIND: usize = 100;
const MAX_WARNINGS: usize = 200;
/// Namespaces counted one by one; a cluster is supported up to about 10,000.
const MAX_NAMESPACES: usize = 10_000;
/// Objects named that carry an opt-out label themselves.
const MAX_OPTED_OUT: usize = 200;

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RunResult {
    Completed,
    /// Something that should have been stored was not.
    PartiallyFailed,
    /// There is no snapshot.
    Failed,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    pub schema: String,
    pub result: RunResult,
    pub server_version: String,
    pub started: Timestamp,
    pub finished: Option<Timestamp>,
    /// Over all kinds.
    pub total: Counts,
    /// By kind, as in the snapshot's paths: `deployment.apps`.
    pub kinds: BTreeMap<String, Counts>,
    /// By rule: `optedOut`, `systemNamespace`, …
    pub excluded: BTreeMap<String, u64>,
    pub derived: BTreeMap<String, u64>,
    pub skipped: BTreeMap<String, u64>,
    /// Kinds that were not listed, with the rule.
    pub unlisted: BTreeMap<String, String>,
    pub lists: BTreeMap<String, ListRecord>,
    /// By namespace; at most 10,000.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub namespaces: BTreeMap<String, NamespaceCounts>,
    /// Objects that are left out by a label of their own; at most 200, `excluded` counts all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub opted_out: Vec<OptedOut>,
    /// Volumes that were read; at most 10,000.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<VolumeRecord>,
    /// Volumes whose earlier tree is referenced again.
    pub kept: Vec<Kept>,
    /// At most a thousand, a hundred of a kind; `missed_total` counts all.
    pub missed: Vec<Missed>,
    pub missed_total: u64,
    pub warnings: Vec<String>,
    /// Why there is no snapshot.
    pub failure: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    pub stored: u64,
    pub excluded: u64,
    pub derived: u64,
    pub skipped: u64,
    pub missed: u64,
}

/// What became of a namespace's objects, itself included.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamespaceCounts {
    pub stored: u64,
    /// What is not stored, by rule; what every cluster has of its own is not counted.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub excluded: BTreeMap<String, u64>,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub derived: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// An object that carries an opt-out label.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct OptedOut {
    /// As in the snapshot's paths: `deployment.apps`.
    pub kind: String,
    /// Empty if it has none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    pub name: String,
    pub label: String,
}

/// How many namespaces are in which state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NamespaceStates {
    /// Something of it is stored.
    pub protected: u64,
    /// Nothing of it is stored, and a rule or a label says so.
    pub excluded: u64,
    /// Nothing of it is stored, and nothing says why.
    pub never: u64,
}

/// Something that should have been stored and was not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missed {
    pub group: String,
    /// Empty if a whole group is meant.
    pub kind: String,
    /// Empty if all of them are meant, or it has none.
    pub namespace: String,
    /// Empty if all of them are meant.
    pub name: String,
    /// CamelCase, stable.
    pub reason: String,
    pub message: String,
}

/// How one kind was listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListRecord {
    /// `deployments.apps`.
    pub resource: String,
    pub version: String,
    pub resource_version: String,
    pub time: Timestamp,
    pub objects: u64,
    /// The list expired on the way: its pages do not show one moment.
    pub inconsistent: bool,
}

/// A volume that nothing mounts now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    pub namespace: String,
    pub claim: String,
    pub since: Timestamp,
    /// Older than the set age: the run is partially failed.
    pub overdue: bool,
}

impl Report {
    #[must_use]
    pub fn new(started: Timestamp) -> Self {
        Self {
            schema: SCHEMA.to_owned(),
            result: RunResult::Completed,
            server_version: String::new(),
            started,
            finished: None,
            total: Counts::default(),
            kinds: BTreeMap::new(),
            excluded: BTreeMap::new(),
            derived: BTreeMap::new(),
            skipped: BTreeMap::new(),
            unlisted: BTreeMap::new(),
            lists: BTreeMap::new(),
            namespaces: BTreeMap::new(),
            opted_out: Vec::new(),
            volumes: Vec::new(),
            kept: Vec::new(),
            missed: Vec::new(),
            missed_total: 0,
            warnings: Vec::new(),
            failure: None,
        }
    }

    /// Counts one object of a class.
    pub fn count(&mut self, resource: &Resource, class: Class) {
        let kind = self.kinds.entry(resource.kind_key()).or_default();
        let (counter, total) = match class {
            Class::Stored => (&mut kind.stored, &mut self.total.stored),
            Class::Excluded(_) => (&mut kind.excluded, &mut self.total.excluded),
            Class::Derived(_) => (&mut kind.derived, &mut self.total.derived),
            Class::Skipped(_) => (&mut kind.skipped, &mut self.total.skipped),
        };
        *counter += 1;
        *total += 1;
        let rules = match class {
            Class::Stored => return,
            Class::Excluded(_) => &mut self.excluded,
            Class::Derived(_) => &mut self.derived,
            Class::Skipped(_) => &mut self.skipped,
        };
        if let Some(count) = rules.get_mut(class.rule()) {
            *count += 1;
        } else {
            rules.insert(class.rule().to_owned(), 1);
        }
    }

    /// Counts an object where it is, beside [`Self::count`].
    pub fn locate(&mut self, resource: &Resource, item: &Item, class: Class) {
        let meta = &item.meta;
        if class == Class::Excluded(Excluded::OptedOut) && self.opted_out.len() < MAX_OPTED_OUT {
            self.opted_out.push(OptedOut {
                kind: resource.kind_key(),
                namespace: meta.namespace.clone().unwrap_or_default(),
                name: meta.name.clone(),
                label: opt_out_label(&meta.labels).unwrap_or_default().to_owned(),
            });
        }
        let Some(home) = home(resource, item) else { return };
        if !self.namespaces.contains_key(home) {
            if self.namespaces.len() >= MAX_NAMESPACES {
                return;
            }
            self.namespaces.insert(home.to_owned(), NamespaceCounts::default());
        }
        let Some(counts) = self.namespaces.get_mut(home) else { return };
        let rule = match class {
            Class::Stored => return counts.stored += 1,
            // A Namespace on its way out is no gap.
            Class::Derived(_) => return counts.derived += 1,
            Class::Skipped(Skipped::AgentNamespace) => class.rule(),
            Class::Skipped(_) => return,
            Class::Excluded(_) => class.rule(),
        };
        if let Some(count) = counts.excluded.get_mut(rule) {
            *count += 1;
        } else {
            counts.excluded.insert(rule.to_owned(), 1);
        }
    }

    /// How many namespaces are protected, excluded or neither; those that only hold what the cluster makes again,
    /// such as terminating ones, are none of them.
    #[must_use]
    pub fn namespace_states(&self) -> NamespaceStates {
        let mut states = NamespaceStates::default();
        for counts in self.namespaces.values() {
            if counts.stored > 0 {
                states.protected += 1;
            } else if !counts.excluded.is_empty() {
                states.excluded += 1;
            } else if counts.derived == 0 {
                states.never += 1;
            }
        }
        states
    }

    /// A kind that need not be listed.
    pub fn unlisted(&mut self, resource: &Resource, class: Class) {
        self.unlisted.insert(resource.kind_key(), class.rule().to_owned());
    }

    /// A list that was read to its end.
    pub fn listed(&mut self, resource: &Resource, summary: &ListSummary) {
        let record = ListRecord {
            resource: resource.key(),
            version: resource.version.clone(),
            resource_version: summary.resource_version.clone(),
            time: summary.started,
            objects: summary.objects,
            inconsistent: summary.inconsistent,
        };
        self.lists.insert(resource.kind_key(), record);
    }

    pub fn miss(&mut self, missed: Missed) {
        self.missed_total = self.missed_total.saturating_add(1);
        self.total.missed = self.total.missed.saturating_add(1);
        let kind = if missed.group.is_empty() || missed.kind.is_empty() {
            format!("{}{}", missed.kind.to_lowercase(), missed.group)
        } else {
            format!("{}.{}", missed.kind.to_lowercase(), missed.group)
        };
        let counts = self.kinds.entry(kind).or_default();
        counts.missed = counts.missed.saturating_add(1);
        if self.missed.len() < MAX_MISSED && counts.missed <= MAX_MISSED_PER_KIND as u64 {
            self.missed.push(missed);
        }
    }

    /// A list that could not be completed: everything of that kind may lack.
    pub fn miss_list(&mut self, resource: &Resource, error: &ClusterError) {
        // Discovered a moment ago and gone now: the kind was removed, or its server answers for nothing.
        let reason = if error.code() == Some(404) { "KindVanished" } else { error.reason() };
        self.miss(Missed {
            group: resource.group.clone(),
            kind: resource.kind.clone(),
            reason: reason.to_owned(),
            message: clean(&error.message(), MAX_MESSAGE),
            ..Missed::default()
        });
    }

    /// An object that the server sent and that cannot be used.
    pub fn miss_rejected(&mut self, resource: &Resource, rejected: &Rejected) {
        self.miss(Missed {
            group: resource.group.clone(),
            kind: resource.kind.clone(),
            namespace: rejected.namespace.clone(),
            name: rejected.name.clone(),
            reason: rejected.reason.to_owned(),
            message: rejected.message.clone(),
        });
    }

    /// A group whose kinds are not known.
    pub fn miss_group(&mut self, broken: &BrokenGroup) {
        self.miss(Missed {
            group: broken.group.clone(),
            reason: broken.reason.clone(),
            message: format!("{}: {}", broken.version, broken.message),
            ..Missed::default()
        });
    }

    pub fn warn(&mut self, warning: &str) {
        if self.warnings.len() < MAX_WARNINGS {
            self.warnings.push(clean(warning, MAX_MESSAGE));
        }
    }

    /// What the run amounts to, by what it says so far.
    #[must_use]
    pub fn result(&self) -> RunResult {
        if self.failure.is_some() {
            RunResult::Failed
        } else if self.missed_total > 0 || self.kept.iter().any(|kept| kept.overdue) {
            RunResult::PartiallyFailed
        } else {
            RunResult::Completed
        }
    }

    /// Sets the end and the result.
    pub fn finish(&mut self, now: Timestamp) {
        self.finished = Some(now);
        self.result = self.result();
    }
}

#[cfg(test)]
mod tests {
    use super::super::classify::Derived;
    use super::*;

    fn pods() -> Resource {
        Resource { kind: "Pod".into(), plural: "pods".into(), version: "v1".into(), ..Resource::default() }
    }

    #[test]
    fn only_what_is_missed_makes_it_partial() {
        let mut report = Report::new(Timestamp::UNIX_EPOCH);
        report.count(&pods(), Class::Stored);
        report.count(&pods(), Class::Excluded(Excluded::OptedOut));
        report.count(&pods(), Class::Excluded(Excluded::OptedOut));
        report.count(&pods(), Class::Derived(Derived::Owned));
        assert_eq!(report.result(), RunResult::Completed);
        assert_eq!(report.excluded["optedOut"], 2);
        assert_eq!(report.kinds["pod"], Counts { stored: 1, excluded: 2, derived: 1, ..Counts::default() });
        report.kept.push(Kept {
            namespace: "n".into(),
            claim: "c".into(),
            since: Timestamp::UNIX_EPOCH,
            overdue: false,
        });
        assert_eq!(report.result(), RunResult::Completed);
        report.kept[0].overdue = true;
        assert_eq!(report.result(), RunResult::PartiallyFailed);
        report.failure = Some("no store".into());
        report.finish(Timestamp::UNIX_EPOCH);
        assert_eq!(report.result, RunResult::Failed);
    }

    #[test]
    fn missed_things_are_bounded_and_counted() {
        let mut report = Report::new(Timestamp::UNIX_EPOCH);
        let rejected =
            Rejected { namespace: "n".into(), name: "x".into(), reason: "NameUnsafe", message: "m".into() };
        for _ in 0..500 {
            report.miss_rejected(&pods(), &rejected);
        }
        report.miss_group(&BrokenGroup {
            group: "dead.dev".into(),
            version: "v1".into(),
            reason: "Stale".into(),
            message: "m".into(),
        });
        assert_eq!((report.missed.len(), report.missed_total, report.total.missed), (101, 501, 501));
        assert_eq!(report.missed[100].group, "dead.dev");
        assert_eq!(report.kinds["pod"].missed, 500);
        let text = serde_json::to_string(&report).unwrap();
        assert!(text.starts_with(r#"{"schema":"lifeboat/run-report/1","result":"Completed""#), "{text}");
        assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), report);
    }
}
