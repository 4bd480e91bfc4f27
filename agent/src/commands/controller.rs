//! `lifeboat-agent controller`: makes the backups that BackupSchedule and Backup objects ask for.

use anyhow::Context as _;
use lifeboat_agent::controller::{self, Options};
use lifeboat_agent::health::{self, Health};
use lifeboat_agent::metrics::Metrics;
use lifeboat_common::clock::SystemClock;
use lifeboat_common::exit::{Exit, UsageError};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// Makes the backups that BackupSchedule and Backup objects ask for, while it holds the lease.
///
/// Any number may run; one leads, the others wait. It ends within seconds of SIGTERM, and the next leader goes on with
/// what it was making.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The agent's configuration, as `lifeboat init` wrote it; what it names is read anew for each backup
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Whose cluster; default: the pod's own, else $KUBECONFIG, else ~/.kube/config
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// A context of the kubeconfig other than the current one
    #[arg(long)]
    context: Option<String>,
    /// Where Lifeboat's objects, its lease and its state are
    #[arg(long, default_value = "lifeboat", value_parser = namespace)]
    namespace: String,
    /// Where /healthz, /readyz and /metrics are served (:8080, 127.0.0.1:8080); none: they are not
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    listen: Option<SocketAddr>,
    /// Seconds after which a leader that no longer answers is replaced
    #[arg(long, value_name = "SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u64).range(5..=120))]
    lease_seconds: u64,
}

pub(super) fn namespace(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let good = !text.is_empty()
        && text.len() <= 63
        && text.chars().all(fits)
        && !text.starts_with('-')
        && !text.ends_with('-');
    if good {
        Ok(text.to_owned())
    } else {
        Err("not a namespace: lower-case letters, digits and -".to_owned())
    }
}

/// `:8080` is every address of this machine.
pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    let whole = if text.starts_with(':') { format!("[::]{text}") } else { text.to_owned() };
    whole.parse().map_err(|_| "not an address: HOST:PORT, or :PORT for every address".to_owned())
}

pub(crate) async fn run(args: Args) -> anyhow::Result<Exit> {
    let (metrics, health) = (Metrics::new(), Health::new());
    let (asked, mut served) = (watch::channel(false).0, None);
    let asked = Arc::new(asked);
    if let Some(address) = args.listen {
        let listener = listener(address).await?;
        let until = ended(&asked);
        served = Some(tokio::spawn(health::serve(listener, health.clone(), metrics.clone(), until)));
    }
    let signals = asked.clone();
    tokio::spawn(async move {
        super::backup::interrupted().await;
        tracing::info!("asked to end");
        signals.send_replace(true);
    });
    let options = Options {
        config: args.config,
        kubeconfig: args.kubeconfig,
        context: args.context,
        namespace: args.namespace,
        me: me(),
        lease: Duration::from_secs(args.lease_seconds),
        clock: Arc::new(SystemClock),
        metrics,
        health,
    };
    let worked = controller::run(&options, ended(&asked)).await;
    asked.send_replace(true);
    if let Some(served) = served {
        let _ = tokio::time::timeout(Duration::from_secs(2), served).await;
    }
    worked?;
    Ok(Exit::Done)
}

pub(super) fn ended(asked: &Arc<watch::Sender<bool>>) -> impl Future<Output = ()> + Send + 'static + use<> {
    let mut changes = asked.subscribe();
    async move {
        let _ = changes.wait_for(|asked| *asked).await;
    }
}

pub(super) async fn listener(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let bound = TcpListener::bind(address).await;
    // Where there is no IPv6, every address is every IPv4 address.
    let bound = match bound {
        Err(_) if address.ip().is_unspecified() && address.is_ipv6() => {
            TcpListener::bind((std::net::Ipv4Addr::UNSPECIFIED, address.port())).await
        }
        bound => bound,
    };
    bound.map_err(|e| UsageError::new(format!("Cannot listen on {address}: {e}"))).context("--listen")
}

/// The pod's name, and something that a restarted container does not share with the one before.
fn me() -> String {
    let host =
        std::env::var("HOSTNAME").ok().filter(|h| !h.is_empty()).unwrap_or_else(|| "controller".to_owned());
    let id: [u8; 4] = lifeboat_format::crypto::random::bytes();
    format!("{host}_{:08x}", u32::from_be_bytes(id))
}
