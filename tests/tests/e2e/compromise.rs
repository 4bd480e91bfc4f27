//! What an attacker has who owns the cluster: the agent's Secrets, its state, every right of its store credential. No
//! content of a committed snapshot opens with it, nothing can be learned of snapshots older than the last three, and a
//! forged vault is refused. Promises 1 and 2 of the design.

use crate::inprocess::namespace;
use crate::world::{World, files, kubeconfig};
use std::path::Path;

/// Every byte string of key size in the attacker's files: raw windows, and what base64 or hexadecimal in them hides.
fn candidate_keys(folder: &Path) -> Vec<[u8; 32]> {
    use base64::Engine as _;
    let mut out = Vec::new();
    let mut take = |bytes: &[u8]| out.extend(bytes.windows(32).filter_map(|w| <[u8; 32]>::try_from(w).ok()));
    for file in files(folder) {
        let bytes = std::fs::read(file).unwrap();
        take(&bytes);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        for word in text.split(|c: char| !(c.is_ascii_alphanumeric() || "+/=".contains(c))) {
            if let Ok(decoded) = base64::engine::general_purpose::STANDARD.decode(word) {
                take(&decoded);
            }
            if let Ok(decoded) = hex::decode(word) {
                take(&decoded);
            }
        }
    }
    out.sort_unstable();
    out.dedup();
    out
}

/// What an agent holds, and nothing of an administrator or a replicator.
fn loot(world: &World) -> tempfile::TempDir {
    let loot = tempfile::tempdir().unwrap();
    for name in ["agent.toml", "agent.key", "charter.json", "agent-secret.yaml", "state/prod.cbor"] {
        std::fs::copy(world.admin().join(name), loot.path().join(name.replace('/', "-"))).unwrap();
    }
    loot
}

#[test]
fn the_cluster_holds_nothing_that_opens_a_snapshot() {
    use lifeboat_format::crypto::derive::{PackKey, RunKey, Secret32};
    use lifeboat_format::pack::{Header, Trailer};
    namespace("loot", 10);
    let world = World::file();
    for _ in 0..5 {
        world.backup(kubeconfig(), &["--namespace", "loot"]).expect(0);
    }
    let loot = loot(&world);
    let keys = candidate_keys(loot.path());
    assert!(keys.len() > 1000);
    for pack in files(&world.primary().join("packs")) {
        let bytes = std::fs::read(&pack).unwrap();
        let header = Header::parse(&bytes).unwrap();
        let trailer = Trailer::parse(&bytes[bytes.len() - 4..], bytes.len() as u64, &header).unwrap();
        for key in &keys {
            let secret = || Secret32::new(*key);
            for pack_key in [RunKey(secret()).pack_key(&header.handle), PackKey(secret())] {
                let sealed = trailer.of(&bytes).to_vec();
                assert!(header.open_directory(&pack_key, &trailer, sealed).is_err(), "{}", pack.display());
            }
        }
    }
    for file in files(loot.path()) {
        let text = String::from_utf8_lossy(&std::fs::read(&file).unwrap()).into_owned();
        assert!(!text.contains("AGE-SECRET-KEY"), "{}", file.display());
    }
}

#[test]
fn the_logs_that_the_cluster_can_open_reach_three_snapshots_back() {
    use lifeboat_format::crypto::derive::Secret32;
    use lifeboat_format::send_log;
    namespace("logs", 10);
    let world = World::file();
    let mut roots = Vec::new();
    for _ in 0..5 {
        let before = files(&world.primary().join("agent"));
        world.backup(kubeconfig(), &["--namespace", "logs"]).expect(0);
        let new = files(&world.primary().join("agent")).into_iter().filter(|f| !before.contains(f));
        roots.push(new.collect::<Vec<_>>());
    }
    let keys = candidate_keys(loot(&world).path());
    let opens = |file: &std::path::PathBuf| {
        let bytes = std::fs::read(file).unwrap();
        keys.iter().any(|k| send_log::open_root(&Secret32::new(*k), &bytes).is_ok())
    };
    let opened: Vec<bool> = roots.iter().map(|files| files.iter().any(opens)).collect();
    assert_eq!(opened, [false, false, true, true, true]);
}

#[test]
fn no_name_is_in_clear_anywhere() {
    namespace("visible-namespace", 5);
    let world = World::file();
    world.backup(kubeconfig(), &["--namespace", "visible-namespace"]).expect(0);
    world.pull().expect(0);
    for file in files(&world.primary()).into_iter().chain(files(&world.vault())) {
        let bytes = std::fs::read(&file).unwrap();
        let found =
            bytes.windows(17).any(|w| w == b"visible-namespace") || bytes.windows(7).any(|w| w == b"hunter2");
        assert!(!found, "{}", file.display());
    }
}

#[test]
fn a_forged_vault_is_refused() {
    namespace("forged", 5);
    let (world, forged) = (World::file(), World::file());
    for w in [&world, &forged] {
        w.backup(kubeconfig(), &["--namespace", "forged"]).expect(0);
        w.pull().expect(0);
    }
    // The attacker's vault is perfectly sound, under an owner, a charter and an agent of its own.
    let identity = world.admin().join("identity.txt");
    let place = format!("file://{}", forged.vault().display());
    let config = kubeconfig().to_str().unwrap();
    let place = ["--repo", &place, "--identity", identity.to_str().unwrap()];
    for command in [
        &["restore", "latest", "--kubeconfig", config, "--yes"][..],
        &["extract", "latest", "--to", "out"],
        &["cat", "latest", "objects/forged/configmap/c0000.yaml"],
        &["verify"],
    ] {
        let ran = world.lifeboat(&[command, &place].concat());
        assert_ne!(ran.code, 0, "{command:?}: {}", ran.said());
        assert!(ran.stderr.contains("owner") || ran.stderr.contains("signed"), "{command:?}: {}", ran.stderr);
    }
    assert!(!world.folder().join("out").exists() || files(&world.folder().join("out")).is_empty());
}
