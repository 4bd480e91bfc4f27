//! Starts a real S3 server on a free loopback port, and ends it by its process id.

use lifeboat_common::store::S3Options;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const SECRET: &str = "lifeboat-test-secret";

pub(crate) struct Server {
    child: Child,
    port: u16,
    scheme: &'static str,
    scratch: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    pub(crate) fn versitygw() -> Self {
        Self::start("versitygw", "http", |program, port, scratch| versitygw(program, port, scratch, |_| ()))
    }

    /// With a certificate that only a client with [`Server::authority`] trusts.
    pub(crate) fn versitygw_with_tls() -> Self {
        Self::start("versitygw", "https", |program, port, scratch| {
            versitygw(program, port, scratch, |command| {
                let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
                std::fs::write(scratch.join("cert.pem"), made.cert.pem()).unwrap();
                std::fs::write(scratch.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
                command.arg("--cert").arg(scratch.join("cert.pem")).arg("--key").arg(scratch.join("key.pem"));
            })
        })
    }

    pub(crate) fn authority(&self) -> PathBuf {
        self.scratch.path().join("cert.pem")
    }

    pub(crate) fn minio() -> Self {
        Self::start("minio", "http", |program, port, scratch| {
            std::fs::create_dir_all(scratch.join("data/lifeboat")).unwrap();
            let mut command = Command::new(program);
            command
                .env("MINIO_ROOT_USER", "lifeboat")
                .env("MINIO_ROOT_PASSWORD", SECRET)
                .env("HOME", scratch);
            command.args([
                "server",
                "--address",
                &format!("127.0.0.1:{port}"),
                "--console-address",
                "127.0.0.1:0",
            ]);
            command.arg(scratch.join("data"));
            command
        })
    }

    fn start(name: &str, scheme: &'static str, command: impl Fn(&Path, u16, &Path) -> Command) -> Self {
        let program = peer(name);
        let scratch = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let log = std::fs::File::create(scratch.path().join("log")).unwrap();
        let mut command = command(&program, port, scratch.path());
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let server = Self { child: command.spawn().unwrap(), port, scheme, scratch };
        server.write_credentials("credentials", "lifeboat", SECRET);
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let log = || std::fs::read_to_string(server.scratch.path().join("log")).unwrap_or_default();
            assert!(start.elapsed() < Duration::from_secs(30), "{name} does not listen: {}", log());
            std::thread::sleep(Duration::from_millis(50));
        }
        server
    }

    pub(crate) fn write_credentials(&self, name: &str, id: &str, secret: &str) -> PathBuf {
        let file = self.scratch.path().join(name);
        let text = format!("[default]\naws_access_key_id = {id}\naws_secret_access_key = {secret}\n");
        std::fs::write(&file, text).unwrap();
        file
    }

    pub(crate) fn options(&self) -> S3Options {
        S3Options {
            endpoint: Some(format!("{}://127.0.0.1:{}", self.scheme, self.port)),
            region: Some("us-east-1".to_owned()),
            credentials_file: Some(self.scratch.path().join("credentials")),
            ..S3Options::default()
        }
    }
}

fn versitygw(program: &Path, port: u16, scratch: &Path, more: impl Fn(&mut Command)) -> Command {
    for folder in ["iam", "data", "data/lifeboat"] {
        std::fs::create_dir(scratch.join(folder)).unwrap();
    }
    let mut command = Command::new(program);
    command.args(["--port", &format!("127.0.0.1:{port}"), "--access", "lifeboat", "--secret", SECRET]);
    command.args(["--region", "us-east-1", "--iam-dir"]).arg(scratch.join("iam"));
    more(&mut command);
    command.arg("posix").arg(scratch.join("data"));
    command
}

/// The path of a program that `make peers` built.
fn peer(name: &str) -> PathBuf {
    let folder = std::env::var_os("LIFEBOAT_PEERS").map(PathBuf::from).unwrap_or_else(|| {
        let cache = std::env::var_os("XDG_CACHE_HOME").filter(|cache| !cache.is_empty()).map(PathBuf::from);
        let home = || PathBuf::from(std::env::var_os("HOME").expect("HOME is set")).join(".cache");
        cache.unwrap_or_else(home).join("lifeboat/peers")
    });
    let list = folder.join("programs");
    let text = std::fs::read_to_string(&list)
        .unwrap_or_else(|error| panic!("{}: {error}; run make peers", list.display()));
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    PathBuf::from(line.unwrap_or_else(|| panic!("{name} is not in {}; run make peers", list.display())))
}
