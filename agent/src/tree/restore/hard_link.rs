//! Further names of a file: linked to its first name, once that is complete, and only where it still is what was
//! written there.

use super::error::RestoreError;
use super::existing::{Found, look};
use super::node::{Place, join};
use super::shared::Shared;
use super::work::hint;
use lifeboat_format::tree::Attributes;
use rustix::fs::AtFlags;
use rustix::io::Errno;
use std::sync::{Arc, PoisonError};

/// A name to be linked to another.
#[derive(Debug)]
pub(super) struct HardLink {
    pub(super) first: (Arc<Place>, Vec<u8>),
    pub(super) place: Arc<Place>,
    pub(super) name: Vec<u8>,
}

enum Outcome {
    Linked,
    Already,
    LeftAlone,
    /// The first name cannot be linked to: the content is written again.
    Copy,
}

impl Shared {
    pub(super) fn link(&self, link: &HardLink) {
        match self.try_link(link) {
            Ok(Outcome::Linked) => self.tally.change().hard_links += 1,
            Ok(Outcome::Already) => self.tally.change().already_complete += 1,
            Ok(Outcome::LeftAlone) => self.tally.left_alone(&join(&link.place.path, &link.name)),
            Ok(Outcome::Copy) => {
                let copy = (link.place.number, link.name.clone());
                self.copies.lock().unwrap_or_else(PoisonError::into_inner).push(copy);
            }
            Err(errno) => {
                let path = join(&link.place.path, &link.name);
                match RestoreError::of_disk("link", &path, errno) {
                    Some(disk) => self.stop.set(disk),
                    None => {
                        let why = format!("Cannot link it: {}{}", std::io::Error::from(errno), hint(errno));
                        self.tally.failed(&path, why);
                    }
                }
            }
        }
        self.gate.done();
    }

    fn try_link(&self, link: &HardLink) -> Result<Outcome, Errno> {
        let (from, to) = (self.open(&link.first.0)?, self.open(&link.place)?);
        match rustix::fs::linkat(
            &*from,
            link.first.1.as_slice(),
            &*to,
            link.name.as_slice(),
            AtFlags::empty(),
        ) {
            Ok(()) => Ok(Outcome::Linked),
            // As many links as the file system takes; or it takes none, or not across its parts.
            Err(Errno::MLINK | Errno::PERM | Errno::OPNOTSUPP | Errno::XDEV | Errno::NOENT) => {
                Ok(Outcome::Copy)
            }
            Err(Errno::EXIST) => {
                let stat = |dir, name: &[u8]| rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW);
                let (first, there) = (stat(&*from, &link.first.1)?, stat(&*to, &link.name)?);
                let same = (first.st_dev, first.st_ino) == (there.st_dev, there.st_ino);
                Ok(if same { Outcome::Already } else { Outcome::LeftAlone })
            }
            Err(errno) => Err(errno),
        }
    }

    /// Whether something of that name is in the way, and whether it is what would be written.
    pub(super) fn found(&self, place: &Place, name: &[u8], a: &Attributes) -> Result<Found, Errno> {
        let dir = self.open(place)?;
        look(&dir, name, a, self.who)
    }
}
