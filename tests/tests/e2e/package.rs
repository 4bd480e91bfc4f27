//! The package on a host, under a real systemd: installed, set up by `lifeboat-replicator setup`, started; then killed, its disk
//! filled, its network taken, its host rebooted; and what its sandboxes refuse, tried from inside. Needs root.

mod inside;

use crate::systemd::{may_boot, repository, tell};
use crate::tree::backup_path;
use crate::world::{World, program};
use anyhow::{Result, ensure};
use lifeboat_tests::harness::Systemd;
use lifeboat_tests::harness::peers::Peers;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const UNIT: &str = "lifeboat-replicator.service";
const STORE: &str = "127.0.0.1:7070";
const SOON: Duration = Duration::from_secs(30);
/// A pull tries again for a while before it says that a store is not there.
const PATIENTLY: Duration = Duration::from_secs(240);

/// Makes the package of the programs beside this test.
fn package(out: &Path) -> PathBuf {
    let programs = program("lifeboat-replicator");
    let mut script = Command::new(repository("packaging/deb.sh"));
    script.arg(programs.parent().unwrap()).arg(out).env("DEB_LEVEL", "0");
    let made = script.output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    String::from_utf8(made.stdout).unwrap().trim().into()
}

/// A host with an S3 store on its own loopback, which has what a cluster stored.
pub(super) struct Host {
    pub(super) systemd: Systemd,
    world: World,
    secret: String,
}

impl Host {
    fn boot() -> Self {
        let world = World::file();
        let tree = world.folder().join("tree");
        std::fs::create_dir(&tree).unwrap();
        let secret = hex::encode(rand::random::<[u8; 20]>());
        let host = Self { systemd: Systemd::boot_to("multi-user.target").unwrap(), world, secret };
        // A machine that has a replicator of its own shows it here, too.
        let own = ["/var/lib/lifeboat", "/etc/lifeboat", "/etc/credstore", "/etc/credstore.encrypted"];
        host.run(&[&["rm", "-rf"], &own[..]].concat());
        host.backup();
        host.store();
        host.from();
        host
    }

    #[track_caller]
    pub(super) fn run(&self, words: &[&str]) -> String {
        self.systemd.run(words).unwrap()
    }

    fn put(&self, path: &str, mode: u32, text: &str) {
        self.systemd.put_file(path, mode, text.as_bytes()).unwrap();
    }

    /// One more snapshot in the store.
    fn backup(&self) {
        let tree = self.world.folder().join("tree");
        let noise: Vec<u8> = (0..3_000_000).map(|_| rand::random()).collect();
        std::fs::write(tree.join("noise"), noise).unwrap();
        backup_path(&self.world, "data", &tree, &[]).expect(0);
        self.systemd.put_folder("/srv/data/box/backups", self.world.primary().parent().unwrap()).unwrap();
    }

    fn store(&self) {
        let server = std::fs::read(Peers::find().unwrap().path("versitygw").unwrap()).unwrap();
        self.systemd.put_file("/usr/local/bin/versitygw", 0o755, &server).unwrap();
        self.put(
            "/srv/store.env",
            0o600,
            &format!("ROOT_ACCESS_KEY=reader\nROOT_SECRET_KEY={}\n", self.secret),
        );
        let unit = format!(
            "[Service]\nEnvironmentFile=/srv/store.env\nExecStart=/usr/local/bin/versitygw --port {STORE} posix /srv/data\n\
             Restart=always\n[Install]\nWantedBy=multi-user.target\n"
        );
        self.put("/etc/systemd/system/store.service", 0o644, &unit);
        self.run(&["systemctl", "enable", "--now", "store.service"]);
    }

    /// What an administrator copies to the host.
    fn from(&self) {
        let made = std::fs::read_to_string(self.world.admin().join("replicator.toml")).unwrap();
        let mut config = made.parse::<toml::Table>().unwrap();
        config.insert("poll_seconds".to_owned(), 1.into());
        config.insert("vault".to_owned(), "file:///var/lib/lifeboat/vault".into());
        let source = config["source"][0].as_table_mut().unwrap();
        source.insert("repo".to_owned(), "s3://box/backups".into());
        let s3 = [("endpoint", format!("http://{STORE}")), ("region", "us-east-1".to_owned())];
        let s3: toml::Table = s3.into_iter().map(|(k, v)| (k.to_owned(), v.into())).collect();
        source.insert("s3".to_owned(), s3.into());
        self.put("/srv/from/replicator.toml", 0o600, &config.to_string());
        let key = std::fs::read(self.world.admin().join("receipt.key")).unwrap();
        self.systemd.put_file("/srv/from/receipt.key", 0o600, &key).unwrap();
        for who in ["reader", "keeper"] {
            let text =
                format!("[default]\naws_access_key_id = reader\naws_secret_access_key = {}\n", self.secret);
            self.put(&format!("/srv/{who}"), 0o600, &text);
        }
    }

    /// Exit code, and everything said.
    fn setup(&self, words: &[&str]) -> (i32, String) {
        let out =
            self.systemd.command(&[&["lifeboat-replicator", "setup"], words].concat()).output().unwrap();
        let said = String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned();
        assert!(!said.contains(&self.secret), "{said}");
        (out.status.code().unwrap_or(-1), said)
    }

    pub(super) fn show(&self, unit: &str, property: &str) -> String {
        self.systemd.show(unit, property).unwrap()
    }

    fn status(&self) -> Result<Value> {
        // It ends with 3 while an alarm is open.
        let out = self.systemd.command(&["lifeboat-replicator", "status", "--json"]).output()?;
        let status: Value = serde_json::from_slice(&out.stdout)?;
        Ok(status["clusters"][0].clone())
    }

    /// Waits until the state of the one cluster fits.
    #[track_caller]
    fn wait(&self, what: &str, within: Duration, fits: impl Fn(&Value) -> bool) -> Value {
        let look = || {
            let cluster = self.status()?;
            ensure!(fits(&cluster), "{cluster:#}");
            Ok(cluster)
        };
        let waited = self.systemd.wait_for(what, within, look);
        waited.unwrap_or_else(|error| panic!("{error:#}\n{}", self.systemd.journal(UNIT).unwrap()))
    }

    #[track_caller]
    fn is_well(&self, snapshots: u64) {
        self.wait("all is well", PATIENTLY, |c| c["snapshots"] == snapshots && alarms(c).is_empty());
    }

    fn active(&self, unit: &str) -> bool {
        self.show(unit, "ActiveState") == "active"
    }
}

fn alarms(cluster: &Value) -> Vec<&str> {
    cluster["alarms"].as_array().into_iter().flatten().filter_map(|a| a["kind"].as_str()).collect()
}

#[test]
fn a_host_is_made_from_the_package_and_stands_what_comes() {
    if !may_boot("a_host_is_made_from_the_package_and_stands_what_comes") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let made = package(folder.path());
    let bytes = std::fs::read(&made).unwrap();
    tell(&format!("the package has {} bytes", bytes.len()));
    assert!(
        std::fs::read(package(&folder.path().join("again"))).unwrap() == bytes,
        "it is the same each time"
    );

    let mut host = Host::boot();
    it_installs_and_starts_nothing(&host, &bytes);
    setup_makes_it_ready_and_changes_nothing_twice(&host);
    a_person_works_as_the_service(&host);
    it_is_back_after_kill_9(&host);
    it_waits_for_a_network_that_is_lost(&host);
    it_waits_for_a_disk_that_is_full(&host);
    it_is_back_after_a_reboot(&mut host);
    the_units_can_be_apart(&host);
    inside::no_unit_does_what_it_is_not_for(&host);
    a_purge_leaves_the_backups(&host);
}

fn it_installs_and_starts_nothing(host: &Host, package: &[u8]) {
    host.systemd.put_file("/srv/lifeboat.deb", 0o644, package).unwrap();
    host.run(&["dpkg", "--install", "/srv/lifeboat.deb"]);
    assert!(!host.active(UNIT));
    assert_eq!(host.run(&["stat", "-c", "%U:%G %a", "/var/lib/lifeboat"]).trim(), "lifeboat:lifeboat 750");
    for page in ["lifeboat", "lifeboat-restore", "lifeboat-replicator", "lifeboat-replicator-setup"] {
        host.run(&["test", "-s", &format!("/usr/share/man/man1/{page}.1.gz")]);
    }
    for file in [
        "bash-completion/completions/lifeboat",
        "zsh/vendor-completions/_lifeboat-replicator",
        "doc/lifeboat/copyright",
        "doc/lifeboat/examples/replicator.example.toml",
    ] {
        host.run(&["test", "-s", &format!("/usr/share/{file}")]);
    }
    let complaints = host.systemd.command(&["systemd-analyze", "verify", UNIT]).output().unwrap();
    let complaints = String::from_utf8_lossy(&complaints.stderr).into_owned();
    assert!(!complaints.contains("lifeboat-replicator"), "{complaints}");
}

fn setup_makes_it_ready_and_changes_nothing_twice(host: &Host) {
    let all = ["--from", "/srv/from", "--credentials", "/srv/reader"];
    let (code, said) = host.setup(&[&all[..], &["--dry-run"]].concat());
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("would do  configuration /etc/lifeboat/replicator.toml"), "{said}");
    host.systemd.run(&["test", "-e", "/etc/lifeboat/replicator.toml"]).unwrap_err();

    // The store is away: everything is made, and nothing started.
    host.run(&["systemctl", "stop", "store.service"]);
    let (code, said) = host.setup(&all);
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("FAIL") && said.contains("Mend what FAILs"), "{said}");
    assert!(!host.active(UNIT));
    host.run(&["systemctl", "start", "store.service"]);
    host.systemd.wait_for("the store", SOON, || host.systemd.run(&["curl", "-s", STORE])).unwrap();

    let (code, said) = host.setup(&all);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("done      lifeboat-replicator.service is enabled and runs"), "{said}");
    assert!(said.contains("receipt.key is in place as a credential now"), "{said}");
    tell(&said);
    host.is_well(1);
    let pid = host.show(UNIT, "MainPID");
    let (code, said) = host.setup(&all);
    assert!(code == 0 && !said.contains("done  "), "{code}: {said}");
    let (code, said) = host.setup(&[]);
    assert!(code == 0 && said.contains("ok        source prod"), "{code}: {said}");
    assert_eq!(host.show(UNIT, "MainPID"), pid, "nothing was restarted");

    let sealed = "/etc/credstore.encrypted/lifeboat.receipt-prod.key";
    assert_eq!(host.run(&["stat", "-c", "%U %a", sealed]).trim(), "root 600");
    let secret = std::fs::read_to_string(host.world.admin().join("receipt.key")).unwrap();
    let secret = secret.lines().nth(1).unwrap().to_owned();
    let search = ["grep", "-rlF", "-e", &secret, "-e", &host.secret, "/etc", "/var/lib/lifeboat"];
    assert!(host.systemd.run(&search).is_err(), "no secret lies about in clear");
    assert_eq!(
        host.run(&["stat", "-c", "%U:%G %a", "/etc/lifeboat/replicator.toml"]).trim(),
        "root:lifeboat 640"
    );
}

fn a_person_works_as_the_service(host: &Host) {
    let hold = ["lifeboat-replicator", "hold", "1", "--reason", "a test"];
    let refused = host.systemd.run(&hold).unwrap_err().to_string();
    assert!(refused.contains("runuser -u"), "root would leave its files there: {refused}");
    host.run(&[&["runuser", "-u", "lifeboat", "--"], &hold[..]].concat());
    let told = host.run(&["runuser", "-u", "lifeboat", "--", "lifeboat-replicator", "audit", "show"]);
    assert!(told.contains("a test"), "{told}");
    let odd = host.run(&["find", "/var/lib/lifeboat", "!", "-user", "lifeboat"]);
    assert_eq!(odd, "");
}

fn it_is_back_after_kill_9(host: &Host) {
    host.put(&format!("/etc/systemd/system/{UNIT}.d/soon.conf"), 0o644, "[Service]\nRestartSec=100ms\n");
    host.run(&["systemctl", "daemon-reload"]);
    let pid = host.show(UNIT, "MainPID");
    host.backup();
    host.run(&["kill", "-KILL", &pid]);
    let began = Instant::now();
    let back = || {
        let now = host.systemd.show(UNIT, "MainPID")?;
        ensure!(now != pid && now != "0" && host.active(UNIT), "{now}");
        Ok(())
    };
    host.systemd.wait_for("a new process", SOON, back).unwrap();
    tell(&format!("it is back {:.1?} after kill -9", began.elapsed()));
    host.is_well(2);
}

fn it_waits_for_a_network_that_is_lost(host: &Host) {
    let pid = host.show(UNIT, "MainPID");
    host.run(&["ip", "link", "set", "lo", "down"]);
    let began = Instant::now();
    host.wait("unreachable", PATIENTLY, |c| alarms(c) == ["unreachable"]);
    tell(&format!("a lost network is an alarm after {:.1?}", began.elapsed()));
    assert!(host.active(UNIT));
    host.backup();
    host.run(&["ip", "link", "set", "lo", "up"]);
    host.is_well(3);
    assert_eq!(host.show(UNIT, "MainPID"), pid, "it went on by itself");
}

fn it_waits_for_a_disk_that_is_full(host: &Host) {
    let vault = "/var/lib/lifeboat/vault";
    host.run(&["systemctl", "stop", UNIT]);
    host.run(&["cp", "-a", vault, "/srv/copy"]);
    host.run(&["mount", "-t", "tmpfs", "-o", "size=64m", "small", vault]);
    host.run(&["cp", "-a", "/srv/copy/.", vault]);
    host.run(&["chown", "lifeboat:lifeboat", vault]);
    host.run(&["systemctl", "start", UNIT]);
    host.is_well(3);
    // Less is free than is to stay free; then nothing at all.
    let most = "cd /var/lib/lifeboat/vault && head -c $(($(df --output=avail -B1 . | tail -1) - 2000000)) /dev/zero >filler";
    host.run(&["sh", "-c", most]);
    host.backup();
    host.wait("full", PATIENTLY, |c| alarms(c).contains(&"vault-full") && c["snapshots"] == 3);
    host.run(&["sh", "-c", "cat /dev/zero >>/var/lib/lifeboat/vault/filler 2>/dev/null || true"]);
    std::thread::sleep(Duration::from_secs(5));
    assert!(host.active(UNIT), "{}", host.systemd.journal(UNIT).unwrap());
    host.run(&["rm", "/var/lib/lifeboat/vault/filler"]);
    host.is_well(4);
    host.run(&["systemctl", "stop", UNIT]);
    host.run(&["umount", vault]);
    // Of the time before: what came since is pulled again.
    host.run(&["systemctl", "start", UNIT]);
    host.is_well(4);
}

fn it_is_back_after_a_reboot(host: &mut Host) {
    host.systemd.reboot().unwrap();
    let back = || {
        ensure!(host.active(UNIT), "it does not run");
        Ok(())
    };
    host.systemd.wait_for("the service", SOON, back).unwrap();
    host.backup();
    host.is_well(5);
}

fn the_units_can_be_apart(host: &Host) {
    let keeper = ["--retain-credentials", "/srv/keeper"];
    let (code, said) = host.setup(&[&["--from", "/srv/from", "--apart"], &keeper[..]].concat());
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("ok        retain of prod"), "{said}");
    let pull = "lifeboat-replicator-pull.service";
    assert!(host.active(pull) && !host.active(UNIT), "{said}");
    for timer in ["lifeboat-replicator-retain.timer", "lifeboat-replicator-scrub.timer"] {
        assert!(host.active(timer), "{timer}");
    }
    let loads = |unit: &str| host.run(&["systemctl", "cat", &format!("lifeboat-replicator-{unit}.service")]);
    let names = |unit: &str, name: &str| loads(unit).contains(&format!("LoadCredentialEncrypted={name}:"));
    assert!(names("pull", "s3-prod") && !names("pull", "s3-prod-retain"), "{}", loads("pull"));
    assert!(names("retain", "s3-prod-retain") && !loads("scrub").contains("LoadCredentialEncrypted="));
    host.backup();
    host.is_well(6);
    for unit in ["retain", "scrub"] {
        let unit = format!("lifeboat-replicator-{unit}.service");
        let ran = host.systemd.run(&["systemctl", "start", &unit]);
        assert!(ran.is_ok(), "{}", host.systemd.journal(&unit).unwrap());
        assert_eq!(host.show(&unit, "Result"), "success");
    }
    host.is_well(6);
    // Without a word about it, it stays as it is.
    let (code, said) = host.setup(&[]);
    assert!(code == 0 && !said.contains("done  ") && host.active(pull), "{code}: {said}");
}

fn a_purge_leaves_the_backups(host: &Host) {
    let packs = ["find", "/var/lib/lifeboat/vault/prod/packs", "-type", "f"];
    let before = host.run(&packs);
    let said = host.run(&["dpkg", "--purge", "lifeboat"]);
    assert!(said.contains("left as they are"), "{said}");
    assert_eq!(host.run(&packs), before);
    assert!(before.lines().count() >= 5);
    host.run(&["test", "-e", "/etc/credstore.encrypted/lifeboat.receipt-prod.key"]);
    assert!(host.systemd.run(&["test", "-e", "/usr/bin/lifeboat-replicator"]).is_err());
    assert_eq!(
        host.run(&["systemctl", "list-units", "--all", "--plain", "--no-legend", "lifeboat*"]).trim(),
        ""
    );
}
