//! Entries on their way: batches of one directory's entries, in the order of the walk, that are filled in by whoever
//! reads or seals and leave in order once nothing of them is open.

use lifeboat_format::crypto::derive::DomainKeys;
use lifeboat_format::id::{Fingerprint, PathHash};
use lifeboat_format::pack::Reference;
use lifeboat_format::tree::NodeKind;
use lifeboat_format::volume_log;
use rustix::fs::{FileType, Statx, StatxFlags};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::Thread;

use super::links::Known;
use super::report::Reason;

/// What statx says of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    pub kind: NodeKind,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub size: u64,
    pub mtime: (i64, u32),
    pub ctime: (i64, u32),
    pub inode: u64,
    pub links: u32,
    pub rdev: (u32, u32),
    /// Mount id where the kernel gives one (Linux 5.8), else the device.
    pub mount: u64,
    pub device: (u32, u32),
    /// Of 512 bytes.
    pub blocks: u64,
}

impl Stat {
    /// None for a type that Linux does not have.
    pub fn of(s: &Statx) -> Option<Self> {
        let kind = match FileType::from_raw_mode(s.stx_mode.into()) {
            FileType::RegularFile => NodeKind::File,
            FileType::Directory => NodeKind::Directory,
            FileType::Symlink => NodeKind::Symlink,
            FileType::Fifo => NodeKind::Fifo,
            FileType::Socket => NodeKind::Socket,
            FileType::CharacterDevice => NodeKind::CharDevice,
            FileType::BlockDevice => NodeKind::BlockDevice,
            FileType::Unknown => return None,
        };
        let has_mount = s.stx_mask & StatxFlags::MNT_ID.bits() != 0;
        let device = (s.stx_dev_major, s.stx_dev_minor);
        Some(Self {
            kind,
            mode: u32::from(s.stx_mode) & 0o7777,
            uid: s.stx_uid,
            gid: s.stx_gid,
            size: s.stx_size,
            mtime: (s.stx_mtime.tv_sec, s.stx_mtime.tv_nsec),
            ctime: (s.stx_ctime.tv_sec, s.stx_ctime.tv_nsec),
            inode: s.stx_ino,
            links: s.stx_nlink,
            rdev: (s.stx_rdev_major, s.stx_rdev_minor),
            mount: if has_mount { s.stx_mnt_id } else { u64::from(device.0) << 32 | u64::from(device.1) },
            device,
            blocks: s.stx_blocks,
        })
    }

    pub fn is_file(&self) -> bool {
        self.kind == NodeKind::File
    }

    /// What tells whether it has changed since it was last stored.
    pub fn fingerprint(&self, keys: &DomainKeys) -> Fingerprint {
        let Self { kind, size, mtime, ctime, inode, .. } = *self;
        volume_log::Stat { kind, size, mtime, ctime, inode }.fingerprint(keys)
    }

    /// Whether nothing was written between the two.
    pub fn same_moment(&self, other: &Self) -> bool {
        self.size == other.size && self.mtime == other.mtime && self.ctime == other.ctime
    }
}

/// What an entry has become so far.
pub struct Entry {
    pub name: Name,
    /// Of its path.
    pub hash: PathHash,
    /// Of `stat` as the walk saw it, where it was needed.
    pub fingerprint: Option<Fingerprint>,
    /// As it was when its content was read.
    pub stat: Stat,
    pub state: State,
    /// Has to be opened: content, attributes or both.
    pub need: Need,
    pub target: Option<Vec<u8>>,
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub extents: Option<Vec<(u64, u64)>>,
    pub references: Vec<Reference>,
    pub changing: bool,
    /// What is said of an entry that is stored all the same.
    pub remark: Option<Reason>,
    /// Its content was read for all names of its file.
    pub first_link: bool,
    /// Nothing more comes.
    done: bool,
    /// Other names of the same file, which become what it becomes.
    joined: Vec<(Arc<Batch>, usize)>,
}

impl Entry {
    pub fn new(name: Name, hash: PathHash, stat: Stat) -> Self {
        Self {
            name,
            hash,
            fingerprint: None,
            stat,
            state: State::Stored,
            need: Need::default(),
            target: None,
            xattrs: Vec::new(),
            extents: None,
            references: Vec::new(),
            changing: false,
            remark: None,
            first_link: false,
            done: false,
            joined: Vec::new(),
        }
    }

    /// Becomes what another name of the same file became.
    pub fn adopt(&mut self, known: Known) {
        let Known { xattrs, extents, references, changing, remark } = known;
        (self.xattrs, self.extents, self.references) = (xattrs, extents, references);
        (self.changing, self.remark) = (changing, remark);
    }

    /// What other names of the file take over.
    pub fn known(&self) -> Known {
        Known {
            xattrs: self.xattrs.clone(),
            extents: self.extents.clone(),
            references: self.references.clone(),
            changing: self.changing,
            remark: self.remark,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Stored,
    Missed(Reason),
    Vanished,
}

/// What has to be read of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Need {
    pub content: bool,
    pub xattrs: bool,
}

impl Need {
    pub fn any(self) -> bool {
        self.content || self.xattrs
    }
}

/// A name in its batch's arena.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Name {
    pub at: u32,
    pub len: u16,
}

/// A directory that entries are in.
#[derive(Debug)]
pub struct Directory {
    /// Components joined by `/`; empty for the root.
    pub path: Vec<u8>,
    pub hash: PathHash,
}

/// Entries of one directory, ascending by name.
pub struct Batch {
    pub directory: Arc<Directory>,
    pub names: Vec<u8>,
    entries: Mutex<Vec<Entry>>,
    /// Entries that are not complete, and one for whoever still adds to it.
    open: AtomicUsize,
    /// What it takes of the window, bytes.
    pub cost: usize,
    /// Waits for batches in turn.
    consumer: Thread,
}

impl Batch {
    pub fn new(
        directory: Arc<Directory>,
        names: Vec<u8>,
        entries: Vec<Entry>,
        cost: usize,
        consumer: Thread,
    ) -> Self {
        let open = AtomicUsize::new(entries.iter().filter(|e| e.need.any()).count());
        Self { directory, names, entries: Mutex::new(entries), open, cost, consumer }
    }

    pub fn name(&self, name: Name) -> &[u8] {
        let at = name.at as usize;
        &self.names[at..at + usize::from(name.len)]
    }

    pub fn entries(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether every entry is complete.
    pub fn is_complete(&self) -> bool {
        self.open.load(Ordering::Acquire) == 0
    }

    /// Entries that have to be opened.
    pub fn has_work(&self) -> bool {
        !self.is_complete()
    }

    /// Ends the work on one entry.
    pub fn complete(&self) {
        if self.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.consumer.unpark();
        }
    }

    /// Changes an entry and ends the work on it, and on other names of its file that joined it.
    pub fn finish(&self, entry: usize, change: impl FnOnce(&mut Entry)) {
        let (joined, state, stat, known) = {
            let mut entries = self.entries();
            let e = &mut entries[entry];
            change(e);
            e.done = true;
            let joined = std::mem::take(&mut e.joined);
            let known = if joined.is_empty() { Known::default() } else { e.known() };
            (joined, e.state, e.stat, known)
        };
        self.complete();
        for (batch, other) in joined {
            {
                // Nobody joins a name that has joined another.
                let e = &mut batch.entries()[other];
                (e.state, e.stat, e.done) = (state, stat, true);
                e.adopt(known.clone());
            }
            batch.complete();
        }
    }

    /// Lets another name of the file of `entry` wait for it, where both were looked at in the same moment.
    pub fn join(&self, entry: usize, stat: &Stat, batch: &Arc<Self>, other: usize) -> bool {
        let mut entries = self.entries();
        // A batch that has left has no entries.
        let Some(e) = entries.get_mut(entry) else { return false };
        let same = !e.done && e.stat.same_moment(stat) && e.stat.device == stat.device;
        if same {
            e.joined.push((batch.clone(), other));
        }
        same
    }
}

/// Where a chunk's reference is awaited.
pub enum Awaiting {
    /// The only chunk of an entry.
    Only { batch: Arc<Batch>, entry: usize },
    /// The n-th of a large file.
    Nth { file: Arc<LargeFile>, n: usize },
}

impl Awaiting {
    pub fn fill(self, reference: Reference) {
        match self {
            Self::Only { batch, entry } => batch.finish(entry, |e| e.references = vec![reference]),
            Self::Nth { file, n } => file.fill(n, reference),
        }
    }
}

/// One reading of a large file: its chunks are elsewhere, and come back in any order.
pub struct LargeFile {
    batch: Arc<Batch>,
    entry: usize,
    /// Chunks under way, and one for the reader.
    open: AtomicUsize,
    state: Mutex<Reading>,
}

#[derive(Default)]
struct Reading {
    references: Vec<Option<Reference>>,
    /// The reading counts: it was complete, and no other follows.
    kept: bool,
}

impl LargeFile {
    pub fn new(batch: Arc<Batch>, entry: usize) -> Arc<Self> {
        Arc::new(Self { batch, entry, open: AtomicUsize::new(1), state: Mutex::default() })
    }

    /// Announces the next chunk.
    pub fn announce(self: &Arc<Self>) -> Awaiting {
        self.open.fetch_add(1, Ordering::Relaxed);
        let mut state = self.lock();
        state.references.push(None);
        Awaiting::Nth { file: self.clone(), n: state.references.len() - 1 }
    }

    /// The reader is done with the file; `change` sets its entry's attributes. Where it is not called, the reading
    /// does not count.
    pub fn keep(&self, change: impl FnOnce(&mut Entry)) {
        change(&mut self.batch.entries()[self.entry]);
        self.lock().kept = true;
        self.done();
    }

    fn fill(&self, n: usize, reference: Reference) {
        if let Some(place) = self.lock().references.get_mut(n) {
            *place = Some(reference);
        }
        self.done();
    }

    fn done(&self) {
        if self.open.fetch_sub(1, Ordering::AcqRel) != 1 {
            return;
        }
        let state = std::mem::take(&mut *self.lock());
        if state.kept {
            let references: Vec<Reference> = state.references.into_iter().flatten().collect();
            self.batch.finish(self.entry, |e| e.references = references);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Reading> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
