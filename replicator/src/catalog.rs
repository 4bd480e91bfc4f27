//! The catalogue: what the vault holds, in SQLite. A cache: the vault's files say the same, and it is rebuilt from them.
//!
//! Owns the tables. Knows no store and judges nothing.

mod alarms;
mod damaged;
mod live;
mod reading;
mod rows;
mod slots;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, params};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

pub use damaged::{Damaged, Side};
pub use live::{Transfer, Usage};
pub(crate) use reading::read_only;
pub use rows::{CharterRow, HeldPack, SnapshotRow, State, Totals};
pub use slots::Slot;

/// Raised whenever the tables change; an older catalogue is brought up to date, a newer one refused.
const VERSION: i64 = 3;

const SNAPSHOTS: &str = "
CREATE TABLE snapshots (
  cluster TEXT NOT NULL, seq INTEGER NOT NULL, id TEXT NOT NULL, sha256 TEXT NOT NULL, prev TEXT, signer TEXT NOT NULL,
  charter INTEGER NOT NULL, coverage TEXT NOT NULL, result TEXT NOT NULL, origin TEXT NOT NULL, claimed TEXT NOT NULL,
  first_seen TEXT NOT NULL, verified TEXT, state TEXT NOT NULL, packs INTEGER NOT NULL, bytes INTEGER NOT NULL,
  plain_bytes INTEGER NOT NULL, scopes BLOB NOT NULL, ttl_hours INTEGER, forgotten TEXT,
  audited INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (cluster, seq)) STRICT;
";

/// Alarms that a person resolved although their cause stays: not raised again while they say the same.
const RESOLVED: &str = "
CREATE TABLE resolved (
  cluster TEXT NOT NULL, kind TEXT NOT NULL, what TEXT NOT NULL, why TEXT NOT NULL, at TEXT NOT NULL, note TEXT NOT NULL,
  PRIMARY KEY (cluster, kind, what)) STRICT;
";

/// What was found to have other bytes than it must, or to be gone, and is not healed yet.
const DAMAGED: &str = "
CREATE TABLE damaged (
  cluster TEXT NOT NULL, side TEXT NOT NULL, key TEXT NOT NULL, why TEXT NOT NULL, since TEXT NOT NULL, size INTEGER,
  sha256 TEXT, signer TEXT, looked INTEGER NOT NULL, PRIMARY KEY (cluster, side, key)) STRICT;
";

const SCHEMA: &str = "
CREATE TABLE packs (
  cluster TEXT NOT NULL, sha256 BLOB NOT NULL, size INTEGER NOT NULL, first_seq INTEGER NOT NULL, last_seq INTEGER NOT NULL,
  PRIMARY KEY (cluster, sha256)) STRICT, WITHOUT ROWID;
CREATE TABLE charters (
  cluster TEXT NOT NULL, n INTEGER NOT NULL, sha256 TEXT NOT NULL, first_seen TEXT NOT NULL, PRIMARY KEY (cluster, n)) STRICT;
CREATE TABLE alarms (
  cluster TEXT NOT NULL, kind TEXT NOT NULL, what TEXT NOT NULL, stage TEXT NOT NULL, why TEXT NOT NULL, next TEXT NOT NULL,
  since TEXT NOT NULL, PRIMARY KEY (cluster, kind, what)) STRICT;
CREATE TABLE slots (
  cluster TEXT NOT NULL, key TEXT NOT NULL, size INTEGER NOT NULL, modified TEXT NOT NULL, seen TEXT, kind TEXT NOT NULL,
  why TEXT NOT NULL, next TEXT NOT NULL, looked INTEGER NOT NULL, PRIMARY KEY (cluster, key)) STRICT;
CREATE TABLE cursors (cluster TEXT NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (cluster, name)) STRICT;
";

/// Only quicken; a catalogue of the same version may lack them.
const INDEXES: &str = "
CREATE INDEX IF NOT EXISTS snapshots_by_state ON snapshots (cluster, state, seq);
CREATE INDEX IF NOT EXISTS slots_by_look ON slots (cluster, looked);
CREATE INDEX IF NOT EXISTS damaged_by_look ON damaged (cluster, looked);
";

#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    #[error("Cannot {action} the catalogue {path}: {source}; {}", next_step(source))]
    Sqlite { action: &'static str, path: PathBuf, source: rusqlite::Error },
    #[error("There is no catalogue {path} yet; run `lifeboat-replicator pull --once`, or rebuild-catalogue")]
    Absent { path: PathBuf },
    #[error(
        "The catalogue {path} is of version {found}, this program writes {VERSION}; run `lifeboat-replicator pull --once` or rebuild-catalogue"
    )]
    Version { path: PathBuf, found: i64 },
}

impl CatalogError {
    /// Whether there is no room left.
    #[must_use]
    pub fn is_full(&self) -> bool {
        let Self::Sqlite { source, .. } = self else { return false };
        is_full(source)
    }
}

fn is_full(error: &rusqlite::Error) -> bool {
    // Where even the file beside it that its readers share finds no room, SQLite calls it an I/O error.
    let no_room_to_share =
        error.sqlite_error().is_some_and(|e| e.extended_code == rusqlite::ffi::SQLITE_IOERR_SHMSIZE);
    no_room_to_share || error.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull)
}

fn next_step(error: &rusqlite::Error) -> &'static str {
    if is_full(error) {
        "the disk is full: free some space, the next pull goes on from here"
    } else {
        "run `lifeboat-replicator rebuild-catalogue`; if that fails too, look at the disk"
    }
}

pub type Result<T> = std::result::Result<T, CatalogError>;

/// An open catalogue. Calls are short; none is held over an await.
#[derive(Debug)]
pub struct Catalogue {
    path: PathBuf,
    connection: Mutex<Connection>,
}

/// Where a pull of a cluster stands between two runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cursor {
    /// SHA-256 of the payload of the newest receipt.
    Receipt,
    /// The last pack of the sweep's last page.
    Sweep,
    /// The last pack that was read again, and when.
    Reread,
    /// When a pull last went through.
    Pulled,
    /// Bytes that came, by day.
    Days,
    /// By which program and charter the manifests were judged.
    JudgedBy,
}

impl Cursor {
    fn name(self) -> &'static str {
        match self {
            Self::Receipt => "receipt",
            Self::Sweep => "sweep",
            Self::Reread => "reread",
            Self::Pulled => "pulled",
            Self::Days => "days",
            Self::JudgedBy => "judged-by",
        }
    }
}

impl Catalogue {
    /// Opens it for writing, making it where it is absent.
    pub fn open(path: &Path) -> Result<Self> {
        let fail = |action| move |source| CatalogError::Sqlite { action, path: path.to_owned(), source };
        let connection = Connection::open(path).map_err(fail("open"))?;
        connection
            .execute_batch(
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA busy_timeout = 10000;",
            )
            .map_err(fail("open"))?;
        let found = version(&connection).map_err(fail("read"))?;
        let change = match found {
            VERSION => String::new(),
            0 => format!("{SCHEMA} {SNAPSHOTS} {RESOLVED} {DAMAGED}"),
            // Filled anew from the vault's files by the next pull; alarms, charters and cursors stay.
            1 => format!("DROP TABLE snapshots; DELETE FROM packs; {SNAPSHOTS} {RESOLVED} {DAMAGED}"),
            2 => DAMAGED.to_owned(),
            _ => return Err(CatalogError::Version { path: path.to_owned(), found }),
        };
        if !change.is_empty() {
            let change = format!("BEGIN IMMEDIATE; {change} PRAGMA user_version = {VERSION}; COMMIT;");
            connection.execute_batch(&change).map_err(fail("create"))?;
        }
        connection.execute_batch(live::SCHEMA).map_err(fail("create"))?;
        connection.execute_batch(INDEXES).map_err(fail("create"))?;
        Ok(Self { path: path.to_owned(), connection: Mutex::new(connection) })
    }

    /// Opens it for reading.
    pub fn open_read_only(path: &Path) -> Result<Self> {
        if !path.exists() {
            return Err(CatalogError::Absent { path: path.to_owned() });
        }
        let fail = |action| move |source| CatalogError::Sqlite { action, path: path.to_owned(), source };
        let connection = read_only(path).map_err(fail("open"))?;
        let found = version(&connection).map_err(fail("read"))?;
        if found != VERSION {
            return Err(CatalogError::Version { path: path.to_owned(), found });
        }
        Ok(Self { path: path.to_owned(), connection: Mutex::new(connection) })
    }

    /// Removes the files of a catalogue, damaged or not.
    pub fn remove(path: &Path) -> std::io::Result<()> {
        for suffix in ["", "-wal", "-shm"] {
            let mut file = path.as_os_str().to_owned();
            file.push(suffix);
            match std::fs::remove_file(&file) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run<T>(
        &self,
        action: &'static str,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T>,
    ) -> Result<T> {
        work(&mut self.connection()).map_err(|source| CatalogError::Sqlite {
            action,
            path: self.path.clone(),
            source,
        })
    }

    pub fn cursor(&self, cluster: &str, cursor: Cursor) -> Result<Option<String>> {
        self.run("read", |c| {
            let sql = "SELECT value FROM cursors WHERE cluster = ?1 AND name = ?2";
            c.query_row(sql, params![cluster, cursor.name()], |row| row.get(0)).optional()
        })
    }

    pub fn set_cursor(&self, cluster: &str, cursor: Cursor, value: &str) -> Result<()> {
        self.run("write", |c| {
            let sql = "INSERT OR REPLACE INTO cursors VALUES (?1, ?2, ?3)";
            c.execute(sql, params![cluster, cursor.name(), value]).map(drop)
        })
    }

    /// Every cluster that something is known of.
    pub fn clusters(&self) -> Result<Vec<String>> {
        self.run("read", |c| {
            let sql = "SELECT cluster FROM charters UNION SELECT cluster FROM snapshots
                       UNION SELECT cluster FROM alarms UNION SELECT cluster FROM cursors ORDER BY 1";
            c.prepare(sql)?.query_map([], |row| row.get(0))?.collect()
        })
    }

    /// Forgets what the vault's files say about a cluster; its alarms and cursors stay.
    pub fn clear(&self, cluster: &str) -> Result<()> {
        self.run("write", |c| {
            let transaction = c.transaction()?;
            for table in ["snapshots", "packs", "charters"] {
                transaction.execute(&format!("DELETE FROM {table} WHERE cluster = ?1"), [cluster])?;
            }
            transaction.commit()
        })
    }
}

fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
}

/// Text that the column's own type refuses to be.
fn unfit(column: usize, why: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(why))
}

/// SQLite has no unsigned numbers; ours are far below 2^63.
fn number(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<u64> {
    u64::try_from(row.get::<_, i64>(column)?).map_err(|e| unfit(column, e))
}

fn time(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<Timestamp> {
    let text: String = row.get(column)?;
    text.parse().map_err(|e: jiff::Error| unfit(column, e))
}
