//! One cluster's folder in the vault. Owns the names in it; every write is whole, durable and never replaces.

use super::{ExclusiveLock, SharedLock, Staging, Vault, VaultError};
use crate::replicate::commit::Complete;
use crate::replicate::judge::Accepted;
use crate::replicate::verify::{Content, Kind, Verified};
use crate::retain::{Collectable, Forgettable};
use jiff::Timestamp;
use lifeboat_format::id::{ClusterName, Sha256};
use lifeboat_format::{layout, limits};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::Read as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Where unfinished files lie; the local store leaves the folder out of its listings.
const UNFINISHED: &str = ".tmp";
/// Names of four million packs, 67 bytes each.
const PENDING_MAX: u64 = 300 << 20;
/// Damaged copies of one file that are kept.
const ASIDE_MAX: usize = 100;
const PENDING_SCHEMA: &str = "lifeboat/pending/1";

/// `pending/<seq>`: what a snapshot under way needs, for `collect` to spare.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingPacks {
    schema: String,
    pub first_seen: Timestamp,
    pub packs: Vec<Sha256>,
}

#[derive(Debug, Clone)]
pub struct Folder {
    vault: Arc<Vault>,
    name: String,
}

/// `pending/<seq>.json`: a judged manifest whose snapshot is not complete.
fn pending_manifest(seq: u64) -> String {
    format!("{}.json", layout::pending(seq))
}

impl Folder {
    pub(super) fn new(vault: Arc<Vault>, cluster: &ClusterName) -> Self {
        Self { vault, name: cluster.as_str().to_owned() }
    }

    #[must_use]
    pub fn vault(&self) -> &Arc<Vault> {
        &self.vault
    }

    fn path(&self, key: &str) -> String {
        format!("{}/{key}", self.name)
    }

    /// The file's path, for messages.
    #[must_use]
    pub fn full_path(&self, key: &str) -> PathBuf {
        self.vault.root.join(self.path(key))
    }

    /// Bytes of a file, if it is there.
    pub fn size(&self, key: &str) -> Result<Option<u64>, VaultError> {
        let path = self.path(key);
        let stat = self.vault.disk.stat(&path).map_err(|e| self.vault.fail("look at", &path, e))?;
        Ok(stat.map(|s| s.size))
    }

    /// The time of a file, if it is there.
    pub fn modified(&self, key: &str) -> Result<Option<Timestamp>, VaultError> {
        let path = self.path(key);
        let stat = self.vault.disk.stat(&path).map_err(|e| self.vault.fail("look at", &path, e))?;
        Ok(stat.map(|s| s.modified))
    }

    /// Names directly in `folder` (such as [`layout::MANIFESTS`]), ascending.
    pub fn names(&self, folder: &str) -> Result<Vec<String>, VaultError> {
        let path = self.path(folder.trim_end_matches('/'));
        self.vault.disk.names(&path).map_err(|e| self.vault.fail("list", &path, e))
    }

    /// A file for reading, if it is there, and its size in bytes.
    pub fn open(&self, key: &str) -> Result<Option<(File, u64)>, VaultError> {
        let path = self.path(key);
        match self.vault.disk.open(&path) {
            Ok((file, stat)) => Ok(Some((file, stat.size))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.vault.fail("read", &path, error)),
        }
    }

    /// Moves a damaged file to `damaged/`, out of everyone's way; false when it was gone already.
    pub fn set_aside(&self, key: &str, _lock: &ExclusiveLock) -> Result<bool, VaultError> {
        let from = self.path(key);
        for n in 0..ASIDE_MAX {
            let to = self.path(&format!("{}{}.{n}", layout::DAMAGED, key.replace('/', "_")));
            match self.vault.disk.rename_new(&from, &to) {
                Ok(()) => {
                    self.vault.unsynced(&to);
                    self.vault.unsynced(&from);
                    return self.settle().map(|()| true);
                }
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
                Err(error) => return Err(self.vault.fail("set aside", &from, error)),
            }
        }
        let error =
            std::io::Error::other(format!("{ASIDE_MAX} damaged copies of it lie in damaged/ already"));
        Err(self.vault.fail("set aside", &from, error))
    }

    /// Keeps what a damaged object of the primary held, for whoever looks into it.
    pub fn keep_damaged(&self, name: &str, bytes: &[u8], now: Timestamp) -> Result<(), VaultError> {
        self.put(&format!("{}{name}", layout::DAMAGED), bytes, now).map(drop)
    }

    /// Puts a verified manifest back in the place of a damaged or lost one.
    pub fn renew_manifest(
        &self,
        seq: u64,
        bytes: &[u8],
        first_seen: Timestamp,
        lock: &ExclusiveLock,
    ) -> Result<(), VaultError> {
        let key = layout::manifest(seq);
        let mut staging = self.stage()?;
        staging.write(bytes)?;
        let staged = staging.finish(Some(first_seen))?;
        self.set_aside(&key, lock)?;
        staged.place(&self.path(&key))?;
        self.settle()
    }

    /// A whole small file and its time, if it is there.
    pub fn read(&self, key: &str, max: u64) -> Result<Option<(Vec<u8>, Timestamp)>, VaultError> {
        let path = self.path(key);
        let (file, stat) = match self.vault.disk.open(&path) {
            Ok(opened) => opened,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.vault.fail("read", &path, error)),
        };
        if stat.size > max {
            return Err(VaultError::TooLarge { path: self.full_path(key), size: stat.size, max });
        }
        let mut bytes = Vec::with_capacity(usize::try_from(stat.size).unwrap_or(0));
        file.take(max).read_to_end(&mut bytes).map_err(|e| self.vault.fail("read", &path, e))?;
        Ok(Some((bytes, stat.modified)))
    }

    /// Begins a file.
    pub fn stage(&self) -> Result<Staging, VaultError> {
        let number = self.vault.names.fetch_add(1, Ordering::SeqCst);
        Staging::new(&self.vault, self.path(&format!("{UNFINISHED}/{}-{number}", std::process::id())))
    }

    /// Removes what a crashed pull left behind.
    pub fn clean(&self) -> Result<(), VaultError> {
        for name in self.names(UNFINISHED)? {
            let path = self.path(&format!("{UNFINISHED}/{name}"));
            self.vault.disk.remove(&path).map_err(|e| self.vault.fail("remove", &path, e))?;
        }
        Ok(())
    }

    /// Puts what was verified under its name. A pack is durable after [`Folder::settle`] only, all else at once.
    pub fn place<K: Kind>(&self, verified: Verified<K>, now: Timestamp) -> Result<(), VaultError> {
        let (key, content) = verified.into_parts();
        let staged = match content {
            Content::Staged(staged) => staged,
            Content::Bytes(bytes) => {
                let mut staging = self.stage()?;
                staging.write(&bytes)?;
                staging.finish(Some(now))?
            }
        };
        // A taken name holds the same bytes: nothing unverified ever gets one.
        staged.place(&self.path(&key))?;
        if K::AT_ONCE { self.settle() } else { Ok(()) }
    }

    pub fn settle(&self) -> Result<(), VaultError> {
        self.vault.settle()
    }

    fn put(&self, key: &str, bytes: &[u8], time: Timestamp) -> Result<bool, VaultError> {
        let mut staging = self.stage()?;
        staging.write(bytes)?;
        let placed = staging.finish(Some(time))?.place(&self.path(key))?;
        self.settle()?;
        Ok(placed)
    }

    fn remove(&self, key: &str) -> Result<(), VaultError> {
        let path = self.path(key);
        self.vault.disk.remove(&path).map_err(|e| self.vault.fail("remove", &path, e))
    }

    /// Keeps a judged manifest until its snapshot is complete. Its file's time is `first_seen`.
    pub fn keep_pending(&self, accepted: &Accepted, first_seen: Timestamp) -> Result<(), VaultError> {
        let key = pending_manifest(accepted.manifest().seq);
        if !self.put(&key, accepted.bytes(), first_seen)? {
            // Left by a crash before the catalogue knew of it.
            self.remove(&key)?;
            self.put(&key, accepted.bytes(), first_seen)?;
        }
        Ok(())
    }

    /// Puts the same judged manifest in the place of a damaged copy.
    pub fn renew_pending(&self, seq: u64, bytes: &[u8], first_seen: Timestamp) -> Result<(), VaultError> {
        let key = pending_manifest(seq);
        self.remove(&key)?;
        self.put(&key, bytes, first_seen).map(drop)
    }

    /// The manifests kept by [`Folder::keep_pending`]: their slots.
    pub fn pending(&self) -> Result<Vec<u64>, VaultError> {
        let names = self.names(layout::PENDING)?;
        Ok(names
            .iter()
            .filter_map(|n| {
                layout::parse_pending(&format!("{}{}", layout::PENDING, n.strip_suffix(".json")?))
            })
            .collect())
    }

    pub fn read_pending(&self, seq: u64) -> Result<Option<(Vec<u8>, Timestamp)>, VaultError> {
        self.read(&pending_manifest(seq), limits::MANIFEST_MAX)
    }

    /// Names the packs that a snapshot under way needs, before anyone looks which of them are there.
    pub fn keep_packs(&self, seq: u64, packs: &[Sha256], first_seen: Timestamp) -> Result<(), VaultError> {
        let key = layout::pending(seq);
        if self.size(&key)?.is_some() {
            return Ok(());
        }
        let pending = PendingPacks { schema: PENDING_SCHEMA.to_owned(), first_seen, packs: packs.to_vec() };
        let bytes = serde_json::to_vec(&pending).expect("names and times always serialize");
        self.put(&key, &bytes, first_seen).map(drop)
    }

    /// Keeps aside, under `rejected/`, what is not counted.
    pub fn keep_rejected(&self, name: &str, bytes: &[u8], now: Timestamp) -> Result<(), VaultError> {
        let key = format!("{}{name}", layout::REJECTED);
        if self.size(&key)?.is_some() {
            return Ok(());
        }
        self.put(&key, bytes, now).map(drop)
    }

    /// The commit: the manifest gets its name. `lock` is held since the last look at the packs.
    pub fn promote(&self, complete: &Complete, _lock: &SharedLock) -> Result<(), VaultError> {
        let seq = complete.seq();
        let (from, to) = (self.path(&pending_manifest(seq)), self.path(&layout::manifest(seq)));
        self.settle()?;
        self.vault.disk.rename_new(&from, &to).map_err(|e| self.vault.fail("commit", &to, e))?;
        self.vault.unsynced(&to);
        self.vault.unsynced(&from);
        self.settle()
    }

    /// Gives the manifest of a snapshot that was forgotten before it was complete its name, behind its tombstone: it is kept
    /// like all others, and nobody takes it for a snapshot.
    pub fn bury(&self, seq: u64) -> Result<(), VaultError> {
        let (from, to) = (self.path(&pending_manifest(seq)), self.path(&layout::manifest(seq)));
        if self.size(&layout::tombstone(seq))?.is_none() {
            let error = std::io::Error::other("it has no tombstone");
            return Err(self.vault.fail("bury", &to, error));
        }
        match self.vault.disk.rename_new(&from, &to) {
            Ok(()) => {}
            // Done before, by a pull that was cut short.
            Err(error)
                if matches!(
                    error.kind(),
                    std::io::ErrorKind::NotFound | std::io::ErrorKind::AlreadyExists
                ) => {}
            Err(error) => return Err(self.vault.fail("bury", &to, error)),
        }
        self.vault.unsynced(&to);
        self.settle()
    }

    /// Forgets a snapshot: only what was decided has the type for it.
    pub fn keep_tombstone(
        &self,
        decided: &Forgettable,
        bytes: &[u8],
        now: Timestamp,
    ) -> Result<(), VaultError> {
        self.put(&layout::tombstone(decided.seq()), bytes, now).map(drop)
    }

    /// Takes a tombstone back, before anything was deleted by it.
    pub fn remove_tombstone(&self, seq: u64, _lock: &ExclusiveLock) -> Result<(), VaultError> {
        self.remove(&layout::tombstone(seq))
    }

    /// Adds a record to the audit log; false when another has its number.
    pub fn keep_audit(&self, n: u64, bytes: &[u8], now: Timestamp) -> Result<bool, VaultError> {
        self.put(&layout::audit(n), bytes, now)
    }

    /// Numbers of the audit log's records, ascending.
    pub fn audit_records(&self) -> Result<Vec<u64>, VaultError> {
        let names = self.names(layout::AUDIT)?;
        Ok(names.iter().filter_map(|n| layout::parse_audit(&format!("{}{n}", layout::AUDIT))).collect())
    }

    /// Slots that have a tombstone.
    pub fn tombstones(&self) -> Result<Vec<u64>, VaultError> {
        let names = self.names(layout::TOMBSTONES)?;
        let seq = |n: &String| layout::parse_tombstone(&format!("{}{n}", layout::TOMBSTONES));
        Ok(names.iter().filter_map(seq).collect())
    }

    /// What snapshots under way need, as named before they looked.
    pub fn pending_packs(&self) -> Result<Vec<Sha256>, VaultError> {
        let mut packs = Vec::new();
        for name in self.names(layout::PENDING)? {
            let key = format!("{}{name}", layout::PENDING);
            if layout::parse_pending(&key).is_none() {
                continue;
            }
            packs.extend(self.read_pending_packs(&key)?);
        }
        Ok(packs)
    }

    /// What one snapshot under way needs; nothing where that was not named yet.
    pub fn packs_of_pending(&self, seq: u64) -> Result<Vec<Sha256>, VaultError> {
        self.read_pending_packs(&layout::pending(seq))
    }

    fn read_pending_packs(&self, key: &str) -> Result<Vec<Sha256>, VaultError> {
        let Some((bytes, _)) = self.read(key, PENDING_MAX)? else { return Ok(Vec::new()) };
        let pending: PendingPacks = serde_json::from_slice(&bytes).map_err(|e| VaultError::Io {
            action: "understand",
            path: self.full_path(key),
            source: std::io::Error::other(e),
        })?;
        Ok(pending.packs)
    }

    /// Deletes a pack that nothing kept needs. `_lock` is held since the last look at what is under way.
    pub fn collect(&self, pack: &Collectable, _lock: &ExclusiveLock) -> Result<(), VaultError> {
        self.remove(&layout::pack(pack.sha256()))
    }

    pub fn keep_receipt(&self, seq: u64, bytes: &[u8], now: Timestamp) -> Result<(), VaultError> {
        self.put(&layout::receipt(seq), bytes, now).map(drop)
    }

    /// Forgets what was kept while the snapshot was under way.
    pub fn end_pending(&self, seq: u64) -> Result<(), VaultError> {
        self.remove(&layout::pending(seq))?;
        self.remove(&pending_manifest(seq))
    }
}
