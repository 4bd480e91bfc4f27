//! What a tree is, entry by entry, and how two differ. It sees what rsync does not: nanoseconds, holes, the root itself.
//! Reads only.

use anyhow::{Context as _, Result, ensure};
use ring::digest::{Context as Hash, SHA256};
use rustix::fs::{FileType, SeekFrom, Stat};
use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;

const BLOCK: usize = 4096;

/// One entry of a tree, as far as a backup has to keep it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub kind: FileType,
    pub mode: u32,
    pub owner: (u32, u32),
    /// Seconds and nanoseconds.
    pub mtime: (i64, u64),
    pub size: u64,
    pub rdev: u64,
    pub target: Vec<u8>,
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// SHA-256 of a file's content.
    pub content: Option<Vec<u8>>,
    /// The first name of a file that has several.
    pub link: Option<Vec<u8>>,
    /// Bytes on disk.
    pub allocated: u64,
}

/// Every entry below `root` by its path, and the root itself as the empty one. Paths must be shorter than `PATH_MAX`.
pub fn look(root: &Path) -> Result<BTreeMap<Vec<u8>, Entry>> {
    let mut out = BTreeMap::new();
    let mut links: HashMap<(u64, u64), Vec<Vec<u8>>> = HashMap::new();
    let mut rest = vec![Vec::new()];
    while let Some(path) = rest.pop() {
        let full = root.join(OsStr::from_bytes(&path));
        let stat = rustix::fs::lstat(&full).with_context(|| format!("cannot look at {}", full.display()))?;
        let entry = entry(&full, &stat)?;
        if entry.kind == FileType::Directory {
            for child in
                std::fs::read_dir(&full).with_context(|| format!("cannot list {}", full.display()))?
            {
                let name = child?.file_name().into_vec();
                rest.push(if path.is_empty() { name } else { [&path[..], b"/", &name].concat() });
            }
        } else if stat.st_nlink > 1 {
            links.entry((stat.st_dev, stat.st_ino)).or_default().push(path.clone());
        }
        out.insert(path, entry);
    }
    for names in links.into_values().filter(|names| names.len() > 1) {
        let first = names.iter().min().cloned();
        for name in names {
            if let Some(entry) = out.get_mut(&name) {
                entry.link.clone_from(&first);
            }
        }
    }
    Ok(out)
}

fn entry(path: &Path, stat: &Stat) -> Result<Entry> {
    let kind = FileType::from_raw_mode(stat.st_mode);
    let device = matches!(kind, FileType::CharacterDevice | FileType::BlockDevice);
    let target = match kind {
        FileType::Symlink => std::fs::read_link(path)?.into_os_string().into_vec(),
        _ => Vec::new(),
    };
    Ok(Entry {
        kind,
        mode: stat.st_mode & 0o7777,
        owner: (stat.st_uid, stat.st_gid),
        mtime: (stat.st_mtime, stat.st_mtime_nsec),
        size: if kind == FileType::RegularFile { u64::try_from(stat.st_size)? } else { 0 },
        rdev: if device { stat.st_rdev } else { 0 },
        target,
        xattrs: xattrs(path)?,
        content: (kind == FileType::RegularFile).then(|| hash(path)).transpose()?,
        link: None,
        allocated: u64::try_from(stat.st_blocks)? * 512,
    })
}

fn xattrs(path: &Path) -> Result<BTreeMap<Vec<u8>, Vec<u8>>> {
    let mut list = vec![0; 64 << 10];
    let n = rustix::fs::llistxattr(path, &mut list[..])
        .with_context(|| format!("llistxattr {}", path.display()))?;
    let mut out = BTreeMap::new();
    for name in list[..n].split(|b| *b == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0; 64 << 10];
        let n = rustix::fs::lgetxattr(path, name, &mut value[..])
            .with_context(|| format!("lgetxattr {}", path.display()))?;
        value.truncate(n);
        out.insert(name.to_vec(), value);
    }
    Ok(out)
}

/// Of the blocks that are not zero and where they are, so that a hole costs nothing and equals written zeros.
fn hash(path: &Path) -> Result<Vec<u8>> {
    let file = std::fs::File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let mut hash = Hash::new(&SHA256);
    let mut window = vec![0; 64 * BLOCK];
    let mut at = 0u64;
    while let Ok(data) = rustix::fs::seek(&file, SeekFrom::Data(at)) {
        let end = rustix::fs::seek(&file, SeekFrom::Hole(data))?;
        at = at.max(data - data % BLOCK as u64);
        while at < end {
            let read = file.read_at(&mut window, at)?;
            for block in window[..read].chunks(BLOCK) {
                if block.iter().any(|byte| *byte != 0) {
                    hash.update(&at.to_le_bytes());
                    hash.update(block);
                }
                at += BLOCK as u64;
            }
            ensure!(read > 0, "{} became shorter", path.display());
        }
    }
    Ok(hash.finish().as_ref().to_vec())
}

/// What is different, a line each; at most 40 lines. Holes may be fewer than before by a fifth of the file: file systems
/// round, and a backup may fill the smallest of very many.
#[must_use]
pub fn differences(wanted: &BTreeMap<Vec<u8>, Entry>, got: &BTreeMap<Vec<u8>, Entry>) -> Vec<String> {
    let mut out = Vec::new();
    let shown = |path: &[u8]| format!("{:?}", OsStr::from_bytes(path));
    for (path, a) in wanted {
        match got.get(path) {
            None => out.push(format!("{} is missing ({:?})", shown(path), a.kind)),
            Some(b) => out.extend(changes(a, b).into_iter().map(|what| format!("{}: {what}", shown(path)))),
        }
    }
    let more = got.keys().filter(|path| !wanted.contains_key(*path));
    out.extend(more.map(|path| format!("{} was not there", shown(path))));
    let total = out.len();
    if total > 40 {
        out.truncate(40);
        out.push(format!("and {} more", total - 40));
    }
    out
}

fn changes(a: &Entry, b: &Entry) -> Vec<String> {
    let mut out = Vec::new();
    let mut note = |what: &str, a: &dyn std::fmt::Debug, b: &dyn std::fmt::Debug, same: bool| {
        if !same {
            out.push(format!("{what} was {a:?} and is {b:?}"));
        }
    };
    note("kind", &a.kind, &b.kind, a.kind == b.kind);
    note("mode", &format!("{:o}", a.mode), &format!("{:o}", b.mode), a.mode == b.mode);
    note("owner", &a.owner, &b.owner, a.owner == b.owner);
    note("mtime", &a.mtime, &b.mtime, a.mtime == b.mtime);
    note("size", &a.size, &b.size, a.size == b.size);
    note("device", &a.rdev, &b.rdev, a.rdev == b.rdev);
    note("target", &a.target, &b.target, a.target == b.target);
    note("attributes", &a.xattrs, &b.xattrs, a.xattrs == b.xattrs);
    note("content", &a.content, &b.content, a.content == b.content);
    let name = |link: &Option<Vec<u8>>| link.as_deref().map(|l| OsStr::from_bytes(l).to_os_string());
    note("first name", &name(&a.link), &name(&b.link), a.link == b.link);
    let sparse = a.kind == FileType::RegularFile && a.allocated + (64 << 10) < a.size;
    let full = b.allocated > a.allocated + (64 << 10).max(a.size / 5);
    note("bytes on disk", &a.allocated, &b.allocated, !(sparse && full));
    out
}

/// What rsync would still do to make `b` equal to `a`: nothing, if they are.
pub fn rsync_differences(a: &Path, b: &Path) -> Result<String> {
    let mut command = Command::new("rsync");
    command.args(["-aHAXn", "--delete", "--checksum", "--itemize-changes"]);
    let out =
        command.arg(a.join("")).arg(b.join("")).output().context("rsync (Debian: rsync) does not run")?;
    let said = String::from_utf8_lossy(&out.stderr);
    ensure!(out.status.success(), "rsync: {}: {said}", out.status);
    Ok(format!("{}{said}", String::from_utf8_lossy(&out.stdout)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trees::maker::{Maker, Meta, touch};
    use std::fs;

    fn make(root: &Path) {
        let mut maker = Maker::new(root).unwrap();
        maker.directory("d").unwrap();
        for name in ["d/a", "d/b", "c"] {
            maker.file(name, b"content").unwrap();
        }
        maker.link("d/linked", "d/a").unwrap();
        maker.sparse("hole", 4 << 20, &[(1 << 20, b"data")]).unwrap();
        maker.symlink("s", b"target").unwrap();
        for name in ["d/a", "d/b", "c", "hole", "s", "d", ""] {
            maker.meta(name, Meta { mtime: Some((7, 8)), ..Meta::default() });
        }
        maker.finish().unwrap_or_else(|error| panic!("{error:#}"));
    }

    #[test]
    fn every_kind_of_difference_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let wanted = {
            make(&folder.path().join("wanted"));
            look(&folder.path().join("wanted")).unwrap()
        };
        type Change = (&'static str, fn(&Path) -> std::io::Result<()>);
        let changes: [Change; 10] = [
            ("missing", |t| fs::remove_file(t.join("c"))),
            ("was not there", |t| fs::write(t.join("more"), "")),
            ("content", |t| fs::write(t.join("c"), "CONTENT")),
            ("size", |t| fs::write(t.join("c"), "contents")),
            ("mode", |t| {
                fs::set_permissions(t.join("d"), std::os::unix::fs::PermissionsExt::from_mode(0o711))
            }),
            ("target", |t| {
                fs::remove_file(t.join("s")).and_then(|()| std::os::unix::fs::symlink("to", t.join("s")))
            }),
            ("first name", |t| {
                fs::remove_file(t.join("d/linked"))
                    .and_then(|()| fs::copy(t.join("d/a"), t.join("d/linked")).map(drop))
            }),
            ("attributes", |t| {
                Ok(rustix::fs::lsetxattr(t.join("c"), "user.x", b"", rustix::fs::XattrFlags::empty())?)
            }),
            ("bytes on disk", |t| fs::write(t.join("hole"), fs::read(t.join("hole"))?)),
            ("mtime", |t| touch(&t.join("s"), (7, 9)).map_err(std::io::Error::other)),
        ];
        for (what, change) in changes {
            let tree = folder.path().join(what);
            make(&tree);
            assert_eq!(differences(&wanted, &look(&tree).unwrap()), Vec::<String>::new());
            change(&tree).unwrap();
            let found = differences(&wanted, &look(&tree).unwrap());
            assert!(found.iter().any(|line| line.contains(what)), "{what}: {found:?}");
        }
    }
}
