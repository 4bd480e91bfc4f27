//! SIGKILL for everybody who has a part in it, at moments that differ from run to run: each run ends complete, and leaves
//! nothing behind. `LIFEBOAT_KILLS` says how many.

use super::common::*;
use super::*;
use crate::fill::provisioner::Provisioner;
use lifeboat_tests::trees::rsync_differences;
use rand::{Rng as _, SeedableRng as _};

#[test]
fn whoever_is_killed_at_any_moment_volumes_come_back_whole() {
    if !may_start_nodes("whoever_is_killed_at_any_moment_volumes_come_back_whole") {
        return;
    }
    let runs: u64 = std::env::var("LIFEBOAT_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(2);
    let site = Site::start();
    let provisioner = Provisioner::start(&site.node);
    writer(&site, "apps", "busy", &freezing("0.5"));
    site.prepared.install(site.node.kubeconfig(), &["--no-wait", "--hooks", "apps"]).expect(0);
    let (still, _) = site.claim("apps", "still");
    random_files(&still, 200, 20_000);
    for run in 0..runs {
        let since = Instant::now();
        // What is read anew each time.
        random_files(&still, 12, 4 << 20);
        let mut random = rand::rngs::StdRng::seed_from_u64(run);
        let killed = backed_up(&site, run, &mut random);
        let more = restored(&site, &provisioner, &still, &mut random);
        println!("run {run}: killed {killed} and {more}, {:.0} s", since.elapsed().as_secs_f32());
    }
}

/// A Backup, with kills of controllers and daemon.
fn backed_up(site: &Site, run: u64, random: &mut rand::rngs::StdRng) -> String {
    let name = format!("run-{run}");
    begin(site, &name, &["apps"]);
    let mut killed = Vec::new();
    for _ in 0..random.random_range(1..=3) {
        std::thread::sleep(Duration::from_millis(random.random_range(100..5000)));
        let victim = if random.random_bool(0.5) { "controller" } else { "node" };
        killed.push(format!("{}x{victim}", kill(&site.node, victim)));
    }
    let status = ended(site, &name, "Completed");
    assert_eq!(status["volumes"], 2, "{status:#}");
    thawed(site, "apps", "busy");
    assert_eq!(site.nodes(&["get", "volumebackups", "-o=name"]), "", "run {run}");
    if consistency(&report(site), "busy") == "hooked" {
        assert_eq!(file_of(site, "volumes/apps/busy/log").lines().last(), Some("still"));
    }
    killed.join(" ")
}

/// A restore beside the original, with kills of workers and of the command, which is called until it is done.
fn restored(site: &Site, provisioner: &Provisioner, still: &Path, random: &mut rand::rngs::StdRng) -> String {
    let kubeconfig = site.node.kubeconfig().display().to_string();
    let place = primary(site);
    let words = [
        "restore",
        "latest",
        "--namespace",
        "apps",
        "--namespace-map",
        "apps=copy",
        "--storage-class-map",
        "local=late",
        "--yes",
        "--kubeconfig",
        &kubeconfig,
    ];
    let words: Vec<&str> = words.into_iter().chain(place.iter().map(String::as_str)).collect();
    let (mut workers, mut commands) = (0, 0);
    let mut child = site.prepared.world.spawn("lifeboat", &words);
    let since = Instant::now();
    let code = loop {
        assert!(since.elapsed() < Duration::from_secs(300), "it does not end");
        if let Some(status) = child.try_wait().unwrap() {
            break status.code();
        }
        std::thread::sleep(Duration::from_millis(random.random_range(50..2500)));
        if workers < 3 && random.random_bool(0.5) {
            workers += kill(&site.node, "fill");
        } else if commands < 2 && random.random_bool(0.3) {
            child.kill().unwrap();
            child.wait().unwrap();
            commands += 1;
            child = site.prepared.world.spawn("lifeboat", &words);
        }
    };
    let said = std::fs::read_to_string(site.prepared.world.folder().join("lifeboat.log")).unwrap();
    assert!(matches!(code, Some(0 | 3)), "{code:?} {said}");
    for claim in ["still", "busy"] {
        let phase = ["-n", "copy", "get", "pvc", claim, "-o=jsonpath={.status.phase} {.spec.volumeName}"];
        let bound = site.node.kubectl(&phase).unwrap_or_else(|e| panic!("{e:#} {said}"));
        let volume = bound.strip_prefix("Bound ").unwrap_or_else(|| panic!("{claim}: {bound} {said}"));
        if claim == "still" {
            assert_eq!(rsync_differences(still, &provisioner.path(volume)).unwrap(), "");
        }
    }
    site.node.kubectl(&["delete", "namespace", "copy"]).unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while provisioner.folders() > 0 {
        assert!(Instant::now() < deadline, "volumes are left");
        std::thread::sleep(Duration::from_millis(300));
    }
    crate::fill::wait("no working namespace", Duration::from_secs(30), || {
        !site.node.kubectl(&["get", "namespaces", "-o=name"]).unwrap().contains("lifeboat-restore")
    });
    let marked =
        site.node.kubectl(&["get", "persistentvolumes", "-o=name", "-l=lifeboat.dev/restore"]).unwrap();
    assert_eq!(marked, "");
    let slow = if since.elapsed() > Duration::from_secs(60) { said.as_str() } else { "" };
    format!("{workers}xfill {commands}xcommand {slow}")
}
