//! Walks a tree in the order of its keys and turns entries into work: directories are made at once, files become pieces
//! of content that threads fetch and write. A tree may say anything: an entry goes into a directory only where the
//! tree has one and it was made, and a path is never more than names, one after another.

use super::chosen::{Chosen, Entries};
use super::directories::{Directories, Fate};
use super::error::RestoreError;
use super::links::Links;
use super::node::{Place, join};
use super::shared::Shared;
use super::window::Building;
use super::work::Job;
use crossbeam_channel::Sender;
use futures::StreamExt as _;
use lifeboat_common::reader::{ReadError, Tree, TreeEntry};
use lifeboat_format::tree::NodeKind;
use std::ops::Range;
use std::sync::Arc;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc};

/// Entries taken from the reader at a time.
const BATCH: usize = 256;
/// Stretches of the tree that are under way.
pub(super) const WINDOWS: usize = 3;

/// A directory on the way to where the walk is.
#[derive(Debug)]
pub(super) struct Level {
    /// Of the walk's path.
    pub(super) length: usize,
    /// Nothing while nobody needs it.
    pub(super) number: Option<u32>,
    /// The directories that were made in it.
    pub(super) children: Range<u32>,
}

/// What a volume's root is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Root {
    /// The folder that `lifeboat ls` shows it in, below the target; made if it is not there.
    Folder,
    /// The target itself, which gets the attributes of the volume's root.
    Target,
}

pub(super) struct Planner {
    pub(super) tree: Tree,
    pub(super) root: Root,
    /// Device nodes are wanted.
    pub(super) devices: bool,
    pub(super) runtime: Handle,
    pub(super) shared: Arc<Shared>,
    pub(super) windows: mpsc::Sender<super::window::Window>,
    pub(super) under_way: Arc<Semaphore>,
    pub(super) jobs: Sender<Job>,
    pub(super) directories: Directories,
    pub(super) links: Links,
    pub(super) building: Building,
    /// The directory whose entries are being walked, in the tree.
    pub(super) path: Vec<u8>,
    pub(super) levels: Vec<Level>,
    /// The last directory that something went into.
    pub(super) place: Option<Arc<Place>>,
    /// Whether the current choice is of anything.
    found: bool,
}

/// Everything a planner is given.
pub(super) struct Parts {
    pub(super) tree: Tree,
    pub(super) root: Root,
    pub(super) devices: bool,
    pub(super) runtime: Handle,
    pub(super) shared: Arc<Shared>,
    pub(super) windows: mpsc::Sender<super::window::Window>,
    pub(super) jobs: Sender<Job>,
}

impl Planner {
    pub(super) fn new(parts: Parts) -> Self {
        let Parts { tree, root, devices, runtime, shared, windows, jobs } = parts;
        Self {
            tree,
            root,
            devices,
            runtime,
            shared,
            windows,
            under_way: Arc::new(Semaphore::new(WINDOWS)),
            jobs,
            directories: Directories::default(),
            links: Links::default(),
            building: Building::default(),
            path: Vec::new(),
            levels: vec![Level { length: 0, number: None, children: 0..0 }],
            place: None,
            found: false,
        }
    }

    /// Restores what is chosen, and finishes; which of the choices were of anything.
    pub(super) fn run(mut self, choices: &[Chosen]) -> Vec<bool> {
        let mut found = Vec::with_capacity(choices.len());
        for choice in choices {
            // What two choices have in common must be complete when the second comes to it.
            self.flush();
            self.shared.gate.wait(&self.shared.stop);
            self.found = false;
            self.walk(choice.entries(&self.tree));
            found.push(self.found);
            if self.shared.stop.is_set() {
                break;
            }
        }
        self.settle();
        found.resize(choices.len(), true);
        found
    }

    fn walk(&mut self, entries: Entries) {
        let mut batches = entries.ready_chunks(BATCH);
        while let Some(batch) = self.runtime.block_on(batches.next()) {
            for next in batch {
                if self.shared.stop.is_set() {
                    return;
                }
                match next {
                    Ok(entry) => self.entry(entry),
                    Err(e) => self.trouble(e),
                }
            }
        }
    }

    /// What is wrong with a page or an entry concerns what is in it; what is wrong with the store or the key, all.
    fn trouble(&mut self, error: ReadError) {
        self.found = true;
        if error.is_damage() || is_of_one_pack(&error) {
            self.shared.tally.trouble(&error);
        } else {
            self.shared.stop.set(RestoreError::Read(error));
        }
    }

    fn entry(&mut self, entry: TreeEntry) {
        self.found = true;
        let Some(parent) = entry.parent() else {
            if self.levels.first().is_some_and(|root| root.number.is_none()) {
                self.make_root(Some(&entry.attributes));
            }
            return;
        };
        self.enter(parent);
        let number = self.resolve();
        if self.directories.fate(number) == Fate::Blocked {
            self.shared.tally.change().below_failed += 1;
            return;
        }
        match entry.attributes.kind {
            NodeKind::Directory => self.make_child(number, &entry),
            kind if kind.is_device() && !self.devices => {
                self.shared.tally.change().devices_left_out += 1;
            }
            _ => self.node(number, entry),
        }
    }

    /// Goes to the directory at `path`. The walk leaves a directory for good, so that only those on the way are known.
    fn enter(&mut self, path: &[u8]) {
        if path == self.path.as_slice() {
            return;
        }
        let stays = |length: usize| {
            path.get(..length) == self.path.get(..length) && path.get(length).is_none_or(|b| *b == b'/')
        };
        let kept = self.levels.iter().skip(1).take_while(|level| stays(level.length)).count();
        self.levels.truncate(kept + 1);
        let from = self.levels.last().map_or(0, |level| level.length);
        self.path.clear();
        self.path.extend_from_slice(path);
        let ends = path.iter().enumerate().filter(|(at, b)| **b == b'/' && *at > from).map(|(at, _)| at);
        let ends: Vec<usize> = ends.chain((from < path.len()).then_some(path.len())).collect();
        for length in ends {
            self.levels.push(Level { length, number: None, children: 0..0 });
        }
    }

    /// The number of the directory that the walk is in, made if it was not yet.
    fn resolve(&mut self) -> u32 {
        if self.levels.first().is_some_and(|root| root.number.is_none()) {
            let entry = self.runtime.block_on(self.tree.entry(b""));
            let attributes = entry.unwrap_or_else(|e| {
                self.trouble(e);
                None
            });
            self.make_root(attributes.map(|e| e.attributes).as_ref());
        }
        let mut above = super::directories::NONE;
        for at in 0..self.levels.len() {
            let Some(level) = self.levels.get(at) else { break };
            above = match level.number {
                Some(number) => number,
                None => {
                    let number = self.number_of(at, above);
                    if let Some(level) = self.levels.get_mut(at) {
                        level.number = Some(number);
                    }
                    number
                }
            };
        }
        above
    }

    /// A directory on the way that the walk came into: one that was made when its name was read, or one to make now.
    fn number_of(&mut self, at: usize, above: u32) -> u32 {
        let (Some(upper), Some(level)) = (self.levels.get(at.wrapping_sub(1)), self.levels.get(at)) else {
            return super::directories::NONE;
        };
        let path = self.path.get(..level.length).unwrap_or_default().to_vec();
        let name = path.get(upper.length..).unwrap_or_default();
        let name = name.strip_prefix(b"/").unwrap_or(name);
        match self.directories.find(&upper.children, name) {
            Some(number) => number,
            None => self.make_on_the_way(above, &path),
        }
    }

    /// Below the target.
    pub(super) fn folder(&self) -> &[u8] {
        match self.root {
            Root::Folder => self.tree.folder().as_bytes(),
            Root::Target => b"",
        }
    }

    /// A path of the tree, below the target.
    pub(super) fn placed(&self, path: &[u8]) -> Vec<u8> {
        join(self.folder(), path)
    }

    /// The directory of that number as a place for entries.
    pub(super) fn place(&mut self, number: u32) -> Arc<Place> {
        if let Some(place) = self.place.as_ref().filter(|place| place.number == number) {
            return Arc::clone(place);
        }
        let inherits =
            self.directories.fate(number) != Fate::Ours || (self.root == Root::Target && number == 0);
        let place = Arc::new(Place { number, path: self.directories.path(number), inherits });
        self.place = Some(Arc::clone(&place));
        place
    }
}

/// A key that opens some packs and not others.
fn is_of_one_pack(error: &ReadError) -> bool {
    match error {
        ReadError::NoEpoch { .. } => true,
        ReadError::At { source, .. } => is_of_one_pack(source),
        _ => false,
    }
}
