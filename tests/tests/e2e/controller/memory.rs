//! What the controller's process takes: idle, and while it backs up 100,000 objects. The large one runs with
//! `CONTROLLER_BENCH=1`, best with an optimized program (`LIFEBOAT_AGENT=target/release/lifeboat-agent`).

use super::site::Site;
use lifeboat_tests::harness::cluster::Cluster;
use serde_json::json;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// MiB. The pod's limit is 256.
const BUSY: f64 = 250.0;
const IDLE: f64 = 30.0;

fn optimized() -> bool {
    std::env::var_os("LIFEBOAT_AGENT").is_some()
}

#[test]
fn it_is_small_and_quiet_while_it_waits() {
    let site = Site::new("lifeboat-idle");
    site.user_namespace("idle", 200);
    let controller = site.controller();
    let (fresh, _) = controller.memory();
    site.backup("x", &json!({"includedNamespaces": ["idle"]}));
    site.completed("x");
    std::thread::sleep(Duration::from_secs(3));
    let lists = || controller.metric("lifeboat_api_requests_total{verb=\"list\",code=\"200\"}");
    let before = lists();
    std::thread::sleep(Duration::from_secs(8));
    assert_eq!(lists(), before, "no lists while nothing is to be done");
    let (now, most) = controller.memory();
    println!(
        "RSS: {fresh:.1} MiB at first, {now:.1} MiB after a backup of 200 objects, {most:.1} MiB at most"
    );
    // An unoptimized program is larger: its own code is most of it.
    let bound = if optimized() { IDLE } else { 3.0 * IDLE };
    assert!(now < bound, "{now} MiB");
}

#[test]
fn a_hundred_thousand_objects_fit_into_the_pod() {
    if std::env::var_os("CONTROLLER_BENCH").is_none() {
        return;
    }
    let site = Site::on(Arc::new(Cluster::start().unwrap()), "lifeboat");
    for i in 0..50 {
        site.user_namespace(&format!("many-{i}"), 2000);
    }
    let controller = site.controller();
    std::thread::sleep(Duration::from_secs(3));
    let (idle, _) = controller.memory();
    for name in ["first", "second"] {
        let started = Instant::now();
        site.backup(name, &json!({}));
        site.kubectl(&["wait", "--for=condition=Completed", &format!("lb/{name}"), "--timeout=900s"]);
        let status = site.completed(name);
        let (now, most) = controller.memory();
        println!(
            "{name}: {} objects in {:.1} s, {} bytes stored; RSS {now:.1} MiB, at most {most:.1} MiB, idle {idle:.1} MiB",
            status["objects"],
            started.elapsed().as_secs_f64(),
            status["storedBytes"],
        );
        assert!(status["objects"].as_u64().unwrap() >= 100_000);
        assert!(most < BUSY, "{most} MiB");
    }
    std::thread::sleep(Duration::from_secs(20));
    let (after, _) = controller.memory();
    println!("RSS {after:.1} MiB twenty seconds later");
    assert!(after < if optimized() { IDLE } else { 3.0 * IDLE }, "{after} MiB: what is free is given back");
    site.world.pull().expect(0);
}
