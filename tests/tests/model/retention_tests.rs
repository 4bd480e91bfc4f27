//! Owns the complete explorations of both retentions: the rules as decided, and each weaker rule with the invariant it breaks.

use crate::explore::{breaks, full, holds};
use crate::retention::*;

fn weaker(weaken: impl FnOnce(&mut Rules)) -> Retention {
    let mut rules = Rules::decided();
    weaken(&mut rules);
    Retention { rules, misfortunes: 2 }
}

#[test]
fn rules_hold() {
    let misfortunes = if full() { 6 } else { 3 };
    holds("retention", &Retention { rules: Rules::decided(), misfortunes });
}

#[test]
fn kept_read_as_kept_in_the_vault_breaks_it() {
    let model = weaker(|rules| rules.kept_on_primary = KeptOnPrimary::WhatTheVaultKeeps);
    breaks("retention: kept means kept in the vault", &model, PRIMARY_LACKS_PACK);
}

#[test]
fn verified_read_as_verified_on_arrival_breaks_it() {
    let model = weaker(|rules| {
        rules.primary_forgets = PrimaryForgets::OnceVerifiedOnArrival;
        // With it, the pack stays until it is healed, and the weaker reading costs nothing.
        rules.intact_copy_needed = false;
    });
    breaks("retention: verified on arrival", &model, LAST_COPY_COLLECTED);
}

#[test]
fn unknown_manifests_that_do_not_freeze_break_it() {
    let model = weaker(|rules| rules.unknown_manifests_freeze = false);
    breaks("retention: unknown manifests not frozen", &model, PRIMARY_LACKS_PACK);
}

#[test]
fn collecting_without_an_intact_copy_in_the_vault_breaks_it() {
    let model = weaker(|rules| rules.intact_copy_needed = false);
    breaks("retention: no intact copy needed", &model, LAST_COPY_COLLECTED);
}

#[test]
fn markers_taken_for_tombstones_by_a_new_vault_break_it() {
    let model = weaker(|rules| rules.marker_seen_by_new_vault = MarkerSeenByNewVault::Tombstone);
    breaks("retention: markers as tombstones", &model, LAST_COPY_COLLECTED);
}

#[test]
fn verified_on_arrival_is_saved_by_the_intact_copy_rule() {
    let model = weaker(|rules| rules.primary_forgets = PrimaryForgets::OnceVerifiedOnArrival);
    holds("retention: verified on arrival, intact copy needed", &model);
}
