//! Owns the primary side: runs that send packs and commit manifests, a vault that lags, the primary's retention and its
//! collector: the rules, the states, and what a run may name. Rules 1 to 4, without key changes (see `adopt.rs`); what happens
//! step by step, and the invariants, are in `primary_steps.rs`.
//!
//! Time is the store's, in days, rounded down. "Less than 24 h later" is then *at most one day later* and "at least 48 h
//! later" is *at least two days later*: rounding makes agent and collector bolder, never more careful.
//! Pack lists obey the same rules as packs and are not told apart here. A run whose log is lost is a run that never again
//! uses what it uploaded; a killed run that goes on from its log, while requests of the first attempt are still on their
//! way, is two runs with `shared_log`. In this model a manifest always extends the slot just below its own.

use std::fmt;

pub(crate) const MAX_SLOTS: usize = 11;
pub(crate) const MAX_PACKS: usize = 2;
pub(crate) const MAX_RUNS: usize = 2;

/// Days for which a pack is fresh (24 h), and days by which the collector's fence is behind (48 h).
pub(crate) const FRESH_DAYS: u8 = 1;
pub(crate) const FENCE_DAYS: u8 = 2;

pub(crate) const KEPT_NAMES_DELETED: &str = "a kept manifest names a deleted pack";
pub(crate) const REUSABLE_DELETED: &str = "a pack that the next manifest may reuse is deleted";
pub(crate) const SLOT_TAKEN_TWICE: &str = "one slot was committed twice: the chain forks";

/// Against what a pack's noted time is compared (rule 3).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Freshness {
    /// The rule: Last-Modified of the newest object under `manifests/`, against the time noted before the first attempt.
    NewestSlot,
    /// Weaker: the same, but an acknowledged retry renews the noted time.
    RenewedByRetry,
    /// Weaker: the agent's own clock, which may be behind the store's.
    OwnClock { days_behind: u8 },
}

/// Which uploads of its own a run may name (rule 2a).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum OwnPacks {
    /// The rule: only while they are fresh.
    WhileFresh,
    /// Weaker: a pack that the run once named in time stays its own for ever.
    OnceNamedForEver,
}

/// What a run does anew after a 412 that was not its own manifest (rule 1).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum AfterConflict {
    /// The rule: naming (2) and freshness (3).
    NamingAndFreshness,
    /// Weaker: naming only; freshness was tested before the new head was read.
    NamingOnly,
}

/// What the primary's retention leaves of a forgotten manifest (rule 1).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Forgetting {
    /// The rule: a marker under `forgotten/`; the manifest object stays and its slot stays taken.
    Marker,
    /// Weaker: the manifest object is deleted.
    DeletesManifest,
}

#[derive(Clone, Copy)]
pub(crate) struct Rules {
    /// How many manifests back an agent reuses, and how many the collector spares: three and three. Smaller numbers make
    /// the space small enough to be explored completely.
    pub(crate) agent_window: usize,
    pub(crate) collector_window: usize,
    /// Checkpoints count among the manifests that an agent goes back.
    pub(crate) checkpoints_count: bool,
    pub(crate) freshness: Freshness,
    pub(crate) own_packs: OwnPacks,
    pub(crate) after_conflict: AfterConflict,
    pub(crate) forgetting: Forgetting,
    /// Last-Modified(H) ≥ Last-Modified(pack) + 48 h (rule 4).
    pub(crate) fence: bool,
    /// Two passes 48 h apart: a second belt; the rules must hold without it.
    pub(crate) two_passes: bool,
}

impl Rules {
    /// The rules as decided, with windows of `window` manifests and the fence alone.
    pub(crate) const fn decided(window: usize) -> Self {
        Self {
            agent_window: window,
            collector_window: window,
            checkpoints_count: true,
            freshness: Freshness::NewestSlot,
            own_packs: OwnPacks::WhileFresh,
            after_conflict: AfterConflict::NamingAndFreshness,
            forgetting: Forgetting::Marker,
            fence: true,
            two_passes: false,
        }
    }
}

/// How much of the world is explored.
#[derive(Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) days: u8,
    pub(crate) slots: usize,
    pub(crate) packs: usize,
    pub(crate) runs: usize,
    /// The runs are attempts of one killed run and share its log of uploads.
    pub(crate) shared_log: bool,
    /// A second request for a pack, long given up by its run, may land even after the pack was deleted.
    pub(crate) duplicates: bool,
}

#[derive(Clone, Copy)]
pub(crate) struct Primary {
    pub(crate) rules: Rules,
    pub(crate) bounds: Bounds,
}

/// One bit for each pack.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct PackSet(u8);

impl PackSet {
    pub(crate) const EMPTY: Self = Self(0);
    pub(crate) fn with(self, pack: usize) -> Self {
        Self(self.0 | 1 << pack)
    }
    pub(crate) fn without(self, pack: usize) -> Self {
        Self(self.0 & !(1 << pack))
    }
    pub(crate) fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
    pub(crate) fn contains(self, pack: usize) -> bool {
        self.0 >> pack & 1 == 1
    }
    pub(crate) fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
    pub(crate) fn within(self, other: Self) -> bool {
        self.0 & !other.0 == 0
    }
    pub(crate) fn subsets(self) -> impl Iterator<Item = Self> {
        (0..=self.0).filter(move |bits| bits & !self.0 == 0).map(Self)
    }
}

impl fmt::Debug for PackSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries((0..MAX_PACKS).filter(|&pack| self.contains(pack))).finish()
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Pack {
    NotThere,
    There { modified: u8 },
    Deleted,
}

/// What a manifest names. A checkpoint has no body: it names everything in `carry`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Names {
    pub(crate) packs: PackSet,
    pub(crate) carry: PackSet,
}

impl Names {
    pub(crate) fn snapshot(packs: PackSet) -> Self {
        Self { packs, carry: PackSet::EMPTY }
    }
    pub(crate) fn checkpoint(carry: PackSet) -> Self {
        Self { packs: PackSet::EMPTY, carry }
    }
    pub(crate) fn all(self) -> PackSet {
        self.packs.union(self.carry)
    }
    pub(crate) fn is_checkpoint(self) -> bool {
        self.packs == PackSet::EMPTY && self.carry != PackSet::EMPTY
    }
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.is_checkpoint() { "checkpoint with carry" } else { "packs" };
        write!(f, "{kind} {:?}", self.all())
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Manifest {
    pub(crate) names: Names,
    pub(crate) modified: u8,
    pub(crate) forgotten: bool,
}

/// The conditional create of a manifest, on its way to the store.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Create {
    pub(crate) slot: u8,
    pub(crate) names: Names,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Run {
    /// The store's time noted before the first attempt to send each pack.
    pub(crate) noted: [Option<u8>; MAX_PACKS],
    /// Packs sent and not yet acknowledged.
    pub(crate) sending: PackSet,
    /// Packs that a manifest of this run named; only the weaker `OnceNamedForEver` looks at it.
    pub(crate) once_named: PackSet,
    pub(crate) create: Option<Create>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct State {
    pub(crate) day: u8,
    pub(crate) manifests: [Manifest; MAX_SLOTS],
    pub(crate) taken: u8,
    pub(crate) packs: [Pack; MAX_PACKS],
    pub(crate) runs: [Run; MAX_RUNS],
    /// How many slots the vault has fetched and judged, from the first without a gap.
    pub(crate) judged: u8,
    /// When the collector's first pass found each pack unneeded.
    pub(crate) first_pass: [Option<u8>; MAX_PACKS],
    /// Packs whose DELETE is on its way.
    pub(crate) deleting: PackSet,
    pub(crate) forked: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    DayPasses,
    RunSendsPack { run: usize, pack: usize },
    PackLands { run: usize, pack: usize },
    DuplicateLands { pack: usize },
    RetryAcknowledged { run: usize, pack: usize },
    RunSendsManifest { run: usize, slot: usize, names: Names },
    ManifestLands { run: usize, slot: usize },
    ManifestConflicts { run: usize },
    RunSendsConflictedManifestAgain { run: usize, slot: usize },
    VaultJudges { slots: usize },
    PrimaryForgets { slot: usize },
    FirstPassFindsUnneeded { pack: usize },
    PassFindsNeeded { pack: usize },
    CollectorSendsDelete { pack: usize },
    PackDeleted { pack: usize },
}

pub(crate) type Visit<'a> = &'a mut dyn FnMut(Action, State);

impl State {
    pub(crate) fn chain(&self) -> &[Manifest] {
        &self.manifests[..usize::from(self.taken)]
    }

    /// What the newest `count` manifests of `chain` name: what may be reused (2b), what the collector spares (4).
    pub(crate) fn window(chain: &[Manifest], count: usize, checkpoints_count: bool) -> PackSet {
        let mut left = count;
        let mut named = PackSet::EMPTY;
        for manifest in chain.iter().rev() {
            if left == 0 {
                break;
            }
            left -= usize::from(checkpoints_count || !manifest.names.is_checkpoint());
            named = named.union(manifest.names.all());
        }
        named
    }

    pub(crate) fn edit(&self, change: impl FnOnce(&mut Self)) -> Self {
        let mut state = *self;
        change(&mut state);
        state
    }
}

impl Primary {
    pub(crate) fn reusable(&self, state: &State) -> PackSet {
        State::window(state.chain(), self.rules.agent_window, self.rules.checkpoints_count)
    }

    pub(crate) fn noted(&self, state: &State, run: usize, pack: usize) -> Option<u8> {
        if self.bounds.shared_log {
            state.runs.iter().find_map(|attempt| attempt.noted[pack])
        } else {
            state.runs[run].noted[pack]
        }
    }

    /// Rule 3.
    fn is_fresh(&self, state: &State, noted: u8) -> bool {
        match self.rules.freshness {
            Freshness::NewestSlot | Freshness::RenewedByRetry => {
                state.chain().last().is_none_or(|newest| newest.modified <= noted + FRESH_DAYS)
            }
            Freshness::OwnClock { days_behind } => state.day <= noted + FRESH_DAYS + days_behind,
        }
    }

    /// Rule 2a: the packs that attempts of this run uploaded and may still name.
    pub(crate) fn own_packs(&self, state: &State, run: usize) -> PackSet {
        (0..self.bounds.packs).fold(PackSet::EMPTY, |own, pack| {
            let Some(noted) = self.noted(state, run, pack) else {
                return own;
            };
            let acknowledged = state.packs[pack] != Pack::NotThere && !state.runs[run].sending.contains(pack);
            let once_named = self.rules.own_packs == OwnPacks::OnceNamedForEver
                && state.runs[run].once_named.contains(pack);
            let nameable = acknowledged && (self.is_fresh(state, noted) || once_named);
            if nameable { own.with(pack) } else { own }
        })
    }
}
