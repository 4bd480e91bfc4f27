//! Tests of `init`, on a store in a directory.

use super::*;
use crate::folder::Folder;
use lifeboat_common::config::{AgentConfig, ReplicatorConfig, load};
use lifeboat_common::keys::{self, PassphraseSource};
use lifeboat_common::telemetry::Color;
use lifeboat_common::trust;
use lifeboat_format::epoch::open_epoch;
use lifeboat_format::layout;
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// The arguments of an unprotected init below `dir`.
pub(crate) fn args(dir: &Path) -> InitArgs {
    let url = |name: &str| format!("file://{}", dir.join(name).display()).parse().unwrap();
    InitArgs {
        repo: url("repo"),
        cluster: "prod".parse().unwrap(),
        vault: url("vault"),
        out: dir.join("out"),
        recipients: vec![],
        protect: ProtectArgs { unprotected: true, passphrase_file: None },
        agent_credentials: None,
        json: true,
        s3: S3Args::default(),
    }
}

/// Runs an init; what it printed.
pub(crate) async fn init(args: &InitArgs) -> Result<serde_json::Value> {
    let mut out = Vec::new();
    run(args, &mut Context::new(&mut out, Color::Never)).await?;
    Ok(serde_json::from_slice(&out)?)
}

fn message(error: &anyhow::Error) -> String {
    format!("{error:#}")
}

fn store(args: &InitArgs) -> lifeboat_common::store::LocalStore {
    let clock = Arc::new(lifeboat_common::clock::SystemClock);
    lifeboat_common::store::LocalStore::below(args.repo.directory().unwrap(), "prod", clock).unwrap()
}

#[tokio::test]
async fn everything_is_there_private_and_loads_back() {
    let dir = tempfile::tempdir().unwrap();
    let args = args(dir.path());
    let printed = init(&args).await.unwrap();
    assert_eq!(std::fs::metadata(&args.out).unwrap().permissions().mode() & 0o777, 0o700);
    let mut names: Vec<String> = Vec::new();
    for entry in std::fs::read_dir(&args.out).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", entry.file_name());
        names.push(entry.file_name().into_string().unwrap());
    }
    names.sort();
    let expected = [
        "NEXT-STEPS.md",
        "agent-secret.yaml",
        "agent.key",
        "agent.toml",
        "charter.json",
        "identity.txt",
        "owner.key",
        "receipt.key",
        "recipients.txt",
        "replicator.toml",
        "repository.toml",
    ];
    assert_eq!(names, expected);
    let facts: RepositoryConfig = load(&args.out.join("repository.toml")).unwrap();
    let agent: AgentConfig = load(&args.out.join("agent.toml")).unwrap();
    let replicator: ReplicatorConfig = load(&args.out.join("replicator.toml")).unwrap();
    assert_eq!(facts.owner.to_string(), printed["owner"].as_str().unwrap());
    assert_eq!((facts.owner, &facts.vault), (agent.owner, &Some(replicator.vault)));
    assert_eq!((&agent.repo, &agent.state), (&args.repo, &args.out.join("state")));
    let source = &replicator.sources[0];
    assert_eq!((source.owner, source.cluster.as_str()), (facts.owner, "prod"));

    let charters = trust::charters(&store(&args), &facts.owner, &facts.cluster).await.unwrap();
    let charter = charters[0].charter();
    let key = |path: &Path| keys::service_key(path).unwrap().verify_key();
    assert_eq!(charter.agents[0].key, key(&agent.signing_key));
    assert_eq!(charter.receipt_key, key(&source.receipt_key));
    let owner = keys::owner_key(&args.out.join("owner.key"), &PassphraseSource::default()).unwrap();
    assert_eq!(charter.owners, [owner.verify_key()]);
    let local = lifeboat_format::charter::trusted_chain(
        &Folder::load(&args.out).unwrap().charters,
        &facts.owner,
        &facts.cluster,
    );
    assert_eq!(local.unwrap(), charters);

    let identity = keys::identity(&args.out.join("identity.txt"), &PassphraseSource::default()).unwrap();
    assert_eq!(identity.owner, Some(facts.owner.to_string()));
    let epoch = &charter.epochs[0];
    let sealed = store(&args).get(&layout::epoch(1, &epoch.sealed_sha256[0]), 1 << 16).await.unwrap();
    assert_eq!(open_epoch(&sealed, &identity.identities).unwrap().recipient(), epoch.recipient);
}

use lifeboat_common::store::ReadStore as _;

#[tokio::test]
async fn nothing_that_is_there_is_touched() {
    let dir = tempfile::tempdir().unwrap();
    let first = args(dir.path());
    init(&first).await.unwrap();
    let owner = std::fs::read(first.out.join("owner.key")).unwrap();
    let same_folder = InitArgs { cluster: "other".parse().unwrap(), ..args(dir.path()) };
    assert!(message(&init(&same_folder).await.unwrap_err()).contains("exists already"));
    let same_cluster = InitArgs { out: dir.path().join("out2"), ..args(dir.path()) };
    let error = init(&same_cluster).await.unwrap_err();
    assert!(
        message(&error).contains("already has a charter") && message(&error).contains("rotate"),
        "{error:#}"
    );
    assert_eq!(crate::exit_of(&error), Exit::Usage);
    assert_eq!(std::fs::read(first.out.join("owner.key")).unwrap(), owner);
    assert!(!dir.path().join("out2").exists() && !dir.path().join("out2.unfinished").exists());
    assert_eq!(store(&first).list("charter/", None, 10).await.unwrap().entries.len(), 1);
    let inside = InitArgs {
        vault: first.repo.join("vault"),
        cluster: "x".parse().unwrap(),
        out: dir.path().join("o3"),
        ..args(dir.path())
    };
    assert!(message(&init(&inside).await.unwrap_err()).contains("inside"));
}

#[tokio::test]
async fn a_run_that_was_cut_short_is_finished() {
    let dir = tempfile::tempdir().unwrap();
    let args = args(dir.path());
    init(&args).await.unwrap();
    // As after a crash between charter and rename …
    std::fs::rename(&args.out, dir.path().join("out.unfinished")).unwrap();
    let epochs = store(&args).list("epochs/", None, 2).await.unwrap();
    let sealed = store(&args).get(&epochs.entries[0].key, 1 << 16).await.unwrap();
    std::fs::write(dir.path().join("out.unfinished/epoch.age"), &sealed).unwrap();
    let other = InitArgs { cluster: "other".parse().unwrap(), ..self::args(dir.path()) };
    assert!(message(&init(&other).await.unwrap_err()).contains("unfinished init of cluster prod"));
    let again = init(&args).await.unwrap();
    assert_eq!(again["resumed"], true);
    // … and before the charter, with the folder complete …
    std::fs::rename(&args.out, dir.path().join("out.unfinished")).unwrap();
    std::fs::write(dir.path().join("out.unfinished/epoch.age"), &sealed).unwrap();
    std::fs::remove_dir_all(args.repo.directory().unwrap()).unwrap();
    init(&args).await.unwrap();
    assert_eq!(store(&args).list("charter/", None, 10).await.unwrap().entries.len(), 1);
    // … and with the folder incomplete: its keys were never used.
    std::fs::rename(&args.out, dir.path().join("out.unfinished")).unwrap();
    std::fs::remove_file(dir.path().join("out.unfinished/NEXT-STEPS.md")).unwrap();
    std::fs::remove_dir_all(args.repo.directory().unwrap()).unwrap();
    let fresh = init(&args).await.unwrap();
    assert_eq!(fresh["resumed"], false);
    assert_ne!(fresh["owner"], again["owner"]);
    assert!(!dir.path().join("out.unfinished").exists() && !args.out.join("epoch.age").exists());
}

#[tokio::test]
async fn recipients_and_credentials_are_taken_as_given() {
    let dir = tempfile::tempdir().unwrap();
    let credentials = dir.path().join("cred");
    keys::write_new(&credentials, b"[default]\naws_access_key_id = A\naws_secret_access_key = S\n").unwrap();
    let (file, recipient) = keys::new_identity(None, jiff::Timestamp::UNIX_EPOCH);
    let args = InitArgs {
        recipients: vec![recipient.parse().unwrap()],
        agent_credentials: Some(credentials.clone()),
        ..args(dir.path())
    };
    let printed = init(&args).await.unwrap();
    assert_eq!(printed["recipients"][0], recipient.as_str());
    assert!(!args.out.join("identity.txt").exists());
    let yaml = std::fs::read_to_string(args.out.join("agent-secret.yaml")).unwrap();
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Secret {
        metadata: BTreeMap<String, String>,
        string_data: BTreeMap<String, String>,
    }
    let secret: Secret = serde_saphyr::from_str(&yaml).unwrap();
    assert_eq!(
        (secret.metadata["name"].as_str(), secret.metadata["namespace"].as_str()),
        ("lifeboat-agent", "lifeboat")
    );
    // What the Secret holds works where it is mounted.
    let mounted = dir.path().join("mounted");
    keys::make_folder(&mounted).unwrap();
    for (name, text) in &secret.string_data {
        keys::write_new(&mounted.join(name), text.as_bytes()).unwrap();
    }
    let config: AgentConfig = load(&mounted.join("agent.toml")).unwrap();
    assert_eq!(
        std::fs::read(config.s3.credentials_file.unwrap()).unwrap(),
        std::fs::read(&credentials).unwrap()
    );
    assert_eq!(
        std::fs::read(&config.charter).unwrap(),
        std::fs::read(args.out.join("charter.json")).unwrap()
    );
    assert!(keys::service_key(&config.signing_key).is_ok());
    for private in ["owner.key", "receipt.key"] {
        let key = std::fs::read_to_string(args.out.join(private)).unwrap();
        assert!(!yaml.contains(key.lines().nth(1).unwrap()), "{private} is in the Secret");
    }
    assert!(!yaml.contains("AGE-SECRET-KEY") && file.contains("AGE-SECRET-KEY"));
}

#[tokio::test]
async fn without_a_passphrase_nothing_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("passphrase");
    keys::write_new(&file, b"\n").unwrap();
    let protect = ProtectArgs { passphrase_file: Some(file), unprotected: false };
    let args = InitArgs { protect, ..args(dir.path()) };
    let error = init(&args).await.unwrap_err();
    assert_eq!(crate::exit_of(&error), Exit::Usage, "{error:#}");
    assert!(!dir.path().join("repo").exists() && !args.out.exists());
}

#[test]
fn protected_keys_open_with_the_passphrase() {
    let dir = tempfile::tempdir().unwrap();
    let args = args(dir.path());
    let protection = keys::Protection::cheap(secrecy::SecretString::from("sesame"));
    let files = make::make(&plan(&args).unwrap(), &protection, jiff::Timestamp::UNIX_EPOCH).unwrap();
    let passphrase = dir.path().join("passphrase");
    keys::write_new(&passphrase, b"sesame\n").unwrap();
    let source = PassphraseSource::new(Some(passphrase));
    for (name, bytes) in &files {
        keys::write_new(&dir.path().join(name), bytes).unwrap();
    }
    let owner = keys::owner_key(&dir.path().join("owner.key"), &source).unwrap();
    let identity = keys::identity(&dir.path().join("identity.txt"), &source).unwrap();
    assert_eq!(identity.owner, Some(owner.verify_key().to_string()));
    assert!(
        keys::owner_key(&dir.path().join("owner.key"), &PassphraseSource::new(Some(dir.path().join("none"))))
            .is_err()
    );
    assert_eq!(files.last().unwrap().0, "NEXT-STEPS.md", "it marks the folder as whole");
}
