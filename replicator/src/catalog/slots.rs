//! Names in the source that were judged and are not counted, so that they are not fetched again in each pull.

use super::{Catalogue, Result, number, time};
use crate::alarm::AlarmKind;
use jiff::Timestamp;
use rusqlite::params;

/// One object that was set aside or waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    pub key: String,
    /// As the source listed it.
    pub size: u64,
    pub modified: Timestamp,
    /// SHA-256 of the bytes that were judged, in hexadecimal; none when they were not fetched.
    pub seen: Option<String>,
    pub kind: AlarmKind,
    pub why: String,
    pub next: String,
}

impl Catalogue {
    /// Ascending by key.
    pub fn slots(&self, cluster: &str) -> Result<Vec<Slot>> {
        self.select_slots(cluster, "ORDER BY key", 1 << 20)
    }

    /// Those that were looked at longest ago.
    pub fn stalest_slots(&self, cluster: &str, count: usize) -> Result<Vec<Slot>> {
        self.select_slots(cluster, "AND seen IS NOT NULL ORDER BY looked, key", count)
    }

    /// Those of which nothing but the name was looked at, longest ago first.
    pub fn unread_slots(&self, cluster: &str) -> Result<Vec<Slot>> {
        self.select_slots(cluster, "AND seen IS NULL ORDER BY looked, key", 1 << 20)
    }

    fn select_slots(&self, cluster: &str, clause: &str, limit: usize) -> Result<Vec<Slot>> {
        self.run("read", |c| {
            let sql = format!(
                "SELECT key, size, modified, seen, kind, why, next FROM slots WHERE cluster = ?1 {clause} LIMIT {limit}"
            );
            c.prepare(&sql)?
                .query_map([cluster], |row| {
                    Ok(Slot {
                        key: row.get(0)?,
                        size: number(row, 1)?,
                        modified: time(row, 2)?,
                        seen: row.get(3)?,
                        kind: AlarmKind::parse(&row.get::<_, String>(4)?).unwrap_or(AlarmKind::Junk),
                        why: row.get(5)?,
                        next: row.get(6)?,
                    })
                })?
                .collect()
        })
    }

    pub fn put_slot(&self, cluster: &str, slot: &Slot) -> Result<()> {
        self.run("write", |c| {
            let sql = "INSERT OR REPLACE INTO slots VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8,
                       (SELECT coalesce(max(looked), 0) + 1 FROM slots WHERE cluster = ?1))";
            let Slot { key, size, modified, seen, kind, why, next } = slot;
            let size = i64::try_from(*size).unwrap_or(i64::MAX);
            c.execute(sql, params![cluster, key, size, modified.to_string(), seen, kind.name(), why, next])
                .map(drop)
        })
    }

    pub fn forget_slot(&self, cluster: &str, key: &str) -> Result<()> {
        let sql = "DELETE FROM slots WHERE cluster = ?1 AND key = ?2";
        self.run("write", |c| c.execute(sql, params![cluster, key]).map(drop))
    }
}
