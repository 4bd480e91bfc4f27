//! A real S3 server on a free loopback port, with its data in a temporary folder: versitygw, or MinIO as a second
//! opinion. Knows nothing of repositories.

mod admin;

use super::kubeconfig::write_private;
use super::peers::Peers;
use super::ports;
use super::process::{Lifetime, Process, Program, run};
use super::scratch::{Scratch, private_folder};
use anyhow::{Context, Result, anyhow, bail};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The user who may do everything.
pub const ROOT: &str = "root";
pub const REGION: &str = "us-east-1";
const READY: Duration = Duration::from_secs(60);

/// Which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kind {
    #[default]
    VersityGw,
    MinIo,
}

/// What may differ between servers.
#[derive(Debug, Clone, Default)]
pub struct Options {
    pub kind: Kind,
    /// Without versions an overwrite is final (versitygw only).
    pub no_versioning: bool,
    /// Where everything is written; else a temporary folder.
    pub folder: Option<PathBuf>,
    pub lifetime: Lifetime,
    /// In the namespaces of another process, on an address there: see `Node::s3`.
    pub inside: Option<(i32, Ipv4Addr)>,
}

/// A running server, ended when dropped; its data goes with it. It keeps its port however often it is stopped.
#[derive(Debug)]
pub struct S3Server {
    process: Mutex<Option<Process>>,
    program: Program,
    kind: Kind,
    path: PathBuf,
    address: SocketAddrV4,
    secrets: Mutex<BTreeMap<String, String>>,
    folder: PathBuf,
    _scratch: Option<Scratch>,
}

impl S3Server {
    /// The reference: versitygw; or MinIO where the environment says `MINIO=1`.
    pub fn start_default() -> Result<Self> {
        if std::env::var_os("MINIO").is_some_and(|value| value == "1") {
            Self::minio()
        } else {
            Self::versitygw()
        }
    }

    pub fn versitygw() -> Result<Self> {
        Self::start_with(&Options::default())
    }

    pub fn minio() -> Result<Self> {
        Self::start_with(&Options { kind: Kind::MinIo, ..Options::default() })
    }

    /// Starts one and waits until it serves.
    pub fn start_with(options: &Options) -> Result<Self> {
        let mut tries = 3;
        loop {
            tries -= 1;
            match Self::start_once(options) {
                Err(error) if tries > 0 && ports::is_taken(&error) => {}
                outcome => return outcome,
            }
        }
    }

    fn start_once(options: &Options) -> Result<Self> {
        let scratch = if options.folder.is_none() { Some(Scratch::new("s")?) } else { None };
        let folder = options
            .folder
            .as_deref()
            .or(scratch.as_ref().map(Scratch::path))
            .context("a server needs a folder")?
            .to_owned();
        let address = options.inside.map_or(Ipv4Addr::LOCALHOST, |(_, address)| address);
        let address = SocketAddrV4::new(address, ports::free_port()?);
        let name = if options.kind == Kind::MinIo { "minio" } else { "versitygw" };
        let path = Peers::find()?.path(name)?.to_owned();
        let secret = hex::encode(rand::random::<[u8; 20]>());
        let program =
            Program::new(name, &path).inside(options.inside.map(|(pid, _)| pid)).lifetime(options.lifetime);
        let program = match options.kind {
            Kind::VersityGw => versitygw(program, &folder, address, &secret, !options.no_versioning)?,
            Kind::MinIo => minio(program, &folder, address, &secret)?,
        };
        let server = Self {
            process: Mutex::new(None),
            program,
            kind: options.kind,
            path,
            address,
            secrets: Mutex::new(BTreeMap::from([(ROOT.to_owned(), secret)])),
            folder,
            _scratch: scratch,
        };
        server.start()?;
        Ok(server)
    }

    fn process(&self) -> MutexGuard<'_, Option<Process>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Kills it: every connection breaks, and new ones are refused. The data stays.
    pub fn stop(&self) {
        self.process().take();
    }

    /// Starts it again where it was.
    pub fn start(&self) -> Result<()> {
        let mut process = self.process();
        if process.is_none() {
            *process = Some(self.program.start(&self.folder)?);
        }
        let process = process.as_mut().context("the S3 server is stopped")?;
        process.wait_until("listening", READY, || Ok(TcpStream::connect(self.address).map(drop)?))?;
        process.wait_until("ready", READY, || self.list_buckets().map(drop))
    }

    /// Its URL.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddrV4 {
        self.address
    }

    /// Where its objects are: a bucket is a folder, and with versitygw an object is a file.
    #[must_use]
    pub fn data_folder(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// A new user without any rights: [`put_bucket_policy`](Self::put_bucket_policy) gives some.
    pub fn create_user(&self, access: &str, secret: &str) -> Result<()> {
        if self.kind == Kind::MinIo {
            bail!("the harness makes no users at a MinIO server: use `{ROOT}`, or versitygw");
        }
        let mut admin = self.admin()?;
        admin.args(["create-user", "--access", access, "--secret", secret, "--role", "user"]);
        run(&mut admin, None)?;
        self.secrets
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(access.to_owned(), secret.to_owned());
        Ok(())
    }

    /// The user is gone, and what it signs is refused from now on.
    pub fn delete_user(&self, access: &str) -> Result<()> {
        if self.kind == Kind::MinIo {
            bail!("the harness has no users at a MinIO server: use versitygw");
        }
        run(self.admin()?.args(["delete-user", "--access", access]), None)?;
        Ok(())
    }

    fn admin(&self) -> Result<Command> {
        let mut admin = Command::new(&self.path);
        admin.env("ADMIN_ACCESS_KEY", ROOT).env("ADMIN_SECRET_KEY", self.secret(ROOT)?);
        admin.args(["admin", "--endpoint-url", &self.endpoint(), "--region", REGION]);
        Ok(admin)
    }

    /// A user's secret.
    pub fn secret(&self, user: &str) -> Result<String> {
        let secrets = self.secrets.lock().unwrap_or_else(PoisonError::into_inner);
        secrets
            .get(user)
            .cloned()
            .ok_or_else(|| anyhow!("the S3 server has no user {user}: create_user makes one"))
    }

    /// A user's credentials as a file of the AWS tools.
    pub fn credentials_file(&self, user: &str) -> Result<PathBuf> {
        let secret = self.secret(user)?;
        let path = self.folder.join(format!("credentials-{user}"));
        write_private(
            &path,
            format!("[default]\naws_access_key_id = {user}\naws_secret_access_key = {secret}\n").as_bytes(),
        )?;
        Ok(path)
    }

    /// Leaves it running when this is dropped.
    pub(crate) fn leave(&self) {
        self.process().iter_mut().for_each(Process::leave);
    }
}

fn versitygw(
    program: Program,
    folder: &Path,
    address: SocketAddrV4,
    secret: &str,
    versioning: bool,
) -> Result<Program> {
    for name in ["data", "users", "versions"] {
        private_folder(&folder.join(name))?;
    }
    let program = program.env("ROOT_ACCESS_KEY", ROOT).env("ROOT_SECRET_KEY", secret);
    let program = program
        .args(["--port", &address.to_string(), "--region", REGION, "--iam-dir"])
        .arg(folder.join("users"))
        .arg("posix");
    let program =
        if versioning { program.arg("--versioning-dir").arg(folder.join("versions")) } else { program };
    Ok(program.arg(folder.join("data")))
}

fn minio(program: Program, folder: &Path, address: SocketAddrV4, secret: &str) -> Result<Program> {
    private_folder(&folder.join("data"))?;
    let program =
        program.env("MINIO_ROOT_USER", ROOT).env("MINIO_ROOT_PASSWORD", secret).env("MINIO_BROWSER", "off");
    let program = program.env("MINIO_UPDATE", "off").env("HOME", folder);
    Ok(program.args(["server", "--quiet", "--address", &address.to_string()]).arg(folder.join("data")))
}
