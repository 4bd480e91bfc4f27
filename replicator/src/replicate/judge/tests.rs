//! Tests of the judge: rules that need time or charters. What needs a source is in `tests/pull/`.

use super::*;
use lifeboat_format::charter::{self, AgentKey, Charter, Epoch, Policy, trusted_chain};
use lifeboat_format::chunker::ChunkSizes;
use lifeboat_format::crypto::sign::SigningKey;
use std::collections::BTreeMap;

fn key() -> SigningKey {
    SigningKey::from_pkcs8(&SigningKey::generate()).unwrap()
}

fn agent(key: &SigningKey, until: Option<Sha256>) -> AgentKey {
    AgentKey { key: key.verify_key(), from: None, until }
}

/// Charters 1 and 2, the second seen at the epoch's beginning.
fn charters(agents: [Vec<AgentKey>; 2], fresh: bool) -> Charters {
    let owner = key();
    let mut files = Vec::new();
    let mut prev = None;
    for (n, agents) in (1..).zip(agents) {
        let charter = Charter {
            schema: charter::SCHEMA.to_owned(),
            n,
            prev,
            cluster: "prod".parse().unwrap(),
            created: Timestamp::UNIX_EPOCH,
            owners: vec![owner.verify_key()],
            threshold: 1,
            agents,
            receipt_key: owner.verify_key(),
            epochs: vec![Epoch {
                n: 1,
                recipient: "age1".into(),
                created: Timestamp::UNIX_EPOCH,
                sealed_sha256: vec![],
            }],
            dedup_generation: 1,
            policy: Policy::default(),
            chunking: ChunkSizes::default(),
            features: vec![],
            format_max: 1,
        };
        prev = Some(Sha256::of(&charter.payload()));
        files.push(charter.sign(&[&owner]));
    }
    let trusted = trusted_chain(&files, &owner.verify_key(), &"prod".parse().unwrap()).unwrap();
    let seen = BTreeMap::from([(1, Timestamp::UNIX_EPOCH), (2, Timestamp::UNIX_EPOCH)]);
    Charters::new(trusted, seen, if fresh { BTreeSet::from([2]) } else { BTreeSet::new() }).unwrap()
}

fn hours(hours: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_hours(hours)
}

#[test]
fn a_charter_that_takes_a_key_back_ends_the_one_before_at_once() {
    let (old, new) = (key(), key());
    let routine = charters([vec![agent(&old, None)], vec![agent(&old, None), agent(&new, None)]], false);
    assert!(!routine.is_over(1, GRACE, hours(24 * 7)));
    assert!(routine.is_over(1, GRACE, hours(24 * 7 + 1)));
    assert!(!routine.is_over(2, GRACE, hours(24 * 3650)), "the newest is never over");
    let until = Some(Sha256([1; 32]));
    let revoked = charters([vec![agent(&old, None)], vec![agent(&old, until), agent(&new, None)]], false);
    assert!(revoked.is_over(1, GRACE, hours(1)));
    let gone = charters([vec![agent(&old, None)], vec![agent(&new, None)]], false);
    assert!(gone.is_over(1, GRACE, hours(1)));
    let backlog = charters([vec![agent(&old, None)], vec![agent(&old, until), agent(&new, None)]], true);
    assert!(!backlog.is_over(1, GRACE, hours(1)), "what came together with its charter is history");
    assert!(!routine.is_over(1, GRACE, hours(-1)), "a clock that was set back");
}

#[test]
fn no_bytes_are_accepted_by_accident() {
    let agents = vec![agent(&key(), None)];
    let charters = charters([agents.clone(), agents], false);
    let cluster = "prod".parse().unwrap();
    let mut judge = Judge::new(&charters, &cluster, &[], hours(1));
    for bytes in [&b""[..], b"{}", b"null", &[0xff; 1000]] {
        let ruling = judge.judge(1, bytes.to_vec());
        assert!(matches!(ruling, Ruling::Aside(Reason { kind: AlarmKind::Damaged, .. })), "{ruling:?}");
    }
    assert_eq!(judge.head(), None);
}
