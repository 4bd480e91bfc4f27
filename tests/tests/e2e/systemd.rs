//! The replicator as a service, under a real systemd: the unit, the users and folders, the example configuration and the
//! credential of `systemd/`. Needs root, and Debian's systemd-container.

use crate::inprocess::namespace;
use crate::world::{World, kubeconfig, program};
use anyhow::{Result, ensure};
use lifeboat_tests::harness::scratch::user;
use lifeboat_tests::harness::{Systemd, pids};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const UNIT: &str = "lifeboat-replicator.service";
const UNIT_FILE: &str = "/usr/lib/systemd/system/lifeboat-replicator.service";
const CONFIG: &str = "/etc/lifeboat/replicator.toml";
const KEY: &str = "/etc/credstore/lifeboat.receipt-prod.key";
const CREDENTIAL: &str = "/run/credentials/lifeboat-replicator.service/receipt-prod.key";
const SOON: Duration = Duration::from_secs(20);
const WATCHDOG: Duration = Duration::from_secs(3);

/// False, said aloud, where there are no rights to boot anything; panics where only a package is missing.
pub(crate) fn may_boot(test: &str) -> bool {
    if user() != 0 {
        tell(&format!("{test}: left out, it needs root"));
        return false;
    }
    Systemd::check().unwrap();
    true
}

/// Past the test runner, which shows no output of a test that passes.
pub(crate) fn tell(text: &str) {
    let _nobody_listens = writeln!(std::io::stderr(), "{text}");
}

pub(crate) fn repository(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(file)
}

/// A host with everything in its place, and the service not yet started.
struct Host {
    systemd: Systemd,
    world: World,
    key: String,
}

impl Host {
    fn new() -> Self {
        namespace("systemd", 3);
        let world = World::file();
        world.backup(kubeconfig(), &["--namespace", "systemd"]).expect(0);
        let systemd = Systemd::boot().unwrap();
        let key = std::fs::read_to_string(world.admin().join("receipt.key")).unwrap();
        let host = Self { systemd, world, key };
        host.install();
        host
    }

    /// What an administrator does by hand.
    fn install(&self) {
        // A machine that has a replicator of its own shows it here, too.
        self.run(&["rm", "-rf", "/var/lib/lifeboat", "/etc/lifeboat"]);
        let places = [
            (program("lifeboat-replicator"), "/usr/bin/lifeboat-replicator", 0o755),
            (repository("systemd/lifeboat-replicator.service"), UNIT_FILE, 0o644),
            (
                repository("systemd/lifeboat-replicator.sysusers.conf"),
                "/usr/lib/sysusers.d/lifeboat-replicator.conf",
                0o644,
            ),
            (
                repository("systemd/lifeboat-replicator.tmpfiles.conf"),
                "/usr/lib/tmpfiles.d/lifeboat-replicator.conf",
                0o644,
            ),
        ];
        for (from, to, mode) in places {
            self.systemd.put_file(to, mode, &std::fs::read(from).unwrap()).unwrap();
        }
        self.run(&["systemd-sysusers", "lifeboat-replicator.conf"]);
        self.run(&["systemd-tmpfiles", "--create", "lifeboat-replicator.conf"]);
        self.systemd.put_folder("/srv/primary", self.world.primary().parent().unwrap()).unwrap();
        self.systemd.put_file(KEY, 0o600, self.key.as_bytes()).unwrap();
        self.drop_in("credentials", &example_credential());
        self.configure(3600);
    }

    fn drop_in(&self, name: &str, service: &str) {
        let path = format!("/etc/systemd/system/{UNIT}.d/{name}.conf");
        self.systemd.put_file(&path, 0o644, format!("[Service]\n{service}\n").as_bytes()).unwrap();
        self.run(&["systemctl", "daemon-reload"]);
    }

    /// The example, with this world's repository and owner, and what is there replaced as an editor does it.
    fn configure(&self, poll_seconds: i64) {
        let parse = |path: PathBuf| std::fs::read_to_string(path).unwrap().parse::<toml::Table>().unwrap();
        let made = parse(self.world.admin().join("replicator.toml"));
        let mut config = parse(repository("systemd/replicator.example.toml"));
        config.insert("poll_seconds".to_owned(), poll_seconds.into());
        let source = config["source"][0].as_table_mut().unwrap();
        source.remove("s3");
        source.insert("repo".to_owned(), "file:///srv/primary".into());
        source.insert("owner".to_owned(), made["source"][0]["owner"].clone());
        self.replace_config(&config.to_string());
    }

    fn replace_config(&self, text: &str) {
        let new = format!("{CONFIG}.new");
        self.systemd.put_file(&new, 0o640, text.as_bytes()).unwrap();
        self.run(&["chgrp", "lifeboat", &new]);
        self.run(&["mv", &new, CONFIG]);
    }

    #[track_caller]
    fn run(&self, words: &[&str]) -> String {
        self.systemd.run(words).unwrap()
    }

    #[track_caller]
    fn show(&self, property: &str) -> String {
        self.systemd.show(UNIT, property).unwrap()
    }

    /// Waits for a value of a property; failing, shows the journal.
    #[track_caller]
    fn wait_for(&self, property: &str, fits: impl Fn(&str) -> bool) -> String {
        let look = || -> Result<String> {
            let value = self.systemd.show(UNIT, property)?;
            ensure!(fits(&value), "it is {value:?}");
            Ok(value)
        };
        let waited = self.systemd.wait_for(property, SOON, look);
        waited.unwrap_or_else(|error| panic!("{error:#}\n{}", self.journal()))
    }

    fn journal(&self) -> String {
        self.systemd.journal(UNIT).unwrap()
    }

    /// A command as another user; its output if it was allowed.
    fn as_user(&self, name: &str, words: &[&str]) -> Option<String> {
        let group = if name == "nobody" { "nogroup" } else { name };
        let setpriv = ["setpriv", "--reuid", name, "--regid", group, "--clear-groups", "--"];
        self.systemd.run(&[&setpriv, words].concat()).ok()
    }
}

/// The line that the example configuration shows for a drop-in.
fn example_credential() -> String {
    let example = std::fs::read_to_string(repository("systemd/replicator.example.toml")).unwrap();
    let lines = example.lines().filter_map(|line| line.strip_prefix("#   "));
    let mut lines = lines.filter(|line| line.starts_with("LoadCredential=receipt-prod.key:"));
    lines.next().unwrap().to_owned()
}

#[test]
fn the_replicator_is_a_good_service() {
    if !may_boot("the_replicator_is_a_good_service") {
        return;
    }
    let host = Host::new();
    the_unit_is_sound(&host);
    it_is_active_only_when_it_is_ready(&host);
    the_snapshot_arrives(&host);
    the_key_stays_private(&host);
    a_reload_takes_over_what_changed(&host);
    a_process_that_hangs_is_replaced(&host);
    it_stops_at_once(&host);
    a_wrong_configuration_is_told(&host);
    let mine = host.systemd.group();
    assert!(!control_groups(&mine).is_empty());
    drop(host);
    assert_eq!(control_groups(&mine), Vec::<PathBuf>::new());
}

fn the_unit_is_sound(host: &Host) {
    let complaints = host.systemd.command(&["systemd-analyze", "verify", UNIT_FILE]).output().unwrap();
    let complaints = String::from_utf8_lossy(&complaints.stderr).into_owned();
    assert!(!complaints.contains("lifeboat"), "{complaints}");
    let rate = ["systemd-analyze", "security", "--no-pager", "--offline=true", "--threshold=12", UNIT_FILE];
    let rated = host.run(&rate);
    tell(rated.lines().last().unwrap_or_default());
}

/// Its configuration is a pipe at first: it cannot be ready before somebody writes.
fn it_is_active_only_when_it_is_ready(host: &Host) {
    let aside = format!("{CONFIG}.aside");
    host.run(&["mv", CONFIG, &aside]);
    host.run(&["mkfifo", "--mode=0640", CONFIG]);
    host.run(&["chgrp", "lifeboat", CONFIG]);
    host.run(&["systemctl", "start", "--no-block", UNIT]);
    host.wait_for("MainPID", |pid| pid != "0");
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(host.show("ActiveState"), "activating", "{}", host.journal());
    host.run(&["timeout", "20", "sh", "-c", &format!("cat {aside} > {CONFIG} && mv {aside} {CONFIG}")]);
    host.wait_for("ActiveState", |state| state == "active");
    assert_eq!(host.show("NRestarts"), "0");
}

fn the_snapshot_arrives(host: &Host) {
    let text = host.wait_for("StatusText", |text| text.contains("all is well"));
    assert!(text.starts_with("prod: "), "{text}");
    let made = host.world.on_primary(&["snapshots", "--json"]).expect(0).json();
    // As root, and as the service's own user: neither must get into the other's way.
    let ask = ["lifeboat-replicator", "status", "--json"];
    for said in [host.run(&ask), host.as_user("lifeboat", &ask).unwrap()] {
        let status: serde_json::Value = serde_json::from_str(&said).unwrap();
        let prod = &status["clusters"][0];
        assert_eq!(prod["snapshots"], 1, "{said}");
        assert_eq!(prod["newest"]["id"], made["snapshots"][0]["id"], "{said}");
        assert_eq!(prod["alarms"].as_array().map(Vec::len), Some(0), "{said}");
    }
    assert_eq!(host.run(&["stat", "-c", "%U:%G %a", "/var/lib/lifeboat"]).trim(), "lifeboat:lifeboat 750");
    let odd = ["find", "/var/lib/lifeboat", "(", "!", "-user", "lifeboat", "-o", "-perm", "/007", ")"];
    assert_eq!(host.run(&odd), "", "all of it is the service's, and nothing is anybody else's");
    assert!(host.as_user("nobody", &["ls", "/var/lib/lifeboat"]).is_none());
}

fn the_key_stays_private(host: &Host) {
    let secret = host.key.lines().nth(1).unwrap();
    assert!(host.run(&["cat", CREDENTIAL]).contains(secret), "this is where it is");
    for path in [CREDENTIAL, KEY] {
        assert!(host.as_user("nobody", &["cat", path]).is_none(), "{path}");
    }
    assert!(host.as_user("lifeboat", &["cat", KEY]).is_none(), "only systemd hands it out");
    let environment = host.run(&["cat", &format!("/proc/{}/environ", host.show("MainPID"))]);
    assert!(environment.contains("CREDENTIALS_DIRECTORY="), "{environment}");
    let said = host.run(&["systemctl", "show", UNIT]);
    for text in [environment, said, host.journal()] {
        assert!(!text.contains(secret), "{text}");
    }
}

fn a_reload_takes_over_what_changed(host: &Host) {
    let (pid, before) = (host.show("MainPID"), host.show("StatusText"));
    host.configure(7200);
    host.run(&["systemctl", "reload", UNIT]);
    host.wait_for("StatusText", |text| text.contains("all is well") && text != before);
    assert_eq!(host.show("ActiveState"), "active");
    assert_eq!(host.show("MainPID"), pid);
    // A configuration that is no good changes nothing.
    host.replace_config("colour = 1\n");
    host.run(&["systemctl", "reload", UNIT]);
    let refused = || {
        let journal = host.systemd.journal(UNIT)?;
        ensure!(journal.contains("the old one stays in force"), "{journal}");
        Ok(())
    };
    host.systemd.wait_for("the refusal", SOON, refused).unwrap();
    host.wait_for("ActiveState", |state| state == "active");
    assert_eq!(host.show("MainPID"), pid);
    host.configure(3600);
}

fn a_process_that_hangs_is_replaced(host: &Host) {
    host.drop_in("watchdog", &format!("WatchdogSec={}\nRestartSec=100ms", WATCHDOG.as_secs()));
    host.run(&["systemctl", "restart", UNIT]);
    let pid = host.show("MainPID");
    // Fed while it is well: longer than the limit, and nothing happens.
    std::thread::sleep(WATCHDOG + Duration::from_secs(1));
    assert_eq!(host.show("MainPID"), pid, "{}", host.journal());
    let began = Instant::now();
    host.run(&["kill", "-STOP", &pid]);
    host.wait_for("MainPID", |now| now != "0" && now != pid);
    host.wait_for("ActiveState", |state| state == "active");
    let took = began.elapsed();
    tell(&format!("a process that hangs is replaced after {took:.1?}"));
    assert!(took < WATCHDOG + Duration::from_secs(3), "{took:?}");
    assert_eq!(host.show("NRestarts"), "1");
    assert!(host.journal().contains("Watchdog timeout"), "{}", host.journal());
    host.wait_for("StatusText", |text| text.contains("all is well"));
}

fn it_stops_at_once(host: &Host) {
    let began = Instant::now();
    host.run(&["systemctl", "stop", UNIT]);
    let took = began.elapsed();
    tell(&format!("it stops in {took:.1?}"));
    assert!(took < Duration::from_secs(5), "{took:?}");
    let found = ["ActiveState", "Result", "ExecMainStatus"].map(|property| host.show(property));
    assert_eq!(found, ["inactive", "success", "0"]);
}

fn a_wrong_configuration_is_told(host: &Host) {
    host.replace_config("colour = 1\n");
    assert!(host.systemd.run(&["systemctl", "start", UNIT]).is_err());
    assert_eq!(["ActiveState", "ExecMainStatus"].map(|property| host.show(property)), ["failed", "2"]);
    assert!(host.journal().contains("colour"), "{}", host.journal());
    // Trying again would not help, and is not tried.
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(host.show("ActiveState"), "failed");
}

/// Where a test that is to be killed writes what it started.
const TOLD: &str = "LIFEBOAT_TEST_TELLS_OF_SYSTEMD";

#[test]
#[ignore = "started and killed by the next test"]
fn boots_and_waits_to_be_killed() {
    let Some(told) = std::env::var_os(TOLD) else { return };
    let systemd = Systemd::boot().unwrap();
    let processes = systemd.processes().map(|pid| pid.to_string());
    std::fs::write(told, processes.join(" ")).unwrap();
    std::thread::sleep(Duration::from_secs(60));
}

#[test]
fn nothing_of_systemd_outlives_a_test_that_was_killed() {
    if !may_boot("nothing_of_systemd_outlives_a_test_that_was_killed") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let told = folder.path().join("told");
    let mut test = std::process::Command::new(std::env::current_exe().unwrap());
    test.args(["--exact", "--ignored", "systemd::boots_and_waits_to_be_killed"])
        .env(TOLD, &told)
        .stdout(std::process::Stdio::null());
    let mut test = test.spawn().unwrap();
    let group = format!("lifeboat-systemd-{}-", test.id());
    let deadline = Instant::now() + Duration::from_secs(60);
    while !std::fs::read_to_string(&told).is_ok_and(|text| text.contains(' ')) {
        assert!(Instant::now() < deadline && test.try_wait().unwrap().is_none(), "it did not boot");
        std::thread::sleep(Duration::from_millis(20));
    }
    let started = std::fs::read_to_string(&told).unwrap();
    let started: Vec<pids::Known> =
        started.split(' ').map(|pid| pids::Known::of("systemd", pid.parse().unwrap()).unwrap()).collect();
    assert!(!control_groups(&group).is_empty());
    test.kill().unwrap();
    test.wait().unwrap();
    let deadline = Instant::now() + SOON;
    while started.iter().any(pids::Known::is_alive) || !control_groups(&group).is_empty() {
        assert!(Instant::now() < deadline, "{:?}", control_groups(&group));
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The control groups whose names begin like this.
fn control_groups(prefix: &str) -> Vec<PathBuf> {
    let roots = ["/sys/fs/cgroup", "/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified"];
    let entries = roots.into_iter().flat_map(|root| std::fs::read_dir(root).into_iter().flatten().flatten());
    let ours = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix));
    ours.map(|entry| entry.path()).collect()
}

/// Offline, on the files themselves: exposure at most 1.2 where there is a network, 0.5 where there is none; and timers for
/// what does not run all the time.
#[test]
fn every_unit_keeps_its_score() {
    let units = [("", 12), ("-pull", 12), ("-retain", 12), ("-scrub", 5), ("-http", 12), ("-notify", 12)];
    for (name, most) in units {
        let file = repository(&format!("systemd/lifeboat-replicator{name}.service"));
        let mut analyze = std::process::Command::new("systemd-analyze");
        analyze.args(["security", "--no-pager", "--offline=true", &format!("--threshold={most}")]).arg(&file);
        let output = analyze.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{}: {said}", file.display());
        let text = std::fs::read_to_string(&file).unwrap();
        let command = ["run", "pull", "retain", "scrub --once", "http", "notify"]
            .into_iter()
            .find(|c| text.contains(&format!("/lifeboat-replicator {c} ")));
        assert!(command.is_some(), "{}", file.display());
        assert_eq!(text.contains("PrivateNetwork=yes"), name == "-scrub", "{name}");
        if text.contains("Type=oneshot") {
            assert!(repository(&format!("systemd/lifeboat-replicator{name}.timer")).exists(), "{name}");
        }
    }
}
