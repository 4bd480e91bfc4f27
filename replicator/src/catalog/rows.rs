//! Snapshots, packs and charters in the catalogue.

use super::{Catalogue, Result, number, time, unfit};
use jiff::Timestamp;
use lifeboat_format::chain::Head;
use lifeboat_format::crypto::sign::VerifyKey;
use lifeboat_format::id::{ScopeAlias, Sha256, SnapshotId};
use lifeboat_format::manifest::{Coverage, RunResult, SignedManifest};
use rusqlite::{OptionalExtension as _, Row, params};
use std::str::FromStr;

/// What a signed manifest is to the vault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// On the chain; its packs are not all here yet.
    Pending,
    /// On the chain and whole.
    Held,
    /// On the chain, and no snapshot.
    Checkpoint,
    /// On the chain, and forgotten by the vault's retention: it has a tombstone.
    Forgotten,
    /// Taken off the chain by a later charter.
    Rejected,
}

impl State {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Held => "held",
            Self::Checkpoint => "checkpoint",
            Self::Forgotten => "forgotten",
            Self::Rejected => "rejected",
        }
    }

    fn parse(name: &str) -> Self {
        let all = [Self::Pending, Self::Held, Self::Checkpoint, Self::Forgotten];
        all.into_iter().find(|s| s.name() == name).unwrap_or(Self::Rejected)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotRow {
    pub seq: u64,
    pub id: SnapshotId,
    /// SHA-256 of the manifest's payload.
    pub sha256: Sha256,
    pub prev: Option<Sha256>,
    pub signer: VerifyKey,
    pub charter: u64,
    /// As in the manifest: `full`, `partial`, `paths`, `checkpoint`.
    pub coverage: String,
    pub result: String,
    pub origin: Sha256,
    /// When the agent says it finished.
    pub claimed: Timestamp,
    pub first_seen: Timestamp,
    pub verified: Option<Timestamp>,
    pub state: State,
    pub packs: u64,
    /// Sealed bytes of its packs, shared ones included.
    pub bytes: u64,
    /// Plaintext bytes, as the agent counts.
    pub plain_bytes: u64,
    /// Aliases of what it covers.
    pub scopes: Vec<ScopeAlias>,
    /// Hours that the primary keeps it, when shorter than the charter says.
    pub ttl_hours: Option<u32>,
    /// When the vault's retention forgot it.
    pub forgotten: Option<Timestamp>,
}

impl SnapshotRow {
    /// One that is on the chain, and of which nothing else is known to be here.
    #[must_use]
    pub fn new(signed: &SignedManifest, first_seen: Timestamp) -> Self {
        let m = &signed.manifest;
        Self {
            seq: m.seq,
            id: m.id,
            sha256: signed.sha256,
            prev: m.prev,
            signer: signed.signer,
            charter: m.charter,
            coverage: coverage(m.coverage).to_owned(),
            result: match m.result {
                RunResult::Completed => "Completed".to_owned(),
                RunResult::PartiallyFailed => "PartiallyFailed".to_owned(),
            },
            origin: m.origin,
            claimed: m.finished,
            first_seen,
            verified: None,
            state: State::Pending,
            packs: 0,
            bytes: 0,
            plain_bytes: m.counts.bytes,
            scopes: m.scopes.clone(),
            ttl_hours: m.primary_ttl_hours,
            forgotten: None,
        }
    }

    #[must_use]
    pub fn head(&self) -> Head {
        Head { seq: self.seq, sha256: self.sha256, signer: self.signer }
    }

    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            seq: number(row, 0)?,
            id: parse(row, 1)?,
            sha256: parse(row, 2)?,
            prev: row.get::<_, Option<String>>(3)?.map(|t| t.parse().map_err(|e| unfit(3, e))).transpose()?,
            signer: parse(row, 4)?,
            charter: number(row, 5)?,
            coverage: row.get(6)?,
            result: row.get(7)?,
            origin: parse(row, 8)?,
            claimed: time(row, 9)?,
            first_seen: time(row, 10)?,
            verified: maybe_time(row, 11)?,
            state: State::parse(&row.get::<_, String>(12)?),
            packs: number(row, 13)?,
            bytes: number(row, 14)?,
            plain_bytes: number(row, 15)?,
            scopes: aliases(&row.get::<_, Vec<u8>>(16)?),
            ttl_hours: row.get(17)?,
            forgotten: maybe_time(row, 18)?,
        })
    }
}

fn maybe_time(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Timestamp>> {
    let text: Option<String> = row.get(column)?;
    text.map(|t| t.parse().map_err(|e: jiff::Error| unfit(column, e))).transpose()
}

/// One after the other.
fn aliases(bytes: &[u8]) -> Vec<ScopeAlias> {
    bytes.chunks_exact(16).filter_map(|b| Some(ScopeAlias(b.try_into().ok()?))).collect()
}

fn coverage(coverage: Coverage) -> &'static str {
    match coverage {
        Coverage::Full => "full",
        Coverage::Partial => "partial",
        Coverage::Paths => "paths",
        Coverage::Checkpoint => "checkpoint",
    }
}

fn parse<T: FromStr>(row: &Row<'_>, column: usize) -> rusqlite::Result<T>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    row.get::<_, String>(column)?.parse().map_err(|e| unfit(column, e))
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CharterRow {
    pub n: u64,
    pub sha256: Sha256,
    pub first_seen: Timestamp,
}

/// A pack that the vault holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeldPack {
    pub sha256: Sha256,
    pub size: u64,
}

/// Sums over a cluster.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    pub snapshots: u64,
    pub pending: u64,
    pub packs: u64,
    /// Sealed bytes of packs, each counted once.
    pub bytes: u64,
}

const COLUMNS: &str =
    "seq, id, sha256, prev, signer, charter, coverage, result, origin, claimed, first_seen, verified, state,
                       packs, bytes, plain_bytes, scopes, ttl_hours, forgotten";

/// The other way of [`number`].
fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

impl Catalogue {
    /// Every manifest of a cluster, ascending.
    pub fn snapshots(&self, cluster: &str) -> Result<Vec<SnapshotRow>> {
        self.run("read", |c| {
            let sql = format!("SELECT {COLUMNS} FROM snapshots WHERE cluster = ?1 ORDER BY seq");
            c.prepare(&sql)?.query_map([cluster], SnapshotRow::read)?.collect()
        })
    }

    /// Those in `state`, newest first.
    pub fn in_state(&self, cluster: &str, state: State) -> Result<Vec<SnapshotRow>> {
        self.run("read", |c| {
            let sql = format!(
                "SELECT {COLUMNS} FROM snapshots WHERE cluster = ?1 AND state = ?2 ORDER BY seq DESC"
            );
            c.prepare(&sql)?.query_map(params![cluster, state.name()], SnapshotRow::read)?.collect()
        })
    }

    /// The newest manifest of the chain; of one coverage class where `paths` says which.
    pub fn newest(&self, cluster: &str, paths: Option<bool>) -> Result<Option<SnapshotRow>> {
        let class = match paths {
            None => "",
            Some(true) => "AND coverage = 'paths'",
            Some(false) => "AND coverage IN ('full', 'partial')",
        };
        self.run("read", |c| {
            let sql = format!(
                "SELECT {COLUMNS} FROM snapshots WHERE cluster = ?1 AND state != 'rejected' {class} ORDER BY seq DESC LIMIT 1"
            );
            c.query_row(&sql, [cluster], SnapshotRow::read).optional()
        })
    }

    /// Slots above `after` and what they are to the vault, ascending.
    pub fn states(&self, cluster: &str, after: u64) -> Result<Vec<(u64, State)>> {
        self.run("read", |c| {
            let sql = "SELECT seq, state FROM snapshots WHERE cluster = ?1 AND seq > ?2 ORDER BY seq";
            let state = |row: &Row<'_>| row.get_ref(1)?.as_str().map(State::parse).map_err(|e| unfit(1, e));
            c.prepare(sql)?
                .query_map(params![cluster, signed(after)], |row| Ok((number(row, 0)?, state(row)?)))?
                .collect()
        })
    }

    pub fn snapshot(&self, cluster: &str, seq: u64) -> Result<Option<SnapshotRow>> {
        self.run("read", |c| {
            let sql = format!("SELECT {COLUMNS} FROM snapshots WHERE cluster = ?1 AND seq = ?2");
            c.prepare_cached(&sql)?.query_row(params![cluster, signed(seq)], SnapshotRow::read).optional()
        })
    }

    /// The one whose manifest's payload has this hash.
    pub fn by_manifest(&self, cluster: &str, sha256: &Sha256) -> Result<Option<SnapshotRow>> {
        self.run("read", |c| {
            let sql = format!("SELECT {COLUMNS} FROM snapshots WHERE cluster = ?1 AND sha256 = ?2 LIMIT 1");
            c.prepare(&sql)?.query_row(params![cluster, sha256.to_hex()], SnapshotRow::read).optional()
        })
    }

    /// Of each coverage and state the one that was made last, ascending; rejected ones left out.
    pub fn youngest(&self, cluster: &str) -> Result<Vec<SnapshotRow>> {
        self.run("read", |c| {
            let sql = format!(
                "SELECT {COLUMNS} FROM snapshots WHERE cluster = ?1 AND seq IN
                   (SELECT seq FROM (SELECT seq, max(min(claimed, first_seen)) FROM snapshots
                                     WHERE cluster = ?1 AND state != 'rejected' GROUP BY coverage, state))
                 ORDER BY seq"
            );
            c.prepare(&sql)?.query_map([cluster], SnapshotRow::read)?.collect()
        })
    }

    pub fn put_snapshot(&self, cluster: &str, s: &SnapshotRow) -> Result<()> {
        self.run("write", |c| put_snapshot(c, cluster, s))
    }

    /// Records a whole snapshot and its packs at once.
    pub fn hold(&self, cluster: &str, s: &SnapshotRow, packs: &[HeldPack]) -> Result<()> {
        self.run("write", |c| {
            let transaction = c.transaction()?;
            {
                let mut insert = transaction.prepare(
                    "INSERT INTO packs VALUES (?1, ?2, ?3, ?4, ?4) ON CONFLICT DO UPDATE
                     SET first_seq = min(first_seq, ?4), last_seq = max(last_seq, ?4)",
                )?;
                for pack in packs {
                    let values = params![cluster, &pack.sha256.0[..], signed(pack.size), signed(s.seq)];
                    insert.execute(values)?;
                }
            }
            put_snapshot(&transaction, cluster, s)?;
            transaction.commit()
        })
    }

    /// Whole snapshots that no record of the audit log tells of yet, ascending.
    pub fn unaudited(&self, cluster: &str) -> Result<Vec<SnapshotRow>> {
        self.run("read", |c| {
            let sql = format!(
                "SELECT {COLUMNS} FROM snapshots WHERE cluster = ?1 AND state = 'held' AND audited = 0 ORDER BY seq"
            );
            c.prepare(&sql)?.query_map([cluster], SnapshotRow::read)?.collect()
        })
    }

    pub fn set_audited(&self, cluster: &str, seqs: &[u64]) -> Result<()> {
        self.run("write", |c| {
            let transaction = c.transaction()?;
            for seq in seqs {
                let sql = "UPDATE snapshots SET audited = 1 WHERE cluster = ?1 AND seq = ?2";
                transaction.execute(sql, params![cluster, signed(*seq)])?;
            }
            transaction.commit()
        })
    }

    pub fn charters(&self, cluster: &str) -> Result<Vec<CharterRow>> {
        self.run("read", |c| {
            let sql = "SELECT n, sha256, first_seen FROM charters WHERE cluster = ?1 ORDER BY n";
            c.prepare(sql)?
                .query_map([cluster], |row| {
                    Ok(CharterRow { n: number(row, 0)?, sha256: parse(row, 1)?, first_seen: time(row, 2)? })
                })?
                .collect()
        })
    }

    pub fn put_charter(&self, cluster: &str, charter: &CharterRow) -> Result<()> {
        self.run("write", |c| {
            let sql = "INSERT OR REPLACE INTO charters VALUES (?1, ?2, ?3, ?4)";
            let CharterRow { n, sha256, first_seen } = charter;
            c.execute(sql, params![cluster, signed(*n), sha256.to_hex(), first_seen.to_string()]).map(drop)
        })
    }

    /// Packs held with names above `after` and up to `until`, ascending.
    pub fn packs_between(
        &self,
        cluster: &str,
        after: Option<Sha256>,
        until: Option<Sha256>,
    ) -> Result<Vec<HeldPack>> {
        let (after, until) = (after.map_or(vec![], |h| h.0.to_vec()), until.unwrap_or(Sha256([255; 32])));
        self.run("read", |c| {
            let sql = "SELECT sha256, size FROM packs WHERE cluster = ?1 AND sha256 > ?2 AND sha256 <= ?3 ORDER BY sha256";
            c.prepare(sql)?
                .query_map(params![cluster, after, &until.0[..]], |row| {
                    Ok(HeldPack { sha256: Sha256(row.get(0)?), size: number(row, 1)? })
                })?
                .collect()
        })
    }

    /// [`Catalogue::packs_between`], at most `limit`, each with the last slot that needs it.
    pub fn packs_with_last(
        &self,
        cluster: &str,
        after: Option<Sha256>,
        until: Option<Sha256>,
        limit: usize,
    ) -> Result<Vec<(HeldPack, u64)>> {
        let (after, until) = (after.map_or(vec![], |h| h.0.to_vec()), until.unwrap_or(Sha256([255; 32])));
        self.run("read", |c| {
            let sql =
                "SELECT sha256, size, last_seq FROM packs WHERE cluster = ?1 AND sha256 > ?2 AND sha256 <= ?3
                       ORDER BY sha256 LIMIT ?4";
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            c.prepare(sql)?
                .query_map(params![cluster, after, &until.0[..], limit], |row| {
                    Ok((HeldPack { sha256: Sha256(row.get(0)?), size: number(row, 1)? }, number(row, 2)?))
                })?
                .collect()
        })
    }

    /// Some packs after `after`, ascending, each with the last slot that needs it.
    pub fn packs_after(
        &self,
        cluster: &str,
        after: Option<Sha256>,
        limit: usize,
    ) -> Result<Vec<(HeldPack, u64)>> {
        let after = after.map_or(vec![], |h| h.0.to_vec());
        self.run("read", |c| {
            let sql = format!(
                "SELECT sha256, size, last_seq FROM packs WHERE cluster = ?1 AND sha256 > ?2 ORDER BY sha256 LIMIT {limit}"
            );
            c.prepare(&sql)?
                .query_map(params![cluster, after], |row| {
                    Ok((HeldPack { sha256: Sha256(row.get(0)?), size: number(row, 1)? }, number(row, 2)?))
                })?
                .collect()
        })
    }

    /// Packs that no slot of `needed` (ascending) can need: none lies between the first and the last that does.
    pub fn packs_without(&self, cluster: &str, needed: &[u64]) -> Result<Vec<HeldPack>> {
        self.run("read", |c| {
            let sql = "SELECT sha256, size, first_seq, last_seq FROM packs WHERE cluster = ?1";
            let mut statement = c.prepare(sql)?;
            let mut rows = statement.query([cluster])?;
            let mut dead = Vec::new();
            while let Some(row) = rows.next()? {
                if !is_between(needed, number(row, 2)?, number(row, 3)?) {
                    dead.push(HeldPack { sha256: Sha256(row.get(0)?), size: number(row, 1)? });
                }
            }
            Ok(dead)
        })
    }

    /// Those of `packs` that the catalogue knows and of which [`Catalogue::packs_without`] is still true.
    pub fn still_without(&self, cluster: &str, needed: &[u64], packs: &[HeldPack]) -> Result<Vec<HeldPack>> {
        self.run("read", |c| {
            let sql = "SELECT first_seq, last_seq FROM packs WHERE cluster = ?1 AND sha256 = ?2";
            let mut statement = c.prepare(sql)?;
            let mut dead = Vec::new();
            for pack in packs {
                let seqs = |row: &Row<'_>| Ok((number(row, 0)?, number(row, 1)?));
                let seqs = statement.query_row(params![cluster, &pack.sha256.0[..]], seqs).optional()?;
                if seqs.is_some_and(|(first, last)| !is_between(needed, first, last)) {
                    dead.push(*pack);
                }
            }
            Ok(dead)
        })
    }

    /// Packs that were deleted from the vault.
    pub fn drop_packs(&self, cluster: &str, packs: &[Sha256]) -> Result<()> {
        self.run("write", |c| {
            let transaction = c.transaction()?;
            {
                let mut delete =
                    transaction.prepare("DELETE FROM packs WHERE cluster = ?1 AND sha256 = ?2")?;
                for sha256 in packs {
                    delete.execute(params![cluster, &sha256.0[..]])?;
                }
            }
            transaction.commit()
        })
    }

    pub fn totals(&self, cluster: &str) -> Result<Totals> {
        self.run("read", |c| {
            let count = |state: &str| {
                let sql = "SELECT count(*) FROM snapshots WHERE cluster = ?1 AND state = ?2";
                c.query_row(sql, params![cluster, state], |row| number(row, 0))
            };
            let (snapshots, pending) = (count("held")?, count("pending")?);
            let sql = "SELECT count(*), coalesce(sum(size), 0) FROM packs WHERE cluster = ?1";
            let (packs, bytes) = c.query_row(sql, [cluster], |row| Ok((number(row, 0)?, number(row, 1)?)))?;
            Ok(Totals { snapshots, pending, packs, bytes })
        })
    }
}

/// Whether one of `seqs`, which ascend, is from `first` to `last`.
fn is_between(seqs: &[u64], first: u64, last: u64) -> bool {
    seqs.get(seqs.partition_point(|seq| *seq < first)).is_some_and(|seq| *seq <= last)
}

fn put_snapshot(c: &rusqlite::Connection, cluster: &str, s: &SnapshotRow) -> rusqlite::Result<()> {
    let sql = format!(
        "INSERT INTO snapshots (cluster, {COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15,
           ?16, ?17, ?18, ?19, ?20)
         ON CONFLICT DO UPDATE SET ({COLUMNS}) = (?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18,
           ?19, ?20)"
    );
    let values = params![
        cluster,
        signed(s.seq),
        s.id.to_hex(),
        s.sha256.to_hex(),
        s.prev.map(|p| p.to_hex()),
        s.signer.to_string(),
        signed(s.charter),
        s.coverage,
        s.result,
        s.origin.to_hex(),
        s.claimed.to_string(),
        s.first_seen.to_string(),
        s.verified.map(|t| t.to_string()),
        s.state.name(),
        signed(s.packs),
        signed(s.bytes),
        signed(s.plain_bytes),
        s.scopes.iter().flat_map(|a| a.0).collect::<Vec<u8>>(),
        s.ttl_hours,
        s.forgotten.map(|t| t.to_string()),
    ];
    c.execute(&sql, values).map(drop)
}
