//! What the daemon reads, refuses, cancels and goes on with.

use super::*;
use lifeboat_tests::trees::nasty;

#[test]
fn the_daemon_reads_what_it_is_ordered_to_and_goes_on_after_it_was_killed() {
    if !may_start_nodes("the_daemon_reads_what_it_is_ordered_to_and_goes_on_after_it_was_killed") {
        return;
    }
    let site = Site::start();
    it_runs_with_one_capability_and_two_filters(&site);
    let (path, uid) = site.claim("apps", "data");
    nasty(&path, 1).unwrap();
    let _removed = crate::tree::Removed(path.clone());
    read_whole(&site, &uid);
    refused(&site, &uid);
    let (path, uid) = site.claim("apps", "large");
    random_files(&path, 12, 4 << 20);
    killed_and_canceled(&site, &uid);
    super::rights::a_node_s_token(&site, &uid);
    metrics(&site);

    let asked = Instant::now();
    site.nodes(&["delete", "pod", "-l=app.kubernetes.io/component=node", "--wait=true"]);
    println!("the daemon's pod was gone after {:.1} s", asked.elapsed().as_secs_f32());
    site.prepared.uninstall(site.node.kubeconfig(), &["--yes"]).expect(0);
    for left in ["namespace/lifeboat-nodes", "validatingadmissionpolicy/lifeboat-node"] {
        assert!(site.node.kubectl(&["get", left]).is_err(), "{left}");
    }
}

fn it_runs_with_one_capability_and_two_filters(site: &Site) {
    let pid = daemon_pid(&site.node);
    let status = site.node.run(&["cat", &format!("/proc/{pid}/status")]).unwrap();
    let field = |name: &str| {
        let line = status.lines().find(|l| l.starts_with(&format!("{name}:"))).unwrap_or_default();
        line.split_once(':').map(|(_, v)| v.trim().to_owned()).unwrap_or_default()
    };
    for set in ["CapEff", "CapPrm", "CapBnd"] {
        assert_eq!(field(set), "0000000000000004", "{set}: DAC_READ_SEARCH alone");
    }
    assert_eq!((field("CapAmb"), field("CapInh")), ("0".repeat(16), "0".repeat(16)));
    assert_eq!((field("NoNewPrivs"), field("Seccomp")), ("1".to_owned(), "2".to_owned()));
    // The container's, and its own.
    assert_eq!(field("Seccomp_filters"), "2");
}

/// Every entry of a tree that was made to be hard to read, whoever owns it.
fn read_whole(site: &Site, uid: &str) {
    let volume = Ordered::new(site, "data", uid, |_| {}, |_| {});
    std::thread::sleep(Duration::from_secs(4));
    assert!(volume.status().is_null(), "without its key it waits: {}", volume.status());
    volume.begin();
    let status = volume.ended("Completed");
    let result = volume.result(&status);
    assert_eq!(result.told.missed_total, 0, "{:?}", result.told);
    assert!(result.root.is_some() && result.totals.entries > 50, "{:?}", result.totals);
    assert_eq!(status["files"], result.totals.files);
    assert!(status.to_string().len() <= 4096);
}

type Spoil<'a> = &'a dyn Fn(&mut Value);

/// What is not there, not this node's, or not what the order says.
fn refused(site: &Site, uid: &str) {
    let cases: [(&str, Spoil); 5] = [
        ("VolumeNotMounted", &|spec| spec["podUid"] = json!("22222222-2222-2222-2222-222222222222")),
        ("PluginUnknown", &|spec| {
            spec["plugin"] = json!("kubernetes.io~projected");
            spec["volumeName"] = json!("kube-api-access-abcde");
        }),
        ("HostPathNotAllowed", &|spec| {
            spec.as_object_mut().unwrap().remove("plugin");
            spec["hostPath"] = json!("/etc");
        }),
        ("StoreNotFound", &|spec| spec["order"] = json!("ab".repeat(32))),
        ("OrderUnusable", &|spec| spec["runId"] = json!("ab".repeat(16))),
    ];
    for (reason, change) in cases {
        let volume = Ordered::new(site, "data", uid, |_| {}, change);
        volume.begin();
        let status = volume.ended("Failed");
        assert_eq!(status["reason"], reason, "{status:#}");
    }
    let elsewhere = Ordered::new(site, "data", uid, |_| {}, |spec| spec["nodeName"] = json!("node2"));
    elsewhere.begin();
    std::thread::sleep(Duration::from_secs(5));
    assert!(elsewhere.status().is_null(), "another node's is left alone");
}

/// SIGKILL in the middle: the next one goes on, and what was sent is not sent again. Then one that is deleted.
fn killed_and_canceled(site: &Site, uid: &str) {
    let slow = |order: &mut Order| order.options.bandwidth = Some(2 << 20);
    let before = site.stored();
    let volume = Ordered::new(site, "large", uid, slow, |_| {});
    volume.begin();
    let halfway = 20 << 20;
    let logged = |s: &Value| s["uploadLog"].is_string();
    volume.until("a piece of the upload log", 90, |s| logged(s) && site.stored() - before > halfway);
    site.node.run(&["kill", "-9", &daemon_pid(&site.node)]).unwrap();
    let status = volume.ended("Completed");
    let result = volume.result(&status);
    let (plain, sealed) = (48_u64 << 20, site.stored() - before);
    assert!(sealed < plain + plain / 50, "{sealed} bytes stored of {plain}");
    assert_eq!((result.totals.files, result.totals.bytes, result.told.missed_total), (12, plain, 0));
    assert!(result.sent_bytes < plain * 3 / 4, "it did not begin anew: {}", result.sent_bytes);

    let volume = Ordered::new(site, "large", uid, slow, |_| {});
    volume.begin();
    volume.until("reading", 60, |s| s["phase"] == "InProgress");
    site.nodes(&["delete", "volumebackup", &volume.name]);
    let stopped = || site.nodes(&["logs", "daemonset/lifeboat-node"]).contains("no longer read");
    let deadline = Instant::now() + Duration::from_secs(40);
    while !stopped() {
        assert!(Instant::now() < deadline, "a deleted volume is still read");
        std::thread::sleep(Duration::from_millis(300));
    }
}

fn metrics(site: &Site) {
    let name = site.nodes(&[
        "get",
        "pods",
        "-l=app.kubernetes.io/component=node",
        "-o=jsonpath={.items[0].metadata.name}",
    ]);
    let path = format!("/api/v1/namespaces/{NODES}/pods/{name}:8081/proxy/metrics");
    let text = site.node.kubectl(&["get", "--raw", &path]).unwrap();
    for line in ["lifeboat_node_volumes_running 0", "lifeboat_node_volumes_total{result=\"Canceled\"} 1"] {
        assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
    }
}
