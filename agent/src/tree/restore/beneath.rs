//! The directory that is restored into, and nothing outside of it: directories are opened beneath it by openat2(2),
//! which follows no link; where a sandbox does not know that call, component by component with O_NOFOLLOW. Knows
//! nothing of what is written.

use super::error::RestoreError;
use rustix::fs::{FlockOperation, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// Longer paths are opened in several steps, bytes (PATH_MAX is 4096).
const STEP_MAX: usize = 4000;
/// For entries by name; O_PATH needs no right to list.
pub(super) const WALK: OFlags =
    OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC).union(OFlags::NOFOLLOW);
/// For the directory's own attributes, and to list it.
pub(super) const READ: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC).union(OFlags::NOFOLLOW);

/// A directory to restore into, held by one restore at a time.
#[derive(Debug)]
pub struct Target {
    fd: OwnedFd,
    path: PathBuf,
    /// openat2 is not to be had here.
    stepwise: AtomicBool,
}

impl Target {
    /// Opens the directory, made if it is not there. Links in *its* path are the caller's own.
    ///
    /// # Errors
    /// It cannot be made or opened, or another restore holds it.
    pub fn open(path: &Path) -> Result<Self, RestoreError> {
        std::fs::create_dir_all(path).map_err(|e| RestoreError::io("make the folder", path, e))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty());
        let fd = fd.map_err(|e| RestoreError::io("open the folder", path, e))?;
        // Some network file systems have no locks; then nobody is kept out.
        if let Err(Errno::WOULDBLOCK) = rustix::fs::flock(&fd, FlockOperation::NonBlockingLockExclusive) {
            return Err(RestoreError::InUse { path: path.to_owned() });
        }
        Ok(Self { fd, path: path.to_owned(), stepwise: AtomicBool::new(false) })
    }

    /// Removes what a run that was killed left unfinished in the directory itself: for one that is the restore's own.
    /// In directories that a restore makes this happens without being asked for.
    pub fn remove_left_behind(&self) {
        if let Ok(own) = self.directory(b"", READ) {
            super::partial::remove_left_behind(own);
        }
    }

    /// As it was given.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes openat2 for unknown from now on.
    #[cfg(test)]
    pub(super) fn without_openat2(self) -> Self {
        self.stepwise.store(true, Ordering::Relaxed);
        self
    }

    /// Opens the directory at `path` (components joined by `/`; empty for the target itself).
    pub(super) fn directory(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
        if path.is_empty() {
            return rustix::fs::openat(&self.fd, ".", flags, Mode::empty());
        }
        let mut rest = path;
        let mut at: Option<OwnedFd> = None;
        while rest.len() > STEP_MAX {
            let cut = rest[..STEP_MAX].iter().rposition(|b| *b == b'/').ok_or(Errno::NAMETOOLONG)?;
            at = Some(self.step(at.as_ref().unwrap_or(&self.fd).as_fd(), &rest[..cut], WALK)?);
            rest = &rest[cut + 1..];
        }
        self.step(at.as_ref().unwrap_or(&self.fd).as_fd(), rest, flags)
    }

    fn step(&self, from: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
        if path.split(|b| *b == b'/').any(|part| matches!(part, b"" | b"." | b"..")) {
            return Err(Errno::INVAL);
        }
        if !self.stepwise.load(Ordering::Relaxed) {
            let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
            match rustix::fs::openat2(from, path, flags, Mode::empty(), resolve) {
                // A sandbox that does not know the call says one or the other.
                Err(Errno::NOSYS | Errno::PERM) => self.stepwise.store(true, Ordering::Relaxed),
                answer => return answer,
            }
        }
        let mut parts = path.split(|b| *b == b'/').peekable();
        let mut at: Option<OwnedFd> = None;
        while let Some(part) = parts.next() {
            let flags = if parts.peek().is_some() { WALK } else { flags };
            let next = rustix::fs::openat(at.as_ref().map_or(from, AsFd::as_fd), part, flags, Mode::empty())?;
            at = Some(next);
        }
        at.ok_or(Errno::INVAL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn nothing_leads_out() {
        let dir = tempfile::tempdir().unwrap();
        let (to, outside) = (dir.path().join("to"), dir.path().join("outside"));
        std::fs::create_dir_all(to.join("a/b")).unwrap();
        std::fs::create_dir(&outside).unwrap();
        symlink(&outside, to.join("l")).unwrap();
        symlink("../outside", to.join("a/l")).unwrap();
        symlink("b", to.join("a/inside")).unwrap();
        std::fs::write(to.join("f"), "x").unwrap();
        let known = Target::open(&to).unwrap();
        assert!(matches!(Target::open(&to), Err(RestoreError::InUse { .. })), "one at a time");
        leads_nowhere(&known);
        leads_nowhere(&known.without_openat2());
    }

    fn leads_nowhere(target: &Target) {
        for flags in [WALK, READ] {
            target.directory(b"a/b", flags).unwrap();
            target.directory(b"", flags).unwrap();
            for bad in ["l", "a/l", "a/inside", "..", "a/../a", "/", "/a", "a/", "a//b", ".", "f", "no"] {
                assert!(target.directory(bad.as_bytes(), flags).is_err(), "{bad}");
            }
        }
    }

    #[test]
    fn long_paths_are_walked_in_steps() {
        let dir = tempfile::tempdir().unwrap();
        let target = Target::open(dir.path()).unwrap();
        let part = "d".repeat(200);
        let mut path = Vec::new();
        for _ in 0..50 {
            let at = target.directory(&path, WALK).unwrap();
            rustix::fs::mkdirat(&at, part.as_str(), Mode::from_raw_mode(0o755)).unwrap();
            path.extend(if path.is_empty() { &b""[..] } else { b"/" });
            path.extend(part.as_bytes());
        }
        assert!(path.len() > 2 * STEP_MAX);
        target.directory(&path, READ).unwrap();
    }
}
