//! What a host should have: the configuration that results from the one that is there and the one that `lifeboat init` wrote, and
//! the names of the secrets in it. Pure.

use super::{HostError, Role, text};
use lifeboat_common::config::{ReplicatorConfig, RetainConfig, RoleConfig, SourceConfig};
use lifeboat_format::id::ClusterName;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The name of a systemd credential.
pub(super) fn receipt(cluster: &ClusterName) -> String {
    format!("receipt-{cluster}.key")
}

pub(super) fn credential(cluster: &ClusterName, role: Role) -> String {
    match role {
        Role::Pull => format!("s3-{cluster}"),
        role => format!("s3-{cluster}-{}", role.name()),
    }
}

/// Where the authorities of a store are, which are no secret.
pub(super) fn authorities(cluster: &ClusterName) -> String {
    format!("ca-{cluster}.pem")
}

/// As `lifeboat init` wrote it, with the names that its files have on this host.
pub(super) fn of_host(made: &SourceConfig, roles: &BTreeSet<Role>) -> SourceConfig {
    let mut source = made.clone();
    source.receipt_key = receipt(&made.cluster).into();
    source.s3.ca_file = made.s3.ca_file.is_some().then(|| authorities(&made.cluster).into());
    source.s3.credentials_file = None;
    roles.iter().for_each(|role| set(&mut source, *role));
    source
}

/// Gives `role` the credential of its name, unless it has one.
fn set(source: &mut SourceConfig, role: Role) {
    let name: PathBuf = credential(&source.cluster, role).into();
    let file = match role {
        Role::Pull => &mut source.s3.credentials_file,
        Role::Marker => &mut source.marker.get_or_insert_with(RoleConfig::default).credentials_file,
        Role::Heal => &mut source.heal.get_or_insert_with(RoleConfig::default).credentials_file,
        Role::Retain => &mut source.retain.get_or_insert_with(RetainConfig::default).credentials_file,
    };
    file.get_or_insert(name);
}

/// The file that results, and what it says. File names in all of them are as written.
pub(super) fn merged(
    there: Option<&str>,
    made: Option<&ReplicatorConfig>,
    roles: &BTreeSet<Role>,
    path: &Path,
) -> Result<(String, ReplicatorConfig), HostError> {
    let edit = |why: String| HostError::Edit { path: path.to_owned(), why };
    let parse = |text: &str| toml::from_str::<ReplicatorConfig>(text).map_err(|e| edit(e.to_string()));
    let Some(before) = there else {
        let made = made.ok_or_else(|| HostError::NothingToSetUp { path: path.to_owned() })?;
        let sources = made.sources.iter().map(|source| of_host(source, roles)).collect();
        let config = ReplicatorConfig { sources, state: None, ..made.clone() };
        let text = text::first(&config).map_err(|e| edit(e.to_string()))?;
        return Ok((text, config));
    };
    let mut config = parse(before)?;
    let mut text = before.to_owned();
    for new in made.map(|m| m.sources.as_slice()).unwrap_or_default() {
        match config.sources.iter().position(|s| s.cluster == new.cluster) {
            None => {
                let source = of_host(new, roles);
                text = text::with_source(&text, &source).map_err(|e| edit(e.to_string()))?;
                config.sources.push(source);
            }
            Some(number) => {
                compare(&config.sources[number], new, path)?;
                for role in roles {
                    let had = config.sources[number].clone();
                    set(&mut config.sources[number], *role);
                    if had != config.sources[number] {
                        let name = credential(&new.cluster, *role);
                        text = text::with_value(&text, number, role.table(), "credentials_file", &name);
                    }
                }
            }
        }
    }
    // Whatever the file looks like: what is written is what was meant.
    if parse(&text)? != config {
        return Err(edit("it is laid out in a way that cannot be added to".to_owned()));
    }
    Ok((text, config))
}

fn compare(there: &SourceConfig, new: &SourceConfig, path: &Path) -> Result<(), HostError> {
    let fields = [
        ("repo", there.repo == new.repo),
        ("owner", there.owner == new.owner),
        ("s3.endpoint", there.s3.endpoint == new.s3.endpoint),
    ];
    match fields.into_iter().find(|(_, same)| !same) {
        None => Ok(()),
        Some((key, _)) => {
            Err(HostError::Differs { path: path.to_owned(), cluster: there.cluster.to_string(), key })
        }
    }
}

/// The secrets that a unit needs: of every cluster its receipt key, and the credentials of `roles`. By their names in the file.
pub(super) fn secrets(config: &ReplicatorConfig, roles: &[Role]) -> Vec<String> {
    let mut names = BTreeSet::new();
    for source in &config.sources {
        let mut files = vec![Some(&source.receipt_key)];
        files.extend(roles.iter().map(|role| file_of(source, *role)));
        let relative = files.into_iter().flatten().filter(|f| f.components().count() == 1);
        names.extend(relative.map(|f| f.display().to_string()));
    }
    names.into_iter().collect()
}

pub(super) fn file_of(source: &SourceConfig, role: Role) -> Option<&PathBuf> {
    match role {
        Role::Pull => source.s3.credentials_file.as_ref(),
        Role::Marker => source.marker.as_ref()?.credentials_file.as_ref(),
        Role::Heal => source.heal.as_ref()?.credentials_file.as_ref(),
        Role::Retain => source.retain.as_ref()?.credentials_file.as_ref(),
    }
}
