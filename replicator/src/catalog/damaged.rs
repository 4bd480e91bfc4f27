//! What is damaged or lost on either side, in the catalogue: pulls heal the vault from it, `retain` and `heal` the primary.

use super::{Catalogue, HeldPack, Result, number, time, unfit};
use jiff::Timestamp;
use lifeboat_format::crypto::sign::VerifyKey;
use lifeboat_format::id::Sha256;
use rusqlite::{OptionalExtension as _, Row, params};

/// Where it is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Vault,
    Primary,
}

impl Side {
    fn name(self) -> &'static str {
        match self {
            Self::Vault => "vault",
            Self::Primary => "primary",
        }
    }
}

/// One object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damaged {
    pub key: String,
    /// What was expected and what was seen.
    pub why: String,
    pub since: Timestamp,
    /// Bytes that it must have, where that is known.
    pub size: Option<u64>,
    /// Of a manifest: who signed it, and the hash of its payload. The names of other kinds hold the hash.
    pub manifest: Option<(Sha256, VerifyKey)>,
}

impl Damaged {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let (sha256, signer): (Option<String>, Option<String>) = (row.get(4)?, row.get(5)?);
        let manifest = match (sha256, signer) {
            (Some(sha256), Some(signer)) => {
                Some((sha256.parse().map_err(|e| unfit(4, e))?, signer.parse().map_err(|e| unfit(5, e))?))
            }
            _ => None,
        };
        let size: Option<i64> = row.get(3)?;
        Ok(Self {
            key: row.get(0)?,
            why: row.get(1)?,
            since: time(row, 2)?,
            size: size.and_then(|s| u64::try_from(s).ok()),
            manifest,
        })
    }
}

impl Catalogue {
    /// Those looked at longest ago first.
    pub fn damaged(&self, cluster: &str, side: Side, limit: usize) -> Result<Vec<Damaged>> {
        self.run("read", |c| {
            let sql = format!(
                "SELECT key, why, since, size, sha256, signer FROM damaged WHERE cluster = ?1 AND side = ?2
                 ORDER BY looked, key LIMIT {limit}"
            );
            c.prepare(&sql)?.query_map(params![cluster, side.name()], Damaged::read)?.collect()
        })
    }

    pub fn is_damaged(&self, cluster: &str, key: &str) -> Result<bool> {
        self.run("read", |c| {
            let sql = "SELECT 1 FROM damaged WHERE cluster = ?1 AND side = 'vault' AND key = ?2";
            c.prepare_cached(sql)?.exists(params![cluster, key])
        })
    }

    pub fn count_damaged(&self, cluster: &str, side: Side) -> Result<u64> {
        self.run("read", |c| {
            let sql = "SELECT count(*) FROM damaged WHERE cluster = ?1 AND side = ?2";
            c.query_row(sql, params![cluster, side.name()], |row| number(row, 0))
        })
    }

    /// Adds one, or moves it behind those that were looked at longer ago; true when it is new.
    pub fn put_damaged(&self, cluster: &str, side: Side, damaged: &Damaged) -> Result<bool> {
        let Damaged { key, why, since, size, manifest } = damaged;
        self.run("write", |c| {
            let known = c
                .prepare("SELECT 1 FROM damaged WHERE cluster = ?1 AND side = ?2 AND key = ?3")?
                .exists(params![cluster, side.name(), key])?;
            let sql = "INSERT INTO damaged VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8,
                         (SELECT coalesce(max(looked), 0) + 1 FROM damaged WHERE cluster = ?1))
                       ON CONFLICT DO UPDATE SET why = ?4, looked = excluded.looked";
            let size = size.and_then(|s| i64::try_from(s).ok());
            let (sha256, signer) = manifest.map(|(h, k)| (h.to_hex(), k.to_string())).unzip();
            c.execute(sql, params![cluster, side.name(), key, why, since.to_string(), size, sha256, signer])?;
            Ok(!known)
        })
    }

    /// It is healed, or nothing needs it any more.
    pub fn end_damaged(&self, cluster: &str, side: Side, key: &str) -> Result<()> {
        let sql = "DELETE FROM damaged WHERE cluster = ?1 AND side = ?2 AND key = ?3";
        self.run("write", |c| c.execute(sql, params![cluster, side.name(), key]).map(drop))
    }

    /// A lost one that is there again; one that was altered stays until it was read.
    pub fn end_lost(&self, cluster: &str, side: Side, key: &str) -> Result<()> {
        let sql = "DELETE FROM damaged WHERE cluster = ?1 AND side = ?2 AND key = ?3 AND size IS NULL";
        self.run("write", |c| c.execute(sql, params![cluster, side.name(), key]).map(drop))
    }

    /// A pack that the vault should hold, with the first and the last slot that needs it.
    pub fn pack(&self, cluster: &str, sha256: &Sha256) -> Result<Option<(HeldPack, u64, u64)>> {
        self.run("read", |c| {
            let sql = "SELECT size, first_seq, last_seq FROM packs WHERE cluster = ?1 AND sha256 = ?2";
            let read = |row: &Row<'_>| {
                Ok((HeldPack { sha256: *sha256, size: number(row, 0)? }, number(row, 1)?, number(row, 2)?))
            };
            c.query_row(sql, params![cluster, &sha256.0[..]], read).optional()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_looked_at_goes_to_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let catalogue = Catalogue::open(&dir.path().join("c.sqlite")).unwrap();
        let one = |key: &str| Damaged {
            key: key.to_owned(),
            why: "why".to_owned(),
            since: Timestamp::UNIX_EPOCH,
            size: Some(7),
            manifest: None,
        };
        assert!(catalogue.put_damaged("prod", Side::Vault, &one("a")).unwrap());
        assert!(catalogue.put_damaged("prod", Side::Vault, &one("b")).unwrap());
        assert!(!catalogue.put_damaged("prod", Side::Vault, &one("a")).unwrap(), "it is known");
        assert_eq!(catalogue.damaged("prod", Side::Vault, 9).unwrap(), [one("b"), one("a")]);
        assert_eq!(catalogue.damaged("prod", Side::Primary, 9).unwrap(), []);
        catalogue.end_damaged("prod", Side::Vault, "b").unwrap();
        assert_eq!(catalogue.count_damaged("prod", Side::Vault).unwrap(), 1);
    }
}
