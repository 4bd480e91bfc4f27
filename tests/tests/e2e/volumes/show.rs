//! The whole of it: a shop with a database is backed up by schedule while it runs, its cluster and its primary are lost,
//! and it comes back from the vault: every byte and attribute, every row that was there before the hook.

use super::common::*;
use super::*;
use crate::fill::provisioner::Provisioner;
use crate::fill::{deployment, get, nothing_is_left, seen, stateful_set, wait};
use lifeboat_tests::harness::image::{Image, REDIS};
use lifeboat_tests::trees::rsync_differences;

const SHOP: &str = "shop";
/// Claims whose content does not change after they are written.
const STILL: [&str; 5] = ["data-web-0", "data-web-1", "data-web-2", "shared", "retired"];

#[test]
fn a_shop_with_a_database_comes_back_from_the_vault_as_it_was() {
    if !may_start_nodes("a_shop_with_a_database_comes_back_from_the_vault_as_it_was") {
        return;
    }
    let site = Site::start();
    redis_image(&site.node);
    let provisioner = Provisioner::start(&site.node);
    let shop = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SHOP}});
    site.node.apply(&shop.to_string()).unwrap();
    site.prepared.install(site.node.kubeconfig(), &["--no-wait", "--hooks", SHOP]).expect(0);
    open(&site.node);
    fill(&site.node, &provisioner);
    begin(&site, "by-hand", &[SHOP]);
    let status = ended(&site, "by-hand", "Completed");
    assert_eq!(status["volumes"], 6, "{status:#}");
    // One is mounted by nobody from now on: its last tree is kept.
    site.node.kubectl(&["-n", SHOP, "delete", "deployment", "retired"]).unwrap();
    by_schedule(&site);
    let report = report(&site);
    assert_eq!(consistency(&report, "redis"), "hooked", "{report:#}");
    assert!(report["kept"].to_string().contains("retired"), "{report:#}");

    let vault = super::whole::pulled(&site);
    let before = tempfile::tempdir().unwrap();
    let copies = STILL.map(|claim| copy(&site.node, &provisioner, claim, before.path()));
    let Site { prepared, server, node, .. } = site;
    drop((provisioner, server, node));

    let node = Node::start().unwrap();
    node.load_image(image()).unwrap();
    redis_image(&node);
    let provisioner = Provisioner::start(&node);
    let identity = prepared.folder.join("identity.txt").display().to_string();
    let kubeconfig = node.kubeconfig().display().to_string();
    let words =
        ["restore", "latest", "--repo", &vault, "--yes", "--namespace", SHOP, "--identity", &identity];
    let since = Instant::now();
    let ran = prepared.world.lifeboat(&[&words[..], &["--kubeconfig", &kubeconfig]].concat());
    assert!(matches!(ran.code, 0 | 3), "{}", ran.said());
    println!("restored in {:.1} s", since.elapsed().as_secs_f32());
    for (claim, copy) in STILL.iter().zip(&copies) {
        let path = path(&node, &provisioner, claim);
        assert_eq!(rsync_differences(copy, &path).unwrap(), "", "{claim}: {}", ran.said());
    }
    let claims = node.kubectl(&["-n", SHOP, "get", "pvc", "-o=name"]).unwrap();
    assert!(!claims.contains("private"), "{claims}");
    nobody_saw_less(&node, &copies);
    println!("{} rows", every_row_is_there(&node));
    nothing_is_left(&node, "Delete");
}

fn redis_image(node: &Node) {
    let folder = tempfile::tempdir().unwrap();
    let archive = folder.path().join("redis.tar");
    Image::redis(REDIS).unwrap().write(&archive).unwrap();
    node.load_image(&archive).unwrap();
}

fn claim(name: &str, labels: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": SHOP, "labels": labels},
        "spec": {
            "accessModes": ["ReadWriteOnce"], "storageClassName": "late",
            "resources": {"requests": {"storage": "100Mi"}},
        },
    })
}

/// A database that is written all the time: each row is one more than the last, and rows are on the disk before they are
/// acknowledged. Its hooks stop the writing and note how many rows there are.
fn redis() -> Value {
    let shell = |line: &str| json!(["sh", "-c", line]).to_string();
    let server = "exec redis-server --dir /data --appendonly yes --appendfsync always --save '' --port 6379";
    let write = "until redis-cli PING | grep -q PONG; do sleep 0.1; done; n=$(redis-cli LLEN rows); echo began with $n; \
                 while :; do n=$((n+1)); redis-cli RPUSH rows $n >/dev/null || exit 1; done";
    let pre =
        "redis-cli CLIENT PAUSE 300000 WRITE | grep -q OK && redis-cli LLEN rows > /data/rows-at-the-hook";
    let container = |name: &str, line: &str| {
        json!({
            "name": name, "image": REDIS, "imagePullPolicy": "Never", "command": ["sh", "-c", line],
            "volumeMounts": [{"name": "data", "mountPath": "/data"}],
        })
    };
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "redis", "namespace": SHOP},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "redis"}}, "template": {
            "metadata": {"labels": {"app": "redis"}, "annotations": {
                PRE: shell(pre), POST: shell("redis-cli CLIENT UNPAUSE"),
                "pre.hook.backup.velero.io/container": "redis",
            }},
            "spec": {
                "terminationGracePeriodSeconds": 0,
                "containers": [container("redis", server), container("writer", write)],
                "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "redis"}}],
            },
        }},
    })
}

fn open(node: &Node) {
    let none = json!({});
    for name in ["shared", "retired", "redis"] {
        node.apply(&claim(name, &none).to_string()).unwrap();
    }
    node.apply(&claim("private", &json!({"compliantkubernetes.io/nobackup": "yes"})).to_string()).unwrap();
    let mut shared: Value = serde_json::from_slice(&deployment(SHOP, "page", "shared")).unwrap();
    shared["spec"]["replicas"] = json!(2);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let all = [
        text(stateful_set(SHOP, "web", "late", 3)),
        shared.to_string(),
        text(deployment(SHOP, "retired", "retired")),
        text(deployment(SHOP, "private", "private")),
        redis().to_string(),
    ];
    for object in all {
        node.apply(&object).unwrap();
    }
    let ready = ["-n", SHOP, "wait", "--for=condition=Ready", "pods", "--all", "--timeout=120s"];
    wait("pods", Duration::from_secs(60), || {
        node.kubectl(&["-n", SHOP, "get", "pods", "-o=name"]).unwrap().lines().count() == 8
    });
    node.kubectl(&ready).unwrap();
}

fn path(node: &Node, provisioner: &Provisioner, claim: &str) -> PathBuf {
    let bound = get(node, &["-n", SHOP, "persistentvolumeclaim", claim]);
    provisioner.path(bound["spec"]["volumeName"].as_str().unwrap())
}

/// Content with owners, modes, links, attributes and holes.
fn fill(node: &Node, provisioner: &Provisioner) {
    for claim in STILL.iter().chain(&["private"]) {
        let path = path(node, provisioner, claim);
        random_files(&path, 12, 200_000);
        let dress = r#"cd "$0" && mkdir -p deep/er && cp file-1 deep/er/copy && ln file-2 deep/hard && ln -s ../file-3 deep/soft \
            && chown 1234:5678 file-4 deep && chmod 2750 deep && chmod 4711 file-5 && setfattr -n user.color -v blue file-6 \
            && setfacl -m u:1000:rw file-7 && touch -d 2001-02-03T04:05:06.789 file-8 deep && truncate -s 5M hole \
            && setcap cap_net_raw+ep file-9 && chown 33:33 ."#;
        let done = std::process::Command::new("sh").args(["-c", dress]).arg(&path).status().unwrap();
        assert!(done.success());
    }
}

fn by_schedule(site: &Site) {
    let patch = json!({"spec": {"schedule": "* * * * *", "template": {"includedNamespaces": [SHOP]}}});
    let schedule = ["-n", "lifeboat", "patch", "backupschedule", "daily", "--type=merge", "-p"];
    site.node.kubectl(&[&schedule[..], &[&patch.to_string()]].concat()).unwrap();
    let label = "-l=lifeboat.dev/schedule=daily";
    let names = || site.node.kubectl(&["-n", "lifeboat", "get", "backups", "-o=name", label]).unwrap();
    wait("the schedule's backup", Duration::from_secs(100), || !names().is_empty());
    let pause = json!({"spec": {"paused": true}}).to_string();
    site.node.kubectl(&[&schedule[..], &[&pause]].concat()).unwrap();
    let name = names().lines().next().unwrap().rsplit('/').next().unwrap().to_owned();
    let status = ended(site, &name, "Completed");
    assert_eq!(status["volumes"], 6, "{status:#}");
}

fn copy(node: &Node, provisioner: &Provisioner, claim: &str, to: &Path) -> PathBuf {
    let copy = to.join(claim);
    let from = path(node, provisioner, claim);
    let done = std::process::Command::new("cp").arg("-a").arg(from).arg(&copy).status().unwrap();
    assert!(done.success());
    copy
}

/// What each Pod found when it started is all that its volume holds.
fn nobody_saw_less(node: &Node, copies: &[PathBuf]) {
    let sums = |copy: &Path| {
        let line = "cd \"$0\" && find . -type f | sort | xargs sha256sum; echo seen";
        let done = std::process::Command::new("sh").args(["-c", line]).env("LC_ALL", "C").arg(copy).output();
        String::from_utf8(done.unwrap().stdout).unwrap()
    };
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let saw = seen(node, SHOP, "web", 3);
    for (log, copy) in saw.iter().zip(copies) {
        assert_eq!(sorted(log), sorted(&sums(copy)));
    }
    for log in seen(node, SHOP, "page", 2) {
        assert_eq!(sorted(&log), sorted(&sums(&copies[3])));
    }
}

/// The database starts with exactly the rows that the hook counted, and goes on from there.
fn every_row_is_there(node: &Node) -> usize {
    let redis = |line: &str| {
        let words = ["-n", SHOP, "exec", "deployment/redis", "-c", "redis", "--", "sh", "-c", line];
        node.kubectl(&words).unwrap()
    };
    node.kubectl(&["-n", SHOP, "rollout", "status", "deployment/redis", "--timeout=90s"]).unwrap();
    let counted: usize = redis("cat /data/rows-at-the-hook").trim().parse().unwrap();
    assert!(counted > 100, "{counted} rows");
    let logs = || node.kubectl(&["-n", SHOP, "logs", "deployment/redis", "-c", "writer"]).unwrap();
    wait("the writer", Duration::from_secs(60), || logs().contains("began with"));
    assert!(logs().lines().any(|l| l == format!("began with {counted}")), "{counted}: {}", logs());
    let rows = redis(&format!("redis-cli LRANGE rows 0 {}", counted - 1));
    assert!(rows.lines().enumerate().all(|(at, row)| row == (at + 1).to_string()), "every row, in order");
    counted
}
