//! The directories that the walk is in, from the root down. Few of them are open at a time; one that was closed is
//! opened again through `..`, and taken only if it is the same directory.

use super::super::entry::Stat;
use super::super::report::Reason;
use super::super::statx::{look_at, open_directory};
use rustix::fd::{AsFd as _, OwnedFd};
use rustix::io::Errno;
use std::sync::Arc;

/// Directories open at a time, the root aside.
const OPEN_MAX: usize = 32;

/// A directory that the walk is in.
pub struct Level {
    fd: Option<Arc<OwnedFd>>,
    device: (u32, u32),
    inode: u64,
    mount: u64,
    path_len: usize,
    /// Subdirectories to go into: length (2 bytes, little endian), name.
    subdirectories: Vec<u8>,
    at: usize,
}

impl Level {
    pub fn new(fd: Arc<OwnedFd>, stat: Stat, path_len: usize, subdirectories: Vec<u8>) -> Self {
        let Stat { device, inode, mount, .. } = stat;
        Self { fd: Some(fd), device, inode, mount, path_len, subdirectories, at: 0 }
    }

    fn next(&mut self) -> Option<Vec<u8>> {
        let rest = &self.subdirectories[self.at..];
        let (len, rest) = rest.split_first_chunk::<2>()?;
        let len = usize::from(u16::from_le_bytes(*len));
        self.at += 2 + len;
        rest.get(..len).map(<[u8]>::to_vec)
    }

    fn is_same(&self, stat: &Stat) -> bool {
        stat.device == self.device && stat.inode == self.inode && stat.mount == self.mount
    }
}

/// From the root to where the walk is.
#[derive(Default)]
pub struct Levels {
    levels: Vec<Level>,
    /// The first, beside the root, that is open; all after it are.
    first_open: usize,
}

impl Levels {
    pub fn push(&mut self, level: Level) {
        self.levels.push(level);
        self.first_open = self.first_open.max(1);
        while self.levels.len() - self.first_open.min(self.levels.len()) > OPEN_MAX {
            self.levels[self.first_open].fd = None;
            self.first_open += 1;
        }
    }

    /// The next subdirectory of the directory that the walk is in.
    pub fn next(&mut self) -> Option<Vec<u8>> {
        self.levels.last_mut()?.next()
    }

    pub fn top_is_done(&self) -> bool {
        self.levels.last().is_some_and(|top| top.at >= top.subdirectories.len())
    }

    pub fn current(&self) -> Option<Arc<OwnedFd>> {
        self.levels.last()?.fd.clone()
    }

    /// The mount that the walk stays on.
    pub fn mount(&self) -> u64 {
        self.levels.first().map_or(0, |root| root.mount)
    }

    pub fn path_len(&self) -> Option<usize> {
        self.levels.last().map(|top| top.path_len)
    }

    /// Goes back to the parent. A reason where it cannot be reached any more: its other subdirectories are given up.
    pub fn pop(&mut self, path: &[u8]) -> Option<Reason> {
        let left = self.levels.pop()?;
        let top = self.levels.len().checked_sub(1)?;
        if self.levels[top].fd.is_some() {
            return None;
        }
        self.reopen(top, left.fd.as_ref(), path)
    }

    fn reopen(&mut self, top: usize, child: Option<&Arc<OwnedFd>>, path: &[u8]) -> Option<Reason> {
        let level = &self.levels[top];
        let up = child.and_then(|fd| open_directory(fd.as_fd(), b"..").ok());
        let up = up.filter(|fd| look_at(fd).ok().flatten().is_some_and(|s| level.is_same(&s)));
        let opened = match up {
            Some(fd) => Ok(fd),
            None => self.reached(top, path),
        };
        self.first_open = self.first_open.min(top.max(1));
        let level = &mut self.levels[top];
        match opened {
            Ok(fd) => {
                level.fd = Some(Arc::new(fd));
                None
            }
            Err(reason) => {
                let had_more = level.at < level.subdirectories.len();
                level.at = level.subdirectories.len();
                had_more.then_some(reason)
            }
        }
    }

    /// The directory, from the root: one component after the other, without following a link.
    fn reached(&self, top: usize, path: &[u8]) -> Result<OwnedFd, Reason> {
        let level = &self.levels[top];
        let root = self.levels.first().and_then(|root| root.fd.as_ref()).ok_or(Reason::Replaced)?;
        let mut fd = root.try_clone().map_err(|_| Reason::Open(Errno::MFILE))?;
        let components = path.get(..level.path_len).unwrap_or_default().split(|b| *b == b'/');
        for name in components.filter(|name| !name.is_empty()) {
            fd = open_directory(fd.as_fd(), name).map_err(Reason::Open)?;
        }
        let same = look_at(&fd).map_err(Reason::Stat)?.is_some_and(|s| level.is_same(&s));
        if same { Ok(fd) } else { Err(Reason::Replaced) }
    }
}
