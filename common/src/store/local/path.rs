//! Walking to a file, folder by folder, without following a symbolic link. Reads and writes no object.

use super::Inner;
use super::fault::At;
use crate::store::{Result, StoreErrorKind};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// A key taken apart: the folders on the way (those of the store first), and the file's name.
pub(super) fn split<'a>(inner: &'a Inner, key: &'a str) -> (Vec<&'a str>, &'a str) {
    let mut parts: Vec<&str> = inner.folder.split('/').filter(|part| !part.is_empty()).collect();
    match key.rsplit_once('/') {
        Some((folders, name)) => {
            parts.extend(folders.split('/'));
            (parts, name)
        }
        None => (parts, key),
    }
}

/// The directory that the operator gave; links in *its* path are the operator's own.
pub(super) fn base(inner: &Inner, at: &At) -> Result<OwnedFd> {
    rustix::fs::open(&inner.base, FOLDER, Mode::empty()).map_err(|errno| match errno {
        Errno::NOENT | Errno::NOTDIR => at.because(
            StoreErrorKind::NotFound,
            format!("{} is no folder; create it, or mount the disk that holds it", inner.base.display()),
        ),
        other => at.fail(other),
    })
}

/// A folder directly in `parent`; `None` when there is none of that name.
pub(super) fn enter(at: &At, parent: impl AsFd, name: &str) -> Result<Option<OwnedFd>> {
    match rustix::fs::openat(&parent, name, FOLDER | OFlags::NOFOLLOW, Mode::empty()) {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::NOENT) => Ok(None),
        Err(Errno::NOTDIR | Errno::LOOP) => {
            match rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink => {
                    Err(linked(at, name))
                }
                _ => Ok(None),
            }
        }
        Err(errno) => Err(at.fail(errno)),
    }
}

/// The folder that holds `key`'s file; `None` when a folder on the way is missing.
pub(super) fn parent<'a>(inner: &'a Inner, at: &At, key: &'a str) -> Result<Option<(OwnedFd, &'a str)>> {
    let (folders, name) = split(inner, key);
    let mut dir = base(inner, at)?;
    for folder in folders {
        match enter(at, &dir, folder)? {
            Some(next) => dir = next,
            None => return Ok(None),
        }
    }
    Ok(Some((dir, name)))
}

/// The store's own folder; `None` before the first create.
pub(super) fn root(inner: &Inner, at: &At) -> Result<Option<OwnedFd>> {
    Ok(parent(inner, at, "")?.map(|(dir, _)| dir))
}

/// A symbolic link is never followed: it may lead out of the store.
pub(super) fn linked(at: &At, name: &str) -> crate::store::StoreError {
    at.because(
        StoreErrorKind::Protocol,
        format!("{name} is a symbolic link, which is never followed inside a store; mount or move the data there instead"),
    )
}
