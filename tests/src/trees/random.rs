//! A tree that changes at random, as a volume does between two backups. The same seed gives the same changes, as long
//! as nobody else touches it.

use super::maker::touch;
use super::nasty::{noise, text};
use anyhow::Result;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use rustix::fs::{CWD, FileType, Mode, XattrFlags, mknodat};
use std::fs;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// A tree on disk and the dice that change it.
#[derive(Debug)]
pub struct RandomTree {
    root: PathBuf,
    random: StdRng,
    names: u64,
}

/// What is in the tree now.
struct Inventory {
    directories: Vec<PathBuf>,
    files: Vec<PathBuf>,
    others: Vec<PathBuf>,
}

impl RandomTree {
    pub fn new(root: &Path, seed: u64) -> Result<Self> {
        fs::create_dir_all(root)?;
        Ok(Self { root: root.to_owned(), random: StdRng::seed_from_u64(seed), names: 0 })
    }

    /// Makes `changes` changes; what fails because of an earlier one (a directory moved into itself) is left undone.
    pub fn change(&mut self, changes: usize) -> Result<()> {
        for _ in 0..changes {
            let inventory = self.inventory()?;
            let _may_fail = self.one(&inventory);
        }
        Ok(())
    }

    fn inventory(&self) -> Result<Inventory> {
        let mut out =
            Inventory { directories: vec![self.root.clone()], files: Vec::new(), others: Vec::new() };
        let mut n = 0;
        while n < out.directories.len() {
            for entry in fs::read_dir(&out.directories[n])? {
                let entry = entry?;
                let kind = entry.file_type()?;
                match (kind.is_dir(), kind.is_file()) {
                    (true, _) => out.directories.push(entry.path()),
                    (_, true) => out.files.push(entry.path()),
                    _ => out.others.push(entry.path()),
                }
            }
            n += 1;
        }
        // The order of a directory differs between file systems.
        out.directories.sort();
        out.files.sort();
        out.others.sort();
        Ok(out)
    }

    fn new_name(&mut self, inventory: &Inventory) -> PathBuf {
        self.names += 1;
        let folder = inventory.directories.choose(&mut self.random).unwrap_or(&self.root);
        // Names land before, among and after the others of a directory.
        let first = ["-", "a", "m", "z", "é", ".", "~"].choose(&mut self.random).unwrap_or(&"x");
        folder.join(format!("{first}{}", self.names))
    }

    fn content(&mut self) -> Vec<u8> {
        let size = match self.random.random_range(0..20) {
            0..2 => 0,
            2..12 => self.random.random_range(1..8_000),
            12..17 => self.random.random_range(8_000..200_000),
            17..19 => self.random.random_range(200_000..2_000_000),
            _ => self.random.random_range(2_000_000..9_000_000),
        };
        if self.random.random() { text(&mut self.random, size) } else { noise(&mut self.random, size) }
    }

    fn one(&mut self, inventory: &Inventory) -> Result<()> {
        let new = self.new_name(inventory);
        let root = self.root.clone();
        let file = inventory.files.choose(&mut self.random).cloned();
        let all = [&inventory.directories[..], &inventory.files, &inventory.others].concat();
        let any = all.choose(&mut self.random).filter(|path| **path != root).cloned();
        match (self.random.random_range(0..100), file, any) {
            (0..30, _, _) | (_, None, _) | (_, _, None) => fs::write(&new, self.content())?,
            (30..40, _, _) => fs::create_dir(&new)?,
            (40..56, Some(file), _) => self.write_into(&file)?,
            (56..64, Some(file), _) => drop(fs::copy(&file, &new)?),
            (64..67, Some(file), _) => fs::hard_link(&file, &new)?,
            (67..70, Some(file), _) => std::os::unix::fs::symlink(&file, &new)?,
            (70..80, _, Some(any)) => fs::rename(&any, &new)?,
            (80..88, _, Some(any)) => remove(&any)?,
            (88..98, _, Some(any)) => self.attribute(&any)?,
            (98.., _, Some(any)) => {
                // Another kind under an old name.
                remove(&any)?;
                mknodat(CWD, &any, FileType::Fifo, Mode::from_raw_mode(0o600), 0)?;
            }
            (i32::MIN..0, ..) => {}
        }
        Ok(())
    }

    /// Changes a file in place: at its end, in its middle, its length, all of it, or all of it with its old time.
    fn write_into(&mut self, path: &Path) -> Result<()> {
        let file = fs::OpenOptions::new().write(true).open(path)?;
        let len = file.metadata()?.len();
        let some = noise(&mut self.random, 1000);
        match self.random.random_range(0..6) {
            0 => file.write_all_at(&some, len)?,
            1 => file.write_all_at(&some, self.random.random_range(0..=len))?,
            2 => file.set_len(self.random.random_range(0..=len))?,
            3 => file.set_len(len + self.random.random_range(0..1 << 20))?,
            4 => fs::write(path, self.content())?,
            _ => {
                let before = fs::metadata(path)?.modified()?;
                let mut file = file;
                file.seek(SeekFrom::Start(len / 2))?;
                file.write_all(&some[..usize::try_from((len - len / 2).min(1000))?])?;
                file.set_modified(before)?;
            }
        }
        Ok(())
    }

    fn attribute(&mut self, path: &Path) -> Result<()> {
        match self.random.random_range(0..4) {
            0 => touch(
                path,
                (
                    self.random.random_range(-2_000_000_000..4_000_000_000),
                    self.random.random_range(0..1_000_000_000),
                ),
            )?,
            1 if !path.is_symlink() => {
                let mode = self.random.random_range(0..0o10000) | 0o700;
                fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
            }
            2 => {
                let name = format!("user.{}", self.random.random_range(0..4));
                let value = text(&mut self.random, 20);
                rustix::fs::lsetxattr(path, name, &value, XattrFlags::empty())?;
            }
            _ => {
                let (uid, gid) = (self.random.random_range(0..70_000), self.random.random_range(0..70_000));
                std::os::unix::fs::lchown(path, Some(uid), Some(gid))?;
            }
        }
        Ok(())
    }
}

fn remove(path: &Path) -> Result<()> {
    if path.is_dir() && !path.is_symlink() {
        fs::remove_dir_all(path)?;
    } else {
        fs::remove_file(path)?;
    }
    Ok(())
}
