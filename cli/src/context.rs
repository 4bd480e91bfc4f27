//! What every command is handed: where to write, and what time it is. Knows no command.

use lifeboat_common::clock::{Clock, SystemClock};
use lifeboat_common::telemetry::Color;
use serde::Serialize;
use std::io::Write;
use std::sync::Arc;

/// Where a command writes its results, and its clock.
pub(crate) struct Context<'a> {
    /// Results; logs and progress go to standard error.
    pub(crate) out: &'a mut dyn Write,
    pub(crate) clock: Arc<dyn Clock>,
    #[allow(dead_code, reason = "for commands that color their tables")]
    pub(crate) color: Color,
}

impl<'a> Context<'a> {
    pub(crate) fn new(out: &'a mut dyn Write, color: Color) -> Self {
        Self { out, clock: Arc::new(SystemClock), color }
    }

    /// Writes text and a line feed.
    pub(crate) fn line(&mut self, text: impl std::fmt::Display) -> anyhow::Result<()> {
        writeln!(self.out, "{text}")?;
        Ok(())
    }

    /// Writes one JSON document.
    pub(crate) fn json(&mut self, document: &impl Serialize) -> anyhow::Result<()> {
        let text = serde_json::to_string_pretty(document)?;
        self.line(text)
    }
}
