//! What setup would do, on files below a folder; that it does it is tested on a real systemd.

use super::*;
use lifeboat_format::crypto::sign::SigningKey;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

struct Site {
    folder: tempfile::TempDir,
}

fn put(path: &Path, text: &str, mode: u32) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

const OWNER: &str = "ed25519:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

fn made(cluster: &str, vault: &str) -> String {
    format!(
        "vault = \"{vault}\"\n[[source]]\ncluster = \"{cluster}\"\nrepo = \"s3://box/backups\"\nowner = \"{OWNER}\"\n\
         receipt_key = \"receipt.key\"\n[source.s3]\nendpoint = \"https://s3.example.com\"\nca_file = \"ca.pem\"\n"
    )
}

impl Site {
    fn new() -> Self {
        let site = Self { folder: tempfile::tempdir().unwrap() };
        for unit in ["lifeboat-replicator.service", "lifeboat-replicator-pull.service"] {
            put(&site.path("host/usr/lib/systemd/system").join(unit), "", 0o644);
        }
        for name in ["retain", "scrub"] {
            for kind in ["service", "timer"] {
                let unit = format!("lifeboat-replicator-{name}.{kind}");
                put(&site.path("host/usr/lib/systemd/system").join(unit), "", 0o644);
            }
        }
        put(&site.path("host/usr/bin/lifeboat-replicator"), "", 0o755);
        site.made("prod", "file:///var/lib/lifeboat/vault");
        put(
            &site.path("reader"),
            "[default]\naws_access_key_id = A\naws_secret_access_key = hunter2\n",
            0o600,
        );
        site
    }

    fn made(&self, cluster: &str, vault: &str) {
        let key = SigningKey::to_pem(&SigningKey::generate());
        put(&self.path(cluster).join("receipt.key"), &key, 0o600);
        put(&self.path(cluster).join("ca.pem"), "an authority", 0o644);
        put(&self.path(cluster).join("replicator.toml"), &made(cluster, vault), 0o600);
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn plan(&self, cluster: Option<&str>, roles: &[Role]) -> Result<Report, HostError> {
        let credentials = roles.iter().map(|role| (*role, self.path("reader"))).collect();
        let from = cluster.map(|c| self.path(c));
        let wanted = Wanted { from, credentials, plain: true, start: true, dry_run: true, apart: None };
        run(&Host::below(&self.path("host")), &wanted)
    }
}

#[test]
fn a_dry_run_says_all_of_it_and_changes_nothing() {
    let site = Site::new();
    put(&site.path("prod/identity.txt"), "x", 0o600);
    let report = site.plan(Some("prod"), &[Role::Pull]).unwrap();
    let text = report.text();
    for words in [
        "would do  user and group lifeboat",
        "would do  folders /var/lib/lifeboat, ",
        "would do  configuration /etc/lifeboat/replicator.toml",
        "authorities of the store /etc/lifeboat/ca-prod.pem",
        "credential receipt-prod.key, for root alone: /etc/credstore/lifeboat.receipt-prod.key",
        "credential s3-prod, ",
        "lifeboat-replicator.service.d/50-lifeboat-setup.conf",
        "lifeboat-replicator.service is enabled and runs",
        "identity.txt in ",
        "mount one of its own there",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert!(!text.contains("hunter2"), "{text}");
    assert!(!site.path("host/etc").exists() && !site.path("host/var").exists());
}

#[test]
fn the_configuration_is_added_to_and_never_changed() {
    let site = Site::new();
    let config = |name: &str| {
        let made = std::fs::read_to_string(site.path(name).join("replicator.toml")).unwrap();
        toml::from_str::<lifeboat_common::config::ReplicatorConfig>(&made).unwrap()
    };
    let (path, pull) = (Path::new(CONFIG), [Role::Pull].into());
    let (first, _) = wanted::merged(None, Some(&config("prod")), &pull, path).unwrap();
    assert!(first.contains("receipt_key = \"receipt-prod.key\"") && first.contains("\"s3-prod\""), "{first}");
    let mine = first.replace("poll_seconds = 300", "poll_seconds = 60 # mine");
    let (again, _) = wanted::merged(Some(&mine), Some(&config("prod")), &pull, path).unwrap();
    assert_eq!(again, mine);

    let roles = [Role::Pull, Role::Marker, Role::Retain].into();
    let (more, said) = wanted::merged(Some(&mine), Some(&config("prod")), &roles, path).unwrap();
    assert!(
        more.contains("# mine") && more.contains("[source.retain]\ncredentials_file = \"s3-prod-retain\""),
        "{more}"
    );
    assert_eq!(
        wanted::secrets(&said, &Role::ALL),
        ["receipt-prod.key", "s3-prod", "s3-prod-marker", "s3-prod-retain"]
    );
    assert_eq!(wanted::secrets(&said, &[Role::Pull]), ["receipt-prod.key", "s3-prod"]);

    site.made("test", "file:///elsewhere");
    let (two, said) = wanted::merged(Some(&more), Some(&config("test")), &pull, path).unwrap();
    assert!(two.starts_with(more.trim_end()), "{two}");
    assert_eq!(said.sources.len(), 2);
    assert_eq!(said.vault, config("prod").vault, "the vault of a host is what it was");

    let moved = mine.replace("s3://box/backups", "s3://other/backups");
    let refused = wanted::merged(Some(&moved), Some(&config("prod")), &pull, path).unwrap_err();
    assert!(refused.to_string().contains("another repo for cluster prod"), "{refused}");
}

#[test]
fn what_cannot_work_is_said_before_anything_is_changed() {
    let site = Site::new();
    let says = |result: Result<Report, HostError>, words: &str| {
        let error = result.unwrap_err();
        assert!(error.is_usage() && error.to_string().contains(words), "{words}: {error}");
    };
    says(site.plan(None, &[]), "--from DIR");
    says(site.plan(None, &[Role::Retain]), "--retain-credentials needs --from");
    says(site.plan(Some("absent"), &[]), "replicator.toml");
    put(&site.path("reader"), "nothing of that kind", 0o600);
    says(site.plan(Some("prod"), &[Role::Pull]), "aws_access_key_id");
    put(&site.path("reader"), "aws_access_key_id aws_secret_access_key", 0o644);
    says(site.plan(Some("prod"), &[Role::Pull]), "chmod 600");
    put(&site.path("prod/receipt.key"), "no key", 0o600);
    says(site.plan(Some("prod"), &[]), "receipt.key");
    for vault in ["file:///home/me/vault", "file:///srv/a b"] {
        site.made("prod", vault);
        says(site.plan(Some("prod"), &[]), "choose one below /srv");
    }
    site.made("prod", "file:///srv/vault");
    let text = site.plan(Some("prod"), &[]).unwrap().text();
    assert!(text.contains("/etc/tmpfiles.d/lifeboat-setup.conf"), "{text}");
    assert!(text.contains("no credential to read its primary"), "{text}");
    std::fs::remove_file(site.path("host/usr/bin/lifeboat-replicator")).unwrap();
    says(site.plan(Some("prod"), &[]), "install the package");
}
