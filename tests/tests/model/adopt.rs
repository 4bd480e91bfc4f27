//! Owns key changes: owners adopt a new agent key while the old one goes on signing, junk takes slots, and a collector that
//! may not know the new charter yet works from what the vault has judged. Rules 1, 2 and 4 about charters, `from` and junk.
//!
//! Reading the head, testing and creating are one step here: their races are explored in `primary.rs`. One pack; time in
//! days as there.

pub(crate) const MAX_SLOTS: usize = 8;

/// From when on an agent key may reuse what the manifests below its own named (rule 2).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReuseAcrossKeys {
    /// Never: the links that reuse follows end at the key's own first manifest.
    Never,
    /// Weaker: the first manifest of the key reuses nothing, the ones after it follow the links to `from` and below.
    AfterFirstManifest,
    /// Weaker: already the first manifest reuses what `from` names.
    Always,
}

/// Which object under `manifests/` is "the newest" that freshness is measured against (rule 3).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum AgeAgainst {
    /// The one with the latest Last-Modified, junk included.
    LatestModified,
    /// The one just below the slot to be created. The same as long as junk leaves no hole; weaker when it does.
    SlotBelow,
    /// Weaker: the manifest that is extended.
    OwnHead,
}

/// Which slot an agent creates (rule 1). Without holes there is only one to choose.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum SlotChoice {
    /// The lowest that is free: a hole is filled before anything is added above it.
    LowestFree,
    /// Weaker when junk leaves a hole: one above the highest. A create that was on its way may still land in the hole.
    AboveHighest,
}

#[derive(Clone, Copy)]
pub(crate) struct Rules {
    pub(crate) agent_window: usize,
    pub(crate) collector_window: usize,
    pub(crate) reuse_across_keys: ReuseAcrossKeys,
    pub(crate) age_against: AgeAgainst,
    pub(crate) slot_choice: SlotChoice,
    /// The collector freezes while a manifest is under an unknown charter.
    pub(crate) freeze_while_charter_unknown: bool,
    /// The vault judges every slot in order; weaker: slots may be missing below H.
    pub(crate) every_slot_judged: bool,
}

impl Rules {
    pub(crate) const fn decided(window: usize) -> Self {
        Self {
            agent_window: window,
            collector_window: window,
            reuse_across_keys: ReuseAcrossKeys::Never,
            age_against: AgeAgainst::LatestModified,
            slot_choice: SlotChoice::LowestFree,
            freeze_while_charter_unknown: true,
            every_slot_judged: true,
        }
    }
}

#[derive(Clone, Copy)]
pub(crate) struct Adoption {
    pub(crate) rules: Rules,
    pub(crate) days: u8,
    pub(crate) slots: usize,
    /// Junk may be put above the next free slot and so leave a hole.
    pub(crate) holes: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Key {
    Old,
    New,
}

pub(crate) const KEYS: [Key; 2] = [Key::Old, Key::New];

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Slot {
    Empty,
    Junk { modified: u8 },
    Manifest { key: Key, prev: Option<u8>, names_pack: bool, modified: u8, forgotten: bool },
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Pack {
    NotThere,
    There { modified: u8 },
    Deleted,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct State {
    pub(crate) day: u8,
    pub(crate) slots: [Slot; MAX_SLOTS],
    pub(crate) taken: u8,
    pub(crate) pack: Pack,
    /// The key that uploaded the pack, and the day it noted.
    pub(crate) uploaded: Option<(Key, u8)>,
    /// The charter of the new key: the newest slot of the old key that counts.
    pub(crate) from: Option<u8>,
    pub(crate) collector_knows_charter: bool,
    /// One bit for each slot that the vault has fetched and judged.
    pub(crate) judged: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    DayPasses,
    AgentUploadsPack(Key),
    AgentCommits { key: Key, slot: u8, prev: Option<u8>, names_pack: bool },
    JunkTakesSlot(usize),
    JunkLeavesHole(usize),
    OwnersAdopt { from: usize },
    CollectorImportsCharter,
    VaultJudges(usize),
    PrimaryForgets(usize),
    PackDeleted { head: u8 },
}

pub(crate) type Visit<'a> = &'a mut dyn FnMut(Action, State);

impl State {
    pub(crate) fn edit(&self, change: impl FnOnce(&mut Self)) -> Self {
        let mut state = *self;
        change(&mut state);
        state
    }

    pub(crate) fn slot(&self, slot: u8) -> Slot {
        self.slots[usize::from(slot)]
    }

    pub(crate) fn with_slot(&self, slot: u8, object: Slot) -> Self {
        self.edit(|next| {
            next.slots[usize::from(slot)] = object;
            next.taken = next.taken.max(slot + 1);
        })
    }

    pub(crate) fn modified(&self, slot: u8) -> Option<u8> {
        match self.slot(slot) {
            Slot::Junk { modified } | Slot::Manifest { modified, .. } => Some(modified),
            Slot::Empty => None,
        }
    }

    /// The newest valid manifest of `slots`. Whoever knows the charter counts old-key manifests up to `from` and the new
    /// key's; whoever does not counts the old key's and nothing else.
    pub(crate) fn head(&self, knows_charter: bool, slots: impl Iterator<Item = u8>) -> Option<u8> {
        let from = if knows_charter { self.from } else { None };
        slots.filter(|&slot| self.is_valid(slot, from)).last()
    }

    pub(crate) fn is_valid(&self, slot: u8, from: Option<u8>) -> bool {
        match (self.slot(slot), from) {
            (Slot::Manifest { key: Key::Old, .. }, None) => true,
            (Slot::Manifest { key: Key::Old, .. }, Some(from)) => slot <= from,
            (Slot::Manifest { key: Key::New, .. }, from) => from.is_some(),
            (Slot::Junk { .. } | Slot::Empty, _) => false,
        }
    }

    /// The manifests reached by `prev` links from `head`, newest first.
    pub(crate) fn chain(&self, head: Option<u8>) -> impl Iterator<Item = u8> {
        std::iter::successors(head, |&slot| match self.slot(slot) {
            Slot::Manifest { prev, .. } => prev,
            Slot::Junk { .. } | Slot::Empty => None,
        })
    }

    pub(crate) fn names_pack(&self, slot: u8) -> bool {
        matches!(self.slot(slot), Slot::Manifest { names_pack: true, .. })
    }

    pub(crate) fn needs_pack(&self, slot: u8) -> bool {
        matches!(self.slot(slot), Slot::Manifest { names_pack: true, forgotten: false, .. })
    }

    pub(crate) fn is_judged(&self, slot: u8) -> bool {
        self.judged >> slot & 1 == 1
    }

    pub(crate) fn is_signed_by(&self, slot: u8, by: Key) -> bool {
        matches!(self.slot(slot), Slot::Manifest { key, .. } if key == by)
    }
}
