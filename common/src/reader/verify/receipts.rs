//! Receipts, where a store has them: signed by the replicator of the charter, each for the manifest that is there.

use super::report::{Damage, DamageKind, Unchecked, VerifyReport};
use crate::reader::chain::SnapshotList;
use crate::reader::error::ReadError;
use crate::reader::listing::list_all;
use crate::reader::repository::Repository;
use crate::store::StoreErrorKind;
use futures::{StreamExt as _, stream};
use lifeboat_format::id::Sha256;
use lifeboat_format::receipt::Receipt;
use lifeboat_format::{layout, limits};
use std::collections::BTreeMap;

/// Receipts fetched at a time.
const FETCHES: usize = 16;

pub(super) async fn check(
    repository: &Repository,
    list: &SnapshotList,
    report: &mut VerifyReport,
) -> Result<(), ReadError> {
    let manifests: BTreeMap<u64, Sha256> =
        list.snapshots.iter().chain(&list.checkpoints).map(|s| (s.manifest.seq, s.sha256)).collect();
    let entries = list_all(&*repository.store, layout::RECEIPTS).await?;
    let seqs: Vec<u64> = entries.iter().filter_map(|e| layout::parse_receipt(&e.key)).collect();
    let mut receipts =
        stream::iter(seqs).map(|seq| async move { (seq, repository.receipt(seq).await) }).buffered(FETCHES);
    while let Some((seq, receipt)) = receipts.next().await {
        let key = layout::receipt(seq);
        let expected = "a receipt signed by the replicator for the manifest of this number";
        let invalid = |seen: String| Damage::new(key.clone(), DamageKind::Invalid, expected, seen).of([seq]);
        match receipt {
            Ok(Ok(receipt)) if receipt.seq != seq => {
                report.damage(invalid(format!("a receipt for number {}", receipt.seq)))
            }
            Ok(Ok(receipt)) if manifests.get(&seq).is_some_and(|m| *m != receipt.manifest) => {
                report.damage(invalid(format!("a receipt for the manifest {}", receipt.manifest)));
            }
            Ok(Ok(receipt)) => report.sound(receipt.payload().len() as u64),
            Ok(Err(why)) => report.damage(invalid(why)),
            Err(e) => report.unchecked(Unchecked { key: key.clone(), why: e.to_string() }),
        }
    }
    Ok(())
}

impl Repository {
    /// The receipt in slot `seq`; the inner error says why it is none.
    pub async fn receipt(&self, seq: u64) -> Result<Result<Receipt, String>, ReadError> {
        let bytes = match self.store.get(&layout::receipt(seq), limits::RECEIPT_MAX).await {
            Ok(bytes) => bytes,
            Err(e) if matches!(e.kind, StoreErrorKind::TooLarge | StoreErrorKind::NotFound) => {
                return Ok(Err(e.detail));
            }
            Err(e) => return Err(e.into()),
        };
        let mut why = "no receipt key in the charter".to_owned();
        for key in self.receipt_keys() {
            match Receipt::verify(&bytes, &key, &self.cluster) {
                Ok(receipt) => return Ok(Ok(receipt)),
                Err(e) => why = e.to_string(),
            }
        }
        Ok(Err(why))
    }

    /// The newest sound receipt; `None` in a primary.
    pub async fn newest_receipt(&self) -> Result<Option<Receipt>, ReadError> {
        let entries = list_all(&*self.store, layout::RECEIPTS).await?;
        for seq in entries.iter().rev().filter_map(|e| layout::parse_receipt(&e.key)) {
            if let Ok(receipt) = self.receipt(seq).await? {
                return Ok(Some(receipt));
            }
        }
        Ok(None)
    }
}
