//! Owns the exploration: breadth-first search over every reachable state of a model, the shortest counterexample and its
//! trace, and the assertions that a set of rules holds (completely explored) or breaks (so the model has teeth).

use std::fmt::{self, Debug, Display};
use std::hash::{BuildHasher, BuildHasherDefault, Hash, Hasher};

/// A state machine. Every action is optional, so a pause of any length, a crash and a lost log need no action of their own:
/// they are the paths on which somebody does nothing more.
pub(crate) trait Model {
    type State: Copy + Eq + Hash;
    type Action: Copy + Debug;

    fn initial(&self) -> Self::State;
    /// Calls `visit` with every action that is possible in `state` and the state it leads to.
    fn successors(&self, state: &Self::State, visit: &mut dyn FnMut(Self::Action, Self::State));
    /// Says which invariant `state` breaks, if it breaks one.
    fn violation(&self, state: &Self::State) -> Option<&'static str>;
    /// Whether the action removes a pack from a store. A set of rules that never deletes anything is safe and useless, so
    /// every exploration that holds must also have reached a deletion.
    fn deletes(&self, action: Self::Action) -> bool;
}

/// How an invariant was broken: what happened, step by step.
pub(crate) struct Counterexample {
    pub(crate) invariant: &'static str,
    pub(crate) steps: Vec<String>,
}

impl Display for Counterexample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.invariant)?;
        self.steps.iter().enumerate().try_for_each(|(i, step)| write!(f, "\n    {:>2}. {step}", i + 1))
    }
}

pub(crate) enum Verdict {
    /// Every reachable state was visited and none breaks an invariant.
    Complete,
    /// The limit was reached first: nothing is proven.
    LimitReached,
    Violated(Counterexample),
}

pub(crate) struct Exploration {
    pub(crate) states: usize,
    pub(crate) deletions: usize,
    pub(crate) verdict: Verdict,
}

/// More states than this are a mistake in the bounds, not an exploration.
const STATE_LIMIT: usize = 30_000_000;

/// Whether the larger bounds were asked for (`LIFEBOAT_MODEL=full`); without, the whole test stays under a minute.
pub(crate) fn full() -> bool {
    std::env::var("LIFEBOAT_MODEL").is_ok_and(|value| value == "full")
}

/// Visits every state that can be reached, nearest first, so that the counterexample is a shortest one. Stops at the first
/// state that breaks an invariant: any, or only the one that is `sought`.
pub(crate) fn explore<M: Model>(model: &M, sought: Option<&str>) -> Exploration {
    let mut visited = Visited::new();
    visited.insert(model.initial(), 0);
    let mut deletions = 0;
    let mut next = 0;
    while next < visited.states.len() {
        let state = visited.states[next];
        let mut violated = None;
        model.successors(&state, &mut |action, successor| {
            if violated.is_some() || !visited.insert(successor, next) {
                return;
            }
            deletions += usize::from(model.deletes(action));
            let broken = model.violation(&successor);
            if let Some(invariant) = broken.filter(|&broken| sought.is_none_or(|sought| sought == broken)) {
                violated = Some((invariant, visited.states.len() - 1));
            }
        });
        let states = visited.states.len();
        if let Some((invariant, index)) = violated {
            let steps = visited.trace(model, index);
            return Exploration {
                states,
                deletions,
                verdict: Verdict::Violated(Counterexample { invariant, steps }),
            };
        }
        if states > STATE_LIMIT {
            return Exploration { states, deletions, verdict: Verdict::LimitReached };
        }
        next += 1;
    }
    Exploration { states: visited.states.len(), deletions, verdict: Verdict::Complete }
}

/// Asserts that the rules hold in every reachable state, and that deletions are among what was reached.
pub(crate) fn holds<M: Model>(name: &str, model: &M) {
    let Exploration { states, deletions, verdict } = explore(model, None);
    match verdict {
        Verdict::Complete => {
            eprintln!("[{name}] holds in all {states} states; {deletions} deletions reached")
        }
        Verdict::LimitReached => panic!("[{name}] not complete after {states} states"),
        Verdict::Violated(counterexample) => {
            panic!("[{name}] broken after {states} states: {counterexample}")
        }
    }
    assert!(deletions > 0, "[{name}] never deletes a pack, so it shows nothing");
}

/// Asserts that the weaker rules break `invariant`, and prints the shortest way there.
pub(crate) fn breaks<M: Model>(name: &str, model: &M, invariant: &str) {
    let Exploration { states, verdict, .. } = explore(model, Some(invariant));
    match verdict {
        Verdict::Violated(counterexample) => {
            eprintln!("[{name}] broken after {states} states: {counterexample}");
        }
        _ => panic!("[{name}] not broken in {states} states: the model has lost its teeth"),
    }
}

/// The states found so far, each with the state it was first reached from, and an open-addressed table of their indices.
struct Visited<S> {
    states: Vec<S>,
    parents: Vec<u32>,
    table: Vec<u32>,
}

const FREE: u32 = u32::MAX;

impl<S: Copy + Eq + Hash> Visited<S> {
    fn new() -> Self {
        Self { states: Vec::new(), parents: Vec::new(), table: vec![FREE; 1 << 12] }
    }

    /// Remembers `state`; false if it was known before.
    fn insert(&mut self, state: S, parent: usize) -> bool {
        let slot = self.slot(&state);
        if self.table[slot] != FREE {
            return false;
        }
        self.table[slot] = index_u32(self.states.len());
        self.states.push(state);
        self.parents.push(index_u32(parent));
        if self.states.len() * 2 > self.table.len() {
            self.grow();
        }
        true
    }

    /// Where `state` stands in the table, or the free place where it belongs.
    fn slot(&self, state: &S) -> usize {
        let mask = self.table.len() - 1;
        let hash = BuildHasherDefault::<Mixer>::default().hash_one(state);
        let mut slot = usize::try_from(hash).expect("64-bit host") & mask;
        while self.table[slot] != FREE && self.states[self.table[slot] as usize] != *state {
            slot = (slot + 1) & mask;
        }
        slot
    }

    fn grow(&mut self) {
        self.table = vec![FREE; self.table.len() * 2];
        for index in 0..self.states.len() {
            let slot = self.slot(&self.states[index]);
            self.table[slot] = index_u32(index);
        }
    }

    /// The actions that lead from the initial state to the state at `index`.
    fn trace<M: Model<State = S>>(&self, model: &M, mut index: usize) -> Vec<String> {
        let mut steps = Vec::new();
        while index != 0 {
            let parent = self.parents[index] as usize;
            let mut step = None;
            model.successors(&self.states[parent], &mut |action, successor| {
                if step.is_none() && successor == self.states[index] {
                    step = Some(format!("{action:?}"));
                }
            });
            steps.extend(step);
            index = parent;
        }
        steps.reverse();
        steps
    }
}

fn index_u32(index: usize) -> u32 {
    u32::try_from(index).expect("the state limit is far below")
}

/// A fast hash for small integers; the states come from the model itself, so nobody chooses collisions.
#[derive(Default)]
struct Mixer(u64);

impl Hasher for Mixer {
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 29)
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, value: u8) {
        self.write_u64(u64::from(value));
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0.rotate_left(23) ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn write_usize(&mut self, value: usize) {
        self.write_u64(value as u64);
    }

    fn write_isize(&mut self, value: isize) {
        self.write_u64(value.cast_unsigned() as u64);
    }
}

/// Counts up by one or three; reaching seven breaks the invariant.
struct Counter;

const SEVEN: &str = "seven was reached";

impl Model for Counter {
    type State = u8;
    type Action = u8;

    fn initial(&self) -> u8 {
        0
    }

    fn successors(&self, state: &u8, visit: &mut dyn FnMut(u8, u8)) {
        for step in [1, 3] {
            visit(step, (state + step).min(20));
        }
    }

    fn violation(&self, state: &u8) -> Option<&'static str> {
        (*state == 7).then_some(SEVEN)
    }

    fn deletes(&self, _: u8) -> bool {
        false
    }
}

#[test]
fn counterexample_is_a_shortest_path() {
    let Verdict::Violated(counterexample) = explore(&Counter, None).verdict else {
        panic!("seven is in reach")
    };
    assert_eq!(counterexample.invariant, SEVEN);
    assert_eq!(counterexample.steps.len(), 3);
}

#[test]
fn exploration_for_another_invariant_is_complete() {
    let Exploration { states, verdict, .. } = explore(&Counter, Some("eight was reached"));
    assert!(matches!(verdict, Verdict::Complete));
    assert_eq!(states, 21);
}
