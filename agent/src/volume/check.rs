//! What is looked at before a worker's result is believed: its lists and packs are in the store and say the same, its
//! root is among them, and what it uses again may be used. Whoever signs trusts nothing that it can see for itself.

use super::result::WorkResult;
use crate::backup::look;
use lifeboat_common::store::{ReadStore, StoreError};
use lifeboat_format::id::{Handle, RunId, ScopeAlias, Sha256};
use lifeboat_format::pack::Header;
use lifeboat_format::pack_list::PackList;
use lifeboat_format::send_log::KnownPack;
use lifeboat_format::volume_log::SPARSE_MAX;
use lifeboat_format::{layout, limits};
use std::collections::{HashMap, HashSet};

/// Lists that one result may name: of the attempts that it went on from.
const LISTS_MAX: usize = 256;
/// A volume's part of the log's root, bytes: all of them share one root.
const LOG_MAX: usize = 512 << 10;
/// Bytes of a pack that hold its header.
const HEADER: u64 = 2048;

/// Why a result is not believed.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("it is of another run or volume than was asked for")]
    Other,
    #[error("it names more {0} than a volume can have")]
    TooMany(&'static str),
    #[error("it names pack {0} twice, or as another volume's")]
    Ambiguous(Handle),
    #[error("pack {0} is not in the list that it says, or otherwise than it says")]
    NotListed(Handle),
    #[error("list {0} is not what it says, or not sealed to the key that it says")]
    List(Sha256),
    #[error("{0} of its packs are not in the store, or otherwise than it says")]
    Absent(usize),
    #[error("pack {0} of an earlier snapshot may not be used again")]
    NotReusable(Handle),
    #[error(
        "the snapshot would name more pack lists than it can; it is merged into fewer, and read again by the next backup"
    )]
    ListsFull,
    #[error("its root is in none of its packs")]
    Root,
}

/// What a result is held against.
pub(crate) struct Against<'a> {
    pub(crate) store: &'a dyn ReadStore,
    pub(crate) run: RunId,
    pub(crate) domain: ScopeAlias,
    /// Whether a pack of an earlier snapshot is this volume's and may be named again.
    pub(crate) reusable: &'a (dyn Fn(&Handle) -> bool + Sync),
    /// Whether a pack is known as something else's.
    pub(crate) foreign: &'a (dyn Fn(&Handle) -> bool + Sync),
}

/// Checks a result against the store.
///
/// # Errors
/// The first thing that is not as it says.
pub(crate) async fn check(result: &WorkResult, against: &Against<'_>) -> Result<(), Refused> {
    shape(result, against)?;
    for list in &result.lists {
        let of_list = || result.packs.iter().filter(|p| p.list == list.sha256);
        let bytes = match against.store.get(&layout::list(&list.sha256), limits::LIST_MAX).await {
            Ok(bytes) => bytes,
            Err(e) if e.kind.is_transient() => return Err(e.into()),
            Err(_) => return Err(Refused::List(list.sha256)),
        };
        let parsed = PackList::parse(&bytes).ok();
        let parsed =
            parsed.filter(|l| l.sealed_run_key == list.sealed_run_key && Sha256::of(&bytes) == list.sha256);
        let Some(parsed) = parsed else { return Err(Refused::List(list.sha256)) };
        for p in of_list() {
            let same = parsed
                .packs
                .get(p.index as usize)
                .is_some_and(|e| (e.sha256, e.size, e.handle) == (p.sha256, p.size, p.handle));
            if !same {
                return Err(Refused::NotListed(p.handle));
            }
        }
        let root = of_list().find(|p| Some(p.handle) == result.root.map(|r| r.handle));
        if let Some(pack) = root.or_else(|| of_list().next()) {
            header(against.store, pack, &list.sealed_run_key).await?;
        }
    }
    let absent = look::unfit(against.store, result.packs.iter().copied()).await?;
    if absent > 0 { Err(Refused::Absent(absent)) } else { Ok(()) }
}

/// What needs no store.
fn shape(result: &WorkResult, against: &Against<'_>) -> Result<(), Refused> {
    let domain = against.domain;
    if result.run != against.run || result.domain != domain || result.log.domain != domain {
        return Err(Refused::Other);
    }
    let log = minicbor::to_vec(&result.log).expect("writing to memory does not fail");
    if result.lists.len() > LISTS_MAX {
        return Err(Refused::TooMany("lists"));
    }
    if log.len() > LOG_MAX || result.log.sparse.len() > SPARSE_MAX {
        return Err(Refused::TooMany("files of its log"));
    }
    let lists: HashSet<Sha256> = result.lists.iter().map(|l| l.sha256).collect();
    let mut packs: HashMap<Handle, Sha256> = HashMap::new();
    for p in &result.packs {
        if p.domain != domain || (against.foreign)(&p.handle) || packs.insert(p.handle, p.sha256).is_some() {
            return Err(Refused::Ambiguous(p.handle));
        }
        if !lists.contains(&p.list) || p.size > limits::PACK_MAX {
            return Err(Refused::NotListed(p.handle));
        }
    }
    let mut reused = HashSet::new();
    for handle in &result.reused {
        if packs.contains_key(handle) || !reused.insert(*handle) {
            return Err(Refused::Ambiguous(*handle));
        }
        if !(against.reusable)(handle) {
            return Err(Refused::NotReusable(*handle));
        }
    }
    match result.root {
        Some(root) if packs.contains_key(&root.handle) || reused.contains(&root.handle) => Ok(()),
        None if packs.is_empty() && reused.is_empty() => Ok(()),
        _ => Err(Refused::Root),
    }
}

/// The list is in its worker's key when a pack of it repeats that key.
pub(crate) async fn header(
    store: &dyn ReadStore,
    pack: &KnownPack,
    sealed_run_key: &[u8],
) -> Result<(), Refused> {
    let start = match store.get_range(&layout::pack(&pack.sha256), 0, HEADER).await {
        Ok(start) => start,
        Err(e) if e.kind.is_transient() => return Err(e.into()),
        Err(_) => return Err(Refused::Absent(1)),
    };
    let header = Header::parse(&start).ok();
    let same = header.is_some_and(|h| h.handle == pack.handle && h.sealed_run_key == sealed_run_key);
    if same { Ok(()) } else { Err(Refused::List(pack.list)) }
}
