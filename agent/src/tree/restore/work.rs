//! The threads that write: each opens frames, checks the chunks in them, and puts these into files; the one that brings
//! a file's last piece sets its attributes and gives it its name.

use super::attributes::{Basics, set_named, set_open};
use super::error::RestoreError;
use super::existing::file_type;
use super::node::{Node, State};
use super::partial::{Partial, PartialFile};
use super::shared::Shared;
use super::window::{Piece, Window};
use lifeboat_common::reader::SealedFrames;
use lifeboat_format::pack::FrameOpener;
use lifeboat_format::tree::NodeKind;
use rustix::fs::Mode;
use rustix::io::Errno;
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, PoisonError};
use tokio::sync::OwnedSemaphorePermit;

/// Something for a thread to do.
#[derive(Debug)]
pub(super) enum Job {
    /// Entries that need no content, or have all of it.
    Ready(Vec<Arc<Node>>),
    /// Fetched frames, and the pieces in them.
    Frames { window: Arc<Window>, pieces: Range<usize>, sealed: SealedFrames, budget: OwnedSemaphorePermit },
    /// Pieces that cannot be had.
    Lost { window: Arc<Window>, pieces: Range<usize>, why: String },
    /// Further names of files.
    Links(Vec<super::hard_link::HardLink>),
}

/// A thread that breaks stops all: otherwise the others would wait for it.
pub(super) struct StopIfBroken<'a>(pub(super) &'a Shared);

impl Drop for StopIfBroken<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.stop.set(RestoreError::Broken);
        }
    }
}

/// Works until there are no more jobs. After a stop, jobs are only taken.
pub(super) fn work(shared: &Shared, jobs: &crossbeam_channel::Receiver<Job>) {
    let _guard = StopIfBroken(shared);
    let mut opener = match FrameOpener::new() {
        Ok(opener) => opener,
        Err(e) => {
            shared.stop.set(RestoreError::io("get memory for", shared.target.path(), e));
            return;
        }
    };
    for job in jobs {
        if shared.stop.is_set() {
            continue;
        }
        match job {
            Job::Ready(nodes) => nodes.iter().for_each(|node| shared.ready(node)),
            Job::Frames { window, pieces, mut sealed, budget } => {
                shared.frames(&mut opener, &window, pieces, &mut sealed);
                drop((sealed, budget));
            }
            Job::Lost { window, pieces, why } => {
                window.pieces[pieces].iter().for_each(|p| shared.lost_piece(&window, p, &why));
            }
            Job::Links(links) => links.iter().for_each(|link| shared.link(link)),
        }
    }
}

impl Shared {
    fn frames(
        &self,
        opener: &mut FrameOpener,
        window: &Window,
        pieces: Range<usize>,
        sealed: &mut SealedFrames,
    ) {
        let pack = sealed.pack();
        for same in window.pieces[pieces].chunk_by(|a, b| a.frame == b.frame) {
            if self.stop.is_set() {
                return;
            }
            let frame = same.first().map_or(0, |p| p.frame);
            match sealed.open(frame, opener) {
                Err(e) => same.iter().for_each(|p| self.lost_piece(window, p, &e)),
                Ok(plain) => {
                    for piece in same {
                        match (window.node(piece), pack.chunk(plain, &window.reference(piece))) {
                            (Some(node), Ok(bytes)) => self.write(node, piece.at, bytes),
                            (_, Err(e)) => self.lost_piece(window, piece, &e),
                            (None, _) => self.stop.set(RestoreError::Broken),
                        }
                    }
                }
            }
        }
    }

    fn lost_piece(&self, window: &Window, piece: &Piece, why: &dyn std::fmt::Display) {
        if let Some(node) = window.node(piece) {
            self.fail(node, why);
        }
    }

    /// Puts a piece of content into its file.
    fn write(&self, node: &Arc<Node>, at: u64, bytes: &[u8]) {
        let Some(file) = self.file(node) else { return };
        for (offset, part) in node.spans(at, bytes.len()) {
            if let Err(errno) = file.write_at(&bytes[part], offset) {
                return self.give_up(node, "write to", errno);
            }
        }
        self.tally.content(bytes.len() as u64);
        // Before the count, so that whoever is last has it alone.
        drop(file);
        if node.is_last() {
            self.finish(node);
        }
    }

    /// The file that a node becomes, made where this is its first piece; nothing where it was given up.
    fn file(&self, node: &Node) -> Option<Arc<PartialFile>> {
        let mut state = node.state();
        match &*state {
            State::Open(file) => return Some(Arc::clone(file)),
            State::Over => return None,
            State::Waiting => {}
        }
        let made = self.open(&node.place).and_then(|dir| PartialFile::create(&dir, &self.names));
        let made = made.map_err(|errno| ("create", errno)).and_then(|file| {
            if node.is_sparse() {
                rustix::fs::ftruncate(file.fd(), node.attributes.size).map_err(|e| ("set the size of", e))?;
            }
            Ok(file)
        });
        match made {
            Ok(file) => {
                let file = Arc::new(file);
                *state = State::Open(Arc::clone(&file));
                Some(file)
            }
            Err((action, errno)) => {
                drop(state);
                self.give_up(node, action, errno);
                None
            }
        }
    }

    /// Finishes what needs no further content.
    fn ready(&self, node: &Arc<Node>) {
        if node.attributes.kind == NodeKind::File {
            if let Some(file) = self.file(node) {
                drop(file);
                self.finish(node);
            }
            return;
        }
        let made = self.open(&node.place).and_then(|dir| {
            let (partial, ()) = Partial::make(&dir, &self.names, |dir, name| make(dir, name, node))?;
            let (a, kind) = (&node.attributes, file_type(node.attributes.kind));
            set_named(partial.dir(), partial.name(), a, kind, &self.tally)?;
            partial.publish(&node.name)
        });
        self.over(node, made);
    }

    fn finish(&self, node: &Node) {
        let state = std::mem::replace(&mut *node.state(), State::Over);
        let State::Open(file) = state else { return };
        let Some(file) = Arc::into_inner(file) else { return self.stop.set(RestoreError::Broken) };
        let a = &node.attributes;
        set_open(file.fd(), &Basics::of(a), a.xattrs.iter(), node.place.inherits, self.who, &self.tally);
        let published = file.publish(&node.name);
        if published.is_ok() {
            self.tally.change().bytes += a.content_len();
        }
        self.over(node, published);
    }

    /// Counts an entry that came to its last step.
    fn over(&self, node: &Node, made: Result<(), Errno>) {
        end(node);
        match made {
            Ok(()) => {
                let mut report = self.tally.change();
                match node.attributes.kind {
                    NodeKind::File => report.files += 1,
                    NodeKind::Symlink => report.symlinks += 1,
                    _ => report.special += 1,
                }
                drop(report);
                self.gate.done();
            }
            Err(Errno::EXIST) => {
                self.tally.left_alone(&node.path());
                self.abandon(node);
            }
            Err(errno) => self.refused(node, "create", errno),
        }
    }

    pub(super) fn fail(&self, node: &Node, why: &dyn std::fmt::Display) {
        if end(node) {
            self.tally.failed(&node.path(), why);
            self.abandon(node);
        }
    }

    fn give_up(&self, node: &Node, action: &'static str, errno: Errno) {
        if end(node) {
            self.refused(node, action, errno);
        }
    }

    fn refused(&self, node: &Node, action: &'static str, errno: Errno) {
        match RestoreError::of_disk(action, &node.path(), errno) {
            Some(disk) => self.stop.set(disk),
            None => {
                let why = format!("Cannot {action} it: {}{}", std::io::Error::from(errno), hint(errno));
                self.tally.failed(&node.path(), why);
            }
        }
        self.abandon(node);
    }

    fn abandon(&self, node: &Node) {
        if let Some(link) = node.first_of {
            self.lost.lock().unwrap_or_else(PoisonError::into_inner).push(link);
        }
        self.gate.done();
    }
}

/// Nothing more is done for it; whether that is new. Its temporary file goes with the last thread that writes to it.
fn end(node: &Node) -> bool {
    let before = std::mem::replace(&mut *node.state(), State::Over);
    !matches!(before, State::Over)
}

/// What to do about it, where that is not plain.
pub(super) fn hint(errno: Errno) -> &'static str {
    match errno {
        Errno::LOOP | Errno::NOTDIR | Errno::XDEV => {
            "; a link or a file is in the place of its directory, and is not followed"
        }
        Errno::NAMETOOLONG => "; the file system takes no such long name",
        Errno::FBIG => "; the file system takes no file of that size",
        Errno::PERM | Errno::ACCESS => "; this needs more rights, try as root",
        _ => "",
    }
}

/// Makes anything but a file or a directory, for its owner alone at first.
fn make(dir: BorrowedFd<'_>, name: &str, node: &Node) -> Result<(), Errno> {
    let a = &node.attributes;
    match a.kind {
        NodeKind::Symlink => rustix::fs::symlinkat(a.target.as_deref().unwrap_or_default(), dir, name),
        NodeKind::File | NodeKind::Directory => Err(Errno::INVAL),
        kind => {
            let device = a.rdev.map_or(0, |(major, minor)| rustix::fs::makedev(major, minor));
            rustix::fs::mknodat(dir, name, file_type(kind), Mode::from_raw_mode(0o600), device)
        }
    }
}
