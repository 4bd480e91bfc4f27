//! How the programs of a node are configured and called. Starts nothing.

use super::namespace::Namespace;
use super::{NAME, packages};
use crate::harness::image::BUSYBOX;
use crate::harness::peers::Peers;
use crate::harness::process::Program;
use anyhow::{Context, Result};
use serde_json::json;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

const POD_NETWORK: &str = "10.244.0.0/24";

/// Where containerd listens.
pub(super) fn socket(folder: &Path) -> PathBuf {
    folder.join("containerd.sock")
}

/// The container runtime, with everything it writes in the node's folder.
pub(super) fn containerd(folder: &Path) -> Result<Program> {
    let plugins = packages::plugins().context("there are no network plugins")?;
    let networks = folder.join("networks");
    std::fs::create_dir_all(&networks).context("cannot make the folder of the network's settings")?;
    write(&networks.join("10-bridge.conflist"), &network())?;
    let (root, state, socket) = (folder.join("containerd"), folder.join("containerd-state"), socket(folder));
    // restrict_oom_score_adj: without CAP_SYS_RESOURCE the wish for less than one's own score ends a container at once.
    let config = format!(
        r#"version = 2
root = {root:?}
state = {state:?}
[grpc]
  address = {socket:?}
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{BUSYBOX}"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = {plugins:?}
    conf_dir = {networks:?}
"#
    );
    let path = folder.join("containerd.toml");
    write(&path, &config)?;
    Ok(Program::new("containerd", "containerd").env("PATH", packages::PATH).arg("--config").arg(path))
}

/// Pods get addresses on a bridge; they leave it under the node's address.
fn network() -> String {
    let addresses = json!({ "type": "host-local", "ranges": [[{ "subnet": POD_NETWORK }]], "routes": [{ "dst": "0.0.0.0/0" }] });
    let bridge = json!({ "type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": true, "hairpinMode": true, "ipam": addresses });
    let portmap = json!({ "type": "portmap", "capabilities": { "portMappings": true } });
    json!({ "cniVersion": "0.4.0", "name": "pods", "plugins": [bridge, portmap] }).to_string()
}

/// Scheduler, proxy and (last) kubelet.
pub(super) fn kubernetes(
    peers: &Peers,
    folder: &Path,
    kubeconfig: &Path,
    namespace: &Namespace,
) -> Result<[Program; 3]> {
    let program = |name: &str| {
        Ok::<_, anyhow::Error>(Program::new(name, peers.path(name)?).env("PATH", packages::PATH))
    };
    let kubeconfig = format!("--kubeconfig={}", kubeconfig.display());
    let scheduler =
        program("kube-scheduler")?.args([&kubeconfig, "--leader-elect=false", "--bind-address=127.0.0.1"]);
    let proxy = program("kube-proxy")?.args([
        &kubeconfig,
        "--proxy-mode=iptables",
        &format!("--hostname-override={NAME}"),
    ]);
    // Zero leaves the machine's connection table as it is.
    let proxy = proxy.args([
        "--conntrack-max-per-core=0",
        "--conntrack-tcp-timeout-established=0",
        "--conntrack-tcp-timeout-close-wait=0",
    ]);
    let proxy = proxy
        .args(["--healthz-bind-address=127.0.0.1:10256", "--metrics-bind-address=127.0.0.1:10249"])
        .arg(format!("--cluster-cidr={POD_NETWORK}"));
    let config = folder.join("kubelet.json");
    write(&config, &kubelet_config(folder, &namespace.cgroup(), namespace.address()))?;
    let kubelet = program("kubelet")?.args([
        &kubeconfig,
        &format!("--config={}", config.display()),
        &format!("--hostname-override={NAME}"),
    ]);
    Ok([scheduler, proxy, kubelet.arg(format!("--node-ip={}", namespace.address()))])
}

fn kubelet_config(folder: &Path, cgroup: &str, names: Ipv4Addr) -> String {
    let config = json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": { "anonymous": { "enabled": true }, "webhook": { "enabled": false } },
        "authorization": { "mode": "AlwaysAllow" },
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": format!("/{cgroup}"),
        "containerRuntimeEndpoint": format!("unix://{}", socket(folder).display()),
        "failSwapOn": false,
        "failCgroupV1": false,
        "enforceNodeAllocatable": [],
        // A full disk of the machine must not end pods or remove images that cannot be had again.
        "evictionHard": { "nodefs.available": "0%", "imagefs.available": "0%", "memory.available": "50Mi" },
        // What is changed in a Secret or ConfigMap is in the pods soon.
        "syncFrequency": "10s",
        // A container that a test kills comes back soon, however often.
        "featureGates": { "KubeletCrashLoopBackOffMax": true },
        "crashLoopBackOff": { "maxContainerRestartPeriod": "2s" },
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "clusterDomain": "cluster.local",
        // Nobody answers there before `Node::names`.
        "clusterDNS": [names],
        "resolvConf": "",
    });
    config.to_string()
}

/// A class without a provisioner and one volume of it.
pub(super) fn local_volume(name: &str, size: &str, path: &Path) -> String {
    let class = json!({
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": { "name": "local" },
        "provisioner": "kubernetes.io/no-provisioner",
        "volumeBindingMode": "WaitForFirstConsumer",
    });
    let here = json!([{ "matchExpressions": [{ "key": "kubernetes.io/hostname", "operator": "In", "values": [NAME] }] }]);
    let volume = json!({
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": { "name": name },
        "spec": {
            "capacity": { "storage": size },
            "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": "local",
            "local": { "path": path },
            "nodeAffinity": { "required": { "nodeSelectorTerms": here } },
        },
    });
    format!("{class}\n---\n{volume}\n")
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
