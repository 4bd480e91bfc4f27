//! Where chunks are: chunk id → reference, without the digest, which whoever looks up knows. 32 bytes an entry in 16
//! tables that grow at different times, so that growing never doubles all of it.

use lifeboat_format::id::{ChunkId, Digest, Handle};
use lifeboat_format::pack::Reference;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

const SHARDS: usize = 16;
/// No pack has this number: the slot is free.
const FREE: u32 = u32::MAX;

/// Looked up and added to by many threads.
pub struct ChunkIndex {
    shards: Vec<Mutex<Table>>,
    packs: RwLock<Packs>,
}

/// Packs by number, so that an entry needs four bytes for its pack.
#[derive(Default)]
struct Packs {
    handles: Vec<Handle>,
    numbers: HashMap<Handle, u32>,
}

#[derive(Clone, Copy)]
struct Slot {
    id: [u8; 16],
    pack: u32,
    frame: u32,
    offset: u32,
    length: u32,
}

const EMPTY: Slot = Slot { id: [0; 16], pack: FREE, frame: 0, offset: 0, length: 0 };

/// Open addressing with linear probing, at most seven eighths full. The ids are keyed hashes: no input chooses them.
struct Table {
    slots: Vec<Slot>,
    used: usize,
}

impl Default for ChunkIndex {
    fn default() -> Self {
        Self::new()
    }
}

impl ChunkIndex {
    #[must_use]
    pub fn new() -> Self {
        // Sizes in geometric steps between 1 and the factor of growth, 1.5.
        let table = |i: u32| Table { slots: vec![EMPTY; 64 + 2 * i as usize], used: 0 };
        Self { shards: (0..16).map(|i| Mutex::new(table(i))).collect(), packs: RwLock::default() }
    }

    /// Remembers a chunk. One that is there stays where it is.
    pub fn insert(&self, id: ChunkId, reference: &Reference) {
        let pack = self.number(reference.handle);
        let slot = Slot {
            id: id.0,
            pack,
            frame: reference.frame,
            offset: reference.offset,
            length: reference.length,
        };
        self.shard(&id).insert(slot);
    }

    /// Where the chunk with this id and digest is.
    #[must_use]
    pub fn get(&self, id: &ChunkId, digest: &Digest) -> Option<Reference> {
        let slot = self.shard(id).get(&id.0)?;
        let packs = self.packs.read().unwrap_or_else(PoisonError::into_inner);
        let handle = *packs.handles.get(slot.pack as usize)?;
        let Slot { frame, offset, length, .. } = slot;
        Some(Reference { handle, frame, offset, length, digest: *digest })
    }

    /// Chunks in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shards.iter().map(|s| lock(s).used).sum()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn shard(&self, id: &ChunkId) -> MutexGuard<'_, Table> {
        lock(&self.shards[usize::from(id.0[15]) % SHARDS])
    }

    fn number(&self, handle: Handle) -> u32 {
        {
            let packs = self.packs.read().unwrap_or_else(PoisonError::into_inner);
            // Mostly the pack that was added last.
            if packs.handles.last() == Some(&handle) {
                return packs.number_of_last();
            }
            if let Some(number) = packs.numbers.get(&handle) {
                return *number;
            }
        }
        let mut packs = self.packs.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(number) = packs.numbers.get(&handle) {
            return *number;
        }
        packs.handles.push(handle);
        let number = packs.number_of_last();
        packs.numbers.insert(handle, number);
        number
    }
}

impl Packs {
    fn number_of_last(&self) -> u32 {
        u32::try_from(self.handles.len() - 1).expect("packs of 16 MiB: fewer than 2^32")
    }
}

fn lock(table: &Mutex<Table>) -> MutexGuard<'_, Table> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Table {
    fn start(&self, id: &[u8; 16]) -> usize {
        let mut head = [0; 8];
        head.copy_from_slice(&id[..8]);
        // The high half of the product is below the number of slots (Lemire's reduction).
        let wide = u128::from(u64::from_le_bytes(head)) * self.slots.len() as u128;
        usize::try_from(wide >> 64).expect("it is below the number of slots")
    }

    /// The slot with this id, or the free one where it belongs.
    fn find(&self, id: &[u8; 16]) -> usize {
        let mut at = self.start(id);
        loop {
            let slot = &self.slots[at];
            if slot.pack == FREE || slot.id == *id {
                return at;
            }
            at = if at + 1 == self.slots.len() { 0 } else { at + 1 };
        }
    }

    fn get(&self, id: &[u8; 16]) -> Option<Slot> {
        Some(self.slots[self.find(id)]).filter(|slot| slot.pack != FREE)
    }

    fn insert(&mut self, slot: Slot) {
        if (self.used + 1) * 8 > self.slots.len() * 7 {
            self.grow();
        }
        let at = self.find(&slot.id);
        if self.slots[at].pack == FREE {
            self.slots[at] = slot;
            self.used += 1;
        }
    }

    fn grow(&mut self) {
        let larger = vec![EMPTY; self.slots.len() + self.slots.len() / 2];
        for slot in std::mem::replace(&mut self.slots, larger) {
            if slot.pack != FREE {
                let at = self.find(&slot.id);
                self.slots[at] = slot;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hundred_thousand_chunks_are_found_again_and_others_are_not() {
        let index = ChunkIndex::new();
        let reference = |n: u32| {
            let digest = Digest::of(&n.to_le_bytes());
            let mut handle = [0; 16];
            handle[..4].copy_from_slice(&(n / 1000).to_le_bytes());
            Reference { handle: Handle(handle), frame: n % 1000, offset: n, length: n + 1, digest }
        };
        let id = |n: u32| {
            let mut id = [0; 16];
            id.copy_from_slice(&Digest::of(&n.to_be_bytes()).0[..16]);
            ChunkId(id)
        };
        for n in 0..100_000 {
            index.insert(id(n), &reference(n));
            index.insert(id(n), &reference(n + 1));
        }
        assert_eq!(index.len(), 100_000);
        for n in 0..100_000 {
            assert_eq!(index.get(&id(n), &reference(n).digest), Some(reference(n)));
        }
        assert!((100_000..200_000).all(|n| index.get(&id(n), &reference(n).digest).is_none()));
        let slots: usize = index.shards.iter().map(|s| lock(s).slots.len()).sum();
        assert!(slots < 180_000, "{slots}");
    }
}
