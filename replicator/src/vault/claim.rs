//! Who may write a vault: one host for good, one process at a time, and the lock between `pull` and `collect`.
//!
//! Owns `.lifeboat/{host,writer,retain,scrub,operator,lock}`. Knows nothing of what is in the vault.

use super::error::VaultError;
use jiff::Timestamp;
use lifeboat_format::id::Sha256;
use rustix::fs::FlockOperation;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Which host this is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Hash of the machine id: tells hosts apart without telling the id.
    pub id: Sha256,
    /// For people.
    pub name: String,
}

impl Host {
    /// This machine.
    pub fn local() -> Self {
        let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let machine = std::fs::read_to_string("/etc/machine-id").ok().filter(|id| !id.trim().is_empty());
        let known = machine.map_or_else(|| format!("name:{name}"), |id| format!("machine:{}", id.trim()));
        Self { id: Sha256::of(format!("lifeboat/host/1:{known}").as_bytes()), name }
    }

    fn describe(&self) -> String {
        format!("{} ({})", self.name, &self.id.to_hex()[..8])
    }
}

#[derive(Serialize, Deserialize)]
struct Claim {
    schema: String,
    #[serde(flatten)]
    host: Host,
    since: Timestamp,
}

const SCHEMA: &str = "lifeboat/host/1";

/// Takes the vault for `host`, or finds that it has it. `folder` is `<vault>/.lifeboat`.
pub(super) fn claim(vault: &Path, folder: &Path, host: &Host, now: Timestamp) -> Result<(), VaultError> {
    let path = folder.join("host");
    let fail = |action, source| VaultError::Io { action, path: path.clone(), source };
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            create_claim(folder, host, now).map_err(|source| fail("claim the vault in", source))?;
            std::fs::read(&path).map_err(|source| fail("read", source))?
        }
        Err(source) => return Err(fail("read", source)),
    };
    let found: Claim = serde_json::from_slice(&text).map_err(|e| {
        fail("understand", io::Error::other(format!("{e}; remove it if this host alone writes here")))
    })?;
    if found.host.id == host.id {
        return Ok(());
    }
    Err(VaultError::Claimed {
        path: vault.into(),
        owner: found.host.describe(),
        host: host.describe(),
        claim: path,
    })
}

/// Whole or not at all, and never over another's: a temporary file and a hard link.
fn create_claim(folder: &Path, host: &Host, now: Timestamp) -> io::Result<()> {
    let claim = Claim { schema: SCHEMA.to_owned(), host: host.clone(), since: now };
    let temporary = folder.join(format!("host.{}", std::process::id()));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o640).open(&temporary)?;
    file.write_all(&serde_json::to_vec(&claim).map_err(io::Error::other)?)?;
    file.sync_all()?;
    let linked = std::fs::hard_link(&temporary, folder.join("host"));
    std::fs::remove_file(&temporary)?;
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => File::open(folder)?.sync_all(),
    }
}

fn lock_file(path: &Path) -> Result<File, VaultError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o640)
        .open(path)
        .map_err(|source| VaultError::Io { action: "open the lock", path: path.into(), source })
}

/// Makes this process the only one that does `work` (`writer` pulls, `retain` forgets), until the file is closed.
pub(super) fn only_one(work: &str, vault: &Path, folder: &Path) -> Result<File, VaultError> {
    let path = folder.join(work);
    let mut file = lock_file(&path)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => {
            let mut pid = String::new();
            let _ = file.read_to_string(&mut pid);
            let pid = if pid.is_empty() { "unknown".to_owned() } else { pid };
            return Err(VaultError::Busy { path: vault.into(), pid });
        }
        Err(errno) => return Err(VaultError::Io { action: "lock", path, source: errno.into() }),
    }
    // Only a hint for people: the lock is what counts.
    let _ =
        file.set_len(0).and_then(|()| file.rewind()).and_then(|()| write!(file, "{}", std::process::id()));
    Ok(file)
}

/// The vault's lock, shared: `collect` waits for it, other commits do not.
#[derive(Debug)]
pub struct SharedLock(#[expect(dead_code, reason = "closing it gives the lock back")] File);

pub(super) fn shared(folder: &Path) -> Result<SharedLock, VaultError> {
    lock(folder, FlockOperation::LockShared).map(SharedLock)
}

/// The vault's lock for one process alone: nothing is committed while something is deleted.
#[derive(Debug)]
pub struct ExclusiveLock(#[expect(dead_code, reason = "closing it gives the lock back")] File);

pub(super) fn exclusive(folder: &Path) -> Result<ExclusiveLock, VaultError> {
    lock(folder, FlockOperation::LockExclusive).map(ExclusiveLock)
}

fn lock(folder: &Path, operation: FlockOperation) -> Result<File, VaultError> {
    let path = folder.join("lock");
    let file = lock_file(&path)?;
    rustix::fs::flock(&file, operation).map_err(|errno| VaultError::Io {
        action: "lock",
        path,
        source: errno.into(),
    })?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_host_owns_a_vault_and_one_process_writes_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path();
        let host = |name: &str| Host { id: Sha256::of(name.as_bytes()), name: name.to_owned() };
        claim(path, path, &host("one"), Timestamp::UNIX_EPOCH).unwrap();
        claim(path, path, &host("one"), Timestamp::UNIX_EPOCH).unwrap();
        let error = claim(path, path, &host("two"), Timestamp::UNIX_EPOCH).unwrap_err();
        assert!(matches!(error, VaultError::Claimed { .. }), "{error}");
        assert!(error.to_string().contains("one (") && error.to_string().contains("two ("), "{error}");

        let first = only_one("writer", path, path).unwrap();
        let error = only_one("writer", path, path).unwrap_err().to_string();
        assert!(error.contains(&std::process::id().to_string()), "{error}");
        drop(first);
        only_one("writer", path, path).unwrap();
        let _both = (shared(path).unwrap(), shared(path).unwrap());
    }
}
