//! Making directories: for nobody else to enter until all is done, when they get their attributes. One that is there
//! already is entered, and stays as it is.

use super::attributes::{ACL, ACL_ACCESS, ACL_DEFAULT, Basics};
use super::beneath::READ;
use super::directories::{Fate, NONE};
use super::error::RestoreError;
use super::existing::{FoundDirectory, UNFINISHED, look_at_directory};
use super::node::{Place, join};
use super::partial::remove_left_behind;
use super::plan::{Planner, Root};
use super::work::hint;
use lifeboat_common::reader::{TreeEntry, shown};
use lifeboat_format::tree::{Attributes, NodeKind};
use rustix::fs::{AtFlags, Gid, Mode, XattrFlags};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Of folders that are in no snapshot.
const PLAIN: u32 = 0o755;

/// A directory that can be entered.
struct Made {
    fate: Fate,
    /// Nothing can be in it yet.
    empty: bool,
}

impl Planner {
    /// Makes the volume's root, and the folders above it. Without attributes it gets none.
    pub(super) fn make_root(&mut self, attributes: Option<&Attributes>) {
        let unknown = Attributes { mode: 0o700, ..Attributes::default() };
        let a = attributes.unwrap_or(&unknown);
        let folder = self.folder().to_vec();
        let number = if self.root == Root::Target {
            let fate = if attributes.is_some() { Fate::Ours } else { Fate::Kept };
            self.set_early(b"", a);
            self.add(NONE, b"", &Made { fate, empty: false }, a)
        } else {
            let (above, name) = split(&folder);
            match self.make_plain(above) {
                Ok(place) => self.make(NONE, &place, name, &folder, a, attributes.is_some()),
                Err(errno) => self.blocked(NONE, above, &folder, errno),
            }
        };
        if let Some(root) = self.levels.first_mut() {
            root.number = Some(number);
        }
    }

    /// Folders between the target and a volume's root.
    fn make_plain(&self, path: &[u8]) -> Result<Place, Errno> {
        let mut done = Vec::new();
        for name in path.split(|b| *b == b'/').filter(|name| !name.is_empty()) {
            let dir = self.shared.target.directory(&done, super::beneath::WALK)?;
            match rustix::fs::mkdirat(&dir, name, Mode::from_raw_mode(PLAIN)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno),
            }
            done = join(&done, name);
        }
        // A number of its own, which no directory of the tree has.
        Ok(Place { number: NONE, path: done, inherits: true })
    }

    /// Makes a directory that the walk just read, in the one that it is in.
    pub(super) fn make_child(&mut self, parent: u32, entry: &TreeEntry) {
        let place = self.place(parent);
        let number = self.make(parent, &place, entry.name(), entry.name(), &entry.attributes, true);
        if let Some(level) = self.levels.last_mut().filter(|_| number != NONE) {
            let follows = !level.children.is_empty() && level.children.end == number;
            level.children = if follows { level.children.start..number + 1 } else { number..number + 1 };
        }
    }

    /// Makes a directory on the way to what was chosen, or one whose name could not be read.
    pub(super) fn make_on_the_way(&mut self, above: u32, path: &[u8]) -> u32 {
        let (_, name) = split(path);
        if self.directories.fate(above) == Fate::Blocked {
            return self.add(
                above,
                name,
                &Made { fate: Fate::Blocked, empty: false },
                &Attributes::default(),
            );
        }
        let place = self.place(above);
        match self.runtime.block_on(self.tree.entry(path)) {
            Ok(Some(entry)) if entry.attributes.kind == NodeKind::Directory => {
                self.make(above, &place, name, name, &entry.attributes, true)
            }
            Ok(found) => {
                let what = if found.is_some() { "no directory" } else { "not in it" };
                let why = format!(
                    "The tree has entries below it, but it is {what}; the agent that wrote it is at fault"
                );
                self.shared.tally.failed(&self.placed(path), why);
                self.add(above, name, &Made { fate: Fate::Blocked, empty: false }, &Attributes::default())
            }
            Err(_) => {
                // What is in it can be had all the same; that its attributes cannot was said when it was walked over.
                let a = Attributes { mode: 0o700, ..Attributes::default() };
                self.shared.tally.not_set("attributes of a directory: they could not be read".to_owned());
                self.make(above, &place, name, name, &a, false)
            }
        }
    }

    /// `full` is its name for the directories' table.
    fn make(
        &mut self,
        parent: u32,
        place: &Place,
        name: &[u8],
        full: &[u8],
        a: &Attributes,
        known: bool,
    ) -> u32 {
        let made = match self.make_or_enter(place, name, a) {
            Ok(made) => made,
            Err(errno) => return self.blocked(parent, &join(&place.path, name), full, errno),
        };
        let fate = if made.fate == Fate::Ours && !known { Fate::Kept } else { made.fate };
        if made.fate == Fate::Kept || made.fate == Fate::Blocked {
            self.shared.tally.left_alone(&join(&place.path, name));
        }
        self.add(parent, full, &Made { fate, ..made }, a)
    }

    fn make_or_enter(&self, place: &Place, name: &[u8], a: &Attributes) -> Result<Made, Errno> {
        let within = if place.number == NONE {
            std::sync::Arc::new(self.shared.target.directory(&place.path, super::beneath::WALK)?)
        } else {
            self.shared.open(place)?
        };
        match rustix::fs::mkdirat(&*within, name, Mode::from_raw_mode(UNFINISHED)) {
            Ok(()) => {
                if place.inherits {
                    self.disinherit(open(&within, name)?.as_fd());
                }
                if a.xattrs.iter().any(|(n, _)| !n.starts_with(ACL)) {
                    self.set_xattrs(open(&within, name)?.as_fd(), a);
                }
                Ok(Made { fate: Fate::Ours, empty: true })
            }
            Err(Errno::EXIST) => {
                let stat = rustix::fs::statat(&*within, name, AtFlags::SYMLINK_NOFOLLOW)?;
                let fate = match look_at_directory(&stat, &Basics::of(a), self.shared.who) {
                    FoundDirectory::Unfinished => {
                        let fd = open(&within, name)?;
                        self.set_xattrs(fd.as_fd(), a);
                        remove_left_behind(fd);
                        Fate::Ours
                    }
                    FoundDirectory::Complete => Fate::Same,
                    FoundDirectory::Other => Fate::Kept,
                    FoundDirectory::NotOne => Fate::Blocked,
                };
                Ok(Made { fate, empty: false })
            }
            Err(errno) => Err(errno),
        }
    }

    /// Takes back what a new directory got from the one that it is in: group, setgid bit, access control lists.
    fn disinherit(&self, fd: BorrowedFd<'_>) {
        // Best effort: most have nothing to take back, and everything is set at the end.
        for name in [ACL_ACCESS, ACL_DEFAULT] {
            let _ = rustix::fs::fremovexattr(fd, name);
        }
        let _ = rustix::fs::fchown(fd, None, Some(Gid::from_raw(self.shared.who.gid())));
        let _ = rustix::fs::fchmod(fd, Mode::from_raw_mode(UNFINISHED));
    }

    /// Extended attributes that change nothing for what is made in the directory.
    fn set_xattrs(&self, fd: BorrowedFd<'_>, a: &Attributes) {
        for (name, value) in a.xattrs.iter().filter(|(name, _)| !name.starts_with(ACL)) {
            if let Err(errno) = rustix::fs::fsetxattr(fd, name.as_slice(), value, XattrFlags::empty()) {
                self.shared.tally.not_set(format!("{}: {errno}", shown(name)));
            }
        }
    }

    fn set_early(&self, path: &[u8], a: &Attributes) {
        if let Ok(fd) = self.shared.target.directory(path, READ) {
            self.set_xattrs(fd.as_fd(), a);
        }
    }

    fn blocked(&mut self, parent: u32, path: &[u8], full: &[u8], errno: Errno) -> u32 {
        match RestoreError::of_disk("make the directory", path, errno) {
            Some(disk) => self.shared.stop.set(disk),
            None => {
                let why = format!("Cannot make it: {}{}", std::io::Error::from(errno), hint(errno));
                self.shared.tally.failed(path, why);
            }
        }
        self.add(parent, full, &Made { fate: Fate::Blocked, empty: false }, &Attributes::default())
    }

    fn add(&mut self, parent: u32, name: &[u8], made: &Made, a: &Attributes) -> u32 {
        let Some((number, kept)) = self.directories.add(parent, name, made.fate, made.empty, a) else {
            self.shared.stop.set(RestoreError::TooMany);
            return NONE;
        };
        if made.fate != Fate::Blocked {
            self.shared.tally.change().directories += 1;
        }
        if !kept {
            self.shared.tally.not_set("access control lists of directories: too many to remember".to_owned());
        }
        number
    }
}

/// Without following a link that may have taken its place.
fn open(within: &OwnedFd, name: &[u8]) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(within, name, READ, Mode::empty())
}

/// The directory and the name.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|b| *b == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (&[], path),
    }
}
