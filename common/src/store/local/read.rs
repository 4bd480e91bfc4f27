//! Reading objects from files. Writes nothing.

use super::fault::At;
use super::{Inner, path};
use crate::store::{Body, Entry, Result, StoreErrorKind};
use bytes::Bytes;
use futures::stream;
use jiff::Timestamp;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

/// How much of a body is read at a time.
const PIECE: u64 = 1 << 20;

/// What the file system says of one regular file.
pub(super) fn entry(key: &str, stat: &Stat) -> Entry {
    let nanoseconds = i32::try_from(stat.st_mtime_nsec).unwrap_or(0);
    Entry {
        key: key.to_owned(),
        size: u64::try_from(stat.st_size).unwrap_or(0),
        modified: Timestamp::new(stat.st_mtime, nanoseconds).unwrap_or(Timestamp::UNIX_EPOCH),
    }
}

/// Opens a regular file; NONBLOCK, so that a FIFO cannot hang the caller.
pub(super) fn open(inner: &Inner, at: &At, key: &str) -> Result<(Entry, File)> {
    let absent = || at.because(StoreErrorKind::NotFound, "there is no such object");
    let (dir, name) = path::parent(inner, at, key)?.ok_or_else(absent)?;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(&dir, name, flags, Mode::empty()).map_err(|errno| match errno {
        Errno::NOENT => absent(),
        Errno::LOOP => path::linked(at, name),
        other => at.fail(other),
    })?;
    let stat = rustix::fs::fstat(&fd).map_err(|errno| at.fail(errno))?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Ok((entry(key, &stat), File::from(fd))),
        FileType::Directory => Err(absent()),
        _ => Err(at.because(StoreErrorKind::Protocol, "it is no regular file; remove it")),
    }
}

pub(super) fn head(inner: &Inner, at: &At, key: &str) -> Result<Option<Entry>> {
    let Some((dir, name)) = path::parent(inner, at, key)? else { return Ok(None) };
    let stat = match rustix::fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => stat,
        Err(Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(at.fail(errno)),
    };
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Ok(Some(entry(key, &stat))),
        FileType::Directory => Ok(None),
        FileType::Symlink => Err(path::linked(at, name)),
        _ => Err(at.because(StoreErrorKind::Protocol, "it is no regular file; remove it")),
    }
}

pub(super) fn whole(inner: &Inner, at: &At, key: &str, max_bytes: u64) -> Result<Bytes> {
    let (entry, mut file) = open(inner, at, key)?;
    if entry.size > max_bytes {
        let detail = format!("it has {} bytes, more than the {max_bytes} allowed", entry.size);
        return Err(at.because(StoreErrorKind::TooLarge, detail));
    }
    piece(at, &mut file, entry.size)
}

pub(super) fn range(inner: &Inner, at: &At, key: &str, offset: u64, length: u64) -> Result<Bytes> {
    let (entry, mut file) = open(inner, at, key)?;
    let length = length.min(entry.size.saturating_sub(offset));
    if length == 0 {
        return Ok(Bytes::new());
    }
    file.seek(SeekFrom::Start(offset)).map_err(|error| at.fail_io(&error))?;
    piece(at, &mut file, length)
}

/// Exactly `length` bytes: a file that became shorter since it was opened is an error.
fn piece(at: &At, file: &mut File, length: u64) -> Result<Bytes> {
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
    file.take(length).read_to_end(&mut bytes).map_err(|error| at.fail_io(&error))?;
    if bytes.len() as u64 == length {
        Ok(Bytes::from(bytes))
    } else {
        let detail = format!("it ended {} bytes early", length - bytes.len() as u64);
        Err(at.because(StoreErrorKind::Unavailable, detail))
    }
}

/// The body piece by piece, each read on a thread that may block.
pub(super) fn stream(at: At, file: File, size: u64) -> Body {
    let steps = stream::try_unfold((at, file, size), |(at, mut file, left)| async move {
        if left == 0 {
            return Ok(None);
        }
        let gone = at.clone();
        tokio::task::spawn_blocking(move || {
            let length = left.min(PIECE);
            let bytes = piece(&at, &mut file, length)?;
            Ok(Some((bytes, (at, file, left - length))))
        })
        .await
        .unwrap_or_else(|_| {
            Err(gone.because(StoreErrorKind::Unavailable, "the thread that did the work is gone"))
        })
    });
    Box::pin(steps)
}
