//! A real systemd, booted beside the machine's own init: an overlay of the machine's files on memory, in process, mount,
//! network and control-group namespaces that end with one process. Needs root. Knows no unit of anybody's.

use super::pids::{self, Known};
use super::process::{Process, Program, enter, run};
use super::scratch::{Scratch, user};
use anyhow::{Context, Result, bail, ensure};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Where the system's programs are, inside and outside.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const READY: Duration = Duration::from_secs(60);

/// Control groups of its own first: systemd makes `payload` in those that it finds itself in, and two would meet there.
/// Then a root on memory that shows the machine's files and none of its enabled units; what the container manager leaves
/// in /run goes with the mounts, too. The shell stays, because the first process of a namespace must reap, and because what
/// is asked to reboot ends with 133 and wants to be started again.
const FIRST_PROCESS: &str = r#"
set -e
for hierarchy in /sys/fs/cgroup/systemd /sys/fs/cgroup/unified /sys/fs/cgroup; do
  [ -e "$hierarchy/cgroup.procs" ] || continue
  mkdir "$hierarchy/$2"
  echo $$ > "$hierarchy/$2/cgroup.procs"
done
mount -t tmpfs -o mode=0755,size=2G tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
for own in etc/systemd/system var/log/journal; do
  rm -rf "$1/root/$own"
  mkdir -p "$1/root/$own"
done
mount -t tmpfs -o mode=0755 tmpfs /run
until systemd-nspawn --register=no --keep-unit --directory="$1/root" --machine="$2" --boot --private-network \
  --link-journal=no --resolv-conf=off --timezone=off --console=pipe \
  systemd.unit="$3" systemd.firstboot=no; [ $? != 133 ]; do :; done
"#;

/// Waits until its owner is gone (its standard input then ends) and removes the control groups: no namespace does that.
const CLEANER: &str = r#"
cat >/dev/null
for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
  left=
  for group in /sys/fs/cgroup/systemd/"$1" /sys/fs/cgroup/unified/"$1" /sys/fs/cgroup/"$1"; do
    [ -d "$group" ] || continue
    find "$group" -depth -type d -exec rmdir {} \; 2>/dev/null
    [ ! -d "$group" ] || left=yes
  done
  [ -n "$left" ] || exit 0
  sleep 0.2
done
"#;

/// A running systemd, ended when dropped.
#[derive(Debug)]
pub struct Systemd {
    keeper: Process,
    leader: Known,
    target: &'static str,
    _cleaner: Cleaner,
    scratch: Scratch,
}

impl Systemd {
    /// An error that says what is missing, and how to get it.
    pub fn check() -> Result<()> {
        ensure!(user() == 0, "booting systemd needs root (namespaces, mounts): use sudo");
        let found = |program: &str| PATH.split(':').any(|folder| Path::new(folder).join(program).is_file());
        ensure!(
            found("systemd-nspawn"),
            "systemd-nspawn is missing (Debian package systemd-container): install with make packages"
        );
        Ok(())
    }

    /// Boots one to its `basic.target`, with no unit of the machine's enabled.
    pub fn boot() -> Result<Self> {
        Self::boot_to("basic.target")
    }

    /// The same to another target, such as `multi-user.target`, which starts what is enabled.
    pub fn boot_to(target: &'static str) -> Result<Self> {
        Self::check()?;
        let scratch = Scratch::new("d")?;
        let (root, name) = (scratch.path().join("m"), group_name(scratch.path()));
        std::fs::create_dir(&root).with_context(|| format!("cannot make {}", root.display()))?;
        let cleaner = Cleaner::start(&name)?;
        let program = Program::new("systemd", "unshare").env("PATH", PATH);
        let program = program.args(["--pid", "--fork", "--kill-child=KILL", "--mount", "--mount-proc"]);
        let program = program.args(["--propagation=private", "sh", "-c", FIRST_PROCESS, "systemd"]);
        let mut keeper = program.arg(&root).arg(&name).arg(target).start(scratch.path())?;
        let leader = booted(&mut keeper, target)?;
        pids::record(&scratch.path().join("pids"), &leader)?;
        Ok(Self { keeper, leader, target, _cleaner: cleaner, scratch })
    }

    /// Shuts it down and boots it again, with the files that it has then.
    pub fn reboot(&mut self) -> Result<()> {
        let _cut_off = self.command(&["systemctl", "reboot"]).output();
        let deadline = Instant::now() + READY;
        while self.leader.is_alive() {
            ensure!(Instant::now() < deadline, "it does not shut down");
            std::thread::sleep(Duration::from_millis(20));
        }
        self.leader = booted(&mut self.keeper, self.target)?;
        pids::record(&self.scratch.path().join("pids"), &self.leader)
    }

    /// A command inside, as root, to be started by the caller.
    #[must_use]
    pub fn command(&self, words: &[&str]) -> Command {
        inside(self.leader.pid, words)
    }

    /// Runs a command inside and gives what it prints; an error shows its standard error.
    pub fn run(&self, words: &[&str]) -> Result<String> {
        text(run(&mut self.command(words), None)?)
    }

    /// A property of a unit.
    pub fn show(&self, unit: &str, property: &str) -> Result<String> {
        Ok(self.run(&["systemctl", "show", "--value", "--property", property, unit])?.trim_end().to_owned())
    }

    /// What a unit wrote to the journal, and what systemd wrote about it.
    pub fn journal(&self, unit: &str) -> Result<String> {
        self.run(&["journalctl", "--sync"])?;
        self.run(&["journalctl", "--no-pager", "--output=cat", "--unit", unit])
    }

    /// Writes a file inside (root's, of this mode), with the folders above it.
    pub fn put_file(&self, path: &str, mode: u32, contents: &[u8]) -> Result<()> {
        let words = ["install", "-D", "--mode", &format!("{mode:04o}"), "/dev/stdin", path];
        run(&mut self.command(&words), Some(contents)).map(drop)
    }

    /// Copies a folder of the machine's to a new folder inside; everybody may read it.
    pub fn put_folder(&self, path: &str, from: &Path) -> Result<()> {
        let archive = run(Command::new("tar").args(["--create", "--directory"]).arg(from).arg("."), None)?;
        self.run(&["mkdir", "--parents", path])?;
        let words = ["tar", "--extract", "--no-same-owner", "--directory", path];
        run(&mut self.command(&words), Some(&archive))?;
        self.run(&["chmod", "--recursive", "a+rX", path]).map(drop)
    }

    /// Waits until `done` gives something. An error says what was waited for, and why not.
    pub fn wait_for<T>(
        &self,
        what: &str,
        timeout: Duration,
        mut done: impl FnMut() -> Result<T>,
    ) -> Result<T> {
        let deadline = Instant::now() + timeout;
        loop {
            match done() {
                Ok(value) => return Ok(value),
                Err(why) if Instant::now() > deadline => {
                    bail!("{what}: not after {} s: {why:#}", timeout.as_secs())
                }
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    }

    /// Name of its control groups.
    #[must_use]
    pub fn group(&self) -> String {
        group_name(self.scratch.path())
    }

    /// Its first process, as the machine numbers it, and the process that holds its namespaces.
    #[must_use]
    pub fn processes(&self) -> [i32; 2] {
        [self.leader.pid, self.keeper.pid()]
    }
}

impl Drop for Systemd {
    fn drop(&mut self) {
        self.keeper.kill();
        // The kernel ends the first process with its keeper, and everything in the namespaces with that.
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.leader.is_alive() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Waits until the target is reached; gives the first process.
fn booted(keeper: &mut Process, target: &str) -> Result<Known> {
    let pid = keeper.pid();
    let mut leader = None;
    keeper.wait_until("booted", READY, || {
        let pid = find_leader(pid).context("its first process is not there")?;
        let reached = run(&mut inside(pid, &["systemctl", "is-active", target]), None)?;
        ensure!(reached.starts_with(b"active"), "{target} is not reached");
        leader = Some(Known::of("systemd-init", pid)?);
        Ok(())
    })?;
    leader.context("its first process is not there")
}

/// A shell that outlives this process for a moment.
#[derive(Debug)]
struct Cleaner(Child);

impl Cleaner {
    fn start(group: &str) -> Result<Self> {
        let mut shell = Command::new("sh");
        shell.args(["-c", CLEANER, "cleaner", group]).current_dir("/").process_group(0);
        shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Self(shell.spawn().context("cannot start sh")?))
    }
}

impl Drop for Cleaner {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _reaped = self.0.wait();
    }
}

/// No other process that lives has a folder of this name.
fn group_name(folder: &Path) -> String {
    let last = folder.file_name().unwrap_or_default().to_string_lossy();
    format!("lifeboat-systemd-{}-{last}", std::process::id())
}

/// The process below `keeper` that is the first one in namespaces within the keeper's.
fn find_leader(keeper: i32) -> Option<i32> {
    let children = std::fs::read_to_string(format!("/proc/{keeper}/task/{keeper}/children")).ok()?;
    children.split_ascii_whitespace().find_map(|child| {
        let status = std::fs::read_to_string(format!("/proc/{child}/status")).ok()?;
        let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
        let numbers: Vec<&str> = numbers.split_ascii_whitespace().collect();
        let child = child.parse().ok()?;
        if numbers.len() >= 3 && numbers.last() == Some(&"1") { Some(child) } else { find_leader(child) }
    })
}

fn inside(leader: i32, words: &[&str]) -> Command {
    let mut all = enter(Some(leader)).into_iter().chain(words.iter().map(Into::into));
    let mut command = Command::new(all.next().unwrap_or_default());
    // A clean environment: the machine's settings are not those of a freshly booted host.
    command.args(all).env_clear().env("PATH", PATH).env("LANG", "C.UTF-8").current_dir("/");
    command
}

fn text(bytes: Vec<u8>) -> Result<String> {
    String::from_utf8(bytes).context("the command printed something that is not text")
}
