//! Logs: what is logged, in which form, to standard error. One implementation for every program; reads the
//! environment for `RUST_LOG`, `NO_COLOR`. Knows no command.

use std::io::IsTerminal as _;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt as _;

/// How logs look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum LogFormat {
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// When to color.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set.
    #[default]
    Auto,
    Always,
    Never,
}

/// Arguments that every program takes.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct LogArgs {
    /// Log more (-vv: still more, -vvv: also what libraries say)
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    pub verbose: u8,

    /// Form of the log on standard error
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT", global = true)]
    pub log_format: LogFormat,

    /// When to use color
    #[arg(long, value_enum, default_value_t, value_name = "WHEN", global = true)]
    pub color: Color,
}

/// What a program logs when nobody asks for more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Base {
    /// A command for people: warnings.
    Warnings,
    /// A service: what it did.
    Info,
}

impl Color {
    /// Whether to color what goes to standard error.
    #[must_use]
    pub fn on_stderr(self) -> bool {
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Auto => {
                std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
            }
        }
    }
}

/// Starts logging. A second call changes nothing, so that tests may make it.
pub fn init(args: &LogArgs, base: Base) {
    let filter = std::env::var("RUST_LOG")
        .ok()
        .and_then(|text| EnvFilter::try_new(text).ok())
        .unwrap_or_else(|| EnvFilter::new(directives(args.verbose, base)));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match args.log_format {
        LogFormat::Json => builder
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .with_span_list(false)
            .finish()
            .try_init(),
        LogFormat::Text => {
            let quiet = base == Base::Warnings && args.verbose == 0;
            let builder = builder.with_ansi(args.color.on_stderr()).with_target(args.verbose > 1);
            if quiet { builder.without_time().finish().try_init() } else { builder.finish().try_init() }
        }
    };
    if started.is_err() {
        tracing::debug!("Logging was started before");
    }
}

fn directives(verbose: u8, base: Base) -> String {
    let step = verbose.saturating_add(u8::from(base == Base::Info));
    let (own, others) = match step {
        0 => ("warn", "warn"),
        1 => ("info", "warn"),
        2 => ("debug", "warn"),
        3 => ("trace", "info"),
        _ => ("trace", "debug"),
    };
    // The AWS crates log signed requests, which are nobody's business.
    let aws = ["aws_config", "aws_runtime", "aws_sdk_s3", "aws_sigv4", "aws_smithy_runtime"]
        .map(|target| format!("{target}=warn"));
    let ours = ["lifeboat", "lifeboat_agent", "lifeboat_common", "lifeboat_format", "lifeboat_replicator"]
        .map(|target| format!("{target}={own}"));
    // kube says every failed try as an error; what comes of them in the end is ours to say.
    let kube = if step < 3 { "off" } else { "debug" };
    format!("{others},{},{},kube_client={kube}", ours.join(","), aws.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_parses() {
        for verbose in 0..5 {
            for base in [Base::Warnings, Base::Info] {
                let text = directives(verbose, base);
                assert!(EnvFilter::try_new(&text).is_ok(), "{text}");
            }
        }
        assert!(directives(0, Base::Warnings).contains("lifeboat_common=warn"));
        assert!(directives(9, Base::Info).contains("aws_sigv4=warn"));
        assert!(directives(0, Base::Info).contains("kube_client=off"));
    }
}
