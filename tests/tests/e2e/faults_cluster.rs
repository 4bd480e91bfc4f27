//! A cluster in trouble: its API server goes away in the middle, or is not there at all; a group of its API is dead;
//! it is another one than before.

use crate::faults::{manifests, says};
use crate::faults_front::{Front, Mood};
use crate::world::{World, kubeconfig};
use lifeboat_tests::harness::cluster::Cluster;
use lifeboat_tests::harness::ports;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const OBJECTS: usize = 60;
const EACH: usize = 15_000;

/// A namespace whose objects take a moment to read or to write.
fn load(cluster: &Cluster) {
    use base64::Engine as _;
    cluster.kubectl(&["create", "namespace", "away"]).unwrap();
    let object = |i: usize| {
        let noise: Vec<u8> = (0..EACH).map(|_| rand::random()).collect();
        let noise = base64::prelude::BASE64_STANDARD.encode(noise);
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c{i:04}, namespace: away}}\ndata: {{noise: {noise}}}\n"
        )
    };
    let yaml: Vec<String> = (0..OBJECTS).map(object).collect();
    cluster.kubectl_stdin(&["create", "--filename=-"], yaml.join("---\n")).unwrap();
}

/// A kubeconfig for the same user at another address.
fn kubeconfig_at(world: &World, cluster: &Cluster, address: &str) -> PathBuf {
    let text = std::fs::read_to_string(cluster.kubeconfig()).unwrap();
    let path = world.folder().join(format!("kubeconfig-{}", address.replace(':', "-")));
    std::fs::write(&path, text.replace(cluster.url(), &format!("https://{address}"))).unwrap();
    path
}

fn front(cluster: &Cluster) -> Front {
    Front::before(cluster.url().trim_start_matches("https://").parse().unwrap())
}

fn log(world: &World, program: &str) -> String {
    std::fs::read_to_string(world.folder().join(format!("{program}.log"))).unwrap()
}

fn backup_waits_for_the_server(world: &World, cluster: &Cluster) {
    let front = front(cluster);
    let kubeconfig = kubeconfig_at(world, cluster, &front.address().to_string());
    let config = world.admin().join("agent.toml");
    let (config, kubeconfig) = (config.to_str().unwrap(), kubeconfig.to_str().unwrap());
    let args = ["backup", "--config", config, "--kubeconfig", kubeconfig, "--namespace", "away"];
    front.be(Mood::GoneAfter { to_server: usize::MAX, to_client: OBJECTS * EACH });
    let mut child = world.spawn("lifeboat-agent", &args);
    front.wait_until_gone();
    cluster.stop_apiserver();
    std::thread::sleep(Duration::from_secs(1));
    assert!(child.try_wait().unwrap().is_none(), "{}", log(world, "lifeboat-agent"));
    assert!(manifests(&world.primary()).is_empty());
    cluster.start_apiserver().unwrap();
    front.be(Mood::Pass);
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(0), "{}", log(world, "lifeboat-agent"));
    let found = world.on_primary(&["find", "latest", "--name", "c0*"]).expect(0).stdout;
    assert_eq!(found.matches("objects/away/configmap/c0").count(), OBJECTS, "{found}");
}

/// Name and UID of what a restore made.
fn restored(cluster: &Cluster) -> Vec<String> {
    let jsonpath = r"jsonpath={range .items[*]}{.metadata.name} {.metadata.uid}{'\n'}{end}";
    let args = ["-n", "again", "get", "configmaps", "--ignore-not-found", "-o", jsonpath];
    let text = cluster.kubectl(&args).unwrap();
    text.lines().filter(|l| l.starts_with("c0")).map(str::to_owned).collect()
}

fn interrupted_restore_goes_on(world: &World, cluster: &Cluster) {
    let front = front(cluster);
    let kubeconfig = kubeconfig_at(world, cluster, &front.address().to_string());
    let repo = format!("file://{}/primary", world.folder().display());
    let identity = world.admin().join("identity.txt");
    let args = [
        "restore",
        "latest",
        "--repo",
        &repo,
        "--identity",
        identity.to_str().unwrap(),
        "--kubeconfig",
        kubeconfig.to_str().unwrap(),
        "--namespace-map",
        "away=again",
        "--yes",
        "--json",
    ];
    front.be(Mood::GoneAfter { to_server: OBJECTS * EACH / 2, to_client: usize::MAX });
    let mut child = world.spawn("lifeboat", &args);
    front.wait_until_gone();
    cluster.stop_apiserver();
    std::thread::sleep(Duration::from_secs(1));
    assert!(child.try_wait().unwrap().is_none(), "{}", log(world, "lifeboat"));
    child.kill().unwrap();
    child.wait().unwrap();
    cluster.start_apiserver().unwrap();
    front.be(Mood::Pass);
    let half = restored(cluster);
    assert!(!half.is_empty() && half.len() < OBJECTS, "{} of {OBJECTS}", half.len());
    let report = says(world.lifeboat(&args), 0, &[]).json();
    assert_eq!(report["resumed"], true, "{report}");
    let whole = restored(cluster);
    assert_eq!(whole.len(), OBJECTS);
    assert!(half.iter().all(|made| whole.contains(made)), "something was made anew");
    let again = says(world.lifeboat(&args), 0, &[]).json();
    assert_eq!(again["created"], 0, "{again}");
    assert_eq!(restored(cluster), whole);
}

const DEAD: &str = r"
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {name: v1.dead.example.org}
spec:
  group: dead.example.org
  version: v1
  groupPriorityMinimum: 100
  versionPriority: 100
  insecureSkipTLSVerify: true
  service: {name: nothing, namespace: default}
";

fn dead_group_is_named(world: &World, cluster: &Cluster) {
    let before = manifests(&world.primary()).len();
    cluster.apply(DEAD).unwrap();
    let unavailable = "--for=condition=Available=False";
    cluster.kubectl(&["wait", unavailable, "apiservice/v1.dead.example.org", "--timeout=30s"]).unwrap();
    let backup = || world.backup(cluster.kubeconfig(), &[]);
    // Discovery learns of it a moment later.
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut ran = backup();
    while ran.code == 0 && Instant::now() < deadline {
        ran = backup();
    }
    says(ran, 3, &["missed: dead.example.org", "PartiallyFailed"]);
    cluster.kubectl(&["delete", "apiservice", "v1.dead.example.org"]).unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut ran = backup();
    while ran.code == 3 && Instant::now() < deadline {
        ran = backup();
    }
    says(ran, 0, &["Completed"]);
    assert!(manifests(&world.primary()).len() >= before + 2);
}

fn other_cluster_is_refused(world: &World, cluster: &Cluster) {
    let before = manifests(&world.primary());
    says(world.backup(kubeconfig(), &[]), 1, &["another cluster", "lifeboat adopt"]);
    assert_eq!(manifests(&world.primary()), before);
    says(world.backup(cluster.kubeconfig(), &[]), 0, &[]);
}

#[test]
fn a_cluster_in_trouble() {
    let cluster = Cluster::start().unwrap();
    load(&cluster);
    let world = World::file();
    backup_waits_for_the_server(&world, &cluster);
    interrupted_restore_goes_on(&world, &cluster);
    dead_group_is_named(&world, &cluster);
    other_cluster_is_refused(&world, &cluster);
}

#[test]
#[ignore = "waits for the limits of a real outage: five minutes"]
fn an_api_server_that_stays_away_ends_a_run() {
    let cluster = Cluster::start().unwrap();
    load(&cluster);
    let world = World::file();
    says(world.backup(cluster.kubeconfig(), &["--namespace", "away"]), 0, &[]);
    let (reads, writes) = (front(&cluster), front(&cluster));
    reads.be(Mood::GoneAfter { to_server: usize::MAX, to_client: OBJECTS * EACH });
    writes.be(Mood::GoneAfter { to_server: OBJECTS * EACH / 2, to_client: usize::MAX });
    let at = |front: &Front| kubeconfig_at(&world, &cluster, &front.address().to_string());
    let (from, to) = (at(&reads), at(&writes));
    let restore = |to: &Path| {
        let to = to.to_str().unwrap();
        world.on_primary(&["restore", "1", "--kubeconfig", to, "--namespace-map", "away=again", "--yes"])
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let began = Instant::now();
            // What was read before is kept, and what was not is named.
            says(world.backup(&from, &["--namespace", "away"]), 3, &["ServerUnreachable", "missed: "]);
            assert!(began.elapsed() < Duration::from_secs(240), "{:?}", began.elapsed());
        });
        let again = "run the same command again: it goes on where it stopped";
        scope.spawn(|| says(restore(&to), 1, &["Cannot reach the API server", again]));
    });
    says(world.backup(cluster.kubeconfig(), &["--namespace", "away"]), 0, &[]);
    writes.be(Mood::Pass);
    says(restore(&to), 0, &[]);
    assert_eq!(restored(&cluster).len(), OBJECTS);
}

/// Ends in seconds, with the server's address.
fn quickly(server: &str, run: impl FnOnce() -> crate::world::Ran) {
    let began = Instant::now();
    let ran = says(run(), 1, &[server, "check that it runs"]);
    assert!(!ran.said().contains("client error (Connect)"), "each try is said: {}", ran.said());
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}

#[test]
fn an_api_server_that_is_not_there_is_named_at_once() {
    crate::inprocess::namespace("faults-down", 2);
    let cluster = lifeboat_tests::harness::shared_cluster().unwrap();
    let world = World::file();
    let closed = format!("127.0.0.1:{}", ports::free_port().unwrap());
    let down = kubeconfig_at(&world, cluster, &closed);
    let backup = |k: &Path| world.backup(k, &["--namespace", "faults-down"]);
    quickly(&closed, || backup(&down));
    assert!(manifests(&world.primary()).is_empty());
    says(backup(cluster.kubeconfig()), 0, &[]);
    let restore = ["restore", "latest", "--yes", "--kubeconfig", down.to_str().unwrap()];
    quickly(&closed, || world.on_primary(&restore));
}
