//! Keys over the years of a repository: epochs and recipients that change, a cluster that is rebuilt, passphrases; and,
//! in `rights`, a store that gives each credential its own.

mod rights;

use crate::inprocess::namespace;
use crate::world::{Ran, World, files, kubeconfig};
use base64::Engine as _;
use lifeboat_tests::harness::cluster::Cluster;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The payload of a manifest, as it stands in a store's folder.
fn manifest(cluster: &Path, seq: u64) -> Value {
    let file = std::fs::read(cluster.join(format!("manifests/{seq:016}.json"))).unwrap();
    let envelope: Value = serde_json::from_slice(&file).unwrap();
    let payload = envelope["payload"].as_str().unwrap();
    let payload = base64::engine::general_purpose::STANDARD.decode(payload).unwrap();
    serde_json::from_slice(&payload).unwrap()
}

/// Of the packs that a snapshot needs.
fn lists(cluster: &Path, seq: u64) -> BTreeSet<String> {
    let manifest = manifest(cluster, seq);
    let sets = manifest["packs"].as_array().unwrap().iter();
    sets.map(|set| set["list"].as_str().unwrap().to_owned()).collect()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A new identity at `path`; its recipient.
fn keygen(world: &World, path: &Path) -> String {
    let made = world.lifeboat(&["keygen", "--unprotected", "--json", "--out", text(path)]).expect(0).json();
    made["recipient"].as_str().unwrap().to_owned()
}

/// `cat SNAPSHOT PATH` from the vault with an identity that names no owner.
fn cat_as(world: &World, identity: &Path, snapshot: &str, path: &str) -> Ran {
    let (vault, owner) = (world.vault_url(), world.admin().join("repository.toml"));
    world.lifeboat(&[
        "cat",
        snapshot,
        path,
        "--repo",
        &vault,
        "--identity",
        text(identity),
        "--owner",
        text(&owner),
    ])
}

fn change(world: &World, command: &str, more: &[&str]) -> Ran {
    let admin = world.admin();
    world.lifeboat(&[&[command, "--config", text(&admin)], more].concat())
}

fn recipients(world: &World) -> Vec<String> {
    let list = std::fs::read_to_string(world.admin().join("recipients.txt")).unwrap();
    list.lines().filter(|l| l.starts_with("age1")).map(str::to_owned).collect()
}

#[test]
fn epochs_and_recipients_change_and_what_was_stored_stays_open() {
    const OBJECT: &str = "objects/rotated/configmap/c0001.yaml";
    namespace("rotated", 5);
    let world = World::file();
    let backup = || world.backup(kubeconfig(), &["--namespace", "rotated", "--json"]).expect(0).json();
    assert_eq!(backup()["seq"], 1);
    let rotated = change(&world, "rotate", &["--json"]).expect(0).json();
    assert_eq!((&rotated["epoch"], &rotated["dedup_generation"]), (&2.into(), &1.into()));
    assert_eq!(backup()["seq"], 2);
    world.pull().expect(0);
    for snapshot in ["1", "2"] {
        let cat = world.on_vault(&["cat", snapshot, OBJECT]).expect(0);
        assert!(cat.stdout.contains("c0001"), "{}", cat.stdout);
    }
    // A routine rotation stores nothing anew: references cross epochs.
    assert!(!lists(&world.kept(), 1).is_disjoint(&lists(&world.kept(), 2)));

    let second = world.folder().join("second.txt");
    let (first, new) = (recipients(&world).remove(0), keygen(&world, &second));
    assert_eq!(cat_as(&world, &second, "1", OBJECT).code, 1);
    let packs = files(&world.primary().join("packs"));
    let added = change(&world, "rotate", &["--json", "--recipient", &first, "--recipient", &new]).expect(0);
    assert_eq!(added.json()["resealed"], serde_json::json!([1, 2]));
    assert_eq!(files(&world.primary().join("packs")), packs, "no pack is touched");
    world.pull().expect(0);
    for snapshot in ["1", "2"] {
        cat_as(&world, &second, snapshot, OBJECT).expect(0);
    }
    assert_eq!(backup()["seq"], 3);

    let refused = change(&world, "rotate", &["--recipient", &new]).expect(2);
    assert!(refused.stderr.contains("--fresh") && refused.stderr.contains(&first), "{}", refused.stderr);
    let fresh = change(&world, "rotate", &["--fresh", "--json", "--recipient", &new]).expect(0).json();
    assert_eq!(fresh["dedup_generation"], 2);
    assert_eq!(backup()["seq"], 4);
    world.pull().expect(0);
    for snapshot in ["1", "2", "3", "4"] {
        cat_as(&world, &second, snapshot, OBJECT).expect(0);
    }
    // What was sealed to the removed identity stays open to it; what came after is not.
    world.on_vault(&["cat", "3", OBJECT]).expect(0);
    let removed = world.on_vault(&["cat", "4", OBJECT]).expect(1);
    assert!(removed.stderr.contains("poch"), "{}", removed.stderr);
    let before = (1..4).flat_map(|seq| lists(&world.kept(), seq)).collect();
    assert!(lists(&world.kept(), 4).is_disjoint(&before), "everything is stored anew");
    world.on_vault(&["verify"]).expect(0);
}

fn copy(from: &Path, to: &Path) {
    for file in files(from) {
        let new = to.join(file.strip_prefix(from).unwrap());
        std::fs::create_dir_all(new.parent().unwrap()).unwrap();
        std::fs::copy(&file, &new).unwrap();
    }
}

fn alarms(world: &World) -> Vec<(String, String)> {
    let config = world.admin().join("replicator.toml");
    let status = world.run("lifeboat-replicator", &["status", "--json", "--config", text(&config)]);
    let field = |alarm: &Value, name: &str| alarm[name].as_str().unwrap().to_owned();
    let alarms = status.json()["clusters"][0]["alarms"].as_array().unwrap().clone();
    alarms.iter().map(|a| (field(a, "kind"), field(a, "what"))).collect()
}

/// The numbers of the snapshots that a vault's list offers.
fn snapshots(ran: &Ran) -> Vec<u64> {
    ran.json()["snapshots"].as_array().unwrap().iter().map(|s| s["seq"].as_u64().unwrap()).collect()
}

/// One run with the keys, the state and the charter that the old cluster still has.
fn backup_with(world: &World, admin: &Path, kubeconfig: &Path) -> Ran {
    let config = admin.join("agent.toml");
    let place = ["backup", "--json", "--config", text(&config), "--kubeconfig", text(kubeconfig)];
    world.run("lifeboat-agent", &[&place[..], &["--namespace", "adopted"]].concat())
}

#[test]
fn a_rebuilt_cluster_goes_on_and_the_old_key_displaces_nothing() {
    namespace("adopted", 3);
    let rebuilt = Cluster::start().unwrap();
    rebuilt
        .apply(
            "apiVersion: v1\nkind: Namespace\nmetadata: {name: adopted}\n---\n\
             apiVersion: v1\nkind: ConfigMap\nmetadata: {name: rebuilt, namespace: adopted}\n",
        )
        .unwrap();
    let world = World::file();
    let old = world.folder().join("old");
    let (admin, one, two) = (world.admin(), kubeconfig(), rebuilt.kubeconfig());
    for _ in 0..2 {
        backup_with(&world, &admin, one).expect(0);
    }
    world.pull().expect(0);
    copy(&admin, &old);
    // With the state of the old cluster, and, as after a rebuild, without any.
    let forgetful = world.folder().join("forgetful");
    copy(&admin, &forgetful);
    std::fs::remove_dir_all(forgetful.join("state")).unwrap();
    for folder in [&admin, &forgetful] {
        let refused = backup_with(&world, folder, two).expect(1);
        assert!(refused.stderr.contains("lifeboat adopt"), "{}", refused.stderr);
    }
    let adopted = change(&world, "adopt", &["--json"]).expect(0).json();
    assert_eq!((&adopted["head_seq"], &adopted["dedup_generation"]), (&2.into(), &2.into()));
    assert_eq!(backup_with(&world, &admin, two).expect(0).json()["seq"], 3);
    world.pull().expect(0);
    assert_eq!(alarms(&world), []);
    assert!(
        lists(&world.kept(), 3).is_disjoint(&lists(&world.kept(), 2)),
        "nothing of the old key is reused"
    );
    assert_eq!(snapshots(&world.on_vault(&["snapshots", "--json"]).expect(0)), [1, 2, 3]);
    world.on_vault(&["verify"]).expect(0);

    // Whoever has the old keys, and still gets at the store, takes slots and nothing else.
    assert_eq!(backup_with(&world, &old, one).expect(0).json()["seq"], 4);
    assert_eq!(backup_with(&world, &admin, two).expect(0).json()["seq"], 5);
    world.pull().expect(3);
    assert_eq!(backup_with(&world, &old, one).expect(0).json()["seq"], 6);
    world.pull().expect(3);
    assert_eq!(backup_with(&world, &admin, two).expect(0).json()["seq"], 7);
    let pulled = world.pull().expect(3);
    assert!(pulled.said().contains("rejected-branch"), "{}", pulled.said());
    let rejected = [4, 6].map(|n| ("rejected-branch".to_owned(), format!("manifests/{n:016}.json")));
    assert_eq!(alarms(&world), rejected);
    for look in [World::on_vault, World::on_primary] {
        let counted = look(&world, &["snapshots", "--json"]);
        assert_eq!(snapshots(&counted), [1, 2, 3, 5, 7], "{}", counted.said());
        look(&world, &["cat", "latest", "objects/adopted/configmap/rebuilt.yaml"]).expect(0);
        assert_ne!(look(&world, &["cat", "6", "objects/adopted/configmap/c0001.yaml"]).code, 0);
        let restore = ["--kubeconfig", text(two), "--yes", "--json"];
        let refused = look(&world, &[&["restore", "6"][..], &restore].concat());
        assert!(refused.code == 1 || refused.code == 2, "{}", refused.said());
        look(&world, &["cat", "1", "objects/adopted/configmap/c0001.yaml"]).expect(0);
    }
    // The old agent with what adopt made is told what it lacks.
    std::fs::copy(admin.join("charter.json"), old.join("charter.json")).unwrap();
    let told = backup_with(&world, &old, one).expect(2);
    assert!(told.stderr.contains("not an agent of charter 2"), "{}", told.stderr);
}

#[test]
fn an_emptied_primary_goes_on_from_the_vault() {
    const OBJECT: &str = "objects/emptied/configmap/c0000.yaml";
    namespace("emptied", 3);
    let world = World::file();
    let backup = || world.backup(kubeconfig(), &["--namespace", "emptied", "--json"]);
    for _ in 0..2 {
        backup().expect(0);
    }
    // Somebody's junk has a slot, so the vault does not have every manifest.
    std::fs::write(world.primary().join(format!("manifests/{:016}.json", 3)), "junk").unwrap();
    assert_eq!(backup().expect(0).json()["seq"], 4);
    world.pull().expect(3);
    assert_eq!(alarms(&world), [("damaged".to_owned(), format!("manifests/{:016}.json", 3))]);
    std::fs::remove_dir_all(world.primary()).unwrap();

    let refused = backup().expect(1);
    assert!(refused.stderr.contains("lifeboat adopt"), "{}", refused.stderr);
    assert_ne!(world.pull().code, 0);
    let adopted = change(&world, "adopt", &["--json"]).expect(0).json();
    assert_eq!(adopted["head_seq"], 4);
    assert_eq!(backup().expect(0).json()["seq"], 5);
    world.pull().expect(3);
    let kinds: BTreeSet<String> = alarms(&world).into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, BTreeSet::from(["primary-lost".to_owned()]));
    assert_eq!(snapshots(&world.on_vault(&["snapshots", "--json"]).expect(0)), [1, 2, 4, 5]);
    world.on_vault(&["verify"]).expect(0);
    for snapshot in ["1", "4", "5"] {
        world.on_vault(&["cat", snapshot, OBJECT]).expect(0);
    }
    world.on_primary(&["cat", "latest", OBJECT]).expect(0);
}

/// A repository with other arguments than [`World`]'s own, beside it.
struct Other<'a> {
    world: &'a World,
    admin: PathBuf,
    vault: String,
}

impl<'a> Other<'a> {
    fn init(world: &'a World, name: &str, more: &[&str]) -> (Self, Ran) {
        let admin = world.folder().join(name);
        let url = |side: &str| {
            let folder = world.folder().join(format!("{name}-{side}"));
            std::fs::create_dir_all(&folder).unwrap();
            format!("file://{}", folder.display())
        };
        let (repo, vault) = (url("repo"), url("vault"));
        let ran = world.lifeboat(
            &[
                &["init", "--repo", &repo, "--vault", &vault, "--cluster", "prod", "--out", text(&admin)],
                more,
            ]
            .concat(),
        );
        (Self { world, admin, vault }, ran)
    }

    fn file(&self, name: &str) -> String {
        text(&self.admin.join(name)).to_owned()
    }

    fn backup_and_pull(&self, namespace: &str) {
        let (agent, replicator) = (self.file("agent.toml"), self.file("replicator.toml"));
        let place = ["backup", "--config", &agent, "--kubeconfig", text(kubeconfig()), "--namespace"];
        self.world.run("lifeboat-agent", &[&place[..], &[namespace]].concat()).expect(0);
        self.world.run("lifeboat-replicator", &["pull", "--once", "--config", &replicator]).expect(0);
    }

    fn on_vault(&self, command: &[&str], more: &[&str]) -> Ran {
        self.world.lifeboat(&[command, &["--repo", &self.vault], more].concat())
    }
}

fn private(path: &Path, text: &str) {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).open(path).unwrap();
    std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
}

#[test]
fn a_passphrase_seals_the_private_files_and_a_wrong_one_is_told() {
    const OBJECT: &str = "objects/sealed/configmap/c0000.yaml";
    namespace("sealed", 2);
    let world = World::file();
    let (right, wrong) = (world.folder().join("right"), world.folder().join("wrong"));
    private(&right, "correct horse battery staple\n");
    private(&wrong, "incorrect\n");
    let (other, ran) = Other::init(&world, "sealed", &["--passphrase-file", text(&right)]);
    ran.expect(0);
    for name in ["identity.txt", "owner.key"] {
        let bytes = std::fs::read(other.file(name)).unwrap();
        assert!(bytes.starts_with(b"age-encryption.org/v1\n-> scrypt "), "{name}");
    }
    other.backup_and_pull("sealed");
    let identity = other.file("identity.txt");
    let with = |file: &Path| ["--identity", &identity, "--passphrase-file", text(file)].map(str::to_owned);
    let on_vault = |command: &[&str], passphrase: &Path| {
        let more = with(passphrase);
        other.on_vault(command, &more.each_ref().map(String::as_str))
    };
    let cat = ["cat", "latest", OBJECT];
    let restore = ["restore", "latest", "--yes", "--kubeconfig", text(kubeconfig())];
    let restore = [&restore[..], &["--namespace", "sealed", "--namespace-map", "sealed=unsealed"]].concat();
    for command in [&cat[..], &restore] {
        let failed = on_vault(command, &wrong).expect(1);
        assert!(
            failed.stderr.contains("identity.txt") && failed.stderr.contains("passphrase"),
            "{}",
            failed.stderr
        );
        let nobody = other.on_vault(command, &["--identity", &identity]).expect(2);
        assert!(nobody.stderr.contains("--passphrase-file"), "{}", nobody.stderr);
        on_vault(command, &right).expect(0);
    }
    let cluster = lifeboat_tests::harness::shared_cluster().unwrap();
    cluster.kubectl(&["get", "configmap", "c0000", "-n", "unsealed"]).unwrap();

    let rotate = |passphrase: &Path| {
        let passphrase = ["rotate", "--config", text(&other.admin), "--passphrase-file", text(passphrase)];
        world.lifeboat(&passphrase)
    };
    let before = std::fs::read(other.file("charter.json")).unwrap();
    let failed = rotate(&wrong).expect(1);
    assert!(failed.stderr.contains("owner.key") && failed.stderr.contains("passphrase"), "{}", failed.stderr);
    assert_eq!(std::fs::read(other.file("charter.json")).unwrap(), before);
    rotate(&right).expect(0);
    other.backup_and_pull("sealed");
    on_vault(&cat, &right).expect(0);
}

#[test]
fn without_a_passphrase_nothing_private_is_made_by_accident() {
    let world = World::file();
    let (other, ran) = Other::init(&world, "bare", &[]);
    let ran = ran.expect(2);
    assert!(
        ran.stderr.contains("--passphrase-file") && ran.stderr.contains("--unprotected"),
        "{}",
        ran.stderr
    );
    assert!(!other.admin.exists() && !world.folder().join("bare.unfinished").exists());
    assert!(files(&world.folder().join("bare-repo")).is_empty());
}

#[test]
fn recipients_of_ones_own_need_no_identity_in_the_folder() {
    const OBJECT: &str = "objects/recipients/configmap/c0000.yaml";
    namespace("recipients", 2);
    let world = World::file();
    let identities = ["one.txt", "two.txt"].map(|name| world.folder().join(name));
    let keys = identities.each_ref().map(|path| keygen(&world, path));
    let more = ["--unprotected", "--recipient", &keys[0], "--recipient", &keys[1]];
    let (other, ran) = Other::init(&world, "own", &more);
    ran.expect(0);
    assert!(!other.admin.join("identity.txt").exists());
    other.backup_and_pull("recipients");
    let owner = other.file("repository.toml");
    for (identity, key) in identities.iter().zip(&keys) {
        // The format of `age-keygen`: comments, and one secret key.
        let file = std::fs::read_to_string(identity).unwrap();
        assert!(
            file.contains(&format!("# public key: {key}\nAGE-SECRET-KEY-1")),
            "not as age-keygen writes it"
        );
        let own = world.folder().join("stripped.txt");
        private(&own, file.lines().find(|l| l.starts_with("AGE-SECRET-KEY-1")).unwrap());
        for path in [identity, &own] {
            let cat = ["cat", "latest", OBJECT, "--owner", &owner];
            other.on_vault(&cat, &["--identity", text(path)]).expect(0);
        }
        std::fs::remove_file(&own).unwrap();
    }
}
