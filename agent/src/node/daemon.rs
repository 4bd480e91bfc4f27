//! The loop: watches this node's VolumeBackups, begins one when it has a slot and its key is there, stops those that are
//! gone. Knows no store and no volume.

use super::Options;
use super::job::{End, Halt, Halted, Job};
use crate::cluster::node_work::NodeWork;
use crate::controller::objects::Objects;
use crate::kinds::{VolumeBackup, VolumePhase};
use futures::StreamExt as _;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

/// How often keys are looked for that a volume waits for.
const LOOK: Duration = Duration::from_secs(2);
/// How often the API server is asked whether it is there; readiness knows an answer for a minute.
const KNOCK: Duration = Duration::from_secs(20);
/// A loop that does not go on for so long is stuck.
const STUCK: Duration = Duration::from_secs(180);
/// After the status of a volume was refused.
const REFUSED: Duration = Duration::from_secs(60);
/// How long volumes under way have to note where they are, when the daemon is to end.
const LEAVE: Duration = Duration::from_secs(12);

/// The daemon of one node.
pub(super) struct Daemon {
    calls: NodeWork,
    options: Arc<Options>,
    volumes: Objects<VolumeBackup>,
    /// By uid.
    running: BTreeMap<String, Halt>,
    /// Ended here; the watch may be behind.
    ended: BTreeSet<String>,
    /// Not before.
    later: BTreeMap<String, Instant>,
    jobs: JoinSet<(String, End)>,
}

impl Daemon {
    pub(super) fn new(calls: NodeWork, options: Options) -> Self {
        Self {
            calls,
            options: Arc::new(options),
            volumes: Objects::default(),
            running: BTreeMap::new(),
            ended: BTreeSet::new(),
            later: BTreeMap::new(),
            jobs: JoinSet::new(),
        }
    }

    pub(super) async fn run(mut self, asked: impl Future<Output = ()>) {
        tracing::info!(node = self.calls.node(), at_a_time = self.options.concurrency, "waiting for volumes");
        let beat = self.options.health.watch("the daemon", STUCK);
        let mut events = Box::pin(self.calls.watch());
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut knock = interval(KNOCK);
        knock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tokio::pin!(asked);
        loop {
            beat.beat();
            let changed = tokio::select! {
                biased;
                () = &mut asked => break,
                Some(ended) = self.jobs.join_next() => {
                    self.take(ended);
                    true
                }
                event = events.next() => event.is_some_and(|event| self.volumes.take(event)),
                _ = look.tick() => self.volumes.is_whole(),
                _ = knock.tick() => {
                    self.calls.knock().await;
                    false
                }
            };
            if changed {
                self.stop_those_gone();
                self.begin().await;
                self.options.metrics.running(self.running.len() as u64);
            }
        }
        self.leave().await;
    }

    fn take(&mut self, ended: Result<(String, End), tokio::task::JoinError>) {
        let (uid, end) = match ended {
            Ok(ended) => ended,
            // A panic is a bug, and already told; the controller sees that the volume is not renewed.
            Err(error) => return tracing::error!(%error, "a volume's task ended early"),
        };
        self.running.remove(&uid);
        self.options.metrics.ended(&end.counted(), self.options.clock.now());
        match end {
            End::Completed(_) | End::Failed | End::Canceled => {
                self.ended.insert(uid);
            }
            End::Refused => {
                self.later.insert(uid, Instant::now() + REFUSED);
            }
            End::Left => {}
        }
    }

    fn stop_those_gone(&mut self) {
        if !self.volumes.is_whole() {
            return;
        }
        let there: BTreeSet<&str> = self.volumes.all().values().filter_map(uid).collect();
        for (uid, halt) in &self.running {
            if !there.contains(uid.as_str()) {
                halt.halt(Halted::Gone);
            }
        }
        self.ended.retain(|uid| there.contains(uid.as_str()));
        self.later.retain(|uid, _| there.contains(uid.as_str()));
    }

    /// Those that could be begun, the oldest first. One that is under way in its status and not here is one that this
    /// node left.
    fn waiting(&self) -> Vec<VolumeBackup> {
        let now = Instant::now();
        let may = |v: &&VolumeBackup| {
            let phase = v.status.as_ref().map_or(VolumePhase::Pending, |s| s.phase);
            let uid = uid(v).unwrap_or_default();
            self.calls.is_ours(v)
                && !phase.is_finished()
                && v.metadata.deletion_timestamp.is_none()
                && !uid.is_empty()
                && !self.running.contains_key(uid)
                && !self.ended.contains(uid)
                && self.later.get(uid).is_none_or(|not_before| *not_before <= now)
        };
        let mut waiting: Vec<VolumeBackup> = self.volumes.all().values().filter(may).cloned().collect();
        waiting.sort_by_key(|v| {
            let made = v.metadata.creation_timestamp.as_ref().map(|t| t.0);
            (made, v.metadata.name.clone())
        });
        waiting
    }

    async fn begin(&mut self) {
        let free = self.options.concurrency.saturating_sub(self.running.len());
        let waiting = self.waiting();
        if free == 0 || waiting.is_empty() {
            return;
        }
        let keys = match self.calls.keys().await {
            Ok(keys) => keys,
            Err(error) => return tracing::warn!(%error, "the keys of volumes cannot be read; trying again"),
        };
        let ready = waiting.into_iter().filter_map(|volume| {
            let key = keys.get(&volume.spec.work_key)?.clone();
            Some((uid(&volume)?.to_owned(), volume, key))
        });
        for (uid, volume, key) in ready.take(free) {
            let halt = Halt::new();
            let job = Job { volume, key, calls: self.calls.clone(), options: self.options.clone() };
            self.running.insert(uid.clone(), halt.clone());
            self.jobs.spawn(async move { (uid, job.run(halt).await) });
        }
    }

    /// What has arrived in the store is noted; what takes longer is ended with the process, and noted before.
    async fn leave(mut self) {
        self.running.values().for_each(|halt| halt.halt(Halted::Asked));
        let all = async { while self.jobs.join_next().await.is_some() {} };
        if timeout(LEAVE, all).await.is_err() {
            tracing::warn!("a volume did not stop in time");
        }
    }
}

fn uid(volume: &VolumeBackup) -> Option<&str> {
    volume.metadata.uid.as_deref()
}
