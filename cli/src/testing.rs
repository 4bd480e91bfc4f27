//! For tests of commands: a repository on disk, and a command run as from a shell, its output in memory.

use crate::context::Context;
use crate::{Cli, run};
use clap::Parser as _;
use lifeboat_common::exit::Exit;
use lifeboat_common::telemetry::Color;
use lifeboat_common::testing::TestRepository;
use std::path::{Path, PathBuf};

/// A repository of cluster `prod`, its identity file beside it.
pub(crate) struct OnDisk {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) identity: PathBuf,
}

impl OnDisk {
    pub(crate) fn of(repository: &TestRepository) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let identity = dir.path().join("identity.txt");
        lifeboat_common::keys::write_new(&identity, repository.identity.as_bytes()).unwrap();
        let disk = Self { dir, identity };
        disk.write(repository);
        disk
    }

    /// The objects as they are in memory now.
    pub(crate) fn write(&self, repository: &TestRepository) {
        let folder = self.dir.path().join("repo/prod");
        drop(std::fs::remove_dir_all(&folder));
        for key in repository.store.keys() {
            let path = folder.join(&key);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, repository.store.bytes(&key).unwrap()).unwrap();
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn url(&self) -> String {
        format!("file://{}", self.path("repo").display())
    }

    /// Runs `lifeboat ARGS --repo … --identity …`.
    pub(crate) async fn lifeboat(&self, args: &[&str]) -> (anyhow::Result<Exit>, String) {
        self.with_identity(args, &self.identity).await
    }

    pub(crate) async fn with_identity(
        &self,
        args: &[&str],
        identity: &Path,
    ) -> (anyhow::Result<Exit>, String) {
        let mut all: Vec<String> = args.iter().map(|a| (*a).to_owned()).collect();
        all.extend(["--identity".to_owned(), identity.display().to_string()]);
        self.bare(&all).await
    }

    /// Runs `lifeboat ARGS --repo …`.
    pub(crate) async fn bare<S: AsRef<str>>(&self, args: &[S]) -> (anyhow::Result<Exit>, String) {
        let url = self.url();
        let line =
            ["lifeboat"].into_iter().chain(args.iter().map(AsRef::as_ref)).chain(["--repo", url.as_str()]);
        let cli = Cli::try_parse_from(line).unwrap();
        let mut out = Vec::new();
        let exit = run(cli.command, &mut Context::new(&mut out, Color::Never)).await;
        (exit, String::from_utf8(out).unwrap())
    }
}
