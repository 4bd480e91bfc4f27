//! What the manifests of a repository add up to: its snapshots, and what is wrong with the rest. Plain data and the
//! pure part of judging; `listing` reads, `links` judges the chain.

use super::links::{self, Link};
use lifeboat_format::charter::AgentKey;
use lifeboat_format::id::Sha256;
use lifeboat_format::manifest::{Coverage, Manifest, SignedManifest};
use std::collections::{BTreeMap, BTreeSet};

/// What was decided about a snapshot since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Kept,
    /// The vault forgot it by its retention; its packs may be gone.
    Tombstoned,
    /// The primary forgot it by its retention; its packs may be gone.
    Forgotten,
}

impl Fate {
    /// A word for people and JSON.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Tombstoned => "tombstoned",
            Self::Forgotten => "forgotten",
        }
    }
}

/// A snapshot that a trusted agent signed.
#[derive(Debug, Clone)]
pub struct Snapshot {
    pub manifest: Manifest,
    /// SHA-256 of the manifest's payload.
    pub sha256: Sha256,
    pub link: Link,
    pub fate: Fate,
}

/// Something under `manifests/` that is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anomaly {
    pub key: String,
    pub kind: AnomalyKind,
    pub why: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnomalyKind {
    /// Not named as a manifest.
    Junk,
    /// No manifest in a slot that was used.
    Missing,
    /// Damaged, or not signed by an agent of the charter for this cluster and slot.
    Unverifiable,
    /// Signed by a key outside its validity.
    Rejected,
    /// Signed, and not part of the chain: a fork or a replay.
    Broken,
}

impl AnomalyKind {
    /// A stable CamelCase word.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::Junk => "Junk",
            Self::Missing => "Missing",
            Self::Unverifiable => "Unverifiable",
            Self::Rejected => "Rejected",
            Self::Broken => "Broken",
        }
    }
}

/// The snapshots of a repository, ascending.
#[derive(Debug, Clone, Default)]
pub struct SnapshotList {
    pub snapshots: Vec<Snapshot>,
    /// Sound too, and no snapshots: they keep a long run's packs reusable.
    pub checkpoints: Vec<Snapshot>,
    pub anomalies: Vec<Anomaly>,
}

/// What is to be judged, in the order of the slots.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) manifests: Vec<SignedManifest>,
    pub(super) anomalies: Vec<Anomaly>,
    pub(super) tombstones: BTreeSet<u64>,
    pub(super) forgotten: BTreeMap<u64, Sha256>,
    /// Slots whose snapshot is not whole in this vault yet.
    pub(super) pending: BTreeSet<u64>,
}

pub(super) fn assemble(agents: &[AgentKey], found: Found) -> SnapshotList {
    let links = links::judge(agents, &found.manifests);
    let mut list = SnapshotList { anomalies: found.anomalies, ..SnapshotList::default() };
    forgive_skipped(&mut list.anomalies, &found.manifests, &links);
    for (signed, link) in found.manifests.into_iter().zip(links) {
        let seq = signed.manifest.seq;
        if found.pending.contains(&seq) {
            continue;
        }
        let fate = if found.tombstones.contains(&seq) {
            Fate::Tombstoned
        } else if found.forgotten.get(&seq) == Some(&signed.sha256) {
            Fate::Forgotten
        } else {
            Fate::Kept
        };
        let snapshot = Snapshot { manifest: signed.manifest, sha256: signed.sha256, link, fate };
        match link {
            Link::Chained | Link::AfterGap if snapshot.manifest.coverage == Coverage::Checkpoint => {
                list.checkpoints.push(snapshot);
            }
            Link::Chained | Link::AfterGap => list.snapshots.push(snapshot),
            Link::Rejected => list.anomalies.push(anomaly(
                seq,
                AnomalyKind::Rejected,
                "signed by an agent key outside its validity",
            )),
            Link::Broken => list.anomalies.push(anomaly(
                seq,
                AnomalyKind::Broken,
                "signed, and no part of the chain: a fork or a replay",
            )),
        }
    }
    list.anomalies.sort_by(|a, b| a.key.cmp(&b.key));
    list
}

/// Whoever can write to a primary can take slots with junk. An agent passes over them, and no vault keeps them: a hole
/// between two links that name each other never held a snapshot, so nothing is missing there.
fn forgive_skipped(anomalies: &mut Vec<Anomaly>, manifests: &[SignedManifest], links: &[Link]) {
    let sound: Vec<&SignedManifest> =
        manifests.iter().zip(links).filter(|(_, link)| link.is_sound()).map(|(m, _)| m).collect();
    let skipped: Vec<_> = sound
        .windows(2)
        .filter(|pair| pair[1].manifest.prev == Some(pair[0].sha256))
        .map(|pair| pair[0].manifest.seq + 1..pair[1].manifest.seq)
        .collect();
    anomalies.retain(|a| {
        let seq = lifeboat_format::layout::parse_manifest(&a.key);
        a.kind != AnomalyKind::Missing || !seq.is_some_and(|seq| skipped.iter().any(|s| s.contains(&seq)))
    });
}

pub(super) fn anomaly(seq: u64, kind: AnomalyKind, why: impl Into<String>) -> Anomaly {
    Anomaly { key: lifeboat_format::layout::manifest(seq), kind, why: why.into() }
}
