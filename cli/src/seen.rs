//! What an administrator's machine remembers of vaults: the newest receipt it saw of each, so that a vault that goes
//! back behind it is noticed. Owns that file; knows no command.

use anyhow::{Context as _, Result};
use lifeboat_format::id::Sha256;
use lifeboat_format::receipt::Receipt;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const SCHEMA: &str = "lifeboat/seen-receipts/1";
/// Vaults that are remembered; one line each.
const VAULTS_MAX: usize = 10_000;

#[derive(Debug, Default, Serialize, Deserialize)]
struct Seen {
    schema: String,
    vaults: BTreeMap<String, Newest>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Newest {
    seq: u64,
    /// SHA-256 of the receipt's payload.
    sha256: Sha256,
}

/// `$XDG_STATE_HOME/lifeboat`, by default `~/.local/state/lifeboat`; nothing where there is no home.
pub(crate) fn state_folder() -> Option<PathBuf> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
    let state = absolute("XDG_STATE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/state")));
    state.map(|s| s.join("lifeboat"))
}

/// Compares `newest` with what was seen of `vault` before, and remembers it when it is newer. What comes back is a
/// complaint.
pub(crate) fn compare(folder: &Path, vault: &str, newest: Option<&Receipt>) -> Result<Option<String>> {
    let path = folder.join("seen-receipts.json");
    let mut seen = read(&path)?;
    let known = seen.vaults.get(vault).cloned();
    let found = newest.map(|r| Newest { seq: r.seq, sha256: Sha256::of(&r.payload()) });
    let complaint = match (&known, &found) {
        (Some(known), None) => Some(format!("it has no receipt any more, and had number {}", known.seq)),
        (Some(known), Some(found)) if found.seq < known.seq => {
            Some(format!("its newest receipt is number {}, and was number {}", found.seq, known.seq))
        }
        (Some(known), Some(found)) if found.seq == known.seq && found.sha256 != known.sha256 => {
            Some(format!("its receipt number {} is another than before", found.seq))
        }
        _ => None,
    };
    if let Some(what) = complaint {
        return Ok(Some(format!(
            "The vault {vault} went back: {what}. Somebody put an old or another copy in its place, or it was rebuilt; if that is right, remove its line from {}",
            path.display()
        )));
    }
    if let Some(found) = found.filter(|found| known.as_ref() != Some(found)) {
        if seen.vaults.len() < VAULTS_MAX {
            seen.vaults.insert(vault.to_owned(), found);
        }
        write(folder, &path, &seen)?;
    }
    Ok(None)
}

fn read(path: &Path) -> Result<Seen> {
    let empty = || Seen { schema: SCHEMA.to_owned(), vaults: BTreeMap::new() };
    match std::fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .with_context(|| format!("{} is damaged; move it away", path.display())),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(empty()),
        Err(e) => Err(e).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// Another command may write at the same time: the last one wins, and neither leaves half a file.
fn write(folder: &Path, path: &Path, seen: &Seen) -> Result<()> {
    let context = || format!("cannot write {}", path.display());
    std::fs::create_dir_all(folder).with_context(context)?;
    let temporary = folder.join(format!("seen-receipts.{}.tmp", std::process::id()));
    let text = serde_json::to_vec_pretty(seen)?;
    std::fs::write(&temporary, text).with_context(context)?;
    std::fs::rename(&temporary, path).with_context(context)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lifeboat_format::id::SnapshotId;

    fn receipt(seq: u64, packs: u64) -> Receipt {
        Receipt {
            schema: String::new(),
            cluster: "prod".parse().unwrap(),
            seq,
            id: SnapshotId([0; 16]),
            manifest: Sha256::of(b""),
            prev: None,
            first_seen: jiff::Timestamp::UNIX_EPOCH,
            verified: jiff::Timestamp::UNIX_EPOCH,
            packs,
            bytes: 0,
            proven_by_drill: None,
        }
    }

    #[test]
    fn a_vault_that_goes_back_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("lifeboat");
        let ask = |vault: &str, r: Option<Receipt>| compare(&folder, vault, r.as_ref()).unwrap();
        assert_eq!(ask("a", None), None);
        assert_eq!(ask("a", Some(receipt(5, 1))), None);
        assert_eq!(ask("a", Some(receipt(5, 1))), None);
        assert_eq!(ask("b", Some(receipt(1, 1))), None, "another vault");
        assert!(ask("a", Some(receipt(4, 1))).unwrap().contains("was number 5"));
        assert!(ask("a", Some(receipt(5, 2))).unwrap().contains("another than before"));
        assert!(ask("a", None).unwrap().contains("no receipt any more"));
        assert_eq!(ask("a", Some(receipt(6, 1))), None);
    }

    #[test]
    fn a_damaged_memory_is_said_and_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("seen-receipts.json"), "{").unwrap();
        assert!(compare(dir.path(), "a", Some(&receipt(1, 1))).is_err());
        assert_eq!(std::fs::read(dir.path().join("seen-receipts.json")).unwrap(), b"{");
    }
}
