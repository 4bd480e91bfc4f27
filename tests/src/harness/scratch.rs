//! Temporary folders. A folder goes away with its owner; the folders of a process that was killed go away through
//! a janitor that waits for its end, or else at the next start. Knows nothing of what is in them.

use super::pids;
use anyhow::{Context, Result, anyhow, ensure};
use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// A folder that only this user can enter, removed when dropped.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// A new folder; its path is short, because sockets are put into it.
    pub fn new(label: &str) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let path = run_folder()?.join(format!("{label}{}", COUNT.fetch_add(1, Ordering::Relaxed)));
        private_folder(&path)?;
        Ok(Self(path))
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A process that was just killed may still be writing its last file.
        for _ in 0..20 {
            match fs::remove_dir_all(&self.0) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    std::thread::sleep(std::time::Duration::from_millis(50))
                }
                _ => return,
            }
        }
    }
}

/// Makes a folder of mode 0700, or takes one that is this user's already.
pub fn private_folder(path: &Path) -> Result<()> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.with_context(|| format!("cannot make the folder {}", path.display()))?;
    let owner = fs::symlink_metadata(path).with_context(|| format!("cannot look at {}", path.display()))?;
    ensure!(owner.is_dir() && owner.uid() == user(), "{} belongs to someone else", path.display());
    Ok(())
}

/// The number of the user that runs this.
#[must_use]
pub fn user() -> u32 {
    rustix::process::getuid().as_raw()
}

/// The folder of this process, with everything that it makes.
fn run_folder() -> Result<&'static Path> {
    static RUN: OnceLock<Result<(PathBuf, ChildStdin), String>> = OnceLock::new();
    let run = RUN.get_or_init(|| begin_run().map_err(|error| format!("{error:#}")));
    run.as_ref().map(|(path, _)| path.as_path()).map_err(|error| anyhow!("{error}"))
}

fn begin_run() -> Result<(PathBuf, ChildStdin)> {
    let root = std::env::temp_dir().join(format!("lifeboat-tests-{}", user()));
    private_folder(&root)?;
    sweep(&root);
    let me = i32::try_from(std::process::id()).context("a process id is too large")?;
    let started = pids::start_time(me).context("cannot read /proc/self/stat")?;
    let run = root.join(format!("{me}-{started}"));
    private_folder(&run)?;
    let line = start_janitor(&run)?;
    Ok((run, line))
}

/// A shell that waits until this process is gone (its standard input then ends) and removes what it left.
fn start_janitor(run: &Path) -> Result<ChildStdin> {
    let script = r#"cat >/dev/null; for i in 1 2 3 4 5 6 7 8 9 10; do rm -rf --one-file-system "$1" 2>/dev/null && exit; sleep 0.2; done"#;
    let mut janitor = Command::new("sh");
    janitor.args(["-c", script, "janitor"]).arg(run).current_dir("/").process_group(0);
    janitor.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = janitor.spawn().context("cannot start sh")?;
    child.stdin.take().context("the janitor has no standard input")
}

/// Removes the folders of runs whose process is gone.
fn sweep(root: &Path) {
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let run = name.to_str().and_then(|name| name.split_once('-'));
        let Some((pid, started)) =
            run.and_then(|(pid, started)| Some((pid.parse().ok()?, started.parse().ok()?)))
        else {
            continue;
        };
        if pids::start_time(pid) != Some(started) {
            let _janitor_was_faster = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_goes_away_with_its_owner() {
        let scratch = Scratch::new("t").unwrap();
        let path = scratch.path().to_owned();
        fs::write(path.join("file"), "x").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
        drop(scratch);
        assert!(!path.exists());
    }

    #[test]
    fn only_the_folders_of_dead_runs_are_swept() {
        let root = tempfile::tempdir().unwrap();
        let me = std::process::id();
        let started = pids::start_time(i32::try_from(me).unwrap()).unwrap();
        for name in [format!("{me}-{started}"), format!("{me}-{}", started + 1), "something else".to_owned()]
        {
            fs::create_dir(root.path().join(name)).unwrap();
        }
        sweep(root.path());
        assert!(root.path().join(format!("{me}-{started}")).exists());
        assert!(!root.path().join(format!("{me}-{}", started + 1)).exists());
        assert!(root.path().join("something else").exists());
    }
}
