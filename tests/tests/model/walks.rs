//! Owns the seeded random walks: long paths through bounds that are too large to be explored completely, and the weaker rules
//! that only such bounds, or windows of three manifests, show to be weak.

use crate::adopt::{self, Adoption};
use crate::explore::{Counterexample, Model, full};
use crate::primary::{self, Bounds, Forgetting, Freshness, OwnPacks, Primary};
use std::mem::discriminant;

/// The windows of the rules as decided.
const THREE: usize = 3;

/// How long and how many; the seed makes every walk repeatable.
#[derive(Clone, Copy)]
struct Walks {
    walks: usize,
    steps: usize,
    seed: u64,
}

/// SplitMix64: small, seeded, the same everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((bits ^ (bits >> 31)) >> 33).expect("31 bits") % bound
    }
}

struct Outcome {
    steps: usize,
    deletions: usize,
    counterexample: Option<Counterexample>,
}

/// Draws a kind of action first and then one of that kind, so that what has many variants does not crowd out the rest.
fn draw<A, S>(possible: &[(A, S)], random: &mut Random) -> usize {
    let mut kinds = Vec::new();
    for (action, _) in possible {
        if !kinds.contains(&discriminant(action)) {
            kinds.push(discriminant(action));
        }
    }
    let kind = kinds[random.below(kinds.len())];
    let of_kind = || (0..possible.len()).filter(|&index| discriminant(&possible[index].0) == kind);
    let drawn = random.below(of_kind().count());
    of_kind().nth(drawn).expect("the kind was taken from what is possible")
}

/// Walks from the start again and again, each time until nothing is possible or the steps are used up.
fn walk<M: Model>(model: &M, walks: Walks) -> Outcome {
    let mut random = Random(walks.seed);
    let mut possible = Vec::new();
    let (mut steps, mut deletions) = (0, 0);
    for _ in 0..walks.walks {
        let mut state = model.initial();
        let mut path = Vec::with_capacity(walks.steps);
        for _ in 0..walks.steps {
            possible.clear();
            model.successors(&state, &mut |action, next| possible.push((action, next)));
            if possible.is_empty() {
                break;
            }
            let (action, next) = possible[draw(&possible, &mut random)];
            steps += 1;
            deletions += usize::from(model.deletes(action));
            path.push(action);
            state = next;
            if let Some(invariant) = model.violation(&state) {
                let trace = path.iter().map(|action| format!("{action:?}")).collect();
                let counterexample = Some(Counterexample { invariant, steps: trace });
                return Outcome { steps, deletions, counterexample };
            }
        }
    }
    Outcome { steps, deletions, counterexample: None }
}

fn walks_hold<M: Model>(name: &str, model: &M, walks: Walks) {
    let Outcome { steps, deletions, counterexample } = walk(model, walks);
    if let Some(counterexample) = counterexample {
        panic!("[{name}] broken after {steps} steps: {counterexample}");
    }
    assert!(deletions > 0, "[{name}] never deletes a pack, so it shows nothing");
    eprintln!("[{name}] holds in {} walks, {steps} steps; {deletions} deletions", walks.walks);
}

fn walks_break<M: Model>(name: &str, model: &M, walks: Walks) {
    let Outcome { steps, counterexample, .. } = walk(model, walks);
    let Some(counterexample) = counterexample else {
        panic!("[{name}] not broken in {steps} steps: the model has lost its teeth")
    };
    eprintln!("[{name}] broken after {steps} steps: {counterexample}");
}

const ONE_PACK: Bounds = Bounds { days: 9, slots: 11, packs: 1, runs: 2, shared_log: true, duplicates: true };
const TWO_PACKS: Bounds = Bounds { packs: 2, ..ONE_PACK };
const SEPARATE_LOGS: Bounds = Bounds { packs: 2, shared_log: false, ..ONE_PACK };

fn decided(bounds: Bounds) -> Primary {
    Primary { rules: primary::Rules::decided(THREE), bounds }
}

fn weaker(weaken: impl FnOnce(&mut primary::Rules)) -> Primary {
    let mut model = decided(SEPARATE_LOGS);
    weaken(&mut model.rules);
    model
}

fn many(walks: usize, steps: usize, seed: u64) -> Walks {
    Walks { walks: if full() { walks * 10 } else { walks }, steps, seed }
}

#[test]
fn window_three_holds_with_one_pack_and_the_fence_alone() {
    walks_hold("walks: one pack, fence alone", &decided(ONE_PACK), many(60_000, 70, 7));
}

#[test]
fn window_three_holds_with_two_packs_and_two_passes() {
    let mut model = decided(TWO_PACKS);
    model.rules.two_passes = true;
    walks_hold("walks: two packs, fence and two passes", &model, many(25_000, 80, 9));
}

#[test]
fn window_three_holds_for_runs_with_their_own_logs() {
    walks_hold("walks: two packs, two logs", &decided(SEPARATE_LOGS), many(25_000, 80, 11));
}

#[test]
fn window_three_holds_across_a_key_change() {
    let model =
        Adoption { rules: adopt::Rules::decided(THREE), days: 6, slots: adopt::MAX_SLOTS, holes: true };
    walks_hold("walks: adopt", &model, many(100_000, 60, 13));
}

#[test]
fn walks_find_checkpoints_not_counted() {
    let model = weaker(|rules| rules.checkpoints_count = false);
    walks_break("walks: checkpoints not counted", &model, many(100_000, 80, 1));
}

#[test]
fn walks_find_own_packs_for_ever() {
    let model = weaker(|rules| rules.own_packs = OwnPacks::OnceNamedForEver);
    walks_break("walks: own packs for ever", &model, many(100_000, 80, 1));
}

#[test]
fn walks_find_a_clock_that_is_behind() {
    let model = weaker(|rules| rules.freshness = Freshness::OwnClock { days_behind: 1 });
    walks_break("walks: own clock, a day behind", &model, many(100_000, 80, 1));
}

#[test]
fn walks_find_reopened_slots() {
    let model = weaker(|rules| rules.forgetting = Forgetting::DeletesManifest);
    walks_break("walks: manifests deleted", &model, many(100_000, 80, 1));
}

#[test]
fn walks_find_a_missing_fence() {
    let model = weaker(|rules| rules.fence = false);
    walks_break("walks: no fence", &model, many(100_000, 80, 1));
}
