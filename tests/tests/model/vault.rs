//! Owns the vault: pull, its pending files, the lock, the vault's collector, kill -9 of either, and an S3 vault whose DELETEs
//! land late: its rules and its states. Rule 5, without damage and retention times (see `retention.rs`); what happens step by
//! step is in `vault_steps.rs`.
//!
//! Two snapshots need the one pack: the first is verified at the start, the second reuses the pack. The primary always
//! offers it again.

pub(crate) const VERIFIED_LACKS_PACK: &str = "a verified snapshot lacks a pack in the vault";
pub(crate) const FETCHED_DELETED: &str =
    "what a pull had fetched was deleted before its snapshot was verified";

/// Enough versions of the pack for everything that can happen before the kills are used up.
pub(crate) const MAX_VERSIONS: u8 = 5;

#[derive(Clone, Copy)]
pub(crate) struct Rules {
    /// `collect` reads pending and catalog again under the exclusive lock; weaker: what is kept is computed once, before.
    pub(crate) kept_read_again_under_lock: bool,
    /// `pending/<seq>` has the pack names; weaker: it is written before the pack lists are known.
    pub(crate) pending_names_packs: bool,
    /// Pull and collect exclude each other; weaker: two hosts, or no common lock.
    pub(crate) common_lock: bool,
    /// `pull` looks for every pack once more under the shared lock; weaker: what it saw before is believed.
    pub(crate) last_look_under_lock: bool,
    pub(crate) store: Store,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Store {
    /// Unlinking takes effect at once.
    Filesystem,
    /// A DELETE may take effect after its sender is dead.
    S3 {
        /// Deletes name the version that was seen.
        versioned: bool,
        /// Each batch is recorded before it is sent; whoever takes the lock first repeats open batches and waits.
        batches_recorded: bool,
    },
}

impl Rules {
    pub(crate) const fn decided(store: Store) -> Self {
        Self {
            kept_read_again_under_lock: true,
            pending_names_packs: true,
            common_lock: true,
            last_look_under_lock: true,
            store,
        }
    }
}

#[derive(Clone, Copy)]
pub(crate) struct Vault {
    pub(crate) rules: Rules,
    pub(crate) kills: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Snapshot {
    Unknown,
    /// Pending is on disk, but does not name the packs yet (weaker rule only).
    PendingWithoutNames,
    Pending,
    Verified,
    Tombstoned,
}

/// Where `pull` stands; each has the snapshot it works on.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Pull {
    Idle,
    PendingWritten {
        snapshot: usize,
    },
    Looked {
        snapshot: usize,
        saw_pack: bool,
        fetched: bool,
    },
    /// Holds the lock shared.
    Locked {
        snapshot: usize,
        saw_pack: bool,
        fetched: bool,
    },
    /// Holds the lock shared; the last look found the pack.
    Checked {
        snapshot: usize,
        fetched: bool,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Collect {
    Idle,
    Planned {
        pack_is_garbage: bool,
    },
    /// Holds the lock exclusively, as in the steps below.
    Locked,
    DecidedToDelete,
    DeleteSent,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct State {
    /// The version of the pack that is in the vault.
    pub(crate) pack: Option<u8>,
    pub(crate) versions_made: u8,
    pub(crate) snapshots: [Snapshot; 2],
    pub(crate) pull: Pull,
    pub(crate) collect: Collect,
    /// One bit for each version whose DELETE is on its way.
    pub(crate) deletes_in_flight: u8,
    /// The version in a recorded, still open batch.
    pub(crate) open_batch: Option<u8>,
    pub(crate) kills: u8,
    pub(crate) lost_what_was_fetched: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    VaultForgets { snapshot: usize },
    PullWritesPending { snapshot: usize },
    PullLooks { there: bool },
    PullFetchesPack,
    PullLocksShared,
    PullLooksAgain { there: bool },
    PullRenamesManifest { snapshot: usize },
    PullKilled,
    CollectComputesKept { pack_is_garbage: bool },
    CollectEnds,
    CollectLocksExclusively,
    CollectReadsAgain { still_garbage: bool },
    CollectUnlinksPack,
    CollectSendsDelete { version: u8 },
    CollectIsAnswered,
    CollectKilled,
    OpenBatchRepeated { version: u8 },
    DeleteTakesEffect { version: u8 },
}

pub(crate) type Visit<'a> = &'a mut dyn FnMut(Action, State);

impl State {
    pub(crate) fn edit(&self, change: impl FnOnce(&mut Self)) -> Self {
        let mut state = *self;
        change(&mut state);
        state
    }

    pub(crate) fn pull_holds_lock(&self) -> bool {
        matches!(self.pull, Pull::Locked { .. } | Pull::Checked { .. })
    }

    pub(crate) fn collect_holds_lock(&self) -> bool {
        matches!(self.collect, Collect::Locked | Collect::DecidedToDelete | Collect::DeleteSent)
    }

    /// What the catalog and the pending files say: somebody wants the pack.
    pub(crate) fn pack_is_wanted(&self) -> bool {
        self.snapshots.iter().any(|snapshot| matches!(snapshot, Snapshot::Verified | Snapshot::Pending))
    }

    pub(crate) fn without_pack(&self) -> Self {
        let fetched = match self.pull {
            Pull::Looked { fetched, .. } | Pull::Locked { fetched, .. } | Pull::Checked { fetched, .. } => {
                fetched
            }
            Pull::Idle | Pull::PendingWritten { .. } => false,
        };
        self.edit(|next| {
            next.pack = None;
            next.lost_what_was_fetched |= fetched && self.pack.is_some();
        })
    }
}
