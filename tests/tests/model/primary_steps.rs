//! Owns what can happen on the primary side, step by step: sending, committing, a 412, forgetting and collecting. Every
//! request lands at any time after it was sent, so stale listings, pauses and slow networks are all in here. And the invariants.

use crate::explore::Model;
use crate::primary::*;

impl Primary {
    fn run_sends_packs(&self, state: &State, run: usize, visit: Visit<'_>) {
        for pack in 0..self.bounds.packs {
            let sent = |pack: usize| state.runs.iter().any(|run| run.noted[pack].is_some());
            // Packs are alike until they are sent, so they are sent in order.
            if !sent(pack) && (0..pack).all(sent) {
                let next = state.edit(|next| {
                    next.runs[run].noted[pack] = Some(state.day);
                    next.runs[run].sending = state.runs[run].sending.with(pack);
                });
                visit(Action::RunSendsPack { run, pack }, next);
            }
            if self.bounds.duplicates && state.packs[pack] == Pack::Deleted {
                let there = Pack::There { modified: state.day };
                visit(Action::DuplicateLands { pack }, state.edit(|next| next.packs[pack] = there));
            }
            if !state.runs[run].sending.contains(pack) {
                continue;
            }
            let renewed = self.rules.freshness == Freshness::RenewedByRetry;
            if state.packs[pack] == Pack::NotThere {
                let next = state.edit(|next| {
                    next.packs[pack] = Pack::There { modified: state.day };
                    if !renewed {
                        next.runs[run].sending = state.runs[run].sending.without(pack);
                    }
                });
                visit(Action::PackLands { run, pack }, next);
            } else if renewed {
                // The answer was lost; the retry finds the pack there, or creates it again.
                let next = state.edit(|next| {
                    if state.packs[pack] == Pack::Deleted {
                        next.packs[pack] = Pack::There { modified: state.day };
                    }
                    next.runs[run].noted[pack] = Some(state.day);
                    next.runs[run].sending = state.runs[run].sending.without(pack);
                });
                visit(Action::RetryAcknowledged { run, pack }, next);
            }
        }
    }

    /// Reads the head, applies rules 2 and 3 and sends the create. The create lands at any later time, so reading a stale
    /// head is the same as being slow: it ends in a 412.
    fn run_sends_manifest(&self, state: &State, run: usize, visit: Visit<'_>) {
        let slot = state.chain().len();
        if state.runs[run].create.is_some() || slot >= self.bounds.slots {
            return;
        }
        let nameable = self.own_packs(state, run).union(self.reusable(state));
        let mut send = |names| {
            let create = Create { slot: state.taken, names };
            let next = state.edit(|next| next.runs[run].create = Some(create));
            visit(Action::RunSendsManifest { run, slot, names }, next);
        };
        for some in nameable.subsets() {
            send(Names::snapshot(some));
            if some != PackSet::EMPTY {
                send(Names::checkpoint(some));
            }
        }
    }

    fn manifest_arrives(&self, state: &State, run: usize, visit: Visit<'_>) {
        let Some(Create { slot, names }) = state.runs[run].create else {
            return;
        };
        let slot = usize::from(slot);
        if slot == state.chain().len() {
            let next = state.edit(|next| {
                next.manifests[slot] = Manifest { names, modified: state.day, forgotten: false };
                next.taken += 1;
                next.runs[run].create = None;
                if self.rules.own_packs == OwnPacks::OnceNamedForEver {
                    next.runs[run].once_named = state.runs[run].once_named.union(names.all());
                }
            });
            visit(Action::ManifestLands { run, slot }, next);
        } else if self.rules.forgetting == Forgetting::DeletesManifest && state.manifests[slot].forgotten {
            visit(Action::ManifestLands { run, slot }, state.edit(|next| next.forked = true));
        } else {
            visit(Action::ManifestConflicts { run }, state.edit(|next| next.runs[run].create = None));
            self.conflicted_manifest_goes_again(state, run, names, visit);
        }
    }

    /// The weaker answer to a 412: the same names on the new head, as long as rule 2 allows them.
    fn conflicted_manifest_goes_again(&self, state: &State, run: usize, names: Names, visit: Visit<'_>) {
        let slot = state.chain().len();
        if self.rules.after_conflict == AfterConflict::NamingAndFreshness || slot >= self.bounds.slots {
            return;
        }
        let own = (0..self.bounds.packs)
            .filter(|&pack| state.runs[run].noted[pack].is_some())
            .fold(PackSet::EMPTY, PackSet::with);
        if names.all().within(own.union(self.reusable(state))) {
            let create = Create { slot: state.taken, names };
            let next = state.edit(|next| next.runs[run].create = Some(create));
            visit(Action::RunSendsConflictedManifestAgain { run, slot }, next);
        }
    }

    /// Worst case on purpose: retention may forget, at any time, whatever the vault knows outside the newest manifests.
    fn primary_forgets(&self, state: &State, visit: Visit<'_>) {
        let known = usize::from(state.judged);
        for slot in 0..known.saturating_sub(self.rules.collector_window) {
            if !state.manifests[slot].forgotten {
                let next = state.edit(|next| next.manifests[slot].forgotten = true);
                visit(Action::PrimaryForgets { slot }, next);
            }
        }
    }

    /// Rule 4. What the collector knows is the vault's view, however old; its DELETE lands at any later time.
    fn collector_works(&self, state: &State, visit: Visit<'_>) {
        let known = &state.manifests[..usize::from(state.judged)];
        let kept = known.iter().filter(|manifest| !manifest.forgotten);
        let needed = kept.fold(PackSet::EMPTY, |needed, manifest| needed.union(manifest.names.packs));
        let spared = needed.union(State::window(known, self.rules.collector_window, true));
        for pack in 0..self.bounds.packs {
            if state.deleting.contains(pack) {
                visit(
                    Action::PackDeleted { pack },
                    state.edit(|next| {
                        next.packs[pack] = Pack::Deleted;
                        next.deleting = state.deleting.without(pack);
                    }),
                );
                continue;
            }
            let Pack::There { modified } = state.packs[pack] else {
                continue;
            };
            let first = state.first_pass[pack];
            if spared.contains(pack) {
                if first.is_some() {
                    visit(Action::PassFindsNeeded { pack }, state.edit(|next| next.first_pass[pack] = None));
                }
                continue;
            }
            if self.rules.two_passes && first.is_none() {
                visit(
                    Action::FirstPassFindsUnneeded { pack },
                    state.edit(|next| next.first_pass[pack] = Some(state.day)),
                );
                continue;
            }
            let second_pass = first.is_none_or(|first| state.day >= first + FENCE_DAYS);
            let fenced = known.last().is_some_and(|head| head.modified >= modified + FENCE_DAYS);
            if second_pass && (fenced || !self.rules.fence) {
                let next = state.edit(|next| next.deleting = state.deleting.with(pack));
                visit(Action::CollectorSendsDelete { pack }, next);
            }
        }
    }
}

impl Model for Primary {
    type State = State;
    type Action = Action;

    fn initial(&self) -> State {
        State {
            day: 0,
            manifests: [Manifest::default(); MAX_SLOTS],
            taken: 0,
            packs: [Pack::NotThere; MAX_PACKS],
            runs: [Run::default(); MAX_RUNS],
            judged: 0,
            first_pass: [None; MAX_PACKS],
            deleting: PackSet::EMPTY,
            forked: false,
        }
    }

    fn successors(&self, state: &State, visit: Visit<'_>) {
        if state.day < self.bounds.days {
            visit(Action::DayPasses, state.edit(|next| next.day += 1));
        }
        for run in 0..self.bounds.runs {
            self.run_sends_packs(state, run, visit);
            self.run_sends_manifest(state, run, visit);
            self.manifest_arrives(state, run, visit);
        }
        for judged in state.judged + 1..=state.taken {
            visit(
                Action::VaultJudges { slots: usize::from(judged) },
                state.edit(|next| next.judged = judged),
            );
        }
        self.primary_forgets(state, visit);
        self.collector_works(state, visit);
    }

    fn violation(&self, state: &State) -> Option<&'static str> {
        let deleted = (0..self.bounds.packs)
            .filter(|&pack| state.packs[pack] == Pack::Deleted)
            .fold(PackSet::EMPTY, PackSet::with);
        let lacks = |named: PackSet| named.intersects(deleted);
        if state.forked {
            Some(SLOT_TAKEN_TWICE)
        } else if state.chain().iter().any(|manifest| !manifest.forgotten && lacks(manifest.names.packs)) {
            Some(KEPT_NAMES_DELETED)
        } else if lacks(self.reusable(state)) {
            Some(REUSABLE_DELETED)
        } else {
            None
        }
    }

    fn deletes(&self, action: Action) -> bool {
        matches!(action, Action::PackDeleted { .. })
    }
}
