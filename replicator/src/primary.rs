//! One pass of retention over a primary: heal → decide → forget (a marker) → collect. Beside `heal`, the only part that
//! deletes anything in a store, and only with the credentials that are given for it.
//!
//! Owns the order, and what a pass needs to know before it deletes (docs/format.md, "Commit and reuse" 4). Reads the
//! catalogue and never writes it. Works on one cluster.

mod collect;
mod forget;
mod memory;
mod roles;
pub mod table;
mod view;

use crate::audit;
use crate::catalog::{SnapshotRow, State};
use crate::heal::{self, HealReport, Healer};
use crate::replicate::charters;
use crate::replicate::error::PullError;
use crate::retain::{Agreement, RetainError, Retainer};
use jiff::Timestamp;
use lifeboat_common::store::{SharedCreate, SharedDelete, SharedRead, StoreError};
use lifeboat_format::audit::Event;
use lifeboat_format::charter::Charter;
use lifeboat_format::layout;
use lifeboat_format::retention::{Caps, PrimaryDecision, Restraint, Situation, against};
use std::collections::BTreeSet;

pub use collect::Unneeded;
pub use memory::{Memory, forgotten};
pub use roles::Roles;

/// Objects that one pass deletes at most, and that part of all packs, in percent.
pub const MAX_OBJECTS: usize = 10_000;
pub const MAX_PERCENT: usize = 25;

#[derive(Debug, thiserror::Error)]
pub enum PrimaryError {
    #[error(transparent)]
    Retain(#[from] RetainError),
    #[error(transparent)]
    Vault(#[from] PullError),
    #[error("{0}; nothing is lost, the next pass goes on from here")]
    Store(#[from] StoreError),
}

macro_rules! from {
    ($($error:ty),*) => {$(
        impl From<$error> for PrimaryError {
            fn from(error: $error) -> Self {
                Self::Retain(error.into())
            }
        }
    )*};
}
from!(crate::vault::VaultError, crate::catalog::CatalogError);

/// What a pass works on.
#[derive(Debug)]
pub struct Primary<'a> {
    pub retainer: &'a Retainer<'a>,
    pub read: SharedRead,
    /// Creates markers; without it nothing is forgotten.
    pub marker: Option<SharedCreate>,
    /// Deletes; without it nothing is.
    pub delete: Option<SharedDelete>,
    pub healer: Option<Healer>,
    pub max_objects: usize,
    pub max_percent: usize,
}

/// What would be, or was, done.
#[derive(Debug, Default)]
pub struct Pass {
    /// Hours that the primary keeps a snapshot.
    pub hours: u32,
    /// Of every snapshot, in the order of the chain, and whether it is forgotten in the primary already.
    pub decisions: Vec<(SnapshotRow, PrimaryDecision, bool)>,
    /// Why nothing is forgotten and deleted now.
    pub stopped: Vec<String>,
    /// What is not done because a credential is not configured.
    pub without: Vec<&'static str>,
    pub forgotten: Vec<u64>,
    pub healed: HealReport,
    /// Objects that nothing needs and that wait for a second pass, or for the next commit.
    pub waiting: u64,
    /// Objects that this pass deletes, or would.
    pub due: u64,
    pub deleted: u64,
    pub deleted_bytes: u64,
    /// Deletions that the store refused.
    pub refused: u64,
}

impl Primary<'_> {
    /// Decides, and changes nothing.
    pub async fn preview(&self, now: Timestamp) -> Result<Pass, PrimaryError> {
        self.pass(now, false).await
    }

    /// One pass.
    pub async fn run(&self, now: Timestamp) -> Result<Pass, PrimaryError> {
        self.pass(now, true).await
    }

    async fn pass(&self, now: Timestamp, really: bool) -> Result<Pass, PrimaryError> {
        let mut pass = Pass { without: self.without(), ..Pass::default() };
        if self.marker.is_none() && self.delete.is_none() && self.healer.is_none() {
            return Ok(pass);
        }
        if really {
            pass.healed = heal::run(self.retainer, self.healer.as_ref(), self.marker.as_ref(), now).await?;
        }
        let charter = self.charter()?;
        pass.hours = charter.policy.retention.primary_hours;
        let chain = self.chain()?;
        let mut memory = Memory::load(self.retainer.folder.vault(), self.retainer.cluster)?;
        let markers = forget::markers(self, &chain).await?;
        let decisions = forget::decide(self.retainer, &chain, pass.hours, now)?;
        pass.decisions = decisions
            .into_iter()
            .map(|(r, d)| {
                let done = markers.contains(&r.seq);
                (r, d, done)
            })
            .collect();
        let restraints = against(&self.situation(&charter, &memory)?, now);
        pass.stopped = restraints.iter().map(Restraint::to_string).collect();
        if self.retainer.catalogue.charters(self.retainer.cluster.as_str())?.iter().any(|c| c.n > charter.n) {
            pass.stopped
                .push(format!("the vault's copy of a charter after {} is damaged or gone", charter.n));
        }
        if !pass.stopped.is_empty() {
            return Ok(pass);
        }
        if really {
            // Remembered first: a pass that is cut short counts as one.
            memory.passed(now, pass.hours);
            memory.save(self.retainer.folder.vault(), self.retainer.cluster)?;
            forget::run(self, &mut pass, now).await?;
        }
        let counted = pass.decisions.iter().filter(|(_, d, done)| *done && d.keep.is_none());
        let counted: BTreeSet<u64> = counted.map(|(row, ..)| row.seq).collect();
        if really {
            memory::add_forgotten(self.retainer.folder.vault(), self.retainer.cluster, &counted)?;
        }
        if let Some(delete) = &self.delete {
            collect::run(self, delete, &charter, &counted, &mut memory, &mut pass, now, really).await?;
        }
        if really {
            self.write_down(&pass, now)?;
        }
        Ok(pass)
    }

    fn without(&self) -> Vec<&'static str> {
        let mut without = Vec::new();
        if self.marker.is_none() {
            without.push("[source.marker]: nothing is forgotten in the primary");
        }
        if self.delete.is_none() {
            without.push("[source.retain]: nothing is deleted in the primary");
        }
        without
    }

    fn charter(&self) -> Result<Charter, PrimaryError> {
        let Retainer { folder, owner, cluster, .. } = self.retainer;
        let charters = charters::trusted(folder, owner, cluster)?;
        let newest = charters.last().ok_or_else(|| RetainError::NoCharter { cluster: (*cluster).clone() })?;
        Ok(newest.charter().clone())
    }

    /// Every manifest that counts, ascending, checkpoints among them.
    fn chain(&self) -> Result<Vec<SnapshotRow>, PrimaryError> {
        let rows = self.retainer.catalogue.snapshots(self.retainer.cluster.as_str())?;
        Ok(rows.into_iter().filter(|r| r.state != State::Rejected).collect())
    }

    fn open_alarms(&self) -> Result<Vec<String>, PrimaryError> {
        let alarms = self.retainer.catalogue.alarms(self.retainer.cluster.as_str())?;
        let open: BTreeSet<&str> =
            alarms.iter().filter(|a| a.kind.freezes()).map(|a| a.kind.name()).collect();
        Ok(open.into_iter().map(str::to_owned).collect())
    }

    fn situation(&self, charter: &Charter, memory: &Memory) -> Result<Situation, PrimaryError> {
        let mut alarms = self.open_alarms()?;
        alarms.extend(charter.check_writable().err().map(|e| format!("feature-unknown ({e})")));
        let hours = charter.policy.retention.primary_hours;
        let agreed = memory.hours.filter(|agreed| hours < *agreed);
        let weaker = agreed.map(|agreed| format!("primary_hours {agreed} → {hours}")).into_iter().collect();
        Ok(Situation { last_pass: memory.last_pass, alarms, weaker, clock_agreed: memory.clock_agreed })
    }

    fn write_down(&self, pass: &Pass, now: Timestamp) -> Result<(), PrimaryError> {
        let Retainer { folder, cluster, receipt_key, .. } = self.retainer;
        let mut events: Vec<Event> = pass
            .forgotten
            .iter()
            .map(|seq| Event::new("primary-forgotten", layout::manifest(*seq), "by the primary's retention"))
            .collect();
        if pass.deleted > 0 {
            let what = format!("{} objects, {} bytes", pass.deleted, pass.deleted_bytes);
            events.push(Event::new("primary-deleted", cluster.as_str(), what));
        }
        Ok(audit::append(folder, cluster, receipt_key, "retain", events, now)?)
    }
}

/// A person agrees to the hours in force, or to the clock.
pub fn agree(retainer: &Retainer<'_>, what: Agreement) -> Result<(), PrimaryError> {
    let vault = retainer.folder.vault();
    let mut memory = Memory::load(vault, retainer.cluster)?;
    match what {
        Agreement::Policy => memory.hours = None,
        Agreement::Clock => memory.clock_agreed = true,
    }
    Ok(memory.save(vault, retainer.cluster)?)
}

/// A person takes the forgetting of a snapshot in the primary back, or (`again`) lets it be forgotten after all. The marker
/// stays, for nobody may delete it; it counts only while the decision stands, so what was not deleted yet stays from now on.
/// True when that changes something.
pub fn undo(retainer: &Retainer<'_>, seq: u64, again: bool, now: Timestamp) -> Result<bool, PrimaryError> {
    let (vault, cluster) = (retainer.folder.vault(), retainer.cluster);
    let row = retainer.catalogue.snapshot(cluster.as_str(), seq)?;
    if row.is_none_or(|r| matches!(r.state, State::Rejected | State::Checkpoint)) {
        return Err(RetainError::NoSnapshot { cluster: cluster.clone(), seq }.into());
    }
    let mut undone = memory::undone(vault, cluster)?;
    let changed = if again { undone.remove(&seq) } else { undone.insert(seq) };
    if !changed {
        return Ok(false);
    }
    memory::keep_undone(vault, cluster, &undone)?;
    let event = if again { "primary-undo-ended" } else { "primary-forgetting-undone" };
    let event = Event::new(event, layout::manifest(seq), "by a person");
    audit::append(&retainer.folder, cluster, retainer.receipt_key, "operator", vec![event], now)?;
    Ok(true)
}

/// How many at most go at once: a part of all, and at least one.
fn caps(caps: Caps, all: usize) -> usize {
    caps.snapshots.min((all * caps.percent / 100).max(1))
}
