//! A started program: it writes to a log file, is watched until it is ready, and never outlives its owner, not even
//! one that was killed. Knows no program by name.

use super::pids::{self, Known};
use anyhow::{Context, Result, anyhow, bail};
use std::ffi::{OsStr, OsString};
use std::fs::OpenOptions;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

/// How long a program may live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Lifetime {
    /// As long as its owner: the kernel kills it when this process ends, for whatever reason.
    #[default]
    Guarded,
    /// Until it is ended by its recorded id: for what is left running on purpose (see [`Process::leave`]).
    Detached,
}

/// What to start, and how; can be started again.
#[derive(Debug, Clone)]
pub struct Program {
    name: String,
    words: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    lifetime: Lifetime,
    inside: Option<i32>,
}

impl Program {
    pub fn new(name: &str, path: impl AsRef<OsStr>) -> Self {
        let words = vec![path.as_ref().to_owned()];
        Self { name: name.to_owned(), words, env: Vec::new(), lifetime: Lifetime::default(), inside: None }
    }

    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.words.push(arg.as_ref().to_owned());
        self
    }

    #[must_use]
    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.words.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.into(), value.as_ref().to_owned()));
        self
    }

    #[must_use]
    pub fn lifetime(mut self, lifetime: Lifetime) -> Self {
        self.lifetime = lifetime;
        self
    }

    /// In the namespaces of another process.
    #[must_use]
    pub fn inside(mut self, namespaces_of: Option<i32>) -> Self {
        self.inside = namespaces_of;
        self
    }

    /// Starts it; the log (`log/NAME.log`) and the list of process ids (`pids`) are in `folder`.
    pub fn start(&self, folder: &Path) -> Result<Process> {
        let log = folder.join("log").join(format!("{}.log", self.name));
        std::fs::create_dir_all(folder.join("log"))
            .with_context(|| format!("cannot make {}", folder.display()))?;
        let out = OpenOptions::new().create(true).append(true).open(&log);
        let out = out.with_context(|| format!("cannot write {}", log.display()))?;
        let err = out.try_clone().context("cannot share a log file")?;
        let mut command = self.command();
        command.stdin(Stdio::null()).stdout(out).stderr(err);
        let child = spawn(command).with_context(|| format!("cannot start {}", self.name))?;
        let mut process = Process { name: self.name.clone(), child, log, left: false };
        match Known::of(&self.name, process.pid()) {
            Ok(known) => pids::record(&folder.join("pids"), &known)?,
            Err(error) => bail!("{error:#}: {}", process.last_lines()),
        }
        process.check()?;
        Ok(process)
    }

    fn command(&self) -> Command {
        let mut words: Vec<OsString> = match self.lifetime {
            Lifetime::Guarded => ["setpriv", "--pdeathsig", "KILL"].map(Into::into).to_vec(),
            Lifetime::Detached => vec!["setsid".into()],
        };
        words.extend(enter(self.inside));
        words.extend(self.words.iter().cloned());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).envs(self.env.iter().map(|(name, value)| (name, value))).current_dir("/");
        // Whose settings these are must not reach the programs under test.
        command.env_remove("KUBECONFIG").env_remove("AWS_PROFILE");
        if self.lifetime == Lifetime::Guarded {
            command.process_group(0); // `setsid` makes its own, and must not lead one when it starts
        }
        command
    }
}

/// The words that put a command into the namespaces of a process.
pub(crate) fn enter(namespaces_of: Option<i32>) -> Vec<OsString> {
    let Some(pid) = namespaces_of else { return Vec::new() };
    let target = pid.to_string();
    ["nsenter", "--target", &target, "--pid", "--net", "--mount", "--uts", "--"].map(Into::into).to_vec()
}

/// The kernel watches the *thread* that started a child, and a test's thread ends before the shared cluster does:
/// so one thread, which lives as long as the process, starts them all.
fn spawn(command: Command) -> Result<Child> {
    type Order = (Command, Sender<std::io::Result<Child>>);
    static STARTER: OnceLock<Sender<Order>> = OnceLock::new();
    let starter = STARTER.get_or_init(|| {
        let (orders, inbox) = channel::<Order>();
        std::thread::spawn(move || {
            for (mut command, answer) in inbox {
                let _asker_gone = answer.send(command.spawn());
            }
        });
        orders
    });
    let (answer, child) = channel();
    starter.send((command, answer)).map_err(|_| anyhow!("the thread that starts programs is gone"))?;
    Ok(child.recv().context("the thread that starts programs is gone")??)
}

/// A running program, killed (with what it started) when dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    left: bool,
}

impl Process {
    #[must_use]
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("the kernel's process ids are below 2^22")
    }

    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Waits until `ready` says so. An error shows the end of the log.
    pub fn wait_until(
        &mut self,
        what: &str,
        timeout: Duration,
        mut ready: impl FnMut() -> Result<()>,
    ) -> Result<()> {
        let deadline = Instant::now() + timeout;
        loop {
            self.check()?;
            let Err(why) = ready() else { return Ok(()) };
            if Instant::now() > deadline {
                bail!(
                    "{} was not {what} after {} s: {why:#}\n{}",
                    self.name,
                    timeout.as_secs(),
                    self.last_lines()
                );
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// An error if it has ended.
    pub fn check(&mut self) -> Result<()> {
        match self.child.try_wait().context("cannot ask for a child's state")? {
            None => Ok(()),
            Some(status) => bail!("{} ended: {status}\n{}", self.name, self.last_lines()),
        }
    }

    /// The end of its log.
    #[must_use]
    pub fn last_lines(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }

    /// Kills it and everything in its process group, at once.
    pub fn kill(&mut self) {
        let group = rustix::process::Pid::from_raw(self.pid());
        if let (Some(group), Ok(None)) = (group, self.child.try_wait()) {
            let _gone_already = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
        let _gone_already = self.child.kill();
        let _reaped = self.child.wait();
    }

    /// Leaves it running: it is to be ended by its recorded id.
    pub fn leave(&mut self) {
        self.left = true;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.left {
            self.kill();
        }
    }
}

/// Runs a command to its end and gives its standard output; an error shows its standard error.
pub fn run(command: &mut Command, input: Option<&[u8]>) -> Result<Vec<u8>> {
    use std::io::Write as _;
    let shown = format!(
        "{} {}",
        command.get_program().display(),
        command.get_args().map(|a| a.to_string_lossy()).collect::<Vec<_>>().join(" ")
    );
    command
        .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot start `{shown}`"))?;
    let pipe = child.stdin.take();
    let output = std::thread::scope(|scope| {
        if let (Some(mut pipe), Some(input)) = (pipe, input) {
            // On a thread of its own, so that neither side waits for the other; a reader that closes early says why on stderr.
            scope.spawn(move || {
                let _closed_early = pipe.write_all(input);
            });
        }
        child.wait_with_output()
    });
    let output = output.with_context(|| format!("cannot read the output of `{shown}`"))?;
    if !output.status.success() {
        bail!("`{shown}` failed ({}): {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(output.stdout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_goes_with_its_owner_and_so_does_what_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let program = Program::new("pair", "sh").args(["-c", "sleep 60 & echo $!; wait"]);
        let mut process = program.start(folder.path()).unwrap();
        let log = process.log().to_owned();
        let inner = || std::fs::read_to_string(&log)?.trim().parse::<i32>().context("no id yet");
        process.wait_until("started", Duration::from_secs(5), || inner().map(drop)).unwrap();
        let inner = Known::of("inner", inner().unwrap()).unwrap();
        drop(process);
        let deadline = Instant::now() + Duration::from_secs(5);
        while inner.is_alive() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(!inner.is_alive());
    }

    #[test]
    fn a_program_outlives_the_thread_that_asked_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_owned();
        let asker =
            std::thread::spawn(move || Program::new("sleeper", "sleep").arg("60").start(&path).unwrap());
        let mut process = asker.join().unwrap();
        std::thread::sleep(Duration::from_millis(300));
        process.check().unwrap();
    }

    #[test]
    fn a_program_that_fails_shows_its_last_words() {
        let folder = tempfile::tempdir().unwrap();
        let program = Program::new("failing", "sh").args(["-c", "echo it broke; exit 3"]);
        let waited = program
            .start(folder.path())
            .and_then(|mut it| it.wait_until("ready", Duration::from_secs(5), || bail!("not yet")));
        assert!(format!("{:#}", waited.unwrap_err()).contains("it broke"));
    }
}
