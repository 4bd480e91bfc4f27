//! The volumes of a run, beside its objects: chooses them, makes their orders, has them read, and checks what comes back.
//! A volume that cannot be read, or whose result is not believed, is missed; it never fails the run.

use super::attempt::Run;
use super::begin;
use super::head::ChainView;
use super::list_budget;
use super::log::{self, Memory};
use super::pack::domain_alias;
use super::state::{Pending, State};
use super::upload::Uploader;
use super::volumes::{Choice, ChooseError, Chosen, Claim, Consistency, Outcome, Task, Volumes};
use super::{BackupError, Request, Setup};
use crate::select::volumes::is_by_mode;
use crate::volume::check::{Against, Refused, check};
use crate::volume::order::{OldPack, Order, OrderKeys, OrderOptions};
use crate::volume::result::WorkResult;
use crate::volume::{WorkError, merge};
use bytes::Bytes;
use jiff::Timestamp;
use lifeboat_common::reader::is_volume_name;
use lifeboat_format::charter::Charter;
use lifeboat_format::crypto::derive::{DomainKeys, Secret32, labelled, scope_alias};
use lifeboat_format::id::{Handle, RunId, ScopeAlias, Sha256};
use lifeboat_format::send_log::KnownPack;
use lifeboat_format::volume_log::LastTree;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use tokio::sync::mpsc;

/// Orders that are sent together, and bytes of them.
const ORDERS_TOGETHER: usize = 8;
const ORDER_BYTES_TOGETHER: usize = 16 << 20;

/// Of a kept volume.
const LOST: &str = "nothing mounts it, and what its last backup stored can no longer be used again; mount it, so that it is read";

/// A volume that was read, and whose result was checked.
pub(super) struct ReadVolume {
    pub(super) claim: Claim,
    pub(super) uid: String,
    pub(super) result: WorkResult,
    pub(super) consistency: Consistency,
}

/// A volume whose last tree is named again.
pub(super) struct KeptVolume {
    pub(super) claim: Claim,
    pub(super) domain: ScopeAlias,
    pub(super) tree: LastTree,
    pub(super) handles: HashSet<Handle>,
    pub(super) overdue: bool,
}

/// A volume that is not in the snapshot and should be.
pub(super) struct MissedVolume {
    pub(super) claim: Claim,
    pub(super) reason: String,
    pub(super) message: String,
    /// Where the next run goes on from.
    pub(super) uploads: Option<(Secret32, Sha256)>,
}

/// What became of the volumes of a run.
#[derive(Default)]
pub(super) struct VolumesRead {
    /// Nobody was there to read any.
    pub(super) none: bool,
    pub(super) error: Option<ChooseError>,
    pub(super) read: Vec<ReadVolume>,
    pub(super) kept: Vec<KeptVolume>,
    pub(super) missed: Vec<MissedVolume>,
    /// By rule.
    pub(super) excluded: BTreeMap<String, u64>,
    /// Namespaces with claims that the backup's mode leaves out: it does not hold them whole.
    pub(super) unasked: BTreeSet<String>,
}

/// What the run builds on.
#[derive(Clone, Copy)]
pub(super) struct Known<'a> {
    pub(super) memory: &'a Memory,
    pub(super) view: &'a ChainView,
    /// Packs that are known to be gone.
    pub(super) gone: &'a HashSet<Sha256>,
}

/// What does not change while the volumes of one attempt are read.
pub(super) struct VolumeRun<'a> {
    setup: &'a Setup,
    request: &'a Request,
    volumes: Option<&'a dyn Volumes>,
    known: Known<'a>,
    uploader: Uploader,
    dedup_key: Secret32,
    pub(super) run: RunId,
    /// What keys of upload logs come from.
    run_key: Secret32,
    /// Upload logs of unfinished readings.
    unfinished: HashMap<ScopeAlias, (Secret32, Sha256)>,
    now: Timestamp,
}

impl<'a> VolumeRun<'a> {
    pub(super) fn new(
        run: &Run<'a>,
        known: Known<'a>,
        uploader: Uploader,
        dedup_key: Secret32,
        state: &State,
        now: Timestamp,
    ) -> Result<Self, BackupError> {
        let pending = state.pending.as_ref();
        let (id, run_key) =
            pending.and_then(|p: &Pending| Some((p.run, p.key()?))).ok_or(BackupError::NoKey)?;
        Ok(Self {
            setup: run.setup,
            request: run.request,
            volumes: run.control.volumes,
            known,
            uploader,
            dedup_key,
            run: id,
            run_key,
            unfinished: state.all_uploads(),
            now,
        })
    }

    /// Has the volumes read. `done`: results of an earlier attempt at this run, which stand if they still can.
    pub(super) async fn read(&self, done: Vec<ReadVolume>) -> Result<VolumesRead, BackupError> {
        let mut out = VolumesRead::default();
        let Some(volumes) = self.volumes else {
            out.none = true;
            return Ok(out);
        };
        let chosen = match volumes.choose(self.request).await {
            Ok(chosen) => chosen,
            Err(error) => {
                tracing::warn!(%error, "the volumes cannot be looked at");
                out.error = Some(error);
                return Ok(out);
            }
        };
        let to_read = self.sort(chosen, &mut out).await?;
        let mut taken = Taken { lists: self.fixed_lists(&out), max: volumes.lists_max(), ..Taken::default() };
        let fixed = taken.lists.len();
        let (mut to_read, spoiled) = self.still_good(to_read, done, &mut out, &mut taken).await?;
        // Results that stand name theirs already.
        let free = list_budget::free(taken.max, taken.lists.len().max(fixed));
        let old = self.make_room(free, &mut to_read, &mut out);
        let tasks = self.orders(&to_read, &spoiled, old).await?;
        let (send, mut outcomes) = mpsc::unbounded_channel();
        let read = volumes.read(self.run, tasks, send);
        let take = async {
            while let Some(outcome) = outcomes.recv().await {
                self.take(outcome, &mut to_read, &mut out, &mut taken).await;
            }
        };
        tokio::join!(read, take);
        for (claim, _) in to_read {
            let message = "no worker said what became of it".to_owned();
            out.missed.push(MissedVolume { claim, reason: "NotRead".to_owned(), message, uploads: None });
        }
        out.read.sort_by(|a, b| a.claim.cmp(&b.claim));
        out.missed.sort_by(|a, b| a.claim.cmp(&b.claim));
        Ok(out)
    }

    /// Takes up what need not be read; gives what must, with the claims' uids.
    async fn sort(
        &self,
        chosen: Vec<Chosen>,
        out: &mut VolumesRead,
    ) -> Result<BTreeMap<Claim, String>, BackupError> {
        let mut seen: HashSet<Claim> = HashSet::new();
        let mut to_read = BTreeMap::new();
        for Chosen { claim, uid, choice } in chosen {
            if !seen.insert(claim.clone()) {
                continue;
            }
            let missed = |reason: &str, message: &str| MissedVolume {
                claim: claim.clone(),
                reason: reason.to_owned(),
                message: message.to_owned(),
                uploads: self.unfinished.get(&self.domain(&claim)).cloned(),
            };
            let choice = match choice {
                Choice::Kept { overdue_seconds, otherwise } => {
                    match self.keep(&claim, &uid, overdue_seconds).await? {
                        Ok(kept) => {
                            out.kept.push(kept);
                            continue;
                        }
                        Err(Some(why)) => {
                            Choice::Missed { reason: "NotMounted".to_owned(), message: why.to_owned() }
                        }
                        Err(None) => *otherwise,
                    }
                }
                other => other,
            };
            match choice {
                Choice::Excluded { by } => {
                    if is_by_mode(&by) {
                        out.unasked.insert(claim.namespace.clone());
                    }
                    *out.excluded.entry(by).or_default() += 1;
                }
                Choice::Missed { reason, message } => out.missed.push(missed(&reason, &message)),
                _ if !is_volume_name(&claim.name) => {
                    out.missed.push(missed("NameUnsafe", "its name cannot be a volume's"));
                }
                Choice::Read => {
                    to_read.insert(claim, uid);
                }
                Choice::Kept { .. } => out.missed.push(missed("NotMounted", "nothing mounts it")),
            }
        }
        Ok(to_read)
    }

    /// Lists that the snapshot will name whatever is read: of objects, and of kept volumes.
    fn fixed_lists(&self, out: &VolumesRead) -> HashSet<Sha256> {
        let (memory, of_volumes) = (self.known.memory, self.known.memory.volumes());
        let objects = memory.packs.values().filter(|p| !of_volumes.contains(&p.domain));
        let objects = objects.filter(|p| self.known.view.names(&p.list, p.index));
        let kept = out.kept.iter().flat_map(|k| &k.handles).filter_map(|h| memory.packs.get(h));
        list_budget::lists(objects.chain(kept))
    }

    /// Sees that what is to be read fits into the snapshot: how many lists of earlier runs each volume may name. What
    /// does not fit at all is missed; those that were read longest ago go first.
    fn make_room(&self, free: usize, to_read: &mut BTreeMap<Claim, String>, out: &mut VolumesRead) -> usize {
        let mut by_age: Vec<(Option<i64>, Claim, usize)> = Vec::new();
        for claim in to_read.keys() {
            let domain = self.domain(claim);
            let read = self.known.memory.volume(&domain).and_then(|v| Some(v.tree.as_ref()?.read));
            let lists = list_budget::lists(&self.reusable(domain)).len();
            by_age.push((read, claim.clone(), lists));
        }
        by_age.sort();
        let counts: Vec<usize> = by_age.iter().map(|(_, _, lists)| *lists).collect();
        let share = list_budget::share(free, &counts);
        for (_, claim, _) in by_age.drain(share.volumes..) {
            to_read.remove(&claim);
            let uploads = self.unfinished.get(&self.domain(&claim)).cloned();
            let message =
                "one snapshot cannot name the packs of so many volumes; it goes first the next time"
                    .to_owned();
            out.missed.push(MissedVolume { claim, reason: "TooManyVolumes".to_owned(), message, uploads });
        }
        share.old
    }

    /// Packs of a volume's earlier snapshots that may be named again.
    fn reusable(&self, domain: ScopeAlias) -> Vec<KnownPack> {
        let Known { memory, view, gone } = self.known;
        begin::reusable_of_volume(memory, view, gone, domain, self.now)
    }

    fn domain(&self, claim: &Claim) -> ScopeAlias {
        domain_alias(&self.dedup_key, &claim.domain())
    }

    /// Whether the chain names a pack as this domain's, and it is there as far as is known (rule 2b; ages and sizes do
    /// not count).
    fn is_nameable(&self, domain: &ScopeAlias, handle: &Handle) -> bool {
        self.known.memory.packs.get(handle).is_some_and(|p| {
            p.domain == *domain
                && self.known.view.names(&p.list, p.index)
                && !self.known.gone.contains(&p.sha256)
        })
    }

    /// The last tree of a volume that nobody mounts, or why it cannot be named again; `None`: there is none.
    async fn keep(
        &self,
        claim: &Claim,
        uid: &str,
        overdue_seconds: i64,
    ) -> Result<Result<KeptVolume, Option<&'static str>>, BackupError> {
        let domain = self.domain(claim);
        let tree = self.known.memory.volume(&domain).and_then(|log| log.tree.clone());
        let of_claim = |t: &LastTree| t.claim == claim_alias(&self.dedup_key, uid);
        let Some(tree) = tree.filter(of_claim) else {
            return Ok(Err(None));
        };
        let handles = merge::handles(&*self.setup.store, &tree).await?;
        let nameable = |all: &HashSet<Handle>| all.iter().all(|h| self.is_nameable(&domain, h));
        let Some(handles) = handles.filter(nameable) else {
            return Ok(Err(Some(LOST)));
        };
        let overdue = self.now.as_second().saturating_sub(tree.read) > overdue_seconds;
        Ok(Ok(KeptVolume { claim: claim.clone(), domain, tree, handles, overdue }))
    }

    /// Keeps results of before that still stand; the claims of those that do not must be read anew.
    async fn still_good(
        &self,
        mut to_read: BTreeMap<Claim, String>,
        done: Vec<ReadVolume>,
        out: &mut VolumesRead,
        taken: &mut Taken,
    ) -> Result<(BTreeMap<Claim, String>, HashSet<Claim>), BackupError> {
        let mut spoiled = HashSet::new();
        for volume in done {
            if to_read.get(&volume.claim) != Some(&volume.uid) {
                continue;
            }
            match self.check(&volume.claim, &volume.result, taken).await {
                Ok(()) => {
                    to_read.remove(&volume.claim);
                    out.read.push(volume);
                }
                Err(why) => {
                    tracing::info!(claim = %volume.claim, %why, "a volume is read again");
                    spoiled.insert(volume.claim);
                }
            }
        }
        Ok((to_read, spoiled))
    }

    async fn orders(
        &self,
        to_read: &BTreeMap<Claim, String>,
        spoiled: &HashSet<Claim>,
        old_lists: usize,
    ) -> Result<Vec<Task>, BackupError> {
        let (mut tasks, mut unsent, mut bytes) = (Vec::new(), Vec::<(Sha256, Bytes)>::new(), 0);
        for claim in to_read.keys() {
            let key = Secret32::random();
            let (order, sealed) = self.order(claim, old_lists)?.seal(&key);
            bytes += sealed.len();
            unsent.push((order, sealed));
            if unsent.len() >= ORDERS_TOGETHER || bytes >= ORDER_BYTES_TOGETHER {
                log::send(&self.uploader, std::mem::take(&mut unsent)).await?;
                bytes = 0;
            }
            tasks.push(Task { claim: claim.clone(), order, key, anew: spoiled.contains(claim) });
        }
        log::send(&self.uploader, unsent).await?;
        Ok(tasks)
    }

    fn order(&self, claim: &Claim, old_lists: usize) -> Result<Order, BackupError> {
        let charter: &Charter = self.setup.charter.charter();
        let epoch = charter.current_epoch().ok_or(BackupError::NoEpoch)?;
        let domain = self.domain(claim);
        let unfinished = self.unfinished.get(&domain);
        let keys = OrderKeys {
            domain: DomainKeys::new(&self.dedup_key, &claim.domain()),
            upload: self.upload_key(&domain),
            sizes: charter.chunking,
        };
        let mut order = Order::new(self.run, charter.cluster.as_str(), &epoch.recipient, domain, &keys);
        order.past = self.known.memory.volume(&domain).cloned().map(|mut log| {
            log.tree = None;
            log
        });
        let packs = list_budget::in_largest(self.reusable(domain), old_lists);
        let old = |p: &KnownPack| OldPack { handle: p.handle, size: p.size, plain_bytes: p.plain_bytes };
        order.packs = packs.iter().map(old).collect();
        order.pieces = unfinished.map(|(_, piece)| *piece).into_iter().collect();
        order.head_seq = self.known.view.free.saturating_sub(1);
        order.options = OrderOptions { markers: true, ..OrderOptions::default() };
        Ok(order)
    }

    /// What pieces of a volume's upload log are sealed under: the same for every attempt of a run, and of the run that
    /// goes on from it.
    fn upload_key(&self, domain: &ScopeAlias) -> Secret32 {
        let unfinished = self.unfinished.get(domain).map(|(key, _)| key.clone());
        unfinished.unwrap_or_else(|| labelled(&self.run_key, "lifeboat/1 volume upload log", &domain.0))
    }

    /// Takes in an outcome.
    async fn take(
        &self,
        outcome: Outcome,
        to_read: &mut BTreeMap<Claim, String>,
        out: &mut VolumesRead,
        taken: &mut Taken,
    ) {
        let (claim, reason, message, piece) = match outcome {
            Outcome::Missed { claim, reason, message, upload_log } => (claim, reason, message, upload_log),
            Outcome::Read { claim, result, key, consistency } => {
                let Some(uid) = to_read.get(&claim).cloned() else { return };
                match self.believe(&claim, &result, &key, taken).await {
                    Ok(result) => {
                        to_read.remove(&claim);
                        out.read.push(ReadVolume { claim, uid, result, consistency });
                        return;
                    }
                    Err(why) => (claim, why.0.to_owned(), why.1, None),
                }
            }
        };
        if to_read.remove(&claim).is_none() {
            return;
        }
        let domain = self.domain(&claim);
        let before = self.unfinished.get(&domain).map(|(_, piece)| *piece);
        let uploads = piece.or(before).map(|piece| (self.upload_key(&domain), piece));
        tracing::warn!(%claim, reason, message, "a volume is missed");
        out.missed.push(MissedVolume { claim, reason, message, uploads });
    }

    async fn believe(
        &self,
        claim: &Claim,
        name: &Sha256,
        key: &Secret32,
        taken: &mut Taken,
    ) -> Result<WorkResult, (&'static str, String)> {
        let result = WorkResult::fetch(&*self.setup.store, name, key).await.map_err(|e| match e {
            WorkError::Store(e) => ("ResultUnavailable", e.to_string()),
            e @ WorkError::Unusable { .. } => ("ResultRefused", e.to_string()),
        })?;
        self.check(claim, &result, taken).await.map_err(|e| match e {
            Refused::Store(e) => ("ResultUnavailable", e.to_string()),
            e @ Refused::ListsFull => ("ListsFull", e.to_string()),
            e => ("ResultRefused", format!("what its worker says is not so: {e}")),
        })?;
        Ok(result)
    }

    async fn check(&self, claim: &Claim, result: &WorkResult, taken: &mut Taken) -> Result<(), Refused> {
        let domain = self.domain(claim);
        let reusable = |h: &Handle| self.is_nameable(&domain, h);
        let other = |h: &Handle| self.known.memory.packs.get(h).is_some_and(|p| p.domain != domain);
        let foreign = |h: &Handle| taken.handles.contains(h) || other(h);
        let store = &*self.setup.store;
        let against = Against { store, run: self.run, domain, reusable: &reusable, foreign: &foreign };
        check(result, &against).await?;
        let packs = &self.known.memory.packs;
        let mut lists = list_budget::of_result(result.packs.iter(), result.reused.iter(), packs);
        lists.extend(&taken.lists);
        // A worker that goes on from many attempts writes more lists than it was reckoned to.
        if lists.len() > list_budget::most(taken.max) {
            return Err(Refused::ListsFull);
        }
        taken.lists = lists;
        taken.handles.extend(result.packs.iter().map(|p| p.handle));
        Ok(())
    }
}

/// What the snapshot will name, as far as it is known.
#[derive(Default)]
struct Taken {
    /// Packs that results of this run name as their own.
    handles: HashSet<Handle>,
    lists: HashSet<Sha256>,
    /// Lists that a snapshot may name.
    max: usize,
}

/// Keyed alias of a claim's uid.
pub(super) fn claim_alias(dedup_key: &Secret32, uid: &str) -> ScopeAlias {
    scope_alias(dedup_key, &format!("claim/{uid}"))
}
