//! A vault's disk that fails: at the Nth operation for good, as in a crash, or full, or nearly full.

use crate::fixture::*;
use jiff::Timestamp;
use lifeboat_replicator::alarm::AlarmKind;
use lifeboat_replicator::vault::disk::{Disk, DiskFile, LocalDisk, Space, Stat};
use lifeboat_replicator::vault::{MinFree, Vault, VaultError};
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// Lets some operations that change something through; what comes after fails.
#[derive(Debug)]
pub struct FailingDisk {
    inner: LocalDisk,
    left: Arc<AtomicI64>,
    /// Everything fails after, also reads: the machine is gone.
    crash: bool,
    free: AtomicU64,
}

#[derive(Debug)]
struct FailingFile {
    inner: Box<dyn DiskFile>,
    left: Arc<AtomicI64>,
}

fn step(left: &AtomicI64) -> io::Result<()> {
    if left.fetch_sub(1, Ordering::SeqCst) > 0 {
        return Ok(());
    }
    Err(io::Error::from_raw_os_error(28)) // ENOSPC
}

impl DiskFile for FailingFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Err(error) = step(&self.left) {
            // Half of it arrives.
            let _ = self.inner.write(&bytes[..bytes.len() / 2]);
            return Err(error);
        }
        self.inner.write(bytes)
    }
    fn finish(&mut self, time: Option<Timestamp>) -> io::Result<()> {
        step(&self.left)?;
        self.inner.finish(time)
    }
}

impl FailingDisk {
    pub fn new(root: &Path, operations: i64, crash: bool) -> Arc<Self> {
        let inner = LocalDisk::open(root).unwrap();
        Arc::new(Self {
            inner,
            left: Arc::new(AtomicI64::new(operations)),
            crash,
            free: AtomicU64::new(u64::MAX),
        })
    }

    /// Operations that were asked for beyond those allowed, and less than 0 when some are left.
    pub fn failed(&self) -> i64 {
        -self.left.load(Ordering::SeqCst)
    }

    fn gone(&self) -> io::Result<()> {
        if self.crash && self.left.load(Ordering::SeqCst) < 0 {
            Err(io::Error::other("crashed"))
        } else {
            Ok(())
        }
    }
}

impl Disk for FailingDisk {
    fn create(&self, path: &str) -> io::Result<Box<dyn DiskFile>> {
        step(&self.left)?;
        Ok(Box::new(FailingFile { inner: self.inner.create(path)?, left: Arc::clone(&self.left) }))
    }
    fn rename_new(&self, from: &str, to: &str) -> io::Result<()> {
        step(&self.left)?;
        self.inner.rename_new(from, to)
    }
    fn sync_folder(&self, folder: &str) -> io::Result<()> {
        step(&self.left)?;
        self.inner.sync_folder(folder)
    }
    fn remove(&self, path: &str) -> io::Result<()> {
        // A full disk still lets files go.
        if self.crash {
            step(&self.left)?;
        }
        self.inner.remove(path)
    }
    fn open(&self, path: &str) -> io::Result<(File, Stat)> {
        self.gone()?;
        self.inner.open(path)
    }
    fn stat(&self, path: &str) -> io::Result<Option<Stat>> {
        self.gone()?;
        self.inner.stat(path)
    }
    fn names(&self, folder: &str) -> io::Result<Vec<String>> {
        self.gone()?;
        self.inner.names(folder)
    }
    fn space(&self) -> io::Result<Space> {
        Ok(Space { free: self.free.load(Ordering::SeqCst), total: u64::MAX })
    }
}

async fn pull_on(
    disk: &Arc<FailingDisk>,
    dir: &Path,
    primary: &Primary,
) -> lifeboat_replicator::replicate::Outcome {
    let vault = open_vault(dir, Some(disk.clone()), MinFree::Bytes(0)).unwrap();
    replicator(vault, primary.clock.clone()).pull(&primary.source()).await
}

/// Opens a vault once the threads of the pull before have let go of it.
async fn reopen(dir: &Path) -> Arc<Vault> {
    for _ in 0..200 {
        match open_vault(dir, None, MinFree::Bytes(0)) {
            Err(VaultError::Busy { .. }) => tokio::time::sleep(std::time::Duration::from_millis(10)).await,
            opened => return opened.unwrap(),
        }
    }
    panic!("the vault stays busy");
}

/// Fails after each number of operations in turn; what is committed is whole, and the next pull goes through.
async fn every_operation(crash: bool) {
    let mut primary = Primary::with("prod", 2);
    primary.checkpoint();
    primary.snapshot(2);
    let mut tried = 0;
    for operations in 0.. {
        let dir = tempfile::tempdir().unwrap();
        let disk = FailingDisk::new(dir.path(), operations, crash);
        let outcome = pull_on(&disk, dir.path(), &primary).await;
        let held = check(dir.path(), &primary);
        if disk.failed() <= 0 {
            assert!(outcome.error.is_none());
            assert_eq!(held, [1, 2, 4]);
            break;
        }
        tried += 1;
        let error = outcome.error.expect("a disk that fails is an error");
        if !crash {
            assert_eq!(error.kind(), AlarmKind::VaultFull, "{error}");
            assert!(error.to_string().contains("free some space"), "{error}");
        }
        let vault = reopen(dir.path()).await;
        let vaulted = Vaulted { replicator: replicator(vault, primary.clock.clone()), dir };
        vaulted.clean_pull(&primary).await;
        assert_eq!(vaulted.held(&primary), [1, 2, 4], "after {operations} operations");
        check_receipts(vaulted.dir.path(), &primary, &[1, 2, 4]);
        let left = std::fs::read_dir(vaulted.dir.path().join("prod/pending")).unwrap().count();
        assert_eq!(left, 0, "after {operations} operations");
    }
    assert!(tried > 60, "only {tried} operations");
}

#[tokio::test]
async fn a_crash_at_any_operation_of_the_vault_loses_nothing() {
    every_operation(true).await;
}

#[tokio::test]
async fn a_disk_that_is_full_at_any_operation_leaves_nothing_half() {
    every_operation(false).await;
}

#[tokio::test]
async fn pulling_stops_before_the_disk_is_full() {
    let primary = Primary::with("prod", 2);
    let dir = tempfile::tempdir().unwrap();
    let disk = FailingDisk::new(dir.path(), i64::MAX, false);
    disk.free.store(2000, Ordering::SeqCst);
    let vault = open_vault(dir.path(), Some(disk.clone()), MinFree::Bytes(1000)).unwrap();
    let vaulted = Vaulted { replicator: replicator(vault, primary.clock.clone()), dir };
    let outcome = vaulted.pull(&primary).await;
    let error = outcome.error.unwrap();
    assert_eq!(error.kind(), AlarmKind::VaultFull);
    assert!(error.to_string().contains("--min-free"), "{error}");
    assert!(vaulted.held(&primary).is_empty());
    assert!(!vaulted.dir.path().join("prod/packs").exists(), "no pack is begun that does not fit");
    disk.free.store(u64::MAX, Ordering::SeqCst);
    vaulted.clean_pull(&primary).await;
    assert_eq!(vaulted.held(&primary), [1, 2]);
}

#[tokio::test]
async fn a_vault_that_is_not_there_is_not_an_empty_one() {
    let dir = tempfile::tempdir().unwrap();
    let error = open_vault(&dir.path().join("absent"), None, MinFree::Default).unwrap_err().to_string();
    assert!(error.contains("mount the disk"), "{error}");
    assert!(!dir.path().join("absent").exists());
}
