//! `http`: shows health, metrics and the status page until it is stopped.

use anyhow::Context as _;
use lifeboat_common::clock::Clock;
use lifeboat_common::exit::{Exit, UsageError};
use lifeboat_replicator::http::{self, Shown};
use lifeboat_replicator::setup;
use sd_notify::NotifyState;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;

#[derive(clap::Args)]
pub(crate) struct Http {
    /// Address and port to listen on, instead of `http.listen` of the configuration
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
}

/// Between two looks that are for the watchdog only.
const PACE: Duration = Duration::from_secs(20);

pub(crate) async fn http(path: &Path, args: &Http, clock: Arc<dyn Clock>) -> anyhow::Result<Exit> {
    let config = setup::load(path)?;
    let Some(address) = args.listen.or(config.http.listen) else {
        let why = format!(
            "{} does not say where to listen; add [http] listen = \"127.0.0.1:9464\", or give --listen",
            path.display()
        );
        return Err(UsageError::new(why).into());
    };
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("Cannot listen on {address}; give another address to http.listen"))?;
    let address = listener.local_addr().context("Cannot read the address that is listened on")?;
    let shown = Shown::new(path.to_owned(), clock);
    let watchdog = tokio::spawn(watch_over(Arc::clone(&shown)));
    notify(&[NotifyState::Ready, NotifyState::Status(&format!("listening on {address}"))]);
    tracing::info!(%address, "Listening");
    let stop = async {
        if let Err(error) = crate::stop().await {
            tracing::error!(%error, "Cannot listen for signals");
        }
        notify(&[NotifyState::Stopping]);
    };
    let served = http::serve(listener, shown, stop).await;
    watchdog.abort();
    served.context("Cannot listen any more")?;
    Ok(Exit::Done)
}

/// Feeds the watchdog only when a look at catalogue and vault came to an end.
async fn watch_over(shown: Arc<Shown>) {
    let Some(limit) = sd_notify::watchdog_enabled() else { return };
    loop {
        shown.look().await;
        notify(&[NotifyState::Watchdog]);
        tokio::time::sleep((limit / 4).min(PACE)).await;
    }
}

/// Without a service manager nobody listens, and that is fine.
fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "Could not notify the service manager");
    }
}
