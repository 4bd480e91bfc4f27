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
                Some(seq) if entry.size <= limits::MANIFEST_MAX => slots.push(Slot::placed(seq, entry.size)),
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
        self.add_pending(&mut slots).await?;
        found.pending = slots.iter().filter(|s| s.pending).map(|s| s.seq).collect();
        found.anomalies.extend(holes(&slots));
        let mut judged = stream::iter(slots).map(|slot| self.manifest(slot, &keys)).buffered(FETCHES);
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

    /// Manifests of snapshots that the replicator has not pulled whole yet: links of the chain, and no snapshots here.
    async fn add_pending(&self, slots: &mut Vec<Slot>) -> Result<(), ReadError> {
        for entry in list_all(&*self.store, layout::PENDING).await? {
            let Some(seq) = entry.key.strip_suffix(".json").and_then(layout::parse_pending) else { continue };
            if entry.size <= limits::MANIFEST_MAX && slots.iter().all(|s| s.seq != seq) {
                slots.push(Slot { seq, size: entry.size, pending: true });
            }
        }
        slots.sort_by_key(|s| s.seq);
        Ok(())
    }

    async fn manifest(
        &self,
        slot: Slot,
        keys: &[VerifyKey],
    ) -> Result<Result<SignedManifest, Anomaly>, ReadError> {
        let Slot { seq, size, pending } = slot;
        let key = if pending { format!("{}.json", layout::pending(seq)) } else { layout::manifest(seq) };
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

/// Where a manifest is.
#[derive(Debug, Clone, Copy)]
struct Slot {
    seq: u64,
    /// Bytes.
    size: u64,
    /// Under `pending/` of a vault.
    pending: bool,
}

impl Slot {
    fn placed(seq: u64, size: u64) -> Self {
        Self { seq, size, pending: false }
    }
}

/// Slots below the highest one that hold nothing; each run of them is one anomaly.
fn holes(slots: &[Slot]) -> Vec<Anomaly> {
    let mut next = 1;
    let mut out = Vec::new();
    for &Slot { seq, .. } in slots {
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
