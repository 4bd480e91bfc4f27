//! Reading a repository: a primary, a vault, or a copy of either; the layout is the same.
//!
//! Owns the way from an owner's public key to the objects of a snapshot, and says what is missing or damaged on
//! that way. Reads through [`crate::store::ReadStore`] alone, so it cannot change a store; knows nothing of
//! Kubernetes beyond names, and nothing of terminals or files.

mod cache;
mod chain;
mod chunks;
mod error;
mod grant;
mod keyring;
mod links;
mod listing;
mod map;
mod names;
mod pack_file;
mod packs;
mod repository;
mod resolve;
mod shown;
mod snapshot;
mod tree;
mod verify;

pub use chain::{Anomaly, AnomalyKind, Fate, Snapshot, SnapshotList};
pub use chunks::ChunkReader;
pub use error::ReadError;
pub use grant::{GrantedPack, TreeGrant};
pub use keyring::Keyring;
pub use links::Link;
pub use map::{KeyRange, MapEntry, first, get, reference_list, references, value, walk};
pub use names::{
    ObjectName, ObjectPath, PATHS, is_namespace, is_volume_name, object_path, parse_object_path,
};
pub use pack_file::{BulkPack, SealedFrames};
pub use packs::{PackIndex, PackRef};
pub use repository::{Claims, Repository, claims};
pub use resolve::ResolveError;
pub use shown::{shown, unshown};
pub use snapshot::{Domain, Listed, ObjectFilter, OpenSnapshot, Stored};
pub use tree::{Change, Needs, Piece, Placement, Tree, TreeEntry};
pub use verify::{Damage, DamageKind, Progress, Unchecked, VerifyOptions, VerifyReport, verify};

#[cfg(test)]
mod tests;
