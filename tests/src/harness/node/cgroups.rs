//! The control groups of one node's pods, below a root of the node's own, so that the kubelets of several nodes do
//! not take each other's pods for leftovers. Moves no process.

use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

const MOUNTED: &str = "/sys/fs/cgroup";

/// The hierarchies: one per controller in version 1, a single one in version 2.
fn hierarchies() -> Vec<PathBuf> {
    let root = Path::new(MOUNTED);
    if root.join("cgroup.controllers").exists() {
        return vec![root.to_owned()];
    }
    let entries = fs::read_dir(root).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

/// Removes what the nodes of killed tests left: groups without a network card of the same name.
fn sweep(prefix: &str) {
    for hierarchy in hierarchies() {
        for entry in fs::read_dir(hierarchy).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let number = name.to_str().and_then(|name| name.strip_prefix(prefix)).map(str::parse::<u8>);
            if matches!(number, Some(Ok(_))) && !Path::new("/sys/class/net").join(&name).exists() {
                remove_tree(&entry.path());
            }
        }
    }
}

/// Makes the root of a node in every hierarchy. The network card `name` (`prefix` and a number) exists already.
pub(super) fn create(prefix: &str, name: &str) -> Result<()> {
    sweep(prefix);
    remove(name);
    for hierarchy in hierarchies() {
        let group = hierarchy.join(name);
        fs::create_dir(&group)
            .with_context(|| format!("cannot make the control group {}", group.display()))?;
        // Version 1: a new group has no processors and no memory until it is told which.
        for file in ["cpuset.cpus", "cpuset.mems"] {
            if let Ok(value) = fs::read(hierarchy.join(file)) {
                let _not_a_cpuset = fs::write(group.join(file), value);
            }
        }
        // Version 2: controllers are handed down one by one; one that cannot be is left out.
        let controllers = fs::read_to_string(group.join("cgroup.controllers")).unwrap_or_default();
        for controller in controllers.split_ascii_whitespace() {
            let _not_delegable = fs::write(group.join("cgroup.subtree_control"), format!("+{controller}"));
        }
    }
    Ok(())
}

/// Removes it, when its processes are gone (they may take a moment).
pub(crate) fn remove(name: &str) {
    for group in hierarchies().into_iter().map(|hierarchy| hierarchy.join(name)) {
        for _ in 0..40 {
            remove_tree(&group);
            if !group.exists() {
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

fn remove_tree(group: &Path) {
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path());
        }
    }
    let _still_in_use = fs::remove_dir(group);
}
