//! How things are, for people and programs: what the catalogue says of each cluster, what the vault's files add to it, and
//! what follows from both. Writes nothing and asks no source.

mod facts;
pub mod forecast;
mod text;
mod warn;

use crate::alarm::Alarm;
use crate::catalog::{Catalogue, Cursor, Result, Side, SnapshotRow, State, Transfer};
use crate::scrub::{self, Record, Standing};
use crate::setup::{self, SetupError};
use facts::Facts;
use forecast::Space;
use jiff::{SignedDuration, Timestamp};
use lifeboat_common::config::ReplicatorConfig;
use serde::Serialize;

pub use warn::{Warning, WarningKind};

pub const SCHEMA: &str = "lifeboat/status/1";

#[derive(Debug, Serialize)]
pub struct Status {
    pub schema: &'static str,
    pub now: Timestamp,
    /// The vault's disk; none where it was not looked at.
    pub space: Option<Space>,
    /// What concerns no single cluster.
    pub warnings: Vec<Warning>,
    pub clusters: Vec<ClusterStatus>,
}

#[derive(Debug, Serialize)]
pub struct ClusterStatus {
    pub name: String,
    /// The newest snapshot that is whole.
    pub newest: Option<Newest>,
    /// Seconds since the newest whole snapshot was made.
    pub age_s: Option<i64>,
    /// Seconds that the vault is behind what it knows of; 0 when it has all of it.
    pub lag_s: i64,
    pub alarms: Vec<Alarm>,
    /// What is no alarm of a pull, and still needs a person.
    pub warnings: Vec<Warning>,
    /// How old the newest whole snapshot may be, by the charter.
    pub rpo_hours: Option<u32>,
    /// The transfer under way.
    pub progress: Option<Transfer>,
    /// When the oldest snapshot of the vault was made.
    pub oldest: Option<Timestamp>,
    /// The policy in force keeps the newest snapshot at least until then, and deletes nothing of it before.
    pub protected_until: Option<Timestamp>,
    /// What the primary still has, as far as is known here.
    pub in_primary: Option<InPrimary>,
    /// When retention last decided.
    pub last_retention: Option<Timestamp>,
    pub snapshots: u64,
    pub pending: u64,
    pub packs: u64,
    /// Sealed bytes, each pack counted once. All of them were verified on arrival.
    pub bytes: u64,
    /// Restores are proven by drills, which this version does not run.
    pub proven_by_drill: Option<Timestamp>,
    pub last_pull: Option<Timestamp>,
    /// What the vault's files were last read for; none before the first scrub.
    pub scrub: Option<Standing>,
    /// Known to be damaged and not healed yet.
    pub damaged: DamagedCounts,
}

/// The other side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InPrimary {
    pub snapshots: u64,
    pub oldest: Option<Timestamp>,
}

#[derive(Debug, Default, Serialize)]
pub struct DamagedCounts {
    pub vault: u64,
    pub primary: u64,
}

#[derive(Debug, Serialize)]
pub struct Newest {
    pub seq: u64,
    pub id: String,
    /// When the agent says it finished.
    pub time: Timestamp,
    pub first_seen: Timestamp,
    pub verified: Option<Timestamp>,
    pub coverage: String,
    pub result: String,
}

impl From<&SnapshotRow> for Newest {
    fn from(row: &SnapshotRow) -> Self {
        Self {
            seq: row.seq,
            id: row.id.to_hex(),
            time: row.claimed,
            first_seen: row.first_seen,
            verified: row.verified,
            coverage: row.coverage.clone(),
            result: row.result.clone(),
        }
    }
}

/// Looks at every cluster of the catalogue, and at `configured` ones that it does not know yet.
pub fn read(catalogue: &Catalogue, configured: &[String], now: Timestamp) -> Result<Status> {
    let mut names = catalogue.clusters()?;
    names.extend(configured.iter().cloned());
    names.sort_unstable();
    names.dedup();
    let clusters = names.into_iter().map(|name| cluster(catalogue, name, now)).collect::<Result<_>>()?;
    Ok(Status { schema: SCHEMA, now, space: None, warnings: Vec::new(), clusters })
}

/// All that is known, as the configuration at hand has it.
pub fn gather(config: &ReplicatorConfig, now: Timestamp) -> std::result::Result<Status, SetupError> {
    gather_from(&setup::catalogue(config)?, config, now)
}

/// [`gather`] from a catalogue that is open already.
pub fn gather_from(
    catalogue: &Catalogue,
    config: &ReplicatorConfig,
    now: Timestamp,
) -> std::result::Result<Status, SetupError> {
    let configured: Vec<String> = config.sources.iter().map(|s| s.cluster.to_string()).collect();
    let mut status = read(catalogue, &configured, now)?;
    let days = config.scrub.period_days.unwrap_or(scrub::PERIOD_DAYS);
    status.add_scrub(setup::scrub_record(config)?.as_ref(), days, now)?;
    let facts = Facts::gather(config)?;
    for cluster in &mut status.clusters {
        if let Some(facts) = facts.clusters.get(&cluster.name) {
            let rows = catalogue.snapshots(&cluster.name)?;
            cluster.add(facts, &rows);
        }
    }
    let names: Vec<String> = status.clusters.iter().map(|c| c.name.clone()).collect();
    status.space = facts.space.map(|space| forecast::space(catalogue, &names, space, now)).transpose()?;
    warn::add(&mut status, config, now);
    Ok(status)
}

fn cluster(catalogue: &Catalogue, name: String, now: Timestamp) -> Result<ClusterStatus> {
    let since = |time: Timestamp| now.duration_since(time).as_secs().max(0);
    let held = catalogue.in_state(&name, State::Held)?;
    let newest = held.first();
    let pending = catalogue.in_state(&name, State::Pending)?;
    let totals = catalogue.totals(&name)?;
    Ok(ClusterStatus {
        age_s: newest.map(|row| since(made(row))),
        newest: newest.map(Newest::from),
        lag_s: pending.iter().map(|row| since(row.first_seen)).max().unwrap_or(0),
        alarms: catalogue.alarms(&name)?,
        warnings: Vec::new(),
        rpo_hours: None,
        progress: catalogue.transfer(&name, now)?,
        oldest: held.iter().map(made).min(),
        protected_until: None,
        in_primary: None,
        last_retention: None,
        snapshots: totals.snapshots,
        pending: totals.pending,
        packs: totals.packs,
        bytes: totals.bytes,
        proven_by_drill: None,
        scrub: None,
        damaged: DamagedCounts {
            vault: catalogue.count_damaged(&name, Side::Vault)?,
            primary: catalogue.count_damaged(&name, Side::Primary)?,
        },
        last_pull: catalogue.cursor(&name, Cursor::Pulled)?.and_then(|text| text.parse().ok()),
        name,
    })
}

/// When a snapshot was made. A claimed time may lie; it is never later than when it was first seen.
#[must_use]
pub fn made(row: &SnapshotRow) -> Timestamp {
    row.claimed.min(row.first_seen)
}

impl ClusterStatus {
    fn add(&mut self, facts: &facts::ClusterFacts, rows: &[SnapshotRow]) {
        self.rpo_hours = facts.rpo_hours;
        self.last_retention = facts.last_retention;
        let newest = rows.iter().rfind(|r| r.state == State::Held);
        self.protected_until = newest.zip(facts.kept_hours).and_then(|(row, hours)| {
            row.first_seen.checked_add(SignedDuration::from_hours(i64::from(hours))).ok()
        });
        let there = |r: &&SnapshotRow| {
            !matches!(r.state, State::Rejected | State::Checkpoint)
                && !facts.gone_from_primary.contains(&r.seq)
        };
        let in_primary: Vec<_> = rows.iter().filter(there).map(made).collect();
        let snapshots = in_primary.len() as u64;
        self.in_primary = Some(InPrimary { snapshots, oldest: in_primary.into_iter().min() });
    }
}

impl Status {
    /// Adds what scrubs noted; everything should be read once in `days`.
    pub fn add_scrub(&mut self, record: Option<&Record>, days: u32, now: Timestamp) -> Result<()> {
        let Some(record) = record else { return Ok(()) };
        let overdue = now.as_second().saturating_sub(i64::from(days) * 86_400);
        for cluster in &mut self.clusters {
            cluster.scrub = Some(record.standing(&cluster.name, overdue)?);
        }
        Ok(())
    }

    #[must_use]
    pub fn has_alarms(&self) -> bool {
        self.clusters.iter().any(|c| !c.alarms.is_empty())
    }

    /// Whether nobody needs to do anything.
    #[must_use]
    pub fn is_well(&self) -> bool {
        let clear = |c: &ClusterStatus| c.alarms.is_empty() && c.warnings.is_empty() && c.newest.is_some();
        self.warnings.is_empty() && self.clusters.iter().all(clear)
    }
}

/// Text that came from a source, without control characters.
pub fn plain(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

/// `3 h 20 min`.
#[must_use]
pub fn duration(seconds: i64) -> String {
    match seconds {
        s if s < 60 => format!("{s} s"),
        s if s < 3600 => format!("{} min", s / 60),
        s if s < 48 * 3600 => format!("{} h {} min", s / 3600, s % 3600 / 60),
        s => format!("{} days", s / 86400),
    }
}

/// `1.5 GiB`.
#[must_use]
pub fn size(bytes: u64) -> String {
    let unit = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)]
        .into_iter()
        .find(|(_, shift)| bytes >> shift > 0);
    match unit {
        Some((name, shift)) => {
            let tenths = (u128::from(bytes) * 10) >> shift;
            format!("{}.{} {name}", tenths / 10, tenths % 10)
        }
        None => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_for_people() {
        assert_eq!(size(0), "0 B");
        assert_eq!(size(1536), "1.5 KiB");
        assert_eq!(size(u64::MAX), "16777215.9 TiB");
        assert_eq!(duration(59), "59 s");
        assert_eq!(duration(12_000), "3 h 20 min");
        assert_eq!(duration(86400 * 3), "3 days");
        assert_eq!(plain("a\u{1b}[31m\nb"), "a\\u{1b}[31m\\nb");
    }

    #[test]
    fn the_shape_is_the_agreed_one() {
        let dir = tempfile::tempdir().unwrap();
        let catalogue = Catalogue::open(&dir.path().join("c.sqlite")).unwrap();
        let status = read(&catalogue, &["prod".to_owned()], Timestamp::UNIX_EPOCH).unwrap();
        let json = serde_json::to_value(&status).unwrap();
        assert_eq!(json["schema"], "lifeboat/status/1");
        assert_eq!(json["clusters"][0]["name"], "prod");
        for key in ["newest", "age_s", "lag_s", "alarms", "snapshots", "bytes"] {
            assert!(json["clusters"][0].get(key).is_some(), "{key}");
        }
        assert!(status.text().contains("none"));
    }
}
