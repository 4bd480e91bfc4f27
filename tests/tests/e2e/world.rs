//! The programs as an administrator runs them: a repository, its keys, a vault, and the commands of the README.

use lifeboat_tests::harness;
use lifeboat_tests::harness::s3::S3Server;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

/// A repository on `file://` or `s3://`, made by `lifeboat init`.
pub(crate) struct World {
    folder: tempfile::TempDir,
    repo: String,
    s3: Option<S3Flags>,
}

/// Where an S3 repository is, and as whom.
#[derive(Clone)]
pub(crate) struct S3Flags {
    pub(crate) endpoint: String,
    pub(crate) credentials: PathBuf,
}

/// One S3 server for all tests.
pub(crate) fn shared_s3() -> &'static S3Server {
    static SERVER: OnceLock<S3Server> = OnceLock::new();
    SERVER.get_or_init(|| {
        let server = S3Server::start_default().unwrap();
        server.create_bucket("shared").unwrap();
        server
    })
}

/// False, said aloud (past the test runner, which shows no output of a test that passes), where there are no rights to
/// start a node; where only packages are missing, starting one fails and names them.
pub(crate) fn may_start_nodes(test: &str) -> bool {
    use std::io::Write as _;
    let may = harness::scratch::user() == 0;
    if !may {
        let _nobody_listens = writeln!(std::io::stderr(), "{test}: left out, it needs root");
    }
    may
}

/// A program of this workspace, as built beside this test.
pub(crate) fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.parent().unwrap().parent().unwrap().join(name);
    assert!(path.exists(), "{name} is not built; run `cargo build --workspace`");
    path
}

/// How a program ended.
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    fn of(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }

    /// Panics unless it ended with `code`.
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "\n{}\n{}", self.stdout, self.stderr);
        self
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}: {}", self.stdout))
    }

    /// Everything that it said.
    pub(crate) fn said(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

impl World {
    /// On a local directory.
    pub(crate) fn file() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let repo = format!("file://{}/primary", folder.path().display());
        Self { folder, repo, s3: None }.initialized()
    }

    /// On the shared S3 server, under `prefix`.
    pub(crate) fn s3(prefix: &str) -> Self {
        let server = shared_s3();
        let flags = S3Flags {
            endpoint: server.endpoint(),
            credentials: server.credentials_file(lifeboat_tests::harness::s3::ROOT).unwrap(),
        };
        let repo = format!("s3://shared/{prefix}");
        Self { folder: tempfile::tempdir().unwrap(), repo, s3: Some(flags) }.initialized()
    }

    /// In a bucket of another server.
    pub(crate) fn at(server: &S3Flags, bucket: &str) -> Self {
        let repo = format!("s3://{bucket}/repo");
        Self { folder: tempfile::tempdir().unwrap(), repo, s3: Some(server.clone()) }.initialized()
    }

    fn initialized(self) -> Self {
        let vault = self.vault_url();
        std::fs::create_dir(self.vault()).unwrap();
        let admin = self.admin();
        let mut args = vec![
            "init",
            "--repo",
            &self.repo,
            "--cluster",
            "prod",
            "--vault",
            &vault,
            "--unprotected",
            "--out",
        ];
        args.push(admin.to_str().unwrap());
        let flags = self.s3_flags();
        args.extend(flags.iter().map(String::as_str));
        self.lifeboat(&args).expect(0);
        if let Some(s3) = &self.s3 {
            self.use_s3(s3);
        }
        self
    }

    /// Lets agent and replicator use this endpoint and these credentials.
    pub(crate) fn use_s3(&self, s3: &S3Flags) {
        use_s3(&self.admin(), &["agent.toml", "replicator.toml"], s3);
    }

    fn s3_flags(&self) -> Vec<String> {
        let Some(s3) = &self.s3 else { return Vec::new() };
        let credentials = s3.credentials.display().to_string();
        ["--s3-endpoint", &s3.endpoint, "--credentials-file", &credentials].map(str::to_owned).to_vec()
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }
    pub(crate) fn admin(&self) -> PathBuf {
        self.folder().join("admin")
    }
    pub(crate) fn vault(&self) -> PathBuf {
        self.folder().join("vault")
    }
    pub(crate) fn vault_url(&self) -> String {
        format!("file://{}", self.vault().display())
    }
    pub(crate) fn primary_url(&self) -> String {
        self.repo.clone()
    }
    /// The cluster's folder in a repository on a directory.
    pub(crate) fn primary(&self) -> PathBuf {
        self.folder().join("primary/prod")
    }
    pub(crate) fn kept(&self) -> PathBuf {
        self.vault().join("prod")
    }

    pub(crate) fn run(&self, name: &str, args: &[&str]) -> Ran {
        Ran::of(self.command(name, args).output().unwrap())
    }

    fn command(&self, name: &str, args: &[&str]) -> Command {
        let mut command = Command::new(program(name));
        command.args(args).stdin(Stdio::null()).current_dir(self.folder());
        command.env("XDG_STATE_HOME", self.folder().join("xdg-state")).env("AWS_REGION", "us-east-1");
        command
    }

    pub(crate) fn lifeboat(&self, args: &[&str]) -> Ran {
        self.run("lifeboat", args)
    }

    /// `lifeboat COMMAND … --repo VAULT --identity F`.
    pub(crate) fn on_vault(&self, args: &[&str]) -> Ran {
        let (vault, identity) = (self.vault_url(), self.admin().join("identity.txt"));
        self.lifeboat(&[args, &["--repo", &vault, "--identity", identity.to_str().unwrap()]].concat())
    }

    /// `lifeboat COMMAND … --repo PRIMARY --identity F`.
    pub(crate) fn on_primary(&self, args: &[&str]) -> Ran {
        let identity = self.admin().join("identity.txt");
        let flags = self.s3_flags();
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let place = ["--repo", &self.repo, "--identity", identity.to_str().unwrap()];
        self.lifeboat(&[args, &place, &flags].concat())
    }

    pub(crate) fn backup(&self, kubeconfig: &Path, more: &[&str]) -> Ran {
        let config = self.admin().join("agent.toml");
        let place =
            ["backup", "--config", config.to_str().unwrap(), "--kubeconfig", kubeconfig.to_str().unwrap()];
        self.run("lifeboat-agent", &[&place, more].concat())
    }

    pub(crate) fn pull(&self) -> Ran {
        let config = self.admin().join("replicator.toml");
        self.run("lifeboat-replicator", &["pull", "--once", "--config", config.to_str().unwrap()])
    }

    /// Starts a program that the caller ends.
    pub(crate) fn spawn(&self, name: &str, args: &[&str]) -> std::process::Child {
        let log = std::fs::File::create(self.folder().join(format!("{name}.log"))).unwrap();
        self.command(name, args).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap()
    }
}

/// Writes this endpoint and these credentials into these files of a folder that `lifeboat init` wrote.
pub(crate) fn use_s3(folder: &Path, files: &[&str], s3: &S3Flags) {
    for file in files {
        let path = folder.join(file);
        let text = std::fs::read_to_string(&path).unwrap();
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.retain(|l| !l.starts_with("endpoint =") && !l.starts_with("credentials_file ="));
        let table = lines.iter().position(|l| l == "[s3]" || l == "[source.s3]").unwrap();
        let settings = [
            format!("endpoint = \"{}\"", s3.endpoint),
            format!("credentials_file = \"{}\"", s3.credentials.display()),
        ];
        lines.splice(table + 1..table + 1, settings);
        std::fs::write(&path, lines.join("\n")).unwrap();
    }
}

/// The shared cluster's kubeconfig.
pub(crate) fn kubeconfig() -> &'static Path {
    harness::shared_cluster().unwrap().kubeconfig()
}

/// Every file below `folder`, sorted.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let mut out = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() { folders.push(path) } else { out.push(path) }
        }
    }
    out.sort();
    out
}
