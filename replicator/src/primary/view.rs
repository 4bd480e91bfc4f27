//! What the collector must know before it deletes: the whole chain as the vault judged it, and what of it still needs or
//! may still reuse anything in the primary. Whatever is not certain stops it. Reads the vault alone.

use super::PrimaryError;
use crate::catalog::{SnapshotRow, State};
use crate::retain::Retainer;
use crate::vault::VaultError;
use lifeboat_format::charter::Charter;
use lifeboat_format::id::Sha256;
use lifeboat_format::manifest::{Bitmap, Manifest, PackSet, UnverifiedManifest};
use lifeboat_format::pack_list::PackList;
use lifeboat_format::{layout, limits};
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// The newest manifest and the two before it name what an agent may reuse.
const WINDOW: usize = 3;

/// Names that must stay.
#[derive(Debug, Default)]
pub(super) struct Needed {
    pub packs: HashSet<Sha256>,
    pub lists: HashSet<Sha256>,
    /// Segments and roots of send logs.
    pub logs: HashSet<Sha256>,
}

/// Bits wanted of each list.
type Wanted = BTreeMap<Sha256, Bitmap>;

/// What must stay, by the chain up to its newest manifest; `forgotten` are those of whose marker the primary knows. Why
/// nothing may be deleted, where that is not certain.
pub(super) fn needed(
    retainer: &Retainer<'_>,
    charter: &Charter,
    chain: &[SnapshotRow],
    forgotten: &BTreeSet<u64>,
) -> Result<Result<Needed, String>, PrimaryError> {
    if let Some(why) = gap(retainer, chain)? {
        return Ok(Err(why));
    }
    let (mut needed, mut wanted) = (Needed::default(), Wanted::new());
    let mut named = BTreeSet::new();
    for (i, row) in chain.iter().enumerate() {
        if row.charter > charter.n {
            return Ok(Err(format!(
                "manifest {} was made under charter {}, which is not known",
                row.seq, row.charter
            )));
        }
        let Some(manifest) = manifest(retainer, row)? else {
            return Ok(Err(format!("the vault does not hold manifest {} as it was judged", row.seq)));
        };
        named.extend(manifest.lists());
        let in_window = chain.len() - i <= WINDOW;
        if in_window || !forgotten.contains(&row.seq) {
            manifest.packs.iter().for_each(|set| want(&mut wanted, set));
        }
        if in_window {
            for carry in &manifest.carry {
                want(&mut wanted, &PackSet { list: carry.list, bitmap: carry.bitmap.clone() });
            }
            needed
                .logs
                .extend(manifest.log.iter().flat_map(|log| log.segments.iter().copied().chain([log.root])));
        }
    }
    for list in named {
        let key = layout::list(&list);
        let Some(bitmap) = wanted.get(&list) else {
            // What only forgotten ones name is not read, and must be there all the same.
            if retainer.folder.size(&key)?.is_none() {
                return Ok(Err(format!("the vault does not hold {key}")));
            }
            continue;
        };
        let read = retainer.folder.read(&key, limits::LIST_MAX)?;
        let parsed = read.filter(|(b, _)| Sha256::of(b) == list).and_then(|(b, _)| PackList::parse(&b).ok());
        let Some(parsed) = parsed else {
            return Ok(Err(format!("the vault does not hold {key}, or not as it must be")));
        };
        needed.lists.insert(list);
        for index in bitmap.iter() {
            let Some(entry) = parsed.packs.get(index) else {
                return Ok(Err(format!(
                    "a manifest names pack {index} of {key}, which has {}",
                    parsed.packs.len()
                )));
            };
            needed.packs.insert(entry.sha256);
        }
    }
    Ok(Ok(needed))
}

fn want(wanted: &mut Wanted, set: &PackSet) {
    let bitmap = wanted.entry(set.list).or_insert_with(|| Bitmap::new(0));
    set.bitmap.iter().for_each(|i| bitmap.insert(i));
}

/// Whether every slot up to the newest was judged, and the links are one chain; else what is missing.
fn gap(retainer: &Retainer<'_>, chain: &[SnapshotRow]) -> Result<Option<String>, PrimaryError> {
    let cluster = retainer.cluster.as_str();
    let Some(head) = chain.last() else { return Ok(Some("no manifest was pulled yet".to_owned())) };
    let mut prev = None;
    for row in chain {
        if row.prev != prev {
            return Ok(Some(format!("manifest {} does not extend the one before it in the vault", row.seq)));
        }
        prev = Some(row.sha256);
    }
    let rows = retainer.catalogue.snapshots(cluster)?;
    let slots = retainer.catalogue.slots(cluster)?;
    let mut judged: BTreeSet<u64> = rows.iter().map(|r| r.seq).collect();
    judged.extend(slots.iter().filter_map(|s| layout::claimed_seq(&s.key)));
    let mut next = 1;
    for seq in judged.range(..=head.seq) {
        if *seq > next {
            return Ok(Some(format!(
                "nothing is known of slot {next}, which comes before the newest manifest"
            )));
        }
        next = seq + 1;
    }
    Ok(None)
}

/// The manifest of a row, from the vault, if it is the one that was judged.
fn manifest(retainer: &Retainer<'_>, row: &SnapshotRow) -> Result<Option<Manifest>, VaultError> {
    let read = if row.state == State::Pending {
        retainer.folder.read_pending(row.seq)?
    } else {
        retainer.folder.read(&layout::manifest(row.seq), limits::MANIFEST_MAX)?
    };
    let Some((bytes, _)) = read else { return Ok(None) };
    let signed = UnverifiedManifest::parse(&bytes)
        .and_then(|unverified| unverified.verify(&[row.signer], retainer.cluster, row.seq));
    Ok(signed.ok().filter(|m| m.sha256 == row.sha256).map(|m| m.manifest))
}
