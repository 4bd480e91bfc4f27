//! The files of volumes: which of them the arguments mean, and what is said of the result. How they are written is
//! `lifeboat_agent::tree::restore`'s to know.

use crate::context::Context;
use crate::paths::{SnapshotPath, VolumePath, given};
use crate::table::bytes;
use anyhow::{Result, bail};
use futures::StreamExt as _;
use lifeboat_agent::tree::restore::{
    Chosen, Pattern, Report, RestoreError, RestoreOptions, Root, Target, is_pattern, restore,
};
use lifeboat_common::exit::{Exit, UsageError};
use lifeboat_common::progress::{Mode, Progress, Unit};
use lifeboat_common::reader::{OpenSnapshot, ReadError, Tree, TreeEntry};
use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Lines of one kind that are printed.
const SHOWN: usize = 50;

/// One volume, and what of it is wanted.
pub(super) struct Wanted {
    tree: Tree,
    /// Content of the volume, bytes.
    bytes: u64,
    /// Each with the argument that means it; none where no path was given.
    chosen: Vec<(Chosen, Option<usize>)>,
}

/// Finds what the arguments mean; what is not in the snapshot is an error before anything is written.
pub(super) async fn wanted(
    open: &OpenSnapshot,
    arguments: &[OsString],
    paths: &[SnapshotPath],
) -> Result<Vec<Wanted>> {
    let mut all = Vec::new();
    let mut found = vec![false; paths.len()];
    for domain in open.volumes() {
        let tree = open.tree(domain)?;
        let mut chosen = Vec::new();
        if paths.is_empty() {
            chosen.push((Chosen::All, None));
        }
        for (i, path) in paths.iter().enumerate() {
            match path {
                SnapshotPath::Top => chosen.push((Chosen::All, Some(i))),
                SnapshotPath::Volume(path) if path.covers(domain) => {
                    let choice = choice(&tree, path).await?;
                    found[i] |= choice.is_some();
                    chosen.extend(choice.map(|choice| (choice, Some(i))));
                }
                SnapshotPath::Volume(_) | SnapshotPath::Object(_) => {}
            }
        }
        if !chosen.is_empty() {
            all.push(Wanted { tree, bytes: domain.bytes, chosen });
        }
    }
    for (i, path) in paths.iter().enumerate() {
        if matches!(path, SnapshotPath::Volume(_)) && !found[i] {
            bail!(nothing(open, arguments.get(i)));
        }
    }
    Ok(all)
}

/// What a path means in a volume: what is there of that name, else what it matches as a pattern.
async fn choice(tree: &Tree, path: &VolumePath) -> Result<Option<Chosen>> {
    if path.inside.is_empty() {
        return Ok(Some(Chosen::All));
    }
    if let Some(existing) = path.existing(tree).await? {
        return Ok(Some(Chosen::Path(existing)));
    }
    match std::str::from_utf8(&path.inside) {
        Ok(text) if is_pattern(text) => {
            let pattern = Pattern::new(text).map_err(|e| UsageError::new(e.to_string()))?;
            Ok(Some(Chosen::Matching(pattern)))
        }
        _ => Ok(None),
    }
}

pub(super) fn nothing(open: &OpenSnapshot, argument: Option<&OsString>) -> String {
    let given = argument.map(given).unwrap_or_default();
    let seq = open.seq();
    format!("Snapshot {seq} has no '{given}'; `lifeboat ls {seq}` lists what it has")
}

/// Writes the files; which arguments meant nothing.
pub(super) async fn write(wanted: Vec<Wanted>, to: &Path, devices: bool, json: bool) -> Result<Written> {
    let target = Arc::new(Target::open(to)?);
    let whole = wanted.iter().all(|w| w.chosen.iter().any(|(c, _)| matches!(c, Chosen::All)));
    let total = whole.then(|| wanted.iter().map(|w| w.bytes).sum());
    let progress = Progress::new(Mode::choose(json), "Extracting files", Unit::Bytes, total);
    let cancel = canceled_by_hand();
    let mut report = Report::default();
    let mut meant: Vec<(usize, bool)> = Vec::new();
    let mut stopped = None;
    for Wanted { tree, chosen, .. } in wanted {
        let (choices, arguments): (Vec<Chosen>, Vec<Option<usize>>) = chosen.into_iter().unzip();
        let (cancel, progress) = (Arc::clone(&cancel), progress.clone());
        let options = RestoreOptions { devices, root: Root::Folder, cancel, progress };
        let restored = restore(&tree, choices, &target, options).await;
        report.merge(restored.report);
        meant
            .extend(arguments.into_iter().zip(restored.found).filter_map(|(a, found)| a.map(|a| (a, found))));
        stopped = restored.stopped;
        if stopped.is_some() {
            break;
        }
    }
    progress.finish();
    let hit = |argument: usize| meant.iter().any(|(a, found)| *a == argument && *found);
    let mut missed: Vec<usize> = meant.iter().map(|(a, _)| *a).filter(|a| !hit(*a)).collect();
    missed.dedup();
    Ok(Written { report, missed, stopped })
}

/// What became of the files.
pub(super) struct Written {
    pub(super) report: Report,
    /// Arguments that meant nothing.
    pub(super) missed: Vec<usize>,
    /// Why it ended before its time.
    pub(super) stopped: Option<RestoreError>,
}

impl Written {
    pub(super) fn exit(&self) -> Exit {
        if self.stopped.is_some() || self.report.failed.total > 0 || !self.missed.is_empty() {
            Exit::Failed
        } else if self.report.is_complete() {
            Exit::Done
        } else {
            Exit::Partial
        }
    }

    /// Says it to a person.
    pub(super) fn say(&self, seq: u64, to: &Path, context: &mut Context<'_>) -> Result<()> {
        let Report { failed, left_alone, .. } = &self.report;
        failed.first.iter().take(SHOWN).for_each(|line| tracing::error!("{line}"));
        left_alone
            .first
            .iter()
            .take(SHOWN)
            .for_each(|path| tracing::warn!("{path} exists, and is left as it is"));
        for (total, what) in [(failed.total, "failures"), (left_alone.total, "entries left alone")] {
            if total > SHOWN as u64 {
                tracing::warn!("… and {} more {what}; --json lists up to 1000", total - SHOWN as u64);
            }
        }
        let r = &self.report;
        context.line(format!(
            "{} files ({}), {} directories, {} links and {} special files of snapshot {seq} written to {}",
            r.files,
            bytes(r.bytes),
            r.directories,
            r.symlinks + r.hard_links,
            r.special,
            to.display()
        ))?;
        let not_set: Vec<String> =
            r.not_set.iter().map(|(what, n)| format!("{what} ({n} entries)")).collect();
        for (count, what) in [
            (r.already_complete, "were there already, complete"),
            (left_alone.total, "exist, differ, and were left alone"),
            (failed.total, "failed"),
            (r.below_failed, "are in directories that could not be made, and were left out"),
            (r.devices_left_out, "device nodes were left out; --devices makes them, as root"),
            (r.links_as_copies, "names of files with several became files of their own"),
        ] {
            if count > 0 {
                context.line(format!("  {count} {what}"))?;
            }
        }
        not_set.iter().try_for_each(|what| context.line(format!("  not set: {what}")))
    }
}

/// Every entry that would be written, in order.
pub(super) async fn each(
    wanted: &[Wanted],
    mut see: impl FnMut(String, &TreeEntry) -> Result<()>,
    mut fail: impl FnMut(ReadError),
) -> Result<()> {
    for Wanted { tree, chosen, .. } in wanted {
        for (choice, _) in chosen {
            let mut entries = choice.entries(tree);
            while let Some(next) = entries.next().await {
                match next {
                    Ok(entry) => see(tree.shown(&entry.path), &entry)?,
                    Err(e) => fail(e),
                }
            }
        }
    }
    Ok(())
}

/// Ctrl-C ends it in good order; a second one at once.
fn canceled_by_hand() -> Arc<AtomicBool> {
    let cancel = Arc::new(AtomicBool::new(false));
    let set = Arc::clone(&cancel);
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            set.store(true, Ordering::Relaxed);
        }
        if tokio::signal::ctrl_c().await.is_ok() {
            std::process::exit(Exit::Failed.code().into());
        }
    });
    cancel
}
