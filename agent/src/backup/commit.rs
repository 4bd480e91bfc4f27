//! The commit: pack lists, send log, and the manifest whose conditional create decides every race
//! (docs/format.md, "Commit and reuse" 1–3).

use super::BackupError;
use super::head::{self, ChainView};
use super::log::{self, Memory};
use super::pack::domain_alias;
use super::resume::{Resumed, is_fresh};
use super::state::{KnownHead, LogKey, State, StateFile};
use super::upload::Uploader;
use bytes::Bytes;
use jiff::Timestamp;
use lifeboat_common::store::StoreErrorKind;
use lifeboat_format::charter::Charter;
use lifeboat_format::crypto::derive::Secret32;
use lifeboat_format::crypto::random;
use lifeboat_format::crypto::sign::SigningKey;
use lifeboat_format::id::{ChunkId, Handle, Sha256};
use lifeboat_format::manifest::{Bitmap, Carry, Manifest, PackSet, UnverifiedManifest};
use lifeboat_format::pack::Reference;
use lifeboat_format::pack_list::{PackEntry, PackList};
use lifeboat_format::send_log::{KnownChunk, KnownPack};
use lifeboat_format::{layout, limits};
use std::collections::{BTreeMap, HashMap, HashSet};

/// Days after which a domain that no run covers is no longer kept reusable.
const CARRY_DAYS: i64 = 14;
/// Races lost in a row before a run gives up.
const RACES_MAX: usize = 16;

/// What a commit needs to know of its run, beside the store.
pub struct Commit<'a> {
    pub uploader: &'a Uploader,
    pub charter: &'a Charter,
    pub signing: &'a SigningKey,
    pub memory: &'a Memory,
    /// Packs that this attempt sent; all are needed.
    pub new_packs: Vec<KnownPack>,
    /// Packs of the interrupted attempt that this snapshot needs.
    pub resumed: Vec<Resumed>,
    /// Packs of earlier snapshots that this snapshot needs.
    pub reused: HashSet<Handle>,
    /// Every chunk that the snapshot needs, Secrets aside.
    pub needed: Vec<(ChunkId, Reference)>,
    pub sealed_run_key: Vec<u8>,
    /// Names of the domains that this run covers whole; none stands for all.
    pub covered: Option<Vec<String>>,
    /// Everything but seq, prev, packs, carry and log.
    pub manifest: Manifest,
}

/// How a commit ended.
#[derive(Debug)]
pub enum Outcome {
    Committed(Box<Manifest>, Sha256),
    /// What the run built on has changed under it; it starts again.
    Redo(&'static str),
}

/// Lists, by name, with the packs of each that the snapshot needs, and when the oldest of them was noted.
struct Lists {
    own: BTreeMap<Sha256, Bitmap>,
    known: HashMap<Handle, KnownPack>,
    noted: i64,
}

impl Commit<'_> {
    /// Writes lists and log, then tries for a slot until one is taken.
    pub async fn run(
        mut self,
        mut view: ChainView,
        state: &mut State,
        file: &StateFile,
    ) -> Result<Outcome, BackupError> {
        let lists = self.write_lists().await?;
        let key = Secret32::random();
        let carried = self.carry(&view, state);
        let (chunks, packs) = self.log_entries(&lists, &carried);
        let log = log::save(self.uploader, self.memory, &key, chunks, packs).await?;
        if let Some(pending) = &mut state.pending {
            pending.set_log(LogKey::new(log.root, &key));
        }
        file.save(state)?;
        self.manifest.log = Some(log);
        for _ in 0..RACES_MAX {
            if let Some(why) = self.stale(&view, &lists) {
                return Ok(Outcome::Redo(why));
            }
            self.manifest.seq = view.free;
            self.manifest.prev = view.head().map(|h| h.sha256);
            self.manifest.packs = self.pack_sets(&lists);
            self.manifest.carry = self.carry(&view, state);
            if self.create().await? {
                let sha256 = Sha256::of(&self.manifest.payload());
                state.committed(KnownHead { seq: self.manifest.seq, sha256 });
                file.save(state)?;
                return Ok(Outcome::Committed(Box::new(self.manifest), sha256));
            }
            tracing::info!(slot = self.manifest.seq, "another run took the slot; looking at the chain again");
            let agent = self.signing.verify_key();
            view = head::read(self.uploader.store(), self.charter, &agent, state.head, true).await?;
        }
        Ok(Outcome::Redo("other runs took every slot that this one tried for"))
    }

    /// Creates the manifest; false when somebody else has the slot.
    async fn create(&self) -> Result<bool, BackupError> {
        let bytes = Bytes::from(self.manifest.sign(self.signing));
        // What no reader takes would hold its slot as junk for ever, and the run would be called Completed.
        UnverifiedManifest::parse(&bytes)?;
        let key = layout::manifest(self.manifest.seq);
        let store = self.uploader.store();
        match store.create(&key, bytes.clone(), Sha256::of(&bytes).0).await {
            Ok(_) => Ok(true),
            Err(e) if e.kind == StoreErrorKind::Exists => match store.get(&key, limits::MANIFEST_MAX).await {
                Ok(there) => Ok(there == bytes),
                Err(e) if e.kind == StoreErrorKind::TooLarge => Ok(false),
                Err(e) => Err(e.into()),
            },
            Err(e) => Err(e.into()),
        }
    }

    /// Rules 2 and 3, against the chain as it is now.
    fn stale(&self, view: &ChainView, lists: &Lists) -> Option<&'static str> {
        if !is_fresh(lists.noted, view.newest_modified) {
            return Some(
                "its packs are no longer fresh: another snapshot was committed a day after they were begun",
            );
        }
        let named = |h: &Handle| {
            let pack = self.memory.packs.get(h);
            pack.is_some_and(|p| view.names(&p.list, p.index))
        };
        if !self.reused.iter().all(named) {
            return Some("packs that it reuses are no longer named by the last three snapshots");
        }
        None
    }

    /// One list for this attempt's packs, one for each run key of the interrupted attempt.
    async fn write_lists(&self) -> Result<Lists, BackupError> {
        let noted = self.uploader.noted();
        let mut out = Lists { own: BTreeMap::new(), known: HashMap::new(), noted };
        let mut groups: BTreeMap<Vec<u8>, Vec<KnownPack>> = BTreeMap::new();
        groups.insert(self.sealed_run_key.clone(), self.new_packs.clone());
        for r in &self.resumed {
            groups.entry(r.sealed_run_key.clone()).or_default().push(r.pack);
        }
        for (sealed_run_key, packs) in groups {
            for packs in packs.chunks(limits::LIST_PACKS_MAX) {
                self.write_list(&sealed_run_key, packs, &mut out).await?;
            }
        }
        Ok(out)
    }

    async fn write_list(
        &self,
        sealed_run_key: &[u8],
        packs: &[KnownPack],
        out: &mut Lists,
    ) -> Result<(), BackupError> {
        let entry = |p: &KnownPack| PackEntry { sha256: p.sha256, size: p.size, handle: p.handle };
        let list = PackList {
            nonce: random::bytes(),
            sealed_run_key: sealed_run_key.to_vec(),
            packs: packs.iter().map(entry).collect(),
        };
        let bytes = Bytes::from(list.encode());
        let name = Sha256::of(&bytes);
        self.uploader.create_named(&layout::list(&name), bytes, name).await?;
        let mut bitmap = Bitmap::new(packs.len());
        for (i, p) in packs.iter().enumerate() {
            bitmap.insert(i);
            let index = u32::try_from(i).expect("a list has fewer packs than 2^32");
            out.known.insert(p.handle, KnownPack { list: name, index, ..*p });
            out.noted = out.noted.min(p.noted);
        }
        out.own.insert(name, bitmap);
        Ok(())
    }

    fn pack_sets(&self, lists: &Lists) -> Vec<PackSet> {
        let mut sets = lists.own.clone();
        for pack in self.reused.iter().filter_map(|h| self.memory.packs.get(h)) {
            sets.entry(pack.list).or_default().insert(pack.index as usize);
        }
        sets.into_iter().map(|(list, bitmap)| PackSet { list, bitmap }).collect()
    }

    /// What the head keeps reusable of domains that this run does not cover, each with its own time, for 14 days.
    fn carry(&self, view: &ChainView, state: &State) -> Vec<Carry> {
        let Some(covered) = &self.covered else { return Vec::new() };
        let Some(head) = view.window.first() else { return Vec::new() };
        let Some(dedup_key) = state.dedup_key() else { return Vec::new() };
        let covered: HashSet<_> = covered.iter().map(|d| domain_alias(&dedup_key, d)).collect();
        let mut domain_of: HashMap<(Sha256, u32), _> = HashMap::new();
        for p in self.memory.packs.values() {
            domain_of.insert((p.list, p.index), p.domain);
        }
        let mut out: BTreeMap<(Sha256, Timestamp), Bitmap> = BTreeMap::new();
        let mut keep = |list: Sha256, bitmap: &Bitmap, since: Timestamp| {
            for i in bitmap.iter() {
                let index = u32::try_from(i).unwrap_or(u32::MAX);
                // A pack that no log knows (Secrets, bodies) can never be reused: nothing keeps it.
                if domain_of.get(&(list, index)).is_some_and(|d| !covered.contains(d)) {
                    out.entry((list, since)).or_default().insert(i);
                }
            }
        };
        for set in &head.manifest.packs {
            keep(set.list, &set.bitmap, head.manifest.finished);
        }
        let oldest = self.manifest.finished.as_second() - CARRY_DAYS * 86_400;
        for carry in head.manifest.carry.iter().filter(|c| c.since.as_second() >= oldest) {
            keep(carry.list, &carry.bitmap, carry.since);
        }
        out.into_iter().map(|((list, since), bitmap)| Carry { list, bitmap, since }).collect()
    }

    /// The log's content: what the snapshot needs, and what stays reusable beside it.
    fn log_entries(&self, lists: &Lists, carried: &[Carry]) -> (Vec<KnownChunk>, Vec<KnownPack>) {
        let is_carried =
            |p: &KnownPack| carried.iter().any(|c| c.list == p.list && c.bitmap.contains(p.index as usize));
        let mut packs = lists.known.clone();
        let mut kept: HashSet<Handle> = HashSet::new();
        for (handle, pack) in &self.memory.packs {
            if is_carried(pack) {
                kept.insert(*handle);
            }
            if self.reused.contains(handle) || kept.contains(handle) {
                packs.insert(*handle, *pack);
            }
        }
        // Of what the run covers, only what it needs: the rest is dead, and `reuse` must see that it is.
        let mut chunks: HashMap<ChunkId, Reference> = self.needed.iter().copied().collect();
        for (id, reference) in &self.memory.chunks {
            if kept.contains(&reference.handle) {
                chunks.entry(*id).or_insert(*reference);
            }
        }
        let used: HashSet<Handle> = chunks.values().map(|r| r.handle).collect();
        let mut packs: Vec<KnownPack> = packs.into_values().filter(|p| used.contains(&p.handle)).collect();
        packs.sort_unstable_by_key(|p| p.handle);
        (chunks.into_iter().map(|(id, reference)| KnownChunk { id, reference }).collect(), packs)
    }
}
