//! Owns the arithmetic of `carry`: how long a domain that no run covers stays reusable, and whether a long run keeps its own
//! packs within the window of three while others commit. Rule 3.

use crate::explore::{Model, Verdict, breaks, explore};

/// Days for which a carried domain stays reusable.
const CARRY_DAYS: u32 = 14;
/// Manifests that reuse follows (rule 2b).
const WINDOW: usize = 3;

const OWN_PACKS_OUT_OF_REACH: &str = "packs that an unfinished run still means to use are out of reach";

/// What a manifest writes beside each carried domain.
#[derive(Clone, Copy, PartialEq, Eq)]
enum CarryStamp {
    /// The rule: the time when the domain was last named in `packs`, copied unchanged.
    CopiedUnchanged,
    /// Weaker: the manifest's own time.
    Renewed,
}

/// The day on which a domain last covered on day 0 is dropped by daily runs that never cover it, if it ever is.
fn day_dropped(stamp: CarryStamp) -> Option<u32> {
    let mut stamped = 0;
    (1..=365).find(|&day| {
        let dropped = day - stamped > CARRY_DAYS;
        if stamp == CarryStamp::Renewed {
            stamped = day;
        }
        dropped
    })
}

#[test]
fn carried_domain_is_dropped_after_fourteen_days() {
    assert_eq!(day_dropped(CarryStamp::CopiedUnchanged), Some(CARRY_DAYS + 1));
}

#[test]
fn renewed_stamp_carries_for_ever() {
    assert_eq!(day_dropped(CarryStamp::Renewed), None);
}

/// How a long run keeps its older packs reusable.
#[derive(Clone, Copy)]
struct LongRun {
    /// Every run carries the head's carry for domains whose run is unfinished.
    others_carry_the_heads_carry: bool,
    /// The run writes a checkpoint before a third foreign manifest follows its last.
    checkpoint_after_two_foreign: bool,
}

/// Whether each of the newest manifests names the run's older packs, newest first; and how many followed its last own.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct State {
    names_own: [bool; WINDOW],
    foreign_since_own: u8,
}

#[derive(Clone, Copy, Debug)]
enum Action {
    RunWritesCheckpoint,
    OtherRunCommits,
}

impl State {
    fn committed(self, names_own: bool, foreign_since_own: u8) -> Self {
        let mut window = self.names_own;
        window.rotate_right(1);
        window[0] = names_own;
        Self { names_own: window, foreign_since_own }
    }
}

impl Model for LongRun {
    type State = State;
    type Action = Action;

    /// The run has just written its first checkpoint, and what it uploaded before is about to be too old to be fresh.
    fn initial(&self) -> State {
        State { names_own: [true, false, false], foreign_since_own: 0 }
    }

    fn successors(&self, state: &State, visit: &mut dyn FnMut(Action, State)) {
        if state.names_own.contains(&true) {
            visit(Action::RunWritesCheckpoint, state.committed(true, 0));
        }
        if !self.checkpoint_after_two_foreign || state.foreign_since_own < 2 {
            let carried = self.others_carry_the_heads_carry && state.names_own[0];
            let foreign = (state.foreign_since_own + 1).min(u8::MAX - 1);
            visit(Action::OtherRunCommits, state.committed(carried, foreign));
        }
    }

    fn violation(&self, state: &State) -> Option<&'static str> {
        (!state.names_own.contains(&true)).then_some(OWN_PACKS_OUT_OF_REACH)
    }

    fn deletes(&self, _: Action) -> bool {
        false
    }
}

fn stays_in_reach(run: &LongRun) {
    assert!(matches!(explore(run, None).verdict, Verdict::Complete));
}

#[test]
fn long_run_keeps_its_packs_when_others_carry_them() {
    stays_in_reach(&LongRun { others_carry_the_heads_carry: true, checkpoint_after_two_foreign: false });
}

#[test]
fn long_run_keeps_its_packs_when_it_answers_two_foreign_manifests() {
    stays_in_reach(&LongRun { others_carry_the_heads_carry: false, checkpoint_after_two_foreign: true });
}

#[test]
fn long_run_that_only_waits_for_its_next_checkpoint_loses_its_packs() {
    let run = LongRun { others_carry_the_heads_carry: false, checkpoint_after_two_foreign: false };
    breaks("carry: neither rule", &run, OWN_PACKS_OUT_OF_REACH);
}
