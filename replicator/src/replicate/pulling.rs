//! Packs on their way: as many at a time as pays, within what the source may bring. Owns the loop; which packs are
//! missing, and what becomes of a snapshot, is decided elsewhere.

use super::error::{FetchError, PullError};
use super::quota::{self, Days};
use super::transfers::Transfers;
use super::verify::{Named, Pack};
use super::{Cycle, Outcome, reread};
use crate::alarm::Stage;
use crate::catalog::Cursor;
use crate::vault::VaultError;
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use lifeboat_common::progress::Progress;
use lifeboat_format::id::Sha256;
use lifeboat_format::layout;
use tokio::time::{Instant, sleep_until};

/// The packs of a pull's snapshots on their way.
pub(super) struct Pulling<'a> {
    cycle: &'a Cycle,
    transfers: Transfers,
    days: Days,
    /// Bytes of packs of this source in the vault, about: those of snapshots under way are not counted.
    held: u64,
    /// Bytes of packs that were begun and are not here yet.
    flying: u64,
    /// Since the last look at what arrived.
    since: Instant,
    bytes: u64,
    strains: u64,
}

/// What a transfer brought.
type Fetched = (u64, Result<(), FetchError>);

impl<'a> Pulling<'a> {
    pub(super) fn new(cycle: &'a Cycle) -> Result<Self, PullError> {
        let cluster = cycle.cluster();
        let days = cycle.catalogue.cursor(cluster, Cursor::Days)?.unwrap_or_default();
        Ok(Self {
            cycle,
            transfers: Transfers::new(cycle.transfers),
            days: days.parse().unwrap_or_default(),
            held: cycle.catalogue.totals(cluster)?.bytes,
            flying: 0,
            since: Instant::now(),
            bytes: cycle.fetcher.meter.bytes(),
            strains: cycle.fetcher.meter.strains(),
        })
    }

    /// Fetches, verifies and places packs, as many at a time as pays. True when all are there.
    pub(super) async fn fetch(
        &mut self,
        seq: u64,
        missing: Vec<(Sha256, u64)>,
        outcome: &mut Outcome,
    ) -> Result<bool, PullError> {
        if missing.is_empty() {
            return Ok(true);
        }
        let cycle = self.cycle;
        let (count, bytes) = (missing.len(), missing.iter().map(|(_, size)| size).sum::<u64>());
        // Named before it begins, so that a disk that is too small is said at once.
        drop(cycle.folder.vault().reserve(bytes)?);
        let progress =
            cycle.activity.progress(cycle.cluster(), format!("Pulling {} {seq}", cycle.cluster()), bytes);
        let fetched = self.fetch_all(seq, missing, count, &progress, outcome).await;
        progress.finish();
        fetched
    }

    async fn fetch_all(
        &mut self,
        seq: u64,
        missing: Vec<(Sha256, u64)>,
        count: usize,
        progress: &Progress,
        outcome: &mut Outcome,
    ) -> Result<bool, PullError> {
        let cycle = self.cycle;
        let mut left = missing.into_iter().peekable();
        let mut running = FuturesUnordered::new();
        let (mut done, mut complete) = (0, true);
        self.flying = 0;
        self.since = Instant::now();
        self.bytes = cycle.fetcher.meter.bytes();
        loop {
            while running.len() < self.transfers.limit() && left.peek().is_some() {
                if self.is_over_quota(outcome)? {
                    // What is under way is let through; the next pull asks again.
                    left = Vec::new().into_iter().peekable();
                    complete = false;
                    break;
                }
                let place = match cycle.places.clone().try_acquire_owned() {
                    Ok(place) => place,
                    // Other sources have them all; the first one is waited for.
                    Err(_) if !running.is_empty() => break,
                    Err(_) => match cycle.places.clone().acquire_owned().await {
                        Ok(place) => place,
                        Err(_) => return Err(PullError::Lost { what: "transfers" }),
                    },
                };
                let Some((sha256, size)) = left.next() else { break };
                self.flying += size;
                running.push(
                    async move {
                        let fetched = fetch_one(cycle, sha256, size, progress).await;
                        drop(place);
                        (size, fetched)
                    }
                    .boxed(),
                );
            }
            let look = sleep_until(self.since + Transfers::period(cycle.fetcher.meter.first_byte()));
            tokio::select! {
                fetched = running.next() => {
                    let Some(fetched) = fetched else { break };
                    done += 1;
                    complete &= self.take(fetched, outcome)?;
                    let doing = format!("pulling snapshot {seq}, {done} of {count} packs");
                    cycle.activity.busy(cycle.cluster(), doing);
                }
                () = look => self.look(left.peek().is_some() && running.len() >= self.transfers.limit()),
            }
        }
        Ok(complete)
    }

    /// Learns from what arrived since the last look. `full`: every place that there is was used.
    fn look(&mut self, full: bool) {
        let meter = &self.cycle.fetcher.meter;
        let (now, bytes, strains) = (Instant::now(), meter.bytes(), meter.strains());
        if strains > self.strains {
            self.transfers.strained();
        } else {
            self.transfers.arrived(bytes - self.bytes, now - self.since, full);
        }
        tracing::debug!(
            transfers = self.transfers.limit(),
            bytes = bytes - self.bytes,
            took = ?(now - self.since),
            full,
            "Arriving"
        );
        (self.since, self.bytes, self.strains) = (now, bytes, strains);
    }

    /// Counts what was fetched; false when it could not be had.
    fn take(&mut self, (size, fetched): Fetched, outcome: &mut Outcome) -> Result<bool, PullError> {
        self.flying -= size;
        match fetched {
            Ok(()) => {
                outcome.packs += 1;
                outcome.bytes += size;
                let zone = self.cycle.source.limits.zone.clone();
                self.days.add(self.cycle.clock.now().to_zoned(zone).date(), size);
                self.account()?;
                Ok(true)
            }
            Err(error) => {
                note_lost(self.cycle, &error)?;
                self.cycle.object_failed(Stage::Snapshots, error)?;
                Ok(false)
            }
        }
    }

    /// Whether the source brought what it may; says so.
    fn is_over_quota(&self, outcome: &Outcome) -> Result<bool, PullError> {
        let limits = &self.cycle.source.limits;
        let today = self.cycle.clock.now().to_zoned(limits.zone.clone()).date();
        let held = self.held.saturating_add(outcome.bytes).saturating_add(self.flying);
        let come = self.days.on(today).saturating_add(self.flying);
        let Some(reached) = limits.quota.reached(come, held) else { return Ok(false) };
        let f = quota::reached(self.cycle.cluster(), reached);
        self.cycle.find(f.kind, f.stage, f.what, f.why, &f.next)?;
        Ok(true)
    }

    /// Writes down what came on which day.
    fn account(&self) -> Result<(), PullError> {
        let (catalogue, cluster) = (&self.cycle.catalogue, self.cycle.cluster());
        Ok(catalogue.set_cursor(cluster, Cursor::Days, &self.days.to_string())?)
    }
}

/// What the source does not have as it must is not to be reused: `retain` tells the agent, where it may.
fn note_lost(cycle: &Cycle, error: &FetchError) -> Result<(), PullError> {
    match error {
        FetchError::Missing { key } => reread::note(cycle, key, "it is not in the source".to_owned(), None),
        FetchError::Damaged(damage) => {
            let why = format!("expected {}, found {}", damage.expected, damage.seen);
            reread::note(cycle, &damage.key, why, None)
        }
        FetchError::Store(_) | FetchError::Vault(_) => Ok(()),
    }
}

async fn fetch_one(cycle: &Cycle, sha256: Sha256, size: u64, progress: &Progress) -> Result<(), FetchError> {
    let verified = cycle.fetcher.object(&Named::<Pack>::pack(sha256, size), progress).await?;
    let (folder, now) = (cycle.folder.clone(), cycle.now);
    let placed = tokio::task::spawn_blocking(move || folder.place(verified, now)).await;
    placed.unwrap_or_else(|_| {
        let path = cycle.folder.full_path(&layout::pack(&sha256));
        let source = std::io::Error::other("the thread that did it is gone");
        Err(VaultError::Io { action: "put in place", path, source })
    })?;
    Ok(())
}
