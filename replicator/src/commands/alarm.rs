//! `alarm list`, `alarm show` and `alarm resolve`.

use lifeboat_common::clock::Clock;
use lifeboat_common::config::ReplicatorConfig;
use lifeboat_common::exit::{Exit, UsageError};
use lifeboat_format::audit::Event;
use lifeboat_format::id::Sha256;
use lifeboat_replicator::alarm::Alarm;
use lifeboat_replicator::catalog::Catalogue;
use lifeboat_replicator::setup::{self, Options};
use lifeboat_replicator::status::plain;
use lifeboat_replicator::vault::Work;
use lifeboat_replicator::{audit, source};
use serde::Serialize;
use std::fmt::Write as _;

#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// All open alarms, oldest first, each with the name that `show` and `resolve` take
    List,
    /// One alarm: what was seen, since when, and what to do
    Show { name: String },
    /// Say that a person has looked and that things may go on
    ///
    /// The alarm ends. Where its cause stays, such as junk that nobody may delete from the primary, it comes back only
    /// when it says something else. Forgetting, which an anomaly freezes, goes on once no such alarm is open.
    ///
    /// With --kind, all of one kind: for a flood of junk that a person has looked through.
    Resolve {
        #[arg(required_unless_present = "kind")]
        name: Option<String>,
        /// All alarms of this kind, such as `forged`, instead of one by its name
        #[arg(long, value_name = "KIND", conflicts_with = "name")]
        kind: Option<String>,
        /// Of this cluster only; for --kind where there are several
        #[arg(long, value_name = "NAME", requires = "kind")]
        cluster: Option<String>,
        /// Why, for those who come after; kept with it
        #[arg(long, value_name = "TEXT")]
        note: String,
    },
}

#[derive(Serialize)]
struct Named {
    name: String,
    cluster: String,
    freezes_forgetting: bool,
    #[serde(flatten)]
    alarm: Alarm,
}

#[derive(Serialize)]
pub(crate) struct Document {
    schema: &'static str,
    alarms: Vec<Named>,
}

/// Short, and the same each time: of cluster, kind and what it is about.
fn name(cluster: &str, alarm: &Alarm) -> String {
    let whole = format!("{cluster}\0{}\0{}", alarm.kind.name(), alarm.what);
    Sha256::of(whole.as_bytes()).to_hex()[..8].to_owned()
}

fn open(config: &ReplicatorConfig, catalogue: &Catalogue) -> anyhow::Result<Vec<Named>> {
    let mut all = Vec::new();
    for source in &config.sources {
        let cluster = source.cluster.as_str();
        all.extend(catalogue.alarms(cluster)?.into_iter().map(|alarm| Named {
            name: name(cluster, &alarm),
            cluster: cluster.to_owned(),
            freezes_forgetting: alarm.kind.freezes(),
            alarm,
        }));
    }
    all.sort_by_key(|n| n.alarm.since);
    Ok(all)
}

fn find(alarms: Vec<Named>, wanted: &str) -> anyhow::Result<Named> {
    let mut found: Vec<Named> = alarms.into_iter().filter(|n| n.name.starts_with(wanted)).collect();
    match (found.pop(), found.is_empty()) {
        (Some(one), true) if !wanted.is_empty() => Ok(one),
        (None, _) => {
            Err(UsageError::new(format!("No open alarm is named '{wanted}'; see `alarm list`")).into())
        }
        _ => {
            Err(UsageError::new(format!("'{wanted}' begins the names of several alarms; give more of it"))
                .into())
        }
    }
}

pub(crate) fn run(
    config: &ReplicatorConfig,
    command: &Command,
    clock: &dyn Clock,
) -> anyhow::Result<(Document, String, Exit)> {
    let schema = "lifeboat/alarms/1";
    let alarms = open(config, &setup::catalogue(config)?)?;
    match command {
        Command::List => {
            let mut text = String::new();
            for n in &alarms {
                let (kind, since, what) = (n.alarm.kind.name(), n.alarm.since, plain(&n.alarm.what));
                let _ = writeln!(text, "{}  {since:.0}  {}  {kind}  {what}", n.name, n.cluster);
            }
            if alarms.is_empty() {
                text.push_str("No alarm is open\n");
            }
            let exit = if alarms.is_empty() { Exit::Done } else { Exit::Partial };
            Ok((Document { schema, alarms }, text, exit))
        }
        Command::Show { name } => {
            let n = find(alarms, name)?;
            let a = &n.alarm;
            let mut text = format!("{} of {}: {}\n", a.kind.name(), n.cluster, plain(&a.what));
            let _ = writeln!(text, "  since    {:.0}", a.since);
            let _ = writeln!(text, "  seen     {}", plain(&a.why));
            let _ = writeln!(text, "  do       {}", plain(&a.next));
            let freezes = if n.freezes_forgetting { "frozen until it is resolved" } else { "not affected" };
            let _ = writeln!(text, "  forgetting is {freezes}");
            Ok((Document { schema, alarms: vec![n] }, text, Exit::Done))
        }
        Command::Resolve { name, kind, cluster, note } => {
            let of_kind = |n: &Named| {
                Some(n.alarm.kind.name()) == kind.as_deref()
                    && cluster.as_ref().is_none_or(|c| *c == n.cluster)
            };
            let alarms = match name {
                Some(name) => vec![find(alarms, name)?],
                None => alarms.into_iter().filter(of_kind).collect(),
            };
            if alarms.is_empty() {
                let kind = kind.as_deref().unwrap_or_default();
                return Err(
                    UsageError::new(format!("No open alarm is of kind '{kind}'; see `alarm list`")).into()
                );
            }
            let text = resolve(config, &alarms, note, clock)?;
            Ok((Document { schema, alarms }, text, Exit::Done))
        }
    }
}

fn resolve(
    config: &ReplicatorConfig,
    alarms: &[Named],
    note: &str,
    clock: &dyn Clock,
) -> anyhow::Result<String> {
    let catalogue = setup::catalogue_for_alarms(config)?;
    let vault = setup::open_vault(Work::Operator, config, Options::default(), clock)?;
    let mut text = String::new();
    for source in &config.sources {
        let ours = || alarms.iter().filter(|n| n.cluster == source.cluster.as_str());
        if ours().next().is_none() {
            continue;
        }
        let key = source::receipt_key(&source.cluster, &source.receipt_key)?;
        let event = |n: &Named| {
            Event::new("alarm-resolved", n.alarm.what.clone(), format!("{}: {note}", n.alarm.kind.name()))
        };
        // Written down first: what is not in the log did not happen.
        let events = ours().map(event).collect();
        audit::append(
            &vault.folder(&source.cluster),
            &source.cluster,
            &key,
            "operator",
            events,
            clock.now(),
        )?;
        for n in ours() {
            catalogue.resolve(source.cluster.as_str(), &n.alarm, note, clock.now())?;
            let (kind, what) = (n.alarm.kind.name(), plain(&n.alarm.what));
            let _ = writeln!(text, "Resolved: {kind} of {}: {what}", n.cluster);
        }
    }
    Ok(text)
}
