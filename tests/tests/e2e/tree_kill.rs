//! `kill -9` at twenty random moments of a long first backup: it finishes, what is restored is whole, and hardly more is
//! stored than by a run that nobody disturbed. And a store that is away for a while.

use crate::tree::{From, backup_path, bytes, extracted, same, seen};
use crate::world::{S3Flags, World};
use lifeboat_tests::harness::S3Server;
use lifeboat_tests::harness::s3::ROOT;
use lifeboat_tests::trees::nasty::{noise, text};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// About `megabytes` MB: large files, and as many small ones.
fn make(tree: &Path, megabytes: usize) {
    let mut random = StdRng::seed_from_u64(5);
    for n in 0..megabytes / 10 {
        let folder = tree.join(format!("{n:02}"));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("large"), noise(&mut random, 7 << 20)).unwrap();
        for m in 0..100 {
            fs::write(folder.join(format!("small{m}")), noise(&mut random, 30_000)).unwrap();
        }
        fs::write(folder.join("text"), text(&mut random, 100_000)).unwrap();
    }
}

fn arguments<'a>(config: &'a Path, tree: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
    let place = ["backup-path", "--config", config.to_str().unwrap(), "--name", "v", tree.to_str().unwrap()];
    [&place, more].concat()
}

#[test]
fn a_long_first_backup_survives_twenty_kills() {
    let undisturbed = World::file();
    let tree = undisturbed.folder().join("tree");
    make(&tree, 200);
    backup_path(&undisturbed, "v", &tree, &[]).expect(0);
    let wanted = bytes(&undisturbed.primary().join("packs"));

    let world = World::file();
    let config = world.admin().join("agent.toml");
    // Ten MB a second: twenty seconds in all, if nobody kills it.
    let args = arguments(&config, &tree, &["--bandwidth", "10M"]);
    let mut random = StdRng::seed_from_u64(6);
    let (mut kills, mut done) = (0, false);
    while kills < 20 && !done {
        let mut child = world.spawn("lifeboat-agent", &args);
        std::thread::sleep(Duration::from_millis(random.random_range(100..2000)));
        // SIGKILL.
        child.kill().unwrap();
        done = child.wait().unwrap().success();
        kills += 1;
    }
    assert!(kills >= 15, "it was through after {kills} kills: make it slower");
    backup_path(&world, "v", &tree, &[]).expect(0);
    let stored = bytes(&world.primary().join("packs"));
    let more = 100.0 * (stored as f64 / wanted as f64 - 1.0);
    assert!(more <= 2.0, "{kills} kills: {stored} bytes in packs, {wanted} undisturbed: {more:.2} % more");
    let (_folder, restored) = extracted(&world, From::Primary, "latest", "v");
    same(&seen(&tree), &restored);
    world.pull().expect(0);
    world.on_vault(&["verify"]).expect(0);
}

/// How long a store is away. Longer: `LIFEBOAT_OUTAGE=60`.
fn outage() -> Duration {
    let seconds = std::env::var("LIFEBOAT_OUTAGE").ok().and_then(|n| n.parse().ok());
    Duration::from_secs(seconds.unwrap_or(8))
}

#[test]
fn a_store_that_is_away_for_a_while_costs_only_time() {
    let server = S3Server::start_default().unwrap();
    server.create_bucket("outage").unwrap();
    let s3 = S3Flags { endpoint: server.endpoint(), credentials: server.credentials_file(ROOT).unwrap() };
    let world = World::at(&s3, "outage");
    let tree = world.folder().join("tree");
    make(&tree, 60);
    let config = world.admin().join("agent.toml");
    let args = arguments(&config, &tree, &["--bandwidth", "10M"]);
    let mut child = world.spawn("lifeboat-agent", &args);
    std::thread::sleep(Duration::from_secs(2));
    server.stop();
    std::thread::sleep(outage());
    assert!(child.try_wait().unwrap().is_none(), "it gave up");
    server.start().unwrap();
    let limit = Instant::now() + Duration::from_secs(120);
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        assert!(Instant::now() < limit, "it hangs");
        std::thread::sleep(Duration::from_millis(100));
    };
    let log = fs::read_to_string(world.folder().join("lifeboat-agent.log")).unwrap();
    assert!(status.success(), "{log}");
    let (_folder, restored) = extracted(&world, From::Primary, "latest", "v");
    same(&seen(&tree), &restored);
}
