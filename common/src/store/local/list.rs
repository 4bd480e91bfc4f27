//! Listing a directory tree in the order of an object store, one page at a time. Writes nothing.
//!
//! A folder is sorted as its name followed by `/`, which makes a depth-first walk come out in bytewise
//! order of whole keys. Folders that lie outside the prefix or end before the start are never read.

use super::fault::At;
use super::{Inner, UNFINISHED, path, read};
use crate::store::{Entry, Result, key};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, Dir, FileType};
use rustix::io::Errno;

/// One page, and whether more follows it.
pub(super) fn page(
    inner: &Inner,
    at: &At,
    prefix: &str,
    after: Option<&str>,
    limit: usize,
) -> Result<(Vec<Entry>, bool)> {
    let Some(root) = path::root(inner, at)? else { return Ok((Vec::new(), false)) };
    let mut walk = Walk { at, prefix, after, want: limit + 1, found: Vec::new() };
    walk.folder(&root, "")?;
    let more = walk.found.len() > limit;
    walk.found.truncate(limit);
    Ok((walk.found, more))
}

/// The names of folders in the store's own folder, ascending, without the hidden ones.
pub(super) fn folders(inner: &Inner, at: &At) -> Result<Vec<String>> {
    let Some(root) = path::root(inner, at)? else { return Ok(Vec::new()) };
    let walk = Walk { at, prefix: "", after: None, want: 0, found: Vec::new() };
    let names = walk.names(&root, "")?;
    let visible = names.into_iter().filter(|name| !name.starts_with('.'));
    Ok(visible.filter_map(|name| name.strip_suffix('/').map(str::to_owned)).collect())
}

struct Walk<'a> {
    at: &'a At,
    prefix: &'a str,
    after: Option<&'a str>,
    want: usize,
    found: Vec<Entry>,
}

impl Walk<'_> {
    fn folder(&mut self, dir: &OwnedFd, folder: &str) -> Result<()> {
        for name in self.names(dir, folder)? {
            if self.found.len() >= self.want {
                return Ok(());
            }
            let key = format!("{folder}{name}");
            match name.strip_suffix('/') {
                Some(name) => {
                    if let Some(below) = path::enter(self.at, dir, name)? {
                        self.folder(&below, &key)?;
                    }
                }
                None => self.file(dir, &name, &key)?,
            }
        }
        Ok(())
    }

    fn file(&mut self, dir: &OwnedFd, name: &str, key: &str) -> Result<()> {
        match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile => {
                self.found.push(read::entry(key, &stat));
                Ok(())
            }
            // A link or a device is no object; a file may vanish while we look.
            Ok(_) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(self.at.fail(errno)),
        }
    }

    /// The wanted names of one folder in key order, those of folders ending in `/`.
    fn names(&self, dir: &OwnedFd, folder: &str) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(dir).map_err(|errno| self.at.fail(errno))? {
            let entry = match entry {
                Ok(entry) => entry,
                Err(Errno::NOENT) => break, // the folder itself is being removed
                Err(errno) => return Err(self.at.fail(errno)),
            };
            let Ok(name) = entry.file_name().to_str() else { continue };
            if name == "." || name == ".." || (folder.is_empty() && name == UNFINISHED) {
                continue;
            }
            let key = format!("{folder}{name}");
            if key::flaw(&key).is_some() {
                continue;
            }
            match kind(dir, name, entry.file_type()) {
                FileType::Directory if self.wants_folder(&format!("{key}/")) => {
                    names.push(format!("{name}/"))
                }
                FileType::RegularFile if self.wants_file(&key) => names.push(name.to_owned()),
                _ => {}
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn wants_file(&self, key: &str) -> bool {
        key.starts_with(self.prefix) && self.after.is_none_or(|after| key > after)
    }

    /// `folder` ends in `/`. Every key below it begins with it, so it ends before `after` unless `after` lies in it.
    fn wants_folder(&self, folder: &str) -> bool {
        (folder.starts_with(self.prefix) || self.prefix.starts_with(folder))
            && self.after.is_none_or(|after| folder > after || after.starts_with(folder))
    }
}

/// Some file systems leave the type out of the directory.
fn kind(dir: impl AsFd, name: &str, known: FileType) -> FileType {
    if known != FileType::Unknown {
        return known;
    }
    rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)
        .map_or(FileType::Unknown, |stat| FileType::from_raw_mode(stat.st_mode))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_outside_the_page_are_not_read() {
        let at = At::new("list", String::new());
        let walk = Walk { at: &at, prefix: "packs/a", after: Some("packs/ab/7"), want: 1, found: Vec::new() };
        for wanted in ["packs/", "packs/ab/", "packs/ac/", "packs/a~/"] {
            assert!(walk.wants_folder(wanted), "{wanted}");
        }
        for ended in ["packs/aa/", "packs/a/", "packs/ab-/", "lists/", "packs/b/", "quilts/"] {
            assert!(!walk.wants_folder(ended), "{ended}");
        }
    }
}
