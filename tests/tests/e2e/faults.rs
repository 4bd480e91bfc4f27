//! Bad input and faults: each ends in an error that names the thing and the next step, leaves nothing half-applied, and
//! the next run goes through once the cause is gone. This file: rights, and namespaces on their way out; the others
//! (`faults_*.rs`): a cluster that goes away, stores that misbehave, disks and hostile primaries.

use crate::inprocess::namespace;
use crate::world::{Ran, S3Flags, World, files, kubeconfig, shared_s3};
use lifeboat_tests::harness;
use lifeboat_tests::harness::s3::ROOT;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

/// Panics unless a program ended with `code`, said all of `words`, and did not panic.
#[track_caller]
pub(crate) fn says(ran: Ran, code: i32, words: &[&str]) -> Ran {
    let ran = ran.expect(code);
    let said = ran.said();
    assert!(!said.contains("panicked"), "{said}");
    for word in words {
        assert!(said.contains(word), "nothing says {word:?}:\n{said}");
    }
    ran
}

/// A repository on the shared S3 server that uses a credentials file of its own: the server's is written anew for each
/// who asks for it, and must not be read meanwhile.
pub(crate) fn world_on_s3(name: &str) -> World {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let world = World::s3(name);
    let own = world.folder().join("root-credentials");
    std::fs::copy(shared_s3().credentials_file(ROOT).unwrap(), &own).unwrap();
    world.use_s3(&S3Flags { endpoint: shared_s3().endpoint(), credentials: own });
    world
}

/// The manifests in a repository on a directory, or in a vault.
pub(crate) fn manifests(cluster_folder: &std::path::Path) -> Vec<PathBuf> {
    files(&cluster_folder.join("manifests"))
}

const LIST_ALL: &str = r#"
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: faults-list}
rules: [{apiGroups: ["*"], resources: ["*"], verbs: [list]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: faults-list}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: faults-list}
subjects: [{kind: ServiceAccount, name: lister, namespace: faults-rights}]
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: lister, namespace: faults-rights}
"#;

#[test]
fn one_rule_suffices_and_without_it_the_right_is_named() {
    namespace("faults-rights", 3);
    let cluster = harness::shared_cluster().unwrap();
    let world = World::file();
    let nobody = cluster.user_kubeconfig("nobody", &[]).unwrap();
    let ran = world.backup(&nobody, &["--namespace", "faults-rights"]);
    says(ran, 1, &["403 Forbidden", cluster.url(), "apiGroups *, resources *, verbs [list]"]);
    assert!(manifests(&world.primary()).is_empty());

    cluster.apply(LIST_ALL).unwrap();
    let lister = cluster.service_account_kubeconfig("faults-rights", "lister").unwrap();
    // All of the cluster, so that no kind needs more.
    let ran = says(world.backup(&lister, &["--json"]), 0, &[]).json();
    assert_eq!(ran["report"]["missedTotal"], 0, "{}", ran["report"]["missed"]);
    assert_eq!((ran["result"].as_str(), ran["coverage"].as_str()), (Some("Completed"), Some("full")));

    // A right taken away for one kind is a snapshot that says what it lacks.
    let narrow = LIST_ALL.replace(r#"resources: ["*"]"#, r#"resources: [namespaces, configmaps]"#);
    cluster.apply(&narrow).unwrap();
    let ran = world.backup(&lister, &["--namespace", "faults-rights"]);
    says(ran, 3, &["Secret", "Forbidden"]);
    cluster.apply(LIST_ALL).unwrap();
    says(world.backup(&lister, &["--namespace", "faults-rights"]), 0, &[]);
    assert_eq!(manifests(&world.primary()).len(), 3);
}

#[test]
fn a_restore_without_rights_creates_nothing_and_names_them() {
    namespace("faults-norestore", 3);
    let cluster = harness::shared_cluster().unwrap();
    let world = World::file();
    world.backup(kubeconfig(), &["--namespace", "faults-norestore"]).expect(0);
    let nobody = cluster.user_kubeconfig("nobody", &[]).unwrap();
    let restore = |kubeconfig: &std::path::Path| {
        let kubeconfig = kubeconfig.to_str().unwrap();
        let map = "faults-norestore=faults-restored";
        world.on_primary(&["restore", "latest", "--kubeconfig", kubeconfig, "--yes", "--namespace-map", map])
    };
    says(restore(&nobody), 1, &["403 Forbidden", cluster.url()]);
    assert!(cluster.kubectl(&["get", "namespace", "faults-restored"]).is_err());
    says(restore(kubeconfig()), 0, &[]);
    cluster.kubectl(&["-n", "faults-restored", "get", "configmap", "c0002"]).unwrap();
}

const STUCK: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata: {name: stuck, namespace: faults-dying, finalizers: [sea.example.org/wait]}
"#;

#[test]
fn a_namespace_that_is_being_deleted_is_counted_and_not_missed() {
    for name in ["faults-dying", "faults-living"] {
        namespace(name, 3);
    }
    let cluster = harness::shared_cluster().unwrap();
    cluster.apply(STUCK).unwrap();
    cluster.kubectl(&["delete", "namespace", "faults-dying", "--wait=false"]).unwrap();
    let phase = "--for=jsonpath={.status.phase}=Terminating";
    cluster.kubectl(&["wait", phase, "namespace/faults-dying", "--timeout=30s"]).unwrap();
    let world = World::file();
    let args = ["--namespace", "faults-dying", "--namespace", "faults-living", "--json"];
    let ran = says(world.backup(kubeconfig(), &args), 0, &[]).json();
    assert_eq!(ran["result"], "Completed");
    // The namespace itself and what is stuck in it, at the least.
    assert!(ran["report"]["derived"]["namespaceTerminating"].as_u64() >= Some(2), "{}", ran["report"]);
    let listed = world.on_primary(&["find", "latest"]).expect(0).stdout;
    assert!(listed.contains("faults-living") && !listed.contains("faults-dying"), "{listed}");
    let free = ["-n", "faults-dying", "patch", "configmap", "stuck", "--type=merge", "-p"];
    cluster.kubectl(&[&free[..], &[r#"{"metadata":{"finalizers":null}}"#]].concat()).unwrap();
    cluster.kubectl(&["wait", "--for=delete", "namespace/faults-dying", "--timeout=60s"]).unwrap();
    says(world.backup(kubeconfig(), &args), 0, &[]);
}

#[test]
fn a_kubeconfig_that_is_none_is_named() {
    let world = World::file();
    let path = world.folder().join("kubeconfig");
    says(world.backup(&path, &[]), 1, &[path.to_str().unwrap(), "--kubeconfig"]);
    std::fs::write(&path, "users: [{user: {token: hunter2").unwrap();
    let ran = says(world.backup(&path, &[]), 1, &[path.to_str().unwrap(), "not a valid kubeconfig"]);
    assert!(!ran.said().contains("hunter2"), "{}", ran.said());
    assert!(manifests(&world.primary()).is_empty());
}
