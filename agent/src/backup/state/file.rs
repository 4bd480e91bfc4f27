//! The state as a file, locked while a run lasts. Knows nothing of what the bytes mean.

use super::StateError;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// A state file over this size is not one, bytes.
const STATE_MAX: u64 = 1 << 20;

type Content = Zeroizing<Vec<u8>>;

/// The state on disk, locked.
pub struct StateFile {
    path: PathBuf,
    _lock: File,
}

impl std::fmt::Debug for StateFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "StateFile({})", self.path.display())
    }
}

impl StateFile {
    pub(super) fn place(&self) -> String {
        self.path.display().to_string()
    }

    /// Locks `<folder>/<cluster>.cbor`, making the folder if it is not there, and reads it.
    pub(super) fn open(folder: &Path, cluster: &str) -> Result<(Self, Option<Content>), StateError> {
        let path = folder.join(format!("{cluster}.cbor"));
        let io = |action| {
            let path = path.clone();
            move |source| StateError::Io { action, path, source }
        };
        std::fs::create_dir_all(folder).map_err(io("make the folder of"))?;
        let lock_path = folder.join(format!("{cluster}.lock"));
        let mut options = OpenOptions::new();
        let lock = options.create(true).truncate(false).write(true).mode(0o600).open(&lock_path);
        let lock = lock.map_err(io("lock"))?;
        if rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_err() {
            return Err(StateError::Locked { path });
        }
        let bytes = match File::open(&path) {
            Ok(file) => Some(read(&path, file)?),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
            Err(e) => return Err(io("read")(e)),
        };
        Ok((Self { path, _lock: lock }, bytes))
    }

    /// Replaces the file: new bytes, fsync, rename, fsync of the folder.
    pub(super) fn save(&self, bytes: &[u8]) -> Result<(), StateError> {
        let io = |source| StateError::Io { action: "write", path: self.path.clone(), source };
        let new = self.path.with_extension("cbor.new");
        let mut file =
            OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&new).map_err(io)?;
        file.write_all(bytes).and_then(|()| file.sync_all()).map_err(io)?;
        std::fs::rename(&new, &self.path).map_err(io)?;
        let folder = self.path.parent().unwrap_or(Path::new("."));
        File::open(folder).and_then(|f| f.sync_all()).map_err(io)
    }
}

fn read(path: &Path, file: File) -> Result<Content, StateError> {
    let mut bytes = Zeroizing::new(Vec::new());
    let read = file.take(STATE_MAX).read_to_end(&mut bytes);
    read.map_err(|source| StateError::Io { action: "read", path: path.into(), source })?;
    Ok(bytes)
}
