//! The end of a restore: further names of files are linked once the first ones are complete, and directories get their
//! attributes once nothing more goes into them, the deepest first.

use super::attributes::{Basics, set_open};
use super::beneath::{READ, WALK};
use super::directories::{Fate, NONE};
use super::existing::same_time;
use super::hard_link::HardLink;
use super::node::Place;
use super::plan::Planner;
use super::work::Job;
use rustix::fs::{AtFlags, Mode};
use rustix::io::Errno;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, PoisonError};

/// Links that one thread makes at a time.
const BATCH: usize = 64;

impl Planner {
    /// Waits for what is under way, and finishes.
    pub(super) fn settle(mut self) {
        self.make_links();
        if !self.shared.stop.is_set() {
            self.finish_directories();
        }
    }

    /// Makes the links that wait. Names whose first is not there become files, and the first of the others.
    pub(super) fn make_links(&mut self) {
        loop {
            self.flush();
            self.shared.gate.wait(&self.shared.stop);
            if self.shared.stop.is_set() {
                return;
            }
            let lost = std::mem::take(&mut *self.shared.lost.lock().unwrap_or_else(PoisonError::into_inner));
            lost.iter().for_each(|link| self.links.forget(*link));
            let orphans = self.link_all();
            self.shared.gate.wait(&self.shared.stop);
            let copies =
                std::mem::take(&mut *self.shared.copies.lock().unwrap_or_else(PoisonError::into_inner));
            if orphans.is_empty() && copies.is_empty() {
                return;
            }
            for (directory, name) in orphans {
                self.again(directory, &name, false);
            }
            for (directory, name) in copies {
                self.again(directory, &name, true);
            }
        }
    }

    /// Hands out the links that wait; those without a first name are given back.
    fn link_all(&mut self) -> Vec<(u32, Vec<u8>)> {
        let mut orphans = Vec::new();
        let mut batch = Vec::with_capacity(BATCH);
        let mut first_place: Option<Arc<Place>> = None;
        while let Some(waiting) = self.links.pop() {
            let Some((directory, name)) = waiting.first else {
                orphans.push((waiting.directory, waiting.name));
                continue;
            };
            let from = first_place.filter(|place| place.number == directory);
            let from = from.unwrap_or_else(|| {
                let path = self.directories.path(directory);
                Arc::new(Place { number: directory, path, inherits: true })
            });
            first_place = Some(Arc::clone(&from));
            let place = self.place(waiting.directory);
            batch.push(HardLink { first: (from, name), place, name: waiting.name });
            if batch.len() >= BATCH {
                self.hand_out(std::mem::take(&mut batch));
            }
        }
        self.hand_out(batch);
        orphans
    }

    fn hand_out(&self, links: Vec<HardLink>) {
        if !links.is_empty() {
            self.shared.gate.begin(links.len() as u64);
            // The threads are there until this sender is gone.
            let _ = self.jobs.send(Job::Links(links));
        }
    }

    /// Plans an entry once more, from the tree.
    fn again(&mut self, directory: u32, name: &[u8], copy: bool) {
        let full = super::node::join(&self.directories.path(directory), name);
        let path = full.strip_prefix(self.folder()).unwrap_or(&full);
        let path = path.strip_prefix(b"/").unwrap_or(path).to_vec();
        match self.runtime.block_on(self.tree.entry(&path)) {
            Ok(Some(entry)) if copy => {
                self.shared.tally.change().links_as_copies += 1;
                self.file(directory, name, entry, None);
            }
            Ok(Some(entry)) => self.node(directory, entry),
            Ok(None) => {}
            Err(e) => self.shared.tally.trouble(&e),
        }
    }

    fn finish_directories(&self) {
        let mut above: Option<(u32, OwnedFd)> = None;
        for number in (0..self.directories.len()).rev() {
            if self.shared.stop.is_set() {
                return;
            }
            let fate = self.directories.fate(number);
            let Some(basics) = self.directories.basics(number) else { continue };
            if !matches!(fate, Fate::Ours | Fate::Same) {
                continue;
            }
            let done = match self.directories.parent(number) {
                NONE => self.finish_root(number, fate, &basics),
                parent => {
                    let open = match above.take().filter(|(known, _)| *known == parent) {
                        Some((_, open)) => Ok(open),
                        None => self.shared.target.directory(&self.directories.path(parent), WALK),
                    };
                    open.and_then(|open| {
                        let done = self.finish_in(&open, number, fate, &basics);
                        above = Some((parent, open));
                        done
                    })
                }
            };
            if let Err(errno) = done {
                let why = format!("Cannot set its attributes: {}", std::io::Error::from(errno));
                self.shared.tally.failed(&self.directories.path(number), why);
            }
        }
    }

    fn finish_in(&self, above: &OwnedFd, number: u32, fate: Fate, basics: &Basics) -> Result<(), Errno> {
        let name = self.directories.name(number);
        if fate == Fate::Same {
            let stat = rustix::fs::statat(above, name, AtFlags::SYMLINK_NOFOLLOW)?;
            if same_time(&stat, basics) {
                return Ok(());
            }
            return rustix::fs::utimensat(above, name, &basics.times(), AtFlags::SYMLINK_NOFOLLOW);
        }
        let fd = rustix::fs::openat(above, name, READ, Mode::empty())?;
        self.set_all(&fd, number, basics, false);
        Ok(())
    }

    fn finish_root(&self, number: u32, fate: Fate, basics: &Basics) -> Result<(), Errno> {
        let fd = self.shared.target.directory(&self.directories.path(number), READ)?;
        if fate == Fate::Same {
            return rustix::fs::futimens(&fd, &basics.times());
        }
        self.set_all(&fd, number, basics, self.root == super::plan::Root::Target);
        Ok(())
    }

    fn set_all(&self, fd: &OwnedFd, number: u32, basics: &Basics, inherits: bool) {
        let acls = self.directories.acls(number).iter();
        set_open(fd.as_fd(), basics, acls, inherits, self.shared.who, &self.shared.tally);
    }
}
