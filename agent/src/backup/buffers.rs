//! Buffers of packs, used again once a pack has been sent: memory that the system has to hand out and clear for each
//! pack anew costs a twentieth of a run. One pool for the process, as its allocator is. Knows nothing of what is in them.

use bytes::Bytes;
use lifeboat_format::limits;
use std::sync::{Mutex, PoisonError};

/// Room of a buffer, bytes. Memory that is not touched costs nothing, and above 32 MiB glibc gives what is freed back to
/// the system at once, instead of keeping it for the thread that freed it.
const ROOM: usize = 2 * limits::PACK_TARGET + (1 << 20);
/// Buffers that wait: as many as packs are sealed and sent at a time.
const WAITING_MAX: usize = 4;

static WAITING: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

/// An empty buffer with room for any pack.
#[must_use]
pub fn take() -> Vec<u8> {
    let waiting = WAITING.lock().unwrap_or_else(PoisonError::into_inner).pop();
    waiting.unwrap_or_else(|| Vec::with_capacity(ROOM))
}

/// The buffer's content; when the last use of it ends, the buffer waits to be taken again.
#[must_use]
pub fn lend(buffer: Vec<u8>) -> Bytes {
    if buffer.capacity() < ROOM { Bytes::from(buffer) } else { Bytes::from_owner(Lent(buffer)) }
}

/// Gives back to the system what waits.
pub fn release() {
    WAITING.lock().unwrap_or_else(PoisonError::into_inner).clear();
}

struct Lent(Vec<u8>);

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let mut waiting = WAITING.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() < WAITING_MAX {
            let mut buffer = std::mem::take(&mut self.0);
            buffer.clear();
            waiting.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_lent_keeps_its_content_until_the_last_use_of_it() {
        let mut buffer = take();
        buffer.extend_from_slice(b"pack");
        let lent = lend(buffer);
        let part = lent.slice(1..3);
        drop(lent);
        let mut other = take();
        other.extend_from_slice(b"other");
        assert_eq!(&part[..], b"ac");
        assert!(other.capacity() >= ROOM && take().is_empty());
        assert_eq!(&lend(b"small".to_vec())[..], b"small");
        release();
    }
}
