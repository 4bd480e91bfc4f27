//! What the agent's own token can do in a cluster where it is installed, asked and tried: it lists, it keeps its own few
//! objects, and everything else is refused.

use super::*;

/// Asked of the API server's own judgment: verb, resource, more.
const NEVER: &[&[&str]] = &[
    &["get", "secrets"],
    &["get", "secrets/lifeboat-agent", "-n=lifeboat"],
    &["get", "secrets/token", "-n=apps"],
    &["watch", "secrets", "-A"],
    &["update", "secrets/lifeboat-agent", "-n=lifeboat"],
    &["create", "secrets", "-n=lifeboat"],
    &["delete", "secrets/lifeboat-state", "-n=lifeboat"],
    &["patch", "secrets/lifeboat-state", "-n=lifeboat"],
    &["get", "pods", "-n=apps"],
    &["create", "pods", "-n=lifeboat"],
    &["delete", "pods", "-n=lifeboat"],
    &["get", "pods", "--subresource=log", "-n=lifeboat"],
    &["get", "pods", "--subresource=exec", "-n=apps"],
    &["create", "pods", "--subresource=exec", "-n=apps"],
    &["create", "pods", "--subresource=exec", "-n=lifeboat"],
    &["create", "pods", "--subresource=attach", "-n=apps"],
    &["create", "pods", "--subresource=portforward", "-n=apps"],
    &["create", "pods", "--subresource=eviction", "-n=apps"],
    &["update", "pods", "--subresource=ephemeralcontainers", "-n=apps"],
    &["get", "nodes", "--subresource=proxy"],
    &["create", "nodes", "--subresource=proxy"],
    &["get", "services", "--subresource=proxy", "-n=apps"],
    &["update", "deployments", "-n=lifeboat"],
    &["patch", "deployments", "-n=apps"],
    &["update", "deployments", "--subresource=scale", "-n=apps"],
    &["delete", "namespaces"],
    &["create", "namespaces"],
    &["create", "serviceaccounts", "--subresource=token", "-n=lifeboat"],
    &["create", "clusterrolebindings"],
    &["bind", "clusterroles"],
    &["escalate", "clusterroles"],
    &["escalate", "roles", "-n=lifeboat"],
    &["impersonate", "users"],
    &["impersonate", "serviceaccounts", "-n=kube-system"],
    &["create", "tokenreviews.authentication.k8s.io"],
    &["approve", "signers.certificates.k8s.io"],
    &["create", "validatingwebhookconfigurations"],
    &["update", "customresourcedefinitions"],
    &["create", "persistentvolumes"],
    &["update", "backups.lifeboat.dev", "-n=lifeboat"],
    &["create", "backups.lifeboat.dev", "-n=apps"],
    &["create", "backupschedules.lifeboat.dev", "-n=lifeboat"],
    &["update", "backupschedules.lifeboat.dev", "-n=lifeboat"],
    &["delete", "backupschedules.lifeboat.dev", "-n=lifeboat"],
    &["delete", "leases.coordination.k8s.io", "-n=lifeboat"],
    &["update", "leases.coordination.k8s.io/other", "-n=lifeboat"],
    &["update", "leases.coordination.k8s.io", "-n=kube-system"],
    &["create", "events", "-n=apps"],
    &["delete", "events", "-n=lifeboat"],
    &["deletecollection", "backups.lifeboat.dev", "-n=lifeboat"],
];

const ALLOWED: &[&[&str]] = &[
    &["list", "secrets", "-A"],
    &["list", "things.that.are.installed.tomorrow"],
    &["get", "secrets/lifeboat-state", "-n=lifeboat"],
    &["update", "secrets/lifeboat-state", "-n=lifeboat"],
    &["create", "backups.lifeboat.dev", "-n=lifeboat"],
    &["watch", "backupschedules.lifeboat.dev", "-n=lifeboat"],
    &["patch", "backups.lifeboat.dev", "--subresource=status", "-n=lifeboat"],
    &["create", "leases.coordination.k8s.io", "-n=lifeboat"],
    &["create", "events.events.k8s.io", "-n=lifeboat"],
];

const APPS: &str = r#"
{apiVersion: v1, kind: Namespace, metadata: {name: apps}}
---
{apiVersion: v1, kind: Secret, metadata: {name: token, namespace: apps}, stringData: {password: sesame}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: settings, namespace: apps}, data: {a: b}}
---
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: apps}
spec: {containers: [{name: web, image: "docker.io/local/busybox:1", imagePullPolicy: Never}]}
"#;

#[test]
fn the_agent_s_own_token_lists_and_is_refused_everything_else() {
    let cluster = Cluster::start().unwrap();
    cluster.apply(APPS).unwrap();
    let prepared = Prepared::new(shared_s3(), "shared", "rights");
    prepared.install(cluster.kubeconfig(), &["--no-wait"]).expect(0);
    let agent = cluster.service_account_kubeconfig("lifeboat", "lifeboat-agent").unwrap();
    asked(&cluster, &agent);
    tried(&cluster, &agent);
}

pub(super) fn asked(cluster: &Cluster, agent: &Path) {
    let mut wrong = Vec::new();
    for (list, expected) in [(NEVER, "no"), (ALLOWED, "yes")] {
        for what in list {
            // `can-i` ends with 1 for "no", and says so on standard output.
            let mut command = std::process::Command::new(cluster.kubectl_path());
            command.arg("--kubeconfig").arg(agent).args(["auth", "can-i"]).args(*what);
            let output = command.output().unwrap();
            let said = String::from_utf8_lossy(&output.stdout);
            if said.lines().next().and_then(|l| l.split(' ').next()) != Some(expected) {
                wrong.push(format!("{what:?}: {said}{}", String::from_utf8_lossy(&output.stderr)));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The same, done for real: the requests that an intruder would send.
pub(super) fn tried(cluster: &Cluster, agent: &Path) {
    let pods = "/api/v1/namespaces/apps/pods/web";
    let exec = format!("{pods}/exec?command=id&stdout=true");
    let attempts: &[&[&str]] = &[
        &["get", "secret", "token", "-n=apps"],
        &["get", "secret", "lifeboat-agent", "-n=lifeboat"],
        &["get", "--raw", "/api/v1/namespaces/kube-system/secrets/anything"],
        &["get", "--raw", "/api/v1/secrets?watch=true&timeoutSeconds=1"],
        &["get", "--raw", &exec],
        &["create", "--raw", &exec, "-f", "/dev/null"],
        &["get", "--raw", "/api/v1/namespaces/apps/pods/web/log"],
        &["get", "--raw", "/api/v1/nodes/node1/proxy/pods"],
        &["get", "--raw", "/api/v1/nodes/node1:10250/proxy/run/apps/web/web?cmd=id"],
        &["create", "configmap", "mine", "-n=apps"],
        &["create", "configmap", "mine", "-n=lifeboat"],
        &["create", "namespace", "mine"],
        &[
            "create",
            "clusterrolebinding",
            "mine",
            "--clusterrole=cluster-admin",
            "--serviceaccount=lifeboat:lifeboat-agent",
        ],
        &["create", "token", "lifeboat-agent", "-n=lifeboat"],
        &["replace", "--raw", "/api/v1/namespaces/apps/configmaps/settings", "-f", "/dev/null"],
        &[
            "replace",
            "--raw",
            "/apis/apps/v1/namespaces/lifeboat/deployments/lifeboat-controller",
            "-f",
            "/dev/null",
        ],
        &["replace", "--raw", "/api/v1/namespaces/lifeboat/secrets/lifeboat-agent", "-f", "/dev/null"],
        &["patch", "configmap", "settings", "-n=apps", "--patch={\"data\":{\"a\":\"c\"}}"],
        &["patch", "deployment", "lifeboat-controller", "-n=lifeboat", "--patch={\"spec\":{\"replicas\":0}}"],
        &[
            "patch",
            "clusterrole",
            "lifeboat-agent",
            "--type=json",
            "--patch=[{\"op\":\"add\",\"path\":\"/rules/0/verbs/-\",\"value\":\"get\"}]",
        ],
        &["delete", "--raw", "/api/v1/namespaces/apps/secrets/token"],
        &["delete", "--raw", pods],
        &["delete", "--raw", "/api/v1/namespaces/lifeboat/secrets/lifeboat-state"],
        &["delete", "--raw", "/api/v1/namespaces/apps"],
    ];
    for attempt in attempts {
        match cluster.kubectl_as(agent, attempt) {
            Ok(said) => panic!("{attempt:?} was not refused: {said}"),
            Err(error) => {
                assert!(format!("{error:#}").to_lowercase().contains("forbidden"), "{attempt:?}: {error:#}")
            }
        }
    }
    let list = cluster.kubectl_as(agent, &["get", "--raw", "/api/v1/namespaces/apps/configmaps"]).unwrap();
    assert!(list.contains("\"a\":\"b\""), "nothing was changed: {list}");
    cluster.kubectl_as(agent, &["get", "secret", "lifeboat-state", "-n=lifeboat"]).unwrap();
}
