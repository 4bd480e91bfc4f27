//! Changing files of the folder in place. What is replaced stays beside it under its number; what is new is there
//! whole or not at all.

use super::NewFile;
use anyhow::{Context as _, Result};
use lifeboat_common::keys;
use std::io::ErrorKind;
use std::path::Path;

/// Replaces files; each old one is kept as `NAME.<n>`. Files that do not change are left alone.
pub(crate) fn replace(dir: &Path, n: u64, files: &[NewFile]) -> Result<()> {
    for (name, bytes) in files {
        let path = dir.join(name);
        if std::fs::read(&path).is_ok_and(|old| old == ***bytes) {
            continue;
        }
        keep(dir, name, n)?;
        let new = dir.join(format!("{name}.new"));
        // Left by a run that was cut short; its bytes stand nowhere else, and nobody used them.
        match std::fs::remove_file(&new) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("Cannot remove {}", new.display()));
            }
            _ => {}
        }
        keys::write_new(&new, bytes)?;
        std::fs::rename(&new, &path).with_context(|| format!("Cannot rename {} to {name}", new.display()))?;
    }
    keys::sync_folder(dir)?;
    Ok(())
}

/// Moves a file aside without a successor; nothing when there is none.
pub(crate) fn retire(dir: &Path, n: u64, name: &str) -> Result<()> {
    keep(dir, name, n)?;
    match std::fs::remove_file(dir.join(name)) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("Cannot remove {}", dir.join(name).display()))
        }
        _ => Ok(()),
    }
}

/// A second name for the file as it is; never over another.
fn keep(dir: &Path, name: &str, n: u64) -> Result<()> {
    let path = dir.join(name);
    let mut kept = dir.join(format!("{name}.{n}"));
    for again in 2.. {
        match std::fs::hard_link(&path, &kept) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                if std::fs::read(&kept).ok() == std::fs::read(&path).ok() {
                    return Ok(());
                }
                kept = dir.join(format!("{name}.{n}-{again}"));
            }
            Err(error) => {
                return Err(error)
                    .with_context(|| format!("Cannot keep {} as {}", path.display(), kept.display()));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use zeroize::Zeroizing;

    #[test]
    fn what_is_replaced_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
        let write = |n, text: &str| {
            replace(dir.path(), n, &[("a", Zeroizing::new(text.as_bytes().to_vec()))]).unwrap()
        };
        write(1, "one");
        write(1, "two");
        write(1, "two");
        write(2, "three");
        write(2, "four");
        let all = ["a", "a.1", "a.2", "a.2-2"].map(read);
        assert_eq!(all, ["four", "one", "two", "three"]);
        retire(dir.path(), 3, "a").unwrap();
        retire(dir.path(), 3, "a").unwrap();
        assert_eq!(read("a.3"), "four");
        assert!(!dir.path().join("a").exists() && !dir.path().join("a.new").exists());
    }
}
