//! How far long work has come: a bar on a terminal, lines elsewhere, NDJSON events with `--json`. All on standard
//! error. Owns the form and the pace; knows no task.

mod report;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use report::Report;
use std::io::IsTerminal as _;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Between two lines or events of one task.
const PACE_LINES: Duration = Duration::from_secs(10);
const PACE_EVENTS: Duration = Duration::from_secs(1);

/// All bars of the program, one below the other.
static BARS: LazyLock<MultiProgress> =
    LazyLock::new(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr()));

/// Where progress goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// A person watches.
    Bar,
    /// A log or a pipe.
    Lines,
    /// A program reads: one JSON object a line, `"schema": "lifeboat/progress/1"`.
    Events,
    Quiet,
}

impl Mode {
    /// Events with `--json`; else a bar on a terminal, and lines where there is none.
    #[must_use]
    pub fn choose(json: bool) -> Self {
        if json {
            Self::Events
        } else if std::io::stderr().is_terminal() {
            Self::Bar
        } else {
            Self::Lines
        }
    }
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Bytes,
    Items,
}

/// A task at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Figures {
    pub done: u64,
    pub total: Option<u64>,
    /// Per second, on average.
    pub rate: u64,
    /// Seconds that are left at this rate.
    pub eta_s: Option<u64>,
}

/// One task's progress. Clones count together; cheap to call from many threads.
#[derive(Debug, Clone)]
pub struct Progress {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    mode: Mode,
    task: String,
    unit: Unit,
    started: Instant,
    /// Counts also where nothing is drawn.
    bar: ProgressBar,
    reported: Mutex<Option<Instant>>,
}

impl Progress {
    /// Begins a task, such as `Verifying`; `total` where it is known.
    #[must_use]
    pub fn new(mode: Mode, task: impl Into<String>, unit: Unit, total: Option<u64>) -> Self {
        let task = task.into();
        let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::hidden());
        let mut bar = bar.with_style(style(unit, total.is_some()));
        if mode == Mode::Bar {
            bar = BARS.add(bar);
            bar.set_message(task.clone());
            bar.enable_steady_tick(Duration::from_millis(200));
        }
        let started = Instant::now();
        Self {
            inner: Arc::new(Inner { mode, task, unit, started, bar, reported: Mutex::new(Some(started)) }),
        }
    }

    /// One that says nothing.
    #[must_use]
    pub fn quiet() -> Self {
        Self::new(Mode::Quiet, "", Unit::Items, None)
    }

    /// The total is known now, or has changed.
    pub fn set_total(&self, total: u64) {
        self.inner.bar.set_length(total);
        self.inner.bar.set_style(style(self.inner.unit, true));
    }

    /// So much more is done.
    pub fn add(&self, done: u64) {
        self.inner.bar.inc(done);
        self.report_at_pace();
    }

    /// How far it is, for those who show it elsewhere; nothing once it is over.
    #[must_use]
    pub fn figures(&self) -> Option<Figures> {
        if self.inner.bar.is_finished() {
            return None;
        }
        let report = self.report();
        Some(Figures { done: report.done, total: report.total, rate: report.rate(), eta_s: report.eta() })
    }

    #[must_use]
    pub fn done(&self) -> u64 {
        self.inner.bar.position()
    }

    /// A line for people that does not disturb the bar.
    pub fn say(&self, line: &str) {
        match self.inner.mode {
            Mode::Bar => self.inner.bar.println(line),
            Mode::Lines => write_line(line),
            Mode::Events | Mode::Quiet => {}
        }
    }

    /// The task is over, well or not; the bar goes, and what is counted is said once more elsewhere.
    pub fn finish(&self) {
        self.inner.bar.finish_and_clear();
        if self.inner.mode == Mode::Bar {
            BARS.remove(&self.inner.bar);
        }
        let report = self.report();
        match self.inner.mode {
            Mode::Lines => write_line(&report.last_line()),
            Mode::Events => write_line(&report.event("finished")),
            Mode::Bar | Mode::Quiet => {}
        }
    }

    fn report_at_pace(&self) {
        let pace = match self.inner.mode {
            Mode::Lines => PACE_LINES,
            Mode::Events => PACE_EVENTS,
            Mode::Bar | Mode::Quiet => return,
        };
        {
            let mut reported = self.inner.reported.lock().unwrap_or_else(PoisonError::into_inner);
            if reported.is_some_and(|at| at.elapsed() < pace) {
                return;
            }
            *reported = Some(Instant::now());
        }
        let report = self.report();
        write_line(&if self.inner.mode == Mode::Events { report.event("progress") } else { report.line() });
    }

    fn report(&self) -> Report<'_> {
        Report {
            task: &self.inner.task,
            unit: self.inner.unit,
            done: self.inner.bar.position(),
            total: self.inner.bar.length(),
            elapsed: self.inner.started.elapsed(),
        }
    }
}

fn style(unit: Unit, total_known: bool) -> ProgressStyle {
    let template = match (unit, total_known) {
        (Unit::Bytes, true) => "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}",
        (Unit::Bytes, false) => "{msg} {spinner} {bytes} {bytes_per_sec} {elapsed}",
        (Unit::Items, true) => "{msg} {wide_bar} {pos}/{len} {per_sec} {eta}",
        (Unit::Items, false) => "{msg} {spinner} {pos} {per_sec} {elapsed}",
    };
    ProgressStyle::with_template(template).expect("the templates above are valid")
}

/// Never an error: a closed standard error must not end the work.
fn write_line(line: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_count_together() {
        for mode in [Mode::Quiet, Mode::Bar] {
            let progress = Progress::new(mode, "Verifying", Unit::Bytes, None);
            let other = progress.clone();
            other.add(3);
            progress.add(4);
            progress.set_total(10);
            assert_eq!(progress.done(), 7);
            progress.finish();
            assert_eq!(progress.report().total, Some(10));
        }
    }
}
