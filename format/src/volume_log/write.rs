//! Cuts a walk's records into segments, where the content says and not where a count ends: one changed file changes
//! one segment, and those after it begin where they did.

use super::segment::{encode_directory, encode_record, encode_segment};
use super::{CONTINUES, DirectoryId, RECORD_REFERENCES_MAX, Record, directory_id};
use crate::id::PathHash;
use crate::pack::Reference;
use crate::sorted_map::PackTable;

/// Below this a segment is not cut, bytes.
const SEGMENT_MIN: usize = 128 << 10;
/// What a cut adds to [`SEGMENT_MIN`] on average, bytes: together about 256 KiB.
const SEGMENT_MEAN: u64 = 128 << 10;
/// At this a segment is cut in any case, bytes; one record may come on top of it (270 KiB).
const SEGMENT_MAX: usize = 768 << 10;
/// References of a large file at which one of its records may end.
const PIECE_MIN: usize = 1024;

/// A segment that is to be sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CutSegment {
    pub plain: Vec<u8>,
    /// The directories whose first record it has, in order.
    pub directories: Vec<DirectoryId>,
}

/// Takes records in the order of the walk.
#[derive(Debug, Default)]
pub struct SegmentWriter {
    packs: PackTable,
    /// Encoded directories, and how many.
    body: Vec<u8>,
    parts: u64,
    /// The one that is open: encoded records, and how many.
    directory: Option<PathHash>,
    records: Vec<u8>,
    count: u64,
    started: Vec<DirectoryId>,
}

impl SegmentWriter {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the record of a file in `directory`; all files of a directory come together. `flags` may not have
    /// [`CONTINUES`]: a file of many references is cut into several records here.
    pub fn record(&mut self, directory: &PathHash, record: &Record, mut sink: impl FnMut(CutSegment)) {
        if self.directory != Some(*directory) {
            self.close_directory();
            self.directory = Some(*directory);
            self.started.push(directory_id(directory));
        }
        let (mut rest, mut first) = (record.references.as_slice(), true);
        loop {
            let (piece, after) = rest.split_at(piece_len(rest));
            rest = after;
            let flags = (record.flags & !CONTINUES) | if rest.is_empty() { 0 } else { CONTINUES };
            let before = self.records.len();
            encode_record(&mut self.records, &mut self.packs, record, flags, piece, first);
            self.count += 1;
            let mark = if first { record.name.0[..8].try_into() } else { last_digest(piece) };
            if self.ends_after(mark.unwrap_or_default(), self.records.len() - before) {
                sink(self.cut());
            }
            first = false;
            if rest.is_empty() {
                return;
            }
        }
    }

    /// The last segment, if anything is left for one.
    #[must_use]
    pub fn finish(mut self) -> Option<CutSegment> {
        (self.count > 0 || self.parts > 0).then(|| self.cut())
    }

    fn ends_after(&self, mark: [u8; 8], size: usize) -> bool {
        let len = self.body.len() + self.records.len();
        let chosen = u64::from_le_bytes(mark) < (u64::MAX / SEGMENT_MEAN).saturating_mul(size as u64);
        len >= SEGMENT_MAX || (len >= SEGMENT_MIN && chosen)
    }

    fn close_directory(&mut self) {
        if let Some(directory) = self.directory.filter(|_| self.count > 0) {
            encode_directory(&mut self.body, &directory, self.count, &self.records);
            self.parts += 1;
            self.records.clear();
            self.count = 0;
        }
    }

    /// What follows of the open directory goes on in the next segment.
    fn cut(&mut self) -> CutSegment {
        self.close_directory();
        let plain = encode_segment(&self.packs, self.parts, &self.body);
        self.packs = PackTable::default();
        self.body.clear();
        self.parts = 0;
        CutSegment { plain, directories: std::mem::take(&mut self.started) }
    }
}

/// How many references go into the next record: where a digest says, so that one more in the middle of a large file
/// does not move all that follow.
fn piece_len(rest: &[Reference]) -> usize {
    if rest.len() <= RECORD_REFERENCES_MAX {
        return rest.len();
    }
    let ends = |r: &Reference| r.digest.0[0] == 0 && r.digest.0[1] < 64;
    let at = rest[PIECE_MIN - 1..RECORD_REFERENCES_MAX].iter().position(ends);
    at.map_or(RECORD_REFERENCES_MAX, |at| PIECE_MIN + at)
}

fn last_digest(piece: &[Reference]) -> Result<[u8; 8], std::array::TryFromSliceError> {
    piece.last().map_or(Ok([0; 8]), |r| r.digest.0[2..10].try_into())
}
