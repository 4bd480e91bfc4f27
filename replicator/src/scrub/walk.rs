//! What there is to scrub: the files of a cluster's folder, and the packs that the catalogue says are there. Notes in the
//! record what is new to it; reads no content.

use super::look::hash_of;
use super::record::{Due, Record};
use crate::catalog::Catalogue;
use crate::replicate::error::PullError;
use crate::vault::Folder;
use jiff::Timestamp;
use lifeboat_format::id::{ClusterName, Sha256};
use lifeboat_format::layout;
use std::collections::BTreeSet;

/// Folders whose files are looked at. `pending/` is not: a pull looks at it itself.
const FOLDERS: [&str; 8] = [
    layout::CHARTER,
    layout::EPOCHS,
    layout::LISTS,
    layout::MANIFESTS,
    layout::RECEIPTS,
    layout::TOMBSTONES,
    layout::AUDIT,
    layout::REJECTED,
];

/// Notes every file that the record does not know: as verified when it was written, for nothing gets there otherwise.
pub(super) fn note(
    folder: &Folder,
    cluster: &ClusterName,
    catalogue: &Catalogue,
    record: &Record,
    now: Timestamp,
) -> Result<(), PullError> {
    for sub in FOLDERS {
        let keys = folder.names(sub)?.into_iter().map(|name| format!("{sub}{name}"));
        note_files(folder, cluster, record, keys.filter(|k| is_known(k)).collect(), now)?;
    }
    for byte in 0..=255_u8 {
        let sub = format!("{}{byte:02x}/", layout::PACKS);
        let names = folder.names(&sub)?.into_iter().map(|name| format!("{sub}{name}"));
        let there: BTreeSet<String> = names.filter(|k| layout::parse_pack(k).is_some()).collect();
        let (after, until) = (byte.checked_sub(1).map(ends), Some(ends(byte)));
        let held = catalogue.packs_between(cluster.as_str(), after, until)?;
        // Read first of all: it is not there.
        let gone = held.iter().map(|p| (layout::pack(&p.sha256), p.size)).filter(|(k, _)| !there.contains(k));
        let gone = gone.map(|(key, size)| Due { cluster: cluster.to_string(), key, size, verified: 0 });
        record.put(&gone.collect::<Vec<_>>())?;
        note_files(folder, cluster, record, there.into_iter().collect(), now)?;
    }
    Ok(())
}

/// The last name that begins with `byte`.
fn ends(byte: u8) -> Sha256 {
    let mut end = Sha256([255; 32]);
    end.0[0] = byte;
    end
}

fn is_known(key: &str) -> bool {
    let signed =
        [layout::parse_manifest, layout::parse_receipt, layout::parse_tombstone, layout::parse_audit];
    hash_of(key).is_some() || signed.iter().any(|parse| parse(key).is_some())
}

fn note_files(
    folder: &Folder,
    cluster: &ClusterName,
    record: &Record,
    keys: Vec<String>,
    now: Timestamp,
) -> Result<(), PullError> {
    let mut new = Vec::new();
    for key in record.unknown(cluster.as_str(), keys)? {
        let (Some(size), Some(modified)) = (folder.size(&key)?, folder.modified(&key)?) else { continue };
        let verified = modified.min(now).as_second();
        new.push(Due { cluster: cluster.to_string(), key, size, verified });
    }
    Ok(record.put(&new)?)
}
