//! Tests of the parent: what is printed and refused without a cluster.

use super::*;
use crate::commands::init::tests as init;
use crate::{Cli, run};
use clap::Parser as _;
use lifeboat_common::telemetry::Color;
use std::path::Path;

/// A folder of `init`, its Secret as if the repository were in an object store.
async fn folder(dir: &Path) -> PathBuf {
    let args = init::args(dir);
    init::init(&args).await.unwrap();
    edit(&args.out, |text| {
        let line = text.lines().find(|l| l.trim_start().starts_with("repo = ")).unwrap().to_owned();
        text.replace(&line, "    repo = \"s3://bucket/backups\"")
    });
    args.out
}

fn edit(folder: &Path, change: impl Fn(&str) -> String) {
    let path = folder.join(crate::folder::AGENT_SECRET);
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(path, change(&text)).unwrap();
}

async fn install(folder: &Path, more: &[&str]) -> (Result<Exit>, String) {
    let line = ["lifeboat", "install", "--config", folder.to_str().unwrap()];
    let cli = Cli::try_parse_from(line.iter().chain(more)).unwrap();
    let mut out = Vec::new();
    let exit = run(cli.command, &mut Context::new(&mut out, Color::Never)).await;
    (exit, String::from_utf8(out).unwrap())
}

#[tokio::test]
async fn a_dry_run_prints_everything_but_what_is_secret() {
    let dir = tempfile::tempdir().unwrap();
    let folder = folder(dir.path()).await;
    let key = std::fs::read_to_string(folder.join("agent.key")).unwrap();
    let line = key.lines().nth(1).unwrap();
    let (exit, text) =
        install(&folder, &["--dry-run", "--namespace", "backups", "--image", "r.example/x:1"]).await;
    exit.unwrap();
    assert!(!text.contains(line) && !text.contains("agent.key:"), "{text}");
    assert!(text.contains("--show-secrets") && text.contains("r.example/x:1"));
    let documents: Vec<serde_json::Value> =
        text.split("---\n").skip(1).map(|d| serde_saphyr::from_str(d).unwrap()).collect();
    let kinds: Vec<&str> = documents.iter().filter_map(|d| d["kind"].as_str()).collect();
    for kind in [
        "CustomResourceDefinition",
        "Namespace",
        "ClusterRole",
        "NetworkPolicy",
        "Deployment",
        "BackupSchedule",
    ] {
        assert!(kinds.contains(&kind), "{kinds:?}");
    }
    let (exit, text) = install(&folder, &["--dry-run", "--show-secrets"]).await;
    exit.unwrap();
    assert!(text.contains("agent.key:"), "it was asked for");
}

#[tokio::test]
async fn a_folder_that_cannot_be_installed_is_refused_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let folder = folder(dir.path()).await;
    let refused = async |change: &dyn Fn(&str) -> String| {
        let before = std::fs::read_to_string(folder.join(crate::folder::AGENT_SECRET)).unwrap();
        edit(&folder, change);
        let error = install(&folder, &["--dry-run"]).await.0.unwrap_err();
        edit(&folder, |_| before.clone());
        format!("{error:#}")
    };
    let local = refused(&|t| t.replace("s3://bucket/backups", "file:///backups")).await;
    assert!(local.contains("object store"), "{local}");
    let lacking = refused(&|t| t.replace("  agent.key: |", "  other.key: |")).await;
    assert!(lacking.contains("agent.key"), "{lacking}");
    let config_map = refused(&|t| t.replace("kind: Secret", "kind: ConfigMap")).await;
    assert!(config_map.contains("not a Secret"), "{config_map}");
    let broken = refused(&|t| t.replace("stringData:", "stringData: [hunter2")).await;
    assert!(!broken.contains("hunter2"), "{broken}");
    for namespace in ["default", "kube-system", "a.b", ""] {
        let error = install(&folder, &["--dry-run", "--namespace", namespace]).await.0.unwrap_err();
        assert!(error.is::<UsageError>(), "{namespace}: {error}");
    }
    let missing = install(dir.path(), &["--dry-run"]).await.0.unwrap_err();
    assert!(format!("{missing:#}").contains("agent-secret.yaml"), "{missing:#}");
}

#[test]
fn the_store_s_port_is_read_from_its_url() {
    for (url, port) in [
        ("http://10.0.0.1:7070", Some(7070)),
        ("https://s3.example.org/x", Some(443)),
        ("http://s3.example.org", Some(80)),
        ("https://[fd00::1]:9000", Some(9000)),
        ("https://[fd00::1]", Some(443)),
        ("https://user@host:81/", Some(81)),
        ("nonsense", None),
    ] {
        assert_eq!(port_of(url), port, "{url}");
    }
}
