//! `lifeboat verify`: hashes everything that snapshots need, and opens it where an identity is given.

use crate::args::RepoArgs;
use crate::context::Context;
use crate::reading::{Reading, Trust};
use crate::table::{bytes, printable};
use anyhow::Result;
use lifeboat_common::exit::{Exit, UsageError};
use lifeboat_common::progress::{Mode, Progress, Unit};
use lifeboat_common::reader::{self, Damage, Snapshot, VerifyOptions, VerifyReport};
use serde::Serialize;
use std::sync::Mutex;
use std::sync::PoisonError;

/// Objects named below a damaged file.
const OBJECTS_SHOWN: usize = 10;

/// Check that snapshots are whole
///
/// Reads and hashes every charter, epoch, manifest, pack list, pack and receipt that the
/// snapshots need in this store. Needs no identity; with --open and one, every chunk is opened
/// as well, and damage names the objects that it touches. Exit code 1 when something is damaged
/// or missing, 3 when the store did not give something.
///
///   lifeboat verify --repo file:///var/lib/lifeboat/vault --owner repository.toml
///   lifeboat verify 42 --open --repo s3://backups/clusters --identity identity.txt
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct VerifyArgs {
    /// A number, an id or the beginning of one, or `latest` (default: all that are kept)
    snapshot: Option<String>,

    /// Open every chunk too; needs --identity
    #[arg(long)]
    open: bool,

    /// Files read at a time
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=256))]
    transfers: u16,

    /// Print the result as JSON, and progress as JSON lines on standard error
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    repo: RepoArgs,
}

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    cluster: String,
    sound: bool,
    opened: bool,
    /// The vault went back behind a receipt that this machine saw.
    #[serde(skip_serializing_if = "Option::is_none")]
    rollback: Option<&'a str>,
    #[serde(flatten)]
    report: &'a VerifyReport,
}

pub(crate) async fn run(args: &VerifyArgs, context: &mut Context<'_>) -> Result<Exit> {
    if args.open && args.repo.identity.is_none() {
        return Err(UsageError::new("--open needs the keys of an administrator; add --identity FILE").into());
    }
    let reading = Reading::open(&args.repo, Trust::Required, context).await?;
    let snapshots: Vec<&Snapshot> = match &args.snapshot {
        Some(given) => vec![reading.list.resolve(given)?],
        None => reading.list.kept().collect(),
    };
    let keyring = args.open.then(|| reading.keyring()).transpose()?;
    let options = VerifyOptions { concurrency: usize::from(args.transfers), keyring };
    let shown = Shown::new(Mode::choose(args.json));
    let report =
        reader::verify(&reading.repository, &reading.list, &snapshots, &options, &|p| shown.show(p)).await;
    shown.finish();
    let report = report?;
    let rollback = reading.complaint.as_deref();
    if args.json {
        let cluster = reading.repository.cluster().to_string();
        let sound = report.is_sound() && rollback.is_none();
        context.json(&Document {
            schema: "lifeboat/verify/1",
            cluster,
            sound,
            opened: args.open,
            rollback,
            report: &report,
        })?;
    } else {
        print(&report, args.open, context)?;
    }
    Ok(if !report.damage.is_empty() || rollback.is_some() {
        Exit::Failed
    } else if report.unchecked.is_empty() {
        Exit::Done
    } else {
        Exit::Partial
    })
}

/// One bar for hashing, and one for each snapshot that is opened.
struct Shown {
    mode: Mode,
    at: Mutex<Option<(Option<u64>, Progress)>>,
}

impl Shown {
    fn new(mode: Mode) -> Self {
        Self { mode, at: Mutex::new(None) }
    }

    fn show(&self, progress: reader::Progress) {
        let mut at = self.at.lock().unwrap_or_else(PoisonError::into_inner);
        let (task, unit, done, total) = match progress {
            reader::Progress::Hashed { bytes, of_bytes, .. } => (None, Unit::Bytes, bytes, of_bytes),
            reader::Progress::Opened { seq, entries, of_entries } => {
                (Some(seq), Unit::Items, entries, of_entries)
            }
        };
        if at.as_ref().is_none_or(|(current, _)| *current != task) {
            if let Some((_, old)) = at.take() {
                old.finish();
            }
            let name = task.map_or_else(|| "Verifying".to_owned(), |seq| format!("Opening snapshot {seq}"));
            *at = Some((task, Progress::new(self.mode, name, unit, Some(total))));
        }
        if let Some((_, bar)) = at.as_ref() {
            bar.add(done.saturating_sub(bar.done()));
        }
    }

    fn finish(&self) {
        if let Some((_, bar)) = self.at.lock().unwrap_or_else(PoisonError::into_inner).take() {
            bar.finish();
        }
    }
}

fn print(report: &VerifyReport, opened: bool, context: &mut Context<'_>) -> Result<()> {
    for damage in &report.damage {
        describe(damage, context)?;
    }
    for one in &report.unchecked {
        context.line(format!("Not checked: {}: {}", printable(&one.key), printable(&one.why)))?;
    }
    let sound = report.snapshots.values().filter(|sound| **sound).count();
    let opened = if opened { format!(", {} entries opened", report.opened_entries) } else { String::new() };
    context.line(format!(
        "{sound} of {} snapshots are sound: {} files and {} checked{opened}, {} damaged or missing, {} not checked",
        report.snapshots.len(),
        report.files,
        bytes(report.bytes),
        report.damage.len(),
        report.unchecked.len()
    ))
}

fn describe(damage: &Damage, context: &mut Context<'_>) -> Result<()> {
    let snapshots: Vec<String> = damage.snapshots.iter().map(u64::to_string).collect();
    let needed =
        if snapshots.is_empty() { String::new() } else { format!(" (needed by {})", snapshots.join(", ")) };
    context.line(format!("{:?}: {}{needed}", damage.kind, printable(&damage.key)))?;
    context.line(format!("  expected {}", printable(&damage.expected)))?;
    context.line(format!("  seen     {}", printable(&damage.seen)))?;
    for object in damage.objects.iter().take(OBJECTS_SHOWN) {
        context.line(format!("  touches  {}", printable(object)))?;
    }
    Ok(())
}
