//! What becomes of each claim's data now, by the rules of a run, and what the newest backup holds of it. Pure.

use super::State;
use crate::kinds::{Backup, VolumesMode};
use crate::select::volumes::{Decision, Seen, Verdict, Why, is_by_mode};
use crate::select::{Consistency, Report};
use jiff::Timestamp;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Reasons that mean that there is nothing to lose, or that the cluster has given it up.
const NOTHING: [&str; 4] = ["unbound", "ephemeral", "beingDeleted", "namespaceTerminating"];

/// Reasons of a whole namespace.
const AROUND: [&str; 3] = ["systemNamespace", "namespace", "namespaceOptedOut"];

/// What a Backup's message says of a volume that was kept for too long.
pub const STALE: &str = "Stale: ";

/// How the next run would come by a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Method {
    /// Read where a Pod has mounted it.
    Live,
    /// Nothing mounts it: its last tree is named again.
    Kept,
    /// Not at all, although it should.
    Missed,
    /// Left out.
    Excluded,
}

/// One claim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Volume {
    pub namespace: String,
    pub claim: String,
    pub state: State,
    pub method: Method,
    /// How still it stood when the last good tree was read; none where that is not known.
    pub consistency: Option<Consistency>,
    /// When the last good tree was read; of a volume that is only known by its Backup, when that ended.
    pub last: Option<Timestamp>,
    /// Through which Pod it is read, or who leaves it out, or why it is missed.
    pub why: String,
    /// It is left out with its whole namespace.
    #[serde(skip)]
    pub around: bool,
}

impl Volume {
    /// Whether it should be in a backup, and is in none or in an old one only.
    #[must_use]
    pub fn is_gap(&self) -> bool {
        matches!(self.state, State::Never | State::Old)
    }
}

/// Claims as they are, and what the rules of a run make of them.
#[derive(Debug, Clone, Copy)]
pub struct VolumesNow<'a> {
    pub seen: &'a Seen,
    pub decisions: &'a [Decision],
}

/// A tree that a snapshot holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Tree {
    /// When it was read, where that is known.
    read: Option<Timestamp>,
    /// Claims made later had nothing in it.
    at: Timestamp,
    consistency: Option<Consistency>,
    overdue: bool,
}

type Name = (String, String);

/// What is known of volumes in backups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// What was made later is new.
    started: Timestamp,
    finished: Timestamp,
    /// By namespace and claim; none where only a Backup object is known.
    trees: Option<BTreeMap<Name, Tree>>,
    missed: BTreeMap<Name, String>,
    /// Kept for too long, where only a Backup object is known.
    stale: BTreeSet<Name>,
    /// Something was missed that may be any volume.
    unsure: bool,
}

impl Evidence {
    /// Of a snapshot's run report.
    #[must_use]
    pub fn of_report(report: &Report, finished: Timestamp) -> Self {
        let read = report.volumes.iter().map(|v| {
            let (read, consistency) = (Some(v.read), Some(v.consistency));
            let tree = Tree { read, at: v.read, consistency, overdue: false };
            ((v.namespace.clone(), v.claim.clone()), tree)
        });
        let kept = report.kept.iter().map(|k| {
            let tree = Tree { read: Some(k.since), at: k.since, consistency: None, overdue: k.overdue };
            ((k.namespace.clone(), k.claim.clone()), tree)
        });
        let volumes = report.missed.iter().filter(|m| m.kind == "Volume");
        let missed = volumes.map(|m| ((m.namespace.clone(), m.name.clone()), words(&m.reason, &m.message)));
        let missed = missed.collect();
        let trees = Some(read.chain(kept).collect());
        let stale = BTreeSet::new();
        Self { started: report.started, finished, trees, missed, stale, unsure: false }
    }

    /// Of the newest Backup object that has a snapshot of everything; it names what was missed, if that is not much.
    #[must_use]
    pub fn of_backups(backups: &[Backup]) -> Option<Self> {
        let all = |b: &&Backup| b.spec.volumes.unwrap_or_default() == VolumesMode::All && super::is_wide(b);
        let status =
            backups.iter().filter(all).filter_map(|b| b.status.as_ref()).max_by_key(|s| s.started)?;
        let named = status.messages.iter().filter_map(|line| {
            let (place, why) = line.strip_prefix("Volume ")?.split_once(": ")?;
            let (namespace, claim) = place.split_once('/')?;
            Some(((namespace.to_owned(), claim.to_owned()), why.to_owned()))
        });
        let (stale, missed): (BTreeMap<Name, String>, BTreeMap<Name, String>) =
            named.partition(|(_, why)| why.starts_with(STALE));
        let messages = status.messages.len().saturating_sub(stale.len());
        let whole = |m: &String| m.starts_with("Volume: ") || m.starts_with("and ");
        Some(Self {
            started: status.started?,
            finished: status.finished?,
            trees: None,
            missed,
            stale: stale.into_keys().collect(),
            unsure: status.missed.unwrap_or(0) > i64::try_from(messages).unwrap_or(i64::MAX)
                || status.messages.iter().any(whole),
        })
    }

    /// The tree of a claim, if there is one.
    fn tree(&self, name: &Name) -> Option<Tree> {
        let overdue = self.stale.contains(name);
        match &self.trees {
            Some(trees) => trees.get(name).copied(),
            None if self.missed.contains_key(name) || (self.unsure && !overdue) => None,
            None => Some(Tree { read: None, at: self.finished, consistency: None, overdue }),
        }
    }
}

fn words(reason: &str, message: &str) -> String {
    format!("{message} ({reason})")
}

fn because(why: &Why) -> String {
    words(why.reason, &why.message)
}

/// What becomes of every claim, in the order of namespace and name.
#[must_use]
pub fn volumes(now: VolumesNow<'_>, evidence: Option<&Evidence>) -> Vec<Volume> {
    let made: BTreeMap<(&str, &str), Timestamp> = now
        .seen
        .claims
        .iter()
        .filter_map(|c| Some(((c.namespace.as_str(), c.name.as_str()), c.created.parse().ok()?)))
        .collect();
    let each = now.decisions.iter().map(|decision| {
        let made = made.get(&(decision.namespace.as_str(), decision.claim.as_str())).copied();
        volume(decision, made, evidence)
    });
    each.collect()
}

fn volume(decision: &Decision, made: Option<Timestamp>, evidence: Option<&Evidence>) -> Volume {
    let name = (decision.namespace.clone(), decision.claim.clone());
    // A claim of the same name may have been there before.
    let tree = evidence.and_then(|e| e.tree(&name)).filter(|t| made.is_none_or(|m| m <= t.at));
    let (method, state, why) = judge(&decision.verdict, &name, tree, made, evidence);
    let shown = tree.filter(|_| method != Method::Excluded);
    // When a kept one was read is not known from a Backup that has it.
    let last = shown.and_then(|t| t.read.or((method != Method::Kept).then_some(t.at)));
    let consistency = shown.and_then(|t| t.consistency);
    let around = matches!(&decision.verdict, Verdict::Excluded(w) if AROUND.contains(&w.reason));
    Volume { namespace: name.0, claim: name.1, state, method, consistency, last, why, around }
}

fn judge(
    verdict: &Verdict,
    name: &Name,
    tree: Option<Tree>,
    made: Option<Timestamp>,
    evidence: Option<&Evidence>,
) -> (Method, State, String) {
    let new = evidence.is_some_and(|e| made.is_some_and(|m| m > e.started));
    let missed = || evidence.and_then(|e| e.missed.get(name).cloned());
    match verdict {
        Verdict::Excluded(why) if is_by_mode(why.reason) => (Method::Excluded, State::Never, because(why)),
        Verdict::Excluded(why) if NOTHING.contains(&why.reason) => {
            (Method::Excluded, State::Derived, because(why))
        }
        Verdict::Excluded(why) => (Method::Excluded, State::Excluded, because(why)),
        Verdict::Missed(why) => {
            let state = if tree.is_some() { State::Old } else { State::Never };
            (Method::Missed, state, because(why))
        }
        Verdict::Read(places) => {
            let place = places.first();
            let through =
                place.map(|p| format!("through Pod {} on node {}", p.pod, p.node)).unwrap_or_default();
            match (tree, missed()) {
                (Some(tree), _) if tree.overdue => (Method::Live, State::Old, through),
                (Some(_), _) => (Method::Live, State::Protected, through),
                (None, Some(why)) => {
                    (Method::Live, State::Never, format!("the newest backup missed it: {why}"))
                }
                (None, None) if new => (Method::Live, State::New, through),
                (None, None) => (Method::Live, State::Never, through),
            }
        }
        Verdict::Kept { why, otherwise } => match tree {
            Some(tree) if tree.overdue => {
                let why = format!("{}; its last tree is too old", because(why));
                (Method::Kept, State::Old, why)
            }
            Some(_) => (Method::Kept, State::Protected, because(why)),
            // Nobody has mounted it yet, and there was no run that could say more.
            None if new && !matches!(**otherwise, Verdict::Excluded(_)) => {
                (Method::Kept, State::New, because(why))
            }
            None => judge(otherwise, name, None, made, evidence),
        },
    }
}

#[cfg(test)]
mod tests;
