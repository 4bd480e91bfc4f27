//! One pull of one source, on one screen: recover → list → fetch → verify → store.
//!
//! Owns the order of the stages and what becomes of their findings. The source is hostile: nothing of it is believed
//! that was not verified, and types see to it that nothing else reaches the vault.

pub mod charters;
pub mod commit;
mod epochs;
pub mod error;
mod expected;
pub mod fetch;
mod heal;
pub mod judge;
pub(crate) mod list;
mod manifests;
pub mod meter;
mod pulling;
pub mod quota;
pub mod recover;
pub mod reread;
pub(crate) mod snapshots;
mod sweep;
pub mod transfers;
pub mod verify;

use crate::activity::Activity;
use crate::age;
use crate::alarm::{Alarm, AlarmKind, Finding, Stage};
use crate::audit;
use crate::catalog::{CatalogError, Catalogue, Cursor};
use crate::source::Source;
use crate::vault::{Folder, Vault};
use error::{FetchError, PullError};
use fetch::{Fetcher, Patience};
use jiff::Timestamp;
use lifeboat_common::clock::Clock;
use meter::Meter;
use quota::Days;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use tokio::sync::Semaphore;

/// What all pulls share.
#[derive(Debug, Clone)]
pub struct Replicator {
    pub vault: Arc<Vault>,
    pub catalogue: Arc<Catalogue>,
    pub clock: Arc<dyn Clock>,
    pub activity: Arc<Activity>,
    /// Transfers at a time, over all sources, at most.
    pub transfers: usize,
    pub patience: Patience,
    /// One for each of the transfers.
    places: Arc<Semaphore>,
}

/// What a pull did.
#[derive(Debug, Default)]
pub struct Outcome {
    pub cluster: String,
    /// Snapshots that became complete.
    pub snapshots: u64,
    pub packs: u64,
    /// Fetched.
    pub bytes: u64,
    /// Snapshots that are known and not complete.
    pub pending: u64,
    /// Why it did not come to its end.
    pub error: Option<PullError>,
    /// All that are open, old and new.
    pub alarms: Vec<Alarm>,
}

/// One pull of one source under way.
pub(crate) struct Cycle {
    source: Arc<Source>,
    folder: Folder,
    catalogue: Arc<Catalogue>,
    fetcher: Fetcher,
    clock: Arc<dyn Clock>,
    activity: Arc<Activity>,
    transfers: usize,
    places: Arc<Semaphore>,
    /// When it began.
    now: Timestamp,
    findings: Mutex<Vec<Finding>>,
    /// Slots that were forgotten in the source; read when they are asked for.
    forgotten: OnceLock<BTreeSet<u64>>,
}

/// Objects that are held in memory as a whole, at a time.
const WHOLE: usize = 8;
/// No more transfers than this, whatever the configuration says.
const TRANSFERS_MAX: usize = 256;
/// Open files that one transfer needs, with some to spare.
const FILES_PER_TRANSFER: u64 = 4;

impl Replicator {
    /// With at most `transfers`, or as many as this process may have files open for.
    #[must_use]
    pub fn new(
        vault: Arc<Vault>,
        catalogue: Arc<Catalogue>,
        clock: Arc<dyn Clock>,
        activity: Arc<Activity>,
        transfers: usize,
        patience: Patience,
    ) -> Self {
        let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        let fit = files.and_then(|files| usize::try_from(files / FILES_PER_TRANSFER).ok());
        let transfers = transfers.min(fit.unwrap_or(TRANSFERS_MAX)).clamp(1, TRANSFERS_MAX);
        let places = Arc::new(Semaphore::new(transfers));
        Self { vault, catalogue, clock, activity, transfers, patience, places }
    }

    /// Pulls what is new from `source`. Never fails as a whole: what went wrong is in the outcome and in the alarms.
    pub async fn pull(&self, source: &Arc<Source>) -> Outcome {
        let mut outcome = Outcome { cluster: source.cluster.to_string(), ..Outcome::default() };
        self.activity.busy(&outcome.cluster, "pulling");
        let before = audit::Before::new(&self.catalogue, source.cluster.as_str());
        let result = match self.begin(source).await {
            Ok(cycle) => {
                let pulled = self.stages(&cycle, &mut outcome).await;
                self.end(&cycle, pulled)
            }
            Err(error) => self.report(source, error),
        };
        // Also when the source could not be asked: that is when backups grow old.
        let aged = self.look_at_age(source).and_then(|()| self.look_at_space(source));
        let written = before.map_err(PullError::from).and_then(|before| self.write_down(source, &before));
        outcome.error = result.and(aged).and(written).err();
        let cluster = outcome.cluster.as_str();
        outcome.alarms = self.catalogue.alarms(cluster).unwrap_or_default();
        outcome.pending = self.catalogue.totals(cluster).map(|t| t.pending).unwrap_or_default();
        self.activity.tick();
        outcome
    }

    /// Raises and ends the alarms of age, by the charters that the vault holds.
    fn look_at_age(&self, source: &Source) -> Result<(), PullError> {
        let folder = self.vault.folder(&source.cluster);
        let trusted = charters::trusted(&folder, &source.owner, &source.cluster)?;
        let (Some(first), Some(newest)) = (trusted.first(), trusted.last()) else { return Ok(()) };
        let (cluster, now) = (source.cluster.as_str(), self.clock.now());
        let rows = self.catalogue.youngest(cluster)?;
        let rpo_hours = newest.charter().policy.rpo_hours;
        let findings = age::findings(cluster, &rows, rpo_hours, first.charter().created, now);
        self.say(cluster, Stage::Age, &findings, now)
    }

    /// Raises and ends the alarm of a disk that fills.
    fn look_at_space(&self, source: &Source) -> Result<(), PullError> {
        let (cluster, now) = (source.cluster.as_str(), self.clock.now());
        let today = now.to_zoned(source.limits.zone.clone()).date();
        let pace = self.days(cluster)?.pace(today).unwrap_or(0);
        let (free, floor) = self.vault.room()?;
        let vault = self.vault.root().display().to_string();
        let findings: Vec<Finding> = quota::filling(&vault, free, floor, pace).into_iter().collect();
        self.say(cluster, Stage::Space, &findings, now)
    }

    fn days(&self, cluster: &str) -> Result<Days, PullError> {
        Ok(self.catalogue.cursor(cluster, Cursor::Days)?.unwrap_or_default().parse().unwrap_or_default())
    }

    fn say(
        &self,
        cluster: &str,
        stage: Stage,
        findings: &[Finding],
        now: Timestamp,
    ) -> Result<(), PullError> {
        for finding in findings {
            if self.catalogue.raise(cluster, finding, now)? {
                tracing::warn!(cluster, kind = finding.kind.name(), why = finding.why, "Alarm");
            }
        }
        self.catalogue.settle_alarms(cluster, stage, findings)?;
        Ok(())
    }

    /// Adds what this pull did to the audit log.
    fn write_down(&self, source: &Source, before: &audit::Before) -> Result<(), PullError> {
        let cluster = source.cluster.as_str();
        let (events, accepted) = before.events(&self.catalogue, cluster)?;
        let folder = self.vault.folder(&source.cluster);
        audit::append(&folder, &source.cluster, &source.receipt_key, "pull", events, self.clock.now())?;
        Ok(self.catalogue.set_audited(cluster, &accepted)?)
    }

    async fn begin(&self, source: &Arc<Source>) -> Result<Cycle, PullError> {
        let folder = self.vault.folder(&source.cluster);
        let fetcher = Fetcher {
            store: source.store().await?,
            folder: folder.clone(),
            patience: self.patience,
            activity: Arc::clone(&self.activity),
            meter: Arc::new(Meter::default()),
            source: Arc::clone(source),
            clock: Arc::clone(&self.clock),
        };
        Ok(Cycle {
            fetcher,
            source: Arc::clone(source),
            folder,
            catalogue: Arc::clone(&self.catalogue),
            clock: Arc::clone(&self.clock),
            activity: Arc::clone(&self.activity),
            transfers: self.transfers,
            places: Arc::clone(&self.places),
            now: self.clock.now(),
            findings: Mutex::default(),
            forgotten: OnceLock::new(),
        })
    }

    /// The pull itself. A stage that ends settles its alarms; one that fails leaves them as they are.
    async fn stages(&self, cycle: &Cycle, outcome: &mut Outcome) -> Result<(), PullError> {
        heal::take_in(cycle).await?;
        recover::run(cycle).await?;
        heal::run(cycle).await?;
        let charters = charters::update(cycle).await?;
        let restorable = epochs::update(cycle, &charters).await?;
        cycle.check_charter(&charters)?;
        cycle.settle(Stage::Charters)?;
        recover::judge_again(cycle, &charters).await?;
        manifests::update(cycle, &charters).await?;
        cycle.settle(Stage::Manifests)?;
        if restorable {
            snapshots::complete(cycle, outcome).await?;
            cycle.settle(Stage::Snapshots)?;
        }
        sweep::run(cycle).await?;
        reread::run(cycle).await?;
        Ok(cycle.settle(Stage::Reach)?)
    }

    fn end(&self, cycle: &Cycle, pulled: Result<(), PullError>) -> Result<(), PullError> {
        if let Err(error) = pulled {
            return self.report(&cycle.source, error);
        }
        let now = self.clock.now();
        self.catalogue.note_usage(cycle.cluster(), now)?;
        Ok(self.catalogue.set_cursor(cycle.cluster(), Cursor::Pulled, &now.to_string())?)
    }

    fn report(&self, source: &Source, error: PullError) -> Result<(), PullError> {
        let what =
            if error.is_of_vault() { self.vault.root().display().to_string() } else { source.describe() };
        let finding = Finding::new(error.kind(), Stage::Reach, what, error.why(), error.next());
        // Where the catalogue itself cannot be written, the error says so.
        if let Err(second) = self.catalogue.raise(source.cluster.as_str(), &finding, self.clock.now()) {
            tracing::error!(error = %second, "Could not write down an alarm");
        }
        Err(error)
    }
}

impl Cycle {
    fn cluster(&self) -> &str {
        self.source.cluster.as_str()
    }

    /// Raises an alarm.
    fn find(
        &self,
        kind: AlarmKind,
        stage: Stage,
        what: impl Into<String>,
        why: impl Into<String>,
        next: &str,
    ) -> Result<(), CatalogError> {
        let finding = Finding::new(kind, stage, what.into(), why.into(), next);
        if self.catalogue.raise(self.cluster(), &finding, self.now)? {
            let Finding { what, why, .. } = &finding;
            tracing::warn!(cluster = self.cluster(), kind = kind.name(), what, why, next, "Alarm");
        }
        self.findings.lock().unwrap_or_else(PoisonError::into_inner).push(finding);
        Ok(())
    }

    /// Ends the alarms of a stage that is done, where it did not see their cause again.
    fn settle(&self, stage: Stage) -> Result<(), CatalogError> {
        let seen = self.findings.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for alarm in self.catalogue.settle_alarms(self.cluster(), stage, &seen)? {
            tracing::info!(
                cluster = self.cluster(),
                kind = alarm.kind.name(),
                what = alarm.what,
                "Alarm ended"
            );
        }
        Ok(())
    }

    /// A damaged or missing object is an alarm, and the pull goes on; anything else ends it.
    fn object_failed(&self, stage: Stage, error: FetchError) -> Result<(), PullError> {
        match error {
            FetchError::Damaged(damage) => {
                let why = format!("expected {}, found {}", damage.expected, damage.seen);
                let next = "put the right bytes back in the source, or find out who can write there";
                Ok(self.find(AlarmKind::Damaged, stage, damage.key, why, next)?)
            }
            FetchError::Missing { key } => {
                let next =
                    "put it back in the source, or find out who can delete there; the snapshot waits for it";
                Ok(self.find(AlarmKind::Missing, stage, key, "it is not in the source", next)?)
            }
            FetchError::Store(error) => Err(error.into()),
            FetchError::Vault(error) => Err(error.into()),
        }
    }

    /// What the charter in force asks of this program.
    fn check_charter(&self, charters: &charters::Charters) -> Result<(), PullError> {
        if let Err(error) = charters.newest().check_writable() {
            let next = "install a newer lifeboat-replicator; until then no new snapshot is taken over";
            self.find(AlarmKind::FeatureUnknown, Stage::Charters, self.cluster(), error.to_string(), next)?;
        }
        let (ours, named) = (self.source.receipt_key.verify_key(), charters.newest().receipt_key);
        if ours != named {
            let why = format!(
                "receipts are signed with {}, charter {} names {}",
                ours.fingerprint(),
                charters.newest().n,
                named.fingerprint()
            );
            let next = "give receipt_key the file that `lifeboat init` or `rotate` wrote for this cluster";
            self.find(AlarmKind::ReceiptKey, Stage::Charters, self.cluster(), why, next)?;
        }
        Ok(())
    }
}

/// Runs what may block on a thread that may.
pub(crate) async fn blocking<T, E, F>(what: &'static str, work: F) -> Result<T, PullError>
where
    T: Send + 'static,
    E: Send + 'static,
    PullError: From<E>,
    F: FnOnce() -> Result<T, E> + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(PullError::Lost { what }),
    }
}
