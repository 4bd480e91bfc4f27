//! Files below one folder, and nowhere else: every part of a path is opened beneath the folder before it, without
//! following links (openat2(2)); files are created, never opened. Knows nothing of what it writes.

use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::collections::HashMap;
use std::io::Write as _;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Folders that are kept open.
const OPEN_MAX: usize = 64;

#[derive(Debug, thiserror::Error)]
pub(super) enum TreeError {
    #[error("{path} exists already and is never replaced")]
    Exists { path: PathBuf },
    #[error("Cannot {action} {path}: {source}{next}")]
    Io { action: &'static str, path: PathBuf, source: std::io::Error, next: &'static str },
}

impl TreeError {
    fn io(action: &'static str, path: &Path, source: std::io::Error) -> Self {
        let next = match source.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::NOSPC | Errno::DQUOT) => {
                "; free some space or extract to another disk, and run the same command again: what is there is left alone"
            }
            Some(Errno::ROFS) => "; mount it writable, or extract to another folder",
            Some(Errno::ACCESS | Errno::PERM) => "; extract to a folder that this user can write to",
            Some(Errno::NOTDIR | Errno::EXIST) => "; a file is in its place: extract to another folder",
            _ => "",
        };
        Self::Io { action, path: path.to_owned(), source, next }
    }

    /// Whether other files may still be written.
    pub(super) fn is_about_one_file(&self) -> bool {
        match self {
            Self::Exists { .. } => true,
            Self::Io { source, .. } => {
                let code = source.raw_os_error().map(Errno::from_raw_os_error);
                !matches!(
                    code,
                    Some(Errno::NOSPC | Errno::DQUOT | Errno::ROFS | Errno::IO | Errno::MFILE | Errno::NFILE)
                )
            }
        }
    }
}

/// The folder.
#[derive(Debug)]
pub(super) struct Tree {
    root: Arc<OwnedFd>,
    path: PathBuf,
    open: Mutex<HashMap<String, Arc<OwnedFd>>>,
}

impl Tree {
    /// Opens the folder, made if it is not there. Its own path may hold links: that is the caller's choice.
    pub(super) fn open(path: &Path) -> Result<Self, TreeError> {
        let io = |action, source| TreeError::io(action, path, source);
        std::fs::create_dir_all(path).map_err(|e| io("make the folder", e))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::openat(CWD, path, flags, Mode::empty())
            .map_err(|e| io("open the folder", e.into()))?;
        Ok(Self { root: Arc::new(root), path: path.to_owned(), open: Mutex::default() })
    }

    /// Creates a file below folders that are made as needed. A private one is readable by its owner alone.
    pub(super) fn create(
        &self,
        folders: &[&str],
        file: &str,
        private: bool,
        content: &[u8],
    ) -> Result<(), TreeError> {
        let folder = self.folder(folders)?;
        let mut path = self.path.clone();
        path.extend(folders);
        path.push(file);
        let io = |action, source| TreeError::io(action, &path, source);
        let mode = if private { Mode::RUSR | Mode::WUSR } else { Mode::from_raw_mode(0o644) };
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let created = open_beneath(folder.as_fd(), file, flags, mode);
        let fd = match created {
            Ok(fd) => fd,
            Err(Errno::EXIST) => return Err(TreeError::Exists { path }),
            Err(e) => return Err(io("create", e.into())),
        };
        let written = std::fs::File::from(fd).write_all(content);
        written.map_err(|e| {
            // Half a file must not look like an object; it is ours, made a moment ago.
            let _ = rustix::fs::unlinkat(folder.as_fd(), file, AtFlags::empty());
            io("write", e)
        })
    }

    fn folder(&self, names: &[&str]) -> Result<Arc<OwnedFd>, TreeError> {
        let key = names.join("/");
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(fd) = open.get(&key) {
            return Ok(Arc::clone(fd));
        }
        let mut at = Arc::clone(&self.root);
        let mut path = self.path.clone();
        for name in names {
            path.push(name);
            let io = |action, source: Errno, next| TreeError::Io {
                action,
                path: path.clone(),
                source: source.into(),
                next,
            };
            check_name(name).map_err(|e| io("make the folder", e, ""))?;
            match rustix::fs::mkdirat(at.as_fd(), *name, Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(e) => return Err(TreeError::io("make the folder", &path, e.into())),
            }
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            let next = "; a link or a file is in its place, and is not followed: extract to another folder";
            let fd = open_beneath(at.as_fd(), name, flags, Mode::empty());
            at = Arc::new(fd.map_err(|e| io("open the folder", e, next))?);
        }
        if open.len() >= OPEN_MAX {
            open.clear();
        }
        open.insert(key, Arc::clone(&at));
        Ok(at)
    }
}

/// One name, not a path.
fn check_name(name: &str) -> Result<(), Errno> {
    let is_path = name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0']);
    if is_path { Err(Errno::INVAL) } else { Ok(()) }
}

/// Opens one name in a folder. Where a sandbox does not know openat2, one name without a slash and O_NOFOLLOW come
/// to the same.
fn open_beneath(folder: BorrowedFd<'_>, name: &str, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
    check_name(name)?;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    match rustix::fs::openat2(folder, name, flags, mode, resolve) {
        Err(Errno::NOSYS | Errno::PERM) => rustix::fs::openat(folder, name, flags, mode),
        answer => answer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt as _, symlink};

    fn tree() -> (tempfile::TempDir, Tree) {
        let dir = tempfile::tempdir().unwrap();
        let tree = Tree::open(&dir.path().join("to")).unwrap();
        (dir, tree)
    }

    #[test]
    fn files_are_created_and_never_replaced() {
        let (dir, tree) = tree();
        tree.create(&["a", "b"], "c.yaml", false, b"one").unwrap();
        let again = tree.create(&["a", "b"], "c.yaml", false, b"two");
        assert!(matches!(again, Err(TreeError::Exists { .. })));
        let path = dir.path().join("to/a/b/c.yaml");
        assert_eq!(std::fs::read(&path).unwrap(), b"one");
        tree.create(&["a"], "s.yaml", true, b"secret").unwrap();
        assert_eq!(std::fs::metadata(dir.path().join("to/a/s.yaml")).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn links_lead_nowhere() {
        let (dir, tree) = tree();
        let outside = dir.path().join("outside");
        std::fs::create_dir(&outside).unwrap();
        symlink(&outside, dir.path().join("to/a")).unwrap();
        assert!(tree.create(&["a"], "f", false, b"x").is_err());
        std::fs::create_dir(dir.path().join("to/b")).unwrap();
        for target in [outside.join("g"), PathBuf::from("../../outside/g"), dir.path().join("gone")] {
            symlink(target, dir.path().join("to/b/f")).unwrap();
            assert!(tree.create(&["b"], "f", false, b"x").is_err());
            std::fs::remove_file(dir.path().join("to/b/f")).unwrap();
        }
        assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
        assert!(!dir.path().join("gone").exists());
    }

    #[test]
    fn no_name_leads_out() {
        let (dir, tree) = tree();
        for name in ["..", ".", "", "a/b", "../x", "a\0b"] {
            assert!(tree.create(&[name], "f", false, b"x").is_err(), "{name:?}");
            assert!(tree.create(&["ok"], name, false, b"x").is_err(), "{name:?}");
        }
        let found: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(found, ["to"]);
    }
}
