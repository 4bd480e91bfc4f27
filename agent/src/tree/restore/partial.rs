//! Entries in the making: each under a name of its own until it is complete, then renamed to its real one, which must
//! be free. What is given up leaves nothing.

use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What unfinished entries are called, so that a later run can tell those that a crash left.
pub(super) const PREFIX: &str = ".lifeboat-partial-";

/// Gives out names that nobody else takes.
#[derive(Debug)]
pub(super) struct Names {
    run: u64,
    next: AtomicU64,
}

impl Names {
    pub(super) fn new() -> Self {
        Self { run: rand::random(), next: AtomicU64::new(0) }
    }

    fn next(&self) -> String {
        format!("{PREFIX}{:016x}-{:x}", self.run, self.next.fetch_add(1, Ordering::Relaxed))
    }
}

/// An entry under its temporary name; removed when dropped before it was published.
#[derive(Debug)]
pub(super) struct Partial {
    dir: Arc<OwnedFd>,
    name: String,
    published: bool,
}

/// A file under its temporary name.
#[derive(Debug)]
pub(super) struct PartialFile {
    partial: Partial,
    fd: OwnedFd,
}

impl Partial {
    /// Makes an entry by `make`, which is given the directory and the temporary name.
    pub(super) fn make<T>(
        dir: &Arc<OwnedFd>,
        names: &Names,
        make: impl FnOnce(BorrowedFd<'_>, &str) -> Result<T, Errno>,
    ) -> Result<(Self, T), Errno> {
        let name = names.next();
        let made = make(dir.as_fd(), &name)?;
        Ok((Self { dir: Arc::clone(dir), name, published: false }, made))
    }

    pub(super) fn dir(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Gives it its real name; `Errno::EXIST` where something has that already.
    pub(super) fn publish(mut self, name: &[u8]) -> Result<(), Errno> {
        let (dir, temporary) = (self.dir.as_fd(), self.name.as_str());
        let renamed = match rustix::fs::renameat_with(dir, temporary, dir, name, RenameFlags::NOREPLACE) {
            // NFS and others do not know the flag; a hard link never replaces either, and the temporary name goes
            // when self does.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                return rustix::fs::linkat(dir, temporary, dir, name, AtFlags::empty());
            }
            other => other,
        };
        self.published = renamed.is_ok();
        renamed
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.published {
            // What stays is removed by the next run.
            let _ = rustix::fs::unlinkat(&*self.dir, self.name.as_str(), AtFlags::empty());
        }
    }
}

impl PartialFile {
    pub(super) fn create(dir: &Arc<OwnedFd>, names: &Names) -> Result<Self, Errno> {
        let (partial, fd) = Partial::make(dir, names, |dir, name| {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            rustix::fs::openat(dir, name, flags, Mode::from_raw_mode(0o600))
        })?;
        Ok(Self { partial, fd })
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Writes all of `bytes` at `offset`.
    pub(super) fn write_at(&self, mut bytes: &[u8], mut offset: u64) -> Result<(), Errno> {
        while !bytes.is_empty() {
            match rustix::io::pwrite(&self.fd, bytes, offset) {
                Ok(0) => return Err(Errno::IO),
                Ok(n) => {
                    bytes = &bytes[n..];
                    offset += n as u64;
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }

    pub(super) fn publish(self, name: &[u8]) -> Result<(), Errno> {
        self.partial.publish(name)
    }
}

/// Removes what an earlier run left unfinished in a directory that it made itself.
pub(super) fn remove_left_behind(dir: OwnedFd) {
    let Ok(entries) = rustix::fs::Dir::new(dir) else { return };
    let mut left = Vec::new();
    let mut entries = entries;
    while let Some(Ok(entry)) = entries.read() {
        if entry.file_name().to_bytes().starts_with(PREFIX.as_bytes()) {
            left.push(entry.file_name().to_owned());
        }
    }
    let Ok(dir) = entries.fd() else { return };
    for name in left {
        let _ = rustix::fs::unlinkat(dir, name.as_c_str(), AtFlags::empty());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn open(dir: &tempfile::TempDir) -> Arc<OwnedFd> {
        Arc::new(std::fs::File::open(dir.path()).unwrap().into())
    }

    fn entries(dir: &tempfile::TempDir) -> Vec<String> {
        let names = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name());
        let mut names: Vec<_> = names.map(|n| n.into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_appears_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let (fd, names) = (open(&dir), Names::new());
        let file = PartialFile::create(&fd, &names).unwrap();
        file.write_at(b"cd", 2).unwrap();
        file.write_at(b"ab", 0).unwrap();
        assert!(entries(&dir)[0].starts_with(PREFIX));
        file.publish(b"f").unwrap();
        assert_eq!(entries(&dir), ["f"]);
        assert_eq!(std::fs::read(dir.path().join("f")).unwrap(), b"abcd");
        drop(PartialFile::create(&fd, &names).unwrap());
        assert_eq!(entries(&dir), ["f"]);
    }

    #[test]
    fn what_is_there_is_never_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let (fd, names) = (open(&dir), Names::new());
        std::fs::write(dir.path().join("f"), "mine").unwrap();
        symlink("nowhere", dir.path().join("l")).unwrap();
        std::fs::create_dir(dir.path().join("d")).unwrap();
        for taken in [b"f", b"l", b"d"] {
            let file = PartialFile::create(&fd, &names).unwrap();
            assert_eq!(file.publish(taken), Err(Errno::EXIST));
        }
        assert_eq!(entries(&dir), ["d", "f", "l"]);
        assert_eq!(std::fs::read(dir.path().join("f")).unwrap(), b"mine");
    }

    #[test]
    fn what_a_crash_left_goes() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("f"), "").unwrap();
        std::mem::forget(PartialFile::create(&open(&dir), &Names::new()).unwrap());
        remove_left_behind(std::fs::File::open(dir.path()).unwrap().into());
        assert_eq!(entries(&dir), ["f"]);
    }
}
