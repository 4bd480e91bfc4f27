//! An attacker with every right on the primary, and the agent's signing key where that helps, on a real S3 server with versions.
//! Each attack is a named alarm within one cycle (an overwritten pack within one sweep), the replica stays whole, nothing is
//! forgotten on either side until a person has said so, and then all goes on.

use crate::primary::{Site, alarms};
use lifeboat_format::crypto::sign::SigningKey;
use lifeboat_format::id::{Sha256, SnapshotId};
use lifeboat_format::layout;
use lifeboat_format::manifest::{Manifest, UnverifiedManifest};
use lifeboat_replicator::alarm::AlarmKind;
use std::collections::BTreeSet;

const FLOOD: u64 = 1000;

/// Three snapshots, each a day after the other, pulled, and nothing is wrong.
async fn well() -> Site {
    let site = Site::new(true);
    for _ in 0..3 {
        site.backup();
        assert_eq!(alarms(&site.pull().await), []);
    }
    site
}

fn object(key: &str) -> String {
    format!("backups/prod/{key}")
}

fn put(site: &Site, key: &str, bytes: &[u8]) {
    site.server.put_object("box", &object(key), bytes).unwrap();
}

fn replicator(site: &Site, words: &[&str]) -> crate::world::Ran {
    let config = site.world.admin().join("replicator.toml");
    site.world.run("lifeboat-replicator", &[words, &["--config", config.to_str().unwrap()]].concat())
}

/// The replica is whole, and nothing is forgotten because of `kind`.
async fn holds(site: &Site, kind: AlarmKind) {
    site.world.on_vault(&["verify"]).expect(0);
    let frozen = site.forget();
    let said: Vec<String> = frozen.restraints.iter().map(ToString::to_string).collect();
    assert!(said.iter().any(|s| s.contains(kind.name())), "{}: {said:?}", kind.name());
    assert_eq!(frozen.forgotten, [] as [u64; 0]);
    let there = site.retain().await;
    assert!(!there.stopped.is_empty() && there.forgotten.is_empty() && there.deleted == 0, "{there:?}");
    let shown = replicator(site, &["alarm", "list"]).expect(3).stdout;
    assert!(shown.contains(kind.name()), "{shown}");
}

/// A person has looked: the alarms end, snapshots come and are forgotten by the policy again, and the log tells it.
async fn goes_on(site: &Site, kinds: &[AlarmKind]) {
    for kind in kinds {
        replicator(site, &["alarm", "resolve", "--kind", kind.name(), "--note", "looked at"]).expect(0);
    }
    site.backup();
    let outcome = site.pull().await;
    assert_eq!((alarms(&outcome), outcome.snapshots), (vec![], 1));
    let stopped: Vec<String> = site.forget().restraints.iter().map(ToString::to_string).collect();
    assert_eq!(stopped, [] as [String; 0]);
    let told = replicator(site, &["audit", "show"]).expect(0).stdout;
    for words in ["alarm-raised", "alarm-resolved", kinds[0].name(), "looked at"] {
        assert!(told.contains(words), "{words}: {told}");
    }
    replicator(site, &["audit", "verify"]).expect(0);
    site.world.on_vault(&["verify"]).expect(0);
}

fn kinds(outcome: &lifeboat_replicator::replicate::Outcome) -> BTreeSet<AlarmKind> {
    alarms(outcome).into_iter().map(|(kind, _)| kind).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_emptied_bucket_is_an_alarm_in_one_cycle_and_costs_the_replica_nothing() {
    let site = well().await;
    let all: Vec<(String, Vec<u8>)> =
        site.keys("").into_iter().map(|k| (k.clone(), site.bytes(&k))).collect();
    for (key, _) in &all {
        site.server.delete_object("box", &object(key)).unwrap();
    }
    let found = kinds(&site.pull().await);
    assert!(found.contains(&AlarmKind::PrimaryEmptied), "{found:?}");
    holds(&site, AlarmKind::PrimaryEmptied).await;
    // Put back by whoever owns it, from anywhere: what had a cause that is gone ends by itself.
    all.iter().for_each(|(key, bytes)| put(&site, key, bytes));
    site.days_pass(1);
    assert_eq!(alarms(&site.pull().await), []);
    site.backup();
    assert_eq!(site.pull().await.snapshots, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_overwritten_pack_is_an_alarm_in_one_sweep_and_comes_back() {
    let site = well().await;
    let pack = site.keys("packs/").remove(0);
    let mut bytes = site.bytes(&pack);
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    put(&site, &pack, &bytes);
    site.days_pass(1);
    assert_eq!(alarms(&site.pull().await), [(AlarmKind::PrimaryDamaged, pack.clone())]);
    site.world.on_vault(&["verify"]).expect(0);
    assert_eq!(site.forget().forgotten, [] as [u64; 0]);
    // The one with the credential for it puts it back, and nobody needs to resolve anything.
    replicator(&site, &["heal"]).expect(0);
    assert_eq!(Some(Sha256::of(&site.bytes(&pack))), layout::parse_pack(&pack));
    site.days_pass(1);
    assert_eq!(alarms(&site.pull().await), []);
    let told = replicator(&site, &["audit", "show"]).expect(0).stdout;
    assert!(told.contains("primary-damaged") && told.contains(&pack), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_manifest_in_the_next_slot_is_a_replay() {
    let site = well().await;
    put(&site, &layout::manifest(4), &site.bytes(&layout::manifest(2)));
    assert_eq!(alarms(&site.pull().await), [(AlarmKind::Replayed, layout::manifest(4))]);
    holds(&site, AlarmKind::Replayed).await;
    goes_on(&site, &[AlarmKind::Replayed]).await;
}

/// The newest manifest, to make others of.
fn newest(site: &Site, seq: u64) -> (Manifest, Sha256) {
    let parsed = UnverifiedManifest::parse(&site.bytes(&layout::manifest(seq))).unwrap();
    (parsed.claims().clone(), parsed.sha256())
}

/// `count` manifests after the newest, signed with `key`, each extending the one before.
fn flood(site: &Site, count: u64, key: &SigningKey) {
    let (mut manifest, mut head) = newest(site, 3);
    for _ in 0..count {
        manifest.seq += 1;
        manifest.id = SnapshotId(rand::random());
        manifest.prev = Some(head);
        head = Sha256::of(&manifest.payload());
        put(site, &layout::manifest(manifest.seq), &manifest.sign(key));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_manifests_one_or_a_thousand_are_alarms_and_no_snapshots() {
    let site = well().await;
    let stranger = SigningKey::from_pkcs8(&SigningKey::generate()).unwrap();
    flood(&site, 1, &stranger);
    assert_eq!(alarms(&site.pull().await), [(AlarmKind::Forged, layout::manifest(4))]);
    flood(&site, FLOOD, &stranger);
    let outcome = site.pull().await;
    assert_eq!((kinds(&outcome), outcome.snapshots), ([AlarmKind::Forged].into(), 0));
    // A hundred of them by name, and one alarm for all others.
    assert_eq!(outcome.alarms.iter().filter(|a| a.kind == AlarmKind::Forged).count(), 101);
    holds(&site, AlarmKind::Forged).await;
    goes_on(&site, &[AlarmKind::Forged]).await;
}

/// With the agent's own key: they count as snapshots, and cost storage, but take no place of one that is kept.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_signed_junk_snapshots_displace_none() {
    let site = well().await;
    let policy = "[source.retention]\nwithin_hours = 0\nlast = 0\ndaily = 2\nweekly = 1\nmonthly = 1\nyearly = 1\nminimum = 1\nfloor_hours = 0\n";
    let path = site.world.admin().join("replicator.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("{text}\n{policy}")).unwrap();
    let kept = || -> BTreeSet<u64> {
        let preview = replicator(&site, &["retain", "--dry-run", "--json"]);
        let all = preview.json()["clusters"][0]["snapshots"].as_array().unwrap().clone();
        all.iter().filter(|s| s["keep"] == true).map(|s| s["seq"].as_u64().unwrap()).collect()
    };
    let before = kept();
    assert!(before.contains(&1), "the first of its day, week, month and year: {before:?}");
    let agent = std::fs::read_to_string(site.world.admin().join("agent.key")).unwrap();
    flood(&site, FLOOD, &SigningKey::from_pem(&agent).unwrap());
    let outcome = site.pull().await;
    assert_eq!(outcome.error.map(|e| e.to_string()), None);
    let after = kept();
    // The one that was kept as the newest is not the newest any more; the first of its day stays the first.
    assert!(after.contains(&1) && after.len() <= before.len() + 1, "{before:?} {after:?}");
    site.world.on_vault(&["verify"]).expect(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_charter_that_is_rolled_back_is_an_alarm_and_stays_in_force() {
    let site = well().await;
    let admin = site.world.admin();
    let (endpoint, credential) = (site.server.endpoint(), site.file("admin"));
    let as_admin = ["--s3-endpoint", &endpoint, "--credentials-file", credential.to_str().unwrap()];
    site.world
        .lifeboat(&[&["rotate", "--config", admin.to_str().unwrap()][..], &as_admin].concat())
        .expect(0);
    assert_eq!(alarms(&site.pull().await), []);
    let second = site
        .keys("charter/")
        .into_iter()
        .find(|k| layout::parse_charter(k).is_some_and(|c| c.0 == 2))
        .unwrap();
    let right = site.bytes(&second);
    site.server.delete_object("box", &object(&second)).unwrap();
    assert_eq!(alarms(&site.pull().await), [(AlarmKind::CharterRolledBack, second.clone())]);
    holds(&site, AlarmKind::CharterRolledBack).await;
    put(&site, &second, &right);
    assert_eq!(alarms(&site.pull().await), []);
}
