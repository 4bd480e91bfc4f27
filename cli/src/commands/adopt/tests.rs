//! Tests of `adopt`, after an `init` and some manifests on a store in a directory.

use super::*;
use crate::commands::init::tests as init;
use crate::folder::Folder;
use lifeboat_common::keys::service_key;
use lifeboat_common::store::{CreateStore as _, LocalStore};
use lifeboat_common::telemetry::Color;
use lifeboat_common::trust;
use lifeboat_format::chain::{Chain, Verdict};
use lifeboat_format::id::{RunId, SnapshotId};
use lifeboat_format::layout;
use lifeboat_format::manifest::{
    Counts, Coverage, Manifest, RunResult, SCHEMA, SignedManifest, UnverifiedManifest,
};
use std::path::Path;

fn args(dir: &Path) -> AdoptArgs {
    AdoptArgs {
        change: ChangeArgs { config: dir.join("out"), json: true, ..Default::default() },
        ..Default::default()
    }
}

async fn adopt(args: &AdoptArgs) -> Result<serde_json::Value> {
    let mut out = Vec::new();
    run(args, &mut Context::new(&mut out, Color::Never)).await?;
    Ok(serde_json::from_slice(&out)?)
}

fn store(dir: &Path, side: &str) -> LocalStore {
    std::fs::create_dir_all(dir.join(side)).unwrap();
    LocalStore::below(dir.join(side), "prod", Arc::new(lifeboat_common::clock::SystemClock)).unwrap()
}

fn key(dir: &Path, name: &str) -> SigningKey {
    service_key(&dir.join("out").join(name)).unwrap()
}

/// A checkpoint: a manifest without a body.
fn manifest(seq: u64, prev: Option<Sha256>, key: &SigningKey) -> (Vec<u8>, SignedManifest) {
    let now = jiff::Timestamp::UNIX_EPOCH;
    let manifest = Manifest {
        schema: SCHEMA.to_owned(),
        cluster: "prod".parse().unwrap(),
        seq,
        id: SnapshotId([1; 16]),
        run: RunId([2; 16]),
        prev,
        charter: 1,
        features: vec![],
        origin: Sha256([3; 32]),
        started: now,
        finished: now,
        coverage: Coverage::Checkpoint,
        scopes: vec![],
        result: RunResult::Completed,
        packs: vec![],
        carry: vec![],
        log: None,
        body: None,
        primary_ttl_hours: None,
        counts: Counts::default(),
    };
    let bytes = manifest.sign(key);
    let parsed = UnverifiedManifest::parse(&bytes).unwrap();
    let signed = parsed.verify(&[key.verify_key()], &"prod".parse().unwrap(), seq).unwrap();
    (bytes, signed)
}

async fn put(store: &LocalStore, seq: u64, bytes: &[u8]) {
    let sha256 = Sha256::of(bytes).0;
    store.create(&layout::manifest(seq), bytes.to_vec().into(), sha256).await.unwrap();
}

/// Manifests 1 to `count` of the folder's agent, on one side.
async fn write_chain(dir: &Path, side: &str, count: u64) -> Vec<SignedManifest> {
    let agent = key(dir, "agent.key");
    let mut chain: Vec<SignedManifest> = Vec::new();
    for seq in 1..=count {
        let (bytes, signed) = manifest(seq, chain.last().map(|m| m.sha256), &agent);
        put(&store(dir, side), seq, &bytes).await;
        chain.push(signed);
    }
    chain
}

async fn newest(dir: &Path) -> Charter {
    let facts = Folder::load(&dir.join("out")).unwrap().facts;
    trust::charters(&store(dir, "repo"), &facts.owner, &facts.cluster)
        .await
        .unwrap()
        .last()
        .unwrap()
        .charter()
        .clone()
}

#[tokio::test]
async fn the_old_key_ends_at_the_head_and_the_new_one_begins_there() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path();
    init::init(&init::args(dir)).await.unwrap();
    let chain = write_chain(dir, "repo", 3).await;
    put(&store(dir, "repo"), 4, b"junk").await;
    let adopted = adopt(&args(dir)).await.unwrap();
    assert_eq!((adopted["head_seq"].as_u64(), adopted["charter"].as_u64()), (Some(3), Some(2)));
    assert_eq!(adopted["junk"][0], "manifests/0000000000000004.json");
    let charter = newest(dir).await;
    assert_eq!(charter.dedup_generation, 2);

    let (old, new) = (key(dir, "agent.key.1"), key(dir, "agent.key"));
    let last = Some(chain[2].sha256);
    let late = manifest(5, last, &old).1;
    let first = manifest(6, last, &new).1;
    let mut judge = Chain::new(&charter.agents, None);
    let mut verdicts: Vec<Verdict> = chain.iter().map(|m| judge.judge(m)).collect();
    verdicts.extend([judge.judge(&late), judge.judge(&first)]);
    use Verdict::{Accepted, RejectedBranch};
    assert_eq!(verdicts, [Accepted, Accepted, Accepted, RejectedBranch, Accepted]);

    let yaml = std::fs::read_to_string(dir.join("out/agent-secret.yaml")).unwrap();
    let pem = std::fs::read_to_string(dir.join("out/agent.key")).unwrap();
    assert!(yaml.contains(pem.lines().nth(1).unwrap()));
    assert!(dir.join("out/agent-secret.yaml.1").exists() && !dir.join("out/agent.key.next").exists());
}

#[tokio::test]
async fn an_intruders_backups_can_be_cut_off() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path();
    init::init(&init::args(dir)).await.unwrap();
    let chain = write_chain(dir, "repo", 3).await;
    let error = adopt(&AdoptArgs { head: Some(9), ..args(dir) }).await.unwrap_err();
    assert_eq!(crate::exit_of(&error), Exit::Usage, "{error:#}");
    adopt(&AdoptArgs { head: Some(2), ..args(dir) }).await.unwrap();
    let charter = newest(dir).await;
    let mut judge = Chain::new(&charter.agents, None);
    assert_eq!(judge.judge(&chain[0]), Verdict::Accepted);
    assert_eq!(judge.judge(&chain[1]), Verdict::Accepted);
    assert_eq!(judge.judge(&chain[2]), Verdict::RejectedBranch);
    // Once more, and earlier: the end of the first key moves too.
    adopt(&AdoptArgs { head: Some(1), ..args(dir) }).await.unwrap();
    let charter = newest(dir).await;
    let mut judge = Chain::new(&charter.agents, None);
    assert_eq!(judge.judge(&chain[0]), Verdict::Accepted);
    assert_eq!(judge.judge(&chain[1]), Verdict::RejectedBranch);
    assert_eq!(judge.judge(&manifest(4, Some(chain[0].sha256), &key(dir, "agent.key")).1), Verdict::Accepted);
}

#[tokio::test]
async fn a_gap_is_not_taken_for_the_end() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path();
    init::init(&init::args(dir)).await.unwrap();
    write_chain(dir, "repo", 3).await;
    std::fs::remove_file(dir.join("repo/prod/manifests/0000000000000002.json")).unwrap();
    let error = adopt(&args(dir)).await.unwrap_err().to_string();
    assert!(error.contains("manifest 3") && error.contains("--from-vault"), "{error}");
    assert_eq!(newest(dir).await.n, 1);
}

#[tokio::test]
async fn an_emptied_primary_takes_its_head_from_the_vault() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path();
    init::init(&init::args(dir)).await.unwrap();
    let error = format!("{:#}", adopt(&args(dir)).await.unwrap_err());
    assert!(error.contains("--no-snapshots") && error.contains("vault"), "{error}");
    let chain = write_chain(dir, "vault", 2).await;
    let epochs = store(dir, "repo").list("epochs/", None, 2).await.unwrap();
    for (folder, name) in [("charter", None), ("epochs", Some(&epochs.entries[0].key))] {
        std::fs::create_dir_all(dir.join("vault/prod").join(folder)).unwrap();
        if let Some(name) = name {
            std::fs::copy(dir.join("repo/prod").join(name), dir.join("vault/prod").join(name)).unwrap();
        }
    }
    std::fs::write(dir.join("vault/prod/charter/any"), "").unwrap();
    std::fs::remove_dir_all(dir.join("repo/prod")).unwrap();
    let adopted = adopt(&args(dir)).await.unwrap();
    assert_eq!(adopted["head_seq"].as_u64(), Some(2));
    let repo = store(dir, "repo");
    for seq in [1, 2] {
        assert!(repo.head(&layout::manifest(seq)).await.unwrap().is_some(), "the lowest free slot is above");
    }
    assert!(repo.head(&epochs.entries[0].key).await.unwrap().is_some());
    assert_eq!(newest(dir).await.agents[1].from, Some(chain[1].sha256));
}

#[tokio::test]
async fn putting_back_that_was_cut_short_is_not_taken_for_all_of_it() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path();
    init::init(&init::args(dir)).await.unwrap();
    let chain = write_chain(dir, "vault", 4).await;
    for folder in ["charter", "epochs"] {
        std::fs::create_dir_all(dir.join("vault/prod").join(folder)).unwrap();
    }
    std::fs::write(dir.join("vault/prod/charter/any"), "").unwrap();
    let (kept, repo) = (dir.join("vault/prod/manifests"), store(dir, "repo"));
    let names: Vec<String> =
        (1..=4).map(|seq| layout::manifest(seq)[layout::MANIFESTS.len()..].to_owned()).collect();
    // Junk had slot 3, so the vault has nothing for it, and the fourth manifest follows the second.
    std::fs::remove_file(kept.join(&names[2])).unwrap();
    std::fs::remove_file(kept.join(&names[3])).unwrap();
    let (bytes, head) = manifest(4, Some(chain[1].sha256), &key(dir, "agent.key"));
    put(&store(dir, "vault"), 4, &bytes).await;
    put(&repo, 4, &bytes).await;
    let error = adopt(&args(dir)).await.unwrap_err().to_string();
    assert!(error.contains("--from-vault"), "{error}");
    let vault = format!("file://{}", dir.join("vault").display());
    let adopted = adopt(&AdoptArgs { from_vault: Some(vault.parse().unwrap()), ..args(dir) }).await.unwrap();
    assert_eq!(adopted["head_seq"].as_u64(), Some(4));
    for seq in 1..=4 {
        assert!(repo.head(&layout::manifest(seq)).await.unwrap().is_some(), "slot {seq} is free");
    }
    assert_eq!(newest(dir).await.agents[1].from, Some(head.sha256));
}

#[tokio::test]
async fn a_run_that_was_cut_short_is_finished() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path();
    init::init(&init::args(dir)).await.unwrap();
    write_chain(dir, "repo", 1).await;
    let before: Vec<(String, Vec<u8>)> = ["agent.key", "charter.json", "agent-secret.yaml"]
        .map(|name| (name.to_owned(), std::fs::read(dir.join("out").join(name)).unwrap()))
        .into();
    adopt(&args(dir)).await.unwrap();
    // As after a crash right behind the charter.
    let out = dir.join("out");
    std::fs::rename(out.join("agent.key"), out.join("agent.key.next")).unwrap();
    for (name, bytes) in &before {
        std::fs::remove_file(out.join(format!("{name}.1"))).unwrap();
        let _ = std::fs::remove_file(out.join(name));
        keys::write_new(&out.join(name), bytes).unwrap();
    }
    let error = crate::commands::rotate::tests::rotate_in(dir).await.unwrap_err();
    assert!(error.to_string().contains("finish `lifeboat adopt`"), "{error:#}");
    let adopted = adopt(&args(dir)).await.unwrap();
    assert_eq!((adopted["resumed"].as_bool(), adopted["charter"].as_u64()), (Some(true), Some(2)));
    assert_eq!(newest(dir).await.agents[1].key, key(dir, "agent.key").verify_key());
    assert!(crate::commands::rotate::tests::rotate_in(dir).await.is_ok());
}

#[tokio::test]
async fn the_old_credential_is_not_used_again() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path();
    let credentials = |name: &str, id: &str| {
        let text = format!("[default]\naws_access_key_id = {id}\naws_secret_access_key = S\n");
        keys::write_new(&dir.join(name), text.as_bytes()).unwrap();
        Some(dir.join(name))
    };
    let first = init::args(dir);
    let first = crate::commands::init::InitArgs { agent_credentials: credentials("old", "OLD"), ..first };
    init::init(&first).await.unwrap();
    let secret = || std::fs::read_to_string(dir.join("out/agent-secret.yaml")).unwrap();
    assert!(secret().contains("OLD"));
    adopt(&AdoptArgs { no_snapshots: true, ..args(dir) }).await.unwrap();
    assert!(!secret().contains("OLD") && dir.join("out/agent.credentials.1").exists());
    assert_eq!(newest(dir).await.agents.len(), 1);
    let again = AdoptArgs { no_snapshots: true, agent_credentials: credentials("new", "NEW"), ..args(dir) };
    adopt(&again).await.unwrap();
    assert!(secret().contains("NEW"));
}
