//! Files on their way into the vault: written and hashed under `.tmp/`, seen by nobody. Knows no format.

use super::disk::DiskFile;
use super::{Vault, VaultError};
use jiff::Timestamp;
use lifeboat_format::id::Sha256;
use std::sync::Arc;

/// A path under `.tmp/` whose file goes away unless it was moved into place.
#[derive(Debug)]
struct Temporary {
    vault: Arc<Vault>,
    path: String,
    placed: bool,
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.placed {
            // Best effort: what stays is removed when the next pull begins.
            let _ = self.vault.disk.remove(&self.path);
        }
    }
}

/// A file that is being written.
pub struct Staging {
    temporary: Temporary,
    file: Box<dyn DiskFile>,
    hash: ring::digest::Context,
    size: u64,
}

impl Staging {
    pub(super) fn new(vault: &Arc<Vault>, path: String) -> Result<Self, VaultError> {
        let file = vault.disk.create(&path).map_err(|e| vault.fail("create", &path, e))?;
        let temporary = Temporary { vault: Arc::clone(vault), path, placed: false };
        Ok(Self { temporary, file, hash: ring::digest::Context::new(&ring::digest::SHA256), size: 0 })
    }

    pub fn write(&mut self, bytes: &[u8]) -> Result<(), VaultError> {
        let Temporary { vault, path, .. } = &self.temporary;
        self.file.write(bytes).map_err(|e| vault.fail("write", path, e))?;
        self.hash.update(bytes);
        self.size += bytes.len() as u64;
        Ok(())
    }

    /// Makes the bytes durable, with `time` as the file's.
    pub fn finish(mut self, time: Option<Timestamp>) -> Result<Staged, VaultError> {
        let Temporary { vault, path, .. } = &self.temporary;
        self.file.finish(time).map_err(|e| vault.fail("sync", path, e))?;
        let mut sha256 = Sha256([0; 32]);
        sha256.0.copy_from_slice(self.hash.finish().as_ref());
        Ok(Staged { temporary: self.temporary, sha256, size: self.size })
    }
}

/// A durable file with a known hash that has no name yet.
#[derive(Debug)]
pub struct Staged {
    temporary: Temporary,
    sha256: Sha256,
    size: u64,
}

impl Staged {
    #[must_use]
    pub fn sha256(&self) -> Sha256 {
        self.sha256
    }

    /// Bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Gives it its name; false when the name is taken, by whatever.
    pub(super) fn place(mut self, path: &str) -> Result<bool, VaultError> {
        let vault = Arc::clone(&self.temporary.vault);
        match vault.disk.rename_new(&self.temporary.path, path) {
            Ok(()) => {
                self.temporary.placed = true;
                vault.unsynced(path);
                Ok(true)
            }
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                // Whoever placed it may not have come to the sync.
                vault.unsynced(path);
                Ok(false)
            }
            Err(error) => Err(vault.fail("put in place", path, error)),
        }
    }
}
