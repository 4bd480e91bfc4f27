//! A cluster with one node that runs pods: everything of it is in process, mount and network namespaces of its own,
//! so that it all ends with one process. Needs root. Knows nothing of what the pods do.

mod cgroups;
mod namespace;
mod packages;
mod services;

use super::cluster::control_plane::Place;
use super::cluster::{Cluster, Options};
use super::image::{BUSYBOX, Image};
use super::peers::Peers;
use super::process::{Process, Program, enter, run};
use super::s3::{self, S3Server};
use super::scratch::Scratch;
use anyhow::{Context, Result, ensure};
use namespace::Namespace;
use std::net::Ipv4Addr;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

pub(crate) use cgroups::remove as remove_cgroups;
pub(crate) use namespace::{ADDRESS, FIRST};

/// The node's name.
pub const NAME: &str = "node1";
const READY: Duration = Duration::from_secs(120);

/// A running cluster with a node, ended when dropped. Everything that a [`Cluster`] does, it does, too.
#[derive(Debug)]
pub struct Node {
    services: Vec<Process>,
    cluster: Cluster,
    namespace: Namespace,
    volumes: PathBuf,
    _scratch: Option<Scratch>,
}

impl Deref for Node {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        &self.cluster
    }
}

impl Node {
    /// Starts one and waits until it is Ready.
    pub fn start() -> Result<Self> {
        Self::start_with(&Options::default())
    }

    /// The same, with other settings.
    pub fn start_with(options: &Options) -> Result<Self> {
        ensure!(
            super::scratch::user() == 0,
            "a node needs root (namespaces, mounts): use sudo, or a cluster without a node"
        );
        packages::check()?;
        let peers = Peers::find()?;
        let scratch = if options.folder.is_none() { Some(Scratch::new("n")?) } else { None };
        let folder = options
            .folder
            .as_deref()
            .or(scratch.as_ref().map(Scratch::path))
            .context("a node needs a folder")?
            .to_owned();
        let namespace = Namespace::start(&folder, options.lifetime)?;
        let inside = Some(namespace.pid());
        // containerd takes a second or two, the control plane some more: both at once.
        let start_containerd = || {
            let mut containerd =
                services::containerd(&folder)?.inside(inside).lifetime(options.lifetime).start(&folder)?;
            let archive = folder.join("busybox.tar");
            Image::busybox(BUSYBOX)?.write(&archive)?;
            containerd.wait_until("ready", READY, || ctr(&folder, inside, &["version"]).map(drop))?;
            import(&folder, inside, &archive)?;
            Ok::<_, anyhow::Error>(containerd)
        };
        let place = Place {
            inside,
            address: namespace.address(),
            etcd: 2379,
            etcd_peer: 2380,
            api: 6443,
            controllers: 10257,
        };
        let settings = Options { folder: Some(folder.clone()), ..options.clone() };
        let (containerd, cluster) = std::thread::scope(|scope| {
            let containerd = scope.spawn(start_containerd);
            let cluster = Cluster::start_at(&settings, place);
            (containerd.join(), cluster)
        });
        let containerd = containerd.map_err(|_| anyhow::anyhow!("starting containerd panicked"))??;
        let (cluster, mut services) = (cluster?, vec![containerd]);
        for program in services::kubernetes(&peers, &folder, cluster.kubeconfig(), &namespace)? {
            services.push(program.inside(inside).lifetime(options.lifetime).start(&folder)?);
        }
        let mut node =
            Self { services, cluster, namespace, volumes: folder.join("volumes"), _scratch: scratch };
        node.wait_until_ready()?;
        Ok(node)
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let Self { services, cluster, .. } = self;
        let kubelet = services.last_mut().context("no service was started")?;
        let ready = r#"-o=jsonpath={.status.conditions[?(@.type=="Ready")].status}{.spec.taints}"#;
        kubelet.wait_until("ready", READY, || {
            let state = cluster.kubectl(&["get", "node", NAME, ready])?;
            ensure!(state == "True", "its state is {state:?}");
            Ok(())
        })
    }

    /// The node's address, as the machine and the pods see it.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        self.namespace.address()
    }

    /// The machine's address, as the node and the pods see it.
    #[must_use]
    pub fn host_address(&self) -> Ipv4Addr {
        self.namespace.host_address()
    }

    /// Makes an image known to the node; pods use it with `imagePullPolicy: Never`.
    pub fn load_image(&self, archive: &Path) -> Result<()> {
        import(self.folder(), Some(self.namespace.pid()), archive)
    }

    /// Runs a command in the node's namespaces.
    pub fn run(&self, words: &[&str]) -> Result<String> {
        let output = inside_command(Some(self.namespace.pid()), words)
            .and_then(|mut command| run(&mut command, None))?;
        String::from_utf8(output).context("the command printed something that is not text")
    }

    /// An S3 server beside the node, which pods reach.
    pub fn s3(&self, options: &s3::Options) -> Result<S3Server> {
        S3Server::start_with(&s3::Options {
            inside: Some((self.namespace.pid(), self.address())),
            ..options.clone()
        })
    }

    /// Lets pods find these names (`NAME=ADDRESS`), until what is returned is dropped. `harness` is the program
    /// `lifeboat-harness`.
    pub fn names(&self, harness: &Path, records: &[&str]) -> Result<Process> {
        Program::new("names", harness)
            .inside(Some(self.namespace.pid()))
            .args(["dns", "--listen", &format!("{}:53", self.address())])
            .args(records)
            .start(self.folder())
    }

    /// A folder of this machine as a local PersistentVolume of class `local` (with the class, bound when first used).
    pub fn local_volume(&self, name: &str, size: &str) -> Result<PathBuf> {
        let path = self.volumes.join(name);
        std::fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        self.cluster.apply(&services::local_volume(name, size, &path))?;
        Ok(path)
    }

    /// Leaves its programs running when this is dropped.
    pub(crate) fn leave(&mut self) {
        self.services.iter_mut().for_each(Process::leave);
        self.cluster.leave();
        self.namespace.leave();
    }
}

fn inside_command(inside: Option<i32>, words: &[&str]) -> Result<Command> {
    let mut all = enter(inside).into_iter().chain(words.iter().map(Into::into));
    let mut command = Command::new(all.next().context("there is no command")?);
    command.args(all).env("PATH", packages::PATH).current_dir("/");
    Ok(command)
}

fn ctr(folder: &Path, inside: Option<i32>, words: &[&str]) -> Result<Vec<u8>> {
    let socket = services::socket(folder).display().to_string();
    let all: Vec<&str> =
        ["ctr", "--address", &socket, "--namespace", "k8s.io"].iter().chain(words).copied().collect();
    run(&mut inside_command(inside, &all)?, None)
}

pub(crate) fn import(folder: &Path, inside: Option<i32>, archive: &Path) -> Result<()> {
    ctr(folder, inside, &["images", "import", &archive.display().to_string()]).map(drop)
}
