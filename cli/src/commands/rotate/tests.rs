//! Tests of `rotate`, after an `init` on a store in a directory.

use super::*;
use crate::commands::init::tests as init;
use lifeboat_common::config::load;
use lifeboat_common::store::LocalStore;
use lifeboat_common::telemetry::Color;
use lifeboat_common::trust;
use lifeboat_format::charter::TrustedCharter;
use std::path::Path;
use std::sync::Arc;

fn args(dir: &Path) -> RotateArgs {
    RotateArgs {
        change: ChangeArgs { config: dir.join("out"), json: true, ..Default::default() },
        ..Default::default()
    }
}

async fn rotate(args: &RotateArgs) -> Result<serde_json::Value> {
    let mut out = Vec::new();
    run(args, &mut Context::new(&mut out, Color::Never)).await?;
    Ok(serde_json::from_slice(&out)?)
}

/// A routine rotation, for other commands' tests.
pub(crate) async fn rotate_in(dir: &Path) -> Result<serde_json::Value> {
    rotate(&args(dir)).await
}

fn store(dir: &Path) -> LocalStore {
    LocalStore::below(dir.join("repo"), "prod", Arc::new(lifeboat_common::clock::SystemClock)).unwrap()
}

async fn charters(dir: &Path) -> Vec<TrustedCharter> {
    let folder = Folder::load(&dir.join("out")).unwrap();
    trust::charters(&store(dir), &folder.facts.owner, &folder.facts.cluster).await.unwrap()
}

use crate::folder::Folder;

fn identity(path: &Path) -> Identities {
    keys::identity(path, &PassphraseSource::default()).unwrap().identities
}

/// One more administrator's recipient, with the identity in `dir/other.txt`.
fn other(dir: &Path) -> Recipient {
    let (file, recipient) = keys::new_identity(None, Timestamp::UNIX_EPOCH);
    keys::write_new(&dir.join("other.txt"), file.as_bytes()).unwrap();
    recipient.parse().unwrap()
}

async fn opens(dir: &Path, name: &str) -> Vec<bool> {
    let identities = identity(&dir.join(name));
    let mut all = Vec::new();
    for epoch in &charters(dir).await.last().unwrap().charter().epochs {
        all.push(open(&store(dir), epoch, &identities).await.is_ok());
    }
    all
}

#[tokio::test]
async fn a_routine_rotation_adds_an_epoch_and_keeps_the_old() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path();
    init::init(&init::args(dir)).await.unwrap();
    let secret = std::fs::read(dir.join("out/agent-secret.yaml")).unwrap();
    for n in 2..4 {
        let rotated = rotate(&args(dir)).await.unwrap();
        assert_eq!((rotated["charter"].as_u64(), rotated["epoch"].as_u64()), (Some(n), Some(n)));
    }
    assert_eq!(opens(dir, "out/identity.txt").await, [true, true, true]);
    let chain = charters(dir).await;
    assert_eq!(chain.last().unwrap().charter().dedup_generation, 1);
    let folder = Folder::load(&dir.join("out")).unwrap();
    let local =
        lifeboat_format::charter::trusted_chain(&folder.charters, &folder.facts.owner, &folder.facts.cluster);
    assert_eq!(local.unwrap(), chain);
    let kept = std::fs::read(dir.join("out/agent-secret.yaml.1")).unwrap();
    assert!(kept == secret && kept != std::fs::read(dir.join("out/agent-secret.yaml")).unwrap());
    assert!(dir.join("out/charter.json.1").exists() && dir.join("out/charter.json.2").exists());
    assert!(load::<lifeboat_common::config::AgentConfig>(&dir.join("out/agent.toml")).is_ok());
}

#[tokio::test]
async fn somebody_new_can_open_what_was_there_before() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path();
    init::init(&init::args(dir)).await.unwrap();
    rotate(&args(dir)).await.unwrap();
    let mut recipients = Folder::load(&dir.join("out")).unwrap().recipients;
    recipients.push(other(dir));
    let rotated = rotate(&RotateArgs { recipients, ..args(dir) }).await.unwrap();
    assert_eq!(
        (rotated["new_epoch"].as_bool(), rotated["resealed"].as_array().unwrap().len()),
        (Some(false), 2)
    );
    assert_eq!(opens(dir, "other.txt").await, [true, true]);
    rotate(&args(dir)).await.unwrap();
    assert_eq!(opens(dir, "other.txt").await, [true, true, true]);
    assert_eq!(opens(dir, "out/identity.txt").await, [true, true, true]);
}

#[tokio::test]
async fn removal_needs_fresh_and_takes_nothing_back() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path();
    init::init(&init::args(dir)).await.unwrap();
    let recipients = vec![other(dir)];
    let error = rotate(&RotateArgs { recipients: recipients.clone(), ..args(dir) }).await.unwrap_err();
    assert_eq!(crate::exit_of(&error), Exit::Usage);
    assert!(error.to_string().contains("--fresh"), "{error}");
    assert_eq!(charters(dir).await.len(), 1);
    let rotated = rotate(&RotateArgs { recipients, fresh: true, ..args(dir) }).await.unwrap();
    assert_eq!((rotated["dedup_generation"].as_u64(), rotated["epoch"].as_u64()), (Some(2), Some(2)));
    assert_eq!(opens(dir, "out/identity.txt").await, [true, false]);
    assert_eq!(opens(dir, "other.txt").await, [true, true]);
}

#[tokio::test]
async fn a_charter_that_only_one_side_has_is_brought_to_the_other() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path();
    init::init(&init::args(dir)).await.unwrap();
    let before = std::fs::read(dir.join("out/charter.json")).unwrap();
    rotate(&args(dir)).await.unwrap();
    // Cut short after the charter was put: the folder is behind.
    std::fs::write(dir.join("out/charter.json"), &before).unwrap();
    assert_eq!(rotate(&args(dir)).await.unwrap()["charter"], 3);
    // The store hides the newest one.
    let newest = store(dir).list("charter/3-", None, 1).await.unwrap();
    std::fs::remove_file(dir.join("repo/prod").join(&newest.entries[0].key)).unwrap();
    assert_eq!(rotate(&args(dir)).await.unwrap()["charter"], 4);
    assert_eq!(charters(dir).await.len(), 4);
}

#[tokio::test]
async fn only_an_owner_signs() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path();
    init::init(&init::args(dir)).await.unwrap();
    let mut wrong = args(dir);
    wrong.change.owner_keys = vec![dir.join("out/agent.key")];
    let error = rotate(&wrong).await.unwrap_err();
    assert_eq!(crate::exit_of(&error), Exit::Usage, "{error:#}");
    assert_eq!(charters(dir).await.len(), 1);
}
