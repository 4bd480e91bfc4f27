//! Named anomalies: plain data. Owns which there are, and which go away by themselves. Raises none.

use jiff::Timestamp;
use serde::Serialize;

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum AlarmKind {
    /// The source could not be asked, or broke off.
    Unreachable,
    /// The source does not let us read.
    Denied,
    /// The vault's disk is full, or nearly.
    VaultFull,
    /// The vault's disk will be full before long.
    VaultFilling,
    /// A source brought as much as it may.
    QuotaReached,
    /// The vault could not be written or read.
    VaultFailed,
    /// A file of the vault has other bytes than were put there.
    VaultDamaged,
    /// The receipt key at hand is not the one that the charter names.
    ReceiptKey,
    /// No charter leads back to the pinned owner.
    NoCharter,
    /// The source lacks a charter that was seen before.
    CharterRolledBack,
    /// Two different charters of one number, both signed by the owner.
    TwoCharters,
    /// A manifest under a charter that was not seen yet.
    CharterUnknown,
    /// A manifest under a charter whose time is over.
    CharterLate,
    /// A charter or manifest needs a feature that this version does not know.
    FeatureUnknown,
    /// An object whose bytes are not what they must be.
    Damaged,
    /// An object that a signed manifest or charter names, and that is not there.
    Missing,
    /// A manifest that no agent of the charter signed.
    Forged,
    /// A sound manifest in a slot or cluster that it was not made for.
    Replayed,
    /// A signed manifest that does not extend the chain.
    Fork,
    /// Signed by an agent key outside its time.
    RejectedBranch,
    /// A name under `manifests/` that is none.
    Junk,
    /// The cluster that is read changed without `lifeboat adopt`.
    OriginChanged,
    /// The last manifest is no longer in the source.
    PrimaryEmptied,
    /// The last manifest has other bytes in the source.
    PrimaryRewritten,
    /// A replicated pack is no longer in the source, or has another size there.
    PrimaryLost,
    /// A replicated pack has other bytes in the source.
    PrimaryDamaged,
    /// The vault holds no whole snapshot of the charter's scope that is as young as the charter asks for.
    RpoMissed,
    /// No manifest of any kind came within the RPO.
    AgentStopped,
    /// Snapshots come, and none within the RPO covers the charter's scope.
    NotCovered,
}

impl AlarmKind {
    pub const ALL: [Self; 29] = [
        Self::Unreachable,
        Self::Denied,
        Self::VaultFull,
        Self::VaultFilling,
        Self::QuotaReached,
        Self::VaultFailed,
        Self::VaultDamaged,
        Self::ReceiptKey,
        Self::NoCharter,
        Self::CharterRolledBack,
        Self::TwoCharters,
        Self::CharterUnknown,
        Self::CharterLate,
        Self::FeatureUnknown,
        Self::Damaged,
        Self::Missing,
        Self::Forged,
        Self::Replayed,
        Self::Fork,
        Self::RejectedBranch,
        Self::Junk,
        Self::OriginChanged,
        Self::PrimaryEmptied,
        Self::PrimaryRewritten,
        Self::PrimaryLost,
        Self::PrimaryDamaged,
        Self::RpoMissed,
        Self::AgentStopped,
        Self::NotCovered,
    ];

    /// Its name in JSON, logs and the catalogue.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Denied => "denied",
            Self::VaultFull => "vault-full",
            Self::VaultFilling => "vault-filling",
            Self::QuotaReached => "quota-reached",
            Self::VaultFailed => "vault-failed",
            Self::VaultDamaged => "vault-damaged",
            Self::ReceiptKey => "receipt-key",
            Self::NoCharter => "no-charter",
            Self::CharterRolledBack => "charter-rolled-back",
            Self::TwoCharters => "two-charters",
            Self::CharterUnknown => "charter-unknown",
            Self::CharterLate => "charter-late",
            Self::FeatureUnknown => "feature-unknown",
            Self::Damaged => "damaged",
            Self::Missing => "missing",
            Self::Forged => "forged",
            Self::Replayed => "replayed",
            Self::Fork => "fork",
            Self::RejectedBranch => "rejected-branch",
            Self::Junk => "junk",
            Self::OriginChanged => "origin-changed",
            Self::PrimaryEmptied => "primary-emptied",
            Self::PrimaryRewritten => "primary-rewritten",
            Self::PrimaryLost => "primary-lost",
            Self::PrimaryDamaged => "primary-damaged",
            Self::RpoMissed => "rpo-missed",
            Self::AgentStopped => "agent-stopped",
            Self::NotCovered => "not-covered",
        }
    }

    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Whether nothing is forgotten while it is open: it may be a sign of an attack, or of loss. The others say that
    /// something does not work, and are no reason to keep more than the policy asks for.
    #[must_use]
    pub fn freezes(self) -> bool {
        let faults = [
            Self::Unreachable,
            Self::Denied,
            Self::VaultFull,
            Self::VaultFilling,
            Self::QuotaReached,
            Self::RpoMissed,
            Self::AgentStopped,
            Self::NotCovered,
        ];
        !faults.contains(&self)
    }

    /// Whether the alarm stays until a person has looked, even when its cause can no longer be seen.
    #[must_use]
    pub fn is_sticky(self) -> bool {
        matches!(self, Self::TwoCharters | Self::RejectedBranch | Self::OriginChanged)
    }
}

/// Which part of a pull looks for it: when that part is done and the cause was not seen, the alarm ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    Reach,
    Charters,
    Manifests,
    Snapshots,
    Sweep,
    /// How old the newest snapshots are.
    Age,
    /// How much room the vault's disk has.
    Space,
    /// The vault's own files; looked at when the catalogue is rebuilt.
    Vault,
    /// What a scrub found in the vault and is not healed yet.
    Heal,
    /// Packs of the primary, read again in turn.
    Reread,
}

impl Stage {
    pub const ALL: [Self; 10] = [
        Self::Reach,
        Self::Charters,
        Self::Manifests,
        Self::Snapshots,
        Self::Sweep,
        Self::Age,
        Self::Space,
        Self::Vault,
        Self::Heal,
        Self::Reread,
    ];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Reach => "reach",
            Self::Charters => "charters",
            Self::Manifests => "manifests",
            Self::Snapshots => "snapshots",
            Self::Sweep => "sweep",
            Self::Age => "age",
            Self::Space => "space",
            Self::Vault => "vault",
            Self::Heal => "heal",
            Self::Reread => "reread",
        }
    }
}

/// Something that a pull found to be wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub kind: AlarmKind,
    pub stage: Stage,
    /// The object's key, or the source.
    pub what: String,
    /// What was expected and what was seen.
    pub why: String,
    /// What to do.
    pub next: String,
}

impl Finding {
    pub fn new(
        kind: AlarmKind,
        stage: Stage,
        what: impl Into<String>,
        why: impl Into<String>,
        next: impl Into<String>,
    ) -> Self {
        Self { kind, stage, what: what.into(), why: why.into(), next: next.into() }
    }
}

/// An open alarm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Alarm {
    pub kind: AlarmKind,
    pub since: Timestamp,
    pub what: String,
    pub why: String,
    pub next: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_name_of_its_own_that_serde_agrees_with() {
        for kind in AlarmKind::ALL {
            assert_eq!(AlarmKind::parse(kind.name()), Some(kind));
            assert_eq!(serde_json::to_string(&kind).unwrap(), format!("\"{}\"", kind.name()));
        }
        assert_eq!(AlarmKind::parse("nonsense"), None);
    }
}
