//! Stores that refuse, stall, throttle, lie, or let nobody in: the error names the endpoint, the bucket or the credential.

use crate::faults::{says, world_on_s3};
use crate::faults_front::{Front, Mood};
use crate::inprocess::namespace;
use crate::world::{Ran, S3Flags, World, kubeconfig, shared_s3};
use lifeboat_common::clock::{Clock as _, SystemClock};
use lifeboat_tests::harness::ports;
use std::path::PathBuf;
use std::time::{Duration, Instant};

fn root(world: &World) -> PathBuf {
    world.folder().join("root-credentials")
}

/// The real server, for when the cause is gone.
fn sound(world: &World) -> S3Flags {
    S3Flags { endpoint: shared_s3().endpoint(), credentials: root(world) }
}

fn front(world: &World) -> Front {
    let front = Front::before(shared_s3().address().into());
    world.use_s3(&S3Flags { endpoint: format!("http://{}", front.address()), credentials: root(world) });
    front
}

fn within(longest: u64, run: impl FnOnce() -> Ran) -> Ran {
    let began = Instant::now();
    let ran = run();
    assert!(began.elapsed() < Duration::from_secs(longest), "{:?}: {}", began.elapsed(), ran.said());
    ran
}

struct Store {
    world: World,
    namespace: &'static str,
}

impl Store {
    fn new(name: &'static str) -> Self {
        namespace(name, 3);
        Self { world: world_on_s3(name), namespace: name }
    }

    fn backup(&self) -> Ran {
        self.world.backup(kubeconfig(), &["--namespace", self.namespace])
    }

    /// What is true once the cause is gone: agent and replicator go through, and `snapshots` are whole.
    fn is_well(&self, snapshots: usize) {
        says(self.backup(), 0, &[]);
        says(self.world.pull(), 0, &[]);
        self.world.on_vault(&["verify"]).expect(0);
        let list = self.world.on_vault(&["snapshots", "--json"]).expect(0).json();
        assert_eq!(list["snapshots"].as_array().unwrap().len(), snapshots, "{list}");
    }
}

#[test]
fn a_store_that_refuses_connections_is_named_and_given_up() {
    let store = Store::new("faults-refuses");
    let endpoint = format!("http://127.0.0.1:{}", ports::free_port().unwrap());
    store.world.use_s3(&S3Flags { endpoint: endpoint.clone(), credentials: root(&store.world) });
    std::thread::scope(|scope| {
        scope.spawn(|| says(within(60, || store.backup()), 1, &[&endpoint, "check the endpoint"]));
        scope.spawn(|| says(within(60, || store.world.pull()), 1, &[&endpoint, "check the endpoint"]));
    });
    store.world.use_s3(&sound(&store.world));
    store.is_well(1);
}

#[test]
fn a_store_that_stalls_does_not_keep_a_run_from_stopping() {
    use rustix::process::{Pid, Signal, kill_process};
    let store = Store::new("faults-stalls");
    let front = front(&store.world);
    front.be(Mood::Silent);
    let (agent, replicator) =
        (store.world.admin().join("agent.toml"), store.world.admin().join("replicator.toml"));
    let (agent, replicator) = (agent.to_str().unwrap(), replicator.to_str().unwrap());
    let backup = ["backup", "--config", agent, "--kubeconfig", kubeconfig().to_str().unwrap()];
    let pull = ["pull", "--once", "--config", replicator];
    let mut children =
        [store.world.spawn("lifeboat-agent", &backup), store.world.spawn("lifeboat-replicator", &pull)];
    std::thread::sleep(Duration::from_secs(2));
    for child in &mut children {
        assert!(child.try_wait().unwrap().is_none(), "it waits for the store");
        kill_process(Pid::from_child(child), Signal::TERM).unwrap();
    }
    let began = Instant::now();
    for mut child in children {
        child.wait().unwrap();
    }
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    front.be(Mood::Pass);
    store.is_well(1);
}

#[test]
#[ignore = "waits for the limits of a real store: two minutes"]
fn a_store_that_stalls_is_given_up() {
    let store = Store::new("faults-stalls-long");
    let front = front(&store.world);
    front.be(Mood::Silent);
    std::thread::scope(|scope| {
        scope.spawn(|| says(within(180, || store.backup()), 1, &["check the server at"]));
        scope.spawn(|| says(within(180, || store.world.pull()), 1, &["check the server at"]));
    });
    front.be(Mood::Pass);
    store.is_well(1);
}

/// A client believes an answer's date, and corrects its clock by it.
fn date() -> String {
    SystemClock.now().strftime("Date: %a, %d %b %Y %H:%M:%S GMT").to_string()
}

fn error(status: &str, headers: &str, code: &str) -> String {
    let date = date();
    format!(
        "{status}\n{date}\n{headers}Content-Type: application/xml\n\n\
         <?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>no</Message></Error>"
    )
}

#[test]
fn a_store_that_throttles_is_waited_for_and_then_named() {
    let store = Store::new("faults-throttles");
    let front = front(&store.world);
    // Asked to come back in a second, three times over: nobody hears of it.
    front.be(Mood::Answers(3, error("503 Slow Down", "Retry-After: 1\n", "SlowDown")));
    says(store.backup(), 0, &[]);
    front.be(Mood::Answers(3, error("503 Slow Down", "Retry-After: 1\n", "SlowDown")));
    says(store.world.pull(), 0, &[]);
    // Longer than it is worth waiting.
    front.be(Mood::Answers(usize::MAX, error("503 Slow Down", "Retry-After: 600\n", "SlowDown")));
    says(within(20, || store.backup()), 1, &["SlowDown"]);
    says(within(20, || store.world.pull()), 1, &["SlowDown", "the next pull goes on from here"]);
    front.be(Mood::Pass);
    store.is_well(2);
}

#[test]
fn a_store_that_lies_is_not_believed() {
    let store = Store::new("faults-lies");
    let front = front(&store.world);
    store.is_well(1);
    let endpoint = front.address().to_string();
    let date = date();
    let empty = format!(
        "200 OK\n{date}\nContent-Type: application/xml\n\n<?xml version=\"1.0\"?><ListBucketResult \
         xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><IsTruncated>false</IsTruncated></ListBucketResult>"
    );
    for (lie, agent, replicator) in [
        (error("404 Not Found", "", "NoSuchKey"), &*endpoint, "NoSuchKey"),
        (format!("200 OK\n{date}\nContent-Type: text/html\n\n<html>It works!"), &*endpoint, &*endpoint),
        (format!("200 OK\n{date}\n\n"), &*endpoint, &*endpoint),
        // All that is there is hidden: a run that believed it would begin a second chain.
        (empty, "went back from snapshot", "charter"),
    ] {
        front.be(Mood::Answers(usize::MAX, lie.clone()));
        let ran = within(30, || store.backup());
        says(ran, 1, &[agent]);
        let ran = within(30, || store.world.pull());
        assert!(ran.code == 1 || ran.code == 3, "{lie}: {}", ran.said());
        assert!(ran.said().contains(replicator), "{lie}: {}", ran.said());
    }
    front.be(Mood::Pass);
    store.is_well(2);
}

#[test]
fn wrong_credentials_are_named_by_their_file() {
    let store = Store::new("faults-credentials");
    let path = store.world.folder().join("credentials");
    let wrong = S3Flags { endpoint: shared_s3().endpoint(), credentials: path.clone() };
    let file = path.to_str().unwrap();
    store.world.use_s3(&wrong);
    says(store.backup(), 1, &[file, "check credentials_file"]);
    for user in ["root", "nobody"] {
        let text = format!("[default]\naws_access_key_id = {user}\naws_secret_access_key = sesame\n");
        std::fs::write(&path, text).unwrap();
        let ran = says(within(20, || store.backup()), 1, &[file, "s3:ListBucket"]);
        assert!(!ran.said().contains("sesame"), "{}", ran.said());
        says(within(20, || store.world.pull()), 1, &[file, "ALARM denied"]);
    }
    store.world.use_s3(&sound(&store.world));
    store.is_well(1);
}

#[test]
fn a_bucket_that_is_missing_is_named() {
    let store = Store::new("faults-bucket");
    let swap = |from: &str, to: &str| {
        for file in ["agent.toml", "replicator.toml"] {
            let path = store.world.admin().join(file);
            let text = std::fs::read_to_string(&path).unwrap();
            std::fs::write(&path, text.replace(from, to)).unwrap();
        }
    };
    swap("s3://shared/", "s3://absent/");
    says(within(20, || store.backup()), 1, &["absent", "NoSuchBucket", "create the bucket"]);
    says(within(20, || store.world.pull()), 1, &["absent", "NoSuchBucket", "check"]);
    swap("s3://absent/", "s3://shared/");
    store.is_well(1);
}
