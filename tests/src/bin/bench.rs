//! `lifeboat-bench`: the plain concurrent client that a restore is measured against. Creates objects as fast as the
//! API server takes them and prints how many a second. Knows nothing of backups.

use clap::Parser;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use lifeboat_agent::cluster::{Cluster, ConnectOptions};
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Instant;

/// Creates namespaces with ConfigMaps and Secrets of a size, half of each.
#[derive(Parser)]
struct Args {
    #[arg(long)]
    kubeconfig: PathBuf,
    #[arg(long, default_value_t = 20)]
    namespaces: usize,
    /// In all.
    #[arg(long, default_value_t = 10_000)]
    objects: usize,
    /// Bytes of data in each.
    #[arg(long, default_value_t = 1_000)]
    size: usize,
    #[arg(long, default_value_t = 32)]
    in_flight: usize,
    #[arg(long, default_value = "bench")]
    prefix: String,
    /// Only ConfigMaps.
    #[arg(long)]
    no_secrets: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let cluster = Cluster::connect(Some(&args.kubeconfig), None, ConnectOptions::default()).await?;
    let namespace = |i: usize| format!("{}-{:03}", args.prefix, i % args.namespaces);
    for i in 0..args.namespaces {
        let body =
            serde_json::json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace(i)}});
        create(&cluster, "/api/v1/namespaces".to_owned(), body.to_string()).await?;
    }
    let started = Instant::now();
    let creates = (0..args.objects).map(|i| {
        let secret = !args.no_secrets && i / args.namespaces % 2 == 1;
        let (kind, plural, field) =
            if secret { ("Secret", "secrets", "stringData") } else { ("ConfigMap", "configmaps", "data") };
        let text: String =
            (0..args.size.div_ceil(16)).map(|j| format!("{:016x}", noise(i * 65_536 + j))).collect();
        let body = serde_json::json!({
            "apiVersion": "v1", "kind": kind,
            "metadata": {"name": format!("o-{i:06}"), "labels": {"app": "bench", "n": (i % 7).to_string()}},
            field: {"value": text},
        });
        create(&cluster, format!("/api/v1/namespaces/{}/{plural}", namespace(i)), body.to_string())
    });
    stream::iter(creates).buffer_unordered(args.in_flight).try_collect::<Vec<()>>().await?;
    let seconds = started.elapsed().as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let rate = args.objects as f64 / seconds;
    writeln!(
        std::io::stdout(),
        "{{\"objects\": {}, \"seconds\": {seconds:.3}, \"per_second\": {rate:.0}}}",
        args.objects
    )?;
    Ok(())
}

async fn create(cluster: &Cluster, path: String, body: String) -> anyhow::Result<()> {
    let request =
        http::Request::post(&path).header("Content-Type", "application/json").body(body.into_bytes())?;
    let response = cluster.client().send(request.map(Into::into)).await?;
    anyhow::ensure!(response.status().is_success(), "POST {path}: {}", response.status());
    let mut body = response.into_body();
    // The connection is free again only when the answer was read.
    while let Some(frame) = http_body_util::BodyExt::frame(&mut body).await {
        frame?;
    }
    Ok(())
}

/// Text that does not compress well, the same every time.
fn noise(seed: usize) -> u64 {
    let mut x = seed as u64 + 1;
    for _ in 0..4 {
        x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    }
    x
}
