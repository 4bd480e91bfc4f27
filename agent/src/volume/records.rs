//! The new log of a volume: records become segments as the walk goes on; a segment that is as it was is named again.

use super::past::Past;
use crate::backup::log;
use crate::tree::RecordSink;
use bytes::Bytes;
use lifeboat_format::id::{Digest, Handle, PathHash, Sha256};
use lifeboat_format::pack::Reference;
use lifeboat_format::volume_log::{CutSegment, Record, SegmentEntry, SegmentWriter, seal_segment};
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Sealed segments that are kept until they are sent together. A run that dies earlier has sent none in vain.
const KEPT_BYTES: usize = 4 << 20;

/// Files of the log that are to be sent.
pub(super) type LogFiles = Vec<(Sha256, Bytes)>;

/// Implements [`RecordSink`].
pub(super) struct LogWriter {
    past: Arc<Past>,
    /// Segments of the last run by the digest of their content.
    known: HashMap<Digest, usize>,
    writer: SegmentWriter,
    directory: PathHash,
    written: Written,
    kept_bytes: usize,
    send: mpsc::Sender<LogFiles>,
}

/// What a walk has written.
#[derive(Default)]
pub(crate) struct Written {
    pub(super) segments: Vec<SegmentEntry>,
    /// Files that are not sent yet.
    pub(super) unsent: LogFiles,
    /// Plaintext bytes that the tree needs of each pack.
    pub(super) live: HashMap<Handle, u64>,
}

impl Written {
    pub(super) fn needs(&mut self, references: &[Reference]) {
        let mut last = None;
        for r in references {
            // A stretch of equal chunks is one chunk.
            if last != Some(r) {
                *self.live.entry(r.handle).or_default() += u64::from(r.length);
            }
            last = Some(r);
        }
    }
}

impl LogWriter {
    pub(super) fn new(past: Arc<Past>, send: mpsc::Sender<LogFiles>) -> Self {
        let known = past.segments.iter().enumerate().map(|(i, s)| (s.digest, i)).collect();
        Self {
            past,
            known,
            writer: SegmentWriter::new(),
            directory: PathHash([0; 16]),
            written: Written::default(),
            kept_bytes: 0,
            send,
        }
    }

    /// The last segment is cut; what is unsent is the caller's to send.
    pub(super) fn finish(mut self) -> Written {
        if let Some(cut) = std::mem::take(&mut self.writer).finish() {
            self.add(cut);
        }
        self.written
    }

    fn add(&mut self, cut: CutSegment) {
        let digest = Digest::of(&cut.plain);
        let directories = cut.directories.concat();
        if let Some(known) = self.known.get(&digest).and_then(|&i| self.past.segments.get(i)) {
            let SegmentEntry { sha256, key, .. } = known.clone();
            self.written.segments.push(SegmentEntry { sha256, key, digest, directories });
            return;
        }
        let (sha256, key, bytes) = log::sealed(|key| seal_segment(key, &cut.plain));
        self.written.segments.push(SegmentEntry { sha256, key, digest, directories });
        self.kept_bytes += bytes.len();
        self.written.unsent.push((sha256, bytes));
        if self.kept_bytes >= KEPT_BYTES {
            self.kept_bytes = 0;
            // Whoever sends is gone only when the run ends.
            let _ = self.send.blocking_send(std::mem::take(&mut self.written.unsent));
        }
    }
}

impl RecordSink for LogWriter {
    fn directory(&mut self, directory: &PathHash) {
        self.directory = *directory;
    }

    fn record(&mut self, record: Record) {
        self.written.needs(&record.references);
        let mut cut = Vec::new();
        self.writer.record(&self.directory, &record, |segment| cut.push(segment));
        cut.into_iter().for_each(|segment| self.add(segment));
    }
}
