//! One pass of retention over one cluster's folder of the vault: decide → restrain → forget → collect.
//!
//! Owns the order, and the types without which nothing is forgotten or deleted. Reads the catalogue and never writes
//! it: `pull` takes over what is found here. Knows no source.

mod collect;
mod daily;
mod memory;
mod policy;
pub mod table;

use crate::audit;
use crate::catalog::{CatalogError, Catalogue, SnapshotRow, State};
use crate::replicate::charters;
use crate::vault::{Folder, Vault, VaultError};
use jiff::{SignedDuration, Timestamp};
use lifeboat_common::config::{RetentionConfig, SourceConfig};
use lifeboat_format::audit::Event;
use lifeboat_format::charter::TrustedCharter;
use lifeboat_format::crypto::sign::{SigningKey, VerifyKey};
use lifeboat_format::id::{ClusterName, Sha256};
use lifeboat_format::manifest::{Coverage, RunResult};
use lifeboat_format::retention::{
    Decision, Restraint, Situation, Subject, Times, bucket_times, decide, restrain, weaker,
};
use lifeboat_format::tombstone::{self, Tombstone};
use lifeboat_format::{layout, limits};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub use collect::{Collectable, collected, take_over};
pub use daily::daily;
pub use memory::{Agreement, Hold, Memory};
pub use policy::{InForce, PolicyError, zone};

#[derive(Debug, thiserror::Error)]
pub enum RetainError {
    #[error(transparent)]
    Vault(#[from] VaultError),
    #[error(transparent)]
    Catalogue(#[from] CatalogError),
    #[error(transparent)]
    Policy(#[from] PolicyError),
    #[error(
        "No charter in the vault's folder of {cluster} leads back to the owner key; pull first, or run `check-config`"
    )]
    NoCharter { cluster: ClusterName },
    #[error(
        "Snapshot {seq} of {cluster} cannot be brought back: {why}; `lifeboat snapshots` shows what is kept"
    )]
    CannotUndo { cluster: ClusterName, seq: u64, why: &'static str },
    #[error(
        "There is no snapshot {seq} of {cluster} that could be held; `status` and `lifeboat snapshots` show them"
    )]
    NoSnapshot { cluster: ClusterName, seq: u64 },
}

/// Why a snapshot was forgotten that could not be completed.
pub const INCOMPLETE: &str = "incomplete";

/// What a pass works on.
#[derive(Debug)]
pub struct Retainer<'a> {
    pub folder: Folder,
    pub catalogue: &'a Catalogue,
    pub cluster: &'a ClusterName,
    pub owner: &'a VerifyKey,
    pub receipt_key: &'a SigningKey,
    pub overrides: &'a RetentionConfig,
}

/// A snapshot that the policy does not keep. Only a pass makes one.
#[derive(Debug)]
pub struct Forgettable {
    seq: u64,
    manifest: Sha256,
    /// It was never whole here.
    incomplete: bool,
}

impl Forgettable {
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.seq
    }
}

/// What would be, or was, done.
#[derive(Debug)]
pub struct Pass {
    /// Of every snapshot that is not forgotten, in the order of the chain.
    pub decisions: Vec<(SnapshotRow, Decision)>,
    /// Why nothing is forgotten now.
    pub restraints: Vec<Restraint>,
    pub forgotten: Vec<u64>,
    /// Tombstones whose grace is over: their packs are deleted where nothing else needs them.
    pub collected_packs: u64,
    pub collected_bytes: u64,
}

impl<'a> Retainer<'a> {
    /// For the cluster of a `[[source]]`, whose receipt key is at hand.
    #[must_use]
    pub fn of(
        source: &'a SourceConfig,
        receipt_key: &'a SigningKey,
        vault: &Arc<Vault>,
        catalogue: &'a Catalogue,
    ) -> Self {
        let SourceConfig { cluster, owner, retention: overrides, .. } = source;
        Self { folder: vault.folder(cluster), catalogue, cluster, owner, receipt_key, overrides }
    }

    /// Decides, and changes nothing.
    pub fn preview(&self, now: Timestamp) -> Result<Pass, RetainError> {
        self.look(now).map(|look| look.pass)
    }

    /// One pass.
    pub fn run(&self, now: Timestamp) -> Result<Pass, RetainError> {
        let Look { mut pass, due, in_force, mut memory, tombstones } = self.look(now)?;
        if !pass.restraints.is_empty() {
            return Ok(pass);
        }
        // Remembered first: a pass that is cut short counts as one, for the clock and for what was agreed.
        memory.passed(now, &in_force);
        memory.save(self.folder.vault(), self.cluster)?;
        for decided in due {
            let tombstone = Tombstone {
                schema: tombstone::SCHEMA.to_owned(),
                cluster: self.cluster.clone(),
                seq: decided.seq,
                manifest: decided.manifest,
                forgotten: now,
                collect_after: now
                    .checked_add(SignedDuration::from_hours(i64::from(in_force.grace_hours)))
                    .unwrap_or(Timestamp::MAX),
                why: if decided.incomplete { INCOMPLETE } else { "retention" }.to_owned(),
            };
            self.folder.keep_tombstone(&decided, &tombstone.sign(self.receipt_key), now)?;
            tracing::info!(cluster = %self.cluster, seq = decided.seq, "Forgotten by the retention");
            pass.forgotten.push(decided.seq);
        }
        (pass.collected_packs, pass.collected_bytes) = collect::run(self, &tombstones, now)?;
        let mut events: Vec<Event> = pass.forgotten.iter().map(|seq| forgotten(*seq)).collect();
        if pass.collected_packs > 0 {
            let what = format!("{} packs, {} bytes", pass.collected_packs, pass.collected_bytes);
            events.push(Event::new("packs-deleted", self.cluster.as_str(), what));
        }
        self.write_down("retain", events, now)?;
        Ok(pass)
    }

    fn look(&self, now: Timestamp) -> Result<Look, RetainError> {
        let charters = self.charters()?;
        let newest = charters.last().ok_or_else(|| self.no_charter())?.charter();
        let since = charters.first().ok_or_else(|| self.no_charter())?.charter().created;
        let in_force = InForce::new(&newest.policy.retention.vault, self.overrides)?;
        let memory = Memory::load(self.folder.vault(), self.cluster)?;
        let tombstones = self.tombstones(&charters)?;
        let rows = self.chain()?;
        let subjects = subjects(&rows, since, &memory, &tombstones);
        let decisions = decide(&subjects, &in_force.policy, now);
        let situation = self.situation(&memory, &in_force, newest.check_writable().err())?;
        let (due, restraints) = match restrain(&decisions, &situation, in_force.caps, now) {
            Ok(due) => (due, Vec::new()),
            Err(restraints) => (Vec::new(), restraints),
        };
        let by_seq: BTreeMap<u64, &SnapshotRow> = rows.iter().map(|r| (r.seq, r)).collect();
        let due = due
            .into_iter()
            .filter_map(|seq| {
                by_seq.get(&seq).map(|row| Forgettable {
                    seq,
                    manifest: row.sha256,
                    incomplete: row.state == State::Pending,
                })
            })
            .collect();
        let decisions =
            decisions.into_iter().filter_map(|d| by_seq.get(&d.seq).map(|row| ((*row).clone(), d))).collect();
        let pass =
            Pass { decisions, restraints, forgotten: Vec::new(), collected_packs: 0, collected_bytes: 0 };
        Ok(Look { pass, due, in_force, memory, tombstones })
    }

    fn no_charter(&self) -> RetainError {
        RetainError::NoCharter { cluster: self.cluster.clone() }
    }

    fn charters(&self) -> Result<Vec<TrustedCharter>, RetainError> {
        Ok(charters::trusted(&self.folder, self.owner, self.cluster)?)
    }

    /// Every snapshot of the chain, those included that are forgotten.
    fn chain(&self) -> Result<Vec<SnapshotRow>, RetainError> {
        let rows = self.catalogue.snapshots(self.cluster.as_str())?;
        Ok(rows.into_iter().filter(|r| !matches!(r.state, State::Rejected | State::Checkpoint)).collect())
    }

    /// The tombstones that count. One that no receipt key signed forgets nothing: its snapshot stays.
    fn tombstones(&self, charters: &[TrustedCharter]) -> Result<BTreeMap<u64, Tombstone>, RetainError> {
        let mut keys: Vec<VerifyKey> = charters.iter().map(|c| c.charter().receipt_key).collect();
        keys.push(self.receipt_key.verify_key());
        let mut out = BTreeMap::new();
        for seq in self.folder.tombstones()? {
            let key = layout::tombstone(seq);
            let Some((bytes, _)) = self.folder.read(&key, limits::RECEIPT_MAX)? else { continue };
            match Tombstone::verify(&bytes, &keys, self.cluster, seq) {
                Ok(tombstone) => drop(out.insert(seq, tombstone)),
                Err(error) => {
                    tracing::warn!(cluster = %self.cluster, seq, %error, "A tombstone does not count")
                }
            }
        }
        Ok(out)
    }

    fn situation(
        &self,
        memory: &Memory,
        in_force: &InForce,
        feature: Option<lifeboat_format::FormatError>,
    ) -> Result<Situation, RetainError> {
        let alarms = self.catalogue.alarms(self.cluster.as_str())?;
        let open = alarms.iter().filter(|a| a.kind.freezes()).map(|a| a.kind.name().to_owned());
        let mut alarms: Vec<String> = open.collect::<BTreeSet<_>>().into_iter().collect();
        alarms.extend(feature.map(|e| format!("feature-unknown ({e})")));
        let weaker =
            memory.agreed(in_force).map_or_else(Vec::new, |agreed| weaker(&agreed, &in_force.policy));
        Ok(Situation { last_pass: memory.last_pass(), alarms, weaker, clock_agreed: memory.clock_agreed() })
    }

    /// Takes a snapshot's tombstone back, while everything is still there.
    pub fn undo(&self, seq: u64, now: Timestamp) -> Result<(), RetainError> {
        let cannot = |why| RetainError::CannotUndo { cluster: self.cluster.clone(), seq, why };
        let lock = self.folder.vault().lock_exclusive()?;
        let tombstones = self.tombstones(&self.charters()?)?;
        let tombstone = tombstones.get(&seq).ok_or_else(|| cannot("it is not forgotten"))?;
        if tombstone.why == INCOMPLETE {
            return Err(cannot("it was never whole here, so there is nothing to bring back"));
        }
        if tombstone.collect_after <= now {
            return Err(cannot("its time of grace is over and its packs may be gone"));
        }
        self.folder.remove_tombstone(seq, &lock)?;
        drop(lock);
        let event = Event::new("forgetting-undone", layout::manifest(seq), "by a person");
        self.write_down("operator", vec![event], now)?;
        tracing::info!(cluster = %self.cluster, seq, "Forgetting was undone");
        Ok(())
    }

    /// Holds a snapshot, or lets it go (`hold` none). Gives back what was before.
    pub fn hold(&self, seq: u64, hold: Option<Hold>, now: Timestamp) -> Result<Option<Hold>, RetainError> {
        // The file says it, not the catalogue: forgetting may just have been undone.
        let forgotten = self.folder.size(&layout::tombstone(seq))?.is_some();
        let known = self.chain()?.iter().any(|r| r.seq == seq) && !forgotten;
        if !known && hold.is_some() {
            return Err(RetainError::NoSnapshot { cluster: self.cluster.clone(), seq });
        }
        let mut memory = Memory::load(self.folder.vault(), self.cluster)?;
        let event = match &hold {
            Some(hold) => Event::new("held", layout::manifest(seq), hold.reason.clone()),
            None => Event::new("hold-ended", layout::manifest(seq), "by a person"),
        };
        let before = memory.hold(seq, hold);
        memory.save(self.folder.vault(), self.cluster)?;
        self.write_down("operator", vec![event], now)?;
        Ok(before)
    }

    /// A person agrees to the policy in force, or to the clock.
    pub fn agree(&self, what: Agreement, now: Timestamp) -> Result<(), RetainError> {
        let charters = self.charters()?;
        let newest = charters.last().ok_or_else(|| self.no_charter())?.charter();
        let in_force = InForce::new(&newest.policy.retention.vault, self.overrides)?;
        let mut memory = Memory::load(self.folder.vault(), self.cluster)?;
        memory.agree(what, &in_force);
        memory.save(self.folder.vault(), self.cluster)?;
        let why = match what {
            Agreement::Policy => format!("{:?}, floors {:?}", in_force.policy.keep, in_force.policy.floors),
            Agreement::Clock => now.to_string(),
        };
        let subject = if what == Agreement::Policy { "policy" } else { "clock" };
        self.write_down("operator", vec![Event::new("agreed", subject, why)], now)
    }

    fn write_down(&self, unit: &str, events: Vec<Event>, now: Timestamp) -> Result<(), RetainError> {
        Ok(audit::append(&self.folder, self.cluster, self.receipt_key, unit, events, now)?)
    }
}

fn forgotten(seq: u64) -> Event {
    Event::new("snapshot-forgotten", layout::manifest(seq), "by the retention")
}

struct Look {
    pass: Pass,
    due: Vec<Forgettable>,
    in_force: InForce,
    memory: Memory,
    tombstones: BTreeMap<u64, Tombstone>,
}

fn subjects(
    rows: &[SnapshotRow],
    since: Timestamp,
    memory: &Memory,
    tombstones: &BTreeMap<u64, Tombstone>,
) -> Vec<Subject> {
    let times: Vec<Times> =
        rows.iter().map(|r| Times { claimed: r.claimed, first_seen: r.first_seen }).collect();
    let all = rows.iter().zip(bucket_times(&times, since));
    let there = all.filter(|(r, _)| !tombstones.contains_key(&r.seq));
    there
        .map(|(r, bucket_time)| Subject {
            seq: r.seq,
            bucket_time,
            first_seen: r.first_seen,
            coverage: match r.coverage.as_str() {
                "full" => Coverage::Full,
                "paths" => Coverage::Paths,
                _ => Coverage::Partial,
            },
            scopes: r.scopes.clone(),
            result: if r.result == "Completed" { RunResult::Completed } else { RunResult::PartiallyFailed },
            whole: matches!(r.state, State::Held | State::Forgotten),
            proven: false,
            held: memory.is_held(r.seq),
        })
        .collect()
}
