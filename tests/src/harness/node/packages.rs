//! Says which of the machine's programs a node needs, and which packages have them. Installs nothing.

use crate::harness::image::busybox_path;
use anyhow::{Result, bail};
use std::path::{Path, PathBuf};

/// Where the system's programs are; a user's own path often lacks half of it.
pub(super) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Program and Debian package.
const NEEDED: [(&str, &str); 10] = [
    ("containerd", "containerd"),
    ("ctr", "containerd"),
    ("runc", "runc"),
    ("iptables", "iptables"),
    ("conntrack", "conntrack"),
    ("socat", "socat"),
    ("ethtool", "ethtool"),
    ("ip", "iproute2"),
    ("nsenter", "util-linux"),
    ("unshare", "util-linux"),
];

/// The folder of the network plugins (Debian's, or the project's own).
pub(super) fn plugins() -> Option<PathBuf> {
    ["/usr/lib/cni", "/opt/cni/bin"]
        .map(PathBuf::from)
        .into_iter()
        .find(|folder| folder.join("bridge").is_file())
}

/// An error that names the packages that are missing.
pub(super) fn check() -> Result<()> {
    let found = |program: &str| PATH.split(':').any(|folder| Path::new(folder).join(program).is_file());
    let mut missing: Vec<&str> =
        NEEDED.iter().filter(|(program, _)| !found(program)).map(|(_, package)| *package).collect();
    if plugins().is_none() {
        missing.push("containernetworking-plugins");
    }
    if busybox_path().is_none() {
        missing.push("busybox-static");
    }
    missing.dedup();
    if missing.is_empty() {
        return Ok(());
    }
    bail!(
        "a node needs packages that are not installed: {}. `make node-packages` installs them (Debian)",
        missing.join(" ")
    )
}
