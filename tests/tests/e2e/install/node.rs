//! The image on a real node: restricted, without a shell, finding names, ready.

use super::*;
use crate::world::may_start_nodes;
use lifeboat_tests::harness::image::BUSYBOX;

/// What pods call the store; only a name server knows it.
const STORE: &str = "store.example.org";

#[test]
fn on_a_node_the_image_runs_restricted_without_a_shell_and_finds_names() {
    if !may_start_nodes("on_a_node_the_image_runs_restricted_without_a_shell_and_finds_names") {
        return;
    }
    let node = Node::start().unwrap();
    node.load_image(image()).unwrap();
    let server = node.s3(&s3::Options::default()).unwrap();
    server.create_bucket("backups").unwrap();
    let known = format!("{STORE}={}", node.address());
    let _names = node.names(Path::new(env!("CARGO_BIN_EXE_lifeboat-harness")), &[&known]).unwrap();
    let prepared = Prepared::new(&server, "backups", "prod");
    let secret = prepared.folder.join("agent-secret.yaml");
    let text = std::fs::read_to_string(&secret).unwrap();
    let by_name = text.replace(&server.address().ip().to_string(), STORE);
    assert_ne!(by_name, text);
    std::fs::write(&secret, by_name).unwrap();

    let started = std::time::Instant::now();
    prepared.install(node.kubeconfig(), &["--timeout", "120"]).expect(0);
    println!("installed and available after {:.1} s", started.elapsed().as_secs_f32());
    pods_are_as_they_should_be(&node);
    there_is_no_shell(&node);
    a_backup_is_made(&node, &prepared);
    let agent = node.service_account_kubeconfig("lifeboat", "lifeboat-agent").unwrap();
    exec_and_nodes(&node, &agent);

    let before = prepared.snapshots();
    assert_eq!(before.as_array().unwrap().len(), 1);
    prepared.uninstall(node.kubeconfig(), &["--yes"]).expect(0);
    assert!(node.kubectl(&["get", "namespace", "lifeboat"]).is_err());
    assert_eq!(prepared.snapshots(), before, "uninstalling touches no snapshot");
}

fn pods_are_as_they_should_be(node: &Node) {
    let get = |what: &[&str]| node.kubectl(&[&["-n", "lifeboat", "get"], what].concat()).unwrap();
    let ready = r#"-o=jsonpath={.items[*].status.conditions[?(@.type=="Ready")].status}"#;
    assert_eq!(get(&["pods", ready]), "True True");
    assert_eq!(get(&["pods", "-o=jsonpath={.items[*].status.containerStatuses[*].restartCount}"]), "0 0");
    // Pod security is enforced: a pod that is not restricted is not let in.
    let plain = ["-n", "lifeboat", "run", "plain", "--image", BUSYBOX, "--image-pull-policy=Never"];
    let refused = format!("{:#}", node.kubectl(&plain).unwrap_err());
    assert!(refused.contains("restricted"), "{refused}");
    // As the kernel sees it: not root, no capability, seccomp on, no new privileges.
    let find = r#"for p in /proc/[0-9]*; do
        if [ "$(readlink "$p/exe")" = /usr/bin/lifeboat-agent ] \
            && tr '\0' '\n' < "$p/environ" | grep -q '^HOSTNAME=lifeboat-controller-'; then cat "$p/status"; exit 0; fi
    done; exit 1"#;
    let status = node.run(&["sh", "-c", find]).unwrap();
    let field = |name: &str| {
        let line = status.lines().find(|l| l.starts_with(name)).unwrap_or_default();
        line.split_once(':')
            .map(|(_, v)| v.split_whitespace().collect::<Vec<_>>().join(" "))
            .unwrap_or_default()
    };
    assert_eq!(field("Uid"), "65532 65532 65532 65532");
    assert_eq!(field("CapEff"), "0000000000000000");
    assert_eq!(field("CapBnd"), "0000000000000000");
    assert_eq!((field("NoNewPrivs"), field("Seccomp")), ("1".to_owned(), "2".to_owned()));
}

fn there_is_no_shell(node: &Node) {
    for command in [&["sh", "-c", "id"][..], &["/bin/sh"], &["/bin/busybox"], &["ls"]] {
        let all = [&["-n", "lifeboat", "exec", "deployment/lifeboat-controller", "--"], command].concat();
        let error = format!("{:#}", node.kubectl(&all).unwrap_err());
        assert!(error.contains("not found") || error.contains("no such file"), "{error}");
    }
    let version = [
        "-n",
        "lifeboat",
        "exec",
        "deployment/lifeboat-controller",
        "--",
        "/usr/bin/lifeboat-agent",
        "--version",
    ];
    assert!(node.kubectl(&version).unwrap().starts_with("lifeboat-agent "));
}

/// The store is reached by its name, so that a backup shows that names are found.
fn a_backup_is_made(node: &Node, prepared: &Prepared) {
    let backup =
        "{apiVersion: lifeboat.dev/v1alpha1, kind: Backup, metadata: {name: first, namespace: lifeboat}}";
    node.kubectl_stdin(&["create", "-f", "-"], backup).unwrap();
    let waited = node.kubectl(&[
        "-n",
        "lifeboat",
        "wait",
        "--for=condition=Completed",
        "backup/first",
        "--timeout=60s",
    ]);
    let shown = node.kubectl(&["-n", "lifeboat", "describe", "backup", "first"]).unwrap();
    let logs =
        node.kubectl(&["-n", "lifeboat", "logs", "deployment/lifeboat-controller", "--tail=20"]).unwrap();
    waited.unwrap_or_else(|error| panic!("{error:#}\n{shown}\n{logs}"));
    assert_eq!(prepared.snapshots()[0]["result"], "Completed");
}

/// With a running pod and a real kubelet, what could do most harm.
fn exec_and_nodes(node: &Node, agent: &Path) {
    let running = "{apiVersion: v1, kind: Pod, metadata: {name: web}, spec: {containers: [{name: web, image: 'docker.io/local/busybox:1', imagePullPolicy: Never}]}}";
    node.apply(running).unwrap();
    node.kubectl(&["wait", "--for=condition=Ready", "pod/web", "--timeout=60s"]).unwrap();
    assert!(node.kubectl(&["exec", "web", "--", "id"]).unwrap().contains("uid=0"));
    for attempt in [
        &["exec", "web", "--", "id"][..],
        &["logs", "web"],
        &["get", "--raw", "/api/v1/namespaces/default/pods/web/exec?command=id&stdout=true"],
        &["get", "--raw", "/api/v1/nodes/node1/proxy/pods"],
        &["get", "--raw", "/api/v1/nodes/node1/proxy/configz"],
    ] {
        let error = format!("{:#}", node.kubectl_as(agent, attempt).unwrap_err()).to_lowercase();
        assert!(error.contains("forbidden"), "{attempt:?}: {error}");
    }
}
