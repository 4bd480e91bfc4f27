//! Worker and command die at any moment, and the restore goes on: whole at the end, with nothing left.

use super::provisioner::Provisioner;
use super::*;

/// Two volumes and their workloads.
fn sample() -> SnapshotBuilder {
    let mut snapshot = SnapshotBuilder::default().object(None, "namespace", "shop", namespace("shop"));
    for (seed, name) in [(1, "one"), (2, "two")] {
        snapshot = snapshot
            .object(Some("shop"), "persistentvolumeclaim", name, claim("shop", name, "late"))
            .object(Some("shop"), "deployment.apps", name, deployment("shop", name, name))
            .volume("shop", name, tree(seed * 1000, 500, 3));
    }
    snapshot
}

/// Both volumes have what they should, and nothing else.
fn is_whole(node: &Node, provisioner: &Provisioner) {
    for (seed, name) in [(1, "one"), (2, "two")] {
        let claim = get(node, &["-n", "shop", "persistentvolumeclaim", name]);
        let path = provisioner.path(claim["spec"]["volumeName"].as_str().unwrap());
        for n in 0..500 {
            let content = std::fs::read(path.join(format!("d/f-{n}"))).unwrap();
            assert!(content == noise(seed * 1000 + n as u64, 1000 + n % 5000), "{name}: f-{n}");
        }
        for n in 0..3 {
            let content = std::fs::read(path.join(format!("large-{n}"))).unwrap();
            assert!(content == noise((seed * 1000) ^ 0xff00 ^ n, 8 << 20), "{name}: large-{n}");
        }
        assert_eq!(std::fs::read_dir(path.join("d")).unwrap().count(), 500);
        assert_eq!(std::fs::read_dir(&path).unwrap().count(), 5, "nothing unfinished");
        assert_eq!(seen(node, "shop", name, 1)[0].lines().count(), 504, "{name}: no Pod saw less");
    }
}

#[test]
fn a_command_that_is_killed_goes_on_and_leaves_nothing() {
    let Some(node) = node("a_command_that_is_killed_goes_on_and_leaves_nothing") else { return };
    let provisioner = Provisioner::start(&node);
    let snapshot = Snapshot::of(&sample());
    for round in 0..rounds() {
        let mut pause = 200 + (round * 7919) % 2500;
        loop {
            let mut child = snapshot.start(&node, &[]);
            let until = Instant::now() + Duration::from_millis(pause);
            while Instant::now() < until && child.try_wait().unwrap().is_none() {
                std::thread::sleep(Duration::from_millis(20));
            }
            if child.try_wait().unwrap().is_some() {
                break;
            }
            child.kill().unwrap();
            child.wait().unwrap();
            pause += 1300;
        }
        let last = snapshot.restore(&node, &[]).json();
        assert_eq!(last["failed"]["count"], 0, "{last}");
        is_whole(&node, &provisioner);
        nothing_is_left(&node, "Delete");
        node.kubectl(&["delete", "namespace", "shop"]).unwrap();
        wait("volumes are reclaimed", Duration::from_secs(60), || provisioner.folders() == 0);
    }
}

#[test]
fn workers_that_are_killed_are_replaced() {
    let Some(node) = node("workers_that_are_killed_are_replaced") else { return };
    let provisioner = Provisioner::start(&node);
    let snapshot = Snapshot::of(&sample());
    let mut child = snapshot.start(&node, &[]);
    let mut killed = 0;
    let since = Instant::now();
    while child.try_wait().unwrap().is_none() {
        assert!(since.elapsed() < Duration::from_secs(240), "it does not end");
        // The process that writes, as the kernel sees it; or, now and then, its Pod.
        if killed < 6 {
            let kill = r#"for p in /proc/[0-9]*; do
                if tr '\0' ' ' < "$p/cmdline" 2>/dev/null | grep -q '^/usr/bin/lifeboat-agent fill --to'; then
                    kill -9 "${p#/proc/}" && echo killed; exit 0
                fi
            done"#;
            killed += node.run(&["sh", "-c", kill]).unwrap().lines().count();
        }
        std::thread::sleep(Duration::from_millis(150));
    }
    assert!(killed > 0, "no worker was there to be killed");
    println!("{killed} workers killed, {:.1} s", since.elapsed().as_secs_f32());
    println!("{}", snapshot.said());
    assert!(child.wait().unwrap().success());
    is_whole(&node, &provisioner);
    nothing_is_left(&node, "Delete");
}

/// More by hand.
fn rounds() -> u64 {
    std::env::var("FILL_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(2)
}
