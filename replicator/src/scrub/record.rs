//! When each file of the vault was last read and found sound: a small database beside the catalogue that only scrubs
//! write. Losing it costs one round.

use crate::catalog::{CatalogError, read_only};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, params};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

pub const FILE: &str = "scrub.sqlite";
const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS objects (
  cluster TEXT NOT NULL, key TEXT NOT NULL, size INTEGER NOT NULL, verified INTEGER NOT NULL,
  PRIMARY KEY (cluster, key)) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS oldest ON objects (verified, cluster, key);
CREATE INDEX IF NOT EXISTS oldest_of ON objects (cluster, verified);
";

/// One file that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    pub cluster: String,
    pub key: String,
    /// Bytes, when it was noted.
    pub size: u64,
    /// Seconds since 1970.
    pub verified: i64,
}

/// How a cluster stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Standing {
    pub objects: u64,
    /// Everything was read, and was sound, since then: on arrival or by a scrub.
    pub oldest: Option<Timestamp>,
    /// Not read for longer than the period.
    pub overdue: u64,
}

#[derive(Debug)]
pub struct Record {
    path: PathBuf,
    connection: Mutex<Connection>,
}

type Result<T> = std::result::Result<T, CatalogError>;

impl Record {
    pub fn open(path: &Path) -> Result<Self> {
        let fail = |action| move |source| CatalogError::Sqlite { action, path: path.to_owned(), source };
        let connection = Connection::open(path).map_err(fail("open"))?;
        let pragmas = "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA busy_timeout = 10000;";
        connection.execute_batch(pragmas).map_err(fail("open"))?;
        connection.execute_batch(SCHEMA).map_err(fail("create"))?;
        Ok(Self { path: path.to_owned(), connection: Mutex::new(connection) })
    }

    /// Nothing where no scrub ran yet.
    pub fn open_read_only(path: &Path) -> Result<Option<Self>> {
        if !path.exists() {
            return Ok(None);
        }
        let fail = |source| CatalogError::Sqlite { action: "open", path: path.to_owned(), source };
        let connection = read_only(path).map_err(fail)?;
        Ok(Some(Self { path: path.to_owned(), connection: Mutex::new(connection) }))
    }

    fn run<T>(
        &self,
        action: &'static str,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T>,
    ) -> Result<T> {
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        work(&mut connection).map_err(|source| CatalogError::Sqlite {
            action,
            path: self.path.clone(),
            source,
        })
    }

    /// Those of `keys` that are not known yet.
    pub fn unknown(&self, cluster: &str, keys: Vec<String>) -> Result<Vec<String>> {
        self.run("read", |c| {
            let mut known = c.prepare_cached("SELECT 1 FROM objects WHERE cluster = ?1 AND key = ?2")?;
            let mut unknown = Vec::new();
            for key in keys {
                if known.query_row(params![cluster, key], |_| Ok(())).optional()?.is_none() {
                    unknown.push(key);
                }
            }
            Ok(unknown)
        })
    }

    /// Notes when files were last known to be sound.
    pub fn put(&self, objects: &[Due]) -> Result<()> {
        if objects.is_empty() {
            return Ok(());
        }
        self.run("write", |c| {
            let transaction = c.transaction()?;
            {
                let sql = "INSERT OR REPLACE INTO objects VALUES (?1, ?2, ?3, ?4)";
                let mut put = transaction.prepare_cached(sql)?;
                for Due { cluster, key, size, verified } in objects {
                    put.execute(params![cluster, key, i64::try_from(*size).unwrap_or(i64::MAX), verified])?;
                }
            }
            transaction.commit()
        })
    }

    pub fn remove(&self, cluster: &str, key: &str) -> Result<()> {
        let sql = "DELETE FROM objects WHERE cluster = ?1 AND key = ?2";
        self.run("write", |c| c.execute(sql, params![cluster, key]).map(drop))
    }

    /// The next `limit` behind `after` that were last verified before `until`, oldest first.
    pub fn due(&self, after: Option<&Due>, until: i64, limit: usize) -> Result<Vec<Due>> {
        let (verified, cluster, key) =
            after.map_or((i64::MIN, "", ""), |d| (d.verified, d.cluster.as_str(), d.key.as_str()));
        self.run("read", |c| {
            let sql = "SELECT cluster, key, size, verified FROM objects
                       WHERE (verified, cluster, key) > (?1, ?2, ?3) AND verified < ?4
                       ORDER BY verified, cluster, key LIMIT ?5";
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            c.prepare_cached(sql)?
                .query_map(params![verified, cluster, key, until, limit], |row| {
                    let size: i64 = row.get(2)?;
                    let size = u64::try_from(size).unwrap_or(0);
                    Ok(Due { cluster: row.get(0)?, key: row.get(1)?, size, verified: row.get(3)? })
                })?
                .collect()
        })
    }

    /// Files and bytes that [`Record::due`] will give.
    pub fn total(&self, until: i64) -> Result<(u64, u64)> {
        self.run("read", |c| {
            let sql = "SELECT count(*), coalesce(sum(size), 0) FROM objects WHERE verified < ?1";
            let number = |n: i64| u64::try_from(n).unwrap_or(0);
            c.query_row(sql, [until], |row| Ok((number(row.get(0)?), number(row.get(1)?))))
        })
    }

    pub fn standing(&self, cluster: &str, overdue_before: i64) -> Result<Standing> {
        self.run("read", |c| {
            let number = |n: i64| u64::try_from(n).unwrap_or(0);
            let sql = "SELECT count(*), min(verified) FROM objects WHERE cluster = ?1";
            let (objects, oldest): (i64, Option<i64>) =
                c.query_row(sql, [cluster], |row| Ok((row.get(0)?, row.get(1)?)))?;
            let sql = "SELECT count(*) FROM objects WHERE cluster = ?1 AND verified < ?2";
            let overdue = c.query_row(sql, params![cluster, overdue_before], |row| row.get::<_, i64>(0))?;
            let oldest = oldest.and_then(|s| Timestamp::from_second(s).ok());
            Ok(Standing { objects: number(objects), oldest, overdue: number(overdue) })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_come_first_and_each_once() {
        let dir = tempfile::tempdir().unwrap();
        let record = Record::open(&dir.path().join(FILE)).unwrap();
        let one =
            |key: &str, verified| Due { cluster: "prod".to_owned(), key: key.to_owned(), size: 5, verified };
        record.put(&[one("b", 7), one("a", 7), one("c", 3), one("d", 90)]).unwrap();
        let first = record.due(None, 50, 2).unwrap();
        assert_eq!(first, [one("c", 3), one("a", 7)]);
        assert_eq!(record.due(first.last(), 50, 9).unwrap(), [one("b", 7)]);
        assert_eq!(record.total(50).unwrap(), (3, 15));
        assert_eq!(record.unknown("prod", vec!["a".into(), "x".into()]).unwrap(), ["x"]);
        let standing = record.standing("prod", 5).unwrap();
        assert_eq!((standing.objects, standing.overdue), (4, 1));
        assert_eq!(standing.oldest, Timestamp::from_second(3).ok());
        record.remove("prod", "c").unwrap();
        assert_eq!(record.total(50).unwrap(), (2, 10));
    }
}
