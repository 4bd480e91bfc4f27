//! A term of leadership: watches, plans, acts, and runs one Backup at a time.

use super::act::Actor;
use super::objects::Objects;
use super::plan::{self, Action, Memory, View};
use super::run::{End, Halt, Runner};
use super::told::Told;
use crate::kinds::{Backup, BackupSchedule};
use futures::StreamExt as _;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// How often the clock is looked at, which may have been set.
const LOOK: Duration = Duration::from_secs(5);
/// After an action that failed.
const PAUSE: Duration = Duration::from_secs(2);
const MAX_PAUSE: Duration = Duration::from_secs(30);
/// After a run that broke off.
const PAUSE_AFTER_BREAK: Duration = Duration::from_secs(10);

/// Why a term ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// The lease was lost.
    Lost,
    /// This process was asked to end.
    Asked,
}

struct Running {
    uid: String,
    schedule: String,
    halt: Halt,
    task: JoinHandle<End>,
}

/// One term.
pub struct Lead {
    runner: Arc<Runner>,
    actor: Actor,
    seed: String,
    schedules: Objects<BackupSchedule>,
    backups: Objects<Backup>,
    memory: Memory,
    running: Option<Running>,
    told: Told,
    failures: u32,
    not_before: Instant,
}

impl std::fmt::Debug for Lead {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lead").finish_non_exhaustive()
    }
}

impl Lead {
    #[must_use]
    pub fn new(runner: Arc<Runner>, seed: &str) -> Self {
        let actor =
            Actor { own: runner.own.clone(), term: runner.term.clone(), events: runner.events.clone() };
        let told = Told::new(runner.metrics.clone());
        Self {
            actor,
            seed: seed.to_owned(),
            schedules: Objects::default(),
            backups: Objects::default(),
            memory: Memory::default(),
            running: None,
            told,
            failures: 0,
            not_before: Instant::now(),
            runner,
        }
    }

    /// Leads until the lease is lost or `asked` is done. `beat` is called whenever it goes on.
    pub async fn lead(mut self, asked: impl Future<Output = ()>, beat: impl Fn()) -> Over {
        let own = self.runner.own.clone();
        let mut schedules = Box::pin(own.watch::<BackupSchedule>());
        let mut backups = Box::pin(own.watch::<Backup>());
        let term = self.runner.term.clone();
        let _cleaning = self.clean_up();
        tokio::pin!(asked);
        loop {
            beat();
            let changed = tokio::select! {
                biased;
                () = &mut asked => { self.leave().await; return Over::Asked; }
                () = term.over() => { self.leave().await; return Over::Lost; }
                end = ended(&mut self.running) => { self.ended(end); true }
                Some(event) = schedules.next() => self.schedules.take(event),
                Some(event) = backups.next() => self.backups.take(event),
                () = tokio::time::sleep(LOOK) => true,
            };
            if changed
                && self.schedules.is_whole()
                && self.backups.is_whole()
                && Instant::now() >= self.not_before
            {
                self.step().await;
            }
        }
    }

    /// What runs left behind that nobody works on: a Pod that is still frozen above all.
    fn clean_up(&self) -> tokio::task::JoinHandle<()> {
        let runner = self.runner.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = super::volumes::leftovers(&runner.ties, &runner.own) => {}
                () = runner.term.over() => {}
            }
        })
    }

    async fn step(&mut self) {
        let running = self.running.as_ref().map(|r| r.uid.clone());
        let view = View {
            now: super::status::whole(self.runner.clock.now()),
            schedules: self.schedules.all(),
            backups: self.backups.all(),
            running: running.as_deref(),
            memory: &self.memory,
            seed: &self.seed,
        };
        let plan = plan::plan(view);
        self.told.view(view);
        for action in plan.actions {
            if let Err(error) = self.act(action).await {
                self.failures += 1;
                let pause = PAUSE.saturating_mul(1 << self.failures.min(5)).min(MAX_PAUSE);
                self.not_before =
                    Instant::now() + error.retry_after().unwrap_or_default().max(pause).min(MAX_PAUSE);
                tracing::warn!(%error, ?pause, "Lifeboat's objects cannot be written; trying again");
                return;
            }
        }
        self.failures = 0;
    }

    async fn act(&mut self, action: Action) -> Result<(), crate::cluster::ClusterError> {
        match &action {
            Action::Start { name, uid } => self.start(name, uid),
            Action::Cancel { uid } => {
                if let Some(running) = self.running.as_ref().filter(|r| r.uid == *uid) {
                    running.halt.cancel();
                }
            }
            Action::Create { schedule, at, .. } => {
                let Some(schedule) = self.schedules.all().get(schedule).cloned() else { return Ok(()) };
                tracing::info!(schedule = ?schedule.metadata.name, %at, "a schedule is due");
                if let Some(backup) = self.actor.create(&schedule, *at, &mut self.memory).await? {
                    self.backups.put(backup);
                }
            }
            Action::Status { schedule, .. } => {
                let old = self.schedules.all().get(schedule).cloned();
                if let Some(new) = self.actor.act(&action, old.as_ref()).await? {
                    self.schedules.put(new);
                }
            }
            Action::Queue { name, .. } => {
                let Some(backup) = self.backups.all().get(name).cloned() else { return Ok(()) };
                if let Some(new) = self.actor.queue(&backup, self.runner.clock.now()).await? {
                    self.backups.put(new);
                }
            }
            Action::Missed { .. } | Action::Forget { .. } => {
                self.actor.act(&action, None).await?;
            }
        }
        Ok(())
    }

    fn start(&mut self, name: &str, uid: &str) {
        let Some(backup) = self.backups.all().get(name).cloned() else { return };
        if self.running.is_some() || !self.runner.term.lasts() {
            return;
        }
        let (runner, halt) = (self.runner.clone(), Halt::default());
        let (term, leaves) = (self.runner.term.clone(), halt.clone());
        let schedule = plan::schedule_of(&backup).unwrap_or_default().to_owned();
        self.told.started();
        let task = tokio::spawn(async move {
            let run = runner.run(backup, leaves.clone());
            tokio::pin!(run);
            tokio::select! {
                end = &mut run => return end,
                () = term.over() => leaves.leave(),
            }
            run.await
        });
        self.running = Some(Running { uid: uid.to_owned(), schedule, halt, task });
    }

    fn ended(&mut self, end: Option<End>) {
        let Some(running) = self.running.take() else { return };
        self.told.stopped();
        if let Some(End::Ended(status)) = end {
            // Not again, whatever the watch still says.
            self.memory.ended.insert(running.uid);
            self.told.ended(&running.schedule, &status);
        } else {
            // It broke off, or could not say how it ended: it is taken up again, and its attempts are counted.
            self.not_before = Instant::now() + PAUSE_AFTER_BREAK;
        }
        let backups = self.backups.all();
        self.memory.ended.retain(|uid| backups.values().any(|b| plan::uid(b) == uid));
    }

    /// Stops the run, for the next leader to go on with.
    async fn leave(&mut self) {
        if let Some(running) = self.running.take() {
            running.halt.leave();
            if tokio::time::timeout(Duration::from_secs(9), running.task).await.is_err() {
                tracing::warn!("the run did not stop in time");
            }
            self.told.stopped();
        }
    }
}

async fn ended(running: &mut Option<Running>) -> Option<End> {
    match running {
        Some(running) => match (&mut running.task).await {
            Ok(end) => Some(end),
            Err(error) => {
                tracing::error!(%error, "a run broke off");
                None
            }
        },
        None => std::future::pending().await,
    }
}
