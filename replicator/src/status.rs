//! What the catalogue says of each cluster, for people and programs. Reads the catalogue alone.

use crate::alarm::Alarm;
use crate::catalog::{Catalogue, Cursor, Result, Side, SnapshotRow, State};
use crate::scrub::{Record, Standing};
use jiff::Timestamp;
use serde::Serialize;
use std::fmt::Write as _;

pub const SCHEMA: &str = "lifeboat/status/1";

#[derive(Debug, Serialize)]
pub struct Status {
    pub schema: &'static str,
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
    Ok(Status { schema: SCHEMA, clusters })
}

fn cluster(catalogue: &Catalogue, name: String, now: Timestamp) -> Result<ClusterStatus> {
    let since = |time: Timestamp| now.duration_since(time).as_secs().max(0);
    let held = catalogue.in_state(&name, State::Held)?;
    let newest = held.first();
    let pending = catalogue.in_state(&name, State::Pending)?;
    let totals = catalogue.totals(&name)?;
    Ok(ClusterStatus {
        // A claimed time may lie; it is never later than when it was first seen.
        age_s: newest.map(|row| since(row.claimed.min(row.first_seen))),
        newest: newest.map(Newest::from),
        lag_s: pending.iter().map(|row| since(row.first_seen)).max().unwrap_or(0),
        alarms: catalogue.alarms(&name)?,
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

    /// For people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = String::new();
        for cluster in &self.clusters {
            cluster.write(&mut out);
        }
        if self.clusters.is_empty() {
            out.push_str("No cluster was pulled yet\n");
        }
        out
    }
}

impl ClusterStatus {
    fn write(&self, out: &mut String) {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{}", self.name);
        let _ = match (&self.newest, self.age_s) {
            (Some(newest), Some(age)) => writeln!(
                out,
                "  newest snapshot  {} ({}, {}), {} ago",
                newest.seq,
                newest.coverage,
                newest.result,
                duration(age)
            ),
            _ => writeln!(out, "  newest snapshot  none"),
        };
        let _ = writeln!(
            out,
            "  in the vault     {} snapshots, {} packs, {} (verified on arrival; no restore was proven)",
            self.snapshots,
            self.packs,
            size(self.bytes)
        );
        if self.pending > 0 {
            let _ = writeln!(out, "  incomplete       {}, for {}", self.pending, duration(self.lag_s));
        }
        let last = self.last_pull.map_or("never".to_owned(), |t| format!("{t:.0}"));
        let _ = writeln!(out, "  last whole pull  {last}");
        if let Some(Standing { oldest: Some(oldest), overdue, .. }) = &self.scrub {
            let late = if *overdue > 0 { format!("; {overdue} files are overdue") } else { String::new() };
            let _ = writeln!(out, "  scrubbed         all of it since {oldest:.0}{late}");
        }
        if self.damaged.vault + self.damaged.primary > 0 {
            let DamagedCounts { vault, primary } = self.damaged;
            let _ = writeln!(out, "  damaged          {vault} in the vault, {primary} in the primary");
        }
        for alarm in &self.alarms {
            let _ = writeln!(
                out,
                "  ALARM {} since {:.0}: {}",
                alarm.kind.name(),
                alarm.since,
                plain(&alarm.what)
            );
            let _ = writeln!(out, "    {}", plain(&alarm.why));
            let _ = writeln!(out, "    next: {}", plain(&alarm.next));
        }
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
