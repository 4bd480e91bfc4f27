//! Made-up rows for tests. Knows no file.

use crate::catalog::{SnapshotRow, State};
use jiff::Timestamp;
use lifeboat_format::crypto::sign::SigningKey;
use lifeboat_format::id::{Sha256, SnapshotId};

/// A snapshot that was made and seen `hours` after 1970 began.
pub fn row(seq: u64, hours: i64, coverage: &str, state: State) -> SnapshotRow {
    let at = Timestamp::from_second(hours * 3600).unwrap();
    let key = SigningKey::from_pkcs8(&SigningKey::generate()).unwrap();
    SnapshotRow {
        seq,
        id: SnapshotId([7; 16]),
        sha256: Sha256::of(&seq.to_be_bytes()),
        prev: None,
        signer: key.verify_key(),
        charter: 1,
        coverage: coverage.to_owned(),
        result: "Completed".to_owned(),
        origin: Sha256([0; 32]),
        claimed: at,
        first_seen: at,
        verified: (state == State::Held).then_some(at),
        state,
        packs: 1,
        bytes: 1,
        plain_bytes: 1,
        scopes: Vec::new(),
        ttl_hours: None,
        forgotten: None,
    }
}
