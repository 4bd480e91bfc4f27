//! Changing what is in force: the charters of folder and store together, the next one signed by the owners, then the
//! folder's files. Owns that order and nothing of what changes; `rotate` and `adopt` decide that.

use crate::args::S3Args;
use crate::context::Context;
use crate::folder::{self, AgentFiles, Folder, NewFile, replace};
use crate::publish;
use anyhow::{Context as _, Result};
use lifeboat_common::exit::UsageError;
use lifeboat_common::keys::{self, KeyError, PassphraseSource};
use lifeboat_common::store::CreateStore;
use lifeboat_common::trust;
use lifeboat_format::charter::{self, Charter, TrustedCharter, trusted_chain};
use lifeboat_format::crypto::sign::{SigningKey, VerifyKey};
use lifeboat_format::id::{ClusterName, Sha256};
use std::path::PathBuf;
use std::sync::Arc;

/// Arguments of every command that signs a new charter.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct ChangeArgs {
    /// The folder that `lifeboat init` made
    #[arg(long, value_name = "DIR")]
    pub(crate) config: PathBuf,

    /// The owner's private key (default: owner.key in the folder); repeat it where several owners must sign
    #[arg(long = "owner-key", value_name = "FILE")]
    pub(crate) owner_keys: Vec<PathBuf>,

    /// File with the passphrase of owner key and identity (default: it is asked for)
    #[arg(long, value_name = "FILE")]
    pub(crate) passphrase_file: Option<PathBuf>,

    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) s3: S3Args,
}

/// A folder, its store, and the charters that both of them know.
pub(crate) struct Change {
    pub(crate) folder: Folder,
    pub(crate) store: Arc<dyn CreateStore>,
    /// Signed files, ascending from 1.
    files: Vec<Vec<u8>>,
    chain: Vec<TrustedCharter>,
}

impl Change {
    /// Reads both sides, and gives the store the charters that only the folder has.
    pub(crate) async fn begin(args: &ChangeArgs, context: &Context<'_>) -> Result<Self> {
        let folder = Folder::load(&args.config)?;
        let (owner, cluster) = (folder.facts.owner, folder.facts.cluster.clone());
        let options = args.s3.over(folder.s3());
        let store =
            folder.facts.repo.open(Some(cluster.as_str()), &options, Arc::clone(&context.clock)).await?;
        let stored = trust::charter_files(&*store).await?;
        let known: Vec<Vec<u8>> = folder.charters.iter().chain(&stored).cloned().collect();
        let chain = trusted_chain(&known, &owner, &cluster).with_context(|| {
            format!("the charters in {} and in {}", args.config.display(), store.describe())
        })?;
        let files = pick(&known, &chain, &owner, &cluster)?;
        for file in files.iter().filter(|f| !stored.contains(f)) {
            // Lost, hidden, or the rest of a run that was cut short.
            tracing::warn!(
                "{} did not show a charter that the folder has; putting it there",
                store.describe()
            );
            publish::charter(&*store, &owner, &cluster, file).await?;
        }
        Ok(Self { folder, store, files, chain })
    }

    /// The charter in force.
    pub(crate) fn newest(&self) -> &TrustedCharter {
        self.chain.last().expect("a trusted chain is never empty")
    }

    /// What the next charter starts from: the one in force, with its number and time moved on.
    pub(crate) fn next(&self, context: &Context<'_>) -> Result<Charter> {
        self.newest().charter().check_writable()?;
        let newest = self.newest();
        Ok(Charter {
            n: newest.charter().n + 1,
            prev: Some(newest.sha256()),
            created: jiff::Timestamp::from_second(context.clock.now().as_second())?,
            ..newest.charter().clone()
        })
    }

    /// The private keys of as many owners as must sign.
    pub(crate) fn owners(&self, args: &ChangeArgs) -> Result<Vec<SigningKey>> {
        let mut paths = args.owner_keys.clone();
        if paths.is_empty() {
            paths.push(self.folder.path.join(folder::OWNER_KEY));
        }
        let passphrases = PassphraseSource::new(args.passphrase_file.clone());
        let mut keys: Vec<SigningKey> = Vec::new();
        for path in &paths {
            let key = keys::owner_key(path, &passphrases).map_err(|e| missing(e, "owner-key"))?;
            if !keys.iter().any(|k| k.verify_key() == key.verify_key()) {
                keys.push(key);
            }
        }
        let charter = self.newest().charter();
        keys.retain(|k| charter.owners.contains(&k.verify_key()));
        if keys.len() < charter.threshold {
            let owners: Vec<String> =
                charter.owners.iter().map(|k| format!("{k} ({})", k.fingerprint())).collect();
            return Err(UsageError::new(format!(
                "A new charter needs {} of the owners {}; {} of their keys were given as --owner-key",
                charter.threshold,
                owners.join(", "),
                keys.len()
            ))
            .into());
        }
        Ok(keys)
    }

    /// Signs `next` and puts it into the store: from here on it is in force.
    pub(crate) async fn commit(&mut self, next: &Charter, owners: &[SigningKey]) -> Result<()> {
        let signed = next.sign(&owners.iter().collect::<Vec<_>>());
        let (owner, cluster) = (self.folder.facts.owner, self.folder.facts.cluster.clone());
        let mut files = self.files.clone();
        files.push(signed.clone());
        // Nothing leaves this machine that would not be believed; and nobody else signed meanwhile.
        let mut all = files.clone();
        all.extend(trust::charter_files(&*self.store).await?);
        let chain = trusted_chain(&all, &owner, &cluster)?;
        anyhow::ensure!(
            chain.len() == files.len(),
            "The new charter would not be believed: it does not follow charter {}",
            self.files.len()
        );
        self.chain = publish::charter(&*self.store, &owner, &cluster, &signed).await?;
        self.files = files;
        Ok(())
    }

    /// Rewrites what depends on the charter, and `more`; what is replaced is kept under the number of the charter
    /// that it belonged to.
    pub(crate) fn write(&self, key: &str, credentials: Option<&str>, mut more: Vec<NewFile>) -> Result<()> {
        let ca = self.folder.ca()?;
        let agent = AgentFiles {
            facts: &self.folder.facts,
            charters: &self.files,
            key,
            credentials,
            ca: ca.as_deref(),
        };
        let mut files = agent.files()?;
        files.append(&mut more);
        replace::replace(&self.folder.path, self.replaced(), &files).with_context(|| {
            format!(
                "Charter {} is in force, but the folder is not up to date; run the same command again",
                self.files.len()
            )
        })
    }

    /// The number under which the folder's old files are kept: that of the last charter it had.
    pub(crate) fn replaced(&self) -> u64 {
        (self.folder.charters.len() as u64).max(1)
    }
}

/// Says which argument names a key file that is not there.
pub(crate) fn missing(error: KeyError, argument: &str) -> anyhow::Error {
    let absent =
        matches!(&error, KeyError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound);
    let error = anyhow::Error::new(error);
    if absent {
        error.context(format!("A private key is needed; give its file as --{argument}"))
    } else {
        error
    }
}

/// For each trusted charter a file that proves it, those of the folder first: a store may add envelopes with the
/// same payload and worthless signatures.
fn pick(
    known: &[Vec<u8>],
    chain: &[TrustedCharter],
    owner: &VerifyKey,
    cluster: &ClusterName,
) -> Result<Vec<Vec<u8>>> {
    let mut files: Vec<Vec<u8>> = Vec::new();
    for trusted in chain {
        let proves = |file: &&Vec<u8>| {
            let same = charter::parse(file)
                .is_ok_and(|(e, _)| Sha256::of(e.unverified_payload()) == trusted.sha256());
            let with: Vec<Vec<u8>> = files.iter().chain([*file]).cloned().collect();
            same && trusted_chain(&with, owner, cluster).is_ok_and(|c| c.len() == with.len())
        };
        let file = known.iter().find(proves).context("A trusted charter has a file that proves it")?;
        files.push(file.clone());
    }
    Ok(files)
}
