//! The start of a run: the chain as it stands, what is remembered of it, what may be reused, a fresh run key.

use super::error::BackupError;
use super::head::{self, ChainView};
use super::log::{self, Depth, Memory};
use super::look;
use super::pack::{Reusable, domain_alias};
use super::resume::{self, Cadence, Interrupted, UploadLog};
use super::reuse;
use super::setup::{Setup, SetupError};
use super::state::{Held, KnownHead, Pending, State};
use super::upload::{Rate, Uploader};
use jiff::Timestamp;
use lifeboat_common::store::{ReadStore, StoreError};
use lifeboat_format::crypto::derive::{RunKey, Secret32};
use lifeboat_format::crypto::{random, seal};
use lifeboat_format::id::{Handle, RunId, ScopeAlias, Sha256};
use lifeboat_format::layout;
use lifeboat_format::manifest::{Coverage, SignedManifest};
use lifeboat_format::send_log::{KnownChunk, KnownPack};
use std::collections::{HashMap, HashSet};
use std::time::Duration;

/// Packs that are looked for in the store in one run, so that its requests do not grow with the store.
const LOOKS: usize = 64;
/// Markers of lost packs that are read.
const LOST_MAX: usize = 100_000;

/// What a run is of.
#[derive(Debug, Clone)]
pub struct Kind {
    /// The volume's domain; `None`: the cluster's objects.
    pub volume: Option<String>,
    /// How often it logs what it has sent.
    pub cadence: Cadence,
    /// How fast it may send.
    pub rate: Option<Rate>,
}

impl Kind {
    #[must_use]
    pub fn objects() -> Self {
        Self { volume: None, cadence: Cadence::OBJECTS, rate: None }
    }

    fn depth(&self) -> Depth {
        if self.volume.is_some() { Depth::Volume } else { Depth::Objects }
    }
}

/// Everything that a run starts from.
pub struct Begun {
    pub view: ChainView,
    pub memory: Memory,
    pub interrupted: Interrupted,
    pub uploader: Uploader,
    pub run_key: RunKey,
    pub sealed_run_key: Vec<u8>,
    pub dedup_key: Secret32,
    pub upload_log: UploadLog,
    /// Packs that are known to be gone, marked so or looked for in vain.
    pub gone: HashSet<Sha256>,
    /// Packs of earlier manifests, of what the run is of, that may be named again; the interrupted run's are beside.
    pub allowed: HashSet<Handle>,
}

/// How a run starts.
pub enum Start {
    Begun(Box<Begun>),
    /// An earlier attempt of it has committed.
    Found(Box<SignedManifest>),
}

pub async fn begin(
    setup: &Setup,
    file: &Held,
    state: &mut State,
    kind: &Kind,
    now: Timestamp,
    wanted: Option<RunId>,
) -> Result<Start, BackupError> {
    let store = &*setup.store;
    let charter = setup.charter.charter();
    let agent = setup.signing.verify_key();
    let interrupted_first = state.head.is_none() && state.interrupted();
    let view = head::read(store, charter, &agent, state.head, interrupted_first).await?;
    same_origin(state, &view, kind)?;
    reconcile(state, &view);
    if let Some(run) = wanted
        && let Some(found) = head::find(store, charter, &agent, &view, run).await?
    {
        file.save(state).await?;
        return Ok(Start::Found(Box::new(found)));
    }
    state.turn_to(kind.volume.as_deref().unwrap_or_default());

    let memory = log::load(store, state, &view, kind.depth()).await?;
    let named = |h: &Handle| memory.packs.get(h).is_some_and(|p| view.names(&p.list, p.index));
    let log = state.pending.as_ref().and_then(|p| Some((p.pieces.clone(), p.key()?)));
    let interrupted = resume::load(store, log, view.newest_modified, &named).await?;
    let dedup_key = state.dedup_key().ok_or(BackupError::NoKey)?;
    let domain = kind.volume.as_ref().map(|volume| domain_alias(&dedup_key, volume));
    let packs = packs_of(&memory, domain);
    let gone = if domain.is_some() {
        gone(store, state, &packs).await?
    } else {
        gone(store, state, &all_packs(&memory)).await?
    };
    let live = live(&memory, domain, &packs);
    let allowed = reuse::reusable(packs.iter(), &live, &view, &gone, now);

    let fresh = || {
        Pending::new(kind.volume.as_deref().unwrap_or_default(), RunId(random::bytes()), &Secret32::random())
    };
    let mut cadence = kind.cadence;
    if state.pending.is_some() || kind.rate.is_some() {
        // It was interrupted once, or takes long on purpose: it may be interrupted again.
        cadence.pause = Duration::ZERO;
    }
    // What an interrupted run has sent is its successor's, whatever that was asked for (decision 0014). The same run
    // keeps its key in any case: its volumes' upload logs are under keys that come from it.
    let mut run = state
        .pending
        .take()
        .filter(|p| !interrupted.is_empty() || Some(p.run) == wanted)
        .unwrap_or_else(fresh);
    run.run = wanted.unwrap_or(run.run);
    state.pending = Some(run);
    state.charter = state.charter.max(charter.n);
    file.save(state).await?;

    let epoch = charter.current_epoch().ok_or(BackupError::NoEpoch)?;
    let run_key = RunKey::random();
    let sealed_run_key = seal::run_key(&epoch.recipient, &run_key)?;
    let last_piece = interrupted.pieces.first().copied();
    let upload_log = UploadLog::new(sealed_run_key.clone(), now, cadence, last_piece);
    let uploader = Uploader::new(setup.store.clone(), view.store_time, kind.rate);
    let begun = Begun {
        view,
        memory,
        interrupted,
        uploader,
        run_key,
        sealed_run_key,
        dedup_key,
        upload_log,
        gone,
        allowed,
    };
    Ok(Start::Begun(Box::new(begun)))
}

/// A rebuilt cluster or host has the keys out of a file and no state: then the chain says where it was read. Snapshots
/// of clusters and of paths are compared among themselves.
fn same_origin(state: &State, view: &ChainView, kind: &Kind) -> Result<(), SetupError> {
    let paths = kind.volume.is_some();
    let wanted = |c: Coverage| c != Coverage::Checkpoint && (c == Coverage::Paths) == paths;
    let read = view.window.iter().find(|m| wanted(m.manifest.coverage));
    let known = if paths { state.path_origin } else { state.origin };
    match (read, known) {
        (Some(last), Some(origin)) if last.manifest.origin != origin => {
            Err(if paths { SetupError::OtherHost } else { SetupError::OtherCluster })
        }
        _ => Ok(()),
    }
}

/// A run that committed and died before it wrote so: its log's root in the chain tells. Oldest first, so that the
/// newest log's key is kept longest; another run may have committed on top of it.
fn reconcile(state: &mut State, view: &ChainView) {
    for m in view.window.iter().rev() {
        if let Some(log) = &m.manifest.log {
            state.heard_of(&log.root, m.manifest.coverage == Coverage::Checkpoint);
        }
    }
    if let Some(head) = view.window.first() {
        state.head = Some(KnownHead { seq: head.manifest.seq, sha256: head.sha256 });
    }
}

/// The known packs of a volume, or of all objects.
fn packs_of(memory: &Memory, domain: Option<ScopeAlias>) -> Vec<KnownPack> {
    let volumes = memory.volumes();
    let wanted = |p: &&KnownPack| match domain {
        Some(domain) => p.domain == domain,
        None => !volumes.contains(&p.domain),
    };
    let mut packs: Vec<KnownPack> = memory.packs.values().filter(wanted).copied().collect();
    packs.sort_unstable_by_key(|p| p.handle);
    packs
}

/// Those of objects and of all volumes: a run over a cluster reads both.
fn all_packs(memory: &Memory) -> Vec<KnownPack> {
    let mut packs: Vec<KnownPack> = memory.packs.values().copied().collect();
    packs.sort_unstable_by_key(|p| p.handle);
    packs
}

/// The packs of a volume that a run may name again.
pub fn reusable_of_volume(
    memory: &Memory,
    view: &ChainView,
    gone: &HashSet<Sha256>,
    domain: ScopeAlias,
    now: Timestamp,
) -> Vec<KnownPack> {
    let packs = packs_of(memory, Some(domain));
    let allowed = reuse::reusable(packs.iter(), &live(memory, Some(domain), &packs), view, gone, now);
    packs.into_iter().filter(|p| allowed.contains(&p.handle)).collect()
}

/// Plaintext bytes of each pack that the last snapshot needs.
fn live(memory: &Memory, domain: Option<ScopeAlias>, packs: &[KnownPack]) -> HashMap<Handle, u64> {
    let Some(domain) = domain else { return reuse::live_bytes(&memory.needed) };
    let Some(volume) = memory.volume(&domain) else { return HashMap::new() };
    let mut live: HashMap<Handle, u64> = packs.iter().map(|p| (p.handle, p.plain_bytes)).collect();
    live.extend(volume.sparse.iter().copied());
    live
}

/// What the chunks of objects are looked up in.
pub async fn reusable_objects(
    begun: &Begun,
    state: &State,
    store: &dyn ReadStore,
) -> Result<Reusable, StoreError> {
    let known = begun.memory.chunks.iter().filter(|(_, r)| begun.allowed.contains(&r.handle));
    let mut chunks: HashMap<_, _> = known.map(|(id, r)| (*id, *r)).collect();
    if let Some(key) = state.pending.as_ref().and_then(Pending::key) {
        let add = |c: KnownChunk| {
            chunks.entry(c.id).or_insert(c.reference);
        };
        resume::chunks(store, &key, &begun.interrupted, add).await?;
    }
    Ok(Reusable(chunks))
}

/// Packs that are known to be gone: those marked so, and those that this run looked for in vain.
async fn gone(
    store: &dyn ReadStore,
    state: &mut State,
    packs: &[KnownPack],
) -> Result<HashSet<Sha256>, StoreError> {
    let mut gone = HashSet::new();
    let mut after: Option<String> = None;
    while gone.len() < LOST_MAX {
        let page = store.list(layout::LOST, after.as_deref(), 1000).await?;
        gone.extend(page.entries.iter().filter_map(|e| layout::parse_hash_named(layout::LOST, &e.key)));
        after = page.entries.last().map(|e| e.key.clone());
        if !page.more || after.is_none() {
            break;
        }
    }
    let look = reuse::rotating(packs, state.looked, LOOKS).copied();
    let missing = look::gone(store, look).await?;
    state.looked = state.looked.wrapping_add(LOOKS as u64);
    for sha256 in &missing {
        tracing::warn!(pack = %sha256, "a pack that is to be reused is gone from the store; its content is stored again");
    }
    gone.extend(missing);
    Ok(gone)
}
