//! One way to tell somebody: webhook, mail or command. Owns how a message leaves, and where its secrets come from: private
//! files and the service manager's credentials, read anew each time. No secret is in an error, a log or an argument.

use super::client::{self, ClientError};
use super::message::Message;
use crate::source::credential;
use crate::status::plain;
use lettre::message::header::ContentType;
use lettre::transport::smtp::authentication::Credentials;
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Tokio1Executor};
use lifeboat_common::config::{CommandConfig, MailConfig, MailTls, NotifyConfig, WebhookConfig};
use lifeboat_common::keys::{self, KeyError, Readers};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use zeroize::Zeroizing;

/// For one message on one channel.
const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes of a command's errors that are shown.
const ERRORS: u64 = 1000;

#[derive(Debug, thiserror::Error)]
pub enum SendError {
    #[error("{0}")]
    Secret(#[from] KeyError),
    #[error("{path} is not one line of text; write the secret into it, and nothing else")]
    NotText { path: std::path::PathBuf },
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(
        "{server} did not take the mail: {why}; look at server, port, tls and the password file of this [[notify.mail]]"
    )]
    Mail { server: String, why: String },
    #[error("{0} has a password and tls = \"none\"; a password leaves this host only under TLS")]
    Bare(String),
    #[error(
        "{program} could not be run: {source}; give a whole path, and see that the service may execute it"
    )]
    Start { program: String, source: std::io::Error },
    #[error("{program} ended with {status}: {said}")]
    Ended { program: String, status: std::process::ExitStatus, said: String },
    #[error("No answer within {} s; it is tried again", PATIENCE.as_secs())]
    Slow,
}

/// A channel and its name.
#[derive(Debug)]
pub struct Channel<'a> {
    pub name: String,
    way: Way<'a>,
}

#[derive(Debug)]
enum Way<'a> {
    Webhook(&'a WebhookConfig),
    Mail(&'a MailConfig),
    Command(&'a CommandConfig),
}

/// All channels of a configuration.
#[must_use]
pub fn channels(config: &NotifyConfig) -> Vec<Channel<'_>> {
    let named = |name: &Option<String>, kind: &str, n: usize| {
        name.clone().unwrap_or_else(|| format!("{kind}-{}", n + 1))
    };
    let mut all = Vec::new();
    for (n, one) in config.webhooks.iter().enumerate() {
        all.push(Channel { name: named(&one.name, "webhook", n), way: Way::Webhook(one) });
    }
    for (n, one) in config.mails.iter().enumerate() {
        all.push(Channel { name: named(&one.name, "mail", n), way: Way::Mail(one) });
    }
    for (n, one) in config.commands.iter().enumerate() {
        all.push(Channel { name: named(&one.name, "command", n), way: Way::Command(one) });
    }
    all
}

/// The secret in a private file, or in the service manager's credential of its name.
pub(super) fn secret(path: &Path) -> Result<Zeroizing<String>, SendError> {
    let found = credential(path);
    // A credential's group bits show an access list; the service manager guards it.
    let readers = if found == path { Readers::OwnerOnly } else { Readers::Group };
    let bytes = keys::read_private(&found, readers)?;
    let text = std::str::from_utf8(&bytes).ok().map(str::trim).filter(|t| !t.is_empty());
    let text = text.filter(|t| !t.contains(char::is_control));
    text.map(|t| Zeroizing::new(t.to_owned())).ok_or(SendError::NotText { path: found })
}

/// The URL of a table that has either.
pub(super) fn url(url: Option<&str>, file: Option<&Path>) -> Result<Zeroizing<String>, SendError> {
    match (file, url) {
        (Some(file), _) => secret(file),
        (None, url) => Ok(Zeroizing::new(url.unwrap_or_default().to_owned())),
    }
}

impl Channel<'_> {
    /// Tells it.
    pub async fn send(&self, message: &Message, host: &str) -> Result<(), SendError> {
        let sent = async {
            match self.way {
                Way::Webhook(config) => webhook(config, message, host).await,
                Way::Mail(config) => mail(config, message, host).await,
                Way::Command(config) => command(config, message, host).await,
            }
        };
        tokio::time::timeout(PATIENCE, sent).await.unwrap_or(Err(SendError::Slow))
    }
}

async fn webhook(config: &WebhookConfig, message: &Message, host: &str) -> Result<(), SendError> {
    let url = url(config.url.as_deref(), config.url_file.as_deref())?;
    let token = config.token_file.as_deref().map(secret).transpose()?;
    Ok(client::post(&url, token.as_deref().map(String::as_str), message.json(host)).await?)
}

async fn mail(config: &MailConfig, message: &Message, host: &str) -> Result<(), SendError> {
    let fail = |why: String| {
        let why = plain(&why).chars().take(300).collect();
        SendError::Mail { server: config.server.clone(), why }
    };
    let mut mail = lettre::Message::builder()
        .from(config.from.parse().map_err(|e| fail(format!("from: {e}")))?)
        .subject(message.subject(host))
        .header(ContentType::TEXT_PLAIN);
    for to in &config.to {
        mail = mail.to(to.parse().map_err(|e| fail(format!("to: {e}")))?);
    }
    let mail = mail.body(message.text(host)).map_err(|e| fail(e.to_string()))?;
    type Transport = AsyncSmtpTransport<Tokio1Executor>;
    let server = config.server.as_str();
    let mut builder = match config.tls {
        MailTls::Tls => Transport::relay(server).map_err(|e| fail(e.to_string()))?,
        MailTls::Starttls => Transport::starttls_relay(server).map_err(|e| fail(e.to_string()))?,
        MailTls::None => Transport::builder_dangerous(server),
    };
    if let Some(port) = config.port {
        builder = builder.port(port);
    }
    if let (Some(user), Some(file)) = (&config.username, &config.password_file) {
        if config.tls == MailTls::None && !client::is_this_host(server) {
            return Err(SendError::Bare(server.to_owned()));
        }
        builder = builder.credentials(Credentials::new(user.clone(), secret(file)?.to_string()));
    }
    let transport = builder.timeout(Some(PATIENCE)).build();
    transport.send(mail).await.map(drop).map_err(|e| {
        // Its own words first, then what caused it.
        let mut why = e.to_string();
        let mut cause = std::error::Error::source(&e);
        while let Some(next) = cause {
            why.push_str(&format!(": {next}"));
            cause = next.source();
        }
        fail(why)
    })
}

async fn command(config: &CommandConfig, message: &Message, host: &str) -> Result<(), SendError> {
    let Some((program, arguments)) = config.run.split_first() else { return Ok(()) };
    let fail = |source| SendError::Start { program: program.clone(), source };
    let mut child = tokio::process::Command::new(program)
        .args(arguments)
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(fail)?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that does not read its input may still do its work.
        let _unread = stdin.write_all(&message.json(host)).await;
    }
    let mut said = Vec::new();
    if let Some(stderr) = child.stderr.take() {
        let mut begin = stderr.take(ERRORS);
        begin.read_to_end(&mut said).await.map_err(fail)?;
        // The rest is read too, so that it can end.
        tokio::io::copy(&mut begin.into_inner(), &mut tokio::io::sink()).await.map_err(fail)?;
    }
    let status = child.wait().await.map_err(fail)?;
    if status.success() {
        return Ok(());
    }
    let said = plain(String::from_utf8_lossy(&said).trim());
    Err(SendError::Ended { program: program.clone(), status, said })
}
