//! The decision for a primary: only age, and never what the vault could not give back.

use jiff::Timestamp;

/// A snapshot that is in the primary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OnPrimary {
    pub seq: u64,
    /// When the replicator first saw it.
    pub first_seen: Timestamp,
    /// Hours that the primary keeps it, when shorter than the charter says.
    pub ttl_hours: Option<u32>,
    pub vault: VaultHas,
}

/// What the vault has of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VaultHas {
    /// Every pack, verified, and none marked damaged.
    Whole,
    /// It was there and was forgotten by the vault's own policy.
    Tombstone,
    /// Less than that.
    Less,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PrimaryReason {
    /// Younger than the hours that it is kept, or first seen in the future.
    Young,
    /// The vault does not hold it whole.
    NotInVault,
    /// A person took the decision to forget it back.
    Undone,
    /// One of the three that end the chain: agents build on them.
    Newest,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrimaryDecision {
    pub seq: u64,
    /// None: forget it.
    pub keep: Option<PrimaryReason>,
}

/// The last so many snapshots of a chain always stay: an agent reuses what they name.
const WINDOW: usize = 3;

/// Decides for every snapshot of a primary that keeps for `hours`; `snapshots` in the order of the chain.
#[must_use]
pub fn decide_primary(snapshots: &[OnPrimary], hours: u32, now: Timestamp) -> Vec<PrimaryDecision> {
    let newest = snapshots.len().saturating_sub(WINDOW);
    let decide = |(i, s): (usize, &OnPrimary)| {
        let hours = s.ttl_hours.map_or(hours, |ttl| ttl.min(hours));
        let age = now.as_second().saturating_sub(s.first_seen.as_second());
        let keep = if age < i64::from(hours) * 3600 {
            Some(PrimaryReason::Young)
        } else if s.vault == VaultHas::Less {
            Some(PrimaryReason::NotInVault)
        } else if i >= newest {
            Some(PrimaryReason::Newest)
        } else {
            None
        };
        PrimaryDecision { seq: s.seq, keep }
    };
    snapshots.iter().enumerate().map(decide).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hours: i64) -> Timestamp {
        Timestamp::from_second(hours * 3600).unwrap()
    }

    fn on(seq: u64, seen: i64, ttl_hours: Option<u32>, vault: VaultHas) -> OnPrimary {
        OnPrimary { seq, first_seen: at(seen), ttl_hours, vault }
    }

    #[test]
    fn only_what_the_vault_has_or_had_goes_and_only_when_it_is_old() {
        use {PrimaryReason::*, VaultHas::*};
        let chain = [
            on(1, 0, None, Whole),
            on(2, 1, None, Less),
            on(3, 2, None, Tombstone),
            on(4, 600, Some(24), Whole),
            on(5, 600, Some(10_000), Whole),
            on(6, 100, None, Whole),
            on(7, 100, None, Whole),
            on(8, 9_000, None, Whole),
        ];
        let kept: Vec<_> = decide_primary(&chain, 720, at(1_000)).into_iter().map(|d| d.keep).collect();
        let expected =
            [None, Some(NotInVault), None, None, Some(Young), Some(Newest), Some(Newest), Some(Young)];
        assert_eq!(kept, expected);
    }
}
