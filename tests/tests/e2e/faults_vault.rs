//! Disks that are full or cannot be written: the error says so, nothing half-written is taken for whole, and the next
//! pull or extract goes on.

use crate::faults::{manifests, says};
use crate::inprocess::namespace;
use crate::world::{Ran, World, files, kubeconfig};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A small file system of its own, gone when dropped. Only root can make one.
pub(crate) struct SmallDisk(PathBuf);

impl SmallDisk {
    pub(crate) fn at(folder: &Path, size: &str) -> Option<Self> {
        std::fs::create_dir_all(folder).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "lifeboat-test"]).arg(folder);
        let mounted = mount.output().is_ok_and(|out| out.status.success());
        mounted.then(|| Self(folder.to_owned()))
    }

    pub(crate) fn remount(&self, option: &str) {
        let done = Command::new("mount").args(["-o", &format!("remount,{option}")]).arg(&self.0).status();
        assert!(done.unwrap().success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _gone = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

/// A snapshot of more than half a megabyte in a repository on a directory.
fn large(name: &str) -> World {
    use base64::Engine as _;
    namespace(name, 3);
    let noise: Vec<u8> = (0..600_000).map(|_| rand::random()).collect();
    let noise = base64::prelude::BASE64_STANDARD.encode(noise);
    let object = format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: large, namespace: {name}}}\ndata: {{noise: {noise}}}\n"
    );
    let cluster = lifeboat_tests::harness::shared_cluster().unwrap();
    cluster.kubectl_stdin(&["create", "--filename=-"], object).unwrap();
    let world = World::file();
    world.backup(kubeconfig(), &["--namespace", name]).expect(0);
    world
}

fn pull(world: &World, more: &[&str]) -> Ran {
    let config = world.admin().join("replicator.toml");
    let args = ["pull", "--once", "--config", config.to_str().unwrap()];
    world.run("lifeboat-replicator", &[&args, more].concat())
}

fn is_well(world: &World) {
    says(world.pull(), 0, &[]);
    says(world.on_vault(&["verify"]), 0, &[]);
    assert_eq!(manifests(&world.kept()).len(), 1);
}

#[test]
fn a_vault_that_cannot_be_written_is_named() {
    namespace("faults-vault", 3);
    let world = World::file();
    world.backup(kubeconfig(), &["--namespace", "faults-vault"]).expect(0);
    let vault = world.vault();

    std::fs::remove_dir(&vault).unwrap();
    says(world.pull(), 1, &[vault.to_str().unwrap(), "create the directory, or mount the disk"]);
    std::fs::write(&vault, "no folder").unwrap();
    says(world.pull(), 1, &[vault.to_str().unwrap(), "create the directory"]);
    std::fs::remove_file(&vault).unwrap();
    std::fs::create_dir(&vault).unwrap();

    // Inside the cluster's folder.
    std::fs::create_dir(world.kept()).unwrap();
    let packs = world.kept().join("packs");
    std::fs::write(&packs, "no folder").unwrap();
    says(world.pull(), 1, &["prod/packs", "ALARM vault-failed", "the next pull goes on from here"]);
    assert!(manifests(&world.kept()).is_empty());
    std::fs::remove_file(&packs).unwrap();
    is_well(&world);
}

#[test]
fn a_vault_on_a_read_only_disk_is_named() {
    namespace("faults-readonly", 3);
    let world = World::file();
    world.backup(kubeconfig(), &["--namespace", "faults-readonly"]).expect(0);
    let Some(disk) = SmallDisk::at(&world.vault(), "8m") else { return };
    disk.remount("ro");
    says(world.pull(), 1, &[world.vault().to_str().unwrap(), "mount it writable"]);
    disk.remount("rw");
    says(world.pull(), 0, &[]);
    disk.remount("ro");
    says(world.pull(), 1, &[world.vault().to_str().unwrap()]);
    // What is there can be read all the same.
    says(world.on_vault(&["verify"]), 0, &[]);
    disk.remount("rw");
    is_well(&world);
}

#[test]
fn a_full_vault_takes_nothing_half() {
    let world = large("faults-full");
    let Some(_disk) = SmallDisk::at(&world.vault(), "2m") else { return };
    let filler = world.vault().join("filler");
    std::fs::write(&filler, vec![0; 1_500_000]).unwrap();
    let vault = world.vault();
    // The room that is kept free, and then the real end of the disk.
    for more in [&[][..], &["--min-free", "0"]] {
        let ran = pull(&world, more);
        assert_eq!(ran.code, 1, "{more:?}: {}", ran.said());
        says(ran, 1, &[vault.to_str().unwrap(), "ALARM vault-full", "ree some space"]);
        assert!(manifests(&world.kept()).is_empty());
    }
    std::fs::write(&filler, vec![0; 4_000_000]).unwrap_err();
    says(pull(&world, &["--min-free", "0"]), 1, &[vault.to_str().unwrap(), "ree some space"]);
    assert!(manifests(&world.kept()).is_empty());
    std::fs::remove_file(&filler).unwrap();
    is_well(&world);
}

#[test]
fn a_full_disk_stops_extract_and_leaves_no_half_file() {
    let world = large("faults-extract");
    let out = world.folder().join("out");
    let Some(disk) = SmallDisk::at(&out, "512k") else { return };
    let extract = || world.on_primary(&["extract", "latest", "--to", out.to_str().unwrap()]);
    says(extract(), 1, &["configmap/large.yaml", "No space left", "free some space"]);
    let large = out.join("objects/faults-extract/configmap/large.yaml");
    assert!(!large.exists(), "half a file looks like an object");
    disk.remount("size=4m");
    // What was written before the disk was full is left alone.
    let ran = extract();
    assert!(ran.code == 0 || ran.code == 3, "{}", ran.said());
    assert!(large.metadata().unwrap().len() > 600_000);
    assert!(files(&out).len() >= 5);
}
