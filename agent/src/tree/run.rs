//! Starts the threads of a run, and brings what they made together.

use super::chunks::Chunks;
use super::context::Context;
use super::emit::Emitter;
use super::entry::Stat;
use super::pack::{self, Closed, Packer};
use super::read::{ChunkJob, Job, Reader, work};
use super::report::{StoredTree, TreeError};
use super::shared::{Ended, Going};
use super::statx::look_at;
use super::walk::{Outlets, Walk};
use super::{PackSink, TreeRun};
use crossbeam_channel::{Receiver, bounded, unbounded};
use lifeboat_format::tree::NodeKind;
use rustix::fd::OwnedFd;
use rustix::fs::{CWD, Mode, OFlags, openat};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::thread::{Builder, Scope};

/// Batches that wait for a reader; each holds a directory open.
const JOBS: usize = 24;
/// Chunks that wait for a worker.
const CHUNKS: usize = 8;

/// Stores the tree below `root`. Blocks until the sink has taken every pack; errors of single entries are in the
/// report, and no errors of the run.
///
/// # Errors
/// `root` is no directory that can be opened, the run was canceled, or the sink took no more.
pub fn store_tree(root: &Path, run: TreeRun<'_>) -> Result<StoredTree, TreeError> {
    let TreeRun { options, keys, memory, past, packs, records, progress, cancel } = run;
    let (fd, stat) = open_root(root).map_err(|source| TreeError::Root { path: root.to_owned(), source })?;
    let (closed_in, closed) = bounded(1);
    let chunks = Chunks::new(keys, Packer::new(keys, closed_in), past, progress);
    let context = Context::new(chunks, Going::new(cancel), progress);
    let threads = Threads {
        readers: options.readers.clamp(1, 64),
        workers: options.workers.clamp(1, 64),
        senders: options.senders.clamp(1, 16),
    };
    let result = std::thread::scope(|scope| {
        let (batches_in, batches) = unbounded();
        let (jobs_in, jobs) = bounded(JOBS);
        let outlets = Outlets { batches: batches_in, jobs: jobs_in, consumer: std::thread::current() };
        let walk = Walk::new(&context, options, memory, outlets);
        let started = threads
            .start(scope, &context, &jobs, &closed, packs)
            .and_then(|()| spawn(scope, &context.going, "walk", move || walk.run(fd, stat)));
        if let Err(error) = started {
            context.going.end(Ended::Broken);
            return Err(TreeError::Threads(error));
        }
        drop(jobs);
        let stored = Emitter::new(&context, records, options.dry_run).run(&batches);
        let finished = stored.and_then(|stored| {
            context.chunks.packer.finish(threads.senders, &context.going)?;
            Ok(stored)
        });
        finished.map_err(|why| {
            context.going.end(why);
            error_of(why)
        })
    });
    // The scope has waited for every thread: a sink may have closed on the last pack.
    if let (Ok(_), Some(why)) = (&result, context.going.ended()) {
        return Err(error_of(why));
    }
    let mut stored = result?;
    stored.report = std::mem::take(&mut *context.report());
    stored.report.missed.sort_by(|a, b| a.path.cmp(&b.path));
    stored.report.changing.sort();
    Ok(stored)
}

struct Threads {
    readers: usize,
    workers: usize,
    senders: usize,
}

impl Threads {
    fn start<'s>(
        &self,
        scope: &'s Scope<'s, '_>,
        context: &'s Context<'s>,
        jobs: &Receiver<Job>,
        closed: &'s Receiver<Option<Closed>>,
        packs: &'s dyn PackSink,
    ) -> io::Result<()> {
        let (chunks_in, chunks) = bounded::<ChunkJob>(CHUNKS);
        for _ in 0..self.readers {
            let (reader, jobs) = (Reader::new(context, chunks_in.clone()), jobs.clone());
            spawn(scope, &context.going, "read", move || reader.run(&jobs))?;
        }
        for _ in 0..self.workers {
            let chunks = chunks.clone();
            spawn(scope, &context.going, "seal", move || work(context, &chunks))?;
        }
        for _ in 0..self.senders {
            spawn(scope, &context.going, "send", move || {
                pack::send(closed, context.chunks.keys, packs, context.progress, &context.going);
            })?;
        }
        Ok(())
    }
}

/// A thread that ends early has found the run ended: whoever ended it said why. One that panics ends the run.
fn spawn<'s, T>(
    scope: &'s Scope<'s, '_>,
    going: &'s Going<'s>,
    name: &str,
    body: impl FnOnce() -> T + Send + 's,
) -> io::Result<()> {
    let run = move || {
        // Nobody looks at what it shared once the run has ended.
        if catch_unwind(AssertUnwindSafe(body)).is_err() {
            going.end(Ended::Broken);
        }
    };
    Builder::new().name(name.to_owned()).stack_size(512 << 10).spawn_scoped(scope, run).map(|_| ())
}

fn error_of(why: Ended) -> TreeError {
    match why {
        Ended::Canceled => TreeError::Canceled,
        Ended::Closed => TreeError::Closed,
        Ended::Broken => TreeError::Broken,
    }
}

/// The root may be reached through links; it has to be a directory.
fn open_root(root: &Path) -> io::Result<(OwnedFd, Stat)> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let fd = openat(CWD, root, flags, Mode::empty())?;
    let stat = look_at(&fd)?.filter(|s| s.kind == NodeKind::Directory);
    stat.map(|stat| (fd, stat)).ok_or_else(|| io::Error::from(io::ErrorKind::NotADirectory))
}
