//! The program itself: a real process on real directories, its exit codes and its output, readiness, stop and reload.

use crate::fixture::*;
use lifeboat_common::config;
use lifeboat_format::id::{Handle, Sha256};
use lifeboat_format::layout;
use lifeboat_format::pack_list::PackEntry;
use lifeboat_replicator::setup;
use serde_json::Value;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

pub struct Site {
    dir: tempfile::TempDir,
    pub config: PathBuf,
}

impl Site {
    /// A primary on disk, an empty vault, a configuration.
    pub fn new(primary: &Primary) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["primary", "vault"] {
            std::fs::create_dir(dir.path().join(folder)).unwrap();
        }
        let config = dir.path().join("replicator.toml");
        let site = Self { dir, config };
        site.write(primary);
        let mut options = std::fs::OpenOptions::new();
        let mut key =
            options.write(true).create_new(true).mode(0o600).open(site.path("receipt.key")).unwrap();
        std::io::Write::write_all(&mut key, primary.receipt_pem.as_bytes()).unwrap();
        let path = site.dir.path().display();
        let (cluster, owner) = (&primary.cluster, primary.owner.verify_key());
        let text = format!(
            "vault = \"file://{path}/vault\"\npoll_seconds = 1\n[[source]]\ncluster = \"{cluster}\"\n\
             repo = \"file://{path}/primary\"\nowner = \"{owner}\"\nreceipt_key = \"receipt.key\"\n"
        );
        std::fs::write(&site.config, text).unwrap();
        site
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes what the primary has and the disk does not.
    pub fn write(&self, primary: &Primary) {
        for key in primary.store.keys() {
            let path = self.path("primary").join(primary.cluster.as_str()).join(&key);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            if !path.exists() {
                std::fs::write(path, primary.store.bytes(&key).unwrap()).unwrap();
            }
        }
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lifeboat-replicator"));
        command.args(arguments).arg("--config").arg(&self.config).env_remove("RUST_LOG");
        command.env_remove("NOTIFY_SOCKET").env_remove("WATCHDOG_USEC").env_remove("CREDENTIALS_DIRECTORY");
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }
}

pub fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn pull_status_check_and_rebuild_agree() {
    let mut primary = Primary::recent("prod", 2);
    let site = Site::new(&primary);
    assert_eq!(code(&site.run(&["status"])), 1, "nothing was pulled yet");
    let checked = site.run(&["check-config"]);
    assert_eq!(code(&checked), 0, "{}", text(&checked.stdout));
    let pulled = site.run(&["pull", "--once", "--json"]);
    assert_eq!(code(&pulled), 0, "{}", text(&pulled.stderr));
    let summary: Value = serde_json::from_slice(&pulled.stdout).unwrap();
    assert_eq!(summary["sources"][0]["snapshots"], 2);
    for line in text(&pulled.stderr).lines() {
        serde_json::from_str::<Value>(line).unwrap_or_else(|e| panic!("{e}: {line}"));
    }
    assert_eq!(check(&site.path("vault"), &primary), [1, 2]);

    let seq = primary.snapshot(1);
    let pack = crate::plain::last_pack(&primary, seq);
    site.write(&primary);
    let path = site.path("primary/prod").join(&pack);
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, [&bytes[..bytes.len() - 1], b"?"].concat()).unwrap();
    let alarmed = site.run(&["pull", "--once"]);
    assert_eq!(code(&alarmed), 3, "{}", text(&alarmed.stderr));
    assert!(text(&alarmed.stdout).contains(&pack), "{}", text(&alarmed.stdout));
    let status = site.run(&["status", "--json"]);
    assert_eq!(code(&status), 3);
    let status: Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!(status["schema"], "lifeboat/status/1");
    assert_eq!(status["clusters"][0]["alarms"][0]["kind"], "damaged");
    assert_eq!(status["clusters"][0]["snapshots"], 2);
    std::fs::write(&path, bytes).unwrap();
    assert_eq!(code(&site.run(&["pull", "--once"])), 0);
    assert_eq!(code(&site.run(&["status"])), 0);

    std::fs::write(site.path("vault/.lifeboat/catalogue.sqlite"), "not a database, not at all, for sure")
        .unwrap();
    let broken = site.run(&["pull", "--once"]);
    assert_eq!(code(&broken), 1);
    assert!(text(&broken.stderr).contains("rebuild-catalogue"), "{}", text(&broken.stderr));
    let rebuilt = site.run(&["rebuild-catalogue"]);
    assert_eq!(code(&rebuilt), 0, "{}", text(&rebuilt.stderr));
    assert!(text(&rebuilt.stdout).contains("3 snapshots"), "{}", text(&rebuilt.stdout));
    assert_eq!(code(&site.run(&["pull", "--once"])), 0);
}

#[test]
fn wrong_configurations_say_what_to_do() {
    let primary = Primary::recent("prod", 1);
    let site = Site::new(&primary);
    let good = std::fs::read_to_string(&site.config).unwrap();
    let owner = primary.owner.verify_key().to_string();
    let path = site.dir.path().display().to_string();
    for (change, exit, words) in [
        (format!("colour = 1\n{good}"), 2, "colour"),
        (good.replace(&format!("file://{path}/vault"), "s3://bucket/vault"), 2, "come later"),
        (good.split("[[source]]").next().unwrap().to_owned(), 2, "[[source]]"),
        (good.replace("receipt.key", "absent.key"), 2, "receipt_key"),
        (good.replace("/vault", "/absent"), 1, "mount the disk"),
        (good.replace("/primary", "/absent"), 1, "check repo"),
        (good.replace(&owner, &key().verify_key().to_string()), 1, "repository.toml"),
        (good.replace("poll_seconds = 1", "transfers = 0"), 2, "at least 1"),
    ] {
        std::fs::write(&site.config, &change).unwrap();
        let output = site.run(&["pull", "--once"]);
        let said = text(&output.stderr) + &text(&output.stdout);
        assert_eq!(code(&output), exit, "{words}: {said}");
        assert!(said.contains(words), "{words}: {said}");
        let checked = site.run(&["check-config"]);
        assert_ne!(code(&checked), 0, "{words}");
    }
    std::fs::write(&site.config, good).unwrap();
    assert_eq!(code(&site.run(&["pull", "--once"])), 0);
    assert_eq!(code(&site.run(&["pull", "--once", "--cluster", "nope"])), 2);
}

fn ended(child: &mut Child, within: Duration) -> i32 {
    let deadline = Instant::now() + within;
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code().unwrap_or(-1);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let _ = child.kill();
    panic!("it does not end");
}

fn signal(child: &Child, signal: &str) {
    assert!(Command::new("kill").arg(signal).arg(child.id().to_string()).status().unwrap().success());
}

/// Waits for a message with `words` in it; gives all that came before.
fn heard(socket: &UnixDatagram, words: &str) -> String {
    let mut all = String::new();
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut buffer = [0; 4096];
    while Instant::now() < deadline {
        if let Ok(length) = socket.recv(&mut buffer) {
            let message = text(&buffer[..length]);
            all.push_str(&message);
            if message.contains(words) {
                return all;
            }
        }
    }
    panic!("no '{words}' in: {all}");
}

#[test]
fn a_service_is_ready_feeds_the_watchdog_reloads_and_stops() {
    let mut primary = Primary::recent("prod", 1);
    let site = Site::new(&primary);
    let socket = UnixDatagram::bind(site.path("notify")).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let mut command = site.command(&["run"]);
    command.env("NOTIFY_SOCKET", site.path("notify")).env("WATCHDOG_USEC", "2000000").stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    heard(&socket, "READY=1");
    heard(&socket, "all is well");
    heard(&socket, "WATCHDOG=1");
    primary.snapshot(1);
    site.write(&primary);
    let deadline = Instant::now() + Duration::from_secs(20);
    while check(&site.path("vault"), &primary) != [1, 2] {
        assert!(Instant::now() < deadline, "the new snapshot was not pulled");
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(code(&site.run(&["status"])), 0, "status works beside it");
    assert_eq!(code(&site.run(&["pull", "--once"])), 1, "a second writer is refused");

    let good = std::fs::read_to_string(&site.config).unwrap();
    std::fs::write(&site.config, "nonsense").unwrap();
    signal(&child, "-HUP");
    let words = heard(&socket, "READY=1");
    assert!(words.contains("RELOADING=1"), "{words}");
    std::fs::write(&site.config, good.replace("poll_seconds = 1", "poll_seconds = 600")).unwrap();
    signal(&child, "-HUP");
    heard(&socket, "10 min");
    heard(&socket, "WATCHDOG=1");
    let asked = Instant::now();
    signal(&child, "-TERM");
    assert_eq!(ended(&mut child, Duration::from_secs(10)), 0);
    assert!(asked.elapsed() < Duration::from_secs(5));
    heard(&socket, "STOPPING=1");
    assert_eq!(code(&site.run(&["pull", "--once"])), 0);
}

#[test]
fn a_process_killed_at_any_time_loses_nothing() {
    let primary = Primary::recent("prod", 6);
    for delay in (5..120).step_by(9) {
        let site = Site::new(&primary);
        let mut child =
            site.command(&["pull", "--once"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(delay));
        let _ = child.kill();
        let _ = child.wait();
        check(&site.path("vault"), &primary);
        let output = site.run(&["pull", "--once"]);
        assert_eq!(code(&output), 0, "{}", text(&output.stderr));
        assert_eq!(check(&site.path("vault"), &primary), [1, 2, 3, 4, 5, 6]);
        check_receipts(&site.path("vault"), &primary, &[1, 2, 3, 4, 5, 6]);
    }
}

#[test]
fn the_example_configuration_parses() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../systemd/replicator.example.toml");
    let example = setup::load(&path).unwrap();
    assert_eq!(example.sources.len(), 1);
    // What is commented out is known too.
    let text = std::fs::read_to_string(&path).unwrap();
    let all: Vec<&str> =
        text.lines().map(|l| l.strip_prefix('#').filter(|l| !l.starts_with(' ')).unwrap_or(l)).collect();
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("all.toml"), all.join("\n")).unwrap();
    let full: config::ReplicatorConfig = config::load(&dir.path().join("all.toml")).unwrap();
    assert!(
        full.state.is_some()
            && full.sources[0].s3.ca_file.is_some()
            && full.sources[0].s3.path_style == Some(true)
    );
}

/// Run by hand: `cargo test -p lifeboat-replicator --test pull figures -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement, not a test"]
fn figures() {
    let mut primary = Primary::new("prod");
    let entries = (0..64_u8).map(|i| {
        let seed = u64::from(i) + 7;
        let bytes: Vec<u8> =
            (0..16_u64 << 17).flat_map(|n| (n.wrapping_mul(seed) ^ (n << 31)).to_le_bytes()).collect();
        let sha256 = Sha256::of(&bytes);
        primary.store.put(&layout::pack(&sha256), bytes);
        PackEntry { sha256, size: 16 << 20, handle: Handle([i; 16]) }
    });
    let entries = entries.collect();
    let set = primary.put_list(entries);
    let manifest = primary.manifest(vec![set]);
    primary.commit(&manifest);
    let site = Site::new(&primary);
    for what in ["1 GiB in 64 packs", "nothing new"] {
        let began = Instant::now();
        let mut child =
            site.command(&["pull", "--once"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let mut peak = String::new();
        let path = format!("/proc/{}/status", child.id());
        while child.try_wait().unwrap().is_none() {
            let status = std::fs::read_to_string(&path).unwrap_or_default();
            if let Some(line) = status.lines().find(|l| l.starts_with("VmHWM")) {
                line.clone_into(&mut peak);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        println!("{what}, directory to directory: {:?}, {peak}", began.elapsed());
    }
}

#[test]
fn the_service_forgets_by_the_policy_and_a_person_can_say_otherwise() {
    let primary = Primary::recent("prod", 12);
    let site = Site::new(&primary);
    let good = std::fs::read_to_string(&site.config).unwrap();
    let policy = "[source.retention]\nwithin_hours = 0\nlast = 2\ndaily = 3\nweekly = 0\nmonthly = 0\nyearly = 0\n\
                  floor_hours = 0\nscope_days = 0\nmax_percent = 100\n";
    std::fs::write(&site.config, format!("{good}{policy}")).unwrap();
    assert_eq!(code(&site.run(&["pull", "--once"])), 0);
    let table = site.run(&["retain", "--dry-run"]);
    assert_eq!(code(&table), 0, "{}", text(&table.stderr));
    let shown = text(&table.stdout);
    assert!(shown.contains("keep: minimum, last") && shown.contains("forget"), "{shown}");
    assert!(!site.path("vault/prod/tombstones").exists(), "a dry run changes nothing");
    let held = site.run(&["hold", "3", "--reason", "a court asked"]);
    assert_eq!(code(&held), 0, "{}", text(&held.stderr));

    let mut child = site.command(&["run"]).stderr(Stdio::null()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(120);
    let tombstones = || std::fs::read_dir(site.path("vault/prod/tombstones")).map_or(0, Iterator::count);
    while tombstones() < 6 {
        assert!(Instant::now() < deadline, "{} tombstones", tombstones());
        std::thread::sleep(Duration::from_millis(100));
    }
    signal(&child, "-TERM");
    assert_eq!(ended(&mut child, Duration::from_secs(20)), 0);
    assert!(!site.path(&format!("vault/prod/{}", layout::tombstone(3))).exists(), "it is held");
    assert_eq!(code(&site.run(&["undo", "5"])), 0);
    let again = site.run(&["undo", "5"]);
    assert_eq!(code(&again), 1);
    assert!(text(&again.stderr).contains("is not forgotten"), "{}", text(&again.stderr));
    assert_eq!(code(&site.run(&["alarm", "list"])), 0);
    assert_eq!(code(&site.run(&["alarm", "show", "zz"])), 2);
}
