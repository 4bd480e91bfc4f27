//! A Kubernetes API without nodes: etcd, API server, controller manager on loopback (or, for a node, in its network
//! namespace). Serves every test that needs objects and no running pods. Knows nothing of nodes and pods.

pub(crate) mod control_plane;

use super::kubeconfig::{self, As, Server};
use super::peers::Peers;
use super::ports;
use super::process::{Lifetime, Process, Program, run};
use super::scratch::Scratch;
use anyhow::{Context, Result};
use control_plane::{Keys, Place, api_server, controller_manager, etcd};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Far more than it takes on an idle machine (about 8 s).
const READY: Duration = Duration::from_secs(120);

/// What may differ between clusters.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// More flags for kube-apiserver; a flag given here wins.
    pub apiserver_flags: Vec<String>,
    /// Where everything is written; else a temporary folder.
    pub folder: Option<PathBuf>,
    pub lifetime: Lifetime,
}

/// A running cluster, ended when dropped. The server keeps its port however often it is stopped.
#[derive(Debug)]
pub struct Cluster {
    controllers: Option<Process>,
    api: Mutex<Option<Process>>,
    etcd: Process,
    api_program: Program,
    kubectl: PathBuf,
    keys: Keys,
    server: Server,
    kubeconfig: PathBuf,
    files: AtomicU32,
    folder: PathBuf,
    _scratch: Option<Scratch>,
}

impl Cluster {
    /// Starts one and waits until it serves.
    pub fn start() -> Result<Self> {
        Self::start_with(&Options::default())
    }

    /// The same, with other settings.
    pub fn start_with(options: &Options) -> Result<Self> {
        let mut tries = 3;
        loop {
            tries -= 1;
            match Self::start_at(options, loopback()?) {
                Err(error) if tries > 0 && ports::is_taken(&error) => {}
                outcome => return outcome,
            }
        }
    }

    pub(crate) fn start_at(options: &Options, place: Place) -> Result<Self> {
        let peers = Peers::find()?;
        let scratch = if options.folder.is_none() { Some(Scratch::new("c")?) } else { None };
        let folder = options
            .folder
            .as_deref()
            .or(scratch.as_ref().map(Scratch::path))
            .context("a cluster needs a folder")?
            .to_owned();
        let keys = Keys::write(&folder.join("pki"))?;
        let api_program =
            api_server(&peers, &keys, place, &options.apiserver_flags)?.lifetime(options.lifetime);
        let mut cluster = Self {
            etcd: etcd(&peers, &folder, place)?.lifetime(options.lifetime).start(&folder)?,
            api: Mutex::new(Some(api_program.start(&folder)?)),
            controllers: None,
            api_program,
            kubectl: peers.path("kubectl")?.to_owned(),
            server: Server { url: place.api_url(), authority: keys.certificate() },
            keys,
            kubeconfig: folder.join("kubeconfig"),
            files: AtomicU32::new(0),
            folder,
            _scratch: scratch,
        };
        kubeconfig::write(&cluster.kubeconfig, &cluster.server, As::Token(cluster.keys.admin_token()))?;
        cluster.wait_for_api()?;
        let controllers = controller_manager(&peers, &cluster.keys, &cluster.kubeconfig, place)?;
        cluster.controllers = Some(controllers.lifetime(options.lifetime).start(&cluster.folder)?);
        cluster.wait_for_controllers()?;
        Ok(cluster)
    }

    fn wait_for_api(&self) -> Result<()> {
        let mut api = self.api();
        let api = api.as_mut().context("the API server is stopped")?;
        // `kubectl` costs 0.1 s of a processor, so ask a socket first.
        let address = self.server.url.trim_start_matches("https://").to_owned();
        api.wait_until("listening", READY, || Ok(std::net::TcpStream::connect(&address).map(drop)?))?;
        api.wait_until("ready", READY, || self.kubectl(&["get", "--raw=/readyz"]).map(drop))
    }

    /// Without the account no pod is admitted to the namespace, and no token is made for it.
    fn wait_for_controllers(&mut self) -> Result<()> {
        let mut controllers = self.controllers.take().context("the controller manager is not started")?;
        let account = || self.kubectl(&["get", "serviceaccount", "default", "--namespace=default"]).map(drop);
        let waited = controllers.wait_until("ready", READY, account);
        self.controllers = Some(controllers);
        waited
    }

    fn api(&self) -> MutexGuard<'_, Option<Process>> {
        self.api.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Kills the API server: every connection breaks, and new ones are refused.
    pub fn stop_apiserver(&self) {
        self.api().take();
    }

    /// Starts it again where it was.
    pub fn start_apiserver(&self) -> Result<()> {
        {
            let mut api = self.api();
            if api.is_none() {
                *api = Some(self.api_program.start(&self.folder)?);
            }
        }
        self.wait_for_api()
    }

    pub fn restart_apiserver(&self) -> Result<()> {
        self.stop_apiserver();
        self.start_apiserver()
    }

    /// The administrator's kubeconfig.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The program, for those who call it themselves.
    #[must_use]
    pub fn kubectl_path(&self) -> &Path {
        &self.kubectl
    }

    /// Where the logs and everything else of this cluster are.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where the API server is.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.server.url
    }

    /// Runs `kubectl` as the administrator and gives what it prints.
    pub fn kubectl(&self, args: &[&str]) -> Result<String> {
        text(self.kubectl_bytes(args, None)?)
    }

    /// The same, with standard input.
    pub fn kubectl_stdin(&self, args: &[&str], input: impl AsRef<[u8]>) -> Result<String> {
        text(self.kubectl_bytes(args, Some(input.as_ref()))?)
    }

    /// The same, for output that is not text.
    pub fn kubectl_bytes(&self, args: &[&str], input: Option<&[u8]>) -> Result<Vec<u8>> {
        run(self.kubectl_command(&self.kubeconfig).args(args), input)
    }

    /// Runs `kubectl` as whom another kubeconfig says.
    pub fn kubectl_as(&self, kubeconfig: &Path, args: &[&str]) -> Result<String> {
        text(run(self.kubectl_command(kubeconfig).args(args), None)?)
    }

    /// `kubectl apply` of a manifest.
    pub fn apply(&self, manifest: &str) -> Result<String> {
        self.kubectl_stdin(&["apply", "--filename=-"], manifest)
    }

    fn kubectl_command(&self, kubeconfig: &Path) -> Command {
        let mut command = Command::new(&self.kubectl);
        // What it remembers of an API must not outlive the cluster: the next one may have the same port.
        command.arg("--cache-dir").arg(self.folder.join("kubectl-cache")).arg("--kubeconfig").arg(kubeconfig);
        command
    }

    /// A kubeconfig for a user with these groups and no other rights. `nobody`, `reader` (group `readers`), `agent`
    /// (`agents`) and `restorer` (`restorers`) have tokens; others are impersonated.
    pub fn user_kubeconfig(&self, name: &str, groups: &[&str]) -> Result<PathBuf> {
        let who = match self.keys.user_token(name, groups) {
            Some(token) => As::Token(token),
            None => As::Other { token: self.keys.admin_token(), name, groups },
        };
        self.new_kubeconfig(who)
    }

    /// A kubeconfig with a fresh token of a service account.
    pub fn service_account_kubeconfig(&self, namespace: &str, name: &str) -> Result<PathBuf> {
        let token = self.kubectl(&["create", "token", name, "--namespace", namespace, "--duration=24h"])?;
        self.token_kubeconfig(token.trim())
    }

    /// A kubeconfig for whoever has this token.
    pub fn token_kubeconfig(&self, token: &str) -> Result<PathBuf> {
        self.new_kubeconfig(As::Token(token))
    }

    fn new_kubeconfig(&self, who: As<'_>) -> Result<PathBuf> {
        let path = self.folder.join(format!("kubeconfig-{}", self.files.fetch_add(1, Ordering::Relaxed)));
        kubeconfig::write(&path, &self.server, who)?;
        Ok(path)
    }

    /// Leaves its programs running when this is dropped.
    pub(crate) fn leave(&mut self) {
        self.etcd.leave();
        self.controllers.iter_mut().for_each(Process::leave);
        self.api().iter_mut().for_each(Process::leave);
    }
}

fn loopback() -> Result<Place> {
    Ok(Place {
        inside: None,
        address: Ipv4Addr::LOCALHOST,
        etcd: ports::free_port()?,
        etcd_peer: ports::free_port()?,
        api: ports::free_port()?,
        controllers: ports::free_port()?,
    })
}

fn text(output: Vec<u8>) -> Result<String> {
    String::from_utf8(output).context("kubectl printed something that is not text: use kubectl_bytes")
}
