//! `setup`: its arguments and its exit code.

use lifeboat_common::exit::Exit;
use lifeboat_replicator::setup::host::{self, Host, HostError, Report, Role, Wanted};
use std::path::PathBuf;

#[derive(clap::Args)]
pub(crate) struct Setup {
    /// The folder that `lifeboat init` wrote; of it, replicator.toml, receipt.key and ca.pem are read. Without it, what is there
    /// is checked and put right
    #[arg(long, value_name = "DIR")]
    from: Option<PathBuf>,

    /// The credential that reads the primary (Get, List, ListVersions), in the format of ~/.aws/credentials, mode 0600
    #[arg(long, value_name = "FILE")]
    credentials: Option<PathBuf>,

    /// The credential that may put `forgotten/` and `lost/` there
    #[arg(long, value_name = "FILE")]
    marker_credentials: Option<PathBuf>,

    /// The credential that may delete there
    #[arg(long, value_name = "FILE")]
    retain_credentials: Option<PathBuf>,

    /// The credential that may put back what was damaged there
    #[arg(long, value_name = "FILE")]
    heal_credentials: Option<PathBuf>,

    /// One unit for each task, each with its own credentials only, instead of one for all
    #[arg(long, conflicts_with = "together")]
    apart: bool,

    /// One unit for everything; the default of a new host
    #[arg(long)]
    together: bool,

    /// Keep credentials as files that only root reads, instead of sealing them to this machine
    #[arg(long)]
    plain_credentials: bool,

    /// Enable and start nothing
    #[arg(long)]
    no_start: bool,

    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
}

pub(crate) fn run(args: &Setup) -> Result<(Report, Exit), HostError> {
    let files = [
        (Role::Pull, &args.credentials),
        (Role::Marker, &args.marker_credentials),
        (Role::Retain, &args.retain_credentials),
        (Role::Heal, &args.heal_credentials),
    ];
    let apart = match (args.apart, args.together) {
        (true, _) => Some(true),
        (false, true) => Some(false),
        (false, false) => None,
    };
    let wanted = Wanted {
        from: args.from.clone(),
        credentials: files.into_iter().filter_map(|(role, file)| Some((role, file.clone()?))).collect(),
        apart,
        plain: args.plain_credentials,
        start: !args.no_start,
        dry_run: args.dry_run,
    };
    let report = host::run(&Host::this(), &wanted)?;
    let exit = if report.is_ready() { Exit::Done } else { Exit::Partial };
    Ok((report, exit))
}
