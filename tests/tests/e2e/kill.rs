//! kill -9 of the agent's and the replicator's processes at each storage operation in turn, on a real S3 server: every
//! committed snapshot restores completely, and the next run goes through.

use crate::inprocess::namespace;
use crate::killer::{Killer, Moment};
use crate::world::{S3Flags, World, files, kubeconfig, shared_s3};
use std::collections::BTreeMap;

fn through(killer: &Killer, world: &World) {
    let credentials = shared_s3().credentials_file(lifeboat_tests::harness::s3::ROOT).unwrap();
    world.use_s3(&S3Flags { endpoint: killer.endpoint(), credentials });
}

/// Runs a program that dies at its nth request; false when it ended before.
fn dies_at(killer: &Killer, world: &World, n: usize, moment: Moment, name: &str, args: &[&str]) -> bool {
    killer.arm(n, moment);
    let mut child = world.spawn(name, args);
    killer.victim(child.id());
    let status = child.wait().unwrap();
    let fired = killer.fired();
    killer.disarm();
    assert!(fired || status.success() || status.code() == Some(3), "request {n}: {status}");
    fired
}

/// What `extract` gives of every snapshot, by path below it.
fn contents(world: &World) -> Vec<BTreeMap<String, Vec<u8>>> {
    let list = world.on_vault(&["snapshots", "--json"]).expect(0).json();
    let seqs: Vec<u64> =
        list["snapshots"].as_array().unwrap().iter().map(|s| s["seq"].as_u64().unwrap()).collect();
    let extract = |seq: &u64| {
        let out = tempfile::tempdir().unwrap();
        let to = out.path().join("x");
        world.on_vault(&["extract", &seq.to_string(), "--to", to.to_str().unwrap()]).expect(0);
        let relative = |f: &std::path::PathBuf| f.strip_prefix(&to).unwrap().display().to_string();
        files(&to).iter().map(|f| (relative(f), std::fs::read(f).unwrap())).collect()
    };
    seqs.iter().map(extract).collect()
}

#[test]
fn the_agent_may_be_killed_at_every_request() {
    namespace("kill-agent", 15);
    let world = World::s3("kill-agent");
    let killer = Killer::before(shared_s3().address().into());
    through(&killer, &world);
    let config = world.admin().join("agent.toml");
    let kubeconfig = kubeconfig().to_str().unwrap();
    let args = [
        "backup",
        "--config",
        config.to_str().unwrap(),
        "--kubeconfig",
        kubeconfig,
        "--namespace",
        "kill-agent",
    ];
    let mut runs = 0;
    for moment in [Moment::Before, Moment::After] {
        for n in 1.. {
            let fired = dies_at(&killer, &world, n, moment, "lifeboat-agent", &args);
            world.run("lifeboat-agent", &args).expect(0);
            runs += 1;
            if !fired {
                assert!(n > 8, "only {n} requests in a run");
                break;
            }
        }
    }
    world.pull().expect(0);
    world.on_vault(&["verify"]).expect(0);
    let all = contents(&world);
    assert!(all.len() >= runs, "{} snapshots of {runs} runs", all.len());
    assert!(all[0].len() >= 17, "{:?}", all[0].keys());
    for snapshot in &all {
        assert!(*snapshot == all[0]);
    }
}

#[test]
fn the_replicator_may_be_killed_at_every_request() {
    namespace("kill-replicator", 15);
    let world = World::s3("kill-replicator");
    for _ in 0..3 {
        world.backup(kubeconfig(), &["--namespace", "kill-replicator"]).expect(0);
    }
    let killer = Killer::before(shared_s3().address().into());
    through(&killer, &world);
    let config = world.admin().join("replicator.toml");
    let args = ["pull", "--once", "--config", config.to_str().unwrap()];
    for moment in [Moment::Before, Moment::After] {
        for n in 1.. {
            std::fs::remove_dir_all(world.vault()).unwrap();
            std::fs::create_dir(world.vault()).unwrap();
            // An administrator's machine remembers the vault that was there, and would complain.
            let _none = std::fs::remove_dir_all(world.folder().join("xdg-state"));
            let fired = dies_at(&killer, &world, n, moment, "lifeboat-replicator", &args);
            // Whatever is there now is whole.
            if world.kept().join("manifests").is_dir() {
                world.on_vault(&["verify"]).expect(0);
            }
            world.pull().expect(0);
            if !fired {
                assert!(n > 10, "only {n} requests in a pull");
                break;
            }
        }
    }
    world.on_vault(&["verify"]).expect(0);
    assert_eq!(contents(&world).len(), 3);
}
