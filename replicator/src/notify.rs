//! Telling people: looks at the status every few seconds, tells each channel what is new to it, and asks for the heartbeat's
//! URL while all is well. Owns the order and what is remembered; decides nothing about backups, and holds no key.

mod channel;
mod client;
mod message;
mod plan;

use crate::setup;
use crate::status::{self, Status};
use crate::vault;
use channel::Channel;
use jiff::Timestamp;
use lifeboat_common::clock::Clock;
use lifeboat_common::config::{HeartbeatConfig, NotifyConfig, ReplicatorConfig};
use message::{Line, Message};
use plan::{Rules, Told};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub use channel::SendError;

/// Between two looks.
const LOOK: Duration = Duration::from_secs(15);
/// Between two heartbeats, seconds.
const HEARTBEAT: u64 = 300;
const REPEAT_HOURS: u32 = 24;
const MAX_PER_HOUR: u32 = 10;
const FILE: &str = "notify.json";
const SCHEMA: &str = "lifeboat/notified/1";
const MEMORY_MAX: u64 = 64 << 20;

/// What was told to whom.
#[derive(Debug, Serialize, Deserialize)]
struct Memory {
    schema: String,
    channels: BTreeMap<String, Told>,
}

/// What one look did, for `--once` and `--test`.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    pub schema: &'static str,
    /// By channel: told, nothing new, or why not.
    pub channels: BTreeMap<String, String>,
    /// Whether all is well; none where it could not be read.
    pub well: Option<bool>,
    pub failed: bool,
}

/// Checks what can be checked without asking anybody.
///
/// # Errors
/// Which key is wrong, and what was expected.
pub fn check(config: &NotifyConfig) -> Result<(), String> {
    let one_url = |what: &str, url: &Option<String>, file: &Option<PathBuf>| match (url, file) {
        (Some(url), None) => client::check(url).map(drop).map_err(|e| format!("{what}: {e}")),
        (None, Some(_)) => Ok(()),
        _ => Err(format!("{what} needs either url or url_file")),
    };
    for webhook in &config.webhooks {
        one_url("notify.webhook", &webhook.url, &webhook.url_file)?;
    }
    if let Some(heartbeat) = &config.heartbeat {
        one_url("notify.heartbeat", &heartbeat.url, &heartbeat.url_file)?;
    }
    for mail in &config.mails {
        for address in mail.to.iter().chain([&mail.from]) {
            let parsed = address.parse::<lettre::message::Mailbox>();
            parsed.map_err(|e| format!("notify.mail: '{address}' is no address: {e}"))?;
        }
        if mail.to.is_empty() {
            return Err("notify.mail needs at least one address in to".to_owned());
        }
        if mail.username.is_some() != mail.password_file.is_some() {
            return Err("notify.mail needs both username and password_file, or neither".to_owned());
        }
    }
    for command in &config.commands {
        if !command.run.first().is_some_and(|program| program.starts_with('/')) {
            return Err("notify.command needs run = [\"/WHOLE/PATH\", …]".to_owned());
        }
    }
    let names: Vec<String> = channel::channels(config).into_iter().map(|c| c.name).collect();
    match names.iter().enumerate().find(|(i, name)| names[..*i].contains(name)) {
        Some((_, name)) => Err(format!("two channels of [notify] are named '{name}'")),
        None => Ok(()),
    }
}

/// Looks again and again. Never ends. Reads the configuration at `path` anew each time.
pub async fn forever(path: PathBuf, state: Option<PathBuf>, clock: Arc<dyn Clock>) {
    let mut notifier = Notifier::new(path, state, clock);
    loop {
        drop(notifier.look().await);
        tokio::time::sleep(LOOK).await;
    }
}

/// One who tells.
#[derive(Debug)]
pub struct Notifier {
    path: PathBuf,
    /// A folder for what was told; beside the catalogue when absent.
    state: Option<PathBuf>,
    clock: Arc<dyn Clock>,
    /// The last heartbeat.
    beat: Option<Timestamp>,
    /// Where it could not be written down, it is at least remembered.
    memory: Option<Memory>,
}

impl Notifier {
    #[must_use]
    pub fn new(path: PathBuf, state: Option<PathBuf>, clock: Arc<dyn Clock>) -> Self {
        Self { path, state, clock, beat: None, memory: None }
    }

    /// Tells each channel what is new to it. Never fails as a whole: what went wrong is in the log and in the report.
    pub async fn look(&mut self) -> Report {
        let mut report = Report { schema: "lifeboat/notify/1", ..Report::default() };
        let (path, clock) = (self.path.clone(), Arc::clone(&self.clock));
        let looked = tokio::task::spawn_blocking(move || {
            let config = setup::load(&path)?;
            let status = status::gather(&config, clock.now());
            Ok::<_, setup::SetupError>((config, status))
        });
        let (config, status) = match looked.await {
            Ok(Ok((config, status))) => (config, status.map_err(|e| e.to_string())),
            Ok(Err(error)) => {
                tracing::error!(%error, "Nobody can be told anything");
                report.failed = true;
                return report;
            }
            Err(_) => return report,
        };
        if config.notify == NotifyConfig::default() {
            return report;
        }
        report.well = status.as_ref().ok().map(Status::is_well);
        self.tell(&config, status.as_ref(), &mut report).await;
        if let (Some(heartbeat), Some(true)) = (&config.notify.heartbeat, report.well) {
            self.beat(heartbeat, &mut report).await;
        }
        report
    }

    async fn tell(
        &mut self,
        config: &ReplicatorConfig,
        status: Result<&Status, &String>,
        report: &mut Report,
    ) {
        let wrong = status.ok().map(message::lines);
        let next = "look at the vault's disk, and run `lifeboat-replicator status`";
        let also: Vec<Line> = status
            .err()
            .map(|why| Line::new("vault", "unreadable", "", why, next, None))
            .into_iter()
            .collect();
        let rules = rules(&config.notify);
        let (host, now) = (host(), self.clock.now());
        let place = self.place(config);
        let mut memory = self.memory.take().unwrap_or_else(|| load(&place));
        let mut changed = false;
        for channel in channel::channels(&config.notify) {
            let told = memory.channels.entry(channel.name.clone()).or_default();
            let before = told.clone();
            if let Some(message) = told.due(wrong.as_deref(), &also, rules, now) {
                let sent = send(&channel, &message, &host, report).await;
                if sent { told.arrived(&message, now) } else { told.failed(now) }
            } else {
                report.channels.insert(channel.name, "nothing new".to_owned());
            }
            changed |= before != *told;
        }
        if changed && let Err(error) = save(&place, &memory) {
            tracing::error!(path = %place.display(), %error, "Cannot write down who was told what; after a restart it is told again");
        }
        self.memory = Some(memory);
    }

    async fn beat(&mut self, config: &HeartbeatConfig, report: &mut Report) {
        let (now, every) = (self.clock.now(), config.every_seconds.unwrap_or(HEARTBEAT));
        let every = i64::try_from(every).unwrap_or(i64::MAX);
        if self.beat.is_some_and(|last| (0..every).contains(&now.duration_since(last).as_secs())) {
            return;
        }
        let asked = async {
            let url = channel::url(config.url.as_deref(), config.url_file.as_deref())?;
            Ok::<_, SendError>(client::get(&url).await?)
        };
        let asked = tokio::time::timeout(LOOK, asked).await.unwrap_or(Err(SendError::Slow));
        let said = match asked {
            Ok(()) => {
                self.beat = Some(now);
                "sent".to_owned()
            }
            Err(error) => {
                tracing::warn!(%error, "The heartbeat did not arrive");
                report.failed = true;
                error.to_string()
            }
        };
        report.channels.insert("heartbeat".to_owned(), said);
    }

    /// A message to every channel, whatever it was told before.
    ///
    /// # Errors
    /// If the configuration cannot be read.
    pub async fn test(&self) -> Result<Report, setup::SetupError> {
        let config = setup::load(&self.path)?;
        let mut report = Report { schema: "lifeboat/notify/1", ..Report::default() };
        let host = host();
        for channel in channel::channels(&config.notify) {
            send(&channel, &Message::test(), &host, &mut report).await;
        }
        Ok(report)
    }

    fn place(&self, config: &ReplicatorConfig) -> PathBuf {
        let root = config.vault.directory().unwrap_or(Path::new("."));
        let beside = || vault::catalogue_path(root, config.state.as_deref()).with_file_name(FILE);
        self.state.as_ref().map_or_else(beside, |folder| folder.join(FILE))
    }
}

/// True when it arrived.
async fn send(channel: &Channel<'_>, message: &Message, host: &str, report: &mut Report) -> bool {
    let sent = channel.send(message, host).await;
    let name = channel.name.clone();
    match &sent {
        Ok(()) => {
            tracing::info!(
                channel = name,
                alarms = message.alarms.len(),
                recovered = message.recovered.len(),
                "Told"
            );
            report.channels.insert(name, "told".to_owned());
        }
        Err(error) => {
            tracing::error!(channel = name, %error, "Could not tell");
            report.channels.insert(name, error.to_string());
            report.failed = true;
        }
    }
    sent.is_ok()
}

fn rules(config: &NotifyConfig) -> Rules {
    let hours = config.repeat_hours.unwrap_or(REPEAT_HOURS);
    let per_hour = config.max_per_hour.unwrap_or(MAX_PER_HOUR).max(1);
    Rules {
        repeat: (hours > 0).then(|| i64::from(hours) * 3600),
        max_per_hour: usize::try_from(per_hour).unwrap_or(usize::MAX),
    }
}

fn host() -> String {
    let name = rustix::system::uname();
    name.nodename().to_string_lossy().into_owned()
}

/// What was told; nothing when it cannot be read: to tell twice is better than not at all.
fn load(path: &Path) -> Memory {
    let read = || -> io::Result<Option<Memory>> {
        match std::fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
            Ok(meta) if meta.len() > MEMORY_MAX => return Err(io::Error::other("it is too large")),
            Ok(_) => {}
        }
        let memory: Memory = serde_json::from_slice(&std::fs::read(path)?)?;
        if memory.schema == SCHEMA {
            Ok(Some(memory))
        } else {
            Err(io::Error::other("it is of another schema"))
        }
    };
    let memory = read().unwrap_or_else(|error| {
        tracing::warn!(path = %path.display(), %error, "Who was told what cannot be read; all that is open is told again");
        None
    });
    memory.unwrap_or_else(|| Memory { schema: SCHEMA.to_owned(), channels: BTreeMap::new() })
}

fn save(path: &Path, memory: &Memory) -> io::Result<()> {
    let temporary = path.with_extension("new");
    std::fs::write(&temporary, serde_json::to_vec(memory)?)?;
    std::fs::File::open(&temporary)?.sync_all()?;
    std::fs::rename(&temporary, path)
}
