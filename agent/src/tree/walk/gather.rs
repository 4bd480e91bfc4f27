//! Gathers a directory's entries into batches, each with what is known of it already.

use super::super::entry::{Batch, Directory, Entry, Name, Need, Stat};
use super::Walk;
use lifeboat_format::tree::NodeKind;
use lifeboat_format::volume_log::{CHANGING, HAS_XATTRS, Record};
use rustix::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::Thread;

/// Entries in one batch,
const ENTRIES: usize = 64;
/// and as many when none of them has to be read.
const UNCHANGED: usize = 256;
/// Bytes of content that one batch gives to one reader.
const BYTES: u64 = 1 << 20;

/// A batch that grows.
pub struct Gathering {
    directory: Arc<Directory>,
    pub fd: Arc<OwnedFd>,
    names: Vec<u8>,
    entries: Vec<Entry>,
    work: u64,
    references: usize,
    /// The memory was told which directory this is.
    announced: bool,
}

impl Gathering {
    pub fn new(directory: Arc<Directory>, fd: Arc<OwnedFd>) -> Self {
        Self {
            directory,
            fd,
            names: Vec::new(),
            entries: Vec::new(),
            work: 0,
            references: 0,
            announced: false,
        }
    }

    /// Puts a name into the arena.
    pub fn name(&mut self, name: &[u8]) -> Name {
        let at = u32::try_from(self.names.len()).expect("a batch has at most a few KiB of names");
        let len = u16::try_from(name.len()).expect("the key was found to be short enough");
        self.names.extend_from_slice(name);
        Name { at, len }
    }

    /// Sets what the entry was before, where it looks unchanged; and what of it has to be read.
    pub fn match_memory(&mut self, walk: &mut Walk<'_, '_>, entry: &mut Entry) {
        let content = entry.stat.is_file() && entry.stat.size > 0;
        entry.need = Need { content, xattrs: true };
        if let Some(racy) = walk.racy {
            if !self.announced {
                walk.memory.directory(&self.directory.hash);
                self.announced = true;
            }
            let fingerprint = entry.stat.fingerprint(&walk.context.chunks.keys.domain);
            entry.fingerprint = Some(fingerprint);
            let record = walk.memory.record(&entry.hash);
            let settled = entry.stat.ctime.0 < racy && !walk.options.read_all;
            if let Some(record) = record
                && settled
                && record.fingerprint == fingerprint
                && !record.has(CHANGING)
                && holds(&record, &entry.stat)
            {
                entry.need = Need { content: false, xattrs: record.has(HAS_XATTRS) };
                (entry.references, entry.extents) = (record.references, record.extents);
            }
        }
        if walk.options.dry_run {
            if entry.need.content {
                walk.context.progress.read_bytes.fetch_add(entry.stat.size, Ordering::Relaxed);
            }
            entry.need = Need::default();
        }
    }

    pub fn push(&mut self, entry: Entry) {
        if entry.need.any() {
            self.work += if entry.need.content { entry.stat.size.max(4096) } else { 4096 };
        }
        self.references += entry.references.len() + entry.extents.as_ref().map_or(0, Vec::len);
        self.entries.push(entry);
    }

    pub fn is_full(&self) -> bool {
        let entries = if self.work == 0 { UNCHANGED } else { ENTRIES };
        self.entries.len() >= entries || self.work >= BYTES || self.references >= 4096
    }

    /// The batch, if there is anything in it.
    pub fn take(&mut self, consumer: &Thread) -> Option<Batch> {
        if self.entries.is_empty() {
            return None;
        }
        let cost = self.names.len()
            + self.directory.path.len()
            + self.entries.len() * size_of::<Entry>()
            + self.references * 64;
        let (names, entries) = (std::mem::take(&mut self.names), std::mem::take(&mut self.entries));
        (self.work, self.references) = (0, 0);
        Some(Batch::new(self.directory.clone(), names, entries, cost, consumer.clone()))
    }
}

/// Whether a record has all of the file's content.
fn holds(record: &Record, stat: &Stat) -> bool {
    if stat.kind != NodeKind::File {
        return record.references.is_empty() && record.extents.is_none();
    }
    let stored: u64 = record.references.iter().map(|r| u64::from(r.length)).sum();
    let length = record.extents.as_ref().map_or(stat.size, |e| e.iter().map(|(_, length)| length).sum());
    stored == length
}
