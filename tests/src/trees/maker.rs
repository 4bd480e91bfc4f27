//! Makes entries of a tree. Owners, modes, attributes and times are set at the end, children first, because each of
//! these steps undoes an earlier one.

use anyhow::{Context as _, Result};
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags, makedev, mknodat, utimensat,
};
use std::ffi::OsStr;
use std::fs;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// What an entry has beside its content; what is `None` stays as it was made.
#[derive(Debug, Clone, Default)]
pub struct Meta {
    pub mode: Option<u32>,
    pub owner: Option<(u32, u32)>,
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub mtime: Option<(i64, i64)>,
}

/// Makes one tree.
#[derive(Debug)]
pub struct Maker {
    root: PathBuf,
    later: Vec<(PathBuf, Meta)>,
    /// Owners, devices and privileged attributes need root.
    pub privileged: bool,
}

impl Maker {
    pub fn new(root: &Path) -> Result<Self> {
        fs::create_dir_all(root)?;
        let privileged = rustix::process::geteuid().is_root();
        Ok(Self { root: root.to_owned(), later: vec![(root.to_owned(), Meta::default())], privileged })
    }

    /// The full path of an entry.
    #[must_use]
    pub fn path(&self, path: impl AsRef<[u8]>) -> PathBuf {
        self.root.join(OsStr::from_bytes(path.as_ref()))
    }

    /// What this entry shall have in the end; called once for each.
    pub fn meta(&mut self, path: impl AsRef<[u8]>, meta: Meta) {
        let path = self.path(path);
        self.later.push((path, meta));
    }

    pub fn directory(&mut self, path: impl AsRef<[u8]>) -> Result<()> {
        let path = self.path(path);
        fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))
    }

    pub fn file(&mut self, path: impl AsRef<[u8]>, content: &[u8]) -> Result<()> {
        let path = self.path(path);
        fs::write(&path, content).with_context(|| format!("cannot make {}", path.display()))
    }

    /// A file of `size` with data at these places alone.
    pub fn sparse(&mut self, path: impl AsRef<[u8]>, size: u64, data: &[(u64, &[u8])]) -> Result<()> {
        let path = self.path(path);
        let mut file = fs::File::create(&path).with_context(|| format!("cannot make {}", path.display()))?;
        for (offset, bytes) in data {
            file.seek(SeekFrom::Start(*offset))?;
            file.write_all(bytes)?;
        }
        file.set_len(size).with_context(|| format!("cannot make {} {size} bytes long", path.display()))
    }

    pub fn symlink(&mut self, path: impl AsRef<[u8]>, target: &[u8]) -> Result<()> {
        let path = self.path(path);
        std::os::unix::fs::symlink(OsStr::from_bytes(target), &path)
            .with_context(|| format!("cannot make {}", path.display()))
    }

    pub fn link(&mut self, path: impl AsRef<[u8]>, to: impl AsRef<[u8]>) -> Result<()> {
        let (path, to) = (self.path(path), self.path(to));
        // `fs::hard_link` does not follow a symbolic link, so that one can be linked too.
        fs::hard_link(&to, &path).with_context(|| format!("cannot link {}", path.display()))
    }

    /// FIFO, socket or device.
    pub fn special(&mut self, path: impl AsRef<[u8]>, kind: FileType, device: (u32, u32)) -> Result<()> {
        let path = self.path(path);
        mknodat(CWD, &path, kind, Mode::from_raw_mode(0o640), makedev(device.0, device.1))
            .with_context(|| format!("cannot make {}", path.display()))
    }

    /// Sets what [`meta`](Self::meta) said.
    pub fn finish(mut self) -> Result<()> {
        for (path, meta) in &self.later {
            set(path, meta, self.privileged).with_context(|| format!("cannot set {}", path.display()))?;
        }
        self.later.retain(|(_, meta)| meta.mtime.is_some());
        // Children before their parents, whose time they would change.
        self.later.sort_by(|a, b| b.0.cmp(&a.0));
        for (path, meta) in &self.later {
            if let Some(mtime) = meta.mtime {
                touch(path, mtime).with_context(|| format!("cannot date {}", path.display()))?;
            }
        }
        Ok(())
    }
}

fn set(path: &Path, meta: &Meta, privileged: bool) -> Result<()> {
    if let (Some((uid, gid)), true) = (meta.owner, privileged) {
        std::os::unix::fs::lchown(path, Some(uid), Some(gid))?;
    }
    if let Some(mode) = meta.mode {
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    }
    for (name, value) in &meta.xattrs {
        let own = name.starts_with(b"user.") || name.starts_with(b"system.");
        if own || privileged {
            rustix::fs::lsetxattr(path, &name[..], value, XattrFlags::empty())
                .with_context(|| format!("attribute {}", String::from_utf8_lossy(name)))?;
        }
    }
    Ok(())
}

/// Sets an entry's own modification time, seconds and nanoseconds.
pub fn touch(path: &Path, (tv_sec, tv_nsec): (i64, i64)) -> Result<()> {
    let time = Timespec { tv_sec, tv_nsec };
    let times = Timestamps { last_access: time, last_modification: time };
    Ok(utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

/// A POSIX access control list as the kernel takes it: (tag, permissions, id) in the order of the tags.
#[must_use]
pub fn acl(entries: &[(u16, u16, u32)]) -> Vec<u8> {
    let mut out = 2u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        out.extend(tag.to_le_bytes());
        out.extend(permissions.to_le_bytes());
        out.extend(id.to_le_bytes());
    }
    out
}
