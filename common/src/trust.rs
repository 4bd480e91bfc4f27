//! From the owner's public key to the charter in force: reads a cluster's charters from a store and lets
//! `lifeboat_format::charter` judge them.

use crate::store::{ReadStore, StoreError};
use lifeboat_format::charter::{TrustedCharter, trusted_chain};
use lifeboat_format::crypto::sign::VerifyKey;
use lifeboat_format::id::{ClusterName, Sha256};
use lifeboat_format::{FormatError, layout, limits};

/// More charter files than this are not read: one a month for eighty years. Hostile stores may hold more junk.
const CHARTER_FILES_MAX: usize = 1000;
/// Damaged ones that a message names.
const DAMAGED_NAMED_MAX: usize = 5;

#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{store}: {source}{}", damaged_note(damaged))]
    Charter { store: String, source: FormatError, damaged: Vec<String> },
}

fn damaged_note(damaged: &[String]) -> String {
    match damaged {
        [] => String::new(),
        all => format!("; these are damaged, take them from another copy: {}", all.join(", ")),
    }
}

/// The charter files under `charter/` whose bytes hash to their name, in the order of their names.
pub async fn charter_files(store: &dyn ReadStore) -> Result<Vec<Vec<u8>>, StoreError> {
    Ok(read_files(store).await?.0)
}

/// The sound files, and the names of those whose bytes do not hash to them.
async fn read_files(store: &dyn ReadStore) -> Result<(Vec<Vec<u8>>, Vec<String>), StoreError> {
    let (mut files, mut damaged) = (Vec::new(), Vec::new());
    let mut after: Option<String> = None;
    while files.len() < CHARTER_FILES_MAX {
        let page = store.list(layout::CHARTER, after.as_deref(), 1000).await?;
        for entry in &page.entries {
            let Some((_, sha256)) = layout::parse_charter(&entry.key) else { continue };
            if entry.size > limits::CHARTER_MAX {
                continue;
            }
            let bytes = store.get(&entry.key, limits::CHARTER_MAX).await?;
            if Sha256::of(&bytes) == sha256 {
                files.push(bytes.to_vec());
            } else if damaged.len() < DAMAGED_NAMED_MAX {
                damaged.push(entry.key.clone());
            }
        }
        after = page.entries.last().map(|e| e.key.clone());
        if !page.more || after.is_none() {
            break;
        }
    }
    Ok((files, damaged))
}

/// The trusted charters in `store`, ascending; the last one is in force.
pub async fn charters(
    store: &dyn ReadStore,
    owner: &VerifyKey,
    cluster: &ClusterName,
) -> Result<Vec<TrustedCharter>, TrustError> {
    let (files, damaged) = read_files(store).await?;
    trusted_chain(&files, owner, cluster).map_err(|source| TrustError::Charter {
        store: store.describe(),
        source,
        damaged,
    })
}
