//! The one error of this crate: what was being read, and why it is refused. Never holds a secret or plaintext.

use std::fmt;

/// Bytes that are not what they should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FormatError {
    /// `pack`, `manifest`, `charter` …
    pub what: &'static str,
    pub kind: ErrorKind,
}

/// Why, as far as a caller acts on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ErrorKind {
    /// Not an encoding of this thing: truncated, trailing bytes, a value out of range.
    Malformed(String),
    /// Longer or deeper than `limits` allow.
    TooLarge(String),
    /// An authentication tag, digest or signature does not fit.
    Forged(String),
    /// Sound, but not for this reader: another cluster, owner, chain or version.
    Mismatch(String),
    /// The key at hand does not open it.
    NoKey(String),
    /// Written by a newer program.
    Unsupported(String),
}

impl FormatError {
    pub(crate) fn malformed(what: &'static str, why: impl Into<String>) -> Self {
        Self { what, kind: ErrorKind::Malformed(why.into()) }
    }
    pub(crate) fn too_large(what: &'static str, why: impl Into<String>) -> Self {
        Self { what, kind: ErrorKind::TooLarge(why.into()) }
    }
    pub(crate) fn forged(what: &'static str, why: impl Into<String>) -> Self {
        Self { what, kind: ErrorKind::Forged(why.into()) }
    }
    pub(crate) fn mismatch(what: &'static str, why: impl Into<String>) -> Self {
        Self { what, kind: ErrorKind::Mismatch(why.into()) }
    }
    pub(crate) fn no_key(what: &'static str, why: impl Into<String>) -> Self {
        Self { what, kind: ErrorKind::NoKey(why.into()) }
    }
    pub(crate) fn unsupported(what: &'static str, why: impl Into<String>) -> Self {
        Self { what, kind: ErrorKind::Unsupported(why.into()) }
    }

    /// The reason alone.
    #[must_use]
    pub fn why(&self) -> &str {
        match &self.kind {
            ErrorKind::Malformed(s)
            | ErrorKind::TooLarge(s)
            | ErrorKind::Forged(s)
            | ErrorKind::Mismatch(s)
            | ErrorKind::NoKey(s)
            | ErrorKind::Unsupported(s) => s,
        }
    }

    /// A stable CamelCase word for alarms and metrics.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self.kind {
            ErrorKind::Malformed(_) => "Malformed",
            ErrorKind::TooLarge(_) => "TooLarge",
            ErrorKind::Forged(_) => "Forged",
            ErrorKind::Mismatch(_) => "Mismatch",
            ErrorKind::NoKey(_) => "NoKey",
            ErrorKind::Unsupported(_) => "Unsupported",
        }
    }
}

impl fmt::Display for FormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = match self.kind {
            ErrorKind::Malformed(_) => "is malformed",
            ErrorKind::TooLarge(_) => "is over a limit",
            ErrorKind::Forged(_) => "is damaged or forged",
            ErrorKind::Mismatch(_) => "does not belong here",
            ErrorKind::NoKey(_) => "cannot be opened",
            ErrorKind::Unsupported(_) => "was written by a newer program",
        };
        write!(f, "The {} {verb}: {}", self.what, self.why())
    }
}

impl std::error::Error for FormatError {}
