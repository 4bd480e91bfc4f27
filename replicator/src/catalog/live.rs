//! What is shown and decides nothing: transfers under way, and how much the vault held on each day. Tables that a reader
//! may miss, and that start anew with the catalogue.

use super::{Catalogue, Result, number, time};
use jiff::Timestamp;
use lifeboat_common::progress::Figures;
use rusqlite::params;
use serde::Serialize;

pub(super) const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS transfers (
  cluster TEXT PRIMARY KEY, task TEXT NOT NULL, done INTEGER NOT NULL, total INTEGER, rate INTEGER NOT NULL, eta INTEGER,
  at TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS usage (
  cluster TEXT NOT NULL, day INTEGER NOT NULL, bytes INTEGER NOT NULL, packs INTEGER NOT NULL, snapshots INTEGER NOT NULL,
  PRIMARY KEY (cluster, day)) STRICT, WITHOUT ROWID;
";

const DAY: i64 = 86_400;
/// Days that are remembered.
const DAYS: i64 = 3 * 366;
/// A transfer of which nothing was heard for so long, in seconds, is none.
const SILENT: i64 = 60;

/// A transfer under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Transfer {
    pub task: String,
    /// Bytes.
    pub done: u64,
    pub total: Option<u64>,
    /// Bytes per second.
    pub rate: u64,
    /// Seconds that are left at this rate.
    pub eta_s: Option<u64>,
    pub at: Timestamp,
}

/// What the vault held of a cluster at the end of a day (UTC).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Days since 1970.
    pub day: i64,
    pub bytes: u64,
    pub packs: u64,
    pub snapshots: u64,
}

fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn unsigned(n: i64) -> u64 {
    u64::try_from(n).unwrap_or(0)
}

impl Catalogue {
    /// Replaces what is known of transfers under way.
    pub fn set_transfers(&self, transfers: &[(String, String, Figures)], now: Timestamp) -> Result<()> {
        self.run("write", |c| {
            let transaction = c.transaction()?;
            transaction.execute("DELETE FROM transfers", [])?;
            for (cluster, task, figures) in transfers {
                let Figures { done, total, rate, eta_s } = *figures;
                let (total, eta) = (total.map(signed), eta_s.map(signed));
                let values = params![cluster, task, signed(done), total, signed(rate), eta, now.to_string()];
                transaction.execute(
                    "INSERT OR REPLACE INTO transfers VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                    values,
                )?;
            }
            transaction.commit()
        })
    }

    pub fn transfer(&self, cluster: &str, now: Timestamp) -> Result<Option<Transfer>> {
        if !self.has_table("transfers")? {
            return Ok(None);
        }
        self.run("read", |c| {
            let sql = "SELECT task, done, total, rate, eta, at FROM transfers WHERE cluster = ?1";
            let mut statement = c.prepare(sql)?;
            let mut rows = statement.query([cluster])?;
            let Some(row) = rows.next()? else { return Ok(None) };
            let transfer = Transfer {
                task: row.get(0)?,
                done: number(row, 1)?,
                total: row.get::<_, Option<i64>>(2)?.map(unsigned),
                rate: number(row, 3)?,
                eta_s: row.get::<_, Option<i64>>(4)?.map(unsigned),
                at: time(row, 5)?,
            };
            let silent = now.duration_since(transfer.at).as_secs() > SILENT;
            Ok((!silent).then_some(transfer))
        })
    }

    /// Notes what the vault holds of a cluster today.
    pub fn note_usage(&self, cluster: &str, now: Timestamp) -> Result<()> {
        let totals = self.totals(cluster)?;
        let day = now.as_second().div_euclid(DAY);
        self.run("write", |c| {
            let sql = "INSERT OR REPLACE INTO usage VALUES (?1, ?2, ?3, ?4, ?5)";
            let (bytes, packs, snapshots) =
                (signed(totals.bytes), signed(totals.packs), signed(totals.snapshots));
            c.execute(sql, params![cluster, day, bytes, packs, snapshots])?;
            c.execute("DELETE FROM usage WHERE cluster = ?1 AND day < ?2", params![cluster, day - DAYS])
                .map(drop)
        })
    }

    /// What was noted since `day`, ascending.
    pub fn usage(&self, cluster: &str, since: i64) -> Result<Vec<Usage>> {
        if !self.has_table("usage")? {
            return Ok(Vec::new());
        }
        self.run("read", |c| {
            let sql = "SELECT day, bytes, packs, snapshots FROM usage WHERE cluster = ?1 AND day >= ?2
                       ORDER BY day LIMIT 2000";
            c.prepare(sql)?
                .query_map(params![cluster, since], |row| {
                    let (bytes, packs, snapshots) = (number(row, 1)?, number(row, 2)?, number(row, 3)?);
                    Ok(Usage { day: row.get(0)?, bytes, packs, snapshots })
                })?
                .collect()
        })
    }

    fn has_table(&self, name: &str) -> Result<bool> {
        let sql = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?1";
        self.run("read", |c| c.prepare(sql)?.exists([name]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transfer_of_which_nothing_is_heard_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let catalogue = Catalogue::open(&dir.path().join("c.sqlite")).unwrap();
        let at = |s| Timestamp::from_second(s).unwrap();
        let figures = Figures { done: 5, total: Some(10), rate: 1, eta_s: Some(5) };
        let one = ("prod".to_owned(), "Pulling prod 3".to_owned(), figures);
        catalogue.set_transfers(&[one], at(100)).unwrap();
        assert_eq!(catalogue.transfer("prod", at(130)).unwrap().unwrap().eta_s, Some(5));
        assert_eq!(catalogue.transfer("prod", at(161)).unwrap(), None);
        catalogue.set_transfers(&[], at(131)).unwrap();
        assert_eq!(catalogue.transfer("prod", at(131)).unwrap(), None);
    }

    #[test]
    fn a_day_is_noted_once_and_forgotten_after_years() {
        let dir = tempfile::tempdir().unwrap();
        let catalogue = Catalogue::open(&dir.path().join("c.sqlite")).unwrap();
        for day in [0, 1, 1, 2000] {
            catalogue.note_usage("prod", Timestamp::from_second(day * DAY + 7).unwrap()).unwrap();
        }
        let days: Vec<i64> = catalogue.usage("prod", 0).unwrap().iter().map(|u| u.day).collect();
        assert_eq!(days, [2000]);
    }

    #[test]
    fn a_catalogue_from_before_has_neither_and_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.sqlite");
        let catalogue = Catalogue::open(&path).unwrap();
        catalogue.run("change", |c| c.execute_batch("DROP TABLE usage; DROP TABLE transfers")).unwrap();
        let read = Catalogue::open_read_only(&path).unwrap();
        assert!(read.usage("prod", 0).unwrap().is_empty());
        assert_eq!(read.transfer("prod", Timestamp::UNIX_EPOCH).unwrap(), None);
    }
}
