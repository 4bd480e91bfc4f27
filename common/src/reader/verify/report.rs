//! What a verification found: plain data, and how findings are put into it.

use super::hash::{Outcome, Target};
use crate::reader::chain::{AnomalyKind, Snapshot, SnapshotList};
use lifeboat_format::layout;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Objects of a snapshot named for one damaged file, at most.
const OBJECTS_NAMED: usize = 100;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum DamageKind {
    Missing,
    /// The bytes are others.
    Altered,
    /// The length is another.
    Truncated,
    /// Signed or sealed wrongly, or it contradicts something else.
    Invalid,
}

/// One file, or one snapshot's inside, that is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Damage {
    pub key: String,
    pub kind: DamageKind,
    pub expected: String,
    pub seen: String,
    /// Sequence numbers of the snapshots verified that need it.
    pub snapshots: Vec<u64>,
    /// Paths in snapshots that it touches, as far as they were opened; the first hundred.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub objects: Vec<String>,
}

/// A file that the store did not give.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unchecked {
    pub key: String,
    pub why: String,
}

/// The result.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct VerifyReport {
    /// Files that are sound.
    pub files: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Entries of snapshots that were opened and are sound.
    pub opened_entries: u64,
    /// The snapshots verified, and whether everything that they need is sound here.
    pub snapshots: BTreeMap<u64, bool>,
    pub damage: Vec<Damage>,
    /// Not known to be damaged, nor sound.
    pub unchecked: Vec<Unchecked>,
    /// Where each key is in `damage`.
    #[serde(skip)]
    index: HashMap<String, usize>,
}

impl Damage {
    pub(super) fn new(
        key: impl Into<String>,
        kind: DamageKind,
        expected: impl Into<String>,
        seen: impl Into<String>,
    ) -> Self {
        let (snapshots, objects) = (Vec::new(), Vec::new());
        Self { key: key.into(), kind, expected: expected.into(), seen: seen.into(), snapshots, objects }
    }

    pub(super) fn of(mut self, snapshots: impl IntoIterator<Item = u64>) -> Self {
        self.snapshots = snapshots.into_iter().collect();
        self
    }
}

impl VerifyReport {
    pub(super) fn new(snapshots: &[&Snapshot]) -> Self {
        let snapshots = snapshots.iter().map(|s| (s.manifest.seq, true)).collect();
        Self { snapshots, ..Self::default() }
    }

    /// Everything is sound and was checked.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.damage.is_empty() && self.unchecked.is_empty()
    }

    pub(super) fn sound(&mut self, bytes: u64) {
        self.files += 1;
        self.bytes += bytes;
    }

    pub(super) fn unchecked(&mut self, one: Unchecked) {
        self.unchecked.push(one);
    }

    /// Adds a finding; one file is one finding.
    pub(super) fn damage(&mut self, damage: Damage) {
        match self.index.get(&damage.key).and_then(|i| self.damage.get_mut(*i)) {
            Some(known) => {
                let all: BTreeSet<u64> = known.snapshots.iter().chain(&damage.snapshots).copied().collect();
                known.snapshots = all.into_iter().collect();
                let room = OBJECTS_NAMED.saturating_sub(known.objects.len());
                known.objects.extend(damage.objects.into_iter().take(room));
            }
            None => {
                self.index.insert(damage.key.clone(), self.damage.len());
                self.damage.push(damage);
            }
        }
    }

    /// Manifests that cannot be used are damage; those of an ended key, and what is not named as one, are not.
    pub(super) fn add_anomalies(&mut self, list: &SnapshotList) {
        for anomaly in &list.anomalies {
            let kind = match anomaly.kind {
                AnomalyKind::Missing => DamageKind::Missing,
                AnomalyKind::Unverifiable | AnomalyKind::Broken => DamageKind::Invalid,
                AnomalyKind::Junk | AnomalyKind::Rejected => continue,
            };
            let seq = layout::parse_manifest(&anomaly.key);
            let expected = "a manifest signed by the agent, in its place in the chain";
            self.damage(Damage::new(&anomaly.key, kind, expected, &anomaly.why).of(seq));
        }
    }

    pub(super) fn add(&mut self, target: &Target, outcome: Outcome) {
        let expected = match target.size {
            Some(size) => format!("SHA-256 {}, {size} bytes", target.sha256),
            None => format!("SHA-256 {}", target.sha256),
        };
        let (kind, seen) = match outcome {
            Outcome::Sound { bytes } => return self.sound(bytes),
            Outcome::Unreached(e) => {
                return self.unchecked(Unchecked { key: target.key.clone(), why: e.to_string() });
            }
            Outcome::Missing => (DamageKind::Missing, "nothing".to_owned()),
            Outcome::Length { seen } => (DamageKind::Truncated, format!("{seen} bytes")),
            Outcome::Altered { seen } => (DamageKind::Altered, format!("SHA-256 {seen}")),
        };
        self.damage(Damage::new(&target.key, kind, expected, seen));
    }

    pub(super) fn finish(&mut self) {
        self.index.clear();
        self.damage.sort_by(|a, b| a.key.cmp(&b.key));
        self.unchecked.sort_by(|a, b| a.key.cmp(&b.key));
        for seq in self.damage.iter().flat_map(|d| &d.snapshots) {
            if let Some(sound) = self.snapshots.get_mut(seq) {
                *sound = false;
            }
        }
    }
}
