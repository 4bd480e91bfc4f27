//! What scrubs found, in a file that the next pull takes in: a scrub has no network and does not write the catalogue.

use crate::catalog::{Catalogue, Damaged, Side, State};
use crate::replicate::error::PullError;
use crate::vault::{ExclusiveLock, Folder, VaultError};
use jiff::Timestamp;
use lifeboat_format::id::ClusterName;
use lifeboat_format::layout;
use serde::{Deserialize, Serialize};

/// A hundred thousand findings.
const MAX: u64 = 32 << 20;

/// One line of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    pub key: String,
    /// What was expected and what was seen.
    pub why: String,
    pub at: Timestamp,
}

fn name(cluster: &ClusterName) -> String {
    format!("damaged-{cluster}.jsonl")
}

/// Adds one, durably, before anything is done about it.
pub(super) fn add(
    folder: &Folder,
    cluster: &ClusterName,
    found: &Found,
    _lock: &ExclusiveLock,
) -> Result<(), VaultError> {
    let line = serde_json::to_string(found).expect("texts and a time always serialize");
    // After an end of line: the one before may have been cut short.
    folder.vault().append_own(&name(cluster), format!("\n{line}").as_bytes(), MAX)
}

/// Brings into the catalogue what scrubs found since the last pull. Gives what is new. Whoever calls it is the
/// catalogue's writer.
pub fn take_in(
    folder: &Folder,
    catalogue: &Catalogue,
    cluster: &ClusterName,
) -> Result<Vec<Damaged>, PullError> {
    let vault = folder.vault();
    if vault.read_own(&name(cluster), MAX)?.is_none() {
        return Ok(Vec::new());
    }
    let _lock = vault.lock_exclusive()?;
    let text = vault.read_own(&name(cluster), MAX)?.unwrap_or_default();
    let rows = catalogue.snapshots(cluster.as_str())?;
    let mut new = Vec::new();
    for line in String::from_utf8_lossy(&text).lines() {
        let Ok(found) = serde_json::from_str::<Found>(line) else { continue };
        let size = match layout::parse_pack(&found.key) {
            // A pack that nothing needs any more needs no healing.
            Some(sha256) => match catalogue.pack(cluster.as_str(), &sha256)? {
                Some((pack, ..)) => Some(pack.size),
                None => continue,
            },
            None => None,
        };
        let seq = layout::parse_manifest(&found.key);
        let row = rows.iter().find(|r| Some(r.seq) == seq && r.state != State::Pending);
        if seq.is_some() && row.is_none() {
            continue;
        }
        let manifest = row.map(|r| (r.sha256, r.signer));
        let damaged = Damaged { key: found.key, why: found.why, since: found.at, size, manifest };
        if catalogue.put_damaged(cluster.as_str(), Side::Vault, &damaged)? {
            new.push(damaged);
        }
    }
    vault.remove_own(&name(cluster))?;
    Ok(new)
}
