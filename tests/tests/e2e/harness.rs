//! The harness itself: what it starts works, and nothing of it is left. Knows nothing of Lifeboat.

use lifeboat_tests::harness::s3::{self, ROOT};
use lifeboat_tests::harness::{Cluster, Node, S3Server, image, pids, shared_cluster};
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

#[test]
fn a_cluster_works_survives_an_outage_and_is_gone_afterwards() {
    let cluster = Cluster::start().unwrap();
    cluster.kubectl(&["create", "namespace", "blue"]).unwrap();
    let map = "{apiVersion: v1, kind: ConfigMap, metadata: {name: m, namespace: blue}, data: {a: b}}";
    cluster.apply(map).unwrap();
    assert_eq!(
        cluster.kubectl(&["get", "configmap", "m", "-n", "blue", "-o=jsonpath={.data.a}"]).unwrap(),
        "b"
    );

    let url = cluster.url().to_owned();
    cluster.stop_apiserver();
    assert!(cluster.kubectl(&["get", "--raw=/readyz"]).is_err());
    cluster.start_apiserver().unwrap();
    assert_eq!(cluster.url(), url);
    cluster.kubectl(&["get", "configmap", "m", "-n", "blue"]).unwrap();

    let folder = cluster.folder().to_owned();
    let processes = pids::read(&folder.join("pids"));
    assert_eq!(processes.iter().filter(|process| process.is_alive()).count(), 3);
    drop(cluster);
    assert!(!folder.exists());
    assert!(!processes.iter().any(pids::Known::is_alive));
}

#[test]
fn users_have_only_the_rights_that_are_bound_to_them() {
    let cluster = shared_cluster().unwrap();
    cluster.kubectl(&["create", "namespace", "rights"]).unwrap();
    cluster
        .kubectl(&["create", "rolebinding", "view", "--clusterrole=view", "--group=readers", "-n=rights"])
        .unwrap();
    let may = |kubeconfig: &std::path::Path, verb: &str| {
        cluster.kubectl_as(kubeconfig, &["auth", "can-i", verb, "pods", "-n=rights"]).is_ok()
    };
    let reader = cluster.user_kubeconfig("reader", &["readers"]).unwrap();
    assert!(may(&reader, "list") && !may(&reader, "create"));
    let nobody = cluster.user_kubeconfig("nobody", &[]).unwrap();
    assert!(!may(&nobody, "list"));
    let other = cluster.user_kubeconfig("somebody-else", &["readers"]).unwrap();
    assert!(may(&other, "list") && !may(&other, "create"));
    let account = cluster.service_account_kubeconfig("rights", "default").unwrap();
    assert!(!may(&account, "list"));
    let whom =
        cluster.kubectl_as(&account, &["auth", "whoami", "-o=jsonpath={.status.userInfo.username}"]).unwrap();
    assert_eq!(whom, "system:serviceaccount:rights:default");
}

const WRITER: &str = r#"{"Version": "2012-10-17", "Statement": [
    {"Effect": "Allow", "Principal": {"AWS": ["writer"]}, "Action": "s3:PutObject", "Resource": "arn:aws:s3:::box/in/*"},
    {"Effect": "Allow", "Principal": {"AWS": ["writer"]}, "Action": "s3:ListBucket", "Resource": "arn:aws:s3:::box"}]}"#;

#[test]
fn an_s3_server_keeps_its_data_obeys_its_policy_and_is_gone_afterwards() {
    let server = S3Server::versitygw().unwrap();
    server.create_bucket("box").unwrap();
    server.enable_versioning("box").unwrap();
    server.create_user("writer", "a long enough secret").unwrap();
    server.put_bucket_policy("box", WRITER).unwrap();
    server.put_object("box", "kept", b"one").unwrap();

    let put = |key: &'static str| {
        let client = server.client("writer").unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime
            .block_on(client.put_object().bucket("box").key(key).body(b"two".to_vec().into()).send())
            .is_ok()
    };
    assert!(put("in/allowed"));
    assert!(!put("elsewhere"));

    server.stop();
    assert!(server.list_buckets().is_err());
    server.start().unwrap();
    assert_eq!(server.list_objects("box", "").unwrap(), ["in/allowed", "kept"]);
    assert_eq!(server.get_object("box", "kept").unwrap(), b"one");

    let credentials = server.credentials_file("writer").unwrap();
    assert_eq!(std::fs::metadata(&credentials).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(std::fs::read_to_string(&credentials).unwrap().contains("aws_access_key_id = writer"));
    drop(server);
    assert!(!credentials.exists());
}

#[test]
fn a_locked_bucket_keeps_versions() {
    // The one test here that runs against MinIO, too (MINIO=1).
    let server = S3Server::start_default().unwrap();
    server.create_locked_bucket("locked").unwrap();
    server.put_object("locked", "key", b"first").unwrap();
    server.put_object("locked", "key", b"second").unwrap();
    let client = server.client(ROOT).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let versions = runtime.block_on(client.list_object_versions().bucket("locked").send()).unwrap();
    assert_eq!(versions.versions().len(), 2);
}

/// Where a test that is to be killed writes what it started.
const TOLD: &str = "LIFEBOAT_TEST_TELLS";

#[test]
#[ignore = "started and killed by the next test"]
fn waits_to_be_killed() {
    let Some(told) = std::env::var_os(TOLD) else { return };
    let server = S3Server::versitygw().unwrap();
    std::fs::write(told, server.data_folder().parent().unwrap().to_str().unwrap()).unwrap();
    std::thread::sleep(Duration::from_secs(60));
}

#[test]
fn nothing_outlives_a_test_that_was_killed() {
    let folder = tempfile::tempdir().unwrap();
    let told = folder.path().join("told");
    let mut test = std::process::Command::new(std::env::current_exe().unwrap());
    test.args(["--exact", "--ignored", "harness::waits_to_be_killed"])
        .env(TOLD, &told)
        .stdout(std::process::Stdio::null());
    let mut test = test.spawn().unwrap();
    let server = || std::fs::read_to_string(&told).is_ok_and(|path| !path.is_empty());
    until("the other test has started its server", server);
    let server = std::path::PathBuf::from(std::fs::read_to_string(&told).unwrap());
    let processes = pids::read(&server.join("pids"));
    assert!(!processes.is_empty() && processes.iter().all(pids::Known::is_alive));
    test.kill().unwrap();
    test.wait().unwrap();
    until("its processes and its folder are gone", || {
        !processes.iter().any(pids::Known::is_alive) && !server.exists()
    });
}

fn until(what: &str, done: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !done() {
        assert!(Instant::now() < deadline, "not after 30 s: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

const PODS: &str = r#"
{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: data},
 spec: {accessModes: [ReadWriteOnce], storageClassName: local, resources: {requests: {storage: 1Gi}}}}
---
apiVersion: v1
kind: Pod
metadata: {name: writer}
spec:
  containers:
  - name: main
    image: docker.io/local/busybox:1
    imagePullPolicy: Never
    command: [sh, -c, "echo it runs; echo from the pod > /data/file; exec sleep 3600"]
    volumeMounts: [{name: data, mountPath: /data}]
  volumes: [{name: data, persistentVolumeClaim: {claimName: data}}]
"#;

#[test]
fn a_node_runs_pods_mounts_volumes_and_is_gone_afterwards() {
    if !crate::world::may_start_nodes("a_node_runs_pods_mounts_volumes_and_is_gone_afterwards") {
        return;
    }
    let (node, other) = std::thread::scope(|scope| {
        let other = scope.spawn(|| Node::start().unwrap());
        (Node::start().unwrap(), other.join().unwrap())
    });
    assert_ne!(node.address(), other.address());
    let volume = node.local_volume("local-1", "1Gi").unwrap();
    node.apply(PODS).unwrap();
    node.kubectl(&["wait", "--for=condition=Ready", "pod/writer", "--timeout=60s"]).unwrap();
    assert_eq!(node.kubectl(&["logs", "writer"]).unwrap(), "it runs\n");
    assert_eq!(node.kubectl(&["exec", "writer", "--", "cat", "/data/file"]).unwrap(), "from the pod\n");
    assert_eq!(std::fs::read_to_string(volume.join("file")).unwrap(), "from the pod\n");

    let server = node.s3(&s3::Options::default()).unwrap();
    server.create_bucket("box").unwrap();
    let ask = format!("wget -qO- {}/ 2>&1 || true", server.endpoint());
    assert!(node.kubectl(&["exec", "writer", "--", "sh", "-c", &ask]).unwrap().contains("403"));

    let kubelet = std::net::SocketAddr::from((node.address(), 10250));
    assert!(std::net::TcpStream::connect_timeout(&kubelet, Duration::from_secs(2)).is_err());

    let archive = node.folder().join("own.tar");
    image::Image::busybox("docker.io/local/own:1")
        .unwrap()
        .program(std::path::Path::new("/usr/bin/env"), "bin/glibc-env")
        .unwrap()
        .write(&archive)
        .unwrap();
    node.load_image(&archive).unwrap();
    let run = [
        "run",
        "own",
        "--image=docker.io/local/own:1",
        "--image-pull-policy=Never",
        "--restart=Never",
        "--",
        "glibc-env",
        "echo",
        "linked",
    ];
    node.kubectl(&run).unwrap();
    node.kubectl(&["wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/own", "--timeout=60s"]).unwrap();
    assert_eq!(node.kubectl(&["logs", "own"]).unwrap(), "linked\n");

    node.restart_apiserver().unwrap();
    node.kubectl(&["get", "pod", "writer"]).unwrap();
    let folder = node.folder().to_owned();
    let processes = pids::read(&folder.join("pids"));
    drop(server);
    drop(node);
    assert!(!folder.exists() && !processes.iter().any(pids::Known::is_alive));
    other.kubectl(&["get", "node", "node1"]).unwrap();
}
