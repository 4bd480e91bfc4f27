//! The names of one directory, sorted, in bounded memory: a directory with more names than fit is gone through several
//! times, each time for the smallest names after those that were had before.

use super::shared::{Ended, Going};
use rustix::fd::BorrowedFd;
use rustix::fs::{FileType, RawDir, SeekFrom, seek};
use rustix::io::Errno;

/// Bytes of names, and of what sorts them, that are held at a time.
const MAX: usize = 40 << 20;
/// Bytes asked of the kernel at a time.
const BUFFER: usize = 64 << 10;
/// What a name takes beside its bytes.
const OVERHEAD: usize = size_of::<Listed>();

/// A name in the arena.
#[derive(Debug, Clone, Copy)]
struct Listed {
    /// The first eight bytes, so that sorting rarely looks into the arena.
    head: u64,
    at: u32,
    len: u16,
    kind: FileType,
}

/// Names of one directory, or as many of them as fit.
pub struct Listing {
    arena: Vec<u8>,
    names: Vec<Listed>,
    buffer: Vec<u8>,
    max: usize,
    /// Names that sort after those that are held were passed over.
    more: bool,
    /// A marker was among them.
    pub marked: Markers,
}

/// Files that say that what is beside them is not to be stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Markers {
    pub nobackup: bool,
    pub cachedir: bool,
}

impl Listing {
    pub fn new() -> Self {
        Self::with_max(MAX)
    }

    fn with_max(max: usize) -> Self {
        let (arena, names, buffer) = (Vec::new(), Vec::new(), Vec::new());
        Self { arena, names, buffer, max, more: false, marked: Markers::default() }
    }

    /// Lists a directory, from its beginning, for names that sort after `after`. What was listed before an error is
    /// kept.
    pub fn read(
        &mut self,
        directory: BorrowedFd<'_>,
        after: Option<&[u8]>,
        going: &Going<'_>,
    ) -> Result<Result<(), Errno>, Ended> {
        self.clear();
        if after.is_some()
            && let Err(error) = seek(directory, SeekFrom::Start(0))
        {
            return Ok(Err(error));
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.reserve(BUFFER);
        let result = self.fill(directory, after, going, &mut buffer);
        self.buffer = buffer;
        self.sort();
        result
    }

    fn fill(
        &mut self,
        directory: BorrowedFd<'_>,
        after: Option<&[u8]>,
        going: &Going<'_>,
        buffer: &mut Vec<u8>,
    ) -> Result<Result<(), Errno>, Ended> {
        let mut entries = RawDir::new(directory, buffer.spare_capacity_mut());
        // The first name that was passed over: those after it are passed over, too.
        let mut bound: Option<Vec<u8>> = None;
        let mut n = 0_u64;
        while let Some(entry) = entries.next() {
            n += 1;
            if n.is_multiple_of(256) {
                going.check()?;
            }
            let entry = match entry {
                Ok(entry) => entry,
                Err(Errno::INTR) => continue,
                // Removed while it was open: nothing more is in it.
                Err(Errno::NOENT) => return Ok(Ok(())),
                Err(error) => return Ok(Err(error)),
            };
            let name = entry.file_name().to_bytes();
            // No kernel gives a name with a slash; if one did, it would break the order of the walk.
            if name == b"." || name == b".." || name.is_empty() || name.contains(&b'/') {
                continue;
            }
            self.mark(name);
            if after.is_some_and(|after| name <= after) {
                continue;
            }
            if bound.as_deref().is_some_and(|bound| name >= bound) {
                continue;
            }
            self.add(name, entry.file_type());
            if self.size() > self.max {
                bound = self.keep_smaller_half().or(bound);
            }
        }
        Ok(Ok(()))
    }

    fn mark(&mut self, name: &[u8]) {
        self.marked.nobackup |= name == b".nobackup";
        self.marked.cachedir |= name == b"CACHEDIR.TAG";
    }

    fn add(&mut self, name: &[u8], kind: FileType) {
        // Names are at most a few KiB, and the arena is bounded far below 4 GiB.
        let (Ok(at), Ok(len)) = (u32::try_from(self.arena.len()), u16::try_from(name.len())) else { return };
        self.arena.extend_from_slice(name);
        let mut head = [0; 8];
        let first = name.len().min(8);
        head[..first].copy_from_slice(&name[..first]);
        self.names.push(Listed { head: u64::from_be_bytes(head), at, len, kind });
    }

    fn size(&self) -> usize {
        self.arena.len() + self.names.len() * OVERHEAD
    }

    fn sort(&mut self) {
        let arena = &self.arena;
        self.names.sort_unstable_by(|a, b| {
            a.head.cmp(&b.head).then_with(|| bytes_of(arena, a).cmp(bytes_of(arena, b)))
        });
        // A directory that changes while it is listed may give a name twice.
        self.names.dedup_by(|a, b| bytes_of(arena, a) == bytes_of(arena, b));
    }

    /// Returns the first name that is not kept.
    fn keep_smaller_half(&mut self) -> Option<Vec<u8>> {
        self.sort();
        let half = self.names.len() / 2;
        let bound = self.names.get(half).map(|n| bytes_of(&self.arena, n).to_vec());
        let kept = self.names[..half].to_vec();
        let old = std::mem::take(&mut self.arena);
        self.names.clear();
        self.more = true;
        for name in kept {
            self.add(bytes_of(&old, &name), name.kind);
        }
        bound
    }

    fn clear(&mut self) {
        (self.more, self.marked) = (false, Markers::default());
        self.arena.clear();
        self.names.clear();
        // What a huge directory took is given back.
        self.arena.shrink_to(1 << 20);
        self.names.shrink_to(1 << 16);
    }

    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether the directory has names after those that are held.
    pub fn has_more(&self) -> bool {
        self.more
    }

    /// The n-th name and what the directory says it is, if it does.
    pub fn get(&self, n: usize) -> Option<(&[u8], FileType)> {
        self.names.get(n).map(|name| (bytes_of(&self.arena, name), name.kind))
    }
}

fn bytes_of<'a>(arena: &'a [u8], name: &Listed) -> &'a [u8] {
    let at = name.at as usize;
    &arena[at..at + usize::from(name.len)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fd::AsFd as _;
    use std::sync::atomic::AtomicBool;

    #[test]
    fn a_directory_that_does_not_fit_is_listed_in_several_goes() {
        let folder = tempfile::tempdir().unwrap();
        let mut made: Vec<String> =
            (0..3000_u32).map(|i| format!("{:x}-{i}", i.wrapping_mul(2_654_435_761))).collect();
        for name in &made {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        made.sort();
        let fd = std::fs::File::open(folder.path()).unwrap();
        let cancel = AtomicBool::new(false);
        let going = Going::new(&cancel);
        for max in [20_000, 60_000, 1 << 20] {
            let mut listing = Listing::with_max(max);
            let (mut seen, mut after, mut goes) = (Vec::new(), None::<Vec<u8>>, 0);
            loop {
                goes += 1;
                listing.read(fd.as_fd(), after.as_deref().or(Some(b"")), &going).unwrap().unwrap();
                assert!(listing.size() <= max);
                seen.extend((0..listing.len()).map(|n| listing.get(n).unwrap().0.to_vec()));
                if !listing.has_more() {
                    break;
                }
                after = seen.last().cloned();
            }
            assert_eq!(seen, made.iter().map(|n| n.as_bytes().to_vec()).collect::<Vec<_>>());
            assert!(goes < 20 && (max < 100_000) == (goes > 1), "{goes}");
        }
    }
}
