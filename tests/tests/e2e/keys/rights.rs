//! Rights on a real S3 server, a user for each role of design.md: what a credential may not do is refused, everything
//! works with what is left, and `lifeboat probe` says what is enforced and what is only promised.

use super::text;
use crate::inprocess::namespace;
use crate::world::{Ran, World, files, kubeconfig};
use lifeboat_tests::harness::s3::S3Server;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The rights of each credential, for a bucket `box` with a repository under `backups/`.
fn policy() -> String {
    let object = |folder: &str| format!("arn:aws:s3:::box/backups/prod/{folder}");
    let allow = |who: &str, actions: &[&str], resources: &[String]| {
        serde_json::json!({
            "Effect": "Allow", "Principal": {"AWS": [who]},
            "Action": actions.iter().map(|a| format!("s3:{a}")).collect::<Vec<_>>(), "Resource": resources,
        })
    };
    // A listing of anything but its own cluster is not the agent's.
    let own = |who: &str| {
        let mut list = allow(who, &["ListBucket"], &["arn:aws:s3:::box".to_owned()]);
        list["Condition"] = serde_json::json!({"StringLike": {"s3:prefix": "backups/prod/*"}});
        list
    };
    let all = [object("*")];
    let bucket = ["arn:aws:s3:::box".to_owned()];
    let puts = ["packs/*", "lists/*", "manifests/*", "agent/*"].map(object);
    let public = ["charter/*", "epochs/*"].map(object);
    let statements = [
        allow("agent", &["PutObject"], &puts),
        allow("agent", &["GetObject"], &all),
        own("agent"),
        allow("replicator", &["GetObject", "GetObjectVersion"], &all),
        allow("replicator", &["ListBucket", "ListBucketVersions"], &bucket),
        allow("admin", &["PutObject"], &public),
        allow("admin", &["GetObject"], &all),
        allow("admin", &["ListBucket"], &bucket),
    ];
    serde_json::json!({"Version": "2012-10-17", "Statement": statements}).to_string()
}

/// A bucket with versions, and a user for each role.
fn guarded() -> S3Server {
    let server = S3Server::versitygw().unwrap();
    server.create_bucket("box").unwrap();
    server.enable_versioning("box").unwrap();
    for user in ["agent", "replicator", "admin"] {
        server.create_user(user, &format!("the secret of {user}")).unwrap();
    }
    server.put_bucket_policy("box", &policy()).unwrap();
    server
}

/// Puts as a user, with the condition that every program of ours sends; whether the store took it.
fn put(server: &S3Server, user: &str, key: &str) -> bool {
    let request = server.client(user).unwrap().put_object().bucket("box").if_none_match("*");
    let request = request.key(format!("backups/prod/{key}")).body(b"x".to_vec().into());
    block_on(request.send()).is_ok()
}

fn delete(server: &S3Server, user: &str, key: &str) -> bool {
    let request = server.client(user).unwrap().delete_object().bucket("box");
    block_on(request.key(format!("backups/prod/{key}")).send()).is_ok()
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

/// Every file of the store, old versions included.
fn content(server: &S3Server) -> BTreeMap<PathBuf, Vec<u8>> {
    let data = server.data_folder();
    let all = files(&data.parent().unwrap().join("versions")).into_iter().chain(files(&data.join("box")));
    all.filter(|f| f.is_file()).map(|f| (f.clone(), std::fs::read(&f).unwrap())).collect()
}

/// Inits as the administrator, and gives agent and replicator the credentials of their own.
fn guarded_world(server: &S3Server) -> (World, String) {
    let world = World::file();
    let admin = world.folder().join("guarded");
    let (endpoint, credential) = (server.endpoint(), server.credentials_file("admin").unwrap());
    let vault = world.folder().join("guarded-vault");
    std::fs::create_dir(&vault).unwrap();
    let vault = format!("file://{}", vault.display());
    let place = ["init", "--repo", "s3://box/backups", "--cluster", "prod", "--vault", &vault];
    let as_admin = ["--s3-endpoint", &endpoint, "--credentials-file", text(&credential), "--unprotected"];
    world.lifeboat(&[&place[..], &as_admin, &["--out", text(&admin)]].concat()).expect(0);
    for (file, table, user) in
        [("agent.toml", "[s3]", "agent"), ("replicator.toml", "[source.s3]", "replicator")]
    {
        let (path, credential) = (admin.join(file), server.credentials_file(user).unwrap());
        let line = format!("{table}\ncredentials_file = \"{}\"\n", credential.display());
        let settings = std::fs::read_to_string(&path).unwrap();
        assert!(settings.contains(&format!("{table}\n")), "{settings}");
        std::fs::write(&path, settings.replacen(&format!("{table}\n"), &line, 1)).unwrap();
    }
    (world, text(&admin).to_owned())
}

#[test]
fn each_credential_has_its_rights_and_probe_says_which_are_enforced() {
    namespace("rights", 2);
    let server = guarded();
    let (world, admin) = guarded_world(&server);
    let config = |name: &str| format!("{admin}/{name}");
    let agent = config("agent.toml");
    let backup = ["backup", "--namespace", "rights", "--kubeconfig", text(kubeconfig()), "--config", &agent];
    world.run("lifeboat-agent", &backup).expect(0);
    let pull = ["pull", "--once", "--config", &config("replicator.toml")];
    world.run("lifeboat-replicator", &pull).expect(0);

    let before = content(&server);
    let there = server.list_objects("box", "backups/prod/").unwrap();
    for key in ["packs/00/0", "lists/0", "manifests/0000000000000002.json", "agent/0"] {
        for user in ["replicator", "admin"] {
            assert!(!put(&server, user, key), "{user} {key}");
        }
    }
    for key in ["charter/2-0.json", "epochs/2-0.age", "lost/0", "forgotten/1-0", "elsewhere"] {
        for user in ["agent", "replicator"] {
            assert!(!put(&server, user, key), "{user} {key}");
        }
    }
    for key in there.iter().map(|key| key.strip_prefix("backups/prod/").unwrap()) {
        for user in ["agent", "replicator", "admin"] {
            assert!(!delete(&server, user, key), "{user} {key}");
        }
    }
    assert_eq!(content(&server), before);

    let probed = probe(&world, &server, &admin, &["--json"]).expect(0).json();
    assert_eq!((&probed["schema"], &probed["sound"]), (&"lifeboat/probe/1".into(), &true.into()));
    check_verdicts(&probed);
    let table = probe(&world, &server, &admin, &[]).expect(0).stdout;
    let has = |words: &[&str]| table.lines().any(|line| words.iter().all(|w| line.contains(w)));
    assert!(has(&["store", "create the same key twice", "enforced"]), "{table}");
    assert!(has(&["agent", "overwrite", "promised", "s3:if-none-match"]), "{table}");
    assert!(has(&["agent", "delete", "enforced"]) && has(&["replicator", "delete", "enforced"]), "{table}");
    assert_eq!(probe(&world, &server, &admin, &["--strict"]).code, 3, "create-only is only promised here");

    let after = content(&server);
    for (file, bytes) in &before {
        assert_eq!(after.get(file), Some(bytes), "{}", file.display());
    }
    for (file, bytes) in after.iter().filter(|(file, _)| !before.contains_key(*file)) {
        assert!(bytes.starts_with(b"lifeboat probe canary"), "{}", file.display());
    }
    world.run("lifeboat-agent", &backup).expect(0);
    world.run("lifeboat-replicator", &pull).expect(0);
}

fn probe(world: &World, server: &S3Server, admin: &str, more: &[&str]) -> Ran {
    let file = |user: &str| text(&server.credentials_file(user).unwrap()).to_owned();
    let (agent, replicator, own) = (file("agent"), file("replicator"), file("admin"));
    let place = ["probe", "--config", admin, "--credentials-file", &own];
    let others = ["--agent-credentials", &agent, "--replicator-credentials", &replicator];
    world.lifeboat(&[&place[..], &others, more].concat())
}

fn check_verdicts(probed: &Value) {
    let checks = probed["checks"].as_array().unwrap();
    let verdict = |credential: &str, right: &str| {
        let row = checks.iter().find(|row| row["credential"] == credential && row["right"] == right);
        let row = row.unwrap_or_else(|| panic!("no row for {credential}: {right}: {probed:#}"));
        row["verdict"].as_str().unwrap().to_owned()
    };
    assert_eq!(verdict("store", "create the same key twice"), "enforced");
    assert_eq!(verdict("store", "Date and Last-Modified are one clock"), "ok");
    for folder in ["packs/", "lists/", "manifests/", "agent/"] {
        let create = format!("create under {folder}");
        assert_eq!(verdict("agent", &create), "ok", "{folder}");
        for other in ["replicator", "administrator"] {
            assert_eq!(verdict(other, &create), "enforced", "{other} {folder}");
        }
    }
    for folder in ["charter/", "epochs/"] {
        let create = format!("create under {folder}");
        assert_eq!(verdict("administrator", &create), "ok", "{folder}");
        for other in ["agent", "replicator"] {
            assert_eq!(verdict(other, &create), "enforced", "{other} {folder}");
        }
    }
    for role in ["agent", "replicator", "administrator"] {
        for (right, wanted) in [("list", "ok"), ("get", "ok"), ("delete", "enforced")] {
            assert_eq!(verdict(role, right), wanted, "{role} {right}");
        }
    }
    assert_eq!(verdict("replicator", "list versions"), "ok");
    assert_eq!(verdict("agent", "list outside of its cluster"), "enforced");
    // This server's policies do not know the condition that every create is sent with.
    assert_eq!(verdict("agent", "overwrite"), "promised");
    assert_eq!(verdict("replicator", "overwrite"), "enforced");
}
