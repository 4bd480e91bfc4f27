//! Clusters and S3 servers that are left running under a name, for people who try things (`make cluster`).
//! They are ended by the process ids that were written down. Knows nothing of tests.

use super::node::{ADDRESS, FIRST, import, remove_cgroups};
use super::process::Lifetime;
use super::s3::{self, ROOT, S3Server};
use super::scratch::{private_folder, user};
use super::{Cluster, Node, cluster, pids};
use anyhow::{Context, Result, bail, ensure};
use rustix::fs::{FlockOperation, flock};
use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

/// The bucket that a standing S3 server has.
pub const BUCKET: &str = "lifeboat";

/// What may stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    Cluster,
    Node,
    /// Maybe in the namespaces of the node of a standing cluster.
    S3 {
        beside: Option<String>,
    },
}

/// What stands: `fresh` if it was just started, and what to tell other programs, a line `NAME=value` each.
#[derive(Debug)]
pub struct Standing {
    pub fresh: bool,
    pub folder: PathBuf,
    pub lines: Vec<String>,
}

/// Starts it, unless it stands already.
pub fn up(kind: &Kind, name: &str) -> Result<Standing> {
    let (folder, _lock) = take(kind, name)?;
    let ready = folder.join("ready");
    if all_alive(&folder)
        && let Ok(text) = fs::read_to_string(&ready)
    {
        let mut lines = text.lines().map(str::to_owned);
        let is_node = lines.next().as_deref() == Some("node");
        ensure!(
            *kind != Kind::Node || is_node,
            "the cluster {name} runs without a node: end it first (`make cluster-down`)"
        );
        return Ok(Standing { fresh: false, lines: lines.collect(), folder });
    }
    clear(&folder)?;
    private_folder(&folder)?;
    let lines = start(kind, &folder).or_else(|error| {
        let logs = folder.join("log");
        if logs.exists() {
            bail!("{error:#}\nThe logs are in {}", logs.display());
        }
        clear(&folder)?; // nothing was started, nothing is to be seen there
        Err(error)
    })?;
    forget_dead(&folder)?;
    let first = if *kind == Kind::Node { "node" } else { "plain" };
    fs::write(&ready, format!("{first}\n{}\n", lines.join("\n"))).context("cannot write down what runs")?;
    Ok(Standing { fresh: true, folder, lines })
}

/// Ends it and removes everything it wrote. How many processes were ended.
pub fn down(kind: &Kind, name: &str) -> Result<usize> {
    let (folder, _lock) = take(kind, name)?;
    clear(&folder)
}

/// Its folder, and a lock that keeps others from starting or ending it at the same time.
fn take(kind: &Kind, name: &str) -> Result<(PathBuf, File)> {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    ensure!(
        !name.is_empty() && name.len() <= 30 && name.chars().all(good),
        "a name has 1 to 30 of a-z, 0-9 and -: {name:?}"
    );
    let parent = std::env::var_os("XDG_RUNTIME_DIR")
        .filter(|folder| Path::new(folder).is_dir())
        .map_or_else(|| "/tmp".into(), PathBuf::from);
    let root = parent.join(format!("lifeboat-clusters-{}", user()));
    private_folder(&root)?;
    let file = if matches!(kind, Kind::S3 { .. }) { format!("{name}.s3") } else { name.to_owned() };
    let lock = File::create(root.join(format!("{file}.lock"))).context("cannot make a lock file")?;
    flock(&lock, FlockOperation::LockExclusive).context("cannot take the lock")?;
    Ok((root.join(file), lock))
}

fn all_alive(folder: &Path) -> bool {
    let known = pids::read(&folder.join("pids"));
    !known.is_empty() && known.iter().all(pids::Known::is_alive)
}

/// A start that was tried again (a port was taken) leaves ids of processes that ended.
fn forget_dead(folder: &Path) -> Result<()> {
    let list = folder.join("pids");
    let alive: Vec<_> = pids::read(&list).into_iter().filter(pids::Known::is_alive).collect();
    fs::remove_file(&list).context("cannot write down what runs")?;
    alive.iter().try_for_each(|process| pids::record(&list, process))
}

fn start(kind: &Kind, folder: &Path) -> Result<Vec<String>> {
    let settings = cluster::Options {
        folder: Some(folder.to_owned()),
        lifetime: Lifetime::Detached,
        ..cluster::Options::default()
    };
    match kind {
        Kind::Cluster => {
            let mut cluster = Cluster::start_with(&settings)?;
            cluster.leave();
            Ok(cluster_lines(&cluster))
        }
        Kind::Node => {
            let mut node = Node::start_with(&settings)?;
            node.leave();
            Ok(cluster_lines(&node))
        }
        Kind::S3 { beside } => {
            let inside = beside.as_deref().map(node_of).transpose()?.map(|node| (node.pid, node.address));
            let server = S3Server::start_with(&s3::Options {
                folder: Some(folder.to_owned()),
                lifetime: Lifetime::Detached,
                inside,
                ..s3::Options::default()
            })?;
            server.create_bucket(BUCKET)?;
            let credentials = server.credentials_file(ROOT)?;
            server.leave();
            Ok(vec![
                format!("ENDPOINT={}", server.endpoint()),
                format!("CREDENTIALS={}", credentials.display()),
                format!("BUCKET={BUCKET}"),
            ])
        }
    }
}

/// Makes an image known to the node of a standing cluster.
pub fn load_image(name: &str, archive: &Path) -> Result<()> {
    let node = node_of(name)?;
    let archive = archive.canonicalize().with_context(|| format!("cannot find {}", archive.display()))?;
    import(&node.folder, Some(node.pid), &archive)
}

/// The node of a standing cluster.
struct StandingNode {
    folder: PathBuf,
    /// Its first process.
    pid: i32,
    address: Ipv4Addr,
}

fn node_of(name: &str) -> Result<StandingNode> {
    let (folder, _lock) = take(&Kind::Node, name)?;
    let first = pids::read(&folder.join("pids")).into_iter().find(|p| p.name == FIRST && p.is_alive());
    let first = first.with_context(|| format!("no cluster {name} with a node runs"))?;
    let address = fs::read_to_string(folder.join(ADDRESS)).context("cannot read the node's address")?;
    Ok(StandingNode { folder, pid: first.pid, address: address.parse().context("no address")? })
}

fn cluster_lines(cluster: &Cluster) -> Vec<String> {
    vec![
        format!("KUBECONFIG={}", cluster.kubeconfig().display()),
        format!("KUBECTL={}", cluster.kubectl_path().display()),
    ]
}

/// Ends what is recorded in a folder, and removes the folder.
fn clear(folder: &Path) -> Result<usize> {
    if !folder.exists() {
        return Ok(0);
    }
    let ended = pids::end_all(&folder.join("pids"))?;
    if let Ok(group) = fs::read_to_string(folder.join("cgroup")) {
        remove_cgroups(&group);
    }
    fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    Ok(ended)
}
