//! Reading and writing private files. Knows nothing of what is in them.

use super::{KeyError, Result};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use zeroize::Zeroizing;

/// Larger files hold no key.
const LARGEST: u64 = 1 << 20;

/// Who may be able to read a private file, beside root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readers {
    OwnerOnly,
    /// Also its group: Secrets mounted with an fsGroup, credentials of systemd.
    Group,
}

/// Writes a file that must not exist, for its owner alone, and syncs it.
pub fn write_new(path: &Path, bytes: &[u8]) -> Result<()> {
    let fail = |action| move |source| KeyError::Io { action, path: path.into(), source };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(
        |error| match error.kind() {
            ErrorKind::AlreadyExists => KeyError::Exists { path: path.into() },
            _ => fail("create")(error),
        },
    )?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(fail("write"))
}

/// Makes a folder that must not exist, for its owner alone.
pub fn make_folder(path: &Path) -> Result<()> {
    DirBuilder::new().mode(0o700).create(path).map_err(|source| match source.kind() {
        ErrorKind::AlreadyExists => KeyError::Exists { path: path.into() },
        _ => KeyError::Io { action: "create", path: path.into(), source },
    })
}

/// Makes what was created, renamed or removed in a folder last through a power cut.
pub fn sync_folder(path: &Path) -> Result<()> {
    let synced = File::open(path).and_then(|folder| folder.sync_all());
    synced.map_err(|source| KeyError::Io { action: "sync", path: path.into(), source })
}

/// The bytes of a private file; refused when others can read it.
pub fn read_private(path: &Path, readers: Readers) -> Result<Zeroizing<Vec<u8>>> {
    let fail = |source| KeyError::Io { action: "read", path: path.into(), source };
    let file = File::open(path).map_err(fail)?;
    let metadata = file.metadata().map_err(fail)?;
    let mode = metadata.permissions().mode() & 0o777;
    let forbidden = match readers {
        Readers::OwnerOnly => 0o077,
        Readers::Group => 0o007,
    };
    // Only files keep what they hold; `<(pass show …)` is a pipe.
    if metadata.is_file() && mode & forbidden != 0 {
        return Err(KeyError::Exposed { path: path.into(), mode });
    }
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(fail)?;
    if bytes.len() as u64 > LARGEST {
        return Err(KeyError::TooLarge { path: path.into(), max: LARGEST });
    }
    Ok(bytes)
}
