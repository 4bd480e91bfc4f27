//! What can go wrong with a store. Callers branch on [`StoreErrorKind`] alone.

use std::fmt;

/// What a caller can act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StoreErrorKind {
    /// No such object (or bucket, or folder).
    NotFound,
    /// Create found the key taken.
    Exists,
    /// The credential does not allow it, or is not accepted.
    Denied,
    /// The object is longer than the caller allows.
    TooLarge,
    /// The store refused the bytes as damaged on the way (wrong checksum).
    Checksum,
    /// No room, or over quota.
    Full,
    /// The store asks to slow down (429, 503 SlowDown).
    Throttled,
    /// Not reached, reset, timed out, cut short, or a 5xx.
    Unavailable,
    /// A write whose outcome could not be settled.
    Unclear,
    /// The key or an argument cannot be used with this store.
    Invalid,
    /// The store answered what it must not (a listing that loops, a range of the wrong length).
    Protocol,
}

impl StoreErrorKind {
    /// Whether the same call may go through later.
    #[must_use]
    pub fn is_transient(self) -> bool {
        matches!(self, Self::Throttled | Self::Unavailable | Self::Unclear | Self::Checksum)
    }

    /// A stable CamelCase word for metrics and conditions.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::NotFound => "NotFound",
            Self::Exists => "Exists",
            Self::Denied => "Denied",
            Self::TooLarge => "TooLarge",
            Self::Checksum => "Checksum",
            Self::Full => "Full",
            Self::Throttled => "Throttled",
            Self::Unavailable => "Unavailable",
            Self::Unclear => "Unclear",
            Self::Invalid => "Invalid",
            Self::Protocol => "Protocol",
        }
    }
}

/// One failed call on one object of one store.
#[derive(Debug)]
pub struct StoreError {
    pub kind: StoreErrorKind,
    /// `get`, `create`, `list` …
    pub operation: &'static str,
    /// Store and key, for a person.
    pub target: String,
    /// What the store or the system said.
    pub detail: String,
    /// How long the store asks to wait (Retry-After).
    pub retry_after: Option<std::time::Duration>,
}

impl StoreError {
    #[must_use]
    pub fn new(
        kind: StoreErrorKind,
        operation: &'static str,
        target: impl Into<String>,
        detail: impl Into<String>,
    ) -> Self {
        Self { kind, operation, target: target.into(), detail: detail.into(), retry_after: None }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cannot {} {}: {}", self.operation, self.target, self.detail)
    }
}

impl std::error::Error for StoreError {}
