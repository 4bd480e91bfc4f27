//! What is there already: nothing, what an earlier run completed, or something else. Only looks.

use super::attributes::{Basics, Identity};
use lifeboat_format::tree::{Attributes, NodeKind};
use rustix::fs::{AtFlags, FileType, Stat};
use rustix::io::Errno;
use std::os::fd::AsFd;

/// Directories of a run that did not finish have this mode, which hardly any other has, and nobody else gets in.
pub(super) const UNFINISHED: u32 = 0o1700;
/// The bits of a mode beside the file type.
const MODE: u32 = 0o7777;

/// What has a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    Nothing,
    /// What would be written; by size, times and mode for files.
    Complete,
    Other,
}

/// A directory that has a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FoundDirectory {
    /// Of a run that did not finish.
    Unfinished,
    Complete,
    Other,
    /// It is no directory.
    NotOne,
}

/// Looks at an entry that is no directory.
pub(super) fn look(dir: impl AsFd, name: &[u8], a: &Attributes, who: Identity) -> Result<Found, Errno> {
    let stat = match rustix::fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => stat,
        Err(Errno::NOENT) => return Ok(Found::Nothing),
        Err(errno) => return Err(errno),
    };
    let same = FileType::from_raw_mode(stat.st_mode) == file_type(a.kind)
        && same_time(&stat, &Basics::of(a))
        && match a.kind {
            NodeKind::File => u64::try_from(stat.st_size) == Ok(a.size) && same_mode(&stat, a.mode, who),
            NodeKind::Symlink => {
                let target = rustix::fs::readlinkat(&dir, name, Vec::new());
                target.is_ok_and(|t| Some(t.as_bytes()) == a.target.as_deref())
            }
            NodeKind::CharDevice | NodeKind::BlockDevice => {
                let device = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
                Some(device) == a.rdev && same_mode(&stat, a.mode, who)
            }
            _ => same_mode(&stat, a.mode, who),
        };
    Ok(if same { Found::Complete } else { Found::Other })
}

/// Looks at a directory that is in the way of one.
pub(super) fn look_at_directory(stat: &Stat, basics: &Basics, who: Identity) -> FoundDirectory {
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        FoundDirectory::NotOne
    // A setgid bit may come from the directory that it is in.
    } else if stat.st_mode & MODE & !0o2000 == UNFINISHED && stat.st_uid == who.uid() {
        FoundDirectory::Unfinished
    } else if same_time(stat, basics) && same_mode(stat, basics.mode, who) {
        FoundDirectory::Complete
    } else {
        FoundDirectory::Other
    }
}

pub(super) fn same_time(stat: &Stat, basics: &Basics) -> bool {
    stat.st_mtime == basics.mtime_s && stat.st_mtime_nsec == u64::from(basics.mtime_ns)
}

/// As far as we could have set it.
fn same_mode(stat: &Stat, mode: u32, who: Identity) -> bool {
    let bits = if who.is_root() { MODE } else { 0o777 };
    stat.st_mode & bits == mode & bits
}

pub(super) fn file_type(kind: NodeKind) -> FileType {
    match kind {
        NodeKind::Directory => FileType::Directory,
        NodeKind::File => FileType::RegularFile,
        NodeKind::Symlink => FileType::Symlink,
        NodeKind::Fifo => FileType::Fifo,
        NodeKind::Socket => FileType::Socket,
        NodeKind::CharDevice => FileType::CharacterDevice,
        NodeKind::BlockDevice => FileType::BlockDevice,
    }
}
