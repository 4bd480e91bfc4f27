//! Setting what an entry is beside its content: owner, extended attributes, mode, times, in this order, because the
//! system takes setuid bits and capabilities away from a file whose owner changes. What the system does not let us
//! set is counted, never an error.

use super::report::Tally;
use lifeboat_common::reader::shown;
use lifeboat_format::tree::Attributes;
use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags,
};
use rustix::io::Errno;
use std::os::fd::{AsRawFd as _, BorrowedFd};

/// Access control lists; a directory gets them last, for they pass on to what is made in it.
pub(super) const ACL: &[u8] = b"system.posix_acl_";
pub(super) const ACL_ACCESS: &str = "system.posix_acl_access";
pub(super) const ACL_DEFAULT: &str = "system.posix_acl_default";
/// setuid and setgid.
const PRIVILEGED: u32 = 0o6000;

/// Who we are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Identity {
    uid: u32,
    gid: u32,
}

/// What is set of an entry besides its extended attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Basics {
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime_s: i64,
    pub(super) mtime_ns: u32,
}

impl Identity {
    pub(super) fn current() -> Self {
        Self { uid: rustix::process::geteuid().as_raw(), gid: rustix::process::getegid().as_raw() }
    }

    pub(super) fn is_root(self) -> bool {
        self.uid == 0
    }

    pub(super) fn uid(self) -> u32 {
        self.uid
    }

    pub(super) fn gid(self) -> u32 {
        self.gid
    }
}

impl Basics {
    pub(super) fn of(a: &Attributes) -> Self {
        Self { mode: a.mode, uid: a.uid, gid: a.gid, mtime_s: a.mtime_s, mtime_ns: a.mtime_ns }
    }

    pub(super) fn times(&self) -> Timestamps {
        let time = Timespec { tv_sec: self.mtime_s, tv_nsec: self.mtime_ns.into() };
        // Nobody recorded when it was last read.
        let omitted = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
        Timestamps { last_access: omitted, last_modification: time }
    }
}

/// Sets everything of an open file or directory. `inherits`: it was made where a setgid bit or a default access control
/// list may have been passed on to it.
pub(super) fn set_open<'a>(
    fd: BorrowedFd<'_>,
    basics: &Basics,
    xattrs: impl Iterator<Item = &'a (Vec<u8>, Vec<u8>)> + Clone,
    inherits: bool,
    who: Identity,
    tally: &Tally,
) {
    let owned = (!inherits && (basics.uid, basics.gid) == (who.uid, who.gid))
        || owner(basics, tally, |uid, gid| rustix::fs::fchown(fd, uid, gid));
    if inherits {
        for name in [ACL_ACCESS, ACL_DEFAULT] {
            if !xattrs.clone().any(|(n, _)| n == name.as_bytes()) {
                // Most have none, and some file systems know none.
                let _ = rustix::fs::fremovexattr(fd, name);
            }
        }
    }
    set_xattrs(xattrs, tally, |name, value| rustix::fs::fsetxattr(fd, name, value, XattrFlags::empty()));
    let mode = allowed_mode(basics.mode, owned, tally);
    count(tally, "mode", rustix::fs::fchmod(fd, Mode::from_raw_mode(mode)));
    count(tally, "modification time", rustix::fs::futimens(fd, &basics.times()));
}

/// Sets everything of something that cannot be opened: a link, a FIFO, a socket, a device, which was just made under
/// this name. It is pinned first, and must be what was made: nothing that took its place is touched.
pub(super) fn set_named(
    dir: BorrowedFd<'_>,
    name: &str,
    a: &Attributes,
    kind: FileType,
    tally: &Tally,
) -> Result<(), Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let pinned = rustix::fs::openat(dir, name, flags, Mode::empty())?;
    let stat = rustix::fs::fstat(&pinned)?;
    if FileType::from_raw_mode(stat.st_mode) != kind || stat.st_nlink != 1 {
        return Err(Errno::STALE);
    }
    let basics = Basics::of(a);
    let itself = AtFlags::EMPTY_PATH;
    let owned = owner(&basics, tally, |uid, gid| rustix::fs::chownat(&pinned, "", uid, gid, itself));
    // The kernel takes no such descriptors here, and the way through /proc leads to the same entry.
    let through_proc = format!("/proc/self/fd/{}", pinned.as_raw_fd());
    set_xattrs(a.xattrs.iter(), tally, |name, value| {
        rustix::fs::setxattr(through_proc.as_str(), name, value, XattrFlags::empty())
    });
    if kind != FileType::Symlink {
        let mode = Mode::from_raw_mode(allowed_mode(basics.mode, owned, tally));
        count(tally, "mode", rustix::fs::chmodat(CWD, through_proc.as_str(), mode, AtFlags::empty()));
    }
    let times = match rustix::fs::utimensat(&pinned, "", &basics.times(), itself) {
        // Before Linux 5.8.
        Err(Errno::INVAL) => rustix::fs::utimensat(dir, name, &basics.times(), AtFlags::SYMLINK_NOFOLLOW),
        answer => answer,
    };
    count(tally, "modification time", times);
    Ok(())
}

/// Whether the owner is as it should be.
fn owner(
    basics: &Basics,
    tally: &Tally,
    chown: impl Fn(Option<Uid>, Option<Gid>) -> Result<(), Errno>,
) -> bool {
    let (uid, gid) = (Uid::from_raw_unchecked(basics.uid), Gid::from_raw_unchecked(basics.gid));
    // All ones mean "unchanged" to the system, and are nobody's.
    if basics.uid == u32::MAX || basics.gid == u32::MAX {
        tally.not_set("owner: no such owner can be set".to_owned());
        return false;
    }
    let Err(errno) = chown(Some(uid), Some(gid)) else { return true };
    // Without privileges there is still a group that we may be in.
    let _ = chown(None, Some(gid));
    tally.not_set(format!("owner: {errno}"));
    false
}

/// Bits that lend a file's owner to whoever runs it are not given away to another owner.
fn allowed_mode(mode: u32, owned: bool, tally: &Tally) -> u32 {
    if owned || mode & PRIVILEGED == 0 {
        return mode;
    }
    tally.not_set("setuid and setgid bits: the owner could not be set".to_owned());
    mode & !PRIVILEGED
}

fn set_xattrs<'a>(
    xattrs: impl Iterator<Item = &'a (Vec<u8>, Vec<u8>)>,
    tally: &Tally,
    set: impl Fn(&[u8], &[u8]) -> Result<(), Errno>,
) {
    for (name, value) in xattrs {
        if let Err(errno) = set(name, value) {
            tally.not_set(format!("{}: {errno}", shown(name)));
        }
    }
}

fn count(tally: &Tally, what: &str, set: Result<(), Errno>) {
    if let Err(errno) = set {
        tally.not_set(format!("{what}: {errno}"));
    }
}
