//! Scrubbing: everything that lies in the vault is read again, what was verified longest ago first, at a bounded rate.
//!
//! Owns the order walk → look → look again → set aside → queue, and what became of it. Knows no source and opens no
//! connection: what is bad is fetched again by the next pull. The catalogue is read and never written.

mod look;
mod pace;
mod queue;
mod record;
mod report;
pub mod service;
mod walk;

use crate::activity::Activity;
use crate::catalog::Catalogue;
use crate::replicate::error::PullError;
use crate::retain;
use crate::vault::{Vault, VaultError};
use jiff::{SignedDuration, Timestamp};
use lifeboat_common::clock::Clock;
use lifeboat_common::progress::Progress;
use lifeboat_format::crypto::sign::VerifyKey;
use lifeboat_format::id::ClusterName;
use lifeboat_format::layout;
use std::collections::BTreeMap;
use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

pub use look::{Seen, Way, World};
pub use pace::Pace;
pub use queue::{Found, take_in};
pub use record::{FILE as RECORD, Record, Standing};
pub use report::{ClusterReport, Report};

use record::Due;

/// Files between two notes in the record: what a scrub that is killed reads again.
const BATCH: usize = 128;
/// Days in which everything is read once.
pub const PERIOD_DAYS: u32 = 30;
/// Bytes per second, where the configuration says nothing: 16 TB in ten days.
pub const RATE: u64 = 20 << 20;

/// What is scrubbed, and how.
#[derive(Debug)]
pub struct Scrubber {
    pub vault: Arc<Vault>,
    pub catalogue: Catalogue,
    pub record: Record,
    /// Clusters and the owners that their charters lead back to.
    pub clusters: Vec<(ClusterName, VerifyKey)>,
    pub clock: Arc<dyn Clock>,
    pub pace: Arc<Pace>,
    pub period_days: u32,
    /// Files read at a time; none: as many as there are cores.
    pub threads: Option<usize>,
    pub activity: Option<Arc<Activity>>,
}

/// What became of one file.
enum Fate {
    Sound,
    Gone,
    Bad(String),
    /// It could not be judged; the next round looks again.
    Unsure,
    /// This machine could not look.
    Failed(VaultError),
}

impl Scrubber {
    /// One round over what is due, or over `all`. Ends early, and says so, when it is told to stop.
    pub fn run(&self, all: bool, progress: impl FnOnce(u64) -> Progress) -> Result<Report, PullError> {
        let now = self.clock.now();
        let mut report = Report::new(&self.clusters);
        let mut worlds = BTreeMap::new();
        for (cluster, owner) in &self.clusters {
            let folder = self.vault.folder(cluster);
            walk::note(&folder, cluster, &self.catalogue, &self.record, now)?;
            worlds.insert(cluster.to_string(), World::new(folder, cluster, owner, &self.catalogue)?);
        }
        let until = if all { now.as_second().saturating_add(1) } else { self.due_before(now) };
        let progress = progress(self.record.total(until)?.1);
        let mut after = None;
        loop {
            let batch = self.record.due(after.as_ref(), until, BATCH)?;
            after = batch.last().cloned().or(after);
            if batch.is_empty() || self.pace.is_stopped() {
                break;
            }
            self.batch(&worlds, batch, &progress, &mut report)?;
        }
        report.stopped = self.pace.is_stopped();
        progress.finish();
        for cluster in &mut report.clusters {
            let overdue = now.as_second().saturating_sub(i64::from(self.period_days) * 86_400);
            cluster.standing = self.record.standing(&cluster.name, overdue)?;
        }
        Ok(report)
    }

    /// What was verified before is due: a part of the period is left for the reading itself.
    fn due_before(&self, now: Timestamp) -> i64 {
        let hours = i64::from(self.period_days) * 20;
        now.checked_sub(SignedDuration::from_hours(hours)).map_or(i64::MIN, Timestamp::as_second)
    }

    fn batch(
        &self,
        worlds: &BTreeMap<String, World>,
        batch: Vec<Due>,
        progress: &Progress,
        report: &mut Report,
    ) -> Result<(), PullError> {
        let mut sound = Vec::new();
        for (due, fate) in self.look_at_all(worlds, batch, progress) {
            let Some(world) = worlds.get(&due.cluster) else { continue };
            let cluster = report.of(&due.cluster);
            match fate {
                Fate::Sound => {
                    cluster.objects += 1;
                    cluster.bytes += due.size;
                    if let Some(seq) = layout::parse_manifest(&due.key) {
                        for key in world.lists_gone(seq)? {
                            self.condemn(world, &key, "it is not in the vault", cluster)?;
                        }
                    }
                    sound.push(Due { verified: self.clock.now().as_second(), ..due });
                }
                Fate::Gone => {
                    self.record.remove(&due.cluster, &due.key)?;
                    if self.should_be_there(world, &due.key)? {
                        self.condemn(world, &due.key, "it is not in the vault", cluster)?;
                    }
                }
                Fate::Bad(why) => {
                    self.condemn(world, &due.key, &why, cluster)?;
                    // Healed, it is noted anew; what stays in its place is looked at again in the next round.
                    self.record.remove(&due.cluster, &due.key)?;
                    if !look::is_replicated(&due.key) {
                        sound.push(Due { verified: self.clock.now().as_second(), ..due });
                    }
                }
                Fate::Unsure => {}
                Fate::Failed(error) => {
                    tracing::warn!(cluster = due.cluster, key = due.key, %error, "Could not look at a file");
                    cluster.failed += 1;
                }
            }
        }
        Ok(self.record.put(&sound)?)
    }

    /// Looks at the files of a batch on several threads. What is bad is read from the disk once more before that is said.
    fn look_at_all(
        &self,
        worlds: &BTreeMap<String, World>,
        batch: Vec<Due>,
        progress: &Progress,
    ) -> Vec<(Due, Fate)> {
        let threads = self.threads.or_else(|| std::thread::available_parallelism().ok().map(NonZero::get));
        let (next, fates) = (AtomicUsize::new(0), Mutex::new(Vec::with_capacity(batch.len())));
        std::thread::scope(|scope| {
            for _ in 0..threads.unwrap_or(1).clamp(1, 64) {
                scope.spawn(|| {
                    while let Some(due) = batch.get(next.fetch_add(1, Ordering::SeqCst)) {
                        if self.pace.is_stopped() {
                            return;
                        }
                        let Some(world) = worlds.get(&due.cluster) else { continue };
                        let fate = self.look(world, &due.key);
                        progress.add(due.size);
                        fates.lock().unwrap_or_else(PoisonError::into_inner).push((due.clone(), fate));
                    }
                });
            }
        });
        fates.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn way(&self, from_disk: bool) -> Way<'_> {
        Way { pace: &self.pace, activity: self.activity.as_deref(), from_disk }
    }

    fn look(&self, world: &World, key: &str) -> Fate {
        let first = world.look(key, self.way(false));
        let seen = match first {
            Ok(Seen::Bad(_)) => world.look(key, self.way(true)),
            other => other,
        };
        match seen {
            Ok(Seen::Sound) => Fate::Sound,
            Ok(Seen::Gone) => Fate::Gone,
            Ok(Seen::Unsure) => Fate::Unsure,
            Ok(Seen::Bad(why)) => Fate::Bad(why),
            Err(error) => Fate::Failed(error),
        }
    }

    /// A pack may be gone because retention deleted it, and only the next pull brings that into the catalogue.
    fn should_be_there(&self, world: &World, key: &str) -> Result<bool, PullError> {
        let Some(sha256) = layout::parse_pack(key) else {
            return Ok(world.folder.size(key)?.is_none() && is_kept(key));
        };
        let known = self.catalogue.pack(world.cluster.as_str(), &sha256)?.is_some();
        Ok(known && !retain::collected(&self.vault, &world.cluster)?.contains(&sha256))
    }

    fn condemn(
        &self,
        world: &World,
        key: &str,
        why: &str,
        report: &mut ClusterReport,
    ) -> Result<(), PullError> {
        if report.damaged.iter().any(|f| f.key == key) {
            return Ok(());
        }
        report.damaged.extend(condemn(world, key, why, self.way(true), self.clock.now())?);
        Ok(())
    }
}

/// Under the vault's lock: looks a last time, queues, and sets aside what the primary may give back. None when it is sound
/// after all.
pub(crate) fn condemn(
    world: &World,
    key: &str,
    why: &str,
    way: Way<'_>,
    now: Timestamp,
) -> Result<Option<Found>, PullError> {
    let lock = world.folder.vault().lock_exclusive()?;
    let why = match world.look(key, way)? {
        // Healed or collected meanwhile.
        Seen::Sound | Seen::Unsure => return Ok(None),
        Seen::Gone => why.to_owned(),
        Seen::Bad(why) => why,
    };
    tracing::warn!(cluster = %world.cluster, key, why, "Damaged in the vault");
    let found = Found { key: key.to_owned(), why, at: now };
    queue::add(&world.folder, &world.cluster, &found, &lock)?;
    if look::is_replicated(key) {
        world.folder.set_aside(key, &lock)?;
    }
    Ok(Some(found))
}

/// Kinds that are never deleted from a vault. A tombstone may be taken back.
fn is_kept(key: &str) -> bool {
    !key.starts_with(layout::TOMBSTONES) && !key.starts_with(layout::REJECTED)
}
