//! Extended attributes, ACLs and capabilities among them, as lists of bytes.

use rustix::buffer::spare_capacity;
use rustix::fd::{AsRawFd as _, BorrowedFd};
use rustix::fs::{fgetxattr, flistxattr, lgetxattr, llistxattr};
use rustix::io::Errno;

/// The kernel's bounds of a list and of a value (linux/limits.h).
const MAX: usize = 64 << 10;

type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// Buffers for many readings.
#[derive(Default)]
pub struct XattrReader {
    list: Vec<u8>,
    value: Vec<u8>,
    path: Vec<u8>,
}

impl XattrReader {
    /// Those of an open file or directory, by name ascending.
    pub fn of_fd(&mut self, fd: BorrowedFd<'_>) -> Result<Pairs, Errno> {
        self.read(|list| flistxattr(fd, list), |name, value| fgetxattr(fd, name, value))
    }

    /// Those of an entry of a directory, whatever it is; never follows it. Needs `/proc`.
    pub fn of_entry(&mut self, directory: BorrowedFd<'_>, name: &[u8]) -> Result<Pairs, Errno> {
        let mut path = std::mem::take(&mut self.path);
        path.clear();
        path.extend_from_slice(format!("/proc/self/fd/{}/", directory.as_raw_fd()).as_bytes());
        path.extend_from_slice(name);
        let read = self.read(
            |list| llistxattr(path.as_slice(), list),
            |name, value| lgetxattr(path.as_slice(), name, value),
        );
        self.path = path;
        read
    }

    fn read(
        &mut self,
        list: impl Fn(rustix::buffer::SpareCapacity<'_, u8>) -> Result<usize, Errno>,
        get: impl Fn(&[u8], rustix::buffer::SpareCapacity<'_, u8>) -> Result<usize, Errno>,
    ) -> Result<Pairs, Errno> {
        self.list.clear();
        self.list.reserve(MAX);
        match list(spare_capacity(&mut self.list)) {
            Ok(0) | Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
            Ok(_) => {}
            Err(e) => return Err(e),
        }
        let mut pairs = Pairs::new();
        for name in self.list.split(|b| *b == 0).filter(|name| !name.is_empty()) {
            self.value.clear();
            self.value.reserve(MAX);
            match get(name, spare_capacity(&mut self.value)) {
                Ok(_) => pairs.push((name.to_vec(), self.value.clone())),
                // It went since it was listed, or it is listed and never given.
                Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
                Err(e) => return Err(e),
            }
        }
        pairs.sort_unstable();
        pairs.dedup_by(|a, b| a.0 == b.0);
        Ok(pairs)
    }
}
