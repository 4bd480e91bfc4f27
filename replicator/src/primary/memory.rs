//! What passes over a primary remember: when the last one was, the hours that were agreed to, what is forgotten there, and
//! since when each object is known to be unneeded. Small files beside the catalogue. Decides nothing.

use crate::vault::{Vault, VaultError};
use jiff::Timestamp;
use lifeboat_format::id::ClusterName;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

const SCHEMA: &str = "lifeboat/primary-retention/1";
const MAX: u64 = 4096;
/// Numbers of a million snapshots.
const FORGOTTEN_MAX: u64 = 16 << 20;
/// A million objects.
const UNNEEDED_MAX: u64 = 128 << 20;
pub(super) const UNNEEDED_OBJECTS_MAX: usize = 1_000_000;

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Memory {
    schema: String,
    pub last_pass: Option<Timestamp>,
    #[serde(default)]
    pub clock_agreed: bool,
    /// Hours that the last pass kept snapshots for.
    pub hours: Option<u32>,
}

fn name(what: &str, cluster: &ClusterName) -> String {
    format!("primary-{what}-{cluster}")
}

impl Memory {
    pub fn load(vault: &Vault, cluster: &ClusterName) -> Result<Self, VaultError> {
        let name = format!("{}.json", name("retention", cluster));
        let Some(bytes) = vault.read_own(&name, MAX)? else {
            return Ok(Self { schema: SCHEMA.to_owned(), last_pass: None, clock_agreed: false, hours: None });
        };
        let bad = |why: String| VaultError::Io {
            action: "understand",
            path: vault.own_path(&name),
            source: std::io::Error::other(why),
        };
        let memory: Self = serde_json::from_slice(&bytes).map_err(|e| bad(e.to_string()))?;
        if memory.schema != SCHEMA {
            return Err(bad(format!("it is of schema {}, not {SCHEMA}", memory.schema)));
        }
        Ok(memory)
    }

    pub fn save(&self, vault: &Vault, cluster: &ClusterName) -> Result<(), VaultError> {
        let bytes = serde_json::to_vec_pretty(self).expect("numbers and times always serialize");
        vault.replace_own(&format!("{}.json", name("retention", cluster)), &bytes)
    }

    pub(super) fn passed(&mut self, now: Timestamp, hours: u32) {
        (self.last_pass, self.clock_agreed, self.hours) = (Some(now), false, Some(hours));
    }
}

/// Slots that were forgotten in the primary: what only they need may be gone there.
pub fn forgotten(vault: &Vault, cluster: &ClusterName) -> Result<BTreeSet<u64>, VaultError> {
    let text =
        vault.read_own(&format!("{}.txt", name("forgotten", cluster)), FORGOTTEN_MAX)?.unwrap_or_default();
    Ok(String::from_utf8_lossy(&text).lines().filter_map(|l| l.parse().ok()).collect())
}

/// Slots of which a person took the forgetting in the primary back.
pub fn undone(vault: &Vault, cluster: &ClusterName) -> Result<BTreeSet<u64>, VaultError> {
    let text =
        vault.read_own(&format!("{}.txt", name("undone", cluster)), FORGOTTEN_MAX)?.unwrap_or_default();
    Ok(String::from_utf8_lossy(&text).lines().filter_map(|l| l.parse().ok()).collect())
}

pub(super) fn keep_undone(
    vault: &Vault,
    cluster: &ClusterName,
    undone: &BTreeSet<u64>,
) -> Result<(), VaultError> {
    let text: String = undone.iter().map(|seq| format!("{seq}\n")).collect();
    vault.replace_own(&format!("{}.txt", name("undone", cluster)), text.as_bytes())
}

pub(super) fn add_forgotten(
    vault: &Vault,
    cluster: &ClusterName,
    more: &BTreeSet<u64>,
) -> Result<(), VaultError> {
    let mut all = forgotten(vault, cluster)?;
    let before = all.len();
    all.extend(more);
    if all.len() == before {
        return Ok(());
    }
    let text: String = all.iter().map(|seq| format!("{seq}\n")).collect();
    vault.replace_own(&format!("{}.txt", name("forgotten", cluster)), text.as_bytes())
}

/// Since when each key is unneeded, by the replicator's clock in seconds.
pub(super) type Since = BTreeMap<String, i64>;

pub(super) fn unneeded(vault: &Vault, cluster: &ClusterName) -> Result<Since, VaultError> {
    let text =
        vault.read_own(&format!("{}.txt", name("unneeded", cluster)), UNNEEDED_MAX)?.unwrap_or_default();
    let line = |l: &str| {
        let (since, key) = l.split_once(' ')?;
        Some((key.to_owned(), since.parse().ok()?))
    };
    Ok(String::from_utf8_lossy(&text).lines().filter_map(line).collect())
}

pub(super) fn keep_unneeded(vault: &Vault, cluster: &ClusterName, since: &Since) -> Result<(), VaultError> {
    let mut text = String::new();
    for (key, since) in since {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{since} {key}");
    }
    vault.replace_own(&format!("{}.txt", name("unneeded", cluster)), text.as_bytes())
}
