//! Written-down process ids: a process is known by its id and its start time, so that an id that was used again
//! is never mistaken for it. Knows nothing of what the processes are.

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

/// One process of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    pub name: String,
    pub pid: i32,
    pub started: u64,
}

impl Known {
    /// The process that has this id now.
    pub fn of(name: &str, pid: i32) -> Result<Self> {
        let started = start_time(pid).with_context(|| format!("{name} (process {pid}) ended at once"))?;
        Ok(Self { name: name.to_owned(), pid, started })
    }

    #[must_use]
    pub fn is_alive(&self) -> bool {
        start_time(self.pid) == Some(self.started)
    }

    fn kill(&self) {
        // The handle pins the process first; only then is it compared, so that the signal cannot hit another.
        let Some(handle) = Pid::from_raw(self.pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok())
        else {
            return;
        };
        if self.is_alive() {
            let _gone_already = pidfd_send_signal(&handle, Signal::KILL);
        }
    }
}

/// When a live process started, in the kernel's ticks since boot; none for one that ended (a zombie, too).
#[must_use]
pub fn start_time(pid: i32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name is in parentheses and may itself hold some.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?;
    let started = fields.nth(18)?;
    if state == "Z" || state == "X" { None } else { started.parse().ok() }
}

/// Adds one process to a list.
pub fn record(list: &Path, process: &Known) -> Result<()> {
    let file = std::fs::OpenOptions::new().create(true).append(true).open(list);
    file.and_then(|mut file| writeln!(file, "{} {} {}", process.name, process.pid, process.started))
        .with_context(|| format!("cannot write {}", list.display()))
}

/// The processes of a list; of a missing list, none.
#[must_use]
pub fn read(list: &Path) -> Vec<Known> {
    let text = std::fs::read_to_string(list).unwrap_or_default();
    text.lines().filter_map(parse).collect()
}

fn parse(line: &str) -> Option<Known> {
    let mut words = line.split(' ');
    let (name, pid, started) = (words.next()?, words.next()?, words.next()?);
    Some(Known { name: name.to_owned(), pid: pid.parse().ok()?, started: started.parse().ok()? })
}

/// Ends every process of a list, the latest first, and waits until all are gone.
pub fn end_all(list: &Path) -> Result<usize> {
    let known: Vec<Known> = read(list).into_iter().filter(Known::is_alive).collect();
    known.iter().rev().for_each(Known::kill);
    let deadline = Instant::now() + Duration::from_secs(20);
    while let Some(left) = known.iter().find(|process| process.is_alive()) {
        if Instant::now() > deadline {
            bail!("{} (process {}) does not end", left.name, left.pid);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(known.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn a_recorded_process_is_ended_and_a_reused_id_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let mut children: Vec<_> =
            (0..2).map(|_| Command::new("sleep").arg("60").stdin(Stdio::null()).spawn().unwrap()).collect();
        let pid = |child: &std::process::Child| i32::try_from(child.id()).unwrap();
        let mine = Known::of("mine", pid(&children[0])).unwrap();
        let mut other = Known::of("other", pid(&children[1])).unwrap();
        other.started += 1;
        let list = folder.path().join("pids");
        record(&list, &mine).unwrap();
        record(&list, &other).unwrap();
        assert_eq!(read(&list), [mine.clone(), other]);
        assert_eq!(end_all(&list).unwrap(), 1);
        assert!(!mine.is_alive());
        assert!(
            children[1].try_wait().unwrap().is_none(),
            "a process with another start time must be left alone"
        );
        children.iter_mut().for_each(|child| {
            let _ended = child.kill();
            child.wait().unwrap();
        });
    }

    #[test]
    fn this_process_has_a_start_time() {
        let me = i32::try_from(std::process::id()).unwrap();
        assert!(start_time(me).is_some_and(|ticks| ticks > 0));
    }
}
