//! The commit of a snapshot: a last look at every pack under the vault's lock, the manifest's name, the receipt, the
//! catalogue. Only this module makes a [`Complete`], and only a [`Complete`] gives a manifest its name.

use super::error::PullError;
use crate::catalog::{Catalogue, Cursor, HeldPack, SnapshotRow, State};
use crate::source::Source;
use crate::vault::{Folder, VaultError};
use jiff::Timestamp;
use lifeboat_common::clock::Clock;
use lifeboat_format::id::Sha256;
use lifeboat_format::receipt::{self, Receipt};
use lifeboat_format::{layout, limits};

/// Proof that every pack of a snapshot was there, for as long as the lock is held.
#[derive(Debug)]
pub struct Complete {
    seq: u64,
}

impl Complete {
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// Looks at every pack; gives the key of one that is not there.
    fn check(folder: &Folder, seq: u64, packs: &[HeldPack]) -> Result<Result<Self, String>, VaultError> {
        for pack in packs {
            let key = layout::pack(&pack.sha256);
            if folder.size(&key)? != Some(pack.size) {
                return Ok(Err(key));
            }
        }
        Ok(Ok(Self { seq }))
    }
}

/// How a commit ended.
#[derive(Debug)]
pub(super) enum Committed {
    Whole(Box<SnapshotRow>),
    Checkpoint,
    /// A pack is gone that was there before.
    Lost(String),
}

pub(super) fn commit(
    folder: &Folder,
    catalogue: &Catalogue,
    source: &Source,
    mut row: SnapshotRow,
    packs: Vec<HeldPack>,
    clock: &dyn Clock,
) -> Result<Committed, PullError> {
    let cluster = source.cluster.as_str();
    {
        let lock = folder.vault().lock_shared()?;
        match Complete::check(folder, row.seq, &packs)? {
            Ok(complete) => folder.promote(&complete, &lock)?,
            Err(key) => return Ok(Committed::Lost(key)),
        }
    }
    if row.coverage == "checkpoint" {
        row.state = State::Checkpoint;
        catalogue.put_snapshot(cluster, &row)?;
        folder.end_pending(row.seq)?;
        return Ok(Committed::Checkpoint);
    }
    (row.packs, row.bytes) = (packs.len() as u64, packs.iter().map(|p| p.size).sum());
    (row.state, row.verified) = (State::Held, Some(clock.now()));
    let prev = catalogue.cursor(cluster, Cursor::Receipt)?.and_then(|text| text.parse().ok());
    let receipt = write_receipt(folder, source, &row, prev)?;
    catalogue.hold(cluster, &row, &packs)?;
    catalogue.set_cursor(cluster, Cursor::Receipt, &receipt.to_hex())?;
    folder.end_pending(row.seq)?;
    Ok(Committed::Whole(Box::new(row)))
}

/// Signs and keeps the receipt of a held snapshot; gives the hash that the next one names.
pub(super) fn write_receipt(
    folder: &Folder,
    source: &Source,
    row: &SnapshotRow,
    prev: Option<Sha256>,
) -> Result<Sha256, VaultError> {
    let verified = row.verified.unwrap_or(row.first_seen);
    let receipt = Receipt {
        schema: receipt::SCHEMA.to_owned(),
        cluster: source.cluster.clone(),
        seq: row.seq,
        id: row.id,
        manifest: row.sha256,
        prev,
        first_seen: row.first_seen,
        verified,
        packs: row.packs,
        bytes: row.bytes,
        proven_by_drill: None,
    };
    folder.keep_receipt(row.seq, &receipt.sign(&source.receipt_key), verified)?;
    Ok(Sha256::of(&receipt.payload()))
}

/// A receipt in the vault, if one of `keys` signed it.
pub(super) fn read_receipt(
    folder: &Folder,
    source: &Source,
    seq: u64,
    keys: &[lifeboat_format::crypto::sign::VerifyKey],
) -> Result<Option<Result<Receipt, Timestamp>>, VaultError> {
    let Some((bytes, modified)) = folder.read(&layout::receipt(seq), limits::RECEIPT_MAX)? else {
        return Ok(None);
    };
    let found = keys.iter().find_map(|key| Receipt::verify(&bytes, key, &source.cluster).ok());
    Ok(Some(found.filter(|r| r.seq == seq).ok_or(modified)))
}
