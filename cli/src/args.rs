//! Arguments that several commands share: which repository, whose, opened with what. Owns how they become an open
//! store, an owner and a cluster; knows no command.

use anyhow::{Context as _, Result};
use lifeboat_common::clock::Clock;
use lifeboat_common::config::{self, RepositoryConfig};
use lifeboat_common::exit::UsageError;
use lifeboat_common::keys::{self, PassphraseSource};
use lifeboat_common::store::{ClusterFolder, ReadStore, S3Options, StoreUrl};
use lifeboat_common::trust;
use lifeboat_format::charter;
use lifeboat_format::crypto::open::Identities;
use lifeboat_format::crypto::sign::VerifyKey;
use lifeboat_format::id::ClusterName;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How to reach an S3 server.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "S3")]
pub(crate) struct S3Args {
    /// S3 server, such as https://s3.example.com:9000 (default: AWS)
    #[arg(long, value_name = "URL")]
    pub(crate) s3_endpoint: Option<String>,

    /// Region (default: as the AWS tools find it)
    #[arg(long, value_name = "REGION")]
    pub(crate) s3_region: Option<String>,

    /// PEM certificates of the authorities to trust instead of the system's
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,

    /// Your credential, in the format of ~/.aws/credentials (default: as the AWS tools find it)
    #[arg(long, value_name = "FILE")]
    pub(crate) credentials_file: Option<PathBuf>,
}

impl S3Args {
    /// What was given here, and for the rest what `base` says.
    pub(crate) fn over(&self, base: S3Options) -> S3Options {
        S3Options {
            endpoint: self.s3_endpoint.clone().or(base.endpoint),
            region: self.s3_region.clone().or(base.region),
            path_style: base.path_style,
            ca_file: self.ca_file.clone().or(base.ca_file),
            credentials_file: self.credentials_file.clone().or(base.credentials_file),
        }
    }
}

/// A repository or a vault, and the keys to it.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct RepoArgs {
    /// Repository or vault: file:///DIR or s3://BUCKET/PREFIX (default: what the file of --owner names)
    #[arg(long, value_name = "URL")]
    pub(crate) repo: Option<StoreUrl>,

    /// Which cluster; may be left out where there is one
    #[arg(long, value_name = "NAME")]
    pub(crate) cluster: Option<ClusterName>,

    /// The owner's public key (ed25519:…), or a file that names it: repository.toml
    ///
    /// Everything in a repository is traced back to this key. Without it nothing there can be believed.
    #[arg(long, value_name = "KEY|FILE")]
    pub(crate) owner: Option<String>,

    /// Your age identity file; names the owner too when `lifeboat init` made it
    #[arg(long, short, value_name = "FILE")]
    pub(crate) identity: Option<PathBuf>,

    /// File with the passphrase of the identity (default: it is asked for)
    #[arg(long, value_name = "FILE")]
    pub(crate) passphrase_file: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) s3: S3Args,
}

/// An opened repository of one cluster.
#[derive(Debug)]
pub(crate) struct Repository {
    /// The cluster's folder.
    pub(crate) store: Arc<dyn ReadStore>,
    pub(crate) cluster: ClusterName,
    /// Pinned by --owner or by the identity file; none when neither names it.
    pub(crate) owner: Option<VerifyKey>,
    /// Of --identity.
    pub(crate) identities: Option<Identities>,
    /// What the store's charter claims the owner is; for messages only.
    pub(crate) claimed_owner: Option<VerifyKey>,
}

impl RepoArgs {
    /// Opens the store, finds the cluster and the owner; asks for a passphrase when the identity has one.
    pub(crate) async fn open(&self, clock: Arc<dyn Clock>) -> Result<Repository> {
        let facts = self.owner.as_deref().map(owner_argument).transpose()?;
        let (mut owner, facts) = match facts {
            None => (None, None),
            Some(OwnerArgument::Key(key)) => (Some(key), None),
            Some(OwnerArgument::Facts(facts)) => (Some(facts.owner), Some(facts)),
        };
        let mut identities = None;
        if let Some(path) = &self.identity {
            let file = keys::identity(path, &PassphraseSource::new(self.passphrase_file.clone()))?;
            if owner.is_none() {
                let named = file.owner.as_deref().map(str::parse).transpose();
                owner = named.with_context(|| format!("the owner named in {}", path.display()))?;
            }
            identities = Some(file.identities);
        }
        let url = self.repo.clone().or(facts.as_ref().map(|f| f.repo.clone())).ok_or_else(|| {
            UsageError::new(
                "No repository is given; add --repo URL, or --owner DIR/repository.toml, which names it",
            )
        })?;
        let options = self.s3.over(facts.as_ref().map(|f| f.s3.clone()).unwrap_or_default());
        let asked = self.cluster.clone().or(facts.map(|f| f.cluster).filter(|_| self.repo.is_none()));
        let folder = find_cluster(&url, asked.as_ref(), &options, &clock).await?;
        let store = folder.url.open_read(None, &options, clock).await?;
        let claims = claims(&*store).await?;
        let cluster = match asked {
            Some(cluster) => cluster,
            None => cluster_of(&folder, &claims)?,
        };
        let claimed_owner = claims.iter().find(|c| c.cluster == cluster).map(|c| c.owner);
        Ok(Repository { store, cluster, owner, identities, claimed_owner })
    }
}

impl Repository {
    /// The pinned owner.
    pub(crate) fn require_owner(&self) -> Result<VerifyKey> {
        self.owner.ok_or_else(|| UsageError::new(self.owner_missing()).into())
    }

    /// Why and how to name the owner.
    pub(crate) fn owner_missing(&self) -> String {
        let claimed = self.claimed_owner.map_or_else(
            || "It does not even claim one.".to_owned(),
            |key| {
                let print = key.fingerprint();
                format!("It claims {key} (fingerprint {print}): if that is yours, give it as --owner.")
            },
        );
        format!(
            "Nobody says who owns {}, so nothing in it can be believed; give --owner DIR/repository.toml, or the --identity that `lifeboat init` made. {claimed}",
            self.store.describe()
        )
    }
}

enum OwnerArgument {
    Key(VerifyKey),
    Facts(Box<RepositoryConfig>),
}

fn owner_argument(text: &str) -> Result<OwnerArgument> {
    if text.starts_with("ed25519:") {
        let key = text.parse().map_err(|e| UsageError::new(format!("--owner: {e}")))?;
        return Ok(OwnerArgument::Key(key));
    }
    Ok(OwnerArgument::Facts(Box::new(config::load(Path::new(text))?)))
}

/// The folder of the cluster that was asked for, or of the only one.
async fn find_cluster(
    url: &StoreUrl,
    asked: Option<&ClusterName>,
    options: &S3Options,
    clock: &Arc<dyn Clock>,
) -> Result<ClusterFolder> {
    let mut found = url.clusters(options, Arc::clone(clock)).await?;
    if let Some(asked) = asked {
        let itself = found.len() == 1 && found[0].url == *url;
        let index = found.iter().position(|f| f.name == asked.as_str()).or(itself.then_some(0));
        return match index {
            Some(index) => Ok(found.swap_remove(index)),
            None => Err(UsageError::new(format!(
                "{url} has no cluster {asked} (a folder of that name with charter/ in it); it has {}",
                names(&found)
            ))
            .into()),
        };
    }
    match found.len() {
        1 => Ok(found.swap_remove(0)),
        0 => Err(UsageError::new(format!(
            "{url} holds no repository: neither it nor a folder in it has charter/; check the URL, or make one with `lifeboat init`"
        ))
        .into()),
        _ => Err(UsageError::new(format!("{url} holds several clusters; give --cluster, one of {}", names(&found))).into()),
    }
}

fn names(found: &[ClusterFolder]) -> String {
    if found.is_empty() {
        return "none".to_owned();
    }
    found.iter().map(|f| f.name.as_str()).collect::<Vec<_>>().join(", ")
}

struct Claim {
    cluster: ClusterName,
    owner: VerifyKey,
}

/// What the first charters in the store say of themselves; believed by nobody.
async fn claims(store: &dyn ReadStore) -> Result<Vec<Claim>> {
    let files = trust::charter_files(store).await?;
    let first = files.iter().filter_map(|f| charter::parse(f).ok()).filter(|(_, c)| c.n == 1);
    Ok(first
        .filter_map(|(_, c)| c.owners.first().map(|&owner| Claim { cluster: c.cluster.clone(), owner }))
        .collect())
}

/// A copied folder may have another name than the cluster; its charters know.
fn cluster_of(folder: &ClusterFolder, claims: &[Claim]) -> Result<ClusterName> {
    let same = |c: &&Claim| c.cluster.as_str() == folder.name;
    let claim = claims.iter().find(same).or(claims.first().filter(|_| claims.len() == 1));
    match claim {
        Some(claim) => Ok(claim.cluster.clone()),
        None => Err(UsageError::new(format!(
            "{} does not say which cluster it is of; give --cluster",
            folder.url
        ))
        .into()),
    }
}
