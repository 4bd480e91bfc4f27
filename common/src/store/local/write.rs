//! Creating and deleting files so that each is there whole or not at all, also after a power cut.
//!
//! Order: write a file under `.tmp/`, sync it, rename it into place without replacing, sync the folder.

use super::fault::At;
use super::{Inner, UNFINISHED, direct, path};
use crate::store::{Result, StoreErrorKind};
use jiff::{SignedDuration, Timestamp};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, Dir, Mode, OFlags, RenameFlags, Timespec, Timestamps};
use rustix::io::Errno;
use std::fs::File;
use std::sync::PoisonError;

/// Bodies of at most this many bytes are checked against their SHA-256.
const CHECKED_MAX: usize = 1 << 20;

/// No create takes this long: what is older was left by a crash.
const LEFT_BEHIND: SignedDuration = SignedDuration::from_hours(24);

pub(super) fn create(
    inner: &Inner,
    at: &At,
    key: &str,
    body: &[u8],
    sha256: &[u8; 32],
    now: Timestamp,
) -> Result<()> {
    // A longer one is a pack, named by this hash of the bytes in this memory a moment ago; there is no way between on
    // which it could be damaged, and whoever reads it next checks it.
    if body.len() <= CHECKED_MAX && ring::digest::digest(&ring::digest::SHA256, body).as_ref() != sha256 {
        return Err(at.because(
            StoreErrorKind::Checksum,
            "the bytes do not have the SHA-256 that was given with them",
        ));
    }
    let (folders, name) = path::split(inner, key);
    let dir = make_folders(inner, at, &folders)?;
    if rustix::fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW).is_ok() {
        return Err(taken(at, &dir));
    }
    let own = folders.len() - key.matches('/').count();
    let mut unfinished = folders[..own].to_vec();
    unfinished.push(UNFINISHED);
    let unfinished = make_folders(inner, at, &unfinished)?;

    let temporary = format!("{:032x}", rand::random::<u128>());
    let written = write_file(at, &unfinished, &temporary, body, now).and_then(|()| {
        rename_new(&unfinished, &temporary, &dir, name).map_err(|errno| match errno {
            Errno::EXIST => taken(at, &dir),
            other => at.fail(other),
        })
    });
    if let Err(error) = written {
        // Best effort: what stays is removed by a later start.
        let _ = rustix::fs::unlinkat(&unfinished, temporary.as_str(), AtFlags::empty());
        return Err(error);
    }
    rustix::fs::fsync(&dir).map_err(|errno| {
        at.because(StoreErrorKind::Unclear, format!("it was written, but its folder did not sync: {errno}"))
    })
}

pub(super) fn delete(inner: &Inner, at: &At, key: &str) -> Result<()> {
    let Some((dir, name)) = path::parent(inner, at, key)? else { return Ok(()) };
    match rustix::fs::unlinkat(&dir, name, AtFlags::empty()) {
        Ok(()) => rustix::fs::fsync(&dir).map_err(|errno| at.fail(errno)),
        Err(Errno::NOENT | Errno::ISDIR) => Ok(()),
        Err(errno) => Err(at.fail(errno)),
    }
}

/// The answer when the key is taken; synced, for whoever made it may not have come to that yet.
fn taken(at: &At, dir: &OwnedFd) -> crate::store::StoreError {
    match rustix::fs::fsync(dir) {
        Ok(()) => at.because(StoreErrorKind::Exists, "something of that name is there"),
        Err(errno) => at.fail(errno),
    }
}

/// Opens the last of `folders`, making those that are missing and syncing each into its parent.
fn make_folders(inner: &Inner, at: &At, folders: &[&str]) -> Result<OwnedFd> {
    let mut dir = path::base(inner, at)?;
    let mut way = String::new();
    for name in folders {
        way.push('/');
        way.push_str(name);
        let next = match path::enter(at, &dir, name)? {
            Some(next) => next,
            None => make_folder(at, &dir, name)?,
        };
        let known = inner.durable.lock().unwrap_or_else(PoisonError::into_inner).contains(&way);
        if !known {
            rustix::fs::fsync(&dir).map_err(|errno| at.fail(errno))?;
            if *name == UNFINISHED {
                remove_left_behind(inner, &next);
            }
            inner.durable.lock().unwrap_or_else(PoisonError::into_inner).insert(way.clone());
        }
        dir = next;
    }
    Ok(dir)
}

fn make_folder(at: &At, parent: &OwnedFd, name: &str) -> Result<OwnedFd> {
    match rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o750)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(at.fail(errno)),
    }
    path::enter(at, parent, name)?.ok_or_else(|| {
        at.because(
            StoreErrorKind::Invalid,
            format!("{name} is an object already, so it cannot be a folder too"),
        )
    })
}

/// Writes and syncs a file that nobody sees yet. Its time is that of the store's clock.
fn write_file(at: &At, dir: &OwnedFd, name: &str, body: &[u8], now: Timestamp) -> Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd =
        rustix::fs::openat(dir, name, flags, Mode::from_raw_mode(0o640)).map_err(|errno| at.fail(errno))?;
    let mut file = File::from(fd);
    direct::write_all(&mut file, body).map_err(|error| at.fail_io(&error))?;
    let time = Timespec { tv_sec: now.as_second(), tv_nsec: now.subsec_nanosecond().into() };
    rustix::fs::futimens(&file, &Timestamps { last_access: time, last_modification: time })
        .map_err(|errno| at.fail(errno))?;
    file.sync_all().map_err(|error| at.fail_io(&error))
}

/// Moves a file to a name that must be free.
fn rename_new(from: &OwnedFd, temporary: &str, to: &OwnedFd, name: &str) -> rustix::io::Result<()> {
    match rustix::fs::renameat_with(from, temporary, to, name, RenameFlags::NOREPLACE) {
        // NFS and others do not know the flag; a hard link never replaces either.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            rustix::fs::linkat(from, temporary, to, name, AtFlags::empty())?;
            rustix::fs::unlinkat(from, temporary, AtFlags::empty())
        }
        other => other,
    }
}

/// Removes what crashed writers left. Never an error: it only saves room.
fn remove_left_behind(inner: &Inner, unfinished: &OwnedFd) {
    let now = inner.clock.now();
    let Ok(entries) = Dir::read_from(unfinished) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Ok(stat) = rustix::fs::statat(unfinished.as_fd(), name, AtFlags::SYMLINK_NOFOLLOW) else {
            continue;
        };
        let written = Timestamp::from_second(stat.st_mtime).unwrap_or(now);
        if now.duration_since(written) > LEFT_BEHIND {
            let _ = rustix::fs::unlinkat(unfinished, name, AtFlags::empty());
        }
    }
}
