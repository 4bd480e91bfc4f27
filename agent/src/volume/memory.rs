//! The records of the last run, found again by a walk in the same order: a merge of old log and new tree that holds a few
//! segments at a time.

use super::past::{Past, Reading};
use crate::tree::Remembered;
use jiff::Timestamp;
use lifeboat_format::id::PathHash;
use lifeboat_format::volume_log::{CONTINUES, DirectoryId, DirectoryPart, Record, directory_id};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

/// Segments of one directory that are looked through for a name. What lies beyond, because more entries than these hold
/// were removed from one directory, is read again.
const WINDOW: usize = 32;
/// Segments that are fetched before they are needed.
const AHEAD: usize = 2;

/// Implements [`Remembered`] over a [`Past`].
pub(super) struct Records {
    past: Arc<Past>,
    /// The segment in which each directory begins.
    begins: HashMap<DirectoryId, usize>,
    /// Segments that were read, less the parts that were taken.
    read: BTreeMap<usize, Segment>,
    reading: BTreeMap<usize, Reading>,
    /// Parts of the directory gone to last, in order.
    parts: VecDeque<Part>,
    directory: PathHash,
    /// Where the directory may go on.
    next: Option<usize>,
}

#[derive(Default)]
struct Segment {
    parts: HashMap<PathHash, Vec<Record>>,
    first: Option<PathHash>,
    last: Option<PathHash>,
}

/// Records of one directory in one segment.
struct Part {
    records: Vec<Option<Record>>,
    /// What comes before was passed.
    at: usize,
    /// By name; made when a name is not the next one.
    places: Option<HashMap<PathHash, usize>>,
}

impl Records {
    pub(super) fn new(past: Arc<Past>) -> Self {
        let mut begins = HashMap::new();
        for (i, segment) in past.segments.iter().enumerate() {
            for directory in segment.directories() {
                begins.entry(directory).or_insert(i);
            }
        }
        Self {
            past,
            begins,
            read: BTreeMap::new(),
            reading: BTreeMap::new(),
            parts: VecDeque::new(),
            directory: PathHash([0; 16]),
            next: None,
        }
    }

    fn segment(&mut self, number: usize) -> &mut Segment {
        for ahead in number..=number + AHEAD {
            if !self.read.contains_key(&ahead) && !self.reading.contains_key(&ahead) {
                self.reading.extend(self.past.read(ahead).map(|reading| (ahead, reading)));
            }
        }
        if let Some(reading) = self.reading.remove(&number) {
            let parts = self.past.wait(reading).unwrap_or_default();
            self.read.insert(number, Segment::new(parts));
        }
        self.read.entry(number).or_default()
    }

    /// Takes the directory's part of a segment; false where it has none.
    fn take_part(&mut self, number: usize) -> bool {
        let (directory, count) = (self.directory, self.past.segments.len());
        let segment = self.segment(number);
        let goes_on = segment.last == Some(directory) && number + 1 < count;
        let Some(records) = segment.parts.remove(&directory) else { return false };
        self.parts.push_back(Part { records: records.into_iter().map(Some).collect(), at: 0, places: None });
        self.next = goes_on.then_some(number + 1);
        true
    }

    /// Takes the part in the segment that follows, if the directory goes on there.
    fn go_on(&mut self) -> bool {
        let Some(next) = self.next.take() else { return false };
        let directory = self.directory;
        self.segment(next).first == Some(directory) && self.take_part(next)
    }

    fn find(&mut self, name: &PathHash) -> Option<Record> {
        let mut part = 0;
        loop {
            if part == self.parts.len() && (part >= WINDOW || !self.go_on()) {
                return None;
            }
            if let Some(place) = self.parts[part].find(name) {
                self.parts.drain(..part);
                return self.parts.front_mut()?.take(place);
            }
            part += 1;
        }
    }

    /// The rest of a file whose references fill several records.
    fn rest(&mut self, record: &mut Record) -> Option<()> {
        while record.has(CONTINUES) {
            let spent = self.parts.front().is_none_or(|p| p.at >= p.records.len());
            if spent {
                self.parts.pop_front();
                if self.parts.is_empty() && !self.go_on() {
                    return None;
                }
            }
            let front = self.parts.front_mut()?;
            let next = front.take(front.at)?;
            if next.name != record.name {
                return None;
            }
            record.flags = next.flags;
            record.references.extend(next.references);
        }
        Some(())
    }
}

impl Segment {
    fn new(parts: Vec<DirectoryPart>) -> Self {
        let first = parts.first().map(|p| p.directory);
        let last = parts.last().map(|p| p.directory);
        let mut by_directory: HashMap<PathHash, Vec<Record>> = HashMap::new();
        for part in parts {
            by_directory.entry(part.directory).or_default().extend(part.records);
        }
        Self { parts: by_directory, first, last }
    }
}

impl Part {
    fn find(&mut self, name: &PathHash) -> Option<usize> {
        let next = self.records.get(self.at)?.as_ref();
        if next.is_some_and(|r| r.name == *name) {
            return Some(self.at);
        }
        let records = &self.records;
        let places = self.places.get_or_insert_with(|| {
            let named = records.iter().enumerate().filter_map(|(i, r)| Some((r.as_ref()?.name, i)));
            // Of the records of one file, the first.
            let mut places = HashMap::with_capacity(records.len());
            named.for_each(|(name, i)| {
                places.entry(name).or_insert(i);
            });
            places
        });
        places.get(name).copied().filter(|place| *place >= self.at)
    }

    fn take(&mut self, place: usize) -> Option<Record> {
        self.at = place + 1;
        self.records.get_mut(place)?.take()
    }
}

impl Remembered for Records {
    fn started(&self) -> Option<Timestamp> {
        self.past.started
    }

    fn directory(&mut self, directory: &PathHash) {
        self.parts.clear();
        self.next = None;
        self.directory = *directory;
        if let Some(&segment) = self.begins.get(&directory_id(directory)) {
            // The walk does not go back.
            self.read = self.read.split_off(&segment);
            self.reading = self.reading.split_off(&segment);
            self.take_part(segment);
        }
    }

    fn record(&mut self, name: &PathHash) -> Option<Record> {
        let mut record = self.find(name)?;
        self.rest(&mut record)?;
        record.references.iter().all(|r| self.past.usable(r)).then_some(record)
    }
}
