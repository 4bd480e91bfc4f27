//! Samples for the tests of this room.

use jiff::Timestamp;
use lifeboat_format::id::{RunId, Sha256, SnapshotId};
use lifeboat_format::manifest::{Counts, Coverage, Manifest, RunResult, SCHEMA};

pub(super) fn manifest(seq: u64) -> Manifest {
    Manifest {
        schema: SCHEMA.to_owned(),
        cluster: "prod".parse().expect("a DNS label"),
        seq,
        id: SnapshotId([3; 16]),
        run: RunId([4; 16]),
        prev: None,
        charter: 1,
        features: vec![],
        origin: Sha256([5; 32]),
        started: Timestamp::UNIX_EPOCH,
        finished: Timestamp::UNIX_EPOCH,
        coverage: Coverage::Checkpoint,
        scopes: vec![],
        result: RunResult::Completed,
        packs: vec![],
        carry: vec![],
        log: None,
        body: None,
        primary_ttl_hours: None,
        counts: Counts::default(),
    }
}
