//! What a worker hands back: the lists and packs it made, the root of the tree, the volume's new log, and what people
//! should know. Sealed under the order's work key; whoever signs checks it against the store before it is believed.

use super::sealed::{self, Kind, WorkError};
use bytes::Bytes;
use lifeboat_common::store::ReadStore;
use lifeboat_format::crypto::derive::Secret32;
use lifeboat_format::id::{Handle, RunId, ScopeAlias, Sha256};
use lifeboat_format::pack::Reference;
use lifeboat_format::send_log::KnownPack;
use lifeboat_format::volume_log::VolumeLog;
use minicbor::{Decode, Encode};

const KIND: Kind = Kind { what: "work result", magic: b"LBLW\x01\x01", label: "lifeboat/1 work result" };

/// What reading a volume came to.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct WorkResult {
    #[n(0)]
    pub run: RunId,
    #[n(1)]
    pub domain: ScopeAlias,
    /// Pack lists that the worker wrote: one for its own packs, one for each attempt it went on from.
    #[n(2)]
    pub lists: Vec<ListRef>,
    /// The packs in them that the tree needs, each with its list.
    #[n(3)]
    pub packs: Vec<KnownPack>,
    /// Packs of earlier snapshots that the tree needs.
    #[n(4)]
    pub reused: Vec<Handle>,
    /// Root page of the tree's map.
    #[n(5)]
    pub root: Option<Reference>,
    #[n(6)]
    pub totals: Totals,
    /// The volume's new log.
    #[n(7)]
    pub log: VolumeLog,
    #[n(8)]
    pub told: Told,
    /// Seconds since 1970, the worker's clock.
    #[n(9)]
    pub started: i64,
    #[n(10)]
    pub finished: i64,
    /// Sealed bytes that this attempt sent, lists and log included.
    #[n(11)]
    pub sent_bytes: u64,
    #[n(12)]
    pub sent_objects: u64,
}

/// A pack list that a worker wrote.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct ListRef {
    #[n(0)]
    pub sha256: Sha256,
    #[cbor(n(1), with = "minicbor::bytes")]
    pub sealed_run_key: Vec<u8>,
}

/// What a tree came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Totals {
    #[n(0)]
    pub entries: u64,
    #[n(1)]
    pub files: u64,
    /// Sizes of the files together, holes included.
    #[n(2)]
    pub bytes: u64,
    /// Bytes read from files.
    #[n(3)]
    pub read_bytes: u64,
    /// Plaintext of what was not known before.
    #[n(4)]
    pub new_bytes: u64,
}

/// What people should know of a walk; texts are cleaned before they are shown.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Told {
    /// Entries that are not in the tree as they should be; at most [`crate::tree::LISTED_MAX`].
    #[n(0)]
    pub missed: Vec<MissedEntry>,
    #[n(1)]
    pub missed_total: u64,
    /// Paths of files that kept changing while they were read; stored.
    #[n(2)]
    pub changing: Vec<String>,
    #[n(3)]
    pub changing_total: u64,
    /// Left out by patterns and markers.
    #[n(4)]
    pub excluded: u64,
    /// Gone between listing and looking.
    #[n(5)]
    pub vanished: u64,
    /// Places where something else is mounted.
    #[n(6)]
    pub mounts: u64,
}

/// An entry that was missed.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct MissedEntry {
    /// From the volume's root, as it is shown.
    #[n(0)]
    pub path: String,
    /// CamelCase.
    #[n(1)]
    pub reason: String,
    #[n(2)]
    pub message: String,
}

impl WorkResult {
    /// Seals it under the order's work key: its name under `agent/`, and the bytes to store there.
    #[must_use]
    pub fn seal(&self, key: &Secret32) -> (Sha256, Bytes) {
        sealed::sealed(&KIND, key, self)
    }

    /// Reads a result. What it says is to be checked.
    ///
    /// # Errors
    /// The store's, or what is there is not a result under this key.
    pub async fn fetch(store: &dyn ReadStore, name: &Sha256, key: &Secret32) -> Result<Self, WorkError> {
        sealed::fetch(&KIND, store, name, key).await
    }
}
