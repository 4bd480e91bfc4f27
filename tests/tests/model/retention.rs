//! Owns retention on both sides: one old snapshot whose pack nothing newer needs, the primary's retention and collector, the
//! vault's, bit rot, healing, and a vault that was lost and made anew. Rules 4 and 5 about forgetting.
//!
//! The fence, the window and the listing of the primary's collector are in `primary.rs`; here it may collect as soon as the
//! retention rules let it.

use crate::explore::Model;

pub(crate) const PRIMARY_LACKS_PACK: &str = "a snapshot is kept on the primary but its pack is deleted there";
pub(crate) const LAST_COPY_COLLECTED: &str =
    "the last good copy was collected though the vault should keep the snapshot";

/// Which snapshots the primary's collector takes as kept.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeptOnPrimary {
    /// The rule: those without a `forgotten/` marker.
    WithoutMarker,
    /// Weaker: those that the vault keeps.
    WhatTheVaultKeeps,
}

/// When the primary may forget a snapshot.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum PrimaryForgets {
    /// The rule: the vault holds it verified with every pack present and none marked damaged, or has tombstoned it.
    WhileVaultHoldsItWhole,
    /// Weaker: the vault verified it once, on arrival.
    OnceVerifiedOnArrival,
}

/// What a vault that lost its tombstones makes of a snapshot with a `forgotten/` marker.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum MarkerSeenByNewVault {
    /// The rule: a hint that raises an alarm; while the primary still has the packs the snapshot is pulled again.
    Hint,
    /// Weaker: as good as the tombstone.
    Tombstone,
}

#[derive(Clone, Copy)]
pub(crate) struct Rules {
    pub(crate) kept_on_primary: KeptOnPrimary,
    pub(crate) primary_forgets: PrimaryForgets,
    pub(crate) marker_seen_by_new_vault: MarkerSeenByNewVault,
    /// The collector works only when the vault has fetched and judged every manifest.
    pub(crate) unknown_manifests_freeze: bool,
    /// A pack needed by a snapshot that the vault keeps goes only while the vault holds it undamaged.
    pub(crate) intact_copy_needed: bool,
}

impl Rules {
    pub(crate) const fn decided() -> Self {
        Self {
            kept_on_primary: KeptOnPrimary::WithoutMarker,
            primary_forgets: PrimaryForgets::WhileVaultHoldsItWhole,
            marker_seen_by_new_vault: MarkerSeenByNewVault::Hint,
            unknown_manifests_freeze: true,
            intact_copy_needed: true,
        }
    }
}

#[derive(Clone, Copy)]
pub(crate) struct Retention {
    pub(crate) rules: Rules,
    pub(crate) misfortunes: u8,
}

/// The snapshot in the vault's catalog.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum InVault {
    /// The vault was made anew and has not judged the snapshot's manifest yet.
    Unknown,
    Pending,
    Verified,
    Tombstoned,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum VaultPack {
    Good,
    Damaged,
    Gone,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum PrimaryPack {
    There,
    Collected,
    /// Gone without our doing; `lost/` says so.
    Lost,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct State {
    in_vault: InVault,
    vault_pack: VaultPack,
    /// `forgotten/<seq>` is on the primary.
    marker: bool,
    primary_pack: PrimaryPack,
    due_on_primary: bool,
    due_in_vault: bool,
    /// Survives the loss of the vault and its tombstones: this is what really happened.
    forgotten_by_vault_policy: bool,
    misfortunes: u8,
    last_copy_collected: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    PrimaryRetentionPasses,
    VaultRetentionPasses,
    ScrubFindsBitRot,
    PrimaryLosesPack,
    PackHealedFromPrimary,
    PackHealedFromVault,
    VaultLostAndMadeAnew,
    VaultJudgesManifest { taken_as_tombstoned: bool },
    VaultFetchesAndVerifies,
    VaultForgets,
    VaultForgetsIncomplete,
    VaultForgetsEarlyByItsPolicy,
    VaultCollectsPack,
    PrimaryForgets,
    PrimaryCollectsPack,
}

type Visit<'a> = &'a mut dyn FnMut(Action, State);

impl State {
    fn edit(&self, change: impl FnOnce(&mut Self)) -> Self {
        let mut state = *self;
        change(&mut state);
        state
    }

    fn primary_has_pack(&self) -> bool {
        self.primary_pack == PrimaryPack::There
    }

    fn forgotten_by_vault(&self) -> Self {
        self.edit(|next| {
            next.in_vault = InVault::Tombstoned;
            next.forgotten_by_vault_policy = true;
        })
    }

    /// The vault's own policy neither forgot the snapshot nor would forget it now, whatever the vault believes.
    fn vault_should_keep_it(&self) -> bool {
        !self.due_in_vault && !self.forgotten_by_vault_policy
    }
}

impl Retention {
    fn time_and_misfortune(&self, state: &State, visit: Visit<'_>) {
        if !state.due_on_primary {
            visit(Action::PrimaryRetentionPasses, state.edit(|next| next.due_on_primary = true));
        } else if !state.due_in_vault {
            // The vault keeps for longer than the primary.
            visit(Action::VaultRetentionPasses, state.edit(|next| next.due_in_vault = true));
        }
        if state.misfortunes == self.misfortunes {
            return;
        }
        if state.vault_pack == VaultPack::Good {
            visit(
                Action::ScrubFindsBitRot,
                state.edit(|next| {
                    next.vault_pack = VaultPack::Damaged;
                    next.misfortunes += 1;
                }),
            );
        }
        if state.primary_has_pack() {
            visit(
                Action::PrimaryLosesPack,
                state.edit(|next| {
                    next.primary_pack = PrimaryPack::Lost;
                    next.misfortunes += 1;
                }),
            );
        }
        visit(
            Action::VaultLostAndMadeAnew,
            state.edit(|next| {
                next.in_vault = InVault::Unknown;
                next.vault_pack = VaultPack::Gone;
                next.misfortunes += 1;
            }),
        );
    }

    fn vault_works(&self, state: &State, visit: Visit<'_>) {
        match state.in_vault {
            InVault::Unknown => {
                let believed = self.rules.marker_seen_by_new_vault == MarkerSeenByNewVault::Tombstone
                    || !state.primary_has_pack();
                let taken_as_tombstoned = state.marker && believed;
                let judged = if taken_as_tombstoned { InVault::Tombstoned } else { InVault::Pending };
                visit(
                    Action::VaultJudgesManifest { taken_as_tombstoned },
                    state.edit(|next| next.in_vault = judged),
                );
            }
            InVault::Pending if state.primary_has_pack() => visit(
                Action::VaultFetchesAndVerifies,
                state.edit(|next| {
                    next.in_vault = InVault::Verified;
                    next.vault_pack = VaultPack::Good;
                }),
            ),
            InVault::Pending if state.due_in_vault => {
                visit(Action::VaultForgetsIncomplete, state.forgotten_by_vault());
            }
            InVault::Pending => {}
            InVault::Verified => {
                let action = if state.due_in_vault {
                    Action::VaultForgets
                } else {
                    Action::VaultForgetsEarlyByItsPolicy
                };
                visit(action, state.forgotten_by_vault());
            }
            InVault::Tombstoned if state.vault_pack != VaultPack::Gone => {
                visit(Action::VaultCollectsPack, state.edit(|next| next.vault_pack = VaultPack::Gone));
            }
            InVault::Tombstoned => {}
        }
        if state.in_vault == InVault::Verified
            && state.vault_pack == VaultPack::Damaged
            && state.primary_has_pack()
        {
            visit(Action::PackHealedFromPrimary, state.edit(|next| next.vault_pack = VaultPack::Good));
        }
        if state.in_vault == InVault::Verified
            && state.vault_pack == VaultPack::Good
            && state.primary_pack == PrimaryPack::Lost
        {
            visit(Action::PackHealedFromVault, state.edit(|next| next.primary_pack = PrimaryPack::There));
        }
    }

    fn primary_works(&self, state: &State, visit: Visit<'_>) {
        let safe_in_vault = match self.rules.primary_forgets {
            PrimaryForgets::WhileVaultHoldsItWhole => {
                state.in_vault == InVault::Verified && state.vault_pack == VaultPack::Good
            }
            PrimaryForgets::OnceVerifiedOnArrival => state.in_vault == InVault::Verified,
        };
        if state.due_on_primary && !state.marker && (safe_in_vault || state.in_vault == InVault::Tombstoned) {
            visit(Action::PrimaryForgets, state.edit(|next| next.marker = true));
        }
        let kept = match state.in_vault {
            InVault::Unknown => self.rules.unknown_manifests_freeze,
            in_vault => match self.rules.kept_on_primary {
                KeptOnPrimary::WithoutMarker => !state.marker,
                KeptOnPrimary::WhatTheVaultKeeps => in_vault != InVault::Tombstoned,
            },
        };
        let vault_keeps_it = matches!(state.in_vault, InVault::Pending | InVault::Verified);
        let copy_missing =
            self.rules.intact_copy_needed && vault_keeps_it && state.vault_pack != VaultPack::Good;
        if state.primary_has_pack() && !kept && !copy_missing {
            visit(
                Action::PrimaryCollectsPack,
                state.edit(|next| {
                    next.primary_pack = PrimaryPack::Collected;
                    next.last_copy_collected =
                        state.vault_pack != VaultPack::Good && state.vault_should_keep_it();
                }),
            );
        }
    }
}

impl Model for Retention {
    type State = State;
    type Action = Action;

    fn initial(&self) -> State {
        State {
            in_vault: InVault::Verified,
            vault_pack: VaultPack::Good,
            marker: false,
            primary_pack: PrimaryPack::There,
            due_on_primary: false,
            due_in_vault: false,
            forgotten_by_vault_policy: false,
            misfortunes: 0,
            last_copy_collected: false,
        }
    }

    fn successors(&self, state: &State, visit: Visit<'_>) {
        self.time_and_misfortune(state, visit);
        self.vault_works(state, visit);
        self.primary_works(state, visit);
    }

    fn violation(&self, state: &State) -> Option<&'static str> {
        if !state.marker && state.primary_pack == PrimaryPack::Collected {
            Some(PRIMARY_LACKS_PACK)
        } else if state.last_copy_collected {
            Some(LAST_COPY_COLLECTED)
        } else {
            None
        }
    }

    fn deletes(&self, action: Action) -> bool {
        action == Action::PrimaryCollectsPack
    }
}
