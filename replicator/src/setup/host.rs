//! `setup`: makes a host ready for the services from what `lifeboat init` wrote. Owns which steps there are and their order; each
//! is left out where its result is there, so another run changes nothing. Makes no key and asks no store.

mod secrets;
mod steps;
mod text;
mod tools;
mod wanted;

pub use tools::Host;

use lifeboat_common::config::ConfigError;
use lifeboat_common::keys::KeyError;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

pub const CONFIG: &str = "/etc/lifeboat/replicator.toml";
pub const SCHEMA: &str = "lifeboat/setup/1";
const USER: &str = "lifeboat";
const PROGRAM: &str = "/usr/bin/lifeboat-replicator";

#[derive(Debug, thiserror::Error)]
pub enum HostError {
    #[error(
        "setup changes users, units and credentials of this host: run it as root, or look at what it would do with --dry-run"
    )]
    NotRoot,
    #[error(
        "{what} is not there: install the package (`make deb`, then `apt install ./lifeboat_….deb`) and run setup again"
    )]
    NotInstalled { what: String },
    #[error("{path} does not exist yet: give the folder that `lifeboat init` wrote with --from DIR")]
    NothingToSetUp { path: PathBuf },
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(
        "{path} has another {key} for cluster {cluster} than --from: change it there by hand if that is meant, or give the right folder"
    )]
    Differs { path: PathBuf, cluster: String, key: &'static str },
    #[error(
        "Cannot add to {path}: {why}; add the [[source]] of --from by hand, as replicator.example.toml shows, and run setup again"
    )]
    Edit { path: PathBuf, why: String },
    #[error("--{role}-credentials needs --from, which says for which cluster it is")]
    WhichCluster { role: &'static str },
    #[error(
        "{path} has no aws_access_key_id and aws_secret_access_key; give a file in the format of ~/.aws/credentials"
    )]
    NoCredential { path: PathBuf },
    #[error(
        "The vault {path} is in a folder that the services do not see (home directories are hidden from them); choose one below /srv or /var/lib/lifeboat"
    )]
    HiddenVault { path: PathBuf },
    #[error(
        "Cannot seal {name} to this machine: {why}; --plain-credentials keeps it as a file that only root reads"
    )]
    Seal { name: String, why: String },
    #[error("Cannot read {path}: {source}; give this user the right to it")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("Cannot write {path}: {source}; mend that and run setup again, it goes on from there")]
    Write { path: PathBuf, source: std::io::Error },
    #[error("`{words}` failed: {why}; mend that and run setup again, it goes on from there")]
    Command { words: String, why: String },
}

impl HostError {
    /// Whether the arguments or the configuration are to blame.
    #[must_use]
    pub fn is_usage(&self) -> bool {
        use HostError::{Command, Read, Seal, Write};
        !matches!(self, Command { .. } | Read { .. } | Seal { .. } | Write { .. })
    }
}

/// Whose credential for the primary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    Pull,
    Marker,
    Retain,
    Heal,
}

impl Role {
    pub const ALL: [Self; 4] = [Self::Pull, Self::Marker, Self::Retain, Self::Heal];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Marker => "marker",
            Self::Retain => "retain",
            Self::Heal => "heal",
        }
    }

    /// Its table below `[[source]]`.
    fn table(self) -> &'static str {
        if self == Self::Pull { "s3" } else { self.name() }
    }
}

/// One service and what it gets.
struct Unit {
    /// The service, which has the credentials.
    service: &'static str,
    /// What is enabled: the service, or its timer.
    enabled: &'static str,
    roles: &'static [Role],
    /// Whether it gets the receipt keys.
    keys: bool,
}

const TOGETHER: [Unit; 1] = [Unit {
    service: "lifeboat-replicator.service",
    enabled: "lifeboat-replicator.service",
    roles: &Role::ALL,
    keys: true,
}];

/// Each with the rights that it needs, and no other.
const APART: [Unit; 3] = [
    Unit {
        service: "lifeboat-replicator-pull.service",
        enabled: "lifeboat-replicator-pull.service",
        roles: &[Role::Pull],
        keys: true,
    },
    Unit {
        service: "lifeboat-replicator-retain.service",
        enabled: "lifeboat-replicator-retain.timer",
        roles: &Role::ALL,
        keys: true,
    },
    Unit {
        service: "lifeboat-replicator-scrub.service",
        enabled: "lifeboat-replicator-scrub.timer",
        roles: &[],
        keys: false,
    },
];

/// What is asked for.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// The folder that `lifeboat init` wrote.
    pub from: Option<PathBuf>,
    pub credentials: BTreeMap<Role, PathBuf>,
    /// One unit for each task; what is enabled already where nothing is said.
    pub apart: Option<bool>,
    /// Secrets as files, not sealed to this machine.
    pub plain: bool,
    pub start: bool,
    pub dry_run: bool,
}

/// What a run did, and found.
#[derive(Debug, Serialize)]
pub struct Report {
    pub schema: &'static str,
    pub dry_run: bool,
    pub steps: Vec<Done>,
    /// What `check-config` said, as the services' user and with their credentials.
    pub check: Option<serde_json::Value>,
    pub left: Vec<String>,
}

#[derive(Debug, Serialize)]
pub struct Done {
    pub what: String,
    pub changed: bool,
}

impl Report {
    /// Whether the services can work.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.check.as_ref().is_none_or(|check| check["ok"] == true)
    }

    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        for step in &self.steps {
            let word = match (step.changed, self.dry_run) {
                (false, _) => "as it is",
                (true, true) => "would do",
                (true, false) => "done",
            };
            text.push_str(&format!("{word:8}  {}\n", step.what));
        }
        for item in self.check.iter().filter_map(|c| c["checks"].as_array()).flatten() {
            let word = if item["ok"] == true { "ok" } else { "FAIL" };
            let say = |key: &str| crate::status::plain(item[key].as_str().unwrap_or_default());
            text.push_str(&format!("{word:8}  {}: {}\n", say("what"), say("detail")));
        }
        if self.left.is_empty() {
            text.push_str("\nNothing is left to do. `lifeboat-replicator status` says how things are.\n");
        } else {
            text.push_str("\nLeft to do:\n");
            self.left.iter().for_each(|what| text.push_str(&format!("  - {what}\n")));
        }
        text
    }
}

/// Sets this host up; with `dry_run`, only says what it would do.
pub fn run(host: &Host, wanted: &Wanted) -> Result<Report, HostError> {
    steps::run(host, wanted)
}

#[cfg(test)]
mod tests;
