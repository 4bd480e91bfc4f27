//! Owns what can happen to the vault, step by step: pull, collect, kills and late DELETEs, and the vault's invariants.

use crate::explore::Model;
use crate::vault::*;

impl Vault {
    fn versioned(&self) -> bool {
        matches!(self.rules.store, Store::S3 { versioned: true, .. })
    }

    fn batches_recorded(&self) -> bool {
        matches!(self.rules.store, Store::S3 { batches_recorded: true, .. })
    }

    /// A batch that its sender left open must be repeated before anybody takes the lock.
    fn batch_left_open(&self, state: &State) -> Option<u8> {
        state.open_batch.filter(|_| state.collect == Collect::Idle)
    }

    fn effect_of_delete(&self, state: &State, version: u8) -> State {
        if self.versioned() && state.pack != Some(version) { *state } else { state.without_pack() }
    }

    fn pull_starts(&self, state: &State, visit: Visit<'_>) {
        let pending =
            if self.rules.pending_names_packs { Snapshot::Pending } else { Snapshot::PendingWithoutNames };
        for snapshot in 0..state.snapshots.len() {
            if !matches!(state.snapshots[snapshot], Snapshot::Verified | Snapshot::Tombstoned) {
                visit(
                    Action::PullWritesPending { snapshot },
                    state.edit(|next| {
                        next.snapshots[snapshot] = pending;
                        next.pull = Pull::PendingWritten { snapshot };
                    }),
                );
            }
        }
    }

    fn pull_works(&self, state: &State, visit: Visit<'_>) {
        match state.pull {
            Pull::Idle => self.pull_starts(state, visit),
            Pull::PendingWritten { snapshot } => {
                let there = state.pack.is_some();
                let looked = Pull::Looked { snapshot, saw_pack: there, fetched: false };
                visit(Action::PullLooks { there }, state.edit(|next| next.pull = looked));
            }
            Pull::Looked { snapshot, saw_pack, fetched } => {
                self.pull_fetches_and_locks(state, snapshot, saw_pack, fetched, visit)
            }
            Pull::Locked { snapshot, saw_pack, fetched } => {
                let there = if self.rules.last_look_under_lock { state.pack.is_some() } else { saw_pack };
                let next = if there {
                    Pull::Checked { snapshot, fetched }
                } else {
                    Pull::Looked { snapshot, saw_pack: false, fetched: false }
                };
                visit(Action::PullLooksAgain { there }, state.edit(|state| state.pull = next));
            }
            Pull::Checked { snapshot, .. } => {
                visit(
                    Action::PullRenamesManifest { snapshot },
                    state.edit(|next| {
                        next.snapshots[snapshot] = Snapshot::Verified;
                        next.pull = Pull::Idle;
                    }),
                );
            }
        }
    }

    fn pull_fetches_and_locks(
        &self,
        state: &State,
        snapshot: usize,
        saw_pack: bool,
        fetched: bool,
        visit: Visit<'_>,
    ) {
        if state.pack.is_none() && !saw_pack && state.versions_made < MAX_VERSIONS {
            visit(
                Action::PullFetchesPack,
                state.edit(|next| {
                    next.versions_made += 1;
                    next.pack = Some(next.versions_made);
                    next.pull = Pull::Looked { snapshot, saw_pack: true, fetched: true };
                }),
            );
        }
        let locked_out = self.rules.common_lock && state.collect_holds_lock();
        if saw_pack && !locked_out && self.batch_left_open(state).is_none() {
            visit(
                Action::PullLocksShared,
                state.edit(|next| next.pull = Pull::Locked { snapshot, saw_pack, fetched }),
            );
        }
    }

    fn collect_works(&self, state: &State, visit: Visit<'_>) {
        let locked_out = self.rules.common_lock && state.pull_holds_lock();
        let mut step = |action, collect| visit(action, state.edit(|next| next.collect = collect));
        match state.collect {
            Collect::Idle if self.batch_left_open(state).is_some() => {}
            Collect::Idle => {
                let pack_is_garbage = !state.pack_is_wanted();
                step(Action::CollectComputesKept { pack_is_garbage }, Collect::Planned { pack_is_garbage });
            }
            Collect::Planned { pack_is_garbage: false } => step(Action::CollectEnds, Collect::Idle),
            Collect::Planned { .. } if locked_out => {}
            Collect::Planned { .. } => step(Action::CollectLocksExclusively, Collect::Locked),
            Collect::Locked => {
                let wanted = self.rules.kept_read_again_under_lock && state.pack_is_wanted();
                let still_garbage = state.pack.is_some() && !wanted;
                let then = if still_garbage { Collect::DecidedToDelete } else { Collect::Idle };
                step(Action::CollectReadsAgain { still_garbage }, then);
            }
            Collect::DecidedToDelete => self.collect_deletes(state, visit),
            Collect::DeleteSent if state.deletes_in_flight == 0 => visit(
                Action::CollectIsAnswered,
                state.edit(|next| {
                    next.collect = Collect::Idle;
                    next.open_batch = None;
                }),
            ),
            Collect::DeleteSent => {}
        }
    }

    fn collect_deletes(&self, state: &State, visit: Visit<'_>) {
        let Some(version) = state.pack else {
            visit(Action::CollectEnds, state.edit(|next| next.collect = Collect::Idle));
            return;
        };
        if self.rules.store == Store::Filesystem {
            let mut next = state.without_pack();
            next.collect = Collect::Idle;
            visit(Action::CollectUnlinksPack, next);
        } else {
            visit(
                Action::CollectSendsDelete { version },
                state.edit(|next| {
                    next.deletes_in_flight |= 1 << version;
                    next.collect = Collect::DeleteSent;
                    next.open_batch = self.batches_recorded().then_some(version);
                }),
            );
        }
    }

    fn kills_and_late_deletes(&self, state: &State, visit: Visit<'_>) {
        if state.kills < self.kills {
            if state.pull != Pull::Idle {
                visit(
                    Action::PullKilled,
                    state.edit(|next| {
                        next.pull = Pull::Idle;
                        next.kills += 1;
                    }),
                );
            }
            if state.collect != Collect::Idle {
                visit(
                    Action::CollectKilled,
                    state.edit(|next| {
                        next.collect = Collect::Idle;
                        next.kills += 1;
                    }),
                );
            }
        }
        if let Some(version) = self.batch_left_open(state)
            && !state.pull_holds_lock()
        {
            let mut next = self.effect_of_delete(state, version);
            next.open_batch = None;
            visit(Action::OpenBatchRepeated { version }, next);
        }
        for version in (0..=MAX_VERSIONS).filter(|version| state.deletes_in_flight >> version & 1 == 1) {
            let mut next = self.effect_of_delete(state, version);
            next.deletes_in_flight &= !(1 << version);
            visit(Action::DeleteTakesEffect { version }, next);
        }
    }
}

impl Model for Vault {
    type State = State;
    type Action = Action;

    fn initial(&self) -> State {
        State {
            pack: Some(1),
            versions_made: 1,
            snapshots: [Snapshot::Verified, Snapshot::Unknown],
            pull: Pull::Idle,
            collect: Collect::Idle,
            deletes_in_flight: 0,
            open_batch: None,
            kills: 0,
            lost_what_was_fetched: false,
        }
    }

    fn successors(&self, state: &State, visit: Visit<'_>) {
        for snapshot in 0..state.snapshots.len() {
            if state.snapshots[snapshot] == Snapshot::Verified {
                let tombstoned = state.edit(|next| next.snapshots[snapshot] = Snapshot::Tombstoned);
                visit(Action::VaultForgets { snapshot }, tombstoned);
            }
        }
        self.pull_works(state, visit);
        self.collect_works(state, visit);
        self.kills_and_late_deletes(state, visit);
    }

    fn violation(&self, state: &State) -> Option<&'static str> {
        if state.pack.is_none() && state.snapshots.contains(&Snapshot::Verified) {
            Some(VERIFIED_LACKS_PACK)
        } else if state.lost_what_was_fetched {
            Some(FETCHED_DELETED)
        } else {
            None
        }
    }

    fn deletes(&self, action: Action) -> bool {
        matches!(
            action,
            Action::CollectUnlinksPack | Action::DeleteTakesEffect { .. } | Action::OpenBatchRepeated { .. }
        )
    }
}
