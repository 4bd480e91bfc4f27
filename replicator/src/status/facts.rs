//! What the vault's own files add to the catalogue: the charter's promises, what was forgotten in the primary, the room on
//! the disk. Only reads, and takes no lock.

use crate::primary;
use crate::replicate::charters;
use crate::retain::{InForce, Memory};
use crate::setup::SetupError;
use crate::vault::disk::Space;
use crate::vault::{self, MinFree, Vault};
use jiff::Timestamp;
use lifeboat_common::config::{ReplicatorConfig, SourceConfig};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) clusters: BTreeMap<String, ClusterFacts>,
    /// And how much of it stays free.
    pub(super) space: Option<(Space, u64)>,
}

#[derive(Debug, Default)]
pub(super) struct ClusterFacts {
    pub(super) rpo_hours: Option<u32>,
    /// For how long after it was first seen nothing of a snapshot is deleted, whatever else comes.
    pub(super) kept_hours: Option<u32>,
    pub(super) gone_from_primary: BTreeSet<u64>,
    pub(super) last_retention: Option<Timestamp>,
}

impl Facts {
    pub(super) fn gather(config: &ReplicatorConfig) -> Result<Self, SetupError> {
        let root = vault::directory(&config.vault)?;
        let vault = Vault::look(root, config.state.as_deref())?;
        let space = vault.space()?;
        // `setup::load` refused what is none.
        let min_free = config.min_free.as_ref().and_then(|m| m.parse::<MinFree>().ok()).unwrap_or_default();
        let mut facts = Self { clusters: BTreeMap::new(), space: Some((space, min_free.of(space.total))) };
        for source in &config.sources {
            facts.clusters.insert(source.cluster.to_string(), cluster(&vault, source)?);
        }
        Ok(facts)
    }
}

fn cluster(vault: &Arc<Vault>, source: &SourceConfig) -> Result<ClusterFacts, SetupError> {
    let trusted = charters::trusted(&vault.folder(&source.cluster), &source.owner, &source.cluster)?;
    let Some(newest) = trusted.last() else { return Ok(ClusterFacts::default()) };
    let policy = &newest.charter().policy;
    // A policy that cannot be followed forgets nothing, and `retain` says so.
    let in_force = InForce::new(&policy.retention.vault, &source.retention).ok();
    let kept_hours =
        in_force.map(|f| f.policy.floors.hours.max(f.policy.keep.within_hours).saturating_add(f.grace_hours));
    Ok(ClusterFacts {
        rpo_hours: Some(policy.rpo_hours),
        kept_hours,
        gone_from_primary: primary::forgotten(vault, &source.cluster)?,
        last_retention: Memory::load(vault, &source.cluster)?.last_pass(),
    })
}
