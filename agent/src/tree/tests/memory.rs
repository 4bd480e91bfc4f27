//! What a run leaves to the next, in memory.

use super::*;
use jiff::Timestamp;

/// Records in the order they came.
#[derive(Default, Clone)]
pub struct Records(pub Vec<(PathHash, Vec<Record>)>);

impl RecordSink for Records {
    fn directory(&mut self, directory: &PathHash) {
        assert!(self.0.iter().all(|(d, _)| d != directory), "a directory comes once");
        self.0.push((*directory, Vec::new()));
    }
    fn record(&mut self, record: Record) {
        self.0.last_mut().expect("its directory came first").1.push(record);
    }
}

/// What is kept between runs.
#[derive(Default)]
pub struct Kept {
    pub started: Option<Timestamp>,
    pub records: Records,
    known: Vec<lifeboat_format::send_log::KnownChunk>,
}

impl Kept {
    pub fn learn(&mut self, records: Records, packs: &[NewPack]) {
        // Far later than any ctime, unless the test sets something else: nothing is racy.
        self.started = self.started.or(Some(Timestamp::from_second(1 << 35).unwrap()));
        self.records = records;
        self.known.extend(packs.iter().flat_map(|p| &p.chunks).copied());
    }

    pub fn memory(&self) -> Memory {
        Memory { started: self.started, records: self.records.clone(), directory: None, at: 0 }
    }
}

impl PastChunks for Kept {
    fn pages(&self, index: &ChunkIndex) {
        self.content(index);
    }
    fn content(&self, index: &ChunkIndex) {
        self.known.iter().for_each(|k| index.insert(k.id, &k.reference));
    }
}

/// Asked as the machine asks: in the order of the walk only.
pub struct Memory {
    started: Option<Timestamp>,
    records: Records,
    directory: Option<usize>,
    at: usize,
}

impl Remembered for Memory {
    fn started(&self) -> Option<Timestamp> {
        self.started
    }
    fn directory(&mut self, directory: &PathHash) {
        let found = self.records.0.iter().position(|(d, _)| d == directory);
        assert!(found.is_none() || found > self.directory || self.directory.is_none(), "in walk order");
        self.directory = found.or(self.directory);
        self.at = if found.is_some() { 0 } else { usize::MAX };
    }
    fn record(&mut self, name: &PathHash) -> Option<Record> {
        let records = &self.records.0.get(self.directory?)?.1;
        let rest = records.get(self.at..)?;
        let n = rest.iter().position(|r| r.name == *name)?;
        self.at += n + 1;
        Some(rest[n].clone())
    }
}
