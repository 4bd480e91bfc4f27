//! Reader threads: open what is new or changed, read it, look whether it changed meanwhile, and hand it on.

mod large;

use super::chunks::Sealer;
use super::content::{Content, Extents, extents};
use super::context::Context;
use super::entry::{Awaiting, Batch, Entry, Need, Stat, State};
use super::links::Found;
use super::report::Reason;
use super::shared::Ended;
use super::statx::{look, look_at, patiently};
use super::xattrs::XattrReader;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use lifeboat_format::limits;
use lifeboat_format::tree::NodeKind;
use rustix::fd::{AsFd as _, OwnedFd};
use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

pub use large::{ChunkJob, work};

/// Times that a file which changes is read.
const READINGS: usize = 3;
/// Content below this is one chunk, in a frame with others, bytes.
const SMALL: u64 = limits::FRAME_TARGET as u64;
/// Content up to this is read whole and cut by its reader, bytes.
const MEDIUM: u64 = 1 << 20;
/// An open frame waits so long for more, when the walk gives nothing new.
const IDLE: Duration = Duration::from_millis(5);

/// Entries of which some have to be opened, and their directory.
pub struct Job {
    pub batch: Arc<Batch>,
    pub directory: Arc<OwnedFd>,
}

/// A reader thread.
pub struct Reader<'c, 'a> {
    context: &'c Context<'a>,
    sealer: Sealer<'c, 'a>,
    workers: Sender<ChunkJob>,
    xattrs: XattrReader,
    medium: Vec<u8>,
    /// The owner whose files may not be opened without touching their access time.
    touches: Option<u32>,
}

/// What a reading of content found.
enum Outcome {
    /// Stored, or on its way with its attributes set.
    Kept,
    /// It changed while it was read; to be read again.
    Changed,
    Failed(Errno),
}

impl<'c, 'a> Reader<'c, 'a> {
    pub fn new(context: &'c Context<'a>, workers: Sender<ChunkJob>) -> Self {
        Self {
            context,
            sealer: Sealer::new(&context.chunks, &context.going),
            workers,
            xattrs: XattrReader::default(),
            medium: Vec::new(),
            touches: None,
        }
    }

    /// Reads until the walk has ended. What is in the open frame is sealed before this thread waits for long: nobody
    /// waits for it in vain.
    pub fn run(mut self, jobs: &Receiver<Job>) -> Result<(), Ended> {
        loop {
            let job = match jobs.recv_timeout(IDLE) {
                Ok(job) => job,
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    self.sealer.flush()?;
                    match self.context.going.receive(jobs)? {
                        Some(job) => job,
                        None => break,
                    }
                }
            };
            self.batch(&job)?;
        }
        self.sealer.flush()
    }

    fn batch(&mut self, job: &Job) -> Result<(), Ended> {
        let count = job.batch.entries().len();
        for n in 0..count {
            let (name, need, stat) = {
                let entries = job.batch.entries();
                // Once all that had to be read is there the batch leaves, with those after it that needed nothing.
                let Some(e) = entries.get(n) else { return Ok(()) };
                (e.name, e.need, e.stat)
            };
            if need.any() {
                self.context.going.check()?;
                self.entry(job, n, job.batch.name(name), need, &stat)?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, job: &Job, n: usize, name: &[u8], need: Need, seen: &Stat) -> Result<(), Ended> {
        if !need.content {
            let xattrs = self.xattrs.of_entry(job.directory.as_fd(), name);
            // Without /proc nothing is found, and yet all of it is there.
            let gone = xattrs == Err(Errno::NOENT)
                && matches!(look(job.directory.as_fd(), name), Err(Errno::NOENT | Errno::STALE));
            job.batch.finish(n, |e| match xattrs {
                Ok(xattrs) => e.xattrs = xattrs,
                // What is in a directory may have been seen, or come again: it stays as it was when it was looked at.
                Err(_) if gone && e.stat.kind == NodeKind::Directory => {}
                Err(_) if gone => e.state = State::Vanished,
                Err(error) => e.remark = Some(Reason::Xattrs(error)),
            });
            return Ok(());
        }
        let fail = |state| {
            job.batch.finish(n, |e| e.state = state);
            Ok(())
        };
        let fd = match self.open(&job.directory, name, seen.uid) {
            Ok(fd) => fd,
            Err(Errno::NOENT | Errno::STALE) => return fail(State::Vanished),
            Err(Errno::LOOP | Errno::NXIO | Errno::ISDIR) => return fail(State::Missed(Reason::Replaced)),
            Err(error) => return fail(State::Missed(Reason::Open(error))),
        };
        for reading in 1..=READINGS {
            let before = match look_at(&fd) {
                Ok(Some(stat)) if stat.is_file() && stat.mount == seen.mount => stat,
                Ok(_) => return fail(State::Missed(Reason::Replaced)),
                Err(error) => return fail(State::Missed(Reason::Stat(error))),
            };
            match self.file(job, n, &fd, &before, reading)? {
                Outcome::Kept => return Ok(()),
                Outcome::Changed => {}
                Outcome::Failed(error) => return fail(State::Missed(Reason::Read(error))),
            }
        }
        Ok(())
    }

    /// Opens without following a link, waiting for a FIFO's other end, or touching the access time where that is
    /// allowed.
    fn open(&mut self, directory: &OwnedFd, name: &[u8], owner: u32) -> Result<OwnedFd, Errno> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
        if self.touches != Some(owner) {
            match patiently(|| openat(directory, name, flags | OFlags::NOATIME, Mode::empty())) {
                Err(Errno::PERM) => self.touches = Some(owner),
                other => return other,
            }
        }
        patiently(|| openat(directory, name, flags, Mode::empty()))
    }

    /// One reading of a file.
    fn file(
        &mut self,
        job: &Job,
        n: usize,
        fd: &OwnedFd,
        before: &Stat,
        reading: usize,
    ) -> Result<Outcome, Ended> {
        let holes = extents(fd.as_fd(), before, &self.context.going)?;
        let length = holes.as_ref().map_or(before.size, |h| h.iter().map(|e| e.1).sum());
        if before.links > 1 && length >= SMALL && reading == 1 {
            match self.context.links.find(before, &job.batch, n) {
                Found::Joined => return Ok(Outcome::Kept),
                Found::Known(known) => {
                    job.batch.finish(n, |e| {
                        e.stat = *before;
                        e.adopt(*known);
                    });
                    return Ok(Outcome::Kept);
                }
                Found::Nothing => job.batch.entries()[n].first_link = true,
            }
        }
        let file = Opened { job, n, fd, before, holes, last: reading == READINGS };
        if length < SMALL {
            self.small(file)
        } else if length <= MEDIUM {
            self.medium(file)
        } else {
            self.large(file)
        }
    }

    fn small(&mut self, file: Opened<'_>) -> Result<Outcome, Ended> {
        let data = file.data();
        let mut content = Content::new(file.fd.as_fd(), &data);
        let length: u64 = data.iter().map(|e| e.1).sum();
        let frame = self.sealer.frame(usize::try_from(length).unwrap_or(0))?;
        let from = frame.len();
        let read = content.append(frame);
        let (got, short) = (content.read, content.is_short());
        self.count(got);
        match read.map(|()| file.verdict(&mut self.xattrs, got, short)) {
            Err(error) => {
                self.sealer.drop_from(from);
                Ok(Outcome::Failed(error))
            }
            Ok(None) => {
                self.sealer.drop_from(from);
                Ok(Outcome::Changed)
            }
            Ok(Some(kept)) if got == 0 => {
                file.job.batch.finish(file.n, |e| kept.set(e));
                Ok(Outcome::Kept)
            }
            Ok(Some(kept)) => {
                kept.set(&mut file.job.batch.entries()[file.n]);
                let awaiting = Awaiting::Only { batch: file.job.batch.clone(), entry: file.n };
                self.sealer.keep(from, awaiting)?;
                Ok(Outcome::Kept)
            }
        }
    }

    fn count(&self, bytes: u64) {
        self.context.progress.read_bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// A file while it is read.
struct Opened<'j> {
    job: &'j Job,
    n: usize,
    fd: &'j OwnedFd,
    before: &'j Stat,
    holes: Option<Extents>,
    /// It is kept whatever happens to it.
    last: bool,
}

/// Attributes of an entry whose content is read.
struct Kept {
    stat: Stat,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    extents: Option<Extents>,
    changing: bool,
    remark: Option<Reason>,
}

impl Opened<'_> {
    fn data(&self) -> Extents {
        self.holes.clone().unwrap_or_else(|| vec![(0, self.before.size)])
    }

    /// Looks at the file after `read` bytes of it were read. None: it changed, and is to be read again.
    fn verdict(&self, xattrs: &mut XattrReader, read: u64, short: bool) -> Option<Kept> {
        let after = look_at(self.fd).ok().flatten();
        let changed = short || after.is_none_or(|after| !after.same_moment(self.before));
        if changed && !self.last {
            return None;
        }
        let mut stat = *self.before;
        let mut extents = self.holes.clone();
        if short {
            shorten(&mut stat, &mut extents, read);
        }
        let (xattrs, remark) = match xattrs.of_fd(self.fd.as_fd()) {
            Ok(xattrs) => (xattrs, None),
            Err(error) => (Vec::new(), Some(Reason::Xattrs(error))),
        };
        Some(Kept { stat, xattrs, extents, changing: changed, remark })
    }
}

impl Kept {
    fn set(self, entry: &mut Entry) {
        entry.stat = self.stat;
        (entry.xattrs, entry.extents) = (self.xattrs, self.extents);
        (entry.changing, entry.remark) = (self.changing, self.remark);
    }
}

/// The file ended after `read` bytes of its data: what is stored says so.
fn shorten(stat: &mut Stat, extents: &mut Option<Extents>, read: u64) {
    let Some(extents) = extents else {
        stat.size = read;
        return;
    };
    let mut left = read;
    extents.retain_mut(|(_, length)| {
        *length = left.min(*length);
        left -= *length;
        *length > 0
    });
    stat.size = extents.last().map_or(0, |(offset, length)| offset + length);
}
