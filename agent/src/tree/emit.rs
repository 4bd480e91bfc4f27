//! Entries into the map and the records, in the order of the walk, on the thread that called.

use super::chunks::Sealer;
use super::context::Context;
use super::entry::{Batch, Directory, Entry, State};
use super::records::RecordSink;
use super::report::{Missed, Reason, StoredTree};
use super::shared::{Ended, LOOK};
use crossbeam_channel::Receiver;
use lifeboat_format::id::Handle;
use lifeboat_format::limits;
use lifeboat_format::pack::Reference;
use lifeboat_format::sorted_map::{MapBuilder, PageSink};
use lifeboat_format::tree::{self, Attributes, NodeKind, encode_attributes};
use lifeboat_format::volume_log::{CHANGING, HAS_XATTRS, Record};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// The end of the line.
pub struct Emitter<'c, 'a> {
    context: &'c Context<'a>,
    records: &'c mut dyn RecordSink,
    dry_run: bool,
    map: MapBuilder,
    pages: Pages<'c, 'a>,
    stored: StoredTree,
    key: Vec<u8>,
    inline: Vec<u8>,
    last_pack: Option<Handle>,
    /// How long this thread had to wait for entries that were being read.
    waited: Duration,
    /// The directory that the records are in.
    directory: Option<Arc<Directory>>,
}

/// Stores pages and notes where they are.
struct Pages<'c, 'a> {
    sealer: Sealer<'c, 'a>,
    stored: Vec<Reference>,
}

impl PageSink for Pages<'_, '_> {
    type Error = Ended;
    fn put(&mut self, chunk: &[u8]) -> Result<Reference, Ended> {
        let reference = self.sealer.page(chunk)?;
        self.stored.push(reference);
        Ok(reference)
    }
}

impl<'c, 'a> Emitter<'c, 'a> {
    pub fn new(context: &'c Context<'a>, records: &'c mut dyn RecordSink, dry_run: bool) -> Self {
        let sealer = Sealer::new(&context.chunks, &context.going);
        Self {
            context,
            records,
            dry_run,
            map: MapBuilder::new(),
            pages: Pages { sealer, stored: Vec::new() },
            stored: StoredTree::default(),
            key: Vec::new(),
            inline: Vec::new(),
            last_pack: None,
            waited: Duration::ZERO,
            directory: None,
        }
    }

    /// Takes batches until the walk has ended, and closes the map.
    pub fn run(mut self, batches: &Receiver<Arc<Batch>>) -> Result<StoredTree, Ended> {
        let _guard = self.context.going.guard();
        while let Some(batch) = self.context.going.receive(batches)? {
            self.wait(&batch)?;
            self.batch(&batch)?;
            self.context.window.give(batch.cost);
        }
        if !self.dry_run {
            let keys = &self.context.chunks.keys.domain;
            self.stored.root = self.map.finish(keys, &mut self.pages)?;
        }
        tracing::debug!(waited = ?self.waited, pages = self.pages.stored.len(), "the map is complete");
        let progress = self.context.progress;
        self.stored.read_bytes = progress.read_bytes.load(Ordering::Acquire);
        self.stored.new_bytes = progress.new_bytes.load(Ordering::Acquire);
        self.stored.needed.extend(self.pages.stored.iter().map(|r| r.handle));
        self.stored.pages = self.pages.stored;
        Ok(self.stored)
    }

    fn wait(&mut self, batch: &Batch) -> Result<(), Ended> {
        if batch.is_complete() {
            return Ok(());
        }
        let from = Instant::now();
        while !batch.is_complete() {
            self.context.going.check()?;
            std::thread::park_timeout(LOOK);
        }
        self.waited += from.elapsed();
        Ok(())
    }

    fn batch(&mut self, batch: &Arc<Batch>) -> Result<(), Ended> {
        let entries = std::mem::take(&mut *batch.entries());
        self.key.clear();
        if entries.first().is_some_and(|e| e.name.len > 0) {
            tree::key(&batch.directory.path, b"", &mut self.key);
        }
        let prefix = self.key.len();
        let (mut done, mut done_bytes) = (0, 0);
        for (n, mut entry) in entries.into_iter().enumerate() {
            if entry.first_link {
                let known = (entry.state == State::Stored).then(|| entry.known());
                self.context.links.leave(&entry.stat, batch, n, known);
            }
            self.key.truncate(prefix);
            self.key.extend_from_slice(batch.name(entry.name));
            done += 1;
            done_bytes += if entry.stat.is_file() { entry.stat.size } else { 0 };
            match entry.state {
                State::Stored => self.store(batch, &mut entry)?,
                State::Vanished => self.context.report().vanished += 1,
                State::Missed(reason) => self.miss(batch, &entry, reason),
            }
        }
        self.context.progress.done.fetch_add(done, Ordering::Relaxed);
        self.context.progress.done_bytes.fetch_add(done_bytes, Ordering::Relaxed);
        Ok(())
    }

    fn store(&mut self, batch: &Batch, entry: &mut Entry) -> Result<(), Ended> {
        if let Some(remark) = entry.remark {
            self.miss(batch, entry, remark);
        }
        if entry.changing {
            self.context.report().note_changing(path_of(batch, entry));
        }
        if entry.references.len() > limits::VALUE_REFERENCES_MAX {
            self.miss(batch, entry, Reason::TooLarge);
            return Ok(());
        }
        self.stored.entries += 1;
        if entry.stat.is_file() {
            self.stored.files += 1;
            self.stored.bytes += entry.stat.size;
        }
        if self.dry_run {
            return Ok(());
        }
        let Some(attributes) = self.encode(batch, entry) else {
            self.stored.entries -= 1;
            self.miss(batch, entry, Reason::Attributes);
            return Ok(());
        };
        let keys = &self.context.chunks.keys.domain;
        self.map.push(keys, &self.key, &self.inline, &entry.references, &mut self.pages)?;
        for reference in &entry.references {
            if self.last_pack != Some(reference.handle) {
                self.last_pack = Some(reference.handle);
                self.stored.needed.insert(reference.handle);
            }
        }
        if entry.name.len > 0 {
            self.record(batch, entry, attributes);
        }
        Ok(())
    }

    /// Puts the attributes into `inline`; without the extended ones, where those do not fit.
    fn encode(&mut self, batch: &Batch, entry: &mut Entry) -> Option<Attributes> {
        let stat = &entry.stat;
        let mut attributes = Attributes {
            kind: stat.kind,
            mode: stat.mode,
            uid: stat.uid,
            gid: stat.gid,
            mtime_s: stat.mtime.0,
            mtime_ns: stat.mtime.1,
            size: if stat.is_file() { stat.size } else { 0 },
            rdev: stat.kind.is_device().then_some(stat.rdev),
            target: entry.target.take(),
            xattrs: std::mem::take(&mut entry.xattrs),
            link: (stat.links > 1 && stat.kind != NodeKind::Directory).then_some(stat.inode),
            extents: entry.extents.take(),
            marks: if entry.changing { tree::CHANGING } else { 0 },
        };
        self.inline.clear();
        if encode_attributes(&attributes, &mut self.inline).is_ok() {
            return Some(attributes);
        }
        if attributes.xattrs.is_empty() {
            return None;
        }
        attributes.xattrs.clear();
        encode_attributes(&attributes, &mut self.inline).ok()?;
        self.miss(batch, entry, Reason::XattrsTooLarge);
        Some(attributes)
    }

    fn record(&mut self, batch: &Batch, entry: &mut Entry, attributes: Attributes) {
        let directory = &batch.directory;
        if !self.directory.as_ref().is_some_and(|d| Arc::ptr_eq(d, directory)) {
            self.records.directory(&directory.hash);
            self.directory = Some(directory.clone());
        }
        let keys = &self.context.chunks.keys.domain;
        let incomplete = entry.remark.is_some();
        let xattrs = incomplete || !attributes.xattrs.is_empty();
        self.records.record(Record {
            name: entry.hash,
            fingerprint: entry.stat.fingerprint(keys),
            flags: if xattrs { HAS_XATTRS } else { 0 } | if entry.changing { CHANGING } else { 0 },
            extents: attributes.extents,
            references: std::mem::take(&mut entry.references),
            lists: Vec::new(),
        });
    }

    fn miss(&self, batch: &Batch, entry: &Entry, reason: Reason) {
        self.context.report().miss(Missed { path: path_of(batch, entry), reason });
    }
}

fn path_of(batch: &Batch, entry: &Entry) -> Vec<u8> {
    let (parent, name) = (&batch.directory.path, batch.name(entry.name));
    if parent.is_empty() { name.to_vec() } else { [parent, &b"/"[..], name].concat() }
}
