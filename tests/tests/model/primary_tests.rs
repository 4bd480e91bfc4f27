//! Owns the complete explorations of the primary side: the rules as decided, and each weaker rule with the invariant it breaks.

use crate::explore::{breaks, full, holds};
use crate::primary::*;

/// One run, one pack, windows of one manifest: enough for most counterexamples.
const SMALL: Bounds = Bounds { days: 4, slots: 4, packs: 1, runs: 1, shared_log: false, duplicates: false };
const TWO_RUNS: Bounds =
    Bounds { days: 3, slots: 3, packs: 1, runs: 2, shared_log: false, duplicates: false };

fn decided(window: usize, bounds: Bounds) -> Primary {
    Primary { rules: Rules::decided(window), bounds }
}

fn weaker(bounds: Bounds, weaken: impl FnOnce(&mut Rules)) -> Primary {
    let mut rules = Rules::decided(1);
    weaken(&mut rules);
    Primary { rules, bounds }
}

/// `bounds`, or the larger ones when they were asked for.
fn sized(bounds: Bounds, days: u8, slots: usize) -> Bounds {
    if full() { Bounds { days, slots, ..bounds } } else { bounds }
}

#[test]
fn rules_hold_for_one_run() {
    holds("primary: one run, window 1", &decided(1, sized(SMALL, 5, 5)));
}

#[test]
fn rules_hold_for_two_runs() {
    holds("primary: two runs, window 1", &decided(1, sized(TWO_RUNS, 3, 4)));
}

#[test]
fn rules_hold_for_a_killed_run_that_goes_on_from_its_log() {
    let bounds = Bounds { shared_log: true, ..TWO_RUNS };
    holds("primary: two attempts, one log, window 1", &decided(1, sized(bounds, 3, 4)));
}

#[test]
fn rules_hold_with_window_two() {
    holds("primary: one run, window 2", &decided(2, sized(SMALL, 4, 5)));
}

#[test]
fn rules_hold_with_two_packs() {
    let bounds = Bounds { days: 3, slots: 3, packs: 2, ..SMALL };
    holds("primary: one run, two packs, window 1", &decided(1, sized(bounds, 4, 3)));
}

#[test]
fn rules_hold_when_duplicates_land_after_a_deletion() {
    let bounds = Bounds { duplicates: true, ..SMALL };
    holds("primary: duplicates, window 1", &decided(1, sized(bounds, 5, 4)));
}

#[test]
fn rules_hold_with_the_second_belt() {
    let bounds = Bounds { slots: 3, ..SMALL };
    let model = weaker(sized(bounds, 4, 4), |rules| rules.two_passes = true);
    holds("primary: fence and two passes", &model);
}

#[test]
fn own_packs_named_for_ever_break_it() {
    let model = weaker(Bounds { days: 5, ..SMALL }, |rules| rules.own_packs = OwnPacks::OnceNamedForEver);
    breaks("primary: own packs for ever", &model, KEPT_NAMES_DELETED);
}

#[test]
fn freshness_not_tested_again_after_a_conflict_breaks_it() {
    let model = weaker(TWO_RUNS, |rules| rules.after_conflict = AfterConflict::NamingOnly);
    breaks("primary: freshness before the head is read", &model, KEPT_NAMES_DELETED);
}

#[test]
fn freshness_renewed_by_a_retry_breaks_it() {
    let model = weaker(SMALL, |rules| rules.freshness = Freshness::RenewedByRetry);
    breaks("primary: age from the last acknowledgment", &model, KEPT_NAMES_DELETED);
}

#[test]
fn freshness_by_a_clock_that_is_behind_breaks_it() {
    let model =
        weaker(Bounds { days: 5, ..SMALL }, |rules| rules.freshness = Freshness::OwnClock { days_behind: 1 });
    breaks("primary: own clock, a day behind", &model, KEPT_NAMES_DELETED);
}

#[test]
fn checkpoints_that_agents_do_not_count_break_it() {
    let bounds = Bounds { packs: 2, ..SMALL };
    let model = weaker(bounds, |rules| rules.checkpoints_count = false);
    breaks("primary: checkpoints not counted", &model, REUSABLE_DELETED);
}

#[test]
fn collector_that_spares_fewer_manifests_than_agents_reuse_breaks_it() {
    let model = weaker(SMALL, |rules| rules.agent_window = 2);
    breaks("primary: agent window 2, collector window 1", &model, REUSABLE_DELETED);
}

#[test]
fn retention_that_deletes_manifests_reopens_slots() {
    let model = weaker(TWO_RUNS, |rules| rules.forgetting = Forgetting::DeletesManifest);
    breaks("primary: manifests deleted", &model, SLOT_TAKEN_TWICE);
}

#[test]
fn two_passes_without_the_fence_break_it_when_the_vault_lags() {
    let model = weaker(SMALL, |rules| {
        rules.fence = false;
        rules.two_passes = true;
    });
    breaks("primary: no fence, lagging vault", &model, KEPT_NAMES_DELETED);
}
