//! What retention remembers between passes: when the last one was, which policy a person agreed to, what is held.
//! One small file a cluster beside the catalogue. Decides nothing.

use super::InForce;
use crate::vault::{Vault, VaultError};
use jiff::Timestamp;
use lifeboat_format::charter::Keep;
use lifeboat_format::id::ClusterName;
use lifeboat_format::retention::{Floors, Policy};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

const SCHEMA: &str = "lifeboat/retention/1";
const MAX: u64 = 4 << 20;

/// What a person can agree to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Agreement {
    /// The policy as it is now, although it keeps less than before.
    Policy,
    /// The clock as it is now, although the last pass was long ago or later.
    Clock,
}

/// A snapshot that stays whatever the policy says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    pub since: Timestamp,
    pub reason: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Memory {
    schema: String,
    last_pass: Option<Timestamp>,
    #[serde(default)]
    clock_agreed: bool,
    policy: Option<Agreed>,
    #[serde(default)]
    holds: BTreeMap<u64, Hold>,
}

/// The policy of the last pass, or one that a person agreed to since.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Agreed {
    keep: Keep,
    minimum: usize,
    floor_hours: u32,
    scope_days: u32,
}

impl From<&Policy> for Agreed {
    fn from(policy: &Policy) -> Self {
        let Floors { minimum, hours, scope_days } = policy.floors;
        Self { keep: policy.keep.clone(), minimum, floor_hours: hours, scope_days }
    }
}

fn name(cluster: &ClusterName) -> String {
    format!("retention-{cluster}.json")
}

impl Memory {
    /// That of `cluster`; nothing remembered when there is none.
    pub fn load(vault: &Vault, cluster: &ClusterName) -> Result<Self, VaultError> {
        let name = name(cluster);
        let Some(bytes) = vault.read_own(&name, MAX)? else {
            let (schema, holds) = (SCHEMA.to_owned(), BTreeMap::new());
            return Ok(Self { schema, last_pass: None, clock_agreed: false, policy: None, holds });
        };
        let bad = |why: String| VaultError::Io {
            action: "understand",
            path: vault.root().join(&name),
            source: std::io::Error::other(why),
        };
        let memory: Self = serde_json::from_slice(&bytes).map_err(|e| bad(e.to_string()))?;
        if memory.schema != SCHEMA {
            return Err(bad(format!("it is of schema {}, not {SCHEMA}", memory.schema)));
        }
        Ok(memory)
    }

    pub fn save(&self, vault: &Vault, cluster: &ClusterName) -> Result<(), VaultError> {
        let bytes = serde_json::to_vec_pretty(self).expect("names, numbers and times always serialize");
        vault.replace_own(&name(cluster), &bytes)
    }

    #[must_use]
    pub fn last_pass(&self) -> Option<Timestamp> {
        self.last_pass
    }

    #[must_use]
    pub fn clock_agreed(&self) -> bool {
        self.clock_agreed
    }

    #[must_use]
    pub fn is_held(&self, seq: u64) -> bool {
        self.holds.contains_key(&seq)
    }

    #[must_use]
    pub fn holds(&self) -> &BTreeMap<u64, Hold> {
        &self.holds
    }

    /// The policy that was agreed to, in the zone of the one in force.
    #[must_use]
    pub fn agreed(&self, in_force: &InForce) -> Option<Policy> {
        let agreed = self.policy.as_ref()?;
        let floors =
            Floors { minimum: agreed.minimum, hours: agreed.floor_hours, scope_days: agreed.scope_days };
        Some(Policy { keep: agreed.keep.clone(), floors, zone: in_force.policy.zone.clone() })
    }

    /// A pass begins: what it goes by is what is agreed from now on.
    pub fn passed(&mut self, now: Timestamp, in_force: &InForce) {
        self.last_pass = Some(now);
        self.clock_agreed = false;
        self.policy = Some(Agreed::from(&in_force.policy));
    }

    pub fn agree(&mut self, what: Agreement, in_force: &InForce) {
        match what {
            Agreement::Policy => self.policy = Some(Agreed::from(&in_force.policy)),
            Agreement::Clock => self.clock_agreed = true,
        }
    }

    /// Gives back what was before.
    pub fn hold(&mut self, seq: u64, hold: Option<Hold>) -> Option<Hold> {
        match hold {
            Some(hold) => self.holds.insert(seq, hold),
            None => self.holds.remove(&seq),
        }
    }
}
