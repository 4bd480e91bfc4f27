//! A work order: what a worker needs to read one volume, and no more. Made by whoever holds state and chain; it carries
//! the keys of this volume's domain, never the dedup key they come from, and nothing that opens a pack.

use super::sealed::{self, Kind, WorkError};
use crate::backup::BackupError;
use crate::tree::{Excludes, PatternError, TreeOptions};
use bytes::Bytes;
use lifeboat_common::store::ReadStore;
use lifeboat_format::chunker::ChunkSizes;
use lifeboat_format::crypto::derive::{DomainKeys, Secret32};
use lifeboat_format::id::{Handle, RunId, ScopeAlias, Sha256};
use lifeboat_format::volume_log::VolumeLog;
use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};
use std::num::NonZeroU64;

const KIND: Kind = Kind { what: "work order", magic: b"LBLO\x01\x01", label: "lifeboat/1 work order" };

/// What a worker is to do.
#[derive(Clone, Encode, Decode)]
#[cbor(map)]
pub struct Order {
    #[n(0)]
    pub run: RunId,
    /// The cluster whose folder of the store it is for.
    #[n(1)]
    pub cluster: String,
    /// The age recipient that run keys are sealed to.
    #[n(2)]
    pub recipient: String,
    /// min, average, max.
    #[n(3)]
    sizes: (u32, u32, u32),
    #[n(4)]
    pub domain: ScopeAlias,
    #[n(5)]
    keys: ByteVec,
    /// What the last run of this volume left.
    #[n(6)]
    pub past: Option<VolumeLog>,
    /// Packs of earlier snapshots that may be named again.
    #[n(7)]
    pub packs: Vec<OldPack>,
    /// What the pieces of its upload log are sealed under.
    #[n(8)]
    upload_key: ByteVec,
    /// Last pieces of the upload log of an attempt that was interrupted.
    #[n(9)]
    pub pieces: Vec<Sha256>,
    /// A slot that was taken when the order was made: the newest object under `manifests/` is looked for from there.
    #[n(10)]
    pub head_seq: u64,
    #[n(11)]
    pub options: OrderOptions,
}

/// A pack that may be named again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct OldPack {
    #[n(0)]
    pub handle: Handle,
    /// Bytes, sealed.
    #[n(1)]
    pub size: u64,
    /// Bytes of its chunks.
    #[n(2)]
    pub plain_bytes: u64,
}

/// How the tree is to be read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct OrderOptions {
    /// Patterns, as in [`Excludes::new`].
    #[n(0)]
    pub exclude: Vec<String>,
    /// Reads files that look unchanged, too.
    #[n(1)]
    pub read_all: bool,
    /// Stores directories with `.nobackup` or `CACHEDIR.TAG` empty.
    #[n(2)]
    pub markers: bool,
    /// Bytes a second that may be sent.
    #[n(3)]
    pub bandwidth: Option<u64>,
}

impl OrderOptions {
    #[must_use]
    pub fn rate(&self) -> Option<NonZeroU64> {
        self.bandwidth.and_then(NonZeroU64::new)
    }

    /// For the walk, with the threads that it has by default.
    ///
    /// # Errors
    /// A pattern is none.
    pub fn tree(&self) -> Result<TreeOptions, PatternError> {
        Ok(TreeOptions {
            exclude: Excludes::new(self.exclude.iter().map(String::as_str))?,
            markers: self.markers,
            read_all: self.read_all,
            ..TreeOptions::default()
        })
    }
}

/// The parts of an order that are no plain data.
#[derive(Clone)]
pub struct OrderKeys {
    pub domain: DomainKeys,
    pub upload: Secret32,
    pub sizes: ChunkSizes,
}

impl std::fmt::Debug for Order {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Order")
            .field("run", &self.run)
            .field("packs", &self.packs.len())
            .finish_non_exhaustive()
    }
}

impl Order {
    /// An order of a volume of which nothing is known.
    #[must_use]
    pub fn new(run: RunId, cluster: &str, recipient: &str, domain: ScopeAlias, keys: &OrderKeys) -> Self {
        let s = keys.sizes;
        Self {
            run,
            cluster: cluster.to_owned(),
            recipient: recipient.to_owned(),
            sizes: (s.min, s.average, s.max),
            domain,
            keys: keys.domain.to_bytes().to_vec().into(),
            past: None,
            packs: Vec::new(),
            upload_key: keys.upload.expose().to_vec().into(),
            pieces: Vec::new(),
            head_seq: 0,
            options: OrderOptions::default(),
        }
    }

    /// Its keys, checked.
    ///
    /// # Errors
    /// A key of another length, or chunk sizes that no charter may have.
    pub fn keys(&self) -> Result<OrderKeys, BackupError> {
        let (min, average, max) = self.sizes;
        let sizes = ChunkSizes { min, average, max };
        sizes.check()?;
        let domain = DomainKeys::from_bytes(&self.keys).ok_or(BackupError::NoKey)?;
        let upload = <[u8; 32]>::try_from(self.upload_key.as_slice()).map_err(|_| BackupError::NoKey)?;
        Ok(OrderKeys { domain, upload: Secret32::new(upload), sizes })
    }

    /// Seals it under a work key: its name under `agent/`, and the bytes to store there.
    #[must_use]
    pub fn seal(&self, key: &Secret32) -> (Sha256, Bytes) {
        sealed::sealed(&KIND, key, self)
    }

    /// Reads an order.
    ///
    /// # Errors
    /// The store's, or what is there is not an order under this key.
    pub async fn fetch(store: &dyn ReadStore, name: &Sha256, key: &Secret32) -> Result<Self, WorkError> {
        sealed::fetch(&KIND, store, name, key).await
    }
}
