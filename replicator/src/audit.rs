//! The audit log: adds signed records to a cluster's folder, and checks all of them. Every record is a file of its own,
//! written once. Owns the numbering between several writers, and the memory of how far the log came, which stands beside
//! the catalogue, so that a log whose end was cut off is found. Decides nothing of what is worth a record.

mod events;

use crate::vault::{Folder, VaultError};
use jiff::Timestamp;
use lifeboat_format::audit::{Event, Record, SCHEMA};
use lifeboat_format::crypto::sign::{SigningKey, VerifyKey};
use lifeboat_format::id::{ClusterName, Sha256};
use lifeboat_format::{layout, limits};
use serde::{Deserialize, Serialize};

pub use events::Before;

/// Events of one record; the rest goes into further ones.
const EVENTS_MAX: usize = 1000;
const MEMORY_MAX: u64 = 4096;

/// How far a log came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct End {
    pub n: u64,
    /// Of the payload of record `n`.
    pub sha256: Sha256,
}

fn memory(cluster: &ClusterName) -> String {
    format!("audit-{cluster}.json")
}

/// Adds `events` to the log of `cluster`. Nothing is written for none.
pub fn append(
    folder: &Folder,
    cluster: &ClusterName,
    key: &SigningKey,
    unit: &str,
    events: Vec<Event>,
    now: Timestamp,
) -> Result<(), VaultError> {
    let mut end = None;
    for events in events.chunks(EVENTS_MAX) {
        end = Some(append_one(folder, cluster, key, unit, events, now)?);
    }
    let Some(end) = end else { return Ok(()) };
    let bytes = serde_json::to_vec(&end).expect("a number and a hash always serialize");
    folder.vault().replace_own(&memory(cluster), &bytes)
}

fn append_one(
    folder: &Folder,
    cluster: &ClusterName,
    key: &SigningKey,
    unit: &str,
    events: &[Event],
    now: Timestamp,
) -> Result<End, VaultError> {
    loop {
        let last = folder.audit_records()?.last().copied().unwrap_or(0);
        // As it was written, though its file may have rotted since.
        let prev = match known(folder, cluster)?.filter(|end| end.n == last) {
            Some(end) => Some(end.sha256),
            None => payload_hash(folder, last)?,
        };
        let record = Record {
            schema: SCHEMA.to_owned(),
            cluster: cluster.clone(),
            n: last + 1,
            prev,
            at: now,
            unit: unit.to_owned(),
            events: events.to_vec(),
        };
        // Another unit may have taken the number meanwhile.
        if folder.keep_audit(record.n, &record.sign(key), now)? {
            return Ok(End { n: record.n, sha256: Sha256::of(&record.payload()) });
        }
    }
}

/// The end of the log as it is remembered beside the catalogue, where that can be read.
fn known(folder: &Folder, cluster: &ClusterName) -> Result<Option<End>, VaultError> {
    let bytes = folder.vault().read_own(&memory(cluster), MEMORY_MAX)?;
    Ok(bytes.and_then(|b| serde_json::from_slice(&b).ok()))
}

/// Of record `n`, whoever signed it: a log that was damaged goes on, and says so by its hashes.
fn payload_hash(folder: &Folder, n: u64) -> Result<Option<Sha256>, VaultError> {
    let Some((bytes, _)) = folder.read(&layout::audit(n), limits::AUDIT_MAX)? else { return Ok(None) };
    let payload = lifeboat_format::dsse::Envelope::parse(
        "audit record",
        lifeboat_format::audit::PAYLOAD_TYPE,
        limits::AUDIT_MAX,
        &bytes,
    );
    Ok(Some(payload.map_or_else(|_| Sha256::of(&bytes), |e| Sha256::of(e.payload()))))
}

/// Whether record `n` is one that a key of `keys` signed; why not, in words.
pub fn verify_one(bytes: &[u8], keys: &[VerifyKey], cluster: &ClusterName, n: u64) -> Result<(), String> {
    Record::verify(bytes, keys, cluster, n).map(drop).map_err(|e| e.to_string())
}

/// What a look at the whole log found.
#[derive(Debug, Default, Serialize)]
pub struct Checked {
    pub records: Vec<Record>,
    pub end: Option<End>,
    /// In words; empty when the log is whole.
    pub problems: Vec<String>,
}

/// Reads and checks every record of `cluster`.
pub fn check(folder: &Folder, cluster: &ClusterName, keys: &[VerifyKey]) -> Result<Checked, VaultError> {
    let mut out = Checked::default();
    let mut next = 1;
    for n in folder.audit_records()? {
        if n > next {
            let last = n - 1;
            out.problems.push(match next == last {
                true => format!("record {next} is gone"),
                false => format!("records {next} to {last} are gone"),
            });
        }
        next = n + 1;
        let Some((bytes, _)) = folder.read(&layout::audit(n), limits::AUDIT_MAX)? else { continue };
        match Record::verify(&bytes, keys, cluster, n) {
            Ok((record, sha256)) => {
                let before = out.end.filter(|end| end.n + 1 == n).map(|end| end.sha256);
                if before.is_some() && record.prev != before {
                    out.problems.push(format!(
                        "record {n} does not follow record {}: one of them was replaced",
                        n - 1
                    ));
                }
                out.end = Some(End { n, sha256 });
                out.records.push(record);
            }
            Err(error) => out.problems.push(format!("record {n}: {error}")),
        }
    }
    out.problems.extend(cut_off(folder, cluster, out.end)?);
    Ok(out)
}

fn cut_off(folder: &Folder, cluster: &ClusterName, end: Option<End>) -> Result<Option<String>, VaultError> {
    let Some(bytes) = folder.vault().read_own(&memory(cluster), MEMORY_MAX)? else { return Ok(None) };
    let Ok(known) = serde_json::from_slice::<End>(&bytes) else {
        return Ok(Some("what is remembered of the log's end cannot be read".to_owned()));
    };
    Ok(match end {
        None => Some(format!("the log is gone; it had {} records", known.n)),
        Some(end) if end.n < known.n => {
            Some(format!("the log ends with record {}, and had {}: its end was cut off", end.n, known.n))
        }
        Some(end) if end.n == known.n && end.sha256 != known.sha256 => {
            Some(format!("record {} is not the one that was written", end.n))
        }
        Some(_) => None,
    })
}
