//! The new folder while it is unfinished: written beside its place, put into the store, then renamed. Knows how to go
//! on after any interruption.

use super::make::EPOCH;
use crate::folder::{self, NewFile};
use crate::publish;
use anyhow::{Context as _, Result, bail};
use lifeboat_common::config::{self, RepositoryConfig};
use lifeboat_common::exit::UsageError;
use lifeboat_common::keys;
use lifeboat_common::store::{CreateStore, ReadStore, StoreUrl};
use lifeboat_format::id::ClusterName;
use lifeboat_format::layout;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// `DIR.unfinished`.
pub(super) struct Unfinished(PathBuf);

impl Unfinished {
    pub(super) fn of(out: &Path) -> Result<Self> {
        let Some(name) = out.file_name() else {
            return Err(UsageError::new(format!("--out {} does not name a folder", out.display())).into());
        };
        let mut name = name.to_owned();
        name.push(".unfinished");
        Ok(Self(out.with_file_name(name)))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Whether an earlier run left it whole, so that it only has to be finished. Clears away a part of one, whose
    /// keys nobody has used: the store is touched only once the folder is whole.
    pub(super) fn look(&self, repo: &StoreUrl, cluster: &ClusterName) -> Result<bool> {
        if self.0.symlink_metadata().is_err() {
            return Ok(false);
        }
        if !self.0.join(folder::NEXT_STEPS).exists() {
            self.clear()?;
            return Ok(false);
        }
        let facts: RepositoryConfig = config::load(&self.0.join(folder::REPOSITORY))?;
        if !super::same_repository(&facts, repo, cluster) {
            return Err(UsageError::new(format!(
                "{} holds the keys of an unfinished init of cluster {} in {}; finish that one with the same arguments, or move the folder away",
                self.0.display(),
                facts.cluster,
                facts.repo
            ))
            .into());
        }
        Ok(true)
    }

    /// Removes only what an init writes.
    fn clear(&self) -> Result<()> {
        use folder::{
            AGENT_KEY, AGENT_SECRET, AGENT_TOML, CA, CHARTER, CREDENTIALS, IDENTITY, OWNER_KEY, RECEIPT_KEY,
            RECIPIENTS, REPLICATOR, REPOSITORY,
        };
        let ours = [
            AGENT_KEY,
            AGENT_SECRET,
            AGENT_TOML,
            CA,
            CHARTER,
            CREDENTIALS,
            EPOCH,
            IDENTITY,
            OWNER_KEY,
            RECEIPT_KEY,
            RECIPIENTS,
            REPLICATOR,
            REPOSITORY,
        ];
        for name in ours {
            match std::fs::remove_file(self.0.join(name)) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(error)
                        .with_context(|| format!("Cannot remove {}", self.0.join(name).display()));
                }
                _ => {}
            }
        }
        std::fs::remove_dir(&self.0).with_context(|| {
            format!("Cannot remove {}, the rest of an unfinished init; move it away", self.0.display())
        })
    }

    pub(super) fn write(&self, files: &[NewFile]) -> Result<()> {
        keys::make_folder(&self.0).context("Give --out in a folder that exists and that you may write to")?;
        for (name, bytes) in files {
            keys::write_new(&self.0.join(name), bytes)?;
        }
        keys::sync_folder(&self.0)?;
        Ok(())
    }

    /// Puts the epoch, then the charter; the second decides.
    pub(super) async fn publish(&self, store: &dyn CreateStore) -> Result<()> {
        let read = |name| std::fs::read(self.0.join(name)).with_context(|| format!("Cannot read {name}"));
        let facts: RepositoryConfig = config::load(&self.0.join(folder::REPOSITORY))?;
        let charter = read(folder::CHARTER)?;
        publish::epoch(store, 1, &read(EPOCH)?).await?;
        publish::charter(store, &facts.owner, &facts.cluster, &charter).await?;
        let firsts = store.list(&format!("{}1-", layout::CHARTER), None, 2).await?;
        if firsts.entries.len() > 1 {
            bail!(
                "{} now has two first charters: somebody else made this repository at the same moment; agree on one, and remove the other file under charter/ by hand",
                store.describe()
            );
        }
        Ok(())
    }

    /// Gives the folder its name.
    pub(super) fn rename(&self, out: &Path) -> Result<()> {
        let what = || format!("Cannot rename {} to {}", self.0.display(), out.display());
        let flags = rustix::fs::RenameFlags::NOREPLACE;
        let renamed = match rustix::fs::renameat_with(rustix::fs::CWD, &self.0, rustix::fs::CWD, out, flags) {
            // Some file systems do not know the flag; a folder with something in it is not replaced by rename either.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => std::fs::rename(&self.0, out),
            other => other.map_err(std::io::Error::from),
        };
        renamed.with_context(what)?;
        let parent = out.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        keys::sync_folder(parent)?;
        // The store has it; a copy here would outlive the epoch when that is shredded.
        std::fs::remove_file(out.join(EPOCH))
            .with_context(|| format!("Cannot remove {EPOCH} from {}", out.display()))
    }
}

/// A cluster's folder with a charter belongs to somebody.
pub(super) async fn refuse_existing(store: &dyn ReadStore, cluster: &ClusterName) -> Result<()> {
    let page = store.list(layout::CHARTER, None, 1).await?;
    if page.entries.is_empty() {
        return Ok(());
    }
    Err(UsageError::new(format!(
        "{} already has a charter, so cluster {cluster} has an owner; to change it use `lifeboat rotate` or `lifeboat adopt` with the folder of its init, and for a new repository give another --cluster or --repo",
        store.describe()
    ))
    .into())
}
