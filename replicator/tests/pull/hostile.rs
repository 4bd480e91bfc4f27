//! A source that lies: strangers' manifests, replays, forks, rollbacks, junk, endless things. Named, kept out, and never a
//! reason to stop pulling what is sound.

use crate::fixture::*;
use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt as _, stream};
use jiff::{SignedDuration, Timestamp};
use lifeboat_common::clock::Clock as _;
use lifeboat_common::store::{Body, Entry, Listing, MemoryStore, ReadStore, Result};
use lifeboat_format::charter::AgentKey;
use lifeboat_format::id::Sha256;
use lifeboat_format::layout;
use lifeboat_format::manifest::Coverage;
use lifeboat_replicator::alarm::AlarmKind;
use std::sync::Arc;

#[tokio::test]
async fn a_strangers_manifest_is_not_believed_and_blocks_nothing() {
    let mut primary = Primary::with("prod", 1);
    let mut forged = primary.manifest(vec![]);
    forged.seq = 2;
    primary.store.put(&layout::manifest(2), forged.sign(&key()));
    let vaulted = Vaulted::new(&primary);
    let outcome = vaulted.pull(&primary).await;
    assert!(outcome.error.is_none());
    assert_eq!(alarms(&outcome), [(AlarmKind::Forged, layout::manifest(2))]);
    // The agent takes the next slot; the stranger's stays an alarm for as long as it is there.
    let mut honest = primary.manifest(vec![]);
    honest.seq = 3;
    primary.commit(&honest);
    for _ in 0..3 {
        let outcome = vaulted.pull(&primary).await;
        assert_eq!(alarms(&outcome), [(AlarmKind::Forged, layout::manifest(2))]);
    }
    assert_eq!(vaulted.held(&primary), [1, 3]);
    assert!(!vaulted.dir.path().join("prod").join(layout::manifest(2)).exists());
    primary.store.remove(&layout::manifest(2));
    vaulted.clean_pull(&primary).await;
}

#[tokio::test]
async fn an_old_manifest_in_a_new_slot_is_a_replay() {
    let primary = Primary::with("prod", 2);
    primary.store.put(&layout::manifest(3), primary.store.bytes(&layout::manifest(1)).unwrap());
    let vaulted = Vaulted::new(&primary);
    assert_eq!(alarms(&vaulted.pull(&primary).await), [(AlarmKind::Replayed, layout::manifest(3))]);
    assert_eq!(vaulted.held(&primary), [1, 2]);
}

#[tokio::test]
async fn another_clusters_manifest_is_a_replay() {
    let mut primary = Primary::with("prod", 1);
    let mut other = primary.manifest(vec![]);
    other.cluster = "test".parse().unwrap();
    primary.store.put(&layout::manifest(2), other.sign(&primary.agent));
    let vaulted = Vaulted::new(&primary);
    assert_eq!(alarms(&vaulted.pull(&primary).await), [(AlarmKind::Replayed, layout::manifest(2))]);
}

#[tokio::test]
async fn a_fork_is_kept_aside() {
    let mut primary = Primary::with("prod", 2);
    let mut fork = primary.manifest(vec![]);
    (fork.seq, fork.prev) = (3, Some(Sha256([9; 32])));
    primary.store.put(&layout::manifest(3), fork.sign(&primary.agent));
    let vaulted = Vaulted::new(&primary);
    assert_eq!(alarms(&vaulted.pull(&primary).await), [(AlarmKind::Fork, layout::manifest(3))]);
    assert_eq!(vaulted.held(&primary), [1, 2]);
    assert_eq!(std::fs::read_dir(vaulted.dir.path().join("prod/rejected")).unwrap().count(), 1);
}

#[tokio::test]
async fn what_an_ended_key_signed_later_is_taken_off_the_chain() {
    let mut primary = Primary::with("prod", 2);
    let until = primary.head;
    primary.snapshot(1);
    let vaulted = Vaulted::new(&primary);
    vaulted.clean_pull(&primary).await;
    let new = key();
    primary.next_charter(|c| {
        c.agents[0].until = until.map(|u| u.1);
        c.agents.push(AgentKey { key: new.verify_key(), from: until.map(|u| u.1), until: None });
    });
    (primary.agent, primary.head) = (new, Some((3, until.unwrap().1)));
    primary.snapshot(1);
    let outcome = vaulted.pull(&primary).await;
    assert!(outcome.error.is_none(), "{:?}", outcome.error);
    assert_eq!(alarms(&outcome), [(AlarmKind::RejectedBranch, layout::manifest(3))]);
    assert_eq!(vaulted.held(&primary), [1, 2, 3, 4], "nothing is deleted");
    let head = vaulted.replicator.catalogue.newest("prod", None).unwrap().unwrap();
    assert_eq!((head.seq, head.prev), (4, until.map(|u| u.1)));
    // A vault that begins after that does not take it over at all.
    let late = Vaulted::new(&primary);
    assert_eq!(alarms(&late.pull(&primary).await), [(AlarmKind::RejectedBranch, layout::manifest(3))]);
    assert_eq!(late.held(&primary), [1, 2, 4]);
}

#[tokio::test]
async fn what_an_ended_key_goes_on_to_sign_lets_nothing_wait() {
    let mut primary = Primary::with("prod", 1);
    let mut stolen = primary.manifest(vec![]);
    let (old, new, until) = (std::mem::replace(&mut primary.agent, key()), key(), primary.head.unwrap().1);
    primary.next_charter(|c| {
        c.agents[0].until = Some(until);
        c.agents.push(AgentKey { key: new.verify_key(), from: Some(until), until: None });
    });
    primary.agent = new;
    let vaulted = Vaulted::new(&primary);
    vaulted.clean_pull(&primary).await;
    primary.pass(SignedDuration::from_hours(1));
    // Under the charter that it knows, under one that nobody has, with a feature of its own.
    for (seq, charter, features) in [(2, 1, vec![]), (3, 99, vec![]), (4, 1, vec!["unheard-of".to_owned()])] {
        (stolen.seq, stolen.charter, stolen.features) = (seq, charter, features);
        primary.store.put(&layout::manifest(seq), stolen.sign(&old));
    }
    primary.head = Some((4, until));
    primary.snapshot(1);
    let rejected = [2, 3, 4].map(|seq| (AlarmKind::RejectedBranch, layout::manifest(seq)));
    assert_eq!(alarms(&vaulted.pull(&primary).await), rejected);
    assert_eq!(vaulted.held(&primary), [1, 5]);
}

#[tokio::test]
async fn a_rolled_back_charter_changes_nothing_here() {
    let mut primary = Primary::with("prod", 1);
    let second = primary.next_charter(|c| c.dedup_generation = 2);
    primary.snapshot(1);
    let vaulted = Vaulted::new(&primary);
    vaulted.clean_pull(&primary).await;
    let bytes = primary.store.bytes(&second).unwrap();
    primary.store.remove(&second);
    primary.snapshot(1);
    let outcome = vaulted.pull(&primary).await;
    assert_eq!(alarms(&outcome), [(AlarmKind::CharterRolledBack, second.clone())]);
    assert_eq!(vaulted.held(&primary), [1, 2, 3]);
    primary.store.put(&second, bytes);
    vaulted.clean_pull(&primary).await;
}

#[tokio::test]
async fn of_two_charters_the_first_seen_stays_in_force() {
    let mut primary = Primary::with("prod", 1);
    primary.next_charter(|c| c.dedup_generation = 2);
    let vaulted = Vaulted::new(&primary);
    vaulted.clean_pull(&primary).await;
    let genuine = primary.charter.clone();
    let mut other = genuine.clone();
    other.agents.push(AgentKey { key: key().verify_key(), from: None, until: None });
    let key = primary.put_charter(&other);
    primary.snapshot(1);
    let outcome = vaulted.pull(&primary).await;
    assert!(outcome.error.is_none());
    assert_eq!(alarms(&outcome), [(AlarmKind::TwoCharters, layout::CHARTER.to_owned())]);
    assert_eq!(vaulted.held(&primary), [1, 2]);
    assert!(!vaulted.dir.path().join("prod").join(&key).exists());
    // It is not fetched again in each pull.
    let before = primary.store.requests();
    vaulted.pull(&primary).await;
    assert!(primary.store.requests().since(&before).total() <= 6);
    // A vault that never saw the first trusts neither.
    let late = Vaulted::new(&primary);
    let outcome = late.pull(&primary).await;
    assert!(outcome.alarms.iter().any(|a| a.kind == AlarmKind::TwoCharters));
    assert_eq!(late.held(&primary), [1]);
}

#[tokio::test]
async fn anothers_charters_are_junk() {
    let primary = Primary::with("prod", 1);
    let (stranger, other) = (Primary::new("prod"), Primary::new("test"));
    for junk in [&stranger, &other] {
        junk.store.keys().iter().filter(|k| k.starts_with(layout::CHARTER)).for_each(|k| {
            primary.store.put(k, junk.store.bytes(k).unwrap());
        });
    }
    let vaulted = Vaulted::new(&primary);
    vaulted.clean_pull(&primary).await;
    assert_eq!(std::fs::read_dir(vaulted.dir.path().join("prod/charter")).unwrap().count(), 1);
    let before = primary.store.requests();
    vaulted.clean_pull(&primary).await;
    assert!(primary.store.requests().since(&before).total() <= 6, "junk is fetched once");
    let wrong = Vaulted::new(&stranger);
    let error = wrong.pull(&other).await;
    assert!(error.error.is_none());
    let mut mixed = Primary::new("prod");
    mixed.store = primary.store.clone();
    let outcome = wrong.replicator.pull(&mixed.source()).await;
    let error = outcome.error.unwrap().to_string();
    assert!(
        error.contains(&mixed.owner.verify_key().fingerprint()) && error.contains("repository.toml"),
        "{error}"
    );
}

#[tokio::test]
async fn junk_names_are_named_and_lead_nowhere() {
    let mut primary = Primary::with("prod", 1);
    let names = [
        "manifests/../../etc/passwd",
        "manifests/0000000000000002.json.bak",
        "manifests/x",
        "packs/../../x",
        "packs/zz/junk",
        "lists/../charter/x",
        "charter/1-nothex.json",
        "charter/../../../x",
        "epochs/1-x.age",
        "agent/whatever",
    ];
    for name in names {
        primary.store.put(name, "junk");
    }
    let vaulted = Vaulted::new(&primary);
    let outcome = vaulted.pull(&primary).await;
    assert!(outcome.error.is_none());
    let junk: Vec<String> = outcome.alarms.iter().map(|a| a.what.clone()).collect();
    assert_eq!(junk, ["manifests/../../etc/passwd", "manifests/0000000000000002.json.bak", "manifests/x"]);
    assert!(outcome.alarms.iter().all(|a| a.kind == AlarmKind::Junk));
    primary.snapshot(1);
    vaulted.pull(&primary).await;
    assert_eq!(vaulted.held(&primary), [1, 2]);
    let before = primary.store.requests();
    vaulted.pull(&primary).await;
    assert!(primary.store.requests().since(&before).total() <= 6);
}

#[tokio::test]
async fn a_flood_of_junk_is_not_fetched_again_and_again() {
    let mut primary = Primary::with("prod", 1);
    let stranger = key();
    for seq in 2..1500 {
        let mut junk = primary.manifest(vec![]);
        junk.seq = seq;
        primary.store.put(&layout::manifest(seq), junk.sign(&stranger));
    }
    let vaulted = Vaulted::new(&primary);
    vaulted.pull(&primary).await;
    let before = primary.store.requests();
    let outcome = vaulted.pull(&primary).await;
    assert_eq!(outcome.alarms.len(), 101, "some by name, all as a number");
    let sum = outcome.alarms.iter().find(|a| a.what == layout::MANIFESTS).unwrap();
    assert!(sum.why.contains("more than 1000"), "{}", sum.why);
    let asked = primary.store.requests().since(&before);
    assert!(asked.total() <= 8, "{asked:?}");
    let mut honest = primary.manifest(vec![]);
    honest.seq = 1500;
    primary.commit(&honest);
    vaulted.pull(&primary).await;
    assert_eq!(vaulted.held(&primary), [1, 1500]);
}

#[tokio::test]
async fn an_emptied_or_rewritten_primary_is_seen_at_once() {
    let primary = Primary::with("prod", 2);
    let vaulted = Vaulted::new(&primary);
    vaulted.clean_pull(&primary).await;
    let head = layout::manifest(2);
    let right = primary.store.bytes(&head).unwrap();
    primary.store.put(&head, primary.store.bytes(&layout::manifest(1)).unwrap());
    let outcome = vaulted.pull(&primary).await;
    assert_eq!(alarms(&outcome), [(AlarmKind::PrimaryRewritten, head.clone())]);
    primary.store.remove(&head);
    let outcome = vaulted.pull(&primary).await;
    assert_eq!(alarms(&outcome), [(AlarmKind::PrimaryEmptied, head.clone())]);
    let all: Vec<(String, Bytes)> =
        primary.store.keys().into_iter().map(|k| (k.clone(), primary.store.bytes(&k).unwrap())).collect();
    all.iter().for_each(|(k, _)| assert!(primary.store.remove(k)));
    let outcome = vaulted.pull(&primary).await;
    let kinds: Vec<AlarmKind> = outcome.alarms.iter().map(|a| a.kind).collect();
    assert!(
        kinds.contains(&AlarmKind::PrimaryEmptied) && kinds.contains(&AlarmKind::CharterRolledBack),
        "{kinds:?}"
    );
    assert!(kinds.contains(&AlarmKind::PrimaryLost));
    assert_eq!(vaulted.held(&primary), [1, 2], "deletion never propagates");
    all.into_iter().for_each(|(k, bytes)| primary.store.put(&k, bytes));
    primary.store.put(&head, right);
    vaulted.clean_pull(&primary).await;
}

#[tokio::test]
async fn a_changed_origin_is_an_alarm_unless_adopted() {
    let mut primary = Primary::with("prod", 1);
    let mut paths = primary.manifest(vec![]);
    (paths.coverage, paths.origin) = (Coverage::Paths, Sha256([8; 32]));
    primary.commit(&paths);
    let vaulted = Vaulted::new(&primary);
    vaulted.clean_pull(&primary).await;
    primary.next_charter(|c| c.dedup_generation = 2);
    let mut adopted = primary.manifest(vec![]);
    adopted.origin = Sha256([6; 32]);
    primary.commit(&adopted);
    vaulted.clean_pull(&primary).await;
    let mut moved = primary.manifest(vec![]);
    moved.origin = Sha256([7; 32]);
    let seq = primary.commit(&moved);
    let outcome = vaulted.pull(&primary).await;
    assert_eq!(alarms(&outcome), [(AlarmKind::OriginChanged, layout::manifest(seq))]);
    assert_eq!(vaulted.held(&primary), [1, 2, 3, 4], "what is sound is pulled all the same");
}

#[tokio::test]
async fn an_unknown_feature_is_kept_and_not_judged() {
    let mut primary = Primary::with("prod", 1);
    let mut newer = primary.manifest(vec![]);
    newer.features = vec!["holograms".to_owned()];
    let seq = primary.commit(&newer);
    let vaulted = Vaulted::new(&primary);
    let outcome = vaulted.pull(&primary).await;
    assert_eq!(alarms(&outcome), [(AlarmKind::FeatureUnknown, layout::manifest(seq))]);
    assert!(outcome.alarms[0].why.contains("holograms"));
    assert_eq!(vaulted.held(&primary), [1]);
    assert_eq!(std::fs::read_dir(vaulted.dir.path().join("prod/rejected")).unwrap().count(), 1);
}

#[tokio::test]
async fn times_that_lie_are_only_noted() {
    let mut primary = Primary::with("prod", 1);
    for time in ["2099-01-01T00:00:00Z", "1970-01-01T00:00:00Z"] {
        let mut manifest = primary.manifest(vec![]);
        (manifest.started, manifest.finished) = (time.parse().unwrap(), time.parse().unwrap());
        primary.commit(&manifest);
    }
    let vaulted = Vaulted::new(&primary);
    vaulted.clean_pull(&primary).await;
    assert_eq!(vaulted.held(&primary), [1, 2, 3]);
    // And our own clock may jump either way.
    let now: Timestamp = primary.clock.now();
    for time in ["2090-01-01T00:00:00Z".parse().unwrap(), start(), now] {
        primary.clock.set(time);
        let outcome = vaulted.pull(&primary).await;
        assert!(outcome.error.is_none() && alarms(&outcome).is_empty(), "{:?}", outcome.alarms);
    }
}

#[tokio::test]
async fn an_agent_that_names_what_cannot_be_is_stopped() {
    let mut primary = Primary::with("prod", 1);
    let pack = primary.put_pack();
    let mut beyond = primary.put_list(vec![pack]);
    beyond.bitmap.insert(7);
    let manifest = primary.manifest(vec![beyond]);
    let first = primary.commit(&manifest);
    let mut junk = primary.put_list(vec![]);
    junk.list = Sha256::of(b"no list");
    primary.store.put(&layout::list(&junk.list), "no list");
    let list = layout::list(&junk.list);
    let manifest = primary.manifest(vec![junk]);
    primary.commit(&manifest);
    let vaulted = Vaulted::new(&primary);
    let outcome = vaulted.pull(&primary).await;
    let mut found = alarms(&outcome);
    found.sort();
    assert_eq!(found, [(AlarmKind::Damaged, list), (AlarmKind::Damaged, layout::manifest(first))]);
    assert_eq!(vaulted.held(&primary), [1]);
}

/// A store that answers what no honest store does.
#[derive(Debug)]
struct Liar {
    inner: MemoryStore,
    lie: Lie,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Lie {
    EndlessListing,
    LoopingListing,
    EndlessBody,
    StallingBody,
    OtherBytesEachTime,
}

#[async_trait]
impl ReadStore for Liar {
    async fn get(&self, key: &str, max: u64) -> Result<Bytes> {
        self.inner.get(key, max).await
    }
    async fn get_range(&self, key: &str, offset: u64, length: u64) -> Result<Bytes> {
        self.inner.get_range(key, offset, length).await
    }
    async fn get_stream(&self, key: &str) -> Result<(Entry, Body)> {
        let (entry, body) = self.inner.get_stream(key).await?;
        if !key.starts_with(layout::PACKS) {
            return Ok((entry, body));
        }
        let body: Body = match self.lie {
            Lie::EndlessBody => stream::repeat_with(|| Ok(Bytes::from(vec![7; 1000]))).boxed(),
            Lie::StallingBody => stream::pending().boxed(),
            Lie::OtherBytesEachTime => {
                let number = self.inner.requests().get_stream;
                let bytes = vec![u8::try_from(number % 250).unwrap(); usize::try_from(entry.size).unwrap()];
                stream::iter([Ok(Bytes::from(bytes))]).boxed()
            }
            _ => body,
        };
        Ok((entry, body))
    }
    async fn head(&self, key: &str) -> Result<Option<Entry>> {
        self.inner.head(key).await
    }
    async fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Listing> {
        let mut page = self.inner.list(prefix, after, limit).await?;
        match self.lie {
            Lie::LoopingListing if prefix == layout::MANIFESTS => {
                page = self.inner.list(prefix, None, limit).await?;
                page.more = true;
            }
            Lie::EndlessListing if prefix == layout::MANIFESTS => {
                (page.more, page.entries) = (true, vec![]);
            }
            _ => {}
        }
        Ok(page)
    }
    fn describe(&self) -> String {
        "memory:liar".to_owned()
    }
}

#[tokio::test]
async fn a_store_that_lies_is_an_error_and_never_damage() {
    let lies = [
        Lie::EndlessListing,
        Lie::LoopingListing,
        Lie::EndlessBody,
        Lie::StallingBody,
        Lie::OtherBytesEachTime,
    ];
    for lie in lies {
        let primary = Primary::with("prod", 2);
        let vaulted = Vaulted::new(&primary);
        let mut replicator = vaulted.replicator.clone();
        replicator.patience.attempts = 2;
        let liar = Liar { inner: primary.store.clone(), lie };
        let outcome = replicator.pull(&primary.source_through(Arc::new(liar))).await;
        let error = outcome.error.unwrap_or_else(|| panic!("{lie:?}")).to_string();
        assert!(error.contains("memory:liar/"), "{lie:?}: {error}");
        let kinds = outcome.alarms.iter().map(|a| a.kind).filter(|kind| !is_of_age(*kind));
        assert_eq!(kinds.collect::<Vec<_>>(), [AlarmKind::Unreachable], "{lie:?}");
        vaulted.clean_pull(&primary).await;
        assert_eq!(vaulted.held(&primary), [1, 2], "{lie:?}");
    }
}
