//! Doing what a plan says: phase after phase, only by POST, every step in the journal. The one patch
//! is of what this restore made itself (and of the fresh default account, see `account.rs`).

mod account;
mod compare;
mod create;
mod finish;
mod late;
mod volumes;
mod waits;

pub use volumes::{ClaimToFill, ExtraSink, FillVolumes, Filled, Unbound, Work};

use super::error::RestoreError;
use super::facts::Index;
use super::fields::FieldRules;
use super::journal::{Journal, JournalError, JournalKey, Outcome, Settled};
use super::order::Phase;
use super::plan::{Named, RestorePlan};
use super::report::RestoreReport;
use super::source::{ObjectKey, ObjectSource};
use super::target::{self, Served};
use crate::cluster::Cluster;
use crate::cluster::write::{Limits, Live, Writer};
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::time::Instant;

/// What happens, for a progress display.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A step begins, with so many objects.
    Phase(Phase, usize),
    /// One object of the step is done.
    Object,
    /// Owners and managed fields are put back on so many objects; each ends with `Object`.
    Finishing(usize),
}

/// What the caller adds to a restore.
pub struct Hooks<'a> {
    /// Told what happens.
    pub progress: &'a (dyn Fn(Event) + Send + Sync),
    /// Fills volumes; without it claims are created empty.
    pub volumes: Option<&'a dyn FillVolumes>,
    pub limits: Limits,
}

impl std::fmt::Debug for Hooks<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hooks").finish_non_exhaustive()
    }
}

impl Default for Hooks<'_> {
    fn default() -> Self {
        Self { progress: &|_| {}, volumes: None, limits: Limits::default() }
    }
}

/// An object that is in the cluster now.
#[derive(Debug, Clone)]
struct Placed {
    live: Live,
    /// Made by this restore, in this run or an earlier one.
    ours: bool,
    /// Nothing more is to be done to it.
    finished: bool,
}

/// One application of a plan.
struct Run<'a> {
    cluster: &'a Cluster,
    source: &'a dyn ObjectSource,
    plan: &'a RestorePlan,
    hooks: &'a Hooks<'a>,
    writer: Writer,
    rules: FieldRules,
    served: Served,
    /// Claims that must not be created, and why.
    unfilled: HashMap<(String, String), String>,
    /// What earlier runs settled; keys of the target.
    settled: HashMap<ObjectKey, Settled>,
    shared: Mutex<Shared>,
    journal: Mutex<Journal>,
}

/// What all requests in flight add to.
struct Shared {
    report: RestoreReport,
    placed: HashMap<Index, Placed>,
    /// Namespaces that this restore made; names of the target.
    made_namespaces: HashSet<String>,
    /// Objects of kinds that were not served when their turn came.
    deferred: Vec<Index>,
}

impl RestorePlan {
    /// Opens the journal of this restore: an interrupted one goes on from it.
    pub fn journal(&self, state_dir: &Path) -> Result<Journal, JournalError> {
        let key = JournalKey {
            snapshot: self.options.snapshot.clone(),
            cluster: self.target.cluster_uid.clone(),
            selection: self.options.fingerprint(),
        };
        Journal::open(state_dir, &key)
    }
}

/// Applies a plan. An error stops it in the middle; the same call with the same journal goes on.
pub async fn apply(
    cluster: &Cluster,
    source: &dyn ObjectSource,
    plan: &RestorePlan,
    mut journal: Journal,
    hooks: &Hooks<'_>,
) -> Result<RestoreReport, RestoreError> {
    let started = Instant::now();
    let mut report =
        RestoreReport::new(&plan.options.snapshot, cluster.server(), journal.id(), journal.is_resumed());
    report.skipped = plan.summary.skipped.clone();
    plan.summary.dropped.iter().cloned().for_each(|named| report.dropped.push_named(named));
    for Named { object, text } in &plan.unreadable {
        report.failed.push_named(Named { object: object.clone(), text: format!("cannot be read: {text}") });
    }
    let settled = journal.take_settled();
    let made =
        settled.iter().filter(|(key, s)| key.kind.is("", "Namespace") && s.outcome == Outcome::Created);
    let made_namespaces = made.map(|(key, _)| key.name.clone()).collect();
    let shared = Shared { report, placed: HashMap::new(), made_namespaces, deferred: Vec::new() };
    let mut run = Run {
        cluster,
        source,
        plan,
        hooks,
        writer: Writer::new(cluster.client().clone(), journal.manager(), hooks.limits.clone()),
        rules: plan.rules.clone(),
        served: plan.target.served.clone(),
        unfilled: HashMap::new(),
        settled,
        shared: Mutex::new(shared),
        journal: Mutex::new(journal),
    };
    run.all_phases().await?;
    run.finish().await?;
    let Run { shared, journal, .. } = run;
    journal.into_inner().unwrap_or_else(PoisonError::into_inner).end()?;
    let mut report = shared.into_inner().unwrap_or_else(PoisonError::into_inner).report;
    report.seconds = started.elapsed().as_secs_f64();
    Ok(report)
}

impl Run<'_> {
    async fn all_phases(&mut self) -> Result<(), RestoreError> {
        for phase in Phase::ALL {
            let objects = self.plan.count_of(phase);
            if objects > 0 {
                (self.hooks.progress)(Event::Phase(phase, objects));
            }
            match phase {
                Phase::Volumes => self.fill_volumes().await?,
                Phase::Data => {
                    self.create_phase(phase).await?;
                    self.let_go_of_volumes().await?;
                }
                Phase::Namespaces => {
                    self.create_phase(phase).await?;
                    self.bare_namespaces().await?;
                    self.wait_for_namespaces().await?;
                }
                Phase::Definitions => {
                    self.create_phase(phase).await?;
                    if self.wait_for_definitions().await? {
                        self.served = target::served(self.cluster).await?;
                    }
                }
                _ => self.create_phase(phase).await?,
            }
        }
        self.create_deferred().await
    }

    /// What the report says is changed only through here, and never across an await.
    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn journal(&self) -> MutexGuard<'_, Journal> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes in journal and report how an object came to be there.
    fn place(&self, index: Index, key: &ObjectKey, live: Live, outcome: Outcome) -> Result<(), RestoreError> {
        self.journal().settle(key, outcome, &live.uid)?;
        let ours = outcome == Outcome::Created;
        let mut shared = self.shared();
        shared.count(key, outcome);
        shared.placed.insert(index, Placed { live, ours, finished: false });
        Ok(())
    }
}

impl Shared {
    fn count(&mut self, key: &ObjectKey, outcome: Outcome) {
        match outcome {
            Outcome::Created => {
                self.report.created += 1;
                *self.report.created_kinds.entry(key.kind.to_string()).or_default() += 1;
                if key.kind.is("", "Namespace") {
                    self.made_namespaces.insert(key.name.clone());
                }
            }
            Outcome::LeftSame => self.report.left_same += 1,
            // Listed by whoever knows what differs.
            Outcome::LeftDifferent => {}
        }
    }
}
