//! The vault: a directory with one folder per cluster, laid out as a primary.
//!
//! Owns what lies where, who may write, and that each file is there whole or not at all. What was not verified has no
//! type that could be placed here. Knows no source and no catalogue.

mod claim;
pub mod disk;
mod error;
mod floor;
mod folder;
mod staging;

pub use claim::{ExclusiveLock, Host, SharedLock};
pub use error::VaultError;
pub use floor::{MinFree, parse_size};
pub use folder::{Folder, PendingPacks};
pub use staging::{Staged, Staging};

use disk::{Disk, LocalDisk};
use lifeboat_common::store::StoreUrl;
use lifeboat_format::id::ClusterName;
use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The vault's own folder, beside those of the clusters; no cluster can have this name.
const OWN: &str = ".lifeboat";
pub const CATALOGUE: &str = "catalogue.sqlite";

#[derive(Debug)]
pub struct VaultOptions {
    pub root: PathBuf,
    /// For the catalogue; the vault's own folder when absent.
    pub state: Option<PathBuf>,
    pub host: Host,
    pub min_free: MinFree,
    /// Instead of the directory itself; for tests.
    pub disk: Option<Arc<dyn Disk>>,
    pub now: jiff::Timestamp,
}

/// An opened vault: this process alone does its work there.
#[derive(Debug)]
pub struct Vault {
    root: PathBuf,
    state: PathBuf,
    disk: Arc<dyn Disk>,
    min_free: MinFree,
    /// Bytes that transfers under way have been promised.
    promised: AtomicU64,
    names: AtomicU64,
    /// Folders in which something was renamed and which were not yet synced.
    unsynced: Mutex<BTreeSet<String>>,
    _writer: File,
}

/// The directory of a vault's URL.
pub fn directory(url: &StoreUrl) -> Result<&Path, VaultError> {
    url.directory().ok_or_else(|| VaultError::NotLocal { url: url.to_string() })
}

/// Where the catalogue of a vault is.
#[must_use]
pub fn catalogue_path(root: &Path, state: Option<&Path>) -> PathBuf {
    state.map_or_else(|| root.join(OWN), Path::to_owned).join(CATALOGUE)
}

/// What a process is there for; one at a time does each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    Pull,
    Retain,
    /// Reads what is there again.
    Scrub,
    /// A person's word.
    Operator,
}

impl Work {
    fn name(self) -> &'static str {
        match self {
            Self::Pull => "writer",
            Self::Retain => "retain",
            Self::Scrub => "scrub",
            Self::Operator => "operator",
        }
    }
}

impl Vault {
    /// Opens it for pulling.
    pub fn open(options: VaultOptions) -> Result<Arc<Self>, VaultError> {
        Self::open_for(Work::Pull, options)
    }

    pub fn open_for(work: Work, options: VaultOptions) -> Result<Arc<Self>, VaultError> {
        let VaultOptions { root, state, host, min_free, disk, now } = options;
        let local =
            LocalDisk::open(&root).map_err(|source| VaultError::Open { path: root.clone(), source })?;
        let disk = disk.unwrap_or_else(|| Arc::new(local));
        let own = root.join(OWN);
        let state = state.unwrap_or_else(|| own.clone());
        for folder in [&own, &state] {
            std::fs::create_dir_all(folder).map_err(|source| VaultError::Io {
                action: "create",
                path: folder.clone(),
                source,
            })?;
        }
        claim::claim(&root, &own, &host, now)?;
        let writer = claim::only_one(work.name(), &root, &own)?;
        Ok(Arc::new(Self {
            root,
            state,
            disk,
            min_free,
            promised: AtomicU64::new(0),
            names: AtomicU64::new(0),
            unsynced: Mutex::default(),
            _writer: writer,
        }))
    }

    /// Opens it for looking at its small files only: takes no lock, makes nothing, and works where nothing can be
    /// written. What it sees may be a moment old.
    pub fn look(root: &Path, state: Option<&Path>) -> Result<Arc<Self>, VaultError> {
        let fail = |source| VaultError::Open { path: root.to_owned(), source };
        Ok(Arc::new(Self {
            root: root.to_owned(),
            state: state.map_or_else(|| root.join(OWN), Path::to_owned),
            disk: Arc::new(LocalDisk::open(root).map_err(fail)?),
            min_free: MinFree::default(),
            promised: AtomicU64::new(0),
            names: AtomicU64::new(0),
            unsynced: Mutex::default(),
            _writer: File::open(root).map_err(fail)?,
        }))
    }

    /// Room on its disk, bytes.
    pub fn space(&self) -> Result<disk::Space, VaultError> {
        self.disk.space().map_err(|e| self.fail("look for room in", "", e))
    }

    #[must_use]
    pub fn catalogue(&self) -> PathBuf {
        self.state.join(CATALOGUE)
    }

    /// A file of the vault's own beside the catalogue.
    #[must_use]
    pub fn own_path(&self, name: &str) -> PathBuf {
        self.state.join(name)
    }

    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A cluster's folder.
    #[must_use]
    pub fn folder(self: &Arc<Self>, cluster: &ClusterName) -> Folder {
        Folder::new(Arc::clone(self), cluster)
    }

    /// Held while it matters that nothing is collected.
    pub fn lock_shared(&self) -> Result<SharedLock, VaultError> {
        claim::shared(&self.root.join(OWN))
    }

    /// Held while something is deleted.
    pub fn lock_exclusive(&self) -> Result<ExclusiveLock, VaultError> {
        claim::exclusive(&self.root.join(OWN))
    }

    /// A file of the vault's own that replaces the one before as a whole, such as what retention remembers.
    pub fn replace_own(&self, name: &str, bytes: &[u8]) -> Result<(), VaultError> {
        let path = self.state.join(name);
        let fail = |source| VaultError::Io { action: "write", path: path.clone(), source };
        let temporary = self.state.join(format!("{name}.new"));
        std::fs::write(&temporary, bytes).map_err(fail)?;
        std::fs::File::open(&temporary).and_then(|f| f.sync_all()).map_err(fail)?;
        std::fs::rename(&temporary, &path).map_err(fail)?;
        std::fs::File::open(&self.state).and_then(|f| f.sync_all()).map_err(fail)
    }

    /// Adds to such a file, which may come to `max` bytes.
    pub fn append_own(&self, name: &str, bytes: &[u8], max: u64) -> Result<(), VaultError> {
        let path = self.state.join(name);
        let fail = |source| VaultError::Io { action: "write", path: path.clone(), source };
        let mut file = File::options().append(true).create(true).open(&path).map_err(fail)?;
        let size = file.metadata().map_err(fail)?.len() + bytes.len() as u64;
        if size > max {
            return Err(VaultError::TooLarge { path, size, max });
        }
        io::Write::write_all(&mut file, bytes).and_then(|()| file.sync_all()).map_err(fail)?;
        File::open(&self.state).and_then(|f| f.sync_all()).map_err(fail)
    }

    /// Such a file, of at most `max` bytes; nothing when it is absent.
    pub fn read_own(&self, name: &str, max: u64) -> Result<Option<Vec<u8>>, VaultError> {
        let path = self.state.join(name);
        let fail = |source| VaultError::Io { action: "read", path: path.clone(), source };
        match std::fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(fail(error)),
            Ok(meta) if meta.len() > max => Err(VaultError::TooLarge { path, size: meta.len(), max }),
            Ok(_) => std::fs::read(&path).map(Some).map_err(fail),
        }
    }

    /// Removes such a file; that it is absent is fine.
    pub fn remove_own(&self, name: &str) -> Result<(), VaultError> {
        let path = self.state.join(name);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(VaultError::Io { action: "remove", path, source: error })
            }
            _ => Ok(()),
        }
    }

    /// Bytes that are free, and those of them that stay free.
    pub fn room(&self) -> Result<(u64, u64), VaultError> {
        let space = self.disk.space().map_err(|e| self.fail("look for room in", "", e))?;
        Ok((space.free, self.min_free.of(space.total)))
    }

    /// Promises room for `bytes`, or says that the disk is full.
    pub fn reserve(self: &Arc<Self>, bytes: u64) -> Result<Reserved, VaultError> {
        let space = self.disk.space().map_err(|e| self.fail("look for room in", "", e))?;
        let floor = self.min_free.of(space.total);
        let promised = self.promised.fetch_add(bytes, Ordering::SeqCst);
        let reserved = Reserved { vault: Arc::clone(self), bytes };
        if space.free.saturating_sub(promised).saturating_sub(bytes) < floor {
            let (free, floor) = (space.free >> 20, floor >> 20);
            return Err(VaultError::Floor { path: self.root.clone(), free, floor });
        }
        Ok(reserved)
    }

    /// Writes and removes a small file.
    pub fn try_write(&self) -> Result<(), VaultError> {
        let path = format!("{OWN}/try-{}", std::process::id());
        let written = self.disk.create(&path).and_then(|mut file| {
            file.write(b"lifeboat")?;
            file.finish(None)
        });
        let removed = self.disk.remove(&path);
        written.and(removed).map_err(|e| self.fail("write", &path, e))
    }

    fn fail(&self, action: &'static str, path: &str, source: io::Error) -> VaultError {
        VaultError::Io { action, path: self.root.join(path), source }
    }

    fn unsynced(&self, path: &str) {
        let folder = path.rsplit_once('/').map_or(".", |(folder, _)| folder);
        self.unsynced.lock().unwrap_or_else(PoisonError::into_inner).insert(folder.to_owned());
    }

    /// Makes every rename so far durable, those of other threads too: none of them may believe it done before.
    fn settle(&self) -> Result<(), VaultError> {
        let mut owed = self.unsynced.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(folder) = owed.first().cloned() {
            self.disk.sync_folder(&folder).map_err(|e| self.fail("sync", &folder, e))?;
            owed.remove(&folder);
        }
        Ok(())
    }
}

/// Room that was promised; given back when dropped.
#[derive(Debug)]
pub struct Reserved {
    vault: Arc<Vault>,
    bytes: u64,
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.vault.promised.fetch_sub(self.bytes, Ordering::SeqCst);
    }
}
