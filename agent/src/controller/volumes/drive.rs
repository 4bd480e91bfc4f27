//! Reads the volumes of a run: adopts what an earlier attempt left, then carries out the plan while the API server tells
//! what becomes of the VolumeBackups. Decides nothing of its own.

use super::act::{self, Begin, Told};
use super::adopt::{self, Asked};
use super::plan::{Action, Adopted, End, Limits, NotBegun, Plan, TurnId};
use super::{NodeVolumes, made, sweep};
use crate::backup::volumes::{Consistency, Outcome, Task};
use crate::cluster::own::OwnEvent;
use crate::controller::objects::Objects;
use crate::kinds::{RUN_LABEL, VolumeBackup};
use crate::select::volumes::{Verdict, hooks};
use futures::StreamExt as _;
use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::FuturesUnordered;
use lifeboat_format::crypto::derive::Secret32;
use lifeboat_format::id::{RunId, Sha256};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::{Instant, interval, sleep, timeout};

/// No sign of life for so long, and a volume is tried elsewhere.
const SILENCE: Duration = Duration::from_secs(300);
const PAUSE: Duration = Duration::from_secs(15);
const LOOK: Duration = Duration::from_secs(1);
/// Between tries to learn what there is.
const AGAIN: Duration = Duration::from_secs(5);
/// How long a refusal is waited out.
const REFUSED: Duration = Duration::from_secs(60);
/// How long removals have at the end; what stays is removed with the run.
const LEAVE: Duration = Duration::from_secs(10);
/// Keys of volumes that were read, which stay for a successor.
const KEPT_KEYS: usize = 500;

/// Reads them; returns when each has an outcome.
pub(super) async fn read(
    volumes: &NodeVolumes,
    run: RunId,
    tasks: Vec<Task>,
    outcomes: UnboundedSender<Outcome>,
) {
    if tasks.is_empty() {
        return;
    }
    let now = Instant::now();
    let limits = Limits {
        per_node: volumes.config.per_node.max(1),
        in_all: volumes.config.in_all.max(1),
        silence: SILENCE,
        freeze: hooks::FREEZE,
        deadline: volumes.until.saturating_duration_since(now),
        pause: PAUSE,
    };
    volumes.telling.counters.begin(tasks.len());
    let asked: Vec<Asked> = tasks.iter().map(|t| asked(volumes, t)).collect();
    let drive = Drive {
        volumes,
        run,
        asked,
        tasks,
        outcomes,
        plan: Plan::new(limits),
        objects: Objects::default(),
        keys: BTreeMap::new(),
        read: VecDeque::new(),
        under_way: FuturesUnordered::new(),
        looking: BTreeSet::new(),
        zero: now,
    };
    drive.run().await;
}

fn asked(volumes: &NodeVolumes, task: &Task) -> Asked {
    let chosen = volumes.chosen(&task.claim);
    let (uid, places) = chosen.map(|c| (c.uid, c.places)).unwrap_or_default();
    Asked { claim: task.claim.clone(), uid, places, anew: task.anew }
}

struct Drive<'a> {
    volumes: &'a NodeVolumes,
    run: RunId,
    tasks: Vec<Task>,
    asked: Vec<Asked>,
    outcomes: UnboundedSender<Outcome>,
    plan: Plan,
    objects: Objects<VolumeBackup>,
    /// Of every VolumeBackup, by its name: its key, and whether it works on the task's own order.
    keys: BTreeMap<String, (Secret32, bool)>,
    /// Volumes that were read, whose keys a successor would need.
    read: VecDeque<String>,
    under_way: FuturesUnordered<BoxFuture<'a, Told>>,
    /// Volumes of which it is to be found out where they are mounted.
    looking: BTreeSet<usize>,
    zero: Instant,
}

impl Drive<'_> {
    async fn run(mut self) {
        if let Err(why) = self.adopt().await {
            return self.all_missed(&why);
        }
        let mut events = Box::pin(self.volumes.ties.own.watch::<VolumeBackup>());
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            self.step();
            if self.plan.is_done() {
                break;
            }
            tokio::select! {
                Some(told) = self.under_way.next(), if !self.under_way.is_empty() => self.told(told),
                Some(event) = events.next() => {
                    if matches!(event, OwnEvent::Trouble(_)) {
                        self.plan.trouble(self.zero.elapsed());
                    }
                    self.objects.take(event);
                }
                _ = look.tick() => {}
            }
        }
        let rest = async { while self.under_way.next().await.is_some() {} };
        if timeout(LEAVE, rest).await.is_err() {
            tracing::debug!("removals of VolumeBackups go on with the end of the run");
        }
    }

    /// What an earlier attempt left: as long as it is not known, nothing is begun. Fails when it cannot be learned: the
    /// objects' backup does not wait for a right that nobody gives.
    async fn adopt(&mut self) -> Result<(), String> {
        let ties = &self.volumes.ties;
        let run = self.run.to_hex();
        let patience = Instant::now() + REFUSED;
        let (all, keys) = loop {
            let found = async {
                let keys = ties.keys.names().await.map_err(|e| (e.permanent(), e.to_string()))?;
                let all = ties.own.volume_backups(Some(&run)).await;
                Ok::<_, (bool, String)>((all.map_err(|e| (e.permanent(), e.to_string()))?, keys))
            };
            match found.await {
                Ok(found) => break found,
                Err((permanent, why)) => {
                    tracing::warn!(why, "the volumes under way cannot be looked at; trying again");
                    let now = Instant::now();
                    if now >= self.volumes.until || (permanent && now >= patience) {
                        return Err(why);
                    }
                    sleep(AGAIN).await;
                }
            }
        };
        let left = adopt::sort(all, &self.asked, &keys);
        let now = ties.reader.now();
        // Overdue thaws first: then there is time for the rest.
        if !left.rest.is_empty() && !sweep::remove(ties, left.rest, &self.volumes.spec.hooks).await {
            tracing::warn!("some VolumeBackups of an earlier attempt could not be removed");
        }
        for (at, asked) in self.asked.iter().enumerate() {
            let number = left.numbers.get(&at).copied().unwrap_or(0);
            self.plan.add(&made::prefix(self.run, &asked.claim), asked.places.clone(), number);
        }
        for (at, volume) in left.good {
            self.go_on(at, volume, now).await;
        }
        Ok(())
    }

    fn all_missed(&self, why: &str) {
        for task in &self.tasks {
            let (claim, message) = (task.claim.clone(), why.to_owned());
            let reason = "VolumeBackupsUnavailable".to_owned();
            let _ = self.outcomes.send(Outcome::Missed { claim, reason, message, upload_log: None });
        }
    }

    async fn go_on(&mut self, at: usize, volume: VolumeBackup, now: jiff::Timestamp) {
        let name = made::name(&volume).to_owned();
        let Some(key) = self.volumes.ties.keys.get(&volume.spec.work_key).await else { return };
        let own = volume.spec.order == self.tasks[at].order.to_hex();
        self.keys.insert(name.clone(), (key, own));
        let mut place = made::place(&volume);
        place.hooks = sweep::recorded(&volume);
        let number = u32::try_from(volume.spec.attempt).unwrap_or(1);
        let frozen = adopt::frozen_for(&volume, now);
        let hooked = frozen.is_none() && made::annotation(&volume, made::HOOKED).is_some();
        let upload_log = volume.status.as_ref().and_then(|s| s.upload_log.clone());
        tracing::info!(name, "going on with a volume that an earlier attempt began");
        self.plan
            .adopt(self.zero.elapsed(), Adopted { volume: at, number, place, frozen, hooked, upload_log });
        self.objects.put(volume);
    }

    fn step(&mut self) {
        let now = self.zero.elapsed();
        if self.objects.is_whole() {
            let run = self.run.to_hex();
            let ours = |v: &&VolumeBackup| {
                v.metadata.labels.as_ref().and_then(|l| l.get(RUN_LABEL)).is_some_and(|r| *r == run)
            };
            let all = self.objects.all().values().filter(ours);
            let bytes = all.clone().filter_map(|v| v.status.as_ref()?.bytes);
            let bytes = bytes.filter_map(|b| u64::try_from(b).ok()).fold(0, u64::saturating_add);
            self.volumes.telling.counters.read(bytes);
            let seen = all.map(|v| (made::name(v).to_owned(), made::seen(v))).collect();
            self.plan.seen(now, &seen);
        }
        for action in self.plan.next(now) {
            match action {
                Action::Begin(id) => self.begin(id),
                Action::Thaw(id) => self.thaw(id),
                Action::Look(at) => {
                    self.looking.insert(at);
                }
                Action::Remove(name) => self.remove(name),
                Action::Tell(at, end) => self.tell(at, end),
            }
        }
        self.look();
    }

    fn begin(&mut self, id: TurnId) {
        let Some(turn) = self.plan.turn(id) else { return };
        let (place, members) = (turn.place.clone(), turn.members.clone());
        let frozen_at = place.hooks.is_some().then(|| self.volumes.ties.reader.now());
        let mut begin = Begin {
            id,
            objects: Vec::new(),
            keys: Vec::new(),
            namespace: String::new(),
            pod: place.pod.clone(),
            hooks: place.hooks.clone(),
        };
        for at in members {
            let (asked, task) = (&self.asked[at], &self.tasks[at]);
            // The Pod is the same for all of a turn; the volume in it is each one's own.
            let place = asked.places.iter().find(|p| p.pod_uid == place.pod_uid).unwrap_or(&place);
            let name = self.plan.name(at);
            let new = made::New {
                backup: self.volumes.telling.backup(),
                run: self.run,
                claim: &asked.claim,
                uid: &asked.uid,
                place,
                order: task.order,
                name: name.clone(),
                number: self.plan.number(at),
                upload_log: self.plan.upload_log(at),
                frozen_at,
            };
            let mut object = new.object();
            if let (Some(hooks), Some(annotations)) = (&begin.hooks, object.metadata.annotations.as_mut()) {
                annotations.extend([sweep::record(hooks)]);
            }
            begin.objects.push(object);
            begin.keys.push((name.clone(), task.key.clone()));
            begin.namespace.clone_from(&asked.claim.namespace);
            self.keys.insert(name, (task.key.clone(), true));
        }
        self.under_way.push(act::begin(self.volumes.ties.clone(), begin).boxed());
    }

    fn thaw(&mut self, id: TurnId) {
        let Some(turn) = self.plan.turn(id) else { return };
        let hooks = turn.place.hooks.clone().unwrap_or_default();
        let namespace =
            turn.members.first().map(|at| self.asked[*at].claim.namespace.clone()).unwrap_or_default();
        let same = |v: &&VolumeBackup| v.spec.pod_uid == turn.place.pod_uid;
        let objects = self.objects.all().values().filter(same).cloned().collect();
        let pod = (namespace, turn.place.pod.clone());
        if turn.is_read_on() {
            self.volumes.telling.thaws_early(&pod.0, &pod.1);
        }
        self.under_way.push(act::thaw(self.volumes.ties.clone(), id, pod, hooks, objects).boxed());
    }

    /// Namespace and name of a turn's Pod, if it has hooks.
    fn hooked_pod(&self, id: TurnId) -> Option<(String, String)> {
        let turn = self.plan.turn(id).filter(|t| t.is_hooked())?;
        let namespace = turn.members.first().map(|at| self.asked[*at].claim.namespace.clone())?;
        Some((namespace, turn.place.pod.clone()))
    }

    fn remove(&mut self, name: String) {
        let uid = self.objects.all().get(&name).and_then(|v| v.metadata.uid.clone());
        self.under_way.push(act::remove(self.volumes.ties.clone(), name, uid).boxed());
    }

    /// One look for all that wait for one.
    fn look(&mut self) {
        if self.looking.is_empty() {
            return;
        }
        let volumes: Vec<usize> = std::mem::take(&mut self.looking).into_iter().collect();
        let from = self.volumes;
        let look = async move {
            let found = from.decide_again().await.map_err(|e| super::plan::Reason::new(&e.reason, e.message));
            Told::Looked { volumes, found }
        };
        self.under_way.push(look.boxed());
    }

    fn told(&mut self, told: Told) {
        let now = self.zero.elapsed();
        match told {
            Told::Begun { id, made, done } => {
                if let Some((namespace, pod)) = self.hooked_pod(id) {
                    let failed = match &done {
                        Err(NotBegun { why: Some(why), froze: true }) => Some(why.message.as_str()),
                        _ => None,
                    };
                    if done.is_ok() || failed.is_some() {
                        self.volumes.telling.froze(&namespace, &pod, failed);
                    }
                }
                made.into_iter().for_each(|object| self.objects.put(object));
                self.plan.begun(now, id, done);
            }
            Told::Thawed { id, ran } => {
                if let Some((namespace, pod)) = self.hooked_pod(id) {
                    self.volumes.telling.thawed(&namespace, &pod, ran);
                }
                self.plan.thawed(id, ran);
            }
            Told::Looked { volumes, found } => {
                for at in volumes {
                    let places = match &found {
                        Ok(all) => self.places(at, all),
                        Err(why) => Err(why.clone()),
                    };
                    if let Ok(places) = &places {
                        self.asked[at].places.clone_from(places);
                    }
                    self.plan.looked(now, at, places);
                }
            }
            Told::Removed => {}
        }
    }

    fn places(
        &self,
        at: usize,
        all: &[crate::select::volumes::Decision],
    ) -> Result<Vec<crate::select::volumes::Place>, super::plan::Reason> {
        let asked = &self.asked[at];
        let same = |d: &&crate::select::volumes::Decision| {
            d.namespace == asked.claim.namespace && d.claim == asked.claim.name && d.uid == asked.uid
        };
        match all.iter().find(same).map(|d| &d.verdict) {
            Some(Verdict::Read(places)) => Ok(places.clone()),
            Some(Verdict::Kept { why, .. } | Verdict::Missed(why) | Verdict::Excluded(why)) => {
                Err(why.clone().into())
            }
            None => Err(super::plan::Reason::new("ClaimGone", "the claim was deleted while the backup ran")),
        }
    }

    fn tell(&mut self, at: usize, end: End) {
        self.volumes.telling.counters.ended();
        let claim = self.tasks[at].claim.clone();
        let outcome = match end {
            End::Read { name, result, hooked } => match (result.parse::<Sha256>(), self.keys.get(&name)) {
                (Ok(result), Some((key, _))) => {
                    let consistency = if hooked { Consistency::Hooked } else { Consistency::Live };
                    let read = Outcome::Read { claim, result, key: key.clone(), consistency };
                    self.keep_key(name);
                    read
                }
                _ => Outcome::Missed {
                    claim,
                    reason: "ResultMalformed".to_owned(),
                    message: "the node names a result that is no SHA-256".to_owned(),
                    upload_log: None,
                },
            },
            End::Missed { why, upload_log } => {
                let own = self.keys.get(&self.plan.name(at)).is_some_and(|(_, own)| *own);
                let upload_log = upload_log.filter(|_| own).and_then(|log| log.parse().ok());
                Outcome::Missed { claim, reason: why.reason, message: why.message, upload_log }
            }
        };
        // Nobody listens when the run has stopped: then nobody needs it.
        let _ = self.outcomes.send(outcome);
    }

    /// The key of a volume that was read stays, for a successor; of so many.
    fn keep_key(&mut self, name: String) {
        self.read.push_back(name);
        if self.read.len() <= KEPT_KEYS {
            return;
        }
        if let Some(old) = self.read.pop_front() {
            self.under_way.push(act::remove(self.volumes.ties.clone(), old, None).boxed());
        }
    }
}
