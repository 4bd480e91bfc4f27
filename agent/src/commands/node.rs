//! `lifeboat-agent node`: reads the volumes of one node that VolumeBackups name.

use super::controller::{address, ended, listener, namespace};
use anyhow::Context as _;
use lifeboat_agent::health::{self, Health};
use lifeboat_agent::metrics::NodeMetrics;
use lifeboat_agent::node::place::Roots;
use lifeboat_agent::node::{self, Options, sandbox};
use lifeboat_common::clock::SystemClock;
use lifeboat_common::exit::Exit;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Reads the volumes of one node that VolumeBackups name, and stores them.
///
/// It reads each below the kubelet's directory of pods, through the mount that the pod uses, and writes into no file
/// system: at the start it gives up every system call that could. It ends within seconds of SIGTERM, and the next one
/// on this node goes on with what it was reading.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Where the repository is: node.toml, as `lifeboat install` puts it into the Secret; read anew for each volume
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// This node, as the API calls it
    #[arg(long, value_name = "NODE", value_parser = node_name)]
    node: String,
    /// Whose cluster; default: the pod's own, else $KUBECONFIG, else ~/.kube/config
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// A context of the kubeconfig other than the current one
    #[arg(long)]
    context: Option<String>,
    /// Where VolumeBackups and their keys are
    #[arg(long, default_value = "lifeboat-nodes", value_parser = namespace)]
    namespace: String,
    /// The kubelet's directory of pods
    #[arg(long, value_name = "DIR", default_value = "/var/lib/kubelet/pods")]
    pods: PathBuf,
    /// A directory of the node below which volumes of the kind hostPath are (/var/lib/rancher/k3s/storage); may be
    /// given many times. Those elsewhere are missed
    #[arg(long = "host-path", value_name = "DIR", value_parser = absolute)]
    host_paths: Vec<PathBuf>,
    /// Volumes that are read at a time
    #[arg(long, value_name = "NUMBER", default_value_t = 2, value_parser = at_a_time)]
    concurrency: usize,
    /// Where /healthz, /readyz and /metrics are served (:8081, 127.0.0.1:8081); none: they are not
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    listen: Option<SocketAddr>,
}

/// A name of a node is a DNS subdomain (RFC 1123).
fn node_name(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
    if !text.is_empty() && text.len() <= 253 && text.chars().all(fits) {
        return Ok(text.to_owned());
    }
    Err("not the name of a node; take it from the pod's spec.nodeName".to_owned())
}

fn absolute(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    if path.is_absolute() && path.parent().is_some() {
        return Ok(path);
    }
    Err("not an absolute path of a directory below /".to_owned())
}

fn at_a_time(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|n| (1..=16).contains(n));
    number.ok_or_else(|| "not a number from 1 to 16".to_owned())
}

pub(crate) async fn run(args: Args) -> anyhow::Result<Exit> {
    // Before anything else: what comes over the network meets a process that can do little.
    sandbox::install().context("The daemon does not run without its filter of system calls")?;
    let (metrics, health) = (NodeMetrics::new(), Health::new());
    let asked = Arc::new(watch::channel(false).0);
    let mut served = None;
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
        node: args.node,
        roots: Roots { pods: args.pods, host_paths: args.host_paths },
        concurrency: args.concurrency,
        clock: Arc::new(SystemClock),
        metrics,
        health,
    };
    let worked = node::run(&options, ended(&asked)).await;
    asked.send_replace(true);
    if let Some(served) = served {
        let _ = tokio::time::timeout(Duration::from_secs(2), served).await;
    }
    worked?;
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_checked() {
        assert!(node_name("node-1.example.org").is_ok());
        assert!(node_name("").is_err() && node_name("Node").is_err() && node_name("a,b=c").is_err());
        assert!(absolute("/var/lib/storage").is_ok() && absolute("/").is_err() && absolute("a").is_err());
        assert!(at_a_time("2").is_ok() && at_a_time("0").is_err() && at_a_time("17").is_err());
    }
}
