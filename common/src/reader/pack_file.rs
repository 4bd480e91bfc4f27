//! One pack, opened by ranges: header, directory, and frames with a read-ahead that grows while frames are asked for
//! in order. AEAD and the chunks' digests prove what is read; the pack as a whole is not hashed here.

mod bulk;

pub use bulk::{BulkPack, SealedFrames};

use super::error::{ReadError, cut_short, damaged, of_store};
use super::grant::PackKeys;
use super::packs::PackRef;
use crate::store::SharedRead;
use bytes::Bytes;
use lifeboat_format::crypto::derive::PackKey;
use lifeboat_format::id::Handle;
use lifeboat_format::layout;
use lifeboat_format::pack::{Directory, FrameEntry, HEADER_MAX, Header, Trailer};
use std::sync::Arc;
use tokio::sync::Mutex;

/// Up to this a pack is read with one request, bytes.
const WHOLE_MAX: u64 = 512 << 10;
/// Read with the trailer, so that the directory of a full pack usually comes along, bytes.
const TAIL: u64 = 64 << 10;
/// The read-ahead when a second frame is asked for in order, and its bound, bytes.
const WINDOW_MIN: u64 = 512 << 10;
const WINDOW_MAX: u64 = 4 << 20;
/// Below this, opening frames is not worth another thread, bytes.
const INLINE_MAX: usize = 64 << 10;

/// Where packs are, and what opens them.
#[derive(Debug, Clone)]
pub(super) struct PackSource {
    pub(super) store: SharedRead,
    pub(super) keys: PackKeys,
    /// The epoch that the snapshot's own packs are sealed to.
    pub(super) epoch: Option<u64>,
}

#[derive(Debug)]
pub(super) struct PackFile {
    /// In the store.
    pub(super) key: String,
    /// Bytes.
    size: u64,
    store: SharedRead,
    header: Header,
    pub(super) directory: Directory,
    pack_key: PackKey,
    whole: Option<Bytes>,
    ahead: Mutex<Ahead>,
}

#[derive(Debug, Default)]
struct Ahead {
    next: u32,
    window: u64,
}

/// What the store gave of a pack before anything is opened.
struct Ends {
    start: Bytes,
    /// The last bytes of the pack, from `tail_at`.
    tail: Bytes,
    tail_at: u64,
    whole: Option<Bytes>,
}

impl PackFile {
    pub(super) async fn open(source: &PackSource, pack: PackRef, handle: &Handle) -> Result<Self, ReadError> {
        let key = layout::pack(&pack.sha256);
        let name = source.store.describe();
        let bad = |e: &dyn std::fmt::Display| damaged(&name, &key, e);
        let ends = fetch_ends(source, &key, pack.size).await.map_err(|e| of_store(&name, &key, e))?;
        let last4 = ends.tail.len().checked_sub(4).and_then(|from| ends.tail.get(from..)).unwrap_or_default();
        let short = ends.tail_at + ends.tail.len() as u64 != pack.size;
        if short {
            return Err(too_short(&source.store, &key, pack.size).await);
        }
        let header = Header::parse(&ends.start).map_err(|e| bad(&e))?;
        if header.handle != *handle {
            return Err(bad(&"it is another pack than the snapshot's list says"));
        }
        let trailer = Trailer::parse(last4, pack.size, &header).map_err(|e| bad(&e))?;
        let sealed = match within(&ends, &trailer) {
            Some(sealed) => sealed,
            None => source
                .store
                .get_range(&key, trailer.offset, trailer.len)
                .await
                .map_err(|e| of_store(&name, &key, e))?,
        };
        let pack_key = source.keys.of(&key, &header, source.epoch).await?;
        let directory = header.open_directory(&pack_key, &trailer, sealed.to_vec()).map_err(|e| bad(&e))?;
        let store = Arc::clone(&source.store);
        let size = pack.size;
        Ok(Self { key, size, store, header, directory, pack_key, whole: ends.whole, ahead: Mutex::default() })
    }

    /// What it holds in memory, bytes.
    pub(super) fn weight(&self) -> usize {
        let whole = self.whole.as_ref().map_or(0, Bytes::len);
        whole + std::mem::size_of_val(self.directory.frames()) + 2048
    }

    /// Reads frame `number`, and those after it that a reader in order will want. `cached` looks whether another
    /// reader of this pack brought it meanwhile.
    pub(super) async fn frames(
        self: &Arc<Self>,
        number: u32,
        cached: impl Fn() -> Option<Bytes>,
    ) -> Result<Vec<(u32, Bytes)>, ReadError> {
        let mut ahead = self.ahead.lock().await;
        if let Some(frame) = cached() {
            return Ok(vec![(number, frame)]);
        }
        let window = if ahead.next == number && number > 0 {
            (ahead.window * 2).clamp(WINDOW_MIN, WINDOW_MAX)
        } else {
            0
        };
        let entries = self.window(number, window)?;
        let sealed = self.fetch(&entries).await?;
        let opened = self.open_frames(number, entries, sealed).await?;
        *ahead = Ahead { next: number + u32::try_from(opened.len()).unwrap_or(u32::MAX), window };
        Ok(opened)
    }

    /// The frames from `number` on that fit the window; one at least.
    fn window(&self, number: u32, window: u64) -> Result<Vec<FrameEntry>, ReadError> {
        let first =
            *self.directory.frame(number).map_err(|e| damaged(&self.store.describe(), &self.key, e))?;
        let rest = self.directory.frames().iter().skip(number as usize + 1);
        let fitting = rest.take_while(|f| f.end() - first.offset <= window).copied();
        Ok(std::iter::once(first).chain(fitting).collect())
    }

    async fn fetch(&self, entries: &[FrameEntry]) -> Result<Bytes, ReadError> {
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else { return Ok(Bytes::new()) };
        if let Some(whole) = &self.whole {
            let ends = usize::try_from(first.offset).ok().zip(usize::try_from(last.end()).ok());
            let range = ends.filter(|(_, to)| *to <= whole.len());
            return Ok(range.map_or_else(Bytes::new, |(from, to)| whole.slice(from..to)));
        }
        let length = last.end() - first.offset;
        let range = self.store.get_range(&self.key, first.offset, length).await;
        let range = range.map_err(|e| of_store(&self.store.describe(), &self.key, e))?;
        if (range.len() as u64) < length {
            return Err(too_short(&self.store, &self.key, self.size).await);
        }
        Ok(range)
    }

    async fn open_frames(
        self: &Arc<Self>,
        number: u32,
        entries: Vec<FrameEntry>,
        sealed: Bytes,
    ) -> Result<Vec<(u32, Bytes)>, ReadError> {
        if sealed.len() <= INLINE_MAX {
            return self.open_now(number, &entries, &sealed);
        }
        let this = Arc::clone(self);
        let opening = tokio::task::spawn_blocking(move || this.open_now(number, &entries, &sealed));
        opening.await.expect("opening frames does not panic")
    }

    /// A frame that was only read ahead may be damaged without harm to the one that is wanted.
    fn open_now(
        &self,
        number: u32,
        entries: &[FrameEntry],
        sealed: &[u8],
    ) -> Result<Vec<(u32, Bytes)>, ReadError> {
        let mut out = Vec::with_capacity(entries.len());
        let mut rest = sealed;
        for (entry, n) in entries.iter().zip(number..) {
            let (frame, after) = rest.split_at(rest.len().min(entry.sealed_len as usize));
            rest = after;
            match self.header.open_frame(&self.pack_key, entry, frame.to_vec()) {
                Ok(plain) => out.push((n, Bytes::from(plain))),
                Err(e) if out.is_empty() => return Err(damaged(&self.store.describe(), &self.key, e)),
                Err(_) => break,
            }
        }
        Ok(out)
    }
}

/// Fewer bytes came than a pack of `size` has: is the pack short, or was the answer?
async fn too_short(store: &SharedRead, key: &str, size: u64) -> ReadError {
    match store.head(key).await {
        Ok(Some(entry)) if entry.size >= size => cut_short(key),
        Ok(Some(entry)) => {
            let why = format!("it has {} bytes, and {size} by the snapshot's list", entry.size);
            damaged(&store.describe(), key, why)
        }
        Ok(None) => ReadError::Missing { store: store.describe(), key: key.to_owned() },
        Err(e) => e.into(),
    }
}

async fn fetch_ends(source: &PackSource, key: &str, size: u64) -> crate::store::Result<Ends> {
    if size <= WHOLE_MAX {
        let whole = source.store.get(key, size).await?;
        return Ok(Ends { start: whole.clone(), tail: whole.clone(), tail_at: 0, whole: Some(whole) });
    }
    let tail_at = size - TAIL;
    let start = source.store.get_range(key, 0, HEADER_MAX as u64);
    let tail = source.store.get_range(key, tail_at, TAIL);
    let (start, tail) = futures::try_join!(start, tail)?;
    Ok(Ends { start, tail, tail_at, whole: None })
}

fn within(ends: &Ends, trailer: &Trailer) -> Option<Bytes> {
    let from = usize::try_from(trailer.offset.checked_sub(ends.tail_at)?).ok()?;
    let to = from.checked_add(usize::try_from(trailer.len).ok()?)?;
    (to <= ends.tail.len()).then(|| ends.tail.slice(from..to))
}
