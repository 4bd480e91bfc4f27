//! One Backup from its beginning to its end: attempts, pauses between them, signs of life, the last word. Knows
//! nothing of schedules or of the queue.

use super::elect::Term;
use super::retry::{self, Verdict};
use super::status;
use super::volumes::{NodeVolumes, Telling, Ties, VolumeCounters, tidy};
use super::wanted::{self, Invalid};
use super::write::{StatusWriter, WriteStop};
use crate::backup::{
    BackupError, Committed, Control, Request, Setup, StatePlace, Stop, backup_under, run_of,
};
use crate::cluster::Cluster;
use crate::cluster::events::{About, Recorder, Tone};
use crate::cluster::own::Own;
use crate::cluster::state_secret::StateSecret;
use crate::kinds::{Backup, BackupStatus, Phase};
use jiff::Timestamp;
use lifeboat_common::clock::Clock;
use lifeboat_common::config::{self, AgentConfig, VolumesConfig};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Between two signs of life.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// Between two looks at whether there is something to tell at once.
const LOOK: Duration = Duration::from_millis(250);
/// How long a run that is stopped may take to note what it sent.
const LEAVING: Duration = Duration::from_secs(7);
/// A Backup that was begun so often and did not end kills whoever works on it.
const ATTEMPTS_MAX: i64 = 25;
/// For a Backup that names no deadline.
const DEADLINE: Duration = Duration::from_secs(12 * 3600);
/// However late it is taken up again, it gets so long.
const DEADLINE_LEAST: Duration = Duration::from_secs(600);

/// What every run of a term shares.
#[derive(Debug, Clone)]
pub struct Runner {
    pub own: Own,
    /// For reading the whole cluster.
    pub reader: Cluster,
    pub config: PathBuf,
    pub state: StateSecret,
    pub ties: Ties,
    pub term: Term,
    pub me: String,
    pub clock: Arc<dyn Clock>,
    pub events: Recorder,
    pub metrics: crate::metrics::Metrics,
}

/// Why a run is to stop.
#[derive(Debug, Clone, Default)]
pub struct Halt {
    pub stop: Stop,
    canceled: Arc<AtomicBool>,
}

impl Halt {
    /// Its Backup was deleted.
    pub fn cancel(&self) {
        self.canceled.store(true, Relaxed);
        self.stop.stop();
    }

    /// This process ends, or no longer leads: the next leader goes on.
    pub fn leave(&self) {
        self.stop.stop();
    }

    fn is_canceled(&self) -> bool {
        self.canceled.load(Relaxed)
    }
}

/// How a run ended.
#[derive(Debug)]
pub enum End {
    /// Its status says how.
    Ended(Box<BackupStatus>),
    /// It stays as it is, for the next leader.
    Left,
}

/// How the attempts ended.
enum Outcome {
    Committed(Box<Committed>),
    Failed { reason: String, why: String },
    Invalid(Invalid),
    Canceled,
    Left,
}

#[derive(Debug, Default)]
struct Counters {
    objects: AtomicU64,
    bytes: AtomicU64,
    committing: AtomicBool,
    /// Everything of the charter's scope is looked at, whatever is asked for of volumes.
    everything: AtomicBool,
    volumes: Arc<VolumeCounters>,
}

impl Runner {
    /// Runs it.
    pub async fn run(&self, backup: Backup, halt: Halt) -> End {
        let job = Job {
            about: About {
                kind: "Backup",
                name: backup.metadata.name.clone().unwrap_or_default(),
                uid: backup.metadata.uid.clone().unwrap_or_default(),
            },
            writer: StatusWriter::new(self.own.clone(), self.term.clone(), backup.clone()),
            counters: Counters::default(),
            left_out: Mutex::default(),
            runner: self,
            halt,
        };
        job.run(&backup).await
    }

    async fn setup(&self) -> Result<(Setup, VolumesConfig), BackupError> {
        let config: AgentConfig = config::load(&self.config).map_err(crate::backup::SetupError::Config)?;
        let state = StatePlace::Secret(self.state.clone());
        Ok((Setup::load(&config, state, self.clock.clone()).await?, config.volumes))
    }
}

struct Job<'a> {
    runner: &'a Runner,
    /// What the charter leaves out, as the last attempt read it.
    left_out: Mutex<Vec<String>>,
    about: About,
    writer: StatusWriter,
    counters: Counters,
    halt: Halt,
}

impl Job<'_> {
    async fn run(&self, backup: &Backup) -> End {
        let adopted = backup.status.as_ref().is_some_and(|s| s.phase.is_running());
        let outcome = match wanted::check(&self.runner.own, backup).await {
            Err(invalid) => Outcome::Invalid(invalid),
            Ok(()) => match self.begin(adopted).await {
                Ok(status) => self.work(backup, &status).await,
                Err(outcome) => outcome,
            },
        };
        self.end(outcome).await
    }

    async fn begin(&self, adopted: bool) -> Result<BackupStatus, Outcome> {
        let (me, clock) = (&self.runner.me, &self.runner.clock);
        let write =
            self.writer.write(|old| status::begun(old, &self.about.uid, me, status::whole(clock.now())));
        let begun = tokio::select! {
            written = write => written,
            () = self.halt.stop.stopped() => return Err(self.stopped()),
        };
        match begun {
            Ok(status) => {
                let note = if adopted {
                    "Goes on with a backup that another controller left"
                } else {
                    "The backup begins"
                };
                self.tell(Tone::Normal, "Started", note);
                tracing::info!(backup = %self.about.name, adopted, attempts = status.attempts, "a backup begins");
                Ok(status)
            }
            Err(WriteStop::Gone) => Err(Outcome::Canceled),
            Err(WriteStop::Lost) => Err(Outcome::Left),
            Err(WriteStop::Refused(error)) => {
                tracing::error!(%error, backup = %self.about.name, "the status of a Backup cannot be written");
                Err(Outcome::Left)
            }
        }
    }

    fn now(&self) -> Timestamp {
        status::whole(self.runner.clock.now())
    }

    fn stopped(&self) -> Outcome {
        if self.halt.is_canceled() { Outcome::Canceled } else { Outcome::Left }
    }

    /// Attempts until one ends it.
    async fn work(&self, backup: &Backup, begun: &BackupStatus) -> Outcome {
        if begun.attempts.unwrap_or(0) > ATTEMPTS_MAX {
            let why = format!(
                "it was begun {ATTEMPTS_MAX} times and never ended; look at the controller's logs and memory limit"
            );
            return Outcome::Failed { reason: "TooManyAttempts".to_owned(), why };
        }
        let deadline = deadline(backup, begun, self.runner.clock.now());
        let until = tokio::time::Instant::now() + deadline;
        let late = tokio::time::sleep_until(until);
        tokio::pin!(late);
        let attempts = self.attempts(backup, until);
        tokio::pin!(attempts);
        let beats = self.heartbeats();
        tokio::pin!(beats);
        tokio::select! {
            outcome = &mut attempts => return outcome,
            () = &mut beats => {}
            () = &mut late => {
                let why = format!("it took longer than its deadline of {} s", deadline.as_secs());
                return Outcome::Failed { reason: "DeadlineExceeded".to_owned(), why };
            }
        }
        // Deleted, or taken over: the run notes what it sent and stops.
        self.halt.stop.stop();
        match tokio::time::timeout(LEAVING, attempts).await {
            Ok(outcome) => outcome,
            Err(_) => self.stopped(),
        }
    }

    async fn attempts(&self, backup: &Backup, until: tokio::time::Instant) -> Outcome {
        let mut failures = 0;
        loop {
            let error = match self.attempt(backup, until).await {
                Ok(committed) => return Outcome::Committed(Box::new(committed)),
                Err(error) => error,
            };
            let (reason, pause) = match retry::judge(&error, failures) {
                // Somebody wrote the state, and this controller still leads: a write of the last leader that came late,
                // or a person. It is taken again.
                Verdict::Stopped if !self.halt.stop.is_stopped() && self.runner.term.lasts() => {
                    (retry::STATE_TAKEN, retry::pause(failures))
                }
                Verdict::Stopped => return self.stopped(),
                Verdict::Fail(reason) => return Outcome::Failed { reason, why: error.to_string() },
                Verdict::Invalid(reason) => {
                    return Outcome::Invalid(Invalid { reason, why: error.to_string() });
                }
                Verdict::Retry { reason, pause } => (reason, pause),
            };
            failures += 1;
            let why = error.to_string();
            tracing::warn!(backup = %self.about.name, reason, error = %why, ?pause, "the backup waits and tries again");
            if reason == retry::STORE_UNAVAILABLE {
                self.runner.metrics.store_error();
            }
            self.tell(Tone::Warning, reason, &why);
            let told = self.writer.write(|old| status::waits(old, reason, &why, self.now()));
            let wait = async {
                let (_told, ()) = tokio::join!(told, tokio::time::sleep(pause));
            };
            tokio::select! {
                () = wait => {}
                () = self.halt.stop.stopped() => return self.stopped(),
            }
        }
    }

    fn left_out(&self) -> MutexGuard<'_, Vec<String>> {
        self.left_out.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn attempt(&self, backup: &Backup, until: tokio::time::Instant) -> Result<Committed, BackupError> {
        let (setup, volumes) = self.runner.setup().await?;
        let (wanted, charter) = (wanted::of(backup, self.runner.own.namespace()), setup.charter.charter());
        *self.left_out() = wanted.excluded_by(charter).to_vec();
        let request: Request = wanted.request(charter).map_err(BackupError::Rule)?;
        let request = Request { run: Some(run_of(&self.about.uid)), ..request };
        let counters = &self.counters;
        counters.everything.store(request.full, Relaxed);
        self.runner.metrics.name_claims(volumes.metrics_by_claim);
        counters.committing.store(false, Relaxed);
        let progress = |objects, bytes| {
            counters.objects.store(objects, Relaxed);
            counters.bytes.store(bytes, Relaxed);
        };
        let left = until.saturating_duration_since(tokio::time::Instant::now());
        let (ties, spec) = (self.runner.ties.clone(), backup.spec.clone());
        let telling = Telling {
            counters: counters.volumes.clone(),
            events: self.runner.events.clone(),
            about: self.about.clone(),
        };
        let volumes = NodeVolumes::new(ties, volumes, spec, telling, left);
        let control = Control {
            progress: &progress,
            committing: &|| counters.committing.store(true, Relaxed),
            may_commit: &|| self.runner.term.lasts() && !self.halt.stop.is_stopped(),
            stop: &self.halt.stop,
            volumes: Some(&volumes),
        };
        backup_under(&setup, &self.runner.reader, &request, self.runner.clock.clone(), control).await
    }

    /// Signs of life; returns when the run must stop.
    async fn heartbeats(&self) {
        let mut last = Instant::now();
        let mut said_committing = false;
        let mut read_before = 0;
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = self.halt.stop.stopped() => return,
            }
            let committing = self.counters.committing.load(Relaxed);
            if last.elapsed() < HEARTBEAT && committing == said_committing {
                continue;
            }
            let volumes = self.counters.volumes.far(&mut read_before, last.elapsed());
            last = Instant::now();
            let (objects, bytes) = (self.counters.objects.load(Relaxed), self.counters.bytes.load(Relaxed));
            let far = status::Alive { objects, bytes, committing, volumes };
            let write = |old: &BackupStatus| status::alive(old, &far, self.now());
            match self.writer.once(write).await {
                Ok(_) => said_committing = committing,
                Err(WriteStop::Gone) => return self.halt.cancel(),
                Err(WriteStop::Lost) => return self.halt.leave(),
                Err(WriteStop::Refused(error)) => {
                    tracing::warn!(%error, backup = %self.about.name, "a sign of life could not be written");
                }
            }
        }
    }

    async fn end(&self, outcome: Outcome) -> End {
        let now = || self.now();
        if !matches!(outcome, Outcome::Left) {
            // Canceled, failed or done: nobody goes on with its volumes.
            tidy(&self.runner.ties, &run_of(&self.about.uid).to_hex()).await;
        }
        let written = match &outcome {
            Outcome::Left => return End::Left,
            Outcome::Committed(done) => {
                let left_out = self.left_out().clone();
                self.writer.write(|old| status::committed(old, done, &left_out, now())).await
            }
            Outcome::Failed { reason, why } => {
                self.writer.write(|old| status::failed(old, Phase::Failed, reason, why, now())).await
            }
            Outcome::Invalid(Invalid { reason, why }) => {
                self.writer.write(|old| status::failed(old, Phase::Failed, reason, why, now())).await
            }
            Outcome::Canceled => {
                let why = "it was deleted while it ran";
                self.writer.write(|old| status::failed(old, Phase::Canceled, "Canceled", why, now())).await
            }
        };
        let ended = match written {
            Ok(status) => status,
            // A snapshot that was made stays one, whoever has deleted the object meanwhile.
            Err(WriteStop::Gone) => match &outcome {
                Outcome::Committed(done) => {
                    status::committed(&BackupStatus::default(), done, &self.left_out(), now())
                }
                _ => status::failed(&BackupStatus::default(), Phase::Canceled, "Canceled", "", now()),
            },
            Err(WriteStop::Lost) => return End::Left,
            Err(WriteStop::Refused(error)) => {
                tracing::error!(%error, backup = %self.about.name, "how a backup ended cannot be written");
                return End::Left;
            }
        };
        self.told(&outcome, &ended);
        if let Outcome::Committed(done) = &outcome
            && let Some(report) = done.report.as_ref().filter(|_| self.counters.everything.load(Relaxed))
        {
            self.runner.metrics.coverage(report);
        }
        End::Ended(Box::new(ended))
    }

    fn told(&self, outcome: &Outcome, ended: &BackupStatus) {
        let word = status::phase_word(ended.phase);
        let note = match outcome {
            Outcome::Committed(done) => {
                let m = &done.manifest;
                let missed =
                    if m.counts.missed > 0 { format!(", {} missed", m.counts.missed) } else { String::new() };
                format!(
                    "Snapshot {}: {} objects in {} namespaces, {} ({} added to the store){missed}",
                    m.seq,
                    m.counts.objects,
                    m.counts.namespaces,
                    status::size(m.counts.bytes),
                    status::size(done.sent_bytes)
                )
            }
            Outcome::Failed { reason, why } => format!("{reason}: {why}"),
            Outcome::Invalid(Invalid { why, .. }) => why.clone(),
            Outcome::Canceled => "The backup was deleted while it ran; no snapshot was made".to_owned(),
            Outcome::Left => return,
        };
        let tone = if ended.phase == Phase::Completed { Tone::Normal } else { Tone::Warning };
        let reason = if matches!(outcome, Outcome::Invalid(_)) { "Invalid" } else { word };
        self.tell(tone, reason, &note);
        if let Outcome::Committed(done) = outcome
            && let Some(words) = done.report.as_ref().and_then(status::stale)
        {
            self.tell(Tone::Warning, "Stale", &words);
        }
        tracing::info!(backup = %self.about.name, phase = word, note, "a backup ended");
    }

    fn tell(&self, tone: Tone, reason: &'static str, note: &str) {
        self.runner.events.tell(&self.about, tone, reason, note);
    }
}

/// What is left of a Backup's time. A clock that was set does not take it all.
fn deadline(backup: &Backup, begun: &BackupStatus, now: Timestamp) -> Duration {
    let asked = backup.spec.deadline.as_deref().and_then(|d| crate::kinds::seconds(d).ok());
    let whole = asked.map_or(DEADLINE, Duration::from_secs);
    let spent = begun.started.map_or(0, |started| now.duration_since(started).as_secs());
    let left = whole.saturating_sub(Duration::from_secs(u64::try_from(spent).unwrap_or(0)));
    left.max(DEADLINE_LEAST.min(whole))
}
