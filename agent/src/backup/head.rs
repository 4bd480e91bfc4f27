//! The head of the chain, as the agent sees it before it reuses or commits anything: the newest manifest that counts,
//! its two predecessors, and the lowest free slot, junk taking slots like any other (docs/format.md, "Commit and reuse" 1).

use super::state::KnownHead;
use jiff::Timestamp;
use lifeboat_common::store::{ReadStore, StoreError, StoreErrorKind};
use lifeboat_format::charter::{AgentKey, Charter};
use lifeboat_format::crypto::sign::VerifyKey;
use lifeboat_format::id::{RunId, Sha256};
use lifeboat_format::manifest::{SignedManifest, UnverifiedManifest};
use lifeboat_format::{layout, limits};

/// Manifests whose packs may be reused: the head and two before it (rule 2).
const WINDOW: usize = 3;
/// Manifests below those that are looked at for that of an interrupted run.
const FIND_MAX: usize = 8;
/// Junk slots that are passed over in search of the head or a predecessor.
const JUNK_MAX: u64 = 16_384;

#[derive(Debug, thiserror::Error)]
pub enum HeadError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(
        "{store} has pack lists but no manifest: its manifests were removed, or it belongs to something else; restore from the vault and run `lifeboat adopt`, or start with an empty prefix"
    )]
    Emptied { store: String },
    #[error(
        "{store} went back from snapshot {known} to {found}: its newest manifests were removed; look at the vault's alarms, then run `lifeboat adopt`"
    )]
    WentBack { store: String, known: u64, found: u64 },
    #[error(
        "Snapshot {seq} in {store} is not the one that this agent committed; somebody replaced it; look at the vault's alarms, then run `lifeboat adopt`"
    )]
    Replaced { store: String, seq: u64 },
    #[error(
        "The head of the chain in {store} is hidden under more than {JUNK_MAX} junk manifests; find out who writes them, change the store's credentials, then run `lifeboat adopt`"
    )]
    Buried { store: String },
}

/// What the agent knows of the chain.
#[derive(Debug, Clone)]
pub struct ChainView {
    /// What the next manifest extends.
    pub head: Option<SignedManifest>,
    /// The head and up to two before it, newest first, as far as this agent key signed them.
    pub window: Vec<SignedManifest>,
    /// The lowest slot under `manifests/` that is free: where the next manifest goes.
    pub free: u64,
    /// The store's time of the newest object under `manifests/`.
    pub newest_modified: Option<Timestamp>,
    /// The store's clock when it answered last.
    pub store_time: Timestamp,
}

impl ChainView {
    #[must_use]
    pub fn head(&self) -> Option<&SignedManifest> {
        self.head.as_ref()
    }

    /// Whether a manifest in the window names pack `index` of `list` (rule 2b). The window is this agent key's own:
    /// what an earlier key named may be gone already.
    #[must_use]
    pub fn names(&self, list: &Sha256, index: u32) -> bool {
        self.window.iter().any(|m| m.manifest.names(list, index as usize))
    }
}

/// Reads the head. `known` is what this agent committed last, so that one short listing does.
pub async fn read(
    store: &dyn ReadStore,
    charter: &Charter,
    agent: &VerifyKey,
    known: Option<KnownHead>,
    interrupted_first_run: bool,
) -> Result<ChainView, HeadError> {
    let mut view = slots(store, known).await?;
    let described = || store.describe();
    let highest = view.free - 1;
    if let Some(known) = known.filter(|k| k.seq > highest) {
        return Err(HeadError::WentBack { store: described(), known: known.seq, found: highest });
    }
    if highest == 0 {
        let lists = store.list(layout::LISTS, None, 1).await?;
        if !lists.entries.is_empty() && !interrupted_first_run {
            return Err(HeadError::Emptied { store: described() });
        }
        return Ok(view);
    }
    let from = charter.agents.iter().find(|a| a.key == *agent).and_then(|a| a.from);
    let keys: Vec<VerifyKey> = charter.agents.iter().map(|a: &AgentKey| a.key).collect();
    let counts = |m: &SignedManifest| m.signer == *agent || Some(m.sha256) == from;
    let Some(head) = search(store, charter, &keys, highest, counts).await? else {
        // Nothing of ours, and nothing to extend: all of it is junk, unless our first slot is buried.
        if known.is_some() || from.is_some() || highest > JUNK_MAX {
            return Err(HeadError::Buried { store: described() });
        }
        return Ok(view);
    };
    if known.is_some_and(|k| k.seq == head.manifest.seq && k.sha256 != head.sha256) {
        return Err(HeadError::Replaced { store: described(), seq: head.manifest.seq });
    }
    if let Some(known) = known.filter(|k| k.seq > head.manifest.seq) {
        let found = head.manifest.seq;
        return Err(HeadError::WentBack { store: described(), known: known.seq, found });
    }
    view.head = Some(head.clone());
    view.window = window(store, charter, agent, head).await?;
    Ok(view)
}

/// The manifest of a run, if an attempt of it has committed: among the newest ones of this agent key.
pub async fn find(
    store: &dyn ReadStore,
    charter: &Charter,
    agent: &VerifyKey,
    view: &ChainView,
    run: RunId,
) -> Result<Option<SignedManifest>, StoreError> {
    if let Some(found) = view.window.iter().find(|m| m.manifest.run == run) {
        return Ok(Some(found.clone()));
    }
    let mut next = view.window.last().cloned();
    for _ in 0..FIND_MAX {
        let Some(manifest) = next else { return Ok(None) };
        let (prev, below) = (manifest.manifest.prev, manifest.manifest.seq - 1);
        let Some(prev) = prev.filter(|_| view.window.len() == WINDOW) else { return Ok(None) };
        next = search(store, charter, &[*agent], below, |m| m.sha256 == prev).await?;
        if let Some(found) = next.as_ref().filter(|m| m.manifest.run == run) {
            return Ok(Some(found.clone()));
        }
    }
    Ok(None)
}

/// The head and its predecessors that this agent key signed: what may be reused never reaches behind a key change.
async fn window(
    store: &dyn ReadStore,
    charter: &Charter,
    agent: &VerifyKey,
    head: SignedManifest,
) -> Result<Vec<SignedManifest>, StoreError> {
    let mut window: Vec<SignedManifest> = Vec::new();
    let mut next = Some(head).filter(|h| h.signer == *agent);
    while let Some(manifest) = next {
        let (prev, below) = (manifest.manifest.prev, manifest.manifest.seq - 1);
        window.push(manifest);
        next = match prev {
            Some(prev) if window.len() < WINDOW => {
                search(store, charter, &[*agent], below, |m| m.sha256 == prev).await?
            }
            _ => None,
        };
    }
    Ok(window)
}

/// What a worker sees of the chain.
#[derive(Debug, Clone, Copy)]
pub struct Glance {
    /// The store's time of the newest object under `manifests/`.
    pub newest_modified: Option<Timestamp>,
    /// The store's clock when it answered.
    pub store_time: Timestamp,
}

/// Looks at the slots from `seq` on, which was taken once, and reads no manifest.
pub async fn glance(store: &dyn ReadStore, seq: u64) -> Result<Glance, StoreError> {
    let view = slots(store, Some(KnownHead { seq, sha256: Sha256([0; 32]) })).await?;
    Ok(Glance { newest_modified: view.newest_modified, store_time: view.store_time })
}

/// The lowest free slot; a listing from the known head on costs one request in a store of any size, since every slot
/// below the head was taken before it.
async fn slots(store: &dyn ReadStore, known: Option<KnownHead>) -> Result<ChainView, StoreError> {
    let first = known.map_or(1, |k| k.seq.max(1));
    let mut after = Some(layout::manifest(first - 1));
    let mut view = ChainView {
        head: None,
        window: Vec::new(),
        free: first,
        newest_modified: None,
        store_time: Timestamp::UNIX_EPOCH,
    };
    loop {
        let page = store.list(layout::MANIFESTS, after.as_deref(), 1000).await?;
        view.store_time = page.store_time;
        for entry in &page.entries {
            let Some(seq) = layout::parse_manifest(&entry.key) else { continue };
            view.newest_modified = view.newest_modified.max(Some(entry.modified));
            if seq == view.free {
                view.free += 1;
            }
        }
        match page.entries.last() {
            Some(last) if page.more => after = Some(last.key.clone()),
            _ => return Ok(view),
        }
    }
}

/// The first manifest at or below `from` that verifies and that `wanted` takes.
async fn search(
    store: &dyn ReadStore,
    charter: &Charter,
    keys: &[VerifyKey],
    from: u64,
    wanted: impl Fn(&SignedManifest) -> bool,
) -> Result<Option<SignedManifest>, StoreError> {
    for seq in (1..=from).rev().take(usize::try_from(JUNK_MAX).expect("a small constant")) {
        let bytes = match store.get(&layout::manifest(seq), limits::MANIFEST_MAX).await {
            Ok(bytes) => bytes,
            Err(e) if matches!(e.kind, StoreErrorKind::NotFound | StoreErrorKind::TooLarge) => continue,
            Err(e) => return Err(e),
        };
        let parsed = UnverifiedManifest::parse(&bytes);
        let verified = parsed.and_then(|m| m.verify(keys, &charter.cluster, seq));
        if let Some(manifest) = verified.ok().filter(|m| wanted(m)) {
            return Ok(Some(manifest));
        }
    }
    Ok(None)
}
