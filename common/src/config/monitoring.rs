//! The tables of `replicator.toml` that are about telling: `[http]` and `[notify]`. Their shape; opens nothing.

use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Where health, metrics and the status page are shown.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpConfig {
    /// Address and port; nothing listens without it.
    pub listen: Option<SocketAddr>,
}

/// Who is told of alarms.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NotifyConfig {
    /// Hours after which an alarm that is still open is told again; `0` for never.
    pub repeat_hours: Option<u32>,
    /// Messages that one channel gets in an hour at most; what is over waits, and is told together.
    pub max_per_hour: Option<u32>,
    #[serde(default, rename = "webhook", skip_serializing_if = "Vec::is_empty")]
    pub webhooks: Vec<WebhookConfig>,
    #[serde(default, rename = "mail", skip_serializing_if = "Vec::is_empty")]
    pub mails: Vec<MailConfig>,
    #[serde(default, rename = "command", skip_serializing_if = "Vec::is_empty")]
    pub commands: Vec<CommandConfig>,
    /// Asked for while all is well, and only then: who waits for it notices when it stays away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heartbeat: Option<HeartbeatConfig>,
}

/// JSON by POST.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookConfig {
    /// For messages and logs; `webhook-1`, … when absent.
    pub name: Option<String>,
    pub url: Option<String>,
    /// A private file that holds the URL, where the URL itself is the secret.
    pub url_file: Option<PathBuf>,
    /// A private file that holds a token, sent as `Authorization: Bearer`.
    pub token_file: Option<PathBuf>,
}

/// How a connection to a mail server is protected.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MailTls {
    /// From the first byte (port 465).
    Tls,
    /// STARTTLS, and nothing without it (port 587).
    #[default]
    Starttls,
    /// Not at all: for a relay on this host; no password is ever sent over it to another.
    None,
}

/// Mail by SMTP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MailConfig {
    /// For messages and logs; `mail-1`, … when absent.
    pub name: Option<String>,
    pub server: String,
    /// 465, 587 or 25 by the kind of `tls` when absent.
    pub port: Option<u16>,
    #[serde(default)]
    pub tls: MailTls,
    pub from: String,
    pub to: Vec<String>,
    pub username: Option<String>,
    /// A private file.
    pub password_file: Option<PathBuf>,
}

/// A program that gets JSON on its standard input.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommandConfig {
    /// For messages and logs; `command-1`, … when absent.
    pub name: Option<String>,
    /// The program's path, and its arguments.
    pub run: Vec<String>,
}

/// A URL that is asked for while all is well.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeartbeatConfig {
    pub url: Option<String>,
    /// A private file that holds the URL.
    pub url_file: Option<PathBuf>,
    /// Seconds between two; 300 when absent.
    pub every_seconds: Option<u64>,
}

impl NotifyConfig {
    pub(super) fn relative_to(&mut self, folder: &Path) {
        let webhooks = self.webhooks.iter_mut().flat_map(|w| [&mut w.url_file, &mut w.token_file]);
        let mails = self.mails.iter_mut().map(|m| &mut m.password_file);
        let heartbeat = self.heartbeat.iter_mut().map(|h| &mut h.url_file);
        for file in webhooks.chain(mails).chain(heartbeat).flatten() {
            *file = folder.join(&*file);
        }
    }
}
