//! What can go wrong with the vault itself, each with what to do next. Does no I/O.

use std::io;
use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    #[error("Cannot open the vault {path}: {source}; create the directory, or mount the disk that holds it")]
    Open { path: PathBuf, source: io::Error },
    #[error("Cannot {action} {path}: {source}{next}", next = next_step(.source))]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error(
        "The vault {path} is at work for another process (pid {pid}); wait for it, or stop it: one pull and one retain at a time work on a vault"
    )]
    Busy { path: PathBuf, pid: String },
    #[error(
        "The vault {path} belongs to host {owner}, and this is {host}; one host owns a vault. If that host is gone for good, \
         remove {claim} and start again"
    )]
    Claimed { path: PathBuf, owner: String, host: String, claim: PathBuf },
    #[error(
        "The disk of the vault {path} is nearly full: {free} MiB free, {floor} MiB are kept free; nothing more is pulled. \
         Free some space, enlarge the disk, or lower --min-free"
    )]
    Floor { path: PathBuf, free: u64, floor: u64 },
    #[error(
        "{path} in the vault is damaged: expected SHA-256 {expected}, found {seen}; run `lifeboat verify` on the vault"
    )]
    Damaged { path: PathBuf, expected: String, seen: String },
    #[error(
        "The vault {url} is not a directory of this machine; give vault = \"file:///DIRECTORY\" (vaults in S3 come later)"
    )]
    NotLocal { url: String },
    #[error("{path} has {size} bytes, at most {max} are read; move it away")]
    TooLarge { path: PathBuf, size: u64, max: u64 },
}

impl VaultError {
    /// Whether there is no room left.
    #[must_use]
    pub fn is_full(&self) -> bool {
        match self {
            Self::Floor { .. } => true,
            Self::Io { source, .. } => is_full(source),
            _ => false,
        }
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

fn next_step(error: &io::Error) -> &'static str {
    use io::ErrorKind::{NotFound, PermissionDenied, ReadOnlyFilesystem};
    match error.kind() {
        _ if is_full(error) => "; free some space or raise the quota, the next pull goes on from here",
        PermissionDenied => "; give the user that runs lifeboat-replicator the right to write there",
        ReadOnlyFilesystem => "; mount it writable",
        NotFound => "; check the path, and that its disk is mounted",
        _ if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
            "; a symbolic link is never followed inside a vault, so move or mount the data there instead"
        }
        _ => "; check the disk and its log",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_from_a_forbidden_one() {
        let error = |errno: rustix::io::Errno| VaultError::Io {
            action: "write",
            path: "/vault/x".into(),
            source: errno.into(),
        };
        assert!(error(rustix::io::Errno::NOSPC).is_full());
        assert!(error(rustix::io::Errno::NOSPC).to_string().contains("free some space"));
        assert!(!error(rustix::io::Errno::ACCESS).is_full());
        assert!(error(rustix::io::Errno::ROFS).to_string().contains("mount it writable"));
        assert!(error(rustix::io::Errno::LOOP).to_string().contains("symbolic link"));
    }
}
