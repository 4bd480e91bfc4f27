//! Which volumes a run must hold, through which Pod each is read, and why each of the others is not. Pure: plain data
//! in, plain data out. Knows no client and no node; what a node then finds is another matter.
//!
//! Rules are asked in the order they stand in [`judge`]: what leaves a claim out goes before what hinders reading it,
//! so that nobody is alarmed about data that nobody wanted.

pub mod facts;
pub mod hooks;
mod pods;
mod source;

pub use facts::{Claim, ClaimPhase, Mount, Pod, PodPhase, Volume};
pub use hooks::{Hooks, Step};
pub use source::Source;

use super::classify::{Excluded, opt_out_label, opted_out};
use super::facts::NamespaceFacts;
use super::rules::{NamespaceVerdict, Selection};
use crate::cluster::Resource;
use crate::kinds::{PodHooks, VolumesMode};
use hooks::SpecHooks;
use pods::Candidates;
use std::collections::{BTreeMap, BTreeSet};

const VOLUMES_OFF: &str = "volumesOff";
const NOT_OPTED_IN: &str = "notOptedIn";

/// Whether a reason is the mode of the backup: nobody said that this volume may be lost, it was only not asked for.
#[must_use]
pub fn is_by_mode(reason: &str) -> bool {
    matches!(reason, VOLUMES_OFF | NOT_OPTED_IN)
}

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Rules<'a> {
    pub selection: &'a Selection,
    pub mode: VolumesMode,
    /// Hooks of the Backup.
    pub hooks: &'a [PodHooks],
    /// Whether commands can be run in Pods.
    pub may_exec: bool,
    /// Folders of nodes below which volumes of the kind hostPath may be read.
    pub host_paths: &'a [String],
}

/// What there is.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    pub claims: Vec<Claim>,
    pub volumes: BTreeMap<String, Volume>,
    pub pods: Vec<Pod>,
    pub namespaces: BTreeMap<String, NamespaceFacts>,
    /// Nodes with a daemon that is ready.
    pub nodes: BTreeSet<String>,
}

/// What becomes of one claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    pub namespace: String,
    pub claim: String,
    pub uid: String,
    pub verdict: Verdict,
}

/// What becomes of a claim's data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is read, at the first of these places; the others are where else it is mounted.
    Read(Vec<Place>),
    /// Nothing mounts it now: its last tree is named again.
    Kept {
        /// Why it cannot be read now.
        why: Why,
        /// What it is where there is no such tree.
        otherwise: Box<Verdict>,
    },
    /// It should be read and cannot be.
    Missed(Why),
    /// A rule, a label or an annotation leaves it out.
    Excluded(Why),
}

/// A stable CamelCase or camelCase word, and a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Why {
    pub reason: &'static str,
    pub message: String,
}

impl Why {
    fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }
}

/// Where a volume can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub node: String,
    pub pod: String,
    pub pod_uid: String,
    /// The volume's folder in the Pod's: the name of the PersistentVolume.
    pub volume: String,
    pub source: Source,
    /// What runs in that Pod around the reading.
    pub hooks: Option<Hooks>,
}

/// Every claim that is not the agent's own, in the order of namespace and name.
#[must_use]
pub fn choose(rules: &Rules<'_>, seen: &Seen) -> Vec<Decision> {
    let spec_hooks = SpecHooks::read(rules.hooks);
    let mut by_claim: BTreeMap<(&str, &str), Vec<(&Pod, &Mount)>> = BTreeMap::new();
    for pod in &seen.pods {
        for mount in &pod.mounts {
            by_claim.entry((&pod.namespace, &mount.claim)).or_default().push((pod, mount));
        }
    }
    let nothing = Vec::new();
    let mut claims: Vec<&Claim> = seen.claims.iter().collect();
    claims.sort_by_key(|c| (&c.namespace, &c.name));
    claims.dedup_by_key(|c| (&c.namespace, &c.name));
    let each = claims.into_iter().filter_map(|claim| {
        let users = by_claim.get(&(claim.namespace.as_str(), claim.name.as_str())).unwrap_or(&nothing);
        let asked = Asked { rules, seen, hooks: &spec_hooks, claim };
        Some(Decision {
            namespace: claim.namespace.clone(),
            claim: claim.name.clone(),
            uid: claim.uid.clone(),
            verdict: asked.judge(users)?,
        })
    });
    each.collect()
}

struct Asked<'a> {
    rules: &'a Rules<'a>,
    seen: &'a Seen,
    hooks: &'a SpecHooks,
    claim: &'a Claim,
}

impl Asked<'_> {
    /// `None`: it is the agent's own.
    fn judge(&self, users: &[(&Pod, &Mount)]) -> Option<Verdict> {
        let verdict = self.rules.selection.namespace(&self.claim.namespace);
        if verdict == NamespaceVerdict::Agent {
            return None;
        }
        if let Some(why) = self.by_selection(verdict).or_else(|| self.by_state()).or_else(|| self.by_label())
        {
            return Some(Verdict::Excluded(why));
        }
        let claim = self.claim;
        if claim.unreadable {
            let message = "the claim as the API server gives it cannot be read; look at it with kubectl";
            return Some(Verdict::Missed(Why::new("Unreadable", message)));
        }
        let candidates = Candidates::of(users, self.rules);
        if let Some(why) = candidates.all_opted_out() {
            return Some(Verdict::Excluded(why));
        }
        Some(match self.source(&candidates) {
            Ok(source) => self.place(&candidates, source),
            Err(verdict) => verdict,
        })
    }

    fn by_selection(&self, verdict: NamespaceVerdict) -> Option<Why> {
        let selection = self.rules.selection;
        let claims = Resource {
            version: "v1".to_owned(),
            kind: "PersistentVolumeClaim".to_owned(),
            plural: "persistentvolumeclaims".to_owned(),
            singular: "persistentvolumeclaim".to_owned(),
            short_names: vec!["pvc".to_owned()],
            namespaced: true,
            ..Resource::default()
        };
        let (why, message) = match verdict {
            NamespaceVerdict::System => (Excluded::SystemNamespace, "a system namespace"),
            NamespaceVerdict::NotSelected => (Excluded::Namespace, "its namespace is not selected"),
            _ if !selection.selects_kind(&claims) => (Excluded::Kind, "claims are not selected"),
            _ if !selection.labels().matches(&self.claim.labels) => {
                (Excluded::LabelSelector, "the claim does not have the labels asked for")
            }
            _ if self.rules.mode == VolumesMode::Off => {
                return Some(Why::new(VOLUMES_OFF, "volumes are Off"));
            }
            _ => return None,
        };
        Some(Why::new(why.as_str(), message))
    }

    /// What is on its way out, or was never more than a Pod's scratch space.
    fn by_state(&self) -> Option<Why> {
        let around = self.seen.namespaces.get(&self.claim.namespace);
        if around.is_some_and(|n| n.terminating) {
            return Some(Why::new("namespaceTerminating", "its namespace is being deleted"));
        }
        if self.claim.pod_owned {
            return Some(Why::new("ephemeral", "it lives and dies with one Pod"));
        }
        // A claim that is in use stays, whole, until its Pods have ended; but its owner has given it up.
        self.claim.deleting.then(|| Why::new("beingDeleted", "the claim is being deleted"))
    }

    fn by_label(&self) -> Option<Why> {
        if self.rules.selection.include_opted_out {
            return None;
        }
        if let Some(label) = opt_out_label(&self.claim.labels) {
            let message = format!("label {label} on the claim");
            return Some(Why::new(Excluded::OptedOut.as_str(), message));
        }
        let around = self.seen.namespaces.get(&self.claim.namespace);
        around
            .is_some_and(|n| n.opted_out)
            .then(|| Why::new(Excluded::NamespaceOptedOut.as_str(), "an opt-out label on its namespace"))
    }

    /// Where a node finds it, as its PersistentVolume says.
    fn source(&self, candidates: &Candidates<'_>) -> Result<(String, Source), Verdict> {
        let claim = self.claim;
        let missed = |reason, message: String| Verdict::Missed(Why::new(reason, message));
        match claim.phase {
            // Nothing was ever provisioned: there is nothing to lose.
            ClaimPhase::Pending => {
                return Err(Verdict::Excluded(Why::new("unbound", "the claim has no volume yet")));
            }
            ClaimPhase::Lost => {
                let message = "the claim is Lost: its PersistentVolume is gone; restore it from a snapshot";
                return Err(missed("ClaimLost", message.to_owned()));
            }
            ClaimPhase::Bound => {}
        }
        if claim.block || candidates.any_block() {
            let message = "a volume of mode Block has no files; back it up by other means, or opt the claim out by label";
            return Err(missed("BlockVolume", message.to_owned()));
        }
        let name = claim.volume.clone().unwrap_or_default();
        let Some(volume) = self.seen.volumes.get(&name) else {
            return Err(missed("VolumeUnknown", format!("its PersistentVolume {name:?} was not found")));
        };
        if volume.claim_uid != claim.uid {
            let message = format!("PersistentVolume {name} says that it belongs to another claim");
            return Err(missed("VolumeNotBound", message));
        }
        match volume.source.check(self.rules.host_paths) {
            Ok(()) => Ok((name, volume.source.clone())),
            Err(why) => Err(Verdict::Missed(why)),
        }
    }

    /// Through which Pod.
    fn place(&self, candidates: &Candidates<'_>, (volume, source): (String, Source)) -> Verdict {
        let usable = candidates.best_first(|pod| self.hooks.of(pod));
        if usable.is_empty() {
            return self.kept(candidates);
        }
        let here: Vec<_> = usable.iter().filter(|(pod, _)| self.has_daemon(pod)).collect();
        let Some((_, hooks)) = here.first() else {
            let nodes: BTreeSet<&str> = usable.iter().filter_map(|(pod, _)| pod.node.as_deref()).collect();
            return Verdict::Missed(no_daemon(&nodes, self.seen.nodes.is_empty()));
        };
        if hooks.is_some() && !self.rules.may_exec {
            let message = "its Pod has hooks, and the agent may not run commands in Pods; allow it \
                           (lifeboat install --hooks NAMESPACE), or take the hooks away";
            return Verdict::Missed(Why::new("HooksForbidden", message));
        }
        let place = |(pod, hooks): &&(&Pod, Option<Hooks>)| Place {
            node: pod.node.clone().unwrap_or_default(),
            pod: pod.name.clone(),
            pod_uid: pod.uid.clone(),
            volume: volume.clone(),
            source: source.clone(),
            hooks: hooks.clone(),
        };
        // A Pod whose hooks cannot run is no other place, either: they are all alike here.
        Verdict::Read(here.iter().map(place).collect())
    }

    fn has_daemon(&self, pod: &Pod) -> bool {
        pod.node.as_ref().is_some_and(|node| self.seen.nodes.contains(node))
    }

    fn kept(&self, candidates: &Candidates<'_>) -> Verdict {
        let why = candidates.why_unusable();
        let otherwise = if self.rules.mode == VolumesMode::OptIn && !candidates.any_opted_in() {
            Verdict::Excluded(not_opted_in())
        } else {
            let message = format!("{}, and no snapshot holds it yet", why.message);
            Verdict::Missed(Why::new("NeverMounted", message))
        };
        Verdict::Kept { why, otherwise: Box::new(otherwise) }
    }
}

fn not_opted_in() -> Why {
    Why::new(NOT_OPTED_IN, format!("no Pod names it in {}", pods::OPT_IN))
}

fn no_daemon(nodes: &BTreeSet<&str>, nowhere: bool) -> Why {
    if nowhere {
        let message = "no node reads volumes: the DaemonSet of lifeboat-nodes is not installed or not ready; \
                       install it, or set volumes: Off in the Backup";
        return Why::new("NodesNotInstalled", message);
    }
    let some: Vec<&str> = nodes.iter().copied().take(3).collect();
    let message =
        format!("the daemon is not ready on node {}; look at the Pods of lifeboat-nodes", some.join(", "));
    Why::new("NodeNotReady", message)
}

/// Whether a Pod's labels leave its volumes out.
fn pod_opted_out(pod: &Pod, rules: &Rules<'_>) -> bool {
    !rules.selection.include_opted_out && opted_out(&pod.labels)
}

#[cfg(test)]
#[path = "volumes/tests.rs"]
mod tests;
#[cfg(test)]
#[path = "volumes/walks.rs"]
mod walks;
