//! What the kernel says of an entry, and opening what is scarce.

use super::entry::Stat;
use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, Mode, OFlags, StatxFlags, openat, statx};
use rustix::io::Errno;
use std::time::Duration;

/// How often, and how long apart, something is tried again for which the system had no room.
const TRIES: u32 = 50;
const PAUSE: Duration = Duration::from_millis(20);

/// statx of an entry; of a link itself, and without mounting anything. None: it is of a type that Linux does not have.
pub fn look(directory: BorrowedFd<'_>, name: &[u8]) -> Result<Option<Stat>, Errno> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    statx(directory, name, flags, StatxFlags::BASIC_STATS | StatxFlags::MNT_ID).map(|s| Stat::of(&s))
}

/// statx of what is open.
pub fn look_at(fd: &OwnedFd) -> Result<Option<Stat>, Errno> {
    let mask = StatxFlags::BASIC_STATS | StatxFlags::MNT_ID;
    statx(fd, c"", AtFlags::EMPTY_PATH, mask).map(|s| Stat::of(&s))
}

/// Opens a directory to list it; nothing else, and no link.
pub fn open_directory(parent: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    match patiently(|| openat(parent, name, flags | OFlags::NOATIME, Mode::empty())) {
        Err(Errno::PERM) => openat(parent, name, flags, Mode::empty()),
        other => other,
    }
}

/// Tries again for a second while files or memory are short: a busy machine must not make holes in a snapshot.
pub fn patiently<T>(mut open: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    for _ in 0..TRIES {
        match open() {
            Err(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::AGAIN) => std::thread::sleep(PAUSE),
            Err(Errno::INTR) => {}
            other => return other,
        }
    }
    open()
}
