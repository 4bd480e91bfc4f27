//! The walk: one thread that lists and looks at every entry in key order, matches what is remembered, and gives the
//! rest to readers. Never follows a link, never leaves the mount that the root is on, opens nothing but directories.

mod gather;
mod levels;

use super::context::Context;
use super::entry::{Batch, Directory, Entry, Name, Stat};
use super::listing::Listing;
use super::options::TreeOptions;
use super::read::Job;
use super::records::Remembered;
use super::report::{Missed, Reason};
use super::shared::Ended;
use super::statx::{look, look_at, open_directory};
use super::xattrs::XattrReader;
use crossbeam_channel::Sender;
use gather::Gathering;
use levels::{Level, Levels};
use lifeboat_format::limits;
use lifeboat_format::tree::{NAME_MAX, NodeKind};
use rustix::fd::{AsFd as _, OwnedFd};
use rustix::fs::{FileType, readlinkat};
use rustix::io::Errno;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::Thread;
use std::time::Instant;

/// Bytes of names of subdirectories of one directory that wait for their turn.
const SUBDIRECTORIES_MAX: usize = 128 << 20;
/// What a `CACHEDIR.TAG` begins with.
const CACHEDIR: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55";

/// The walking thread.
pub struct Walk<'c, 'a> {
    context: &'c Context<'a>,
    options: &'c TreeOptions,
    memory: &'c mut dyn Remembered,
    /// Entries changed at or after this, seconds since 1970, may have changed unnoticed. None: nothing is remembered.
    racy: Option<i64>,
    batches: Sender<Arc<Batch>>,
    jobs: Sender<Job>,
    consumer: Thread,
    listing: Listing,
    levels: Levels,
    /// Path of the directory that is being listed.
    path: Vec<u8>,
}

/// Where a walk gives its batches, and who takes them.
pub struct Outlets {
    pub batches: Sender<Arc<Batch>>,
    pub jobs: Sender<Job>,
    pub consumer: Thread,
}

impl<'c, 'a> Walk<'c, 'a> {
    pub fn new(
        context: &'c Context<'a>,
        options: &'c TreeOptions,
        memory: &'c mut dyn Remembered,
        outlets: Outlets,
    ) -> Self {
        let racy = memory.started().map(|started| started.as_second() - 2);
        let Outlets { batches, jobs, consumer } = outlets;
        let (listing, levels) = (Listing::new(), Levels::default());
        Self { context, options, memory, racy, batches, jobs, consumer, listing, levels, path: Vec::new() }
    }

    /// Walks everything below `root`, which is `stat`.
    pub fn run(mut self, root: OwnedFd, stat: Stat) -> Result<(), Ended> {
        let from = Instant::now();
        self.root(&root, stat)?;
        self.enter(root, stat)?;
        while let Some(name) = self.levels.next() {
            self.context.going.check()?;
            self.descend(&name)?;
        }
        tracing::debug!(took = ?from.elapsed(), "the walk is complete");
        self.context.progress.walked.store(1, Ordering::Release);
        Ok(())
    }

    /// The root is an entry without a name.
    fn root(&mut self, fd: &OwnedFd, stat: Stat) -> Result<(), Ended> {
        let hash = self.context.chunks.keys.domain.path_hash(b"");
        let mut entry = Entry::new(Name { at: 0, len: 0 }, hash, stat);
        match XattrReader::default().of_fd(fd.as_fd()) {
            Ok(xattrs) => entry.xattrs = xattrs,
            Err(error) => entry.remark = Some(Reason::Xattrs(error)),
        }
        let directory = Arc::new(Directory { path: Vec::new(), hash });
        let batch = Batch::new(directory, Vec::new(), vec![entry], 0, self.consumer.clone());
        self.context.progress.seen.fetch_add(1, Ordering::Relaxed);
        self.context.going.send(&self.batches, Arc::new(batch))
    }

    /// Goes into a subdirectory of the directory that the walk is in, and lists it.
    fn descend(&mut self, name: &[u8]) -> Result<(), Ended> {
        let base = self.path.len();
        if base > 0 {
            self.path.push(b'/');
        }
        self.path.extend_from_slice(name);
        match self.open_child(name) {
            Ok(Some((fd, stat))) => self.enter(fd, stat)?,
            // It went, or something was mounted on it, since it was looked at.
            Ok(None) => self.path.truncate(base),
            Err(reason) => {
                self.miss(self.path.clone(), reason);
                self.path.truncate(base);
            }
        }
        self.leave()
    }

    fn open_child(&self, name: &[u8]) -> Result<Option<(OwnedFd, Stat)>, Reason> {
        let Some(parent) = self.levels.current() else { return Ok(None) };
        let fd = match open_directory(parent.as_fd(), name) {
            Ok(fd) => fd,
            Err(Errno::NOENT | Errno::STALE | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
            Err(error) => return Err(Reason::List(error)),
        };
        let stat = look_at(&fd).map_err(Reason::Stat)?;
        Ok(stat.filter(|s| s.mount == self.levels.mount()).map(|s| (fd, s)))
    }

    /// Lists a directory and becomes of it the walk's place.
    fn enter(&mut self, fd: OwnedFd, stat: Stat) -> Result<(), Ended> {
        let fd = Arc::new(fd);
        let subdirectories = self.list(&fd, &stat)?;
        self.levels.push(Level::new(fd, stat, self.path.len(), subdirectories));
        self.leave()
    }

    /// Leaves every directory that has no subdirectory left.
    fn leave(&mut self) -> Result<(), Ended> {
        while self.levels.top_is_done() {
            self.context.going.check()?;
            let lost = self.levels.pop(&self.path);
            self.path.truncate(self.levels.path_len().unwrap_or(0));
            if let Some(reason) = lost {
                // Back in the parent: the rest of it cannot be reached.
                self.miss(self.path.clone(), reason);
            }
        }
        Ok(())
    }

    /// Gives all entries of a directory on; returns the subdirectories to go into, packed.
    fn list(&mut self, fd: &Arc<OwnedFd>, stat: &Stat) -> Result<Vec<u8>, Ended> {
        let hash = self.context.chunks.keys.domain.path_hash(&self.path);
        let directory = Arc::new(Directory { path: self.path.clone(), hash });
        let mut gathering = Gathering::new(directory, fd.clone());
        let mut subdirectories = Vec::new();
        let mut listing = std::mem::replace(&mut self.listing, Listing::new());
        let mut after: Option<Vec<u8>> = None;
        loop {
            let read = listing.read(fd.as_fd(), after.as_deref(), &self.context.going)?;
            if let Err(error) = read {
                self.miss(self.path.clone(), Reason::List(error));
            }
            if self.is_marked(&listing, fd) {
                self.context.report().excluded += listing.len() as u64;
                break;
            }
            for n in 0..listing.len() {
                let Some((name, kind)) = listing.get(n) else { break };
                self.entry(&mut gathering, name, kind, stat, &mut subdirectories)?;
            }
            after = listing.len().checked_sub(1).and_then(|last| Some(listing.get(last)?.0.to_vec()));
            if !listing.has_more() || read.is_err() || after.is_none() {
                break;
            }
        }
        self.flush(&mut gathering)?;
        self.listing = listing;
        subdirectories.shrink_to_fit();
        Ok(subdirectories)
    }

    fn is_marked(&self, listing: &Listing, fd: &OwnedFd) -> bool {
        if !self.options.markers {
            return false;
        }
        let marked = listing.marked;
        marked.nobackup || (marked.cachedir && is_cachedir(fd))
    }

    fn entry(
        &mut self,
        gathering: &mut Gathering,
        name: &[u8],
        kind: FileType,
        parent: &Stat,
        subdirectories: &mut Vec<u8>,
    ) -> Result<(), Ended> {
        let excludes = &self.options.exclude;
        // Where the directory says what it is, what is left out is not even looked at.
        if !excludes.is_empty()
            && kind != FileType::Unknown
            && excludes.matches(&self.path, name, kind == FileType::Directory)
        {
            self.context.report().excluded += 1;
            return Ok(());
        }
        if name.len() > NAME_MAX || self.path.len() + 2 + name.len() > limits::KEY_MAX {
            self.miss(self.below(name), Reason::PathTooLong);
            return Ok(());
        }
        let stat = match look(gathering.fd.as_fd(), name) {
            Ok(Some(stat)) => stat,
            Ok(None) => return Ok(()),
            Err(Errno::NOENT | Errno::STALE) => {
                self.context.report().vanished += 1;
                return Ok(());
            }
            Err(error) => {
                self.miss(self.below(name), Reason::Stat(error));
                return Ok(());
            }
        };
        let is_directory = stat.kind == NodeKind::Directory;
        if kind == FileType::Unknown && excludes.matches(&self.path, name, is_directory) {
            self.context.report().excluded += 1;
            return Ok(());
        }
        if stat.mount != parent.mount {
            self.context.report().mounts += 1;
            if !is_directory {
                return Ok(());
            }
        } else if is_directory && !self.remember(name, subdirectories) {
            self.miss(self.path.clone(), Reason::TooManyDirectories);
        }
        self.gather(gathering, name, stat)
    }

    /// Notes a subdirectory for later; false where there is no room.
    fn remember(&self, name: &[u8], subdirectories: &mut Vec<u8>) -> bool {
        let Ok(len) = u16::try_from(name.len()) else { return false };
        if subdirectories.len() + 2 + name.len() > SUBDIRECTORIES_MAX {
            return false;
        }
        subdirectories.extend_from_slice(&len.to_le_bytes());
        subdirectories.extend_from_slice(name);
        true
    }

    /// Adds an entry to the batch, with what is remembered of it and what has to be read.
    fn gather(&mut self, gathering: &mut Gathering, name: &[u8], stat: Stat) -> Result<(), Ended> {
        let mut path = std::mem::take(&mut self.path);
        let len = path.len();
        if len > 0 {
            path.push(b'/');
        }
        path.extend_from_slice(name);
        let hash = self.context.chunks.keys.domain.path_hash(&path);
        path.truncate(len);
        self.path = path;
        let mut entry = Entry::new(gathering.name(name), hash, stat);
        if stat.kind == NodeKind::Symlink {
            match readlinkat(&gathering.fd, name, Vec::new()) {
                Ok(target) => entry.target = Some(target.into_bytes()),
                Err(Errno::NOENT | Errno::INVAL) => {
                    self.context.report().vanished += 1;
                    return Ok(());
                }
                Err(error) => {
                    self.miss(self.below(name), Reason::Target(error));
                    return Ok(());
                }
            }
        }
        gathering.match_memory(self, &mut entry);
        let progress = self.context.progress;
        progress.seen.fetch_add(1, Ordering::Relaxed);
        if stat.is_file() {
            progress.seen_bytes.fetch_add(stat.size, Ordering::Relaxed);
        }
        gathering.push(entry);
        if gathering.is_full() { self.flush(gathering) } else { Ok(()) }
    }

    /// Sends the batch on its way.
    fn flush(&mut self, gathering: &mut Gathering) -> Result<(), Ended> {
        let Some(batch) = gathering.take(&self.consumer) else { return Ok(()) };
        self.context.window.take(batch.cost, &self.context.going)?;
        let batch = Arc::new(batch);
        self.context.going.send(&self.batches, batch.clone())?;
        if batch.has_work() {
            let directory = gathering.fd.clone();
            self.context.going.send(&self.jobs, Job { batch, directory })?;
        }
        Ok(())
    }

    fn below(&self, name: &[u8]) -> Vec<u8> {
        if self.path.is_empty() { name.to_vec() } else { [&self.path, &b"/"[..], name].concat() }
    }

    fn miss(&self, path: Vec<u8>, reason: Reason) {
        self.context.report().miss(Missed { path, reason });
    }
}

fn is_cachedir(directory: &OwnedFd) -> bool {
    use rustix::fs::{Mode, OFlags, openat};
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let Ok(fd) = openat(directory, c"CACHEDIR.TAG", flags, Mode::empty()) else { return false };
    // A FIFO or device is no tag, and is not read.
    if !look_at(&fd).ok().flatten().is_some_and(|s| s.is_file()) {
        return false;
    }
    let mut head = [0; CACHEDIR.len()];
    matches!(rustix::io::read(&fd, &mut head), Ok(n) if n == head.len()) && head == CACHEDIR
}
