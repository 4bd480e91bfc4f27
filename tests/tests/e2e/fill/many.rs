//! One file out of a volume with very many, beside the workload that runs.

use super::provisioner::Provisioner;
use super::*;

const FILES: usize = 100_000;

#[test]
fn one_file_of_a_hundred_thousand_comes_back_beside_the_running_workload() {
    let Some(node) = node("one_file_of_a_hundred_thousand_comes_back_beside_the_running_workload") else {
        return;
    };
    let provisioner = Provisioner::start(&node);
    let mut tree = TestTree::new();
    for n in 0..FILES {
        if n % 1000 == 0 {
            tree = tree.directory(format!("d-{}", n / 1000));
        }
        tree = tree.file(format!("d-{}/f-{n}", n / 1000), noise(n as u64, 100 + n % 400));
    }
    let snapshot = SnapshotBuilder::default()
        .object(None, "namespace", "shop", namespace("shop"))
        .object(Some("shop"), "persistentvolumeclaim", "data", claim("shop", "data", "late"))
        .object(Some("shop"), "deployment.apps", "web", deployment("shop", "web", "data"))
        .volume("shop", "data", tree);
    let snapshot = Snapshot::of(&snapshot);
    let since = Instant::now();
    let report = snapshot.restore(&node, &[]).expect(0).json();
    println!("{FILES} files and their workload in {:.1} s", since.elapsed().as_secs_f32());
    assert_eq!(report["failed"]["count"], 0, "{report}");
    node.kubectl(&["-n", "shop", "rollout", "status", "deployment/web", "--timeout=90s"]).unwrap();
    for n in [77_777, 3] {
        let claim = format!("one-{n}");
        let part = format!("shop/data:d-{}/f-{n}", n / 1000);
        let since = Instant::now();
        let report = snapshot.restore(&node, &["--volume", &part, "--as-claim", &claim]).expect(0).json();
        let took = since.elapsed();
        println!("one file of {FILES} beside the running workload in {:.1} s", took.as_secs_f32());
        assert_eq!(report["created"], 1, "{report}");
        assert!(took < Duration::from_secs(60), "{took:?}");
        let bound = get(&node, &["-n", "shop", "persistentvolumeclaim", &claim]);
        let path = provisioner.path(bound["spec"]["volumeName"].as_str().unwrap());
        let content = std::fs::read(path.join(format!("d-{}/f-{n}", n / 1000))).unwrap();
        assert!(content == noise(n as u64, 100 + n % 400));
        assert_eq!(std::fs::read_dir(&path).unwrap().count(), 1, "and nothing else");
    }
    nothing_is_left(&node, "Delete");
}
