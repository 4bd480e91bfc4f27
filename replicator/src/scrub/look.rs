//! Whether one file of the vault is what it was when it was put there: by the hash in its name, or by its signature.
//! Changes nothing.

use super::pace::Pace;
use crate::activity::Activity;
use crate::audit;
use crate::catalog::{Catalogue, SnapshotRow, State};
use crate::replicate::charters;
use crate::replicate::error::PullError;
use crate::vault::{Folder, VaultError};
use lifeboat_format::crypto::sign::VerifyKey;
use lifeboat_format::id::{ClusterName, Sha256};
use lifeboat_format::manifest::UnverifiedManifest;
use lifeboat_format::receipt::Receipt;
use lifeboat_format::tombstone::Tombstone;
use lifeboat_format::{layout, limits};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read as _;

/// Bytes of one read: fits into a core's cache beside the hash.
const PIECE: usize = 256 << 10;
/// EIO, EBADMSG and EUCLEAN: the disk or the file system says that the bytes are gone.
const LOST_BYTES: [i32; 3] = [5, 74, 117];

/// What a look found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    Sound,
    /// It is not there.
    Gone,
    /// What it is judged by is not at hand: a charter of the vault is damaged or gone.
    Unsure,
    /// What was expected and what was seen.
    Bad(String),
}

/// A cluster's folder and what its files are checked by.
#[derive(Debug)]
pub struct World {
    pub cluster: ClusterName,
    pub folder: Folder,
    /// By slot: the hash of the payload, and who signed it.
    manifests: BTreeMap<u64, (Sha256, VerifyKey)>,
    /// Forgotten before they were whole: some of their lists may never have come.
    never_whole: BTreeSet<u64>,
    /// May have signed receipts, tombstones and the audit log; none while a charter is missing that names some.
    keys: Option<Vec<VerifyKey>>,
}

/// How a look reads.
#[derive(Debug, Clone, Copy)]
pub struct Way<'a> {
    pub pace: &'a Pace,
    pub activity: Option<&'a Activity>,
    /// What the page cache holds is dropped first, so that the disk is asked.
    pub from_disk: bool,
}

impl World {
    pub fn new(
        folder: Folder,
        cluster: &ClusterName,
        owner: &VerifyKey,
        catalogue: &Catalogue,
    ) -> Result<Self, PullError> {
        let rows = catalogue.snapshots(cluster.as_str())?;
        let never_whole = |r: &&SnapshotRow| r.state == State::Forgotten && r.verified.is_none();
        let never_whole = rows.iter().filter(never_whole).map(|r| r.seq).collect();
        let placed = rows.into_iter().filter(|r| r.state != State::Pending);
        let charters = charters::trusted(&folder, owner, cluster)?;
        let whole = charters.len() >= catalogue.charters(cluster.as_str())?.len();
        let keys = whole.then(|| charters.iter().map(|c| c.charter().receipt_key).collect());
        Ok(Self {
            cluster: cluster.clone(),
            manifests: placed.map(|r| (r.seq, (r.sha256, r.signer))).collect(),
            never_whole,
            keys,
            folder,
        })
    }

    /// By what a manifest's file is known.
    #[must_use]
    pub fn manifest(&self, seq: u64) -> Option<(Sha256, VerifyKey)> {
        self.manifests.get(&seq).copied()
    }

    /// Looks at `key`. Errors are those of this machine, which say nothing of the file.
    pub fn look(&self, key: &str, way: Way<'_>) -> Result<Seen, VaultError> {
        let seen = match hash_of(key) {
            Some(expected) => self.hash(key, expected, way),
            None => self.signed(key, way),
        };
        match seen {
            Err(VaultError::Io { source, .. })
                if source.raw_os_error().is_some_and(|e| LOST_BYTES.contains(&e)) =>
            {
                Ok(Seen::Bad(format!("the disk cannot read it: {source}")))
            }
            Err(VaultError::TooLarge { size, max, .. }) => {
                Ok(Seen::Bad(format!("expected at most {max} bytes, found {size}")))
            }
            other => other,
        }
    }

    fn hash(&self, key: &str, expected: Sha256, way: Way<'_>) -> Result<Seen, VaultError> {
        let Some((mut file, size)) = self.folder.open(key)? else { return Ok(Seen::Gone) };
        let fail = |source| VaultError::Io { action: "read", path: self.folder.full_path(key), source };
        if way.from_disk {
            forget(&file);
        }
        let mut hash = ring::digest::Context::new(&ring::digest::SHA256);
        let mut piece = vec![0; PIECE.min(usize::try_from(size).unwrap_or(PIECE).max(1) + 1)];
        loop {
            let length = match file.read(&mut piece) {
                Ok(length) => length,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(fail(error)),
            };
            if length == 0 {
                break;
            }
            hash.update(&piece[..length]);
            way.pay(length);
        }
        // Nobody reads it again soon, and the next round must ask the disk.
        forget(&file);
        let mut seen = Sha256([0; 32]);
        seen.0.copy_from_slice(hash.finish().as_ref());
        if seen == expected {
            return Ok(Seen::Sound);
        }
        Ok(Seen::Bad(format!("expected SHA-256 {expected}, found {seen} over {size} bytes")))
    }

    fn signed(&self, key: &str, way: Way<'_>) -> Result<Seen, VaultError> {
        let Some(keys) = &self.keys else { return Ok(Seen::Unsure) };
        let read = |max| {
            if way.from_disk
                && let Some((file, _)) = self.folder.open(key)?
            {
                forget(&file);
            }
            let read = self.folder.read(key, max)?;
            Ok::<_, VaultError>(read.map(|(bytes, _)| {
                way.pay(bytes.len());
                bytes
            }))
        };
        let judged = if let Some(seq) = layout::parse_manifest(key) {
            let Some((sha256, signer)) = self.manifest(seq) else { return Ok(Seen::Sound) };
            let Some(bytes) = read(limits::MANIFEST_MAX)? else { return Ok(Seen::Gone) };
            let signed =
                UnverifiedManifest::parse(&bytes).and_then(|m| m.verify(&[signer], &self.cluster, seq));
            signed.map_err(|e| e.to_string()).and_then(|m| {
                if m.sha256 == sha256 {
                    Ok(())
                } else {
                    Err(format!("expected payload {sha256}, found {}", m.sha256))
                }
            })
        } else if let Some(seq) = layout::parse_receipt(key) {
            let Some(bytes) = read(limits::RECEIPT_MAX)? else { return Ok(Seen::Gone) };
            let found =
                keys.iter().any(|k| Receipt::verify(&bytes, k, &self.cluster).is_ok_and(|r| r.seq == seq));
            found
                .then_some(())
                .ok_or_else(|| "no receipt key of the charters signed it as it stands".to_owned())
        } else if let Some(seq) = layout::parse_tombstone(key) {
            let Some(bytes) = read(limits::RECEIPT_MAX)? else { return Ok(Seen::Gone) };
            Tombstone::verify(&bytes, keys, &self.cluster, seq).map(drop).map_err(|e| e.to_string())
        } else if let Some(n) = layout::parse_audit(key) {
            let Some(bytes) = read(limits::AUDIT_MAX)? else { return Ok(Seen::Gone) };
            audit::verify_one(&bytes, keys, &self.cluster, n)
        } else {
            Ok(())
        };
        Ok(judged.map_or_else(Seen::Bad, |()| Seen::Sound))
    }

    /// Lists that a manifest of the vault names and that are not there.
    pub fn lists_gone(&self, seq: u64) -> Result<Vec<String>, VaultError> {
        if self.never_whole.contains(&seq) {
            return Ok(Vec::new());
        }
        let Some((bytes, _)) = self.folder.read(&layout::manifest(seq), limits::MANIFEST_MAX)? else {
            return Ok(Vec::new());
        };
        let Ok(manifest) = UnverifiedManifest::parse(&bytes) else { return Ok(Vec::new()) };
        let mut gone = Vec::new();
        for list in manifest.claims().lists() {
            let key = layout::list(&list);
            if self.folder.size(&key)?.is_none() {
                gone.push(key);
            }
        }
        Ok(gone)
    }
}

impl Way<'_> {
    fn pay(&self, bytes: usize) {
        if let Some(activity) = self.activity {
            activity.tick();
        }
        self.pace.pay(bytes);
    }
}

/// Tells the kernel that the file's clean pages are not needed. A hint: what it is worth to the kernel does not matter.
fn forget(file: &File) {
    let _ = rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed);
}

/// The hash in a file's name; none where the name holds none.
pub(super) fn hash_of(key: &str) -> Option<Sha256> {
    if let Some(name) = key.strip_prefix(layout::REJECTED) {
        return name.strip_suffix(".json")?.rsplit_once('-')?.1.parse().ok();
    }
    layout::parse_pack(key)
        .or_else(|| layout::parse_hash_named(layout::LISTS, key))
        .or_else(|| layout::parse_charter(key).map(|(_, h)| h))
        .or_else(|| layout::parse_epoch(key).map(|(_, h)| h))
}

/// Whether the primary has the same bytes under the same name, and one that is set aside is fetched again.
pub(super) fn is_replicated(key: &str) -> bool {
    !key.starts_with(layout::REJECTED) && hash_of(key).is_some()
}
