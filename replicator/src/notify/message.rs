//! What is told: a message as text for people and as JSON for programs. Pure, and bounded, whatever a store says.

use crate::status::{Status, plain};
use jiff::Timestamp;
use lifeboat_format::id::Sha256;
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;

const SCHEMA: &str = "lifeboat/notification/1";
/// Lines of one kind in one message.
const LINES: usize = 20;
/// Characters of one text.
const LONGEST: usize = 400;

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    /// The same for as long as it is the same trouble.
    #[serde(skip)]
    pub key: String,
    pub cluster: String,
    pub kind: String,
    pub what: String,
    pub why: String,
    pub next: String,
    pub since: Option<Timestamp>,
}

/// Something that was wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Over {
    pub key: String,
    pub cluster: String,
    pub kind: String,
    pub what: String,
}

fn short(text: &str) -> String {
    let shown = plain(text);
    match shown.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &shown[..end]),
        None => shown,
    }
}

impl Line {
    #[must_use]
    pub fn new(
        cluster: &str,
        kind: &str,
        what: &str,
        why: &str,
        next: &str,
        since: Option<Timestamp>,
    ) -> Self {
        let whole = format!("{cluster}\0{kind}\0{what}");
        let key = Sha256::of(whole.as_bytes()).to_hex()[..16].to_owned();
        let [cluster, what, why, next] = [cluster, what, why, next].map(short);
        Self { key, cluster, kind: kind.to_owned(), what, why, next, since }
    }

    pub(super) fn over(&self) -> Over {
        let Self { key, cluster, kind, what, .. } = self;
        Over { key: key.clone(), cluster: cluster.clone(), kind: kind.clone(), what: what.clone() }
    }
}

/// All that is wrong: alarms and warnings.
#[must_use]
pub fn lines(status: &Status) -> Vec<Line> {
    let mut lines = Vec::new();
    for c in &status.clusters {
        let alarm = |a: &crate::alarm::Alarm| {
            Line::new(&c.name, a.kind.name(), &a.what, &a.why, &a.next, Some(a.since))
        };
        lines.extend(c.alarms.iter().map(alarm));
        lines.extend(c.warnings.iter().map(|w| Line::new(&c.name, w.kind.name(), "", &w.why, &w.next, None)));
    }
    let own = status.warnings.iter();
    lines.extend(own.map(|w| Line::new("vault", w.kind.name(), "", &w.why, &w.next, None)));
    lines
}

/// What one channel is told at once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message {
    pub alarms: Vec<Line>,
    /// Still open, and told before.
    pub reminders: Vec<Line>,
    pub recovered: Vec<Over>,
    /// All that are open.
    pub open: usize,
    pub test: bool,
}

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    event: &'static str,
    host: &'a str,
    /// The whole message; what chat services show.
    text: String,
    alarms: &'a [Line],
    reminders: &'a [Line],
    recovered: &'a [Over],
    open: usize,
}

impl Message {
    /// One to try a channel with.
    #[must_use]
    pub fn test() -> Self {
        Self { test: true, ..Self::default() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.alarms.is_empty() && self.reminders.is_empty() && self.recovered.is_empty()
    }

    fn event(&self) -> &'static str {
        match self {
            Self { test: true, .. } => "test",
            Self { alarms, .. } if !alarms.is_empty() => "alarm",
            Self { reminders, .. } if !reminders.is_empty() => "reminder",
            _ => "recovery",
        }
    }

    /// One line.
    #[must_use]
    pub fn subject(&self, host: &str) -> String {
        let first = |lines: &[Line]| lines.first().map(|l| format!("{} of {}", l.kind, l.cluster));
        let more = |n: usize| if n > 1 { format!(" and {} more", n - 1) } else { String::new() };
        let said = match self.event() {
            "test" => "a test; all is well with this channel".to_owned(),
            "alarm" => {
                format!("ALARM {}{}", first(&self.alarms).unwrap_or_default(), more(self.alarms.len()))
            }
            "reminder" => {
                format!(
                    "still open: {}{}",
                    first(&self.reminders).unwrap_or_default(),
                    more(self.reminders.len())
                )
            }
            _ => {
                let over = self.recovered.first().map(|o| format!("{} of {}", o.kind, o.cluster));
                format!("over: {}{}", over.unwrap_or_default(), more(self.recovered.len()))
            }
        };
        format!("Lifeboat on {}: {said}", short(host))
    }

    /// For people.
    #[must_use]
    pub fn text(&self, host: &str) -> String {
        let mut out = format!("{}\n", self.subject(host));
        for (title, lines) in [("New", &self.alarms), ("Still open", &self.reminders)] {
            for line in lines.iter().take(LINES) {
                let what = if line.what.is_empty() { String::new() } else { format!(": {}", line.what) };
                // Writing to a String cannot fail.
                let _ = writeln!(
                    out,
                    "\n{title}: {} of {}{what}\n  {}\n  do: {}",
                    line.kind, line.cluster, line.why, line.next
                );
            }
            write_more(&mut out, lines.len());
        }
        for over in self.recovered.iter().take(LINES) {
            let what = if over.what.is_empty() { String::new() } else { format!(": {}", over.what) };
            let _ = writeln!(out, "\nOver: {} of {}{what}", over.kind, over.cluster);
        }
        write_more(&mut out, self.recovered.len());
        if !self.test {
            let _ = writeln!(out, "\nOpen now: {}. All of it: lifeboat-replicator status", self.open);
        }
        out
    }

    /// For programs.
    #[must_use]
    pub fn json(&self, host: &str) -> Vec<u8> {
        let cut = |lines: &'_ [Line]| lines.len().min(LINES);
        let document = Document {
            schema: SCHEMA,
            event: self.event(),
            host,
            text: self.text(host),
            alarms: &self.alarms[..cut(&self.alarms)],
            reminders: &self.reminders[..cut(&self.reminders)],
            recovered: &self.recovered[..self.recovered.len().min(LINES)],
            open: self.open,
        };
        serde_json::to_vec(&document).expect("texts, numbers and times always serialize")
    }
}

fn write_more(out: &mut String, lines: usize) {
    if lines > LINES {
        let _ = writeln!(out, "\n… and {} more", lines - LINES);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_bounded_and_plain_whatever_a_store_says() {
        let evil = format!("a\r\nBcc: x@example.com\u{1b}[2J{}", "x".repeat(100_000));
        let line = Line::new("prod", "junk", &evil, &evil, "look", None);
        let message = Message { alarms: vec![line; 5000], open: 5000, ..Message::default() };
        let text = message.text("host\r\nX: y");
        assert!(text.len() < 40_000 && !text.contains('\r') && !text.contains('\u{1b}'), "{}", text.len());
        assert!(text.contains("and 4980 more"), "{text}");
        assert!(!message.subject("host\r\nX: y").contains('\n'));
        assert!(message.json("host").len() < 100_000);
    }
}
