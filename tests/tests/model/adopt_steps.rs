//! Owns what can happen around a key change, step by step: two keys commit, junk lands, owners adopt, the vault judges, the
//! primary forgets and collects; and the invariant.

use crate::adopt::*;
use crate::explore::Model;
use crate::primary::{FENCE_DAYS, FRESH_DAYS, KEPT_NAMES_DELETED};

impl Adoption {
    /// Rule 2b.
    fn reusable(&self, state: &State, key: Key, head: Option<u8>) -> bool {
        let own = |slot: u8| key == Key::Old || state.is_signed_by(slot, Key::New);
        let across = match self.rules.reuse_across_keys {
            ReuseAcrossKeys::Never => false,
            ReuseAcrossKeys::AfterFirstManifest => head.is_some_and(own),
            ReuseAcrossKeys::Always => true,
        };
        let reached = state.chain(head).take(self.rules.agent_window);
        reached.take_while(|&slot| across || own(slot)).any(|slot| state.names_pack(slot))
    }

    fn agent_works(&self, state: &State, key: Key, visit: Visit<'_>) {
        if state.pack == Pack::NotThere {
            visit(
                Action::AgentUploadsPack(key),
                state.edit(|next| {
                    next.pack = Pack::There { modified: state.day };
                    next.uploaded = Some((key, state.day));
                }),
            );
        }
        let free = || self.free_slots(state);
        match self.rules.slot_choice {
            SlotChoice::LowestFree => {
                free().take(1).for_each(|slot| self.agent_commits(state, key, slot, visit))
            }
            // All but the last are holes: a create that was sent when the hole was the next slot lands late.
            SlotChoice::AboveHighest => free().for_each(|slot| self.agent_commits(state, key, slot, visit)),
        }
    }

    /// The holes and the slot above the highest object.
    fn free_slots(&self, state: &State) -> impl Iterator<Item = u8> {
        let holes = (0..state.taken).filter(|&slot| state.slot(slot) == Slot::Empty);
        let next = Some(state.taken).filter(|&next| usize::from(next) < self.slots);
        holes.chain(next)
    }

    /// What the agent knows is what lies below the slot it creates.
    fn agent_commits(&self, state: &State, key: Key, slot: u8, visit: Visit<'_>) {
        let head = state.head(key == Key::New, 0..slot);
        let age_against = match self.rules.age_against {
            AgeAgainst::LatestModified => (0..slot).filter_map(|below| state.modified(below)).max(),
            AgeAgainst::SlotBelow => slot.checked_sub(1).and_then(|below| state.modified(below)),
            AgeAgainst::OwnHead => head.and_then(|head| state.modified(head)),
        };
        let fresh = state.uploaded.is_some_and(|(by, noted)| {
            by == key && age_against.is_none_or(|modified| modified <= noted + FRESH_DAYS)
        });
        for names_pack in [false, true] {
            if names_pack && !fresh && !self.reusable(state, key, head) {
                continue;
            }
            let manifest =
                Slot::Manifest { key, prev: head, names_pack, modified: state.day, forgotten: false };
            visit(
                Action::AgentCommits { key, slot, prev: head, names_pack },
                state.with_slot(slot, manifest),
            );
        }
    }

    fn junk_and_owners(&self, state: &State, visit: Visit<'_>) {
        let junk = Slot::Junk { modified: state.day };
        for slot in self.free_slots(state) {
            visit(Action::JunkTakesSlot(usize::from(slot)), state.with_slot(slot, junk));
        }
        let has_hole = (0..state.taken).any(|slot| state.slot(slot) == Slot::Empty);
        if self.holes && !has_hole && usize::from(state.taken) + 1 < self.slots {
            let action = Action::JunkLeavesHole(usize::from(state.taken));
            visit(action, state.with_slot(state.taken + 1, junk));
        }
        if state.from.is_none() {
            for from in (0..state.taken).filter(|&slot| state.is_signed_by(slot, Key::Old)) {
                let action = Action::OwnersAdopt { from: usize::from(from) };
                visit(action, state.edit(|next| next.from = Some(from)));
            }
        } else if !state.collector_knows_charter {
            visit(Action::CollectorImportsCharter, state.edit(|next| next.collector_knows_charter = true));
        }
    }

    fn vault_judges(&self, state: &State, visit: Visit<'_>) {
        for slot in (0..state.taken).filter(|&slot| state.slot(slot) != Slot::Empty && !state.is_judged(slot))
        {
            if self.rules.every_slot_judged && (0..slot).any(|below| !state.is_judged(below)) {
                continue;
            }
            visit(Action::VaultJudges(usize::from(slot)), state.edit(|next| next.judged |= 1 << slot));
        }
    }

    /// The primary's retention (worst case: whatever is outside the newest manifests) and its collector (rule 4).
    fn replicator_works(&self, state: &State, visit: Visit<'_>) {
        let knows = state.collector_knows_charter;
        let judged = || (0..state.taken).filter(|&slot| state.is_judged(slot));
        let Some(head) = state.head(knows, judged()) else {
            return;
        };
        let chain = || state.chain(Some(head));
        if !chain().all(|slot| state.is_judged(slot)) {
            return;
        }
        for slot in chain().skip(self.rules.collector_window).map(usize::from) {
            let Slot::Manifest { forgotten: false, key, prev, names_pack, modified } = state.slots[slot]
            else {
                continue;
            };
            let forgotten = Slot::Manifest { forgotten: true, key, prev, names_pack, modified };
            visit(Action::PrimaryForgets(slot), state.edit(|next| next.slots[slot] = forgotten));
        }
        let unknown_charter = !knows && judged().any(|slot| state.is_signed_by(slot, Key::New));
        let frozen = self.rules.freeze_while_charter_unknown && unknown_charter;
        let spared = chain().take(self.rules.collector_window).any(|slot| state.names_pack(slot));
        let needed = chain().any(|slot| state.needs_pack(slot));
        let Pack::There { modified } = state.pack else {
            return;
        };
        if !frozen && !spared && !needed && state.modified(head) >= Some(modified + FENCE_DAYS) {
            visit(Action::PackDeleted { head }, state.edit(|next| next.pack = Pack::Deleted));
        }
    }
}

impl Model for Adoption {
    type State = State;
    type Action = Action;

    fn initial(&self) -> State {
        State {
            day: 0,
            slots: [Slot::Empty; MAX_SLOTS],
            taken: 0,
            pack: Pack::NotThere,
            uploaded: None,
            from: None,
            collector_knows_charter: false,
            judged: 0,
        }
    }

    fn successors(&self, state: &State, visit: Visit<'_>) {
        if state.day < self.days {
            visit(Action::DayPasses, state.edit(|next| next.day += 1));
        }
        for key in KEYS {
            if key == Key::Old || state.from.is_some() {
                self.agent_works(state, key, visit);
            }
        }
        self.junk_and_owners(state, visit);
        self.vault_judges(state, visit);
        self.replicator_works(state, visit);
    }

    /// Judged by the truth: every manifest that is valid under the newest charter.
    fn violation(&self, state: &State) -> Option<&'static str> {
        let mut valid = (0..state.taken).filter(|&slot| state.is_valid(slot, state.from));
        let lacks = state.pack == Pack::Deleted && valid.any(|slot| state.needs_pack(slot));
        lacks.then_some(KEPT_NAMES_DELETED)
    }

    fn deletes(&self, action: Action) -> bool {
        matches!(action, Action::PackDeleted { .. })
    }
}
