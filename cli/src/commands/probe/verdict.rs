//! What an answer means for a right, and how the table looks. Pure but for the printing.

use crate::context::Context;
use anyhow::Result;
use serde::Serialize;

/// What a credential should be able to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// It needs the right.
    Allowed,
    /// It must not have it.
    Refused,
    /// Good to know.
    Either,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    Allowed,
    Refused,
    /// Why it could not be found out.
    Unknown(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Verdict {
    /// As it should be.
    Ok,
    /// The store refuses what must not be.
    Enforced,
    /// The store would allow what must not be.
    Promised,
    /// A credential lacks a right that it needs.
    Missing,
    /// The store lacks what every backup relies on.
    Broken,
    Unknown,
    Info,
}

/// A line of the table.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    pub(super) credential: &'static str,
    pub(super) right: String,
    pub(super) verdict: Verdict,
    pub(super) note: String,
}

impl Row {
    /// A right of a credential.
    pub(super) fn right(
        credential: &'static str,
        right: impl Into<String>,
        wanted: Wanted,
        found: Found,
    ) -> Self {
        let verdict = match (wanted, &found) {
            (_, Found::Unknown(_)) => Verdict::Unknown,
            (Wanted::Allowed, Found::Allowed) => Verdict::Ok,
            (Wanted::Allowed, Found::Refused) => Verdict::Missing,
            (Wanted::Refused, Found::Refused) => Verdict::Enforced,
            (Wanted::Refused, Found::Allowed) => Verdict::Promised,
            (Wanted::Either, _) => Verdict::Info,
        };
        let note = match (wanted, found) {
            (_, Found::Unknown(why)) => why,
            (Wanted::Either, Found::Allowed) => "allowed".to_owned(),
            (Wanted::Either, Found::Refused) => "refused".to_owned(),
            (Wanted::Allowed, Found::Refused) => "refused, and it is needed: extend the policy".to_owned(),
            (Wanted::Refused, Found::Allowed) => "the store allows it: tighten the policy".to_owned(),
            _ => String::new(),
        };
        Self { credential, right: right.into(), verdict, note }
    }

    /// Something that the store itself does, or does not.
    pub(super) fn store(what: impl Into<String>, verdict: Verdict, note: impl Into<String>) -> Self {
        Self { credential: "store", right: what.into(), verdict, note: note.into() }
    }
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Enforced => "enforced",
            Self::Promised => "promised",
            Self::Missing => "MISSING",
            Self::Broken => "BROKEN",
            Self::Unknown => "not tried",
            Self::Info => "info",
        }
    }
}

pub(super) fn print(rows: &[Row], context: &mut Context<'_>) -> Result<()> {
    let width = |of: fn(&Row) -> usize| rows.iter().map(of).max().unwrap_or(0);
    let (who, what) = (width(|r| r.credential.len()), width(|r| r.right.len()));
    for row in rows {
        let line =
            format!("{:who$}  {:what$}  {:9}  {}", row.credential, row.right, row.verdict.word(), row.note);
        context.line(line.trim_end())?;
    }
    Ok(())
}
