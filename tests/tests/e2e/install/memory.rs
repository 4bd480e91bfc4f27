//! What the pod takes with the limits that it is installed with: 100,000 objects, and idle before and after. Takes many
//! minutes, so it runs when it is asked for, best with an optimized program:
//! `LIFEBOAT_AGENT=target/release/lifeboat-agent cargo test -p lifeboat-tests --test e2e fits_into_the_pod -- --ignored`.

use super::pods::{Pod, Pods, process_of};
use super::*;
use crate::controller::site::{alone, audit_flags, audit_log};
use crate::leaders::{Leaders as _, SOON, leader};
use crate::world::may_start_nodes;
use lifeboat_tests::harness::cluster::Options;
use serde_json::json;
use std::time::{Duration, Instant};

const NAMESPACES: usize = 50;
const EACH: usize = 2000;
/// MiB that an idle pod may take; an unoptimized program is larger: its own code is most of it.
const IDLE: f64 = 30.0;

/// MiB, of a container's control group.
#[derive(Debug, Clone, Copy)]
struct Memory {
    /// Anonymous memory now.
    resident: f64,
    /// What the kubelet counts: all but file pages that nobody has used lately.
    working_set: f64,
    /// The most that was in use at once, file pages included.
    peak: f64,
    /// Of the process: its program's pages, too, which it shares with others that run it.
    process: f64,
    process_peak: f64,
    killed: u64,
}

impl std::fmt::Display for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { resident, working_set, peak, process, process_peak, .. } = self;
        write!(f, "anonymous {resident:.1} MiB, working set {working_set:.1} MiB, peak {peak:.1} MiB; ")?;
        write!(f, "of the process {process:.1} MiB, peak {process_peak:.1} MiB")
    }
}

fn number(path: &Path, key: Option<&str>) -> Option<f64> {
    let text = std::fs::read_to_string(path).ok()?;
    match key {
        None => text.trim().parse().ok(),
        Some(key) => text.lines().find_map(|l| l.strip_prefix(key)?.trim().parse().ok()),
    }
}

fn memory(pod: &Pod) -> Memory {
    let pid = process_of(pod).unwrap();
    let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let of =
        |name: &str| groups.lines().find_map(|l| l.split_once(name)?.1.strip_prefix('/').map(str::to_owned));
    let mib = |n: Option<f64>| n.unwrap() / f64::from(1 << 20);
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let kib = |name: &str| {
        let line = status.lines().find_map(|l| l.strip_prefix(name)).unwrap();
        line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1024.0
    };
    let (process, process_peak) = (kib("VmRSS:"), kib("VmHWM:"));
    if let Some(group) = of(":memory:") {
        let group = Path::new("/sys/fs/cgroup/memory").join(group);
        let stat = |key| number(&group.join("memory.stat"), Some(key));
        let usage = number(&group.join("memory.usage_in_bytes"), None);
        return Memory {
            resident: mib(stat("total_rss ")),
            working_set: mib(usage) - mib(stat("total_inactive_file ")),
            peak: mib(number(&group.join("memory.max_usage_in_bytes"), None)),
            process,
            process_peak,
            killed: number(&group.join("memory.oom_control"), Some("oom_kill ")).unwrap_or(0.0) as u64,
        };
    }
    let group = Path::new("/sys/fs/cgroup").join(of("0::").unwrap());
    let stat = |key| number(&group.join("memory.stat"), Some(key));
    Memory {
        resident: mib(stat("anon ")),
        working_set: mib(number(&group.join("memory.current"), None)) - mib(stat("inactive_file ")),
        peak: mib(number(&group.join("memory.peak"), None)),
        process,
        process_peak,
        killed: number(&group.join("memory.events"), Some("oom_kill ")).unwrap_or(0.0) as u64,
    }
}

#[test]
#[ignore = "takes many minutes: see the head of its file"]
fn on_a_node_a_backup_of_a_hundred_thousand_objects_fits_into_the_pod() {
    if !may_start_nodes("on_a_node_a_backup_of_a_hundred_thousand_objects_fits_into_the_pod") {
        return;
    }
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let options = Options { apiserver_flags: audit_flags(folder.path()), ..Options::default() };
    let pods = Pods::on(Node::start_with(&options).unwrap(), ("shared", "node-many"), &json!([]), |_| {});
    let optimized = std::env::var_os("LIFEBOAT_AGENT").is_some();
    let bound = if optimized { IDLE } else { 3.0 * IDLE };
    leader(&pods);
    let filled = Instant::now();
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let pods = &pods;
            let mine = (0..NAMESPACES).filter(move |i| i % 4 == worker);
            scope.spawn(move || mine.for_each(|i| pods.user_namespace(&format!("many-{i}"), EACH)));
        }
    });
    println!("{} objects were made in {:.0?}", NAMESPACES * EACH, filled.elapsed());
    let lead = pods.leading().unwrap();
    println!("idle: {}", memory(&lead));
    for name in ["first", "second"] {
        let started = Instant::now();
        pods.create("Backup", name, &json!({}));
        pods.kubectl(&["wait", "--for=condition=Finished", &format!("lb/{name}"), "--timeout=1500s"]);
        let status = pods.completed(name);
        let now = memory(&lead);
        println!(
            "{name}: {} objects in {:.0?}, {} bytes of them stored anew; {now}",
            status["objects"],
            started.elapsed(),
            status["storedBytes"],
        );
        assert!(status["objects"].as_u64().unwrap() >= 100_000);
        assert_eq!((now.killed, pods.restarts(), &status["attempts"]), (0, 0, &json!(1)), "{}", pods.logs());
        assert!(now.resident < 256.0);
    }
    println!("{}", idle_again(&pods, &lead, folder.path(), bound));
    pods.pull().expect(0);
}

/// What is free is given back, and nothing is listed while nothing is to be done.
fn idle_again(pods: &Pods, lead: &Pod, audit: &Path, bound: f64) -> String {
    let lists = || audit_log(audit).iter().filter(|e| e["verb"] == "list").count();
    let deadline = Instant::now() + SOON;
    let mut before = lists();
    loop {
        std::thread::sleep(Duration::from_secs(30));
        let after = lists();
        if after == before {
            break;
        }
        before = after;
        assert!(Instant::now() < deadline, "it lists while it is idle");
    }
    let now = memory(lead);
    assert!(now.process < bound && now.working_set < bound, "{now}");
    let other = pods.pods().into_iter().find(|p| p.name != lead.name).unwrap();
    let waits = memory(&other);
    format!("idle again, {before} lists in all and none in 30 s: {now}\nthe one that waits: {waits}")
}
