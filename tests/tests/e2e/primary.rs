//! The primary's retention, its collector and healing on a real S3 server with versions, each role with a credential of its own:
//! what a role may not do is refused, what is old and unneeded goes for good, and what somebody altered comes back.

use crate::tree::backup_path;
use crate::world::{World, files};
use jiff::SignedDuration;
use lifeboat_common::clock::{Clock, ManualClock, SystemClock};
use lifeboat_common::config::ReplicatorConfig;
use lifeboat_common::progress::Mode;
use lifeboat_format::id::Sha256;
use lifeboat_format::layout;
use lifeboat_replicator::alarm::AlarmKind;
use lifeboat_replicator::primary::{Pass, Roles};
use lifeboat_replicator::replicate::Outcome;
use lifeboat_replicator::retain::Retainer;
use lifeboat_replicator::setup::{self, Options};
use lifeboat_replicator::source;
use lifeboat_replicator::vault::Work;
use lifeboat_tests::harness::s3::{Kind, Options as ServerOptions, S3Server};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const USERS: [&str; 6] = ["agent", "replicator", "admin", "marker", "retain", "heal"];

fn policy() -> String {
    let object = |folder: &str| format!("arn:aws:s3:::box/backups/prod/{folder}");
    let allow = |who: &str, actions: &[&str], resources: &[String]| {
        serde_json::json!({
            "Effect": "Allow", "Principal": {"AWS": [who]},
            "Action": actions.iter().map(|a| format!("s3:{a}")).collect::<Vec<_>>(), "Resource": resources,
        })
    };
    let (all, bucket) = ([object("*")], ["arn:aws:s3:::box".to_owned()]);
    let data = ["packs/*", "lists/*", "agent/*"].map(object);
    let mut statements = vec![
        allow("agent", &["PutObject"], &["packs/*", "lists/*", "manifests/*", "agent/*"].map(object)),
        allow("admin", &["PutObject"], &["charter/*", "epochs/*"].map(object)),
        allow("marker", &["PutObject"], &["forgotten/*", "lost/*"].map(object)),
        allow("retain", &["DeleteObject", "DeleteObjectVersion"], &data),
        allow("heal", &["PutObject", "DeleteObject", "DeleteObjectVersion"], &["packs/*"].map(object)),
    ];
    for who in USERS {
        statements.push(allow(who, &["GetObject", "GetObjectVersion"], &all));
        statements.push(allow(who, &["ListBucket", "ListBucketVersions"], &bucket));
    }
    serde_json::json!({"Version": "2012-10-17", "Statement": statements}).to_string()
}

/// A repository on a server of its own, and a replicator in this process whose clock the test moves.
pub(crate) struct Site {
    pub(crate) server: S3Server,
    pub(crate) world: World,
    clock: Arc<ManualClock>,
    tree: PathBuf,
}

impl Site {
    pub(crate) fn new(versions: bool) -> Self {
        let options =
            ServerOptions { kind: Kind::VersityGw, no_versioning: !versions, ..ServerOptions::default() };
        let server = S3Server::start_with(&options).unwrap();
        server.create_bucket("box").unwrap();
        if versions {
            server.enable_versioning("box").unwrap();
        }
        for user in USERS {
            server.create_user(user, &format!("the secret of {user}")).unwrap();
        }
        server.put_bucket_policy("box", &policy()).unwrap();
        let world = World::file();
        let tree = world.folder().join("tree");
        std::fs::create_dir(&tree).unwrap();
        let site = Self { server, world, clock: Arc::new(ManualClock::new(SystemClock.now())), tree };
        site.init();
        site
    }

    pub(crate) fn file(&self, user: &str) -> PathBuf {
        self.server.credentials_file(user).unwrap()
    }

    /// Everything anew on the server, with a credential for each role.
    fn init(&self) {
        std::fs::remove_dir_all(self.world.admin()).unwrap();
        let (admin, vault) = (self.world.admin(), self.world.vault_url());
        let (endpoint, credential) = (self.server.endpoint(), self.file("admin"));
        let place =
            ["init", "--repo", "s3://box/backups", "--cluster", "prod", "--vault", &vault, "--unprotected"];
        let as_admin = ["--s3-endpoint", &endpoint, "--credentials-file", credential.to_str().unwrap()];
        self.world.lifeboat(&[&place[..], &as_admin, &["--out", admin.to_str().unwrap()]].concat()).expect(0);
        for (file, table, user) in
            [("agent.toml", "[s3]", "agent"), ("replicator.toml", "[source.s3]", "replicator")]
        {
            let path = admin.join(file);
            let line = format!("{table}\ncredentials_file = \"{}\"\n", self.file(user).display());
            let mut text = std::fs::read_to_string(&path).unwrap().replacen(&format!("{table}\n"), &line, 1);
            if file == "replicator.toml" {
                for role in ["marker", "retain", "heal"] {
                    text +=
                        &format!("\n[source.{role}]\ncredentials_file = \"{}\"\n", self.file(role).display());
                }
                text = text.replacen("[[source]]\n", "[[source]]\nreread_rate = \"1GiB\"\n", 1);
            }
            std::fs::write(&path, text).unwrap();
        }
    }

    pub(crate) fn config(&self) -> ReplicatorConfig {
        setup::load(&self.world.admin().join("replicator.toml")).unwrap()
    }

    /// A snapshot of a file that no other has.
    pub(crate) fn backup(&self) {
        let noise: Vec<u8> = (0..200_000).map(|_| rand::random()).collect();
        std::fs::write(self.tree.join("noise"), noise).unwrap();
        backup_path(&self.world, "data", &self.tree, &[]).expect(0);
    }

    pub(crate) async fn pull(&self) -> Outcome {
        let (config, clock): (_, Arc<dyn Clock>) = (self.config(), self.clock.clone());
        let replicator = setup::open(&config, Options::default(), clock.clone(), Mode::Quiet).unwrap();
        let sources = setup::sources(&config, &clock).await.unwrap();
        let outcome = replicator.pull(&sources[0]).await;
        assert!(outcome.error.is_none(), "{}", outcome.error.unwrap());
        outcome
    }

    pub(crate) async fn retain(&self) -> Pass {
        let (config, clock): (_, Arc<dyn Clock>) = (self.config(), self.clock.clone());
        let vault = setup::open_vault(Work::Retain, &config, Options::default(), &*clock).unwrap();
        let catalogue = setup::catalogue(&config).unwrap();
        let source = &config.sources[0];
        let key = source::receipt_key(&source.cluster, &source.receipt_key).unwrap();
        let retainer = Retainer::of(source, &key, &vault, &catalogue);
        let roles = Roles::open(source, clock.clone()).await.unwrap().unwrap();
        roles.primary(&retainer).run(clock.now()).await.unwrap()
    }

    /// A pass in the vault.
    pub(crate) fn forget(&self) -> lifeboat_replicator::retain::Pass {
        let config = self.config();
        let vault = setup::open_vault(Work::Retain, &config, Options::default(), &*self.clock).unwrap();
        let catalogue = setup::catalogue(&config).unwrap();
        let source = &config.sources[0];
        let key = source::receipt_key(&source.cluster, &source.receipt_key).unwrap();
        Retainer::of(source, &key, &vault, &catalogue).run(self.clock.now()).unwrap()
    }

    pub(crate) fn days_pass(&self, days: i64) {
        self.clock.set(self.clock.now() + SignedDuration::from_hours(24 * days));
    }

    pub(crate) fn keys(&self, prefix: &str) -> Vec<String> {
        let all = self.server.list_objects("box", &format!("backups/prod/{prefix}")).unwrap();
        all.into_iter().map(|k| k.strip_prefix("backups/prod/").unwrap().to_owned()).collect()
    }

    pub(crate) fn bytes(&self, key: &str) -> Vec<u8> {
        self.server.get_object("box", &format!("backups/prod/{key}")).unwrap()
    }

    /// The server takes an object's time from its file.
    fn age(&self, key: &str, days: u64) {
        let path = self.server.data_folder().join("box/backups/prod").join(key);
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        let past =
            file.metadata().unwrap().modified().unwrap() - std::time::Duration::from_secs(days * 86_400);
        file.set_modified(past).unwrap();
    }

    fn may_put(&self, user: &str, key: &str) -> bool {
        let request = self.server.client(user).unwrap().put_object().bucket("box").if_none_match("*");
        let request = request.key(format!("backups/prod/{key}")).body(b"x".to_vec().into());
        block_on(request.send()).is_ok()
    }

    fn may_delete(&self, user: &str, key: &str) -> bool {
        let request = self.server.client(user).unwrap().delete_object().bucket("box");
        block_on(request.key(format!("backups/prod/{key}")).send()).is_ok()
    }
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

pub(crate) fn alarms(outcome: &Outcome) -> Vec<(AlarmKind, String)> {
    let of_age = [AlarmKind::RpoMissed, AlarmKind::AgentStopped, AlarmKind::NotCovered];
    let all = outcome.alarms.iter().filter(|a| !of_age.contains(&a.kind));
    all.map(|a| (a.kind, a.what.clone())).collect()
}

/// Names of `old` that are gone from `new`.
fn gone(old: &[String], new: &[String]) -> Vec<String> {
    old.iter().filter(|k| !new.contains(k)).cloned().collect()
}

#[test]
fn a_role_may_do_what_it_is_for_and_nothing_else() {
    let site = Site::new(true);
    site.backup();
    let there: Vec<String> = site.keys("");
    for user in ["agent", "replicator", "admin", "marker"] {
        for key in &there {
            assert!(!site.may_delete(user, key), "{user} deletes {key}");
        }
    }
    for key in there.iter().filter(|k| ["charter/", "epochs/", "manifests/"].iter().any(|p| k.starts_with(p)))
    {
        for user in ["retain", "heal"] {
            assert!(!site.may_delete(user, key), "{user} deletes {key}");
        }
    }
    for key in [
        "packs/00/0",
        "lists/0",
        "manifests/0000000000000009.json",
        "forgotten/0",
        "lost/0",
        "charter/9-0.json",
    ] {
        for user in ["replicator", "retain"] {
            assert!(!site.may_put(user, key), "{user} puts {key}");
        }
        let marker = key.starts_with("forgotten/") || key.starts_with("lost/");
        assert_eq!(site.may_put("marker", key), marker, "{key}");
    }
    assert_eq!(site.keys("").len(), there.len() + 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_old_goes_for_good_in_a_second_pass() {
    for versions in [true, false] {
        let site = Site::new(versions);
        for _ in 0..6 {
            site.backup();
        }
        let pulled = site.pull().await;
        assert_eq!((pulled.snapshots, alarms(&pulled)), (6, vec![]));
        let packs = site.keys("packs/");
        let first = site.retain().await;
        assert_eq!(
            (first.forgotten.len(), first.deleted),
            (0, 0),
            "720 hours are not over: {:?}",
            first.stopped
        );

        // All but the newest manifest are five days older than it; the replicator's clock goes on by eight days at a time.
        for key in site.keys("").iter().filter(|k| !k.ends_with("6.json")) {
            site.age(key, 5);
        }
        let mut forgotten = Vec::new();
        let mut deleted = 0;
        for _ in 0..7 {
            site.days_pass(7);
            let pass = site.retain().await;
            assert_eq!((pass.stopped.len(), pass.refused), (0, 0), "{:?}", pass.stopped);
            forgotten.extend(pass.forgotten);
            deleted += pass.deleted;
            assert_eq!(alarms(&site.pull().await), [], "what our own retention deleted is no loss");
        }
        assert_eq!(forgotten, [1, 2, 3], "the newest three stay");
        let left = site.keys("packs/");
        let gone = gone(&packs, &left);
        assert!(deleted >= 4 && gone.len() >= 2, "{deleted} {gone:?}");
        assert_eq!((site.keys("manifests/").len(), site.keys("forgotten/").len()), (6, 3));
        // No version is left anywhere on the server's disk.
        let disk = files(site.server.data_folder().parent().unwrap());
        for key in &gone {
            let name = Path::new(key).file_name().unwrap();
            let kept: Vec<_> =
                disk.iter().filter(|f| f.to_string_lossy().contains(&*name.to_string_lossy())).collect();
            assert!(kept.is_empty(), "versions {versions}: {kept:?}");
        }
        let into = site.world.folder().join(format!("back-{versions}"));
        let latest = ["extract", "latest", "volumes/_paths/data", "--to", into.to_str().unwrap()];
        let identity = site.world.admin().join("identity.txt");
        let flags = ["--repo", "s3://box/backups", "--identity", identity.to_str().unwrap()];
        let (endpoint, file) = (site.server.endpoint(), site.file("admin"));
        let s3 = ["--s3-endpoint", &endpoint, "--credentials-file", file.to_str().unwrap()];
        site.world.lifeboat(&[&latest[..], &flags, &s3].concat()).expect(0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_altered_or_deleted_comes_back_from_the_vault() {
    for versions in [true, false] {
        let site = Site::new(versions);
        site.backup();
        site.backup();
        site.pull().await;
        let packs = site.keys("packs/");
        let (altered, lost) = (&packs[0], &packs[1]);
        let right = site.bytes(altered);
        let mut wrong = right.clone();
        wrong[7] ^= 1;
        site.server.put_object("box", &format!("backups/prod/{altered}"), &wrong).unwrap();
        site.server.delete_object("box", &format!("backups/prod/{lost}")).unwrap();
        site.days_pass(1);
        let mut found = alarms(&site.pull().await);
        found.sort();
        let mut expected =
            [(AlarmKind::PrimaryDamaged, altered.clone()), (AlarmKind::PrimaryLost, lost.clone())];
        expected.sort();
        assert_eq!(found, expected);
        let config = site.world.admin().join("replicator.toml");
        let heal = ["heal", "--json", "--config", config.to_str().unwrap()];
        let healed = site.world.run("lifeboat-replicator", &heal).expect(0).json();
        assert_eq!(healed["clusters"][0]["healed"].as_array().unwrap().len(), 2, "{healed}");
        for key in [altered, lost] {
            assert_eq!(Some(Sha256::of(&site.bytes(key))), layout::parse_pack(key), "versions {versions}");
        }
        site.days_pass(1);
        assert_eq!(alarms(&site.pull().await), []);
        let dry = site
            .world
            .run("lifeboat-replicator", &["retain", "--dry-run", "--config", config.to_str().unwrap()]);
        assert!(dry.stdout.contains("in the primary, kept for 720 hours"), "{}", dry.said());
    }
}
