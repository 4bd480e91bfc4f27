//! The steps of `setup`, in order: everything is read and checked first, then changed.

use super::tools::{Host, User};
use super::{
    APART, CONFIG, Done, HostError, PROGRAM, Report, Role, SCHEMA, TOGETHER, USER, Unit, Wanted, secrets,
    wanted,
};
use lifeboat_common::config::{self, ReplicatorConfig, SourceConfig};
use lifeboat_common::keys::{self, Readers};
use lifeboat_common::store::StoreUrl;
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

const STATE: &str = "/var/lib/lifeboat";
const UNITS: [&str; 3] = ["/usr/lib/systemd/system", "/lib/systemd/system", "/etc/systemd/system"];
/// Folders that the services see others in place of, or not at all.
const HIDDEN: [&str; 5] = ["/home", "/root", "/run", "/tmp", "/var/tmp"];

/// What `--from` and the credentials' files hold, checked.
struct Given {
    config: Option<ReplicatorConfig>,
    /// By the names of their systemd credentials.
    secrets: BTreeMap<String, Zeroizing<Vec<u8>>>,
    /// Authorities of stores, by file name.
    open: BTreeMap<String, Zeroizing<Vec<u8>>>,
}

pub(super) fn run(host: &Host, wanted: &Wanted) -> Result<Report, HostError> {
    if !wanted.dry_run && !rustix::process::geteuid().is_root() {
        return Err(HostError::NotRoot);
    }
    let given = given(wanted)?;
    let path = Path::new(CONFIG);
    let there = host.read(path)?;
    let there = there.as_ref().map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    let roles: BTreeSet<Role> = wanted.credentials.keys().copied().collect();
    let (text, config) = wanted::merged(there.as_deref(), given.config.as_ref(), &roles, path)?;
    let folders = folders(&config)?;
    let apart = wanted.apart.unwrap_or_else(|| host.asks(&["systemctl", "is-enabled", APART[0].enabled]));
    let units: &[Unit] = if apart { &APART } else { &TOGETHER };
    installed(host, units)?;

    let mut setup = Setup { host, wanted, steps: Vec::new(), left: Vec::new() };
    setup.user_and_folders(&folders)?;
    setup.file(path, 0o640, "configuration", text.as_bytes())?;
    for (name, bytes) in &given.open {
        setup.file(&Path::new("/etc/lifeboat").join(name), 0o644, "authorities of the store", bytes)?;
    }
    let sealed = setup.secrets(&given)?;
    for unit in units {
        setup.drop_in(unit, &config, &sealed, &folders)?;
    }
    setup.what_is_missing(&config, &sealed, &folders);
    let check = if wanted.dry_run { None } else { Some(setup.check(&config, &sealed)?) };
    let ready = check.as_ref().is_none_or(|c: &serde_json::Value| c["ok"] == true);
    setup.services(units, if apart { &TOGETHER } else { &APART }, ready)?;
    let Setup { steps, left, .. } = setup;
    Ok(Report { schema: SCHEMA, dry_run: wanted.dry_run, steps, check, left })
}

fn given(wanted: &Wanted) -> Result<Given, HostError> {
    let mut given = Given { config: None, secrets: BTreeMap::new(), open: BTreeMap::new() };
    let Some(from) = &wanted.from else {
        return match wanted.credentials.keys().next() {
            Some(role) => Err(HostError::WhichCluster { role: role.name() }),
            None => Ok(given),
        };
    };
    let config: ReplicatorConfig = config::load(&from.join("replicator.toml"))?;
    for source in &config.sources {
        let key = keys::read_private(&source.receipt_key, Readers::OwnerOnly)?;
        // A wrong file is noticed now, and not by the service.
        keys::service_key(&source.receipt_key)?;
        given.secrets.insert(wanted::receipt(&source.cluster), key.to_vec().into());
        if let Some(file) = &source.s3.ca_file {
            let read = std::fs::read(file).map_err(|e| HostError::Read { path: file.clone(), source: e })?;
            given.open.insert(wanted::authorities(&source.cluster), read.into());
        }
        for (role, file) in &wanted.credentials {
            let bytes = keys::read_private(file, Readers::OwnerOnly)?;
            let text = String::from_utf8_lossy(&bytes);
            if !["aws_access_key_id", "aws_secret_access_key"].iter().all(|key| text.contains(key)) {
                return Err(HostError::NoCredential { path: file.clone() });
            }
            given.secrets.insert(wanted::credential(&source.cluster, *role), bytes.to_vec().into());
        }
    }
    given.config = Some(config);
    Ok(given)
}

/// Folders outside of the services' own that they write: the vault's and the catalogue's.
fn folders(config: &ReplicatorConfig) -> Result<Vec<PathBuf>, HostError> {
    let vault = config.vault.directory().map(Path::to_owned);
    let all = vault.into_iter().chain(config.state.clone()).filter(|f| f.is_absolute());
    let all: Vec<PathBuf> = all.filter(|f| *f != Path::new(STATE).join("vault")).collect();
    // What units and tmpfiles take as it is.
    let plain = |f: &Path| {
        f.to_str().is_some_and(|s| s.chars().all(|c| c.is_ascii_alphanumeric() || "/._-+@".contains(c)))
    };
    match all.iter().find(|f| HIDDEN.iter().any(|h| f.starts_with(h)) || !plain(f)) {
        Some(path) => Err(HostError::HiddenVault { path: path.clone() }),
        None => Ok(all),
    }
}

fn installed(host: &Host, units: &[Unit]) -> Result<(), HostError> {
    let absent = |unit: &str| !UNITS.iter().any(|folder| host.has(&format!("{folder}/{unit}")));
    let missing = units.iter().flat_map(|u| [u.service, u.enabled]).find(|unit| absent(unit));
    match missing.or((!host.has(PROGRAM)).then_some(PROGRAM)) {
        Some(what) => Err(HostError::NotInstalled { what: what.to_owned() }),
        None => Ok(()),
    }
}

struct Setup<'a> {
    host: &'a Host,
    wanted: &'a Wanted,
    steps: Vec<Done>,
    left: Vec<String>,
}

impl Setup<'_> {
    fn step(
        &mut self,
        what: String,
        there: bool,
        act: impl FnOnce(&Host) -> Result<(), HostError>,
    ) -> Result<(), HostError> {
        if !there && !self.wanted.dry_run {
            act(self.host)?;
        }
        self.steps.push(Done { what, changed: !there });
        Ok(())
    }

    fn user_and_folders(&mut self, folders: &[PathBuf]) -> Result<(), HostError> {
        let there = self.host.user(USER)?.is_some();
        self.step(format!("user and group {USER}"), there, |host| {
            host.run(&["systemd-sysusers", "lifeboat-replicator.conf"], &[]).map(drop)
        })?;
        let text: String =
            folders.iter().map(|f| format!("d {} 0750 {USER} {USER} -\n", f.display())).collect();
        let text = format!("# Written by `lifeboat-replicator setup`.\n{text}");
        let (own, mut names) =
            (Path::new("/etc/tmpfiles.d/lifeboat-setup.conf"), vec!["lifeboat-replicator.conf"]);
        if !folders.is_empty() {
            self.file(own, 0o644, "folders of the vault", text.as_bytes())?;
            names.push("lifeboat-setup.conf");
        }
        let fixed = [STATE, "/var/lib/lifeboat/vault", "/etc/lifeboat"].map(PathBuf::from);
        let all: Vec<PathBuf> = fixed.into_iter().chain(folders.iter().cloned()).collect();
        let there = all.iter().all(|f| self.host.at(f).is_dir());
        let named: Vec<String> = all.iter().map(|f| f.display().to_string()).collect();
        self.step(format!("folders {}", named.join(", ")), there, |host| {
            host.run(&[&["systemd-tmpfiles", "--create"], &names[..]].concat(), &[]).map(drop)
        })
    }

    /// A file that is no secret; not written where it has these bytes.
    fn file(&mut self, path: &Path, mode: u32, what: &str, bytes: &[u8]) -> Result<(), HostError> {
        let there = self.host.read(path)?.is_some_and(|old| *old == bytes);
        self.step(format!("{what} {}", path.display()), there, |host| {
            // What not everybody reads, the services' group does.
            let group = if mode & 0o004 == 0 { host.user(USER)?.map(|u| u.gid) } else { None };
            host.write(path, mode, group, bytes)
        })
    }

    /// Puts what was given in place; gives for each secret that is then there whether it is sealed.
    fn secrets(&mut self, given: &Given) -> Result<BTreeMap<String, bool>, HostError> {
        let seal = !self.wanted.plain && secrets::can_seal(self.host);
        for (name, secret) in &given.secrets {
            let found = secrets::find(self.host, name);
            let wrong_kind = self.wanted.plain && found == Some(true);
            let there = match found {
                // Without the right to open it, as in a dry run, it counts as another.
                Some(sealed) if !wrong_kind => secrets::read(self.host, name, sealed)
                    .is_ok_and(|old| old.as_slice() == secret.as_slice()),
                _ => false,
            };
            let kind = if seal { "sealed to this machine" } else { "for root alone" };
            let path = secrets::place(name, found.filter(|_| there).unwrap_or(seal));
            self.step(format!("credential {name}, {kind}: {}", path.display()), there, |host| {
                secrets::store(host, name, seal, secret)
            })?;
        }
        let mut sealed: BTreeMap<String, bool> = BTreeMap::new();
        if self.wanted.dry_run {
            sealed.extend(given.secrets.keys().map(|name| (name.clone(), seal)));
        }
        let folders = [(true, "/etc/credstore.encrypted"), (false, "/etc/credstore")];
        for (kind, folder) in folders {
            for entry in std::fs::read_dir(self.host.at(Path::new(folder))).into_iter().flatten().flatten() {
                let name = entry.file_name();
                if let Some(name) = name.to_str().and_then(|n| n.strip_prefix("lifeboat."))
                    && !name.ends_with(".new")
                {
                    sealed.entry(name.to_owned()).or_insert(kind);
                }
            }
        }
        Ok(sealed)
    }

    fn drop_in(
        &mut self,
        unit: &Unit,
        config: &ReplicatorConfig,
        sealed: &BTreeMap<String, bool>,
        folders: &[PathBuf],
    ) -> Result<(), HostError> {
        let mut text = "# Written by `lifeboat-replicator setup`; another run writes it anew. Own settings go into another file beside it.\n"
            .to_owned();
        if !folders.is_empty() {
            let all: Vec<String> = folders.iter().map(|f| f.display().to_string()).collect();
            text.push_str(&format!(
                "[Unit]\nRequiresMountsFor={0}\n[Service]\nReadWritePaths={0}\n",
                all.join(" ")
            ));
        }
        let names = if unit.keys { wanted::secrets(config, unit.roles) } else { Vec::new() };
        let lines: Vec<String> =
            names.iter().filter_map(|n| Some(secrets::directive(n, *sealed.get(n)?) + "\n")).collect();
        if !lines.is_empty() {
            text.push_str(&format!("[Service]\n{}", lines.concat()));
        }
        let path = format!("/etc/systemd/system/{}.d/50-lifeboat-setup.conf", unit.service);
        self.file(Path::new(&path), 0o644, "credentials and folders of the unit:", text.as_bytes())
    }

    fn what_is_missing(
        &mut self,
        config: &ReplicatorConfig,
        sealed: &BTreeMap<String, bool>,
        folders: &[PathBuf],
    ) {
        for source in &config.sources {
            self.missing_of(source, sealed);
        }
        if let Some(from) = &self.wanted.from {
            let secrets: Vec<&str> =
                ["identity.txt", "owner.key"].into_iter().filter(|f| from.join(f).exists()).collect();
            if !secrets.is_empty() {
                self.left.push(format!(
                    "{} in {} open or rule every backup and do not belong on this host: move them to the administrators, offline",
                    secrets.join(" and "),
                    from.display()
                ));
            }
            self.left.push(format!(
                "{} is in place as a credential now: keep one copy of it offline and delete it here",
                from.join("receipt.key").display()
            ));
        }
        let vault = folders.first().cloned().unwrap_or_else(|| Path::new(STATE).join("vault"));
        let device = |path: &Path| std::fs::metadata(path).map(|m| m.dev()).ok();
        let disk = device(&self.host.at(&vault));
        if disk.is_none() || disk == device(&self.host.at(Path::new("/"))) {
            self.left
                .push(format!("{} is on the system's own disk: mount one of its own there", vault.display()));
        }
    }

    fn missing_of(&mut self, source: &SourceConfig, sealed: &BTreeMap<String, bool>) {
        let cluster = &source.cluster;
        let here = |file: &Path| {
            let own = Path::new("/etc/lifeboat").join(file);
            sealed.contains_key(&file.display().to_string()) || self.host.at(&own).exists()
        };
        let mut left = Vec::new();
        if !here(&source.receipt_key) {
            left.push(format!(
                "The receipt key of cluster {cluster} is missing: give its folder with --from"
            ));
        }
        let is_s3 = matches!(source.repo, StoreUrl::S3 { .. });
        for role in Role::ALL {
            let option = if role == Role::Pull { String::new() } else { format!("{}-", role.name()) };
            match wanted::file_of(source, role) {
                Some(file) if !here(file) => left.push(format!(
                    "The credential {} of cluster {cluster} is missing: give it with --from and --{option}credentials",
                    file.display()
                )),
                None if role == Role::Pull && is_s3 => left.push(format!(
                    "Cluster {cluster} has no credential to read its primary: give one that may Get and List, and nothing else, with \
                     --from and --credentials"
                )),
                _ => {}
            }
        }
        if is_s3 && source.marker.is_none() && source.retain.is_none() {
            left.push(format!(
                "Nothing is forgotten in the primary of cluster {cluster}: if it should be, give --marker-credentials and \
                 --retain-credentials (operations.md, The primary)"
            ));
        }
        if source.repo.directory().is_some_and(|d| HIDDEN.iter().any(|h| d.starts_with(h))) {
            left.push(format!("The primary {} is in a folder that the services do not see", source.repo));
        }
        self.left.extend(left);
    }

    /// What `check-config` says, as the services' user, with the services' credentials in memory for that long.
    fn check(
        &self,
        config: &ReplicatorConfig,
        sealed: &BTreeMap<String, bool>,
    ) -> Result<serde_json::Value, HostError> {
        let user = self
            .host
            .user(USER)?
            .ok_or_else(|| HostError::NotInstalled { what: format!("The user {USER}") })?;
        let lent = Lent::new(self.host, user)?;
        for name in wanted::secrets(config, &Role::ALL) {
            if let Some(sealed) = sealed.get(&name) {
                lent.lend(&name, &secrets::read(self.host, &name, *sealed)?)?;
            }
        }
        let words = [PROGRAM, "check-config", "--json", "--config", CONFIG];
        let ended = self.host.run_as(user, &words, ("CREDENTIALS_DIRECTORY", &lent.0))?;
        serde_json::from_slice(&ended.said)
            .map_err(|_| HostError::Command { words: words.join(" "), why: ended.why })
    }

    fn services(&mut self, units: &[Unit], others: &[Unit], ready: bool) -> Result<(), HostError> {
        let changed = self.steps.iter().any(|s| s.changed);
        self.step("systemd reads its units again".to_owned(), !changed, |host| {
            host.run(&["systemctl", "daemon-reload"], &[]).map(drop)
        })?;
        let names: Vec<&str> = units.iter().map(|u| u.enabled).collect();
        if !self.wanted.start || !ready {
            let why = if ready { "" } else { "Mend what FAILs above and run setup again, or " };
            self.left.push(format!("{why}start the services: systemctl enable --now {}", names.join(" ")));
            return Ok(());
        }
        for unit in others {
            if self.host.asks(&["systemctl", "is-enabled", unit.enabled]) {
                self.step(format!("{} is disabled", unit.enabled), false, |host| {
                    host.run(&["systemctl", "disable", "--now", unit.enabled], &[]).map(drop)
                })?;
            }
        }
        for unit in units {
            let is = |what| self.host.asks(&["systemctl", what, unit.enabled]);
            let (enabled, active) = (is("is-enabled"), is("is-active"));
            // Credentials are handed out at the start only. A pull that is cut short goes on from there.
            let restart = active && changed && unit.service == unit.enabled;
            let there = enabled && active && !restart;
            self.step(format!("{} is enabled and runs", unit.enabled), there, |host| {
                host.run(&["systemctl", "enable", "--now", unit.enabled], &[])?;
                if restart {
                    host.run(&["systemctl", "restart", unit.enabled], &[])?;
                }
                Ok(())
            })?;
        }
        Ok(())
    }
}

/// Secrets in memory that one user reads, until it is dropped.
struct Lent(PathBuf, User);

impl Lent {
    fn new(host: &Host, user: User) -> Result<Self, HostError> {
        let path = host.at(Path::new("/run")).join(format!("lifeboat-setup-{}", std::process::id()));
        let make = || {
            std::fs::DirBuilder::new().create(&path)?;
            std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o500))?;
            std::os::unix::fs::chown(&path, Some(user.uid), Some(user.gid))
        };
        make().map_err(|source| HostError::Write { path: path.clone(), source })?;
        Ok(Self(path, user))
    }

    fn lend(&self, name: &str, secret: &[u8]) -> Result<(), HostError> {
        use std::io::Write as _;
        use std::os::unix::fs::OpenOptionsExt as _;
        let path = self.0.join(name);
        let put = || {
            let mut file = std::fs::File::options().write(true).create_new(true).mode(0o400).open(&path)?;
            std::os::unix::fs::chown(&path, Some(self.1.uid), Some(self.1.gid))?;
            file.write_all(secret)
        };
        put().map_err(|source| HostError::Write { path: path.clone(), source })
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        // In memory, so it ends with the machine at the latest.
        drop(std::fs::remove_dir_all(&self.0));
    }
}
