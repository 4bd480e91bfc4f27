//! The commit: pack lists, send log, and the manifest whose conditional create decides every race
//! (docs/format.md, "Commit and reuse" 1–3). Snapshots and checkpoints alike.

mod lists;
mod names;

use super::BackupError;
use super::head::{self, ChainView};
use super::log::{self, Content, Memory, Objects};
use super::resume::{Resumed, is_fresh};
use super::state::{Held, KnownHead, LogKey, State};
use super::unfinished::Unfinished;
use super::upload::Uploader;
use bytes::Bytes;
use lifeboat_common::store::StoreErrorKind;
use lifeboat_format::charter::Charter;
use lifeboat_format::crypto::derive::Secret32;
use lifeboat_format::crypto::sign::SigningKey;
use lifeboat_format::id::{ChunkId, Handle, ScopeAlias, Sha256};
use lifeboat_format::manifest::{Coverage, Manifest, SignedManifest, UnverifiedManifest};
use lifeboat_format::pack::Reference;
use lifeboat_format::send_log::KnownPack;
use lifeboat_format::volume_log::VolumeLog;
use lifeboat_format::{layout, limits};
use std::collections::HashSet;

use lists::Lists;

/// Races lost in a row before a run gives up.
const RACES_MAX: usize = 16;

/// What a commit needs to know of its run, beside the store.
pub struct Commit<'a> {
    pub uploader: &'a Uploader,
    pub charter: &'a Charter,
    pub signing: &'a SigningKey,
    pub memory: &'a Memory,
    /// Packs that this attempt sent and that no list names yet; all are needed.
    pub new_packs: Vec<KnownPack>,
    /// Packs of the interrupted attempt that this snapshot needs and that no list names yet.
    pub resumed: Vec<Resumed>,
    /// Packs that workers of this run sent, as their lists name them; all are needed.
    pub listed: Vec<KnownPack>,
    /// Packs that lists name already, and that this snapshot needs.
    pub reused: HashSet<Handle>,
    /// Those of them that an attempt of this run sent: fresh ones may be named whatever the chain says.
    pub own: HashSet<Handle>,
    pub sealed_run_key: Vec<u8>,
    pub covered: Covered,
    /// Volumes whose last tree the snapshot names again: their logs stay.
    pub kept: HashSet<ScopeAlias>,
    pub remains: Remains,
    /// What unfinished readings of volumes have sent, and no list names yet: it is kept, and not needed.
    pub unfinished: Vec<Unfinished>,
    /// Everything but seq, prev, packs, carry and log.
    pub manifest: Manifest,
    /// Whether this process may still commit.
    pub may_commit: &'a (dyn Fn() -> bool + Send + Sync),
}

/// The domains that a run covers whole: what it does not need of them is not kept.
#[derive(Debug, Clone)]
pub enum Covered {
    /// All but volumes, and these volumes.
    Objects(HashSet<ScopeAlias>),
    Only(HashSet<ScopeAlias>),
}

/// What a run leaves to the next one.
pub enum Remains {
    Run {
        /// Every chunk of objects that the snapshot needs, Secrets aside; `None`: as they were.
        objects: Option<Vec<(ChunkId, Reference)>>,
        volumes: Vec<VolumeLeft>,
    },
    /// What was known before, and the packs so far of a volume.
    Checkpoint(ScopeAlias),
}

/// The log of a volume; its files, and those of the log before that it makes useless.
pub struct VolumeLeft {
    pub log: VolumeLog,
    pub files: HashSet<Sha256>,
    pub replaced: HashSet<Sha256>,
}

/// How a commit ended.
pub enum Outcome {
    Committed(Box<Committed>),
    /// Another attempt of the same run has committed.
    Found(Box<SignedManifest>),
    /// What the run built on has changed under it; it starts again.
    Redo(&'static str),
}

/// What was committed.
pub struct Committed {
    pub manifest: Manifest,
    pub sha256: Sha256,
    /// The run's packs, as lists name them now.
    pub listed: Vec<KnownPack>,
}

impl Commit<'_> {
    /// Writes lists and log, then tries for a slot until one is taken.
    pub async fn run(
        mut self,
        mut view: ChainView,
        state: &mut State,
        file: &Held,
    ) -> Result<Outcome, BackupError> {
        let lists = self.write_lists().await?;
        let key = Secret32::random();
        let content = self.log_content(&lists, &view, state).await?;
        let log = log::save(self.uploader, self.memory, &key, content).await?;
        if let Some(pending) = &mut state.pending {
            pending.set_log(LogKey::new(log.root, &key));
        }
        file.save(state).await?;
        self.manifest.log = Some(log);
        let wanted = self.reused.clone();
        for _ in 0..RACES_MAX {
            if self.is_checkpoint() {
                // What it cannot keep is stored anew, if it is needed in the end.
                self.reused = wanted.iter().filter(|h| self.nameable(h, &view)).copied().collect();
            }
            if let Some(why) = self.stale(&view, &lists) {
                return Ok(Outcome::Redo(why));
            }
            self.manifest.seq = view.free;
            self.manifest.prev = view.head().map(|h| h.sha256);
            self.manifest.packs = self.pack_sets(&lists);
            self.manifest.carry = self.carry(&view, &lists);
            // Whoever took the state meanwhile makes this run's snapshot.
            file.confirm().await?;
            if !(self.may_commit)() {
                return Err(BackupError::Stopped);
            }
            if self.create().await? {
                return Ok(Outcome::Committed(Box::new(self.committed(lists, state, file).await?)));
            }
            tracing::info!(slot = self.manifest.seq, "another run took the slot; looking at the chain again");
            let agent = self.signing.verify_key();
            view = head::read(self.uploader.store(), self.charter, &agent, state.head, true).await?;
            // A run's own checkpoints are not what it is for.
            let same = |m: &&SignedManifest| {
                m.manifest.run == self.manifest.run && m.manifest.coverage != Coverage::Checkpoint
            };
            if let Some(found) = view.window.iter().find(same).filter(|_| !self.is_checkpoint()) {
                return Ok(Outcome::Found(Box::new(found.clone())));
            }
        }
        Ok(Outcome::Redo("other runs took every slot that this one tried for"))
    }

    fn is_checkpoint(&self) -> bool {
        self.manifest.coverage == Coverage::Checkpoint
    }

    async fn committed(self, lists: Lists, state: &mut State, file: &Held) -> Result<Committed, BackupError> {
        let sha256 = Sha256::of(&self.manifest.payload());
        let head = KnownHead { seq: self.manifest.seq, sha256 };
        if self.is_checkpoint() {
            state.checkpointed(head)
        } else {
            state.committed(head)
        }
        file.save(state).await?;
        Ok(Committed { manifest: self.manifest, sha256, listed: lists.known.into_values().collect() })
    }

    /// Creates the manifest; false when somebody else has the slot.
    async fn create(&self) -> Result<bool, BackupError> {
        let bytes = Bytes::from(self.manifest.sign(self.signing));
        // What no reader takes would hold its slot as junk for ever, and the run would be called Completed.
        UnverifiedManifest::parse(&bytes)?;
        let key = layout::manifest(self.manifest.seq);
        let store = self.uploader.store();
        match store.create(&key, bytes.clone(), Sha256::of(&bytes).0).await {
            Ok(created) => {
                self.uploader.told(created.store_time);
                Ok(true)
            }
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
        if !self.reused.iter().all(|h| self.nameable(h, view)) {
            return Some("packs that it reuses are no longer named by the last three snapshots");
        }
        None
    }

    /// Whether a pack that a list names may be named again: by rule 2b, or by 2a where this run sent it.
    fn nameable(&self, handle: &Handle, view: &ChainView) -> bool {
        let fresh = |p: &KnownPack| self.own.contains(handle) && is_fresh(p.noted, view.newest_modified);
        let pack = self.memory.packs.get(handle);
        pack.is_some_and(|p| view.names(&p.list, p.index) || fresh(p))
    }

    /// The log: what the snapshot needs, and what stays reusable beside it.
    async fn log_content(
        &self,
        lists: &Lists,
        view: &ChainView,
        state: &State,
    ) -> Result<Content, BackupError> {
        let kept = self.kept(view, lists);
        let last = &self.memory.last;
        let store = self.uploader.store();
        let domains: HashSet<ScopeAlias> = kept.values().map(|p| p.domain).collect();
        let (mut volumes, mut dropped) = (Vec::new(), HashSet::new());
        for volume in &last.volumes {
            let kept = self.kept.contains(&volume.domain);
            if self.covers(&volume.domain) && !kept {
                continue;
            }
            if kept || domains.contains(&volume.domain) {
                volumes.push(volume.clone());
            } else {
                // Its time is over: its files must not be named for ever.
                dropped.extend(log::files_of(volume, &log::read_index(store, volume).await?));
            }
        }
        dropped.extend(last.segments.iter().map(|s| s.sha256));
        dropped.extend(last.pack_files.iter().map(|f| f.sha256));
        let mut files: HashSet<Sha256> =
            self.memory.files.iter().filter(|f| !dropped.contains(f)).copied().collect();
        let mut packs = lists.known.clone();
        packs.extend(kept.iter().map(|(h, p)| (*h, *p)));
        packs.extend(self.reused.iter().filter_map(|h| Some((*h, *self.memory.packs.get(h)?))));
        let objects = match &self.remains {
            Remains::Run { objects, volumes: left } => {
                for volume in left {
                    files.retain(|f| !volume.replaced.contains(f));
                }
                for volume in left {
                    files.extend(&volume.files);
                    volumes.push(volume.log.clone());
                }
                self.add_unfinished(&mut volumes);
                // The run's own body can never be reused.
                let body = super::pack::domain_alias(
                    &state.dedup_key().ok_or(BackupError::NoKey)?,
                    super::body::BODY,
                );
                packs.retain(|_, p| p.domain != body);
                match objects {
                    None => self.kept_segments(&kept),
                    Some(needed) => {
                        let chunks = self.object_chunks(needed, &kept);
                        let used: HashSet<Handle> = chunks.iter().map(|c| c.reference.handle).collect();
                        let mut of_volumes = self.memory.volumes();
                        of_volumes.extend(volumes.iter().map(|v| v.domain));
                        packs.retain(|h, p| used.contains(h) || of_volumes.contains(&p.domain));
                        Objects::Chunks(chunks)
                    }
                }
            }
            Remains::Checkpoint(domain) => {
                // Others must see that its packs are a volume's, although its first run has not finished.
                if !volumes.iter().any(|v| v.domain == *domain) {
                    volumes.push(VolumeLog::unfinished(*domain));
                }
                self.kept_segments(&kept)
            }
        };
        Ok(Content {
            packs: packs.into_values().collect(),
            objects,
            volumes,
            files: files.into_iter().collect(),
        })
    }

    /// The next run must see that packs of unfinished readings are volumes'.
    fn add_unfinished(&self, volumes: &mut Vec<VolumeLog>) {
        for unfinished in &self.unfinished {
            if !volumes.iter().any(|v| v.domain == unfinished.domain) {
                volumes.push(VolumeLog::unfinished(unfinished.domain));
            }
        }
    }

    /// The objects' segments as they were, unless nothing of them is reusable any more. A chunk in them whose pack is
    /// no longer known is not reused.
    fn kept_segments(&self, kept: &std::collections::HashMap<Handle, KnownPack>) -> Objects {
        let volumes = self.memory.volumes();
        let any = kept.values().any(|p| !volumes.contains(&p.domain));
        Objects::Segments(if any { self.memory.last.segments.clone() } else { Vec::new() })
    }
}
