//! The host as files and programs: reading, writing so that nothing is ever half there, and running systemd's tools with a clean
//! environment. Knows nothing of what is set up. A `root` other than `/` is for tests, and runs nothing.

use super::HostError;
use rustix::fs::{Mode, OFlags};
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use zeroize::Zeroizing;

const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";
/// No configuration, unit or credential is longer.
const LONGEST: u64 = 1 << 20;

/// Who a program runs as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct User {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

/// How a program ended, and what it said on each of its outputs.
pub(super) struct Ended {
    pub(super) code: Option<i32>,
    pub(super) said: Zeroizing<Vec<u8>>,
    pub(super) why: String,
}

/// A machine.
#[derive(Debug, Clone)]
pub struct Host {
    root: PathBuf,
}

impl Host {
    /// This machine.
    #[must_use]
    pub fn this() -> Self {
        Self { root: "/".into() }
    }

    #[cfg(test)]
    pub(super) fn below(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// Where `path`, absolute, really is.
    pub(super) fn at(&self, path: &Path) -> PathBuf {
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    pub(super) fn has(&self, path: &str) -> bool {
        self.at(Path::new(path)).exists()
    }

    /// Nothing where there is no such file.
    pub(super) fn read(&self, path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, HostError> {
        let path = self.at(path);
        let read = || {
            if std::fs::metadata(&path)?.len() > LONGEST {
                return Err(std::io::Error::other("it is longer than a mebibyte"));
            }
            std::fs::read(&path)
        };
        match read() {
            Ok(bytes) => Ok(Some(Zeroizing::new(bytes))),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(HostError::Read { path, source }),
        }
    }

    /// Puts a file of this mode and group in place as a whole, with the folders above it.
    pub(super) fn write(
        &self,
        path: &Path,
        mode: u32,
        group: Option<u32>,
        bytes: &[u8],
    ) -> Result<(), HostError> {
        let path = self.at(path);
        let put = || {
            let folder = path.parent().unwrap_or(Path::new("/"));
            make_folder(folder, mode)?;
            let mut name = path.file_name().unwrap_or_default().to_owned();
            name.push(".new");
            let new = folder.join(name);
            drop(std::fs::remove_file(&new));
            // Never readable for others, not even for a moment.
            let mut file = std::fs::File::options().write(true).create_new(true).mode(0o600).open(&new)?;
            file.write_all(bytes)?;
            chown(&new, None, group)?;
            file.set_permissions(std::fs::Permissions::from_mode(mode))?;
            file.sync_all()?;
            std::fs::rename(&new, &path)?;
            let folder = rustix::fs::open(folder, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
            Ok(rustix::fs::fsync(folder)?)
        };
        put().map_err(|source| HostError::Write { path: path.clone(), source })
    }

    /// Runs a program of the system and gives what it prints.
    pub(super) fn run(&self, words: &[&str], input: &[u8]) -> Result<Zeroizing<Vec<u8>>, HostError> {
        let ended = self.output(command(words), input)?;
        if ended.code == Some(0) {
            Ok(ended.said)
        } else {
            Err(HostError::Command { words: words.join(" "), why: ended.why })
        }
    }

    /// Whether a question to a program of the system is answered with yes.
    pub(super) fn asks(&self, words: &[&str]) -> bool {
        self.root == Path::new("/")
            && self.output(command(words), &[]).is_ok_and(|ended| ended.code == Some(0))
    }

    /// Runs a program as another user; its exit code and what it prints.
    pub(super) fn run_as(&self, user: User, words: &[&str], env: (&str, &Path)) -> Result<Ended, HostError> {
        let mut command = command(words);
        command.uid(user.uid).gid(user.gid).env(env.0, env.1);
        self.output(command, &[])
    }

    fn output(&self, mut command: Command, input: &[u8]) -> Result<Ended, HostError> {
        let words = command.get_program().to_string_lossy().into_owned();
        let fail = |e: std::io::Error| HostError::Command { words: words.clone(), why: e.to_string() };
        let mut child = command.spawn().map_err(fail)?;
        // Short enough for the pipe; a program that does not read it fails by itself.
        drop(child.stdin.take().map(|mut stdin| stdin.write_all(input)));
        let out = child.wait_with_output().map_err(fail)?;
        let why = String::from_utf8_lossy(&out.stderr).trim().to_owned();
        Ok(Ended { code: out.status.code(), said: Zeroizing::new(out.stdout), why })
    }

    /// A user of the system's own lists.
    pub(super) fn user(&self, name: &str) -> Result<Option<User>, HostError> {
        let find = |path: &str, column: usize| -> Result<Option<u32>, HostError> {
            let text = self.read(Path::new(path))?.unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            let mut rows = text.lines().map(|line| line.split(':'));
            let row = rows.find(|row| row.clone().next() == Some(name));
            Ok(row.and_then(|mut row| row.nth(column)?.parse().ok()))
        };
        let (uid, gid) = (find("/etc/passwd", 2)?, find("/etc/group", 2)?);
        Ok(uid.zip(gid).map(|(uid, gid)| User { uid, gid }))
    }
}

fn command(words: &[&str]) -> Command {
    let mut command = Command::new(words.first().copied().unwrap_or_default());
    command.args(words.get(1..).unwrap_or_default()).env_clear().env("PATH", PATH).env("LANG", "C.UTF-8");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).current_dir("/");
    command
}

/// Folders for secrets are for nobody else.
fn make_folder(folder: &Path, mode: u32) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    let mode = if mode & 0o077 == 0 { 0o700 } else { 0o755 };
    std::fs::DirBuilder::new().recursive(true).mode(mode).create(folder)
}
