//! Every file of the fixture, cut short and with bytes flipped: the parsers never panic, and take nothing for sound.

use crate::content::{CLUSTER, secret, signing_key};
use crate::read::{charters, epochs, manifests, open_pack, receipts};
use crate::write::{Files, run_key};
use lifeboat_format::crypto::derive::{RunKey, Secret32, labelled};
use lifeboat_format::crypto::open::Identities;
use lifeboat_format::id::{ClusterName, Sha256};
use lifeboat_format::pack_list::PackList;
use lifeboat_format::send_log::{open_root, open_segment, open_uploads};
use lifeboat_format::{charter, layout};

/// `bytes` cut at each sixteenth, and with one bit flipped at places spread over it.
pub(crate) fn damaged(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    let len = bytes.len();
    let cut = (0..16).map(move |i| bytes[..len * i / 16].to_vec());
    let last = std::iter::once(bytes[..len - 1].to_vec());
    let step = (len / 61).max(1);
    let places = (0..len).step_by(step).chain([len - 1]);
    let flipped = places.map(move |at| {
        let mut out = bytes.to_vec();
        out[at] ^= 1 << (at % 8);
        out
    });
    cut.chain(last).chain(flipped)
}

/// Everything that opens the fixture.
pub(crate) struct Keys {
    pub(crate) identities: Identities,
    /// Every key of a segment of a send log.
    pub(crate) segments: Vec<Secret32>,
}

/// How many files are accepted by their content alone, whatever their names say.
fn accepted(key: &str, bytes: &[u8], files: &Files, keys: &Keys) -> bool {
    let prefix = &key[..=key.find('/').unwrap()];
    let cluster: ClusterName = CLUSTER.parse().unwrap();
    match prefix {
        layout::PACKS => {
            let any = |sealed: &[u8]| run_key_of(sealed, files);
            open_pack(bytes, any).is_ok()
        }
        layout::AGENT => {
            let logs: Vec<Secret32> = (1..=3).map(|n| secret(&format!("log {n}"))).collect();
            let salt = bytes.get(..32).unwrap_or_default();
            let piece = |k: &Secret32| {
                let rest = bytes.get(32..).unwrap_or_default();
                open_uploads(&labelled(k, "lifeboat/1 upload log", salt), rest).is_ok()
            };
            logs.iter().any(|k| open_root(k, bytes).is_ok() || piece(k))
                || keys.segments.iter().any(|k| open_segment(k, bytes).is_ok())
        }
        layout::CHARTER => {
            let owner = signing_key("owner").verify_key();
            let parsed = charter::parse(bytes);
            parsed.is_ok_and(|(envelope, c)| c.cluster == cluster && envelope.signed_by(&owner).is_ok())
        }
        // These are seen through the whole reader, below.
        _ => !bytes.is_empty() && *bytes == files[key],
    }
}

/// The run key that these sealed bytes hold; for others, one that opens nothing.
fn run_key_of(sealed: &[u8], files: &Files) -> RunKey {
    let lists = files.iter().filter(|(k, _)| k.starts_with(layout::LISTS));
    let known: Vec<Vec<u8>> = lists.map(|(_, v)| PackList::parse(v).unwrap().sealed_run_key).collect();
    let seq = known.iter().position(|k| k == sealed);
    // Lists are in the order of their hashes: which snapshot a key is of shows when its pack opens.
    seq.map_or_else(RunKey::random, |_| run_key(seq_of(sealed, files)))
}

fn seq_of(sealed: &[u8], files: &Files) -> u64 {
    let owner = signing_key("owner").verify_key();
    let trusted = charters(files, &owner).unwrap();
    let chain = manifests(files, trusted.last().unwrap());
    let own = chain.iter().find(|m| {
        let newest = m
            .lists()
            .into_iter()
            .filter(|l| PackList::parse(&files[&layout::list(l)]).unwrap().sealed_run_key == sealed);
        newest.count() > 0
    });
    own.map_or(0, |m| m.seq)
}

/// Every damaged form of every file.
pub(crate) fn check(files: &Files, keys: &Keys) {
    for (key, bytes) in files {
        assert!(accepted(key, bytes, files, keys), "{key} itself");
        for bad in damaged(bytes) {
            assert!(!accepted(key, &bad, files, keys), "{key}, {} of {} bytes", bad.len(), bytes.len());
            through_the_reader(key, bad, files, keys);
        }
    }
}

/// A damaged file in the repository is missed by exactly those who look for it.
fn through_the_reader(key: &str, bad: Vec<u8>, files: &Files, keys: &Keys) {
    let prefix = &key[..=key.find('/').unwrap()];
    let small = [layout::CHARTER, layout::EPOCHS, layout::MANIFESTS, layout::RECEIPTS, layout::LISTS];
    if !small.contains(&prefix) {
        return;
    }
    let hash = Sha256::of(&bad);
    let parsed_list = PackList::parse(&bad);
    let mut damaged = files.clone();
    damaged.insert(key.to_owned(), bad);
    let owner = signing_key("owner").verify_key();
    let trusted = charters(&damaged, &owner);
    match prefix {
        layout::CHARTER => {
            let last = trusted.map_or(0, |t| t.last().unwrap().charter().n);
            assert_eq!(last + 1, layout::parse_charter(key).unwrap().0, "{key}");
        }
        layout::LISTS => {
            // In clear and unsigned: what it says may parse, and the manifest names its hash.
            drop(parsed_list);
            assert_ne!(layout::parse_hash_named(layout::LISTS, key), Some(hash));
        }
        _ => {
            let trusted = trusted.unwrap();
            let charter = trusted.last().unwrap();
            let counts = |f: &Files| {
                let epochs = epochs(f, charter, &keys.identities).len();
                (epochs, manifests(f, charter).len(), receipts(f, charter).len())
            };
            let (was, now) = (counts(files), counts(&damaged));
            let fewer = |a: usize, b: usize| a < b;
            assert!(fewer(now.0, was.0) || fewer(now.1, was.1) || fewer(now.2, was.2), "{key}");
        }
    }
}
