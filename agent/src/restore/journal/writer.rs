//! The journal's file: locked while in use, appended to, flushed before anything relies on it.

use super::super::source::ObjectKey;
use super::JournalError;
use super::lines::{JournalKey, Line, Object, Outcome};
use rustix::fs::{FlockOperation, flock};
use std::collections::{HashMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const SCHEMA: &str = "lifeboat/restore-journal/1";
/// Longer lines are damage: names and uids have their bounds.
const MAX_LINE: usize = 8 << 10;

/// What an earlier run came to know of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    pub outcome: Outcome,
    pub uid: Box<str>,
    /// Owners and managed fields are done too.
    pub finished: bool,
}

/// Something that the restore made beside the snapshot's objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extra {
    pub what: String,
    pub name: String,
    pub uid: String,
}

/// Lines that are in the file, and perhaps not on the disk.
#[derive(Debug)]
#[must_use = "a POST must not be sent before its intent is on the disk"]
pub struct Unflushed {
    file: Arc<File>,
    path: PathBuf,
}

impl Unflushed {
    /// Waits for the disk.
    pub fn flush(self) -> Result<(), JournalError> {
        let done = self.file.sync_data();
        done.map_err(|source| JournalError::Io { action: "flush", path: self.path, source })
    }
}

/// An open journal.
#[derive(Debug)]
pub struct Journal {
    file: Arc<File>,
    path: PathBuf,
    id: String,
    settled: HashMap<ObjectKey, Settled>,
    intents: HashSet<ObjectKey>,
    extras: Vec<Extra>,
    resumed: bool,
    buffer: Vec<u8>,
}

impl Journal {
    /// Opens the journal of a restore in a directory (made if absent): goes on with one that did
    /// not come to its end, begins anew otherwise.
    pub fn open(dir: &Path, key: &JournalKey) -> Result<Self, JournalError> {
        let path = dir.join(key.file_name());
        let failed = |action, source| JournalError::Io { action, path: path.clone(), source };
        std::fs::create_dir_all(dir).map_err(|e| failed("make the folder of", e))?;
        let file = open_locked(&path)?;
        let (mut journal, ended) = Self::read(file, path.clone(), key)?;
        if ended {
            let old = path.with_extension(format!("{}.done", journal.id));
            std::fs::rename(&path, old).map_err(|e| failed("put away", e))?;
            let file = open_locked(&path)?;
            journal = Self::read(file, path.clone(), key)?.0;
        }
        if journal.id.is_empty() {
            journal.id = format!("{:010x}", rand::random::<u64>() & 0xff_ffff_ffff);
            let begin = Line::Begin { schema: SCHEMA.to_owned(), key: key.clone(), id: journal.id.clone() };
            journal.append(&begin);
            journal.sync()?;
            File::open(dir).and_then(|d| d.sync_all()).map_err(|e| failed("make", e))?;
        }
        Ok(journal)
    }

    /// Reads what is there. A torn last line is cut off; whether the end was reached comes back.
    fn read(file: File, path: PathBuf, key: &JournalKey) -> Result<(Self, bool), JournalError> {
        let mut journal = Self {
            file: Arc::new(file),
            path,
            id: String::new(),
            settled: HashMap::new(),
            intents: HashSet::new(),
            extras: Vec::new(),
            resumed: false,
            buffer: Vec::new(),
        };
        let io =
            |journal: &Self, source| JournalError::Io { action: "read", path: journal.path.clone(), source };
        let clone = journal.file.try_clone().map_err(|e| io(&journal, e))?;
        let mut reader = BufReader::new(clone);
        let (mut number, mut kept, mut ended) = (0, 0u64, false);
        let mut text = Vec::new();
        loop {
            text.clear();
            let mut bounded = std::io::Read::take(&mut reader, MAX_LINE as u64);
            let read = bounded.read_until(b'\n', &mut text).map_err(|e| io(&journal, e))?;
            if read == 0 || (text.last() != Some(&b'\n') && read < MAX_LINE) {
                break;
            }
            number += 1;
            match serde_json::from_slice(&text) {
                Ok(line) => ended |= journal.take(line, number, key)?,
                Err(e) => return Err(journal.damaged(number, &e.to_string())),
            }
            kept += read as u64;
        }
        // What follows the last whole line was being written when the machine stopped.
        journal.file.set_len(kept).map_err(|e| io(&journal, e))?;
        (&*journal.file).seek(SeekFrom::Start(kept)).map_err(|e| io(&journal, e))?;
        Ok((journal, ended))
    }

    fn damaged(&self, line: usize, detail: &str) -> JournalError {
        JournalError::Damaged { path: self.path.clone(), line, detail: detail.to_owned() }
    }

    /// Takes one line in; says whether it is the end.
    fn take(&mut self, line: Line, number: usize, want: &JournalKey) -> Result<bool, JournalError> {
        match line {
            Line::Begin { schema, key, id } => {
                if number != 1 || schema != SCHEMA || !id.bytes().all(|b| b.is_ascii_hexdigit()) {
                    return Err(self.damaged(number, "it begins as no journal does"));
                }
                if key != *want {
                    return Err(JournalError::Foreign { path: self.path.clone() });
                }
                self.id = id;
                self.resumed = true;
            }
            _ if number == 1 => return Err(self.damaged(1, "it has no beginning")),
            Line::Intent { object } => {
                self.intents.insert(object.into());
            }
            Line::Settled { object, o, uid } => {
                let key = ObjectKey::from(object);
                self.intents.remove(&key);
                self.settled.insert(key, Settled { outcome: o, uid: uid.into(), finished: false });
            }
            Line::Finished { object } => {
                if let Some(settled) = self.settled.get_mut(&object.into()) {
                    settled.finished = true;
                }
            }
            Line::Extra { what, name, uid } => self.extras.push(Extra { what, name, uid }),
            Line::End => return Ok(true),
        }
        Ok(false)
    }

    /// Random, of this restore; the same when it goes on.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The field manager under which this restore writes.
    #[must_use]
    pub fn manager(&self) -> String {
        format!("lifeboat-restore-{}", self.id)
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether an earlier run began it.
    #[must_use]
    pub fn is_resumed(&self) -> bool {
        self.resumed
    }

    /// What earlier runs settled. Taken out, so that it is held only once.
    pub fn take_settled(&mut self) -> HashMap<ObjectKey, Settled> {
        std::mem::take(&mut self.settled)
    }

    /// Objects that were about to be posted when an earlier run stopped.
    #[must_use]
    pub fn open_intents(&self) -> &HashSet<ObjectKey> {
        &self.intents
    }

    /// What else the restore made.
    #[must_use]
    pub fn extras(&self) -> &[Extra] {
        &self.extras
    }

    /// Writes the intents of POSTs that are to be sent next. They are on the disk once the returned
    /// file was flushed, which may be done without holding the journal.
    pub fn intend<'a>(
        &mut self,
        objects: impl IntoIterator<Item = &'a ObjectKey>,
    ) -> Result<Unflushed, JournalError> {
        for object in objects {
            self.append(&Line::Intent { object: object.into() });
        }
        self.write()?;
        Ok(Unflushed { file: self.file.clone(), path: self.path.clone() })
    }

    /// Notes how a POST ended. In the file at once, on the disk with the next intents: the field
    /// manager settles what a power cut takes away.
    pub fn settle(&mut self, object: &ObjectKey, outcome: Outcome, uid: &str) -> Result<(), JournalError> {
        self.append(&Line::Settled { object: Object::from(object), o: outcome, uid: uid.to_owned() });
        self.write()
    }

    /// Makes sure that what was settled is on the disk.
    pub fn flush(&mut self) -> Result<(), JournalError> {
        self.sync()
    }

    /// Notes that owners and managed fields are done.
    pub fn finish(&mut self, object: &ObjectKey) -> Result<(), JournalError> {
        self.append(&Line::Finished { object: Object::from(object) });
        self.write()
    }

    /// Notes something else that was made, durably.
    pub fn extra(&mut self, extra: Extra) -> Result<(), JournalError> {
        let Extra { what, name, uid } = extra.clone();
        self.append(&Line::Extra { what, name, uid });
        self.extras.push(extra);
        self.sync()
    }

    /// The restore came to its end: the next one of the same kind begins anew.
    pub fn end(mut self) -> Result<(), JournalError> {
        self.append(&Line::End);
        self.sync()
    }

    fn append(&mut self, line: &Line) {
        serde_json::to_writer(&mut self.buffer, line).expect("a line always serializes to memory");
        self.buffer.push(b'\n');
    }

    fn write(&mut self) -> Result<(), JournalError> {
        let done = (&*self.file).write_all(&self.buffer);
        self.buffer.clear();
        done.map_err(|source| JournalError::Io { action: "write", path: self.path.clone(), source })
    }

    fn sync(&mut self) -> Result<(), JournalError> {
        self.write()?;
        let done = self.file.sync_data();
        done.map_err(|source| JournalError::Io { action: "flush", path: self.path.clone(), source })
    }
}

fn open_locked(path: &Path) -> Result<File, JournalError> {
    use std::os::unix::fs::OpenOptionsExt;
    let failed = |action, source| JournalError::Io { action, path: path.to_owned(), source };
    let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).clone();
    let file = options.open(path).map_err(|e| failed("open", e))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(JournalError::Locked { path: path.to_owned() }),
        Err(e) => Err(failed("lock", e.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::source::GroupKind;
    use super::*;

    fn key() -> JournalKey {
        JournalKey { snapshot: "7".into(), cluster: "uid".into(), selection: "all".into() }
    }

    fn object(name: &str) -> ObjectKey {
        ObjectKey { namespace: Some("a".into()), kind: GroupKind::new("", "ConfigMap"), name: name.into() }
    }

    #[test]
    fn an_interrupted_restore_goes_on_under_the_same_id() {
        let dir = tempfile::tempdir().unwrap();
        let mut first = Journal::open(dir.path(), &key()).unwrap();
        let id = first.id().to_owned();
        assert!(!first.is_resumed());
        first.intend([&object("a"), &object("b"), &object("c")]).unwrap().flush().unwrap();
        first.settle(&object("a"), Outcome::Created, "ua").unwrap();
        first.settle(&object("b"), Outcome::LeftSame, "ub").unwrap();
        first.finish(&object("a")).unwrap();
        drop(first);
        let mut next = Journal::open(dir.path(), &key()).unwrap();
        assert!(next.is_resumed() && next.id() == id);
        assert_eq!(next.open_intents().iter().collect::<Vec<_>>(), [&object("c")]);
        let settled = next.take_settled();
        assert!(settled[&object("a")].finished && !settled[&object("b")].finished);
        assert_eq!(settled[&object("b")].outcome, Outcome::LeftSame);
    }

    #[test]
    fn a_finished_restore_is_put_away() {
        let dir = tempfile::tempdir().unwrap();
        let first = Journal::open(dir.path(), &key()).unwrap();
        let id = first.id().to_owned();
        first.end().unwrap();
        let next = Journal::open(dir.path(), &key()).unwrap();
        assert!(!next.is_resumed() && next.id() != id);
    }

    #[test]
    fn every_torn_end_is_tolerated_and_cut_off() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(dir.path(), &key()).unwrap();
        journal.intend([&object("a")]).unwrap().flush().unwrap();
        journal.settle(&object("a"), Outcome::Created, "u").unwrap();
        let path = journal.path().to_owned();
        drop(journal);
        let whole = std::fs::read(&path).unwrap();
        let first = whole.iter().position(|b| *b == b'\n').unwrap() + 1;
        for cut in first..whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let mut journal = Journal::open(dir.path(), &key()).unwrap();
            journal.intend([&object("z")]).unwrap().flush().unwrap();
            drop(journal);
            let journal = Journal::open(dir.path(), &key()).unwrap();
            assert!(journal.open_intents().contains(&object("z")), "cut at {cut}");
        }
        std::fs::write(&path, &whole[..first - 1]).unwrap();
        assert!(!Journal::open(dir.path(), &key()).unwrap().is_resumed());
    }

    #[test]
    fn damage_and_foreign_journals_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::open(dir.path(), &key()).unwrap();
        let path = journal.path().to_owned();
        assert!(matches!(Journal::open(dir.path(), &key()), Err(JournalError::Locked { .. })));
        drop(journal);
        let mut bytes = std::fs::read(&path).unwrap();
        let good = bytes.clone();
        bytes.extend_from_slice(b"{\"t\":\"?\"}\n{\"t\":\"end\"}\n");
        std::fs::write(&path, &bytes).unwrap();
        assert!(matches!(Journal::open(dir.path(), &key()), Err(JournalError::Damaged { line: 2, .. })));
        let foreign = String::from_utf8(good.clone()).unwrap().replace("\"7\"", "\"8\"");
        std::fs::write(&path, foreign).unwrap();
        assert!(matches!(Journal::open(dir.path(), &key()), Err(JournalError::Foreign { .. })));
        let mut endless = good;
        endless.extend(std::iter::repeat_n(b'x', 100_000));
        std::fs::write(&path, endless).unwrap();
        assert!(Journal::open(dir.path(), &key()).is_err());
    }
}
