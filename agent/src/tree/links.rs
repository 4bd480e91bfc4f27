//! Files with several names: the content of a large one is read once, for the name that comes first; the others take
//! what it became. Bounded: what does not fit is read again, and stored once all the same.

use super::entry::{Batch, Stat};
use lifeboat_format::pack::Reference;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Files remembered.
const FILES_MAX: usize = 16_384;
/// References remembered of them together.
const REFERENCES_MAX: usize = 100_000;

/// What a file's first name became.
#[derive(Debug, Clone, Default)]
pub struct Known {
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub extents: Option<Vec<(u64, u64)>>,
    pub references: Vec<Reference>,
    pub changing: bool,
    pub remark: Option<super::Reason>,
}

enum First {
    /// Still on its way: whoever completes it completes those that wait.
    Underway(Arc<Batch>, usize),
    Done(Stat, Box<Known>),
}

#[derive(Default)]
struct Files {
    by_inode: HashMap<u64, First>,
    references: usize,
}

/// What is remembered of files with several names.
#[derive(Default)]
pub struct Links(Mutex<Files>);

/// What a name of a file finds.
pub enum Found {
    /// It is the first: the content is to be read for it.
    Nothing,
    /// Another name is on its way, and this one has joined it.
    Joined,
    Known(Box<Known>),
}

impl Links {
    /// Looks for another name of the file at `stat`, which `entry` of `batch` is a name of; or makes it the first.
    pub fn find(&self, stat: &Stat, batch: &Arc<Batch>, entry: usize) -> Found {
        let mut files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match files.by_inode.get(&stat.inode) {
            Some(First::Done(then, known)) if then.same_moment(stat) && then.device == stat.device => {
                return Found::Known(known.clone());
            }
            Some(First::Underway(first, n)) if first.join(*n, stat, batch, entry) => return Found::Joined,
            Some(_) => {}
            None => {
                if files.by_inode.len() >= FILES_MAX {
                    *files = Files::default();
                }
            }
        }
        files.by_inode.insert(stat.inode, First::Underway(batch.clone(), entry));
        Found::Nothing
    }

    /// An entry leaves: if it was the first name of its file, what it became stays.
    pub fn leave(&self, stat: &Stat, batch: &Arc<Batch>, entry: usize, known: Option<Known>) {
        let mut files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_first = matches!(files.by_inode.get(&stat.inode),
            Some(First::Underway(first, n)) if Arc::ptr_eq(first, batch) && *n == entry);
        if !is_first {
            return;
        }
        files.by_inode.remove(&stat.inode);
        if let Some(known) = known {
            files.references += known.references.len();
            if files.references > REFERENCES_MAX {
                *files = Files::default();
            }
            files.by_inode.insert(stat.inode, First::Done(*stat, Box::new(known)));
        }
    }
}
