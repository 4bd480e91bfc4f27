//! Writing large bodies past the page cache: a pack is written once and not read again soon, so room in the cache for it
//! takes memory from whoever else is on the machine, and getting that room costs more than hashing and sealing together.
//!
//! Owns alignment and the way back to ordinary writes. Knows nothing of names, and syncs nothing.

use rustix::fs::OFlags;
use rustix::io::Errno;
use std::cell::RefCell;
use std::fs::File;
use std::io::{Result, Write};

/// Bodies below this go through the page cache.
const LEAST: usize = 1 << 20;
/// Addresses and lengths are multiples of this: no disk in use has larger blocks.
const BLOCK: usize = 4096;
/// Bytes of one write.
const PIECE: usize = 2 << 20;

thread_local! {
    /// Room for one aligned piece; kept as long as its thread, which the runtime ends after some idle seconds.
    static ROOM: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Writes all of `body` at the start of an empty file; directly where the file system can.
pub(super) fn write_all(file: &mut File, body: &[u8]) -> Result<()> {
    let whole = body.len() - body.len() % BLOCK;
    let flags = rustix::fs::fcntl_getfl(&*file)?;
    let mut rest = body;
    if body.len() >= LEAST && rustix::fs::fcntl_setfl(&*file, flags | OFlags::DIRECT).is_ok() {
        let written = ROOM.with_borrow_mut(|room| pieces(file, &body[..whole], room));
        rustix::fs::fcntl_setfl(&*file, flags)?;
        rest = &body[written?..];
    }
    file.write_all(rest)
}

/// Copies piece by piece to where direct writes may come from. How much was written: less than all where the file system
/// does not take it this way.
fn pieces(file: &mut File, whole: &[u8], room: &mut Vec<u8>) -> Result<usize> {
    room.resize(PIECE + BLOCK, 0);
    let start = room.as_ptr().align_offset(BLOCK);
    let Some(room) = room.get_mut(start..start.saturating_add(PIECE)) else { return Ok(0) };
    let mut done = 0;
    for piece in whole.chunks(PIECE) {
        let aligned = &mut room[..piece.len()];
        aligned.copy_from_slice(piece);
        let mut sent = 0;
        while sent < aligned.len() {
            match rustix::io::write(&*file, &aligned[sent..]) {
                // Not even whole blocks: what is left goes through the page cache.
                Ok(count) if count % BLOCK != 0 || count == 0 => return Ok(done + sent + count),
                Ok(count) => sent += count,
                Err(Errno::INTR) => {}
                Err(Errno::INVAL) => return Ok(done + sent),
                Err(errno) => return Err(errno.into()),
            }
        }
        done += piece.len();
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn written(folder: &std::path::Path, body: &[u8]) -> Vec<u8> {
        let path = folder.join("f");
        write_all(&mut File::create(&path).unwrap(), body).unwrap();
        let mut found = Vec::new();
        File::open(path).unwrap().read_to_end(&mut found).unwrap();
        found
    }

    #[test]
    fn every_length_arrives_whole_on_each_file_system() {
        let body: Vec<u8> =
            (0..3 * PIECE + 17).map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect();
        let memory = std::path::Path::new("/dev/shm");
        for folder in [tempfile::tempdir().ok(), tempfile::tempdir_in(memory).ok()].into_iter().flatten() {
            for len in [0, 1, BLOCK, LEAST - 1, LEAST, LEAST + 1, PIECE, PIECE + BLOCK + 1, body.len()] {
                assert!(written(folder.path(), &body[..len]) == body[..len], "{len}");
            }
            // From an address that is not aligned either.
            assert!(written(folder.path(), &body[1..]) == body[1..]);
        }
    }
}
