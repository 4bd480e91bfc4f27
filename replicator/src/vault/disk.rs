//! The few things that are done to the vault's file system, behind a trait, so that tests can fail each of them.
//!
//! Owns paths below one directory, which nothing here can leave, and the order that survives a power cut: write,
//! sync, rename without replacing, sync the folder. Knows nothing of clusters or snapshots.

use jiff::Timestamp;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RenameFlags, Timespec, Timestamps};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

/// What a file system says of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// Bytes.
    pub size: u64,
    pub modified: Timestamp,
}

/// Room on the file system, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    pub free: u64,
    pub total: u64,
}

/// A file that nobody else sees yet.
pub trait DiskFile: Send + std::fmt::Debug {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Sets the time of the file and makes its bytes durable.
    fn finish(&mut self, time: Option<Timestamp>) -> io::Result<()>;
}

/// Paths are relative, `/`-separated, and made from parsed names only.
pub trait Disk: Send + Sync + std::fmt::Debug {
    /// A new, empty file; folders on the way are made.
    fn create(&self, path: &str) -> io::Result<Box<dyn DiskFile>>;
    /// Moves a file to a name that must be free; folders on the way are made. Durable after [`Disk::sync_folder`].
    fn rename_new(&self, from: &str, to: &str) -> io::Result<()>;
    fn sync_folder(&self, folder: &str) -> io::Result<()>;
    /// Removing what is absent succeeds.
    fn remove(&self, path: &str) -> io::Result<()>;
    /// A regular file for reading.
    fn open(&self, path: &str) -> io::Result<(File, Stat)>;
    fn stat(&self, path: &str) -> io::Result<Option<Stat>>;
    /// Names of the files and folders directly in `folder`, ascending; none when it is absent.
    fn names(&self, folder: &str) -> io::Result<Vec<String>>;
    fn space(&self) -> io::Result<Space>;
}

/// A directory of the machine.
#[derive(Debug)]
pub struct LocalDisk {
    root: OwnedFd,
}

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or((".", path))
}

/// Opens one name in a folder: without a slash, not upwards and not through a link, it leads nowhere else. openat2(2)
/// would do a whole path at once, but the unit's RestrictSUIDSGID= forbids it (its flags are where no filter sees them).
fn step(folder: impl AsFd, name: &str, flags: OFlags) -> io::Result<OwnedFd> {
    if name.is_empty() || name == ".." || name.contains('/') {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the path leads out of the vault"));
    }
    Ok(rustix::fs::openat(folder, name, flags | OFlags::NOFOLLOW, Mode::empty())?)
}

fn stat_of(stat: &rustix::fs::Stat) -> Stat {
    let nanoseconds = i32::try_from(stat.st_mtime_nsec).unwrap_or(0);
    Stat {
        size: u64::try_from(stat.st_size).unwrap_or(0),
        modified: Timestamp::new(stat.st_mtime, nanoseconds).unwrap_or(Timestamp::UNIX_EPOCH),
    }
}

impl LocalDisk {
    /// The directory must exist: an unmounted disk must not look like an empty vault.
    pub fn open(root: &Path) -> io::Result<Self> {
        Ok(Self { root: rustix::fs::open(root, FOLDER, Mode::empty())? })
    }

    fn folder(&self, folder: &str) -> io::Result<OwnedFd> {
        let mut at = step(&self.root, ".", FOLDER)?;
        for name in folder.split('/') {
            at = step(&at, name, FOLDER)?;
        }
        Ok(at)
    }

    /// Opens `folder`, making what is missing on the way and syncing each into its parent.
    fn make_folders(&self, folder: &str) -> io::Result<OwnedFd> {
        match self.folder(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            settled => return settled,
        }
        let mut parent = self.folder(".")?;
        for name in folder.split('/') {
            match rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o750)) {
                Ok(()) => rustix::fs::fsync(&parent)?,
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno.into()),
            }
            parent = step(&parent, name, FOLDER)?;
        }
        Ok(parent)
    }
}

#[derive(Debug)]
struct LocalFile(File);

impl DiskFile for LocalFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    fn finish(&mut self, time: Option<Timestamp>) -> io::Result<()> {
        if let Some(time) = time {
            let time = Timespec { tv_sec: time.as_second(), tv_nsec: time.subsec_nanosecond().into() };
            rustix::fs::futimens(&self.0, &Timestamps { last_access: time, last_modification: time })?;
        }
        self.0.sync_all()
    }
}

impl Disk for LocalDisk {
    fn create(&self, path: &str) -> io::Result<Box<dyn DiskFile>> {
        let (folder, name) = split(path);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = self.make_folders(folder)?;
        let fd = rustix::fs::openat(&folder, name, flags, Mode::from_raw_mode(0o640))?;
        Ok(Box::new(LocalFile(File::from(fd))))
    }

    fn rename_new(&self, from: &str, to: &str) -> io::Result<()> {
        let ((from_folder, from), (to_folder, to)) = (split(from), split(to));
        let (from_folder, to_folder) = (self.folder(from_folder)?, self.make_folders(to_folder)?);
        match rustix::fs::renameat_with(&from_folder, from, &to_folder, to, RenameFlags::NOREPLACE) {
            // NFS and others do not know the flag; a hard link never replaces either.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                rustix::fs::linkat(&from_folder, from, &to_folder, to, AtFlags::empty())?;
                Ok(rustix::fs::unlinkat(&from_folder, from, AtFlags::empty())?)
            }
            other => Ok(other?),
        }
    }

    fn sync_folder(&self, folder: &str) -> io::Result<()> {
        Ok(rustix::fs::fsync(self.folder(folder)?)?)
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        let (folder, name) = split(path);
        let removed = self.folder(folder).and_then(|folder| {
            rustix::fs::unlinkat(&folder, name, AtFlags::empty())?;
            Ok(())
        });
        match removed {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    fn open(&self, path: &str) -> io::Result<(File, Stat)> {
        // NONBLOCK, so that a FIFO cannot hang the caller.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let (folder, name) = split(path);
        let fd = step(self.folder(folder)?, name, flags)?;
        let stat = rustix::fs::fstat(&fd)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(io::Error::other("it is no regular file; move it away"));
        }
        Ok((File::from(fd), stat_of(&stat)))
    }

    fn stat(&self, path: &str) -> io::Result<Option<Stat>> {
        let (folder, name) = split(path);
        let found = self.folder(folder).and_then(|folder| {
            let stat = rustix::fs::statat(folder.as_fd(), name, AtFlags::SYMLINK_NOFOLLOW)?;
            Ok((FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile).then(|| stat_of(&stat)))
        });
        match found {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            other => other,
        }
    }

    fn names(&self, folder: &str) -> io::Result<Vec<String>> {
        let folder = match self.folder(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other?,
        };
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&folder)? {
            match entry?.file_name().to_str() {
                Ok("." | "..") | Err(_) => {}
                Ok(name) => names.push(name.to_owned()),
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn space(&self) -> io::Result<Space> {
        let stat = rustix::fs::fstatvfs(&self.root)?;
        Ok(Space {
            free: stat.f_bavail.saturating_mul(stat.f_frsize),
            total: stat.f_blocks.saturating_mul(stat.f_frsize),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk() -> (tempfile::TempDir, LocalDisk) {
        let dir = tempfile::tempdir().unwrap();
        let disk = LocalDisk::open(dir.path()).unwrap();
        (dir, disk)
    }

    fn put(disk: &LocalDisk, path: &str, bytes: &[u8]) {
        let mut file = disk.create(path).unwrap();
        file.write(bytes).unwrap();
        file.finish(Some(Timestamp::UNIX_EPOCH)).unwrap();
    }

    #[test]
    fn a_rename_never_replaces() {
        let (_dir, disk) = disk();
        put(&disk, ".tmp/a", b"one");
        put(&disk, ".tmp/b", b"two!");
        disk.rename_new(".tmp/a", "x/y/z").unwrap();
        let error = disk.rename_new(".tmp/b", "x/y/z").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        let stat = Stat { size: 3, modified: Timestamp::UNIX_EPOCH };
        assert_eq!(disk.stat("x/y/z").unwrap(), Some(stat));
        assert_eq!(disk.names("x/y").unwrap(), ["z"]);
        disk.remove("x/y/z").unwrap();
        disk.remove("x/y/z").unwrap();
        assert_eq!(disk.stat("x/y/z").unwrap(), None);
    }

    #[test]
    fn nothing_leads_out() {
        let (dir, disk) = disk();
        std::os::unix::fs::symlink("/tmp", dir.path().join("link")).unwrap();
        std::fs::create_dir(dir.path().join("a")).unwrap();
        for path in ["../x", "/tmp/x", "/x", "link/x", "link/a/x", "a/../../x", "a/../x", "a/.."] {
            assert!(disk.create(path).is_err(), "{path}");
            assert!(disk.open(path).is_err(), "{path}");
        }
        assert!(disk.names("link").is_err() && disk.names("a/..").is_err());
        std::fs::write(dir.path().join("real"), b"x").unwrap();
        std::os::unix::fs::symlink("real", dir.path().join("alias")).unwrap();
        assert!(disk.open("alias").is_err());
        assert_eq!(disk.stat("alias").unwrap(), None);
    }
}
