//! Trees of real repositories, restored into real directories.

mod alone;
mod damage;
mod hostile;
mod whole;

use super::*;
use lifeboat_common::testing::{SnapshotBuilder, TestRepository, TestTree};
use lifeboat_format::tree::{Attributes, NodeKind};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A repository with one tree, and a folder to restore it into.
struct Bed {
    repository: TestRepository,
    /// Keys of the tree's packs.
    packs: Vec<String>,
    dir: tempfile::TempDir,
}

impl Bed {
    fn new(tree: TestTree) -> Self {
        let mut repository = TestRepository::new();
        let committed = repository.commit(&SnapshotBuilder::default().path("home", tree));
        let packs = committed.packs["trees"].clone();
        Self { repository, packs, dir: tempfile::tempdir().unwrap() }
    }

    /// Where the tree's root is put.
    fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join("volumes/_paths/home").join(path)
    }

    async fn tree(&self) -> Tree {
        let repository = self.repository.open().await;
        let keyring = self.repository.keyring(&repository);
        let list = repository.snapshots().await.unwrap();
        let snapshot = list.resolve("latest").unwrap().clone();
        let open = repository.open_snapshot(&snapshot, keyring).await.unwrap();
        let domain = open.volumes().next().unwrap().clone();
        open.tree(&domain).unwrap()
    }

    async fn restore(&self) -> Restored {
        self.restore_with(vec![Chosen::All], options()).await
    }

    async fn restore_with(&self, chosen: Vec<Chosen>, options: RestoreOptions) -> Restored {
        let target = Arc::new(Target::open(self.dir.path()).unwrap());
        let restored = restore(&self.tree().await, chosen, &target, options).await;
        assert_eq!(partials(self.dir.path()), 0, "nothing unfinished stays");
        restored
    }
}

fn options() -> RestoreOptions {
    let cancel = Arc::new(AtomicBool::new(false));
    RestoreOptions { devices: false, root: Root::Folder, cancel, progress: Progress::quiet() }
}

/// Content that does not repeat.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64 ^ len as u64;
    let next = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_le_bytes()[7]
    };
    (0..len).map(next).collect()
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Unfinished files below a folder.
fn partials(folder: &Path) -> usize {
    let mut count = 0;
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let entry = entry.unwrap();
        count += usize::from(entry.file_name().to_string_lossy().starts_with(partial::PREFIX));
        if entry.file_type().unwrap().is_dir() {
            count += partials(&entry.path());
        }
    }
    count
}

/// Runs one test of this program again, as `change` makes it; what a test does when it finds `switch` in its
/// environment is what is tried.
fn again(test: &str, switch: &str, change: impl FnOnce(Command) -> Command) -> Option<String> {
    let program = std::env::current_exe().unwrap();
    let mut command = change(Command::new(program));
    command.args(["--exact", &format!("tree::restore::tests::{test}"), "--nocapture"]).env(switch, "1");
    let output = command.output().ok()?;
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{text}");
    Some(text)
}
