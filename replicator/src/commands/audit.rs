//! `audit verify` and `audit show`.

use super::retain::only;
use lifeboat_common::clock::Clock;
use lifeboat_common::config::ReplicatorConfig;
use lifeboat_common::exit::Exit;
use lifeboat_replicator::audit::{self, Checked};
use lifeboat_replicator::replicate::charters;
use lifeboat_replicator::setup::{self, Options};
use lifeboat_replicator::source;
use lifeboat_replicator::status::plain;
use lifeboat_replicator::vault::Work;
use serde::Serialize;
use std::fmt::Write as _;

#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Check every record: its signature, its number, that it follows the one before, and that the end is there
    Verify(Of),
    /// Print what was accepted, refused, decided, deleted and said, oldest first
    Show {
        #[command(flatten)]
        of: Of,
        /// Only the last so many records
        #[arg(long, value_name = "N")]
        last: Option<usize>,
    },
}

#[derive(clap::Args)]
pub(crate) struct Of {
    /// Of which cluster; may be left out where there is one
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,
}

#[derive(Serialize)]
pub(crate) struct Document {
    schema: &'static str,
    cluster: String,
    #[serde(flatten)]
    checked: Checked,
}

pub(crate) fn run(
    config: &ReplicatorConfig,
    command: &Command,
    clock: &dyn Clock,
) -> anyhow::Result<(Document, String, Exit)> {
    let (of, last) = match command {
        Command::Verify(of) => (of, Some(0)),
        Command::Show { of, last } => (of, *last),
    };
    let source = only(config, of.cluster.as_deref())?;
    let vault = setup::open_vault(Work::Operator, config, Options::default(), clock)?;
    let folder = vault.folder(&source.cluster);
    let mut keys = vec![source::receipt_key(&source.cluster, &source.receipt_key)?.verify_key()];
    let trusted = charters::trusted(&folder, &source.owner, &source.cluster)?;
    keys.extend(trusted.iter().map(|c| c.charter().receipt_key));
    let mut checked = audit::check(&folder, &source.cluster, &keys)?;
    let records = checked.records.len();
    if let Some(last) = last {
        checked.records.drain(..records.saturating_sub(last));
    }
    let mut text = String::new();
    for record in &checked.records {
        for e in &record.events {
            let (at, unit, subject, why) = (record.at, &record.unit, plain(&e.subject), plain(&e.why));
            let _ = writeln!(text, "{:>6}  {at:.0}  {unit:<8}  {}  {subject}  {why}", record.n, e.what);
        }
    }
    for problem in &checked.problems {
        let _ = writeln!(text, "DAMAGED: {}", plain(problem));
    }
    let sound = checked.problems.is_empty();
    if let (true, Command::Verify(_)) = (sound, command) {
        let end = checked.end.map_or_else(|| "empty".to_owned(), |e| format!("record {}, {}", e.n, e.sha256));
        let _ = writeln!(
            text,
            "The audit log of {} is whole: {records} records; its end is {end}",
            source.cluster
        );
    }
    let document = Document { schema: "lifeboat/audit-log/1", cluster: source.cluster.to_string(), checked };
    Ok((document, text, if sound { Exit::Done } else { Exit::Failed }))
}
