//! Which manifests count: signature, cluster, slot, charter, features, and the chain. Pure; only this module makes an
//! [`Accepted`], and only an [`Accepted`] can become a snapshot of the vault.

use super::charters::Charters;
use crate::alarm::AlarmKind;
use crate::catalog::{SnapshotRow, State};
use jiff::{SignedDuration, Timestamp};
use lifeboat_format::FormatError;
use lifeboat_format::chain::{Chain, Head, Verdict};
use lifeboat_format::charter::KNOWN_FEATURES;
use lifeboat_format::crypto::sign::VerifyKey;
use lifeboat_format::id::{ClusterName, Sha256};
use lifeboat_format::manifest::{Coverage, Manifest, SignedManifest, UnverifiedManifest};
use std::collections::BTreeSet;

/// How long manifests under charter n − 1 pass after charter n was first seen, unless n took a key back.
const GRACE: SignedDuration = SignedDuration::from_hours(7 * 24);

/// A manifest that extends the chain.
#[derive(Debug)]
pub struct Accepted {
    signed: SignedManifest,
    bytes: Vec<u8>,
    /// Accepted, and yet something to look at.
    pub note: Option<Reason>,
}

impl Accepted {
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.signed.manifest
    }
    #[must_use]
    pub fn signed(&self) -> &SignedManifest {
        &self.signed
    }
    /// The file.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Why a manifest does not count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    pub kind: AlarmKind,
    pub why: String,
    pub next: &'static str,
}

#[derive(Debug)]
pub enum Ruling {
    Accepted(Box<Accepted>),
    /// Kept aside; displaces nothing.
    Aside(Reason),
    /// Cannot be judged now, and so nothing after it can.
    Waits(Reason),
}

/// Judges manifests in the order of their slots.
#[derive(Debug)]
pub struct Judge<'a> {
    charters: &'a Charters,
    cluster: &'a ClusterName,
    chain: Chain,
    keys: Vec<VerifyKey>,
    /// Manifests that the charter names as the ends of agent keys and that are not on the chain yet: what comes before
    /// them is history that the owner vouches for.
    anchors: BTreeSet<Sha256>,
    /// Charter and origin of the newest manifest that read a cluster, and of the newest that read paths.
    origins: [Option<(u64, Sha256)>; 2],
    now: Timestamp,
}

impl<'a> Judge<'a> {
    /// Goes on from what the vault has, ascending.
    #[must_use]
    pub fn new(
        charters: &'a Charters,
        cluster: &'a ClusterName,
        known: &[SnapshotRow],
        now: Timestamp,
    ) -> Self {
        let agents = &charters.newest().agents;
        let chained: Vec<&SnapshotRow> = known.iter().filter(|r| r.state != State::Rejected).collect();
        let mut anchors: BTreeSet<Sha256> = agents.iter().flat_map(|a| [a.from, a.until]).flatten().collect();
        let mut origins = [None; 2];
        for row in &chained {
            anchors.remove(&row.sha256);
            if row.coverage != "checkpoint" {
                origins[usize::from(row.coverage == "paths")] = Some((row.charter, row.origin));
            }
        }
        let head = chained.last().map(|r| r.head());
        Self {
            charters,
            cluster,
            chain: Chain::new(agents, head),
            keys: agents.iter().map(|a| a.key).collect(),
            anchors,
            origins,
            now,
        }
    }

    #[must_use]
    pub fn head(&self) -> Option<Head> {
        self.chain.head()
    }

    /// Judges the bytes in slot `seq`.
    pub fn judge(&mut self, seq: u64, bytes: Vec<u8>) -> Ruling {
        let verified = UnverifiedManifest::parse(&bytes)
            .and_then(|unverified| unverified.verify(&self.keys, self.cluster, seq));
        let signed = match verified {
            Ok(signed) => signed,
            Err(error) => return Ruling::Aside(unsound(&error)),
        };
        // First of all: whoever has an old key must not be able to make what comes after wait, whichever charter or
        // feature the manifest claims.
        if self.chain.clone().judge(&signed) == Verdict::RejectedBranch {
            return Ruling::Aside(rejected(&signed));
        }
        if let Some(reason) = self.waits(&signed.manifest) {
            return Ruling::Waits(reason);
        }
        match self.chain.judge(&signed) {
            Verdict::Accepted => {
                self.anchors.remove(&signed.sha256);
                let note = self.origin(&signed.manifest);
                Ruling::Accepted(Box::new(Accepted { signed, bytes, note }))
            }
            Verdict::Broken => Ruling::Aside(self.broken(&signed.manifest)),
            Verdict::RejectedBranch => Ruling::Aside(rejected(&signed)),
        }
    }

    fn waits(&self, m: &Manifest) -> Option<Reason> {
        let newest = self.charters.newest();
        let wait = |kind, why, next| Some(Reason { kind, why, next });
        if let Err(error) = newest.check_writable() {
            return wait(AlarmKind::FeatureUnknown, error.to_string(), "install a newer lifeboat-replicator");
        }
        if let Some(feature) = m.features.iter().find(|f| !KNOWN_FEATURES.contains(&f.as_str())) {
            let why = format!(
                "it needs the feature '{}', which this version does not know",
                feature.escape_debug()
            );
            return wait(
                AlarmKind::FeatureUnknown,
                why,
                "install a newer lifeboat-replicator; its bytes are kept",
            );
        }
        if m.charter > newest.n {
            let why =
                format!("it was made under charter {}, the newest seen here is {}", m.charter, newest.n);
            let next = "see that the charter is in the source (`lifeboat rotate` and `adopt` put it there); it waits";
            return wait(AlarmKind::CharterUnknown, why, next);
        }
        if self.anchors.is_empty() && self.charters.is_over(m.charter, GRACE, self.now) {
            let why = format!("it was made under charter {}, which {} replaced", m.charter, m.charter + 1);
            let next =
                "give the agent the newest charter (`lifeboat install`, or replace charter.json); it waits";
            return wait(AlarmKind::CharterLate, why, next);
        }
        None
    }

    fn broken(&self, m: &Manifest) -> Reason {
        let named = m.prev.map_or("nothing".to_owned(), |p| p.to_hex());
        let head = self.chain.head().map_or("nothing".to_owned(), |h| format!("{} ({})", h.sha256, h.seq));
        Reason {
            kind: AlarmKind::Fork,
            why: format!("it extends {named}, and the newest that counts is {head}"),
            next: "a fork, a replay, or what it extends is damaged or hidden: look at the alarms before it",
        }
    }

    fn origin(&mut self, m: &Manifest) -> Option<Reason> {
        if m.coverage == Coverage::Checkpoint {
            return None;
        }
        let last = &mut self.origins[usize::from(m.coverage == Coverage::Paths)];
        let before = last.replace((m.charter, m.origin));
        let (charter, origin) = before?;
        (charter == m.charter && origin != m.origin).then(|| Reason {
            kind: AlarmKind::OriginChanged,
            why: format!("it was read from {}, the one before it from {origin}", m.origin),
            next: "if the cluster was rebuilt run `lifeboat adopt`; if not, two clusters write into one repository",
        })
    }
}

fn rejected(signed: &SignedManifest) -> Reason {
    Reason {
        kind: AlarmKind::RejectedBranch,
        why: format!("its key {} is not in force at this place of the chain", signed.signer.fingerprint()),
        next: "it is kept aside and displaces nothing; find out who used a key that the charter ended",
    }
}

fn unsound(error: &FormatError) -> Reason {
    let (kind, next) = match error.reason() {
        "Forged" => (
            AlarmKind::Forged,
            "find out who can write to the source; if it is the agent's own, it was damaged there",
        ),
        "Mismatch" => (AlarmKind::Replayed, "find out who can write to the source"),
        _ => (AlarmKind::Damaged, "put the right bytes back in the source, or find out who can write there"),
    };
    Reason { kind, why: error.to_string(), next }
}

#[cfg(test)]
mod tests;
