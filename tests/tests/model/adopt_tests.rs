//! Owns the complete explorations of key changes: the rules as decided, and each weaker rule with the invariant it breaks.

use crate::adopt::{Adoption, AgeAgainst, ReuseAcrossKeys, Rules, SlotChoice};
use crate::explore::{breaks, full, holds};
use crate::primary::KEPT_NAMES_DELETED;

fn weaker(window: usize, bounds: (u8, usize), weaken: impl FnOnce(&mut Rules)) -> Adoption {
    let mut rules = Rules::decided(window);
    weaken(&mut rules);
    let (days, slots) = bounds;
    Adoption { rules, days, slots, holes: false }
}

/// Days and slots.
const SMALL: (u8, usize) = (3, 4);
const WIDER: (u8, usize) = (2, 5);

#[test]
fn rules_hold_across_a_key_change() {
    let bounds = if full() { (3, 5) } else { SMALL };
    holds("adopt: window 1", &weaker(1, bounds, |_| ()));
}

#[test]
fn rules_hold_across_a_key_change_with_window_two() {
    let bounds = if full() { (3, 5) } else { WIDER };
    holds("adopt: window 2", &weaker(2, bounds, |_| ()));
}

#[test]
fn collecting_while_the_charter_is_unknown_breaks_it() {
    let model = weaker(1, SMALL, |rules| rules.freeze_while_charter_unknown = false);
    breaks("adopt: no freeze", &model, KEPT_NAMES_DELETED);
}

#[test]
fn gaps_in_what_the_vault_judged_break_it() {
    let model = weaker(1, SMALL, |rules| rules.every_slot_judged = false);
    breaks("adopt: gaps below H", &model, KEPT_NAMES_DELETED);
}

#[test]
fn reuse_from_the_last_manifest_of_the_old_key_breaks_it() {
    let model = weaker(1, SMALL, |rules| rules.reuse_across_keys = ReuseAcrossKeys::Always);
    breaks("adopt: the new key reuses `from`", &model, KEPT_NAMES_DELETED);
}

#[test]
fn age_against_the_own_head_breaks_it() {
    let model = weaker(1, SMALL, |rules| rules.age_against = AgeAgainst::OwnHead);
    breaks("adopt: age against the own head", &model, KEPT_NAMES_DELETED);
}

/// "The first manifest of a new agent key uses only (a)" is not enough once the window is wider than one.
#[test]
fn reuse_across_keys_from_the_second_manifest_on_breaks_it() {
    let model = weaker(2, WIDER, |rules| rules.reuse_across_keys = ReuseAcrossKeys::AfterFirstManifest);
    breaks("adopt: the new key's second manifest reuses `from`", &model, KEPT_NAMES_DELETED);
}

fn with_holes(weaken: impl FnOnce(&mut Rules)) -> Adoption {
    Adoption { holes: true, ..weaker(1, SMALL, weaken) }
}

#[test]
fn rules_hold_when_junk_leaves_a_hole() {
    holds("adopt: holes", &with_holes(|_| ()));
}

/// A create that was on its way lands in the hole after the chain went on above it: the conditional create no longer decides,
/// and the collector does not find what landed late on the chain of H.
#[test]
fn slots_above_the_highest_break_it_when_junk_leaves_a_hole() {
    let model = with_holes(|rules| rules.slot_choice = SlotChoice::AboveHighest);
    breaks("adopt: holes, slots above the highest", &model, KEPT_NAMES_DELETED);
}

/// The junk above a hole is older than the manifest that fills the hole.
#[test]
fn age_against_the_slot_below_breaks_it_when_junk_leaves_a_hole() {
    let model = with_holes(|rules| rules.age_against = AgeAgainst::SlotBelow);
    breaks("adopt: holes, age against the slot below", &model, KEPT_NAMES_DELETED);
}
