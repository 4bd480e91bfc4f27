//! The namespaces of one node, and the cable to them. Their first process is a shell that only waits: with it every
//! process in them ends, every mount goes, and the cable, too. Knows nothing of Kubernetes.

use super::{cgroups, packages};
use crate::harness::pids::{self, Known};
use crate::harness::process::{Lifetime, Process, Program, enter, run};
use anyhow::{Context, Result, bail};
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Gives the node system folders of its own, so that two nodes do not meet there, and then waits. The kubelet insists
/// on some settings of the kernel: it finds them set, in files that lie over the real ones, and changes nothing of the
/// machine. Mounts are shared within the namespace (pods may ask for that) and not with the machine.
const FIRST_PROCESS: &str = r#"
set -e
for pair in containerd:/run/containerd netns:/run/netns cni:/var/lib/cni kubelet:/var/lib/kubelet \
            pod-logs:/var/log/pods container-logs:/var/log/containers; do
  mkdir -p "$1/system/${pair%%:*}" "${pair#*:}"
  mount --bind "$1/system/${pair%%:*}" "${pair#*:}"
done
for pair in vm/overcommit_memory:1 vm/panic_on_oom:0 kernel/panic:10 kernel/panic_on_oops:1 \
            kernel/keys/root_maxkeys:1000000 kernel/keys/root_maxbytes:25000000; do
  mkdir -p "$1/system/kernel/${pair%%/*}/keys"
  echo "${pair#*:}" > "$1/system/kernel/${pair%%:*}"
  mount --bind "$1/system/kernel/${pair%%:*}" "/proc/sys/${pair%%:*}"
done
mount --make-rshared /
hostname "$2"
ip link set lo up
echo 1 > /proc/sys/net/ipv4/ip_forward
: > "$1/namespace-is-ready"
while :; do sleep 3600 & wait; done
"#;

/// Running namespaces, ended when dropped.
#[derive(Debug)]
pub(crate) struct Namespace {
    keeper: Process,
    first: Known,
    cable: Cable,
    left: bool,
}

/// The name under which the first process is recorded.
pub(crate) const FIRST: &str = "first-process";
/// The file with the node's address.
pub(crate) const ADDRESS: &str = "address";

/// What the names of cables begin with.
const CABLE: &str = "lifeboat";

/// A pair of virtual network cards. The number, free while no link has the name, decides name and addresses.
#[derive(Debug, Clone, Copy)]
struct Cable(u8);

impl Cable {
    fn name(self) -> String {
        format!("{CABLE}{}", self.0)
    }

    /// Four addresses each, in a range of 10.0.0.0/8 that little else uses.
    fn addresses(self) -> (Ipv4Addr, Ipv4Addr) {
        let base = u16::from(self.0) * 4;
        let [high, low] = base.to_be_bytes();
        (Ipv4Addr::new(10, 213, high, low + 1), Ipv4Addr::new(10, 213, high, low + 2))
    }

    /// Lays it: that a name can be taken only once makes the choice safe between processes.
    fn lay(pid: i32) -> Result<Self> {
        let pid = pid.to_string();
        for cable in (0..=u8::MAX).map(Self) {
            match ip(
                None,
                &["link", "add", &cable.name(), "type", "veth", "peer", "name", "eth0", "netns", &pid],
            ) {
                Err(error) if format!("{error:#}").contains("File exists") => {}
                outcome => return outcome.map(|()| cable),
            }
        }
        bail!("there are 256 nodes on this machine already")
    }

    fn connect(self, pid: i32) -> Result<()> {
        let (host, node) = self.addresses();
        ip(None, &["address", "add", &format!("{host}/30"), "dev", &self.name()])?;
        ip(None, &["link", "set", &self.name(), "up"])?;
        ip(Some(pid), &["address", "add", &format!("{node}/30"), "dev", "eth0"])?;
        // The kubelet obeys whoever reaches it, so nobody of the machine must.
        let kubelet = [
            "--append",
            "INPUT",
            "--in-interface",
            "eth0",
            "--protocol",
            "tcp",
            "--dport",
            "10250",
            "--jump",
            "REJECT",
        ];
        call(Some(pid), "iptables", &kubelet)?;
        ip(Some(pid), &["link", "set", "eth0", "up"])?;
        ip(Some(pid), &["route", "add", "default", "via", &host.to_string()])
    }
}

impl Namespace {
    pub(super) fn start(folder: &Path, lifetime: Lifetime) -> Result<Self> {
        let program = Program::new("namespace", "unshare").lifetime(lifetime).env("PATH", packages::PATH);
        let program = program.args([
            "--pid",
            "--fork",
            "--kill-child=KILL",
            "--mount",
            "--mount-proc",
            "--propagation=private",
            "--net",
            "--uts",
        ]);
        let program = program.args(["sh", "-c", FIRST_PROCESS, "namespace"]).arg(folder).arg(super::NAME);
        let mut keeper = program.start(folder)?;
        let ready = folder.join("namespace-is-ready");
        keeper.wait_until("ready", Duration::from_secs(20), || Ok(std::fs::metadata(&ready).map(drop)?))?;
        let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", keeper.pid()))
            .context("cannot find the first process")?;
        let first = Known::of(
            FIRST,
            children.trim().parse().with_context(|| format!("not one first process: {children:?}"))?,
        )?;
        pids::record(&folder.join("pids"), &first)?;
        let namespace = Self { cable: Cable::lay(first.pid)?, keeper, first, left: false };
        namespace.cable.connect(namespace.pid())?;
        cgroups::create(CABLE, &namespace.cgroup())?;
        std::fs::write(folder.join(ADDRESS), namespace.address().to_string())
            .context("cannot write down the node's address")?;
        std::fs::write(folder.join("cgroup"), namespace.cgroup())
            .context("cannot write the name of the control group")?;
        Ok(namespace)
    }

    /// Its first process, as the machine numbers it.
    pub(super) fn pid(&self) -> i32 {
        self.first.pid
    }

    pub(super) fn address(&self) -> Ipv4Addr {
        self.cable.addresses().1
    }

    pub(super) fn host_address(&self) -> Ipv4Addr {
        self.cable.addresses().0
    }

    pub(super) fn cgroup(&self) -> String {
        self.cable.name()
    }

    pub(super) fn leave(&mut self) {
        self.left = true;
        self.keeper.leave();
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if self.left {
            return;
        }
        self.keeper.kill();
        // The kernel ends the first process with its keeper, and everything in the namespaces with that.
        for _ in 0..200 {
            if !self.first.is_alive() {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        // The kernel removes the network a moment later; whoever asks now must not find the cable.
        let _gone_already = ip(None, &["link", "delete", &self.cable.name()]);
        cgroups::remove(&self.cgroup());
    }
}

fn ip(inside: Option<i32>, words: &[&str]) -> Result<()> {
    call(inside, "ip", words)
}

fn call(inside: Option<i32>, program: &str, words: &[&str]) -> Result<()> {
    let mut all = enter(inside).into_iter().chain([program.into()]).chain(words.iter().map(Into::into));
    let mut command = Command::new(all.next().unwrap_or_default());
    command.args(all).env("PATH", packages::PATH);
    run(&mut command, None).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cables_have_addresses_of_their_own() {
        assert_eq!(Cable(0).addresses(), (Ipv4Addr::new(10, 213, 0, 1), Ipv4Addr::new(10, 213, 0, 2)));
        assert_eq!(Cable(255).addresses(), (Ipv4Addr::new(10, 213, 3, 253), Ipv4Addr::new(10, 213, 3, 254)));
    }
}
