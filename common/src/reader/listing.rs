//! Reads what is under `manifests/`, and the markers of what was forgotten. Verifies signatures; the chain is judged
//! in `chain`.

use super::chain::{Anomaly, AnomalyKind, Found, SnapshotList, anomaly, assemble};
use super::error::{ReadError, cut_short};
use super::repository::Repository;
use crate::store::{Entry, ReadStore, StoreErrorKind};
use futures::{StreamExt as _, stream};
use lifeboat_format::crypto::sign::VerifyKey;
use lifeboat_format::manifest::{SignedManifest, UnverifiedManifest};
use lifeboat_format::{layout, limits};

/// Manifests fetched at a time.
const FETCHES: usize = 16;
/// Keys under one prefix that are looked at; hourly snapshots of a century stay below.
const KEYS_MAX: usize = 1_000_000;

/// Every key under `prefix`, ascending.
pub(super) async fn list_all(store: &dyn ReadStore, prefix: &str) -> Result<Vec<Entry>, ReadError> {
    let mut entries: Vec<Entry> = Vec::new();
    loop {
        let after = entries.last().map(|e| e.key.clone());
        let page = store.list(prefix, after.as_deref(), 1000).await?;
        let more = page.more && !page.entries.is_empty();
        entries.extend(page.entries);
        if !more || entries.len() >= KEYS_MAX {
            return Ok(entries);
        }
    }
}

impl Repository {
    /// Lists and judges every manifest.
    pub async fn snapshots(&self) -> Result<SnapshotList, ReadError> {
        let entries = list_all(&*self.store, layout::MANIFESTS).await?;
        let mut found = Found::default();
        let keys = self.agent_keys();
        let mut slots = Vec::new();
        for entry in entries {
            match layout::parse_manifest(&entry.key) {
                Some(seq) if entry.size <= limits::MANIFEST_MAX => slots.push((seq, entry.size)),
                Some(seq) => found.anomalies.push(anomaly(
                    seq,
                    AnomalyKind::Unverifiable,
                    "it is longer than a manifest can be",
                )),
                None => found.anomalies.push(Anomaly {
                    why: "not named as a manifest".to_owned(),
                    kind: AnomalyKind::Junk,
                    key: entry.key,
                }),
            }
        }
        found.anomalies.extend(holes(&slots));
        let mut judged =
            stream::iter(slots).map(|(seq, size)| self.manifest(seq, size, &keys)).buffered(FETCHES);
        while let Some(next) = judged.next().await {
            match next? {
                Ok(signed) => found.manifests.push(signed),
                Err(anomaly) => found.anomalies.push(anomaly),
            }
        }
        drop(judged);
        self.read_markers(&mut found).await?;
        Ok(assemble(&self.newest().agents, found))
    }

    async fn manifest(
        &self,
        seq: u64,
        size: u64,
        keys: &[VerifyKey],
    ) -> Result<Result<SignedManifest, Anomaly>, ReadError> {
        let key = layout::manifest(seq);
        let bytes = match self.store.get(&key, limits::MANIFEST_MAX).await {
            // A short answer is no damaged manifest.
            Ok(bytes) if (bytes.len() as u64) < size => return Err(cut_short(&key)),
            Ok(bytes) => bytes,
            Err(e) if e.kind == StoreErrorKind::NotFound => {
                return Ok(Err(anomaly(seq, AnomalyKind::Missing, "it was listed, and is not there")));
            }
            Err(e) if e.kind == StoreErrorKind::TooLarge => {
                return Ok(Err(anomaly(
                    seq,
                    AnomalyKind::Unverifiable,
                    "it is longer than a manifest can be",
                )));
            }
            Err(e) => return Err(e.into()),
        };
        let verified = UnverifiedManifest::parse(&bytes).and_then(|m| m.verify(keys, &self.cluster, seq));
        Ok(verified.map_err(|e| anomaly(seq, AnomalyKind::Unverifiable, e.to_string())))
    }

    /// The names of markers alone count here: who may write them may forget.
    async fn read_markers(&self, found: &mut Found) -> Result<(), ReadError> {
        for entry in list_all(&*self.store, layout::TOMBSTONES).await? {
            let name = entry.key.strip_prefix(layout::TOMBSTONES).and_then(|n| n.get(..16));
            let digits = name.filter(|n| n.bytes().all(|b| b.is_ascii_digit()));
            found.tombstones.extend(digits.and_then(|n| n.parse::<u64>().ok()));
        }
        let forgotten = list_all(&*self.store, layout::FORGOTTEN).await?;
        found.forgotten = forgotten.iter().filter_map(|e| layout::parse_forgotten(&e.key)).collect();
        Ok(())
    }
}

/// Slots below the highest one that hold nothing; each run of them is one anomaly.
fn holes(slots: &[(u64, u64)]) -> Vec<Anomaly> {
    let mut next = 1;
    let mut out = Vec::new();
    for &(seq, _) in slots {
        if seq > next {
            let why = match seq - next {
                1 => "there is no manifest in this slot, and there are later ones".to_owned(),
                n => format!(
                    "there are no manifests in this slot and the {} after it, and there are later ones",
                    n - 1
                ),
            };
            out.push(anomaly(next, AnomalyKind::Missing, why));
        }
        next = seq + 1;
    }
    out
}
