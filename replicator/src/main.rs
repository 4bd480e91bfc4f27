//! `lifeboat-replicator`: the command line. Thin: reads arguments, calls the library, prints, chooses the exit code.

mod commands;

use anyhow::Context as _;
use clap::{Args, CommandFactory as _, Parser, Subcommand};
use futures::{StreamExt as _, stream};
use lifeboat_common::clock::{Clock, SystemClock};
use lifeboat_common::config::ReplicatorConfig;
use lifeboat_common::exit::{Exit, told_once};
use lifeboat_common::progress::Mode;
use lifeboat_common::telemetry::{self, Base, LogArgs, LogFormat};
use lifeboat_replicator::catalog::Catalogue;
use lifeboat_replicator::daemon::Does;
use lifeboat_replicator::replicate::{Outcome, Replicator, recover};
use lifeboat_replicator::setup::host::HostError;
use lifeboat_replicator::setup::{self, Options, SetupError};
use lifeboat_replicator::source::Source;
use lifeboat_replicator::vault::MinFree;
use lifeboat_replicator::{check, daemon, status};
use serde::Serialize;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

const ABOUT: &str = "Pulls backups of Kubernetes clusters off-site, verifies them without being able to read them, keeps them";

const HELP: &str = "\
The replicator runs on a host outside the clusters. It reads each cluster's primary store with a credential of its own, \
checks every byte against the owner's key, and keeps what is sound in a vault, a local directory. It holds no key that \
opens a snapshot, and nothing that happens in a cluster or in a primary deletes what it has.

Exit codes: 0 all is well; 1 something failed; 2 called or configured wrongly; 3 done, and an alarm is open (see `status`).";

const EXAMPLES: &str = "\
Examples:
  lifeboat-replicator check-config --config /etc/lifeboat/replicator.toml
  lifeboat-replicator pull --once --config out/replicator.toml
  lifeboat-replicator status --json | jq '.clusters[].alarms'
  systemctl enable --now lifeboat-replicator";

#[derive(Parser)]
#[command(version, about = ABOUT, long_about = format!("{ABOUT}.\n\n{HELP}"), after_help = EXAMPLES)]
struct Cli {
    /// The configuration, as `lifeboat init` wrote it
    #[arg(short, long, global = true, value_name = "FILE", default_value = "/etc/lifeboat/replicator.toml")]
    config: PathBuf,

    /// Print JSON on standard output, and progress and logs as one JSON object a line on standard error
    #[arg(long, global = true)]
    json: bool,

    #[command(flatten)]
    log: LogArgs,

    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Pull what is new from every source; again and again, unless --once is given
    ///
    /// Lists what is new, verifies owner, charter, signature, chain and every object's hash while it streams to disk, and
    /// commits each snapshot as a whole: the newest first, then the past. Killed at any moment, the next pull goes on
    /// from there. A damaged or missing object is an alarm that names it; everything else is still pulled.
    #[command(
        after_help = "Examples:\n  lifeboat-replicator pull --once\n  lifeboat-replicator pull --once --cluster prod --min-free 20GiB"
    )]
    Pull {
        /// One pull of every source, then exit (3 when an alarm is open)
        #[arg(long)]
        once: bool,
        #[command(flatten)]
        pull: PullArgs,
    },
    /// Run as a service: everything that this version does, by the schedule of the configuration
    ///
    /// Pulls every source, and once a day forgets what the policy does not keep.
    ///
    /// Meant for systemd (Type=notify): says when it is ready and what it does, feeds the watchdog while something moves
    /// or nothing is due, stops within seconds on SIGTERM, reads the configuration again on SIGHUP.
    Run {
        #[command(flatten)]
        pull: PullArgs,
    },
    /// Show what the vault holds of each cluster, and the open alarms
    ///
    /// Reads the catalogue only, so it works while a pull runs. Exits with 3 when an alarm is open.
    Status,
    /// Forget what the policy does not keep, and delete what nothing needs any more
    ///
    /// Keeps by the charter's policy, with the overrides of `retention` in the configuration: the first snapshot of each
    /// day, week, month and year keeps its place whatever comes after it. A forgotten snapshot can be brought back with
    /// `undo` for a week; then the packs that only it needs are deleted. An open anomaly, a clock that jumped or a policy
    /// that keeps less stops it until a person agrees (exit code 3).
    #[command(
        after_help = "Examples:\n  lifeboat-replicator retain --dry-run\n  lifeboat-replicator retain --agree policy"
    )]
    Retain(commands::retain::Retain),
    /// Read everything that lies in the vault again, what was verified longest ago first
    ///
    /// Needs no network. What is bad is read once more, set aside in `damaged/`, and fetched again by the next pull. Runs as
    /// a service, unless --once or --all is given.
    #[command(
        after_help = "Examples:\n  lifeboat-replicator scrub --once\n  lifeboat-replicator scrub --all --rate 0 --json"
    )]
    Scrub(commands::scrub::Scrub),
    /// Put back in the primary what was damaged or lost there, from the vault
    ///
    /// Needs the credential of [source.heal], which may write and delete. Without it, packs are marked as lost with that of
    /// [source.marker], and the agent stores their content again. Exits with 3 when something could not be healed.
    Heal(commands::heal::Heal),
    /// Show health, metrics and the status page over HTTP, until it is stopped
    ///
    /// Reads the catalogue and small files of the vault, writes nothing, needs no credential of a store. Listens only where
    /// it is told to: `/` the status page, `/metrics` for Prometheus, `/healthz` and `/readyz`. Whoever reaches it reads the
    /// names of clusters and alarms: put a proxy that asks who they are before it where that matters.
    #[command(after_help = "Examples:\n  lifeboat-replicator http --listen 127.0.0.1:9464")]
    Http(commands::http::Http),
    /// Tell people of alarms and of their end, by the channels of `[notify]`, until it is stopped
    ///
    /// `run` does it, too; this is for installations with one unit each. While all is well, and only then, the heartbeat's
    /// URL is asked for.
    #[command(
        after_help = "Examples:\n  lifeboat-replicator notify --test\n  lifeboat-replicator notify --once"
    )]
    Notify(commands::notify::Notify),
    /// Keep a snapshot whatever the policy says
    Hold {
        #[command(flatten)]
        one: commands::retain::One,
        /// Why, for those who come after
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// Let go of a snapshot that is held
    Unhold(commands::retain::One),
    /// Bring back a snapshot that the retention forgot, before its packs are deleted
    Undo(commands::retain::Undo),
    /// Open alarms: list, show, resolve
    #[command(subcommand)]
    Alarm(commands::alarm::Command),
    /// The audit log in the vault: every acceptance, refusal, decision, deletion and word of a person
    #[command(subcommand)]
    Audit(commands::audit::Command),
    /// Try everything that a pull needs: configuration, vault, each source, owner, charter and keys
    CheckConfig {
        #[command(flatten)]
        pull: PullArgs,
    },
    /// Make this host ready for the services, from what `lifeboat init` wrote
    ///
    /// Makes the user and the folders, adds the cluster to /etc/lifeboat/replicator.toml, puts the receipt key and the
    /// credentials where systemd hands them to the units that need them (sealed to this machine where it can), tries
    /// everything as the services' user, enables and starts them, and says what is left to do. Run again it changes only
    /// what differs; without --from it checks what is there. Exits with 3 when what it tried does not work.
    #[command(
        after_help = "Examples:\n  lifeboat-replicator setup --from out --credentials reader --dry-run\n  lifeboat-replicator setup --from out --credentials reader --apart"
    )]
    Setup(commands::setup::Setup),
    /// Print completions for a shell
    ///
    /// For bash: `lifeboat-replicator completions bash > /etc/bash_completion.d/lifeboat-replicator`
    Completions(commands::completions::Completions),
    /// Write manual pages into a folder
    #[command(hide = true)]
    Man(commands::man::Man),
    /// Write the catalogue anew from the vault's files
    ///
    /// The catalogue only says quicker what the files say. Open alarms are forgotten; those whose cause is still there
    /// come back with the next pull.
    RebuildCatalogue,
}

#[derive(Args, Default)]
struct PullArgs {
    /// Only this cluster (may be repeated)
    #[arg(long = "cluster", value_name = "NAME")]
    clusters: Vec<String>,

    /// Stop pulling before less of the vault's disk is free, such as 10% or 20GiB [default: 5%, at most 1GiB]
    #[arg(long, value_name = "SIZE")]
    min_free: Option<MinFree>,
}

impl PullArgs {
    fn options(&self) -> Options {
        Options { min_free: self.min_free }
    }
}

fn main() -> ExitCode {
    // The units share a user: none of them is to look into another's memory, where its credentials are.
    let _old_kernels_know_it_too =
        rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
    let mut cli = Cli::parse();
    if cli.json {
        cli.log.log_format = LogFormat::Json;
    }
    telemetry::init(&cli.log, Base::Info);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&anyhow::Error::new(error).context("Cannot start the threads")),
    };
    let result = runtime.block_on(dispatch(&cli));
    // A thread that hangs on a dead disk must not keep a service from stopping.
    runtime.shutdown_timeout(Duration::from_secs(5));
    match result {
        Ok(exit) => exit.into(),
        Err(error) => {
            if cli.json {
                tracing::error!(error = told_once(error.chain()), "Failed");
                return code(&error);
            }
            fail(&error)
        }
    }
}

fn fail(error: &anyhow::Error) -> ExitCode {
    // Nobody is left to tell when this fails.
    let _ = writeln!(std::io::stderr(), "Error: {}", told_once(error.chain()));
    code(error)
}

fn code(error: &anyhow::Error) -> ExitCode {
    let usage = error.downcast_ref::<SetupError>().is_some_and(SetupError::is_usage)
        || error.downcast_ref::<HostError>().is_some_and(HostError::is_usage)
        || error.is::<lifeboat_common::exit::UsageError>();
    if usage { Exit::Usage.into() } else { Exit::Failed.into() }
}

async fn dispatch(cli: &Cli) -> anyhow::Result<Exit> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    match &cli.command {
        Command::Pull { once: true, pull } => pull_once(cli, pull, clock).await,
        Command::Pull { pull, .. } => serve(Does::Pull, cli, pull, clock).await,
        Command::Run { pull } => serve(Does::Everything, cli, pull, clock).await,
        Command::Status => show_status(cli, &*clock),
        Command::Retain(args) => {
            let (document, text, exit) =
                commands::retain::retain(setup::load(&cli.config)?, args, clock).await?;
            print(cli, &document, &text)?;
            Ok(exit)
        }
        Command::Scrub(args) => {
            let (report, exit) =
                commands::scrub::scrub(&cli.config, args, Mode::choose(cli.json), clock).await?;
            if let Some(report) = report {
                print(cli, &report, &report.text())?;
            }
            Ok(exit)
        }
        Command::Heal(args) => {
            let (document, text, exit) = commands::heal::heal(setup::load(&cli.config)?, args, clock).await?;
            print(cli, &document, &text)?;
            Ok(exit)
        }
        Command::Http(args) => commands::http::http(&cli.config, args, clock).await,
        Command::Notify(args) => {
            let (report, text, exit) = commands::notify::notify(&cli.config, args, clock).await?;
            if let Some(report) = report {
                print(cli, &report, &text)?;
            }
            Ok(exit)
        }
        Command::Hold { one, reason } => {
            let done = commands::retain::hold(setup::load(&cli.config)?, one, Some(reason), &*clock)?;
            say(&done)
        }
        Command::Unhold(one) => say(&commands::retain::hold(setup::load(&cli.config)?, one, None, &*clock)?),
        Command::Undo(one) => say(&commands::retain::undo(setup::load(&cli.config)?, one, &*clock)?),
        Command::Audit(command) => {
            let (document, text, exit) = commands::audit::run(&setup::load(&cli.config)?, command, &*clock)?;
            print(cli, &document, &text)?;
            Ok(exit)
        }
        Command::Alarm(command) => {
            let (document, text, exit) = commands::alarm::run(&setup::load(&cli.config)?, command, &*clock)?;
            print(cli, &document, &text)?;
            Ok(exit)
        }
        Command::CheckConfig { pull } => {
            let report = check::run(&cli.config, pull.options(), clock).await;
            print(cli, &report, &report.text())?;
            Ok(match (report.ok, report.usage) {
                (true, _) => Exit::Done,
                (false, true) => Exit::Usage,
                (false, false) => Exit::Failed,
            })
        }
        Command::Setup(args) => {
            let (report, exit) = commands::setup::run(args)?;
            print(cli, &report, &report.text())?;
            Ok(exit)
        }
        Command::Completions(args) => say(&commands::completions::text(args, Cli::command())?),
        Command::Man(args) => {
            commands::man::write(args, Cli::command())?;
            Ok(Exit::Done)
        }
        Command::RebuildCatalogue => rebuild_catalogue(cli, clock).await,
    }
}

fn say(text: &str) -> anyhow::Result<Exit> {
    std::io::stdout().lock().write_all(text.as_bytes()).context("Cannot write to standard output")?;
    Ok(Exit::Done)
}

fn print(cli: &Cli, document: &impl Serialize, text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    let written = if cli.json {
        let json = serde_json::to_string_pretty(document).context("Cannot write JSON")?;
        writeln!(out, "{json}")
    } else {
        write!(out, "{text}")
    };
    written.context("Cannot write to standard output")
}

async fn open(
    cli: &Cli,
    config: &ReplicatorConfig,
    pull: &PullArgs,
    clock: Arc<dyn Clock>,
    mode: Mode,
) -> anyhow::Result<(Replicator, Vec<Arc<Source>>)> {
    let mut sources = setup::sources(config, &clock).await?;
    for name in &pull.clusters {
        if !sources.iter().any(|s| s.cluster.as_str() == name) {
            let why = format!("{} has no [[source]] of cluster '{name}'", cli.config.display());
            return Err(lifeboat_common::exit::UsageError::new(why).into());
        }
    }
    sources
        .retain(|s| pull.clusters.is_empty() || pull.clusters.iter().any(|name| s.cluster.as_str() == name));
    // Several bars at a time only garble each other.
    let mode = if sources.len() > 1 && mode == Mode::Bar { Mode::Lines } else { mode };
    Ok((setup::open(config, pull.options(), clock, mode)?, sources))
}

/// What `pull --once` prints.
#[derive(Serialize)]
struct Summary {
    schema: &'static str,
    sources: Vec<SourceSummary>,
}

#[derive(Serialize)]
struct SourceSummary {
    cluster: String,
    snapshots: u64,
    pending: u64,
    packs: u64,
    bytes: u64,
    seconds: f64,
    error: Option<String>,
    alarms: Vec<lifeboat_replicator::alarm::Alarm>,
}

async fn pull_once(cli: &Cli, pull: &PullArgs, clock: Arc<dyn Clock>) -> anyhow::Result<Exit> {
    let config = setup::load(&cli.config)?;
    let (replicator, sources) = open(cli, &config, pull, clock, Mode::choose(cli.json)).await?;
    let pulls = stream::iter(&sources)
        .map(|source| async {
            let began = Instant::now();
            let outcome = replicator.pull(source).await;
            daemon::log(&outcome, began.elapsed());
            summary(outcome, began.elapsed())
        })
        .buffered(4)
        .collect::<Vec<_>>();
    let sources = tokio::select! {
        done = pulls => done,
        () = daemon::publish(replicator.clone()) => anyhow::bail!("The task that writes down the progress ended"),
        stopped = stop() => {
            stopped.context("Cannot listen for signals")?;
            anyhow::bail!("Stopped before the pull was done; the next one goes on from here");
        }
    };
    // None is under way any more. That it cannot be written down has been said by the pull.
    drop(replicator.catalogue.set_transfers(&[], replicator.clock.now()));
    let exit = if sources.iter().any(|s| s.error.is_some()) {
        Exit::Failed
    } else if sources.iter().any(|s| !s.alarms.is_empty()) {
        Exit::Partial
    } else {
        Exit::Done
    };
    let text: String = sources.iter().map(SourceSummary::text).collect();
    print(cli, &Summary { schema: "lifeboat/pull/1", sources }, &text)?;
    Ok(exit)
}

pub(crate) async fn stop() -> std::io::Result<()> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted,
        _ = terminate.recv() => Ok(()),
    }
}

fn summary(outcome: Outcome, took: Duration) -> SourceSummary {
    let Outcome { cluster, snapshots, packs, bytes, pending, error, alarms } = outcome;
    let error = error.map(|e| e.to_string());
    SourceSummary { cluster, snapshots, pending, packs, bytes, seconds: took.as_secs_f64(), error, alarms }
}

impl SourceSummary {
    fn text(&self) -> String {
        let mut text = format!(
            "{}: {} new snapshots, {} packs, {} in {:.1} s",
            self.cluster,
            self.snapshots,
            self.packs,
            status::size(self.bytes),
            self.seconds
        );
        if self.pending > 0 {
            text.push_str(&format!("; {} incomplete", self.pending));
        }
        if let Some(error) = &self.error {
            text.push_str(&format!("; failed: {error}"));
        }
        text.push('\n');
        for a in &self.alarms {
            text.push_str(&format!(
                "  ALARM {}: {}: {}; {}\n",
                a.kind.name(),
                status::plain(&a.what),
                status::plain(&a.why),
                a.next
            ));
        }
        text
    }
}

async fn serve(does: Does, cli: &Cli, pull: &PullArgs, clock: Arc<dyn Clock>) -> anyhow::Result<Exit> {
    let mode = if cli.json { Mode::Events } else { Mode::Lines };
    // Read once: a file that changes meanwhile must not leave the daemon with two opinions of what is in force.
    let config = setup::load(&cli.config)?;
    let (replicator, sources) = open(cli, &config, pull, clock, mode).await?;
    daemon::run(does, cli.config.clone(), config, replicator, sources).await?;
    Ok(Exit::Done)
}

fn show_status(cli: &Cli, clock: &dyn Clock) -> anyhow::Result<Exit> {
    let config = setup::load(&cli.config)?;
    let status = status::gather(&config, clock.now())?;
    print(cli, &status, &status.text())?;
    Ok(if status.has_alarms() { Exit::Partial } else { Exit::Done })
}

async fn rebuild_catalogue(cli: &Cli, clock: Arc<dyn Clock>) -> anyhow::Result<Exit> {
    let config = setup::load(&cli.config)?;
    let sources = setup::sources(&config, &clock).await?;
    let (catalogue, vault) = setup::new_catalogue(&config, &*clock)?;
    let mut damaged = false;
    let mut text = String::new();
    for source in &sources {
        let findings = recover::rebuild(&vault.folder(&source.cluster), &catalogue, source)?;
        for f in &findings {
            catalogue.raise(source.cluster.as_str(), f, clock.now())?;
            text.push_str(&format!("  ALARM {}: {}: {}; {}\n", f.kind.name(), f.what, f.why, f.next));
        }
        damaged |= !findings.is_empty();
        let totals = catalogue.totals(source.cluster.as_str())?;
        text.push_str(&format!(
            "{}: {} snapshots, {} packs\n",
            source.cluster, totals.snapshots, totals.packs
        ));
    }
    let configured: Vec<String> = sources.iter().map(|s| s.cluster.to_string()).collect();
    print(cli, &status::read(&catalogue as &Catalogue, &configured, clock.now())?, &text)?;
    Ok(if damaged { Exit::Partial } else { Exit::Done })
}
