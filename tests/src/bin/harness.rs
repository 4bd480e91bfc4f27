//! `lifeboat-harness`: starts and ends clusters and S3 servers that stay, by name. Only reads its arguments and
//! prints; what it does is in the library.

use clap::{Parser, Subcommand};
use lifeboat_tests::harness::image::{Image, REDIS};
use lifeboat_tests::harness::standing::{self, Kind};
use lifeboat_tests::harness::{Slow, dns};
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Real clusters and S3 servers on this machine, to try things with.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Starts a cluster, or finds the one that runs; the last two lines are KUBECONFIG= and KUBECTL=.
    Up {
        #[arg(long, default_value = "lifeboat")]
        name: String,
        /// With a node that runs pods (needs root).
        #[arg(long)]
        node: bool,
    },
    /// Ends a cluster and removes everything it wrote.
    Down {
        #[arg(long, default_value = "lifeboat")]
        name: String,
    },
    /// Makes an image known to the node of a cluster that runs.
    Load {
        #[arg(long, default_value = "lifeboat")]
        name: String,
        archive: PathBuf,
    },
    /// Writes an image with a database (redis), for a node.
    Redis { archive: PathBuf },
    /// A name server, for pods; ends with its owner.
    Dns {
        #[arg(long)]
        listen: SocketAddr,
        /// NAME=ADDRESS
        #[arg(value_parser = dns::record)]
        records: Vec<(String, Ipv4Addr)>,
    },
    /// A server as if it were far away: ADDRESS= is where it is reached. Ends when standard input does, or after an hour.
    Slow {
        #[arg(long)]
        server: SocketAddr,
        /// Milliseconds of a round trip.
        #[arg(long)]
        ms: u64,
    },
    /// An S3 server with a bucket.
    S3 {
        #[command(subcommand)]
        command: S3,
    },
}

#[derive(Subcommand)]
enum S3 {
    /// Starts one, or finds the one that runs; the last three lines are ENDPOINT=, CREDENTIALS= and BUCKET=.
    Up {
        #[arg(long, default_value = "lifeboat")]
        name: String,
        /// Beside the node of a running cluster, where its pods reach it; it ends with that node.
        #[arg(long, value_name = "CLUSTER")]
        beside: Option<String>,
    },
    /// Ends one and removes everything it stored.
    Down {
        #[arg(long, default_value = "lifeboat")]
        name: String,
    },
}

fn main() -> ExitCode {
    match act(&Cli::parse().command) {
        Ok(text) => {
            // A reader that went away is no failure of what was started.
            let _closed = std::io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Err(error) => {
            let _closed = writeln!(std::io::stderr(), "lifeboat-harness: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn act(command: &Command) -> anyhow::Result<String> {
    match command {
        Command::Up { name, node: false } => up(&Kind::Cluster, name, "cluster"),
        Command::Up { name, node: true } => up(&Kind::Node, name, "cluster with a node"),
        Command::Load { name, archive } => {
            standing::load_image(name, archive)?;
            Ok(format!("The node of {name} has the image.\n"))
        }
        Command::Redis { archive } => {
            Image::redis(REDIS)?.write(archive)?;
            Ok(format!("The image {REDIS} is written.\n"))
        }
        Command::Dns { listen, records } => {
            dns::serve(*listen, &records.iter().cloned().collect())?;
            Ok(String::new())
        }
        Command::Slow { server, ms } => slow(*server, Duration::from_millis(*ms)),
        Command::Down { name } => down(&Kind::Cluster, name, "cluster"),
        Command::S3 { command: S3::Up { name, beside } } => {
            up(&Kind::S3 { beside: beside.clone() }, name, "S3 server")
        }
        Command::S3 { command: S3::Down { name } } => down(&Kind::S3 { beside: None }, name, "S3 server"),
    }
}

fn slow(server: SocketAddr, round_trip: Duration) -> anyhow::Result<String> {
    let slow = Slow::before(server, round_trip)?;
    let mut out = std::io::stdout();
    writeln!(out, "ADDRESS={}", slow.address())?;
    out.flush()?;
    let (ended, end) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let _gone = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        let _gone = ended.send(());
    });
    let _ended = end.recv_timeout(Duration::from_secs(3600));
    Ok(String::new())
}

fn up(kind: &Kind, name: &str, what: &str) -> anyhow::Result<String> {
    let started = std::time::Instant::now();
    let standing = standing::up(kind, name)?;
    let how = if standing.fresh {
        format!("started in {:.1} s", started.elapsed().as_secs_f32())
    } else {
        "runs already".to_owned()
    };
    Ok(format!(
        "The {what} {name} {how}; its logs are in {}\n{}\n",
        standing.folder.join("log").display(),
        standing.lines.join("\n")
    ))
}

fn down(kind: &Kind, name: &str, what: &str) -> anyhow::Result<String> {
    Ok(match standing::down(kind, name)? {
        0 => format!("No {what} {name} ran.\n"),
        ended => format!("The {what} {name} is gone ({ended} processes ended).\n"),
    })
}
