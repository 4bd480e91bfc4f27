//! What the agent's service account may do, tried one by one: its own, and nothing else.

use super::site::Site;
use lifeboat_agent::cluster::{Cluster as Agent, ConnectOptions};
use serde_json::json;

/// Objects that are really there, so that a refusal is not merely "not found".
fn targets(site: &Site) {
    let namespace = &site.namespace;
    let list = json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "victim"}},
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "app", "namespace": "victim"}},
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "login", "namespace": "victim"}, "stringData": {"p": "hunter2"}},
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "lifeboat-agent", "namespace": namespace}, "stringData": {"agent.key": "hunter2"}},
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "lifeboat-state", "namespace": "victim"}, "stringData": {"p": "hunter2"}},
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "conf", "namespace": "victim"}},
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "conf", "namespace": namespace}},
        {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "other", "namespace": namespace}},
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod", "namespace": "victim"}, "spec": {"containers": [{"name": "c", "image": "x"}]}},
    ]});
    site.cluster.apply(&list.to_string()).unwrap();
    site.create("BackupSchedule", "theirs", &json!({"schedule": "@yearly"})).unwrap();
}

/// Method and path; NS stands for the agent's namespace, V for another one.
const REFUSED: &[(&str, &str)] = &[
    // Secrets by name.
    ("GET", "/api/v1/namespaces/V/secrets/login"),
    ("GET", "/api/v1/namespaces/V/secrets/lifeboat-state"),
    ("GET", "/api/v1/namespaces/NS/secrets/lifeboat-agent"),
    ("GET", "/api/v1/watch/secrets"),
    ("GET", "/api/v1/secrets?watch=true&timeoutSeconds=1"),
    (
        "GET",
        "/api/v1/namespaces/NS/secrets?watch=true&timeoutSeconds=1&fieldSelector=metadata.name%3Dlifeboat-agent",
    ),
    // Anything by name.
    ("GET", "/api/v1/namespaces/V/configmaps/conf"),
    ("GET", "/api/v1/namespaces/V/pods/pod"),
    ("GET", "/api/v1/namespaces/V/pods/pod/status"),
    ("GET", "/api/v1/namespaces/V/pods/pod/log"),
    ("GET", "/api/v1/namespaces/NS/configmaps/conf"),
    // Into pods, nodes and services.
    ("GET", "/api/v1/namespaces/V/pods/pod/exec?command=id&stdout=true"),
    ("POST", "/api/v1/namespaces/V/pods/pod/exec?command=id&stdout=true"),
    ("GET", "/api/v1/namespaces/V/pods/pod/attach"),
    ("GET", "/api/v1/namespaces/V/pods/pod/portforward?ports=1"),
    ("GET", "/api/v1/namespaces/V/pods/pod/proxy/"),
    ("GET", "/api/v1/nodes/node/proxy/pods"),
    ("GET", "/api/v1/namespaces/default/services/https:kubernetes:/proxy/"),
    ("PATCH", "/api/v1/namespaces/V/pods/pod/ephemeralcontainers"),
    ("POST", "/api/v1/namespaces/V/pods/pod/eviction"),
    ("POST", "/api/v1/namespaces/V/pods/pod/binding"),
    // Writing, elsewhere and at home.
    ("POST", "/api/v1/namespaces"),
    ("PATCH", "/api/v1/namespaces/V"),
    ("DELETE", "/api/v1/namespaces/V"),
    ("POST", "/api/v1/namespaces/V/configmaps"),
    ("PUT", "/api/v1/namespaces/V/configmaps/conf"),
    ("PATCH", "/api/v1/namespaces/V/configmaps/conf"),
    ("DELETE", "/api/v1/namespaces/V/configmaps/conf"),
    ("DELETE", "/api/v1/namespaces/V/configmaps"),
    ("PATCH", "/api/v1/namespaces/V/secrets/login"),
    ("POST", "/api/v1/namespaces/NS/configmaps"),
    ("DELETE", "/api/v1/namespaces/NS/configmaps/conf"),
    ("POST", "/api/v1/namespaces/NS/secrets"),
    ("DELETE", "/api/v1/namespaces/NS/secrets/lifeboat-state"),
    ("PUT", "/api/v1/namespaces/NS/secrets/lifeboat-agent"),
    ("PATCH", "/api/v1/namespaces/NS/secrets/lifeboat-agent"),
    ("DELETE", "/api/v1/namespaces/NS/secrets"),
    ("POST", "/api/v1/namespaces/NS/pods"),
    ("DELETE", "/api/v1/namespaces/V/pods/pod"),
    ("POST", "/apis/batch/v1/namespaces/NS/jobs"),
    ("POST", "/apis/apps/v1/namespaces/NS/deployments"),
    ("PATCH", "/apis/coordination.k8s.io/v1/namespaces/NS/leases/other"),
    ("DELETE", "/apis/coordination.k8s.io/v1/namespaces/NS/leases/other"),
    ("POST", "/apis/lifeboat.dev/v1alpha1/namespaces/NS/backupschedules"),
    ("PATCH", "/apis/lifeboat.dev/v1alpha1/namespaces/NS/backupschedules/theirs"),
    ("DELETE", "/apis/lifeboat.dev/v1alpha1/namespaces/NS/backupschedules/theirs"),
    ("POST", "/apis/lifeboat.dev/v1alpha1/namespaces/V/backups"),
    ("GET", "/apis/lifeboat.dev/v1alpha1/backups?watch=true&timeoutSeconds=1"),
    // More rights than it has.
    ("POST", "/api/v1/namespaces/V/serviceaccounts/app/token"),
    ("POST", "/api/v1/namespaces/NS/serviceaccounts/lifeboat-agent/token"),
    ("PATCH", "/api/v1/namespaces/NS/serviceaccounts/lifeboat-agent"),
    ("POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"),
    ("POST", "/apis/rbac.authorization.k8s.io/v1/namespaces/NS/rolebindings"),
    ("POST", "/apis/rbac.authorization.k8s.io/v1/namespaces/NS/roles"),
    ("PATCH", "/apis/rbac.authorization.k8s.io/v1/namespaces/NS/roles/lifeboat-agent"),
    ("PATCH", "/apis/rbac.authorization.k8s.io/v1/clusterroles/lifeboat-agent-NS"),
    ("POST", "/apis/certificates.k8s.io/v1/certificatesigningrequests"),
    ("POST", "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"),
];

async fn tried(cluster: &Agent, method: &str, path: &str, headers: &[(&str, &str)]) -> Option<u16> {
    let kind = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
    let mut request = http::Request::builder().method(method).uri(path).header("content-type", kind);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = if matches!(method, "GET" | "DELETE") { Vec::new() } else { b"{}".to_vec() };
    let answer = cluster.request_bytes(request.body(body).unwrap()).await;
    match answer {
        Ok(_) => Some(200),
        Err(error) => error.code(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_but_its_own_is_refused() {
    let site = Site::new("lifeboat-rights");
    targets(&site);
    let connect = |kubeconfig: &std::path::Path| {
        let kubeconfig = kubeconfig.to_owned();
        async move { Agent::connect(Some(&kubeconfig), None, ConnectOptions::default()).await.unwrap() }
    };
    let agent = connect(site.agent_kubeconfig()).await;
    for (method, path) in REFUSED {
        let path = path.replace("NS", &site.namespace).replace("/V", "/victim");
        assert_eq!(tried(&agent, method, &path, &[]).await, Some(403), "{method} {path}");
    }
    let as_admin = [("impersonate-user", "admin"), ("impersonate-group", "system:masters")];
    assert_eq!(tried(&agent, "GET", "/api/v1/namespaces", &as_admin).await, Some(403));
    // The same requests of an administrator are not refused: the paths are right.
    let admin = connect(site.cluster.kubeconfig()).await;
    for (method, path) in REFUSED.iter().filter(|(method, path)| {
        *method == "GET" && !path.contains("watch") && !path.contains("/pods/pod/") && !path.contains("prox")
    }) {
        let path = path.replace("NS", &site.namespace).replace("/V", "/victim");
        assert_eq!(tried(&admin, method, &path, &[]).await, Some(200), "{method} {path}");
    }
    may_do_its_own(&site, &agent).await;
}

async fn may_do_its_own(site: &Site, agent: &Agent) {
    for path in [
        "/api/v1/secrets",
        "/api/v1/pods",
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
        "/api/v1/namespaces/NS/secrets/lifeboat-state",
        "/apis/lifeboat.dev/v1alpha1/namespaces/NS/backupschedules/theirs",
        "/apis/lifeboat.dev/v1alpha1/namespaces/NS/backups?watch=true&timeoutSeconds=1",
    ] {
        let path = path.replace("NS", &site.namespace);
        assert_eq!(tried(agent, "GET", &path, &[]).await, Some(200), "{path}");
    }
    let can = ["auth", "can-i", "--list", "-n", "victim"];
    let mine = site.cluster.kubectl_as(site.agent_kubeconfig(), &can).unwrap();
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let rights: Vec<_> = mine.lines().skip(1).map(words).collect();
    let everyone = |r: &&String| r.starts_with("[/") || r.contains("selfsubject");
    let rights: Vec<_> = rights.iter().filter(|r| !everyone(r)).collect();
    assert_eq!(rights, ["*.* [] [] [list]"], "elsewhere it has one right: {mine}");
}
